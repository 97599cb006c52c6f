//! S10: a partner's keys rotate and its node moves, and exchange goes on without a new agreement.

use std::fs;
use std::path::Path;

use agreements::entry::Kind;
use agreements::ids::AgreementId;
use agreements::status::Status;
use agreements::time::Instant;
use certs::key::SigningKey;
use concordat::changes::{self, ChangeError, Command};
use concordat::clock::Clock as _;
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{self, Act, Delivery};
use concordat::exchange::standing;
use concordat::node::Node;
use concordat::registry::agencies::{self, Enrolled};
use concordat::rotation::{self, KeyKind};
use concordat::trail::search::Filter;
use concordat::upkeep;
use integration::pair::{Pair, Terms};
use integration::{Reply, TestNode};

pub(super) const PLATE: &str = "7ROT410";

pub(super) async fn answers(from: &TestNode, to: &TestNode) {
    let gave = from.queries(to, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
}

pub(super) fn is_silence(reply: &Reply) {
    assert_eq!((reply.status, reply.body.len()), (404, 0), "{}", reply.text());
    assert_eq!(reply.header("connection"), Some("close"));
}

/// The number that the next event of `party` will bear in the books of `node`.
pub(super) fn next(node: &TestNode, id: AgreementId, party: &TestNode) -> u32 {
    let found = standing::verified(&mut node.conn(), id).unwrap().unwrap();
    found.streams.party(&found.agreement, party.ori()).unwrap().next_number()
}

pub(super) async fn delivers(node: &TestNode, id: AgreementId) {
    let delivery = lifecycle::deliver(node.node(), id).await;
    assert!(matches!(delivery, Delivery::Delivered { .. }), "{delivery:?}");
}

#[actix_web::test]
async fn s10_log_seal_and_tls_keys_rotate_and_exchange_goes_on_without_a_new_agreement() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    pair.birch_saw(PLATE).await;
    answers(alder, birch).await;
    let before = alder.node().party().node.keys();
    let thief = alder.robbed(&pair.federation.folder().join("thief"));
    let mut line = thief.calls(birch).connect().await.unwrap();
    assert_eq!(line.send("GET", "/peer/v1/node", None).await.unwrap().status, 200, "the key in use");

    alder.prepares(&pair.federation, &KeyKind::ALL);
    answers(alder, birch).await;
    let told = alder.rotates().await;
    assert_eq!((told.agreements, told.delivered, told.pending.len()), (1, 1, 0), "{told:?}");

    // The new ones, at both.
    let after = alder.node().party().node.keys();
    assert_eq!(birch.knows(alder), after);
    assert_ne!((before.tls_spki, &before.seal_key), (after.tls_spki, &after.seal_key));
    assert_ne!((&before.log_vkey, &before.witness_vkey), (&after.log_vkey, &after.witness_vkey));
    assert!(!alder.settings().keys.next_folder().exists(), "what was new is in use");
    // Exchange goes on under the same agreement, both ways, by the same serving processes.
    alder.ingests(PLATE, alder.clock_now().plus(-Instant::HOUR)).await;
    for (from, to) in [(alder, birch), (birch, alder)] {
        assert!(matches!(from.status(pair.id), Status::InForce { .. }));
        answers(from, to).await;
    }
    // The new seal lifts a suspension; the old trail is under the new head.
    alder.suspends(pair.id).await;
    let resumed = alder.acts(pair.id, Act::Resume { reason: "the audit is over".to_owned() }).await.unwrap();
    assert!(matches!(resumed, Delivery::Delivered { .. }), "{resumed:?}");
    answers(birch, alder).await;
    assert_eq!(alder.trail_problems(), Vec::new());

    // The old keys, from then on: the open connection, a new one, and what the old log key swears.
    let reply = line.send("GET", "/peer/v1/node", None).await.unwrap();
    is_silence(&reply);
    is_silence(&thief.calls(birch).get("/peer/v1/node").await);
    let touched = birch.touches();
    let text = thief.trail().asks(&alder.question(birch, pair.id, PLATE)).await;
    let refused = alder.posts_query(birch, &text).await;
    assert!(refused.problem(400, "unsworn").contains("signature"), "{}", refused.text());
    assert_eq!(birch.touches(), touched);
}

#[actix_web::test]
async fn s10_all_this_holds_after_both_are_started_again_and_a_second_rotation() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    for _ in 0..2 {
        pair.alder.prepares(&pair.federation, &KeyKind::ALL);
        pair.alder.rotates().await;
        answers(&pair.alder, &pair.birch).await;
        pair.alder.restart();
        pair.birch.restart();
        answers(&pair.alder, &pair.birch).await;
    }
    // Each key alone.
    for kind in KeyKind::ALL {
        pair.alder.prepares(&pair.federation, &[kind]);
        let told = pair.alder.rotates().await;
        assert_eq!(told.pending, Vec::new(), "{kind:?}");
        assert_eq!(pair.birch.knows(&pair.alder), pair.alder.node().party().node.keys(), "{kind:?}");
        answers(&pair.alder, &pair.birch).await;
    }
    assert_eq!(pair.alder.trail_problems(), Vec::new());
    pair.birch.looks().await;
    assert_eq!(*pair.birch.node().changed(), Vec::new());
}

#[actix_web::test]
async fn s10_a_partner_that_was_down_for_two_rotations_and_a_suspension_hears_all_of_it_in_order() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.stop();
    assert!(matches!(pair.alder.suspends(pair.id).await, Delivery::Pending { .. }));
    for _ in 0..2 {
        pair.alder.prepares(&pair.federation, &KeyKind::ALL);
        let told = pair.alder.rotates().await;
        assert_eq!((told.agreements, told.pending.len()), (1, 1), "{told:?}");
    }
    pair.birch.try_start().unwrap();
    delivers(&pair.alder, pair.id).await;
    assert!(matches!(pair.birch.status(pair.id), Status::Suspended { .. }));
    assert_eq!(pair.birch.knows(&pair.alder), pair.alder.node().party().node.keys());
    let resumed = pair.alder.acts(pair.id, Act::Resume { reason: "the audit is over".to_owned() }).await.unwrap();
    assert!(matches!(resumed, Delivery::Delivered { .. }), "{resumed:?}");
    answers(&pair.alder, &pair.birch).await;
}

#[actix_web::test]
async fn s10_two_nodes_whose_keys_changed_while_they_could_not_reach_each_other_find_each_other_again() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.stop();
    pair.alder.prepares(&pair.federation, &KeyKind::ALL);
    assert_eq!(pair.alder.rotates().await.pending.len(), 1);
    pair.birch.try_start().unwrap();
    // Alder is not heard before Birch has changed its keys as well.
    pair.birch.prepares(&pair.federation, &KeyKind::ALL);
    let told = pair.birch.rotates().await;
    assert_eq!(told.pending.len(), 1, "nobody is believed by a key that is not known: {told:?}");
    // What their jobs do every five minutes.
    for _ in 0..2 {
        for node in [&pair.alder, &pair.birch] {
            let _ = lifecycle::deliver(node.node(), pair.id).await;
        }
    }
    delivers(&pair.alder, pair.id).await;
    delivers(&pair.birch, pair.id).await;
    answers(&pair.alder, &pair.birch).await;
}

#[actix_web::test]
async fn s10_a_node_moves_with_new_contacts_and_is_found_where_it_is() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    // The name of the new place is known to DNS.
    let (host, at) = ("new.birch.test", integration::federation::address());
    pair.alder.restart_with(|config| {
        config.peer.hosts.insert(host.to_owned(), at);
    });
    let nothing = rotation::moved(pair.birch.node(), pair.birch.order("moved"), &mut |_, _| {}).await.unwrap_err();
    assert!(nothing.to_string().contains("peer.url"), "{nothing}");

    // A certificate for the new host is one for a new key here; both are told at once.
    pair.birch.restart_with(|config| {
        config.peer.url = format!("https://{host}").parse().unwrap();
        config.agency.contacts = vec![format!("records@{host}")];
        config.peer.listen = at;
    });
    pair.birch.prepares_for(&pair.federation, &[KeyKind::Tls], host);
    pair.birch.rotates().await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Unreachable { .. }), "it is not where it was");
    let told = rotation::moved(pair.birch.node(), pair.birch.order("new data centre"), &mut |_, _| {}).await.unwrap();
    assert_eq!((told.agreements, told.pending.len()), (1, 0), "{told:?}");
    let known = pair.alder.node().partners();
    let known = known.find(pair.birch.ori()).unwrap().party();
    assert_eq!(
        (known.node.url.as_str(), &known.contacts[..]),
        ("https://new.birch.test", &[format!("records@{host}")][..])
    );
    answers(&pair.alder, &pair.birch).await;
    assert!(matches!(pair.alder.status(pair.id), Status::InForce { .. }));
    pair.alder.restart();
    answers(&pair.alder, &pair.birch).await;
}

#[actix_web::test]
async fn s10_a_rotation_that_was_cut_off_between_any_two_files_is_completed_at_the_next_start() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let used = pair.alder.settings().keys.folder.clone();
    let next = pair.alder.settings().keys.next_folder();
    let spare = pair.federation.folder().join("spare");
    // In the order in which they are moved.
    let order = ["tls.key", "tls.pem", "tls.csr", "seal.key", "seal.csr", "log.key", "witness.key"];
    for moved in 0..order.len() {
        copy(&used, &spare);
        pair.alder.prepares(&pair.federation, &KeyKind::ALL);
        pair.alder.rotates().await;
        pair.alder.stop();
        // As if the process had ended after so many files.
        fs::create_dir(&next).unwrap();
        for name in &order[moved..] {
            fs::rename(used.join(name), next.join(name)).unwrap();
            fs::copy(spare.join(name), used.join(name)).unwrap();
        }
        pair.alder.try_start().unwrap();
        assert!(!next.exists(), "{moved}: the new keys are in use");
        answers(&pair.alder, &pair.birch).await;
        assert_eq!(pair.alder.trail_problems(), Vec::new(), "{moved}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[actix_web::test]
async fn s10_keys_are_rotated_by_who_may_and_only_when_all_is_there() {
    let pair = Pair::in_force().await;
    let alder = &pair.alder;
    let before = (alder.node().party().node.keys(), alder.trail_size());
    let rotate = |order| async move { rotation::rotate(alder.node(), order, false, &mut |_, _| {}).await.unwrap_err() };
    assert!(rotate(alder.order("yearly")).await.to_string().contains("concordat key prepare"));
    rotation::prepare(alder.settings(), &[KeyKind::Tls, KeyKind::Log]).unwrap();
    let missing = rotate(alder.order("yearly")).await.to_string();
    assert!(missing.contains("tls.pem is missing") && missing.contains("ca issue"), "{missing}");
    alder.prepares(&pair.federation, &[KeyKind::Tls]);
    let mut order = alder.order("yearly");
    order.by = alder.fiction.person("investigator");
    assert!(rotate(order).await.to_string().contains("does not allow this"), "who may");
    assert!(rotate(alder.order(" ")).await.to_string().contains("say why"));
    let mut order = alder.order("yearly");
    order.identity = Some(SigningKey::generate_ed25519().unwrap());
    assert!(rotate(order).await.to_string().contains("not this agency's"));
    assert_eq!((alder.node().party().node.keys(), alder.trail_size()), before);
    let told = alder.rotates().await;
    assert_eq!(told.pending, Vec::new());
    let (row, message) = {
        let filter = Filter { kind: Some(Kind::KeysChanged), limit: 1, ..Filter::default() };
        let row = alder.entries(&filter).remove(0);
        let message: serde_json::Value = serde_json::from_slice(&row.detail.as_ref().unwrap().message).unwrap();
        (row, message)
    };
    assert_eq!(row.facts.username, Some(alder.fiction.person("admin")), "who did it is on record");
    assert_eq!((message["agreements"].as_u64(), message["change"]["kind"].as_str()), (Some(1), Some("rekeyed")));
}

#[actix_web::test]
async fn s10_the_administrators_of_a_partner_are_told_once_by_mail() {
    let mut pair = Pair::in_force().await;
    pair.birch.restart_with(|config| config.mail.administrators = vec!["agreements@birch.test".parse().unwrap()]);
    pair.birch.works_it_off().await;
    pair.alder.prepares(&pair.federation, &KeyKind::ALL);
    let mut order = pair.alder.order("the server was broken into");
    order.identity = Some(pair.alder.identity_key());
    pair.alder.rotates_by(order, true).await;
    for _ in 0..3 {
        pair.birch.clock.forward(6 * Instant::MINUTE);
        pair.birch.rings().await;
    }
    let mails = pair.birch.mails();
    let told: Vec<_> = mails.iter().filter(|mail| mail.subject.contains("new keys")).collect();
    assert_eq!(told.len(), 1, "{mails:?}");
    assert!(told[0].subject.contains("Alder County Sheriff") && told[0].body.contains("the server was broken into"));
    assert!(told[0].body.contains("review"), "{}", told[0].body);
}

#[actix_web::test]
async fn s10_three_hundred_partners_are_told_of_new_keys_in_one_transaction() {
    let pair = Pair::in_force().await;
    let alder = &pair.alder;
    let ours = agreements::party::Party::clone(&alder.node().party());
    let documents: Vec<_> = (0..299)
        .map(|n| {
            let ori = format!("CA{:03}{:02}00", 100 + n / 50, n % 50).parse().unwrap();
            let theirs =
                agreements::party::Party { ori, ..agreements::party::Party::clone(&pair.birch.node().party()) };
            let agreement = Terms::default().between(&ours, &theirs);
            let file = concordat::exchange::descriptor::write(&theirs, &pair.birch.identity_key()).unwrap();
            (agreement.id, ori, agreement.to_bytes().unwrap(), theirs, file)
        })
        .collect();
    let keep = move |tx: &mut concordat::db::Tx<'_>| {
        let now = tx.now();
        for (id, ori, document, theirs, file) in documents {
            let enrolled =
                Enrolled { party: theirs, enrolled_at: now, enrolled_by: "a".to_owned(), confirmed_by: "b".to_owned() };
            agencies::insert(tx.conn(), &enrolled, &file)?;
            concordat::registry::agreements::insert(tx.conn(), id, ori, &document, None, now)?;
        }
        Ok(())
    };
    alder.node().registry().record(keep).await.unwrap();
    alder.prepares(&pair.federation, &KeyKind::ALL);
    let began = concordat::clock::SystemClock.now();
    let told = rotation::rotate(alder.node(), alder.order("yearly"), false, &mut |_, _| {}).await.unwrap();
    let took = concordat::clock::SystemClock.now().since(began);
    println!("300 agreements: said, files moved, and tried to deliver in {} ms", took / 1000);
    assert_eq!((told.agreements, told.delivered), (300, 1), "{:?}", told.pending.first());
    assert!(took < 30 * Instant::SECOND, "{took}");
    alder.follows().await;
    assert_eq!(alder.trail_problems(), Vec::new());
}

#[actix_web::test]
async fn s10_a_process_that_has_the_replaced_seal_still_says_nothing_under_it() {
    let pair = Pair::in_force().await;
    let alder = &pair.alder;
    alder.suspends(pair.id).await;
    // Another process of the node, which does not look while the keys change.
    let behind = alder.second();
    alder.prepares(&pair.federation, &[KeyKind::Seal]);
    alder.rotates().await;

    let (by, other) = (alder.fiction.person("agreements"), alder.fiction.person("custodian"));
    let command = Command::Resume { agreement: pair.id };
    let change = changes::propose(&behind, command, &by, "the partner's audit is closed").await.unwrap();
    let size = alder.streams(pair.id)[0].len();
    match changes::approve(&behind, change, &other).await {
        Err(ChangeError::Refused(why)) => assert!(why.join(" ").contains("seal was replaced by another"), "{why:?}"),
        done => panic!("{done:?}"),
    }
    assert_eq!(alder.streams(pair.id)[0].len(), size);
    assert_eq!(alder.status(pair.id), Status::Suspended { by: vec![alder.ori()] }, "nothing is damaged");
    // It does it again, as it says, when it has looked; what was proposed still waits.
    upkeep::follow(&behind);
    behind.desk().registry(|conn| behind.refresh_partners(conn)).unwrap();
    upkeep::follow(&behind);
    changes::approve(&behind, change, &other).await.unwrap();
    drop(behind);
    pair.come_into_force(pair.id).await;
    assert_eq!(alder.trail_problems(), []);
}

#[actix_web::test]
async fn s10_a_process_that_was_started_before_its_node_moved_says_that_it_has_to_be_restarted() {
    let mut pair = Pair::in_force().await;
    let notices = |node: &TestNode| {
        node.node().desk().registry(|conn| node.node().refresh_partners(conn)).unwrap();
        upkeep::notices(node.node(), node.clock_now())
    };
    let says = |node: &TestNode| notices(node).into_iter().filter(|notice| notice.contains("restart the node")).count();
    assert_eq!(says(&pair.alder), 0);
    // The configuration is edited, and a command tells the partners, while the node serves.
    let mut config = pair.alder.settings().clone();
    config.agency.contacts = vec!["sharing@alder.test".to_owned()];
    let clock = std::sync::Arc::new(pair.alder.clock.clone());
    let command = Node::open(config, clock, std::sync::Arc::new(|why: &str| panic!("{why}"))).unwrap();
    rotation::moved(&command, pair.alder.order("another mailbox"), &mut |_, _| {}).await.unwrap();
    drop(command);
    let said = notices(&pair.alder);
    let found = said.iter().find(|notice| notice.contains("restart the node")).unwrap_or_else(|| panic!("{said:?}"));
    for part in ["sharing@alder.test", "was started with", "concordat key move"] {
        assert!(found.contains(part), "{part}: {found}");
    }
    // Until then it refuses what describes it as it is by now, and says why.
    let described = pair.birch.node().partners().find(pair.alder.ori()).unwrap().party().clone();
    assert_eq!(described.contacts, ["sharing@alder.test"]);
    let document = Terms::default().between(&described, &pair.birch.node().party());
    let by = pair.birch.fiction.person("agreements");
    let offered = lifecycle::propose(pair.birch.node(), document.to_bytes().unwrap(), &by).await.unwrap();
    let Delivery::Refused { why } = &offered.1 else { panic!("{offered:?}") };
    assert!(why.contains("restart it first"), "{why}");

    pair.alder.restart_with(|config| config.agency.contacts = vec!["sharing@alder.test".to_owned()]);
    assert_eq!(says(&pair.alder), 0);
    delivers(&pair.birch, offered.0).await;
}
