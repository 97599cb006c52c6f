//! Certificates of deletion: the entries that say of which others what they said was deleted after its retention. What is
//! missing without one was taken away by other hands.

use std::collections::BTreeMap;

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, RequestId, Salt};
use agreements::json;
use agreements::retention::kept_until;
use agreements::time::Instant;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::head;
use super::schema::{detail, leaf};
use crate::db::Conn;

/// The message of a `retention.deleted` entry. It was appended by the transaction that deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    /// Who ordered it; absent where the node did by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why there is the rule.
    pub clauses: Vec<String>,
    /// How many entries.
    pub count: u64,
    /// Which: the first and the last position of each run of neighbours, in their order.
    pub entries: Vec<(u64, u64)>,
    /// How many of each kind.
    pub kinds: BTreeMap<String, u64>,
    /// SHA-256 over the leaf hashes of all of them, in their order: of which tree they are is fixed, too.
    pub leaves: Digest,
    /// When the newest of them was recorded.
    pub newest: Instant,
    /// When the oldest of them was recorded.
    pub oldest: Instant,
    /// How many entries of partners, kept as receipts of these, went with them.
    pub receipts: u64,
    /// The version of this message.
    pub v: u16,
    /// For how many years of the calendar what entries say is kept here.
    pub years: u16,
}

/// A certificate, and when it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The entry.
    pub id: RequestId,
    /// Its position.
    pub index: u64,
    /// When what it names was deleted.
    pub at: Instant,
    /// What it says.
    #[serde(flatten)]
    pub deleted: Deleted,
}

/// By which certificate what an entry said was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// When.
    pub at: Instant,
    /// The certificate's entry.
    pub certificate: RequestId,
}

/// Which entries have a certificate. Runs of neighbours, so that those of a trail of years are few.
#[derive(Debug, Default)]
pub struct Certified {
    /// The first and the last position, and which of the deletions; in their order.
    runs: Vec<(u64, u64, usize)>,
    deletions: Vec<Deletion>,
}

/// How many entries a certificate is of at most: far more than those of one commit.
const LARGEST: u64 = 100_000;

/// How many certificates are read in one go.
const PAGE: i64 = 256;

impl Certified {
    /// Reads all certificates that say what they commit to; whatever another one is, it certifies nothing. Whether they are
    /// in the tree is for [`super::verify`] to see, which reads every leaf.
    pub fn load(conn: &mut Conn) -> QueryResult<Self> {
        let mut this = Self::default();
        each(conn, |certificate| {
            let number = this.deletions.len();
            this.deletions.push(Deletion { at: certificate.at, certificate: certificate.id });
            this.runs.extend(certificate.deleted.entries.iter().map(|(first, last)| (*first, *last, number)));
        })?;
        this.runs.sort_unstable();
        Ok(this)
    }

    /// By which certificate what the entry at `index` said was deleted.
    #[must_use]
    pub fn of(&self, index: u64) -> Option<Deletion> {
        let behind = self.runs.partition_point(|(first, ..)| *first <= index);
        let (_, last, number) = self.runs.get(behind.checked_sub(1)?)?;
        if index <= *last { self.deletions.get(*number).copied() } else { None }
    }

    /// What is wrong with an entry of which something is, or is not, there (`has_detail`).
    pub(super) fn objection(&self, index: u64, leaf: &Leaf, has_detail: bool) -> Option<&'static str> {
        match (self.of(index), has_detail) {
            (None, true) => None,
            (None, false) => Some(MISSING),
            (Some(_), true) => Some("what a certificate says was deleted is there"),
            (Some(deletion), false) => {
                let due = kept_until(leaf.at, 0).is_some_and(|until| until <= deletion.at);
                (!leaf.kind.expires() || !due).then_some("it was deleted although it is kept, or before its time")
            }
        }
    }
}

/// What is said of an entry whose detail nobody may have deleted.
pub const MISSING: &str = "what it says is missing, and no certificate says that it was deleted";

/// Calls `each` with every certificate, oldest first.
fn each(conn: &mut Conn, mut each: impl FnMut(Certificate)) -> QueryResult<()> {
    type Row = (i64, Vec<u8>, Vec<u8>, Vec<u8>);
    let mut after = -1;
    // What is beyond the head is no entry.
    let size = head::extent(conn).optional()?.map_or(i64::MAX, |(size, _)| size.cast_signed());
    loop {
        let page: Vec<Row> = leaf::table
            .inner_join(detail::table)
            .filter(leaf::kind.eq(Kind::RetentionDeleted.as_str()).and(leaf::idx.gt(after)))
            .filter(leaf::idx.lt(size))
            .order(leaf::idx)
            .limit(PAGE)
            .select((leaf::idx, leaf::body, detail::message, detail::message_salt))
            .load(conn)?;
        let Some((last, ..)) = page.last() else { return Ok(()) };
        after = *last;
        page.into_iter().filter_map(certificate).for_each(&mut each);
    }
}

fn certificate((idx, body, message, salt): (i64, Vec<u8>, Vec<u8>, Vec<u8>)) -> Option<Certificate> {
    let leaf = Leaf::from_bytes(&body).ok()?;
    let salt = <[u8; 32]>::try_from(salt).map(Salt).ok()?;
    let counts = leaf.kind == Kind::RetentionDeleted && Digest::salted(&salt, &message) == leaf.message;
    let deleted: Deleted = json::parse(&message).ok()?;
    counts.then(|| Certificate { id: leaf.rid, index: idx.cast_unsigned(), at: leaf.at, deleted })
}

/// The positions of the certificates that name other entries than those for which they were made, or later ones than themselves.
pub(super) fn of_others(conn: &mut Conn) -> QueryResult<Vec<u64>> {
    let mut all = Vec::new();
    each(conn, |certificate| all.push((certificate.index, certificate.deleted)))?;
    let mut others = Vec::new();
    for (index, deleted) in all {
        let earlier = deleted.entries.iter().all(|(first, last)| first <= last && *last < index);
        if !earlier || !names_its_leaves(conn, &deleted)? {
            others.push(index);
        }
    }
    Ok(others)
}

/// The newest certificates, at most `limit`, newest first.
pub fn newest(conn: &mut Conn, limit: i64) -> QueryResult<Vec<Certificate>> {
    let rows = leaf::table
        .inner_join(detail::table)
        .filter(leaf::kind.eq(Kind::RetentionDeleted.as_str()))
        .order(leaf::idx.desc())
        .limit(limit)
        .select((leaf::idx, leaf::body, detail::message, detail::message_salt));
    Ok(rows.load(conn)?.into_iter().filter_map(certificate).collect())
}

/// How many entries have had what they said deleted, by how many certificates.
pub fn totals(conn: &mut Conn) -> QueryResult<(u64, u64)> {
    let (mut entries, mut certificates) = (0_u64, 0_u64);
    each(conn, |certificate| {
        entries = entries.saturating_add(certificate.deleted.count);
        certificates = certificates.saturating_add(1);
    })?;
    Ok((entries, certificates))
}

/// SHA-256 over leaf hashes.
pub(crate) fn digest_of(hashes: &[Vec<u8>]) -> Digest {
    Digest::of(&hashes.concat())
}

/// Whether the leaves at the positions that a certificate names are those that it was made for.
pub fn names_its_leaves(conn: &mut Conn, deleted: &Deleted) -> QueryResult<bool> {
    let mut hashes = Vec::new();
    let length = |(first, last): &(u64, u64)| last.checked_sub(*first)?.checked_add(1);
    let named = deleted.entries.iter().try_fold(0_u64, |sum, run| sum.checked_add(length(run)?));
    if named != Some(deleted.count) || deleted.count > LARGEST {
        return Ok(false);
    }
    for (first, last) in &deleted.entries {
        let range = leaf::idx.ge(first.cast_signed()).and(leaf::idx.le(last.cast_signed()));
        let some: Vec<Vec<u8>> = leaf::table.filter(range).order(leaf::idx).select(leaf::hash).load(conn)?;
        hashes.extend(some);
    }
    Ok(u64::try_from(hashes.len()) == Ok(deleted.count) && digest_of(&hashes) == deleted.leaves)
}
