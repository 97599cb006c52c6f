//! A federation with a witness policy: Alder and Birch under an agreement that names it, and Cedar, which exchanges nothing
//! with them and watches both.

use std::path::PathBuf;

use agreements::entry::Kind;
use agreements::ids::AgreementId;
use agreements::time::Instant;
use concordat::db::Conn;
use concordat::demo::agency::{ALDER, BIRCH, CEDAR};
use concordat::publishing;
use concordat::trail::policy::Policy;

use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::federation::Federation;
use crate::forge::Forger;
use crate::node::TestNode;
use crate::pair::{Terms, agree};

/// Three nodes, each a witness of the other two.
pub struct Watched {
    pub alder: TestNode,
    pub birch: TestNode,
    pub cedar: TestNode,
    pub id: AgreementId,
    pub policy: Policy,
    pub federation: Federation,
}

impl Watched {
    /// Under an agreement in force between Alder and Birch; every head needs two of the three witnesses.
    pub async fn in_force() -> Self {
        Self::in_force_with(|_, _| Vec::new()).await
    }

    /// The same with further witnesses, each by its name in the policy and the rest of its line there. A quorum needs
    /// all of those and two of the three.
    pub async fn in_force_with(others: impl FnOnce(&Federation, &[TestNode; 3]) -> Vec<(String, String)>) -> Self {
        let federation = Federation::found();
        let mut nodes = [
            TestNode::found(&federation, ALDER).await,
            TestNode::found(&federation, BIRCH).await,
            TestNode::found(&federation, CEDAR).await,
        ];
        for one in 0..3 {
            for other in (0..3).filter(|other| *other != one) {
                nodes[one].enrols(&nodes[other]).await;
            }
        }
        let text = policy_of(&nodes, &others(&federation, &nodes));
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let path = policy_file(&federation, &text);
        for node in &mut nodes {
            node.restart_with(|config| config.trail.witness_policy = Some(path.display().to_string()));
        }
        let [alder, birch, cedar] = nodes;
        let terms = Terms { witnesses: Some(policy.sha256()), ..Terms::default() };
        let id = agree(&alder, &birch, &terms).await.unwrap();
        Self { alder, birch, cedar, id, policy, federation }
    }

    /// Every node shows its head to the others now.
    pub async fn publish(&self) {
        for node in [&self.alder, &self.birch, &self.cedar] {
            publishing::publish(node.node()).await.unwrap();
        }
    }

    /// Sets the clocks of all three.
    pub fn set_clocks(&self, now: Instant) {
        for node in [&self.alder, &self.birch, &self.cedar] {
            node.clock.set(now);
        }
    }
}

/// A policy with the witness of each node, of which two are a quorum together with all others.
fn policy_of(nodes: &[TestNode; 3], others: &[(String, String)]) -> String {
    let line = |node: &TestNode| {
        let party = node.node().party();
        format!("witness {} {} {}/peer/v1/witness\n", node.fiction.word, party.node.witness_vkey, party.node.url)
    };
    let witnesses: String = nodes.iter().map(line).collect();
    let names = nodes.iter().map(|node| format!(" {}", node.fiction.word)).collect::<Vec<_>>().concat();
    let further = others.iter().map(|(name, rest)| format!("witness {name} {rest}\n")).collect::<Vec<_>>().concat();
    let all = others.iter().map(|(name, _)| format!(" {name}")).collect::<Vec<_>>().concat();
    format!(
        "# The witnesses of a federation of fictional agencies.\n{witnesses}{further}group two 2{names}\n\
         group all all two{all}\nquorum all\n"
    )
}

fn policy_file(federation: &Federation, text: &str) -> PathBuf {
    let path = federation.folder().join("federation.policy");
    std::fs::write(&path, text).unwrap();
    path
}

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = Text)]
    checkpoint: String,
}

fn checkpoint(conn: &mut Conn) -> String {
    diesel::sql_query("SELECT checkpoint FROM head").get_result::<HeadRow>(conn).unwrap().checkpoint
}

impl TestNode {
    /// The head of this node's log, as its key signed it.
    pub fn checkpoint(&self) -> String {
        checkpoint(&mut self.conn())
    }

    /// Puts an entry into this node's log that says nothing to anybody.
    pub async fn writes_an_entry(&self) {
        self.forger().writes_an_entry().await;
    }
}

impl Forger {
    /// The head of the log in a test's hand.
    pub fn checkpoint(&self) -> String {
        checkpoint(&mut self.db().reader().unwrap())
    }

    /// Puts an entry into it that says nothing to anybody.
    pub async fn writes_an_entry(&self) {
        self.swears(Kind::TrailSearched, None, &serde_json::json!({"v": 1})).await;
    }
}
