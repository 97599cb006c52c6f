//! S10: keys in other hands. What is forged with them, or said by a key after it was replaced, counts for nothing.

use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::message::{Answer, Outcome, PROTOCOL, StreamEvent, To};
use agreements::status::Status;
use agreements::stream::Event;
use certs::key::SigningKey;
use concordat::auditing::{self, ReceiptError};
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{self, Act, Delivery};
use concordat::exchange::standing;
use concordat::exchange::{Failure, answer};
use concordat::registry::exchanged::{self, Receipt};
use concordat::rotation::{self, KeyKind};
use concordat::trail::search::Filter;
use integration::TestNode;
use integration::pair::{Pair, Terms, agree};
use integration::rotation::rekeyed;

use crate::rotation::{PLATE, answers, delivers, is_silence, next};

#[actix_web::test]
async fn s10_forged_new_keys_get_a_strangers_answer_and_change_nothing() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    let folder = pair.federation.folder();
    let known = birch.knows(alder);
    let (trail, n) = (birch.trail_size(), next(birch, pair.id, alder));
    let path = format!("/peer/v1/agreements/{}/rekeyed", pair.id);
    // Somebody got the authority to issue a certificate for Alder.
    let credentials = pair.federation.pki.issue(alder.fiction.ori);
    let config = pair.federation.pki.client(Some(&credentials), &birch.clock);
    let caller = integration::Caller::new(config, &birch.fiction.host(), birch.peer());
    let usual = caller.get("/peer/v1/node").await;
    is_silence(&usual);
    let mut thief = alder.robbed(&folder.join("thief"));
    let keys = thief.with_own_log(&folder.join("own"), credentials.spki(), &known);
    let seals = [
        ("another seal", SigningKey::generate_p256().unwrap()),
        ("Birch's own seal", birch.seal_key()),
        ("another identity key", SigningKey::generate_ed25519().unwrap()),
    ];
    for (what, seal) in seals {
        let text = thief.introduces(birch, pair.id, n, &keys, &seal).await;
        let reply = caller.post(&path, &text).await;
        assert_eq!(reply.undated(), usual.undated(), "{what}");
    }
    // Rightly sealed, and for other keys than those that speak: of the connection, of the log.
    let seal = alder.seal_key();
    let other_tls = agreements::party::Keys { tls_spki: known.tls_spki, ..keys.clone() };
    let other_log = agreements::party::Keys { log_vkey: known.log_vkey.clone(), ..keys.clone() };
    let text = thief.introduces(birch, pair.id, n, &keys, &seal).await;
    for (what, path, text) in [
        ("another TLS key", path.clone(), thief.introduces(birch, pair.id, n, &other_tls, &seal).await),
        ("another log key", path.clone(), thief.introduces(birch, pair.id, n, &other_log, &seal).await),
        ("a later number", path.clone(), thief.introduces(birch, pair.id, n + 1, &keys, &seal).await),
        ("not as a list", path.clone(), text.trim_matches(['[', ']']).to_owned()),
        ("nothing", path.clone(), "[]".to_owned()),
        ("too much", path.clone(), format!("[{}]", " ".repeat(300 * 1024))),
        ("the door for events", format!("/peer/v1/agreements/{}/events", pair.id), text.clone()),
        ("another agreement", format!("/peer/v1/agreements/{}/rekeyed", integration::pair::agreement_id()), text),
    ] {
        let reply = caller.post(&path, &text).await;
        assert_eq!(reply.undated(), usual.undated(), "{what}");
    }
    // What is before the change is taken with it or not at all.
    let found = standing::verified(&mut birch.conn(), pair.id).unwrap().unwrap();
    let suspended = StreamEvent {
        v: PROTOCOL,
        to: vec![To { ori: birch.ori(), agreement: pair.id }],
        document: Digest::of(&found.document),
        n,
        seen: None,
        event: Event::Suspended { reason: "a thief says so".to_owned() },
    };
    let own = thief.trail();
    let first = own.swears(Kind::AgreementEvent, None, &suspended).await.1;
    let gap = rekeyed(birch, (alder.ori(), pair.id), n + 2, &keys, &seal);
    let second = own.swears(Kind::AgreementEvent, None, &gap).await.1;
    let reply = caller.post(&path, &format!("[{first},{second}]")).await;
    assert_eq!(reply.undated(), usual.undated(), "with a gap");
    assert_eq!(next(birch, pair.id, alder), n);
    assert_eq!(birch.knows(alder), known);
    assert_eq!(birch.trail_size(), trail, "strangers wrote into the trail");
}

#[actix_web::test]
async fn s10_what_the_replaced_seal_says_of_keys_counts_for_nothing_even_where_it_was_not_told_yet() {
    let mut pair = Pair::in_force().await;
    // Two agreements between the same two; under the second the change is not heard yet.
    let second = agree(&pair.alder, &pair.birch, &Terms::default()).await.unwrap();
    let folder = pair.federation.folder().to_owned();
    let mut thief = pair.alder.robbed(&folder.join("thief"));
    pair.birch.stop();
    pair.alder.prepares(&pair.federation, &KeyKind::ALL);
    // The two nodes do not find each other for a while, so that neither tells or looks by itself.
    let (host, address) = (pair.birch.fiction.host(), pair.federation.address_of(&pair.birch.fiction));
    let nowhere = integration::federation::address();
    pair.alder.restart_with(|config| _ = config.peer.hosts.insert(host.clone(), nowhere));
    assert_eq!(pair.alder.rotates().await.pending.len(), 2);
    let alders = pair.alder.fiction.host();
    pair.birch.restart_with(|config| _ = config.peer.hosts.insert(alders, nowhere));
    let mut settings = pair.alder.settings().clone();
    settings.peer.hosts.insert(host.clone(), address);
    let clock = std::sync::Arc::new(pair.alder.clock.clone());
    let aside = concordat::node::Node::open(settings, clock, std::sync::Arc::new(|_: &str| {})).unwrap();
    let told = lifecycle::deliver(&aside, pair.id).await;
    assert!(matches!(told, Delivery::Delivered { .. }), "{told:?}");
    drop(aside);
    let (alder, birch) = (&pair.alder, &pair.birch);
    let known = birch.knows(alder);
    assert_eq!(known, alder.node().party().node.keys());

    let credentials = pair.federation.pki.issue(alder.fiction.ori);
    let config = pair.federation.pki.client(Some(&credentials), &birch.clock);
    let caller = integration::Caller::new(config, &birch.fiction.host(), birch.peer());
    let old_seal = thief.seal_key();
    let keys = thief.with_own_log(&folder.join("own"), credentials.spki(), &known);
    let n = next(birch, second, alder);
    let text = thief.introduces(birch, second, n, &keys, &old_seal).await;
    is_silence(&caller.post(&format!("/peer/v1/agreements/{second}/rekeyed"), &text).await);
    assert_eq!(birch.knows(alder), known);

    // Not even by Alder's own keys of today.
    let said = rekeyed(birch, (alder.ori(), second), n, &keys, &old_seal);
    let text = alder.forger().swears(Kind::AgreementEvent, None, &said).await.1;
    let reply = alder.calls(birch).post(&format!("/peer/v1/agreements/{second}/events"), &text).await;
    assert!(reply.problem(422, "unacceptable").contains("the seal of"), "{}", reply.text());
    assert_eq!(birch.knows(alder), known);

    // The change that Alder said under the second one, sealed when the seal was its own, arrives and changes nothing.
    pair.alder.restart_with(|config| _ = config.peer.hosts.insert(host, address));
    let (alder, birch) = (&pair.alder, &pair.birch);
    delivers(alder, second).await;
    assert_eq!((birch.knows(alder), next(birch, second, alder)), (known, n + 1));
    let partners = birch.node().partners();
    assert_eq!(partners.find(alder.ori()).unwrap().news().len(), 1, "said twice, news once");
}

#[actix_web::test]
async fn s10_the_identity_key_takes_back_what_a_thief_of_the_seal_did() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    pair.birch_saw(PLATE).await;
    let folder = pair.federation.folder();
    let known = birch.knows(alder);
    // The thief has Alder's seal and a certificate for it: it is believed.
    let mut thief = alder.robbed(&folder.join("thief"));
    let credentials = pair.federation.pki.issue(alder.fiction.ori);
    let config = pair.federation.pki.client(Some(&credentials), &birch.clock);
    let caller = integration::Caller::new(config, &birch.fiction.host(), birch.peer());
    let keys = thief.with_own_log(&folder.join("own"), credentials.spki(), &known);
    let n = next(birch, pair.id, alder);
    let text = thief.introduces(birch, pair.id, n, &keys, &thief.seal_key()).await;
    assert_eq!(caller.post(&format!("/peer/v1/agreements/{}/rekeyed", pair.id), &text).await.status, 200);
    assert_eq!(birch.knows(alder), keys);
    is_silence(&alder.calls(birch).get("/peer/v1/node").await);

    // A compromised seal is not replaced by its own word.
    alder.prepares(&pair.federation, &KeyKind::ALL);
    let refused = rotation::rotate(alder.node(), alder.order("stolen"), true, &mut |_, _| {}).await.unwrap_err();
    assert!(refused.to_string().contains("identity"), "{refused}");
    let mut order = alder.order("the server was broken into");
    order.identity = Some(alder.identity_key());
    let told = alder.rotates_by(order, true).await;
    // The thief wrote event n of Alder's stream at Birch, and Alder's own n is another: nothing more is heard under this
    // agreement. People meet, and enrol Alder's new descriptor, of the same identity key.
    assert_eq!(told.pending.len(), 1, "{told:?}");
    birch.enrols(alder).await;
    assert_eq!(birch.knows(alder), alder.node().party().node.keys());
    is_silence(&caller.get("/peer/v1/node").await);
    birch.acts(pair.id, Act::Terminate { reason: "a thief wrote into it".to_owned() }).await.unwrap();
    agree(birch, alder, &Terms::default()).await.unwrap();
    answers(alder, birch).await;
    // What was put in front of it does not come back: not the thief's keys, not the first file.
    let old = birch.enrols_file(thief.descriptor(), &thief.fingerprint()).await.unwrap_err().to_string();
    assert!(old.contains("older"), "{old}");
}

#[actix_web::test]
async fn s10_what_a_replaced_key_signed_stands_if_our_trail_named_it_before_and_not_otherwise() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    pair.birch_saw(PLATE).await;
    answers(alder, birch).await;
    let all = |node: &TestNode| exchanged::receipts(&mut node.conn(), None, 100).unwrap();
    let verified = |receipt: &Receipt| auditing::verify_receipt(&mut alder.conn(), receipt).unwrap();
    let early = all(alder);
    assert!(early.len() >= 3, "of the offer, of the signature, of the question: {}", early.len());
    let thief = birch.robbed(&pair.federation.folder().join("thief"));

    birch.prepares(&pair.federation, &KeyKind::ALL);
    birch.rotates().await;
    answers(alder, birch).await;
    let late = all(alder);
    assert_eq!(late.len(), early.len() + 1);
    for receipt in &late {
        assert!(verified(receipt).is_ok(), "{:?}", verified(receipt));
    }

    // Whoever has the old key of the log makes another answer to the same question, later.
    let asked = early.iter().find(|receipt| receipt.message.windows(8).any(|bytes| bytes == b"question")).unwrap();
    let answer: Answer = serde_json::from_slice(&asked.message).unwrap();
    let forged = Answer {
        v: PROTOCOL,
        to: vec![To { ori: alder.ori(), agreement: pair.id }],
        question: answer.question,
        outcome: Outcome::Denied { rules: Vec::new(), status: None },
    };
    let (_, text) = thief.trail().swears(Kind::QueryAnswered, None, &forged).await;
    let receipt = receipt_of(&text, asked);
    assert!(matches!(verified(&receipt), Err(ReceiptError::Replaced { .. })), "{:?}", verified(&receipt));
    // Not even when our trail names it now.
    let filter = Filter { kind: Some(Kind::QueryReceived), limit: 1, ..Filter::default() };
    let row = alder.entries(&filter).remove(0);
    let mut message: serde_json::Value = serde_json::from_slice(&row.detail.unwrap().message).unwrap();
    message["answers"][0]["answer"] = receipt.leaf_hash.to_string().into();
    alder.forger().swears(Kind::QueryReceived, None, &message).await;
    assert!(matches!(verified(&receipt), Err(ReceiptError::Replaced { .. })), "{:?}", verified(&receipt));
    // What nobody's key signed is no receipt.
    let foreign = pair.alder.robbed(&pair.federation.folder().join("foreign"));
    let (_, text) = foreign.trail().swears(Kind::QueryAnswered, None, &forged).await;
    assert!(matches!(verified(&receipt_of(&text, asked)), Err(ReceiptError::Proof(_))));
}

/// A text for the wire, as it would be kept in the place of `like`.
fn receipt_of(text: &str, like: &Receipt) -> Receipt {
    let envelope = concordat::exchange::wire::Envelope::parse(text.as_bytes()).unwrap();
    let leaf = envelope.entry.leaf.get().as_bytes().to_vec();
    Receipt {
        leaf_hash: agreements::entry::Leaf::hash_of(&leaf),
        leaf,
        message: envelope.entry.message.get().as_bytes().to_vec(),
        salt: envelope.entry.salt,
        proof: envelope.proof.clone(),
        ..like.clone()
    }
}

#[actix_web::test]
async fn s10_an_agreement_that_pins_another_identity_key_than_the_one_enrolled_counts_for_nothing() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    answers(&pair.alder, &pair.birch).await;
    // Alder as it is, vouched for by another identity; the row and the trail's entry agree, as after a new enrolment.
    let identity = SigningKey::generate_ed25519().unwrap();
    let party = agreements::party::Party {
        identity_key: identity.public().to_string(),
        ..agreements::party::Party::clone(&pair.alder.node().party())
    };
    let file = concordat::exchange::descriptor::write(&party, &identity).unwrap();
    let message = serde_json::json!({
        "confirmed_by": "a", "descriptor": Digest::of(&file), "fingerprint": identity.public().id(),
        "ori": pair.alder.ori(), "v": 1,
    });
    pair.birch.forger().swears(Kind::PeerEnrolled, None, &message).await;
    pair.birch.stop();
    let hex = file.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let sql = format!("UPDATE agency SET descriptor = X'{hex}' WHERE ori = '{}'", pair.alder.fiction.ori);
    integration::tamper::run(&pair.birch.registry_file(), &sql);
    pair.birch.try_start().unwrap();
    assert!(pair.birch.node().partners().find(pair.alder.ori()).is_some(), "the partner is enrolled");
    assert_eq!(pair.birch.status(pair.id), Status::NoAgreement {});
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(&gave, Gave::Denied { status: Some(Status::NoAgreement {}), .. }), "{gave:?}");
}

#[actix_web::test]
async fn s10_what_was_verified_under_a_key_that_is_replaced_before_the_commit_is_not_named_any_more() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    pair.birch_saw(PLATE).await;
    let partners = birch.node().partners();
    let before = partners.find(alder.ori()).unwrap();
    let thief = alder.robbed(&pair.federation.folder().join("thief"));
    let text = thief.trail().asks(&alder.question(birch, pair.id, PLATE)).await;
    alder.prepares(&pair.federation, &[KeyKind::Log]);
    alder.rotates().await;
    let trail = birch.trail_size();
    // As a request that was let in a moment before: by the partner as it was then.
    let desk = birch.node().desk();
    let answered = answer::answer(birch.node(), &desk, before, "127.0.0.1", text.as_bytes()).await;
    assert!(matches!(answered, Err(Failure::Overtaken)), "{:?}", answered.map(|answered| answered.outcome));
    assert_eq!(birch.trail_size(), trail, "nothing under the old key is recorded");
    answers(alder, birch).await;
}
