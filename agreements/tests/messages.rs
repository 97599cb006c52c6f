//! Every message: canonical bytes there and back, nothing unknown, no text without a bound, no name in `Debug`.

use std::fmt::Debug;

use agreements::discrepancy::{Differs, Discrepancy};
use agreements::entry::Kind;
use agreements::ids::{Digest, ReadId, RequestId};
use agreements::json::{self, MAX_TEXT};
use agreements::message::{
    Acknowledgement, Answer, Cap, Message, Offer, Outcome, PROTOCOL, Question, Received, ReceivedFrom, Resumption,
    RuleSaid, Search, StreamEvent, To,
};
use agreements::purpose::Purpose;
use agreements::register::{AgCheck, CheckResult, Finding, FindingKind, Trigger};
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::stream::Event;
use jiff::civil::date;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::common::*;

fn to() -> Vec<To> {
    vec![To { ori: ori(OWNER), agreement: id(1) }, To { ori: ori(PARTNER), agreement: id(2) }]
}

fn why() -> String {
    "by order".to_owned()
}

/// The checks that hold for everything that is kept in an entry.
fn travels<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let bytes = json::canonical(message).unwrap();
    let read: T = json::parse(&bytes).unwrap();
    assert_eq!(&read, message);
    assert_eq!(json::canonical(&read).unwrap(), bytes);

    let value: Value = json::parse(&bytes).unwrap();
    for (pointer, bytes) in with_unknown_fields(&value).iter().chain(&with_repeated_keys(&value)) {
        let text = String::from_utf8_lossy(bytes);
        assert!(json::parse::<T>(bytes).is_err(), "at `{pointer}`: {text}");
    }
}

/// A partner's messages are kept whatever they say: no text of theirs is without a bound.
fn arrives<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    travels(message);
    let value = serde_json::to_value(message).unwrap();
    let (_, texts) = pointers(&value);
    for pointer in texts {
        let mut long = value.clone();
        *long.pointer_mut(&pointer).unwrap() = Value::String("x".repeat(MAX_TEXT + 1));
        assert!(json::parse::<T>(&json::canonical(&long).unwrap()).is_err(), "`{pointer}` has no bound");
    }
}

fn statuses() -> Vec<Status> {
    let one = || vec![ori(OWNER)];
    vec![
        Status::NoAgreement {},
        Status::Ended { by: ori(OWNER), how: "terminated".to_owned() },
        Status::Unsigned { missing: one() },
        Status::Sunset { at: now() },
        Status::Suspended { by: one() },
        Status::Superseded { by: agreement().id, at: now() },
        Status::UnderReview { by: ori(OWNER), trigger: Trigger::Breach, since: now() },
        Status::PolicyIncomplete { missing: vec!["element A".to_owned()] },
        Status::AdverseFinding { parties: one() },
        Status::AgCheckStale { checked_at: Some(now()) },
        Status::AgCheckStale { checked_at: None },
        Status::NotActivated { signed_at: now(), checked_at: Some(now()) },
        Status::NotActivated { signed_at: now(), checked_at: None },
        Status::NotYet { effective: now() },
        Status::InForce { until: now() },
    ]
}

#[test]
fn questions() {
    let plate = || "7ABC123".parse().unwrap();
    for search in [
        Search::Exact { plate: plate() },
        Search::Fuzzy { plate: plate() },
        Search::Partial { pattern: "7AB*".to_owned() },
        Search::WithoutPlate {},
    ] {
        let mut full = Question { search, why_all: Some(why()), area: Some(area(1, 2, 3, 4)), to: to(), ..question() };
        arrives(&full);
        (full.reference, full.supervisor, full.why_all, full.area, full.asker.trained_on) =
            (None, None, None, None, None);
        arrives(&full);
    }
}

#[test]
fn answers() {
    let rules = || Rule::ALL.map(RuleSaid::from).to_vec();
    let mut outcomes = vec![
        Outcome::Permitted {
            reads: vec![ReadId::new(now(), [1; 10]), ReadId::new(now(), [2; 10])],
            results: Digest::of(b"results"),
            capped: vec![
                Cap::Lookback { from: now() },
                Cap::Area { area: area(1, 2, 3, 4) },
                Cap::Rows { max: 5 },
                Cap::More {},
                Cap::Images {},
            ],
        },
        Outcome::Denied { rules: rules(), status: None },
        Outcome::Referred { ticket: RequestId::new(now(), [3; 10]), rules: rules() },
    ];
    outcomes.extend(statuses().into_iter().map(|status| Outcome::Denied { rules: rules(), status: Some(status) }));
    outcomes.extend(statuses().into_iter().map(|status| Outcome::Withheld { status }));
    for outcome in outcomes {
        let name = outcome.name();
        let answer = Answer { v: PROTOCOL, to: to(), question: Digest::of(b"question"), outcome };
        arrives(&answer);
        assert_eq!(serde_json::to_value(&answer).unwrap()["outcome"]["decision"], name);
    }
}

#[test]
fn the_asker_s_record_of_what_it_received() {
    let line = |answer| ReceivedFrom { ori: ori(OWNER), answer, outcome: "permitted".to_owned() };
    let answers = vec![line(Some(Digest::of(b"answer"))), line(None)];
    travels(&Received { v: PROTOCOL, question: Digest::of(b"question"), answers });
}

#[test]
fn agreement_messages() {
    arrives(&Offer { v: PROTOCOL, to: to(), document: Digest::of(b"document") });
    for event in [
        signed(),
        Event::Declined { reason: why() },
        Event::Withdrawn { reason: why() },
        Event::Suspended { reason: why() },
        Event::Resumed { reason: why(), seal: seal() },
        Event::Terminated { reason: why() },
        Event::Rekeyed { keys: party(OWNER).node.keys(), compromised: true, reason: why(), seal: seal() },
        Event::Moved {
            url: "https://alder.example:9443".to_owned(),
            contacts: vec![why()],
            reason: why(),
            seal: seal(),
        },
    ] {
        let name = event.name();
        let message =
            StreamEvent { v: PROTOCOL, to: to(), document: Digest::of(b"document"), n: 1, seen: Some(2), event };
        arrives(&message);
        assert_eq!(serde_json::to_value(&message).unwrap()["event"]["kind"], name);
    }
    for status in statuses() {
        arrives(&Acknowledgement { v: PROTOCOL, to: to(), of: Digest::of(b"event"), status });
    }
    arrives(&Resumption::new(ori(OWNER), id(1), Digest::of(b"document"), 3, "the review is done"));
}

#[test]
fn a_discrepancy() {
    let whole = Discrepancy {
        v: PROTOCOL,
        to: to(),
        partner: ori(OWNER),
        day: date(2026, 11, 23),
        until: None,
        differs: Differs::Altered,
        about: Digest::of(b"entry"),
        rid: Some(RequestId::new(agreements::time::Instant::from_micros(0), [3; 10])),
        kind: Some(Kind::QueryAnswered),
        other: Some(Digest::of(b"other")),
        evidence: vec![Digest::of(b"file")],
        says: why(),
    };
    arrives(&whole);
    let told = Discrepancy { to: Vec::new(), rid: None, kind: None, other: None, evidence: Vec::new(), ..whole };
    assert!(Message::to(&told).is_empty());
    arrives(&told);
}

#[test]
fn the_register() {
    let entered = |kind, document| Finding {
        ori: ori(OWNER),
        kind,
        citation: why(),
        document,
        evidence: Vec::new(),
        from: None,
        on: date(2026, 3, 3),
        entered_by: "custodian".to_owned(),
        approved_by: None,
    };
    travels(&entered(FindingKind::NamedInSuit, Some(Digest::of(b"suit"))));
    travels(&entered(FindingKind::Cleared, None));
    travels(&AgCheck {
        by: why(),
        sources: vec![why()],
        at: now(),
        result: CheckResult::NoneNamed,
        note: None,
        evidence: Vec::new(),
        register: None,
    });
    travels(&AgCheck {
        by: why(),
        sources: vec![why()],
        at: now(),
        result: CheckResult::Named,
        note: Some(why()),
        evidence: vec![Digest::of(b"page")],
        register: Some(Digest::of(b"[]")),
    });
}

fn named(message: &impl Message) -> (u16, &[To]) {
    (message.version(), message.to())
}

#[test]
fn whom_a_message_is_for() {
    let question = Question { to: to(), ..question() };
    assert_eq!(named(&question), (PROTOCOL, to().as_slice()));
}

#[test]
fn a_plate_on_the_wire_has_one_form() {
    for plate in ["7abc123", "7ABC-123", "", "7ABC*", &"A".repeat(200)] {
        let mut value = serde_json::to_value(question()).unwrap();
        value["search"]["plate"] = plate.into();
        assert!(json::parse::<Question>(&json::canonical(&value).unwrap()).is_err(), "{plate}");
    }
}

#[test]
fn only_the_seven_purposes_are_read() {
    let mut value = serde_json::to_value(question()).unwrap();
    for purpose in Purpose::ALL {
        value["purpose"] = purpose.as_str().into();
        assert_eq!(json::parse::<Question>(&json::canonical(&value).unwrap()).unwrap().purpose, purpose);
    }
    for other in ["immigration_enforcement", "", "other", "Lifesaving"] {
        value["purpose"] = other.into();
        assert!(json::parse::<Question>(&json::canonical(&value).unwrap()).is_err(), "{other}");
    }
}

#[test]
fn debug_shows_no_plate_name_or_case_number() {
    let said = format!("{:?} {:#?}", question(), Question { why_all: Some("Elm Street".to_owned()), ..question() });
    for secret in ["7ABC123", "118842", "jroe", "Roe", "Robbery", "Quill", "robbery", "Elm"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    let asker = format!("{:?} {:?}", question().asker, question().on_behalf_of);
    assert!(!asker.contains("Roe") && !asker.contains("Robbery"), "{asker}");
}
