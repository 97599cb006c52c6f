//! What this node knows by itself: the Attorney General's findings (V-31), the checks of the sources, and the early
//! reviews of partners (V-28).

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Ori, RequestId};
use crate::time::Instant;

/// In force needs a check of the Attorney General's sources at most this old (V-31), in microseconds.
pub const AG_CHECK_IN_FORCE: i64 = 90 * Instant::DAY;
/// Signing and renewal need a check at most this old (V-31), in microseconds.
pub const AG_CHECK_ACTIVATION: i64 = 30 * Instant::DAY;

/// A check may be this far ahead of the instant that is asked about, in microseconds: the two are read from the clock
/// one after the other. A check from further ahead is no check, however long it would last.
const CHECK_AHEAD: i64 = 5 * Instant::MINUTE;

/// What is known of an agency's compliance: what the Attorney General's office said of it, or it itself (V-31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Named in a suit.
    NamedInSuit,
    /// A letter to it was reported.
    LetterReported,
    /// It disclosed it itself.
    SelfDisclosed,
    /// The agency disputes an earlier finding, which counts until it is cleared.
    Disputed,
    /// An earlier finding no longer stands.
    Cleared,
}

impl FindingKind {
    /// The written name, such as `letter_reported`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NamedInSuit => "named_in_suit",
            Self::LetterReported => "letter_reported",
            Self::SelfDisclosed => "self_disclosed",
            Self::Disputed => "disputed",
            Self::Cleared => "cleared",
        }
    }

    /// What is true of the agency, in a clause: only some of it was said by the Attorney General's office.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::NamedInSuit => "the Attorney General named it in a suit",
            Self::LetterReported => "a letter of the Attorney General's office to it was reported",
            Self::SelfDisclosed => "it disclosed non-compliance itself",
            Self::Disputed => "it disputes a finding, which counts until it is cleared",
            Self::Cleared => "a finding against it no longer stands",
        }
    }
}

/// One entry of the register of findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The agency.
    pub ori: Ori,
    /// What was found.
    pub kind: FindingKind,
    /// Where it stands written.
    pub citation: String,
    /// SHA-256 of the document, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// SHA-256 of each file that is kept as evidence of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// The agency whose register it was taken from; absent for a finding of this agency's own people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Ori>,
    /// The date of the finding.
    pub on: Date,
    /// Who entered it.
    pub entered_by: String,
    /// The second person, for a clearing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

impl Finding {
    /// Whether it says the same of the same agency, whoever entered it and when.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let what = |finding: &Self| (finding.ori, finding.kind, finding.citation.trim().to_owned(), finding.on);
        what(self) == what(other)
    }

    /// Whether it counts against the agency: all but a clearing does, a dispute too.
    #[must_use]
    pub fn is_adverse(&self) -> bool {
        self.kind != FindingKind::Cleared
    }
}

/// What a sweep over the Attorney General's sources came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckResult {
    /// They name no partner.
    #[serde(rename = "none")]
    NoneNamed,
    /// They name at least one; each is in the register of findings.
    #[serde(rename = "named")]
    Named,
}

impl CheckResult {
    /// The written name: `none` or `named`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoneNamed => "none",
            Self::Named => "named",
        }
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no result of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the result is `none` (no partner is named) or `named`; what else there is to say goes into the note")]
pub struct CheckResultError;

impl FromStr for CheckResult {
    type Err = CheckResultError;

    fn from_str(text: &str) -> Result<Self, CheckResultError> {
        [Self::NoneNamed, Self::Named].into_iter().find(|result| result.as_str() == text).ok_or(CheckResultError)
    }
}

/// One sweep over the Attorney General's sources. It covers every partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgCheck {
    /// Who looked.
    pub by: String,
    /// Where.
    pub sources: Vec<String>,
    /// When.
    pub at: Instant,
    /// What it came to.
    pub result: CheckResult,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// SHA-256 of each file that is kept as evidence of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// SHA-256 of the register as it was then: of the canonical list of its findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Digest>,
}

/// What makes a partner's agreements be reviewed before their time (V-28).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A finding was entered against it (V-31).
    AgFinding,
    /// It lost or gave away what it received, or let somebody in who may not.
    Breach,
    /// A key of its node is in other hands, or may be.
    KeyCompromise,
    /// The text of its published policy is not the one that was checked.
    PolicyChanged,
    /// Its published policy cannot be reached.
    PolicyUnreachable,
    /// Its compliance packet says what is not so.
    PacketInaccurate,
    /// It failed an audit.
    AuditFailed,
    /// Something else that the reviewer should know.
    Concern,
}

/// What a trigger does to this agency's own grants to the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Suspends them at once.
    AtOnce,
    /// Suspends them after so many days, unless the review is closed before.
    Cure(u16),
    /// Is noted for the next review.
    Note,
}

impl Trigger {
    /// All triggers.
    pub const ALL: [Self; 8] = [
        Self::AgFinding,
        Self::Breach,
        Self::KeyCompromise,
        Self::PolicyChanged,
        Self::PolicyUnreachable,
        Self::PacketInaccurate,
        Self::AuditFailed,
        Self::Concern,
    ];

    /// The table of DESIGN: what each does.
    #[must_use]
    pub fn grade(self) -> Grade {
        match self {
            Self::AgFinding | Self::Breach | Self::KeyCompromise => Grade::AtOnce,
            Self::PolicyChanged | Self::PolicyUnreachable | Self::PacketInaccurate => Grade::Cure(30),
            Self::AuditFailed => Grade::Cure(14),
            Self::Concern => Grade::Note,
        }
    }

    /// The written name, such as `policy_changed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgFinding => "ag_finding",
            Self::Breach => "breach",
            Self::KeyCompromise => "key_compromise",
            Self::PolicyChanged => "policy_changed",
            Self::PolicyUnreachable => "policy_unreachable",
            Self::PacketInaccurate => "packet_inaccurate",
            Self::AuditFailed => "audit_failed",
            Self::Concern => "concern",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no trigger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such trigger; there are {}", Trigger::ALL.map(Trigger::as_str).join(", "))]
pub struct TriggerError;

impl FromStr for Trigger {
    type Err = TriggerError;

    fn from_str(text: &str) -> Result<Self, TriggerError> {
        Self::ALL.into_iter().find(|trigger| trigger.as_str() == text).ok_or(TriggerError)
    }
}

/// An early review that was opened and not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReview {
    /// The entry that opened it.
    pub id: RequestId,
    /// Whom it is about.
    pub ori: Ori,
    /// Why.
    pub trigger: Trigger,
    /// When.
    pub opened_at: Instant,
}

impl OpenReview {
    /// From when on this agency's grants to the partner are suspended; `None` when they are not.
    #[must_use]
    pub fn holds_from(&self) -> Option<Instant> {
        match self.trigger.grade() {
            Grade::AtOnce => Some(self.opened_at),
            Grade::Cure(days) => Some(self.opened_at.plus(i64::from(days) * Instant::DAY)),
            Grade::Note => None,
        }
    }
}

impl OpenReview {
    /// In one sentence, with what to do.
    #[must_use]
    pub fn says(&self) -> String {
        let Self { id, ori, trigger, opened_at } = self;
        let held = match self.holds_from() {
            Some(from) => format!("what this agency grants it is suspended from {from} on"),
            None => "nothing is suspended by it".to_owned(),
        };
        format!(
            "an early review of {ori} is open since {opened_at} ({trigger}), and {held}: `concordat review show {id}`"
        )
    }
}

/// The findings that stand, in the order in which they were entered.
#[must_use]
pub fn standing(findings: &[Finding]) -> Vec<&Finding> {
    let mut standing: Vec<&Finding> = Vec::new();
    for finding in findings {
        match finding.kind {
            FindingKind::Cleared => {
                if let Some(one) = clears(&standing, finding.ori, finding.on) {
                    standing.remove(one);
                }
            }
            // It disputes what stands here already; where nothing does, it counts by itself.
            FindingKind::Disputed if standing.iter().any(|one| one.ori == finding.ori) => {}
            _ => standing.push(finding),
        }
    }
    standing
}

/// Which of the findings that stand a clearing of `ori` of this date clears: one, the one entered last. What was found
/// later than the clearing is not cleared by it.
#[must_use]
pub fn clears(standing: &[&Finding], ori: Ori, on: Date) -> Option<usize> {
    standing.iter().rposition(|one| one.ori == ori && one.on <= on)
}

/// What this node knows of findings, checks and reviews.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The agencies against which a finding stands.
    pub adverse: Vec<Ori>,
    /// When the sources were last checked.
    pub checked_at: Option<Instant>,
    /// The early reviews that are open.
    pub reviews: Vec<OpenReview>,
}

impl Register {
    /// The register from all findings in the order in which they were entered, the newest check, and the open reviews.
    #[must_use]
    pub fn new(findings: &[Finding], checked_at: Option<Instant>, reviews: Vec<OpenReview>) -> Self {
        let mut adverse: Vec<Ori> = Vec::new();
        for Finding { ori, .. } in standing(findings) {
            if !adverse.contains(ori) {
                adverse.push(*ori);
            }
        }
        Self { adverse, checked_at, reviews }
    }

    /// Whether the sources were checked within 30 days before `signed`, when the second party signed, or since: a check
    /// that is newer than the signature is none the older for it (V-31). A partner may sign weeks after us, and its
    /// signature must not put in force what we did not look into.
    pub(crate) fn activates(&self, signed: Instant, now: Instant) -> bool {
        self.check(now).is_some_and(|at| signed.since(at) <= AG_CHECK_ACTIVATION)
    }

    /// The newest check, unless it is from the future.
    pub(crate) fn check(&self, now: Instant) -> Option<Instant> {
        self.checked_at.filter(|at| at.since(now) <= CHECK_AHEAD)
    }

    /// When the newest check stops counting for what is in force; `None` when it does not count at `now`.
    pub(crate) fn stale_at(&self, now: Instant) -> Option<Instant> {
        self.check(now).map(|at| at.plus(AG_CHECK_IN_FORCE)).filter(|stale_at| now < *stale_at)
    }

    /// The review for which our grants to `partner` are, or will first be, suspended.
    pub(crate) fn holding(&self, partner: Ori) -> Option<(Instant, Trigger)> {
        let about = self.reviews.iter().filter(|review| review.ori == partner);
        about.filter_map(|review| Some((review.holds_from()?, review.trigger))).min()
    }
}
