//! S24: neither side can deny what it said. Offline, with files alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use agreements::agreement::Agreement;
use agreements::entry::{Kind, Leaf};
use agreements::ids::Ori;
use agreements::json;
use agreements::message::{Answer, Question};
use agreements::time::Instant;
use concordat::db::Conn;
use concordat::exchange::ask::Gave;
use concordat::exchange::following;
use concordat::exchange::renewing::{self, Renewed};
use concordat::exchange::standing;
use concordat::exchange::wire::Envelope;
use concordat::node::log_vkey;
use concordat::receipts::{self, Demands, Exported, Fault, Parts, Proven};
use concordat::registry::exchanged;
use concordat::trail::note::Vkey;
use concordat::trail::policy::Policy;
use concordat::trail::proof;
use concordat::witness::evidence;
use integration::TestNode;
use integration::alone::MemoryLog;
use integration::pair::Pair;
use integration::witnesses::Watched;

const PLATE: &str = "7DNY024";

fn export(node: &TestNode, folder: &Path) -> Exported {
    let vkey = log_vkey(node.settings()).unwrap();
    let cosigned = node.node().watch().cosigned();
    let stop = AtomicBool::new(false);
    receipts::export(&mut node.conn(), (node.ori(), &vkey), &cosigned, None, folder, &mut |_| {}, &stop).unwrap()
}

/// How many files in a folder there are, and how many of them a quorum of the policy's witnesses vouches for.
fn witnessed(folder: &Path, policy: &Policy) -> (usize, usize) {
    let files = receipts::proofs(&[folder.to_owned()]).unwrap();
    let demands = Demands { logs: Vec::new(), policy: Some(policy.clone()) };
    let count = files.iter().filter(|file| Parts::read(file).and_then(|parts| parts.verify(&demands)).is_ok()).count();
    (files.len(), count)
}

/// As the command does it: in a process of its own, which heard nothing of the partner yet.
async fn renews(node: &TestNode) -> Renewed {
    let mut came = renewing::renew(&node.second(), None, &|_| {}, &AtomicBool::new(false)).await.unwrap();
    came.retain(|_, came| came.renewed + came.had + came.waiting > 0 || came.pending.is_some());
    assert_eq!(came.len(), 1, "it keeps receipts of one partner");
    came.into_values().next().unwrap()
}

#[actix_web::test]
async fn receipts_get_proofs_under_heads_that_a_quorum_cosigned_and_then_pass_its_policy() {
    let watched = Watched::in_force().await;
    watched.birch.ingests(PLATE, watched.birch.clock_now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    for _ in 0..3 {
        assert!(matches!(watched.alder.queries(&watched.birch, PLATE).await, Gave::Reads { .. }));
    }
    let before = watched.alder.receipts_kept();
    let folder = tempfile::tempdir().unwrap();
    let at_once = folder.path().join("at-once");
    assert_eq!(export(&watched.alder, &at_once).refused, []);
    let (all, vouched) = witnessed(&at_once, &watched.policy);
    assert!(vouched < all, "of {all}, no witness has seen the newest");
    // Over the edge of a tile, so that a proof has more than one.
    for node in [&watched.alder, &watched.birch] {
        for _ in 0..260 {
            node.writes_an_entry().await;
        }
    }
    watched.publish().await;
    for (node, name) in [(&watched.alder, "asker"), (&watched.birch, "owner")] {
        let size = node.trail_size();
        let came = renews(node).await;
        assert!(came.renewed >= 3 && came.waiting == 0 && came.pending.is_none(), "{name}: {came:?}");
        assert_eq!(came.refused, []);
        assert_eq!(node.trail_size(), size, "hashes alone are asked for, which is not recorded");
        let folder = folder.path().join(name);
        assert_eq!(export(node, &folder).refused, [], "each verifies here as before");
        let (all, vouched) = witnessed(&folder, &watched.policy);
        assert_eq!(vouched, all, "{name}: receipts and own entries");
        let again = renews(node).await;
        assert_eq!((again.renewed, again.had), (0, came.renewed + came.had));
    }
    // Nothing but the proof is another one, and that is of the same entry at the same place.
    let after = watched.alder.receipts_kept();
    assert_eq!(before.len(), after.len());
    let vkey: Vkey = watched.birch.node().party().node.log_vkey.parse().unwrap();
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((&old.leaf, &old.message, old.salt, old.of), (&new.leaf, &new.message, new.salt, new.of));
        let [old, new] = [old, new].map(|it| proof::verify(&it.proof, &it.leaf, &vkey).unwrap());
        assert_eq!(old.index, new.index);
        assert!(old.checkpoint.size <= new.checkpoint.size);
    }
}

#[actix_web::test]
async fn a_proof_is_not_replaced_by_one_of_another_trail() {
    let watched = Watched::in_force().await;
    watched.birch.ingests(PLATE, watched.birch.clock_now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    // Birch answers from a trail that its witnesses never see, and shows them another one.
    let asked = watched.alder.asks(watched.alder.asking(&watched.birch, PLATE)).await.unwrap().question.unwrap();
    let [kept] = &watched.alder.receipts(asked)[..] else { panic!("one answer") };
    let forger = watched.birch.fork(watched.federation.folder());
    let message: serde_json::Value = serde_json::from_slice(&kept.message).unwrap();
    let (_, text) = forger.swears(Kind::QueryAnswered, None, &message).await;
    let envelope = Envelope::parse(text.as_bytes()).unwrap();
    let leaf = envelope.entry.leaf.get().as_bytes().to_vec();
    let forged = exchanged::Receipt {
        leaf_hash: Leaf::hash_of(&leaf),
        message: envelope.entry.message.get().as_bytes().to_vec(),
        salt: envelope.entry.salt,
        proof: envelope.proof.clone(),
        leaf,
        ..kept.clone()
    };
    let (receipt, now) = (forged.clone(), watched.alder.clock_now());
    let keep = move |conn: &mut Conn| exchanged::keep(conn, &receipt, now);
    watched.alder.node().registry().write("a forged receipt", keep).await.unwrap();
    for _ in 0..5 {
        watched.birch.writes_an_entry().await;
    }
    watched.publish().await;
    let came = renews(&watched.alder).await;
    assert!(came.pending.as_ref().is_some_and(|why| why.contains("does not show what it swore")), "{came:?}");
    let kept = watched.alder.receipts(asked);
    let same = kept.iter().find(|it| it.leaf_hash == forged.leaf_hash).unwrap();
    assert_eq!(same.proof, forged.proof, "what it swore stays as it swore it: that convicts it");
}

#[actix_web::test]
async fn a_proof_whose_head_is_no_beginning_of_the_cosigned_one_stays_and_convicts() {
    let watched = Watched::in_force().await;
    watched.birch.ingests(PLATE, watched.birch.clock_now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    let asked = watched.alder.asks(watched.alder.asking(&watched.birch, PLATE)).await.unwrap().question.unwrap();
    let [kept] = &watched.alder.receipts(asked)[..] else { panic!("one answer") };
    let vkey: Vkey = watched.birch.node().party().node.log_vkey.parse().unwrap();
    let included = proof::verify(&kept.proof, &kept.leaf, &vkey).unwrap();
    // The very answer at its very place, in another trail that Birch's key signed: what came before it is something else.
    let mut leaves: Vec<Vec<u8>> = (0..included.index).map(|n| format!("another {n}").into_bytes()).collect();
    leaves.push(kept.leaf.clone());
    let forged = MemoryLog::signed_by(&watched.birch, &leaves).inclusion(included.index, included.index + 1);
    assert!(proof::verify(&forged, &kept.leaf, &vkey).is_ok());
    let (leaf, old, new) = (kept.leaf_hash, kept.proof.clone(), forged.clone());
    let put = move |conn: &mut Conn| exchanged::renew(conn, leaf, &old, &new);
    assert!(watched.alder.node().registry().write("a forged proof", put).await.unwrap());
    watched.birch.writes_an_entry().await;
    watched.publish().await;
    let came = renews(&watched.alder).await;
    assert!(came.pending.as_ref().is_some_and(|why| why.contains("does not show what it swore")), "{came:?}");
    assert_eq!(watched.alder.receipts(asked)[0].proof, forged);
    following::look(watched.alder.node(), &watched.alder.node().desk()).await.unwrap();
    let kept = evidence::all(&mut watched.alder.conn()).unwrap();
    assert!(kept.iter().any(|(_, fork, _)| fork.convicts(&vkey).is_ok()), "{kept:?}");
}

#[actix_web::test]
async fn a_running_node_renews_by_itself() {
    let watched = Watched::in_force().await;
    watched.birch.ingests(PLATE, watched.birch.clock_now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    watched.alder.queries(&watched.birch, PLATE).await;
    let folder = tempfile::tempdir().unwrap();
    for tries in 0.. {
        let folder = folder.path().join(tries.to_string());
        export(&watched.alder, &folder);
        let (all, vouched) = witnessed(&folder, &watched.policy);
        if all == vouched {
            break;
        }
        assert!(tries < 60, "within a minute: {vouched} of {all}");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// The key of an agency's log, as the agreement that both signed has it.
fn agreed_key(agreement: &Agreement, ori: Ori) -> Vkey {
    agreement.party(ori).unwrap().node.log_vkey.parse().unwrap()
}

/// What the files of an agency's entry of a kind prove, and where they are; one is there.
fn proven(folder: &Path, ori: Ori, kind: Kind, key: &Vkey) -> (PathBuf, Parts, Proven) {
    let demands = Demands { logs: vec![key.clone()], policy: None };
    let files = receipts::proofs(&[folder.join(ori.as_str())]).unwrap();
    let mut of_kind: Vec<_> = files
        .into_iter()
        .map(|file| (file.clone(), Parts::read(&file).unwrap()))
        .map(|(file, parts)| (file, parts.clone(), parts.verify(&demands).unwrap()))
        .filter(|(_, _, proven)| proven.leaf.kind == kind)
        .collect();
    assert_eq!(of_kind.len(), 1, "{kind}");
    of_kind.remove(0)
}

/// No byte of any of the files can be another one.
fn nothing_can_be_changed(file: &Path) {
    for ending in ["tlog-proof", "leaf", "message", "salt", "vkey"] {
        let part = file.with_extension(ending);
        let bytes = fs::read(&part).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&part, changed).unwrap();
            let verified = Parts::read(file).and_then(|parts| parts.verify(&Demands::default()));
            assert!(verified.is_err(), "byte {at} of {ending}");
        }
        fs::remove_file(&part).unwrap();
        let missing = Parts::read(file).and_then(|parts| parts.verify(&Demands::default()));
        assert!(matches!(missing, Err(Fault::File(_))), "{ending}: {missing:?}");
        fs::write(&part, bytes).unwrap();
    }
    assert!(Parts::read(file).and_then(|parts| parts.verify(&Demands::default())).is_ok());
}

#[actix_web::test]
async fn s24_a_requester_that_denies_having_asked_and_an_owner_that_denies_having_answered_are_shown_their_own_signatures()
 {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let (alder, birch) = (pair.alder.ori(), pair.birch.ori());
    let agreement = standing::verified(&mut pair.birch.conn(), pair.id).unwrap().unwrap().agreement;
    let (alders, birches) = (agreed_key(&agreement, alder), agreed_key(&agreement, birch));
    let folder = tempfile::tempdir().unwrap();
    let (owners, requesters) = (folder.path().join("owner"), folder.path().join("requester"));
    assert_eq!(export(&pair.birch, &owners).refused, []);
    assert_eq!(export(&pair.alder, &requesters).refused, []);
    // From here on there is no node, no registry and no network: what was exported, and the agreement's keys.
    drop(pair);

    // The requester denies having asked. The owner shows the question in the requester's own log, under the requester's own
    // signature, and its own record, which named that question when it answered.
    let (file, question, asked) = proven(&owners, alder, Kind::QueryAsked, &alders);
    let said: Question = json::parse(&question.message).unwrap();
    assert_eq!(said.search.text(), Some(PLATE));
    assert!(said.asker.username.starts_with("alder.") && said.to.iter().any(|to| to.ori == birch));
    let (_, _, recorded) = proven(&owners, birch, Kind::QueryAnswered, &birches);
    assert_eq!(recorded.answers, Some(asked.hash), "the owner's record is of this very question");
    nothing_can_be_changed(&file);
    let others = Demands { logs: vec![birches.clone()], policy: None };
    assert!(matches!(question.verify(&others), Err(Fault::OtherLog(_))), "nobody else's log proves what Alder said");
    let resigned = Parts { vkey: birches.clone(), ..question.clone() };
    assert!(matches!(resigned.verify(&Demands::default()), Err(Fault::Proof(_))), "nor another key under its name");

    // The owner denies having answered. The requester shows the answer in the owner's log, and its own question beside it.
    let (file, answer, answered) = proven(&requesters, birch, Kind::QueryAnswered, &birches);
    let said: Answer = json::parse(&answer.message).unwrap();
    assert_eq!(said.outcome.name(), "permitted");
    let (_, _, own) = proven(&requesters, alder, Kind::QueryAsked, &alders);
    assert_eq!((answered.answers, own.hash), (Some(own.hash), asked.hash), "both sides show the same two entries");
    nothing_can_be_changed(&file);
}
