//! What is held of partners' lists, and the rows in which it is.

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Integer, Text};

use super::SharedError;

/// A partner's list as it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its owner.
    pub owner: Ori,
    /// Its name.
    pub list: String,
    /// The owner's number of the version.
    pub version: u64,
    /// The digest of its entries.
    pub contents: Digest,
    /// How many there are.
    pub entries: u64,
    /// When its source was last loaded at the owner.
    pub source_loaded_at: Option<Instant>,
    /// When the owner asserted it.
    pub asserted_at: Instant,
    /// When that was received.
    pub received_at: Instant,
    /// The first instant at which it is not used any more.
    pub ends_at: Instant,
    /// Position of the assertion in the owner's log.
    pub log_index: u64,
    /// Its table.
    pub generation: Generation,
}

/// One version of a list, as the number of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub(super) i64);

impl Generation {
    /// The table's name.
    pub(super) fn table(self) -> String {
        format!("entry_{}", self.0)
    }
}

/// An entry of a shared list whose folded plate was asked for.
#[derive(Debug, Clone)]
pub struct SharedCandidate {
    /// The list's owner.
    pub owner: Ori,
    /// The list.
    pub list: String,
    /// SHA-256 of the entry.
    pub digest: Digest,
    /// Its canonical JSON.
    pub body: String,
}

/// An entry as it is stored.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// SHA-256 of `body`.
    pub digest: Digest,
    /// The folded plate.
    pub plate_key: String,
    /// Its bytes as they arrived.
    pub body: String,
}

#[derive(QueryableByName)]
pub(super) struct EntryRow {
    #[diesel(sql_type = Binary)]
    pub(super) digest: Vec<u8>,
    #[diesel(sql_type = Text)]
    pub(super) body: String,
}

#[derive(QueryableByName)]
pub(super) struct DigestRow {
    #[diesel(sql_type = Binary)]
    pub(super) digest: Vec<u8>,
}

#[derive(QueryableByName)]
pub(super) struct Checkpointed {
    #[diesel(sql_type = Integer)]
    pub(super) busy: i32,
}

#[derive(QueryableByName)]
pub(super) struct Counted {
    #[diesel(sql_type = BigInt)]
    pub(super) n: i64,
}

pub(super) type Row = (String, String, i64, Vec<u8>, i64, Option<i64>, i64, i64, i64, i64, i64);

pub(super) fn held_of(row: Row) -> Result<Held, SharedError> {
    let (owner, list, version, contents, entries, source, asserted_at, received_at, ends_at, log_index, generation) =
        row;
    Ok(Held {
        owner: owner.parse().map_err(|_| SharedError::Damaged("owner"))?,
        list,
        version: version.unsigned_abs(),
        contents: digest(contents)?,
        entries: entries.unsigned_abs(),
        source_loaded_at: source.map(Instant::from_micros),
        asserted_at: Instant::from_micros(asserted_at),
        received_at: Instant::from_micros(received_at),
        ends_at: Instant::from_micros(ends_at),
        log_index: log_index.unsigned_abs(),
        generation: Generation(generation),
    })
}

pub(super) fn digest(bytes: Vec<u8>) -> Result<Digest, SharedError> {
    bytes.try_into().map(Digest).map_err(|_| SharedError::Damaged("digest"))
}
