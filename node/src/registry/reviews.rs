//! Early reviews of partners (V-28), as the trail's `review.opened` and `review.closed` entries tell them. There is no table
//! of them.

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::json;
use agreements::register::{OpenReview, Trigger};
use agreements::time::Instant;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::db::Conn;
use crate::trail::told::{self, Told, Which};

/// The message of a `review.opened` entry; the entry's id is the review's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Who opened it; absent where the node did, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// SHA-256 of each file that is kept as evidence of what it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// Whom it is about.
    pub ori: Ori,
    /// What happened.
    pub reason: String,
    /// Why, by the table of triggers.
    pub trigger: Trigger,
    /// The version of this message.
    pub v: u16,
}

/// The message of a `review.closed` entry: the record that lifts what the review suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// The second person.
    pub approved_by: String,
    /// Who reviewed.
    pub by: String,
    /// SHA-256 of each file that is kept as evidence of what was looked at.
    pub evidence: Vec<Digest>,
    /// What was looked at.
    pub looked_at: String,
    /// Whom it was about.
    pub ori: Ori,
    /// What came of it.
    pub outcome: String,
    /// The review.
    pub review: RequestId,
    /// The version of this message.
    pub v: u16,
}

/// An early review, open or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Review {
    /// The entry that opened it.
    pub id: RequestId,
    /// When that was.
    pub opened_at: Instant,
    /// What it says.
    #[serde(flatten)]
    pub opened: Opened,
    /// When and how it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedAt>,
}

/// How a review was closed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosedAt {
    /// When.
    pub at: Instant,
    /// The record.
    pub record: Closed,
}

impl Review {
    /// Whether it was open at an instant.
    #[must_use]
    pub fn is_open_at(&self, at: Instant) -> bool {
        self.opened_at <= at && self.closed.as_ref().is_none_or(|closed| at < closed.at)
    }

    /// What a decision needs of it.
    #[must_use]
    pub fn standing(&self) -> OpenReview {
        OpenReview { id: self.id, ori: self.opened.ori, trigger: self.opened.trigger, opened_at: self.opened_at }
    }
}

/// Every review, oldest first; the inner error says which entry is not as it was recorded.
pub fn all(conn: &mut Conn) -> QueryResult<Result<Vec<Review>, String>> {
    let opened = match told::told(conn, Kind::ReviewOpened, Which::All)? {
        Ok(opened) => opened,
        Err(what) => return Ok(Err(what)),
    };
    let closed = told::told(conn, Kind::ReviewClosed, Which::All)?;
    Ok(closed.and_then(|closed| folded(&opened, &closed)))
}

fn folded(opened: &[Told], closed: &[Told]) -> Result<Vec<Review>, String> {
    let mut reviews = Vec::with_capacity(opened.len());
    for Told { rid, at, message, .. } in opened {
        let opened: Opened = json::parse(message).map_err(|error| error.to_string())?;
        reviews.push(Review { id: *rid, opened_at: *at, opened, closed: None });
    }
    for Told { at, message, .. } in closed {
        let record: Closed = json::parse(message).map_err(|error| error.to_string())?;
        let review = reviews.iter_mut().find(|review| review.id == record.review && review.closed.is_none());
        let review = review.ok_or_else(|| format!("a review was closed that was not open: {}", record.review))?;
        review.closed = Some(ClosedAt { at: *at, record });
    }
    Ok(reviews)
}

/// Those that are open: now, or at an instant.
#[must_use]
pub fn open(reviews: &[Review], at: Option<Instant>) -> Vec<OpenReview> {
    let is_open = |review: &&Review| match at {
        Some(at) => review.is_open_at(at),
        None => review.closed.is_none(),
    };
    reviews.iter().filter(is_open).map(Review::standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Instant {
        "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(day * Instant::DAY)
    }

    fn told(day: i64, random: u8, message: &impl Serialize) -> Told {
        let message = json::canonical(message).unwrap();
        Told { index: u64::from(random), rid: RequestId::new(at(day), [random; 10]), at: at(day), message }
    }

    #[test]
    fn a_review_is_open_from_its_entry_until_the_one_that_closes_it() {
        let ori: Ori = "CA0990100".parse().unwrap();
        let opened =
            |trigger| Opened { by: None, evidence: Vec::new(), ori, reason: "named".to_owned(), trigger, v: 1 };
        let entries = [told(0, 1, &opened(Trigger::AgFinding)), told(2, 2, &opened(Trigger::PolicyChanged))];
        let record = Closed {
            approved_by: "b".to_owned(),
            by: "a".to_owned(),
            evidence: vec![Digest::of(b"file")],
            looked_at: "the answer".to_owned(),
            ori,
            outcome: "nothing".to_owned(),
            review: entries[0].rid,
            v: 1,
        };
        let closings = [told(5, 3, &record)];
        let reviews = folded(&entries, &closings).unwrap();
        let ids = |at| open(&reviews, at).into_iter().map(|review| review.trigger).collect::<Vec<_>>();
        assert_eq!(ids(Some(at(0).plus(-1))), []);
        assert_eq!(ids(Some(at(0))), [Trigger::AgFinding]);
        assert_eq!(ids(Some(at(5).plus(-1))), [Trigger::AgFinding, Trigger::PolicyChanged]);
        assert_eq!(ids(Some(at(5))), [Trigger::PolicyChanged]);
        assert_eq!(ids(None), [Trigger::PolicyChanged]);

        let twice = [told(5, 3, &record), told(6, 4, &record)];
        assert!(folded(&entries, &twice).unwrap_err().contains("not open"));
    }
}
