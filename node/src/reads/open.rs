//! Opens the reads' database: where it is, how it is set up, which schema it has.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::migration::{MigrationSource, MigrationVersion};
use diesel::{Connection as _, PgConnection, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::store::StoreError;
use crate::db::Conn;

/// Where the reads are.
#[derive(Clone)]
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    /// `sqlite:PATH`, `postgres://...` or `postgresql://...`. A database in memory is refused: each connection would
    /// have its own.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        match url.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() && !path.contains(":memory:") && !path.starts_with("file:") => {
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            _ => Err(StoreError::Url),
        }
    }

    /// A connection set up and nothing else.
    fn connect(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Sqlite(path) => {
                create_private(path)?;
                let path = path.to_str().ok_or(StoreError::Url)?;
                let mut conn = SqliteConnection::establish(path)?;
                // busy_timeout first: the statements after it may already have to wait. No memory map: a failing disk
                // must be an error, not a signal.
                conn.batch_execute(
                    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                     PRAGMA secure_delete = ON; PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF;",
                )?;
                Ok(Conn::Sqlite(conn))
            }
            Self::Postgres(url) => {
                let mut conn = PgConnection::establish(url)?;
                conn.batch_execute("SET synchronous_commit = on")?;
                Ok(Conn::Pg(conn))
            }
        }
    }

    /// A connection that cannot write.
    pub(super) fn connect_reader(&self) -> Result<Conn, StoreError> {
        let mut conn = self.connect()?;
        match &mut conn {
            Conn::Sqlite(c) => c.batch_execute("PRAGMA query_only = ON")?,
            Conn::Pg(c) => c.batch_execute("SET default_transaction_read_only = on")?,
        }
        Ok(conn)
    }

    /// A connection that writes, to the newest schema that this program knows.
    pub(super) fn connect_writer(&self) -> Result<Conn, StoreError> {
        let mut conn = self.connect()?;
        match &mut conn {
            Conn::Sqlite(c) => {
                // The lock first: of two processes that start at once, the second finds the first's work done.
                c.immediate_transaction(|c| migrate(c, migrations::READS_SQLITE))?;
            }
            Conn::Pg(c) => c.transaction(|c| {
                c.batch_execute("SELECT pg_advisory_xact_lock(7017280452245743464)")?;
                migrate(c, migrations::READS_POSTGRES)
            })?,
        }
        Ok(conn)
    }
}

/// Runs what is pending; refuses a database on which a newer program has run more.
fn migrate<C, DB>(conn: &mut C, embedded: EmbeddedMigrations) -> Result<(), StoreError>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known: Vec<MigrationVersion<'_>> = MigrationSource::<DB>::migrations(&embedded)
        .map_err(StoreError::Migration)?
        .iter()
        .map(|migration| migration.name().version().as_owned())
        .collect();
    let applied = conn.applied_migrations().map_err(StoreError::Migration)?;
    if let Some(newer) = applied.iter().find(|version| !known.contains(version)) {
        return Err(StoreError::NewerSchema(newer.to_string()));
    }
    conn.run_pending_migrations(embedded).map_err(StoreError::Migration)?;
    Ok(())
}

/// Makes the file readable by its owner alone before SQLite makes it with the process's mask. Its `-wal` and `-shm`
/// files get the same mode from SQLite.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::File(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// The steps of both schemas.
#[cfg(test)]
pub(super) fn versions() -> (Vec<String>, Vec<String>) {
    let names = |embedded: EmbeddedMigrations| {
        let all = MigrationSource::<diesel::sqlite::Sqlite>::migrations(&embedded).unwrap();
        all.iter().map(|m| m.name().to_string()).collect()
    };
    (names(migrations::READS_SQLITE), names(migrations::READS_POSTGRES))
}
