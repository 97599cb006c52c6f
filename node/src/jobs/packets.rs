//! Sends partners this agency's yearly compliance packet until each has said that it has it.

use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::node::Node;
use crate::renewal::HeldError;
use crate::renewal::sending::{self, Owed};

/// Tries to send what is owed.
pub(super) struct Packets;

impl Work for Packets {
    type World = Vec<Owed>;
    type Op = Owed;

    async fn look(&self, node: &Node) -> Result<Vec<Owed>, JobError> {
        let owed = sending::owed(&mut node.registry().reader()?, node.ori(), None, node.now());
        owed.map_err(|error| match error {
            HeldError::Store(error) => JobError::Registry(error),
            HeldError::Open(error) => JobError::Open(error),
            other => JobError::Held(other),
        })
    }

    fn plan(&self, world: &Vec<Owed>, _: Instant) -> Vec<Owed> {
        world.clone()
    }

    fn says(&self, op: &Owed) -> String {
        format!("send {} this agency's compliance packet", op.partner)
    }

    async fn apply(&mut self, node: &Node, op: &Owed) -> Result<Applied, JobError> {
        Ok(match sending::send(node, op).await.pending {
            None => Applied::Done,
            Some(why) => Applied::Later(why),
        })
    }
}
