//! Permits without nodes: two agencies of paper under an agreement, whose question is decided like any other.

use std::collections::BTreeSet;

use agreements::agreement::Area;
use agreements::decide::{Decision, OwnerRules, Permit, Searches, Sensitive, Standing, Usage, decide};
use agreements::ids::{Digest, Ori};
use agreements::message::{Asker, OnBehalfOf, PROTOCOL, Question, Search, To};
use agreements::party::{
    AgencyKind, Approvals, Elements, NodeAddress, Official, Party, Policy, PolicyPurpose, PublicMeeting, State,
};
use agreements::purpose::Purpose;
use agreements::register::Register;
use agreements::stream::{Event, Said, Seal, Stream, Streams};
use agreements::time::Instant;

use crate::federation::start;
use crate::node::{CASE, REASON};
use crate::pair::{Terms, days_from_start};

/// What may be searched for.
pub struct Sought<'a> {
    pub plate: &'a str,
    pub from: Instant,
    pub until: Instant,
    pub area: Option<Area>,
    pub max_rows: u32,
    pub images: bool,
}

impl Default for Sought<'_> {
    /// Seven days back from [`start`].
    fn default() -> Self {
        let (from, until) = (start().plus(-7 * Instant::DAY), start().plus(Instant::MINUTE));
        Self { plate: "7ABC123", from, until, area: None, max_rows: 50, images: true }
    }
}

/// An agency on paper.
pub fn party(ori: &str) -> Party {
    let said = || Some("section 4".to_owned());
    let word = ori.to_ascii_lowercase();
    Party {
        ori: ori.parse().unwrap(),
        legal_name: format!("Agency {ori}"),
        kind: AgencyKind::County,
        state: State::CA,
        county: "Alder".to_owned(),
        hub: false,
        custodian_title: "Custodian of Records".to_owned(),
        official: Official { name: "Oakley Official".to_owned(), title: "Chief Executive".to_owned(), key: None },
        identity_key: "MCowBQYDK2VwAyEA".to_owned(),
        policy: Policy {
            url: format!("https://{word}.test/alpr"),
            sha256: Digest::of(ori.as_bytes()),
            checked_on: days_from_start(-30),
            checked_by: "Custodian of Records".to_owned(),
            elements: Elements { a: said(), b: said(), c: said(), d: said(), e: said(), f: said(), g: said() },
            purposes: Purpose::ALL.map(|purpose| PolicyPurpose { name: purpose.to_string(), purpose }).to_vec(),
        },
        node: NodeAddress {
            url: format!("https://{word}.test"),
            tls_spki: Digest::of(b"tls"),
            seal_key: "MFkwEwYHKoZIzj0C".to_owned(),
            log_origin: format!("{word}.test/trail"),
            log_vkey: format!("{word}.test/trail+00000000+AQ"),
            witness_vkey: format!("{word}.test/witness+00000000+BA"),
        },
        contacts: vec!["alpr@agency.example".to_owned()],
        processors: Vec::new(),
        approvals: Approvals {
            counsel: "County Counsel".to_owned(),
            public_meeting: PublicMeeting { date: days_from_start(-60), url: format!("https://{word}.test/meeting") },
            signing_authority: "Resolution 1".to_owned(),
        },
        determination: None,
    }
}

impl Sought<'_> {
    /// The permit for it, at [`start`].
    pub fn permit(&self) -> Permit {
        let (owner, asker) = (party("CA0990000"), party("CA0990100"));
        let mut terms = Terms::default();
        terms.query.lookback_days = 400;
        terms.query.max_rows = 10_000;
        let agreement = terms.between(&owner, &asker);
        let signed = || {
            let seal = Seal { protected: "e30".to_owned(), signature: "AAAA".to_owned() };
            let event = Event::Signed { seal, official: None };
            Stream::new(vec![Said { event, at: start().plus(-Instant::DAY) }])
        };
        let question = self.question(owner.ori, asker.ori, &agreement);
        let standing = Standing {
            owner: owner.ori,
            partner: asker.ori,
            agreement: Some(agreement),
            streams: Streams::of([signed(), signed()]),
            register: Register::new(&[], Some(start()), Vec::new()),
            rules: OwnerRules {
                purposes: Purpose::ALL.to_vec(),
                max_lookback_days: 730,
                max_rows: 10_000,
                rate_per_minute: 1000,
                searches: Searches::Exact,
                sensitive: Sensitive::Refer,
            },
            authorized_until: Some(Instant::from_micros(i64::MAX)),
            under_agreement: BTreeSet::from([asker.ori]),
            epoch: 1,
        };
        match decide(&question, &standing, Usage::default(), start()) {
            Decision::Permit(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn question(&self, owner: Ori, asker: Ori, agreement: &agreements::agreement::Agreement) -> Question {
        let person = "birch.investigator".to_owned();
        Question {
            v: PROTOCOL,
            to: vec![To { ori: owner, agreement: agreement.id }],
            asker: Asker {
                agency: asker,
                username: person.clone(),
                name: "Indigo Investigator".to_owned(),
                affiliation: "Detectives".to_owned(),
                approved: true,
                trained_on: start().date(),
            },
            on_behalf_of: OnBehalfOf { agency: asker, end_user: person },
            purpose: Purpose::CriminalInvestigation,
            reference: Some(format!("case:{CASE}").parse().unwrap()),
            reason: REASON.to_owned(),
            supervisor: None,
            why_all: None,
            search: Search::Exact { plate: self.plate.parse().unwrap() },
            from: self.from,
            until: self.until,
            area: self.area,
            max_rows: self.max_rows,
            images: self.images,
        }
    }
}
