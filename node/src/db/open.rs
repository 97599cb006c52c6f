//! Opening connections, schemas and the trail.

use std::fs::OpenOptions;
use std::str::FromStr;

use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::{Conn, DbError, each, snapshot, transaction};
use crate::trail::head::{Head, HeadError};
use crate::trail::note::Vkey;

/// `busy_timeout` first, so that the settings after it wait for other processes too.
const SQLITE: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;";
const SQLITE_READER: &str = "PRAGMA query_only = ON;";
/// Savepoints keep their undo log where `temp_store` says: in memory, not in a file that is written for each batch. 16 MB of
/// pages hold the right edges of the trail's indexes.
const SQLITE_WRITER: &str = "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000;";
const POSTGRES_READER: &str = "SET default_transaction_read_only = on;";
const POSTGRES_WRITER: &str = "SET synchronous_commit = on;";
/// Only one process at a time changes the schema. The number means nothing.
const POSTGRES_MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7304108913)";

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
struct Setting {
    #[diesel(sql_type = Text)]
    setting: String,
}

impl Source {
    /// A connection that writes, with commits that are durable when they return.
    pub(super) fn writer(&self) -> Result<Conn, DbError> {
        match self {
            Self::Sqlite(path) => {
                make_private(path).map_err(DbError::File)?;
                let mut c = SqliteConnection::establish(path)?;
                c.batch_execute(SQLITE)?;
                c.batch_execute("PRAGMA journal_mode = WAL;")?;
                let mode: Setting =
                    diesel::sql_query("SELECT journal_mode AS setting FROM pragma_journal_mode").get_result(&mut c)?;
                if mode.setting != "wal" {
                    return Err(DbError::NotDurable("this file system does not let SQLite keep a write-ahead log"));
                }
                c.batch_execute(SQLITE_WRITER)?;
                Ok(Conn::Sqlite(c))
            }
            Self::Postgres(url) => {
                let mut c = PgConnection::establish(url)?;
                c.batch_execute(POSTGRES_WRITER)?;
                let fsync: Setting =
                    diesel::sql_query("SELECT current_setting('fsync') AS setting").get_result(&mut c)?;
                if fsync.setting != "on" {
                    return Err(DbError::NotDurable("PostgreSQL runs with fsync=off"));
                }
                Ok(Conn::Pg(c))
            }
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
            Self::Postgres(url) => {
                let mut c = PgConnection::establish(url)?;
                c.batch_execute(POSTGRES_READER)?;
                Ok(Conn::Pg(c))
            }
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

/// Brings the schema up to date. Several processes may try at once.
pub(super) fn migrate(conn: &mut Conn) -> Result<(), DbError> {
    let known = |postgres| if postgres { migrations::REGISTRY_POSTGRES } else { migrations::REGISTRY_SQLITE };
    let postgres = matches!(conn, Conn::Pg(_));
    if each!(conn, c => pending(c, known(postgres)))? {
        transaction::begin(conn)?;
        if let Conn::Pg(c) = conn {
            diesel::sql_query(POSTGRES_MIGRATION_LOCK).execute(c)?;
        }
        // Whatever another process did while this one waited for the lock is no longer pending.
        each!(conn, c => c.run_pending_migrations(known(postgres)).map(drop)).map_err(DbError::Migration)?;
        transaction::commit(conn)?;
    }
    Ok(())
}

/// Whether the database lacks migrations that are `known`; an error if it has others.
fn pending<C, DB>(conn: &mut C, known: EmbeddedMigrations) -> Result<bool, DbError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
{
    let applied = conn.applied_migrations().map_err(DbError::Migration)?;
    let all: Vec<Box<dyn Migration<DB>>> = known.migrations().map_err(DbError::Migration)?;
    if let Some(newer) = applied.iter().find(|version| all.iter().all(|m| m.name().version() != **version)) {
        return Err(DbError::Newer(newer.to_string()));
    }
    Ok(applied.len() < all.len())
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
