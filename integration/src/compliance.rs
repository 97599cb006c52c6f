//! What people of an agency do about others' compliance: checks, clearings, early reviews, evidence.

use agreements::ids::{Digest, Ori, RequestId};
use agreements::register::{CheckResult, FindingKind, Trigger};
use concordat::changes::{self, ChangeError, ChangeId, Command};
use concordat::compliance::reviews::{self, Closing, NewReview};
use concordat::compliance::{self, Sweep, Written};
use concordat::evidence::Evidence;
use concordat::people::PeopleError;
use concordat::registry::reviews::{self as kept, Review};

use crate::node::TestNode;
use crate::pair::days_from_start;

/// Why it may go on.
const OUTCOME: &str = "the partner mended what it was about";

/// Where a finding or a clearing stands.
pub fn written(citation: &str, evidence: Vec<Digest>) -> Written {
    Written { citation: citation.to_owned(), on: days_from_start(-3), document: None, evidence }
}

impl TestNode {
    /// The store of evidence.
    pub fn evidence(&self) -> Evidence {
        Evidence::of(self.settings()).unwrap()
    }

    /// Keeps a file as evidence.
    pub async fn keeps(&self, text: &str) -> Digest {
        self.evidence().keep(text.to_owned()).await.unwrap()
    }

    /// The Attorney General named `ori`, and somebody here enters it.
    pub async fn finds_named(&self, ori: Ori) {
        let letter = self.keeps("a letter of the Attorney General's office").await;
        let written = written("People v. Agency, complaint of 20 November 2026", vec![letter]);
        self.finds(compliance::finding(ori, FindingKind::NamedInSuit, written)).await;
    }

    /// One person proposes that a finding against `ori` no longer stands.
    pub async fn proposes_clearing(&self, ori: Ori, by: &str) -> Result<ChangeId, ChangeError> {
        let evidence = vec![self.keeps("the case was dismissed").await];
        self.proposes_as(by, Command::ClearFinding { ori, written: written("dismissal of 20 November 2026", evidence) })
            .await
    }

    /// Two people clear what stands against `ori`: one proposes, the other approves.
    pub async fn clears(&self, ori: Ori, by: &str, approved_by: &str) -> Result<(), ChangeError> {
        let change = self.proposes_clearing(ori, by).await?;
        self.decides(change, by, approved_by).await
    }

    /// Somebody looks at the Attorney General's sources.
    pub async fn checks(&self) {
        let by = self.fiction.person("agreements");
        let sources = vec!["oag.ca.gov press releases".to_owned()];
        let evidence = vec![self.keeps("the page of press releases").await];
        let sweep = Sweep { sources, result: CheckResult::NoneNamed, note: None, evidence };
        compliance::enter_check(self.node().registry(), &self.keeper(), sweep, &by).await.unwrap();
    }

    /// One person opens an early review.
    pub async fn opens_review(&self, ori: Ori, trigger: Trigger) -> Result<RequestId, PeopleError> {
        self.opens_review_for(ori, trigger, "as the partner reported").await
    }

    /// The same, because of what happened.
    pub async fn opens_review_for(&self, ori: Ori, trigger: Trigger, reason: &str) -> Result<RequestId, PeopleError> {
        let new = NewReview { ori, trigger, reason: reason.to_owned(), evidence: Vec::new() };
        reviews::open(self.node().registry(), &self.keeper(), new, &self.fiction.person("agreements")).await
    }

    /// What closes a review, as somebody who looked into it proposes it.
    pub async fn closing(&self, review: RequestId) -> Command {
        let evidence = vec![self.keeps("the partner's report").await];
        Command::CloseReview { closing: Closing { review, looked_at: "the partner's report".to_owned(), evidence } }
    }

    /// Two people close one, with what they looked at.
    pub async fn closes_review(&self, review: RequestId, by: &str, approved_by: &str) -> Result<(), ChangeError> {
        let change = self.proposes_as(by, self.closing(review).await).await?;
        self.decides(change, by, approved_by).await
    }

    /// Two people accept the text that `ori` publishes.
    pub async fn accepts_policy(&self, ori: Ori, text: Digest, by: &str, second: &str) -> Result<(), ChangeError> {
        let change = self.proposes_as(by, Command::AcceptPolicy { ori, text }).await?;
        self.decides(change, by, second).await
    }

    /// Somebody with this role proposes a change.
    pub async fn proposes_as(&self, role: &str, command: Command) -> Result<ChangeId, ChangeError> {
        changes::propose(self.node(), command, &self.fiction.person(role), OUTCOME).await
    }

    /// Somebody with this role approves it; where that is refused, whoever proposed it takes it back.
    async fn decides(&self, change: ChangeId, by: &str, second: &str) -> Result<(), ChangeError> {
        let approved = changes::approve(self.node(), change, &self.fiction.person(second)).await;
        if approved.is_err() {
            changes::withdraw(self.node(), change, &self.fiction.person(by)).await.unwrap();
        }
        approved.map(drop)
    }

    /// The reviews that are open.
    pub fn open_reviews(&self) -> Vec<Review> {
        let all = kept::all(&mut self.conn()).unwrap().unwrap();
        all.into_iter().filter(|review| review.closed.is_none()).collect()
    }
}
