//! Effective access at any instant of the past, from what was recorded and when: this agency's own events count from when it
//! said them, the partner's from when this agency acknowledged them.

use std::collections::BTreeMap;

use crate::access::{Access, Held, effective};
use crate::agreement::Agreement;
use crate::authorization::{AuthorizationGiven, authorized};
use crate::decide::OwnerRules;
use crate::ids::{AgreementId, Digest, Ori};
use crate::register::{Finding, OpenReview, Register};
use crate::stream::{Said, Stream, Streams, heirs};
use crate::time::Instant;

/// Everything that was recorded, in the order in which it was.
#[derive(Clone, Debug)]
pub struct History {
    /// Whose.
    pub us: Ori,
    /// The agreements of which this agency said something.
    pub agreements: Vec<Past>,
    /// The findings, each from when on it was entered.
    pub findings: Vec<(Instant, Finding)>,
    /// When the sources were checked.
    pub checks: Vec<Instant>,
    /// The early reviews, each with when it was closed.
    pub reviews: Vec<(OpenReview, Option<Instant>)>,
    /// What the custodian authorized, or took back.
    pub authorizations: Vec<(Instant, AuthorizationGiven)>,
    /// The owner's rules, each from when on they counted.
    pub rules: Vec<(Instant, OwnerRules)>,
}

/// An agreement and what became known of it.
#[derive(Clone, Debug)]
pub struct Past {
    /// The document.
    pub agreement: Agreement,
    /// Its SHA-256.
    pub document: Digest,
    /// Both parties' events in the order of their numbers, each with when this agency knew of it.
    pub events: [Vec<(Instant, Said)>; 2],
}

impl Past {
    fn streams(&self, now: Instant) -> Streams {
        let stream = |events: &Vec<(Instant, Said)>| {
            Stream::new(events.iter().take_while(|(known, _)| *known <= now).map(|(_, said)| said.clone()).collect())
        };
        let [first, second] = &self.events;
        Streams::of([stream(first), stream(second)])
    }
}

impl History {
    /// What was known of findings, checks and reviews at `now`.
    #[must_use]
    pub fn register(&self, now: Instant) -> Register {
        let findings: Vec<Finding> =
            self.findings.iter().filter(|(at, _)| *at <= now).map(|(_, finding)| finding.clone()).collect();
        let checked = self.checks.iter().rev().find(|at| **at <= now).copied();
        let open = |(review, closed): &&(OpenReview, Option<Instant>)| {
            review.opened_at <= now && closed.is_none_or(|closed| now < closed)
        };
        let reviews = self.reviews.iter().filter(open).map(|(review, _)| review.clone()).collect();
        Register::new(&findings, checked, reviews)
    }

    /// Who could get what at `now`. Before any rules were recorded nothing was shared.
    #[must_use]
    pub fn at(&self, now: Instant) -> Vec<Access> {
        let Some((_, rules)) = self.rules.iter().rev().find(|(at, _)| *at <= now) else { return Vec::new() };
        let given = self.authorizations.iter().filter(|(at, _)| *at <= now).map(|(_, said)| said);
        let authorizations = authorized(given);
        let register = self.register(now);
        let streams: BTreeMap<AgreementId, Streams> =
            self.agreements.iter().map(|past| (past.agreement.id, past.streams(now))).collect();
        let with_heirs: Vec<Streams> = self
            .agreements
            .iter()
            .map(|past| {
                let others = self.agreements.iter().filter(|other| same_parties(&other.agreement, &past.agreement));
                let others = others.filter_map(|other| Some((&other.agreement, streams.get(&other.agreement.id)?)));
                let own = streams.get(&past.agreement.id).cloned().unwrap_or_default();
                Streams { heirs: heirs(&past.agreement, past.document, others), ..own }
            })
            .collect();
        let held: Vec<Held<'_>> = self
            .agreements
            .iter()
            .zip(&with_heirs)
            .map(|(past, streams)| Held { agreement: &past.agreement, document: past.document, streams })
            .collect();
        effective(self.us, &held, &register, rules, &authorizations, now)
    }
}

fn same_parties(one: &Agreement, other: &Agreement) -> bool {
    one.parties.iter().map(|party| party.ori).eq(other.parties.iter().map(|party| party.ori))
}
