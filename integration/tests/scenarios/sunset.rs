//! When an agreement begins and when it ends.

use agreements::message::Outcome;
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::exchange::Failure;
use concordat::exchange::ask::{AskError, Gave};
use concordat::jobs::TABLE;
use integration::federation::start;
use integration::pair::{Pair, Terms, days_from_start};
use integration::wire::{Reply, plain_get};

const PLATE: &str = "7SUN501";

fn outcome(reply: &Reply) -> Outcome {
    serde_json::from_value(reply.message()["outcome"].clone()).unwrap()
}

fn denied_with(reply: &Reply) -> Status {
    assert_eq!(reply.status, 403, "{}", reply.text());
    match outcome(reply) {
        Outcome::Denied { rules, status: Some(status) } => {
            assert_eq!(rules.first().map(|said| said.rule), Some(Rule::AgreementInForce));
            status
        }
        other => panic!("{other:?}"),
    }
}

#[actix_web::test]
async fn s03_effective_tomorrow_nothing_flows_today_and_it_flows_tomorrow_by_itself() {
    let pair = Pair::under(Terms { effective_on: days_from_start(1), ..Terms::default() }).await;
    let effective = Instant::start_of(days_from_start(1)).unwrap();
    pair.birch_saw(PLATE).await;
    for node in [&pair.alder, &pair.birch] {
        assert_eq!(node.status(pair.id), Status::NotYet { effective });
    }
    let touched = pair.birch.touches();
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(denied_with(&reply), Status::NotYet { effective }, "the owner's side");
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::NotAsked { why } => assert!(why.contains("effective from"), "{why}"),
        other => panic!("the asker's side: {other:?}"),
    }
    assert_eq!(pair.birch.touches(), touched);

    pair.set_clocks(effective.plus(-1));
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(denied_with(&reply), Status::NotYet { effective }, "to the microsecond");

    pair.set_clocks(effective);
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::Reads { reads, .. } => assert_eq!(reads.len(), 1),
        other => panic!("{other:?}"),
    }
    // Nothing was started again since it was signed, and no job ran in the meantime.
    for node in [&pair.alder, &pair.birch] {
        let runs = TABLE.iter().flat_map(|job| node.runs(job.name));
        assert!(runs.into_iter().all(|run| run.slot <= start()), "at {}", node.fiction.word);
    }
}

#[actix_web::test]
async fn s04_sunset_passes_after_the_search_and_the_result_is_withheld_and_recorded_so() {
    let pair = Pair::in_force().await;
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    pair.set_clocks(sunset.plus(-1));
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    let (clock, reads) = (pair.birch.clock.clone(), std::sync::Arc::clone(pair.birch.node().reads()));
    let touched = reads.touches();
    pair.birch.clock.when_read(move || {
        let searched = reads.touches() > touched;
        if searched {
            clock.set(sunset);
        }
        searched
    });
    let before = pair.birch.trail_size();
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(pair.birch.touches(), touched + 1, "it had searched already");
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(outcome(&reply), Outcome::Withheld { status: Status::Sunset { at: sunset } });
    assert!(!reply.text().contains(PLATE) && reply.json().get("results").is_none());
    assert_eq!(pair.birch.trail_size(), before + 1);
    let (row, message) = pair.birch.newest();
    assert_eq!((row.facts.decision.as_deref(), message), (Some("withheld"), reply.message()));
    // Asked again with the same entry, it says no more.
    let again = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!((again.status, again.raw("leaf")), (403, reply.raw("leaf")));
}

#[actix_web::test]
async fn s05_sunset_instant_on_both_sides_across_restart_and_clock_set_back() {
    let mut pair = Pair::in_force().await;
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    let early = pair.alder.fork(pair.federation.folder());
    pair.set_clocks(sunset.plus(-1));
    pair.birch_saw(PLATE).await;
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::Reads { reads, .. } => assert_eq!(reads.len(), 1),
        other => panic!("a microsecond before: {other:?}"),
    }

    // The owner's side: the asker's clock has not come there yet, and its node asks.
    pair.birch.clock.set(sunset);
    let touched = pair.birch.touches();
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::Denied { rules, status, .. } => {
            assert_eq!(rules[0].rule, Rule::AgreementInForce);
            assert_eq!(status, Some(Status::Sunset { at: sunset }));
        }
        other => panic!("the owner's side: {other:?}"),
    }
    assert_eq!(pair.birch.touches(), touched, "denied before the store is touched");

    // The asker's side: it does not even ask.
    pair.alder.clock.set(sunset);
    let before = pair.birch.trail_size();
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::NotAsked { .. }));
    assert_eq!(pair.birch.trail_size(), before);

    pair.alder.restart();
    pair.birch.restart();
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::NotAsked { .. }), "after a restart");
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(denied_with(&reply), Status::Sunset { at: sunset }, "after a restart");

    // A day back, where the agreement would be in force: the trail knows better.
    pair.set_clocks(sunset.plus(-Instant::DAY));
    early.clock.set(sunset.plus(-Instant::DAY));
    for restarted in [false, true] {
        if restarted {
            pair.alder.restart();
            pair.birch.restart();
        }
        let text = early.asks(&pair.alder.question(&pair.birch, pair.id, PLATE)).await;
        let before = pair.birch.trail_size();
        let reply = pair.alder.posts_query(&pair.birch, &text).await;
        let detail = reply.problem(503, "unavailable");
        assert!(detail.contains("unready"), "{detail}");
        assert!(!reply.text().contains(PLATE) && reply.json().get("results").is_none());
        assert_eq!(pair.birch.trail_size(), before);
        let asked = pair.alder.asks(pair.alder.asking(&pair.birch, PLATE)).await;
        assert!(matches!(asked, Err(AskError::Failure(Failure::Record(_)))), "{asked:?}");
        for node in [&pair.alder, &pair.birch] {
            let ready = plain_get(node.console(), "/readyz").await;
            assert_eq!(ready.status, 503);
            assert!(ready.text().contains("clock"), "{}", ready.text());
            assert_eq!(plain_get(node.console(), "/livez").await.status, 200);
        }
    }
}

#[actix_web::test]
async fn s05_an_answer_that_arrives_at_sunset_is_not_shown_by_the_asker() {
    let pair = Pair::in_force().await;
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    pair.set_clocks(sunset.plus(-1));
    pair.birch_saw(PLATE).await;
    let asker = pair.alder.clock.clone();
    pair.birch.clock.when_read(move || {
        asker.set(sunset);
        true
    });
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::Withheld { status, .. } => assert_eq!(status, Status::Sunset { at: sunset }),
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.birch.clock.now(), sunset.plus(-1), "the owner answered in time");
    let (_, received) = pair.alder.newest();
    assert_eq!(received["answers"][0]["outcome"], "withheld");
}
