//! Keeps the ledger of jobs short. By number and not by age: a clock that jumped ahead deletes nothing.

use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::node::Node;
use crate::registry::job_runs;

/// How many runs of each job are kept.
pub const KEEP: i64 = 500;

/// Deletes the oldest runs.
pub(super) struct Prune;

impl Work for Prune {
    type World = Vec<(String, Instant)>;
    type Op = (String, Instant);

    async fn look(&self, node: &Node) -> Result<Self::World, JobError> {
        Ok(job_runs::crowded(&mut node.registry().reader()?, KEEP)?)
    }

    fn plan(&self, world: &Self::World, _: Instant) -> Vec<Self::Op> {
        world.clone()
    }

    fn says(&self, (job, before): &Self::Op) -> String {
        format!("delete the runs of {job} before {before}")
    }

    async fn apply(&mut self, node: &Node, op: &Self::Op) -> Result<Applied, JobError> {
        let (job, before) = op.clone();
        let prune = move |conn: &mut _| job_runs::prune(conn, &job, before);
        node.registry().write("prune the ledger of jobs", prune).await?;
        Ok(Applied::Done)
    }
}
