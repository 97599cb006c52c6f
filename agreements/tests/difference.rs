//! What another document changes: every field, each by itself, and in words.

use agreements::agreement::{Agreement, Authorization, Framework, Grant, HotlistGrant, QueryGrant, Renewal, Witnesses};
use agreements::difference::{Difference, Effect, differences, widens};
use agreements::ids::Digest;
use agreements::party::{AgencyKind, Determination, Party, PolicyPurpose, Processor, Service};
use agreements::purpose::Purpose;
use jiff::civil::date;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::Value;

use super::common::{OWNER, PARTNER, agreement, area, cases, hits_grant, hotlist_grant, id, ori};

/// An agreement that has one of everything.
fn whole() -> Agreement {
    let mut whole = agreement();
    let Some(Grant::Query(query)) = whole.grants.first_mut() else { panic!("a grant to query comes first") };
    query.area = Some(area(37_000_000, -122_000_000, 38_000_000, -121_000_000));
    query.purposes = vec![Purpose::CriminalInvestigation, Purpose::Lifesaving];
    query.authorization = Authorization::PerRequest;
    whole.grants.extend([Grant::Hotlist(hotlist_grant()), Grant::Hits(hits_grant())]);
    whole.revision = 2;
    whole.supersedes = Some(Digest::of(b"first"));
    whole.witnesses = Some(Witnesses { policy_sha256: Digest::of(b"witnesses") });
    let (packet_sha256, review_sha256) = (Digest::of(b"packet"), Digest::of(b"review"));
    whole.renewal = Some(Renewal { packet_sha256, review_sha256, ag_check_sha256: Digest::of(b"check") });
    whole.parties[1].determination = Some(Determination { sha256: Digest::of(b"d"), expires_on: date(2028, 1, 1) });
    whole.framework = Some(Framework { title: "Three counties".to_owned(), sha256: Digest::of(b"framework") });
    let party = &mut whole.parties[0];
    party.official.key = Some("MFkwEwYHKoZIzj0C".to_owned());
    party.processors = vec![Processor { name: "Hosts".to_owned(), service: Service::Hosting }];
    party.contacts = vec!["a@alder.example".to_owned()];
    party.policy.checked_by = "Records Manager".to_owned();
    whole
}

type Change = fn(&mut Agreement);

fn query(agreement: &mut Agreement) -> &mut QueryGrant {
    match &mut agreement.grants[0] {
        Grant::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn first(agreement: &mut Agreement) -> &mut Party {
    &mut agreement.parties[0]
}

const NEUTRAL: Effect = Effect::Neutral;
const WIDER: Effect = Effect::Wider;
const NARROWER: Effect = Effect::Narrower;

/// Changes of one field each: its path, what it does, the change. No two touch the same field.
fn changes() -> Vec<(&'static str, Effect, Change)> {
    let mut all = changes_of_parties();
    all.extend(other_changes());
    all
}

fn changes_of_parties() -> Vec<(&'static str, Effect, Change)> {
    vec![
        ("format", NEUTRAL, |it| it.format.push('1')),
        ("id", NEUTRAL, |it| it.id = id(2)),
        ("revision", NEUTRAL, |it| it.revision += 1),
        ("supersedes", NEUTRAL, |it| it.supersedes = None),
        ("parties[CA0010000].legal_name", NEUTRAL, |it| first(it).legal_name.push('x')),
        ("parties[CA0010000].kind", NEUTRAL, |it| first(it).kind = AgencyKind::Subdivision),
        ("parties[CA0010000].county", NEUTRAL, |it| first(it).county.push('x')),
        ("parties[CA0010000].hub", WIDER, |it| first(it).hub = true),
        ("parties[CA0010000].custodian_title", NEUTRAL, |it| first(it).custodian_title.push('x')),
        ("parties[CA0010000].official.name", NEUTRAL, |it| first(it).official.name.push('x')),
        ("parties[CA0010000].official.title", NEUTRAL, |it| first(it).official.title.push('x')),
        ("parties[CA0010000].official.key", NEUTRAL, |it| first(it).official.key = None),
        ("parties[CA0010000].policy.checked_by", NEUTRAL, |it| first(it).policy.checked_by.push('x')),
        ("parties[CA0010000].contacts[b@alder.example]", NEUTRAL, |it| {
            first(it).contacts.push("b@alder.example".to_owned());
        }),
        ("parties[CA0010000].processors[Hosts]", NEUTRAL, |it| first(it).processors[0].service = Service::Towing),
        ("parties[CA0010000].processors[Tows]", WIDER, |it| {
            first(it).processors.push(Processor { name: "Tows".to_owned(), service: Service::Towing });
        }),
        ("framework.title", NEUTRAL, |it| it.framework.as_mut().unwrap().title.push('x')),
        ("framework.sha256", NEUTRAL, |it| it.framework.as_mut().unwrap().sha256 = Digest::of(b"x")),
        ("parties[CA0010000].identity_key", NEUTRAL, |it| first(it).identity_key.push('x')),
        ("parties[CA0010000].policy.url", NEUTRAL, |it| first(it).policy.url.push('x')),
        ("parties[CA0010000].policy.sha256", NEUTRAL, |it| first(it).policy.sha256 = Digest::of(b"x")),
        ("parties[CA0010000].policy.checked_on", NEUTRAL, |it| first(it).policy.checked_on = date(2026, 10, 2)),
        ("parties[CA0010000].policy.elements.A", NEUTRAL, |it| first(it).policy.elements.a = Some("x".to_owned())),
        ("parties[CA0010000].policy.elements.B", NARROWER, |it| first(it).policy.elements.b = None),
        ("parties[CA0010000].policy.elements.C", NARROWER, |it| first(it).policy.elements.c = None),
        ("parties[CA0010000].policy.elements.D", NARROWER, |it| first(it).policy.elements.d = None),
        ("parties[CA0010000].policy.elements.E", NARROWER, |it| first(it).policy.elements.e = None),
        ("parties[CA0010000].policy.elements.F", NARROWER, |it| first(it).policy.elements.f = None),
        ("parties[CA0010000].policy.elements.G", NARROWER, |it| first(it).policy.elements.g = None),
        ("parties[CA0010000].policy.purposes[our lifesaving]", NEUTRAL, |it| {
            first(it).policy.purposes.last_mut().unwrap().purpose = Purpose::CrimeAnalysis;
        }),
        ("parties[CA0010000].policy.purposes[rescue]", WIDER, |it| {
            first(it).policy.purposes.push(PolicyPurpose { name: "rescue".to_owned(), purpose: Purpose::Lifesaving });
        }),
        ("parties[CA0010000].policy.purposes[our criminal_investigation]", NARROWER, |it| {
            first(it).policy.purposes.remove(0);
        }),
        ("parties[CA0010000].node.url", NEUTRAL, |it| first(it).node.url.push('x')),
        ("parties[CA0010000].node.tls_spki", NEUTRAL, |it| first(it).node.tls_spki = Digest::of(b"x")),
        ("parties[CA0010000].node.seal_key", NEUTRAL, |it| first(it).node.seal_key.push('x')),
        ("parties[CA0010000].node.log_origin", NEUTRAL, |it| first(it).node.log_origin.push('x')),
        ("parties[CA0010000].node.log_vkey", NEUTRAL, |it| first(it).node.log_vkey.push('x')),
        ("parties[CA0010000].node.witness_vkey", NEUTRAL, |it| first(it).node.witness_vkey.push('x')),
        ("parties[CA0010000].approvals.counsel", NEUTRAL, |it| first(it).approvals.counsel.push('x')),
        ("parties[CA0010000].approvals.public_meeting.date", NEUTRAL, |it| {
            first(it).approvals.public_meeting.date = date(2026, 9, 2);
        }),
        ("parties[CA0010000].approvals.public_meeting.url", NEUTRAL, |it| {
            first(it).approvals.public_meeting.url.push('x');
        }),
        ("parties[CA0010000].approvals.signing_authority", NEUTRAL, |it| {
            first(it).approvals.signing_authority.push('x');
        }),
        ("parties[CA0010000].determination", WIDER, |it| {
            first(it).determination = Some(Determination { sha256: Digest::of(b"d"), expires_on: date(2028, 1, 1) });
        }),
        ("parties[CA0020000].determination.sha256", NEUTRAL, |it| {
            it.parties[1].determination.as_mut().unwrap().sha256 = Digest::of(b"x");
        }),
        ("parties[CA0020000].determination.expires_on", WIDER, |it| {
            it.parties[1].determination.as_mut().unwrap().expires_on = date(2028, 1, 2);
        }),
    ]
}

/// The same of grants, promises and dates.
fn other_changes() -> Vec<(&'static str, Effect, Change)> {
    vec![
        ("grants[query CA0010000 CA0020000].purposes[crime_analysis]", WIDER, |it| {
            query(it).purposes.push(Purpose::CrimeAnalysis);
        }),
        ("grants[query CA0010000 CA0020000].purposes[lifesaving]", NARROWER, |it| {
            query(it).purposes.retain(|it| *it != Purpose::Lifesaving);
        }),
        ("grants[query CA0010000 CA0020000].lookback_days", WIDER, |it| query(it).lookback_days = 31),
        ("grants[query CA0010000 CA0020000].max_rows", NARROWER, |it| query(it).max_rows = 99),
        ("grants[query CA0010000 CA0020000].daily_quota", WIDER, |it| query(it).daily_quota = 51),
        ("grants[query CA0010000 CA0020000].area", NARROWER, |it| {
            query(it).area = Some(area(37_000_000, -122_000_000, 37_500_000, -121_000_000));
        }),
        ("grants[query CA0010000 CA0020000].partial", NARROWER, |it| query(it).partial = false),
        ("grants[query CA0010000 CA0020000].fuzzy", NARROWER, |it| query(it).fuzzy = false),
        ("grants[query CA0010000 CA0020000].images", NARROWER, |it| query(it).images = false),
        ("grants[query CA0010000 CA0020000].without_plate", NARROWER, |it| query(it).without_plate = false),
        ("grants[query CA0010000 CA0020000].authorization", WIDER, |it| {
            query(it).authorization = Authorization::Standing;
        }),
        ("grants[hotlist CA0010000 CA0020000 stolen].categories[gang]", WIDER, |it| {
            let Grant::Hotlist(grant) = &mut it.grants[1] else { panic!() };
            grant.categories.push("gang".to_owned());
        }),
        ("grants[query CA0020000 CA0010000]", WIDER, |it| {
            let turned = QueryGrant { owner: ori(PARTNER), recipient: ori(OWNER), ..query(it).clone() };
            it.grants.push(Grant::Query(turned));
        }),
        ("grants[hotlist CA0010000 CA0020000 wanted]", WIDER, |it| {
            it.grants.push(Grant::Hotlist(HotlistGrant { list: "wanted".to_owned(), ..hotlist_grant() }));
        }),
        ("grants[hits CA0010000 CA0020000 stolen]", NARROWER, |it| {
            it.grants.retain(|it| !matches!(it, Grant::Hits(_)));
        }),
        ("commitments.lawful_use", WIDER, |it| it.commitments.lawful_use = false),
        ("commitments.authorized_users_only", WIDER, |it| it.commitments.authorized_users_only = false),
        ("commitments.trained_users", WIDER, |it| it.commitments.trained_users = false),
        ("commitments.accuracy", WIDER, |it| it.commitments.accuracy = false),
        ("commitments.no_onward_transfer", WIDER, |it| it.commitments.no_onward_transfer = false),
        ("commitments.hotlist_max_age_hours", NARROWER, |it| it.commitments.hotlist_max_age_hours = 12),
        ("commitments.received_retention_days", WIDER, |it| it.commitments.received_retention_days = 366),
        ("witnesses.policy_sha256", WIDER, |it| it.witnesses = None),
        ("effective_on", WIDER, |it| it.effective_on = date(2026, 10, 31)),
        ("sunset_on", NARROWER, |it| it.sunset_on = date(2027, 10, 31)),
        ("renewal.packet_sha256", NEUTRAL, |it| it.renewal.as_mut().unwrap().packet_sha256 = Digest::of(b"x")),
        ("renewal.review_sha256", NEUTRAL, |it| it.renewal.as_mut().unwrap().review_sha256 = Digest::of(b"x")),
        ("renewal.ag_check_sha256", NEUTRAL, |it| it.renewal.as_mut().unwrap().ag_check_sha256 = Digest::of(b"x")),
    ]
}

fn said(differences: &[Difference]) -> Vec<(String, Effect)> {
    let mut said: Vec<_> = differences.iter().map(|it| (it.path.clone(), it.effect)).collect();
    said.sort();
    said
}

fn opposite(effect: Effect) -> Effect {
    match effect {
        Effect::Wider => Effect::Narrower,
        Effect::Narrower => Effect::Wider,
        Effect::Neutral => Effect::Neutral,
    }
}

#[test]
fn each_change_of_one_field_is_exactly_one_difference() {
    for (path, effect, change) in changes() {
        let (old, mut new) = (whole(), whole());
        change(&mut new);
        let found = differences(Some(&old), &new);
        assert_eq!(said(&found), [(path.to_owned(), effect)]);
        assert_eq!(widens(&found), effect == Effect::Wider);
        let back = differences(Some(&new), &old);
        assert_eq!(back.len(), 1);
        let (there, back) = (&found[0], &back[0]);
        assert_eq!((&there.path, &there.before, &there.after), (&back.path, &back.after, &back.before));
        assert_eq!(back.effect, opposite(effect), "{path}");
    }
}

proptest! {
    #![proptest_config(cases(256, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/difference.regressions")))]

    #[test]
    fn any_changes_are_exactly_their_differences_and_the_same_differs_in_nothing(
        changes in subsequence(changes(), 0..20),
        reversed in any::<bool>(),
    ) {
        let (old, mut new) = (whole(), whole());
        for (_, _, change) in &changes {
            change(&mut new);
        }
        let mut expected: Vec<_> = changes.iter().map(|(path, effect, _)| ((*path).to_owned(), *effect)).collect();
        expected.sort();
        let mut shuffled = new.clone();
        if reversed {
            shuffled.grants.reverse();
            shuffled.parties.reverse();
            shuffled.parties.iter_mut().for_each(|party| party.policy.purposes.reverse());
        }
        prop_assert_eq!(said(&differences(Some(&old), &shuffled)), expected);
        prop_assert_eq!(differences(Some(&new), &shuffled), vec![]);
    }
}

/// `value` with another value of the same type in one place.
fn altered(whole: &Value, pointer: &str) -> Option<Agreement> {
    let mut value = whole.clone();
    let place = value.pointer_mut(pointer).unwrap();
    let other = match place {
        Value::Bool(is) => vec![Value::Bool(!*is)],
        Value::Number(n) => vec![Value::from(n.as_i64().unwrap() + 1)],
        Value::String(text) => {
            let others = [
                "CA0030000",
                "2026-10-15",
                "state",
                "crime_analysis",
                "lifesaving",
                "towing",
                "01940a2b-0000-7000-8000-00000000ffff",
            ];
            let mut all = vec![Digest::of(b"other").to_string()];
            all.extend(others.map(str::to_owned));
            all.extend(["standing".to_owned(), format!("{text}x")]);
            all.into_iter().filter(|other| other != text).map(Value::from).collect()
        }
        _ => return None,
    };
    let tries = other.into_iter().filter_map(|other| {
        *value.pointer_mut(pointer).unwrap() = other;
        serde_json::from_value::<Agreement>(value.clone()).ok()
    });
    tries.into_iter().next()
}

#[test]
fn no_value_of_a_document_changes_without_a_difference() {
    let whole = whole();
    let value = serde_json::to_value(&whole).unwrap();
    let mut all = Vec::new();
    leaves(&value, "", &mut all);
    let mut tried = 0;
    for pointer in &all {
        // The kind of a grant and the only state have no other value of the same shape.
        let Some(other) = altered(&value, pointer) else {
            assert!(pointer.ends_with("/kind") || pointer.ends_with("/state"), "{pointer}");
            continue;
        };
        tried += 1;
        assert!(!differences(Some(&whole), &other).is_empty(), "{pointer}");
    }
    assert!(tried > 100, "{tried}");
}

fn leaves(value: &Value, pointer: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{pointer}/{key}"), into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{pointer}/{n}"), into));
        }
        _ => into.push(pointer.to_owned()),
    }
}

#[test]
fn a_difference_reads_as_a_sentence() {
    let (old, mut new) = (whole(), whole());
    query(&mut new).lookback_days = 7;
    query(&mut new).purposes.push(Purpose::CrimeAnalysis);
    new.grants.pop();
    let lines: Vec<String> = differences(Some(&new), &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "CA0020000 queries CA0010000: purpose crime_analysis -> nothing: NARROWER",
            "CA0020000 queries CA0010000: lookback 7 days -> 30 days: WIDER",
            "CA0020000 is told of hits of CA0010000 on stolen: grant nothing -> granted: WIDER",
        ]
    );
}

#[test]
fn an_area_that_covers_any_new_ground_is_wider() {
    let within = |south, north| {
        let mut it = whole();
        query(&mut it).area = Some(area(south, -122_000_000, north, -121_000_000));
        it
    };
    let everywhere = {
        let mut it = whole();
        query(&mut it).area = None;
        it
    };
    let base = within(10, 20);
    for (new, effect) in [
        (within(10, 19), Effect::Narrower),
        (within(12, 15), Effect::Narrower),
        (within(10, 21), Effect::Wider),
        (within(12, 21), Effect::Wider),
        (within(30, 40), Effect::Wider),
        (everywhere.clone(), Effect::Wider),
    ] {
        assert_eq!(differences(Some(&base), &new)[0].effect, effect);
    }
    assert_eq!(differences(Some(&everywhere), &base)[0].effect, Effect::Narrower);
}

#[test]
fn without_an_earlier_one_everything_that_is_opened_is_said() {
    let mut new = whole();
    new.commitments.accuracy = false;
    let found = differences(None, &new);
    let said: Vec<String> = found.iter().map(|it| it.path.clone()).collect();
    assert_eq!(
        said,
        [
            "parties[CA0010000]",
            "parties[CA0020000]",
            "grants[query CA0010000 CA0020000]",
            "grants[hotlist CA0010000 CA0020000 stolen]",
            "grants[hits CA0010000 CA0020000 stolen]",
            "effective_on",
            "sunset_on",
            "commitments.accuracy",
        ]
    );
    assert!(found.iter().all(|it| it.effect == Effect::Wider));
    let other = {
        let mut it = whole();
        it.parties[1].ori = ori("CA0030000");
        it
    };
    let found = differences(Some(&whole()), &other);
    assert_eq!(
        found.iter().map(|it| (it.path.as_str(), it.effect)).collect::<Vec<_>>(),
        [("parties[CA0020000]", Effect::Narrower), ("parties[CA0030000]", Effect::Wider),]
    );
}
