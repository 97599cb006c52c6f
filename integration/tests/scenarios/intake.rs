//! Reads that come in while a node runs: from readers' agents, and from watched folders.

use std::cell::Cell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agreements::entry::Kind;
use agreements::time::Instant;
use concordat::config::{Columns, Csv, Folder, SourceName, TimeZoneName, Webhook};
use concordat::demo::agency::ALDER;
use concordat::trail::search::Filter;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use flate2::Compression;
use flate2::write::GzEncoder;
use integration::federation::start;
use integration::feeding::rekor;
use integration::wire::{Caller, plain_post};
use integration::{Federation, Reply, TestNode};
use serde_json::{Value, json};

/// The agent of [`rekor`]'s lines.
const AGENT: &str = "agent";
const PLATE: &str = "7AGENT1";

async fn alder(change: impl FnOnce(&mut Webhook)) -> (Federation, TestNode, String) {
    let federation = Federation::found();
    let mut node = TestNode::found(&federation, ALDER).await;
    node.opens_to_agents(change);
    let token = node.token(AGENT).await;
    (federation, node, token)
}

/// What an agent posts about a plate, so many milliseconds before now.
fn message(plate: &str, ms: i64) -> String {
    let mut line: Value = serde_json::from_str(&rekor(plate, start().plus(-ms * 1000))).unwrap();
    line["agent_uid"] = AGENT.into();
    line.to_string()
}

async fn post(node: &TestNode, token: &str, body: impl AsRef<[u8]>) -> Reply {
    let bearer = format!("Bearer {token}");
    plain_post(node.intake(), "/rekor", &[("authorization", &bearer)], body.as_ref()).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[actix_web::test]
async fn what_an_agent_posts_is_kept_once_and_counted() {
    let (_federation, mut node, token) = alder(|_| {}).await;
    let group = message(PLATE, 0);
    for _ in 0..2 {
        let reply = post(&node, &token, &group).await;
        assert_eq!((reply.status, reply.text()), (200, r#"{"reads":1}"#), "a re-delivery is acknowledged as well");
        assert_eq!(node.reads(), 1);
    }
    // Compressed, with the other header, with fields of a newer agent.
    let mut newer: Value = serde_json::from_str(&message(PLATE, 60_000)).unwrap();
    newer["newer"] = json!({"a": [1, {"b": null}]});
    let headers = [("x-api-key", token.as_str()), ("content-encoding", "gzip")];
    let reply = plain_post(node.intake(), "/rekor", &headers, &gzip(newer.to_string().as_bytes())).await;
    assert_eq!((reply.status, node.reads()), (200, 2), "{}", reply.text());
    let ms = start().micros() / 1000;
    let plates: Vec<Value> = (0..3).map(|n| json!({"plate": format!("7FRAME{n}"), "confidence": 80})).collect();
    let frame =
        json!({"data_type": "alpr_results", "uuid": format!("{AGENT}-7-{ms}"), "epoch_time": ms, "results": plates});
    assert_eq!(post(&node, &token, frame.to_string()).await.text(), r#"{"reads":3}"#);
    let heartbeat = json!({"data_type": "heartbeat", "agent_uid": AGENT, "video_streams": [{"camera_id": 7}]});
    assert_eq!(post(&node, &token, heartbeat.to_string()).await.status, 200);
    assert_eq!(node.reads(), 5, "a heartbeat is no read");
    assert_eq!(node.counted("concordat_ingested_lines_total{outcome=\"Stored\"}"), 5);
    assert_eq!(node.counted("concordat_ingested_lines_total{outcome=\"Duplicate\"}"), 1);
    assert_eq!(node.counted("concordat_agent_heartbeats_total"), 1);
    assert_eq!(node.counted("concordat_requests_total{door=\"Intake\",reply=\"Answered\"}"), 5);

    until("the agents are counted", || node.counted("concordat_agents") == 1).await;
    assert_eq!(node.counted("concordat_agents_silent"), 0);

    // What came is one entry, with nothing of what was read in it; and when the agent was heard is kept.
    let heard = node.clock_now();
    node.restart();
    let (row, said) = node.newest();
    assert_eq!(row.kind, Kind::ReadsIngested);
    assert_eq!((&said["agents"], &said["lines"], &said["kept"]), (&json!(1), &json!(5), &json!(5)));
    assert_eq!((&said["repeated"], &said["rejected"]), (&json!(1), &json!(0)));
    assert!(!said.to_string().contains(PLATE));
    let agents = concordat::registry::agents::all(&mut node.conn()).unwrap();
    assert_eq!(agents[0].heard_at, Some(heard));
    assert!(node.trail_problems().is_empty());
    assert!(!integration::logs::captured().text().contains(PLATE));
}

#[actix_web::test]
async fn when_an_agent_was_heard_is_written_later_if_it_cannot_be_now() {
    let (_federation, node, _) = alder(|_| {}).await;
    let (queue, keeping) = concordat::intake::queue::open(node.node()).unwrap();
    let mut registry = SqliteConnection::establish(node.registry_file().to_str().unwrap()).unwrap();
    let stuck = "CREATE TRIGGER stuck BEFORE UPDATE ON agent BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    registry.batch_execute(&format!("PRAGMA busy_timeout = 10000; {stuck}")).unwrap();
    let heard_at = || concordat::registry::agents::all(&mut node.conn()).unwrap()[0].heard_at;
    let (before, heard) = (node.trail_size(), node.clock_now());
    queue.heard(AGENT, heard);
    queue.record(node.node()).await.expect("the entry is there, whatever comes after");
    assert_eq!((node.trail_size(), heard_at()), (before + 1, None));
    registry.batch_execute("DROP TRIGGER stuck").unwrap();
    queue.record(node.node()).await.unwrap();
    assert_eq!((node.trail_size(), heard_at()), (before + 1, Some(heard)), "nothing is counted twice");
    queue.close(keeping).await;
}

#[actix_web::test]
async fn whose_token_does_not_count_is_counted_and_leaves_no_entry_each() {
    let (_federation, node, token) = alder(|_| {}).await;
    let (key, secret) = token.split_once('.').unwrap();
    let wrong_secret = format!("{key}.{}", secret.chars().rev().collect::<String>());
    let body = message(PLATE, 0);
    let size = node.trail_size();
    let bearer = |token: &str| format!("Bearer {token}");
    let basic = format!("Basic {token}");
    let tries = [
        vec![],
        vec![("authorization", bearer("x"))],
        vec![("authorization", bearer(&wrong_secret))],
        vec![("authorization", bearer(secret))],
        vec![("authorization", bearer(key))],
        vec![("authorization", basic)],
        vec![("authorization", bearer("wrong")), ("x-api-key", token.clone())],
        vec![("x-api-key", bearer(&token))],
    ];
    for headers in &tries {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for path in ["/rekor", "/nowhere"] {
            let reply = plain_post(node.intake(), path, &headers, body.as_bytes()).await;
            assert!(reply.problem(401, "unknown-agent").contains("concordat agent add"), "{headers:?}");
            assert_eq!(reply.header("connection"), Some("close"));
        }
    }
    assert_eq!(node.reads(), 0);
    assert_eq!(node.trail_size(), size, "nothing of it is recorded by itself");
    node.node().record_refused().await.unwrap();
    assert_eq!(node.newest().1["strangers"], 2 * tries.len());

    // Another agent's message; and a token that was ended counts no more at the very next request.
    let other = message(PLATE, 0).replace("\"agent_uid\":\"agent\"", "\"agent_uid\":\"other\"");
    assert!(post(&node, &token, other).await.problem(403, "other-agent").contains("a token of its own"));
    assert_eq!(post(&node, &token, &body).await.status, 200);
    let admin = node.fiction.person("admin");
    concordat::intake::agents::revoke(node.node().registry(), AGENT, &admin).await.unwrap();
    let (row, said) = node.newest();
    assert_eq!((row.kind, &said["change"], &said["uid"]), (Kind::AgentChanged, &json!("revoked"), &json!(AGENT)));
    assert_eq!(row.facts.username, Some(admin));
    post(&node, &token, &body).await.problem(401, "unknown-agent");
    assert!(!integration::logs::captured().text().contains(secret));
}

/// A body in a coding, and what is said about it: status, problem, words of its detail.
type Coded = (&'static str, &'static str, Vec<u8>, u16, &'static str, &'static str);

#[actix_web::test]
async fn a_bad_body_is_told_what_is_wrong_and_nothing_is_kept() {
    let (_federation, node, token) = alder(|webhook| webhook.max_body_bytes = 100_000.try_into().unwrap()).await;
    let good = message(PLATE, 0);
    let without = |field: &str| good.replace(&format!("\"{field}\""), &format!("\"no_{field}\""));
    let plain: [(&str, Vec<u8>, u16, &str, &str); 9] = [
        ("nothing", vec![], 400, "malformed", "not JSON"),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec(), 400, "malformed", "not JSON"),
        ("not UTF-8", b"{\"data_type\":\"\xff\"}".to_vec(), 400, "malformed", "UTF-8"),
        ("an array", b"[]".to_vec(), 422, "unacceptable", "not a JSON object"),
        ("no time", without("epoch_start").into(), 422, "unacceptable", "`epoch_start` is missing"),
        ("another kind", good.replace("alpr_group", "alpr_other").into(), 422, "unacceptable", "`data_type`"),
        ("no plate", good.replace(PLATE, "*").into(), 422, "unacceptable", "is no plate"),
        (
            "nobody's heartbeat",
            b"{\"data_type\":\"heartbeat\"}".to_vec(),
            422,
            "unacceptable",
            "`agent_uid` is missing",
        ),
        ("too long", vec![b' '; 100_001], 413, "too-long", "100000 bytes"),
    ];
    let bearer = format!("Bearer {token}");
    for (what, body, status, slug, says) in plain {
        let reply = post(&node, &token, &body).await;
        let detail = reply.problem(status, slug);
        assert!(detail.contains(says) && !detail.contains(PLATE), "{what}: {detail}");
    }
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let coded: [Coded; 4] = [
        ("a bomb", "gzip", bomb, 413, "too-long", "once it is decompressed"),
        ("not what it says", "gzip", good.clone().into(), 400, "malformed", "not gzip"),
        ("cut off", "gzip", gzip(good.as_bytes())[..50].to_vec(), 400, "malformed", "not gzip"),
        ("another coding", "br", good.clone().into(), 415, "encoding", "gzip"),
    ];
    for (what, coding, body, status, slug, says) in coded {
        let headers = [("authorization", bearer.as_str()), ("content-encoding", coding)];
        let detail = plain_post(node.intake(), "/rekor", &headers, &body).await.problem(status, slug);
        assert!(detail.contains(says), "{what}: {detail}");
    }
    let headers = [("authorization", bearer.as_str())];
    plain_post(node.intake(), "/", &headers, good.as_bytes()).await.problem(404, "no-such-path");
    assert_eq!(node.reads(), 0);
    assert_eq!(node.counted("concordat_ingested_lines_total{outcome=\"Rejected\"}"), 11, "what was read and refused");
    assert_eq!(post(&node, &token, &good).await.status, 200, "the node serves on");
}

/// Counts that something was answered.
async fn counted<T>(answered: &Cell<usize>, what: impl Future<Output = T>) -> T {
    let reply = what.await;
    answered.set(answered.get() + 1);
    reply
}

#[actix_web::test]
async fn while_the_store_stalls_the_queue_fills_and_later_all_is_kept_once() {
    let (_federation, node, token) = alder(|webhook| webhook.queue = 4.try_into().unwrap()).await;
    let mut lock = SqliteConnection::establish(node.reads_file().to_str().unwrap()).unwrap();
    lock.batch_execute("BEGIN IMMEDIATE").unwrap();
    let bodies: Vec<String> = (0..40).map(|n| message(PLATE, n * 1000)).collect();
    let answered = Cell::new(0);
    let posting = futures_util::future::join_all(bodies.iter().enumerate().map(|(n, body)| {
        let (node, token) = (&node, &token);
        counted(&answered, async move {
            // The first is in work before the others come: with them it would be one batch, however many they are.
            if n > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            post(node, token, body).await
        })
    }));
    let releasing = async {
        until("what does not fit is answered", || answered.get() >= 31).await;
        assert_eq!(node.reads(), 0, "nothing is kept while the store is held");
        lock.batch_execute("ROLLBACK").unwrap();
    };
    let (replies, ()) = futures_util::future::join(posting, releasing).await;
    let kept = replies.iter().filter(|reply| reply.status == 200).count();
    // Four that wait, and what was in work already: none on a machine that was too busy to begin, or a first four at once.
    // The rest was not taken.
    assert!((4..=9).contains(&kept), "{kept} were kept");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert!(reply.problem(429, "limited").contains("send it again"));
        assert_eq!(reply.header("retry-after"), Some("2"));
    }
    assert_eq!(node.reads(), kept as u64, "what got 200 is there, and what got 429 is not");
    for body in &bodies {
        assert_eq!(post(&node, &token, body).await.status, 200, "it has recovered");
    }
    assert_eq!(node.reads(), 40);
}

#[actix_web::test]
async fn bodies_in_memory_are_bounded() {
    let (_federation, node, token) = alder(|webhook| {
        webhook.max_body_bytes = (1 << 20).try_into().unwrap();
        webhook.max_waiting_bytes = (1 << 20).try_into().unwrap();
    })
    .await;
    let mut lock = SqliteConnection::establish(node.reads_file().to_str().unwrap()).unwrap();
    lock.batch_execute("BEGIN IMMEDIATE").unwrap();
    // Each is 400 kB, most of it in a field that nobody reads.
    let padded = |n: i64| message(PLATE, n * 1000).replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(400_000)), 1);
    let bodies: Vec<String> = (0..8).map(padded).collect();
    let answered = Cell::new(0);
    let posting =
        futures_util::future::join_all(bodies.iter().map(|body| counted(&answered, post(&node, &token, body))));
    let releasing = async {
        until("what does not fit is answered", || answered.get() >= 6).await;
        lock.batch_execute("ROLLBACK").unwrap();
    };
    let (replies, ()) = futures_util::future::join(posting, releasing).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 6, "{statuses:?}");
    for body in &bodies {
        assert_eq!(post(&node, &token, body).await.status, 200, "the memory is free again");
    }
    assert_eq!(node.reads(), 8);
}

#[actix_web::test]
async fn a_compressed_body_counts_with_what_it_may_become() {
    let (_federation, node, token) = alder(|webhook| {
        webhook.max_body_bytes = (1 << 20).try_into().unwrap();
        webhook.max_waiting_bytes = (2 << 20).try_into().unwrap();
    })
    .await;
    // Its headers alone: the body, half of what may wait with what it is decompressed to, does not come yet.
    let begun = format!(
        "POST /rekor HTTP/1.1\r\nhost: alder.test\r\nauthorization: Bearer {token}\r\n\
         content-encoding: gzip\r\ncontent-length: 500000\r\n\r\n"
    );
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-encoding", "gzip")];
    let body = gzip(message(PLATE, 0).as_bytes());
    let mut statuses = Vec::new();
    let mut slow = None;
    while statuses.len() < 50 && statuses.last() != Some(&429) {
        // Begun anew each time: one that met the message after it was itself refused, and waits for nothing.
        drop(slow.take());
        let begins = slow.insert(tokio::net::TcpStream::connect(node.intake()).await.unwrap());
        tokio::io::AsyncWriteExt::write_all(begins, begun.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        statuses.push(plain_post(node.intake(), "/rekor", &headers, &body).await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "a second one of the longest kind does not fit beside it");
    assert_eq!(post(&node, &token, message(PLATE, 1)).await.status, 200, "a plain one of its length does");
    drop(slow);
    for tries in 0.. {
        if plain_post(node.intake(), "/rekor", &headers, &body).await.status == 200 {
            break;
        }
        assert!(tries < 100, "what was cut off gives its room back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_store_that_fails_is_503_and_nothing_was_taken() {
    let (_federation, node, token) = alder(|_| {}).await;
    let images = node.settings().store.images.clone();
    std::fs::remove_dir_all(&images).unwrap();
    std::fs::write(&images, b"a file where the folder was").unwrap();
    let body = message(PLATE, 0);
    let reply = post(&node, &token, &body).await;
    assert!(reply.problem(503, "unavailable").contains("send it again"));
    assert_eq!(reply.header("retry-after"), Some("10"));
    assert_eq!(node.reads(), 0);
    std::fs::remove_file(&images).unwrap();
    assert_eq!(post(&node, &token, &body).await.status, 200, "it returns by itself");
    assert_eq!(node.reads(), 1);
}

#[actix_web::test]
async fn agents_need_no_certificate_and_get_the_nodes() {
    let (federation, node, token) = alder(|webhook| webhook.tls = true).await;
    let config = federation.pki.client(None, &node.clock);
    let agent = Caller::new(config, &node.fiction.host(), node.intake());
    let body = message(PLATE, 0);
    let request = format!(
        "POST /rekor HTTP/1.1\r\nhost: alder.test\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = agent.connect().await.unwrap().send_bytes(request.as_bytes(), "POST").await.unwrap();
    assert_eq!((reply.status, node.reads()), (200, 1), "{}", reply.text());
    let mut plain = tokio::net::TcpStream::connect(node.intake()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer);
    // An error is a connection that was cut, which is as good.
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("plain HTTP is not answered for long");
    assert!(!answer.starts_with(b"HTTP"), "tokens do not go over the network in the clear");
}

/// A node that watches a folder.
async fn watching() -> (Federation, TestNode, PathBuf) {
    let federation = Federation::found();
    let mut node = TestNode::found(&federation, ALDER).await;
    let inbox = federation.folder().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let path = inbox.clone();
    node.restart_with(|config| {
        let name: SourceName = "acme".parse().unwrap();
        config.ingest.csv.insert(name.clone(), acme());
        let watched = Folder { csv: Some(name.clone()), settle_seconds: 1.try_into().unwrap(), ..Folder::at(path) };
        config.ingest.folder.insert(name, watched);
    });
    (federation, node, inbox)
}

/// How a vendor writes its files.
fn acme() -> Csv {
    Csv {
        delimiter: ";".parse().unwrap(),
        seen_at_format: Some("%m/%d/%Y %H:%M:%S".parse().unwrap()),
        time_zone: Some(TimeZoneName::LosAngeles),
        columns: Columns {
            plate: "Plate".to_owned(),
            seen_at: "When".to_owned(),
            camera: "Device".to_owned(),
            image_path: "Crop".to_owned(),
            ..Columns::default()
        },
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

fn said(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[actix_web::test]
async fn files_of_a_watched_folder_are_taken_in_the_order_of_their_names() {
    let (federation, mut node, inbox) = watching().await;
    let crop = [&[0xff, 0xd8, 0xff][..], b"crop"].concat();
    std::fs::create_dir(inbox.join("crops")).unwrap();
    std::fs::write(inbox.join("crops/1.jpg"), &crop).unwrap();
    std::fs::write(federation.folder().join("secret.jpg"), &crop).unwrap();
    let csv = "\u{feff}Plate;When;Device;Crop\r\n7FOLDR1;11/23/2026 12:00:00;\"Main;\nnorth\";\r\n\
               7FOLDR1;11/23/2026 12:00:01;Main;crops/1.jpg\r\n7FOLDR2;11/23/2026 12:00:02;Main;../secret.jpg\r\n";
    let jsonl: String = (0..30).map(|n| rekor("7FOLDR3", start().plus(-n * Instant::MINUTE))).collect();
    std::fs::write(inbox.join("b.csv"), csv).unwrap();
    std::fs::write(inbox.join("a.jsonl"), &jsonl).unwrap();
    std::fs::write(inbox.join("c.csv"), "PlateNo;When;Device\n7FOLDR4;x;y\n").unwrap();
    std::fs::write(inbox.join("d.jsonl"), "{\"data_type\":\"alpr_group\"}\n").unwrap();
    std::fs::write(inbox.join("e.dat"), "what is this").unwrap();
    std::fs::write(inbox.join("f.csv.part"), csv).unwrap();
    std::os::unix::fs::symlink(federation.folder().join("secret.jpg"), inbox.join("g.csv")).unwrap();
    until("all are moved", || names(&inbox).len() == 5).await;
    assert_eq!(names(&inbox), ["crops", "done", "f.csv.part", "failed", "g.csv"]);
    assert_eq!(
        names(&inbox.join("done")),
        ["a.jsonl", "a.jsonl.summary.json", "b.csv", "b.csv.rejected", "b.csv.summary.json"]
    );
    assert_eq!(
        names(&inbox.join("failed")),
        ["c.csv", "c.csv.error.json", "d.jsonl", "d.jsonl.error.json", "d.jsonl.rejected", "e.dat", "e.dat.error.json"]
    );
    let summary = said(inbox.join("done/b.csv.summary.json"));
    assert_eq!((&summary["kept"], &summary["rejected"], &summary["images"]), (&json!(1), &json!(3), &json!(1)));
    let rejects = std::fs::read_to_string(inbox.join("done/b.csv.rejected")).unwrap();
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejects.iter().map(|line| line["line"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 5]);
    assert!(
        rejects[2]["reason"].as_str().unwrap().contains("`image_path` must name a file in or below"),
        "{rejects:?}"
    );
    for (file, says) in [("c.csv", "plate (`Plate`)"), ("d.jsonl", "every one"), ("e.dat", "cannot be told")] {
        let error = said(inbox.join(format!("failed/{file}.error.json")));
        assert!(error["error"].as_str().unwrap().contains(says), "{error}");
    }
    // In the order of their names, each an entry of the node's own.
    let filter = Filter { kind: Some(Kind::ReadsIngested), limit: 10, ..Filter::default() };
    let mut entries = node.entries(&filter);
    entries.reverse();
    let kept: Vec<Value> =
        entries.iter().map(|row| serde_json::from_slice(&row.detail.as_ref().unwrap().message).unwrap()).collect();
    assert_eq!(kept.iter().map(|said| said["kept"].clone()).collect::<Vec<_>>(), [json!(30), json!(1), json!(0)]);
    assert!(kept.iter().all(|said| said["folder"] == "acme"));
    assert_eq!(entries[0].facts.username.as_deref(), Some("(node)"));
    assert_eq!(node.counted("concordat_ingested_lines_total{outcome=\"Stored\"}"), 31);
    assert_eq!(node.counted("concordat_ingested_lines_total{outcome=\"Rejected\"}"), 4);
    assert_eq!(node.counted("concordat_folder_files_failed_total"), 3);
    // The same file again is known, and is kept beside the first.
    std::fs::write(inbox.join("a.jsonl"), &jsonl).unwrap();
    until("it is moved", || inbox.join("done/a.jsonl.2").exists()).await;
    assert_eq!(said(inbox.join("done/a.jsonl.2.summary.json"))["repeated"], 30);
    assert_eq!(node.reads(), 31);
    let logged = integration::logs::captured().text();
    assert!(!logged.contains("7FOLDR") && !logged.contains("b.csv"), "neither plates nor what vendors call files");
    node.stop();
}

#[actix_web::test]
async fn a_file_that_cannot_be_read_waits_and_holds_up_no_other() {
    let (_federation, mut node, inbox) = watching().await;
    // Where the report of refused lines goes lies something that cannot be taken away.
    let in_the_way = inbox.join(".a.jsonl.rejected");
    std::fs::create_dir(&in_the_way).unwrap();
    std::fs::write(inbox.join("a.jsonl"), rekor("7WAITS1", start())).unwrap();
    std::fs::write(inbox.join("b.jsonl"), rekor("7WAITS2", start())).unwrap();
    until("the other is taken", || inbox.join("done/b.jsonl").exists()).await;
    assert!(inbox.join("a.jsonl").exists() && !inbox.join("failed").exists(), "it is not the file's fault");
    std::fs::remove_dir(&in_the_way).unwrap();
    until("it is taken by itself", || inbox.join("done/a.jsonl").exists()).await;
    assert_eq!(node.reads(), 2);
    node.stop();
}

#[actix_web::test]
async fn a_stop_leaves_a_file_where_it_is_and_the_next_start_takes_the_rest() {
    let (_federation, mut node, inbox) = watching().await;
    let row = |n: i64| {
        let at = start().plus(-n * Instant::SECOND);
        format!("7STOP{:02};{};Main;\n", n % 100, stamp(at))
    };
    let text: String = std::iter::once("Plate;When;Device;Crop\n".to_owned()).chain((0..60_000).map(row)).collect();
    std::fs::write(inbox.join("long.csv"), text).unwrap();
    until("it has begun", || node.reads() > 0).await;
    node.stop();
    assert!(inbox.join("long.csv").exists(), "the stop came before its end, or this machine is too fast for this test");
    node.try_start().unwrap();
    until("it is taken", || inbox.join("done/long.csv").exists()).await;
    assert_eq!(node.reads(), 60_000);
    let summary = said(inbox.join("done/long.csv.summary.json"));
    let (kept, repeated) = (summary["kept"].as_u64().unwrap(), summary["repeated"].as_u64().unwrap());
    assert!(kept < 60_000 && kept + repeated == 60_000, "{summary}");
}

/// A time as the vendor of this test writes it.
fn stamp(at: Instant) -> String {
    let winter = jiff::tz::TimeZone::fixed(jiff::tz::offset(-8));
    let stamp = jiff::Timestamp::from_microsecond(at.micros()).unwrap();
    stamp.to_zoned_datetime(winter).strftime("%m/%d/%Y %H:%M:%S").to_string()
}
