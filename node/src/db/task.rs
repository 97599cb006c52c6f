//! Jobs as the queue carries them: each knows its caller.

use diesel::QueryResult;
use diesel::result::Error;
use tokio::sync::oneshot::Sender;

use super::recorded::Sealed;
use super::{Conn, RecordError, Recorded, Tx};

/// A job in the queue.
pub(super) enum Task {
    Record(Box<dyn Record>),
    Write(Box<dyn Write>),
}

/// A job that may append.
pub(super) trait Record: Send {
    /// Runs the job, once.
    fn run(&mut self, tx: &mut Tx<'_>) -> QueryResult<()>;
    /// Tells the caller; whether it still listens does not matter.
    fn finish(self: Box<Self>, outcome: Result<Sealed, RecordError>);
}

/// A job that writes what the trail does not have.
pub(super) trait Write: Send {
    /// The job's name in logs.
    fn name(&self) -> &'static str;
    /// Runs the job, once.
    fn run(&mut self, conn: &mut Conn) -> QueryResult<()>;
    /// Tells the caller; whether it still listens does not matter.
    fn finish(self: Box<Self>, outcome: Result<(), RecordError>);
}

pub(super) fn record<T, F>(job: F, reply: Sender<Result<Recorded<T>, RecordError>>) -> Task
where
    T: Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
{
    Task::Record(Box::new(RecordJob { job: Some(job), value: None, reply }))
}

pub(super) fn write<T, F>(name: &'static str, job: F, reply: Sender<Result<T, RecordError>>) -> Task
where
    T: Send + 'static,
    F: FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
{
    Task::Write(Box::new(WriteJob { name, job: Some(job), value: None, reply }))
}

struct RecordJob<T, F> {
    job: Option<F>,
    value: Option<T>,
    reply: Sender<Result<Recorded<T>, RecordError>>,
}

impl<T, F> Record for RecordJob<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> QueryResult<T> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> QueryResult<()> {
        let job = self.job.take().ok_or(Error::NotFound)?;
        self.value = Some(job(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<Sealed, RecordError>) {
        let Self { value, reply, .. } = *self;
        let value = value.ok_or(RecordError::Stopped);
        let answer = outcome.and_then(|sealed| Ok(Recorded::new(value?, sealed)));
        drop(reply.send(answer));
    }
}

struct WriteJob<T, F> {
    name: &'static str,
    job: Option<F>,
    value: Option<T>,
    reply: Sender<Result<T, RecordError>>,
}

impl<T, F> Write for WriteJob<T, F>
where
    T: Send,
    F: FnOnce(&mut Conn) -> QueryResult<T> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, conn: &mut Conn) -> QueryResult<()> {
        let job = self.job.take().ok_or(Error::NotFound)?;
        self.value = Some(job(conn)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), RecordError>) {
        let Self { value, reply, .. } = *self;
        drop(reply.send(outcome.and_then(|()| value.ok_or(RecordError::Stopped))));
    }
}
