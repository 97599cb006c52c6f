//! Witnesses: every head is shown to them, what no quorum vouches for is not disclosed nor taken, and forks are convicted.

use agreements::entry::Kind;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::exchange::ask::Gave;
use concordat::exchange::following;
use concordat::publishing::{self, Said};
use concordat::registry::heads;
use concordat::trail::cosignature::SignedText;
use concordat::trail::note::{Checkpoint, Vkey};
use concordat::witness::evidence;
use integration::rotation::rekeyed;
use integration::witnesses::Watched;
use integration::{Pair, TestNode, tamper};

const PLATE: &str = "7WIT001";
const PERMITTED: &str = "concordat_decisions_total{decision=\"Permitted\",rule=\"none\"}";

async fn saw(node: &TestNode) {
    node.ingests(PLATE, node.clock.now().plus(-Instant::HOUR)).await;
}

/// What the witness of `node` knows of another one's log.
fn knows(node: &TestNode, of: &TestNode) -> Option<u64> {
    let mut conn = node.node().registry().reader().unwrap();
    let origin = &of.node().party().node.log_origin;
    concordat::witness::newest(&mut conn, origin).unwrap().map(|head| head.size)
}

#[actix_web::test]
async fn each_head_is_cosigned_by_the_other_agencies_and_goes_with_what_is_said() {
    let watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    let cosigned = watched.birch.node().watch().cosigned();
    assert_eq!(cosigned.since, Some(watched.birch.clock.now()), "a quorum vouches for it");
    let note = SignedText::parse(&cosigned.text).unwrap();
    let who: Vec<bool> = watched.policy.witnesses().iter().map(|it| it.key.cosigned(&note).is_some()).collect();
    assert_eq!(who, [true, false, true], "Alder's and Cedar's, and not Birch's own");
    let party = watched.birch.node().party();
    let head = Checkpoint::verify(&cosigned.text, &party.node.log_vkey.parse().unwrap()).unwrap();
    assert_eq!(
        (knows(&watched.alder, &watched.birch), knows(&watched.cedar, &watched.birch)),
        (Some(head.size), Some(head.size))
    );
    assert_eq!(knows(&watched.birch, &watched.birch), None, "nobody witnesses itself");
    let gave = watched.alder.queries(&watched.birch, PLATE).await;
    assert!(matches!(&gave, Gave::Reads { reads, .. } if reads.len() == 1), "{gave:?}");
}

#[actix_web::test]
async fn a_running_node_shows_its_head_by_itself() {
    let watched = Watched::in_force().await;
    let size = concordat::trail::head::extent(&mut watched.alder.node().registry().reader().unwrap()).unwrap().0;
    for tries in 0.. {
        if knows(&watched.cedar, &watched.alder).is_some_and(|known| known >= size) {
            break;
        }
        assert!(tries < 100, "within seconds");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[actix_web::test]
async fn what_no_quorum_vouches_for_any_more_is_not_disclosed_until_one_does() {
    let mut watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    watched.cedar.stop();
    // For a day the word of before counts ...
    watched.set_clocks(watched.birch.clock.now().plus(23 * Instant::HOUR));
    let gave = watched.alder.queries(&watched.birch, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
    // ... and no longer.
    watched.set_clocks(watched.birch.clock.now().plus(2 * Instant::HOUR));
    let gave = watched.alder.queries(&watched.birch, PLATE).await;
    assert!(matches!(&gave, Gave::Invalid { why } if why.contains("503") && why.contains("no quorum")), "{gave:?}");
    let said = publishing::publish(watched.birch.node()).await.unwrap().said;
    let failed: Vec<&String> =
        said.iter().filter(|(_, said)| matches!(said, Said::Failed(_))).map(|(name, _)| name).collect();
    assert!(matches!(failed[..], [name] if name.contains("cedar")), "{said:?}");
    watched.cedar.try_start().unwrap();
    watched.cedar.clock.set(watched.birch.clock.now());
    watched.publish().await;
    let gave = watched.alder.queries(&watched.birch, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
}

#[actix_web::test]
async fn a_question_whose_log_is_not_witnessed_is_not_heard() {
    let watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    // Sworn, and without the cosigned head that goes with what a node says.
    let text = watched.alder.forger().asks(&watched.alder.question(&watched.birch, watched.id, PLATE)).await;
    let reply = watched.alder.posts_query(&watched.birch, &text).await;
    assert!(reply.problem(400, "unsworn").contains("without a cosigned head"), "{reply:?}");
    // With one that only its own key signed.
    let head = watched.alder.checkpoint();
    let alone = format!("{},\"cosigned\":{}}}", &text[..text.len() - 1], serde_json::json!(head));
    let reply = watched.alder.posts_query(&watched.birch, &alone).await;
    assert!(reply.problem(400, "unsworn").contains("no quorum"), "{reply:?}");
    // With Birch's own, which is witnessed.
    let other = watched.birch.node().watch().text().unwrap();
    let of_another = format!("{},\"cosigned\":{}}}", &text[..text.len() - 1], serde_json::json!(other));
    let reply = watched.alder.posts_query(&watched.birch, &of_another).await;
    assert!(reply.problem(400, "unsworn").contains("not one that this log signed"), "{reply:?}");
    assert_eq!(watched.birch.counted(PERMITTED), 0, "and nothing was decided");
    let own = watched.alder.node().watch().text().unwrap();
    let witnessed = format!("{},\"cosigned\":{}}}", &text[..text.len() - 1], serde_json::json!(own));
    assert_eq!(watched.alder.posts_query(&watched.birch, &witnessed).await.status, 200, "its id is not burned");
    assert_eq!(watched.birch.counted(PERMITTED), 1);
}

#[actix_web::test]
async fn a_log_with_two_heads_of_one_size_is_convicted_by_whoever_watches() {
    let watched = Watched::in_force().await;
    watched.publish().await;
    let forger = watched.alder.fork(watched.federation.folder());
    watched.alder.writes_an_entry().await;
    let real = watched.alder.checkpoint();
    watched.publish().await;
    forger.writes_an_entry().await;
    let forged = forger.checkpoint();
    assert_eq!(real.lines().nth(1), forged.lines().nth(1), "the same size");
    let size: u64 = real.lines().nth(1).unwrap().parse().unwrap();
    let body = concordat::witness::request::Shown::body(size, &[], &forged);
    let reply = watched.alder.calls(&watched.birch).post("/peer/v1/witness/add-checkpoint", &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (422, Some("text/plain; charset=utf-8")));
    let elsewhere = concordat::witness::request::Shown::body(0, &[], &forged);
    let reply = watched.alder.calls(&watched.birch).post("/peer/v1/witness/add-checkpoint", &elsewhere).await;
    assert_eq!((reply.status, reply.header("content-type")), (409, Some("text/x.tlog.size")));
    assert_eq!(reply.text(), format!("{size}\n"));
    let kept = evidence::all(&mut watched.birch.node().registry().reader().unwrap()).unwrap();
    let vkey = watched.alder.node().party().node.log_vkey.parse().unwrap();
    let (held, shown) = kept[0].1.convicts(&vkey).unwrap();
    assert!(held.size == size && shown.size == size && held.root != shown.root);
}

#[actix_web::test]
async fn a_registry_that_was_set_back_is_seen_by_its_witnesses() {
    let mut watched = Watched::in_force().await;
    let (file, kept) = (watched.alder.registry_file(), watched.federation.folder().join("kept.db"));
    tamper::copy(&file, &kept);
    watched.alder.writes_an_entry().await;
    watched.publish().await;
    watched.alder.stop();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    std::fs::copy(&kept, &file).unwrap();
    watched.alder.try_start().unwrap();
    let said = publishing::publish(watched.alder.node()).await.unwrap().said;
    assert!(said.values().all(|said| matches!(said, Said::Ahead { .. })), "{said:?}");
}

#[actix_web::test]
async fn two_agencies_without_a_policy_witness_each_other_and_nothing_is_enforced() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    publishing::publish(pair.birch.node()).await.unwrap();
    let cosigned = pair.birch.node().watch().cosigned();
    let note = SignedText::parse(&cosigned.text).unwrap();
    let alder: concordat::trail::cosignature::CosignerKey =
        pair.alder.node().party().node.witness_vkey.parse().unwrap();
    assert!(alder.cosigned(&note).is_some() && cosigned.since.is_none(), "no quorum is claimed");
    pair.set_clocks(pair.birch.clock.now().plus(3 * Instant::DAY));
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
}

#[actix_web::test]
async fn a_witness_answers_monitors_and_only_those_whom_it_enrolled() {
    let watched = Watched::in_force().await;
    watched.publish().await;
    let origin = watched.alder.node().party().node.log_origin.clone();
    let path = format!("/peer/v1/witness/{}/checkpoint", agreements::ids::Digest::of(origin.as_bytes()));
    let reply = watched.birch.calls(&watched.cedar).get(&path).await;
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).unwrap();
    let cedar: concordat::trail::cosignature::CosignerKey =
        watched.cedar.node().party().node.witness_vkey.parse().unwrap();
    assert!(cedar.cosigned(&SignedText::parse(&text).unwrap()).is_some());
    let unknown = format!("/peer/v1/witness/{}/checkpoint", agreements::ids::Digest::of(b"nobody"));
    assert_eq!(watched.birch.calls(&watched.cedar).get(&unknown).await.status, 404);
}

/// A question of a fork of Alder's log, with the cosigned head of the log that its witnesses see.
async fn of_the_fork(watched: &Watched, forger: &integration::forge::Forger) -> String {
    let text = forger.asks(&watched.alder.question(&watched.birch, watched.id, PLATE)).await;
    let own = watched.alder.node().watch().text().unwrap();
    format!("{},\"cosigned\":{}}}", &text[..text.len() - 1], serde_json::json!(own))
}

#[actix_web::test]
async fn s35_a_log_that_shows_each_its_own_trail_is_convicted_and_stopped() {
    let mut watched = Watched::in_force().await;
    saw(&watched.birch).await;
    saw(&watched.alder).await;
    watched.publish().await;
    let forger = watched.alder.fork(watched.federation.folder());
    let asked = of_the_fork(&watched, &forger).await;
    assert_eq!(watched.alder.posts_query(&watched.birch, &asked).await.status, 200, "nothing shows yet");
    // To its witnesses and to Cedar the log goes on without that question.
    for _ in 0..3 {
        watched.alder.writes_an_entry().await;
    }
    watched.publish().await;
    let birch = watched.birch.node();
    following::look(birch, &birch.desk()).await.unwrap();
    let kept = evidence::all(&mut watched.birch.conn()).unwrap();
    let vkey = watched.alder.node().party().node.log_vkey.parse().unwrap();
    let (held, shown) = kept[0].1.convicts(&vkey).unwrap();
    assert!(held.size < shown.size, "by what the larger one begins with");
    // From then on, on both sides, over a restart too, whatever it asks and however well it is witnessed.
    for _ in 0..2 {
        let honest = watched.alder.queries(&watched.birch, PLATE).await;
        assert!(matches!(&honest, Gave::Invalid { why } if why.contains("403") && why.contains("two") ), "{honest:?}");
        let back = watched.birch.queries(&watched.alder, PLATE).await;
        assert!(matches!(&back, Gave::NotAsked { why } if why.contains(&kept[0].0.to_string())), "{back:?}");
        watched.birch.restart();
    }
    // Another name for the same log does not lift it.
    let (alder, birch) = (&watched.alder, &watched.birch);
    let mut keys = birch.knows(alder);
    let own: Vkey = keys.log_vkey.parse().unwrap();
    keys.log_origin = format!("{}/epoch-2", own.name());
    keys.log_vkey = Vkey::new(&keys.log_origin, *own.key()).unwrap().to_string();
    let n = u32::try_from(birch.streams(watched.id)[1].events().len()).unwrap() + 1;
    let said = rekeyed(birch, (alder.ori(), watched.id), n, &keys, &alder.seal_key());
    let (_, text) = alder.forger().swears(Kind::AgreementEvent, None, &said).await;
    let told = alder.calls(birch).post(&format!("/peer/v1/agreements/{}/events", watched.id), &text).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let back = birch.queries(alder, PLATE).await;
    assert!(matches!(&back, Gave::NotAsked { why } if why.contains(&kept[0].0.to_string())), "{back:?}");
    // Who saw one trail only goes on with it.
    assert_eq!(evidence::all(&mut watched.cedar.conn()).unwrap(), []);
}

#[actix_web::test]
async fn a_head_that_came_with_what_was_refused_convicts_as_well() {
    let watched = Watched::in_force().await;
    watched.publish().await;
    let forger = watched.alder.fork(watched.federation.folder());
    // Of no kind that this door takes: nothing comes of it, and nothing is recorded.
    let size = watched.birch.trail_size();
    let (_, text) = forger.swears(Kind::TrailSearched, None, &serde_json::json!({"v": 1})).await;
    watched.alder.posts_query(&watched.birch, &text).await.problem(400, "unsworn");
    assert_eq!(watched.birch.trail_size(), size);
    for _ in 0..3 {
        watched.alder.writes_an_entry().await;
    }
    watched.publish().await;
    // The newest cosigned head of Alder is here.
    let asked = watched.alder.asks(watched.alder.asking(&watched.birch, PLATE)).await;
    assert!(asked.is_ok(), "{asked:?}");
    following::look(watched.birch.node(), &watched.birch.node().desk()).await.unwrap();
    let kept = evidence::all(&mut watched.birch.conn()).unwrap();
    let vkey = watched.alder.node().party().node.log_vkey.parse().unwrap();
    assert!(kept.iter().any(|(_, fork, _)| fork.convicts(&vkey).is_ok()), "{kept:?}");
}

#[actix_web::test]
async fn s35_what_witnesses_never_saw_stops_the_exchange_after_ten_minutes() {
    let watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    let forger = watched.alder.fork(watched.federation.folder());
    for _ in 0..20 {
        forger.writes_an_entry().await;
    }
    let birch = watched.birch.node();
    let hears = async || {
        let text = of_the_fork(&watched, &forger).await;
        watched.alder.posts_query(&watched.birch, &text).await
    };
    assert_eq!(hears().await.status, 200);
    let first = watched.birch.clock.now();
    watched.set_clocks(first.plus(9 * Instant::MINUTE));
    forger.clock.set(watched.birch.clock.now());
    following::look(birch, &birch.desk()).await.unwrap();
    assert_eq!(hears().await.status, 200, "a head may take its time");
    watched.set_clocks(first.plus(11 * Instant::MINUTE));
    forger.clock.set(watched.birch.clock.now());
    following::look(birch, &birch.desk()).await.unwrap();
    assert!(hears().await.problem(400, "unsworn").contains("ten minutes ago"));
    assert_eq!(evidence::all(&mut watched.birch.conn()).unwrap(), [], "which convicts nobody yet");
}

#[actix_web::test]
async fn heads_of_an_honest_partner_are_found_in_what_its_witnesses_saw() {
    let watched = Watched::in_force().await;
    saw(&watched.birch).await;
    watched.publish().await;
    // Over the edge of a tile.
    for _ in 0..300 {
        watched.alder.writes_an_entry().await;
    }
    for _ in 0..5 {
        assert!(matches!(watched.alder.queries(&watched.birch, PLATE).await, Gave::Reads { .. }));
    }
    watched.publish().await;
    let (birch, soon) = (watched.birch.node(), watched.birch.clock.now().plus(1));
    assert!(!heads::waiting(&mut watched.birch.conn(), soon).unwrap().is_empty());
    following::look(birch, &birch.desk()).await.unwrap();
    assert_eq!(heads::waiting(&mut watched.birch.conn(), soon).unwrap().into_iter().collect::<Vec<_>>(), []);
}
