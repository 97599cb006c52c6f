//! Properties of status: both sides compute the same from the same events, and time alone ends what is in force.

use agreements::agreement::Agreement;
use agreements::ids::{Digest, Ori};
use agreements::party::Determination;
use agreements::register::{AG_CHECK_ACTIVATION, AG_CHECK_IN_FORCE, Finding, FindingKind, Register, standing};
use agreements::status::{Status, activation_problems};
use agreements::stream::{Event, Said, Stream, Streams};
use agreements::time::Instant;
use jiff::civil::date;
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::*;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/status_properties.proptest-regressions");

fn why() -> String {
    "by order".to_owned()
}

fn absorbing() -> impl Strategy<Value = Event> {
    select(vec![
        Event::Declined { reason: why() },
        Event::Withdrawn { reason: why() },
        Event::Terminated { reason: why() },
    ])
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => Just(signed()),
        3 => Just(Event::Suspended { reason: why() }),
        3 => Just(Event::Resumed { reason: why(), seal: seal() }),
        1 => absorbing(),
    ];
    prop::collection::vec(event, 0..6)
}

#[derive(Clone, Debug)]
struct Case {
    agreement: Agreement,
    streams: Streams,
    register: Register,
    now: Instant,
}

impl Case {
    fn at(&self, now: Instant) -> Status {
        Status::at(&self.agreement, &self.streams, &self.register, now)
    }

    fn parties(&self) -> [Ori; 2] {
        [self.agreement.parties[0].ori, self.agreement.parties[1].ori]
    }
}

fn cases_of() -> impl Strategy<Value = Case> {
    let mostly_signed = || prop_oneof![1 => events(), 1 => Just(vec![signed()])];
    let determination = prop::option::weighted(0.3, (2026..=2027i16, 1..=12i8, 1..=28i8));
    let adverse = prop::option::weighted(0.1, select(vec![ori(OWNER), ori(PARTNER), ori("CA0030000")]));
    let checked = prop::option::weighted(0.9, -100..100i64);
    let missing = prop::bool::weighted(0.1);
    (mostly_signed(), mostly_signed(), determination, adverse, checked, missing, -400..400i64, -1..=1i64).prop_map(
        |(first, second, determination, adverse, checked, missing, day, off)| {
            let mut agreement = agreement();
            agreement.parties[0].determination = determination
                .map(|(y, m, d)| Determination { sha256: Digest::of(b"determination"), expires_on: date(y, m, d) });
            if missing {
                agreement.parties[1].policy.elements.f = Some("  ".to_owned());
            }
            let now = agreement.effective().plus(day * Instant::DAY + off);
            let checked_at = checked.map(|days| now.plus(days * Instant::DAY));
            let register = Register { adverse: adverse.into_iter().collect(), checked_at, reviews: Vec::new() };
            Case { agreement, streams: Streams::of([stream(first), stream(second)]), register, now }
        },
    )
}

fn says(stream: &Stream, name: &str) -> Option<usize> {
    stream.events().iter().rposition(|said| said.event.name() == name)
}

/// Whether a check is at most thirty days older than each signature.
fn activated(streams: &Streams, checked: Instant) -> bool {
    let signed = streams.parties.iter().filter_map(Stream::signed_at);
    signed.into_iter().all(|signed| signed.since(checked) <= AG_CHECK_ACTIVATION)
}

/// What the partner's door does with events: those that the stream admits are kept.
fn keep(stream: &mut Stream, event: &Event) -> bool {
    stream.take(stream.next_number(), Said { event: event.clone(), at: now() }).is_ok()
}

proptest! {
    #![proptest_config(cases(1500, REGRESSIONS))]

    #[test]
    fn absorbing_events_absorb(case in cases_of(), end in absorbing(), more in events(), by in 0..2usize, later in any::<i64>()) {
        let mut case = case;
        let before: Vec<Event> = case.streams.parties[by].events().iter().map(|said| said.event.clone()).collect();
        case.streams.parties[by] = stream([before, vec![end], more.clone()].concat());
        let Status::Ended { .. } = case.at(case.now) else { panic!("{:?}", case.at(case.now)) };
        let Status::Ended { .. } = case.at(Instant::from_micros(later)) else { panic!("time revived it") };
        for event in &more {
            prop_assert!(case.streams.parties[by].admits(event).is_err());
        }
    }

    #[test]
    fn how_the_streams_are_mixed_does_not_matter(first in events(), second in events(), turns in prop::collection::vec(any::<bool>(), 12)) {
        let deliver = |turns: &[bool]| {
            let mut streams = Streams::default();
            let (mut left, mut right) = (first.iter(), second.iter());
            for turn in turns.iter().copied().chain([true; 12]).chain([false; 12]) {
                let next = if turn { left.next() } else { right.next() };
                if let Some(event) = next {
                    keep(&mut streams.parties[usize::from(!turn)], event);
                }
            }
            streams
        };
        let (one, other) = (deliver(&turns), deliver(&[]));
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(
            Status::at(&agreement(), &one, &register(), now()),
            Status::at(&agreement(), &other, &register(), now())
        );
    }

    #[test]
    fn in_force_means_all_of_it(case in cases_of()) {
        let Status::InForce { until } = case.at(case.now) else { return Ok(()) };
        let Case { agreement, streams, register, now } = &case;
        for stream in &streams.parties {
            prop_assert!(says(stream, "signed").is_some());
            prop_assert!(says(stream, "suspended") <= says(stream, "resumed"));
            prop_assert!(["declined", "withdrawn", "terminated"].iter().all(|end| says(stream, end).is_none()));
        }
        prop_assert!(agreement.effective() <= *now && *now < agreement.sunset());
        prop_assert!(case.parties().iter().all(|party| !register.adverse.contains(party)));
        let checked = register.checked_at.unwrap();
        prop_assert!(now.since(checked) < AG_CHECK_IN_FORCE && checked.since(*now) <= 5 * Instant::MINUTE);
        prop_assert!(activated(streams, checked));
        prop_assert!(agreement.missing_elements().is_empty());
        prop_assert!(agreement.determinations_end().is_none_or(|end| *now < end));
        prop_assert!(*now < until && until <= agreement.sunset() && until <= checked.plus(AG_CHECK_IN_FORCE));
    }

    #[test]
    fn all_of_it_means_in_force(case in cases_of()) {
        let Case { agreement, streams, register, now } = &case;
        let good = streams.parties.iter().all(|stream| {
            says(stream, "signed").is_some()
                && says(stream, "suspended") <= says(stream, "resumed")
                && ["declined", "withdrawn", "terminated"].iter().all(|end| says(stream, end).is_none())
        }) && streams.begins(agreement).is_some_and(|begins| (begins..agreement.sunset()).contains(now))
            && case.parties().iter().all(|party| !register.adverse.contains(party))
            && register.checked_at.is_some_and(|at| now.since(at) < AG_CHECK_IN_FORCE && at.since(*now) <= 5 * Instant::MINUTE)
            && register.checked_at.is_some_and(|at| activated(streams, at))
            && agreement.missing_elements().is_empty()
            && agreement.determinations_end().is_none_or(|end| *now < end);
        prop_assert_eq!(matches!(case.at(*now), Status::InForce { .. }), good);
    }

    #[test]
    fn until_is_exact(case in cases_of(), part in 0.0..1.0f64) {
        let mut case = case;
        case.streams = streams();
        let Status::InForce { until } = case.at(case.now) else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "any instant between serves")]
        let between = case.now.plus((until.since(case.now) as f64 * part) as i64);
        prop_assert_eq!(case.at(between), Status::InForce { until });
        prop_assert_eq!(case.at(until.plus(-1)), Status::InForce { until });
        let after = case.at(until);
        prop_assert!(!matches!(after, Status::InForce { .. }), "{:?}", after);
    }

    #[test]
    fn total_in_time(case in cases_of(), micros in any::<i64>()) {
        for micros in [micros, i64::MIN, i64::MAX] {
            let status = case.at(Instant::from_micros(micros));
            prop_assert!(!status.says().is_empty());
            let _ = activation_problems(&case.agreement, &case.register, Instant::from_micros(micros));
        }
    }

    #[test]
    fn one_event_more_never_needs_the_partner(first in events(), second in events(), event in events()) {
        // What a party may say depends on its own stream alone, so that crossed messages cannot disagree.
        let (mut alone, mut kept) = (Stream::default(), Vec::new());
        for event in first.iter().chain(&event) {
            if keep(&mut alone, event) {
                kept.push(event.clone());
            }
        }
        let _ = second;
        prop_assert!(alone.events().iter().map(|said| &said.event).eq(&kept));
        prop_assert_eq!(alone.next_number() as usize, kept.len() + 1);
    }
}

#[test]
fn the_sunset_is_a_wall_to_the_microsecond() {
    let (agreement, streams) = (agreement(), streams());
    let sunset = agreement.sunset();
    assert_eq!(sunset, at("2027-11-01T07:00:00Z"), "midnight in Los Angeles, in summer time");
    let register = Register { checked_at: Some(sunset.plus(-Instant::DAY)), ..Register::default() };
    let status = |now| Status::at(&agreement, &streams, &register, now);
    assert_eq!(status(sunset.plus(-1)), Status::InForce { until: sunset });
    assert_eq!(status(sunset), Status::Sunset { at: sunset });
    assert_eq!(status(sunset.plus(i64::MAX)), Status::Sunset { at: sunset });
}

#[test]
fn it_takes_effect_by_itself() {
    let (mut agreement, streams) = (agreement(), streams());
    agreement.effective_on = date(2026, 12, 1);
    let effective = agreement.effective();
    let register = Register { checked_at: Some(effective.plus(-Instant::DAY)), ..Register::default() };
    let status = |now| Status::at(&agreement, &streams, &register, now);
    assert_eq!(status(effective.plus(-1)), Status::NotYet { effective });
    assert!(matches!(status(effective), Status::InForce { .. }));
}

#[test]
fn a_check_is_fresh_for_ninety_days_and_never_from_the_future() {
    // Signed long ago, so that only the check's own age counts.
    let said = || Stream::new(vec![Said { event: signed(), at: now().plus(-100 * Instant::DAY) }]);
    let (agreement, streams) = (agreement(), Streams::of([said(), said()]));
    let status = |checked_at| Status::at(&agreement, &streams, &Register { checked_at, ..Register::default() }, now());
    for (age, good) in [
        (AG_CHECK_IN_FORCE - 1, true),
        (AG_CHECK_IN_FORCE, false),
        (0, true),
        (-5 * Instant::MINUTE, true),
        (-5 * Instant::MINUTE - 1, false),
        (-9999 * Instant::DAY, false),
    ] {
        assert_eq!(matches!(status(Some(now().plus(-age))), Status::InForce { .. }), good, "{age}");
    }
    assert_eq!(status(None), Status::AgCheckStale { checked_at: None });
}

#[test]
fn activation_wants_a_check_of_thirty_days_and_names_what_lacks() {
    let mut agreement = agreement();
    let problems =
        |agreement: &Agreement, register: &Register| activation_problems(agreement, register, now()).join("\n");
    let checked = |age: i64| Register { checked_at: Some(now().plus(-age)), ..Register::default() };
    assert_eq!(problems(&agreement, &checked(AG_CHECK_ACTIVATION)), "");
    assert!(problems(&agreement, &checked(AG_CHECK_ACTIVATION + 1)).contains("concordat ag check"));
    assert!(problems(&agreement, &checked(-Instant::HOUR)).contains("concordat ag check"));
    assert!(problems(&agreement, &Register::default()).contains("concordat ag check"));
    let named = Register { adverse: vec![ori(PARTNER)], ..checked(0) };
    assert!(problems(&agreement, &named).contains(PARTNER));
    agreement.parties[0].policy.elements.c = None;
    agreement.parties[1].policy.elements.g = Some(String::new());
    let said = problems(&agreement, &checked(0));
    assert!(said.contains(&format!("{OWNER} lacks element C")) && said.contains(&format!("{PARTNER} lacks element G")));
    agreement.sunset_on = date(2026, 11, 23);
    assert!(problems(&agreement, &checked(0)).contains("sunset"));
}

#[test]
fn the_second_signature_puts_nothing_in_force_that_was_not_looked_into_within_thirty_days() {
    let agreement = agreement();
    // One party signed when the check was new, the other one weeks later.
    let first = now().plus(-60 * Instant::DAY);
    let streams = |second: Instant| {
        let said = |at| Stream::new(vec![Said { event: signed(), at }]);
        Streams::of([said(first), said(second)])
    };
    let status = |second: Instant, checked_at: Instant, at: Instant| {
        let register = Register { checked_at: Some(checked_at), ..Register::default() };
        Status::at(&agreement, &streams(second), &register, at)
    };
    let in_time = first.plus(AG_CHECK_ACTIVATION);
    assert!(matches!(status(in_time, first, in_time), Status::InForce { .. } | Status::NotYet { .. }));
    let late = in_time.plus(1);
    for at in [late, late.plus(20 * Instant::DAY)] {
        assert_eq!(status(late, first, at), Status::NotActivated { signed_at: late, checked_at: Some(first) });
    }
    // Whichever of the two was late, and whoever looks.
    let [one, other] = streams(late).parties;
    let turned = Streams::of([other, one]);
    let register = Register { checked_at: Some(first), ..Register::default() };
    assert!(matches!(Status::at(&agreement, &turned, &register, late), Status::NotActivated { .. }));
    // A new look is what it takes, and then time alone changes nothing back.
    let looked = late.plus(Instant::DAY);
    for at in [looked, now(), looked.plus(AG_CHECK_IN_FORCE - 1)] {
        assert!(matches!(status(late, looked, at), Status::InForce { .. } | Status::NotYet { .. }), "{at}");
    }
}

#[test]
fn a_clearing_clears_one_finding_and_none_of_a_later_date() {
    let finding = |text: &str, kind| Finding {
        ori: ori(text),
        kind,
        citation: "letter of 3 March".to_owned(),
        document: None,
        evidence: Vec::new(),
        from: None,
        on: date(2026, 3, 3),
        entered_by: "custodian".to_owned(),
        approved_by: None,
    };
    let register = Register::new(
        &[
            finding(OWNER, FindingKind::NamedInSuit),
            finding(PARTNER, FindingKind::LetterReported),
            finding(OWNER, FindingKind::Cleared),
            finding(PARTNER, FindingKind::SelfDisclosed),
        ],
        None,
        Vec::new(),
    );
    assert_eq!(register.adverse, [ori(PARTNER)]);

    let on = |day, kind| Finding { on: date(2026, 3, day), ..finding(PARTNER, kind) };
    let adverse = |findings: &[Finding]| Register::new(findings, None, Vec::new()).adverse;
    let (suit, letter) = (on(3, FindingKind::NamedInSuit), on(9, FindingKind::LetterReported));
    let clearing = |day| on(day, FindingKind::Cleared);
    assert_eq!(adverse(&[suit.clone(), letter.clone(), clearing(9)]), [ori(PARTNER)], "one of two");
    assert_eq!(adverse(&[suit.clone(), letter.clone(), clearing(9), clearing(9)]), []);
    assert_eq!(adverse(&[letter.clone(), clearing(8)]), [ori(PARTNER)], "of an earlier day");
    let both = [suit, letter, clearing(8)];
    assert_eq!(standing(&both), [&both[1]], "the one that is not later");
}

#[test]
fn a_stream_admits_what_its_own_past_allows() {
    let (suspended, resumed) = (Event::Suspended { reason: why() }, Event::Resumed { reason: why(), seal: seal() });
    let (declined, withdrawn) = (Event::Declined { reason: why() }, Event::Withdrawn { reason: why() });
    let terminated = Event::Terminated { reason: why() };
    let all = [signed(), declined.clone(), withdrawn.clone(), suspended.clone(), resumed.clone(), terminated.clone()];
    let table: [(Vec<Event>, &[&str]); 6] = [
        (vec![], &["signed", "declined", "withdrawn"]),
        (vec![signed()], &["withdrawn", "suspended", "terminated"]),
        (vec![signed(), suspended.clone()], &["withdrawn", "resumed", "terminated"]),
        (vec![signed(), suspended, resumed], &["withdrawn", "suspended", "terminated"]),
        (vec![declined], &[]),
        (vec![signed(), terminated], &[]),
    ];
    for (past, admitted) in table {
        let stream = stream(past.clone());
        let found: Vec<&str> = all.iter().filter(|event| stream.admits(event).is_ok()).map(Event::name).collect();
        assert_eq!(found, admitted, "after {past:?}");
        assert_eq!(stream.next_number() as usize, past.len() + 1);
    }
    let long = Event::Suspended { reason: "x".repeat(agreements::json::MAX_TEXT + 1) };
    assert!(stream(vec![signed()]).admits(&long).is_err());
}
