//! S23: a registry that was restored from a backup. Its node says nothing to anybody until two people open a new epoch, and
//! then has back what it had said to its partners.

use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::status::Status;
use agreements::stream::Event;
use agreements::time::Instant;
use concordat::changes::{self, ChangeError};
use concordat::clock::Clock as _;
use concordat::exchange::Failure;
use concordat::exchange::ask::{AskError, Gave};
use concordat::exchange::lifecycle::{self, Act, ActError};
use concordat::exchange::{descriptor, following, standing};
use concordat::people::PeopleError;
use concordat::publishing::{self, Cosigned};
use concordat::receipts::{self, Demands, Parts};
use concordat::trail::note::{Checkpoint, Vkey};
use concordat::trail::search::Filter;
use concordat::witness::evidence;
use integration::rotation::rekeyed;
use integration::wire::plain_get;
use integration::witnesses::Watched;
use integration::{Pair, TestNode};

const PLATE: &str = "7EPC023";
const WHY: &str = "a complaint about the partner is being looked into";

async fn saw(node: &TestNode) {
    node.ingests(PLATE, node.clock.now().plus(-Instant::HOUR)).await;
}

fn is_reads(gave: &Gave) -> bool {
    matches!(gave, Gave::Reads { reads, .. } if reads.len() == 1)
}

async fn ready(node: &TestNode) -> (u16, String) {
    let reply = plain_get(node.console(), "/readyz").await;
    (reply.status, reply.text().to_owned())
}

fn log_of(node: &TestNode) -> Vkey {
    node.node().party().node.log_vkey.parse().unwrap()
}

/// A question of Alder's to Birch, raw.
async fn asked(watched: &Watched) -> integration::Reply {
    let text = watched.alder.forger().asks(&watched.alder.question(&watched.birch, watched.id, PLATE)).await;
    watched.alder.posts_query(&watched.birch, &text).await
}

/// What events this agency has said under the agreement, by their names.
fn said(node: &TestNode, watched: &Watched) -> Vec<String> {
    let found = standing::verified(&mut node.conn(), watched.id).unwrap().unwrap();
    let stream = found.streams.party(&found.agreement, watched.birch.ori()).unwrap();
    stream.events().iter().map(|said| said.event.name().to_owned()).collect()
}

/// Nothing that Birch says now stands on a head that was not shown before.
async fn says_nothing(watched: &Watched, known: u64) {
    let birch = &watched.birch;
    let (status, why) = ready(birch).await;
    assert!(status == 503 && why.contains("epoch"), "{status} {why}");
    let reply = asked(watched).await;
    let detail = reply.problem(503, "unavailable");
    assert!(detail.contains("unready") && !reply.text().contains(PLATE), "{detail}");
    let out = birch.asks(birch.asking(&watched.alder, PLATE)).await;
    assert!(matches!(out, Err(AskError::Failure(Failure::Behind(_)))), "{out:?}");
    let caller = watched.alder.calls(birch);
    // An event of Alder's is not acknowledged either.
    let event = caller.post(&format!("/peer/v1/agreements/{}/events", watched.id), "{}").await;
    assert_eq!(event.status, 503, "{}", event.text());
    let view = caller.get(&format!("/peer/v1/agreements/{}", watched.id)).await;
    assert_eq!((view.status, &view.json()["events"]), (200, &serde_json::json!([])), "{}", view.text());
    let (row, _) = birch.newest();
    assert_eq!(caller.get(&format!("/peer/v1/log/entry/{}", row.rid)).await.status, 503);
    assert_eq!(
        caller.get("/peer/v1/log/day/2026-11-23").await.status,
        503,
        "it would be under a head that contradicts"
    );
    // What it shows of its log is what witnesses have seen, and it goes on being a witness.
    let shown = caller.get("/peer/v1/log/checkpoint").await;
    let head = Checkpoint::verify(shown.text(), &log_of(birch)).unwrap();
    assert!(head.size <= known && shown.text() != birch.checkpoint(), "and not what it has recorded since");
    assert_eq!(Some(shown.text()), birch.node().watch().text().as_deref());
    let origin = Digest::of(log_of(&watched.alder).name().as_bytes());
    assert_eq!(caller.get(&format!("/peer/v1/witness/{origin}/checkpoint")).await.status, 200);
    let before = watched.birch.trail_size();
    assert!(publishing::publish(birch.node()).await.unwrap().said.is_empty(), "nothing is shown to witnesses");
    assert!(matches!(birch.status(watched.id), Status::Suspended { by } if by.contains(&birch.ori())));
    let custodian = birch.fiction.person("custodian");
    let act = lifecycle::act(birch.node(), watched.id, Act::Terminate { reason: WHY.into() }, &custodian);
    assert!(matches!(act.await, Err(ActError::Refused(why)) if why[0].contains("restored")), "its number may be taken");
    assert_eq!(birch.trail_size(), before);
}

/// Restored, and as it has to be; two people open the next epoch.
async fn goes_on(watched: &mut Watched, backup: &std::path::Path, origin: &str) {
    let known = watched.birch.trail_size();
    watched.publish().await;
    watched.birch.is_restored(backup);
    watched.birch.try_start().unwrap();
    publishing::settled(watched.birch.node()).await.unwrap_err();
    says_nothing(watched, known).await;
    // What is found stays so without anybody who says it again.
    watched.birch.restart();
    says_nothing(watched, known).await;

    let birch = &watched.birch;
    let change = birch.proposes_an_epoch().await.unwrap();
    for role in ["agreements", "admin", "auditor", "investigator"] {
        let refused = changes::approve(birch.node(), change, &birch.fiction.person(role)).await;
        assert!(matches!(refused, Err(ChangeError::Refused(_))), "{role}: {refused:?}");
    }
    says_nothing(watched, known).await;
    let birch = &watched.birch;
    changes::approve(birch.node(), change, &birch.fiction.person("custodian")).await.unwrap();
    assert_eq!(log_of(birch).name(), origin);
    let opened = birch.entries(&Filter { kind: Some(Kind::EpochOpened), limit: 1, ..Filter::default() }).remove(0);
    let message: serde_json::Value = serde_json::from_slice(&opened.detail.unwrap().message).unwrap();
    assert_eq!(message["last"]["size"], known, "it names the last head that was witnessed");
    assert_eq!(message["origin"], origin);
    // Until its own words are back, nothing flows, whoever asks.
    assert!(matches!(birch.status(watched.id), Status::Suspended { by } if by.contains(&birch.ori())));
}

#[actix_web::test]
async fn a_log_goes_on_under_its_own_name_and_no_other() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    let (own, others) = (log_of(alder), log_of(birch));
    let n = u32::try_from(birch.streams(pair.id)[1].events().len()).unwrap() + 1;
    let under = async |name: &str| {
        let mut keys = birch.knows(alder);
        keys.log_vkey = Vkey::new(name, *own.key()).unwrap().to_string();
        keys.log_origin = name.to_owned();
        let said = rekeyed(birch, (alder.ori(), pair.id), n, &keys, &alder.seal_key());
        let (_, text) = alder.forger().swears(Kind::AgreementEvent, None, &said).await;
        alder.calls(birch).post(&format!("/peer/v1/agreements/{}/events", pair.id), &text).await
    };
    for name in [others.name(), &format!("{}/epoch-2", others.name()), "alpr.cedar.test/trail"] {
        let refused = under(name).await;
        assert!(
            refused.status == 422 && refused.text().contains("goes on under that name"),
            "{name}: {}",
            refused.text()
        );
    }
    assert_eq!(birch.knows(alder).log_vkey, own.to_string());
    // Nor is anybody enrolled whose log has the name of another's.
    let mut party = agreements::party::Party::clone(&alder.node().party());
    party.ori = "CA0980001".parse().unwrap();
    party.node.log_vkey = Vkey::new(own.name(), *others.key()).unwrap().to_string();
    let file = descriptor::write(&party, &alder.identity_key()).unwrap();
    let fingerprint = descriptor::spoken(descriptor::read(&file).unwrap().1);
    let enrolled = birch.enrols_file(file, &fingerprint).await;
    assert!(matches!(&enrolled, Err(PeopleError::Refused(why)) if why.contains("is the log of")), "{enrolled:?}");
    let taken = under(&format!("{}/epoch-2", own.name())).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
}

#[actix_web::test]
async fn s23_a_restored_backup_says_nothing_until_two_people_open_a_new_epoch_and_has_its_own_suspension_back() {
    let mut watched = Watched::in_force().await;
    saw(&watched.birch).await;
    saw(&watched.alder).await;
    watched.publish().await;
    assert!(is_reads(&watched.alder.queries(&watched.birch, PLATE).await));
    let folder = watched.federation.folder().to_owned();
    let backup = watched.birch.backs_up(&folder, "yesterday");
    let first = log_of(&watched.birch);
    // After the backup: an answer, and a suspension.
    assert!(is_reads(&watched.alder.queries(&watched.birch, PLATE).await));
    let act = Act::Suspend { reason: WHY.to_owned() };
    watched.birch.acts(watched.id, act).await.unwrap();

    let origin = format!("{}/epoch-2", first.name());
    goes_on(&mut watched, &backup, &origin).await;
    concordat::epoch::take_back(watched.birch.node()).await.unwrap();
    assert_eq!(said(&watched.birch, &watched), ["signed", "suspended", "rekeyed"], "its own suspension is back, once");
    let found = standing::verified(&mut watched.birch.conn(), watched.id).unwrap().unwrap();
    let stream = found.streams.party(&found.agreement, watched.birch.ori()).unwrap();
    assert!(matches!(&stream.events()[1].event, Event::Suspended { reason } if reason == WHY));
    assert_eq!(said(&watched.alder, &watched), ["signed", "suspended", "rekeyed"], "and the partner has as much");
    assert_eq!(watched.birch.trail_problems(), []);
    watched.birch.looks().await;
    assert_eq!(*watched.birch.node().changed(), [], "its rows are what its trail says");
    watched.publish().await;
    let (status, why) = ready(&watched.birch).await;
    assert_eq!(status, 200, "{why}");
    assert!(matches!(watched.birch.status(watched.id), Status::Suspended { .. }));
    // The custodian resumes it.
    watched.birch.acts(watched.id, Act::Resume { reason: "the complaint came to nothing".into() }).await.unwrap();
    watched.publish().await;
    let gave = watched.alder.queries(&watched.birch, PLATE).await;
    assert!(is_reads(&gave), "{gave:?}");
    assert!(is_reads(&watched.birch.queries(&watched.alder, PLATE).await));

    // Its partner follows the log under its new name; the heads of the old one convict nobody.
    let head = watched.alder.node().partners().find(watched.birch.ori()).unwrap().log().name().to_owned();
    assert_eq!(head, origin);
    for minutes in [0, 11, 11] {
        watched.set_clocks(watched.birch.clock.now().plus(minutes * Instant::MINUTE));
        watched.publish().await;
        following::look(watched.alder.node(), &watched.alder.node().desk()).await.unwrap();
        assert!(is_reads(&watched.alder.queries(&watched.birch, PLATE).await));
    }
    for node in [&watched.alder, &watched.cedar] {
        assert_eq!(evidence::all(&mut node.conn()).unwrap(), []);
    }
    // What it answered before, lost or not, it cannot deny.
    assert_eq!(receipts_of(&watched, &first), 2);
    assert!(receipts_of(&watched, &log_of(&watched.birch)) >= 4);

    // A second time: another backup, from before the first new epoch.
    goes_on(&mut watched, &backup, &format!("{}/epoch-3", first.name())).await;
    concordat::epoch::take_back(watched.birch.node()).await.unwrap();
    assert_eq!(
        said(&watched.birch, &watched),
        ["signed", "suspended", "rekeyed", "resumed", "rekeyed", "suspended"],
        "all that it said in both epochs, and suspended again because it would be in force"
    );
    watched.birch.acts(watched.id, Act::Resume { reason: "the custodian looked at the backup".into() }).await.unwrap();
    watched.publish().await;
    assert!(is_reads(&watched.alder.queries(&watched.birch, PLATE).await));
    assert_eq!(watched.birch.trail_problems(), []);
    watched.birch.looks().await;
    assert_eq!(*watched.birch.node().changed(), []);
}

/// How many answers of Birch's Alder can prove offline with this key.
fn receipts_of(watched: &Watched, key: &Vkey) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let (alder, own) = (&watched.alder, log_of(&watched.alder));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let exported = receipts::export(
        &mut alder.conn(),
        (alder.ori(), &own),
        &Cosigned::default(),
        None,
        folder.path(),
        &mut |_| {},
        &stop,
    )
    .unwrap();
    assert_eq!(exported.refused, []);
    let demands = Demands { logs: vec![key.clone()], policy: None };
    let files = receipts::proofs(&[folder.path().join(watched.birch.ori().as_str())]).unwrap();
    let proven = files.iter().filter_map(|file| Parts::read(file).unwrap().verify(&demands).ok());
    proven.filter(|proven| proven.leaf.kind == Kind::QueryAnswered).count()
}

#[actix_web::test]
async fn s23_without_a_policy_the_partner_says_what_it_knows() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let backup = pair.birch.backs_up(pair.federation.folder(), "yesterday");
    assert!(is_reads(&pair.alder.queries(&pair.birch, PLATE).await));
    publishing::publish(pair.birch.node()).await.unwrap();
    pair.birch.is_restored(&backup);
    pair.birch.try_start().unwrap();
    // The very first thing that comes is not answered.
    let text = pair.question_text(PLATE).await;
    pair.alder.posts_query(&pair.birch, &text).await.problem(503, "unavailable");
    // Another process of the node, as the command line is, opens the epoch; the one that serves follows.
    let fatal = std::sync::Arc::new(|why: &str| panic!("{why}"));
    let clock = std::sync::Arc::new(pair.birch.clock.clone());
    let other = concordat::node::Node::open(pair.birch.settings().clone(), clock, fatal).unwrap();
    integration::epochs::opens_an_epoch(&other, &pair.birch.fiction).await;
    drop(other);
    for tries in 0.. {
        let (status, why) = ready(&pair.birch).await;
        if status == 200 && log_of(&pair.birch).name().ends_with("/epoch-2") {
            break;
        }
        assert!(tries < 100, "within seconds: {status} {why}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(matches!(pair.birch.status(pair.id), Status::Suspended { by } if by == [pair.birch.ori()]));
    assert!(matches!(pair.alder.status(pair.id), Status::Suspended { .. }), "the partner knows");
    pair.birch.acts(pair.id, Act::Resume { reason: "nothing that matters was lost".into() }).await.unwrap();
    assert!(is_reads(&pair.alder.queries(&pair.birch, PLATE).await));
    assert_eq!(pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn s23_processes_that_record_at_the_same_time_raise_no_alarm() {
    let watched = Watched::in_force().await;
    let birch = &watched.birch;
    // Another process of the same node.
    let other = birch.forger();
    for _ in 0..20 {
        let (recalled, published, ..) = futures_util::join!(
            publishing::recall(birch.node()),
            publishing::publish(birch.node()),
            other.writes_an_entry(),
            publishing::recall(birch.node()),
            birch.writes_an_entry(),
        );
        recalled.unwrap();
        published.unwrap();
        assert_eq!(birch.node().watch().behind(), None);
    }
}

#[actix_web::test]
async fn s23_a_witness_that_lies_stops_nobody() {
    let watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    // Cedar's file says that it cosigned a larger head of Birch's log, which Birch never signed.
    let birch = log_of(&watched.birch).name().to_owned();
    let alder = watched.alder.checkpoint();
    let forged = alder.replacen(log_of(&watched.alder).name(), &birch, 1);
    let larger = forged.replacen(&format!("\n{}\n", alder.lines().nth(1).unwrap()), "\n900000\n", 1);
    let sql = format!("UPDATE witnessed SET size = 900000, checkpoint = '{larger}' WHERE origin = '{birch}'");
    watched.cedar.registry_store().run(&sql);
    let node = watched.birch.node();
    publishing::recall(node).await.unwrap();
    let said = publishing::publish(node).await.unwrap().said;
    assert!(said.values().any(|said| matches!(said, publishing::Said::Ahead { size: 900_000 })), "{said:?}");
    assert_eq!(node.watch().behind(), None);
    assert!(is_reads(&watched.alder.queries(&watched.birch, PLATE).await));
}

#[actix_web::test]
async fn a_node_that_starts_discloses_nothing_until_a_quorum_said_what_it_knows() {
    let mut watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    watched.cedar.stop();
    watched.birch.restart();
    let (status, why) = ready(&watched.birch).await;
    assert!(status == 503 && why.contains("quorum"), "{status} {why}");
    let text = watched.alder.forger().asks(&watched.alder.question(&watched.birch, watched.id, PLATE)).await;
    let own = watched.alder.node().watch().text().unwrap();
    let witnessed = format!("{},\"cosigned\":{}}}", &text[..text.len() - 1], serde_json::json!(own));
    watched.alder.posts_query(&watched.birch, &witnessed).await.problem(503, "unavailable");
    let out = watched.birch.asks(watched.birch.asking(&watched.alder, PLATE)).await;
    assert!(matches!(out, Err(AskError::Failure(Failure::Unheard(_)))), "{out:?}");
    watched.cedar.try_start().unwrap();
    assert_eq!(watched.alder.posts_query(&watched.birch, &witnessed).await.status, 200, "and it is not burned");
    assert_eq!(ready(&watched.birch).await.0, 200);
}
