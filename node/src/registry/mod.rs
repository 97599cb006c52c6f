//! The registry: agencies, agreements, findings, accounts, and what was exchanged. One file per subject; each holds that
//! subject's queries and nothing else.
//!
//! What comes out of a row is parsed again, never trusted: a row edited by hand that no longer parses is an error that
//! names the table.

pub mod accepted;
pub mod accounts;
pub mod ag;
pub mod agencies;
pub mod agents;
pub mod agreements;
pub mod discrepancies;
pub mod exchanged;
pub mod heads;
pub mod hits;
pub mod holds;
pub mod hotlists;
pub mod job_runs;
pub mod outbox;
pub mod papers;
pub mod policies;
pub mod reviews;
pub mod roster;
mod schema;

use diesel::result::{Error, QueryResult};

/// A row's text or bytes as the type that they stand for.
///
/// # Errors
/// [`Error::DeserializationError`] naming `table`, when they no longer parse: the row was changed by other hands.
fn parsed<T, E: std::fmt::Display>(table: &str, value: Result<T, E>) -> QueryResult<T> {
    value.map_err(|error| {
        Error::DeserializationError(
            format!("the table {table} holds a row that was not written by this node: {error}").into(),
        )
    })
}

/// A value as the canonical bytes of its row.
fn written<T: serde::Serialize>(value: &T) -> QueryResult<Vec<u8>> {
    ::agreements::json::canonical(value).map_err(|error| Error::SerializationError(error.into()))
}
