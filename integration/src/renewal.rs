//! What people do to renew an agreement: packets, reviews, drafts.

use agreements::ids::{AgreementId, Digest, Ori};
use agreements::packet::{Attestations, Audit, OutOfState};
use agreements::register::CheckResult;
use agreements::review::{Decided, Item, Verdict};
use concordat::clock::Clock as _;
use concordat::compliance::{self, Sweep};
use concordat::exchange::lifecycle::ActError;
use concordat::exchange::standing;
use concordat::registry::agreements as documents;
use concordat::renewal::packet::{self, Answers, Made};
use concordat::renewal::renew::{self, Options, Renewed};
use concordat::renewal::review::{self, Decision, Round, Submitted};
use concordat::renewal::{held, sending};
use jiff::ToSpan as _;

use crate::node::TestNode;

/// Answers that a partner's reviewer finds in order.
#[must_use]
pub fn answers(node: &TestNode) -> Answers {
    let today = node.clock.now().date().unwrap();
    Answers {
        from: today.checked_sub(1.year()).unwrap(),
        until: today.yesterday().unwrap(),
        attestations: Attestations {
            lawful_use: true,
            authorized_users_only: true,
            trained_users: true,
            accuracy: true,
            hotlists_refreshed: true,
            no_onward_transfer: true,
            no_immigration_enforcement: true,
            audit_trail_kept: true,
        },
        audit: Audit {
            on: today.checked_sub(20.days()).unwrap(),
            by: "Inspection unit".to_owned(),
            queries: 120,
            findings: Vec::new(),
        },
        violations: Vec::new(),
        out_of_state: OutOfState { shared: false, statement: "none".to_owned() },
    }
}

impl TestNode {
    /// The agreements administrator has this year's packet sealed, and it goes to the partners that can be reached.
    pub async fn makes_packet(&self) -> Made {
        let made = self.makes_packet_of(answers(self)).await.unwrap();
        sending::send_all(self.node()).await.unwrap();
        made
    }

    /// The same with other answers, and without sending it.
    pub async fn makes_packet_of(&self, answers: Answers) -> Result<Made, ActError> {
        packet::make(self.node(), answers, &self.fiction.person("agreements")).await
    }

    /// Who is to be reviewed.
    pub fn round(&self, again: &[Ori]) -> Round {
        review::round(&mut self.conn(), self.ori(), again, self.clock.now()).unwrap()
    }

    /// The agreements administrator decides every item of the partner's newest packet as ok, but for one.
    pub async fn reviews(&self, partner: &Self, but: Option<(Item, Verdict, &str)>) -> Result<Submitted, ActError> {
        let due = self.round(&[partner.ori()]).due;
        let due = due.iter().find(|due| due.partner == partner.ori());
        let packet = due.map_or(Digest([0; 32]), |due| due.packet);
        self.reviews_packet(partner, packet, but).await
    }

    /// The same about a packet of a certain hash.
    pub async fn reviews_packet(
        &self,
        partner: &Self,
        packet: Digest,
        but: Option<(Item, Verdict, &str)>,
    ) -> Result<Submitted, ActError> {
        let decide = |item| match but {
            Some((which, verdict, note)) if which == item => {
                Decided { item, verdict, note: note.to_owned(), evidence: None }
            }
            _ => Decided { item, verdict: Verdict::Ok, note: String::new(), evidence: None },
        };
        let decision = Decision { partner: partner.ori(), packet, items: Item::ALL.map(decide).to_vec() };
        review::submit(self.node(), decision, &self.fiction.person("agreements")).await
    }

    /// The agreements administrator looks at the Attorney General's sources.
    pub async fn checks_sources(&self) {
        let sources = vec!["oag.ca.gov".to_owned()];
        let sweep = Sweep { sources, result: CheckResult::NoneNamed, note: None, evidence: Vec::new() };
        let by = self.fiction.person("agreements");
        compliance::enter_check(self.node().registry(), &self.keeper(), sweep, &by).await.unwrap();
    }

    /// The agreements administrator drafts and offers the renewal of an agreement.
    pub async fn renews(&self, id: AgreementId, options: Options) -> Result<Renewed, ActError> {
        renew::renew(self.node(), id, options, &self.fiction.person("agreements")).await
    }

    /// Whether an agreement with the other took effect before.
    fn had_one_with(&self, other: &Self) -> bool {
        let mut conn = self.conn();
        documents::ids(&mut conn, Some(other.ori())).unwrap().into_iter().any(|id| {
            let found = standing::verified(&mut conn, id).unwrap();
            found.is_some_and(|it| it.streams.takes_effect(&it.agreement).is_some())
        })
    }

    /// How many packets of the other are here.
    pub fn packets_of(&self, other: &Self) -> usize {
        held::received(&mut self.conn()).unwrap().get(&other.ori()).map_or(0, Vec::len)
    }
}

/// Packets go both ways and are reviewed, as before every agreement after the first; nothing before the first.
pub async fn reviewed_if_not_the_first(one: &TestNode, other: &TestNode) {
    if !one.had_one_with(other) {
        return;
    }
    for (of, by) in [(one, other), (other, one)] {
        of.makes_packet().await;
        by.reviews(of, None).await.unwrap();
    }
}
