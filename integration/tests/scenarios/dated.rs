//! When an event can have been said: its own trail's clock says so, and this node believes that only as far as it can be.

use agreements::entry::Kind;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::Delivery;
use concordat::trail::search::Filter;
use integration::TestNode;
use integration::pair::Pair;
use integration::unruly::Fault;

const PLATE: &str = "7DAT219";

/// Further apart than this the clocks of two nodes may not be.
const APART: i64 = 5 * Instant::MINUTE;

/// How many entries of its partner a node acknowledged.
fn acknowledged(node: &TestNode) -> usize {
    node.entries(&Filter { kind: Some(Kind::AgreementAcknowledged), ..Filter::default() }).len()
}

/// What Birch says to the newest event of Alder, sent past Alder's own node; `None` when it takes it.
async fn objection(pair: &Pair) -> Option<String> {
    let text = pair.alder.event_texts(pair.id).await.pop().unwrap();
    let reply = pair.alder.posts_event(&pair.birch, pair.id, &text).await;
    (reply.status != 200).then(|| reply.problem(422, "unacceptable"))
}

#[actix_web::test]
async fn an_event_older_than_the_newest_head_that_was_seen_without_it_is_refused() {
    for (behind, taken) in [(APART, true), (APART + 1, false), (Instant::HOUR, false)] {
        let pair = Pair::in_force().await;
        pair.birch_saw(PLATE).await;
        // Birch hears of Alder's suspension later than it was said: it was on its way, that is no fault.
        pair.birch.clock.forward(behind);
        assert!(matches!(pair.alder.suspends(pair.id).await, Delivery::Delivered { .. }));
        let (held, size) = (pair.birch.status(pair.id), acknowledged(&pair.birch));
        assert_eq!(held, Status::Suspended { by: vec![pair.alder.ori()] });

        // What is said after that and bears a time before it was not there when it says.
        let delivery = pair.alder.resumes(pair.id).await;
        let objection = objection(&pair).await;
        if taken {
            assert_eq!((objection, acknowledged(&pair.birch)), (None, size + 1), "{behind}");
            continue;
        }
        let says = objection.expect("it is refused");
        assert!(says.contains("older than it can be") && says.contains("entries that was seen at"), "{says}");
        let Delivery::Refused { why } = &delivery else { panic!("{delivery:?}") };
        assert!(why.contains("status 422") && why.contains("older than it can be"), "{why}");
        let told = delivery.lacking(pair.id).unwrap();
        assert!(told.contains("REFUSES it") && !told.contains("by itself"), "{told}");
        assert_eq!((pair.birch.status(pair.id), acknowledged(&pair.birch)), (held, size), "nothing came of it");
        assert!(!matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    }
}

#[actix_web::test]
async fn an_event_from_the_future_waits_until_it_is_the_present() {
    let pair = Pair::in_force().await;
    pair.alder.clock.forward(APART + 1);
    let delivery = pair.alder.suspends(pair.id).await;
    assert!(matches!(delivery, Delivery::Refused { .. }), "{delivery:?}");
    let says = objection(&pair).await.expect("it is refused");
    assert!(says.contains("from the future") && says.contains("clocks of both nodes"), "{says}");
    assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }));
    pair.birch.clock.forward(1);
    assert_eq!(objection(&pair).await, None, "five minutes apart is allowed");
    assert_eq!(pair.birch.status(pair.id), Status::Suspended { by: vec![pair.alder.ori()] });
}

#[actix_web::test]
async fn nor_is_it_believed_when_something_newer_was_shown_first_that_has_it() {
    for (behind, taken) in [(APART, true), (APART + 1, false), (20 * Instant::DAY, false)] {
        let mut pair = Pair::in_force().await;
        let lines = pair.over_unruly_lines().await;
        let text = pair.question_text(PLATE).await;
        assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
        // Birch hears of Alder that much later, and that is all that it knows of the time.
        pair.birch.clock.forward(behind);
        assert!(matches!(pair.alder.suspends(pair.id).await, Delivery::Delivered { .. }));
        // What is dated back is not sent; what follows it in Alder's trail is, with a head that has both.
        lines.become_(Fault::Cut);
        pair.alder.resumes(pair.id).await;
        pair.alder.clock.forward(behind);
        for _ in 0..3 {
            let text = pair.question_text(PLATE).await;
            assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 403, "it is suspended there");
        }
        match objection(&pair).await {
            None => assert!(taken, "{behind}"),
            Some(says) => assert!(!taken && says.contains("older than it can be"), "{behind}: {says}"),
        }
    }
}

#[actix_web::test]
async fn what_was_on_its_way_for_weeks_is_heard_whatever_was_heard_before_it() {
    let mut pair = Pair::in_force().await;
    let lines = pair.over_unruly_lines().await;
    for _ in 0..5 {
        let text = pair.question_text(PLATE).await;
        assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
        pair.set_clocks(pair.alder.clock_now().plus(Instant::HOUR));
    }
    lines.become_(Fault::Cut);
    pair.alder.suspends(pair.id).await;
    // It was said when the last head was seen without it, and comes after much that has it.
    for _ in 0..20 {
        pair.set_clocks(pair.alder.clock_now().plus(Instant::DAY));
        let text = pair.question_text(PLATE).await;
        assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
    }
    assert_eq!(objection(&pair).await, None);
    assert_eq!(pair.birch.status(pair.id), Status::Suspended { by: vec![pair.alder.ori()] });
}
