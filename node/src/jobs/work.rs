//! One run of a job: look at the world, plan what is missing, do it, and look whether it is as planned.

use agreements::time::Instant;
use diesel::result::Error;

use crate::db::{DbError, RecordError};
use crate::exchange::Failure;
use crate::node::Node;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// How many operations it applied.
    pub applied: usize,
    /// What it left for later, and why.
    pub later: Vec<String>,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The registry did not take it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A service failed.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The registry cannot be read.
    #[error("the registry: {0}")]
    Registry(#[from] Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// A file that says when something ends.
    #[error(transparent)]
    Unreadable(#[from] super::expiry::Unreadable),
    /// A policy was not looked at.
    #[error(transparent)]
    Policy(#[from] crate::compliance::policies::PolicyError),
    /// What the trail has of renewals is not what was recorded.
    #[error(transparent)]
    Held(#[from] crate::renewal::HeldError),
    /// What is due was not deleted.
    #[error(transparent)]
    Retention(#[from] crate::retention::RetentionError),
    /// Operations failed; the others were applied.
    #[error("{failed} of {planned} not done, the first because: {first}")]
    Operations {
        /// How many failed.
        failed: usize,
        /// How many there were.
        planned: usize,
        /// Why the first one did.
        first: Box<Self>,
    },
    /// After all was applied the world is not as planned.
    #[error("all is applied, but the world is not as planned; still to do: {0}")]
    Differs(String),
    /// The job's code panicked: a fault of this program.
    #[error("it panicked, which is a fault of this program: {0}")]
    Panicked(String),
    /// Another process took the run over.
    #[error("this process could not tell in time that it lives, and another one may run this")]
    LeaseLost,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It is done.
    Done,
    /// It cannot be done yet, and that is no fault of this node.
    Later(String),
}

/// A kind of job.
pub(super) trait Work {
    /// What the plan is made from.
    type World;
    /// What is to be done, and why. Applying one twice does no more than once.
    type Op: Clone + PartialEq;

    /// Looks at the world.
    async fn look(&self, node: &Node) -> Result<Self::World, JobError>;
    /// What is missing at `now`. Pure.
    fn plan(&self, world: &Self::World, now: Instant) -> Vec<Self::Op>;
    /// What an operation does and why, for the log: no plate, no person, no case.
    fn says(&self, op: &Self::Op) -> String;
    /// Does it.
    async fn apply(&mut self, node: &Node, op: &Self::Op) -> Result<Applied, JobError>;
    /// Does all of them, one after the other; what came of each, in their order.
    async fn apply_all(&mut self, node: &Node, ops: &[Self::Op]) -> Vec<Result<Applied, JobError>> {
        let mut came = Vec::new();
        for op in ops {
            tracing::debug!(what = self.says(op), "a job's operation");
            came.push(self.apply(node, op).await);
        }
        came
    }
}

/// One run.
pub(super) async fn run<W: Work>(mut work: W, node: &Node) -> Result<Ran, JobError> {
    let now = node.now();
    let ops = work.plan(&work.look(node).await?, now);
    let (mut ran, mut left, mut failures) = (Ran::default(), Vec::new(), Vec::new());
    for (op, came) in ops.iter().zip(work.apply_all(node, &ops).await) {
        match came {
            Ok(Applied::Done) => ran.applied += 1,
            Ok(Applied::Later(why)) => {
                ran.later.push(format!("{}: {why}", work.says(op)));
                left.push(op.clone());
            }
            Err(error) => failures.push(error),
        }
    }
    let failed = failures.len();
    if let Some(first) = failures.into_iter().next() {
        return Err(JobError::Operations { failed, planned: ops.len(), first: Box::new(first) });
    }
    if ops.is_empty() {
        return Ok(ran);
    }
    let differs = work.plan(&work.look(node).await?, now);
    // What became due meanwhile is for the next run.
    let same = |op: &&W::Op| ops.contains(op) && !left.contains(op);
    let differs: Vec<String> = differs.iter().filter(same).map(|op| work.says(op)).collect();
    if differs.is_empty() { Ok(ran) } else { Err(JobError::Differs(differs.join("; "))) }
}
