//! Refusing: each recorded message under a version that is not spoken, and with a field that its version does not have.

use std::collections::BTreeMap;

use agreements::entry::Kind;
use agreements::hotlist::{Assertion, Pull};
use agreements::ids::Ori;
use agreements::message::{Acknowledgement, Answer, Offer, PacketReceived, PacketSent, Question, StreamEvent};
use agreements::party::Party;
use agreements::protocol::Spoken;
use concordat::exchange::partner::Partner;
use concordat::exchange::sworn::{self, SwornError};
use concordat::exchange::wire::Envelope;
use concordat::trail::proof::CheckpointCache;
use integration::TestNode;
use integration::pair::Pair;
use serde_json::{Value, json};

use super::{renewals, sets, terms};

/// Verifies an entry as the door for its kind does, and forgets what it says.
fn heard(kind: Kind, text: &str, from: &TestNode, to: Ori) -> Result<(), SwornError> {
    let envelope = Envelope::parse(text.as_bytes()).unwrap();
    let partner = Partner::new(Party::clone(&from.node().party())).unwrap();
    let cache = CheckpointCache::default();
    match kind {
        Kind::QueryAsked => sworn::verify::<Question>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::QueryAnswered => sworn::verify::<Answer>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::AgreementOffered => sworn::verify::<Offer>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::AgreementEvent => sworn::verify::<StreamEvent>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::AgreementAcknowledged => {
            sworn::verify::<Acknowledgement>(&envelope, kind, &partner, to, &cache).map(drop)
        }
        Kind::HotlistPulled => sworn::verify::<Pull>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::HotlistAsserted => sworn::verify::<Assertion>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::PacketSent => sworn::verify::<PacketSent>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::PacketReceived => sworn::verify::<PacketReceived>(&envelope, kind, &partner, to, &cache).map(drop),
        other => panic!("{other} does not travel"),
    }
}

/// The door that takes entries of this kind. What comes as a reply has none: see [`super::pulling`].
fn door(kind: Kind, message: &Value) -> Option<String> {
    let agreement = message["to"][0]["agreement"].as_str().unwrap();
    match kind {
        Kind::QueryAsked => Some("/peer/v1/queries".to_owned()),
        Kind::AgreementOffered => Some("/peer/v1/agreements".to_owned()),
        Kind::AgreementEvent => Some(format!("/peer/v1/agreements/{agreement}/events")),
        Kind::PacketSent => Some(format!("/peer/v1/agreements/{agreement}/renewal")),
        Kind::HotlistPulled => Some(format!("/peer/v1/hotlists/{}/pull", message["list"].as_str().unwrap())),
        _ => None,
    }
}

#[actix_web::test]
async fn s40_a_message_of_an_unknown_version_or_with_an_unknown_field_is_refused() {
    let pair = Pair::under(terms()).await;
    let nodes = BTreeMap::from([(pair.alder.ori(), &pair.alder), (pair.birch.ori(), &pair.birch)]);
    let mut at_doors = BTreeMap::new();
    for (_, set) in sets().into_iter().chain(renewals()) {
        for (file, kind, from, to) in set.entries() {
            let message: Value = serde_json::from_str(set.envelope(file).entry.message.get()).unwrap();
            let changed = |change: &dyn Fn(&mut Value)| {
                let mut changed = message.clone();
                change(&mut changed);
                changed
            };
            let swear = |message: Value| {
                let forger = nodes[&from].forger();
                async move { forger.swears(kind, None, &message).await.1 }
            };
            let path = door(kind, &message).filter(|_| from == pair.alder.ori());
            // The same words, sworn today, are understood: so it is the change that is refused.
            let same = swear(message.clone()).await;
            heard(kind, &same, nodes[&from], to).unwrap_or_else(|error| panic!("{file}: {error}"));
            if let (Kind::HotlistPulled, Some(path)) = (kind, &path) {
                let reply = pair.alder.calls(&pair.birch).post(path, &same).await;
                assert_eq!(reply.status, 403, "{file}: {}", reply.text());
                assert_eq!(reply.message()["outcome"]["status"]["status"], "no_agreement", "{file}");
            }
            for v in [0, Spoken::OURS.newest + 1, u16::MAX] {
                let text = swear(changed(&|message| message["v"] = v.into())).await;
                let error = heard(kind, &text, nodes[&from], to).unwrap_err();
                assert!(matches!(error, SwornError::Version { found, .. } if found == v), "{file}: {error}");
                assert!(error.to_string().contains(&format!("this node speaks {}", Spoken::OURS)), "{error}");
                // With a field that only that version has: it is still the version that is said.
                let text = swear(changed(&|message| {
                    message["v"] = v.into();
                    message["of_a_later_version"] = true.into();
                }))
                .await;
                assert!(heard(kind, &text, nodes[&from], to).unwrap_err().is_of_version(), "{file}");
                let Some(path) = &path else { continue };
                *at_doors.entry(kind).or_insert(0) += 1;
                refused_for_its_version(&pair, path, &text, v).await;
            }
            let text = swear(changed(&|message| message["of_a_later_version"] = true.into())).await;
            let error = heard(kind, &text, nodes[&from], to).unwrap_err();
            assert!(matches!(&error, SwornError::Message(_)), "{file}: {error}");
            assert!(error.to_string().contains("unknown field `of_a_later_version`"), "{file}: {error}");
            if let Some(path) = &path {
                let reply = pair.alder.calls(&pair.birch).post(path, &text).await;
                assert!(reply.problem(400, "unsworn").contains("unknown field"), "{file}");
            }
        }
    }
    assert!(
        at_doors.len() == 5 && at_doors[&Kind::PacketSent] == 3 && at_doors[&Kind::HotlistPulled] == 15,
        "{at_doors:?}"
    );
}

/// Posts to Birch what is of a version that it does not speak.
async fn refused_for_its_version(pair: &Pair, path: &str, text: &str, v: u16) {
    let size = pair.birch.trail_size();
    let reply = pair.alder.calls(&pair.birch).post(path, text).await;
    let detail = reply.problem(400, "version");
    assert!(detail.contains(&format!("version {v}")), "{path}: {detail}");
    assert_eq!(reply.json()["versions"], json!(Spoken::OURS.versions()), "{path}");
    assert_eq!(pair.birch.trail_size(), size, "{path}");
}
