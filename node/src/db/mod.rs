//! The registry's database: connections, the one writer thread, and what it proves.
//!
//! In scope: opening (schema, settings, the trail's edge), reading connections, [`Db::record`] for everything that is
//! an entry of the trail or belongs to one, [`Db::write`] for rows that are none.
//! Out of scope: what the rows mean (stores), and who may write them (services).

mod checkpoint;
mod conn;
mod error;
#[cfg(test)]
mod fatal_tests;
pub(crate) mod look;
pub(crate) mod open;
mod recorded;
pub(crate) mod schema;
pub(crate) mod server;
mod task;
#[cfg(test)]
mod tests;
mod transaction;
mod tx;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use agreements::time::Instant;
use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

pub use conn::Conn;
pub use error::{DbError, RecordError, StoreError};
pub use recorded::{Entry, Recorded, Slot};
pub use server::{ServerError, Unsafe};
pub(crate) use transaction::{immediate, snapshot, steady};
pub use tx::Tx;

use crate::clock::Clock;
use crate::trail::head;
use crate::trail::note::LogSigner;
use open::Source;
use schema::Store;
use task::Task;
use writer::Writer;

/// Runs one body on whichever database `$conn` is: for the few statements that diesel's `MultiConnection` does not cover
/// (`on_conflict`, batch inserts, `returning(as_returning())`), and for those of every answer, which through it are written
/// out as SQL anew at each execution.
macro_rules! each {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite($c) => $body,
            $crate::db::Conn::Pg($c) => $body,
        }
    };
}
pub(crate) use each;

/// How many jobs wait for the writer before [`RecordError::Busy`] is the answer.
pub const QUEUE: usize = 4096;

/// What happens when this process must not record any more: `main` aborts, a test observes. Called once, with the
/// reason, on the writer's thread.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// A connection to the database at `url` that can only read, without looking at the trail first: for finding out what is
/// wrong with it.
pub fn reader_of(url: &str) -> Result<Conn, DbError> {
    url.parse::<Source>()?.reader()
}

/// A connection to the file of a witness that runs alone, which commits durably; its schema is brought up to date. Where
/// there is no file, one is made.
pub fn witness_writer(file: &Path) -> Result<Conn, DbError> {
    let mut conn = witness_source(file)?.writer()?;
    open::migrate(&mut conn, Store::Witness)?;
    Ok(conn)
}

/// A connection to the same file that can only read.
pub fn witness_reader(file: &Path) -> Result<Conn, DbError> {
    witness_source(file)?.reader()
}

fn witness_source(file: &Path) -> Result<Source, DbError> {
    format!("sqlite:{}", file.to_str().ok_or(DbError::Url)?).parse()
}

/// The registry's database with its writer. Clones share both; the writer ends with the last of them.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

/// What the trail grew by since this process opened it.
#[derive(Debug, Clone, Default)]
pub struct Commits {
    /// Entries, those of other processes on the same database included.
    pub entries: Counter,
    /// Commits that brought entries.
    pub batches: Counter,
}

struct Inner {
    source: Source,
    commits: Commits,
    clock: Arc<dyn Clock>,
    queue: Option<SyncSender<Task>>,
    writer: Option<JoinHandle<()>>,
}

impl Db {
    /// Opens the database at `url` (`sqlite:PATH`, or `postgres://…`), brings its schema up to date, checks that the
    /// trail's right edge is the head that `signer`'s own key signed (or one of its others), and starts the writer.
    ///
    /// Several processes may have the same database open.
    pub fn open(
        url: &str,
        signer: Arc<dyn LogSigner>,
        clock: Arc<dyn Clock>,
        on_fatal: OnFatal,
    ) -> Result<Self, DbError> {
        let source: Source = url.parse()?;
        let mut conn = source.writer()?;
        open::migrate(&mut conn, Store::Registry)?;
        drop(conn);
        let mut conn = source.recorder()?;
        let (head, signer) = open::signed_head(&mut conn, signer)?;
        let (queue, tasks) = sync_channel(QUEUE);
        let commits = Commits::default();
        let writer = Writer::new(source.clone(), conn, signer, clock.clone(), head, commits.clone());
        let thread = std::thread::Builder::new().name("registry-writer".into());
        let thread = thread.spawn(move || writer.run(tasks, on_fatal)).map_err(DbError::Thread)?;
        Ok(Self(Arc::new(Inner { source, commits, clock, queue: Some(queue), writer: Some(thread) })))
    }

    /// A new connection that can only read. Opening one costs some milliseconds on PostgreSQL: keep it.
    pub fn reader(&self) -> Result<Conn, DbError> {
        self.0.source.reader()
    }

    /// Lets nothing of deleted rows be left where this process can see to it: SQLite overwrites them, and its log is emptied
    /// into the file here; PostgreSQL marks them, and a `VACUUM` frees their places, which later rows overwrite. Blocks; false
    /// if somebody reads an older state just now, which is to be tried again.
    ///
    /// # Errors
    /// The database failed.
    pub fn erase_traces(&self) -> Result<bool, DbError> {
        match self.0.source.writer()? {
            Conn::Sqlite(mut c) => Ok(checkpoint::truncate(&mut c)?),
            Conn::Pg(mut c) => {
                c.batch_execute("VACUUM detail")?;
                c.batch_execute("VACUUM fact")?;
                c.batch_execute("VACUUM receipt")?;
                Ok(true)
            }
        }
    }

    /// What the trail grew by.
    #[must_use]
    pub fn commits(&self) -> &Commits {
        &self.0.commits
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The time; or what the trail recorded last, where the clock says less: one that was set back brings nothing back to
    /// life.
    pub fn present(&self, conn: &mut Conn) -> QueryResult<Instant> {
        Ok(self.0.clock.now().max(head::extent(conn)?.1))
    }

    /// Runs `job` in the transaction that moves the trail's head, together with other jobs, each in its own savepoint.
    /// Returns once that is durably committed, with the proofs of the entries that it appended or named again.
    ///
    /// A job whose result is an error is rolled back alone ([`RecordError::Job`]). Once this was polled, dropping it
    /// cancels nothing.
    pub async fn record<T, F>(&self, job: F) -> Result<Recorded<T>, RecordError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.enqueue(task::record(job, reply))?;
        answer.await.unwrap_or(Err(RecordError::Stopped))
    }

    /// Runs `job` in a transaction of its own, for rows that the trail does not have. It waits its turn among the
    /// recording jobs. `name` says in logs which job failed. Once this was polled, dropping it cancels nothing.
    pub async fn write<T, F>(&self, name: &'static str, job: F) -> Result<T, RecordError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.enqueue(task::write(name, job, reply))?;
        answer.await.unwrap_or(Err(RecordError::Stopped))
    }

    fn enqueue(&self, task: Task) -> Result<(), RecordError> {
        let queue = self.0.queue.as_ref().ok_or(RecordError::Stopped)?;
        queue.try_send(task).map_err(|refused| match refused {
            TrySendError::Full(_) => RecordError::Busy,
            TrySendError::Disconnected(_) => RecordError::Stopped,
        })
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Db(..)")
    }
}

impl Drop for Inner {
    /// Lets the writer finish what is queued, so that the file is at rest when the last clone is gone.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // The last clone may die inside a job, on the writer's own thread.
            if writer.thread().id() != std::thread::current().id() && writer.join().is_err() {
                tracing::error!("the registry's writer ended in a panic");
            }
        }
    }
}
