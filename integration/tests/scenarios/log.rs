//! What partners read of a node's log: hashes and heads, and what was for them.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, RequestId};
use agreements::message::Answer;
use concordat::demo::agency::CEDAR;
use concordat::exchange::wire::Envelope;
use concordat::exporting::static_log;
use concordat::node::log_vkey;
use concordat::trail::note::Checkpoint;
use concordat::trail::proof;
use concordat::trail::search::Filter;
use concordat::trail::static_log::{Of, resources};
use integration::TestNode;
use integration::pair::Pair;

const PLATE: &str = "7LOG450";

/// The newest entry of a kind.
fn newest(node: &TestNode, kind: Kind) -> RequestId {
    node.entries(&Filter { kind: Some(kind), limit: 1, ..Filter::default() })[0].rid
}

#[actix_web::test]
async fn a_partner_reads_heads_and_hashes_and_rebuilds_the_root_from_them_unrecorded() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let size = pair.birch.trail_size();
    let caller = pair.alder.calls(&pair.birch);
    let reply = caller.get("/peer/v1/log/checkpoint").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let vkey = pair.birch.node().party().node.log_vkey.parse().unwrap();
    let head = Checkpoint::verify(reply.text(), &vkey).unwrap();
    assert_eq!(head.size, size);

    // To the byte what an export has.
    let folder = tempfile::tempdir().unwrap();
    let own = log_vkey(pair.birch.settings()).unwrap();
    static_log::write(&mut pair.birch.conn(), &own, folder.path(), &mut |_, _| {}, &AtomicBool::new(false)).unwrap();
    for resource in resources(size) {
        let reply = caller.get(&format!("/peer/v1/log/tile/{resource}")).await;
        if resource.of == Of::Entries {
            reply.problem(404, "not-in-log");
            continue;
        }
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/octet-stream")));
        assert_eq!(reply.header("cache-control"), Some("private, max-age=31536000, immutable"));
        assert_eq!(reply.body, std::fs::read(static_log::path_of(folder.path(), resource)).unwrap());
    }
    let last = size % 256;
    for absent in [
        format!("0/000.p/{}", last + 1),
        "0/000".to_owned(),
        "0/001.p/1".to_owned(),
        "1/000.p/1".to_owned(),
        "entries/000".to_owned(),
        format!("entries/000.p/{last}"),
        "0/000.p/0".to_owned(),
        "0/000.p/01".to_owned(),
        "00/000.p/1".to_owned(),
        "64/000.p/1".to_owned(),
        "0/../0/000.p/1".to_owned(),
        "0/%30%30%30.p/1x".to_owned(),
        String::new(),
    ] {
        let reply = caller.get(&format!("/peer/v1/log/tile/{absent}")).await;
        let detail = reply.problem(404, "not-in-log");
        assert!(detail.contains("checkpoint's size"), "{absent}: {detail}");
    }
    caller.post("/peer/v1/log/checkpoint", "").await.problem(405, "no-such-method");
    assert_eq!(pair.birch.trail_size(), size, "reading the log is not recorded");
}

#[actix_web::test]
async fn an_entry_is_read_again_by_whom_it_was_for_and_by_nobody_else() {
    let pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.birch).await;
    pair.birch.enrols(&cedar).await;
    pair.birch_saw(PLATE).await;
    let report = pair.alder.asks(pair.alder.asking(&pair.birch, PLATE)).await.unwrap();
    let kept = pair.alder.receipts(report.question.unwrap()).remove(0);
    let answer = newest(&pair.birch, Kind::QueryAnswered);
    let size = pair.birch.trail_size();

    let path = |rid: &dyn std::fmt::Display| format!("/peer/v1/log/entry/{rid}");
    let reply = pair.alder.calls(&pair.birch).get(&path(&answer)).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let envelope = Envelope::parse(&reply.body).unwrap();
    assert!(envelope.is_bare());
    let (leaf, message) = (envelope.entry.leaf.get().as_bytes(), envelope.entry.message.get().as_bytes());
    assert_eq!((leaf, message, envelope.entry.salt), (&kept.leaf[..], &kept.message[..], kept.salt));
    let vkey = pair.birch.node().party().node.log_vkey.parse().unwrap();
    assert_eq!(proof::verify(&envelope.proof, leaf, &vkey).unwrap().checkpoint.size, size, "under the newest head");
    let leaf = Leaf::from_bytes(leaf).unwrap();
    assert_eq!(leaf.message, Digest::salted(&envelope.entry.salt, message));
    let said: Answer = agreements::json::parse(message).unwrap();
    assert_eq!(said.outcome.name(), "permitted");
    let (row, _) = pair.birch.newest();
    let note: serde_json::Value = serde_json::from_slice(&row.detail.unwrap().note).unwrap();
    let from = note["from"].as_str().unwrap();
    assert!(!reply.text().contains(PLATE) && !reply.text().contains(from), "neither reads nor notes travel again");

    let unknown = pair.alder.calls(&pair.birch).get(&path(&"01940a2b-0000-7000-8000-000000000001")).await;
    unknown.problem(404, "not-in-log");
    let unknown = unknown.undated().1.to_vec();
    let others = [
        // Another partner's answer.
        (cedar.calls(&pair.birch), answer.to_string()),
        // Its own entry, at another's node.
        (pair.alder.calls(&pair.birch), newest(&pair.alder, Kind::QueryAsked).to_string()),
        (pair.alder.calls(&pair.birch), "no-id".to_owned()),
    ];
    for (caller, rid) in others {
        let reply = caller.get(&path(&rid)).await;
        assert_eq!((reply.status, reply.undated().1), (404, &unknown[..]), "{rid}: as one that does not exist");
    }
    // Of all that this node recorded, what was sent to Alder and nothing else.
    let (mut readable, mut others) = (BTreeSet::new(), BTreeSet::new());
    for row in pair.birch.entries(&Filter::default()) {
        let reply = pair.alder.calls(&pair.birch).get(&path(&row.rid)).await;
        let to_alder = String::from_utf8(row.detail.unwrap().message).unwrap().contains("\"ori\":\"CA0990000\"");
        match reply.status {
            200 => readable.insert(row.kind),
            404 => {
                assert_eq!(reply.undated().1, &unknown[..], "{}", row.kind);
                others.insert(row.kind)
            }
            _ => panic!("{}", reply.text()),
        };
        assert!(reply.status == 404 || to_alder, "{}", row.kind);
    }
    let sent = [Kind::QueryAnswered, Kind::AgreementEvent, Kind::AgreementAcknowledged];
    assert_eq!(readable, BTreeSet::from(sent));
    assert!(others.contains(&Kind::UserChanged) && others.contains(&Kind::PeerEnrolled), "{others:?}");
    assert!(others.is_disjoint(&readable));
    let question = newest(&pair.alder, Kind::QueryAsked);
    assert_eq!(pair.birch.calls(&pair.alder).get(&path(&question)).await.status, 200, "the asker's question");
    assert_eq!(pair.birch.trail_size(), size, "reading the log is not recorded");

    // What was deleted after its retention is not there for anybody.
    integration::tamper::run(&pair.birch.registry_file(), "DELETE FROM detail");
    let reply = pair.alder.calls(&pair.birch).get(&path(&answer)).await;
    assert_eq!(reply.undated().1, &unknown[..]);
}
