//! The witness that something is in the trail.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use agreements::ids::{Digest, RequestId, Salt};

use crate::trail::append::Appended;

/// A value whose entries are durably in the trail. Only the writer makes it, after the commit: whatever leaves this
/// node as a `Recorded` was recorded before.
pub struct Recorded<T> {
    value: T,
    entries: Vec<Entry>,
    checkpoint: Arc<str>,
}

/// Names an entry of the job that got it from [`super::Tx::append`] or [`super::Tx::again`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub(super) usize);

/// An entry with all that a partner needs to verify it offline.
pub struct Entry {
    appended: Arc<Appended>,
    proof: Arc<str>,
}

/// What a commit gave to one job.
pub(super) struct Sealed {
    pub(super) entries: Vec<Entry>,
    pub(super) checkpoint: Arc<str>,
}

impl Sealed {
    /// `None` if an entry has no proof.
    pub(super) fn new(
        entries: Vec<Arc<Appended>>,
        proofs: &HashMap<u64, Arc<str>>,
        checkpoint: &Arc<str>,
    ) -> Option<Self> {
        let seal = |appended: Arc<Appended>| {
            let proof = proofs.get(&appended.index)?.clone();
            Some(Entry { appended, proof })
        };
        let entries = entries.into_iter().map(seal).collect::<Option<_>>()?;
        Some(Self { entries, checkpoint: checkpoint.clone() })
    }
}

impl<T> Recorded<T> {
    pub(super) fn new(value: T, Sealed { entries, checkpoint }: Sealed) -> Self {
        Self { value, entries, checkpoint }
    }

    /// The value, without what proves it.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The job's entries, in the order of its calls.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry that `slot` names; `None` if the slot is another job's.
    #[must_use]
    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot.0)
    }

    /// The signed checkpoint under which the entries are proven. Empty while the trail is.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<str> {
        self.checkpoint.clone()
    }
}

impl<T> Deref for Recorded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> fmt::Debug for Recorded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorded({} entries)", self.entries.len())
    }
}

impl Entry {
    /// The position in the log, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.appended.index
    }

    /// The entry's id.
    #[must_use]
    pub fn rid(&self) -> RequestId {
        self.appended.rid
    }

    /// The leaf's canonical JSON.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.appended.leaf
    }

    /// The leaf's hash, by which other entries name this one.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.appended.hash
    }

    /// The message's canonical JSON.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.appended.message
    }

    /// The message's salt.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.appended.salt
    }

    /// The proof that the leaf is in the log (c2sp.org/tlog-proof@v1).
    #[must_use]
    pub fn proof(&self) -> &str {
        &self.proof
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.appended.index)
    }
}
