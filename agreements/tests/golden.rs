//! The decision for every purpose, grant and status, held to a file that people can read.

use std::fmt::Write as _;
use std::path::Path;

use agreements::agreement::{Authorization, Grant, QueryGrant};
use agreements::decide::Standing;
use agreements::ids::RequestId;
use agreements::message::Question;
use agreements::purpose::Purpose;
use agreements::register::{OpenReview, Trigger};
use agreements::status::Status;
use agreements::stream::{Event, Heir, Said, Stream};
use agreements::time::Instant;
use jiff::civil::date;

use crate::common::*;

const GRANTS: [&str; 5] = ["query", "query_other_purposes", "query_per_request", "query_back", "none"];
const STATUSES: [&str; 15] = [
    "no_agreement",
    "declined",
    "withdrawn",
    "terminated",
    "unsigned",
    "sunset",
    "suspended",
    "superseded",
    "under_review",
    "policy_incomplete",
    "adverse_finding",
    "ag_check_stale",
    "not_activated",
    "not_yet",
    "in_force",
];

fn grants(name: &str, purpose: Purpose) -> Vec<Grant> {
    let grant = match name {
        "query" => QueryGrant { purposes: vec![purpose], ..query_grant() },
        "query_other_purposes" => {
            let others = Purpose::ALL.into_iter().filter(|other| *other != purpose).collect();
            QueryGrant { purposes: others, ..query_grant() }
        }
        "query_per_request" => QueryGrant { authorization: Authorization::PerRequest, ..query_grant() },
        "query_back" => QueryGrant { owner: ori(PARTNER), recipient: ori(OWNER), ..query_grant() },
        "none" => return vec![Grant::Hotlist(hotlist_grant()), Grant::Hits(hits_grant())],
        other => panic!("no grant {other}"),
    };
    vec![Grant::Query(grant)]
}

fn set(name: &str, standing: &mut Standing) {
    let reason = || "by order".to_owned();
    let agreement = standing.agreement.as_mut().unwrap();
    let says = |event| stream(vec![signed(), event]);
    match name {
        "no_agreement" => standing.agreement = None,
        "declined" => standing.streams.parties[1] = stream(vec![Event::Declined { reason: reason() }]),
        "withdrawn" => standing.streams.parties[1] = says(Event::Withdrawn { reason: reason() }),
        "terminated" => standing.streams.parties[1] = says(Event::Terminated { reason: reason() }),
        "unsigned" => standing.streams.parties[1] = Stream::default(),
        "sunset" => agreement.sunset_on = date(2026, 11, 23),
        "suspended" => standing.streams.parties[1] = says(Event::Suspended { reason: reason() }),
        "superseded" => {
            let id = id(9);
            standing.streams.heirs = vec![Heir { takes_effect: now(), id }];
        }
        "under_review" => standing.register.reviews.push(OpenReview {
            id: RequestId::new(now(), [1; 10]),
            ori: ori(PARTNER),
            trigger: Trigger::Breach,
            opened_at: now(),
        }),
        "policy_incomplete" => agreement.parties[1].policy.elements.d = None,
        "adverse_finding" => standing.register.adverse.push(ori(PARTNER)),
        "ag_check_stale" => standing.register.checked_at = Some(now().plus(-90 * Instant::DAY)),
        "not_activated" => {
            // Fresh enough to be in force, and too old when the second party signed.
            standing.register.checked_at = Some(now().plus(-31 * Instant::DAY));
            let late = Said { event: signed(), at: now() };
            standing.streams.parties[1] = Stream::new(vec![late]);
        }
        "not_yet" => agreement.effective_on = date(2026, 11, 24),
        "in_force" => {}
        other => panic!("no status {other}"),
    }
}

/// The written tag, exhaustive so that a new status must come into the table.
fn tag(status: &Status) -> &str {
    match status {
        Status::NoAgreement {} => "no_agreement",
        Status::Ended { how, .. } => how,
        Status::Unsigned { .. } => "unsigned",
        Status::Sunset { .. } => "sunset",
        Status::Suspended { .. } => "suspended",
        Status::Superseded { .. } => "superseded",
        Status::UnderReview { .. } => "under_review",
        Status::PolicyIncomplete { .. } => "policy_incomplete",
        Status::AdverseFinding { .. } => "adverse_finding",
        Status::AgCheckStale { .. } => "ag_check_stale",
        Status::NotActivated { .. } => "not_activated",
        Status::NotYet { .. } => "not_yet",
        Status::InForce { .. } => "in_force",
    }
}

fn table() -> String {
    let mut table = "purpose\tgrant\tstatus\toutcome\n".to_owned();
    for purpose in Purpose::ALL {
        for grant in GRANTS {
            for status in STATUSES {
                let mut standing = standing();
                standing.agreement.as_mut().unwrap().grants = grants(grant, purpose);
                set(status, &mut standing);
                assert_eq!(tag(&standing.status(now())), status);
                let outcome = decided(&Question { purpose, ..question() }, &standing);
                writeln!(table, "{purpose}\t{grant}\t{status}\t{outcome}").unwrap();
            }
        }
    }
    table
}

#[test]
fn decisions_are_those_of_the_golden_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/decisions.tsv");
    if std::env::var_os("CONCORDAT_REGENERATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, table()).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let made = table();
    for (golden, made) in golden.lines().zip(made.lines()) {
        assert_eq!(golden, made, "if the change is meant, run with CONCORDAT_REGENERATE=1 and read the difference");
    }
    assert_eq!(golden.lines().count(), made.lines().count());
    assert_eq!(golden, made);
}
