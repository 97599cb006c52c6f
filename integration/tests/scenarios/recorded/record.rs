//! Recording a set: what two real nodes say to each other, kept as it came.

use std::fs;
use std::path::Path;

use agreements::entry::Kind;
use agreements::hotlist::{Have, Pull};
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{PROTOCOL, StreamEvent, To};
use agreements::status::Status;
use agreements::stream::Event;
use agreements::time::Instant;
use concordat::exchange::lifecycle::{self, Act};
use concordat::exchange::wire::{self, Bulk};
use concordat::registry::agreements as documents;
use integration::pair::{Pair, agreement_id, days_from_start};
use integration::{Reply, TestNode};

use super::{Is, LIST, Line, folder, terms};

const PLATE: &str = "7REC516";
const VAGUE: &str = "inv";
const SENSITIVE: &str = "burglar took this vehicle from the church service last night";
const STAYS: (&str, &str) = ("7HOT337", "stolen_vehicle");
const GOES: (&str, &str) = ("8FEL402", "felony_vehicle");
const COMES: (&str, &str) = ("6NEW118", "stolen_vehicle");
/// Of a category that is not granted.
const UNGRANTED: (&str, &str) = ("5MIS771", "missing_person");

pub(super) struct Recorder {
    pub(super) pair: Pair,
    files: Vec<(Line, Vec<u8>)>,
}

impl Recorder {
    pub(super) fn of(pair: Pair) -> Self {
        Self { pair, files: Vec::new() }
    }

    /// Writes all that was kept into a new folder.
    pub(super) fn write(self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let mut index = Vec::new();
        for (line, body) in self.files {
            fs::write(folder.join(&line.file), body).unwrap();
            index.push(line);
        }
        fs::write(folder.join("index.json"), serde_json::to_string_pretty(&index).unwrap() + "\n").unwrap();
    }

    pub(super) fn keep(&mut self, file: &str, is: Is, body: impl Into<Vec<u8>>) {
        self.keep_as(format!("{file}.json"), is, body);
    }

    fn keep_as(&mut self, file: String, is: Is, body: impl Into<Vec<u8>>) {
        self.files.push((Line { file, is }, body.into()));
    }

    pub(super) fn entry(&mut self, file: &str, kind: Kind, from: Ori, body: impl Into<Vec<u8>>) {
        let to = if from == self.alder() { self.birch() } else { self.alder() };
        self.keep(file, Is::Entry { kind, from, to }, body);
    }

    fn problem(&mut self, file: &str, reply: &Reply) {
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{file}: {}", reply.text());
        let document = reply.json();
        let slug = document["type"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        self.keep(file, Is::Problem { status: reply.status, slug }, reply.body.clone());
    }

    pub(super) fn alder(&self) -> Ori {
        self.pair.alder.ori()
    }

    pub(super) fn birch(&self) -> Ori {
        self.pair.birch.ori()
    }

    pub(super) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.pair.alder.calls(&self.pair.birch).post(path, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.pair.alder.calls(&self.pair.birch).get(path).await
    }

    fn pull(&self, list: &str, have: Option<Have>) -> Pull {
        let to = vec![To { ori: self.birch(), agreement: self.pair.id }];
        Pull { v: PROTOCOL, to, list: list.to_owned(), have }
    }

    /// Pulls as Alder's node does: keeps the pull, and the reply as it came with all that follows its first line. What
    /// Alder has then.
    async fn pulls(&mut self, name: &str, list: &str, have: Option<Have>) -> Option<Have> {
        let text = self.pair.alder.forger().swears(Kind::HotlistPulled, None, &self.pull(list, have)).await.1;
        let reply = self.post(&format!("/peer/v1/hotlists/{list}/pull"), &text).await;
        self.entry(&format!("pull.{name}"), Kind::HotlistPulled, self.alder(), text);
        let asserted = match (reply.status, reply.header("content-type")) {
            (200, Some("application/x-ndjson")) => true,
            (403, Some("application/json")) => false,
            _ => panic!("{name}: {} {}", reply.head, reply.text()),
        };
        let is = Is::Entry { kind: Kind::HotlistAsserted, from: self.birch(), to: self.alder() };
        self.keep_as(format!("assertion.{name}.{}", if asserted { "ndjson" } else { "json" }), is, reply.body.clone());
        let first: serde_json::Value = serde_json::from_str(reply.text().lines().next().unwrap()).unwrap();
        asserted.then(|| {
            let outcome = &first["entry"]["message"]["outcome"];
            Have {
                version: outcome["version"].as_u64().unwrap(),
                contents: outcome["contents"].as_str().unwrap().parse().unwrap(),
            }
        })
    }

    /// Event `n` (from 0) of a party's stream, as its node sends it.
    pub(super) async fn event(&self, of: &TestNode, id: AgreementId, n: usize) -> String {
        let rid = documents::stream(&mut of.conn(), id, of.ori()).unwrap()[n].rid;
        says(of, rid, None).await
    }
}

/// An entry of a node's trail, as the node sends it.
pub(super) async fn says(node: &TestNode, rid: RequestId, document: Option<&str>) -> String {
    let recorded = node.node().registry().record(move |tx| tx.again(rid)).await.unwrap();
    let entry = recorded.entry((*recorded).unwrap()).unwrap();
    wire::write(entry, document.map_or(Bulk::None, Bulk::Document)).unwrap()
}

#[actix_web::test]
#[ignore = "records the messages of a new protocol version; run by hand"]
async fn record_the_messages_of_this_release() {
    let folder = folder(PROTOCOL);
    assert!(!folder.exists(), "{} is there already, and a recorded set is never made anew", folder.display());
    let pair = Pair::under(terms()).await;
    assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }), "{:?}", pair.birch.status(pair.id));
    let mut recorder = Recorder::of(pair);
    agreement(&mut recorder).await;
    questions(&mut recorder).await;
    hotlists(&mut recorder).await;
    problems(&mut recorder).await;
    problems_of_pulls(&mut recorder).await;
    endings(&mut recorder).await;
    recorder.write(&folder);
}

async fn agreement(recorder: &mut Recorder) {
    for (file, body) in
        [("alder.descriptor", recorder.pair.alder.descriptor()), ("birch.descriptor", recorder.pair.birch.descriptor())]
    {
        recorder.keep(file, Is::Descriptor, body);
    }
    let described = recorder.get("/peer/v1/node").await;
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
    let view = recorder.get(&format!("/peer/v1/agreements/{id}")).await;
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

/// All of a list, the same again hours later without a change, what changed, and a list that is not granted; and the look
/// that says what there is.
async fn hotlists(recorder: &mut Recorder) {
    recorder.pair.birch.lists_of(LIST, &[STAYS, GOES, UNGRANTED]).await;
    let (from, to) = (recorder.birch(), recorder.alder());
    let day = recorder.get("/peer/v1/log/day/2026-11-23").await;
    recorder.keep("day", Is::Day { from, to }, day.body);
    let offers = recorder.get("/peer/v1/hotlists").await;
    recorder.keep("offers", Is::Offers { from, to }, offers.body);
    let have = recorder.pulls("full", LIST, None).await;
    recorder.pair.set_clocks(recorder.pair.birch.clock_now().plus(4 * Instant::HOUR));
    assert_eq!(recorder.pulls("renewed", LIST, have).await, have, "nothing changed");
    recorder.pair.birch.lists_of(LIST, &[STAYS, COMES, UNGRANTED]).await;
    assert_ne!(recorder.pulls("difference", LIST, have).await, have);
    assert_eq!(recorder.pulls("denied", "secret", None).await, None);
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
        seen: None,
        event: Event::Suspended { reason: "a gap".to_owned() },
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
    let unknown = agreement_id();
    let reply = recorder.get(&format!("/peer/v1/agreements/{unknown}")).await;
    recorder.problem("problem.no-agreement", &reply);
    for (file, path) in
        [("problem.no-such-method", "/peer/v1/queries"), ("problem.no-such-id", "/peer/v1/agreements/first")]
    {
        let reply = recorder.get(path).await;
        recorder.problem(file, &reply);
    }
}

async fn problems_of_pulls(recorder: &mut Recorder) {
    let forger = recorder.pair.alder.forger();
    let pull = recorder.pull(LIST, None);
    let swears = async |message: &serde_json::Value| forger.swears(Kind::HotlistPulled, None, message).await.1;
    let changed = |member: &str, value: serde_json::Value| {
        let mut changed = serde_json::to_value(&pull).unwrap();
        changed[member] = value;
        changed
    };
    let stale = swears(&changed("list", LIST.into())).await;
    let forward = recorder.pair.birch.clock_now().plus(6 * Instant::MINUTE);
    recorder.pair.set_clocks(forward);
    let later = swears(&changed("v", (PROTOCOL + 1).into())).await;
    let unknown = swears(&changed("since", 1.into())).await;
    let others = swears(&changed("to", serde_json::json!([{"ori": "CA0990200", "agreement": recorder.pair.id}]))).await;
    let secret = swears(&changed("list", "secret".into())).await;
    let again = swears(&changed("list", LIST.into())).await;
    let (_, question) = forger.swears(Kind::QueryAsked, None, &pull).await;
    let good = swears(&changed("list", LIST.into())).await;
    let with_bulk = good.replacen("\"proof\"", "\"results\":[],\"proof\"", 1);
    let path = format!("/peer/v1/hotlists/{LIST}/pull");
    let heard = recorder.post(&path, &again).await;
    assert_eq!(heard.status, 200, "{}", heard.text());
    for (name, body) in [
        ("version", later),
        ("unknown-field", unknown),
        ("stale", stale),
        ("not-for-us", others),
        ("other-list", secret),
        ("again", again),
        ("other-kind", question),
        ("with-bulk", with_bulk),
        ("malformed", "{}".to_owned()),
    ] {
        let reply = recorder.post(&path, body).await;
        assert_ne!(reply.status, 200, "{name}");
        recorder.problem(&format!("problem.pull.{name}"), &reply);
    }
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
        if n == 1 {
            assert_eq!(recorder.pulls("suspended", LIST, None).await, None);
        }
    }
    for (file, act) in [
        ("event.declined", Act::Decline { reason: "the lookback is too long".to_owned() }),
        ("event.withdrawn", Act::Withdraw { reason: "the dates are wrong".to_owned() }),
    ] {
        let document = terms().between(&recorder.pair.alder.node().party(), &recorder.pair.birch.node().party());
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
