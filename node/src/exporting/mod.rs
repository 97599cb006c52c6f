//! What leaves the trail as files: entries as tables, and the whole log as a static directory.
//!
//! In scope: writing files that nobody takes for whole when they are not, in constant memory, until somebody says stop.
//! Out of scope: who may export and its record ([`crate::auditing::exporting`]), receipts ([`crate::receipts`]).

pub mod cells;
pub mod shown;
pub mod static_log;
pub mod table;

use std::io;
use std::path::PathBuf;

use crate::trail::head::HeadError;

/// Why nothing was exported, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The caller asked to stop.
    #[error("stopped before the end")]
    Stopped,
    /// Something is where the export would go.
    #[error("{0} is there already, and nothing is overwritten; name another place")]
    There(PathBuf),
    /// The folder has something else in it.
    #[error("{0} is not empty and is no earlier export of this log; name another folder")]
    Foreign(PathBuf),
    /// The log is empty.
    #[error("the trail has no entries yet, so it has no signed head to export")]
    Empty,
    /// A file cannot be written.
    #[error("cannot write {0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The workbook cannot be written.
    #[error("cannot write the workbook: {0}")]
    Workbook(#[from] rust_xlsxwriter::XlsxError),
    /// A value without a text.
    #[error("cannot write an entry as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The trail is not what its head says.
    #[error("{0}; run `concordat trail verify`, which names what is wrong")]
    Trail(#[from] HeadError),
    /// The trail is not what its head says.
    #[error(
        "entry {0} is not the one that the log's tiles have; run `concordat trail verify`, which names what is wrong"
    )]
    Changed(u64),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] diesel::result::Error),
}
