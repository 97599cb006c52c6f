//! Entries: what is given to the trail, and its rows.

use agreements::entry::{Kind, Leaf, VERSION};
use agreements::ids::{Digest, Ori, OriError, RequestId, Salt};
use agreements::json;
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::schema::{detail, fact, leaf};
use crate::db::{Conn, each};

/// An entry to be appended.
pub struct Draft {
    /// What it records.
    pub kind: Kind,
    /// Its id, new in this trail: `RequestId::new(tx.now(), random)`.
    pub rid: RequestId,
    /// Canonical JSON of what the partner gets.
    pub message: Vec<u8>,
    /// Canonical JSON of what never travels.
    pub note: Vec<u8>,
    /// By what it is found.
    pub facts: Facts,
}

/// What an entry says, with its salts and hashes: all of an entry that need not wait for its place in the log. Made before
/// the transaction that appends it, it leaves less to do under the head's lock.
pub struct Said {
    kind: Kind,
    message: Committed,
    note: Committed,
    facts: Facts,
}

/// A text with the salt and the hash by which a leaf commits to it.
struct Committed {
    text: Vec<u8>,
    salt: Salt,
    hash: Digest,
}

impl Committed {
    fn to(text: Vec<u8>) -> QueryResult<Self> {
        let salt = fresh_salt()?;
        Ok(Self { hash: Digest::salted(&salt, &text), text, salt })
    }
}

impl Said {
    /// From canonical JSON of `message` (what the partner gets) and `note` (what never travels).
    pub fn new(kind: Kind, message: Vec<u8>, note: &[u8], facts: Facts) -> QueryResult<Self> {
        let note = with_facts(note, &facts)?;
        Ok(Self { kind, message: Committed::to(message)?, note: Committed::to(note)?, facts })
    }
}

impl Draft {
    /// Its id, and what it says.
    pub(crate) fn said(self) -> QueryResult<(RequestId, Said)> {
        Ok((self.rid, Said::new(self.kind, self.message, &self.note, self.facts)?))
    }
}

/// By what an entry is searched. Only an index; it is also part of the note, so that a changed index row is found.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// The other agency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner: Option<Ori>,
    /// The user on whose behalf it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The purpose that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The typed reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The plate, normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plate: Option<String>,
    /// How it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The rule that decided, or that cut what was permitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// The columns of a row of the index.
pub(super) type FactRow =
    (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

impl Facts {
    /// From the columns of a row.
    pub(super) fn from_row(row: FactRow) -> QueryResult<Self> {
        let (partner, username, purpose, reference, plate, decision, rule) = row;
        let partner = partner.map(|ori| ori.parse()).transpose();
        let partner = partner.map_err(|error: OriError| Error::DeserializationError(Box::new(error)))?;
        Ok(Self { partner, username, purpose, reference, plate, decision, rule })
    }
}

/// An entry that has its rows, in a transaction that may still fail.
pub(crate) struct Appended {
    pub(crate) index: u64,
    pub(crate) rid: RequestId,
    pub(crate) leaf: Vec<u8>,
    pub(crate) hash: Digest,
    pub(crate) message: Vec<u8>,
    pub(crate) salt: Salt,
}

/// Writes the rows of what was `said` as entry `index`, which happened `at`.
pub(crate) fn insert(conn: &mut Conn, index: u64, at: Instant, rid: RequestId, said: Said) -> QueryResult<Appended> {
    let Said { kind, message, note, facts } = said;
    let body = Leaf { at, kind, message: message.hash, note: note.hash, rid, v: VERSION }.to_bytes();
    let hash = Leaf::hash_of(&body);
    let idx = index.cast_signed();
    let row = (
        leaf::idx.eq(idx),
        leaf::rid.eq(&rid.as_bytes()[..]),
        leaf::kind.eq(kind.as_str()),
        leaf::at.eq(at.micros()),
        leaf::hash.eq(&hash.0[..]),
        leaf::body.eq(&body),
    );
    let said = (
        detail::idx.eq(idx),
        detail::message.eq(&message.text),
        detail::message_salt.eq(&message.salt.0[..]),
        detail::note.eq(&note.text),
        detail::note_salt.eq(&note.salt.0[..]),
    );
    let found_by = (
        fact::idx.eq(idx),
        fact::partner.eq(facts.partner.as_ref().map(Ori::as_str)),
        fact::username.eq(facts.username),
        fact::purpose.eq(facts.purpose),
        fact::reference.eq(facts.reference),
        fact::plate.eq(facts.plate),
        fact::decision.eq(facts.decision),
        fact::rule.eq(facts.rule),
    );
    each!(conn, c => {
        diesel::insert_into(leaf::table).values(row).execute(c)?;
        diesel::insert_into(detail::table).values(said).execute(c)?;
        diesel::insert_into(fact::table).values(found_by).execute(c)?;
    });
    Ok(Appended { index, rid, leaf: body, hash, message: message.text, salt: message.salt })
}

/// A note as it is stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredNote<'a> {
    facts: Facts,
    #[serde(borrow)]
    note: &'a RawValue,
}

/// `{"facts":..,"note":..}`, canonical when both are.
fn with_facts(note: &[u8], facts: &Facts) -> QueryResult<Vec<u8>> {
    let facts = json::canonical(facts).map_err(|error| Error::SerializationError(error.into()))?;
    Ok([b"{\"facts\":", facts.as_slice(), b",\"note\":", note, b"}"].concat())
}

/// The facts and the note in a stored note; `None` if it is none.
pub(crate) fn read_note(stored: &[u8]) -> Option<(Facts, &str)> {
    let StoredNote { facts, note } = serde_json::from_slice(stored).ok()?;
    Some((facts, note.get()))
}

/// The entry `rid` as it is stored, or `None` if the trail has none. [`Error::NotFound`] if what it says was deleted
/// after its retention: then it cannot be said again.
pub(crate) fn stored(conn: &mut Conn, rid: RequestId) -> QueryResult<Option<Appended>> {
    type Found = (i64, Vec<u8>, Option<(Vec<u8>, Vec<u8>)>);
    let found: Option<Found> = leaf::table
        .left_join(detail::table)
        .filter(leaf::rid.eq(rid.as_bytes().to_vec()))
        .select((leaf::idx, leaf::body, (detail::message, detail::message_salt).nullable()))
        .first(conn)
        .optional()?;
    let Some((idx, leaf, kept)) = found else { return Ok(None) };
    let (message, salt) = kept.ok_or(Error::NotFound)?;
    let salt = Salt(salt.try_into().map_err(|_| Error::DeserializationError("a salt is 32 bytes".into()))?);
    let hash = Leaf::hash_of(&leaf);
    Ok(Some(Appended { index: idx.cast_unsigned(), rid, leaf, hash, message, salt }))
}

fn fresh_salt() -> QueryResult<Salt> {
    let mut salt = [0; 32];
    openssl::rand::rand_bytes(&mut salt).map_err(|e| Error::SerializationError(Box::new(e)))?;
    Ok(Salt(salt))
}

/// Whether the trail has the entry `rid`.
pub(crate) fn exists(conn: &mut Conn, rid: RequestId) -> QueryResult<bool> {
    let found = leaf::table.filter(leaf::rid.eq(rid.as_bytes().to_vec())).select(leaf::idx).first::<i64>(conn);
    Ok(found.optional()?.is_some())
}
