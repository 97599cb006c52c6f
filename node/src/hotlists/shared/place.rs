//! Where partners' lists are, and connections to there.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::SharedError;
use super::schema::{ALIVE, SCHEMA};
use crate::config::DatabaseUrl;
use crate::db::open::write_ahead;
use crate::db::{Conn, immediate, server};

/// Taken by a transaction that makes the place, or changes which versions are in use: processes take turns.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(7304108914);";

/// Where partners' lists are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    /// The place that belongs to a registry.
    ///
    /// # Errors
    /// The registry's URL is still where the configuration says that it is.
    pub(super) fn beside(registry: &DatabaseUrl) -> Result<Self, SharedError> {
        Ok(match registry {
            DatabaseUrl::Sqlite(path) => Self::Sqlite(path.with_file_name(super::FILE_NAME)),
            DatabaseUrl::Postgres(url) => Self::Postgres(url.clone()),
            DatabaseUrl::Elsewhere(_) => return Err(SharedError::Unread),
        })
    }

    /// Makes what is not there yet. A connection to it.
    pub(super) fn make(&self) -> Result<Conn, SharedError> {
        if let Self::Postgres(url) = self {
            let mut conn = server::connect(url)?;
            conn.transaction(|conn| {
                conn.batch_execute(LOCK)?;
                conn.batch_execute("CREATE SCHEMA IF NOT EXISTS concordat_shared")
            })?;
        }
        let mut conn = self.connect()?;
        let postgres = matches!(conn, Conn::Pg(_));
        immediate(&mut conn, |conn| {
            if postgres {
                conn.batch_execute(LOCK)?;
            }
            conn.batch_execute(SCHEMA)?;
            conn.batch_execute(&format!("CREATE {} {ALIVE}", if postgres { "UNLOGGED" } else { "" }))
        })?;
        Ok(conn)
    }

    /// A connection, set up.
    pub(super) fn connect(&self) -> Result<Conn, SharedError> {
        match self {
            Self::Sqlite(path) => {
                make_private(path)?;
                let path = path.to_str().ok_or(SharedError::Damaged("path"))?;
                let mut conn = SqliteConnection::establish(path)?;
                conn.batch_execute("PRAGMA busy_timeout = 10000")?;
                write_ahead(&mut conn)?;
                // Nothing of an entry may reach another file: temporary tables stay in memory.
                conn.batch_execute(
                    "PRAGMA synchronous = FULL; \
                     PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF;",
                )?;
                Ok(Conn::Sqlite(conn))
            }
            Self::Postgres(url) => {
                let mut conn = server::connect(url)?;
                conn.batch_execute("SET search_path = concordat_shared")?;
                Ok(Conn::Pg(conn))
            }
        }
    }
}

/// Makes the file, if there is none, so that only this user reads it.
fn make_private(path: &Path) -> Result<(), SharedError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(|error| SharedError::File(path.to_owned(), error))
}
