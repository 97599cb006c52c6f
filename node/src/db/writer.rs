//! The sequencer: one thread that owns the writing connection and commits what waits, many jobs at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use agreements::ids::RequestId;
use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;

use super::checkpoint::Checkpointer;
use super::error::Failure;
use super::open::Source;
use super::recorded::Sealed;
use super::task::{Record, Task, Write};
use super::transaction::{begin, commit, depth, rollback, savepoint};
use super::tx::Batch;
use super::{Commits, Conn, OnFatal, RecordError, Tx};
use crate::clock::Clock;
use crate::trail::append::{self, Appended};
use crate::trail::head::Head;
use crate::trail::note::{Checkpoint, LogSigner};
use crate::trail::proof;
use crate::trail::tiles::{TileCache, Tree};

/// How many jobs share one commit.
const BATCH: usize = 256;

pub(super) struct Writer {
    source: Source,
    /// `None` after a failure, until the next turn opens a new one.
    conn: Option<Conn>,
    signer: Arc<dyn LogSigner>,
    clock: Arc<dyn Clock>,
    /// The highest head that this process has seen. Every later one must extend it.
    seen: Head,
    commits: Commits,
    checkpointer: Option<Checkpointer>,
}

/// A batch whose rows are written and proven, but not yet committed.
struct Prepared {
    head: Head,
    /// For each job: its entries, or why it was rolled back.
    outcomes: Vec<QueryResult<Vec<Arc<Appended>>>>,
    proofs: HashMap<u64, Arc<str>>,
    first: Option<RequestId>,
    /// Who signed the head, if that is another than before.
    signer: Option<Arc<dyn LogSigner>>,
}

impl Writer {
    pub(super) fn new(
        source: Source,
        conn: Conn,
        signer: Arc<dyn LogSigner>,
        clock: Arc<dyn Clock>,
        seen: Head,
        commits: Commits,
    ) -> Self {
        let checkpointer = source.file().map(Checkpointer::of);
        Self { source, conn: Some(conn), signer, clock, seen, commits, checkpointer }
    }

    /// Works until the last sender is gone, or until this process must not record any more.
    pub(super) fn run(mut self, tasks: Receiver<Task>, on_fatal: OnFatal) {
        while let Ok(first) = tasks.recv() {
            let reason = match catch_unwind(AssertUnwindSafe(|| self.turn(first, &tasks))) {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(_) => "a panic while recording".to_owned(),
            };
            // Whoever waits or comes later is told that nothing is recorded any more.
            drop((self, tasks));
            tracing::error!(%reason, "the registry's writer stops");
            on_fatal(&reason);
            return;
        }
    }

    /// Commits `first` and what waits behind it, in the order of the queue. An error says why recording ends.
    fn turn(&mut self, first: Task, tasks: &Receiver<Task>) -> Result<(), String> {
        let mut records = Vec::new();
        let mut next = Some(first);
        while let Some(task) = next {
            match task {
                Task::Record(record) => records.push(record),
                Task::Write(write) => {
                    self.batch(records)?;
                    return self.write(write);
                }
            }
            next = if records.len() < BATCH { tasks.try_recv().ok() } else { None };
        }
        self.batch(records)
    }

    fn batch(&mut self, mut records: Vec<Box<dyn Record>>) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        let Prepared { head, outcomes, proofs, .. } = match self.attempt(&mut records) {
            Ok(committed) => committed,
            Err(failure) => {
                tell_all(records, &failure);
                return ended(failure, "record");
            }
        };
        let checkpoint: Arc<str> = head.checkpoint.into();
        for (record, outcome) in records.into_iter().zip(outcomes) {
            record.finish(match outcome {
                Ok(entries) => Sealed::new(entries, &proofs, &checkpoint).ok_or(RecordError::Stopped),
                Err(error) => Err(RecordError::Job(error)),
            });
        }
        Ok(())
    }

    /// Commits the batch, or nothing of it. A connection that failed is given up: the next turn opens a new one.
    fn attempt(&mut self, records: &mut [Box<dyn Record>]) -> Result<Prepared, Failure> {
        let mut conn = self.begun()?;
        let prepared = match self.prepare(&mut conn, records) {
            Ok(prepared) => prepared,
            Err(failure) => {
                // A statement may have ended the transaction by itself, or have left less of the connection than it needs.
                if !matches!(failure, Failure::Store(_)) && rollback(&mut conn).is_ok() {
                    self.conn = Some(conn);
                }
                return Err(failure);
            }
        };
        if let Err(error) = commit(&mut conn) {
            settle(&mut conn, prepared.first).map_err(Failure::fatal)?;
            return Err(error.into());
        }
        self.grown(conn);
        let entries = prepared.head.size.saturating_sub(self.seen.size);
        self.commits.entries.inc_by(entries);
        self.commits.batches.inc_by(u64::from(entries > 0));
        self.seen = prepared.head.clone();
        if let Some(signer) = &prepared.signer {
            self.signer = Arc::clone(signer);
        }
        Ok(prepared)
    }

    /// A connection with a transaction on it. The one that was kept may be dead (the server was restarted, a firewall
    /// forgot it), and nothing was done on it yet: a new one takes its place. A file's is never dead, only busy.
    fn begun(&mut self) -> Result<Conn, Failure> {
        if let Some(mut conn) = self.conn.take() {
            match begin(&mut conn) {
                Ok(()) => return Ok(conn),
                Err(error) if matches!(conn, Conn::Sqlite(_)) => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "the database's connection was lost; opening another"),
            }
        }
        let mut conn = self.source.recorder()?;
        begin(&mut conn)?;
        Ok(conn)
    }

    /// Does everything that can fail before the commit.
    fn prepare(&mut self, conn: &mut Conn, records: &mut [Box<dyn Record>]) -> Result<Prepared, Failure> {
        let mut head = Head::lock(conn)?;
        let cache = TileCache::default();
        self.check_extends(&Tree::new(conn, &cache), &head)?;
        // The clock is read under the lock: no other process can have recorded a later instant since.
        if self.clock.now() < head.mark {
            return Err(Failure::ClockBack(head.mark));
        }
        let mut batch = Batch::default();
        let mut signer = None;
        let mut outcomes = Vec::with_capacity(records.len());
        for record in records {
            outcomes.push(self.run_job(conn, &mut head, &mut batch, &mut signer, record.as_mut())?);
        }
        batch.write(conn, batch.len())?;
        let hashes: Vec<_> = batch.appended().map(|entry| entry.hash).collect();
        if !hashes.is_empty() {
            let tree = Tree::new(conn, &cache);
            head.size = tree.extend(head.size, &hashes)?;
            head.root = tree.root(head.size)?;
            let signs = signer.as_ref().unwrap_or(&self.signer);
            let origin = signs.vkey().name().to_owned();
            head.checkpoint = Checkpoint { origin, size: head.size, root: head.root }.sign(signs.as_ref())?;
        }
        head.write(conn)?;
        let tree = Tree::new(conn, &cache);
        let mut proofs = HashMap::new();
        for entry in outcomes.iter().flatten().flatten() {
            if let Entry::Vacant(vacant) = proofs.entry(entry.index) {
                let path = tree.path(head.size, entry.index)?;
                vacant.insert(proof::text(entry.index, &path, &head.checkpoint).into());
            }
        }
        Ok(Prepared { head, outcomes, proofs, first: batch.appended().next().map(|entry| entry.rid), signer })
    }

    /// Checks that `head` is this log's, is what the tiles say, and extends the highest that this process has seen. Where
    /// another process let the log have another key, that one signs here from now on.
    fn check_extends(&mut self, tree: &Tree<'_>, head: &Head) -> Result<(), Failure> {
        if head.size < self.seen.size || head.epoch < self.seen.epoch {
            return Err(Failure::fatal("the trail was rolled back under this process"));
        }
        if head.checkpoint != self.seen.checkpoint
            && let Err(error) = head.check_statement(self.signer.vkey())
        {
            let others = self.signer.others();
            let other = others.into_iter().find(|other| head.check_statement(other.vkey()).is_ok());
            self.signer = other.ok_or(error)?;
            tracing::info!(log = ?self.signer.vkey(), "the log has another key now, and signs with it");
        }
        if tree.root(head.size)? != head.root {
            return Err(Failure::fatal("the trail's tiles do not have the root that its head states"));
        }
        if tree.root(self.seen.size)? != self.seen.root {
            return Err(Failure::fatal("the trail was forked under this process"));
        }
        Ok(())
    }

    /// Runs one job, in a savepoint if it uses the connection. The inner result is the job's own; the outer one ends the
    /// batch.
    ///
    /// A job that goes on after a statement of its own failed has, on PostgreSQL, a savepoint that cannot be released:
    /// it is rolled back alone, like one that says that it failed.
    fn run_job(
        &self,
        conn: &mut Conn,
        head: &mut Head,
        batch: &mut Batch,
        signer: &mut Option<Arc<dyn LogSigner>>,
        job: &mut dyn Record,
    ) -> Result<QueryResult<Vec<Arc<Appended>>>, Failure> {
        let outer = depth(conn).unwrap_or_default();
        let now = self.clock.now().max(head.mark);
        let mut tx = Tx::new(conn, now, head.epoch, head.size, batch);
        let mut result = job.run(&mut tx);
        if let Some(error) = tx.broken() {
            return Err(error.into());
        }
        if tx.has_savepoint() {
            result = match result {
                Ok(()) => match tx.release() {
                    Err(error) if tx.depth() != Some(outer) => return Err(error.into()),
                    released => released,
                },
                Err(error) => {
                    tx.roll_back()?;
                    Err(error)
                }
            };
        }
        if let Err(error) = result {
            tx.undo();
            return Ok(Err(error));
        }
        head.epoch = tx.epoch;
        head.mark = now;
        if tx.signer.is_some() {
            *signer = tx.signer.take();
        }
        Ok(Ok(std::mem::take(&mut tx.entries)))
    }

    fn write(&mut self, mut write: Box<dyn Write>) -> Result<(), String> {
        match self.attempt_write(write.as_mut()) {
            Ok(outcome) => {
                write.finish(outcome.map_err(RecordError::Job));
                Ok(())
            }
            Err(failure) => {
                let name = write.name();
                write.finish(Err(failure.told()));
                ended(failure, name)
            }
        }
    }

    fn attempt_write(&mut self, write: &mut dyn Write) -> Result<QueryResult<()>, Failure> {
        let mut conn = self.begun()?;
        // In a savepoint: PostgreSQL reports no error at the COMMIT of a transaction that it has given up because the job
        // went on after a statement failed, but it does when a savepoint is released.
        savepoint(&mut conn)?;
        if let Err(error) = write.run(&mut conn).and_then(|()| commit(&mut conn)) {
            if depth(&mut conn).is_some_and(|depth| (0..depth).all(|_| rollback(&mut conn).is_ok())) {
                self.conn = Some(conn);
            }
            return Ok(Err(error));
        }
        if let Err(error) = commit(&mut conn) {
            settle(&mut conn, None).map_err(Failure::fatal)?;
            return Err(error.into());
        }
        self.grown(conn);
        Ok(Ok(()))
    }

    /// A commit by `conn`, which is kept, made the write-ahead log longer.
    fn grown(&mut self, mut conn: Conn) {
        if let (Some(checkpointer), Conn::Sqlite(c)) = (&self.checkpointer, &mut conn) {
            checkpointer.wake(c);
        }
        self.conn = Some(conn);
    }
}

fn tell_all(records: Vec<Box<dyn Record>>, failure: &Failure) {
    for record in records {
        record.finish(Err(failure.told()));
    }
}

/// Logs a failure; an error is the reason for which recording ends.
fn ended(failure: Failure, job: &'static str) -> Result<(), String> {
    match failure {
        Failure::Fatal(reason) => return Err(reason),
        Failure::ClockBack(mark) => tracing::error!(%mark, "not recorded: the clock is behind the trail's mark"),
        Failure::Store(error) => tracing::error!(job, %error, "not recorded: the database failed"),
    }
    Ok(())
}

/// Finds out that a COMMIT which reported an error did not happen. An error says that this cannot be known.
///
/// The database must answer in a new transaction, and the batch's `first` entry must not be there. A connection that
/// broke during COMMIT does not answer: PostgreSQL may have committed.
fn settle(conn: &mut Conn, first: Option<RequestId>) -> Result<(), &'static str> {
    const UNKNOWN: &str = "it cannot be known whether a transaction was committed";
    // Fails if the failed COMMIT has ended the transaction, which BEGIN then shows.
    drop(conn.batch_execute("ROLLBACK"));
    conn.batch_execute("BEGIN").map_err(|_| UNKNOWN)?;
    let found = match first {
        Some(rid) => append::exists(conn, rid).map_err(|_| UNKNOWN)?,
        None => Head::read(conn).map(|_| false).map_err(|_| UNKNOWN)?,
    };
    if found { Err(UNKNOWN) } else { Ok(()) }
}
