//! Brings SQLite's write-ahead log into its file, on a thread of its own: a commit waits for one sync of the log, and not
//! for those of a checkpoint besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Integer;

/// For how long commits are gathered.
const PAUSE: Duration = Duration::from_millis(100);
/// From so many pages on (4 MB) the log is brought into the file: as SQLite itself would, at a commit.
const PAGES: i32 = 1000;
/// From so many pages on (64 MB) the writer brings the last of it into the file itself, between two commits, so that the log
/// begins anew: while it goes on there is always a last commit that is not in the file, and the log would grow for ever.
const MANY: i32 = 16 * PAGES;

/// The thread, which ends with this.
pub(super) struct Checkpointer {
    bell: Option<SyncSender<()>>,
    /// The log is long, and what is left of it is the writer's.
    long: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(QueryableByName)]
struct Log {
    /// How many pages it has; -1 if there is none.
    #[diesel(sql_type = Integer)]
    log: i32,
    /// How many of them are in the file.
    #[diesel(sql_type = Integer)]
    checkpointed: i32,
}

#[derive(QueryableByName)]
struct Emptied {
    /// Whether a reader or a writer was in the way.
    #[diesel(sql_type = Integer)]
    busy: i32,
}

impl Log {
    fn left(&self) -> i32 {
        self.log.saturating_sub(self.checkpointed)
    }
}

impl Checkpointer {
    /// For the file at `path`. Without its thread the log grows until the file is closed.
    pub(super) fn of(path: &str) -> Self {
        let (bell, rung) = sync_channel(1);
        let path = path.to_owned();
        let long = Arc::new(AtomicBool::new(false));
        let said = Arc::clone(&long);
        let thread = std::thread::Builder::new().name("registry-checkpointer".into());
        match thread.spawn(move || work(&path, &rung, &said)) {
            Ok(thread) => Self { bell: Some(bell), long, thread: Some(thread) },
            Err(error) => {
                tracing::error!(%error, "no thread for the registry's checkpoints");
                Self { bell: None, long, thread: None }
            }
        }
    }

    /// Says that there was a commit, by `conn`, which brings the rest of a long log into the file.
    pub(super) fn wake(&self, conn: &mut SqliteConnection) {
        if self.long.swap(false, Ordering::Relaxed)
            && let Err(error) = checkpoint(conn, "PASSIVE")
        {
            tracing::warn!(%error, "the write-ahead log is not in its file yet; the next commit tries again");
        }
        if let Some(bell) = &self.bell {
            // Full: it will look anyway. Gone: its end was logged.
            let _: Result<(), TrySendError<()>> = bell.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.bell.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread for the registry's checkpoints ended in a panic");
        }
    }
}

fn work(path: &str, rung: &Receiver<()>, long: &AtomicBool) {
    let mut kept = None;
    while rung.recv().is_ok() {
        let looked = match kept.take() {
            Some(conn) => Ok(conn),
            None => open(path),
        };
        match looked.and_then(|conn| look(conn, long)) {
            Ok(conn) => kept = Some(conn),
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log is not in its file yet; the next commit tries again");
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn open(path: &str) -> QueryResult<SqliteConnection> {
    let conn = SqliteConnection::establish(path);
    let mut conn = conn.map_err(|error| diesel::result::Error::QueryBuilderError(Box::new(error)))?;
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")?;
    Ok(conn)
}

/// Brings all of the log into the file and empties it: until then, what was overwritten in the file still stands in the log.
/// False if somebody reads an older state just now: writers would wait as long as this did.
pub(super) fn truncate(conn: &mut SqliteConnection) -> QueryResult<bool> {
    conn.batch_execute("PRAGMA busy_timeout = 100")?;
    let emptied: Emptied = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(conn)?;
    Ok(emptied.busy == 0)
}

/// Brings what there is into the file if it is enough. The writer goes on meanwhile.
fn look(mut conn: SqliteConnection, long: &AtomicBool) -> QueryResult<SqliteConnection> {
    if checkpoint(&mut conn, "NOOP")?.left() >= PAGES {
        let after = checkpoint(&mut conn, "PASSIVE")?;
        // By then there is more of it than this says, if the writer went on.
        if after.log >= MANY {
            long.store(true, Ordering::Relaxed);
        }
    }
    Ok(conn)
}

fn checkpoint(conn: &mut SqliteConnection, how: &str) -> QueryResult<Log> {
    diesel::sql_query(format!("PRAGMA wal_checkpoint({how})")).get_result(conn)
}
