//! Carries out approved changes whose effective date has come.

use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::changes::{self, ChangeError, ChangeId, State};
use crate::node::Node;

/// Does what two people decided, when they said.
pub(super) struct Changes;

impl Work for Changes {
    type World = Vec<ChangeId>;
    type Op = ChangeId;

    async fn look(&self, node: &Node) -> Result<Vec<ChangeId>, JobError> {
        Ok(changes::due(&mut node.registry().reader()?, node.now())?)
    }

    fn plan(&self, world: &Vec<ChangeId>, _: Instant) -> Vec<ChangeId> {
        world.clone()
    }

    fn says(&self, op: &ChangeId) -> String {
        format!("carry out the approved change {op}")
    }

    async fn apply(&mut self, node: &Node, op: &ChangeId) -> Result<Applied, JobError> {
        match changes::carry_out(node, *op).await {
            Ok(approval) => {
                if let State::Overtaken { why, .. } = approval.change.state(node.now()) {
                    tracing::warn!(change = %op, why, "an approved change was not carried out: propose it anew");
                }
                Ok(Applied::Done)
            }
            Err(ChangeError::Refused(why)) => Ok(Applied::Later(why.join("; "))),
            Err(ChangeError::Failure(error)) => Err(error.into()),
        }
    }
}
