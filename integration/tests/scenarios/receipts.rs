//! S24: neither side can deny what it said. Offline, with files alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use agreements::agreement::Agreement;
use agreements::entry::Kind;
use agreements::ids::Ori;
use agreements::json;
use agreements::message::{Answer, Question};
use concordat::exchange::standing;
use concordat::node::log_vkey;
use concordat::receipts::{self, Demands, Exported, Fault, Parts, Proven};
use concordat::trail::note::Vkey;
use integration::TestNode;
use integration::pair::Pair;

const PLATE: &str = "7DNY024";

fn export(node: &TestNode, folder: &Path) -> Exported {
    let vkey = log_vkey(node.settings()).unwrap();
    receipts::export(&mut node.conn(), (node.ori(), &vkey), None, folder, &mut |_| {}, &AtomicBool::new(false)).unwrap()
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
