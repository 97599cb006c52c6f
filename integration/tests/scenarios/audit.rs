//! What somebody tries who knows the code: rows taken away, a partner that says more than was asked, a clock that moves
//! between two steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::entry::{Kind, Leaf};
use agreements::message::To;
use agreements::purpose::Purpose;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::auditing;
use concordat::exchange::Failure;
use concordat::exchange::ask::{AskError, Gave};
use concordat::exchange::lifecycle::{self, Act, ActError};
use concordat::exchange::wire::Bulk;
use concordat::registry::exchanged::{self, Receipt};
use concordat::rotation::KeyKind;
use concordat::trail::search::Filter;
use integration::clock::TestClock;
use integration::pair::{Pair, Terms, agree, days_from_start};
use integration::proxy::FaultProxy;
use integration::{TestNode, tamper};
use serde_json::Value;

const PLATE: &str = "7AUD111";

#[actix_web::test]
async fn a_suspension_taken_out_of_the_rows_brings_nothing_back_into_force() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.suspends(pair.id).await;
    let text = pair.question_text(PLATE).await;
    let sql = "DELETE FROM stream_event WHERE n = 2";
    for node in [&pair.alder, &pair.birch] {
        assert_eq!(node.status(pair.id), Status::Suspended { by: vec![pair.birch.ori()] });
        tamper::run(&node.registry_file(), sql);
        assert_eq!(node.status(pair.id), Status::NoAgreement {}, "{}", node.fiction.word);
    }
    let touched = pair.birch.touches();
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 403);
    assert_eq!(pair.birch.touches(), touched);
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::NotAsked { .. }));
}

#[actix_web::test]
async fn a_damaged_row_of_one_stream_counts_its_agreement_for_nothing_and_stops_no_node() {
    let pair = Pair::in_force().await;
    let text = pair.question_text(PLATE).await;
    tamper::run(&pair.birch.registry_file(), "UPDATE stream_event SET salt = x'00' WHERE n = 1");
    assert_eq!(pair.birch.status(pair.id), Status::NoAgreement {});
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 403);
}

#[actix_web::test]
async fn only_the_custodian_signs_and_only_who_may_acts_on_agreements_whatever_the_door_checked() {
    let pair = Pair::in_force().await;
    let node = pair.alder.node();
    let suspend = || Act::Suspend { reason: "the partner's audit is open".to_owned() };
    let size = pair.alder.trail_size();
    for (role, act) in [("investigator", suspend()), ("auditor", suspend()), ("agreements", Act::Sign)] {
        let by = pair.alder.fiction.person(role);
        let refused = lifecycle::act(node, pair.id, act, &by).await;
        assert!(matches!(refused, Err(ActError::Refused(_))), "{role}: {refused:?}");
    }
    let refused = lifecycle::act(node, pair.id, suspend(), "nobody").await;
    assert!(matches!(refused, Err(ActError::Refused(_))), "{refused:?}");
    assert_eq!(pair.alder.trail_size(), size, "nothing was recorded");
    assert!(matches!(pair.alder.status(pair.id), Status::InForce { .. }));
}

/// Moves `clock` to `to` when it is read for the `n`th time from now on. Says whether that happened.
fn jumps(clock: &TestClock, mut n: usize, to: Instant) -> Arc<AtomicBool> {
    let jumped = Arc::new(AtomicBool::new(false));
    let (said, this) = (Arc::clone(&jumped), clock.clone());
    clock.when_read(move || {
        n -= 1;
        if n == 0 {
            said.store(true, Ordering::SeqCst);
            this.set(to);
        }
        n == 0
    });
    jumped
}

#[actix_web::test]
async fn s04_no_read_leaves_when_the_sunset_passes_at_any_step_of_an_answer_or_of_its_repetition() {
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    for repeated in [false, true] {
        let mut steps = 0;
        loop {
            steps += 1;
            let pair = Pair::in_force().await;
            pair.set_clocks(sunset.plus(-Instant::MINUTE));
            // What they do by themselves after so long is no step of an answer.
            pair.birch.meets(&pair.alder).await;
            pair.birch_saw(PLATE).await;
            let text = pair.question_text(PLATE).await;
            if repeated {
                assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
            }
            let jumped = jumps(&pair.birch.clock, steps, sunset);
            let reply = pair.alder.posts_query(&pair.birch, &text).await;
            if !jumped.load(Ordering::SeqCst) {
                assert_eq!(reply.status, 200, "{}", reply.text());
                break;
            }
            assert_ne!(reply.status, 200, "step {steps}, repeated {repeated}: {}", reply.text());
            assert!(!reply.text().contains(PLATE), "step {steps}: {}", reply.text());
        }
        assert!(steps > 3, "{steps} steps were tried");
    }
}

#[actix_web::test]
async fn a_question_stays_here_when_the_sunset_passes_before_it_is_recorded() {
    let pair = Pair::in_force().await;
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    pair.set_clocks(sunset.plus(-Instant::MINUTE));
    let (size, theirs) = (pair.alder.trail_size(), pair.birch.trail_size());
    let asking = pair.alder.asking(&pair.birch, PLATE);
    let jumped = jumps(&pair.alder.clock, 2, sunset);
    let asked = pair.alder.asks(asking).await;
    assert!(jumped.load(Ordering::SeqCst));
    assert!(matches!(asked, Err(AskError::Failure(Failure::Overtaken))), "{asked:?}");
    assert_eq!((pair.alder.trail_size(), pair.birch.trail_size()), (size, theirs));
}

#[actix_web::test]
async fn a_partner_whose_certificate_is_revoked_gets_no_further_question() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    pair.federation.pki.revoke(pair.birch.ori(), pair.alder.clock_now());
    pair.alder.node().trust().refresh().unwrap();
    let before = pair.birch.trail_size();
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(gave, Gave::Unreachable { .. }), "{gave:?}");
    assert_eq!(pair.birch.trail_size(), before, "not even over the connection that was open");
}

#[actix_web::test]
async fn a_partners_keys_are_those_of_its_sealed_file_whatever_stands_beside_it() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let file = pair.birch.registry_file();
    tamper::run(&file, "UPDATE agency SET party = replace(CAST(party AS TEXT), 'log_vkey', 'log_key')");
    pair.birch.restart();
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    tamper::run(&file, "UPDATE agency SET descriptor = CAST(replace(CAST(descriptor AS TEXT), 'A', 'B') AS BLOB)");
    pair.birch.restart();
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(gave, Gave::Invalid { .. }), "as a stranger: {gave:?}");
}

#[actix_web::test]
async fn a_question_names_each_owner_once_and_carries_nothing_that_nobody_swore() {
    let pair = Pair::in_force().await;
    let forger = pair.alder.forger();
    let before = pair.birch.trail_size();
    let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
    let bytes = serde_json::to_vec(&question).unwrap();
    let (_, text) = forger.swears_bytes(Kind::QueryAsked, None, bytes, Bulk::Results("[]")).await;
    let detail = pair.alder.posts_query(&pair.birch, &text).await.problem(422, "unacceptable");
    assert!(detail.contains("`results`"), "{detail}");
    question.to.push(To { ori: pair.birch.ori(), agreement: integration::pair::agreement_id() });
    let detail = pair.alder.posts_query(&pair.birch, &forger.asks(&question).await).await.problem(400, "unsworn");
    assert!(detail.contains("twice"), "{detail}");
    assert_eq!(pair.birch.trail_size(), before, "no entry, and no id is burned");
}

#[actix_web::test]
async fn a_denial_that_brings_reads_is_no_answer() {
    let mut pair = Pair::in_force().await;
    let change = |body: String| format!("{},\"results\":[]}}", body.strip_suffix('}').unwrap());
    let proxy = FaultProxy::before(&pair.birch, &pair.alder, &pair.alder.clock, change).await;
    let (host, address) = (pair.birch.fiction.host(), proxy.address);
    pair.alder.restart_with(|config| {
        config.peer.hosts.insert(host, address);
    });
    let mut asking = pair.alder.asking(&pair.birch, PLATE);
    asking.purpose = Purpose::CrimeAnalysis;
    let report = pair.alder.asks(asking).await.unwrap();
    match &report.lines[0].gave {
        Gave::Invalid { why } => assert!(why.contains("that is none"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[actix_web::test]
async fn every_receipt_verifies_whatever_it_answers() {
    let terms = Terms { lists: vec![("wanted", vec!["stolen_vehicle"])], ..Terms::default() };
    let pair = Pair::under(terms).await;
    pair.birch_saw(PLATE).await;
    pair.birch.lists("wanted", &[PLATE]).await;
    pair.alder.accepts(&pair.birch, "wanted").await;
    pair.alder.pulls().await.unwrap();
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    pair.alder.makes_packet().await;
    let mut conn = pair.alder.conn();
    let receipts = exchanged::receipts(&mut conn, None, 100).unwrap();
    let mut kinds = BTreeSet::new();
    for receipt in &receipts {
        let verified = auditing::verify_receipt(&mut conn, receipt).unwrap();
        let leaf = Leaf::from_bytes(&receipt.leaf).unwrap();
        assert!(verified.is_ok(), "{}: {verified:?}", leaf.kind);
        kinds.insert(leaf.kind.as_str());
    }
    let all = ["agreement.acknowledged", "hotlist.asserted", "packet.received", "query.answered"];
    assert_eq!(kinds, BTreeSet::from(all));

    // One whose message, entry or proof is another's is none.
    let of = |kind: Kind| receipts.iter().find(|it| Leaf::from_bytes(&it.leaf).unwrap().kind == kind).unwrap();
    let (packet, other) = (of(Kind::PacketReceived), of(Kind::AgreementAcknowledged));
    let said = String::from_utf8(packet.message.clone()).unwrap();
    let named = said.replacen("\"packet\":\"", "\"packet\":\"0", 1);
    for (what, forged) in [
        ("what it names", Receipt { message: named.into_bytes(), ..packet.clone() }),
        ("its message", Receipt { message: other.message.clone(), salt: other.salt, ..packet.clone() }),
        ("its proof", Receipt { proof: other.proof.clone(), ..packet.clone() }),
        ("for which entry it is", Receipt { of: other.of, ..packet.clone() }),
    ] {
        let verified = auditing::verify_receipt(&mut conn, &forged).unwrap();
        assert!(verified.is_err(), "{what}: {verified:?}");
    }
}

#[actix_web::test]
async fn the_receipt_of_a_packet_stands_when_the_key_that_signed_it_is_replaced() {
    let pair = Pair::in_force().await;
    pair.alder.makes_packet().await;
    pair.birch.prepares(&pair.federation, &KeyKind::ALL);
    pair.birch.rotates().await;
    let mut conn = pair.alder.conn();
    let receipts = exchanged::receipts(&mut conn, None, 100).unwrap();
    let mut kinds = BTreeSet::new();
    for receipt in &receipts {
        let leaf = Leaf::from_bytes(&receipt.leaf).unwrap();
        let verified = auditing::verify_receipt(&mut conn, receipt).unwrap();
        assert!(verified.is_ok(), "{}: {verified:?}", leaf.kind);
        kinds.insert(leaf.kind.as_str());
    }
    assert_eq!(kinds, BTreeSet::from(["agreement.acknowledged", "packet.received"]));
}

#[actix_web::test]
async fn a_newer_agreement_is_asked_under_from_the_instant_at_which_it_begins() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let tomorrow = Terms { effective_on: days_from_start(1), ..Terms::default() };
    let newer = agree(&pair.alder, &pair.birch, &tomorrow).await.unwrap();
    let asked_under = |row: &Value| row["to"][0]["agreement"].as_str().unwrap().to_owned();
    let newest = |node: &TestNode| {
        let asked = node.entries(&Filter { kind: Some(Kind::QueryAsked), limit: 1, ..Filter::default() }).remove(0);
        serde_json::from_slice::<Value>(&asked.detail.unwrap().message).unwrap()
    };
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
    assert_eq!(asked_under(&newest(&pair.alder)), pair.id.to_string());
    pair.set_clocks(Instant::start_of(days_from_start(1)).unwrap());
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
    assert_eq!(asked_under(&newest(&pair.alder)), newer.to_string(), "with no event in between");
}
