//! Discrepancies with partners, and which days were reconciled with them, as the trail's `discrepancy.opened`,
//! `discrepancy.closed` and `trail.reconciled` entries tell it. There is no table of them.

use std::collections::{BTreeMap, BTreeSet};

use agreements::discrepancy::Discrepancy;
use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::json;
use agreements::time::Instant;
use diesel::prelude::*;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::db::Conn;
use crate::trail::search;
use crate::trail::told::{self, Told, Which};

/// The message of a `discrepancy.closed` entry: what the custodian found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// The custodian.
    pub by: String,
    /// The case.
    pub discrepancy: RequestId,
    /// How it came about.
    pub explanation: String,
    /// The other agency.
    pub partner: Ori,
    /// Why it can be closed.
    pub reason: String,
    /// The version of this message.
    pub v: u16,
}

/// A case, open or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// The entry that opened it.
    pub id: RequestId,
    /// When that was.
    pub opened_at: Instant,
    /// What it says.
    #[serde(flatten)]
    pub opened: Discrepancy,
    /// When and how it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedAt>,
}

/// How a case was closed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosedAt {
    /// When.
    pub at: Instant,
    /// The record.
    pub record: Closed,
}

/// The counts of one side's entries of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Those that the partner lists, each in its log.
    pub listed: u64,
    /// Those of these that this side holds.
    pub matched: u64,
    /// Questions, pulls and events that it lists and that never came here.
    pub unheard: u64,
    /// Replies to this side that never came here. What they disclosed counts as disclosed.
    pub not_received: u64,
    /// Questions and pulls of this side on that day.
    pub asked: u64,
    /// Those of these to which the partner lists a reply.
    pub answered: u64,
    /// Entries that this side holds and that are of a log that the partner has ended: they verify, and were not compared.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub of_earlier_log: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A reply that the partner has and that never came here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotReceived {
    /// Its leaf hash.
    pub leaf: Digest,
    /// To what it replies: the leaf hash of our entry.
    pub of: Digest,
    /// Its id, with which the partner gives it again.
    pub rid: RequestId,
}

/// The message of a `trail.reconciled` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconciled {
    /// What was counted.
    pub counts: Counts,
    /// The day, of UTC.
    pub day: Date,
    /// How many discrepancies there were, whether or not their cases were opened before.
    pub differs: u64,
    /// The partner.
    pub partner: Ori,
    /// Under which head of the partner's log: its root.
    pub root: Digest,
    /// And its size.
    pub size: u64,
    /// The first replies that never came here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_received: Vec<NotReceived>,
    /// The first entries of the partner with which something is wrong, or in which it says so, and that have no case: those
    /// beyond what is opened in one run, and what it says and does not prove. By their leaf hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unopened: Vec<Digest>,
    /// The version of this message.
    pub v: u16,
}

impl Reconciled {
    /// Whether it found the same as another run of that day, whatever head it was under.
    #[must_use]
    pub fn found_the_same(&self, other: &Self) -> bool {
        let found = |of: &Self| (of.counts, of.differs, of.not_received.clone(), of.unopened.clone());
        found(self) == found(other)
    }

    /// Whether nothing differs, and the partner says of nothing that it does.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differs == 0 && self.unopened.is_empty()
    }
}

/// Every case, oldest first; the inner error says which entry is not as it was recorded.
pub fn all(conn: &mut Conn) -> QueryResult<Result<Vec<Case>, String>> {
    cases(conn, Which::All)
}

/// The cases that an index names, oldest first.
pub(crate) fn cases(conn: &mut Conn, which: Which) -> QueryResult<Result<Vec<Case>, String>> {
    let opened = match told::told(conn, Kind::DiscrepancyOpened, which)? {
        Ok(opened) => opened,
        Err(what) => return Ok(Err(what)),
    };
    let closed = told::told(conn, Kind::DiscrepancyClosed, which)?;
    Ok(closed.and_then(|closed| folded(&opened, &closed)))
}

/// What was opened, whether or not it was closed since, oldest first.
pub(crate) fn opened(conn: &mut Conn, which: Which) -> QueryResult<Result<Vec<Discrepancy>, String>> {
    let told = told::told(conn, Kind::DiscrepancyOpened, which)?;
    let read = |told: Told| json::parse(&told.message).map_err(|error| error.to_string());
    Ok(told.and_then(|told| told.into_iter().map(read).collect()))
}

fn folded(opened: &[Told], closed: &[Told]) -> Result<Vec<Case>, String> {
    let mut cases = Vec::with_capacity(opened.len());
    for Told { rid, at, message, .. } in opened {
        let opened: Discrepancy = json::parse(message).map_err(|error| error.to_string())?;
        cases.push(Case { id: *rid, opened_at: *at, opened, closed: None });
    }
    for Told { at, message, .. } in closed {
        let record: Closed = json::parse(message).map_err(|error| error.to_string())?;
        let case = cases.iter_mut().find(|case| case.id == record.discrepancy && case.closed.is_none());
        let case = case.ok_or_else(|| format!("a case was closed that was not open: {}", record.discrepancy))?;
        case.closed = Some(ClosedAt { at: *at, record });
    }
    Ok(cases)
}

/// What the last run of each day found, by partner.
pub type Runs = BTreeMap<Ori, BTreeMap<Date, Reconciled>>;

/// What the last run found of each day from `since` on, by partner; days of which the runs are older may be missing.
pub fn reconciled(conn: &mut Conn, since: Instant) -> QueryResult<Result<Runs, String>> {
    let from = search::first_from(conn, since)?;
    let told = match told::told(conn, Kind::TrailReconciled, Which::From(from.cast_unsigned()))? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let mut runs = Runs::new();
    for Told { message, .. } in told {
        let run: Reconciled = match json::parse(&message) {
            Ok(run) => run,
            Err(error) => return Ok(Err(error.to_string())),
        };
        runs.entry(run.partner).or_default().insert(run.day, run);
    }
    Ok(Ok(runs))
}

/// The partners with whom there are open cases.
#[must_use]
pub fn open(cases: &[Case]) -> BTreeSet<Ori> {
    cases.iter().filter(|case| case.closed.is_none()).map(|case| case.opened.partner).collect()
}

#[cfg(test)]
mod tests {
    use agreements::discrepancy::Differs;

    use super::*;

    fn at(day: i64) -> Instant {
        "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(day * Instant::DAY)
    }

    fn told(day: i64, random: u8, message: &impl Serialize) -> Told {
        let message = json::canonical(message).unwrap();
        Told { index: u64::from(random), rid: RequestId::new(at(day), [random; 10]), at: at(day), message }
    }

    #[test]
    fn a_case_is_open_until_its_entry_closes_it_and_is_closed_once() {
        let partner: Ori = "CA0990100".parse().unwrap();
        let opened = Discrepancy {
            v: 1,
            to: Vec::new(),
            partner,
            day: jiff::civil::date(2026, 11, 23),
            until: None,
            differs: Differs::LeftOut,
            about: Digest::of(b"entry"),
            rid: None,
            kind: None,
            other: None,
            evidence: Vec::new(),
            says: "it is not on its list".to_owned(),
        };
        let entries = [told(0, 1, &opened)];
        let record = Closed {
            by: "a".to_owned(),
            discrepancy: entries[0].rid,
            explanation: "its index was repaired".to_owned(),
            partner,
            reason: "the entry is there again".to_owned(),
            v: 1,
        };
        assert_eq!(open(&folded(&entries, &[]).unwrap()), BTreeSet::from([partner]));
        let cases = folded(&entries, &[told(1, 2, &record)]).unwrap();
        assert!(open(&cases).is_empty() && cases[0].closed.as_ref().unwrap().at == at(1));
        let twice = [told(1, 2, &record), told(2, 3, &record)];
        assert!(folded(&entries, &twice).unwrap_err().contains("not open"));
    }
}
