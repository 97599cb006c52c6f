//! Every door of a node is knocked at, as the table of doors has it: what is recorded is in the trail before the answer is
//! there, what is not leaves the trail as it was. That `README.md` says which is which, the program's own tests show.

use std::num::NonZeroU32;

use agreements::entry::Kind;
use agreements::hotlist::Pull;
use agreements::ids::{AgreementId, Digest, RequestId};
use agreements::json;
use agreements::message::{Offer, PROTOCOL, PacketSent, StreamEvent, To};
use agreements::stream::Event;
use certs::key::SigningKey;
use concordat::db;
use concordat::doors::{Door, Port, Recorded, Verb};
use concordat::exchange::wire::Bulk;
use concordat::registry::papers;
use concordat::renewal::PACKET_TYP;
use concordat::trail::search::{self, Filter};
use concordat::witness::request::Shown;
use integration::alone::{Alone, MemoryLog, http};
use integration::feeding::rekor;
use integration::pair::{Pair, Terms};
use integration::renewal::answers;
use integration::rotation::rekeyed;
use integration::wire::{plain_get, plain_post};
use integration::{Reply, TestNode};

const PLATE: &str = "7DOR003";
const LIST: &str = "wanted";

fn terms() -> Terms {
    Terms { lists: vec![(LIST, vec!["stolen_vehicle"])], ..Terms::default() }
}

fn to(node: &TestNode, agreement: AgreementId) -> Vec<To> {
    vec![To { ori: node.ori(), agreement }]
}

/// Alder, which knocks at the doors of Birch.
struct Knocking {
    pair: Pair,
    /// An agreement that Alder offered here, with its hash.
    offered: Option<(AgreementId, Digest)>,
}

impl Knocking {
    async fn new() -> Self {
        let pair = Pair::under(terms()).await;
        pair.birch_saw(PLATE).await;
        pair.birch.lists_of(LIST, &[("7HOT337", "stolen_vehicle")]).await;
        Self { pair, offered: None }
    }

    async fn swears(&self, kind: Kind, message: &impl serde::Serialize) -> String {
        self.pair.alder.forger().swears(kind, None, message).await.1
    }

    async fn pull(&self, list: &str) -> String {
        let to = to(&self.pair.birch, self.pair.id);
        self.swears(Kind::HotlistPulled, &Pull { v: PROTOCOL, to, list: list.to_owned(), have: None }).await
    }

    /// Where a door is here, and what is said at it that it takes. Every door of the table has its arm.
    async fn valid(&mut self, door: &Door) -> (String, String) {
        let Pair { alder, birch, id, .. } = &self.pair;
        let origin = Digest::of(alder.node().party().node.log_origin.as_bytes());
        let at = |from: &str, to: &dyn std::fmt::Display| door.path.replace(from, &to.to_string());
        match door.path {
            "/peer/v1/node" | "/peer/v1/log/checkpoint" | "/peer/v1/hotlists" => (door.path.to_owned(), String::new()),
            "/peer/v1/agreements/{id}" => (at("{id}", id), String::new()),
            "/peer/v1/log/tile/{path:.*}" => (at("{path:.*}", &"0/000.p/1"), String::new()),
            "/peer/v1/log/entry/{rid}" => {
                let filter = Filter { kind: Some(Kind::AgreementAcknowledged), limit: 1, ..Filter::default() };
                (at("{rid}", &birch.entries(&filter)[0].rid), String::new())
            }
            "/peer/v1/log/day/{day}" => (at("{day}", &"2026-11-23"), String::new()),
            "/peer/v1/witness/add-checkpoint" => (door.path.to_owned(), Shown::body(0, &[], &alder.checkpoint())),
            "/peer/v1/witness/{origin}/checkpoint" => (at("{origin}", &origin), String::new()),
            "/peer/v1/queries" => (door.path.to_owned(), self.pair.question_text(PLATE).await),
            "/peer/v1/hotlists/{list}/pull" => (at("{list}", &LIST), self.pull(LIST).await),
            "/peer/v1/agreements" => {
                let document = terms().between(&alder.node().party(), &birch.node().party());
                let bytes = document.to_bytes().unwrap();
                let hash = Digest::of(&bytes);
                let offer = Offer { v: PROTOCOL, to: to(birch, document.id), document: hash };
                let (text, offer) = (String::from_utf8(bytes).unwrap(), json::canonical(&offer).unwrap());
                let bulk = Bulk::Document(&text);
                let sworn = alder.forger().swears_bytes(Kind::AgreementOffered, None, offer, bulk).await.1;
                self.offered = Some((document.id, hash));
                (door.path.to_owned(), sworn)
            }
            "/peer/v1/agreements/{id}/events" => {
                let (id, document) = self.offered.expect("it was offered before");
                let event = Event::Declined { reason: "the dates are wrong".to_owned() };
                let event = StreamEvent { v: PROTOCOL, to: to(birch, id), document, n: 1, seen: None, event };
                (at("{id}", &id), self.swears(Kind::AgreementEvent, &event).await)
            }
            "/peer/v1/agreements/{id}/rekeyed" => {
                let mut keys = birch.knows(alder);
                keys.seal_key = SigningKey::generate_p256().unwrap().public().to_string();
                let n = u32::try_from(birch.streams(*id)[1].events().len()).unwrap() + 1;
                let said = rekeyed(birch, (alder.ori(), *id), n, &keys, &alder.seal_key());
                (at("{id}", id), format!("[{}]", self.swears(Kind::AgreementEvent, &said).await))
            }
            "/peer/v1/agreements/{id}/renewal" => {
                let packet = alder.makes_packet_of(answers(alder)).await.unwrap().held.id;
                let sealed = papers::find(&mut alder.conn(), packet, PACKET_TYP).unwrap().unwrap().sealed;
                let sent = json::canonical(&PacketSent { v: PROTOCOL, to: to(birch, *id), packet }).unwrap();
                let sealed = String::from_utf8(sealed).unwrap();
                let bulk = Bulk::Document(&sealed);
                (at("{id}", id), alder.forger().swears_bytes(Kind::PacketSent, None, sent, bulk).await.1)
            }
            new => panic!("{new} is a new door: say here what it is asked"),
        }
    }

    /// The kinds of what Birch recorded since its trail had so many entries, newest first.
    fn since(&self, size: u64) -> Vec<Kind> {
        let all = self.pair.birch.entries(&Filter::default());
        all.into_iter().filter(|row| row.index >= size).map(|row| row.kind).collect()
    }

    async fn knocks(&self, verb: Verb, path: &str, body: &str) -> Reply {
        let caller = self.pair.alder.calls(&self.pair.birch);
        match verb {
            Verb::Post => caller.post(path, body).await,
            Verb::Get | Verb::Page => caller.get(path).await,
        }
    }

    /// Knocks, and holds what came and what is recorded to what the table says.
    async fn holds(&self, door: &Door, path: &str, body: &str, status: u16) {
        let Recorded::First(kinds) = door.recorded else {
            // On a busy machine the node may record something else meanwhile: not each of three times.
            let mut recorded = Vec::new();
            for _ in 0..3 {
                let before = self.pair.birch.trail_size();
                let reply = self.knocks(door.verb, path, body).await;
                recorded = self.since(before);
                assert_eq!(reply.status, status, "{path}: {}", reply.text());
                if recorded.is_empty() {
                    return;
                }
            }
            panic!("{path} is not recorded, says the table: {recorded:?}");
        };
        let before = self.pair.birch.trail_size();
        let reply = self.knocks(door.verb, path, body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        let first: serde_json::Value = serde_json::from_str(reply.text().lines().next().unwrap()).unwrap();
        let rid: RequestId = first["entry"]["leaf"]["rid"].as_str().unwrap().parse().unwrap();
        let row =
            search::by_rid(&mut self.pair.birch.conn(), rid).unwrap().expect("the answer is an entry of the trail");
        assert!(kinds.contains(&row.kind), "{path}: {}", row.kind);
        assert!(row.index >= before, "{path}: it is an entry of this very request");
        let same = self.since(before).into_iter().filter(|kind| kinds.contains(kind)).count();
        assert_eq!(same, 1, "{path}: one entry of its kind");
    }
}

#[actix_web::test]
async fn every_door_for_partners_is_recorded_before_it_answers_or_says_why_it_is_not() {
    let mut knocking = Knocking::new().await;
    for door in Port::Peer.doors() {
        let (path, body) = knocking.valid(door).await;
        knocking.holds(door, &path, &body, 200).await;
    }
    // What is refused by a rule is as well recorded as what is permitted.
    let door = |path: &str| Port::Peer.doors().iter().find(|door| door.path == path).unwrap();
    let mut vague = knocking.pair.alder.question(&knocking.pair.birch, knocking.pair.id, PLATE);
    vague.reason = "inv".to_owned();
    let vague = knocking.swears(Kind::QueryAsked, &vague).await;
    knocking.holds(door("/peer/v1/queries"), "/peer/v1/queries", &vague, 403).await;
    let secret = knocking.pull("secret").await;
    knocking.holds(door("/peer/v1/hotlists/{list}/pull"), "/peer/v1/hotlists/secret/pull", &secret, 403).await;
    assert_eq!(knocking.pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn what_is_refused_before_anybody_could_record_it_is_counted_in_one_entry() {
    let mut knocking = Knocking::new().await;
    let recorded = || Port::Peer.doors().iter().filter(|door| matches!(door.recorded, Recorded::First(_)));
    knocking.pair.birch.node().record_refused().await.unwrap();
    let before = knocking.pair.birch.trail_size();
    let mut unsworn = 0;
    for door in recorded() {
        let path = door.path.replace("{id}", &knocking.pair.id.to_string()).replace("{list}", LIST);
        let reply = knocking.knocks(door.verb, &path, "{}").await;
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.text());
        unsworn += 1;
    }
    let stranger = {
        let credentials = knocking.pair.federation.pki.issue("CA0990900");
        let config = knocking.pair.federation.pki.client(Some(&credentials), &knocking.pair.birch.clock);
        integration::Caller::new(config, &knocking.pair.birch.fiction.host(), knocking.pair.birch.peer())
    };
    for door in Port::Peer.doors() {
        let method = door.verb.to_string();
        let reply = stranger.send(&method, door.path, (method == "POST").then_some(b"{}")).await.unwrap();
        assert_eq!((reply.status, reply.body.len()), (404, 0), "{}", door.path);
    }
    assert_eq!(knocking.since(before), [], "nobody fills the trail");
    knocking.pair.birch.node().record_refused().await.unwrap();
    let (row, message) = knocking.pair.birch.newest();
    assert_eq!((row.kind, row.index), (Kind::RefusedCounted, before));
    let strangers = Port::Peer.doors().len();
    assert_eq!((&message["unsworn"], &message["strangers"]), (&unsworn.into(), &strangers.into()), "{message}");

    // Over its rate a partner is not heard at all, and counted.
    knocking.pair.birch.restart_with(|config| config.rules.rate_per_minute = NonZeroU32::new(1).unwrap());
    let before = knocking.pair.birch.trail_size();
    let (one, two) = (knocking.pair.question_text(PLATE).await, knocking.pull(LIST).await);
    assert_eq!(knocking.knocks(Verb::Post, "/peer/v1/queries", &one).await.status, 200);
    let pull = format!("/peer/v1/hotlists/{LIST}/pull");
    assert_eq!(knocking.knocks(Verb::Post, &pull, &two).await.status, 429);
    let mut recorded = knocking.since(before);
    // That its own rules are narrower now is recorded with the start.
    recorded.retain(|kind| *kind != Kind::ChangeSettled);
    assert_eq!(recorded, [Kind::QueryAnswered]);
    knocking.pair.birch.node().record_refused().await.unwrap();
    let (row, message) = knocking.pair.birch.newest();
    assert_eq!((row.kind, &message["limited"]), (Kind::RefusedCounted, &1.into()), "{message}");
}

#[actix_web::test]
async fn pages_and_metrics_are_not_recorded_and_reads_of_agents_are_counted() {
    let mut pair = Pair::in_force().await;
    pair.birch.opens_to_agents(|_| {});
    let token = pair.birch.token("agent").await;
    let before = pair.birch.trail_size();
    for (port, address) in [(Port::Console, pair.birch.console()), (Port::Ops, pair.birch.ops())] {
        for door in port.doors() {
            assert!(matches!(door.recorded, Recorded::Not(_)), "{}", door.path);
            assert_eq!(plain_get(address, door.path).await.status, 200, "{}", door.path);
        }
    }
    assert_eq!(pair.birch.trail_size(), before);
    for door in Port::Agents.doors() {
        assert_eq!(door.path, "/rekor", "{} is a new door: say here what it is asked", door.path);
        let Recorded::Counted(kinds) = door.recorded else { panic!("what agents post is counted") };
        let line = rekor(PLATE, pair.birch.clock_now());
        let bearer = format!("Bearer {token}");
        let reply = plain_post(pair.birch.intake(), door.path, &[("authorization", &bearer)], line.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(pair.birch.trail_size(), before, "with the minute");
        // Or when the node stops.
        pair.birch.restart();
        let since = pair.birch.entries(&Filter::default());
        let since: Vec<Kind> = since.into_iter().filter(|row| row.index >= before).map(|row| row.kind).collect();
        assert!(since.iter().any(|kind| kinds.contains(kind)), "{since:?}");
    }
}

#[test]
fn a_witness_alone_answers_at_each_of_its_doors_and_has_no_trail() {
    let folder = tempfile::tempdir().unwrap();
    let log = MemoryLog::of("alder.example/trail", 3, "a");
    let alone = Alone::init(&folder.path().join("witness"), "auditor.alder.example/witness", &[log.vkey.to_string()]);
    let (_process, address) = alone.serves();
    for door in Port::Witness.doors() {
        assert!(matches!(door.recorded, Recorded::Not(_)), "{}", door.path);
        let path = door.path.replace("{origin}", &Digest::of(log.vkey.name().as_bytes()).to_string());
        let body = if door.verb == Verb::Post { log.shows(0, 3) } else { String::new() };
        assert_eq!(http(address, &door.verb.to_string(), &path, &body).status, 200, "{path}");
    }
    let files = std::fs::read_dir(&alone.folder).unwrap().map(|file| file.unwrap().path());
    let stores: Vec<_> = files.filter(|file| file.extension().is_some_and(|ending| ending == "db")).collect();
    assert!(!stores.is_empty(), "it keeps what it cosigned");
    for store in stores {
        let mut conn = db::reader_of(&format!("sqlite:{}", store.display())).unwrap();
        assert!(concordat::trail::head::extent(&mut conn).is_err(), "{}", store.display());
    }
}
