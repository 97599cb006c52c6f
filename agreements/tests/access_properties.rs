//! Properties of effective access: the doors have what agreements grant, and what was recorded answers for any instant.

use agreements::access::{Access, Held, diff, effective};
use agreements::agreement::{Agreement, Grant, HotlistGrant};
use agreements::authorization::{AuthorizationGiven, authorized, standing_grants};
use agreements::decide::OwnerRules;
use agreements::history::{History, Past};
use agreements::ids::{Digest, Ori};
use agreements::probe::probe;
use agreements::register::{Finding, FindingKind, OpenReview, Register, Trigger};
use agreements::stream::{Event, Said, Stream, Streams};
use agreements::time::Instant;
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::*;
use crate::decide_properties::{grants, instants, owners};

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/access_properties.proptest-regressions");

fn document(agreement: &Agreement) -> Digest {
    Digest::of(&agreement.to_bytes().unwrap())
}

fn giving(agreement: &Agreement, us: Ori, given: bool) -> AuthorizationGiven {
    AuthorizationGiven {
        v: 1,
        agreement: agreement.id,
        document: document(agreement),
        given,
        grants: standing_grants(agreement, us),
        expires_at: agreement.sunset(),
        by: "custodian".to_owned(),
        reason: "the board approved it".to_owned(),
        change: None,
    }
}

/// What may happen to an agreement on one side.
#[derive(Clone, Debug)]
enum Step {
    We(Event),
    They(Event),
    Finds(FindingKind),
    Checks,
    Opens(Trigger),
    Closes,
    Authorizes(bool),
    Rules(OwnerRules),
}

fn why() -> String {
    "by order".to_owned()
}

fn events() -> impl Strategy<Value = Event> {
    let resumed = Event::Resumed { reason: why(), seal: seal() };
    prop_oneof![
        4 => Just(signed()),
        2 => Just(Event::Suspended { reason: why() }),
        2 => Just(resumed),
        1 => Just(Event::Terminated { reason: why() }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        6 => events().prop_map(Step::We),
        6 => events().prop_map(Step::They),
        1 => select(vec![FindingKind::NamedInSuit, FindingKind::Cleared]).prop_map(Step::Finds),
        2 => Just(Step::Checks),
        1 => select(vec![Trigger::Breach, Trigger::AuditFailed, Trigger::Concern]).prop_map(Step::Opens),
        1 => Just(Step::Closes),
        3 => prop::bool::weighted(0.7).prop_map(Step::Authorizes),
        2 => owners().prop_map(Step::Rules),
    ];
    let pause = prop_oneof![3 => 0..3 * Instant::DAY, 1 => 0..60 * Instant::DAY];
    prop::collection::vec((pause, step), 0..40)
}

/// A node's present, which forgets what was.
struct Present {
    agreement: Agreement,
    streams: [Stream; 2],
    findings: Vec<Finding>,
    checked: Option<Instant>,
    reviews: Vec<OpenReview>,
    given: Vec<AuthorizationGiven>,
    rules: OwnerRules,
}

impl Present {
    fn access(&self, us: Ori, now: Instant) -> Vec<Access> {
        let streams = Streams::of(self.streams.clone());
        let held = Held { agreement: &self.agreement, document: document(&self.agreement), streams: &streams };
        let register = Register::new(&self.findings, self.checked, self.reviews.clone());
        effective(us, &[held], &register, &self.rules, &authorized(&self.given), now)
    }
}

/// Walks through the steps, in the present and in what is recorded of it. Each instant with what held then.
fn walked(agreement: Agreement, steps: Vec<(i64, Step)>, lag: i64) -> (History, Vec<(Instant, Vec<Access>)>) {
    let us = agreement.parties[0].ori;
    let them = agreement.parties[1].ori;
    let mut now = agreement.effective().plus(-5 * Instant::DAY);
    let mut present = Present {
        streams: <[Stream; 2]>::default(),
        findings: Vec::new(),
        checked: None,
        reviews: Vec::new(),
        given: Vec::new(),
        rules: owner_rules(),
        agreement: agreement.clone(),
    };
    let past = Past { document: document(&agreement), agreement, events: [Vec::new(), Vec::new()] };
    let mut history = History {
        us,
        agreements: vec![past],
        findings: Vec::new(),
        checks: Vec::new(),
        reviews: Vec::new(),
        authorizations: Vec::new(),
        rules: vec![(now, owner_rules())],
    };
    let mut seen = Vec::new();
    for (pause, step) in steps {
        now = now.plus(pause + 1);
        match step {
            Step::We(event) | Step::They(event) if present.streams[0].admits(&event).is_err() => drop(event),
            Step::We(event) => {
                let said = Said { event, at: now };
                let n = present.streams[0].next_number();
                present.streams[0].take(n, said.clone()).unwrap();
                history.agreements[0].events[0].push((now, said));
            }
            Step::They(event) => {
                // Their clock is theirs; it is known here when it came.
                let said = Said { event, at: now.plus(-lag) };
                let n = present.streams[1].next_number();
                if present.streams[1].take(n, said.clone()).is_ok() {
                    history.agreements[0].events[1].push((now, said));
                }
            }
            Step::Finds(kind) => {
                let finding = Finding {
                    ori: them,
                    kind,
                    citation: "letter".to_owned(),
                    document: None,
                    on: now.date().unwrap(),
                    entered_by: "agreements".to_owned(),
                };
                present.findings.push(finding.clone());
                history.findings.push((now, finding));
            }
            Step::Checks => {
                present.checked = Some(now);
                history.checks.push(now);
            }
            Step::Opens(trigger) => {
                let random = [u8::try_from(history.reviews.len()).unwrap(); 10];
                let id = agreements::ids::RequestId::new(now, random);
                let review = OpenReview { id, ori: them, trigger, opened_at: now };
                present.reviews.push(review.clone());
                history.reviews.push((review, None));
            }
            Step::Closes => {
                if let Some(closed) = present.reviews.pop() {
                    let review = history.reviews.iter_mut().find(|(review, _)| review.id == closed.id).unwrap();
                    review.1 = Some(now);
                }
            }
            Step::Authorizes(given) => {
                let said = giving(&present.agreement, us, given);
                present.given.push(said.clone());
                history.authorizations.push((now, said));
            }
            Step::Rules(rules) => {
                present.rules = rules.clone();
                history.rules.push((now, rules));
            }
        }
        seen.push((now, present.access(us, now)));
    }
    (history, seen)
}

proptest! {
    #![proptest_config(cases(512, REGRESSIONS))]

    /// What was recorded answers for each instant of the past as the present did then, and for now as the present does.
    #[test]
    fn as_of_an_instant_is_what_held_then(steps in steps(), lag in 0..Instant::DAY) {
        let (history, seen) = walked(agreement(), steps, lag);
        for (at, access) in &seen {
            prop_assert_eq!(&history.at(*at), access, "as of {}", at);
        }
        prop_assert!(history.at(agreement().effective().plus(-5 * Instant::DAY - 1)).is_empty(), "before everything");
    }

    /// The doors, asked themselves, give what follows from the agreement: purpose by purpose, bound by bound.
    #[test]
    fn the_doors_have_what_agreements_grant(
        grant in grants(),
        rules in owners(),
        now in instants(),
        given in any::<bool>(),
        hub in any::<bool>(),
    ) {
        let mut standing = standing();
        *grant_of(&mut standing) = grant;
        standing.rules = rules;
        let (owner, partner) = (standing.owner, standing.partner);
        let changed = standing.agreement.as_mut().unwrap();
        changed.parties.iter_mut().find(|party| party.ori == partner).unwrap().hub = hub;
        // A list of one name in either direction.
        for (owner, recipient) in [(owner, partner), (partner, owner)] {
            changed.grants.push(Grant::Hotlist(HotlistGrant { owner, recipient, ..hotlist_grant() }));
        }
        let agreement = changed.clone();
        let authorizations = if given { authorized(&[giving(&agreement, owner, true)]) } else { Vec::new() };
        let grant = agreement.query_grant(owner, partner).unwrap();
        let covering = authorizations.iter().find(|one| one.covers(agreement.id, grant, now));
        standing.authorized_until = covering.map(|one| one.expires_at);
        let held = Held { agreement: &agreement, document: document(&agreement), streams: &standing.streams };
        let all = effective(owner, &[held], &standing.register, &standing.rules, &authorizations, now);
        let ours: Vec<Access> = all.into_iter().filter(|one| one.owner == owner && one.recipient == partner).collect();
        let hits = |one: &&Access| !matches!(one.what, agreements::access::What::Hits { .. });
        let expected: Vec<Access> = ours.iter().filter(hits).cloned().collect();
        prop_assert_eq!(probe(&standing, now), expected);
    }

    /// The narrower of two sets of rules allows nothing that either does not, whatever is granted.
    #[test]
    fn narrower_rules_are_no_wider_than_either(one in owners(), other in owners()) {
        let both = one.narrower(&other);
        prop_assert!(both.wider_than(&one).is_empty() && both.wider_than(&other).is_empty());
        prop_assert_eq!(&one.narrower(&one), &one);
        let back = other.narrower(&one);
        prop_assert!(back.wider_than(&both).is_empty() && both.wider_than(&back).is_empty());
        prop_assert_eq!(one.wider_than(&other).is_empty(), one.wider_than(&both).is_empty());
    }
}

#[test]
fn a_diff_says_what_opens_closes_and_changes() {
    let (agreement, streams) = (agreement(), streams());
    let us = agreement.parties[0].ori;
    let all = |rules: &OwnerRules, given: bool| {
        let given = authorized(&[giving(&agreement, us, given)]);
        let held = Held { agreement: &agreement, document: document(&agreement), streams: &streams };
        effective(us, &[held], &register(), rules, &given, now())
    };
    let whole = all(&owner_rules(), true);
    assert!(diff(&whole, &whole).is_empty() && !whole.is_empty());
    let opened = diff(&[], &whole);
    assert!(opened.len() == whole.len() && opened.iter().all(|line| line.starts_with("opens: ")), "{opened:?}");
    let closed = diff(&whole, &[]);
    assert!(closed.iter().all(|line| line.starts_with("closes: ")), "{closed:?}");
    let changed = diff(&whole, &all(&OwnerRules { max_rows: 3, ..owner_rules() }, true));
    assert!(changed.len() == 1 && changed[0].contains(" 3 reads an answer"), "{changed:?}");
    let referred = diff(&whole, &all(&owner_rules(), false));
    assert!(referred.len() == 1 && referred[0].contains("each waits for the custodian"), "{referred:?}");
    // A later end alone is no change.
    let mut later = whole.clone();
    later[0].until = later[0].until.plus(1);
    assert!(diff(&whole, &later).is_empty());
}
