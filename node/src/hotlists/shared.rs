//! Partners' lists, while their lease lives: in a place of their own that no backup takes along, where what is erased is
//! gone from the disk and not only flagged.
//!
//! On SQLite that is a file beside the registry, `shared-lists.db`, which overwrites what it deletes and whose log is
//! emptied after every erasing. On PostgreSQL it is the schema `concordat_shared`, with an unlogged table for each
//! version, which is dropped as a whole: its rows are in no write-ahead log, and no dead ones stay behind.
//!
//! Each version of a list is a table that is filled in many transactions and used from the one that names it in its
//! lease; that same transaction drops the version before. Its number is never given out again, and it has a row in a
//! table that is unlogged as well: where that row is gone, so are its entries, and its lease counts for nothing.

mod erasing;
mod held;
mod place;
mod schema;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agreements::hotlist::Lease;
use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Binary, Text};

use crate::config::DatabaseUrl;
use crate::db::{Conn, ServerError, each, immediate, snapshot};
use held::{Counted, DigestRow, EntryRow, Row, digest, held_of};
use place::{LOCK, Place};
use schema::{alive, generation, issued, lease};

pub use erasing::{Gone, Look};
pub use held::{Generation, Held, NewEntry, SharedCandidate};

/// The name of the file beside a registry in SQLite.
pub const FILE_NAME: &str = "shared-lists.db";
/// Rows of one transaction when a version is copied.
const COPIED: i64 = 5000;

/// Why the place of shared lists failed.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The file cannot be made.
    #[error("cannot create {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// The file cannot be opened.
    #[error("cannot open the place of partners' hotlists: {0}")]
    Connect(#[from] ConnectionError),
    /// The server cannot be reached.
    #[error("the place of partners' hotlists: {0}")]
    Server(#[from] ServerError),
    /// The registry's URL is named by a variable or a file that was not read.
    #[error("the registry's URL was not read from where store.registry says that it is; load the configuration first")]
    Unread,
    /// A statement failed.
    #[error("the place of partners' hotlists: {0}")]
    Query(#[from] diesel::result::Error),
    /// A row that this program cannot have written.
    #[error("the place of partners' hotlists has a row whose {0} is damaged")]
    Damaged(&'static str),
}

/// What became of a version that was to be put in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Kept {
    /// It is in use.
    InUse,
    /// Its entries are gone, or a newer assertion came before it: what was in use stays as it was.
    Overtaken,
}

/// The place of partners' lists. Its methods block.
pub struct SharedLists {
    place: Place,
    writer: Mutex<Option<Conn>>,
    /// Whether something was erased that may still be in the log.
    unclean: AtomicBool,
    /// The versions that were there when this process looked last: what is not any more, another process erased.
    seen: Mutex<BTreeSet<i64>>,
}

impl SharedLists {
    /// Opens the place that belongs to a registry.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn beside(registry: &DatabaseUrl) -> Result<Self, SharedError> {
        let place = Place::beside(registry)?;
        let conn = place.make()?;
        // Whoever was here last may have died between erasing and emptying the log.
        Ok(Self { place, writer: Mutex::new(Some(conn)), unclean: AtomicBool::new(true), seen: Mutex::default() })
    }

    /// A new connection. Keep it: one per thread.
    ///
    /// # Errors
    /// No connection.
    pub fn reader(&self) -> Result<Conn, SharedError> {
        self.place.connect()
    }

    /// Runs `work` on the writing connection; a connection that failed is given up.
    fn writing<T>(&self, work: impl FnOnce(&mut Conn) -> Result<T, SharedError>) -> Result<T, SharedError> {
        let mut slot: MutexGuard<'_, Option<Conn>> = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut conn = match slot.take() {
            Some(conn) => conn,
            None => self.place.connect()?,
        };
        let result = work(&mut conn);
        if result.is_ok() {
            *slot = Some(conn);
        }
        result
    }

    /// Changes which versions there are, or which are in use, in one transaction: one such at a time, whatever processes
    /// there are.
    fn changing<T>(&self, work: impl FnOnce(&mut Conn) -> Result<T, SharedError>) -> Result<T, SharedError> {
        self.writing(|conn| {
            immediate(conn, |conn| {
                if matches!(conn, Conn::Pg(_)) {
                    conn.batch_execute(LOCK)?;
                }
                work(conn)
            })
        })
    }

    /// Begins a version: an empty one, or one that begins with all entries of another.
    ///
    /// # Errors
    /// The place failed.
    pub fn begin(&self, from: Option<Generation>, now: Instant) -> Result<Generation, SharedError> {
        let generation = self.changing(|conn| {
            let id = next_number(conn)?;
            diesel::insert_into(generation::table)
                .values((generation::id.eq(id), generation::made_at.eq(now.micros())))
                .execute(conn)?;
            diesel::insert_into(alive::table).values(alive::generation.eq(id)).execute(conn)?;
            let table = Generation(id).table();
            let (kind, bytes) = match conn {
                Conn::Sqlite(_) => ("TABLE", "BLOB"),
                Conn::Pg(_) => ("UNLOGGED TABLE", "BYTEA"),
            };
            conn.batch_execute(&format!(
                "CREATE {kind} {table} (digest {bytes} PRIMARY KEY NOT NULL, plate_key TEXT NOT NULL, body TEXT NOT NULL);
                 CREATE INDEX {table}_by_plate ON {table} (plate_key);"
            ))?;
            Ok(Generation(id))
        })?;
        if let Some(from) = from {
            self.copy(from, generation)?;
        }
        Ok(generation)
    }

    fn copy(&self, from: Generation, to: Generation) -> Result<(), SharedError> {
        let (from, to) = (from.table(), to.table());
        let mut after: Vec<u8> = Vec::new();
        loop {
            let last = self.writing(|conn| {
                let page = format!("SELECT digest FROM {from} WHERE digest > $1 ORDER BY digest LIMIT {COPIED}");
                let rows: Vec<DigestRow> =
                    each!(conn, c => diesel::sql_query(page).bind::<Binary, _>(&after).load(c))?;
                let Some(last) = rows.into_iter().next_back() else { return Ok(None) };
                let copied = format!(
                    "INSERT INTO {to} (digest, plate_key, body) SELECT digest, plate_key, body FROM {from} WHERE digest > $1 AND digest <= $2"
                );
                each!(conn, c => diesel::sql_query(copied)
                    .bind::<Binary, _>(&after)
                    .bind::<Binary, _>(&last.digest)
                    .execute(c))?;
                Ok(Some(last.digest))
            })?;
            match last {
                Some(digest) => after = digest,
                None => return Ok(()),
            }
        }
    }

    /// Takes entries away from a version that is not in use yet, then adds others, in one transaction. Whether all that
    /// went were there, and none that came was. Who is still at it `now` has not given it up.
    ///
    /// # Errors
    /// The place failed.
    pub fn stage(
        &self,
        generation: Generation,
        gone: &[Digest],
        new: &[NewEntry],
        now: Instant,
    ) -> Result<bool, SharedError> {
        let table = generation.table();
        let delete = format!("DELETE FROM {table} WHERE digest = $1");
        let insert =
            format!("INSERT INTO {table} (digest, plate_key, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
        self.writing(|conn| {
            immediate(conn, |conn| {
                diesel::update(generation::table.find(generation.0))
                    .set(generation::made_at.eq(now.micros()))
                    .execute(conn)?;
                let mut changed = 0;
                for digest in gone {
                    changed +=
                        each!(conn, c => diesel::sql_query(&delete).bind::<Binary, _>(&digest.0[..]).execute(c))?;
                }
                for entry in new {
                    changed += each!(conn, c => diesel::sql_query(&insert)
                        .bind::<Binary, _>(&entry.digest.0[..])
                        .bind::<Text, _>(&entry.plate_key)
                        .bind::<Text, _>(&entry.body)
                        .execute(c))?;
                }
                Ok(changed == gone.len() + new.len())
            })
        })
    }

    /// Calls `each` with the digests of a version's entries, in ascending order.
    ///
    /// # Errors
    /// The place failed.
    pub fn digests(&self, generation: Generation, mut each: impl FnMut(Digest)) -> Result<(), SharedError> {
        let page =
            format!("SELECT digest FROM {} WHERE digest > $1 ORDER BY digest LIMIT {COPIED}", generation.table());
        let mut conn = self.reader()?;
        let mut after: Vec<u8> = Vec::new();
        loop {
            let rows: Vec<DigestRow> =
                each!(&mut conn, c => diesel::sql_query(&page).bind::<Binary, _>(&after).load(c))?;
            let Some(last) = rows.last() else { return Ok(()) };
            after.clone_from(&last.digest);
            for row in rows {
                each(digest(row.digest)?);
            }
        }
    }

    /// Puts a version in use under its lease, and drops the one before: if it is there still, and nothing newer of its owner
    /// is in use. From this on, readers see it whole.
    ///
    /// # Errors
    /// The place failed; the version before stays.
    pub fn keep(&self, held: &Held) -> Result<Kept, SharedError> {
        let (kept, replaced) = self.changing(|conn| {
            let row = lease::table.find((held.owner.as_str(), &held.list));
            let before: Option<(i64, i64)> =
                row.select((lease::generation, lease::log_index)).first(conn).optional()?;
            let index = held.log_index.cast_signed();
            if !has_entries(conn, held.generation)? || before.is_some_and(|(_, before)| before >= index) {
                return Ok((Kept::Overtaken, false));
            }
            let values = (
                lease::version.eq(held.version.cast_signed()),
                lease::contents.eq(held.contents.0.to_vec()),
                lease::entries.eq(held.entries.cast_signed()),
                lease::source_loaded_at.eq(held.source_loaded_at.map(Instant::micros)),
                lease::asserted_at.eq(held.asserted_at.micros()),
                lease::received_at.eq(held.received_at.micros()),
                lease::ends_at.eq(held.ends_at.micros()),
                lease::log_index.eq(index),
                lease::generation.eq(held.generation.0),
            );
            if before.is_some() {
                diesel::update(row).set(values).execute(conn)?;
            } else {
                diesel::insert_into(lease::table)
                    .values((lease::owner.eq(held.owner.as_str()), lease::list.eq(&held.list), values))
                    .execute(conn)?;
            }
            let replaced = before.map(|(before, _)| before).filter(|before| *before != held.generation.0);
            if let Some(before) = replaced {
                erasing::drop_generation(conn, Generation(before))?;
            }
            Ok((Kept::InUse, replaced.is_some()))
        })?;
        if replaced {
            self.clean()?;
        }
        Ok(kept)
    }

    /// The lists that are held, however long their lease is. One whose entries are gone is none of them: a server empties
    /// unlogged tables when it starts after a crash, and the lease would hide that nothing matches.
    ///
    /// # Errors
    /// The place failed.
    pub fn held(conn: &mut Conn) -> Result<Vec<Held>, SharedError> {
        let rows: Vec<Row> = lease::table.order((lease::owner, lease::list)).load(conn)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let there: Vec<i64> = alive::table.select(alive::generation).load(conn)?;
        let mut held: Vec<Held> = rows.into_iter().map(held_of).collect::<Result<_, _>>()?;
        held.retain(|Held { owner, list, generation, .. }| {
            let there = there.contains(&generation.0);
            if !there {
                tracing::error!(%owner, list, "ALARM: the entries of a partner's hotlist are gone; it matches nothing until it is pulled again");
            }
            there
        });
        Ok(held)
    }

    /// One list that is held and whose lease lives at `now`, and whose table has all its entries (an unlogged one is empty
    /// after a crash).
    ///
    /// # Errors
    /// The place failed.
    pub fn usable(&self, owner: Ori, list: &str, now: Instant) -> Result<Option<Held>, SharedError> {
        let mut conn = self.reader()?;
        let row: Option<Row> = lease::table.find((owner.as_str(), list)).first(&mut conn).optional()?;
        let Some(held) = row.map(held_of).transpose()?.filter(|held| now < held.ends_at) else { return Ok(None) };
        if !has_entries(&mut conn, held.generation)? {
            return Ok(None);
        }
        let count = format!("SELECT COUNT(*) AS n FROM {}", held.generation.table());
        let counted: Counted = each!(&mut conn, c => diesel::sql_query(count).get_result(c))?;
        Ok((counted.n.unsigned_abs() == held.entries).then_some(held))
    }

    /// The entries with one of these folded plates, of the lists that are `accepted` and whose lease lives at `now`.
    ///
    /// # Errors
    /// The place failed.
    pub fn candidates(
        conn: &mut Conn,
        keys: &BTreeSet<&str>,
        accepted: &BTreeSet<(Ori, String)>,
        now: Instant,
    ) -> Result<Vec<SharedCandidate>, SharedError> {
        snapshot(conn, |conn| {
            let mut found = Vec::new();
            for held in Self::held(conn)? {
                let Held { owner, list, ends_at, generation, .. } = held;
                if now >= ends_at || !accepted.contains(&(owner, list.clone())) {
                    continue;
                }
                for row in with_keys(conn, generation, keys)? {
                    let digest = digest(row.digest)?;
                    found.push(SharedCandidate { owner, list: list.clone(), digest, body: row.body });
                }
            }
            Ok(found)
        })
    }

    /// One entry of a list whose lease lives at `now`.
    ///
    /// # Errors
    /// The place failed.
    pub fn entry(
        conn: &mut Conn,
        owner: Ori,
        list: &str,
        entry: Digest,
        now: Instant,
    ) -> Result<Option<String>, SharedError> {
        snapshot(conn, |conn| {
            let row: Option<Row> = lease::table.find((owner.as_str(), list)).first(conn).optional()?;
            let Some(held) = row.map(held_of).transpose()?.filter(|held| now < held.ends_at) else { return Ok(None) };
            if !has_entries(conn, held.generation)? {
                return Ok(None);
            }
            let one = format!("SELECT digest, body FROM {} WHERE digest = $1", held.generation.table());
            let row: Option<EntryRow> = each!(conn, c => diesel::sql_query(one)
                .bind::<Binary, _>(&entry.0[..])
                .get_result(c)
                .optional())?;
            Ok(row.map(|row| row.body))
        })
    }
}

impl std::fmt::Debug for SharedLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedLists(..)")
    }
}

/// Whether a version has its entries still.
fn has_entries(conn: &mut Conn, generation: Generation) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(alive::table.find(generation.0))).get_result(conn)
}

/// A number for a version that none had before: what still names an older one must not find another's entries there.
fn next_number(conn: &mut Conn) -> QueryResult<i64> {
    let issued: Option<i64> = issued::table.select(diesel::dsl::max(issued::number)).first(conn)?;
    let last: Option<i64> = generation::table.select(diesel::dsl::max(generation::id)).first(conn)?;
    let named: Option<i64> = lease::table.select(diesel::dsl::max(lease::generation)).first(conn)?;
    let number = issued.max(last).max(named).unwrap_or(0) + 1;
    diesel::delete(issued::table).execute(conn)?;
    diesel::insert_into(issued::table).values(issued::number.eq(number)).execute(conn)?;
    Ok(number)
}

fn with_keys(conn: &mut Conn, generation: Generation, keys: &BTreeSet<&str>) -> Result<Vec<EntryRow>, SharedError> {
    // A folded plate is letters and digits, by its type, and they come from there; this holds it all the same.
    let safe = keys.iter().filter(|key| key.bytes().all(|b| b.is_ascii_alphanumeric()));
    let quoted: Vec<String> = safe.map(|key| format!("'{key}'")).collect();
    let mut found = Vec::new();
    for part in quoted.chunks(500) {
        let query = format!(
            "SELECT digest, body FROM {} WHERE plate_key IN ({}) ORDER BY digest",
            generation.table(),
            part.join(",")
        );
        found.extend(each!(conn, c => diesel::sql_query(query).load::<EntryRow>(c))?);
    }
    Ok(found)
}

/// When what was asserted and received then is not used any more.
#[must_use]
pub fn ends(asserted_at: Instant, received_at: Instant, lasts: i64, sunset: Instant) -> Instant {
    Lease { asserted_at, received_at, lasts, sunset }.ends()
}

#[cfg(test)]
mod tests;
