//! The same entry again, and entries that are not heard.

use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::ids::RequestId;
use agreements::message::{PROTOCOL, StreamEvent, To};
use agreements::status::Status;
use agreements::stream::Event;
use agreements::time::Instant;
use concordat::demo::agency::CEDAR;
use concordat::node::fresh_rid;
use integration::TestNode;
use integration::pair::Pair;
use serde_json::json;

const PLATE: &str = "7RPL516";

fn rid() -> RequestId {
    fresh_rid(integration::federation::start()).unwrap()
}

#[actix_web::test]
async fn s15_the_same_request_twice_is_one_entry_and_one_answer_and_nothing_after_a_suspension() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let fork = pair.alder.fork(pair.federation.folder());
    let rid = rid();
    let question = pair.alder.question(&pair.birch, pair.id, PLATE);
    let (_, text) = pair.alder.forger().swears(Kind::QueryAsked, Some(rid), &question).await;
    let before = pair.birch.trail_size();
    let first = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(first.raw("results").contains(PLATE));
    assert_eq!(pair.birch.trail_size(), before + 1);
    // Something else comes in between: another read of the plate, another entry of the trail.
    pair.birch.ingests(PLATE, pair.birch.clock_now().plus(-2 * Instant::HOUR)).await;
    pair.alder.queries(&pair.birch, "7RPL517").await;
    assert_eq!(pair.birch.trail_size(), before + 2);
    let second = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(pair.birch.trail_size(), before + 2, "the second time is no entry");
    for member in ["leaf", "message", "results"] {
        assert_eq!(first.raw(member), second.raw(member), "{member}");
    }

    // The same id with another leaf.
    let mut other = question.clone();
    other.reason.push_str(", as a witness said");
    let (_, forged) = fork.swears(Kind::QueryAsked, Some(rid), &other).await;
    let detail = pair.alder.posts_query(&pair.birch, &forged).await.problem(409, "id-used");
    assert!(detail.contains("used once"), "{detail}");
    assert_eq!(pair.birch.trail_size(), before + 2);

    pair.birch.suspends(pair.id).await;
    let third = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(third.status, 403, "{}", third.text());
    let outcome = &third.message()["outcome"];
    assert_eq!(outcome["status"], json!(Status::Suspended { by: vec![pair.birch.ori()] }), "{outcome}");
    assert!(third.json().get("results").is_none() && !third.text().contains(PLATE));
}

#[actix_web::test]
async fn s15_a_denial_repeated_is_the_same_denial() {
    let pair = Pair::in_force().await;
    let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
    question.reason = "inv".to_owned();
    let text = pair.alder.forger().asks(&question).await;
    let first = pair.alder.posts_query(&pair.birch, &text).await;
    let size = pair.birch.trail_size();
    let second = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!((first.status, second.status), (403, 403));
    assert_eq!(first.raw("leaf"), second.raw("leaf"));
    assert_eq!(pair.birch.trail_size(), size);
}

/// Whether the rightful question with this id is answered afterwards: the id was not burned.
async fn still_good(pair: &Pair, text: &str) {
    let reply = pair.alder.posts_query(&pair.birch, text).await;
    assert_eq!(reply.status, 200, "the id was burned: {}", reply.text());
    assert!(reply.raw("results").contains(PLATE));
}

#[actix_web::test]
async fn s16_a_question_six_minutes_old_is_refused_and_its_id_not_burned() {
    let pair = Pair::in_force().await;
    pair.set_clocks(integration::federation::start().plus(Instant::HOUR));
    let text = pair.question_text(PLATE).await;
    let (now, before) = (pair.birch.clock_now(), pair.birch.trail_size());
    for minutes in [6, -6] {
        pair.birch.clock.set(now.plus(minutes * Instant::MINUTE));
        let detail = pair.alder.posts_query(&pair.birch, &text).await.problem(400, "unsworn");
        assert!(detail.contains("five minutes") && detail.contains("ask again"), "{detail}");
    }
    assert_eq!(pair.birch.trail_size(), before);
    pair.birch.clock.set(now.plus(5 * Instant::MINUTE));
    pair.birch_saw(PLATE).await;
    still_good(&pair, &text).await;
}

#[actix_web::test]
async fn s16_for_another_owner_of_another_kind_or_forwarded_is_refused_and_its_id_not_burned() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.birch).await;
    pair.birch.enrols(&cedar).await;
    let question = pair.alder.question(&pair.birch, pair.id, PLATE);
    let before = pair.birch.trail_size();
    let touched = pair.birch.touches();

    // For another owner.
    let (mine, elsewhere) = (rid(), rid());
    let fork = pair.alder.fork(pair.federation.folder());
    let mut others = question.clone();
    others.to = vec![To { ori: cedar.ori(), agreement: pair.id }];
    let (_, text) = fork.swears(Kind::QueryAsked, Some(elsewhere), &others).await;
    let detail = pair.alder.posts_query(&pair.birch, &text).await.problem(403, "not-for-us");
    assert!(detail.contains("whom it names"), "{detail}");

    // Of another kind: the words of a question under the kind of an event, and an event where questions belong.
    let (_, text) = fork.swears(Kind::AgreementEvent, Some(mine), &question).await;
    let detail = pair.alder.posts_query(&pair.birch, &text).await.problem(400, "unsworn");
    assert!(detail.contains("agreement.event") && detail.contains("query.asked"), "{detail}");
    let event = StreamEvent {
        v: PROTOCOL,
        to: question.to.clone(),
        document: Digest::of(b""),
        n: 2,
        seen: None,
        event: Event::Terminated { reason: "sent to the wrong door".to_owned() },
    };
    let (_, text) = fork.swears(Kind::AgreementEvent, None, &event).await;
    pair.alder.posts_query(&pair.birch, &text).await.problem(400, "unsworn");
    assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }));

    // Forwarded by a partner over its own connection.
    let (_, text) = pair.alder.forger().swears(Kind::QueryAsked, Some(mine), &question).await;
    let detail = cedar.posts_query(&pair.birch, &text).await.problem(400, "unsworn");
    assert!(detail.contains("your own log"), "{detail}");

    assert_eq!(pair.birch.trail_size(), before, "nothing refused is written");
    assert_eq!(pair.birch.touches(), touched);
    still_good(&pair, &text).await;
    let (_, text) = pair.alder.forger().swears(Kind::QueryAsked, Some(elsewhere), &question).await;
    still_good(&pair, &text).await;
}
