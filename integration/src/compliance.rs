//! What people of an agency do about others' compliance: checks, clearings, early reviews, evidence.

use agreements::ids::{Digest, Ori, RequestId};
use agreements::register::{FindingKind, Trigger};
use concordat::compliance::reviews::{self, Closing, NewReview};
use concordat::compliance::{self, Written};
use concordat::evidence::Evidence;
use concordat::people::PeopleError;
use concordat::registry::reviews::{self as kept, Review};

use crate::node::TestNode;
use crate::pair::days_from_start;

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

    /// Two people clear what stands against `ori`.
    pub async fn clears(&self, ori: Ori, by: &str, approved_by: &str) -> Result<(), PeopleError> {
        let evidence = vec![self.keeps("the case was dismissed").await];
        let (by, approved_by) = (self.fiction.person(by), self.fiction.person(approved_by));
        let written = written("dismissal of 20 November 2026", evidence);
        compliance::clear_finding(self.node().registry(), &self.keeper(), ori, written, &by, &approved_by).await
    }

    /// Somebody looks at the Attorney General's sources.
    pub async fn checks(&self) {
        let by = self.fiction.person("agreements");
        let sources = vec!["oag.ca.gov press releases".to_owned()];
        let result = "no partner is named".to_owned();
        let evidence = vec![self.keeps("the page of press releases").await];
        let db = self.node().registry();
        compliance::enter_check(db, &self.keeper(), sources, result, evidence, &by).await.unwrap();
    }

    /// One person opens an early review.
    pub async fn opens_review(&self, ori: Ori, trigger: Trigger) -> Result<RequestId, PeopleError> {
        let new = NewReview { ori, trigger, reason: "as the partner reported".to_owned(), evidence: Vec::new() };
        reviews::open(self.node().registry(), &self.keeper(), new, &self.fiction.person("agreements")).await
    }

    /// Two people close one, with what they looked at.
    pub async fn closes_review(&self, review: RequestId, by: &str, approved_by: &str) -> Result<(), PeopleError> {
        let closing = Closing {
            review,
            looked_at: "the partner's report".to_owned(),
            outcome: "it was mended".to_owned(),
            evidence: vec![self.keeps("the partner's report").await],
        };
        let (by, approved_by) = (self.fiction.person(by), self.fiction.person(approved_by));
        reviews::close(self.node().registry(), closing, &by, &approved_by).await
    }

    /// The reviews that are open.
    pub fn open_reviews(&self) -> Vec<Review> {
        let all = kept::all(&mut self.conn()).unwrap().unwrap();
        all.into_iter().filter(|review| review.closed.is_none()).collect()
    }
}
