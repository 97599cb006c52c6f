//! Sends partners what this agency said about agreements and they have not acknowledged: a signature, a suspension.

use agreements::ids::AgreementId;
use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::exchange::lifecycle::{self, Delivery};
use crate::node::Node;
use crate::registry::agreements as documents;

/// Tries to deliver what is pending.
pub(super) struct Deliveries;

impl Work for Deliveries {
    type World = Vec<AgreementId>;
    type Op = AgreementId;

    async fn look(&self, node: &Node) -> Result<Vec<AgreementId>, JobError> {
        Ok(documents::unacknowledged(&mut node.registry().reader()?, node.ori())?)
    }

    fn plan(&self, world: &Vec<AgreementId>, _: Instant) -> Vec<AgreementId> {
        world.clone()
    }

    fn says(&self, op: &AgreementId) -> String {
        format!("send what the partner has not acknowledged of agreement {op}")
    }

    async fn apply(&mut self, node: &Node, op: &AgreementId) -> Result<Applied, JobError> {
        Ok(match lifecycle::deliver(node, *op).await {
            Delivery::Delivered { .. } => Applied::Done,
            Delivery::Pending { why } => Applied::Later(why),
        })
    }
}
