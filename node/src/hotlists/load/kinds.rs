//! What a load is told, what it says, and why it refuses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::hotlist::Category;
use agreements::plate::Plate;
use agreements::time::Instant;
use serde::Serialize;
use tokio::task::JoinError;

use crate::db::{DbError, RecordError};
use crate::hotlists::layout::Layout;
use crate::hotlists::reading::{At, ReadingError};

/// What is to be loaded, and what is let pass.
#[derive(Debug, Clone)]
pub struct Load {
    /// The source.
    pub path: PathBuf,
    /// The list.
    pub list: String,
    /// Its layout; by its first line when absent.
    pub layout: Option<Layout>,
    /// Who loads it.
    pub by: String,
    /// Who approved the entries of a custom list.
    pub approved_by: Option<String>,
    /// Where rejected lines are reported.
    pub report: PathBuf,
    /// Only show what would change.
    pub dry_run: bool,
    /// Load it although it has far fewer entries.
    pub accept_shrink: bool,
    /// Load it although its date is older or in the future.
    pub accept_date: bool,
    /// How old a source may be, in microseconds.
    pub max_age: i64,
}

/// Where a load stands.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// It reads the source.
    Reading(At),
    /// It stages what differs: how many of how many.
    Staging(u64, u64),
}

/// Who watches a load, and how it is stopped.
pub struct Watcher {
    /// Hears where it stands.
    pub progress: Box<dyn FnMut(Progress) + Send>,
    /// Stops it before the next batch.
    pub stop: Arc<AtomicBool>,
}

/// A change, as it is shown to whoever loads.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// `added` or `removed`.
    pub change: &'static str,
    /// The plate.
    pub plate: Plate,
    /// The state.
    pub state: Option<String>,
    /// The category.
    pub category: Category,
}

/// What a load did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct Loaded {
    /// The list.
    pub list: String,
    /// Its layout.
    pub layout: &'static str,
    /// When its source was made.
    pub source_at: Instant,
    /// The version that was in place; 0 for none.
    pub before: i64,
    /// The version that is in place now; the same when nothing changed.
    pub version: i64,
    /// How many entries there are now, or would be.
    pub entries: u64,
    /// Entries that are new.
    pub added: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Entries that stay.
    pub unchanged: u64,
    /// Records in the source.
    pub records: u64,
    /// Records of type N: counted and dropped.
    pub dropped: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// Where they are reported.
    pub report: Option<PathBuf>,
    /// The first few changes.
    pub first: Vec<Change>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// Why nothing was loaded. The version in place stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A rule refuses it; the sentence says what to do.
    #[error("{0}")]
    Refused(String),
    /// The source.
    #[error("the source is refused, and nothing changed: {0}")]
    Reading(#[from] ReadingError),
    /// The registry.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The registry cannot be read.
    #[error("the registry: {0}")]
    Registry(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// The thread of the load died.
    #[error("the load ended by itself: {0}")]
    Thread(#[from] JoinError),
}

/// Whether a text can be the name of a list: it stands in paths.
#[must_use]
pub fn name_formed(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}
