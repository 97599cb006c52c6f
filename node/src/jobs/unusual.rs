//! Tells agreements administrators of partners that ask unusually: for the first time, far more than they do, or at the
//! edge of what was granted (V-15, XI-05). It looks at the trail's index after the fact; no question waits for it.

use std::collections::{BTreeMap, BTreeSet};

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Ori};
use agreements::rule::Rule;
use agreements::time::Instant;
use diesel::result::QueryResult;
use jiff::civil::Date;

use super::notices::{Due, Source};
use super::work::JobError;
use crate::db::{Conn, snapshot};
use crate::mail::{Audience, Notice};
use crate::node::Node;
use crate::registry::{agreements as documents, exchanged};
use crate::trail::search;

/// From how many days with questions a partner's usual number is taken: four weeks of work.
const ACTIVE_DAYS: usize = 28;
/// How far back those days may lie.
const LOOK_BACK_DAYS: i64 = 60;
/// How many times its usual number a partner asks before anybody is told.
const FACTOR: i64 = 3;
/// A day with fewer questions than this is never many.
const MANY: i64 = 50;
/// How many answers a day that a limit cut are told, if they are one in [`EDGE_SHARE`] or more.
const EDGE: i64 = 10;
const EDGE_SHARE: i64 = 10;
/// The limits that cut an answer, as its entry names them.
const LIMITS: [Rule; 3] = [Rule::Lookback, Rule::Area, Rule::Rows];

/// The source of these notices.
pub(super) struct Unusual;

/// A partner that asked yesterday or today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    ori: Ori,
    name: String,
    /// Whether it never asked before yesterday.
    new: bool,
    /// Yesterday and today.
    days: Vec<Day>,
}

/// What a partner asked on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Day {
    date: Date,
    /// Questions answered with a permit.
    questions: i64,
    /// The same, of earlier days on which there were some, newest first.
    before: Vec<i64>,
    /// How many of them each agreement had, and how many its grant allows.
    quotas: Vec<(AgreementId, i64, i64)>,
    /// How many each limit cut.
    cut: BTreeMap<Rule, i64>,
}

impl Source for Unusual {
    type World = Vec<Asking>;
    const PREFIX: &'static str = "unusual:";

    fn look(&self, node: &Node) -> Result<Vec<Asking>, JobError> {
        let Some(today) = node.now().date() else { return Ok(Vec::new()) };
        let (us, partners) = (node.ori(), node.partners());
        let mut conn = node.registry().reader()?;
        let all = snapshot(&mut conn, |conn| {
            // The last minutes of yesterday may not have been looked at yet.
            let days = [today.yesterday().unwrap_or(today), today];
            let Some(since) = days.first().and_then(|day| Instant::start_of(*day)) else { return Ok(Vec::new()) };
            let mut cuts = Vec::new();
            for date in days {
                cuts.push((date, cuts_on(conn, date)?));
            }
            let mut all = Vec::new();
            for text in search::partners_since(conn, Kind::QueryAnswered, since)? {
                let Some(partner) = text.parse().ok().and_then(|ori| partners.find(ori)) else { continue };
                let new = !search::any_before(conn, Kind::QueryAnswered, partner.ori(), since)?;
                let ids = documents::ids(conn, Some(partner.ori()))?;
                let of = |(date, cuts): &(Date, Cuts)| day(conn, [us, partner.ori()], &ids, *date, cuts);
                let days = cuts.iter().map(of).collect::<QueryResult<_>>()?;
                all.push(Asking { ori: partner.ori(), name: partner.party().legal_name.clone(), new, days });
            }
            Ok::<_, diesel::result::Error>(all)
        })?;
        Ok(all)
    }

    fn due(world: &Vec<Asking>, _: Instant) -> Vec<Due> {
        world.iter().flat_map(Asking::due).collect()
    }
}

/// How many answers each limit cut on a day, by partner and rule.
type Cuts = BTreeMap<(String, String), i64>;

fn cuts_on(conn: &mut Conn, date: Date) -> QueryResult<Cuts> {
    let ends = date.tomorrow().ok().and_then(Instant::start_of);
    match Instant::start_of(date).zip(ends) {
        Some((begins, ends)) => search::cuts(conn, begins, ends),
        None => Ok(Cuts::new()),
    }
}

/// What `partner` asked `us` on a day, under the agreements `ids`.
fn day(conn: &mut Conn, [us, partner]: [Ori; 2], ids: &[AgreementId], date: Date, cuts: &Cuts) -> QueryResult<Day> {
    let first = date.saturating_sub(jiff::Span::new().days(LOOK_BACK_DAYS));
    let (mut by_day, mut quotas): (BTreeMap<Date, i64>, _) = (BTreeMap::new(), Vec::new());
    for id in ids {
        let used = exchanged::used_from(conn, *id, first, date)?;
        for (day, questions) in &used {
            *by_day.entry(*day).or_default() += questions;
        }
        let Some(today) = used.get(&date) else { continue };
        let found = documents::find(conn, *id)?;
        let grant = found.as_ref().and_then(|(_, agreement)| agreement.query_grant(us, partner));
        quotas.extend(grant.map(|grant| (*id, *today, i64::from(grant.daily_quota))));
    }
    let questions = by_day.remove(&date).unwrap_or(0);
    let before = by_day.into_values().rev().filter(|questions| *questions > 0).take(ACTIVE_DAYS).collect();
    let cut = |rule: Rule| Some((rule, *cuts.get(&(partner.to_string(), rule.as_str().to_owned()))?));
    Ok(Day { date, questions, before, quotas, cut: LIMITS.into_iter().filter_map(cut).collect() })
}

impl Asking {
    /// All that is to be said of it.
    fn due(&self) -> Vec<Due> {
        let mut all = Vec::new();
        if self.new {
            let says = "It never asked before. See that its agreement, its people and its reasons are what you expect.";
            all.push(self.say("first", None, "asks for the first time", says));
        }
        for day in &self.days {
            let date = Some(day.date);
            all.extend(day.many().map(|says| self.say("volume", date, "asks far more than it does", &says)));
            all.extend(day.near_quota().map(|says| self.say("quota", date, "is about to use up its quota", &says)));
            all.extend(day.cut().map(|says| self.say("edge", date, "asks at the edge of its grant", &says)));
        }
        all
    }

    fn say(&self, what: &str, date: Option<Date>, title: &str, says: &str) -> Due {
        let Self { ori, name, .. } = self;
        let on = date.map(|date| format!(" on {date}")).unwrap_or_default();
        let dedup = match date {
            Some(date) => format!("{}{what}:{ori}:{date}", Unusual::PREFIX),
            None => format!("{}{what}:{ori}", Unusual::PREFIX),
        };
        let body = format!(
            "{name} ({ori}) {title}{on}.\n{says}\n\n\
             To see what it asked:  concordat trail search --partner {ori} --kind query.answered --as YOUR_USERNAME\n\
             To stop it at once:    concordat agreement suspend ID --reason \"...\" --as YOUR_USERNAME\n\
             This mail names no plate, no person and no case.\n"
        );
        let subject = format!("{name} ({ori}) {title}{on}");
        let reason = format!("{ori} {title}{on}");
        Due { notice: Notice { dedup, audience: Audience::Agreements, subject, body }, reason }
    }
}

impl Day {
    /// The number of questions that it has on a usual day: the median of the days before, 0 without any.
    fn usual(&self) -> i64 {
        let mut sorted: Vec<i64> = self.before.iter().copied().take(ACTIVE_DAYS).collect();
        sorted.sort_unstable();
        let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0);
        i64::midpoint(lower, upper)
    }

    fn many(&self) -> Option<String> {
        let (questions, usual) = (self.questions, self.usual());
        let days = self.before.len().min(ACTIVE_DAYS);
        if questions < MANY.max(usual.saturating_mul(FACTOR)) {
            return None;
        }
        Some(if days == 0 {
            format!("{questions} questions were answered, and there is no day before to compare with.")
        } else {
            format!(
                "{questions} questions were answered; the median of the last {days} days on which it asked is {usual}."
            )
        })
    }

    fn near_quota(&self) -> Option<String> {
        let near = |(_, used, quota): &&(AgreementId, i64, i64)| used.saturating_mul(10) >= quota.saturating_mul(9);
        let says = |(id, used, quota)| {
            format!("{used} of the {quota} questions a day are used that agreement {id} allows; the rest is denied.")
        };
        let all: Vec<String> = self.quotas.iter().filter(near).copied().map(says).collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }

    fn cut(&self) -> Option<String> {
        let often = |count: i64| count >= EDGE && count.saturating_mul(EDGE_SHARE) >= self.questions;
        let says = |(rule, count): (&Rule, &i64)| {
            let what = match rule {
                Rule::Lookback => "asked for reads older than the grant shows",
                Rule::Area => "asked for a wider area than the grant has",
                _ => "found more reads than the grant lets it have at once",
            };
            format!("{count} of its {} answered questions {what}.", self.questions)
        };
        let all: BTreeSet<String> = self.cut.iter().filter(|(_, count)| often(**count)).map(says).collect();
        (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(questions: i64, before: &[i64]) -> Day {
        let date = "2026-11-26".parse().unwrap();
        Day { date, questions, before: before.to_vec(), quotas: Vec::new(), cut: BTreeMap::new() }
    }

    fn asking(new: bool, days: Vec<Day>) -> Asking {
        Asking { ori: "CA0990100".parse().unwrap(), name: "Birch City Police".to_owned(), new, days }
    }

    fn keys(world: &Vec<Asking>) -> Vec<String> {
        let now = Instant::from_micros(0);
        Unusual::due(world, now).into_iter().map(|due| due.notice.dedup).collect()
    }

    #[test]
    fn many_is_three_times_the_median_and_fifty_at_least() {
        for (questions, before, many) in [
            (49, &[] as &[i64], false),
            (50, &[], true),
            (49, &[1, 1, 1], false),
            (50, &[1, 1, 1], true),
            (59, &[20, 20, 20], false),
            (60, &[20, 20, 20], true),
            // One day of many before, or of few, does not move the median.
            (60, &[5000, 20, 20, 20, 1], true),
            (299, &[100; 28], false),
            (300, &[100; 28], true),
            // The mean of the middle two.
            (89, &[20, 40], false),
            (90, &[20, 40], true),
        ] {
            assert_eq!(day(questions, before).many().is_some(), many, "{questions} after {before:?}");
        }
        // What is further back than 28 days on which it asked counts for nothing.
        let mut long = vec![20; 28];
        long.extend([1000; 100]);
        assert_eq!(day(60, &long).usual(), 20);
    }

    #[test]
    fn the_last_tenth_of_a_quota_is_told() {
        let id = AgreementId::new("2026-10-01T00:00:00Z".parse().unwrap(), [1; 10]);
        for (used, quota, near) in
            [(899, 1000, false), (900, 1000, true), (1000, 1000, true), (8, 9, false), (1, 1, true)]
        {
            let day = Day { quotas: vec![(id, used, quota)], ..day(used, &[1000]) };
            assert_eq!(day.near_quota().is_some(), near, "{used} of {quota}");
        }
    }

    #[test]
    fn answers_that_a_limit_cut_are_told_from_ten_on_when_they_are_a_tenth() {
        for (cut, questions, told) in [(9, 9, false), (10, 10, true), (10, 100, true), (10, 101, false)] {
            for rule in LIMITS {
                let day = Day { cut: BTreeMap::from([(rule, cut)]), ..day(questions, &[1000]) };
                assert_eq!(day.cut().is_some(), told, "{cut} of {questions}");
            }
        }
    }

    #[test]
    fn each_is_said_once_for_each_partner_and_day_and_the_first_question_once_for_ever() {
        let busy =
            |date: &str| Day { date: date.parse().unwrap(), cut: BTreeMap::from([(Rule::Rows, 99)]), ..day(99, &[]) };
        let world = vec![asking(true, vec![busy("2026-11-25"), busy("2026-11-26")])];
        assert_eq!(
            keys(&world),
            [
                "unusual:first:CA0990100",
                "unusual:volume:CA0990100:2026-11-25",
                "unusual:edge:CA0990100:2026-11-25",
                "unusual:volume:CA0990100:2026-11-26",
                "unusual:edge:CA0990100:2026-11-26",
            ]
        );
        assert_eq!(keys(&vec![asking(false, vec![day(0, &[]), day(3, &[2, 4])])]), Vec::<String>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever asks as on any of its days, or less than that is at least half of them, is not told of; more questions
        /// are never told of less; and no number makes it stumble.
        #[test]
        fn a_usual_day_is_never_many_and_more_is_never_less(
            before in proptest::collection::vec(0_i64..2000, 0..40),
            questions in 0_i64..10_000,
            more in 0_i64..i64::MAX / 2,
        ) {
            let usual = day(questions, &before).usual();
            prop_assert!(before.is_empty() || before.iter().take(ACTIVE_DAYS).any(|one| *one <= usual));
            prop_assert!(before.is_empty() || before.iter().take(ACTIVE_DAYS).any(|one| *one >= usual));
            prop_assert!(usual < MANY && questions < MANY || day(questions.min(usual), &before).many().is_none() || usual == 0);
            if day(questions, &before).many().is_some() {
                prop_assert!(questions >= MANY && questions >= FACTOR * usual);
                prop_assert!(day(questions + more, &before).many().is_some());
            }
            let one = asking(true, vec![day(questions, &before)]);
            prop_assert_eq!(one.due(), one.due());
        }
    }
}
