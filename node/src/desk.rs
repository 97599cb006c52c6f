//! Connections of one thread: exact searches run on the worker's own, without a pool between.

use std::cell::RefCell;
use std::sync::Arc;

use diesel::result::{Error, QueryResult};

use crate::db::{Conn, Db};
use crate::exchange::Failure;
use crate::reads::store::{Reader, ReadsDb, StoreError};

/// Connections to both stores for one thread, opened when first needed and again after a failure.
pub struct Desk {
    registry: Db,
    reads: Arc<ReadsDb>,
    conn: RefCell<Option<Conn>>,
    reader: RefCell<Option<Reader>>,
}

impl Desk {
    /// No connection is opened yet.
    pub(crate) fn new(registry: Db, reads: Arc<ReadsDb>) -> Self {
        Self { registry, reads, conn: RefCell::default(), reader: RefCell::default() }
    }

    /// Runs a query on the registry. Where the connection that was kept turns out to be dead, it runs again on a new one.
    ///
    /// # Errors
    /// It cannot be opened, or the query failed.
    pub fn registry<T>(&self, mut query: impl FnMut(&mut Conn) -> QueryResult<T>) -> Result<T, Failure> {
        if let Some(mut conn) = self.conn.take() {
            match query(&mut conn) {
                Err(error) if broken(&error) => {
                    // A file answers a second time as it did the first; a server may only have been restarted.
                    if matches!(conn, Conn::Sqlite(_)) {
                        return Err(error.into());
                    }
                    tracing::warn!(%error, "a connection to the registry was lost; opening another");
                }
                result => {
                    self.conn.replace(Some(conn));
                    return Ok(result?);
                }
            }
        }
        let mut conn = self.registry.reader()?;
        let result = query(&mut conn);
        if !result.as_ref().is_err_and(broken) {
            self.conn.replace(Some(conn));
        }
        Ok(result?)
    }

    /// Runs a query on the read store, as [`Self::registry`] does.
    ///
    /// # Errors
    /// It cannot be opened, or the query failed.
    pub fn reads<T>(&self, mut query: impl FnMut(&mut Reader) -> Result<T, StoreError>) -> Result<T, Failure> {
        if let Some(mut reader) = self.reader.take() {
            match query(&mut reader) {
                Err(StoreError::Query(error)) if broken(&error) => {
                    if !self.reads.is_server() {
                        return Err(StoreError::Query(error).into());
                    }
                    tracing::warn!(%error, "a connection to the read store was lost; opening another");
                }
                result => {
                    self.reader.replace(Some(reader));
                    return Ok(result?);
                }
            }
        }
        let mut reader = self.reads.reader()?;
        let result = query(&mut reader);
        if !matches!(&result, Err(StoreError::Query(error)) if broken(error)) {
            self.reader.replace(Some(reader));
        }
        Ok(result?)
    }
}

/// Whether a connection that gave this error is not used again.
fn broken(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(..) | Error::BrokenTransactionManager)
}
