//! The review of a partner before its agreement is renewed (V-30): a checklist, each item decided, sealed by the reviewer's
//! agency.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{AgreementId, Digest, Ori};
use crate::json::{self, MAX_TEXT, StrictError};
use crate::time::Instant;

/// The format name that every review carries.
pub const FORMAT: &str = "concordat-review/1";

/// What a reviewer looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// The published policy is the one that the packet names, with all elements A to G.
    Policy,
    /// What the agency attests holds as far as is known here.
    Attestations,
    /// Users and their training.
    People,
    /// The audit and its findings.
    Audit,
    /// Violations, and what was done.
    Violations,
    /// The statement on sharing outside California.
    OutOfState,
    /// Who hosts and tows.
    Processors,
    /// The register of the Attorney General's findings.
    Register,
    /// Whether the terms are still what is needed.
    Terms,
}

impl Item {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 9] = [
        Self::Policy,
        Self::Attestations,
        Self::People,
        Self::Audit,
        Self::Violations,
        Self::OutOfState,
        Self::Processors,
        Self::Register,
        Self::Terms,
    ];

    /// The written name, such as `out_of_state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Attestations => "attestations",
            Self::People => "people",
            Self::Audit => "audit",
            Self::Violations => "violations",
            Self::OutOfState => "out_of_state",
            Self::Processors => "processors",
            Self::Register => "register",
            Self::Terms => "terms",
        }
    }

    /// What is asked.
    #[must_use]
    pub fn asks(self) -> &'static str {
        match self {
            Self::Policy => "is the published policy the one that the packet names, with all elements A to G?",
            Self::Attestations => "does everything that it attests hold, as far as is known here?",
            Self::People => "are users and trainings plausible, and all trained?",
            Self::Audit => "was there an audit within the year, and is what it found mended?",
            Self::Violations => "was enough done about each violation?",
            Self::OutOfState => "is nothing shared outside California?",
            Self::Processors => "do processors only host or tow?",
            Self::Register => "has the Attorney General named it?",
            Self::Terms => "are the grants still needed, as they are?",
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such item; there are {}", Item::ALL.map(Item::as_str).join(", "))]
pub struct ItemError;

impl FromStr for Item {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        Self::ALL.into_iter().find(|item| item.as_str() == text).ok_or(ItemError)
    }
}

/// What was decided about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is in order.
    Ok,
    /// It is not: the renewal is not signed.
    NotOk,
    /// It is in order, with something to be known.
    Note,
}

/// An item as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// Which.
    pub item: Item,
    /// What.
    pub verdict: Verdict,
    /// In words; needed unless it is ok.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// SHA-256 of what was looked at, where it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Digest>,
}

/// A review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// [`FORMAT`].
    pub format: String,
    /// The agency that reviews.
    pub reviewer: Ori,
    /// The person there: an account.
    pub by: String,
    /// When.
    pub at: Instant,
    /// The partner.
    pub partner: Ori,
    /// The agreement that is to be renewed.
    pub agreement: AgreementId,
    /// SHA-256 of that agreement's document.
    pub document: Digest,
    /// SHA-256 of the partner's packet that was reviewed.
    pub packet: Digest,
    /// SHA-256 of the partner's description of that day.
    pub party: Digest,
    /// Whether the register named the partner that day.
    pub adverse: bool,
    /// SHA-256 of the review before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// Every item, once, in order.
    pub items: Vec<Decided>,
}

/// Why bytes are no review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not strict JSON of this shape.
    #[error("the review: {0}")]
    Json(#[from] StrictError),
    /// Other bytes than the canonical ones.
    #[error("the review is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// Sound in form, wrong in content: every problem is named.
    #[error("the review: {}", .0.join("; "))]
    Problems(Vec<String>),
}

impl Review {
    /// Reads a review from bytes that must be its canonical ones, and checks its content.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReviewError> {
        let review: Self = json::parse(bytes)?;
        if json::canonical(&review)? != bytes {
            return Err(ReviewError::NotCanonical);
        }
        let problems = review.problems();
        if problems.is_empty() { Ok(review) } else { Err(ReviewError::Problems(problems)) }
    }

    /// The canonical bytes; the review's hash is their SHA-256.
    ///
    /// # Errors
    /// None for a review that [`Review::from_bytes`] gave.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StrictError> {
        json::canonical(self)
    }

    /// The items that are not ok.
    #[must_use]
    pub fn not_ok(&self) -> Vec<&Decided> {
        self.items.iter().filter(|decided| decided.verdict == Verdict::NotOk).collect()
    }

    /// What is wrong with it: an item that nobody decided, or a word that is missing.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.format != FORMAT {
            problems.push("format must be concordat-review/1".to_owned());
        }
        if self.reviewer == self.partner {
            problems.push("an agency does not review itself".to_owned());
        }
        if !self.items.iter().map(|decided| decided.item).eq(Item::ALL) {
            let missing: Vec<&str> = Item::ALL
                .into_iter()
                .filter(|item| self.items.iter().all(|decided| decided.item != *item))
                .map(Item::as_str)
                .collect();
            problems.push(match missing.as_slice() {
                [] => "each item is decided once, in the order of the checklist".to_owned(),
                missing => format!("not decided: {}", missing.join(", ")),
            });
        }
        for decided in &self.items {
            if decided.verdict != Verdict::Ok && decided.note.trim().is_empty() {
                problems.push(format!("{}: say in words what is not ok, or what is to be known", decided.item));
            }
            if decided.note.chars().count() > MAX_TEXT {
                problems.push(format!("{}: the note is over {MAX_TEXT} characters: shorten it", decided.item));
            }
        }
        if self.adverse && self.items.iter().any(|it| it.item == Item::Register && it.verdict == Verdict::Ok) {
            problems.push("register: the register names the partner, so this item cannot be ok".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (fn(&mut Review), &'static str);

    fn review() -> Review {
        let ok = |item| Decided { item, verdict: Verdict::Ok, note: String::new(), evidence: None };
        let at: Instant = "2026-11-23T20:17:00Z".parse().unwrap();
        Review {
            format: FORMAT.to_owned(),
            reviewer: "CA0010000".parse().unwrap(),
            by: "avery".to_owned(),
            at,
            partner: "CA0020000".parse().unwrap(),
            agreement: AgreementId::new(at, [1; 10]),
            document: Digest::of(b"agreement"),
            packet: Digest::of(b"packet"),
            party: Digest::of(b"party"),
            adverse: false,
            previous: None,
            items: Item::ALL.map(ok).to_vec(),
        }
    }

    #[test]
    fn every_item_is_decided_once_with_words_where_it_is_not_ok() {
        let bytes = review().to_bytes().unwrap();
        assert_eq!(Review::from_bytes(&bytes).unwrap(), review());
        let cases: [Case; 5] = [
            (|it| drop(it.items.remove(3)), "not decided: audit"),
            (|it| it.items.swap(0, 1), "in the order"),
            (|it| it.items[2].verdict = Verdict::NotOk, "people: say in words"),
            (|it| it.items[2].verdict = Verdict::Note, "people: say in words"),
            (|it| it.adverse = true, "names the partner"),
        ];
        for (change, says) in cases {
            let mut it = review();
            change(&mut it);
            let error = Review::from_bytes(&it.to_bytes().unwrap()).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
        let mut it = review();
        it.items[2] = Decided { verdict: Verdict::NotOk, note: "two untrained".to_owned(), ..it.items[2].clone() };
        it.items[3] = Decided { verdict: Verdict::Note, note: "late".to_owned(), ..it.items[3].clone() };
        assert_eq!(it.not_ok().len(), 1, "a note does not block");
    }
}
