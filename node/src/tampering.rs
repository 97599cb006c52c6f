//! Rows that were changed by other hands: each table that decisions stand on is held to the trail, at start and every
//! minute. What is found is an alarm, and counts for nothing until it is what was recorded again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agreements::entry::Kind;
use agreements::ids::Ori;
use agreements::json;
use agreements::message::Answer;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;
use prometheus_client::encoding::EncodeLabelValue;
use tokio::sync::watch;

use crate::db::{Conn, Db, RecordError, steady};
use crate::exchange::standing;
use crate::jobs::Stop;
use crate::node::Node;
use crate::registry::{ag, agencies, agreements as documents, exchanged, holds, roster};
use crate::renewal::held;
use crate::trail::scrub::{self, Scrub};
use crate::trail::search::{self, Filter};
use crate::trail::told::Which;

/// How an answer with a permit is found.
const PERMITTED: &str = "permitted";

/// What can be held to the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
pub enum Table {
    /// Enrolled partners.
    Agency,
    /// Agreements and their event streams.
    Agreement,
    /// Findings of the Attorney General, and checks of the sources.
    Register,
    /// People.
    Account,
    /// Sealed packets and reviews.
    Paper,
    /// Questions answered, by day.
    DayUse,
    /// Holds.
    Hold,
    /// The trail's own columns.
    Leaf,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Agency,
        Self::Agreement,
        Self::Register,
        Self::Account,
        Self::Paper,
        Self::DayUse,
        Self::Hold,
        Self::Leaf,
    ];

    /// What follows from rows that are not as they were recorded.
    fn consequence(self) -> &'static str {
        match self {
            Self::Agency => "the partner is taken for a stranger",
            Self::Agreement => "the agreement counts for nothing",
            Self::Register => "no agency counts as checked, so no agreement is in force",
            Self::Account => "the account may do nothing",
            Self::Paper => "it counts as missing, and nothing that stands on it is signed",
            Self::DayUse => "the day's questions are counted again from the trail",
            Self::Hold => "nothing is deleted after its retention",
            Self::Leaf => "what is looked up by those columns cannot be relied on",
        }
    }
}

/// Something that is not as the trail has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Where.
    pub table: Table,
    /// What. Names no person and no plate.
    pub what: String,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the registry was changed by other hands: {}; {}. Find out who could, run `concordat trail verify`, and put \
             the row back from a backup",
            self.what,
            self.table.consequence()
        )
    }
}

/// What is looked up by the index of what entries are about, and decides something: an entry that the index hides could be a
/// suspension, narrower rules, or an authorization taken back.
const BY_INDEX: [Kind; 11] = [
    Kind::AgreementAcknowledged,
    Kind::AgreementEvent,
    Kind::ApprovalGiven,
    Kind::AuthorizationGiven,
    Kind::ChangeProposed,
    Kind::ChangeSettled,
    Kind::EventRecovered,
    Kind::PacketReceived,
    Kind::PacketSent,
    Kind::PeerEnrolled,
    Kind::RenewalReviewed,
];

/// How many leaves a look holds to their columns: a tenth of a second's work.
pub(crate) const SLICE: i64 = 10_000;
/// How many the round after a start does at a time: some hundredths of a second's work.
const PIECE: i64 = 2000;
/// How much longer than a piece took the round rests after it, so that it has a fifth of a processor at most.
const REST: i64 = 4;
/// How long it rests at least and at most, in microseconds.
const RESTS: (i64, i64) = (10_000, 5_000_000);
/// How many of the newest a start does.
pub(crate) const NEWEST: i64 = 200_000;

/// Everything that is not as the trail has it, at `now`; empty when the rows agree with it.
pub(crate) fn compare(conn: &mut Conn, us: Ori, now: Instant) -> QueryResult<Vec<Changed>> {
    steady(conn, |conn| {
        let mut changed = Vec::new();
        let mut add = |table, what: Vec<String>| changed.extend(what.into_iter().map(|what| Changed { table, what }));
        add(Table::Agency, told(agencies::objections(conn))?);
        add(Table::Agreement, told(of_agreements(conn, us))?);
        add(Table::Register, ag::sworn(conn, Which::All)?.err().into_iter().collect());
        add(Table::Account, roster::objections(conn)?);
        add(Table::Paper, told(held::objections(conn))?);
        add(Table::DayUse, told(of_use(conn, now))?);
        add(Table::Hold, holds::all(conn)?.err().into_iter().collect());
        let misfiled = scrub::misfiled(conn, &BY_INDEX)?;
        let what = |idx| format!("entry {idx} of the trail is found by something else than it says");
        add(Table::Leaf, misfiled.into_iter().map(what).collect());
        Ok::<_, Error>(changed)
    })
}

/// A row that does not even parse is an objection like any other.
fn told(objections: QueryResult<Vec<String>>) -> QueryResult<Vec<String>> {
    match objections {
        Err(Error::DeserializationError(error)) => Ok(vec![error.to_string()]),
        // What rows stand on is never deleted after its retention.
        Err(Error::NotFound) => {
            Ok(vec!["an entry of the trail that rows stand on is missing, or what it says".to_owned()])
        }
        objections => objections,
    }
}

/// Leaves whose columns say something else than they do, among the next of the trail.
pub(crate) fn of_leaves(conn: &mut Conn, scrub: &Scrub, count: i64) -> QueryResult<Vec<Changed>> {
    let wrong = scrub.turn(conn, count)?;
    let what = |idx| format!("the columns of entry {idx} of the trail say something else than the entry");
    Ok(wrong.into_iter().map(|idx| Changed { table: Table::Leaf, what: what(idx) }).collect())
}

fn of_agreements(conn: &mut Conn, us: Ori) -> QueryResult<Vec<String>> {
    let mut objections = Vec::new();
    for (partner, _) in agencies::descriptors(conn)? {
        if !standing::complete(conn, us, partner)? {
            objections.push(format!("events between {us} and {partner} are missing that the trail recorded"));
        }
    }
    for partner in documents::counterparts(conn)? {
        objections.extend(standing::family_objection(conn, partner)?);
    }
    Ok(objections)
}

/// The day of `now`, and when it begins and ends.
fn day(now: Instant) -> Option<(Date, Instant, Instant)> {
    let date = now.date()?;
    Some((date, Instant::start_of(date)?, Instant::start_of(date.tomorrow().ok()?)?))
}

/// Whether as many questions of each partner are counted today as the trail has answers to it with a permit.
fn of_use(conn: &mut Conn, now: Instant) -> QueryResult<Vec<String>> {
    let Some((date, begins, ends)) = day(now) else { return Ok(Vec::new()) };
    let partners = documents::partners(conn)?;
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for (agreement, questions) in exchanged::uses(conn, date)? {
        let partner = partners.get(&agreement).cloned().unwrap_or(agreement);
        let sum = counted.entry(partner).or_default();
        *sum = sum.saturating_add(questions);
    }
    let answered = search::decided(conn, Kind::QueryAnswered, PERMITTED, begins, ends)?;
    let differs = |partner: &&String| counted.get(*partner).unwrap_or(&0) != answered.get(*partner).unwrap_or(&0);
    let said = |partner: &String| format!("the questions of {partner} on {date} were counted otherwise than answered");
    let all: BTreeSet<&String> = counted.keys().chain(answered.keys()).collect();
    Ok(all.into_iter().filter(differs).map(said).collect())
}

/// Counts the questions of the day of `now` again, from the answers in the trail.
///
/// # Errors
/// Nothing was changed.
async fn recount(db: &Db, now: Instant) -> Result<(), RecordError> {
    let Some((date, begins, ends)) = day(now) else { return Ok(()) };
    // Under the head's lock: no process answers, and counts, in between.
    let counted = db.record(move |tx| {
        let conn = tx.conn();
        let mut filter = Filter {
            since: Some(begins),
            until: Some(ends),
            kind: Some(Kind::QueryAnswered),
            decision: Some(PERMITTED.to_owned()),
            ..Filter::default()
        };
        let mut uses: BTreeMap<String, i64> = BTreeMap::new();
        loop {
            let page = search::search(conn, &filter)?;
            let Some(last) = page.last() else { break };
            filter.before_index = Some(last.index);
            for detail in page.into_iter().filter_map(|row| row.detail) {
                let answer: Answer =
                    json::parse(&detail.message).map_err(|error| Error::DeserializationError(error.into()))?;
                for to in answer.to {
                    *uses.entry(to.agreement.to_string()).or_default() += 1;
                }
            }
        }
        exchanged::set_uses(conn, date, &uses)
    });
    counted.await.map(drop)
}

/// Holds all that was in the trail before the newest at the start to its columns, piece by piece: what the minute's look comes
/// to only after hours in a long trail is found in minutes. A trail of 15 million entries takes about a quarter of an hour and a
/// fifth of a processor.
pub async fn go_round(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    loop {
        let begun = node.clock().ticks();
        let looking = Arc::clone(&node);
        let looked = tokio::task::spawn_blocking(move || looking.check_columns(PIECE)).await;
        match looked {
            Ok(Ok(0)) => return,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the trail's columns could not be compared with it; trying again");
            }
            Err(error) => return tracing::error!(%error, "comparing the trail's columns with it ended in a panic"),
        }
        let took = node.clock().ticks().saturating_sub(begun);
        let rest = took.saturating_mul(REST).clamp(RESTS.0, RESTS.1);
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(Duration::from_micros(rest.cast_unsigned())) => {}
        }
    }
}

/// Compares once, on a thread that may block, and mends what can be: a day's count.
pub async fn look(node: Arc<Node>) {
    let looking = Arc::clone(&node);
    let looked = tokio::task::spawn_blocking(move || looking.compare_rows(SLICE)).await;
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::error!(%error, "the registry's rows could not be compared with the trail"),
        Err(error) => return tracing::error!(%error, "comparing the registry's rows with the trail ended in a panic"),
    }
    if node.changed().iter().any(|changed| changed.table == Table::DayUse)
        && let Err(error) = recount(node.registry(), node.now()).await
    {
        tracing::error!(%error, "the day's questions are not counted again yet");
    }
}
