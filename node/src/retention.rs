//! Deleting what the trail's entries say after its retention (V-14, IX-05; XI): message, note and their salts together, with
//! the receipts that belong to them and the rows of hits; never before two years of the calendar, never under a hold, never what the node stands
//! on (see [`agreements::retention`]). Leaves and tiles stay, so that the tree verifies.
//!
//! Each batch is one commit: what it deletes, and the certificate that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::entry::Kind;
use agreements::hold::{About, Covers};
use agreements::ids::{Ori, RequestId};
use agreements::retention::{CLAUSES, kept_until};
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::Serialize;

use crate::confirming::{self, Unconfirmed};
use crate::db::{Conn, DbError, RecordError, Tx};
use crate::exchange::Failure;
use crate::node::{Node, log_vkey};
use crate::people::{self, Refusable};
use crate::publishing;
use crate::registry::accounts::{Action, operator};
use crate::registry::{exchanged, hits, holds};
use crate::trail::deleted::{self, Deleted, MISSING};
use crate::trail::expiring::{self, Saying};
use crate::trail::verify::{self, VerifyError};
use crate::trail::{Facts, head};

/// How many entries are looked at in one commit: a twentieth of a second's work, for which others wait.
pub const BATCH: i64 = 1000;

/// Why nothing more is deleted. What was deleted before has its certificates.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A rule refuses it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No quorum of witnesses vouches for the trail, or entries are hidden.
    #[error("nothing is deleted: {0}")]
    Unready(#[source] Failure),
    /// Nobody else says that it is the time that this node's clock says.
    #[error("nothing deleted: {0}")]
    Unconfirmed(#[source] Unconfirmed),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// The registry failed.
    #[error("the registry: {0}")]
    Store(#[from] Error),
    /// The key of the log cannot be read.
    #[error("the log's key: {0}")]
    Key(String),
    /// The work on a thread of its own ended in a panic.
    #[error("verifying the trail ended in a panic, which is a fault of this program")]
    Panicked,
    /// It is deleted, and what was overwritten may still stand beside the file.
    #[error(
        "what was deleted is not gone from the database's log yet, because somebody reads: run `concordat retention run` again"
    )]
    NotErased,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many entries say nothing any more.
    pub deleted: u64,
    /// How many receipts went with them.
    pub receipts: u64,
    /// How many certificates say so.
    pub certificates: u64,
    /// How many were due, and are held.
    pub held: u64,
    /// How many are not as they were recorded: nothing is decided about them.
    pub unclear: u64,
    /// Whether the caller stopped it before its end.
    pub stopped: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// The trail is verified: so many entries of so many.
    Verifying(u64, u64),
    /// So many entries say nothing any more.
    Deleted(u64),
}

/// What stands, of what is old enough to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Due {
    /// How many entries may be deleted.
    pub due: u64,
    /// How many could be, were they not held.
    pub held: u64,
    /// The position of the first that may be deleted.
    #[serde(skip)]
    pub first: Option<u64>,
}

/// By what it is judged whether something may be deleted.
struct Judge {
    holds: Vec<Covers>,
    /// The questions to which single entries that are held came in answer.
    questions: BTreeSet<i64>,
    now: Instant,
    years: u16,
}

enum Verdict {
    Due,
    NotYet,
    Held,
}

impl Judge {
    /// With the holds of this state of the database. Where they cannot be told, nothing may be deleted: the inner error.
    fn read(conn: &mut Conn, now: Instant, years: u16) -> QueryResult<Refusable<Self>> {
        match holds::protecting(conn)? {
            Ok(holds) => Ok(Ok(Self { questions: questions_of(conn, &holds)?, holds, now, years })),
            Err(what) => Ok(Err(format!(
                "nothing is deleted, because it cannot be told what is held: {what}; run `concordat trail verify`"
            ))),
        }
    }

    fn verdict(&self, conn: &mut Conn, saying: &Saying) -> QueryResult<Verdict> {
        if kept_until(saying.leaf.at, self.years).is_none_or(|until| self.now < until) {
            return Ok(Verdict::NotYet);
        }
        Ok(if self.holds(conn, saying)? { Verdict::Held } else { Verdict::Due })
    }

    fn holds(&self, conn: &mut Conn, saying: &Saying) -> QueryResult<bool> {
        if self.holds.is_empty() {
            return Ok(false);
        }
        if self.questions.contains(&saying.index) || self.covers(saying) {
            return Ok(true);
        }
        // What came of a question is held with the question, which alone says what it was about.
        let question = match saying.leaf.kind {
            Kind::QueryReceived => expiring::question_of(conn, saying.index, &saying.message)?,
            _ => None,
        };
        let Some(index) = question else { return Ok(false) };
        Ok(expiring::one(conn, index)?.is_some_and(|question| self.covers(&question)))
    }

    fn covers(&self, saying: &Saying) -> bool {
        self.holds.iter().any(|covers| covered_by(covers, saying))
    }
}

/// Whether a hold covers an entry for what the entry itself says.
fn covered_by(covers: &Covers, saying: &Saying) -> bool {
    let Facts { partner, username, reference, plate, .. } = &saying.facts;
    // What is about several agencies is about each of them: the index has room for one. Nothing is read for who does not ask.
    let mut partners: Vec<Ori> = partner.iter().copied().collect();
    if covers.partner.is_some() {
        partners.extend(expiring::partners_of(&saying.message));
    }
    covers.covers(&About {
        rid: saying.leaf.rid,
        at: saying.leaf.at,
        partners: &partners,
        plate: plate.as_deref(),
        reference: reference.as_deref(),
        username: username.as_deref(),
    })
}

/// The questions of those single entries that say what came of one: without it nobody knows what they were about.
fn questions_of(conn: &mut Conn, holds: &[Covers]) -> QueryResult<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    for entry in holds.iter().flat_map(|covers| &covers.entries) {
        found.extend(expiring::question_of_entry(conn, *entry)?);
    }
    Ok(found)
}

/// How many of the entries that may ever be deleted these covers name today, what came of questions apart.
///
/// # Errors
/// The registry failed.
pub fn covered(conn: &mut Conn, covers: &Covers) -> QueryResult<u64> {
    let terms = Covers { entries: Vec::new(), ..covers.clone() };
    let (mut count, mut after) = (0_u64, -1);
    while terms.has_terms()
        && let Some(page) = expiring::candidates(conn, &terms, after, BATCH)?
    {
        after = page.last;
        let covered = page.saying.iter().filter(|saying| covered_by(&terms, saying)).count();
        count = count.saturating_add(covered as u64);
    }
    for entry in &covers.entries {
        let single = expiring::by_rid(conn, *entry)?.is_some_and(|saying| !covered_by(&terms, &saying));
        count = count.saturating_add(u64::from(single));
    }
    Ok(count)
}

/// What may be deleted at `now`, and what is held. Stops at the first that may be when only that is wanted.
///
/// # Errors
/// The registry failed; the inner one says why nothing may be deleted at all.
pub fn due(conn: &mut Conn, now: Instant, years: u16, only_first: bool) -> QueryResult<Refusable<Due>> {
    let judge = match Judge::read(conn, now, years)? {
        Ok(judge) => judge,
        Err(why) => return Ok(Err(why)),
    };
    let (mut found, mut after) = (Due::default(), -1);
    while let Some(page) = expiring::page(conn, after, expiring::at_latest(now, years), BATCH)? {
        after = page.last;
        for saying in &page.saying {
            match judge.verdict(conn, saying)? {
                Verdict::NotYet => {}
                Verdict::Held => found.held += 1,
                Verdict::Due => {
                    found.due += 1;
                    found.first = found.first.or(Some(saying.index.cast_unsigned()));
                    if only_first {
                        return Ok(Ok(found));
                    }
                }
            }
        }
    }
    Ok(Ok(found))
}

/// Deletes what is due, in batches, until nothing is left or `stop` is set; ordered by the person `by`, or by the node itself.
///
/// # Errors
/// See [`RetentionError`]. What was deleted by then stays deleted, with its certificates.
pub async fn run(
    node: &Arc<Node>,
    by: Option<&str>,
    progress: impl Fn(Progress) + Send + Sync + 'static,
    stop: Arc<AtomicBool>,
) -> Result<Summary, RetentionError> {
    let progress = Arc::new(progress);
    let years = node.config().trail.details_kept_years.get();
    let mut summary = Summary::default();
    if let Some(by) = by {
        let allowed = operator(&mut node.registry().reader()?, by, Action::DeleteDetails)?;
        allowed.map_err(RetentionError::Refused)?;
    }
    ready(node)?;
    let found = due(&mut node.registry().reader()?, node.now(), years, true)?.map_err(RetentionError::Refused)?;
    if found.first.is_none() {
        summary.held = found.held;
        // An earlier run may have been ended before it came to this.
        erase(node).await?;
        return Ok(summary);
    }
    // What is hidden from whoever looks for holds must not be why something is deleted.
    publishing::disclosable(node).await.map_err(RetentionError::Unready)?;
    // One clock alone may say anything after its machine was off.
    match confirming::confirmed(node, &stop).await {
        Ok(()) => {}
        Err(Unconfirmed::Stopped) => {
            summary.stopped = true;
            return Ok(summary);
        }
        Err(why) => return Err(RetentionError::Unconfirmed(why)),
    }
    if !sound(node, &progress, &stop).await? {
        summary.stopped = true;
        return Ok(summary);
    }
    let mut after = -1;
    loop {
        if stop.load(Ordering::SeqCst) {
            summary.stopped = true;
            break;
        }
        ready(node)?;
        let by = by.map(str::to_owned);
        let recorded = node.registry().record(move |tx| batch(tx, after, years, by.as_deref())).await?;
        let batch = recorded.into_inner().map_err(RetentionError::Refused)?;
        let Some(batch) = batch else { break };
        after = batch.last;
        summary.deleted += batch.deleted;
        summary.receipts += batch.receipts;
        summary.certificates += u64::from(batch.deleted > 0);
        summary.held += batch.held;
        summary.unclear += batch.unclear;
        progress(Progress::Deleted(summary.deleted));
    }
    erase(node).await?;
    Ok(summary)
}

/// Whether the time is what it seems to be.
fn ready(node: &Node) -> Result<(), RetentionError> {
    let now = node.now();
    if let Some(jump) = node.clock().jump() {
        return Err(RetentionError::Unready(Failure::Jumped(jump)));
    }
    let (_, mark) = head::extent(&mut node.registry().reader()?)?;
    if now < mark {
        let why = format!(
            "nothing is deleted: the clock says {now}, but the trail already recorded {mark}: set the clock right"
        );
        return Err(RetentionError::Refused(why));
    }
    Ok(())
}

/// Verifies the trail: nothing is deleted from one of which it cannot be told what it held. False when it was stopped.
async fn sound<P: Fn(Progress) + Send + Sync + 'static>(
    node: &Arc<Node>,
    progress: &Arc<P>,
    stop: &Arc<AtomicBool>,
) -> Result<bool, RetentionError> {
    let vkey = log_vkey(node.config()).map_err(|error| RetentionError::Key(error.to_string()))?;
    let mut conn = node.registry().reader()?;
    let (progress, stop) = (Arc::clone(progress), Arc::clone(stop));
    let verified = tokio::task::spawn_blocking(move || {
        verify::verify(&mut conn, &vkey, &mut |done, all| progress(Progress::Verifying(done, all)), &stop)
    });
    let report = match verified.await.map_err(|_| RetentionError::Panicked)? {
        Ok(report) => report,
        Err(VerifyError::Cancelled) => return Ok(false),
        Err(VerifyError::Store(error)) => return Err(error.into()),
    };
    // What other hands took away is an alarm, and cannot be brought back; it says nothing of what is still there.
    match report.problems.iter().find(|problem| problem.what != MISSING) {
        None => Ok(true),
        Some(problem) => {
            let at = problem.index.map(|index| format!(" (entry {index})")).unwrap_or_default();
            let why = format!(
                "nothing is deleted from a trail that is not sound: {}{at}; run `concordat trail verify`",
                problem.what
            );
            Err(RetentionError::Refused(why))
        }
    }
}

struct Batch {
    last: i64,
    deleted: u64,
    receipts: u64,
    held: u64,
    unclear: u64,
}

/// One batch, inside its transaction: the rows go, and the certificate comes, or neither. `None` when there is nothing behind
/// `after` to be looked at.
fn batch(tx: &mut Tx<'_>, after: i64, years: u16, by: Option<&str>) -> QueryResult<Refusable<Option<Batch>>> {
    let now = tx.now();
    if let Some(by) = by
        && let Err(why) = operator(tx.conn(), by, Action::DeleteDetails)?
    {
        return Ok(Err(why));
    }
    let judge = match Judge::read(tx.conn(), now, years)? {
        Ok(judge) => judge,
        Err(why) => return Ok(Err(why)),
    };
    let Some(page) = expiring::page(tx.conn(), after, expiring::at_latest(now, years), BATCH)? else {
        return Ok(Ok(None));
    };
    let mut batch = Batch { last: page.last, deleted: 0, receipts: 0, held: 0, unclear: page.unclear as u64 };
    let mut going: Vec<Saying> = Vec::with_capacity(page.saying.len());
    for saying in page.saying {
        match judge.verdict(tx.conn(), &saying)? {
            Verdict::NotYet => {}
            Verdict::Held => batch.held += 1,
            Verdict::Due => going.push(saying),
        }
    }
    if going.is_empty() {
        return Ok(Ok(Some(batch)));
    }
    let entries = expiring::runs(going.iter().map(|saying| saying.index));
    let rids: Vec<RequestId> = going.iter().map(|saying| saying.leaf.rid).collect();
    batch.deleted = expiring::delete(tx.conn(), &entries)? as u64;
    batch.receipts = exchanged::forget(tx.conn(), &rids)? as u64;
    hits::forget(tx.conn(), &rids)?;
    if batch.deleted != going.len() as u64 {
        return Err(Error::NotFound);
    }
    let certificate = certificate(&going, entries, batch.receipts, years, by).ok_or(Error::NotFound)?;
    let facts = Facts { decision: Some("deleted".to_owned()), ..Facts::default() };
    match by {
        Some(by) => people::record(tx, Kind::RetentionDeleted, &certificate, by, facts)?,
        None => drop(people::record_by_node(tx, Kind::RetentionDeleted, &certificate, facts)?),
    }
    Ok(Ok(Some(batch)))
}

fn certificate(
    going: &[Saying],
    entries: Vec<(u64, u64)>,
    receipts: u64,
    years: u16,
    by: Option<&str>,
) -> Option<Deleted> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for saying in going {
        *kinds.entry(saying.leaf.kind.to_string()).or_default() += 1;
    }
    let hashes: Vec<Vec<u8>> = going.iter().map(|saying| saying.hash.0.to_vec()).collect();
    Some(Deleted {
        by: by.map(str::to_owned),
        clauses: CLAUSES.map(str::to_owned).to_vec(),
        count: going.len() as u64,
        entries,
        kinds,
        leaves: deleted::digest_of(&hashes),
        newest: going.iter().map(|saying| saying.leaf.at).max()?,
        oldest: going.iter().map(|saying| saying.leaf.at).min()?,
        receipts,
        v: 1,
        years,
    })
}

/// How often it is tried to empty the database's log, a second apart.
const TRIES: usize = 60;

/// Erased means erased: see [`crate::db::Db::erase_traces`].
async fn erase(node: &Node) -> Result<(), RetentionError> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        let db = node.registry().clone();
        let erased = tokio::task::spawn_blocking(move || db.erase_traces());
        if erased.await.map_err(|_| RetentionError::Panicked)?? {
            return Ok(());
        }
    }
    Err(RetentionError::NotErased)
}
