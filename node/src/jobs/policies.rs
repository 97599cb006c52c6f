//! Reads partners' published policies again: each month, and daily those that could not be reached.

use std::collections::BTreeMap;

use agreements::ids::Ori;
use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::compliance::policies;
use crate::node::Node;
use crate::registry::policies::{self as kept, Standing};

/// Looks at what is due.
pub(super) struct Policies;

impl Work for Policies {
    type World = BTreeMap<Ori, Standing>;
    type Op = Ori;

    async fn look(&self, node: &Node) -> Result<Self::World, JobError> {
        if !node.config().policy_checks.automatic {
            return Ok(BTreeMap::new());
        }
        let mut known = kept::standings(&mut node.registry().reader()?)?;
        let partners = node.partners();
        Ok(partners.all().map(|partner| (partner.ori(), known.remove(&partner.ori()).unwrap_or_default())).collect())
    }

    fn plan(&self, world: &Self::World, now: Instant) -> Vec<Ori> {
        world.iter().filter(|(_, standing)| standing.is_due(now)).map(|(ori, _)| *ori).collect()
    }

    fn says(&self, op: &Ori) -> String {
        format!("read the published policy of {op} again")
    }

    async fn apply(&mut self, node: &Node, op: &Ori) -> Result<Applied, JobError> {
        let partners = node.partners();
        let Some(partner) = partners.find(*op) else {
            return Ok(Applied::Later(format!("{op} is not enrolled any more")));
        };
        let looked = policies::check(node, partner.party(), None).await?;
        if let Some(review) = looked.review {
            tracing::warn!(partner = %op, %review, outcome = looked.outcome.name(), "an early review was opened");
            node.bell().ring_for(super::MAIL);
        }
        Ok(Applied::Done)
    }
}
