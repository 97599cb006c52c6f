//! The document that takes an agreement's place for another year, and on which day it ends.

use jiff::ToSpan as _;
use jiff::civil::{Date, Weekday};

use crate::agreement::{Agreement, Renewal, anniversary};
use crate::ids::{AgreementId, Digest};
use crate::party::Party;

/// Sunsets that are spread fall between half a year and a year after the effective date: in weeks before the anniversary.
const SPREAD_WEEKS: i32 = 26;

/// What a renewal is drafted from, besides the agreement that it renews.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its id.
    pub id: AgreementId,
    /// Both parties as they are today, in any order.
    pub parties: [Party; 2],
    /// In force from the start of this date, at the earliest.
    pub effective_on: Date,
    /// Not in force from the start of this date.
    pub sunset_on: Date,
    /// What it was decided on.
    pub renewal: Renewal,
}

/// The document that renews `old`, whose bytes have the hash `document`: the same grants and promises between the same two.
#[must_use]
pub fn successor(old: &Agreement, document: Digest, terms: Terms) -> Agreement {
    let Terms { id, mut parties, effective_on, sunset_on, renewal } = terms;
    parties.sort_by_key(|party| party.ori);
    Agreement {
        id,
        revision: old.revision.saturating_add(1),
        supersedes: Some(document),
        parties,
        effective_on,
        sunset_on,
        renewal: Some(renewal),
        ..old.clone()
    }
}

/// The last day on which a renewal that is effective on `effective_on` can end, or the day in the half year before it, in the
/// week with the fewest of the `taken` sunsets, so that those of many partners do not fall together. No Saturday or Sunday
/// where another day will do. `None` outside the years that a date can hold.
#[must_use]
pub fn sunset(effective_on: Date, spread: bool, taken: &[Date]) -> Option<Date> {
    let latest = anniversary(effective_on)?;
    if !spread {
        return Some(latest);
    }
    let weeks = (0..SPREAD_WEEKS).map(|back| {
        let end = latest.checked_sub(back.weeks()).ok()?;
        let begin = end.checked_sub(6.days()).ok()?;
        let load = taken.iter().filter(|date| (begin..=end).contains(date)).count();
        Some((load, back, begin, end))
    });
    let (_, _, begin, end) = weeks.flatten().min_by_key(|(load, back, ..)| (*load, *back))?;
    let mut days: Vec<Date> = begin.series(1.day()).take_while(|day| *day <= end).collect();
    days.retain(|day| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) && *day > effective_on);
    let load = |day: &Date| taken.iter().filter(|date| *date == day).count();
    days.into_iter().rev().min_by_key(load).or(Some(latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn three_hundred_sunsets_fall_on_no_day_together() {
        let effective = date(2026, 11, 23);
        let mut taken = Vec::new();
        for _ in 0..300 {
            let day = sunset(effective, true, &taken).unwrap();
            assert!(day <= date(2027, 11, 23) && day > date(2027, 5, 20), "{day}");
            assert!(!matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday), "{day}");
            taken.push(day);
        }
        let most = taken.iter().map(|day| taken.iter().filter(|other| *other == day).count()).max();
        assert!(most.is_some_and(|most| most <= 3), "300 over some 130 working days: {most:?}");
        assert_eq!(sunset(effective, false, &taken), Some(date(2027, 11, 23)));
    }
}
