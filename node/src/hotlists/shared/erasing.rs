//! Erasing what is held of partners' lists, so that nothing of it is left in a file.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use agreements::ids::Ori;
use agreements::time::Instant;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::held::{Checkpointed, Row, held_of};
use super::schema::{alive, generation, lease};
use super::{Generation, Held, SharedError, SharedLists};
use crate::db::Conn;

/// A version that nobody named in a lease by then was given up, in microseconds.
const ABANDONED: i64 = 30 * Instant::MINUTE;

/// What decides which lists may be held.
#[derive(Debug, Clone)]
pub struct Look {
    /// The time.
    pub now: Instant,
    /// The lists that are accepted.
    pub accepted: BTreeSet<(Ori, String)>,
}

/// A list that was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// What was held of it.
    pub held: Held,
    /// Why it went, as the trail says it.
    pub why: &'static str,
}

impl SharedLists {
    /// Erases every list whose lease has ended or that is not accepted any more, and what a load gave up. Which lists went.
    /// Cheap when nothing is held; `look` is asked for only when something is, and after what is held was read: a list that
    /// is accepted in between is none that it does not name.
    ///
    /// # Errors
    /// The place failed, or `look`; what is due stays due, and matches nothing meanwhile.
    pub fn erase_due<E: From<SharedError>>(&self, look: impl FnOnce() -> Result<Look, E>) -> Result<Vec<Gone>, E> {
        let (rows, versions) = self.writing(|conn| {
            let rows: Vec<Row> = lease::table.load(conn)?;
            let versions: Vec<i64> = generation::table.select(generation::id).load(conn)?;
            Ok((rows, BTreeSet::from_iter(versions)))
        })?;
        let mut gone = Vec::new();
        if !(rows.is_empty() && versions.is_empty()) {
            let look = look()?;
            for row in rows {
                let held = held_of(row)?;
                let why = if look.now >= held.ends_at {
                    "its lease ended"
                } else if !look.accepted.contains(&(held.owner, held.list.clone())) {
                    "it is no longer accepted"
                } else {
                    continue;
                };
                gone.extend(self.erase_if(&held)?.then_some(Gone { held, why }));
            }
            self.drop_lost(look.now)?;
        }
        self.notice(versions);
        if self.unclean.load(Ordering::SeqCst) {
            self.clean()?;
        }
        Ok(gone)
    }

    /// Drops the versions that nobody put in use, or added to, for long.
    fn drop_lost(&self, now: Instant) -> Result<(), SharedError> {
        let before = now.plus(-ABANDONED);
        if self.writing(|conn| Ok(lost(conn, before)?))?.is_empty() {
            return Ok(());
        }
        self.changing(|conn| {
            // Again, where nobody puts one in use meanwhile.
            for generation in lost(conn, before)? {
                drop_generation(conn, generation)?;
            }
            Ok(())
        })?;
        self.unclean.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Notices what another process erased: it may have ended before the log could be emptied.
    fn notice(&self, versions: BTreeSet<i64>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.is_subset(&versions) {
            self.unclean.store(true, Ordering::SeqCst);
        }
        *seen = versions;
    }

    /// Erases one list, whatever its lease says. What was held of it.
    ///
    /// # Errors
    /// The place failed.
    pub fn erase(&self, owner: Ori, list: &str) -> Result<Option<Held>, SharedError> {
        let erased = self.changing(|conn| {
            let row: Option<Row> = lease::table.find((owner.as_str(), list)).first(conn).optional()?;
            let held = row.map(held_of).transpose()?;
            if let Some(held) = &held {
                forget(conn, held)?;
            }
            Ok(held)
        })?;
        self.clean()?;
        Ok(erased)
    }

    /// Erases a list if what is held of it is still this: another process may have renewed it since. Whether it went.
    fn erase_if(&self, held: &Held) -> Result<bool, SharedError> {
        let erased = self.changing(|conn| {
            let row: Option<Row> = lease::table.find((held.owner.as_str(), &held.list)).first(conn).optional()?;
            let same = row.map(held_of).transpose()?.as_ref() == Some(held);
            if same {
                forget(conn, held)?;
            }
            Ok(same)
        })?;
        if erased {
            self.unclean.store(true, Ordering::SeqCst);
        }
        Ok(erased)
    }

    /// Gives up a version that was not put in use.
    ///
    /// # Errors
    /// The place failed; a later erasing takes it.
    pub fn give_up(&self, generation: Generation) -> Result<(), SharedError> {
        self.changing(|conn| drop_generation(conn, generation))?;
        self.clean()
    }

    /// Empties SQLite's log: until then, what was overwritten in the file may still stand there. If somebody reads just
    /// now, the next call does it.
    pub(super) fn clean(&self) -> Result<(), SharedError> {
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

/// The versions that no lease names, and that nobody added to since.
fn lost(conn: &mut Conn, before: Instant) -> QueryResult<Vec<Generation>> {
    let named: Vec<i64> = lease::table.select(lease::generation).load(conn)?;
    let old = generation::table.filter(generation::made_at.le(before.micros()));
    let old: Vec<i64> = old.select(generation::id).load(conn)?;
    Ok(old.into_iter().filter(|id| !named.contains(id)).map(Generation).collect())
}

/// Ends a lease, and drops its version.
fn forget(conn: &mut Conn, held: &Held) -> Result<(), SharedError> {
    diesel::delete(lease::table.find((held.owner.as_str(), &held.list))).execute(conn)?;
    drop_generation(conn, held.generation)
}

pub(super) fn drop_generation(conn: &mut Conn, generation: Generation) -> Result<(), SharedError> {
    conn.batch_execute(&format!("DROP TABLE IF EXISTS {}", generation.table()))?;
    diesel::delete(alive::table.find(generation.0)).execute(conn)?;
    diesel::delete(generation::table.find(generation.0)).execute(conn)?;
    Ok(())
}
