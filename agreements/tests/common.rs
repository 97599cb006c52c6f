//! A valid agreement between two fictional agencies, everything that a decision stands on, and a question that is
//! permitted. Each test changes what it is about.

use std::collections::BTreeSet;

use agreements::agreement::{
    Agreement, Area, Authorization, Commitments, FORMAT, Grant, HitsGrant, HotlistGrant, QueryGrant,
};
use agreements::decide::{Decision, OwnerRules, Searches, Sensitive, Standing, Usage, decide};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::message::{Asker, OnBehalfOf, PROTOCOL, Question, Search, To};
use agreements::party::{
    AgencyKind, Approvals, Elements, NodeAddress, Official, Party, Policy, PolicyPurpose, PublicMeeting, State,
};
use agreements::purpose::{Purpose, Reference, ReferenceKind};
use agreements::register::Register;
use agreements::rule::Rule;
use agreements::stream::{Event, Said, Seal, Stream, Streams};
use agreements::time::Instant;
use jiff::civil::date;
use proptest::test_runner::{Config, FileFailurePersistence};
use serde_json::Value;

/// The agency whose reads are asked for: the first party.
pub const OWNER: &str = "CA0010000";
/// The agency that asks: the second party.
pub const PARTNER: &str = "CA0020000";

pub fn ori(text: &str) -> Ori {
    text.parse().unwrap()
}

pub fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

/// An instant at which the agreement of [`agreement`] is in force.
pub fn now() -> Instant {
    at("2026-11-23T20:17:00Z")
}

pub fn id(n: u8) -> AgreementId {
    AgreementId::new(at("2026-10-01T00:00:00Z"), [n; 10])
}

pub fn party(text: &str) -> Party {
    let said = || Some("section 4".to_owned());
    Party {
        ori: ori(text),
        legal_name: "Alder County Sheriff".to_owned(),
        kind: AgencyKind::County,
        state: State::CA,
        county: "Alder".to_owned(),
        hub: false,
        custodian_title: "Custodian of Records".to_owned(),
        official: Official {
            name: "A. Official".to_owned(),
            title: "Undersheriff".to_owned(),
            key: Some("MFkwEwYHKoZIzj0C".to_owned()),
        },
        identity_key: "MCowBQYDK2VwAyEA".to_owned(),
        policy: Policy {
            url: "https://alder.example/alpr".to_owned(),
            sha256: Digest::of(b"policy"),
            checked_on: date(2026, 10, 1),
            checked_by: "Custodian of Records".to_owned(),
            elements: Elements { a: said(), b: said(), c: said(), d: said(), e: said(), f: said(), g: said() },
            purposes: Purpose::ALL.map(|purpose| PolicyPurpose { name: format!("our {purpose}"), purpose }).to_vec(),
        },
        node: NodeAddress {
            url: "https://alder.example:8443".to_owned(),
            tls_spki: Digest::of(b"tls"),
            seal_key: "MFkwEwYHKoZIzj0C".to_owned(),
            log_origin: "alder.example/trail".to_owned(),
            log_vkey: "alder.example/trail+00000000+AQ".to_owned(),
            witness_vkey: "alder.example/witness+00000000+BA".to_owned(),
        },
        contacts: vec!["alpr@agency.example".to_owned()],
        processors: Vec::new(),
        approvals: Approvals {
            counsel: "County Counsel, 1 October 2026".to_owned(),
            public_meeting: PublicMeeting { date: date(2026, 9, 1), url: "https://alder.example/meeting".to_owned() },
            signing_authority: "Resolution 26-14".to_owned(),
        },
        determination: None,
    }
}

pub fn query_grant() -> QueryGrant {
    QueryGrant {
        owner: ori(OWNER),
        recipient: ori(PARTNER),
        purposes: Purpose::ALL.to_vec(),
        lookback_days: 30,
        max_rows: 100,
        daily_quota: 50,
        area: None,
        partial: true,
        fuzzy: true,
        images: true,
        without_plate: true,
        authorization: Authorization::Standing,
    }
}

pub fn hotlist_grant() -> HotlistGrant {
    HotlistGrant {
        owner: ori(OWNER),
        recipient: ori(PARTNER),
        list: "stolen".to_owned(),
        categories: vec!["stolen_vehicle".to_owned()],
    }
}

pub fn hits_grant() -> HitsGrant {
    HitsGrant { owner: ori(OWNER), recipient: ori(PARTNER), list: "stolen".to_owned() }
}

/// In force from 2026-11-01 to 2027-11-01, with one grant: the partner may query the owner's reads.
pub fn agreement() -> Agreement {
    Agreement {
        format: FORMAT.to_owned(),
        id: id(1),
        revision: 1,
        supersedes: None,
        parties: [party(OWNER), party(PARTNER)],
        grants: vec![Grant::Query(query_grant())],
        commitments: Commitments {
            lawful_use: true,
            authorized_users_only: true,
            trained_users: true,
            accuracy: true,
            hotlist_max_age_hours: 24,
            no_onward_transfer: true,
            received_retention_days: 365,
        },
        framework: None,
        witnesses: None,
        effective_on: date(2026, 11, 1),
        sunset_on: date(2027, 11, 1),
        renewal: None,
    }
}

pub fn seal() -> Seal {
    Seal { protected: "eyJhbGciOiJFUzI1NiJ9".to_owned(), signature: "AAAA".to_owned() }
}

pub fn signed() -> Event {
    Event::Signed { seal: seal(), official: None }
}

/// Events as they were said, a second apart, three days before [`now`].
pub fn stream(events: Vec<Event>) -> Stream {
    let said = |(n, event)| Said { event, at: at("2026-11-20T17:00:00Z").plus(n * Instant::SECOND) };
    Stream::new((0..).zip(events).map(said).collect())
}

pub fn streams() -> Streams {
    Streams::of([stream(vec![signed()]), stream(vec![signed()])])
}

pub fn register() -> Register {
    Register { checked_at: Some(at("2026-11-20T17:00:00Z")), ..Register::default() }
}

pub fn owner_rules() -> OwnerRules {
    OwnerRules {
        purposes: Purpose::ALL.to_vec(),
        max_lookback_days: 730,
        max_rows: 1000,
        rate_per_minute: 1000,
        searches: Searches::All,
        sensitive: Sensitive::Refer,
    }
}

pub fn standing() -> Standing {
    Standing {
        owner: ori(OWNER),
        partner: ori(PARTNER),
        agreement: Some(agreement()),
        streams: streams(),
        register: register(),
        rules: owner_rules(),
        authorized_until: Some(agreement().sunset()),
        under_agreement: BTreeSet::from([ori(PARTNER)]),
        epoch: 7,
    }
}

/// The grant of a standing that [`standing`] made.
pub fn grant_of(standing: &mut Standing) -> &mut QueryGrant {
    match standing.agreement.as_mut().unwrap().grants.first_mut().unwrap() {
        Grant::Query(grant) => grant,
        Grant::Hotlist(_) | Grant::Hits(_) => panic!("the first grant is to query"),
    }
}

/// A question that passes every rule, for every purpose.
pub fn question() -> Question {
    Question {
        v: PROTOCOL,
        to: vec![To { ori: ori(OWNER), agreement: id(1) }],
        asker: Asker {
            agency: ori(PARTNER),
            username: "jroe".to_owned(),
            name: "Jordan Roe".to_owned(),
            affiliation: "Robbery Unit".to_owned(),
            approved: true,
            trained_on: Some(date(2026, 3, 1)),
        },
        on_behalf_of: OnBehalfOf { agency: ori(PARTNER), end_user: "Jordan Roe".to_owned() },
        purpose: Purpose::CriminalInvestigation,
        reference: Some(Reference { kind: ReferenceKind::Case, number: "2026-118842".to_owned() }),
        reason: "Armed robbery suspect fled north in this stolen sedan toward Birch City yesterday evening".to_owned(),
        supervisor: Some("Sgt. Quill".to_owned()),
        why_all: None,
        search: Search::Exact { plate: "7ABC123".parse().unwrap() },
        from: now().plus(-7 * Instant::DAY),
        until: now(),
        area: None,
        max_rows: 50,
        images: true,
    }
}

pub fn area(south: i32, west: i32, north: i32, east: i32) -> Area {
    Area { south, west, north, east }
}

/// What was decided, in one line: `permit`, or the word and the rules.
pub fn line(decision: &Decision) -> String {
    let names = |rules: &[Rule]| rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(",");
    match decision {
        Decision::Permit(_) => "permit".to_owned(),
        Decision::Refer(rules) => format!("refer {}", names(rules)),
        Decision::Deny(denial) => format!("deny {}", names(&denial.rules)),
    }
}

pub fn decided(question: &Question, standing: &Standing) -> String {
    line(&decide(question, standing, Usage::default(), now()))
}

/// Properties run this often, and keep what failed in a file beside them.
pub fn cases(cases: u32, regressions: &'static str) -> Config {
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    }
}

/// The JSON pointers (RFC 6901) of every object and of every text in `value`.
pub fn pointers(value: &Value) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut texts) = (Vec::new(), Vec::new());
    walk(value, "", &mut objects, &mut texts);
    (objects, texts)
}

fn walk(value: &Value, pointer: &str, objects: &mut Vec<String>, texts: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            objects.push(pointer.to_owned());
            map.iter().for_each(|(key, value)| walk(value, &format!("{pointer}/{key}"), objects, texts));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| walk(item, &format!("{pointer}/{n}"), objects, texts));
        }
        Value::String(_) => texts.push(pointer.to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `value` with an unknown field in each of its objects in turn.
pub fn with_unknown_fields(value: &Value) -> Vec<(String, Vec<u8>)> {
    let (objects, _) = pointers(value);
    let extended = |pointer: String| {
        let mut value = value.clone();
        value.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().insert("zzz".to_owned(), Value::Null);
        (pointer, agreements::json::canonical(&value).unwrap())
    };
    objects.into_iter().map(extended).collect()
}

/// `value` with the first key of each of its objects in turn repeated, with the same value.
pub fn with_repeated_keys(value: &Value) -> Vec<(String, Vec<u8>)> {
    let (objects, _) = pointers(value);
    let repeated = |pointer: String| {
        let mut value = value.clone();
        let map = value.pointer_mut(&pointer).unwrap().as_object_mut().unwrap();
        let (key, same) = map.iter().next().map(|(key, same)| (key.clone(), same.clone())).unwrap();
        map.insert("\u{7f}again".to_owned(), same);
        let text = String::from_utf8(agreements::json::canonical(&value).unwrap()).unwrap();
        (pointer, text.replace("\"\u{7f}again\"", &format!("\"{key}\"")).into_bytes())
    };
    objects.into_iter().map(repeated).collect()
}
