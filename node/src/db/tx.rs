//! What a recording job has in hand.

use std::sync::Arc;

use agreements::ids::{Digest, RequestId};
use agreements::time::Instant;
use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::result::{DatabaseErrorKind, Error};

use super::transaction::{commit, depth, rollback, savepoint};
use super::{Conn, Slot};
use crate::node::fresh_rid;
use crate::trail::append::{self, Appended, Draft, Placed, Said};
use crate::trail::note::LogSigner;

/// What the jobs of one batch have appended. Rows are written as late as can be: those of many entries together.
#[derive(Default)]
pub(super) struct Batch {
    placed: Vec<Placed>,
    /// How many of them have their rows.
    written: usize,
}

impl Batch {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.placed.len()
    }

    /// The entries, in their order.
    pub(super) fn appended(&self) -> impl Iterator<Item = &Arc<Appended>> {
        self.placed.iter().map(Placed::appended)
    }

    /// Writes the rows of the first `count` entries, as far as they have none.
    pub(super) fn write(&mut self, conn: &mut Conn, count: usize) -> QueryResult<()> {
        if let Some(rows) = self.placed.get(self.written..count)
            && !rows.is_empty()
        {
            append::insert(conn, rows)?;
            self.written = count;
        }
        Ok(())
    }

    /// Forgets all but the first `count` entries, of which the first `written` have their rows.
    fn back_to(&mut self, count: usize, written: usize) {
        self.placed.truncate(count);
        self.written = written;
    }
}

/// One job's part of the transaction that moves the trail's head.
pub struct Tx<'b> {
    conn: &'b mut Conn,
    now: Instant,
    pub(super) epoch: i64,
    /// How many entries the tree had before this batch.
    size: u64,
    batch: &'b mut Batch,
    /// How many entries the batch had before this job.
    before: usize,
    /// How many of them had their rows when this job's savepoint was made; none is made until the job wants the connection.
    savepoint: Option<usize>,
    /// Why the batch cannot be committed.
    broken: Option<Error>,
    minted: Vec<RequestId>,
    /// What this job appended or named again.
    pub(super) entries: Vec<Arc<Appended>>,
    /// Who signs the head from this batch on, where this job says so.
    pub(super) signer: Option<Arc<dyn LogSigner>>,
}

impl<'b> Tx<'b> {
    pub(super) fn new(conn: &'b mut Conn, now: Instant, epoch: i64, size: u64, batch: &'b mut Batch) -> Self {
        let before = batch.len();
        Self {
            conn,
            now,
            epoch,
            size,
            batch,
            before,
            savepoint: None,
            broken: None,
            minted: Vec::new(),
            entries: Vec::new(),
            signer: None,
        }
    }

    /// The connection, inside the transaction. All that was appended so far is in its tables.
    pub fn conn(&mut self) -> &mut Conn {
        // Of what earlier jobs appended nothing may go when this one is rolled back.
        let result = match self.savepoint {
            None => self.batch.write(self.conn, self.before),
            Some(_) => Ok(()),
        };
        let result = result.and_then(|()| self.begin()).and_then(|()| self.batch.write(self.conn, self.batch.len()));
        self.keep(result);
        self.conn
    }

    /// The connection, for tables that are not the trail's: rows of what was appended may be missing there. For answers,
    /// of which many share one commit.
    pub fn beside_trail(&mut self) -> &mut Conn {
        let result = self.begin();
        self.keep(result);
        self.conn
    }

    fn begin(&mut self) -> QueryResult<()> {
        if self.savepoint.is_none() {
            savepoint(self.conn)?;
            self.savepoint = Some(self.batch.written);
        }
        Ok(())
    }

    /// A failure here is the whole batch's. SQLite may have ended the transaction with it: nothing that the job still does
    /// may be written without one. (PostgreSQL refuses by itself.) The connection is given up.
    fn keep(&mut self, result: QueryResult<()>) {
        let Err(error) = result else { return };
        if let Conn::Sqlite(c) = &mut *self.conn
            && let Err(error) = c.batch_execute("PRAGMA query_only = ON")
        {
            tracing::error!(%error, "a connection that failed could not be closed to writing");
        }
        self.broken.get_or_insert(error);
    }

    /// Why the batch cannot be committed, whatever this job says.
    pub(super) fn broken(&mut self) -> Option<Error> {
        self.broken.take()
    }

    /// Keeps what this job's savepoint has.
    pub(super) fn release(&mut self) -> QueryResult<()> {
        commit(self.conn)
    }

    /// Undoes what this job's savepoint has.
    pub(super) fn roll_back(&mut self) -> QueryResult<()> {
        rollback(self.conn)
    }

    /// How many transactions and savepoints are open.
    pub(super) fn depth(&mut self) -> Option<u32> {
        depth(self.conn)
    }

    /// Whether this job has a savepoint of its own.
    pub(super) fn has_savepoint(&self) -> bool {
        self.savepoint.is_some()
    }

    /// Forgets what this job appended, whose savepoint is rolled back if there is one.
    pub(super) fn undo(self) {
        let written = self.savepoint.unwrap_or(self.batch.written);
        self.batch.back_to(self.before, written.min(self.before));
    }

    /// The instant of this job: the same at each call, and never before what is recorded already.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The standing epoch. Whoever cached standing under another one must decide again.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Raises the standing epoch: what this job changes may change who is permitted what.
    pub fn bump_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }

    /// Lets another key of the same log sign the head from this commit on. This commit is the change: the old key's
    /// signatures under earlier heads stay what they are, and no process accepts one of it under a later head. Counts for
    /// nothing when this job appends no entry.
    pub fn sign_with(&mut self, signer: Arc<dyn LogSigner>) {
        self.signer = Some(signer);
    }

    /// A new id for an entry of this job. Of 80 random bits, so nothing is looked up for it.
    pub fn fresh_rid(&mut self) -> QueryResult<RequestId> {
        let rid = fresh_rid(self.now)?;
        self.minted.push(rid);
        Ok(rid)
    }

    /// Appends an entry. A `rid` that the trail already has is a unique violation: the job should end with it.
    pub fn append(&mut self, draft: Draft) -> QueryResult<Slot> {
        let (rid, said) = draft.said()?;
        self.append_said(rid, said)
    }

    /// Like [`Self::append`], for what was made ready before this transaction.
    pub fn append_said(&mut self, rid: RequestId, said: Said) -> QueryResult<Slot> {
        // Rows are written later, when it cannot be told any more whose they are.
        if !self.minted.contains(&rid)
            && (self.batch.appended().any(|appended| appended.rid == rid) || append::exists(self.conn, rid)?)
        {
            let why = "the trail has an entry with this id already".to_owned();
            return Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, Box::new(why)));
        }
        let index = self.size.saturating_add(self.batch.len() as u64);
        let placed = Placed::new(index, self.now, rid, said);
        let appended = Arc::clone(placed.appended());
        self.batch.placed.push(placed);
        Ok(self.hold(appended))
    }

    /// An entry that the trail has already, to be sent again with a proof under the new head; `None` if it has none.
    /// `NotFound` if what the entry says was deleted after its retention.
    pub fn again(&mut self, rid: RequestId) -> QueryResult<Option<Slot>> {
        let recent = self.batch.appended().find(|appended| appended.rid == rid).cloned();
        let found = match recent {
            Some(appended) => Some(appended),
            None => append::stored(self.conn, rid)?.map(Arc::new),
        };
        Ok(found.map(|appended| self.hold(appended)))
    }

    /// The leaf's hash of an entry of this job, by which other entries name it; `None` if the slot is another job's.
    #[must_use]
    pub fn leaf_hash(&self, slot: Slot) -> Option<Digest> {
        self.entries.get(slot.0).map(|appended| appended.hash)
    }

    fn hold(&mut self, appended: Arc<Appended>) -> Slot {
        self.entries.push(appended);
        Slot(self.entries.len() - 1)
    }
}
