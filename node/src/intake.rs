//! Taking in reads: by whom, and what came of it, is an entry of the trail.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::entry::Kind;
use agreements::time::Instant;
use serde::Serialize;
use tokio::task::JoinError;

use crate::db::{Db, DbError, RecordError};
use crate::people::{self, PeopleError};
use crate::reads::images::Images;
use crate::reads::ingest::{self, IngestError, Options, Progress, Summary};
use crate::reads::store::ReadsDb;
use crate::registry::accounts::{self, Action};
use crate::trail::Facts;

/// Why an intake did not run to its end. What was kept by then stays, and is recorded.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The person may not, or what came of it is not recorded.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The source, the disk or the read store failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The registry failed.
    #[error("the registry: {0}")]
    Registry(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// The thread of the intake died.
    #[error("the intake ended by itself: {0}")]
    Thread(#[from] JoinError),
}

/// Where reads go.
#[derive(Clone)]
pub struct Stores {
    /// The read store.
    pub reads: Arc<ReadsDb>,
    /// The images.
    pub images: Images,
}

/// Where reads come from, who watches, and how it is stopped.
pub struct Feed {
    /// JSON lines.
    pub lines: Box<dyn BufRead + Send>,
    /// Hears of each batch that is on the disk.
    pub progress: Box<dyn FnMut(Progress) + Send>,
    /// Stops the intake before the next batch.
    pub stop: Arc<AtomicBool>,
}

/// The message of a `reads.ingested` entry. Counts and times, no plates.
#[derive(Serialize)]
struct Ingested {
    /// `whole`, `stopped`, or `failed`.
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<u64>,
    kept: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Instant>,
    lines: u64,
    rejected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
    v: u16,
}

/// Takes in all lines of `feed` for the account `by`, then records the counts. Must be called inside a tokio runtime;
/// reads and writes on a thread of its own.
///
/// # Errors
/// See [`IntakeError`]. What a failed intake had kept is recorded as well.
pub async fn take(db: &Db, stores: Stores, options: Options, feed: Feed, by: &str) -> Result<Summary, IntakeError> {
    accounts::operator(&mut db.reader()?, by, Action::Ingest)?.map_err(PeopleError::Refused)?;
    let clock = Arc::clone(db.clock());
    let runtime = tokio::runtime::Handle::current();
    let Feed { mut lines, mut progress, stop } = feed;
    let (result, last) = tokio::task::spawn_blocking(move || {
        let mut last = Progress { bytes: 0, lines: 0, kept: 0, rejected: 0 };
        let mut watched = |now: Progress| {
            last = now;
            progress(now);
        };
        let Stores { reads, images } = stores;
        let running = ingest::ingest(&mut lines, &reads, &images, &options, clock.as_ref(), &mut watched, &stop);
        let result = runtime.block_on(running);
        (result, last)
    })
    .await?;
    record(db, ingested(result.as_ref().ok(), last), by).await?;
    Ok(result?)
}

fn ingested(summary: Option<&Summary>, last: Progress) -> Ingested {
    let ended = match summary {
        Some(summary) if summary.stopped => "stopped",
        Some(_) => "whole",
        None => "failed",
    };
    Ingested {
        ended,
        first_seen: summary.and_then(|summary| summary.first_seen),
        images: summary.map(|summary| summary.images),
        kept: summary.map_or(last.kept, |summary| summary.kept),
        last_seen: summary.and_then(|summary| summary.last_seen),
        lines: summary.map_or(last.lines, |summary| summary.lines),
        rejected: summary.map_or(last.rejected, |summary| summary.rejected),
        repeated: summary.map(|summary| summary.repeated),
        v: 1,
    }
}

async fn record(db: &Db, message: Ingested, by: &str) -> Result<(), PeopleError> {
    let by = by.to_owned();
    let recorded: Result<_, RecordError> =
        db.record(move |tx| people::record(tx, Kind::ReadsIngested, &message, &by, Facts::default())).await;
    recorded?;
    Ok(())
}
