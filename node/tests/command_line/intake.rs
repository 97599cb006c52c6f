//! Reads that come in: CSV files, agents' tokens, and that a killed node loses nothing that it acknowledged.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use concordat::config::{Columns, Csv, Folder, SourceName, TimeZoneName};
use concordat::reads::store::ReadsDb;
use serde_json::Value;

use super::program::{County, Node, now};

const ALDER: &str = "CA0990000";
const AGENT: &str = "AGENT-1";

fn write(node: &Node, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = node.path(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_csv_is_taken_as_its_layout_says_and_refused_with_what_to_write() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let plain = "plate,seen_at,camera\n7ABC123,2026-01-20T20:17:00Z,Main\n7ABC124,1769000000000,Main\n";
    let path = write(&node, "plain.csv", plain);
    let first = node.run_as("admin", &["ingest", &path, "--json"]).json();
    assert_eq!((&first["kept"], &first["rejected"], &first["lines"]), (&2.into(), &0.into(), &2.into()));
    let again = node.run_as("admin", &["ingest", &path, "--json"]).json();
    assert_eq!((&again["kept"], &again["repeated"]), (&0.into(), &2.into()), "a CSV again changes nothing");

    let vendor = "\u{feff}Plate No;Read Time;Device\r\n7ABC125;01/20/2026 12:17:00;\"Main;\"\"N\"\"\"\r\n\
                  7ABC126;20.01.2026 12:17;Main\r\n7ABC127;01/20/2026 12:17:01;Main;\r\n";
    let path = write(&node, "vendor.csv", vendor);
    let unknown = node.run_as("admin", &["ingest", &path]).ended(2);
    for part in ["plate (`plate`)", "`Plate No;Read Time;Device`", "[ingest.csv.NAME.columns]", "delimiter"] {
        assert!(unknown.contains(part), "{part}: {unknown}");
    }
    assert!(node.run_as("admin", &["ingest", &path, "--source", "acme"]).ended(2).contains("[ingest.csv.acme]"));
    node.configure(|config| {
        let columns = Columns {
            plate: "Plate No".to_owned(),
            seen_at: "Read Time".to_owned(),
            camera: "Device".to_owned(),
            ..Columns::default()
        };
        let acme = Csv {
            delimiter: ";".parse().unwrap(),
            seen_at_format: Some("%m/%d/%Y %H:%M:%S".parse().unwrap()),
            time_zone: Some(TimeZoneName::LosAngeles),
            columns,
        };
        config.ingest.csv.insert("acme".parse().unwrap(), acme);
    });
    let taken = node.run_as("admin", &["ingest", &path, "--source", "acme", "--json"]).json();
    assert_eq!((&taken["kept"], &taken["rejected"]), (&1.into(), &2.into()));
    assert_eq!(taken["first_seen"], "2026-01-20T20:17:00.000000Z");
    let report = fs::read_to_string(path.clone() + ".rejected").unwrap();
    let lines: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["line"], &lines[1]["line"]), (&3.into(), &4.into()));
    assert!(lines[0]["reason"].as_str().unwrap().contains("seen_at_format"), "{report}");
    assert!(lines[1]["reason"].as_str().unwrap().contains("4 fields and the header 3"), "{report}");

    let dat = write(&node, "plain.dat", plain);
    assert!(node.run_as("admin", &["ingest", &dat]).ended(2).contains("--format csv"));
    let told = node.run_as("admin", &["ingest", &dat, "--format", "csv", "--json"]).json();
    assert_eq!(told["repeated"], 2, "the same reads, whatever the file is called");
    let json = write(&node, "json.csv", "{\"data_type\":\"heartbeat\"}\n");
    assert!(node.run_as("admin", &["ingest", &json]).ended(2).contains("--format rekor"));
    assert_eq!(count(&node), 3);
}

#[test]
fn an_agents_token_is_shown_once_and_every_change_is_recorded() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    assert!(node.run_as("investigator", &["agent", "add", AGENT]).ended(1).contains("does not allow"));
    assert!(node.run_as("admin", &["agent", "add", "an agent"]).ended(1).contains("agent_uid"));
    let said = node.run_as("admin", &["agent", "add", AGENT]).ended(0);
    let token = said.lines().find(|line| line.len() == 60).expect("the token").to_owned();
    assert!(said.contains("ingest.webhook.listen"), "{said}");
    assert!(node.run_as("admin", &["agent", "add", AGENT]).ended(1).contains("agent revoke"));
    let listed = node.run(&["agent", "list", "--json"]).ended(0);
    assert!(!listed.contains(&token) && listed.contains(AGENT), "{listed}");
    for file in ["registry.db", "registry.db-wal"] {
        let bytes = fs::read(node.path(file)).unwrap_or_default();
        let secret = token.split_once('.').unwrap().1.as_bytes();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{file} has the secret");
    }
    node.run_as("admin", &["agent", "revoke", AGENT]).ended(0);
    assert!(node.run_as("admin", &["agent", "revoke", AGENT]).ended(1).contains("agent list"));
    node.run_as("admin", &["agent", "add", AGENT]).ended(0);
    let list = node.run(&["agent", "list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 2, "what was revoked stays listed");
    assert!(list[0]["revoked_at"].is_string() && list[1]["revoked_at"].is_null());
    let found = node.run_as("auditor", &["trail", "search", "--kind", "agent.changed", "--json"]).json();
    let changes: Vec<&str> =
        found.as_array().unwrap().iter().map(|entry| entry["message"]["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["added", "revoked", "added"]);
    assert!(!found.to_string().contains(&token));
}

/// How many reads the store has.
fn count(node: &Node) -> u64 {
    ReadsDb::open(&format!("sqlite:{}", node.path("reads.db"))).unwrap().reader().unwrap().count().unwrap()
}

/// The uuids of the reads in the store.
fn stored(node: &Node) -> BTreeSet<String> {
    use diesel::prelude::*;
    diesel::table! { read (uuid) { uuid -> Text, } }
    let mut conn = SqliteConnection::establish(&node.path("reads.db")).unwrap();
    read::table.select(read::uuid).load::<String>(&mut conn).unwrap().into_iter().collect()
}

/// A message with the number `n`: its uuid and its text.
fn message(n: usize, at: i64) -> (String, String) {
    let ms = at + i64::try_from(n).unwrap();
    let uuid = format!("{AGENT}-7-{ms}");
    let text = format!(
        r#"{{"data_type":"alpr_group","agent_uid":"{AGENT}","camera_id":7,"epoch_start":{ms},"best_uuid":"{uuid}","best_plate_number":"7KILL{:02}","best_confidence":90.5,"best_plate":{{"plate_crop_jpeg":"/9j/2Q=="}}}}"#,
        n % 100
    );
    (uuid, text)
}

/// Posts on a connection that is kept while it lasts. The status, or `None` when the node is gone.
fn post(line: &mut Option<TcpStream>, at: SocketAddr, token: &str, body: &str) -> Option<u16> {
    if line.is_none() {
        let stream = TcpStream::connect(at).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        *line = Some(stream);
    }
    let status = exchange(line.as_mut()?, token, body);
    if status != Some(200) {
        *line = None;
    }
    status
}

fn exchange(stream: &mut TcpStream, token: &str, body: &str) -> Option<u16> {
    let length = body.len();
    let head =
        format!("POST /rekor HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).ok()?;
    let (mut reply, mut part) = (Vec::new(), [0; 1024]);
    while !reply.windows(4).any(|four| four == b"\r\n\r\n") || !reply.ends_with(b"}") {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        reply.extend_from_slice(&part[..read]);
    }
    std::str::from_utf8(reply.get(9..12)?).ok()?.parse().ok()
}

#[test]
fn kill_9_while_agents_post_loses_no_acknowledged_read_and_doubles_none() {
    const KILLS: usize = 25;
    const POSTERS: usize = 4;
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    node.configure(|config| {
        config.ingest.webhook.listen = Some(([127, 0, 0, 1], 0).into());
        config.ingest.webhook.tls = false;
    });
    let token = node.run_as("admin", &["agent", "add", AGENT, "--json"]).json()["token"].as_str().unwrap().to_owned();
    let begin = now().micros() / 1000 - 86_400_000;
    let next = AtomicUsize::new(0);
    let acknowledged: Mutex<BTreeSet<String>> = Mutex::default();
    let unanswered: Mutex<Vec<usize>> = Mutex::default();
    for round in 0..KILLS {
        let serving = node.serve();
        let at = serving.intake.unwrap();
        let gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..POSTERS {
                scope.spawn(|| {
                    let mut line = None;
                    while !gone.load(Ordering::SeqCst) {
                        // What got no answer is sent again, as agents do, before anything new.
                        let n = unanswered.lock().unwrap().pop().unwrap_or_else(|| next.fetch_add(1, Ordering::SeqCst));
                        let (uuid, text) = message(n, begin);
                        match post(&mut line, at, &token, &text) {
                            Some(200) => _ = acknowledged.lock().unwrap().insert(uuid),
                            _ => unanswered.lock().unwrap().push(n),
                        }
                    }
                });
            }
            // At instants that have nothing to do with what the node does.
            std::thread::sleep(Duration::from_millis(30 + (round as u64 * 7919) % 170));
            serving.kill();
            gone.store(true, Ordering::SeqCst);
        });
        let there = stored(&node);
        let lost: Vec<String> = acknowledged.lock().unwrap().difference(&there).cloned().collect();
        assert_eq!(lost, [""; 0], "acknowledged and not there after kill {round}");
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > 10 * KILLS, "only {} were acknowledged", acknowledged.len());
    // The rest again, and all of it once more.
    let serving = node.serve();
    let mut line = None;
    let all = next.into_inner();
    for n in 0..all {
        assert_eq!(post(&mut line, serving.intake.unwrap(), &token, &message(n, begin).1), Some(200));
    }
    assert_eq!(count(&node), all as u64, "one row for each");
    assert_eq!(stored(&node).len(), all);
    assert_eq!(serving.stop(), Some(0));
    node.run(&["trail", "verify"]).ended(0);
}

#[test]
fn kill_9_within_a_watched_folder_loses_no_read_and_doubles_none() {
    const ROWS: usize = 40_000;
    const KILLS: usize = 5;
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let inbox = node.path("inbox");
    fs::create_dir(&inbox).unwrap();
    node.configure(|config| {
        let name: SourceName = "in".parse().unwrap();
        let folder = Folder { settle_seconds: 1.try_into().unwrap(), ..Folder::at("inbox".into()) };
        config.ingest.folder.insert(name, folder);
    });
    let begin = now().micros() / 1000 - 86_400_000;
    let rows = (0..ROWS).map(|n| format!("7KILL{:02},{},Main\n", n % 100, begin + i64::try_from(n).unwrap()));
    let text: String = std::iter::once("plate,seen_at,camera\n".to_owned()).chain(rows).collect();
    fs::write(Path::new(&inbox).join("long.csv"), text).unwrap();
    let done = Path::new(&inbox).join("done/long.csv");
    let wait = |what: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if what() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nothing happens");
    };
    let mut interrupted = 0;
    for round in 0..KILLS {
        let serving = node.serve();
        let before = count(&node);
        wait(&|| count(&node) > before || done.exists());
        std::thread::sleep(Duration::from_millis(20 + (round as u64 * 37) % 90));
        serving.kill();
        let (there, moved) = (count(&node), done.exists());
        // Either the file is where it was, or all of it is in the store.
        assert!(there == ROWS as u64 || !moved, "{there} rows, and the file is in done");
        assert_eq!(Path::new(&inbox).join("long.csv").exists(), !moved);
        interrupted += usize::from(!moved && there < ROWS as u64);
        if moved {
            break;
        }
    }
    assert!(interrupted > 0, "no kill came within the file");
    let serving = node.serve();
    wait(&|| done.exists());
    assert_eq!(serving.stop(), Some(0));
    assert_eq!(count(&node), ROWS as u64);
    assert_eq!(stored(&node).len(), ROWS, "one row for each");
    node.run(&["trail", "verify"]).ended(0);
}
