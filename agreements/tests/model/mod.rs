//! The model check: the functions that run in the node, under every order of steps that two nodes, their people, their
//! clocks and a network that loses, repeats and reorders can take within bounds.
//!
//! Covered: what may be said and is taken ([`agreements::stream`]), where agreements stand, who takes whose place, the
//! decision, its commit, and the asker's side of it ([`agreements::commit`]). Not covered: seals and proofs (an event
//! arrives as its party said it, or not), that each change of the registry moves its epoch, the bounds of a grant, more
//! than three agreements or four events of a party; those have tests of their own.

mod machine;
mod product;
mod spec;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agreements::time::Instant;
use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use stateright::{Checker as _, HasDiscoveries, Model as _};

use machine::{ASKER, OWNER, Scope, State, Step, Tally, Without};
use product::{Line, Paper, Says};

const BOTH: [usize; 2] = [OWNER, ASKER];

fn day(n: i64) -> Date {
    date(2026, 11, 1) + n.days()
}

fn start(n: i64) -> Instant {
    Instant::start_of(day(n)).unwrap()
}

fn signed_at_first() -> [Line; 2] {
    [Line::of(&[(Says::Signed, 0)]); 2]
}

fn each(steps: impl Fn(usize) -> Vec<Step>) -> Vec<Step> {
    BOTH.into_iter().flat_map(steps).collect()
}

struct Bounds {
    acts: u8,
    backs: u8,
}

fn scope(
    name: &'static str,
    papers: &[Paper],
    instants: Vec<Instant>,
    (lines, known): (&[[Line; 2]], [[bool; 3]; 2]),
    people: Vec<Step>,
    Bounds { acts, backs }: Bounds,
) -> Scope {
    let (product, days) = Scope::product(papers, instants);
    let first = State::new(&days, lines, known, acts, backs);
    Scope { name, product, days, first, people, questions: true, without: None, tally: Arc::default() }
}

const ONE: [bool; 3] = [true, false, false];

/// From a document that both have to its sunset: signing, and what ends it before.
fn signing(bounds: Bounds) -> Scope {
    let paper = Paper { effective: day(0), sunset: day(19), renews: false };
    let instants = vec![start(0).plus(-1), start(0), start(19).plus(-1), start(19)];
    let people = each(|who| {
        [Says::Signed, Says::Withdrawn, Says::Declined, Says::Terminated].map(|says| Step::Says(who, 0, says)).to_vec()
    });
    scope("signing", &[paper], instants, (&[[Line::default(); 2]], [ONE; 2]), people, bounds)
}

/// Signed by both: suspended, resumed, rekeyed, ended, to its sunset.
fn suspending(bounds: Bounds) -> Scope {
    let paper = Paper { effective: day(0), sunset: day(19), renews: false };
    let instants = vec![start(0), start(9), start(19).plus(-1), start(19)];
    let mut people =
        each(|who| [Says::Suspended, Says::Resumed, Says::Terminated].map(|says| Step::Says(who, 0, says)).to_vec());
    people.push(Step::Says(OWNER, 0, Says::Rekeyed));
    scope("suspending", &[paper], instants, (&[signed_at_first()], [ONE; 2]), people, bounds)
}

/// Signed by both: findings, reviews and checks that grow old.
fn registers(bounds: Bounds) -> Scope {
    let paper = Paper { effective: day(0), sunset: day(365), renews: false };
    let stale = start(0).plus(90 * Instant::DAY);
    let instants = vec![start(0), stale.plus(-1), stale, stale.plus(Instant::DAY)];
    let people = each(|who| {
        vec![
            Step::Finding(who),
            Step::Cleared(who),
            Step::ReviewOpened(who),
            Step::ReviewClosed(who),
            Step::Checked(who),
        ]
    });
    scope("registers", &[paper], instants, (&[signed_at_first()], [ONE; 2]), people, bounds)
}

/// One in force, and two that renew it, each offered and signed by one party, crossed.
fn renewing(bounds: Bounds) -> Scope {
    let paper = |effective, sunset, renews| Paper { effective: day(effective), sunset: day(sunset), renews };
    let papers = [paper(0, 29, false), paper(9, 300, true), paper(7, 300, true)];
    let instants = vec![start(4), start(7), start(9), start(29)];
    let people = each(|who| {
        let all = [(1, Says::Signed), (2, Says::Signed), (1, Says::Withdrawn), (2, Says::Terminated)];
        all.map(|(paper, says)| Step::Says(who, paper, says)).to_vec()
    });
    let [signed, none] = [Line::of(&[(Says::Signed, 0)]), Line::default()];
    let lines = [signed_at_first(), [signed, none], [none, signed]];
    let known = [[true, true, false], [true, false, true]];
    scope("renewing", &papers, instants, (&lines, known), people, bounds)
}

/// What the check of a scope came to.
struct Came {
    states: usize,
    broken: Vec<(&'static str, Vec<Step>)>,
    tally: Arc<Tally>,
}

#[expect(clippy::disallowed_methods, reason = "how long a check takes is the machine's time")]
fn check(scope: Scope) -> Came {
    let (name, tally, began) = (scope.name, Arc::clone(&scope.tally), std::time::Instant::now());
    let checker = scope.checker().threads(2).finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let (states, depth, took) = (checker.unique_state_count(), checker.max_depth(), began.elapsed());
    println!("model {name}: {states} states, depth {depth}, {took:.1?}, {tally:?}");
    let mut broken: Vec<_> =
        checker.discoveries().into_iter().map(|(what, path)| (what, path.into_actions())).collect();
    broken.sort_by_key(|(_, path)| path.len());
    Came { states, broken, tally }
}

fn holds(scope: Scope, at_least: usize) -> Arc<Tally> {
    let name = scope.name;
    let came = check(scope);
    assert!(came.broken.is_empty(), "{name}: {:#?}", came.broken);
    assert!(came.states >= at_least, "{name}: only {} states", came.states);
    came.tally
}

fn large() -> u8 {
    u8::from(std::env::var_os("CONCORDAT_MODEL").is_some_and(|size| size == "large"))
}

#[test]
fn signing_keeps_every_promise_in_every_order() {
    let tally = holds(signing(Bounds { acts: 4 + large(), backs: 0 }), 10_000);
    let counts = [&tally.disclosed, &tally.withheld, &tally.shown, &tally.hidden, &tally.kept_back, &tally.refused];
    assert!(counts.into_iter().all(|count| count.load(Ordering::Relaxed) > 0), "{tally:?}");
}

#[test]
fn suspending_keeps_every_promise_in_every_order() {
    holds(suspending(Bounds { acts: 3 + large(), backs: 0 }), 10_000);
}

#[test]
fn clocks_set_back_keep_every_promise_in_every_order() {
    holds(suspending(Bounds { acts: 1 + large(), backs: 1 }), 10_000);
    holds(signing(Bounds { acts: 3 + large(), backs: 1 }), 10_000);
}

#[test]
fn registers_keep_every_promise_in_every_order() {
    holds(registers(Bounds { acts: 4 + large(), backs: 0 }), 10_000);
}

#[test]
fn renewing_keeps_every_promise_in_every_order() {
    holds(Scope { questions: false, ..renewing(Bounds { acts: 4 + large(), backs: 0 }) }, 10_000);
    holds(renewing(Bounds { acts: 2 + large(), backs: 0 }), 10_000);
}

#[test]
fn a_node_that_leaves_out_a_look_is_found() {
    let all = [
        (Without::CommitLooking, "an owner discloses only what its own view permits then"),
        (Without::RecordLooking, "a question leaves only while its asker's own view permits"),
        (Without::ShowLooking, "an answer is shown only while its asker's own view permits"),
        // It says things that are older than what it said before, which nobody takes.
        (Without::Mark, "what was said, delivered, makes both sides see the same"),
        (Without::Order, "what was said, delivered, makes both sides see the same"),
    ];
    for (without, promise) in all {
        let came = check(Scope { without: Some(without), ..suspending(Bounds { acts: 2, backs: 1 }) });
        let found: Vec<_> = came.broken.iter().map(|(what, _)| *what).collect();
        assert!(found.contains(&promise), "{without:?}: {found:?}");
    }
}
