//! The California DOJ extracts: `svs.tbl`, `sfr.tbl`, `slr.tbl`.
//!
//! A header such as `SVS 11/22/2026 04:00`; records of 20 characters (plate 0-7, state 8-9, county 10-11, date of loss
//! 12-19); `TOTAL RECORDS 00000040` at the end.

use agreements::hotlist::{Category, Entry};
use agreements::time::Instant;
use jiff::civil::DateTime;

use super::{Layout, LineError, Record, date, field, fixed, local, plate, states};

const LENGTH: usize = 20;

pub(super) fn header(layout: Layout, line: &[u8]) -> Option<Instant> {
    let text = std::str::from_utf8(line).ok()?;
    let (name, rest) = text.trim_end().split_once(' ')?;
    let time = DateTime::strptime("%m/%d/%Y %H:%M", rest.trim()).ok()?;
    if name.eq_ignore_ascii_case(layout.as_str()) { local(time) } else { None }
}

pub(super) fn trailer(line: &[u8]) -> Option<Result<u64, LineError>> {
    let rest = line.strip_prefix(b"TOTAL RECORD")?;
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let count = text.strip_prefix('S').unwrap_or(text).trim_matches([' ', ':', '=']);
    Some(count.parse().map_err(|_| LineError::Count))
}

pub(super) fn record(line: &[u8], category: Category, now: Instant) -> Result<Record, LineError> {
    fixed(line, LENGTH)?;
    let state = field(line, 8, 10);
    if !states::known(state) {
        return Err(LineError::State);
    }
    let county = field(line, 10, 12);
    let number = county.parse::<u8>().ok().filter(|n| (1..=58).contains(n));
    if number.is_none() && !matches!(county, "  " | "00") {
        return Err(LineError::County);
    }
    let dated = date(field(line, 12, 20), now)?;
    let mut entry = Entry::new(plate(field(line, 0, 8))?, category);
    entry.state = Some(state.to_owned());
    entry.county = number.map(|_| county.to_owned());
    entry.dated = Some(dated);
    Ok(Record::Entry(Box::new(entry)))
}
