//! What can fail in the database layer.

use std::sync::Arc;

use agreements::time::Instant;

use super::server::ServerError;
use crate::trail::head::HeadError;
use crate::trail::note::SignError;
use crate::trail::tiles::TreeError;

/// Why the database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No such kind of database. The URL is not repeated: it may hold a password.
    #[error("write the database as sqlite:PATH or postgres://USER@HOST/NAME")]
    Url,
    /// The file could not be made.
    #[error("the database file cannot be opened: {0}")]
    File(std::io::Error),
    /// The file did not open.
    #[error("the database cannot be opened: {0}")]
    Connect(#[from] diesel::ConnectionError),
    /// The server did not answer, or cannot be trusted with records.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A statement failed.
    #[error("the database: {0}")]
    Store(#[from] diesel::result::Error),
    /// The database cannot keep what it says that it has committed.
    #[error("the database is not durable: {0}")]
    NotDurable(&'static str),
    /// Its schema could not be brought up to date.
    #[error("the schema cannot be brought up to date: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
    /// A newer version of Concordat has changed the schema.
    #[error("the database has schema version {0}, which this version of Concordat does not know; use the newer one")]
    Newer(String),
    /// The read store is in this database.
    #[error("this database holds the read store; give the registry one of its own under [store] in concordat.toml")]
    Shared,
    /// The trail is not what its head says, or the head is not signed by this log's key.
    #[error("the trail was changed, and this node does not serve with it: {0}")]
    Trail(#[from] HeadError),
    /// The writer's thread did not start.
    #[error("no thread for the registry's writer: {0}")]
    Thread(std::io::Error),
}

/// Why something is not in the database.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Too many jobs wait. Try again later.
    #[error("too much is waiting to be recorded; try again later")]
    Busy,
    /// This process must not record any more.
    #[error("this node has stopped recording")]
    Stopped,
    /// The clock is behind what was recorded before; nothing was committed.
    #[error("the clock is behind {mark}, which was recorded already; set it right")]
    ClockBack {
        /// The highest instant ever recorded.
        mark: Instant,
    },
    /// The job itself failed or asked to be rolled back; the others of its batch were committed.
    #[error("not recorded: {0}")]
    Job(diesel::result::Error),
    /// The database failed; nothing of the whole batch was committed.
    #[error("not recorded, the database failed: {0}")]
    Database(Arc<StoreError>),
}

/// What failed under a whole batch.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement.
    #[error(transparent)]
    Statement(#[from] diesel::result::Error),
    /// The connection.
    #[error(transparent)]
    Open(#[from] DbError),
    /// The log's key.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why a turn of the writer came to nothing.
pub(super) enum Failure {
    /// The clock is behind the head's mark.
    ClockBack(Instant),
    /// Nothing was committed; the next turn tries again.
    Store(Arc<StoreError>),
    /// This process must not record any more.
    Fatal(String),
}

impl Failure {
    pub(super) fn fatal(reason: impl Into<String>) -> Self {
        Self::Fatal(reason.into())
    }

    /// What one of the callers is told.
    pub(super) fn told(&self) -> RecordError {
        match self {
            Self::ClockBack(mark) => RecordError::ClockBack { mark: *mark },
            Self::Store(error) => RecordError::Database(error.clone()),
            Self::Fatal(_) => RecordError::Stopped,
        }
    }
}

impl<E: Into<StoreError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Store(Arc::new(error.into()))
    }
}

impl From<TreeError> for Failure {
    /// A database that fails may return by itself; a tree that is not what it was does not.
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Store(error) => error.into(),
            damaged => Self::Fatal(format!("the trail is damaged: {damaged}")),
        }
    }
}

impl From<HeadError> for Failure {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Tree(error) => error.into(),
            changed => Self::Fatal(format!("the trail was changed: {changed}")),
        }
    }
}
