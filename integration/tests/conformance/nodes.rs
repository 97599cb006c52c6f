//! Whole nodes over either database.

use agreements::rule::Rule;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::exchange::ask::Gave;
use concordat::registry::ag;
use integration::database::Backend;
use integration::node::refused_for_its_trail;
use integration::nodes_on_both;
use integration::pair::{Pair, days_from_start};
use integration::wire::plain_get;

nodes_on_both!(
    a_question_is_answered_recorded_and_answered_the_same_after_a_restart,
    sunset_is_a_wall,
    a_replay_is_one_entry_and_the_same_answer,
    a_suspension_counts_at_the_very_next_question,
    a_trail_that_was_changed_is_found_and_not_served,
    rows_that_were_edited_by_hand_count_for_nothing_and_alarm,
    the_console_says_how_the_node_is,
    what_two_people_decide_about_a_finding_and_its_review_counts,
);

const PLATE: &str = "7NOD501";

async fn a_question_is_answered_recorded_and_answered_the_same_after_a_restart(backend: Backend) {
    let mut pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    let mut ids = Vec::new();
    for restarted in [false, true] {
        if restarted {
            pair.alder.restart();
            pair.birch.restart();
        }
        let before = pair.birch.trail_size();
        match pair.alder.queries(&pair.birch, PLATE).await {
            Gave::Reads { reads, .. } => ids.push((reads.len(), reads[0].id, reads[0].image)),
            other => panic!("restarted {restarted}: {other:?}"),
        }
        assert_eq!(pair.birch.trail_size(), before + 1);
    }
    assert_eq!(ids[0], ids[1]);
    for node in [&pair.alder, &pair.birch] {
        assert_eq!(node.trail_problems(), []);
    }
}

async fn sunset_is_a_wall(backend: Backend) {
    let mut pair = Pair::in_force_on(backend).await;
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    pair.set_clocks(sunset.plus(-1));
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }), "a microsecond before");
    for restarted in [false, true] {
        if restarted {
            pair.birch.restart();
        }
        pair.birch.clock.set(sunset);
        let touched = pair.birch.touches();
        match pair.alder.queries(&pair.birch, PLATE).await {
            Gave::Denied { rules, status, .. } => {
                assert_eq!((rules[0].rule, status), (Rule::AgreementInForce, Some(Status::Sunset { at: sunset })));
            }
            other => panic!("restarted {restarted}: {other:?}"),
        }
        assert_eq!(pair.birch.touches(), touched);
    }
}

async fn a_replay_is_one_entry_and_the_same_answer(backend: Backend) {
    let pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    let first = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let size = pair.birch.trail_size();
    let second = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!((second.raw("leaf"), second.raw("results")), (first.raw("leaf"), first.raw("results")));
    assert_eq!(pair.birch.trail_size(), size);
}

async fn a_suspension_counts_at_the_very_next_question(backend: Backend) {
    let pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
    pair.birch.suspends(pair.id).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::NotAsked { .. }));
}

async fn a_trail_that_was_changed_is_found_and_not_served(backend: Backend) {
    let mut pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let last = pair.birch.trail_size() - 1;
    let store = pair.birch.registry_store();
    let message = store.replaced("message", "permitted", "denied");
    store.run(&format!("UPDATE detail SET message = {message} WHERE idx = {last}"));
    let found = pair.birch.trail_problems();
    assert!(found.iter().any(|problem| problem.index == Some(last) && problem.what.contains("message")), "{found:?}");
    pair.birch.stop();
    for table in ["detail", "fact", "leaf"] {
        store.run(&format!("DELETE FROM {table} WHERE idx = {last}"));
    }
    assert!(refused_for_its_trail(pair.birch.try_start()));
}

async fn rows_that_were_edited_by_hand_count_for_nothing_and_alarm(backend: Backend) {
    let pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    let store = pair.birch.registry_store();
    let document = store.replaced("document", "\"lookback_days\":7", "\"lookback_days\":9");
    let body = store.replaced("body", "none", "named");
    for (sql, back) in [
        (
            format!("CREATE TABLE kept AS SELECT * FROM agreement; UPDATE agreement SET document = {document}"),
            "UPDATE agreement SET document = (SELECT document FROM kept); DROP TABLE kept",
        ),
        (
            format!("CREATE TABLE kept AS SELECT * FROM ag_check; UPDATE ag_check SET body = {body}"),
            "UPDATE ag_check SET body = (SELECT body FROM kept); DROP TABLE kept",
        ),
    ] {
        store.run(&sql);
        pair.birch.looks().await;
        assert_eq!(pair.birch.node().changed().len(), 1, "{sql}: {:?}", pair.birch.node().changed());
        let gave = pair.alder.queries(&pair.birch, PLATE).await;
        assert!(matches!(gave, Gave::Denied { .. }), "{sql}: {gave:?}");
        store.run(back);
        pair.birch.looks().await;
        assert_eq!(*pair.birch.node().changed(), []);
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }), "{sql}");
    }
}

async fn the_console_says_how_the_node_is(backend: Backend) {
    let pair = Pair::in_force_on(backend).await;
    let page = || async { plain_get(pair.birch.console(), "/").await.text().to_owned() };
    assert!(page().await.contains("<dt>Kept</dt><dd>0</dd>"));
    pair.birch_saw(PLATE).await;
    let shown = page().await;
    assert!(shown.contains("<dt>Kept</dt><dd>1</dd>"), "{shown}");
    assert!(shown.contains("<th scope=\"row\">in_force</th><td>1</td>"), "{shown}");
    assert!(shown.contains(&format!("<dt>Entries</dt><dd>{}</dd>", pair.birch.trail_size())), "{shown}");
    pair.birch.suspends(pair.id).await;
    assert!(page().await.contains("<th scope=\"row\">suspended</th><td>1</td>"));
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    pair.birch.clock.set(sunset);
    assert!(page().await.contains("<th scope=\"row\">sunset</th><td>1</td>"), "with no change of epoch");
    let ready = plain_get(pair.birch.console(), "/readyz").await;
    assert_eq!(ready.text(), r#"{"ready":true,"reasons":[],"alarms":[]}"#);
}

async fn what_two_people_decide_about_a_finding_and_its_review_counts(backend: Backend) {
    let pair = Pair::in_force_on(backend).await;
    let alder = pair.alder.ori();
    let adverse = || ag::register(&mut pair.birch.conn()).unwrap().adverse;
    pair.birch.finds_named(alder).await;
    let change = pair.birch.proposes_clearing(alder, "agreements").await.unwrap();
    assert_eq!(adverse(), [alder]);
    pair.birch.approves(change).await.unwrap();
    assert_eq!(adverse(), []);
    let review = pair.birch.open_reviews().remove(0).id;
    pair.birch.closes_review(review, "agreements", "custodian").await.unwrap();
    assert!(pair.birch.open_reviews().is_empty());
    assert_eq!(pair.birch.trail_problems(), []);
}
