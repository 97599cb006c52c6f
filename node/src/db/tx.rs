//! What a recording job has in hand.

use std::sync::Arc;

use agreements::ids::{Digest, RequestId};
use agreements::time::Instant;
use diesel::QueryResult;

use super::{Conn, Slot};
use crate::trail::append::{self, Appended, Draft, Said};
use crate::trail::note::LogSigner;

/// One job's part of the transaction that moves the trail's head.
pub struct Tx<'b> {
    pub(super) conn: &'b mut Conn,
    pub(super) now: Instant,
    pub(super) epoch: i64,
    /// How many entries the tree had before this batch.
    pub(super) size: u64,
    /// What this batch has appended so far.
    pub(super) appended: &'b mut Vec<Arc<Appended>>,
    /// What this job appended or named again.
    pub(super) entries: Vec<Arc<Appended>>,
    /// Who signs the head from this batch on, where this job says so.
    pub(super) signer: Option<Arc<dyn LogSigner>>,
}

impl Tx<'_> {
    /// The connection, inside the transaction.
    pub fn conn(&mut self) -> &mut Conn {
        self.conn
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

    /// Appends an entry. A `rid` that the trail already has is a unique violation: the job should end with it.
    pub fn append(&mut self, draft: Draft) -> QueryResult<Slot> {
        let (rid, said) = draft.said()?;
        self.append_said(rid, said)
    }

    /// Like [`Self::append`], for what was made ready before this transaction.
    pub fn append_said(&mut self, rid: RequestId, said: Said) -> QueryResult<Slot> {
        let index = self.size.saturating_add(self.appended.len() as u64);
        let appended = Arc::new(append::insert(self.conn, index, self.now, rid, said)?);
        self.appended.push(appended.clone());
        Ok(self.hold(appended))
    }

    /// An entry that the trail has already, to be sent again with a proof under the new head; `None` if it has none.
    /// `NotFound` if what the entry says was deleted after its retention.
    pub fn again(&mut self, rid: RequestId) -> QueryResult<Option<Slot>> {
        let recent = self.appended.iter().find(|appended| appended.rid == rid).cloned();
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
