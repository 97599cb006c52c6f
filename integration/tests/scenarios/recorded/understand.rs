//! Understanding: every recorded message, read and judged as its receiver does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use agreements::agreement::Agreement;
use agreements::decide::{Decision, Denial, OwnerRules, Searches, Sensitive, Standing, Usage, decide};
use agreements::entry::Kind;
use agreements::hotlist::{Assertion, Have, Offers, Outcome as Told, Pull, decide_pull};
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::message::{Acknowledgement, Answer, Message, Outcome, Question, RuleSaid, StreamEvent};
use agreements::party::Party;
use agreements::protocol::{self, ReadError, Spoken};
use agreements::purpose::Purpose;
use agreements::register::Register;
use agreements::status::Status;
use agreements::stream::{Said, Stream, Streams};
use concordat::exchange::lifecycle::View;
use concordat::exchange::standing;
use concordat::exchange::sworn::{self, Sworn};
use concordat::exchange::versions::Described;
use concordat::exchange::wire::Envelope;
use concordat::reads::Read;
use concordat::reconciling::listing::{DayList, day_of};
use concordat::trail::note::Checkpoint;
use concordat::trail::proof::CheckpointCache;
use integration::federation::start;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Is, LIST, Set, asserted, folder, sets};

#[test]
fn s40_recorded_messages_of_every_version_that_is_spoken_are_understood() {
    for (version, set) in sets() {
        let there: BTreeSet<String> = fs::read_dir(folder(version))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<String> = set.bodies.keys().cloned().chain(["index.json".to_owned()]).collect();
        assert_eq!(there, listed, "every file is in the index");
        let kinds: BTreeSet<Kind> = set.entries().map(|(_, kind, ..)| kind).collect();
        assert_eq!(kinds.len(), 7, "{kinds:?}");
        let (agreement, document) = set.agreement();
        let hashes = set.leaf_hashes();
        let streams = understood(&set, &agreement, &document, &hashes);
        decided(&set, &agreement, &streams);
        pulls_decided(&set, &agreement, &streams);
        led_to(&set);
        told(&set, version, &agreement);
    }
}

/// Reads every entry as its receiver does. The streams of the agreement.
fn understood(set: &Set, agreement: &Agreement, document: &[u8], hashes: &BTreeMap<String, Digest>) -> Streams {
    let known: BTreeSet<Digest> = hashes.values().copied().collect();
    let mut streams: BTreeMap<Ori, BTreeMap<u32, Said>> = BTreeMap::new();
    let mut events = BTreeSet::new();
    for (file, kind, from, to) in set.entries() {
        match kind {
            Kind::QueryAsked => {
                let question: Sworn<Question> = set.sworn(file, kind, from, to);
                whole(set, file, question.message());
                assert_eq!(question.agreement(), agreement.id);
            }
            Kind::QueryAnswered => {
                let answer: Sworn<Answer> = set.sworn(file, kind, from, to);
                assert!(known.contains(&answer.message().question), "{file} answers a recorded question");
                answered(set, file, answer.message());
            }
            Kind::AgreementOffered => {}
            Kind::AgreementEvent => {
                let event: Sworn<StreamEvent> = set.sworn(file, kind, from, to);
                let said = event.message();
                if event.agreement() == agreement.id {
                    let keep = Said { event: said.event.clone(), at: event.evidence().at };
                    standing::sealed(agreement, document, from, said, &Stream::default())
                        .unwrap_or_else(|why| panic!("{file}: {why}"));
                    streams.entry(from).or_default().insert(said.n, keep);
                }
                assert!(file.contains(said.event.name()), "{file}: {}", said.event.name());
                events.insert(said.event.name());
            }
            Kind::AgreementAcknowledged => {
                let said: Sworn<Acknowledgement> = set.sworn(file, kind, from, to);
                assert!(known.contains(&said.message().of), "{file} acknowledges a recorded entry");
            }
            Kind::HotlistPulled => {
                let pull: Sworn<Pull> = set.sworn(file, kind, from, to);
                whole(set, file, pull.message());
                assert_eq!(pull.agreement(), agreement.id);
            }
            Kind::HotlistAsserted => {
                let assertion: Sworn<Assertion> = set.sworn(file, kind, from, to);
                whole(set, file, assertion.message());
                assert_eq!(assertion.agreement(), agreement.id);
                assert_eq!(assertion.message().pull, hashes[&pull_of(file)], "{file} answers its pull");
                assert_eq!(assertion.message().list, set.listed::<Pull>(&pull_of(file)).message().list, "{file}");
            }
            other => panic!("{file}: {other} does not travel"),
        }
    }
    assert_eq!(events.len(), 6, "{events:?}");
    let mut all = Streams::default();
    for (party, stream) in agreement.parties.iter().zip(&mut all.parties) {
        let events = streams.remove(&party.ori).unwrap_or_default();
        let numbers = 1..=u32::try_from(events.len()).unwrap();
        assert!(events.keys().copied().eq(numbers), "{}: no event is missing", party.ori);
        *stream = Stream::new(events.into_values().collect());
    }
    all
}

/// Checks that a message was read whole: written again it is what came.
pub(super) fn whole(set: &Set, file: &str, message: &impl Serialize) {
    let came = set.envelope(file).entry.message.get().as_bytes();
    assert_eq!(json::canonical(message).unwrap(), came, "{file}: nothing of it is lost");
}

fn answered(set: &Set, file: &str, answer: &Answer) {
    let results = set.envelope(file).results.map(|raw| raw.get().to_owned());
    match &answer.outcome {
        Outcome::Permitted { reads, results: digest, .. } => {
            let text = results.unwrap();
            assert_eq!(Digest::of(text.as_bytes()), *digest);
            let rows: Vec<Read> = serde_json::from_str(&text).unwrap();
            assert!(!rows.is_empty() && rows.iter().map(|read| &read.id).eq(reads));
        }
        _ => assert_eq!(results, None, "{file}"),
    }
    let outcome = answer.outcome.name();
    assert!(file.contains(outcome) || (file.contains("ended") && outcome == "denied"), "{file}: {outcome}");
}

/// The file of the pull that the assertion in `file` answers.
fn pull_of(file: &str) -> String {
    format!("pull.{}.json", file.split('.').nth(1).unwrap())
}

/// The streams as they were before the first event of this name.
fn before(streams: &Streams, name: &str) -> Streams {
    let mut before = streams.clone();
    for stream in &mut before.parties {
        let events = stream.events().iter().take_while(|said| said.event.name() != name).cloned().collect();
        *stream = Stream::new(events);
    }
    before
}

/// What the owner of a message knows when it comes.
fn standing<T: Message>(sworn: &Sworn<T>, agreement: &Agreement, streams: Streams) -> Standing {
    let (at, partner) = (sworn.evidence().at, sworn.evidence().origin);
    Standing {
        owner: sworn.message().to()[0].ori,
        partner,
        agreement: Some(agreement.clone()),
        streams,
        register: Register::new(&[], Some(at), Vec::new()),
        rules: OwnerRules {
            purposes: Purpose::ALL.to_vec(),
            max_lookback_days: 30,
            max_rows: 200,
            rate_per_minute: 1000,
            searches: Searches::Exact,
            sensitive: Sensitive::Refer,
        },
        authorized_until: Some(agreements::time::Instant::from_micros(i64::MAX)),
        under_agreement: BTreeSet::from([partner]),
        epoch: 1,
    }
}

/// Decides about the recorded questions as an owner does, at the instants at which they were asked.
fn decided(set: &Set, agreement: &Agreement, streams: &Streams) {
    let decision = |file: &str, streams: &Streams| {
        let question = set.question(file);
        let at = question.evidence().at;
        let standing = standing(&question, agreement, streams.clone());
        let in_force = matches!(standing.status(at), Status::InForce { .. });
        assert_eq!(in_force, file != "question.ended.json", "{file}: {:?}", standing.status(at));
        decide(question.message(), &standing, Usage::default(), at)
    };
    let ended = decision("question.ended.json", streams);
    assert!(matches!(ended, Decision::Deny(_)), "it was terminated");
    let streams = &before(streams, "terminated");
    assert!(matches!(decision("question.permitted.json", streams), Decision::Permit(_)));
    let withheld = decision("question.withheld.json", streams);
    assert!(matches!(withheld, Decision::Permit(_)), "the sunset came after the decision");
    assert!(matches!(decision("question.denied.json", streams), Decision::Deny(_)));
    assert!(matches!(decision("question.referred.json", streams), Decision::Refer(_)));
}

/// Decides about the recorded pulls as their owner does, and compares that with what it answered.
fn pulls_decided(set: &Set, agreement: &Agreement, streams: &Streams) {
    for (file, assertion) in set.assertions() {
        let pull = set.listed::<Pull>(&pull_of(file));
        let event = if file.contains("suspended") { "resumed" } else { "suspended" };
        let standing = standing(&pull, agreement, before(streams, event));
        let decided = decide_pull(&pull.message().list, &standing, pull.evidence().at);
        match (&assertion.outcome, decided) {
            (Told::Asserted(asserted), Ok(permit)) => assert_eq!(asserted.categories, permit.categories(), "{file}"),
            (Told::Denied { rules, status }, Err(Denial { rules: ours, status: now })) => {
                let said = |rules: &[RuleSaid]| rules.iter().map(|said| said.rule).collect::<Vec<_>>();
                assert_eq!((said(rules), status), (ours, &now), "{file}");
                assert_eq!(status.is_some(), file.contains("suspended"), "{file}: {status:?}");
            }
            (told, ours) => panic!("{file}: {told:?} was told, and {ours:?} is decided"),
        }
    }
}

/// The assertions, each with what the pull before it said that the puller had. That their bulk is taken is for a real
/// puller to show: see [`super::pulling`].
fn led_to(set: &Set) {
    let (mut have, mut outcomes) = (None::<Have>, Vec::new());
    for (file, assertion) in set.assertions() {
        let (_, bulk) = set.parted(file);
        let Some(asserted) = asserted(&assertion) else {
            assert!(bulk.is_empty(), "{file}");
            outcomes.push("denied");
            continue;
        };
        assert_eq!(assertion.list, LIST);
        assert_eq!(Digest::of(bulk), asserted.bulk, "{file}: the bulk is what was asserted");
        let lines = bulk.split_inclusive(|byte| *byte == b'\n').count() as u64;
        assert_eq!(lines, asserted.added + asserted.removed, "{file}");
        let had = set.listed::<Pull>(&pull_of(file)).message().have;
        assert_eq!(had, have, "{file}");
        assert_eq!(asserted.since, have.map(|have| have.version), "{file}");
        let now = Have { version: asserted.version, contents: asserted.contents };
        outcomes.push(match asserted.since {
            None => "full",
            Some(_) if lines == 0 => {
                assert_eq!(have, Some(now), "{file}");
                "renewed"
            }
            Some(_) => {
                assert!(asserted.added > 0 && asserted.removed > 0, "{file}");
                "difference"
            }
        });
        have = Some(now);
    }
    assert_eq!(outcomes, ["full", "renewed", "difference", "denied", "denied"]);
}

/// What a node's trail has for the other on a day: recorded entries, in the log whose head it names.
fn listed(set: &Set, body: &[u8], from: Ori, to: Ori) {
    let list: DayList = protocol::read(body).unwrap();
    assert_eq!((list.origin, list.to, list.day, list.next), (from, to, day_of(start()), None));
    let head = Checkpoint::verify(&list.checkpoint, set.partners[&from].log()).unwrap();
    let known = set.leaf_hashes();
    assert!(list.entries.len() > 4 && list.entries.iter().all(|entry| entry.index < head.size), "{list:?}");
    for entry in &list.entries {
        let (file, kind, ..) = set.entries().find(|(file, ..)| known[*file] == entry.leaf).unwrap();
        assert_eq!((kind, day_of(entry.at)), (entry.kind, list.day), "{file}");
        let replies = !matches!(kind, Kind::AgreementEvent | Kind::AgreementOffered);
        assert_eq!(entry.of.is_some_and(|of| known.values().any(|known| *known == of)), replies, "{file}");
    }
    let mut later: Value = serde_json::from_slice(body).unwrap();
    later["v"] = (Spoken::OURS.newest + 1).into();
    let refused = protocol::read::<DayList>(later.to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, ReadError::Version { .. }), "{refused}");
}

/// What is said without being sworn.
fn told(set: &Set, version: u16, agreement: &Agreement) {
    let mut slugs = Vec::new();
    for line in &set.lines {
        let (file, body) = (&line.file, set.body(&line.file));
        match &line.is {
            Is::Description => {
                let described: Described = serde_json::from_slice(body).unwrap();
                assert!(described.protocols.contains(&version) && described.at == Some(start()), "{described:?}");
                let party: Party = json::parse(described.party.unwrap().get().as_bytes()).unwrap();
                assert_eq!(&party, set.partners[&party.ori].party());
                assert_eq!(Spoken::OURS.common(&described.protocols), Some(version));
            }
            Is::View { from, to } => viewed(set, body, *from, *to),
            Is::Offers { from, .. } => {
                let offers: Offers = protocol::read(body).unwrap();
                let mut later: Value = serde_json::from_slice(body).unwrap();
                later["v"] = (Spoken::OURS.newest + 1).into();
                let refused = protocol::read::<Offers>(later.to_string().as_bytes()).unwrap_err();
                assert!(matches!(refused, ReadError::Version { .. }), "{refused}");
                assert_eq!((offers.v, offers.owner), (version, *from));
                let offered: Vec<_> =
                    offers.lists.iter().map(|it| (it.list.as_str(), it.agreement, it.version)).collect();
                assert_eq!(offered, [(LIST, agreement.id, 1)]);
            }
            Is::Day { from, to } => listed(set, body, *from, *to),
            Is::Problem { status, slug } => {
                slugs.push(slug.as_str());
                let document: Value = serde_json::from_slice(body).unwrap();
                assert_eq!(document["type"], format!("urn:concordat:problem:{slug}"), "{document}");
                assert_eq!(document["status"], *status);
                assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{document}");
                assert_eq!(document.get("versions"), (slug == "version").then_some(&json!([version])), "{file}");
            }
            Is::Descriptor | Is::Entry { .. } => {}
        }
    }
    assert_eq!(slugs.len(), 19);
    let kinds: BTreeSet<&str> = slugs.into_iter().collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
}

fn viewed(set: &Set, body: &[u8], from: Ori, to: Ori) {
    let view: View = protocol::read(body).unwrap();
    assert!(view.received > 0 && !view.events.is_empty(), "{view:?}");
    for event in &view.events {
        let envelope = Envelope::parse(event.get().as_bytes()).unwrap();
        let cache = CheckpointCache::default();
        let said: Sworn<StreamEvent> =
            sworn::verify(&envelope, Kind::AgreementEvent, &set.partners[&from], to, &cache).unwrap();
        assert_eq!(said.message().event.name(), "signed");
    }
}
