//! The edges of single rules, as a hostile asker would try them.

use agreements::agreement::Grant;
use agreements::decide::{Decision, MAX_LOOKBACK_DAYS, Permit, Usage, decide, screen_own};
use agreements::message::{Cap, Question, Search};
use agreements::purpose::{Purpose, Reference, ReferenceKind};
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::time::Instant;
use jiff::civil::date;

use crate::common::*;

fn permit(question: &Question, standing: &agreements::decide::Standing) -> Permit {
    match decide(question, standing, Usage::default(), now()) {
        Decision::Permit(permit) => permit,
        other => panic!("{}", line(&other)),
    }
}

#[test]
fn the_window_is_cut_to_the_lookback_and_says_so() {
    let standing = standing();
    let earliest = now().plus(-30 * Instant::DAY);
    let asking = |from: Instant, until: Instant| Question { from, until, ..question() };
    let exact = permit(&asking(earliest, now()), &standing);
    assert!(exact.from() == earliest && exact.capped().is_empty());
    let cut = permit(&asking(earliest.plus(-1), now()), &standing);
    assert!(cut.from() == earliest && cut.capped() == [Cap::Lookback { from: earliest }]);
    assert_eq!(permit(&asking(earliest.plus(-9), earliest.plus(1)), &standing).from(), earliest);
    for (from, until) in [
        (earliest.plus(-9), earliest),
        (now(), now()),
        (now(), now().plus(-1)),
        (now().plus(1), now().plus(9)),
        (Instant::from_micros(i64::MIN), Instant::from_micros(i64::MIN)),
        (Instant::from_micros(i64::MAX), Instant::from_micros(i64::MIN)),
    ] {
        assert_eq!(decided(&asking(from, until), &standing), "deny lookback", "{from} {until}");
    }
}

#[test]
fn nobody_is_answered_beyond_two_years_whatever_the_documents_say() {
    let mut standing = standing();
    grant_of(&mut standing).lookback_days = u32::MAX;
    standing.rules.max_lookback_days = u32::MAX;
    let all = Question { from: Instant::from_micros(i64::MIN), ..question() };
    assert_eq!(permit(&all, &standing).from(), now().plus(-i64::from(MAX_LOOKBACK_DAYS) * Instant::DAY));
}

#[test]
fn a_pattern_of_wildcards_is_no_search_for_a_plate() {
    let standing = standing();
    let asking = |pattern: &str| Question { search: Search::Partial { pattern: pattern.to_owned() }, ..question() };
    for pattern in ["7A", "7AB*", "?A?C*", "*AB*12?"] {
        assert_eq!(decided(&asking(pattern), &standing), "permit", "{pattern}");
    }
    for pattern in ["", "*", "???", "7*", "7ab*", "7AB%", "7AB' OR 1", "\u{ff17}\u{ff21}B", &"A".repeat(21), "AB\n"] {
        assert_eq!(decided(&asking(pattern), &standing), "deny search_granted", "{pattern}");
        assert_eq!(screen_own(&asking(pattern), false, now()), [Rule::SearchGranted], "{pattern}");
    }
}

#[test]
fn a_search_without_a_plate_needs_a_box_on_the_globe() {
    let standing = standing();
    let asking = |area| Question { area, search: Search::WithoutPlate {}, ..question() };
    assert_eq!(decided(&asking(None), &standing), "deny search_granted");
    assert_eq!(decided(&asking(Some(area(34, -119, 35, -118))), &standing), "permit");
    for inside_out in [area(35, -119, 34, -118), area(34, -118, 35, -119), area(i32::MIN, i32::MIN, i32::MAX, i32::MAX)]
    {
        assert_eq!(decided(&asking(Some(inside_out)), &standing), "deny area", "{inside_out:?}");
    }
}

#[test]
fn the_answer_is_for_whom_it_may_be() {
    let asking = |agency: &str| {
        let mut question = question();
        question.on_behalf_of.agency = ori(agency);
        question
    };
    let mut standing = standing();
    standing.under_agreement.extend([ori("CA0030000"), ori(OWNER)]);
    // Its own, one under agreement, a court, a prosecutor; not the owner by a detour, not a stranger.
    let not_hub = [
        (PARTNER, true),
        ("CA0030000", true),
        ("CA019013J", true),
        ("CA019013A", true),
        (OWNER, false),
        ("CA0040000", false),
    ];
    for (agency, good) in not_hub {
        assert_eq!(decided(&asking(agency), &standing) == "permit", good, "{agency}");
    }
    standing.agreement.as_mut().unwrap().parties[1].hub = true;
    for (agency, good) in [(PARTNER, false), ("CA0030000", true), ("CA019013J", true), ("CA0040000", false)] {
        assert_eq!(decided(&asking(agency), &standing) == "permit", good, "hub for {agency}");
    }
    assert_eq!(screen_own(&asking(PARTNER), true, now()), [Rule::OnBehalfOf]);
    assert_eq!(screen_own(&asking("CA0030000"), true, now()), []);
    assert_eq!(screen_own(&asking(PARTNER), false, now()), []);
    let mut nobody = asking("CA0030000");
    nobody.on_behalf_of.end_user = " ".to_owned();
    assert_eq!(decided(&nobody, &standing), "deny on_behalf_of");
}

#[test]
fn an_owner_that_is_a_court_is_no_end_agency_of_its_own_reads() {
    let mut standing = standing();
    standing.owner = ori("CA001001J");
    let agreement = standing.agreement.as_mut().unwrap();
    agreement.parties[0].ori = standing.owner;
    agreement.grants = vec![Grant::Query(agreements::agreement::QueryGrant { owner: standing.owner, ..query_grant() })];
    assert_eq!(decided(&question(), &standing), "permit");
    let mut detour = question();
    detour.on_behalf_of.agency = standing.owner;
    assert_eq!(decided(&detour, &standing), "deny on_behalf_of");
}

#[test]
fn names_are_seen_and_bounded() {
    type Field = fn(&mut Question) -> &mut String;
    let fields: [(Field, &str); 5] = [
        (|q| &mut q.asker.username, "deny asker_approved"),
        (|q| &mut q.asker.name, "deny asker_approved"),
        (|q| &mut q.asker.affiliation, "deny asker_approved"),
        (|q| &mut q.on_behalf_of.end_user, "deny on_behalf_of"),
        (|q| q.supervisor.get_or_insert_default(), "deny narrative_and_supervisor"),
    ];
    for (field, denial) in fields {
        for bad in ["", " ", ".", "\u{200b}", "\u{3164}\u{2060}", "roe\u{1b}[2J", "roe\0", &"r".repeat(201)] {
            let mut question = question();
            *field(&mut question) = bad.to_owned();
            assert_eq!(decided(&question, &standing()), denial, "{bad:?}");
            assert!(!screen_own(&question, false, now()).is_empty());
        }
        let mut question = question();
        *field(&mut question) = "Zo\u{eb} \u{c1}lvarez-O'Neil".to_owned();
        assert_eq!(decided(&question, &standing()), "permit");
    }
}

#[test]
fn what_the_owner_publishes_binds_it_whatever_it_granted() {
    let mut standing = standing();
    let (owner, asked) = (standing.owner, question().purpose);
    for party in &mut standing.agreement.as_mut().unwrap().parties {
        if party.ori == owner {
            party.policy.purposes.retain(|own| own.purpose != asked);
        }
    }
    assert_eq!(decided(&question(), &standing), "deny purpose_of_owner");
}

#[test]
fn nobody_is_their_own_supervisor() {
    for name in ["jroe", "JROE", " Jordan Roe ", "jordan roe"] {
        let own = Question { purpose: Purpose::CrimePrevention, supervisor: Some(name.to_owned()), ..question() };
        assert_eq!(decided(&own, &standing()), "deny narrative_and_supervisor", "{name}");
    }
}

#[test]
fn training_counts_for_a_year_and_not_before_it_was() {
    let trained = |date| {
        let mut question = question();
        question.asker.trained_on = date;
        decided(&question, &standing())
    };
    // It is 23 November 2026 in Los Angeles.
    for (date, good) in [
        (Some(date(2026, 11, 23)), true),
        (Some(date(2026, 11, 24)), false),
        (Some(date(2025, 11, 24)), true),
        (Some(date(2025, 11, 23)), false),
        (Some(jiff::civil::Date::MIN), false),
        (Some(jiff::civil::Date::MAX), false),
        (None, false),
    ] {
        assert_eq!(trained(date), if good { "permit" } else { "deny asker_trained" }, "{date:?}");
    }
}

#[test]
fn references_have_a_form_and_are_no_plates() {
    let with = |number: &str| {
        let reference = Some(Reference { kind: ReferenceKind::Case, number: number.to_owned() });
        decided(&Question { reference, ..question() }, &standing())
    };
    for number in ["26-0012", "DR 2026/118842", "1", "LA.26.4471", &"1".repeat(40)] {
        assert_eq!(with(number), "permit", "{number}");
    }
    for number in ["", "case", "-", "26\u{2014}0012", "\u{661}\u{662}", "26\n0012", "26;0012", &"1".repeat(41)] {
        assert_eq!(with(number), "deny reference_present", "{number:?}");
    }
    for number in ["7ABC123", "7-ABC-123", "8XYZ999", "123ABC", "5A12345", "4AA1234"] {
        assert_eq!(with(number), "deny reference_not_plate", "{number}");
    }
    let personal = Question {
        reference: Some(Reference { kind: ReferenceKind::Case, number: "my car 1".to_owned() }),
        search: Search::Exact { plate: "MYCAR1".parse().unwrap() },
        ..question()
    };
    assert_eq!(decided(&personal, &standing()), "deny reference_not_plate");
}

#[test]
fn the_quota_is_the_number_of_answers() {
    let used = |today| line(&decide(&question(), &standing(), Usage { today, over_rate: false }, now()));
    assert_eq!((used(49), used(50), used(u32::MAX)), ("permit".into(), "deny quota".into(), "deny quota".into()));
}

#[test]
fn the_status_of_an_agreement_between_others_is_not_told() {
    let mut stranger = standing();
    stranger.partner = ori("CA0030000");
    let mut question = question();
    question.asker.agency = stranger.partner;
    let Decision::Deny(denial) = decide(&question, &stranger, Usage::default(), now()) else { panic!("not denied") };
    assert_eq!((denial.rules, denial.status), (vec![Rule::AgreementInForce], Some(Status::NoAgreement {})));
}

#[test]
fn limits_that_cut_are_named() {
    let mut standing = standing();
    let granted = area(34, -119, 35, -118);
    let grant = grant_of(&mut standing);
    (grant.images, grant.area, grant.max_rows) = (false, Some(granted), 10);
    let permit = permit(&question(), &standing);
    assert_eq!(permit.capped(), [Cap::Area { area: granted }, Cap::Rows { max: 10 }, Cap::Images {}]);
    assert_eq!((permit.area(), permit.max_rows(), permit.images()), (Some(granted), 10, false));
    assert_eq!((permit.agreement(), permit.epoch(), permit.until()), (id(1), 7, now()));
}
