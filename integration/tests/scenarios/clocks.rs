//! S36: a clock that jumps.

use agreements::status::Status;
use agreements::time::Instant;
use concordat::changes::Command;
use concordat::exchange::Failure;
use concordat::exchange::ask::{AskError, Gave};
use concordat::exchange::lifecycle::ActError;
use concordat::hotlists::refresh;
use concordat::publishing;
use concordat::trail::head;
use integration::federation::start;
use integration::wire::plain_get;
use integration::witnesses::Watched;
use integration::{Pair, Terms, TestNode};

const PLATE: &str = "7CLK036";
const LISTED: &str = "8CLK036";
const YEAR: i64 = 365 * Instant::DAY;

/// Each holds the other's list, and Birch has read the plate.
async fn pair() -> Pair {
    let pair = Pair::under(Terms { lists: vec![("wanted", vec!["stolen_vehicle"])], ..Terms::default() }).await;
    pair.birch_saw(PLATE).await;
    pair.alder.lists("wanted", &[LISTED]).await;
    pair.birch.accepts(&pair.alder, "wanted").await;
    pair.birch.pulls().await.unwrap();
    assert!(pair.birch.held(&pair.alder, "wanted").is_some());
    pair
}

async fn ready(node: &TestNode) -> (u16, String) {
    let reply = plain_get(node.console(), "/readyz").await;
    (reply.status, reply.text().to_owned())
}

fn mark(node: &TestNode) -> Instant {
    head::extent(&mut node.conn()).unwrap().1
}

/// Unready, and as it was a moment before.
async fn waits(pair: &Pair, before: Instant) {
    let birch = &pair.birch;
    let (status, why) = ready(birch).await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("clock") && why.contains("accept-clock"), "{why}");
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(birch, &text).await;
    let detail = reply.problem(503, "unavailable");
    assert!(detail.contains("unready") && !reply.text().contains(PLATE), "{detail}");
    let asked = birch.asks(birch.asking(&pair.alder, PLATE)).await;
    assert!(matches!(asked, Err(AskError::Failure(Failure::Jumped(_)))), "{asked:?}");
    // A minute of a running node, and everything that is due in a year.
    refresh::erase_due(birch.node()).await.unwrap();
    birch.looks().await;
    assert_eq!(birch.rings().await.len(), 0, "no job runs");
    birch.node().record_refused().await.unwrap();
    assert!(birch.held(&pair.alder, "wanted").is_some(), "nothing is erased");
    assert_eq!(birch.node().reads().reader().unwrap().count().unwrap(), 1);
    assert!(mark(birch) < before.plus(Instant::MINUTE), "the mark is not raised");
    assert!(matches!(birch.status_now(pair.id), Status::InForce { .. }), "nothing has ended");
}

async fn answers(pair: &Pair) {
    assert_eq!(ready(&pair.birch).await.0, 200);
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(&gave, Gave::Reads { reads, .. } if reads.len() == 1), "{gave:?}");
}

#[actix_web::test]
async fn s36_a_clock_that_jumps_a_year_ahead_and_back_ends_nothing_and_brings_nothing_back() {
    let mut pair = pair().await;
    answers(&pair).await;
    let before = pair.birch.clock_now();
    pair.birch.clock.jumps(before.plus(YEAR));
    waits(&pair, before).await;
    // A process that begins after the jump knows of it, too.
    pair.birch.restart();
    waits(&pair, before).await;
    pair.birch.clock.jumps(before);
    answers(&pair).await;
    // Five minutes are no jump.
    pair.birch.clock.jumps(before.plus(5 * Instant::MINUTE));
    assert_eq!(ready(&pair.birch).await.0, 200);
    pair.birch.clock.jumps(before);

    // Time passes while the clock is a year ahead: what ends meanwhile has ended when it is set back.
    pair.birch.clock.jumps(before.plus(YEAR));
    pair.time_passes(31 * Instant::DAY);
    let true_now = before.plus(31 * Instant::DAY);
    assert!(pair.birch.node().now().since(true_now).abs() < Instant::MINUTE);
    refresh::erase_due(pair.birch.node()).await.unwrap();
    assert!(pair.birch.held(&pair.alder, "wanted").is_none(), "a day after its owner was heard last it is gone");
    pair.birch.clock.jumps(true_now);
    assert_eq!(ready(&pair.birch).await.0, 200);
    assert!(matches!(pair.birch.status(pair.id), Status::Sunset { .. }));
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn s36_two_people_let_time_be_what_the_clock_says() {
    let mut pair = pair().await;
    let before = pair.birch.clock_now();
    pair.birch.clock.jumps(before.plus(2 * Instant::DAY));
    waits(&pair, before).await;
    let now = pair.birch.node().now();
    let jump = pair.birch.node().clock().jump().unwrap();
    assert_eq!(now, jump.should);
    let command = Command::AcceptClock { says: jump.says, should: jump.should };
    let why = "the machine had been off the net for two days";
    let change = pair.birch.proposes(command.clone(), why).await.unwrap();
    let by = pair.birch.fiction.person("agreements");
    let alone = concordat::changes::approve(pair.birch.node(), change, &by).await;
    assert!(alone.is_err(), "nobody approves their own change");
    waits(&pair, before).await;

    // It is set once more between the two: that is another jump.
    pair.birch.clock.jumps(before.plus(YEAR));
    let refused = pair.birch.approves(change).await.unwrap_err();
    assert!(matches!(&refused, ActError::Refused(why) if why[0].contains("Propose it anew")), "{refused:?}");
    waits(&pair, before).await;
    pair.birch.clock.jumps(before.plus(2 * Instant::DAY));
    pair.birch.approves(change).await.unwrap();
    assert_eq!(ready(&pair.birch).await.0, 200);
    pair.alder.clock.set(before.plus(2 * Instant::DAY));
    answers(&pair).await;
    assert!(mark(&pair.birch) >= before.plus(2 * Instant::DAY));
    refresh::erase_due(pair.birch.node()).await.unwrap();
    assert!(pair.birch.held(&pair.alder, "wanted").is_none(), "two days have passed");
    pair.birch.restart();
    assert_eq!(ready(&pair.birch).await.0, 200);
    assert!(pair.birch.clock_now() > start());
    assert_eq!(pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn s36_a_machine_that_starts_with_a_clock_a_year_ahead_learns_the_time_from_its_witnesses() {
    let mut watched = Watched::in_force().await;
    let birch = &mut watched.birch;
    birch.ingests(PLATE, birch.clock_now().plus(-Instant::HOUR)).await;
    let before = birch.clock_now();
    birch.stop();
    birch.clock.jumps(before.plus(YEAR));
    birch.clock.reboots();
    birch.try_start().unwrap();
    publishing::publish(birch.node()).await.unwrap();
    let (status, why) = ready(birch).await;
    assert!(status == 503 && why.contains("clock") && why.contains("accept-clock"), "{status} {why}");
    assert!(birch.node().now().since(before) < Instant::MINUTE, "it goes on by the witnesses' time");
    let out = birch.asks(birch.asking(&watched.alder, PLATE)).await;
    assert!(matches!(out, Err(AskError::Failure(Failure::Jumped(_)))), "{out:?}");
    assert!(mark(birch) < before.plus(Instant::MINUTE), "the mark is not raised");
    birch.clock.jumps(before);
    let (status, why) = ready(birch).await;
    assert_eq!(status, 200, "{why}");
}
