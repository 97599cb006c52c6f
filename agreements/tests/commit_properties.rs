//! Properties of a decision over time and change: what is added against a partner never gives, and a commit upholds only
//! what is permitted then.

use agreements::agreement::{Agreement, Authorization};
use agreements::commit::{Term, Upheld, under, uphold};
use agreements::decide::{Decision, Permit, Standing, Usage, decide};
use agreements::ids::RequestId;
use agreements::register::{OpenReview, Register, Trigger};
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::stream::{Event, Said, Streams};
use agreements::time::Instant;
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::*;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commit_properties.proptest-regressions");

fn review(of: &str, trigger: Trigger, opened_at: Instant) -> OpenReview {
    OpenReview { id: RequestId::new(opened_at, [1; 10]), ori: ori(of), trigger, opened_at }
}

fn reviews() -> impl Strategy<Value = Vec<OpenReview>> {
    let about = select(vec![OWNER, PARTNER, "CA0030000"]);
    let one = (about, select(Trigger::ALL.to_vec()), -60..10i64)
        .prop_map(|(of, trigger, days)| review(of, trigger, now().plus(days * Instant::DAY)));
    prop::collection::vec(one, 0..3)
}

/// What speaks against a partner, or changes what a decision stands on.
#[derive(Clone, Debug)]
enum Against {
    Finding(&'static str),
    Review(&'static str, Trigger, i64),
    Suspended(usize),
    Ended(usize),
    Unchecked,
    PerRequest,
}

fn against() -> impl Strategy<Value = Against> {
    let who = || select(vec![OWNER, PARTNER]);
    prop_oneof![
        who().prop_map(Against::Finding),
        (who(), select(Trigger::ALL.to_vec()), -40..5i64)
            .prop_map(|(of, trigger, days)| Against::Review(of, trigger, days)),
        (0..2usize).prop_map(Against::Suspended),
        (0..2usize).prop_map(Against::Ended),
        Just(Against::Unchecked),
        Just(Against::PerRequest),
    ]
}

fn add(standing: &Standing, what: &Against, at: Instant) -> Standing {
    let mut standing = standing.clone();
    let mut says = |party: usize, event: Event| {
        let stream = &mut standing.streams.parties[party];
        // What it cannot say now changes nothing.
        let _ = stream.take(stream.next_number(), Said { event, at });
    };
    let reason = || "by order".to_owned();
    match what {
        Against::Finding(of) => standing.register.adverse.push(ori(of)),
        Against::Review(of, trigger, days) => {
            standing.register.reviews.push(review(of, *trigger, at.plus(days * Instant::DAY)));
        }
        Against::Suspended(by) => says(*by, Event::Suspended { reason: reason() }),
        Against::Ended(by) => says(*by, Event::Terminated { reason: reason() }),
        Against::Unchecked => standing.register.checked_at = None,
        Against::PerRequest => grant_of(&mut standing).authorization = Authorization::PerRequest,
    }
    standing
}

fn permit_of(standing: &Standing, at: Instant) -> Option<Permit> {
    match decide(&question(), standing, Usage::default(), at) {
        Decision::Permit(permit) => Some(permit),
        Decision::Refer(_) | Decision::Deny(_) => None,
    }
}

fn with_reviews(reviews: Vec<OpenReview>) -> Register {
    Register { reviews, ..register() }
}

proptest! {
    #![proptest_config(cases(1000, REGRESSIONS))]

    #[test]
    fn what_speaks_against_a_partner_never_gives(
        first in prop::collection::vec(against(), 0..3),
        more in against(),
        days in 0..60i64,
    ) {
        let at = now();
        let later = at.plus(days * Instant::DAY / 2);
        let before = first.iter().fold(standing(), |standing, what| add(&standing, what, at));
        let after = add(&before, &more, at);
        match (permit_of(&before, later), permit_of(&after, later)) {
            (None, Some(_)) => panic!("{more:?} gave a permit"),
            (Some(one), Some(other)) => {
                // Nor does a permit live longer with it.
                for instant in [later, later.plus(Instant::DAY), later.plus(14 * Instant::DAY), later.plus(31 * Instant::DAY)] {
                    prop_assert!(!one.dead(instant) || other.dead(instant));
                }
            }
            _ => {}
        }
    }

    #[test]
    fn a_review_holds_the_grants_of_who_opened_it_and_no_others(reviews in reviews(), days in -10..60i64) {
        let (agreement, streams, at) = (agreement(), streams(), now().plus(days * Instant::DAY));
        let register = with_reviews(reviews.clone());
        let plain = Status::at(&agreement, &streams, &register, at);
        prop_assert_eq!(&plain, &Status::at(&agreement, &streams, &with_reviews(Vec::new()), at), "not the agreement's matter");
        let own = Status::of_grants(ori(OWNER), &agreement, &streams, &register, at);
        let holds = reviews
            .iter()
            .filter(|review| review.ori == ori(PARTNER))
            .filter_map(OpenReview::holds_from)
            .min();
        match (plain, holds) {
            (Status::InForce { .. }, Some(from)) if from <= at => {
                let Status::UnderReview { by, since, .. } = own else { panic!("{own:?}") };
                prop_assert_eq!((by, since), (ori(OWNER), from));
            }
            (Status::InForce { until }, Some(from)) => prop_assert_eq!(own, Status::InForce { until: until.min(from) }),
            (plain, _) => prop_assert_eq!(own, plain),
        }
    }

    #[test]
    fn a_permit_never_outlives_the_grants_that_it_stands_on(reviews in reviews(), days in -10..60i64, off in -1..=1i64) {
        let mut standing = standing();
        standing.register = with_reviews(reviews);
        let at = now().plus(days * Instant::DAY + off);
        let Some(permit) = permit_of(&standing, at) else { return Ok(()) };
        let Status::InForce { until } = standing.status(at) else { panic!("a permit out of force") };
        prop_assert!(!permit.dead(at) && !permit.dead(until.plus(-1)) && permit.dead(until));
        prop_assert!(permit.dead(at.plus(-1)), "nor does a clock that is set back bring it forward");
        prop_assert_ne!(standing.status(until).name(), "in_force");
    }

    #[test]
    fn a_commit_upholds_only_what_is_permitted_then(
        changes in prop::collection::vec(against(), 0..3),
        seconds in -20..60i64,
        today in 0..60u32,
        epoch in 7..9i64,
    ) {
        let (before, made) = (standing(), now());
        let Some(permit) = permit_of(&before, made) else { panic!("the usual question is permitted") };
        // A commit comes within moments.
        let at = made.plus(seconds * Instant::SECOND);
        // Whatever moved moved the epoch too.
        let epoch = if changes.is_empty() { epoch } else { before.epoch + 1 };
        let now_standing = changes.iter().fold(before, |standing, what| add(&standing, what, made));
        let fresh = decide(&question(), &now_standing, Usage { today, over_rate: false }, at);
        if permit.stands(epoch, today, at) {
            prop_assert!(matches!(fresh, Decision::Permit(_)), "it stands, and would not be given");
            prop_assert!(at >= made && epoch == 7 && permit.within_quota(today));
            return Ok(());
        }
        match (uphold(&permit, &question(), &now_standing, today, at), fresh) {
            (Upheld::Stands, Decision::Permit(fresh)) => prop_assert!(fresh.covers(&permit)),
            (Upheld::Refer(rules), Decision::Refer(fresh)) => prop_assert_eq!(rules, fresh),
            (Upheld::Deny(rules), Decision::Deny(fresh)) => {
                prop_assert_eq!(&rules, &fresh.rules);
                prop_assert!(!rules.contains(&Rule::AgreementInForce));
            }
            (Upheld::Withheld(status), Decision::Deny(fresh)) => prop_assert_eq!(Some(status), fresh.status),
            (Upheld::Withheld(_), Decision::Permit(fresh)) => prop_assert!(!fresh.covers(&permit)),
            (upheld, fresh) => panic!("{upheld:?} of {fresh:?}"),
        }
    }

    #[test]
    fn a_term_is_over_when_anything_could_be_otherwise(
        changes in prop::collection::vec(against(), 0..3),
        days in -3..100i64,
    ) {
        let before = standing();
        let pair = |standing: &Standing| (standing.agreement.clone().unwrap(), standing.streams.clone());
        let (agreement, streams) = pair(&before);
        let asking = |all: &[(Agreement, Streams)], register: &Register, at| {
            under(ori(PARTNER), ori(OWNER), all.iter().map(|(a, s)| (a, s)), register, at)
        };
        let Ok((id, until)) = asking(&[(agreement, streams)], &before.register, now()) else {
            panic!("the usual agreement is in force")
        };
        let term = Term { epoch: 7, since: now(), until };
        let after = changes.iter().fold(before, |standing, what| add(&standing, what, now()));
        let at = now().plus(days * Instant::DAY);
        let epoch = if changes.is_empty() { 7 } else { 8 };
        if !term.over(epoch, at) {
            let (agreement, streams) = pair(&after);
            let still = asking(&[(agreement, streams)], &after.register, at).map(|(id, _)| id);
            prop_assert_eq!(still, Ok(id));
        }
    }
}

#[test]
fn a_permit_and_a_term_are_dead_to_a_clock_that_was_set_back() {
    let permit = permit_of(&standing(), now()).unwrap();
    assert!(permit.stands(7, 0, now()) && !permit.stands(7, 0, now().plus(-1)));
    let term = Term { epoch: 7, since: now(), until: now().plus(1) };
    assert!(!term.over(7, now()) && term.over(7, now().plus(-1)) && term.over(7, now().plus(1)) && term.over(8, now()));
}
