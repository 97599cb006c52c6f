//! Two agencies under an agreement.

use std::sync::atomic::{AtomicI64, Ordering};

use agreements::agreement::{
    Agreement, Authorization, Commitments, FORMAT, Grant, HotlistGrant, QueryGrant, Witnesses,
};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::party::Party;
use agreements::purpose::Purpose;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::demo::agency::{ALDER, BIRCH};
use concordat::exchange::lifecycle::{self, Act, ActError, Delivery};
use concordat::node::fresh_rid;
use jiff::civil::Date;

use crate::clock::TestClock;
use crate::database::Backend;
use crate::federation::{Federation, start};
use crate::node::TestNode;
use crate::renewal::reviewed_if_not_the_first;

/// What an agreement says, apart from who the parties are.
pub struct Terms {
    pub effective_on: Date,
    pub sunset_on: Date,
    /// What each grants the other.
    pub query: QueryGrant,
    /// Which hotlists each grants the other, with their categories.
    pub lists: Vec<(&'static str, Vec<&'static str>)>,
    /// SHA-256 of the federation's witness policy.
    pub witnesses: Option<Digest>,
}

impl Default for Terms {
    /// From today for thirty days; three purposes, seven days, images.
    fn default() -> Self {
        let nobody: Ori = "CA0000000".parse().unwrap();
        Self {
            effective_on: days_from_start(0),
            sunset_on: days_from_start(30),
            query: QueryGrant {
                owner: nobody,
                recipient: nobody,
                purposes: vec![Purpose::CriminalInvestigation, Purpose::WantedPersons, Purpose::Lifesaving],
                lookback_days: 7,
                max_rows: 100,
                daily_quota: 1000,
                area: None,
                partial: false,
                fuzzy: false,
                images: true,
                without_plate: false,
                authorization: Authorization::Standing,
            },
            lists: Vec::new(),
            witnesses: None,
        }
    }
}

/// The date so many days after the day on which scenarios begin.
pub fn days_from_start(days: i64) -> Date {
    start().plus(days * Instant::DAY).date().unwrap()
}

impl Terms {
    /// The document between two agencies as their descriptors are now.
    pub fn between(&self, one: &Party, other: &Party) -> Agreement {
        let mut parties = [one.clone(), other.clone()];
        parties.sort_by_key(|party| party.ori);
        let grant = |owner: &Party, recipient: &Party| {
            Grant::Query(QueryGrant { owner: owner.ori, recipient: recipient.ori, ..self.query.clone() })
        };
        let lists = |owner: &Party, recipient: &Party| {
            let grant = |(list, categories): &(&str, Vec<&str>)| {
                Grant::Hotlist(HotlistGrant {
                    owner: owner.ori,
                    recipient: recipient.ori,
                    list: (*list).to_owned(),
                    categories: categories.iter().map(|&name| name.to_owned()).collect(),
                })
            };
            self.lists.iter().map(grant).collect::<Vec<_>>()
        };
        let mut grants = vec![grant(one, other), grant(other, one)];
        grants.extend(lists(one, other));
        grants.extend(lists(other, one));
        Agreement {
            format: FORMAT.to_owned(),
            id: agreement_id(),
            revision: 1,
            supersedes: None,
            grants,
            parties,
            commitments: Commitments {
                lawful_use: true,
                authorized_users_only: true,
                trained_users: true,
                accuracy: true,
                hotlist_max_age_hours: 24,
                no_onward_transfer: true,
                received_retention_days: 30,
            },
            framework: None,
            witnesses: self.witnesses.map(|policy_sha256| Witnesses { policy_sha256 }),
            effective_on: self.effective_on,
            sunset_on: self.sunset_on,
            renewal: None,
        }
    }
}

/// A new id of an agreement, later than all before it.
pub fn agreement_id() -> AgreementId {
    static MADE: AtomicI64 = AtomicI64::new(0);
    let at = start().plus(MADE.fetch_add(1, Ordering::Relaxed) * 1000);
    AgreementId::from_slice(fresh_rid(at).unwrap().as_bytes()).unwrap()
}

/// Alder and Birch, enrolled with each other, their agreement signed over the wire by both.
pub struct Pair {
    pub alder: TestNode,
    pub birch: TestNode,
    pub id: AgreementId,
    pub federation: Federation,
}

impl Pair {
    /// Under an agreement in force, with the usual terms.
    pub async fn in_force() -> Self {
        Self::in_force_on(Backend::Sqlite).await
    }

    /// The same, with the stores of both on one kind of database.
    pub async fn in_force_on(backend: Backend) -> Self {
        let pair = Self::under_on(backend, Terms::default()).await;
        for node in [&pair.alder, &pair.birch] {
            assert!(matches!(node.status(pair.id), Status::InForce { .. }), "{:?}", node.status(pair.id));
        }
        pair
    }

    /// Under an agreement with these terms, signed by both.
    pub async fn under(terms: Terms) -> Self {
        Self::under_on(Backend::Sqlite, terms).await
    }

    async fn under_on(backend: Backend, terms: Terms) -> Self {
        let (federation, alder, birch) = Self::enrolled_on(backend).await;
        let id = agree(&alder, &birch, &terms).await.unwrap();
        Self { alder, birch, id, federation }
    }

    /// Enrolled with each other, and no more.
    pub async fn enrolled() -> (Federation, TestNode, TestNode) {
        Self::enrolled_on(Backend::Sqlite).await
    }

    async fn enrolled_on(backend: Backend) -> (Federation, TestNode, TestNode) {
        let federation = Federation::found_on(backend);
        let alder = TestNode::found(&federation, ALDER).await;
        let birch = TestNode::found(&federation, BIRCH).await;
        alder.enrols(&birch).await;
        birch.enrols(&alder).await;
        (federation, alder, birch)
    }

    /// Sets the clocks of both.
    pub fn set_clocks(&self, now: Instant) {
        for clock in self.clocks() {
            clock.set(now);
        }
    }

    /// Years go by for both, until `now`: their certificates were renewed meanwhile.
    pub fn years_go_by(&self, now: Instant) {
        self.set_clocks(now);
        self.federation.pki.renews_all(&[&self.alder, &self.birch], now);
    }

    /// So much time passes for both, whatever their clocks say.
    pub fn time_passes(&self, micros: i64) {
        for clock in self.clocks() {
            clock.forward(micros);
        }
    }

    fn clocks(&self) -> [&TestClock; 2] {
        [&self.alder.clock, &self.birch.clock]
    }

    /// A read of this plate at Birch, an hour ago.
    pub async fn birch_saw(&self, plate: &str) {
        self.birch.ingests(plate, self.birch.clock.now().plus(-Instant::HOUR)).await;
    }

    /// The text of a question of Alder's trail to Birch that every rule lets pass.
    pub async fn question_text(&self, plate: &str) -> String {
        self.alder.forger().asks(&self.alder.question(&self.birch, self.id, plate)).await
    }
}

/// Drafts, proposes and signs, all over the wire.
pub async fn agree(one: &TestNode, other: &TestNode, terms: &Terms) -> Result<AgreementId, ActError> {
    let document = terms.between(&one.node().party(), &other.node().party());
    let (id, delivery) =
        lifecycle::propose(one.node(), document.to_bytes().unwrap(), &one.fiction.person("agreements")).await?;
    assert!(matches!(delivery, Delivery::Delivered { .. }), "{delivery:?}");
    reviewed_if_not_the_first(one, other).await;
    for node in [one, other] {
        let delivery = node.acts(id, Act::Sign).await?;
        assert!(matches!(delivery, Delivery::Delivered { .. }), "{delivery:?}");
    }
    Ok(id)
}
