//! Brings what partners and this node say about agreements together, in the background of a running node: everybody's when
//! it starts, a partner's when it is in touch again after an absence, and what another process of this node said and could
//! not deliver. So what was said while two nodes could not hear each other arrives as soon as they can.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

use super::failure::Failure;
use super::lifecycle;
use crate::jobs::Stop;
use crate::node::{Desk, Node};
use crate::registry::agreements as documents;
use crate::trail::head;

/// How many partners are brought up to date at the same time.
const AT_ONCE: usize = 16;
/// How often it is looked whether another process said something.
const TICK: Duration = Duration::from_secs(1);

/// Works until it is told to stop.
pub async fn serve(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let contacts = node.dialer().contacts();
    for partner in node.partners().all() {
        contacts.want(partner.ori());
    }
    let desk = node.desk();
    let mut said = Said::default();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(partner) = contacts.take(|| node.now())
        {
            let node = &node;
            running.push(async move {
                // What went wrong is in the log, and is tried again.
                _ = lifecycle::reconcile(node, partner).await;
                partner
            });
        }
        tokio::select! {
            _ = stopped.changed() => return,
            () = contacts.news() => {}
            Some(partner) = running.next(), if !running.is_empty() => contacts.settled(partner),
            () = tokio::time::sleep(TICK) => {
                if let Err(error) = said.look(&node, &desk) {
                    tracing::error!(%error, "what partners lack of agreements could not be read");
                }
            }
        }
    }
}

/// What other processes of this node say.
#[derive(Default)]
struct Said {
    epoch: Option<i64>,
    moved: bool,
}

impl Said {
    /// Wants partners brought up to date that lack something since the standing changed. Whoever said it sends it too: it
    /// has until the next look.
    fn look(&mut self, node: &Node, desk: &Desk) -> Result<(), Failure> {
        if std::mem::take(&mut self.moved) {
            let lacking = desk.registry(|conn| {
                let mut partners = Vec::new();
                for id in documents::unacknowledged(conn, node.ori())? {
                    partners.extend(documents::partner(conn, id)?);
                }
                Ok(partners)
            })?;
            for partner in lacking {
                node.dialer().contacts().want(partner);
            }
        }
        let epoch = desk.registry(head::epoch)?;
        self.moved = self.epoch.replace(epoch) != Some(epoch);
        Ok(())
    }
}
