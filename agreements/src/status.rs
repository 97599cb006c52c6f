//! Whether an agreement is in force at an instant: computed from both parties' events, never stored.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;
use crate::ids::{Digest, Ori};
use crate::json::MAX_TEXT;
use crate::time::Instant;

/// In force needs a check of the Attorney General's sources at most this old (V-31), in microseconds.
pub const AG_CHECK_IN_FORCE: i64 = 90 * Instant::DAY;
/// Signing and renewal need a check at most this old (V-31), in microseconds.
pub const AG_CHECK_ACTIVATION: i64 = 30 * Instant::DAY;

/// A check may be this far ahead of the instant that is asked about, in microseconds: the two are read from the clock
/// one after the other. A check from further ahead is no check, however long it would last.
const CHECK_AHEAD: i64 = 5 * Instant::MINUTE;

/// What a party may say about an agreement, in its own numbered stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// It signed the document: its seal over the canonical bytes.
    Signed {
        /// Protected header and signature of the seal, as in JWS (RFC 7515) general form.
        seal: Seal,
    },
    /// It will not sign.
    Declined {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// It takes its offer or signature back before the other signed.
    Withdrawn {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// Nothing flows until it resumes.
    Suspended {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// It lifts its own suspension.
    Resumed {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
        /// Its seal over the statement that it resumes.
        seal: Seal,
    },
    /// It ends the agreement for good.
    Terminated {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
}

impl Event {
    /// The written name, such as `suspended`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Signed { .. } => "signed",
            Self::Declined { .. } => "declined",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Suspended { .. } => "suspended",
            Self::Resumed { .. } => "resumed",
            Self::Terminated { .. } => "terminated",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Signed { .. } => None,
            Self::Declined { reason }
            | Self::Withdrawn { reason }
            | Self::Suspended { reason }
            | Self::Resumed { reason, .. }
            | Self::Terminated { reason } => Some(reason),
        }
    }
}

/// One signature of a sealed document: the two members of a JWS signature object (RFC 7515, section 7.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// base64url of the protected header.
    #[serde(deserialize_with = "crate::json::text")]
    pub protected: String,
    /// base64url of the signature.
    #[serde(deserialize_with = "crate::json::text")]
    pub signature: String,
}

/// One party's events under one agreement, in the order of their numbers (1, 2, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream(Vec<Event>);

impl Stream {
    /// From events in the order of their numbers.
    #[must_use]
    pub fn new(events: Vec<Event>) -> Self {
        Self(events)
    }

    /// The number that the next event will bear.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The events, the first numbered 1.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    fn signed(&self) -> bool {
        self.0.iter().any(|event| matches!(event, Event::Signed { .. }))
    }

    fn suspended(&self) -> bool {
        self.0.iter().rev().find_map(|event| match event {
            Event::Suspended { .. } => Some(true),
            Event::Resumed { .. } => Some(false),
            _ => None,
        }) == Some(true)
    }

    fn ended(&self) -> Option<&Event> {
        self.0
            .iter()
            .find(|event| matches!(event, Event::Declined { .. } | Event::Withdrawn { .. } | Event::Terminated { .. }))
    }

    /// Whether this party may now say `event`: an absorbing event ends the stream, nobody signs twice, and only what
    /// is suspended is resumed. A reason that no reader of the event would accept is not said either.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn admits(&self, event: &Event) -> Result<(), String> {
        if event.reason().is_some_and(|reason| reason.chars().count() > MAX_TEXT) {
            return Err(format!("the reason is over {MAX_TEXT} characters: shorten it"));
        }
        if let Some(end) = self.ended() {
            return Err(format!("this party's part in the agreement ended: {}; nothing follows that", end.name()));
        }
        let refuse = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
        match event {
            Event::Signed { .. } => refuse(!self.signed(), "this party has signed already"),
            Event::Declined { .. } => refuse(!self.signed(), "this party has signed; terminate or withdraw instead"),
            Event::Withdrawn { .. } => Ok(()),
            Event::Suspended { .. } => {
                refuse(self.signed() && !self.suspended(), "only what is signed and not suspended can be suspended")
            }
            Event::Resumed { .. } => refuse(self.suspended(), "this party has not suspended the agreement"),
            Event::Terminated { .. } => refuse(self.signed(), "this party has not signed; decline instead"),
        }
    }
}

/// Both parties' streams, in the order of [`Agreement::parties`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams(pub [Stream; 2]);

/// What the Attorney General's office is known to have said of an agency (V-31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Named in a suit.
    NamedInSuit,
    /// A letter to it was reported.
    LetterReported,
    /// It disclosed it itself.
    SelfDisclosed,
    /// An earlier finding no longer stands.
    Cleared,
}

/// One entry of the register of findings; the newest for an agency counts.
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
    /// The date of the finding.
    pub on: Date,
    /// Who entered it.
    pub entered_by: String,
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
    /// What it found, in words.
    pub result: String,
}

/// What this node knows of the Attorney General's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The agencies whose newest finding is adverse.
    pub adverse: Vec<Ori>,
    /// When the sources were last checked.
    pub checked_at: Option<Instant>,
}

impl Register {
    /// The register from all findings in the order in which they were entered, and the newest check.
    #[must_use]
    pub fn new(findings: &[Finding], checked_at: Option<Instant>) -> Self {
        let mut adverse: Vec<Ori> = Vec::new();
        for finding in findings {
            adverse.retain(|ori| *ori != finding.ori);
            if finding.kind != FindingKind::Cleared {
                adverse.push(finding.ori);
            }
        }
        Self { adverse, checked_at }
    }

    /// The newest check, unless it is from the future.
    fn check(&self, now: Instant) -> Option<Instant> {
        self.checked_at.filter(|at| at.since(now) <= CHECK_AHEAD)
    }

    /// When the newest check stops counting for what is in force; `None` when it does not count at `now`.
    fn stale_at(&self, now: Instant) -> Option<Instant> {
        self.check(now).map(|at| at.plus(AG_CHECK_IN_FORCE)).filter(|stale_at| now < *stale_at)
    }
}

/// Where an agreement stands at an instant. A partner may be told it: it says nothing about data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case", deny_unknown_fields)]
pub enum Status {
    /// There is none between the two agencies, by this id.
    NoAgreement {},
    /// A party declined, withdrew or terminated: for good.
    Ended {
        /// Who.
        by: Ori,
        /// `declined`, `withdrawn` or `terminated`.
        #[serde(deserialize_with = "crate::json::text")]
        how: String,
    },
    /// Not signed by these parties yet.
    Unsigned {
        /// Who has not signed.
        missing: Vec<Ori>,
    },
    /// From the sunset on, whatever else holds (V-27).
    Sunset {
        /// When it was.
        at: Instant,
    },
    /// Suspended by these parties.
    Suspended {
        /// Who has to resume.
        by: Vec<Ori>,
    },
    /// The policy of a party lacks elements of Civ. Code 1798.90.51(b)(2), or its determination is over.
    PolicyIncomplete {
        /// Which, in words.
        #[serde(deserialize_with = "crate::json::texts")]
        missing: Vec<String>,
    },
    /// The Attorney General named a party (V-31, V-28).
    AdverseFinding {
        /// Whom.
        parties: Vec<Ori>,
    },
    /// The Attorney General's sources were not checked within 90 days (V-31).
    AgCheckStale {
        /// When they were last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checked_at: Option<Instant>,
    },
    /// Signed, and not effective yet.
    NotYet {
        /// When it will be.
        effective: Instant,
    },
    /// In force.
    InForce {
        /// The first instant at which it stops by itself: sunset, a stale check or a determination's end.
        until: Instant,
    },
}

impl Status {
    /// Where `agreement` stands at `now`, given both parties' events and what this node knows of findings.
    #[must_use]
    pub fn at(agreement: &Agreement, streams: &Streams, register: &Register, now: Instant) -> Self {
        let parties = || agreement.parties.iter().map(|party| party.ori).zip(&streams.0);
        if let Some((by, end)) = parties().find_map(|(ori, stream)| Some((ori, stream.ended()?))) {
            return Self::Ended { by, how: end.name().to_owned() };
        }
        if now >= agreement.sunset() {
            return Self::Sunset { at: agreement.sunset() };
        }
        let missing: Vec<Ori> = parties().filter(|(_, stream)| !stream.signed()).map(|(ori, _)| ori).collect();
        if !missing.is_empty() {
            return Self::Unsigned { missing };
        }
        let by: Vec<Ori> = parties().filter(|(_, stream)| stream.suspended()).map(|(ori, _)| ori).collect();
        if !by.is_empty() {
            return Self::Suspended { by };
        }
        let missing = incomplete(agreement, now);
        if !missing.is_empty() {
            return Self::PolicyIncomplete { missing };
        }
        let named: Vec<Ori> = parties().map(|(ori, _)| ori).filter(|ori| register.adverse.contains(ori)).collect();
        if !named.is_empty() {
            return Self::AdverseFinding { parties: named };
        }
        let Some(stale_at) = register.stale_at(now) else {
            return Self::AgCheckStale { checked_at: register.checked_at };
        };
        if now < agreement.effective() {
            return Self::NotYet { effective: agreement.effective() };
        }
        let ends = [Some(agreement.sunset()), Some(stale_at), agreement.determinations_end()];
        Self::InForce { until: ends.into_iter().flatten().min().unwrap_or(now) }
    }

    /// The written name, such as `in_force`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoAgreement {} => "no_agreement",
            Self::Ended { .. } => "ended",
            Self::Unsigned { .. } => "unsigned",
            Self::Sunset { .. } => "sunset",
            Self::Suspended { .. } => "suspended",
            Self::PolicyIncomplete { .. } => "policy_incomplete",
            Self::AdverseFinding { .. } => "adverse_finding",
            Self::AgCheckStale { .. } => "ag_check_stale",
            Self::NotYet { .. } => "not_yet",
            Self::InForce { .. } => "in_force",
        }
    }

    /// In one line, for a table or a refusal.
    #[must_use]
    pub fn says(&self) -> String {
        let names = |oris: &[Ori]| oris.iter().map(Ori::as_str).collect::<Vec<_>>().join(" and ");
        match self {
            Self::NoAgreement {} => "there is no such agreement".to_owned(),
            Self::Ended { by, how } => format!("{how} by {by}"),
            Self::Unsigned { missing } => format!("not signed by {}", names(missing)),
            Self::Sunset { at } => format!("sunset at {at}"),
            Self::Suspended { by } => format!("suspended by {}", names(by)),
            Self::PolicyIncomplete { missing } => format!("policy incomplete: {}", missing.join("; ")),
            Self::AdverseFinding { parties } => format!("the Attorney General named {}", names(parties)),
            Self::AgCheckStale { checked_at: Some(at) } => {
                format!("the Attorney General's sources were last checked at {at}, not within the last 90 days")
            }
            Self::AgCheckStale { checked_at: None } => "the Attorney General's sources were never checked".to_owned(),
            Self::NotYet { effective } => format!("signed; effective from {effective}"),
            Self::InForce { until } => format!("in force until {until}"),
        }
    }
}

/// What keeps an agreement from being signed at `now` (V-27, V-31; Civ. Code 1798.90.51(b)(2)), each with how to mend it.
#[must_use]
pub fn activation_problems(agreement: &Agreement, register: &Register, now: Instant) -> Vec<String> {
    let mut problems = incomplete(agreement, now);
    for party in &agreement.parties {
        if register.adverse.contains(&party.ori) {
            problems
                .push(format!("the Attorney General named {}: clear the finding with its citation first", party.ori));
        }
    }
    let fresh = register.check(now).is_some_and(|at| now.since(at) <= AG_CHECK_ACTIVATION);
    if !fresh {
        problems.push(
            "the last check of the Attorney General's sources is over 30 days old or missing: run `concordat ag check`"
                .to_owned(),
        );
    }
    if now >= agreement.sunset() {
        problems.push(format!("its sunset ({}) has passed: draft a new one", agreement.sunset_on));
    }
    problems
}

fn incomplete(agreement: &Agreement, now: Instant) -> Vec<String> {
    let mut missing: Vec<String> = agreement
        .missing_elements()
        .into_iter()
        .flat_map(|(ori, letters)| {
            letters
                .into_iter()
                .map(move |letter| format!("the policy of {ori} lacks element {letter} of Civ. Code 1798.90.51(b)(2)"))
        })
        .collect();
    if agreement.determinations_end().is_some_and(|end| now >= end) {
        missing.push("a party's determination under Civ. Code 1798.90.5(f) is over".to_owned());
    }
    missing
}
