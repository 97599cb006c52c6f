//! Dates, times, counts and purposes as they are said, and texts of others made safe to show.

use agreements::agreement::Area;
use agreements::party::AgencyKind;
use agreements::purpose::Purpose;
use agreements::time::Instant;
use jiff::civil::Date;
use unicode_normalization::UnicodeNormalization as _;

/// `text` in composed form (NFC), with every character that shows nothing, or that turns the writing round, written as
/// its number, such as `[U+202E]`. A party's name can then not pretend to be another, nor hide a part of itself.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.nfc() {
        if hidden(c) {
            shown.push_str(&numbered(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A character by its number.
pub(super) fn numbered(c: char) -> String {
    format!("[U+{:04X}]", u32::from(c))
}

/// Controls, formats, separators other than the space, fillers that are blank, private use and what is no character.
fn hidden(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{13455}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

/// `1 January 2027`.
pub(super) fn day(date: Date) -> String {
    date.strftime("%-d %B %Y").to_string()
}

/// `1 January 2027, 08:00:00 UTC`.
pub(super) fn time(instant: Instant) -> String {
    jiff::Timestamp::from_microsecond(instant.micros())
        .map_or_else(|_| instant.to_string(), |stamp| stamp.strftime("%-d %B %Y, %H:%M:%S UTC").to_string())
}

/// `1 day`, `2 days`.
pub(super) fn count(n: u32, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn all_of(items: &[String]) -> String {
    match items {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `yes` or `no`.
pub(super) fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// `54.123456°`, from millionths of a degree.
fn degrees(millionths: i32) -> String {
    let (whole, part) = (millionths.unsigned_abs() / 1_000_000, millionths.unsigned_abs() % 1_000_000);
    format!("{}{whole}.{part:06}°", if millionths < 0 { "-" } else { "" })
}

/// A box on the map.
pub(super) fn area(area: Area) -> String {
    let Area { south, west, north, east } = area;
    format!(
        "between {} and {} north, {} and {} east (WGS 84)",
        degrees(south),
        degrees(north),
        degrees(west),
        degrees(east)
    )
}

/// A purpose, with the clause of the policy that allows it.
pub(super) fn purpose(purpose: Purpose) -> String {
    let words = match purpose {
        Purpose::CriminalInvestigation => "investigating crimes",
        Purpose::WantedPersons => "finding wanted persons",
        Purpose::SanctionsOrders => "enforcing sanctions, orders and sentences",
        Purpose::CrimePrevention => "preventing crime",
        Purpose::CrimeAnalysis => "analysing crime",
        Purpose::InvestigatoryLeads => "leads in later investigations",
        Purpose::Lifesaving => "saving lives and finding missing persons",
    };
    format!("{words} ({})", purpose.clause())
}

/// A kind of agency.
pub(super) fn kind(kind: AgencyKind) -> &'static str {
    match kind {
        AgencyKind::State => "agency of the State of California",
        AgencyKind::County => "county",
        AgencyKind::City => "city",
        AgencyKind::CityAndCounty => "city and county",
        AgencyKind::Subdivision => "political subdivision",
    }
}
