//! Properties of streams as they arrive, and of who takes whose place: the same for both parties, and for good.

use agreements::agreement::Agreement;
use agreements::ids::Digest;
use agreements::register::Register;
use agreements::status::Status;
use agreements::stream::{Event, Heir, NotTaken, Said, Stream, Streams, heirs};
use agreements::time::Instant;
use jiff::civil::date;
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::*;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/succession_properties.proptest-regressions");

fn first_day() -> Instant {
    Instant::start_of(date(2026, 11, 1)).unwrap()
}

/// Days after the first, and a bit of one.
fn times() -> impl Strategy<Value = Instant> {
    (-10..30i64, -1..=1i64).prop_map(|(days, off)| first_day().plus(days * Instant::DAY + off))
}

fn any_event() -> impl Strategy<Value = Event> {
    let reason = || "by order".to_owned();
    let keys = party(OWNER).node.keys();
    select(vec![
        signed(),
        Event::Declined { reason: reason() },
        Event::Withdrawn { reason: reason() },
        Event::Suspended { reason: reason() },
        Event::Resumed { reason: reason(), seal: seal() },
        Event::Terminated { reason: reason() },
        Event::Rekeyed { keys, compromised: false, reason: reason(), seal: seal() },
        Event::Moved { url: "https://birch.example".to_owned(), contacts: Vec::new(), reason: reason(), seal: seal() },
    ])
}

/// What a party says, in the order of its clock; mostly beginning with its signature.
fn sayings() -> impl Strategy<Value = Vec<Said>> {
    let begun = prop_oneof![3 => Just(vec![signed()]), 1 => Just(Vec::new())];
    (begun, prop::collection::vec(any_event(), 0..4), prop::collection::vec(times(), 6)).prop_map(
        |(begun, more, mut times)| {
            times.sort_unstable();
            begun.into_iter().chain(more).zip(times).map(|(event, at)| Said { event, at }).collect()
        },
    )
}

/// The stream of what a party may say of it.
fn stream_of(sayings: &[Said]) -> Stream {
    let mut stream = Stream::default();
    for said in sayings {
        // What it may not say, its own node refuses.
        let _ = stream.take(stream.next_number(), said.clone());
    }
    stream
}

/// An agreement and the two that renew it, crossed, with all that was said.
#[derive(Clone, Debug)]
struct Family {
    members: Vec<(Agreement, Digest, Streams)>,
    register: Register,
}

impl Family {
    fn heirs(&self, of: usize, order: &[usize]) -> Vec<Heir> {
        let (agreement, document, _) = &self.members[of];
        heirs(agreement, *document, order.iter().map(|n| (&self.members[*n].0, &self.members[*n].2)))
    }

    fn at(&self, of: usize, now: Instant) -> Status {
        let (agreement, _, streams) = &self.members[of];
        let streams = Streams { heirs: self.heirs(of, &[0, 1, 2]), ..streams.clone() };
        Status::at(agreement, &streams, &self.register, now)
    }

    /// What was said until `at`, both of it.
    fn until(&self, at: Instant) -> Self {
        let mut until = self.clone();
        for (_, _, streams) in &mut until.members {
            streams.parties = streams.parties.clone().map(|stream| stream.until(at));
        }
        until
    }
}

fn families() -> impl Strategy<Value = Family> {
    let member = || (sayings(), sayings(), 0..15i8, 16..28i8);
    [member(), member(), member()].prop_map(|members| {
        let member = |(n, (one, other, from, until)): (u8, (Vec<Said>, Vec<Said>, i8, i8))| {
            let mut agreement = agreement();
            agreement.id = id(n);
            agreement.effective_on = date(2026, 11, 1 + from);
            agreement.sunset_on = date(2026, 11, 1 + until);
            agreement.supersedes = (n > 1).then(|| Digest::of(&[1]));
            (agreement, Digest::of(&[n]), Streams::of([stream_of(&one), stream_of(&other)]))
        };
        let register = Register { checked_at: Some(first_day()), ..Register::default() };
        Family { members: (1..).zip(members).map(member).collect(), register }
    })
}

proptest! {
    #![proptest_config(cases(1000, REGRESSIONS))]

    #[test]
    fn whatever_the_network_does_a_stream_is_a_beginning_of_its_partys_own(
        said in sayings(),
        arrivals in prop::collection::vec(1..7u32, 0..30),
    ) {
        let own = stream_of(&said);
        let mut heard = Stream::default();
        for n in arrivals {
            let Some(said) = own.events().get(n as usize - 1).cloned() else { continue };
            let before = heard.clone();
            let taken = heard.take(n, said);
            if n == before.next_number() {
                prop_assert_eq!(taken, Ok(()), "what its party could say is taken");
            } else {
                prop_assert_eq!(taken, Err(NotTaken::OutOfOrder { found: n, expected: before.next_number() }));
                prop_assert_eq!(&heard, &before);
            }
            prop_assert_eq!(&heard, &own.first(heard.len()));
        }
    }

    #[test]
    fn the_heirs_are_the_same_however_the_rows_are_found(family in families(), of in 0..3usize) {
        let heirs = family.heirs(of, &[0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            prop_assert_eq!(&family.heirs(of, &order), &heirs);
        }
        prop_assert!(heirs.iter().all(|heir| heir.id != family.members[of].0.id));
    }

    #[test]
    fn at_most_one_of_a_family_is_in_force(family in families(), now in times()) {
        let in_force: Vec<usize> =
            (0..3).filter(|of| matches!(family.at(*of, now), Status::InForce { .. })).collect();
        prop_assert!(in_force.len() <= 1, "{in_force:?}");
    }

    #[test]
    fn what_was_superseded_stays_so_whatever_is_said_afterwards(
        family in families(),
        then in times(),
        later in 0..20 * Instant::DAY,
    ) {
        // Both knew all that was said until then, and nothing that is said later is of an earlier instant.
        let known = family.until(then);
        let after = family.until(then.plus(later));
        for of in 0..3 {
            let Status::Superseded { at, .. } = known.at(of, then) else { continue };
            // One that is said at the same instant as it takes effect is before or after it for both alike.
            if at == then {
                continue;
            }
            let status = after.at(of, then.plus(later));
            let stays = matches!(status, Status::Superseded { .. } | Status::Ended { .. } | Status::Sunset { .. });
            prop_assert!(stays, "{status:?}");
        }
    }

    #[test]
    fn when_it_takes_effect_is_when_it_is_first_in_force(family in families(), now in times()) {
        let (agreement, _, streams) = &family.members[0];
        let alone = Streams::of(streams.parties.clone());
        let status = |now| Status::at(agreement, &alone, &family.register, now);
        if let Status::InForce { until } = status(now) {
            let Some(at) = alone.takes_effect(agreement) else { panic!("in force, and takes no effect") };
            prop_assert!(at <= now && now < until);
            prop_assert_ne!(status(at.plus(-1)).name(), "in_force");
        }
        if let Some(at) = alone.takes_effect(agreement) {
            prop_assert!(agreement.effective() <= at && at < agreement.sunset());
            for stream in &alone.parties {
                prop_assert!(stream.signed_at().is_some_and(|signed| signed <= at));
                prop_assert!(stream.ended().is_none_or(|end| end.at > at));
            }
        }
    }

    #[test]
    fn until_holds_for_who_is_superseded_too(family in families(), now in times(), part in 0.0..1.0f64) {
        for of in 0..3 {
            let Status::InForce { until } = family.at(of, now) else { continue };
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "any instant between serves")]
            let between = now.plus((until.since(now) as f64 * part) as i64);
            prop_assert_eq!(family.at(of, between), Status::InForce { until });
            prop_assert_ne!(family.at(of, until).name(), "in_force");
        }
    }
}

/// A counterexample of the model check: both signed a renewal and it took effect; then one took its signature back, and
/// the agreement that it had renewed was in force again.
#[test]
fn a_renewal_that_is_withdrawn_after_it_took_effect_does_not_bring_back_what_it_renewed() {
    let mut renewal = agreement();
    (renewal.id, renewal.supersedes) = (id(2), Some(Digest::of(&[1])));
    renewal.effective_on = date(2026, 11, 10);
    let begins = renewal.effective();
    let withdrawn = |at| {
        let said = |event, at| Said { event, at };
        let end = said(Event::Withdrawn { reason: "a mistake".to_owned() }, at);
        let early = first_day().plus(-Instant::DAY);
        Streams::of([Stream::new(vec![said(signed(), early), end]), Stream::new(vec![said(signed(), early)])])
    };
    let heirs = |streams: Streams| heirs(&agreement(), Digest::of(&[1]), [(&renewal, &streams)]);
    assert_eq!(heirs(withdrawn(begins.plus(1))), [Heir { takes_effect: begins, id: id(2) }]);
    assert_eq!(heirs(withdrawn(begins)), [], "it never was in force");
    assert_eq!(heirs(withdrawn(begins.plus(-1))), []);
}

/// Another one: the partner's clock is ahead, so its signature under a renewal is of an instant that has not come here. Both
/// the renewal and what it renews were in force until it did.
#[test]
fn a_signature_from_a_clock_that_is_ahead_counts_from_its_instant() {
    let ahead = now().plus(Instant::MINUTE);
    let said = |at| Stream::new(vec![Said { event: signed(), at }]);
    let streams = Streams::of([said(now().plus(-Instant::HOUR)), said(ahead)]);
    let status = |now| Status::at(&agreement(), &streams, &register(), now);
    assert_eq!(status(ahead.plus(-1)), Status::NotYet { effective: ahead });
    assert!(matches!(status(ahead), Status::InForce { .. }));
}
