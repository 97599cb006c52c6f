//! Taking in reads: the one door through which they come, from a file, a watched folder or an agent; and what came of it as
//! an entry of the trail.

pub mod agents;
pub mod folder;
pub mod message;
pub mod open;
pub mod queue;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::entry::Kind;
use agreements::time::Instant;
use serde::Serialize;
use tokio::task::JoinError;

use crate::config::Config;
use crate::db::{Db, DbError, RecordError};
use crate::metrics::{Ingested as Outcome, Metrics};
use crate::node::Node;
use crate::people::{self, PeopleError};
use crate::reads::NewRead;
use crate::reads::images::{ImageError, Images};
use crate::reads::ingest::{self, IngestError, Options, Progress, Summary};
use crate::reads::keep::{Keep, KeepError, Keeper, Kept, KeptRead};
use crate::reads::source::Source;
use crate::reads::store::ReadsDb;
use crate::registry::accounts::{self, Action};
use crate::trail::Facts;

/// Who the trail says brought in what came through a running node. No account can have this name.
const NODE_ITSELF: &str = "(node)";

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
    /// Where a running node counts them; `None` for a command.
    pub metrics: Option<Arc<Metrics>>,
}

impl Stores {
    /// The stores of a running node.
    ///
    /// # Errors
    /// The image folder cannot be made or used.
    pub fn of(node: &Node) -> Result<Self, ImageError> {
        let Config { store, .. } = node.config();
        let images = Images::in_folder(&store.images)?;
        Ok(Self { reads: Arc::clone(node.reads()), images, metrics: Some(Arc::clone(node.metrics())) })
    }
}

/// The one door: every read of this agency is kept by [`Keep::keep`] of this, whichever way it came.
pub struct Door {
    keeper: Keeper,
    metrics: Option<Arc<Metrics>>,
}

impl Door {
    /// The door to these stores, at the clock of `db`.
    #[must_use]
    pub fn new(db: &Db, stores: Stores) -> Self {
        let Stores { reads, images, metrics } = stores;
        Self { keeper: Keeper { reads, images, clock: Arc::clone(db.clock()) }, metrics }
    }

    /// What happens with reads that are new in the store: after their commit, and before anybody is told that they are
    /// kept. A read that comes again is not among them.
    fn newly_kept(&self, reads: &[KeptRead]) {
        if let Some(metrics) = &self.metrics {
            metrics.ingested(Outcome::Stored, reads.len() as u64);
            if let Some(newest) = reads.iter().map(|read| read.seen_at).max() {
                metrics.newest_read(newest);
            }
        }
    }
}

impl Keep for Door {
    async fn keep(&self, batch: Vec<NewRead>) -> Result<Kept, KeepError> {
        let kept = self.keeper.keep(batch).await?;
        self.newly_kept(&kept.new);
        if let Some(metrics) = &self.metrics {
            metrics.ingested(Outcome::Duplicate, kept.repeated);
        }
        Ok(kept)
    }
}

/// Where reads come from, who watches, and how it is stopped.
pub struct Feed {
    /// Records.
    pub source: Box<dyn Source>,
    /// Hears of each batch that is on the disk.
    pub progress: Box<dyn FnMut(Progress) + Send>,
    /// Stops the intake before the next batch.
    pub stop: Arc<AtomicBool>,
}

/// On whose account reads come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A person's, who must be allowed to.
    Person(String),
    /// The node's own: from a watched folder of this name in its configuration.
    Folder(String),
}

/// The message of a `reads.ingested` entry. Counts and times, no plates.
#[derive(Serialize, Default)]
struct Ingested {
    /// How many agents sent something.
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<u64>,
    /// `whole`, `stopped`, or `failed`; of agents, a minute's `part`.
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Instant>,
    /// The watched folder, by its name in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
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

/// Takes in all records of `feed`, then records the counts. Must be called inside a tokio runtime; reads and writes on a
/// thread of its own.
///
/// # Errors
/// See [`IntakeError`]. What a failed intake had kept is recorded as well.
pub async fn take(db: &Db, stores: Stores, options: Options, feed: Feed, by: &By) -> Result<Summary, IntakeError> {
    if let By::Person(username) = by {
        accounts::operator(&mut db.reader()?, username, Action::Ingest)?.map_err(PeopleError::Refused)?;
    }
    let clock = Arc::clone(db.clock());
    let metrics = stores.metrics.clone();
    let door = Door::new(db, stores);
    let runtime = tokio::runtime::Handle::current();
    let Feed { mut source, mut progress, stop } = feed;
    let (result, last) = tokio::task::spawn_blocking(move || {
        let mut last = Progress::default();
        let mut watched = |now: Progress| {
            last = now;
            progress(now);
        };
        let running = ingest::ingest(source.as_mut(), &door, &options, clock.as_ref(), &mut watched, &stop);
        let result = runtime.block_on(running);
        (result, last)
    })
    .await?;
    if let Some(metrics) = metrics {
        let rejected = result.as_ref().map_or(last.rejected, |summary| summary.rejected);
        metrics.ingested(Outcome::Rejected, rejected);
    }
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
        agents: None,
        ended,
        first_seen: summary.and_then(|summary| summary.first_seen),
        folder: None,
        images: summary.map(|summary| summary.images),
        kept: summary.map_or(last.kept, |summary| summary.kept),
        last_seen: summary.and_then(|summary| summary.last_seen),
        lines: summary.map_or(last.lines, |summary| summary.lines),
        rejected: summary.map_or(last.rejected, |summary| summary.rejected),
        repeated: summary.map(|summary| summary.repeated),
        v: 1,
    }
}

async fn record(db: &Db, message: Ingested, by: &By) -> Result<(), PeopleError> {
    let (username, folder) = match by {
        By::Person(username) => (username.clone(), None),
        By::Folder(name) => (NODE_ITSELF.to_owned(), Some(name.clone())),
    };
    let message = Ingested { folder, ..message };
    record_as(db, message, username).await?;
    Ok(())
}

async fn record_as(db: &Db, message: Ingested, username: String) -> Result<(), RecordError> {
    db.record(move |tx| people::record(tx, Kind::ReadsIngested, &message, &username, Facts::default())).await?;
    Ok(())
}
