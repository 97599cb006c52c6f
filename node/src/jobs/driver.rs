//! The single-flight driver: claims what is due in the ledger, runs it, and writes down what came of it.
//!
//! Any number of drivers may work on one registry, in one process or several. A run is claimed by a row before it
//! begins; its lease is put off while it runs; a run whose process died is claimed again when the lease is over. So no
//! slot is run by two, and none is lost by a restart.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use agreements::time::Instant;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

use super::bell::Bell;
use super::schedule::Schedule;
use super::work::{JobError, Ran};
use crate::db::Db;
use crate::node::Node;
use crate::registry::job_runs::{self, Claim, LEASE, Outcome, Run};

/// How often a run says that it lives: three times within its lease.
const RENEW: Duration = Duration::from_micros((LEASE / 3).unsigned_abs());
/// How long a driver that stops waits for runs in work.
const GRACE: Duration = Duration::from_secs(10);
/// A look without a bell, should the scheduler have died.
const SILENCE: Duration = Duration::from_secs(300);

/// A run in work.
pub type Running = LocalBoxFuture<'static, Result<Ran, JobError>>;

/// A job: a line of the table.
#[derive(Debug)]
pub struct Job<C = Node> {
    /// Its name.
    pub name: &'static str,
    /// When it is due.
    pub schedule: Schedule,
    /// How many of the slots that were missed get a run of their own: one makes up for all, usually.
    pub catch_up: u32,
    /// What it does, for people.
    pub about: &'static str,
    /// One run.
    pub run: fn(Arc<C>) -> Running,
}

impl<C> Clone for Job<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Job<C> {}

/// A run that this driver made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The job.
    pub job: &'static str,
    /// For which time of the schedule.
    pub slot: Instant,
    /// What came of it.
    pub outcome: Outcome,
    /// How many operations it applied.
    pub applied: usize,
    /// Why it failed, or what it left for later.
    pub said: Option<String>,
}

/// Why a job that was asked for did not run.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// A run of it is in work.
    #[error("{job} is running already, since {}", .run.started_at)]
    Running {
        /// The job.
        job: &'static str,
        /// That run.
        run: Box<Run>,
    },
    /// Another process claimed it at the same time.
    #[error("{0} was claimed by another process at the same time; `concordat jobs list` shows what came of it")]
    Overtaken(&'static str),
    /// The registry failed.
    #[error(transparent)]
    Failed(#[from] JobError),
}

/// How a driver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It does not.
    Not,
    /// It waits a little for the runs in work.
    Gently,
    /// It leaves them; they are run again.
    AtOnce,
}

/// What is to be claimed: a slot, and which attempt of it; the next one where none is named.
type Slots = Vec<(Instant, Option<i64>)>;

/// Runs jobs.
pub struct Driver<C = Node> {
    db: Db,
    context: Arc<C>,
    jobs: Vec<Job<C>>,
    holder: String,
}

impl<C: 'static> Driver<C> {
    /// A driver of `jobs`, whose ledger is in `db`.
    #[must_use]
    pub fn new(db: Db, context: Arc<C>, jobs: Vec<Job<C>>) -> Self {
        let holder = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        Self { db, context, jobs, holder }
    }

    /// The table.
    #[must_use]
    pub fn jobs(&self) -> &[Job<C>] {
        &self.jobs
    }

    /// Runs whatever is due now, and the jobs `wanted` whether or not they are. What came of each run that was ours.
    ///
    /// # Errors
    /// The ledger cannot be read; nothing was run.
    pub async fn ring(&self, wanted: &BTreeSet<&'static str>) -> Result<Vec<Report>, JobError> {
        let now = self.db.clock().now();
        if let Some(jump) = self.db.clock().jump() {
            tracing::error!(%jump, "no job runs until the clock is right");
            return Ok(Vec::new());
        }
        let mut conn = self.db.reader()?;
        let mut due: Vec<(Job<C>, Slots)> = Vec::new();
        for job in &self.jobs {
            let newest = job_runs::newest(&mut conn, job.name, now, 1)?;
            let slots = job.schedule.due(job.catch_up, newest.first(), now);
            let mut slots: Slots = slots.into_iter().map(|(slot, attempt)| (slot, Some(attempt))).collect();
            if slots.is_empty() && wanted.contains(job.name) {
                slots.push((now, None));
            }
            due.push((*job, slots));
        }
        drop(conn);
        let all = due.into_iter().map(|(job, slots)| self.run_slots(job, slots));
        Ok(join_all(all).await.into_iter().flatten().collect())
    }

    /// The slots of one job, one after the other.
    async fn run_slots(&self, job: Job<C>, slots: Slots) -> Vec<Report> {
        let mut reports = Vec::new();
        for (slot, attempt) in slots {
            match self.claim(job, slot, attempt).await {
                Ok(Some(claim)) => reports.push(self.run(job, claim).await),
                Ok(None) => tracing::debug!(job = job.name, "claimed by another process, or running"),
                Err(error) => tracing::error!(job = job.name, %error, "a job's run could not be claimed"),
            }
        }
        reports
    }

    async fn claim(&self, job: Job<C>, slot: Instant, attempt: Option<i64>) -> Result<Option<Claim>, JobError> {
        let (clock, holder) = (Arc::clone(self.db.clock()), self.holder.clone());
        let claim = move |conn: &mut _| job_runs::claim(conn, job.name, slot, attempt, &holder, clock.now());
        Ok(self.db.write("claim a job's run", claim).await?)
    }

    /// Runs one job now, due or not.
    ///
    /// # Errors
    /// It runs already, or the ledger failed.
    pub async fn run_now(&self, job: &Job<C>) -> Result<Report, NotRun> {
        let now = self.db.clock().now();
        if let Some(claim) = self.claim(*job, now, None).await? {
            return Ok(self.run(*job, claim).await);
        }
        let newest = job_runs::newest(&mut self.db.reader().map_err(JobError::from)?, job.name, now, 1);
        match newest.map_err(JobError::from)?.into_iter().find(|run| run.lives(now)) {
            Some(run) => Err(NotRun::Running { job: job.name, run: Box::new(run) }),
            None => Err(NotRun::Overtaken(job.name)),
        }
    }

    /// One claimed run, from its beginning to its row's end.
    async fn run(&self, job: Job<C>, claim: Claim) -> Report {
        let work = AssertUnwindSafe((job.run)(Arc::clone(&self.context))).catch_unwind();
        let result = tokio::select! {
            result = work => result.unwrap_or_else(|panic| Err(JobError::Panicked(words(panic.as_ref())))),
            lost = self.keep(&claim) => Err(lost),
        };
        let (outcome, applied, said) = match &result {
            Ok(ran) if ran.later.is_empty() => (Outcome::Done, ran.applied, None),
            Ok(ran) => (Outcome::Done, ran.applied, Some(left(&ran.later))),
            Err(error) => (Outcome::Failed, 0, Some(error.to_string())),
        };
        match &result {
            Ok(ran) => tracing::debug!(job = job.name, applied = ran.applied, later = ran.later.len(), "a job ran"),
            Err(error) => tracing::error!(job = job.name, attempt = claim.attempt, %error, "a job failed"),
        }
        let report = Report { job: job.name, slot: claim.slot, outcome, applied, said };
        self.finish(claim, &report).await;
        report
    }

    async fn finish(&self, claim: Claim, report: &Report) {
        let clock = Arc::clone(self.db.clock());
        let Report { job, outcome, applied, said, .. } = report.clone();
        let applied = i64::try_from(applied).unwrap_or(i64::MAX);
        let end = move |conn: &mut _| job_runs::finish(conn, &claim, outcome, applied, said.as_deref(), clock.now());
        match self.db.write("finish a job's run", end).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(job, "another process took this run over before it ended"),
            // The lease ends by itself, and the slot is run again.
            Err(error) => tracing::error!(job, %error, "a job's run ended, but the ledger does not have it"),
        }
    }

    /// Says again and again that the run lives; returns when it is no longer ours.
    async fn keep(&self, claim: &Claim) -> JobError {
        let mut tick = tokio::time::interval(RENEW);
        tick.tick().await;
        loop {
            tick.tick().await;
            let (clock, claim) = (Arc::clone(self.db.clock()), claim.clone());
            let renew = move |conn: &mut _| job_runs::renew(conn, &claim, clock.now());
            match self.db.write("renew a job's lease", renew).await {
                Ok(true) => {}
                Ok(false) => return JobError::LeaseLost,
                Err(error) => tracing::error!(%error, "a job's lease is not renewed yet"),
            }
        }
    }

    /// Works until it is told to stop: looks at once, so that what was missed is made up for, and whenever `bell` rings.
    pub async fn serve(&self, bell: &Bell, mut stop: watch::Receiver<Stop>) {
        let mut rounds = FuturesUnordered::new();
        let nothing = BTreeSet::new();
        rounds.push(self.round(nothing.clone()));
        loop {
            tokio::select! {
                // A sender that is gone is a node that is gone.
                changed = stop.changed() => if changed.is_err() || *stop.borrow() != Stop::Not { break },
                wanted = bell.rung() => rounds.push(self.round(wanted)),
                () = tokio::time::sleep(SILENCE) => rounds.push(self.round(nothing.clone())),
                Some(()) = rounds.next(), if !rounds.is_empty() => {}
            }
        }
        if *stop.borrow() == Stop::Gently {
            let all = async { while rounds.next().await.is_some() {} };
            if tokio::time::timeout(GRACE, all).await.is_err() {
                tracing::warn!("jobs in work are left; they are run again when the node starts");
            }
        }
        drop(rounds);
        self.abandon().await;
    }

    async fn round(&self, wanted: BTreeSet<&'static str>) {
        if let Err(error) = self.ring(&wanted).await {
            tracing::error!(%error, "the ledger of jobs cannot be read; nothing was run");
        }
    }

    /// Gives up the runs in work, so that they can be run again at once.
    async fn abandon(&self) {
        let (clock, holder) = (Arc::clone(self.db.clock()), self.holder.clone());
        let abandon = move |conn: &mut _| job_runs::abandon(conn, &holder, clock.now());
        if let Err(error) = self.db.write("abandon jobs in work", abandon).await {
            tracing::warn!(%error, "jobs in work are not marked as abandoned; they are when their leases end");
        }
    }
}

/// What was left for later: the first few, for a line of the ledger.
fn left(later: &[String]) -> String {
    let first: Vec<&str> = later.iter().take(3).map(String::as_str).collect();
    let more = later.len() - first.len();
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("left for later: {}{more}", first.join("; "))
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("nothing was said").to_owned()
}

#[cfg(test)]
mod tests;
