//! What partners say to each other in the course of years: packets, a renewal, other keys, another place. A set of its own,
//! beside the one of its version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use agreements::entry::Kind;
use agreements::message::{Acknowledgement, PROTOCOL, PacketReceived, PacketSent, StreamEvent};
use agreements::packet::Packet;
use agreements::protocol::Spoken;
use agreements::stream::{Event, Said, Stream};
use certs::jws;
use concordat::exchange::lifecycle::{Act, deliver};
use concordat::exchange::partner::seal_key;
use concordat::exchange::standing;
use concordat::exchange::sworn::Sworn;
use concordat::registry::agreements as documents;
use concordat::registry::papers;
use concordat::renewal::PACKET_TYP;
use concordat::rotation::{self, KeyKind};
use concordat::trail::search::Filter;
use integration::pair::Pair;
use integration::renewal::answers;
use integration::{Reply, TestNode};

use super::record::{Recorder, says};
use super::understand::whole;
use super::{Set, renewals, renewed};

/// The only entry of a kind in a node's trail, as the node sends it.
async fn only(node: &TestNode, kind: Kind, document: Option<&str>) -> String {
    let entries = node.entries(&Filter { kind: Some(kind), ..Filter::default() });
    let [entry] = entries.as_slice() else { panic!("{} entries of {kind}", entries.len()) };
    says(node, entry.rid, document).await
}

async fn told(recorder: &Recorder, path: &str, text: &str) -> Reply {
    let reply = recorder.post(path, text).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

#[actix_web::test]
#[ignore = "records the messages of a new protocol version; run by hand"]
async fn record_the_messages_of_a_renewal() {
    let folder = renewed(PROTOCOL);
    assert!(!folder.exists(), "{} is there already, and a recorded set is never made anew", folder.display());
    let pair = Pair::in_force().await;
    let mut recorder = Recorder::of(pair);
    let (alder, birch) = (recorder.alder(), recorder.birch());
    for (file, body) in
        [("alder.descriptor", recorder.pair.alder.descriptor()), ("birch.descriptor", recorder.pair.birch.descriptor())]
    {
        recorder.keep(file, super::Is::Descriptor, body);
    }

    // Alder applies, and Birch says that it has the packet.
    let made = recorder.pair.alder.makes_packet_of(answers(&recorder.pair.alder)).await.unwrap();
    concordat::renewal::sending::send_all(recorder.pair.alder.node()).await.unwrap();
    let sealed = papers::find(&mut recorder.pair.alder.conn(), made.held.id, PACKET_TYP).unwrap().unwrap().sealed;
    let sealed = String::from_utf8(sealed).unwrap();
    let sent = only(&recorder.pair.alder, Kind::PacketSent, Some(&sealed)).await;
    let received = told(&recorder, &format!("/peer/v1/agreements/{}/renewal", recorder.pair.id), &sent).await;
    recorder.entry("packet.sent", Kind::PacketSent, alder, sent);
    recorder.entry("packet.received", Kind::PacketReceived, birch, received.body);

    // Birch applies too; both review, and Alder offers and signs what renews the agreement.
    recorder.pair.birch.makes_packet().await;
    recorder.pair.alder.reviews(&recorder.pair.birch, None).await.unwrap();
    recorder.pair.birch.reviews(&recorder.pair.alder, None).await.unwrap();
    let new = recorder.pair.alder.renews_today(recorder.pair.id).await.unwrap();
    recorder.pair.alder.acts(new, Act::Sign).await.unwrap();
    let (document, offer) = {
        let mut conn = recorder.pair.alder.conn();
        let (document, _) = documents::find(&mut conn, new).unwrap().unwrap();
        (String::from_utf8(document).unwrap(), documents::offer(&mut conn, new).unwrap().unwrap())
    };
    let offer = says(&recorder.pair.alder, offer, Some(&document)).await;
    recorder.entry("offer", Kind::AgreementOffered, alder, offer);

    // Another seal, and another place with other contacts.
    recorder.pair.alder.prepares(&recorder.pair.federation, &[KeyKind::Seal]);
    recorder.pair.alder.rotates().await;
    recorder.pair.alder.restart_with(|config| config.agency.contacts = vec!["sharing@alder.test".to_owned()]);
    let order = recorder.pair.alder.order("another mailbox");
    rotation::moved(recorder.pair.alder.node(), order, &mut |_, _| {}).await.unwrap();
    deliver(recorder.pair.alder.node(), new).await;
    let events = format!("/peer/v1/agreements/{new}/events");
    for (n, name) in ["signed", "rekeyed", "moved"].into_iter().enumerate() {
        let text = recorder.event(&recorder.pair.alder, new, n).await;
        let acknowledged = told(&recorder, &events, &text).await;
        recorder.entry(&format!("event.{name}"), Kind::AgreementEvent, alder, text);
        let file = format!("event.{name}.acknowledged");
        recorder.entry(&file, Kind::AgreementAcknowledged, birch, acknowledged.body);
    }
    recorder.write(&folder);
}

#[test]
fn s40_recorded_packets_renewals_and_changes_of_keys_of_every_version_are_understood() {
    for (version, set) in renewals() {
        let there: BTreeSet<String> = fs::read_dir(renewed(version))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<String> = set.bodies.keys().cloned().chain(["index.json".to_owned()]).collect();
        assert_eq!(there, listed, "every file is in the index");
        assert!(Spoken::OURS.versions().contains(&version));
        let kinds: BTreeMap<Kind, usize> = set.entries().fold(BTreeMap::new(), |mut kinds, (_, kind, ..)| {
            *kinds.entry(kind).or_default() += 1;
            kinds
        });
        let expected = [
            (Kind::AgreementOffered, 1),
            (Kind::AgreementEvent, 3),
            (Kind::AgreementAcknowledged, 3),
            (Kind::PacketSent, 1),
            (Kind::PacketReceived, 1),
        ];
        assert_eq!(kinds, BTreeMap::from(expected));
        packets(&set);
        events(&set);
    }
}

/// The packet as its receiver takes it, and what that says of it.
fn packets(set: &Set) {
    let applied: Sworn<PacketSent> = set.listed("packet.sent.json");
    whole(set, "packet.sent.json", applied.message());
    let document = set.envelope("packet.sent.json").document.unwrap().get().as_bytes();
    let from = set.partners[&applied.evidence().origin].party();
    let opened = jws::open_flattened(document, PACKET_TYP, &seal_key(from).unwrap()).unwrap();
    assert_eq!(opened.id(), applied.message().packet);
    let packet = Packet::from_bytes(opened.payload()).unwrap();
    assert_eq!(packet.ori, from.ori);
    assert_eq!(packet.to_bytes().unwrap(), opened.payload(), "nothing of it is lost");

    let received: Sworn<PacketReceived> = set.listed("packet.received.json");
    whole(set, "packet.received.json", received.message());
    assert_eq!(received.message().of, set.leaf_hashes()["packet.sent.json"]);
    assert_eq!(received.message().packet, applied.message().packet);
}

/// The renewal, and its signer's events in their order, each under the seal of its day.
fn events(set: &Set) {
    let (agreement, document) = set.agreement();
    let renewal = agreement.renewal.as_ref().expect("it renews one");
    assert_eq!(renewal.packet_sha256.to_string().len(), 64);
    assert!(agreement.supersedes.is_some() && agreement.revision == 2);
    assert_eq!(agreement.to_bytes().unwrap(), document, "nothing of it is lost");
    let mut stream = Stream::default();
    for name in ["signed", "rekeyed", "moved"] {
        let file = format!("event.{name}.json");
        let said: Sworn<StreamEvent> = set.listed(&file);
        whole(set, &file, said.message());
        let (message, evidence) = said.into_parts();
        standing::sealed(&agreement, &document, evidence.origin, &message, &stream)
            .unwrap_or_else(|why| panic!("{file}: {why}"));
        match &message.event {
            Event::Signed { official, .. } => assert!(official.is_some(), "the official signs as well"),
            Event::Rekeyed { keys, compromised, .. } => {
                let before = agreement.party(evidence.origin).unwrap().node.keys();
                assert!(keys.seal_key != before.seal_key && keys.log_vkey == before.log_vkey && !compromised);
            }
            Event::Moved { contacts, .. } => assert_eq!(contacts, &["sharing@alder.test"]),
            other => panic!("{other:?}"),
        }
        assert_eq!(message.event.name(), name);
        stream.take(message.n, Said { event: message.event, at: evidence.at }).unwrap_or_else(|why| panic!("{why:?}"));
        let file = format!("event.{name}.acknowledged.json");
        let of: Sworn<Acknowledgement> = set.listed(&file);
        whole(set, &file, of.message());
        assert_eq!(of.message().of, evidence.leaf_hash, "{name}");
    }
    // Without the event before it, the seal of `moved` is nobody's.
    let moved: Sworn<StreamEvent> = set.listed("event.moved.json");
    let signed = Stream::new(stream.events()[..1].to_vec());
    let origin = moved.evidence().origin;
    assert!(standing::sealed(&agreement, &document, origin, moved.message(), &signed).is_err());
}
