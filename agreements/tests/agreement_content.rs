//! The agreement document: what its content may be, and the one form of its bytes.

use agreements::agreement::{
    Agreement, AgreementError, Grant, HitsGrant, HotlistGrant, QueryGrant, Renewal, Witnesses, anniversary,
};
use agreements::ids::Digest;
use agreements::json;
use agreements::party::Determination;
use agreements::purpose::Purpose;
use jiff::civil::date;
use serde_json::{Value, json};

use crate::common::*;

/// An agreement with everything that one can hold.
fn full() -> Agreement {
    let mut full = agreement();
    full.revision = 2;
    full.supersedes = Some(Digest::of(b"the first"));
    full.renewal = Some(Renewal {
        packet_sha256: Digest::of(b"packet"),
        review_sha256: Digest::of(b"review"),
        ag_check_sha256: Digest::of(b"check"),
    });
    full.witnesses = Some(Witnesses { policy_sha256: Digest::of(b"witnesses") });
    full.parties[1].hub = true;
    full.parties[1].determination =
        Some(Determination { sha256: Digest::of(b"determination"), expires_on: date(2027, 6, 1) });
    let mut query = query_grant();
    query.area = Some(area(33_000_000, -119_000_000, 35_000_000, -117_000_000));
    full.grants = vec![Grant::Query(query), Grant::Hotlist(hotlist_grant()), Grant::Hits(hits_grant())];
    full
}

fn value() -> Value {
    serde_json::to_value(full()).unwrap()
}

fn read(value: &Value) -> Result<Agreement, AgreementError> {
    Agreement::from_bytes(&json::canonical(value).unwrap())
}

#[test]
fn it_goes_round() {
    for agreement in [agreement(), full()] {
        let bytes = agreement.to_bytes().unwrap();
        let read = Agreement::from_bytes(&bytes).unwrap();
        assert_eq!(read, agreement);
        assert_eq!(read.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn each_problem_is_said_once_and_alone() {
    fn query(a: &mut Agreement) -> &mut QueryGrant {
        match &mut a.grants[0] {
            Grant::Query(query) => query,
            Grant::Hotlist(_) | Grant::Hits(_) => panic!("the first grant is to query"),
        }
    }
    fn hotlist(a: &mut Agreement) -> &mut HotlistGrant {
        match &mut a.grants[1] {
            Grant::Hotlist(hotlist) => hotlist,
            Grant::Query(_) | Grant::Hits(_) => panic!("the second grant is of a hotlist"),
        }
    }
    type Spoil = fn(&mut Agreement);
    let table: [(Spoil, &str); 51] = [
        (|a| a.format = "concordat-agreement/2".to_owned(), "format must be"),
        (|a| a.parties.swap(0, 1), "in the order of their ORIs"),
        (|a| a.revision = 0, "revision begins at 1"),
        (|a| a.renewal = None, "a renewal names"),
        (|a| (a.supersedes, a.renewal) = (None, None), "supersedes is for revisions after the first"),
        (|a| a.revision = 1, "supersedes is for revisions after the first"),
        (|a| a.sunset_on = a.effective_on, "sunset_on must be after"),
        (|a| a.sunset_on = date(2027, 11, 2), "within one calendar year"),
        (|a| (a.effective_on, a.sunset_on) = (date(9999, 3, 1), date(9999, 4, 1)), "within one calendar year"),
        (|a| a.grants.clear(), "there is no grant"),
        (|a| a.commitments.lawful_use = false, "every commitment must be true"),
        (|a| a.commitments.authorized_users_only = false, "every commitment must be true"),
        (|a| a.commitments.trained_users = false, "every commitment must be true"),
        (|a| a.commitments.accuracy = false, "every commitment must be true"),
        (|a| a.commitments.no_onward_transfer = false, "every commitment must be true"),
        (|a| a.commitments.hotlist_max_age_hours = 25, "hotlist_max_age_hours"),
        (|a| a.commitments.hotlist_max_age_hours = 0, "hotlist_max_age_hours"),
        (|a| a.commitments.received_retention_days = 731, "received_retention_days"),
        (|a| a.commitments.received_retention_days = 0, "received_retention_days"),
        (|a| query(a).owner = ori(PARTNER), "must go from one party to the other"),
        (|a| query(a).owner = ori("CA0030000"), "must go from one party to the other"),
        (|a| query(a).recipient = ori("CA0030000"), "must go from one party to the other"),
        (|a| query(a).purposes.clear(), "must list each purpose once"),
        (|a| query(a).purposes.push(Purpose::Lifesaving), "must list each purpose once"),
        (|a| query(a).lookback_days = 0, "lookback_days is 1 to 730"),
        (|a| query(a).lookback_days = 731, "lookback_days is 1 to 730"),
        (|a| query(a).max_rows = 0, "max_rows 1 to 10000"),
        (|a| query(a).max_rows = 10_001, "max_rows 1 to 10000"),
        (|a| query(a).daily_quota = 0, "daily_quota at least 1"),
        (|a| query(a).area = Some(area(1, 0, 0, 1)), "its area is no box"),
        (|a| query(a).area = Some(area(0, 0, 90_000_001, 1)), "its area is no box"),
        (|a| hotlist(a).list = " ".to_owned(), "must name a list"),
        (|a| a.grants[2] = Grant::Hits(HitsGrant { list: "x".repeat(101), ..hits_grant() }), "must name a list"),
        (|a| hotlist(a).categories.clear(), "must list each category once"),
        (|a| hotlist(a).categories.push("stolen_vehicle".to_owned()), "must list each category once"),
        (|a| a.parties[0].legal_name.clear(), "legal_name is blank"),
        (|a| a.parties[0].legal_name = "x".repeat(1001), "legal_name is longer"),
        (|a| a.parties[1].county = " ".to_owned(), "county is blank"),
        (|a| a.parties[0].custodian_title.clear(), "custodian_title (Civ. Code 1798.90.51(b)(2)(E)) is blank"),
        (|a| a.parties[0].official.name.clear(), "official.name is blank"),
        (|a| a.parties[0].official.title.clear(), "official.title is blank"),
        (|a| a.parties[0].node.log_origin.clear(), "node.log_origin is blank"),
        (|a| a.parties[0].approvals.counsel.clear(), "approvals.counsel is blank"),
        (|a| a.parties[0].approvals.signing_authority.clear(), "approvals.signing_authority is blank"),
        (|a| a.parties[0].policy.url.clear(), "policy.url is blank"),
        (|a| a.parties[1].identity_key = "x".repeat(1001), "identity_key is longer"),
        (|a| a.parties[0].node.url = "http://alder.example".to_owned(), "must begin with https://"),
        (|a| a.parties[0].policy.purposes.clear(), "policy.purposes is empty"),
        (|a| a.parties[0].hub = true, "needs a determination"),
        (|a| a.parties[1].determination = None, "needs a determination"),
        (|a| a.parties[0].official.title = "x".repeat(1001), "official.title is longer"),
    ];
    assert!(full().problems().is_empty(), "{:?}", full().problems());
    for (spoil, sentence) in table {
        let mut spoilt = full();
        spoil(&mut spoilt);
        let problems = spoilt.problems();
        assert!(problems.len() == 1 && problems[0].contains(sentence), "{sentence}: {problems:?}");
        let Err(AgreementError::Problems(said)) = Agreement::from_bytes(&spoilt.to_bytes().unwrap()) else {
            panic!("{sentence}: it was read")
        };
        assert_eq!(said, problems);
    }
}

#[test]
fn the_same_grant_twice_and_the_same_party_twice() {
    for grant in [Grant::Query(query_grant()), Grant::Hotlist(hotlist_grant()), Grant::Hits(hits_grant())] {
        let mut twice = agreement();
        twice.grants = vec![grant.clone(), grant];
        let problems = twice.problems();
        assert!(problems.len() == 2 && problems.iter().all(|said| said.contains("stands twice")), "{problems:?}");
    }
    let mut alone = agreement();
    alone.parties[1] = alone.parties[0].clone();
    assert!(alone.problems().iter().any(|said| said.contains("two different agencies")));
}

#[test]
fn a_campus_needs_a_determination() {
    let mut campus = agreement();
    campus.parties[1].ori = ori("CA002000E");
    campus.grants = vec![Grant::Hits(HitsGrant { recipient: ori("CA002000E"), ..hits_grant() })];
    let problems = campus.problems();
    assert!(problems.len() == 1 && problems[0].contains("needs a determination"), "{problems:?}");
}

#[test]
fn dates_out_of_range_are_said() {
    let mut absurd = agreement();
    (absurd.effective_on, absurd.sunset_on) = (jiff::civil::Date::MAX, jiff::civil::Date::MAX);
    assert!(absurd.problems().iter().any(|said| said.contains("dates out of range")), "{:?}", absurd.problems());
    assert!(absurd.sunset() <= absurd.effective());
}

#[test]
fn the_sunset_is_at_most_the_anniversary() {
    assert_eq!(anniversary(date(2026, 11, 1)), Some(date(2027, 11, 1)));
    assert_eq!(anniversary(date(2028, 2, 29)), Some(date(2029, 2, 28)));
    assert_eq!(anniversary(date(2027, 2, 28)), Some(date(2028, 2, 28)));
    assert_eq!(anniversary(jiff::civil::Date::MAX), None);
    let mut leap = agreement();
    (leap.effective_on, leap.sunset_on) = (date(2028, 2, 29), date(2029, 2, 28));
    assert!(leap.problems().is_empty());
    leap.sunset_on = date(2029, 3, 1);
    assert!(leap.problems().iter().any(|said| said.contains("within one calendar year")));
}

#[test]
fn other_bytes_than_the_canonical_ones_are_refused() {
    let bytes = full().to_bytes().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let mut null = serde_json::to_value(agreement()).unwrap();
    null["witnesses"] = Value::Null;
    let others = [
        format!(" {text}"),
        format!("{text}\n"),
        text.replacen(',', ", ", 1),
        text.replacen("Alder", "\\u0041lder", 1),
        text.replacen("https://", "https:\\/\\/", 1),
        serde_json::to_string_pretty(&full()).unwrap(),
        // In the order of the type's fields, which is not that of the keys.
        serde_json::to_string(&full()).unwrap(),
        String::from_utf8(json::canonical(&null).unwrap()).unwrap(),
    ];
    for other in others {
        assert!(matches!(Agreement::from_bytes(other.as_bytes()), Err(AgreementError::NotCanonical)), "{other}");
    }
    for broken in [&bytes[..bytes.len() - 1], &[bytes.as_slice(), b"{}"].concat(), b"", b"\xff"] {
        assert!(matches!(Agreement::from_bytes(broken), Err(AgreementError::Json(_))));
    }
}

#[test]
fn unknown_repeated_and_missing_fields_are_refused_at_every_level() {
    let optional = [
        "supersedes",
        "framework",
        "witnesses",
        "renewal",
        "determination",
        "area",
        "checked_by",
        "contacts",
        "processors",
        "key",
        "A",
        "B",
        "C",
        "D",
        "E",
        "F",
        "G",
    ];
    let value = value();
    let refused = |bytes: &[u8]| matches!(Agreement::from_bytes(bytes), Err(AgreementError::Json(_)));
    let unknown = with_unknown_fields(&value);
    assert!(unknown.len() >= 20, "{}", unknown.len());
    for (pointer, bytes) in unknown.iter().chain(&with_repeated_keys(&value)) {
        assert!(refused(bytes), "{pointer}");
    }
    for (pointer, _) in unknown {
        let keys: Vec<String> = value.pointer(&pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys.iter().filter(|key| !optional.contains(&key.as_str())) {
            let mut less = value.clone();
            less.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(key);
            assert!(refused(&json::canonical(&less).unwrap()), "{pointer} without {key}");
        }
    }
}

#[test]
fn s01_no_federal_out_of_state_or_private_body_can_be_expressed() {
    assert!(read(&value()).is_ok());
    let others: [(&str, Value); 16] = [
        ("/parties/0/kind", json!("federal")),
        ("/parties/0/kind", json!("private")),
        ("/parties/0/kind", json!("out_of_state")),
        ("/parties/0/kind", json!("tribal")),
        ("/parties/0/kind", json!("")),
        ("/parties/0/state", json!("NV")),
        ("/parties/0/state", json!("ca")),
        ("/parties/0/ori", json!("NV0020100")),
        ("/parties/0/ori", json!("DCICE0900")),
        ("/parties/0/ori", json!("CAFBILA00")),
        ("/parties/0/ori", json!("*")),
        ("/grants/0/recipient", json!("CAICE0900")),
        ("/grants/0/recipient", json!("any")),
        ("/grants/0/owner", json!("NV0020100")),
        ("/grants/0/purposes/0", json!("immigration_enforcement")),
        ("/grants/0/kind", json!("all")),
    ];
    for (pointer, to) in others {
        let mut changed = value();
        *changed.pointer_mut(pointer).unwrap() = to.clone();
        let error = read(&changed).unwrap_err();
        let law = pointer.starts_with("/parties") && to != json!("*");
        assert_eq!(
            matches!(error, AgreementError::Ineligible(_)),
            law || to == json!("any"),
            "{pointer} as {to}: {error}"
        );
        assert!(!law || error.to_string().contains("1798.90.5(f)"), "{pointer} as {to}: {error}");
        assert!(law || matches!(error, AgreementError::Json(_) | AgreementError::Ineligible(_)), "{pointer} as {to}");
    }
    let mut three = value();
    let third = three["parties"][1].clone();
    three["parties"].as_array_mut().unwrap().push(third);
    assert!(matches!(read(&three), Err(AgreementError::Json(_))));
}

#[test]
fn who_the_parties_are() {
    let agreement = agreement();
    let (owner, partner, stranger) = (ori(OWNER), ori(PARTNER), ori("CA0030000"));
    assert_eq!(agreement.other(owner).map(|party| party.ori), Some(partner));
    assert_eq!(agreement.other(partner).map(|party| party.ori), Some(owner));
    assert!(agreement.other(stranger).is_none() && agreement.party(stranger).is_none());
    assert!(agreement.query_grant(owner, partner).is_some() && agreement.query_grant(partner, owner).is_none());
}
