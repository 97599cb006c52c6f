//! Reconciling: a day's exchange with a partner, held to the partner's own trail. Each side lists for the other what its trail
//! has for it; what is listed must be in the log that witnesses see, and what the other holds must be on the list.
//!
//! In scope: the list, the comparison, the cases that come of it, and which days are due. Out of scope: whether the log is one
//! (see [`crate::exchange::following`]), and what agreements say (see [`crate::exchange::lifecycle`]).

pub mod cases;
mod compare;
pub mod fallen;
mod fetching;
mod holding;
pub mod listing;
pub mod run;

use std::collections::BTreeMap;

use agreements::ids::Ori;
use agreements::time::Instant;
use diesel::result::QueryResult;
use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::db::Conn;
use crate::exchange::partner::Partners;
use crate::registry::agreements as documents;
use crate::registry::discrepancies::{self, Reconciled};
use crate::trail::search;

/// A day is reconciled when it is over by so long on both clocks, in microseconds.
pub const SETTLED: i64 = Instant::HOUR;
/// So many days back a day is caught up with by itself.
pub const BACK: i64 = 35;
/// The longest time back a day can be reconciled at all, in days: beyond it what entries say may have been deleted.
pub const OLDEST: i64 = 730;
/// A partner with whom a day could not be reconciled for so many days is told of.
pub const LATE: i64 = 3;

/// The last day that is over at `now`.
#[must_use]
pub fn last_settled(now: Instant) -> Date {
    listing::day_of(now.plus(-SETTLED - Instant::DAY))
}

/// The days from `first` to `last`.
pub fn days(first: Date, last: Date) -> impl Iterator<Item = Date> {
    first.series(1.day()).take_while(move |day| *day <= last)
}

/// The days that are to be reconciled with each partner at `now`, oldest first: since the first word that was exchanged with
/// it, at most [`BACK`] days back, less those that were. The inner error says which entry is not as it was recorded.
///
/// # Errors
/// The registry failed.
pub fn due(
    conn: &mut Conn,
    partners: &Partners,
    now: Instant,
) -> QueryResult<Result<BTreeMap<Ori, Vec<Date>>, String>> {
    let back = now.plus(-(BACK + 1) * Instant::DAY);
    let done = match discrepancies::reconciled(conn, back)? {
        Ok(done) => done,
        Err(what) => return Ok(Err(what)),
    };
    let mut due = BTreeMap::new();
    for partner in partners.all() {
        let ori = partner.ori();
        if documents::ids(conn, Some(ori))?.is_empty() {
            continue;
        }
        let Some(first) = search::first_about(conn, ori)? else { continue };
        let none = BTreeMap::new();
        let lacking = lacking(first, done.get(&ori).unwrap_or(&none), now);
        if !lacking.is_empty() {
            due.insert(ori, lacking);
        }
    }
    Ok(Ok(due))
}

/// The days since `first` that are not among those that are done.
fn lacking(first: Instant, done: &BTreeMap<Date, Reconciled>, now: Instant) -> Vec<Date> {
    let last = last_settled(now);
    let from = listing::day_of(first.max(now.plus(-BACK * Instant::DAY)));
    days(from, last).filter(|day| !done.contains_key(day)).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_is_due_an_hour_after_it_is_over_and_for_five_weeks() {
        let at = |text: &str| text.parse::<Instant>().unwrap();
        let first = at("2026-11-20T23:59:59Z");
        let none = BTreeMap::new();
        assert_eq!(lacking(first, &none, at("2026-11-21T00:59:59.999999Z")), []);
        assert_eq!(lacking(first, &none, at("2026-11-21T01:00:00Z")), [date(2026, 11, 20)]);
        assert_eq!(lacking(first, &none, at("2026-11-23T20:00:00Z")).len(), 3);
        let later = lacking(first, &none, at("2027-03-01T20:00:00Z"));
        assert_eq!((later.len(), later[0]), (35, date(2027, 1, 25)));
    }
}
