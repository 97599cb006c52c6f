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

    /// Runs a query on the registry.
    ///
    /// # Errors
    /// It cannot be opened, or the query failed.
    pub fn registry<T>(&self, query: impl FnOnce(&mut Conn) -> QueryResult<T>) -> Result<T, Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.registry.reader()?,
        };
        let result = query(&mut conn);
        if !matches!(result, Err(Error::DatabaseError(..) | Error::BrokenTransactionManager)) {
            self.conn.replace(Some(conn));
        }
        Ok(result?)
    }

    /// Runs a query on the read store.
    ///
    /// # Errors
    /// It cannot be opened, or the query failed.
    pub fn reads<T>(&self, query: impl FnOnce(&mut Reader) -> Result<T, StoreError>) -> Result<T, Failure> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.reads.reader()?,
        };
        let result = query(&mut reader);
        if !matches!(result, Err(StoreError::Query(_))) {
            self.reader.replace(Some(reader));
        }
        Ok(result?)
    }
}
