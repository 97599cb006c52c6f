//! Brings a store's schema up to date: once, whoever starts at the same time, and never over what it does not know.

use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::{Conn, each, transaction};

/// Only one process at a time changes a schema. The number means nothing.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7304108913)";

/// A store, by what is in its database.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Registry,
    Reads,
    Witness,
}

/// Why a schema is not up to date.
pub(crate) enum SchemaError {
    /// A statement failed.
    Query(diesel::result::Error),
    /// A step failed.
    Step(Box<dyn std::error::Error + Send + Sync>),
    /// It has this step, which this program does not know.
    Newer(String),
    /// The other store is in this database.
    Shared,
}

impl From<diesel::result::Error> for SchemaError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Query(error)
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Store {
    /// Runs the steps that are missing: all of them, or none. After an error the connection is to be dropped.
    pub(crate) fn bring_up(self, conn: &mut Conn) -> Result<(), SchemaError> {
        // SQLite's writers would all wait at each start of a command if it took their lock without need.
        if matches!(conn, Conn::Sqlite(_)) && !self.is_behind(conn)? {
            return Ok(());
        }
        transaction::begin(conn)?;
        if let Conn::Pg(c) = conn {
            c.batch_execute(LOCK)?;
        }
        // What another process did while this one waited for the lock is no longer missing.
        if self.is_behind(conn)? {
            let known = self.steps(conn);
            each!(conn, c => c.run_pending_migrations(known).map(drop)).map_err(SchemaError::Step)?;
        }
        transaction::commit(conn)?;
        Ok(())
    }

    /// Whether steps are missing; an error if there are others than those known, or the other store's.
    fn is_behind(self, conn: &mut Conn) -> Result<bool, SchemaError> {
        if has_table(conn, self.others_table())? {
            return Err(SchemaError::Shared);
        }
        let known = self.steps(conn);
        each!(conn, c => pending(c, known))
    }

    fn steps(self, conn: &Conn) -> EmbeddedMigrations {
        match (self, conn) {
            (Self::Registry, Conn::Sqlite(_)) => migrations::REGISTRY_SQLITE,
            (Self::Registry, Conn::Pg(_)) => migrations::REGISTRY_POSTGRES,
            (Self::Reads, Conn::Sqlite(_)) => migrations::READS_SQLITE,
            (Self::Reads, Conn::Pg(_)) => migrations::READS_POSTGRES,
            // It has files alone: `db::witness_writer` makes no other connection.
            (Self::Witness, _) => migrations::WITNESS_SQLITE,
        }
    }

    /// A table of another store. All number their steps from 1, so they cannot share a database: the one would take the
    /// other's steps for its own.
    fn others_table(self) -> &'static str {
        match self {
            Self::Registry => "read",
            Self::Reads | Self::Witness => "head",
        }
    }
}

/// Whether the database lacks steps that are `known`; an error if it has others.
fn pending<C, DB>(conn: &mut C, known: EmbeddedMigrations) -> Result<bool, SchemaError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
{
    let applied = conn.applied_migrations().map_err(SchemaError::Step)?;
    let all: Vec<Box<dyn Migration<DB>>> = known.migrations().map_err(SchemaError::Step)?;
    if let Some(newer) = applied.iter().find(|version| all.iter().all(|m| m.name().version() != **version)) {
        return Err(SchemaError::Newer(newer.to_string()));
    }
    Ok(applied.len() < all.len())
}

/// Whether there is a table of this name, which is one of ours.
fn has_table(conn: &mut Conn, name: &'static str) -> QueryResult<bool> {
    let count = match conn {
        Conn::Sqlite(_) => format!("SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name = '{name}'"),
        Conn::Pg(_) => format!("SELECT count(*) AS n FROM pg_class WHERE oid = to_regclass('{name}')"),
    };
    let Count { n } = diesel::sql_query(count).get_result(conn)?;
    Ok(n > 0)
}
