//! Sends partners what this agency said about agreements and they have not acknowledged: a signature, a suspension.
//!
//! It is sent at once when it is said, and at once when a partner is heard from again; this is for all other cases. One
//! partner that hangs keeps no other waiting, and who is down for long is tried more and more rarely.

use std::collections::BTreeMap;

use agreements::ids::{AgreementId, Ori};
use agreements::time::Instant;
use futures_util::stream::{self, StreamExt as _};

use super::work::{Applied, JobError, Work};
use crate::exchange::lifecycle;
use crate::node::Node;
use crate::registry::agreements as documents;

/// How many partners are dialled at the same time.
const AT_ONCE: usize = 16;

/// Tries to deliver what is pending.
pub(super) struct Deliveries;

/// What one partner lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    partner: Ori,
    agreements: Vec<AgreementId>,
}

impl Work for Deliveries {
    type World = Vec<Lacking>;
    type Op = Lacking;

    async fn look(&self, node: &Node) -> Result<Vec<Lacking>, JobError> {
        let mut conn = node.registry().reader()?;
        let mut all: BTreeMap<Ori, Vec<AgreementId>> = BTreeMap::new();
        for id in documents::unacknowledged(&mut conn, node.ori())? {
            if let Some(partner) = documents::partner(&mut conn, id)? {
                all.entry(partner).or_default().push(id);
            }
        }
        let (contacts, now) = (node.dialer().contacts(), node.now());
        all.retain(|partner, _| !contacts.rests(*partner, now));
        Ok(all.into_iter().map(|(partner, agreements)| Lacking { partner, agreements }).collect())
    }

    fn plan(&self, world: &Vec<Lacking>, _: Instant) -> Vec<Lacking> {
        world.clone()
    }

    fn says(&self, Lacking { partner, agreements }: &Lacking) -> String {
        let ids: Vec<String> = agreements.iter().map(ToString::to_string).collect();
        format!("send {partner} what it has not acknowledged of agreement {}", ids.join(", "))
    }

    async fn apply(&mut self, node: &Node, op: &Lacking) -> Result<Applied, JobError> {
        Ok(to_partner(node, op).await)
    }

    async fn apply_all(&mut self, node: &Node, ops: &[Lacking]) -> Vec<Result<Applied, JobError>> {
        stream::iter(ops).map(|op| async move { Ok(to_partner(node, op).await) }).buffered(AT_ONCE).collect().await
    }
}

async fn to_partner(node: &Node, op: &Lacking) -> Applied {
    lifecycle::reconcile(node, op.partner).await.map_or_else(Applied::Later, |()| Applied::Done)
}
