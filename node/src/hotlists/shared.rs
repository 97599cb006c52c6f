//! Partners' lists, while their lease lives: in a place of their own that no backup takes along, where what is erased is
//! gone from the disk and not only flagged.
//!
//! On SQLite that is a file beside the registry, `shared-lists.db`, which overwrites what it deletes and whose log is
//! emptied after every erasing. On PostgreSQL it is the schema `concordat_shared`, with an unlogged table for each
//! version, which is dropped as a whole: its rows are in no write-ahead log, and no dead ones stay behind.
//!
//! Each version of a list is a table that is filled in many transactions and used from the one that names it in its
//! lease; that same transaction drops the version before.

mod held;
mod place;
mod schema;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use agreements::hotlist::Lease;
use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Binary, Text};

use crate::config::DatabaseUrl;
use crate::db::{Conn, each, immediate, snapshot};
use held::{Checkpointed, Counted, DigestRow, EntryRow, Row, digest, held_of};
use place::Place;
use schema::{generation, lease};

pub use held::{Generation, Held, NewEntry, SharedCandidate};

/// The name of the file beside a registry in SQLite.
pub const FILE_NAME: &str = "shared-lists.db";
/// A version that nobody named in a lease by then was given up, in microseconds.
const ABANDONED: i64 = 30 * Instant::MINUTE;
/// Rows of one transaction when a version is copied.
const COPIED: i64 = 5000;

/// Why the place of shared lists failed.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The file cannot be made.
    #[error("cannot create {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// No connection.
    #[error("cannot open the place of partners' hotlists: {0}")]
    Connect(#[from] ConnectionError),
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

/// The place of partners' lists. Its methods block.
pub struct SharedLists {
    place: Place,
    writer: Mutex<Option<Conn>>,
    /// Whether something was erased that may still be in the log.
    unclean: AtomicBool,
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
        Ok(Self { place, writer: Mutex::new(Some(conn)), unclean: AtomicBool::new(true) })
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

    /// Begins a version: an empty one, or one that begins with all entries of another.
    ///
    /// # Errors
    /// The place failed.
    pub fn begin(&self, from: Option<Generation>, now: Instant) -> Result<Generation, SharedError> {
        let generation = self.writing(|conn| {
            immediate(conn, |conn| {
                let last: Option<i64> = generation::table.select(diesel::dsl::max(generation::id)).first(conn)?;
                let named: Option<i64> = lease::table.select(diesel::dsl::max(lease::generation)).first(conn)?;
                let id = last.max(named).unwrap_or(0) + 1;
                diesel::insert_into(generation::table)
                    .values((generation::id.eq(id), generation::made_at.eq(now.micros())))
                    .execute(conn)?;
                let table = Generation(id).table();
                let (kind, bytes) = match conn {
                    Conn::Sqlite(_) => ("TABLE", "BLOB"),
                    Conn::Pg(_) => ("UNLOGGED TABLE", "BYTEA"),
                };
                conn.batch_execute(&format!(
                    "CREATE {kind} {table} (digest {bytes} PRIMARY KEY NOT NULL, plate_key TEXT NOT NULL, body TEXT NOT NULL);
                     CREATE INDEX {table}_by_plate ON {table} (plate_key);"
                ))?;
                Ok::<_, SharedError>(Generation(id))
            })
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
    /// went were there, and none that came was.
    ///
    /// # Errors
    /// The place failed.
    pub fn stage(&self, generation: Generation, gone: &[Digest], new: &[NewEntry]) -> Result<bool, SharedError> {
        let table = generation.table();
        let delete = format!("DELETE FROM {table} WHERE digest = $1");
        let insert =
            format!("INSERT INTO {table} (digest, plate_key, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
        self.writing(|conn| {
            immediate(conn, |conn| {
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

    /// Puts a version in use under its lease, and drops the one before. From this on, readers see it whole.
    ///
    /// # Errors
    /// The place failed; the version before stays.
    pub fn keep(&self, held: &Held) -> Result<(), SharedError> {
        let replaced = self.writing(|conn| {
            immediate(conn, |conn| {
                let row = lease::table.find((held.owner.as_str(), &held.list));
                let before: Option<i64> = row.select(lease::generation).first(conn).optional()?;
                let values = (
                    lease::version.eq(held.version.cast_signed()),
                    lease::contents.eq(held.contents.0.to_vec()),
                    lease::entries.eq(held.entries.cast_signed()),
                    lease::source_loaded_at.eq(held.source_loaded_at.map(Instant::micros)),
                    lease::asserted_at.eq(held.asserted_at.micros()),
                    lease::received_at.eq(held.received_at.micros()),
                    lease::ends_at.eq(held.ends_at.micros()),
                    lease::log_index.eq(held.log_index.cast_signed()),
                    lease::generation.eq(held.generation.0),
                );
                if before.is_some() {
                    diesel::update(lease::table.find((held.owner.as_str(), &held.list))).set(values).execute(conn)?;
                } else {
                    diesel::insert_into(lease::table)
                        .values((lease::owner.eq(held.owner.as_str()), lease::list.eq(&held.list), values))
                        .execute(conn)?;
                }
                let replaced = before.filter(|before| *before != held.generation.0);
                if let Some(before) = replaced {
                    drop_generation(conn, Generation(before))?;
                }
                Ok::<_, SharedError>(replaced.is_some())
            })
        })?;
        if replaced {
            self.clean()?;
        }
        Ok(())
    }

    /// Gives up a version that was not put in use.
    ///
    /// # Errors
    /// The place failed; a later erasing takes it.
    pub fn give_up(&self, generation: Generation) -> Result<(), SharedError> {
        self.writing(|conn| immediate(conn, |conn| drop_generation(conn, generation)))?;
        self.clean()
    }

    /// The lists that are held, whatever their lease says.
    ///
    /// # Errors
    /// The place failed.
    pub fn held(conn: &mut Conn) -> Result<Vec<Held>, SharedError> {
        let rows: Vec<Row> = lease::table.order((lease::owner, lease::list)).load(conn)?;
        rows.into_iter().map(held_of).collect()
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
    pub fn entry(&self, owner: Ori, list: &str, entry: Digest, now: Instant) -> Result<Option<String>, SharedError> {
        let mut conn = self.reader()?;
        snapshot(&mut conn, |conn| {
            let row: Option<Row> = lease::table.find((owner.as_str(), list)).first(conn).optional()?;
            let Some(held) = row.map(held_of).transpose()?.filter(|held| now < held.ends_at) else { return Ok(None) };
            let one = format!("SELECT digest, body FROM {} WHERE digest = $1", held.generation.table());
            let row: Option<EntryRow> = each!(conn, c => diesel::sql_query(one)
                .bind::<Binary, _>(&entry.0[..])
                .get_result(c)
                .optional())?;
            Ok(row.map(|row| row.body))
        })
    }

    /// Erases every list whose lease has ended at `now`, and what a load gave up. Which lists went. Cheap when nothing is
    /// due.
    ///
    /// # Errors
    /// The place failed; what is due stays due, and matches nothing meanwhile.
    pub fn erase_due(&self, now: Instant) -> Result<Vec<Held>, SharedError> {
        let due: Vec<Row> =
            self.writing(|conn| Ok(lease::table.filter(lease::ends_at.le(now.micros())).load(conn)?))?;
        let due: Vec<Held> = due.into_iter().map(held_of).collect::<Result<_, _>>()?;
        let mut erased = Vec::new();
        for held in due {
            if self.erase_if(held.owner, &held.list, Some(now))? {
                erased.push(held);
            }
        }
        let lost: Vec<i64> = self.writing(|conn| {
            let named = lease::table.select(lease::generation).load::<i64>(conn)?;
            let old: Vec<i64> = generation::table
                .filter(generation::made_at.le(now.plus(-ABANDONED).micros()))
                .select(generation::id)
                .load(conn)?;
            Ok(old.into_iter().filter(|id| !named.contains(id)).collect())
        })?;
        for id in lost {
            self.writing(|conn| immediate(conn, |conn| drop_generation(conn, Generation(id))))?;
            self.unclean.store(true, Ordering::SeqCst);
        }
        if self.unclean.load(Ordering::SeqCst) {
            self.clean()?;
        }
        Ok(erased)
    }

    /// Erases one list, whatever its lease says. Whether it was held.
    ///
    /// # Errors
    /// The place failed.
    pub fn erase(&self, owner: Ori, list: &str) -> Result<bool, SharedError> {
        let erased = self.erase_if(owner, list, None)?;
        self.clean()?;
        Ok(erased)
    }

    fn erase_if(&self, owner: Ori, list: &str, due: Option<Instant>) -> Result<bool, SharedError> {
        let erased = self.writing(|conn| {
            immediate(conn, |conn| {
                let row: Option<Row> = lease::table.find((owner.as_str(), list)).first(conn).optional()?;
                let Some(held) = row.map(held_of).transpose()? else { return Ok(false) };
                // Another process may have renewed it since.
                if due.is_some_and(|now| now < held.ends_at) {
                    return Ok(false);
                }
                diesel::delete(lease::table.find((owner.as_str(), list))).execute(conn)?;
                drop_generation(conn, held.generation)?;
                Ok::<_, SharedError>(true)
            })
        })?;
        if erased {
            self.unclean.store(true, Ordering::SeqCst);
        }
        Ok(erased)
    }

    /// Empties SQLite's log: until then, what was overwritten in the file may still stand there. If somebody reads just
    /// now, the next call does it.
    fn clean(&self) -> Result<(), SharedError> {
        self.unclean.store(true, Ordering::SeqCst);
        let busy = self.writing(|conn| match conn {
            Conn::Sqlite(c) => {
                // It would wait for whoever reads; the next turn is a second later.
                c.batch_execute("PRAGMA busy_timeout = 100")?;
                let result: Checkpointed = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(c)?;
                c.batch_execute("PRAGMA busy_timeout = 10000")?;
                Ok(result.busy != 0)
            }
            Conn::Pg(_) => Ok(false),
        })?;
        if !busy {
            self.unclean.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl std::fmt::Debug for SharedLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedLists(..)")
    }
}

fn drop_generation(conn: &mut Conn, generation: Generation) -> Result<(), SharedError> {
    conn.batch_execute(&format!("DROP TABLE IF EXISTS {}", generation.table()))?;
    diesel::delete(generation::table.find(generation.0)).execute(conn)?;
    Ok(())
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
