//! Opening connections, schemas and the trail.

use std::fs::OpenOptions;
use std::str::FromStr;
use std::sync::Arc;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::schema::{SchemaError, Store};
use super::{Conn, DbError, server, snapshot};
use crate::trail::head::{Head, HeadError};
use crate::trail::note::{LogSigner, NoteError, Vkey};

/// `busy_timeout` first, so that the settings after it wait for other processes too.
const SQLITE: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;";
const SQLITE_READER: &str = "PRAGMA query_only = ON;";
/// Savepoints keep their undo log where `temp_store` says: in memory, not in a file that is written for each batch. 16 MB of
/// pages hold the right edges of the trail's indexes.
const SQLITE_WRITER: &str = "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000;";
/// A writer that another session keeps from a lock gives up, as SQLite does after its `busy_timeout`.
const POSTGRES_RECORDER: &str = "SET lock_timeout = '5s'";
/// A commit only appends to the write-ahead log; [`super::checkpoint`] brings it into the file.
const SQLITE_RECORDER: &str = "PRAGMA wal_autocheckpoint = 0";

/// Turns on the write-ahead log. A new file must be had alone for that, and SQLite does not wait for it as it does for a
/// lock: of processes that make it at once, all but one are told that it is locked, and try again.
pub(crate) fn write_ahead(conn: &mut SqliteConnection) -> QueryResult<()> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
    let mut tries = 250;
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL") {
            Err(diesel::result::Error::DatabaseError(_, why)) if tries > 0 && why.message().contains("locked") => {
                tries -= 1;
                std::thread::sleep(PAUSE);
            }
            turned => return turned,
        }
    }
}

/// Where the database is.
#[derive(Clone)]
pub(super) enum Source {
    Sqlite(String),
    Postgres(String),
}

impl FromStr for Source {
    type Err = DbError;

    fn from_str(url: &str) -> Result<Self, DbError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        match url.strip_prefix("sqlite:") {
            // Without a file of their own, reading connections would see another database than the writer.
            Some(path) if !path.is_empty() && !path.contains(":memory:") && !path.starts_with("file:") => {
                Ok(Self::Sqlite(path.to_owned()))
            }
            _ => Err(DbError::Url),
        }
    }
}

#[derive(QueryableByName)]
struct Settings {
    #[diesel(sql_type = Text)]
    took: String,
}

/// Why SQLite did not take what makes a commit durable: a pragma that it does not take is no error to it.
pub(crate) fn objection(conn: &mut SqliteConnection) -> QueryResult<Option<&'static str>> {
    const TOOK: &str = "SELECT (SELECT journal_mode FROM pragma_journal_mode) || ' ' || \
         (SELECT synchronous FROM pragma_synchronous) || ' ' || (SELECT secure_delete FROM pragma_secure_delete) AS took";
    let Settings { took } = diesel::sql_query(TOOK).get_result(conn)?;
    Ok(match took.as_str() {
        // 2 is FULL, and 1 overwrites what is deleted.
        "wal 2 1" => None,
        took if took.starts_with("wal ") => Some("SQLite does not take synchronous=FULL or secure_delete=ON"),
        _ => Some("this file system does not let SQLite keep a write-ahead log; put the file on a local disk"),
    })
}

/// Whether SQLite holds rows to the rows that they name.
fn is_linked(conn: &mut SqliteConnection) -> QueryResult<bool> {
    let sql = "SELECT CAST(foreign_keys AS TEXT) AS took FROM pragma_foreign_keys";
    let Settings { took } = diesel::sql_query(sql).get_result(conn)?;
    Ok(took == "1")
}

impl Source {
    /// A connection for the sequencer, to a database whose schema is up to date.
    pub(super) fn recorder(&self) -> Result<Conn, DbError> {
        let mut conn = self.writer()?;
        match &mut conn {
            Conn::Sqlite(c) => c.batch_execute(SQLITE_RECORDER)?,
            Conn::Pg(c) => c.batch_execute(POSTGRES_RECORDER)?,
        }
        Ok(conn)
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&str> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// A connection that writes, with commits that are durable when they return.
    pub(super) fn writer(&self) -> Result<Conn, DbError> {
        match self {
            Self::Sqlite(path) => {
                make_private(path).map_err(DbError::File)?;
                let mut c = SqliteConnection::establish(path)?;
                c.batch_execute(SQLITE)?;
                write_ahead(&mut c)?;
                c.batch_execute(SQLITE_WRITER)?;
                if let Some(why) = objection(&mut c)? {
                    return Err(DbError::NotDurable(why));
                }
                if !is_linked(&mut c)? {
                    return Err(DbError::NotDurable("SQLite does not take foreign_keys=ON"));
                }
                Ok(Conn::Sqlite(c))
            }
            Self::Postgres(url) => Ok(Conn::Pg(server::writer(url)?)),
        }
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Conn, DbError> {
        match self {
            Self::Sqlite(path) => {
                let mut c = SqliteConnection::establish(path)?;
                c.batch_execute(SQLITE)?;
                c.batch_execute(SQLITE_READER)?;
                Ok(Conn::Sqlite(c))
            }
            Self::Postgres(url) => Ok(Conn::Pg(server::reader(url)?)),
        }
    }
}

/// Makes the file, if there is none, so that only this user reads it. SQLite gives its log the same permissions.
fn make_private(path: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Brings the schema of a store up to date. Several processes may try at once.
pub(super) fn migrate(conn: &mut Conn, store: Store) -> Result<(), DbError> {
    store.bring_up(conn).map_err(|error| match error {
        SchemaError::Query(error) => DbError::Store(error),
        SchemaError::Step(error) => DbError::Migration(error),
        SchemaError::Newer(version) => DbError::Newer(version),
        SchemaError::Shared => DbError::Shared,
    })
}

/// The trail's head, after its statement and the tree's right edge were checked.
pub(super) fn checked_head(conn: &mut Conn, vkey: &Vkey) -> Result<Head, DbError> {
    let head = snapshot(conn, |conn| {
        let head = Head::read(conn)?;
        head.check_statement(vkey)?;
        head.check_edge(conn)?;
        Ok::<_, HeadError>(head)
    });
    head.map_err(|error| match error {
        HeadError::Tree(crate::trail::tiles::TreeError::Store(error)) => DbError::Store(error),
        changed => DbError::Trail(changed),
    })
}

/// The trail's head, checked, and who signed it: `signer`, or the key that came in its place.
pub(super) fn signed_head(conn: &mut Conn, signer: Arc<dyn LogSigner>) -> Result<(Head, Arc<dyn LogSigner>), DbError> {
    let refused = match checked_head(conn, signer.vkey()) {
        Err(DbError::Trail(refused @ HeadError::Checkpoint(NoteError::Signature | NoteError::Origin))) => refused,
        checked => return Ok((checked?, signer)),
    };
    for other in signer.others() {
        if let Ok(head) = checked_head(conn, other.vkey()) {
            return Ok((head, other));
        }
    }
    Err(DbError::Trail(refused))
}
