//! Partners that ask unusually: their owner's administrators are told, once, and no question waits for it.

use agreements::time::Instant;
use concordat::exchange::ask::Gave;
use concordat::registry::outbox::Queued;
use integration::TestNode;
use integration::node::CASE;
use integration::pair::{Pair, Terms, days_from_start};

const PLATE: &str = "7UNU501";
const ADMINISTRATOR: &str = "administrator@birch.example";

/// A pair whose owner, Birch, mails to an administrator.
async fn watched(terms: Terms) -> Pair {
    let mut pair = Pair::under(terms).await;
    pair.birch.mails_to(&[ADMINISTRATOR], &[]);
    pair
}

/// Long enough for weeks of questions.
fn long() -> Terms {
    Terms { sunset_on: days_from_start(200), ..Terms::default() }
}

/// Alder asks so often; every one is answered.
async fn asks(pair: &Pair, times: usize) {
    let forger = pair.alder.forger();
    for _ in 0..times {
        let text = forger.asks(&pair.alder.question(&pair.birch, pair.id, PLATE)).await;
        assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
    }
}

/// What the administrator was told of unusual asking since the last look, after the job's next slot.
async fn told(node: &TestNode, seen: &mut usize) -> Vec<Queued> {
    node.clock.forward(5 * Instant::MINUTE);
    node.works_it_off().await;
    let all: Vec<Queued> = node.mails().into_iter().filter(|mail| mail.dedup.starts_with("unusual:")).collect();
    for mail in &all {
        assert_eq!(mail.recipient, ADMINISTRATOR);
        for secret in [PLATE, CASE, "118842", "Indigo", "investigator", "hardware"] {
            assert!(!format!("{} {}", mail.subject, mail.body).contains(secret), "{secret} in {}", mail.body);
        }
    }
    let new = all[*seen..].to_vec();
    *seen = all.len();
    new
}

fn keys(mails: &[Queued]) -> Vec<&str> {
    mails.iter().map(|mail| mail.dedup.split(" to ").next().unwrap()).collect()
}

/// Both clocks go on together.
fn forward(pair: &Pair, by: i64) {
    pair.set_clocks(pair.birch.clock_now().max(pair.alder.clock_now()).plus(by));
}

#[actix_web::test]
async fn the_first_question_ever_of_a_partner_is_told_once_for_ever() {
    let mut pair = watched(long()).await;
    let seen = &mut 0;
    assert_eq!(keys(&told(&pair.birch, seen).await), [""; 0], "an agreement is no question");
    forward(&pair, 0);
    // Also one that is denied: that somebody tries is what is new.
    let mut vague = pair.alder.question(&pair.birch, pair.id, PLATE);
    vague.reason = "inv".to_owned();
    let text = pair.alder.forger().asks(&vague).await;
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 403);
    assert_eq!(pair.birch.mails().len(), 0, "nothing is queued on the way of a question");
    let first = told(&pair.birch, seen).await;
    assert_eq!(keys(&first), ["unusual:first:CA0990000"]);
    assert!(first[0].subject.contains("asks for the first time"), "{}", first[0].subject);
    assert!(first[0].body.contains("concordat trail search --partner CA0990000"), "{}", first[0].body);
    for days in [0, 1, 1, 40] {
        forward(&pair, days * Instant::DAY);
        asks(&pair, 1).await;
        pair.birch.restart();
        assert_eq!(keys(&told(&pair.birch, seen).await), [""; 0], "once for ever");
        forward(&pair, 0);
    }
}

#[actix_web::test]
async fn a_volume_far_above_the_baseline_is_told_once_a_day() {
    let pair = watched(long()).await;
    let seen = &mut 0;
    // Usually 20 a day; a quiet day and a busy one among them do not matter.
    for questions in [20, 20, 1, 45, 20, 20] {
        asks(&pair, questions).await;
        told(&pair.birch, seen).await;
        forward(&pair, Instant::DAY);
    }
    assert_eq!(*seen, 1, "the first question, and no day of these");
    asks(&pair, 59).await;
    assert_eq!(keys(&told(&pair.birch, seen).await), [""; 0], "59 is not three times 20");
    forward(&pair, 0);
    asks(&pair, 1).await;
    let day = pair.birch.clock_now().date().unwrap();
    let many = told(&pair.birch, seen).await;
    assert_eq!(keys(&many), [format!("unusual:volume:CA0990000:{day}")]);
    assert!(many[0].body.contains("60 questions were answered; the median of the last 6 days"), "{}", many[0].body);
    assert!(many[0].body.contains("is 20."), "{}", many[0].body);
    forward(&pair, 0);
    asks(&pair, 30).await;
    assert_eq!(keys(&told(&pair.birch, seen).await), [""; 0], "once a day");

    // Those of the last minutes of a day are told after its end.
    forward(&pair, Instant::DAY);
    let day = pair.birch.clock_now().date().unwrap();
    let ends = Instant::start_of(day.tomorrow().unwrap()).unwrap();
    forward(&pair, ends.since(pair.birch.clock_now()) - Instant::MINUTE);
    asks(&pair, 60).await;
    assert_eq!(keys(&told(&pair.birch, seen).await), [format!("unusual:volume:CA0990000:{day}")]);
}

#[actix_web::test]
async fn questions_at_the_edge_of_a_grant_are_told() {
    let mut terms = long();
    (terms.query.daily_quota, terms.query.max_rows) = (20, 1);
    let pair = watched(terms).await;
    let seen = &mut 0;
    asks(&pair, 17).await;
    assert_eq!(keys(&told(&pair.birch, seen).await), ["unusual:first:CA0990000"]);
    forward(&pair, 0);
    asks(&pair, 1).await;
    let day = pair.birch.clock_now().date().unwrap();
    let quota = told(&pair.birch, seen).await;
    assert_eq!(keys(&quota), [format!("unusual:quota:CA0990000:{day}")]);
    assert!(quota[0].body.contains(&format!("18 of the 20 questions a day are used that agreement {}", pair.id)));

    // Further back than granted: nine times is nothing.
    forward(&pair, Instant::DAY);
    let day = pair.birch.clock_now().date().unwrap();
    let older = async |times: usize| {
        for _ in 0..times {
            let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
            question.from = question.from.plus(-Instant::DAY);
            let text = pair.alder.forger().asks(&question).await;
            assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
        }
    };
    older(9).await;
    assert_eq!(keys(&told(&pair.birch, seen).await), [""; 0]);
    forward(&pair, 0);
    older(1).await;
    let edge = told(&pair.birch, seen).await;
    assert_eq!(keys(&edge), [format!("unusual:edge:CA0990000:{day}")]);
    assert!(edge[0].body.contains("10 of its 10 answered questions asked for reads older"), "{}", edge[0].body);

    // More reads than are given at once.
    forward(&pair, Instant::DAY);
    let day = pair.birch.clock_now().date().unwrap();
    for minutes in [50, 60] {
        pair.birch.ingests(PLATE, pair.birch.clock_now().plus(-minutes * Instant::MINUTE)).await;
    }
    for _ in 0..10 {
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    }
    let edge = told(&pair.birch, seen).await;
    assert_eq!(keys(&edge), [format!("unusual:edge:CA0990000:{day}")]);
    assert!(edge[0].body.contains("found more reads than the grant"), "{}", edge[0].body);
    assert_eq!(pair.birch.trail_problems(), []);
}
