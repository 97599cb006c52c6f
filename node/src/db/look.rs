//! Looking at a database without changing it: whether it opens, which schema it has, whether the trail's head holds.

use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_migrations::EmbeddedMigrations;

use super::open::{self, Source};
use super::{Conn, DbError, each};
use crate::trail::note::Vkey;

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing yet.
    Absent,
    /// A schema.
    Schema {
        /// The newest change that was made to it.
        newest: String,
        /// How many changes that this version knows were not made yet.
        pending: usize,
    },
}

/// Why nothing can be said.
pub type LookError = DbError;

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Which schema the database at `url` has, of the changes that are known for its kind.
///
/// # Errors
/// It cannot be opened, has no schema although it is there, or one of a newer version.
pub fn schema_of(url: &str, sqlite: &EmbeddedMigrations, postgres: &EmbeddedMigrations) -> Result<Look, LookError> {
    let source: Source = url.parse()?;
    if let Source::Sqlite(path) = &source
        && std::fs::metadata(path).map_or(true, |about| about.len() == 0)
    {
        return Ok(Look::Absent);
    }
    let mut conn = source.reader()?;
    let statement = "SELECT version FROM __diesel_schema_migrations ORDER BY version";
    let applied: Vec<Applied> = match each!(&mut conn, c => diesel::sql_query(statement).load(c)) {
        Ok(applied) => applied,
        // A database on a server that nobody has used yet.
        Err(_) if matches!(source, Source::Postgres(_)) => return Ok(Look::Absent),
        Err(error) => return Err(error.into()),
    };
    let known = match source {
        Source::Sqlite(_) => versions::<diesel::sqlite::Sqlite>(sqlite),
        Source::Postgres(_) => versions::<diesel::pg::Pg>(postgres),
    }?;
    if let Some(newer) = applied.iter().find(|applied| !known.contains(&applied.version)) {
        return Err(DbError::Newer(newer.version.clone()));
    }
    let newest = applied.last().map_or_else(|| "none".to_owned(), |applied| applied.version.clone());
    Ok(Look::Schema { newest, pending: known.len().saturating_sub(applied.len()) })
}

fn versions<DB: diesel::backend::Backend>(known: &EmbeddedMigrations) -> Result<Vec<String>, DbError> {
    let all: Vec<Box<dyn Migration<DB>>> = known.migrations().map_err(DbError::Migration)?;
    Ok(all.iter().map(|migration| migration.name().version().to_string()).collect())
}

/// A reading connection to the registry at `url`, and how many entries its trail has, after the head's signature and the
/// tree's right edge were checked.
///
/// # Errors
/// It cannot be opened, or the trail is not what its head says.
pub fn checked_trail(url: &str, vkey: &Vkey) -> Result<(Conn, u64), LookError> {
    let mut conn = url.parse::<Source>()?.reader()?;
    let head = open::checked_head(&mut conn, vkey)?;
    Ok((conn, head.size))
}
