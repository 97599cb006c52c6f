//! Entries: what is given to the trail, and its rows.

#![expect(clippy::ref_option_ref, reason = "what diesel derives takes references to the fields of a row")]

use std::sync::Arc;

use agreements::entry::{Kind, Leaf, VERSION};
use agreements::ids::{Digest, Ori, OriError, RequestId, Salt};
use agreements::json;
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::schema::{detail, fact, leaf};
use crate::db::Conn;

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

/// An entry that has its place in the log, and its rows not yet.
pub(crate) struct Placed {
    appended: Arc<Appended>,
    kind: Kind,
    at: Instant,
    note: Committed,
    facts: Facts,
}

impl Placed {
    /// What was `said`, as entry `index`, which happened `at`.
    pub(crate) fn new(index: u64, at: Instant, rid: RequestId, said: Said) -> Self {
        let Said { kind, message, note, facts } = said;
        let leaf = Leaf { at, kind, message: message.hash, note: note.hash, rid, v: VERSION }.to_bytes();
        let hash = Leaf::hash_of(&leaf);
        let appended = Arc::new(Appended { index, rid, leaf, hash, message: message.text, salt: message.salt });
        Self { appended, kind, at, note, facts }
    }

    pub(crate) fn appended(&self) -> &Arc<Appended> {
        &self.appended
    }
}

/// How many entries one statement writes: PostgreSQL takes 65,535 values in one, SQLite 32,766.
const ROWS: usize = 512;

#[derive(Insertable)]
#[diesel(table_name = leaf)]
struct LeafRow<'a> {
    idx: i64,
    rid: &'a [u8],
    kind: &'a str,
    at: i64,
    hash: &'a [u8],
    body: &'a [u8],
}

#[derive(Insertable)]
#[diesel(table_name = detail)]
struct DetailRow<'a> {
    idx: i64,
    message: &'a [u8],
    message_salt: &'a [u8],
    note: &'a [u8],
    note_salt: &'a [u8],
}

#[derive(Insertable)]
#[diesel(table_name = fact, treat_none_as_default_value = false)]
struct FactsRow<'a> {
    idx: i64,
    partner: Option<&'a str>,
    username: Option<&'a str>,
    purpose: Option<&'a str>,
    reference: Option<&'a str>,
    plate: Option<&'a str>,
    decision: Option<&'a str>,
    rule: Option<&'a str>,
}

/// Writes the rows of these entries, a table at a time.
pub(crate) fn insert(conn: &mut Conn, placed: &[Placed]) -> QueryResult<()> {
    for some in placed.chunks(ROWS) {
        let leaves: Vec<_> = some.iter().map(leaf_row).collect();
        let details: Vec<_> = some.iter().map(detail_row).collect();
        let facts: Vec<_> = some.iter().map(facts_row).collect();
        match conn {
            Conn::Sqlite(c) => {
                diesel::insert_into(leaf::table).values(&leaves).execute(c)?;
                diesel::insert_into(detail::table).values(&details).execute(c)?;
                diesel::insert_into(fact::table).values(&facts).execute(c)?;
            }
            Conn::Pg(c) => columns::insert(c, &leaves, &details, &facts)?,
        }
    }
    Ok(())
}

/// Whole columns at a time, as only PostgreSQL takes them: a statement with a place for each value of each row is parsed and
/// planned for longer than it runs.
mod columns {
    use diesel::pg::PgConnection;
    use diesel::prelude::*;
    use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

    use super::{DetailRow, FactsRow, LeafRow};

    const LEAVES: &str = "INSERT INTO leaf (idx, rid, kind, at, hash, body) SELECT * FROM \
         unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[])";
    const DETAILS: &str = "INSERT INTO detail (idx, message, message_salt, note, note_salt) SELECT * FROM \
         unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])";
    const FACTS: &str = "INSERT INTO fact (idx, partner, username, purpose, reference, plate, decision, rule) SELECT * FROM \
         unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])";

    pub(super) fn insert(
        conn: &mut PgConnection,
        leaves: &[LeafRow<'_>],
        details: &[DetailRow<'_>],
        facts: &[FactsRow<'_>],
    ) -> QueryResult<()> {
        diesel::sql_query(LEAVES)
            .bind::<Array<BigInt>, _>(column(leaves, |row| row.idx))
            .bind::<Array<Binary>, _>(column(leaves, |row| row.rid))
            .bind::<Array<Text>, _>(column(leaves, |row| row.kind))
            .bind::<Array<BigInt>, _>(column(leaves, |row| row.at))
            .bind::<Array<Binary>, _>(column(leaves, |row| row.hash))
            .bind::<Array<Binary>, _>(column(leaves, |row| row.body))
            .execute(conn)?;
        diesel::sql_query(DETAILS)
            .bind::<Array<BigInt>, _>(column(details, |row| row.idx))
            .bind::<Array<Binary>, _>(column(details, |row| row.message))
            .bind::<Array<Binary>, _>(column(details, |row| row.message_salt))
            .bind::<Array<Binary>, _>(column(details, |row| row.note))
            .bind::<Array<Binary>, _>(column(details, |row| row.note_salt))
            .execute(conn)?;
        diesel::sql_query(FACTS)
            .bind::<Array<BigInt>, _>(column(facts, |row| row.idx))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.partner))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.username))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.purpose))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.reference))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.plate))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.decision))
            .bind::<Array<Nullable<Text>>, _>(column(facts, |row| row.rule))
            .execute(conn)?;
        Ok(())
    }

    fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
}

fn leaf_row(placed: &Placed) -> LeafRow<'_> {
    let Appended { index, rid, leaf, hash, .. } = &*placed.appended;
    LeafRow {
        idx: index.cast_signed(),
        rid: rid.as_bytes(),
        kind: placed.kind.as_str(),
        at: placed.at.micros(),
        hash: &hash.0,
        body: leaf,
    }
}

fn detail_row(placed: &Placed) -> DetailRow<'_> {
    let Appended { index, message, salt, .. } = &*placed.appended;
    DetailRow {
        idx: index.cast_signed(),
        message,
        message_salt: &salt.0,
        note: &placed.note.text,
        note_salt: &placed.note.salt.0,
    }
}

fn facts_row(placed: &Placed) -> FactsRow<'_> {
    let Facts { partner, username, purpose, reference, plate, decision, rule } = &placed.facts;
    FactsRow {
        idx: placed.appended.index.cast_signed(),
        partner: partner.as_ref().map(Ori::as_str),
        username: username.as_deref(),
        purpose: purpose.as_deref(),
        reference: reference.as_deref(),
        plate: plate.as_deref(),
        decision: decision.as_deref(),
        rule: rule.as_deref(),
    }
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

/// Whether a stored note has these facts, which a row of the index has.
pub(super) fn says(stored: &[u8], row: &FactRow) -> bool {
    // Texts are written as they are, but for what JSON escapes: then both are read.
    let (partner, username, purpose, reference, plate, decision, rule) = row;
    let fields = [
        ("decision", decision),
        ("partner", partner),
        ("plate", plate),
        ("purpose", purpose),
        ("reference", reference),
        ("rule", rule),
        ("username", username),
    ];
    let mut text = String::with_capacity(256);
    text.push_str("{\"facts\":{");
    for (name, value) in fields {
        let Some(value) = value else { continue };
        let comma = if text.ends_with('{') { "" } else { "," };
        text.extend([comma, "\"", name, "\":\"", value, "\""]);
    }
    text.push_str("},\"note\":");
    let plain = |value: &String| value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if stored.starts_with(text.as_bytes()) && fields.iter().filter_map(|(_, value)| value.as_ref()).all(plain) {
        return true;
    }
    let facts = Facts::from_row(row.clone()).ok();
    facts.is_some() && facts == read_note(stored).map(|(facts, _)| facts)
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
