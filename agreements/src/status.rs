//! Whether an agreement is in force at an instant: computed from both parties' events, never stored.

use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;
use crate::ids::{AgreementId, Ori};
use crate::register::{AG_CHECK_ACTIVATION, Register, Trigger};
use crate::stream::{Stream, Streams};
use crate::time::Instant;

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
    /// Another agreement between the two took its place, for good.
    Superseded {
        /// Which.
        by: AgreementId,
        /// When.
        at: Instant,
    },
    /// In force, but the agency that says so has suspended its own grants until its early review is closed (V-28).
    UnderReview {
        /// Whose grants.
        by: Ori,
        /// Why.
        trigger: Trigger,
        /// From when on.
        since: Instant,
    },
    /// The policy of a party lacks elements of Civ. Code 1798.90.51(b)(2), or its determination is over.
    PolicyIncomplete {
        /// Which, in words.
        #[serde(deserialize_with = "crate::json::texts")]
        missing: Vec<String>,
    },
    /// A finding stands against a party (V-31, V-28).
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
    /// Signed by both, and the Attorney General's sources were not checked within 30 days before the second signature, nor
    /// since (V-31).
    NotActivated {
        /// When the second party signed.
        signed_at: Instant,
        /// When the sources were last checked.
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
        let parties = || agreement.parties.iter().map(|party| party.ori).zip(&streams.parties);
        if let Some((by, end)) = parties().find_map(|(ori, stream)| Some((ori, stream.ended()?))) {
            return Self::Ended { by, how: end.event.name().to_owned() };
        }
        if now >= agreement.sunset() {
            return Self::Sunset { at: agreement.sunset() };
        }
        let heir = streams.heir();
        if let Some(heir) = heir.filter(|heir| heir.takes_effect <= now) {
            return Self::Superseded { by: heir.id, at: heir.takes_effect };
        }
        let missing: Vec<Ori> = parties().filter(|(_, stream)| !stream.signed()).map(|(ori, _)| ori).collect();
        if !missing.is_empty() {
            return Self::Unsigned { missing };
        }
        let suspends = |(ori, stream): &(Ori, &Stream)| stream.suspended() || streams.lost.contains(ori);
        let by: Vec<Ori> = parties().filter(suspends).map(|(ori, _)| ori).collect();
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
        let signed_at = parties().filter_map(|(_, stream)| stream.signed_at()).max();
        if let Some(signed_at) = signed_at.filter(|signed_at| !register.activates(*signed_at, now)) {
            return Self::NotActivated { signed_at, checked_at: register.checked_at };
        }
        // Not before the instants of the signatures: what it takes the place of is in force until exactly then.
        let begins = streams.begins(agreement).unwrap_or(agreement.effective());
        if now < begins {
            return Self::NotYet { effective: begins };
        }
        let taken_over = heir.map(|heir| heir.takes_effect);
        let ends = [Some(agreement.sunset()), Some(stale_at), agreement.determinations_end(), taken_over];
        Self::InForce { until: ends.into_iter().flatten().min().unwrap_or(now) }
    }

    /// Where `owner`'s own grants under `agreement` stand at `now`: in force where the agreement is, unless an early review
    /// of the partner that `owner` has opened suspends them (V-28).
    #[must_use]
    pub fn of_grants(owner: Ori, agreement: &Agreement, streams: &Streams, register: &Register, now: Instant) -> Self {
        let status = Self::at(agreement, streams, register, now);
        let Self::InForce { until } = status else { return status };
        match agreement.other(owner).and_then(|partner| register.holding(partner.ori)) {
            Some((since, trigger)) if since <= now => Self::UnderReview { by: owner, trigger, since },
            Some((from, _)) => Self::InForce { until: until.min(from) },
            None => Self::InForce { until },
        }
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
            Self::Superseded { .. } => "superseded",
            Self::UnderReview { .. } => "under_review",
            Self::PolicyIncomplete { .. } => "policy_incomplete",
            Self::AdverseFinding { .. } => "adverse_finding",
            Self::AgCheckStale { .. } => "ag_check_stale",
            Self::NotActivated { .. } => "not_activated",
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
            Self::Superseded { by, at } => format!("superseded by agreement {by} at {at}"),
            Self::UnderReview { by, trigger, since } => {
                format!("{by} has suspended its own grants since {since} for an early review: {trigger}")
            }
            Self::PolicyIncomplete { missing } => format!("policy incomplete: {}", missing.join("; ")),
            Self::AdverseFinding { parties } => {
                format!("a finding of non-compliance stands against {} (V-31)", names(parties))
            }
            Self::AgCheckStale { checked_at: Some(at) } => {
                format!("the Attorney General's sources were last checked at {at}, not within the last 90 days")
            }
            Self::AgCheckStale { checked_at: None } => "the Attorney General's sources were never checked".to_owned(),
            Self::NotActivated { signed_at, .. } => format!(
                "signed by both at {signed_at}, when the last check of the Attorney General's sources was over 30 days old: run `concordat ag check`"
            ),
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
            problems.push(format!(
                "a finding of non-compliance stands against {} (V-31): clear it with its citation first",
                party.ori
            ));
        }
    }
    for party in &agreement.parties {
        let mut need = |good: bool, what: &str| {
            if !good {
                problems.push(format!("{}: {what}", party.ori));
            }
        };
        need(
            !party.contacts.is_empty(),
            "no contact to tell of its sunset: agency.contacts of that node's configuration",
        );
        need(
            party.official.key.is_some(),
            "no key is named with which its official signs: `concordat official enroll` there, then agency.official_key",
        );
        need(!party.policy.checked_by.is_empty(), "nobody is named who compared its policy: policy.checked_by");
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
