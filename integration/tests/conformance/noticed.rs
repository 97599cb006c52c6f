//! What people are told of questions, over either database: the mail about a referral stands or falls with it, and the
//! index of the trail says who asks unusually.

use agreements::time::Instant;
use integration::TestNode;
use integration::database::Backend;
use integration::nodes_on_both;
use integration::pair::Pair;

nodes_on_both!(a_referral_and_its_mail_are_one_transaction, who_asks_unusually_is_told);

const PLATE: &str = "7NOT501";
const CUSTODIAN: &str = "custodian@birch.example";

fn keys(node: &TestNode) -> Vec<String> {
    let mut keys: Vec<String> =
        node.mails().iter().map(|mail| mail.dedup.split(" to ").next().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

async fn a_referral_and_its_mail_are_one_transaction(backend: Backend) {
    let mut pair = Pair::in_force_on(backend).await;
    pair.birch.mails_to(&[], &[CUSTODIAN]);
    let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
    question.reason = "HSI assist with a vehicle".to_owned();
    let text = pair.alder.forger().asks(&question).await;
    let store = pair.birch.registry_store();
    let before = pair.birch.trail_size();
    store.run("ALTER TABLE outbox RENAME TO elsewhere");
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert!(reply.status >= 500, "{}: {}", reply.status, reply.text());
    assert_eq!(pair.birch.trail_size(), before, "a referral of which nobody is told is none");
    store.run("ALTER TABLE elsewhere RENAME TO outbox");
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.status, 202, "the question was not burned: {}", reply.text());
    assert_eq!((pair.birch.trail_size(), pair.birch.mails().len()), (before + 1, 1));
}

async fn who_asks_unusually_is_told(backend: Backend) {
    let mut pair = Pair::in_force_on(backend).await;
    pair.birch.mails_to(&["administrator@birch.example"], &[]);
    let forger = pair.alder.forger();
    for n in 0..50 {
        let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
        if n % 5 == 0 {
            question.from = question.from.plus(-Instant::DAY);
        }
        let text = forger.asks(&question).await;
        assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
    }
    let day = pair.birch.clock_now().date().unwrap();
    for _ in 0..2 {
        pair.birch.clock.forward(5 * Instant::MINUTE);
        pair.birch.works_it_off().await;
        let expected = [
            format!("unusual:edge:CA0990000:{day}"),
            "unusual:first:CA0990000".to_owned(),
            format!("unusual:volume:CA0990000:{day}"),
        ];
        let keys: Vec<String> = keys(&pair.birch).into_iter().filter(|key| key.starts_with("unusual:")).collect();
        assert_eq!(keys, expected);
    }
}
