//! S40: the messages of each release, recorded once and understood for ever; and what is of no version that is spoken.
//!
//! See `integration/recorded/README.md`. `cargo test -p integration --test scenarios record_the_messages -- --ignored`
//! records the set of a new protocol version; it never touches one that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use agreements::agreement::Agreement;
use agreements::decide::{Decision, OwnerRules, Searches, Sensitive, Standing, Usage, decide};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, Answer, Message, Offer, Outcome, PROTOCOL, Question, StreamEvent};
use agreements::party::Party;
use agreements::protocol::{self, Spoken};
use agreements::purpose::Purpose;
use agreements::status::{Register, Status, Stream, Streams};
use agreements::time::Instant;
use concordat::exchange::lifecycle::{self, Act, View};
use concordat::exchange::partner::Partner;
use concordat::exchange::sworn::{self, Sworn, SwornError};
use concordat::exchange::versions::Described;
use concordat::exchange::wire::{self, Bulk, Envelope};
use concordat::exchange::{descriptor, standing};
use concordat::reads::Read;
use concordat::registry::agreements as documents;
use concordat::trail::proof::CheckpointCache;
use integration::federation::start;
use integration::pair::{Pair, Terms, days_from_start};
use integration::{Reply, TestNode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const PLATE: &str = "7REC516";
const VAGUE: &str = "inv";
const SENSITIVE: &str = "burglar took this vehicle from the church service last night";

fn folder(version: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("recorded/v{version}"))
}

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
enum Is {
    /// A descriptor file.
    Descriptor,
    /// What a node says of itself.
    Description,
    /// A sworn entry of this kind, from one agency to another.
    Entry { kind: Kind, from: Ori, to: Ori },
    /// What a node says of an agreement, with its events.
    View { from: Ori, to: Ori },
    /// A problem document with this status.
    Problem { status: u16 },
}

/// A line of `index.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    file: String,
    #[serde(flatten)]
    is: Is,
}

// ---- Recording ----

struct Recorder {
    pair: Pair,
    files: Vec<(Line, Vec<u8>)>,
}

impl Recorder {
    fn keep(&mut self, file: &str, is: Is, body: impl Into<Vec<u8>>) {
        self.files.push((Line { file: format!("{file}.json"), is }, body.into()));
    }

    fn entry(&mut self, file: &str, kind: Kind, from: Ori, body: impl Into<Vec<u8>>) {
        let to = if from == self.alder() { self.birch() } else { self.alder() };
        self.keep(file, Is::Entry { kind, from, to }, body);
    }

    fn problem(&mut self, file: &str, reply: &Reply) {
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{file}: {}", reply.text());
        self.keep(file, Is::Problem { status: reply.status }, reply.body.clone());
    }

    fn alder(&self) -> Ori {
        self.pair.alder.ori()
    }

    fn birch(&self) -> Ori {
        self.pair.birch.ori()
    }

    async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.pair.alder.calls(&self.pair.birch).post(path, body).await
    }

    /// Event `n` (from 0) of a party's stream, as its node sends it.
    async fn event(&self, of: &TestNode, id: AgreementId, n: usize) -> String {
        let rid = documents::stream(&mut of.conn(), id, of.ori()).unwrap()[n].rid;
        says(of, rid, None).await
    }
}

/// An entry of a node's trail, as the node sends it.
async fn says(node: &TestNode, rid: RequestId, document: Option<&str>) -> String {
    let recorded = node.node().registry().record(move |tx| tx.again(rid)).await.unwrap();
    let entry = recorded.entry((*recorded).unwrap()).unwrap();
    wire::write(entry, document.map_or(Bulk::None, Bulk::Document)).unwrap()
}

#[actix_web::test]
#[ignore = "records the messages of a new protocol version; run by hand"]
async fn record_the_messages_of_this_release() {
    let folder = folder(PROTOCOL);
    assert!(!folder.exists(), "{} is there already, and a recorded set is never made anew", folder.display());
    let mut recorder = Recorder { pair: Pair::in_force().await, files: Vec::new() };
    agreement(&mut recorder).await;
    questions(&mut recorder).await;
    problems(&mut recorder).await;
    endings(&mut recorder).await;
    fs::create_dir_all(&folder).unwrap();
    let mut index = Vec::new();
    for (line, body) in recorder.files {
        fs::write(folder.join(&line.file), body).unwrap();
        index.push(line);
    }
    fs::write(folder.join("index.json"), serde_json::to_string_pretty(&index).unwrap() + "\n").unwrap();
}

async fn agreement(recorder: &mut Recorder) {
    for (file, body) in
        [("alder.descriptor", recorder.pair.alder.descriptor()), ("birch.descriptor", recorder.pair.birch.descriptor())]
    {
        recorder.keep(file, Is::Descriptor, body);
    }
    let described = recorder.pair.alder.calls(&recorder.pair.birch).get("/peer/v1/node").await;
    recorder.keep("description", Is::Description, described.body);
    let (id, alder, birch) = (recorder.pair.id, recorder.alder(), recorder.birch());
    let (document, offer) = {
        let mut conn = recorder.pair.alder.conn();
        let (document, _) = documents::find(&mut conn, id).unwrap().unwrap();
        (String::from_utf8(document).unwrap(), documents::offer(&mut conn, id).unwrap().unwrap())
    };
    let offer = says(&recorder.pair.alder, offer, Some(&document)).await;
    let acknowledged = recorder.post("/peer/v1/agreements", &offer).await;
    recorder.entry("offer", Kind::AgreementOffered, alder, offer);
    recorder.entry("offer.acknowledged", Kind::AgreementAcknowledged, birch, acknowledged.body);
    let events = format!("/peer/v1/agreements/{id}/events");
    let signed = recorder.event(&recorder.pair.alder, id, 0).await;
    let acknowledged = recorder.post(&events, &signed).await;
    recorder.entry("event.signed", Kind::AgreementEvent, alder, signed);
    recorder.entry("event.signed.acknowledged", Kind::AgreementAcknowledged, birch, acknowledged.body);
    let signed = recorder.event(&recorder.pair.birch, id, 0).await;
    recorder.entry("event.signed.by-the-other", Kind::AgreementEvent, birch, signed);
    let view = recorder.pair.alder.calls(&recorder.pair.birch).get(&format!("/peer/v1/agreements/{id}")).await;
    recorder.keep("view", Is::View { from: birch, to: alder }, view.body);
}

async fn questions(recorder: &mut Recorder) {
    let (alder, birch) = (recorder.alder(), recorder.birch());
    recorder.pair.birch_saw(PLATE).await;
    for (name, reason, status) in
        [("permitted", None, 200), ("denied", Some(VAGUE), 403), ("referred", Some(SENSITIVE), 202)]
    {
        let mut question = recorder.pair.alder.question(&recorder.pair.birch, recorder.pair.id, PLATE);
        if let Some(reason) = reason {
            question.reason = reason.to_owned();
        }
        let text = recorder.pair.alder.forger().asks(&question).await;
        let reply = recorder.post("/peer/v1/queries", &text).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        recorder.entry(&format!("question.{name}"), Kind::QueryAsked, alder, text);
        recorder.entry(&format!("answer.{name}"), Kind::QueryAnswered, birch, reply.body);
    }
}

async fn problems(recorder: &mut Recorder) {
    let forger = recorder.pair.alder.forger();
    let question = recorder.pair.alder.question(&recorder.pair.birch, recorder.pair.id, PLATE);
    let (rid, _) = forger.swears(Kind::QueryAsked, None, &question).await;
    let good = says(&recorder.pair.alder, rid, None).await;
    let mut later = serde_json::to_value(&question).unwrap();
    later["v"] = (PROTOCOL + 1).into();
    let mut others = question.clone();
    others.to[0].ori = "CA0990200".parse().unwrap();
    let (_, later) = forger.swears(Kind::QueryAsked, None, &later).await;
    let (_, others) = forger.swears(Kind::QueryAsked, None, &others).await;
    let (_, event) = forger.swears(Kind::AgreementEvent, None, &question).await;
    let with_bulk = good.replacen("\"proof\"", "\"results\":[],\"proof\"", 1);
    let gap = StreamEvent {
        v: PROTOCOL,
        to: question.to.clone(),
        document: Digest::of(&documents::find(&mut recorder.pair.birch.conn(), recorder.pair.id).unwrap().unwrap().0),
        n: 9,
        event: agreements::status::Event::Suspended { reason: "a gap".to_owned() },
    };
    let (_, gap) = forger.swears(Kind::AgreementEvent, None, &gap).await;
    let (queries, events) = ("/peer/v1/queries", format!("/peer/v1/agreements/{}/events", recorder.pair.id));
    for (file, path, body) in [
        ("problem.version", queries, later),
        ("problem.not-for-us", queries, others),
        ("problem.unsworn", queries, event),
        ("problem.malformed", queries, "{}".to_owned()),
        ("problem.unacceptable", queries, with_bulk),
        ("problem.out-of-order", events.as_str(), gap),
        ("problem.no-such-path", "/peer/v1/nowhere", String::new()),
    ] {
        let reply = recorder.post(path, body).await;
        assert_ne!(reply.status, 200, "{file}");
        recorder.problem(file, &reply);
    }
    let unknown = integration::pair::agreement_id();
    let reply = recorder.pair.alder.calls(&recorder.pair.birch).get(&format!("/peer/v1/agreements/{unknown}")).await;
    recorder.problem("problem.no-agreement", &reply);
}

/// A permit that the sunset overtook, a denial under an agreement that is not in force, and how agreements end.
async fn endings(recorder: &mut Recorder) {
    let (alder, birch, id) = (recorder.alder(), recorder.birch(), recorder.pair.id);
    for (file, n, act) in [
        ("event.suspended", 1, Act::Suspend { reason: "the audit is open".to_owned() }),
        ("event.resumed", 2, Act::Resume { reason: "the audit is closed".to_owned() }),
    ] {
        recorder.pair.alder.acts(id, act).await.unwrap();
        let text = recorder.event(&recorder.pair.alder, id, n).await;
        recorder.entry(file, Kind::AgreementEvent, alder, text);
    }
    for (file, act) in [
        ("event.declined", Act::Decline { reason: "the lookback is too long".to_owned() }),
        ("event.withdrawn", Act::Withdraw { reason: "the dates are wrong".to_owned() }),
    ] {
        let document = Terms::default().between(recorder.pair.alder.node().party(), recorder.pair.birch.node().party());
        let by = recorder.pair.alder.fiction.person("agreements");
        let bytes = document.to_bytes().unwrap();
        let (other, _) = lifecycle::propose(recorder.pair.alder.node(), bytes, &by).await.unwrap();
        recorder.pair.alder.acts(other, act).await.unwrap();
        let text = recorder.event(&recorder.pair.alder, other, 0).await;
        recorder.entry(file, Kind::AgreementEvent, alder, text);
    }
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    recorder.pair.set_clocks(sunset.plus(-1));
    recorder.pair.birch_saw(PLATE).await;
    let text = recorder.pair.question_text(PLATE).await;
    let (clock, reads) = (recorder.pair.birch.clock.clone(), std::sync::Arc::clone(recorder.pair.birch.node().reads()));
    let touched = reads.touches();
    recorder.pair.birch.clock.when_read(move || {
        let searched = reads.touches() > touched;
        if searched {
            clock.set(sunset);
        }
        searched
    });
    let reply = recorder.post("/peer/v1/queries", &text).await;
    assert_eq!(reply.message()["outcome"]["decision"], "withheld", "{}", reply.text());
    recorder.entry("question.withheld", Kind::QueryAsked, alder, text);
    recorder.entry("answer.withheld", Kind::QueryAnswered, birch, reply.body);
    recorder.pair.alder.acts(id, Act::Terminate { reason: "the policy changed".to_owned() }).await.unwrap();
    let text = recorder.event(&recorder.pair.alder, id, 3).await;
    recorder.entry("event.terminated", Kind::AgreementEvent, alder, text);
    let text = recorder.pair.question_text(PLATE).await;
    let reply = recorder.post("/peer/v1/queries", &text).await;
    assert_eq!(reply.message()["outcome"]["status"]["status"], "ended", "{}", reply.text());
    recorder.entry("question.ended", Kind::QueryAsked, alder, text);
    recorder.entry("answer.ended", Kind::QueryAnswered, birch, reply.body);
}

// ---- Understanding ----

/// A recorded set.
struct Set {
    lines: Vec<Line>,
    bodies: BTreeMap<String, Vec<u8>>,
    partners: BTreeMap<Ori, Partner>,
}

impl Set {
    fn read(version: u16) -> Self {
        let folder = folder(version);
        let lines: Vec<Line> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
        let body = |line: &Line| (line.file.clone(), fs::read(folder.join(&line.file)).unwrap());
        let bodies: BTreeMap<String, Vec<u8>> = lines.iter().map(body).collect();
        let descriptors = lines.iter().filter(|line| line.is == Is::Descriptor);
        let partner = |line: &Line| {
            let (party, _) = descriptor::read(&bodies[&line.file]).unwrap();
            (party.ori, Partner::new(party).unwrap())
        };
        let partners = descriptors.map(partner).collect();
        Self { lines, bodies, partners }
    }

    fn body(&self, file: &str) -> &[u8] {
        &self.bodies[file]
    }

    fn envelope(&self, file: &str) -> Envelope<'_> {
        Envelope::parse(self.body(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn entries(&self) -> impl Iterator<Item = (&str, Kind, Ori, Ori)> {
        self.lines.iter().filter_map(|line| match line.is {
            Is::Entry { kind, from, to } => Some((line.file.as_str(), kind, from, to)),
            _ => None,
        })
    }

    /// The entry in this file, verified as the door for its kind does.
    fn sworn<T: Message>(&self, file: &str, kind: Kind, from: Ori, to: Ori) -> Sworn<T> {
        let cache = CheckpointCache::default();
        sworn::verify(&self.envelope(file), kind, &self.partners[&from], to, &cache)
            .unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn question(&self, file: &str) -> Sworn<Question> {
        let (_, kind, from, to) = self.entries().find(|(name, ..)| *name == file).unwrap();
        self.sworn(file, kind, from, to)
    }
}

/// The sets of all versions that this release speaks.
fn sets() -> Vec<(u16, Set)> {
    Spoken::OURS.versions().into_iter().map(|version| (version, Set::read(version))).collect()
}

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
        assert_eq!(kinds.len(), 5, "{kinds:?}");
        let (agreement, document) = offered(&set);
        let hashes = leaf_hashes(&set);
        let streams = understood(&set, &agreement, &document, &hashes);
        decided(&set, &agreement, &before_the_end(&streams), &streams);
        told(&set, version);
    }
}

fn offered(set: &Set) -> (Agreement, Vec<u8>) {
    let (file, kind, from, to) = set.entries().find(|(_, kind, ..)| *kind == Kind::AgreementOffered).unwrap();
    let offer: Sworn<Offer> = set.sworn(file, kind, from, to);
    let document = set.envelope(file).document.unwrap().get().as_bytes().to_vec();
    assert_eq!(offer.message().document, Digest::of(&document));
    let agreement = Agreement::from_bytes(&document).unwrap();
    assert_eq!(agreement.id, offer.agreement());
    (agreement, document)
}

/// The leaf hash of every entry, by file.
fn leaf_hashes(set: &Set) -> BTreeMap<String, Digest> {
    let hash = |file: &str| agreements::entry::Leaf::hash_of(set.envelope(file).entry.leaf.get().as_bytes());
    set.entries().map(|(file, ..)| (file.to_owned(), hash(file))).collect()
}

/// Reads every entry as its receiver does. The streams of the agreement.
fn understood(set: &Set, agreement: &Agreement, document: &[u8], hashes: &BTreeMap<String, Digest>) -> Streams {
    let known: BTreeSet<Digest> = hashes.values().copied().collect();
    let mut streams: BTreeMap<Ori, BTreeMap<u32, agreements::status::Event>> = BTreeMap::new();
    for (file, kind, from, to) in set.entries() {
        let message = set.envelope(file).entry.message.get().as_bytes().to_vec();
        match kind {
            Kind::QueryAsked => {
                let question: Sworn<Question> = set.sworn(file, kind, from, to);
                assert_eq!(json::canonical(question.message()).unwrap(), message, "{file}: nothing of it is lost");
                assert_eq!(question.agreement(), agreement.id);
            }
            Kind::QueryAnswered => {
                let answer: Sworn<Answer> = set.sworn(file, kind, from, to);
                assert!(known.contains(&answer.message().question), "{file} answers a recorded question");
                let results = set.envelope(file).results.map(|raw| raw.get().to_owned());
                match &answer.message().outcome {
                    Outcome::Permitted { reads, results: digest, .. } => {
                        let text = results.unwrap();
                        assert_eq!(Digest::of(text.as_bytes()), *digest);
                        let rows: Vec<Read> = serde_json::from_str(&text).unwrap();
                        assert!(!rows.is_empty() && rows.iter().map(|read| &read.id).eq(reads));
                    }
                    _ => assert_eq!(results, None, "{file}"),
                }
                let outcome = answer.message().outcome.name();
                assert!(file.contains(outcome) || (file.contains("ended") && outcome == "denied"), "{file}: {outcome}");
            }
            Kind::AgreementOffered => {}
            Kind::AgreementEvent => {
                let event: Sworn<StreamEvent> = set.sworn(file, kind, from, to);
                let said = event.message();
                if event.agreement() == agreement.id {
                    standing::sealed(agreement, document, from, said).unwrap_or_else(|why| panic!("{file}: {why}"));
                    streams.entry(from).or_default().insert(said.n, said.event.clone());
                }
                assert!(file.contains(said.event.name()), "{file}: {}", said.event.name());
            }
            Kind::AgreementAcknowledged => {
                let said: Sworn<Acknowledgement> = set.sworn(file, kind, from, to);
                assert!(known.contains(&said.message().of), "{file} acknowledges a recorded entry");
            }
            other => panic!("{file}: {other} does not travel"),
        }
    }
    let mut all = Streams::default();
    for (party, stream) in agreement.parties.iter().zip(&mut all.0) {
        let events = streams.remove(&party.ori).unwrap_or_default();
        assert!(
            events.keys().copied().eq(1..=u32::try_from(events.len()).unwrap()),
            "{}: no event is missing",
            party.ori
        );
        *stream = Stream::new(events.into_values().collect());
    }
    all
}

/// The streams as they were when all but the last question were asked.
fn before_the_end(streams: &Streams) -> Streams {
    let mut before = streams.clone();
    for stream in &mut before.0 {
        let events = stream.events().iter().filter(|event| event.name() != "terminated").cloned().collect();
        *stream = Stream::new(events);
    }
    before
}

/// Decides about the recorded questions as an owner does, at the instants at which they were asked.
fn decided(set: &Set, agreement: &Agreement, before: &Streams, after: &Streams) {
    let decision = |file: &str, streams: &Streams| {
        let question = set.question(file);
        let at = question.evidence().at;
        let owner = question.message().to[0].ori;
        let standing = Standing {
            owner,
            partner: question.evidence().origin,
            agreement: Some(agreement.clone()),
            streams: streams.clone(),
            register: Register::new(&[], Some(at)),
            rules: OwnerRules {
                purposes: Purpose::ALL.to_vec(),
                max_lookback_days: 30,
                max_rows: 200,
                searches: Searches::Exact,
                sensitive: Sensitive::Refer,
            },
            under_agreement: BTreeSet::from([question.evidence().origin]),
            epoch: 1,
        };
        let in_force = matches!(standing.status(at), Status::InForce { .. });
        assert_eq!(in_force, file != "question.ended.json", "{file}: {:?}", standing.status(at));
        decide(question.message(), &standing, Usage::default(), at)
    };
    assert!(matches!(decision("question.permitted.json", before), Decision::Permit(_)));
    assert!(
        matches!(decision("question.withheld.json", before), Decision::Permit(_)),
        "the sunset came after the decision"
    );
    assert!(matches!(decision("question.denied.json", before), Decision::Deny(_)));
    assert!(matches!(decision("question.referred.json", before), Decision::Refer(_)));
    assert!(matches!(decision("question.ended.json", after), Decision::Deny(_)), "it was terminated");
}

/// What is said without being sworn.
fn told(set: &Set, version: u16) {
    let mut problems = 0;
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
            Is::View { from, to } => {
                let view: View = protocol::read(body).unwrap();
                assert!(view.received > 0 && !view.events.is_empty(), "{view:?}");
                for event in &view.events {
                    let envelope = Envelope::parse(event.get().as_bytes()).unwrap();
                    let cache = CheckpointCache::default();
                    let said: Sworn<StreamEvent> =
                        sworn::verify(&envelope, Kind::AgreementEvent, &set.partners[from], *to, &cache).unwrap();
                    assert_eq!(said.message().event.name(), "signed");
                }
            }
            Is::Problem { status } => {
                problems += 1;
                let document: Value = serde_json::from_slice(body).unwrap();
                let slug = file.trim_start_matches("problem.").trim_end_matches(".json");
                assert_eq!(document["type"], format!("urn:concordat:problem:{slug}"), "{document}");
                assert_eq!(document["status"], *status);
                assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{document}");
                if slug == "version" {
                    assert_eq!(document["versions"], json!([version]));
                }
            }
            Is::Descriptor | Is::Entry { .. } => {}
        }
    }
    assert_eq!(problems, 8);
}

// ---- Refusing ----

/// Verifies an entry as the door for its kind does, and forgets what it says.
fn heard(kind: Kind, text: &str, from: &TestNode, to: Ori) -> Result<(), SwornError> {
    let envelope = Envelope::parse(text.as_bytes()).unwrap();
    let partner = Partner::new(from.node().party().clone()).unwrap();
    let cache = CheckpointCache::default();
    match kind {
        Kind::QueryAsked => sworn::verify::<Question>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::QueryAnswered => sworn::verify::<Answer>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::AgreementOffered => sworn::verify::<Offer>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::AgreementEvent => sworn::verify::<StreamEvent>(&envelope, kind, &partner, to, &cache).map(drop),
        Kind::AgreementAcknowledged => {
            sworn::verify::<Acknowledgement>(&envelope, kind, &partner, to, &cache).map(drop)
        }
        other => panic!("{other} does not travel"),
    }
}

/// The door that takes entries of this kind.
fn door(kind: Kind, agreement: AgreementId) -> Option<String> {
    match kind {
        Kind::QueryAsked => Some("/peer/v1/queries".to_owned()),
        Kind::AgreementOffered => Some("/peer/v1/agreements".to_owned()),
        Kind::AgreementEvent => Some(format!("/peer/v1/agreements/{agreement}/events")),
        _ => None,
    }
}

#[actix_web::test]
async fn s40_a_message_of_an_unknown_version_or_with_an_unknown_field_is_refused() {
    let pair = Pair::in_force().await;
    let nodes = BTreeMap::from([(pair.alder.ori(), &pair.alder), (pair.birch.ori(), &pair.birch)]);
    let mut at_doors = 0;
    for (_, set) in sets() {
        for (file, kind, from, to) in set.entries() {
            let message: Value = serde_json::from_str(set.envelope(file).entry.message.get()).unwrap();
            let agreement: AgreementId = message["to"][0]["agreement"].as_str().unwrap().parse().unwrap();
            let changed = |change: &dyn Fn(&mut Value)| {
                let mut changed = message.clone();
                change(&mut changed);
                changed
            };
            // The same words, sworn today, are understood: so it is the change that is refused.
            let swear = |message: Value| {
                let forger = nodes[&from].forger();
                async move { forger.swears(kind, None, &message).await.1 }
            };
            let same = swear(message.clone()).await;
            heard(kind, &same, nodes[&from], to).unwrap_or_else(|error| panic!("{file}: {error}"));
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
                let Some(path) = door(kind, agreement).filter(|_| from == pair.alder.ori()) else { continue };
                at_doors += 1;
                let size = pair.birch.trail_size();
                let reply = pair.alder.calls(&pair.birch).post(&path, &text).await;
                let detail = reply.problem(400, "version");
                assert!(detail.contains(&format!("version {v}")), "{file}: {detail}");
                assert_eq!(reply.json()["versions"], json!(Spoken::OURS.versions()), "{file}");
                assert_eq!(pair.birch.trail_size(), size, "{file}");
            }
            let text = swear(changed(&|message| message["of_a_later_version"] = true.into())).await;
            let error = heard(kind, &text, nodes[&from], to).unwrap_err();
            assert!(matches!(&error, SwornError::Message(_)), "{file}: {error}");
            assert!(error.to_string().contains("unknown field `of_a_later_version`"), "{file}: {error}");
            if let Some(path) = door(kind, agreement).filter(|_| from == pair.alder.ori()) {
                let reply = pair.alder.calls(&pair.birch).post(&path, &text).await;
                assert!(reply.problem(400, "unsworn").contains("unknown field"), "{file}");
            }
        }
    }
    assert!(at_doors > 20, "{at_doors}");
}
