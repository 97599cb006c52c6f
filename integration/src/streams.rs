//! What people do about agreements, and what the two streams of one are, on a node of a test.

use std::sync::Arc;
use std::time::Duration;

use agreements::agreement::{Agreement, Renewal};
use agreements::ids::{AgreementId, Digest};
use agreements::status::Status;
use agreements::stream::Stream;
use concordat::changes::{self, Command};
use concordat::exchange::lifecycle::{Act, ActError, Delivery};
use concordat::exchange::standing;
use concordat::exchange::wire::{self, Bulk};
use concordat::node::Node;
use concordat::registry::agreements as documents;
use concordat::renewal::renew::Options;

use crate::node::{SIGNING, TestNode};
use crate::pair::{Pair, days_from_start};
use crate::wire::Reply;

/// The same document as the first renewal of another one, by hand.
pub fn renewing(document: Agreement, old: Digest) -> Agreement {
    let found = |what: &str| Digest::of(what.as_bytes());
    let renewal = Renewal {
        packet_sha256: found("the packet"),
        review_sha256: found("the review"),
        ag_check_sha256: found("the check"),
    };
    Agreement { revision: 2, supersedes: Some(old), renewal: Some(renewal), ..document }
}

impl TestNode {
    /// Lifts this agency's own suspension.
    pub async fn resumes(&self, id: AgreementId) -> Delivery {
        self.opens(Command::Resume { agreement: id }, "the partner's audit is closed").await.unwrap()
    }

    pub async fn signs(&self, id: AgreementId) -> Delivery {
        self.tries_to_sign(id).await.unwrap()
    }

    pub async fn tries_to_sign(&self, id: AgreementId) -> Result<Delivery, ActError> {
        self.has_approved(id).await;
        self.opens(Command::Sign { agreement: id }, SIGNING).await
    }

    /// Two people do it; when something of the partner arrives between the two, they look again.
    async fn opens(&self, command: Command, reason: &str) -> Result<Delivery, ActError> {
        let mut tries = 0;
        loop {
            let change = self.proposes(command.clone(), reason).await?;
            match self.approves(change).await {
                Ok(approval) => return Ok(approval.delivery.expect("what is signed or resumed is sent")),
                Err(error) if tries == 3 => return Err(error),
                Err(_) => _ = changes::withdraw(self.node(), change, &self.fiction.person("agreements")).await.unwrap(),
            }
            tries += 1;
        }
    }

    pub async fn takes_back(&self, id: AgreementId) -> Delivery {
        self.acts(id, Act::Withdraw { reason: "the dates are wrong".to_owned() }).await.unwrap()
    }

    /// Drafts and offers the renewal of an agreement, from today on. Packets were sent and reviewed before.
    pub async fn renews_today(&self, id: AgreementId) -> Result<AgreementId, ActError> {
        let options = Options { effective_on: Some(days_from_start(0)), ..Options::default() };
        Ok(self.renews(id, options).await?.id)
    }

    /// The hash of an agreement's document.
    pub fn document_hash(&self, id: AgreementId) -> Digest {
        Digest::of(&documents::find(&mut self.conn(), id).unwrap().unwrap().0)
    }

    /// Both streams of an agreement as this node has them: this agency's own, and the partner's.
    pub fn streams(&self, id: AgreementId) -> [Stream; 2] {
        let found = standing::verified(&mut self.conn(), id).unwrap().unwrap();
        let theirs = found.agreement.other(self.ori()).unwrap().ori;
        [self.ori(), theirs].map(|ori| found.streams.party(&found.agreement, ori).unwrap().clone())
    }

    /// This agency's events of an agreement as they travel, in their order.
    pub async fn event_texts(&self, id: AgreementId) -> Vec<String> {
        let kept = documents::stream(&mut self.conn(), id, self.ori()).unwrap();
        let mut texts = Vec::new();
        for rid in kept.into_iter().map(|kept| kept.rid) {
            let again = self.node().registry().record(move |tx| tx.again(rid)).await.unwrap();
            texts.push(wire::write(again.entry(again.unwrap()).unwrap(), Bulk::None).unwrap());
        }
        texts
    }

    /// Another process of this node, without doors: what a command line is.
    pub fn second(&self) -> Arc<Node> {
        let clock = Arc::new(self.clock.clone());
        Node::open(self.settings().clone(), clock, Arc::new(|_: &str| {})).unwrap()
    }

    /// Posts an event's text to another node's door itself.
    pub async fn posts_event(&self, other: &Self, id: AgreementId, text: &str) -> Reply {
        self.calls(other).post(&format!("/peer/v1/agreements/{id}/events"), text).await
    }
}

impl Pair {
    /// Waits until both say that `id` stands so.
    pub async fn come_to(&self, id: AgreementId, expected: &Status) {
        for node in [&self.alder, &self.birch] {
            node.comes_to(id, expected).await;
        }
    }

    /// Waits until both say that `id` is in force.
    pub async fn come_into_force(&self, id: AgreementId) {
        for node in [&self.alder, &self.birch] {
            for _ in 0..1000 {
                if matches!(node.status(id), Status::InForce { .. }) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(matches!(node.status(id), Status::InForce { .. }), "{}: {:?}", node.fiction.word, node.status(id));
        }
    }

    /// Whether each has of both streams what the other has.
    pub fn same_streams(&self, id: AgreementId) -> bool {
        let [own, theirs] = self.alder.streams(id);
        self.birch.streams(id) == [theirs, own]
    }
}

impl TestNode {
    /// Waits until the partner has acknowledged all that this node said.
    pub async fn has_all_acknowledged(&self) {
        for _ in 0..1000 {
            if documents::unacknowledged(&mut self.conn(), self.ori()).unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the partner of {} does not acknowledge all", self.fiction.word);
    }

    /// This node and the other, which have an agreement, get in touch after an absence, and have looked at each other's
    /// events: neither does anything more by itself.
    pub async fn meets(&self, other: &Self) {
        const ANSWERED: &str = "concordat_requests_total{door=\"Peer\",reply=\"Answered\"}";
        let counts = || [self, other].map(|node| node.counted(ANSWERED));
        let [ours, theirs] = counts();
        assert_eq!(other.calls(self).get("/peer/v1/node").await.status, 200);
        for _ in 0..1000 {
            let [ours_now, theirs_now] = counts();
            if ours_now >= ours + 2 && theirs_now > theirs {
                // The last replies are on their way.
                return tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} and {} do not look at each other", self.fiction.word, other.fiction.word);
    }

    /// Waits until this node says that `id` stands so: by itself, whatever its clock says.
    pub async fn comes_to(&self, id: AgreementId, expected: &Status) {
        for _ in 0..3000 {
            if self.status(id) == *expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}: {:?} instead of {expected:?}", self.fiction.word, self.status(id));
    }
}
