//! Opens the reads' database: where it is, how it is set up, which schema it has.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

use super::store::StoreError;
use crate::db::schema::{SchemaError, Store};
use crate::db::{Conn, open, server};

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

    /// Whether connections can break while the store lives.
    pub(super) fn is_server(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// A connection that cannot write.
    pub(super) fn connect_reader(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Sqlite(path) => {
                let mut conn = file(path)?;
                conn.batch_execute("PRAGMA query_only = ON")?;
                Ok(Conn::Sqlite(conn))
            }
            Self::Postgres(url) => Ok(Conn::Pg(server::reader(url)?)),
        }
    }

    /// A connection that writes, with commits that are durable when they return.
    pub(super) fn connect_writer(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Sqlite(path) => {
                let mut conn = file(path)?;
                match open::objection(&mut conn)? {
                    Some(why) => Err(StoreError::NotDurable(why)),
                    None => Ok(Conn::Sqlite(conn)),
                }
            }
            Self::Postgres(url) => Ok(Conn::Pg(server::writer(url)?)),
        }
    }
}

/// A connection to the file, made if it is not there.
fn file(path: &Path) -> Result<SqliteConnection, StoreError> {
    create_private(path)?;
    let path = path.to_str().ok_or(StoreError::Url)?;
    let mut conn = SqliteConnection::establish(path)?;
    // busy_timeout first: the statements after it may already have to wait. No memory map: a failing disk must be an
    // error, not a signal.
    conn.batch_execute("PRAGMA busy_timeout = 10000")?;
    open::write_ahead(&mut conn)?;
    conn.batch_execute(
        "PRAGMA synchronous = FULL; \
         PRAGMA secure_delete = ON; PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(conn)
}

/// Brings the schema up to date. Several processes may try at once.
pub(super) fn migrate(conn: &mut Conn) -> Result<(), StoreError> {
    Store::Reads.bring_up(conn).map_err(|error| match error {
        SchemaError::Query(error) => StoreError::Query(error),
        SchemaError::Step(error) => StoreError::Migration(error),
        SchemaError::Newer(version) => StoreError::NewerSchema(version),
        SchemaError::Shared => StoreError::Shared,
    })
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
