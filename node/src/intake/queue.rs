//! What agents post waits here to be kept: many messages in one commit, and none is acknowledged before it.
//!
//! One thread takes what waits, as much as one commit holds, without a timer: while a commit is under way the next batch
//! gathers. The queue is bounded in messages and in bytes; what does not fit is not taken at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agreements::time::Instant;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::{Door, Ingested, NODE_ITSELF, Stores, record_as};
use crate::db::RecordError;
use crate::metrics::{Ingested as Outcome, Metrics};
use crate::node::Node;
use crate::reads::NewRead;
use crate::reads::images::ImageError;
use crate::reads::keep::{Keep as _, Kept, MOST};
use crate::registry::agents;

/// Reads after which a batch takes no more messages.
const BATCH: usize = 500;
/// An agent is silent when nothing was heard of it for so long, in microseconds.
const SILENT_AFTER: i64 = 5 * Instant::MINUTE;
/// Bytes in one permit: a semaphore does not count single ones.
const UNIT: usize = 1024;

/// Why a message is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full. Nothing was taken.
    #[error("more is waiting than this node can keep at once; send it again")]
    Full,
    /// The store failed. What was kept by then is known when it is sent again.
    #[error("this node cannot keep reads now; send it again")]
    Failed,
}

/// One message of an agent.
struct Job {
    reads: Vec<NewRead>,
    done: oneshot::Sender<Result<(), Refused>>,
    /// Its share of the memory; free again with the job.
    room: Room,
}

/// A share of the memory for messages.
pub struct Room(OwnedSemaphorePermit);

impl Room {
    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(units(bytes));
        drop(self.0.split(surplus));
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(1)
}

/// What was heard from agents since the last minute's entry.
#[derive(Default)]
struct Heard {
    lines: AtomicU64,
    rejected: AtomicU64,
    kept: Mutex<Kept>,
    count: AtomicU64,
    agents: Mutex<HashMap<String, Instant>>,
    /// Agents that are counted in an entry already, and whose time of being heard could not be written since.
    unwritten: Mutex<HashMap<String, Instant>>,
}

/// The queue. Clones are the same one.
#[derive(Clone)]
pub struct Queue {
    jobs: mpsc::Sender<Option<Job>>,
    room: Arc<Semaphore>,
    /// How much room there is when nothing waits.
    whole: usize,
    heard: Arc<Heard>,
    metrics: Arc<Metrics>,
}

/// The thread that keeps what waits.
pub struct Keeping(JoinHandle<()>);

/// Opens the queue of a node. Must be called inside a tokio runtime.
///
/// # Errors
/// The image folder cannot be made or used.
pub fn open(node: &Node) -> Result<(Queue, Keeping), ImageError> {
    let limits = &node.config().ingest.webhook;
    let (jobs, waiting) = mpsc::channel(limits.queue.get());
    let door = Door::new(node.registry(), Stores::of(node)?);
    // One message of the longest kind always fits.
    let whole = units(limits.max_waiting_bytes.get().max(limits.max_body_bytes.get())).min(Semaphore::MAX_PERMITS);
    let queue = Queue {
        jobs,
        room: Arc::new(Semaphore::new(whole)),
        whole,
        heard: Arc::default(),
        metrics: Arc::clone(node.metrics()),
    };
    let (runtime, heard, metrics) =
        (tokio::runtime::Handle::current(), Arc::clone(&queue.heard), Arc::clone(&queue.metrics));
    let thread = tokio::task::spawn_blocking(move || runtime.block_on(keep(waiting, &door, &heard, &metrics)));
    Ok((queue, Keeping(thread)))
}

impl Queue {
    /// A share of `bytes` of the memory for messages; all of it, if that is less.
    ///
    /// # Errors
    /// So much is not free.
    pub fn room(&self, bytes: usize) -> Result<Room, Refused> {
        let units = u32::try_from(units(bytes).min(self.whole)).map_err(|_| Refused::Full)?;
        Arc::clone(&self.room).try_acquire_many_owned(units).map(Room).map_err(|_| Refused::Full)
    }

    /// Has the reads of one message kept. When this returns well, they are durably in the store.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn keep(&self, reads: Vec<NewRead>, room: Room) -> Result<(), Refused> {
        let (done, kept) = oneshot::channel();
        let sent = self.jobs.try_send(Some(Job { reads, done, room }));
        self.metrics.waiting(self.jobs.max_capacity().saturating_sub(self.jobs.capacity()));
        sent.map_err(|refused| match refused {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Closed(_) => Refused::Failed,
        })?;
        kept.await.unwrap_or(Err(Refused::Failed))
    }

    /// Notes that an agent sent something at `now`.
    pub fn heard(&self, agent: &str, now: Instant) {
        self.heard.lines.fetch_add(1, Ordering::Relaxed);
        let mut agents = self.heard.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.insert(agent.to_owned(), now);
    }

    /// Notes that an agent's message was refused for what it says.
    pub fn rejected(&self) {
        self.heard.rejected.fetch_add(1, Ordering::Relaxed);
        self.metrics.ingested(Outcome::Rejected, 1);
    }

    /// Writes one entry about what agents sent since the last, if anything, and when each was heard. A running node does so
    /// every minute.
    ///
    /// # Errors
    /// Not recorded; the counts are kept for the next time. That the agents' times could not be written is none: it is
    /// logged, and they are written the next time.
    pub async fn record(&self, node: &Node) -> Result<(), RecordError> {
        let heard: Vec<(String, Instant)> = {
            let mut agents = self.heard.agents.lock().unwrap_or_else(PoisonError::into_inner);
            agents.drain().collect()
        };
        let (lines, rejected) =
            (self.heard.lines.swap(0, Ordering::Relaxed), self.heard.rejected.swap(0, Ordering::Relaxed));
        let count = self.heard.count.swap(0, Ordering::Relaxed);
        let kept = std::mem::take(&mut *self.heard.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if lines == 0 && count == 0 && kept.repeated == 0 {
            self.write_heard(node, heard).await;
            return Ok(());
        }
        let message = Ingested {
            agents: Some(heard.len() as u64),
            ended: "part",
            first_seen: kept.first_seen,
            images: Some(kept.images),
            kept: count,
            last_seen: kept.last_seen,
            lines,
            rejected,
            repeated: Some(kept.repeated),
            v: 1,
            ..Ingested::default()
        };
        if let Err(error) = record_as(node.registry(), message, NODE_ITSELF.to_owned()).await {
            self.heard.lines.fetch_add(lines, Ordering::Relaxed);
            self.heard.rejected.fetch_add(rejected, Ordering::Relaxed);
            self.heard.add(count, &kept);
            let mut agents = self.heard.agents.lock().unwrap_or_else(PoisonError::into_inner);
            for (uid, at) in heard {
                agents.entry(uid).or_insert(at);
            }
            return Err(error);
        }
        self.write_heard(node, heard).await;
        Ok(())
    }

    /// Writes when agents were heard.
    async fn write_heard(&self, node: &Node, heard: Vec<(String, Instant)>) {
        let mut all = std::mem::take(&mut *self.heard.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        all.extend(heard);
        if all.is_empty() {
            return;
        }
        let rows: Vec<(String, Instant)> = all.iter().map(|(uid, at)| (uid.clone(), *at)).collect();
        if let Err(error) = node.registry().write("agents heard", move |conn| agents::heard(conn, &rows)).await {
            tracing::warn!(%error, "when agents were last heard is not written; it is tried again");
            let mut unwritten = self.heard.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            for (uid, at) in all {
                let newest = unwritten.entry(uid).or_insert(at);
                *newest = at.max(*newest);
            }
        }
    }

    /// Counts the agents, and those of them that are silent, for the metrics.
    pub fn count_agents(&self, all: &[agents::Agent], now: Instant) {
        let heard = self.heard.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = self.heard.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = all.iter().filter(|agent| agent.revoked.is_none());
        let (mut agents, mut silent) = (0, 0);
        for agent in in_use {
            let since = heard.get(&agent.uid).max(unwritten.get(&agent.uid)).copied();
            let last = agent.heard_at.max(since).unwrap_or(agent.added_at);
            agents += 1;
            silent += usize::from(now.since(last) > SILENT_AFTER);
        }
        self.metrics.agents(agents, silent);
    }

    /// Lets the thread finish what waits and end. For after the last message has been answered.
    pub async fn close(&self, keeping: Keeping) {
        // An error says that the thread is gone already.
        let _ = self.jobs.send(None).await;
        if let Err(error) = keeping.0.await {
            tracing::error!(%error, "the thread that keeps agents' reads ended in a panic");
        }
    }
}

impl Heard {
    fn add(&self, count: u64, kept: &Kept) {
        self.count.fetch_add(count, Ordering::Relaxed);
        let mut sum = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        sum.repeated += kept.repeated;
        sum.images += kept.images;
        sum.first_seen = sum.first_seen.min(kept.first_seen).or(sum.first_seen).or(kept.first_seen);
        sum.last_seen = sum.last_seen.max(kept.last_seen);
    }
}

/// Keeps what waits until it is told to end.
async fn keep(mut waiting: mpsc::Receiver<Option<Job>>, door: &Door, heard: &Heard, metrics: &Metrics) {
    let mut ends = false;
    while !ends {
        let Some(Some(first)) = waiting.recv().await else { return };
        let (mut reads, mut told) = (first.reads, vec![(first.done, first.room)]);
        while reads.len() < BATCH {
            match waiting.try_recv() {
                Ok(Some(job)) => {
                    reads.extend(job.reads);
                    told.push((job.done, job.room));
                }
                Ok(None) => {
                    ends = true;
                    break;
                }
                Err(_) => break,
            }
        }
        metrics.waiting(waiting.len());
        let outcome = all(reads, door, heard).await;
        for (done, room) in told {
            drop(room);
            // Whether the agent still listens does not matter: it sends again what it got no answer to.
            let _ = done.send(outcome);
        }
    }
}

/// Keeps all of `reads`; one message may bring more than one commit holds.
async fn all(mut reads: Vec<NewRead>, door: &Door, heard: &Heard) -> Result<(), Refused> {
    while !reads.is_empty() {
        let rest = reads.split_off(reads.len().min(MOST));
        match door.keep(std::mem::replace(&mut reads, rest)).await {
            Ok(kept) => {
                heard.add(kept.new.len() as u64, &kept);
                if let Some(why) = kept.unmatched {
                    tracing::error!(why, "what agents sent is kept, but not matched against the hotlists");
                    return Err(Refused::Failed);
                }
            }
            Err(error) => {
                tracing::error!(%error, "what agents sent is not kept; they send it again");
                return Err(Refused::Failed);
            }
        }
    }
    Ok(())
}
