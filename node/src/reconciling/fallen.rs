//! Days that fell out of what is caught up with before they were compared: of these there is a case, once for each span.

use std::collections::BTreeMap;

use agreements::discrepancy::Differs;
use agreements::ids::Ori;
use agreements::time::Instant;
use diesel::result::QueryResult;
use jiff::civil::Date;

use super::{BACK, OLDEST, days, listing};
use crate::db::Conn;
use crate::exchange::partner::Partners;
use crate::registry::agreements as documents;
use crate::registry::discrepancies::{self, Case, Reconciled, Runs};
use crate::trail::search;
use crate::trail::told::Which;

/// Days that were not compared with a partner, and that nothing catches up with any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub first: Date,
    /// The last one.
    pub last: Date,
    /// How many there are: some between the two may have been compared.
    pub count: usize,
}

/// The spans of which there is no case, by partner. While there is an open one with a partner, it stands for the days since as
/// well; what it does not name is a case of its own when it is closed. The inner error says which entry is not as it was
/// recorded.
///
/// # Errors
/// The registry failed.
pub fn fallen(conn: &mut Conn, partners: &Partners, now: Instant) -> QueryResult<Result<BTreeMap<Ori, Span>, String>> {
    let cases = match discrepancies::cases(conn, Which::Decided(Differs::NotCompared.as_str()))? {
        Ok(cases) => cases,
        Err(what) => return Ok(Err(what)),
    };
    let last = listing::day_of(now.plus(-(BACK + 1) * Instant::DAY));
    let mut spans = BTreeMap::new();
    // Whoever has days that fell lately is looked at whole.
    let mut since = now.plus(-(2 * BACK + 1) * Instant::DAY);
    let mut runs = match discrepancies::reconciled(conn, since)? {
        Ok(runs) => runs,
        Err(what) => return Ok(Err(what)),
    };
    let oldest = now.plus(-(OLDEST - 1) * Instant::DAY);
    for partner in partners.all() {
        let ori = partner.ori();
        if documents::ids(conn, Some(ori))?.is_empty() {
            continue;
        }
        let Some(said) = search::first_about(conn, ori)? else { continue };
        let Some(first) = first_untold(&cases, ori, listing::day_of(said)) else { continue };
        if span(first.max(listing::day_of(since)), last, of(&runs, ori)).is_none() {
            continue;
        }
        if since > oldest {
            since = oldest;
            runs = match discrepancies::reconciled(conn, since)? {
                Ok(runs) => runs,
                Err(what) => return Ok(Err(what)),
            };
        }
        spans.extend(span(first.max(listing::day_of(since)), last, of(&runs, ori)).map(|span| (ori, span)));
    }
    Ok(Ok(spans))
}

fn of(runs: &Runs, partner: Ori) -> &BTreeMap<Date, Reconciled> {
    static NONE: BTreeMap<Date, Reconciled> = BTreeMap::new();
    runs.get(&partner).unwrap_or(&NONE)
}

/// The first day since `first` that no closed case names; `None` while there is an open one.
fn first_untold(cases: &[Case], partner: Ori, first: Date) -> Option<Date> {
    let mut from = first;
    for case in cases.iter().filter(|case| case.opened.partner == partner) {
        case.closed.as_ref()?;
        let named = case.opened.until.unwrap_or(case.opened.day);
        from = from.max(named.tomorrow().unwrap_or(Date::MAX));
    }
    Some(from)
}

/// The days from `first` to `last` that are not among those that are done.
fn span(first: Date, last: Date, done: &BTreeMap<Date, Reconciled>) -> Option<Span> {
    let lacking: Vec<Date> = days(first, last).filter(|day| !done.contains_key(day)).collect();
    Some(Span { first: *lacking.first()?, last: *lacking.last()?, count: lacking.len() })
}

#[cfg(test)]
mod tests {
    use agreements::ids::Digest;
    use jiff::civil::date;

    use super::*;
    use crate::registry::discrepancies::Counts;

    fn partner() -> Ori {
        "CA0990100".parse().unwrap()
    }

    #[test]
    fn a_span_is_of_the_days_that_were_not_compared() {
        let day = |day| date(2026, 11, day);
        let run = |day| Reconciled {
            counts: Counts::default(),
            day,
            differs: 0,
            partner: partner(),
            root: Digest::of(b"root"),
            size: 1,
            not_received: Vec::new(),
            unopened: Vec::new(),
            v: 1,
        };
        let done = BTreeMap::from([2, 4].map(|n| (day(n), run(day(n)))));
        let of = |first, last| span(day(first), day(last), &done).map(|span| (span.first, span.last, span.count));
        assert_eq!(of(1, 5), Some((day(1), day(5), 3)));
        assert_eq!(of(2, 4), Some((day(3), day(3), 1)));
        assert_eq!(of(4, 4), None);
        assert_eq!(of(5, 4), None);
    }
}
