//! Witnesses that are no agency: the program on its own, with nodes and with software that is not ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agreements::ids::Digest;
use agreements::time::Instant;
use certs::key::SigningKey;
use concordat::ca_folder::{CaFolder, Order};
use concordat::clock::Clock as _;
use concordat::publishing::{self, Said};
use concordat::trail::cosignature::SignedText;
use concordat::witness::request::{MAX_REQUEST, Shown};
use integration::TestNode;
use integration::alone::{Alone, Foreign, MemoryLog, Process, aics, answer, free, http, http_within, logs_of, runs};
use integration::federation::{Federation, start};
use integration::pki::LONG;
use integration::witnesses::Watched;
use serde_json::{Value, json};

const LOG: &str = "alder.example/trail";
const AUDITOR: &str = "auditor.alder.example/witness";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A witness alone of one log in memory.
fn with_a_log(folder: &Path, entries: u64) -> (Alone, MemoryLog) {
    let log = MemoryLog::of(LOG, entries, "a");
    (Alone::init(&folder.join("witness"), AUDITOR, &[log.vkey.to_string()]), log)
}

fn asks(address: SocketAddr, body: &str) -> (u16, String) {
    let answer = http(address, "POST", "/add-checkpoint", body);
    (answer.status, answer.body)
}

/// What a node's witnesses did with its head now, by their names.
async fn said(node: &TestNode) -> BTreeMap<String, Said> {
    publishing::publish(node.node()).await.unwrap().said
}

/// A federation whose policy needs an auditor that runs the program alone.
async fn audited() -> (Watched, Alone, Process, SocketAddr) {
    let mut made = None;
    let watched = Watched::in_force_with(|federation, nodes| {
        let alone = Alone::init(&federation.folder().join("auditor"), AUDITOR, &logs_of(nodes));
        let (process, address) = alone.serves();
        let line = format!("{} http://{address}", alone.key);
        made = Some((alone, process, address));
        vec![("auditor".to_owned(), line)]
    })
    .await;
    let (alone, process, address) = made.unwrap();
    (watched, alone, process, address)
}

#[actix_web::test]
async fn a_node_counts_on_an_auditors_witness_that_loses_nothing_when_it_is_killed() {
    let (watched, alone, process, address) = audited().await;
    watched.publish().await;
    let alder = &watched.alder;
    let origin = alder.node().party().node.log_origin.clone();
    let cosigned = alder.node().watch().cosigned();
    assert!(cosigned.since.is_some(), "partners and the auditor are a quorum");
    assert!(alone.key.cosigned(&SignedText::parse(&cosigned.text).unwrap()).is_some());
    assert_eq!(alone.knows(&origin), Some(cosigned.size));
    // Without a word, as when the power fails.
    process.kill();
    assert_eq!(alone.knows(&origin), Some(cosigned.size), "what it had answered was on the disk");
    alder.writes_an_entry().await;
    assert!(matches!(said(alder).await[AUDITOR], Said::Failed(_)));
    assert_eq!(alder.node().watch().cosigned().size, cosigned.size, "partners alone are no quorum");
    let (process, _) = alone.serves_at(address, &[]);
    assert!(matches!(said(alder).await[AUDITOR], Said::Cosigned { size, .. } if size > cosigned.size));
    assert!(alder.node().watch().cosigned().size > cosigned.size);
    // A monitor asks for the newest head.
    let path = format!("/{}/checkpoint", Digest::of(origin.as_bytes()));
    let newest = http(address, "GET", &path, "");
    assert_eq!(newest.status, 200);
    assert!(alone.key.cosigned(&SignedText::parse(&newest.body).unwrap()).is_some());
    assert_eq!(http(address, "GET", "/readyz", "").status, 200);
    assert_eq!(alone.shows().0, 0, "no fork");
    assert_eq!(process.terminate(), 0);
}

#[actix_web::test]
async fn s35_a_node_that_shows_an_auditor_two_trails_is_convicted_by_a_file() {
    let (watched, alone, _process, address) = audited().await;
    let forger = watched.alder.fork(watched.federation.folder());
    watched.alder.writes_an_entry().await;
    watched.publish().await;
    forger.writes_an_entry().await;
    let forged = forger.checkpoint();
    let size: u64 = forged.lines().nth(1).unwrap().parse().unwrap();
    let reply = http(address, "POST", "/add-checkpoint", &Shown::body(size, &[], &forged));
    assert_eq!(reply.status, 422);
    assert!(reply.body.contains("two trails") && !reply.headers.contains("text/x.tlog.size"), "{}", reply.headers);
    let (code, shown) = alone.shows();
    assert_eq!((code, shown["forks"].as_array().unwrap().len()), (1, 1));
    let sha256 = shown["forks"][0]["sha256"].as_str().unwrap();
    let file = watched.federation.folder().join("fork.json");
    let file = file.to_str().unwrap();
    let (code, wrote) = alone.runs(&["evidence", sha256, "--out", file]);
    assert_eq!(code, 0, "{wrote}");
    assert_eq!(alone.runs(&["evidence", sha256, "--out", file]).0, 1, "nothing is overwritten");
    // Offline, with the key of the log; with the key of another one it says nothing.
    let [alder, birch] = [&watched.alder, &watched.birch].map(|node| node.node().party().node.log_vkey.clone());
    let (code, verdict) = runs(&["witness", "verify", file, "--log", &alder, "--json"]);
    assert_eq!(code, 0, "{verdict}");
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert_eq!((&verdict["convicts"], &verdict["sizes"]), (&json!(true), &json!([size, size])));
    assert_eq!(runs(&["witness", "verify", file, "--log", &birch]).0, 1);
    assert_eq!(runs(&["witness", "verify", file, "--policy", alone.policy.to_str().unwrap()]).0, 0);
    let text = fs::read_to_string(file).unwrap().replacen(&format!("\\n{size}\\n"), &format!("\\n{}\\n", size + 1), 1);
    fs::write(file, text).unwrap();
    assert_eq!(runs(&["witness", "verify", file, "--log", &alder]).0, 1, "a changed file convicts nobody");
}

#[test]
fn two_processes_on_one_file_never_roll_a_head_back() {
    const ENTRIES: u64 = 120;
    let folder = folder();
    let (alone, log) = with_a_log(folder.path(), ENTRIES);
    let (one, other) = (alone.serves(), alone.serves());
    let addresses = [one.1, other.1];
    // Everybody shows whatever it likes, from what it believes the witness knows.
    let steps: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let hammering: Vec<_> = (0..6_u64)
            .map(|n| {
                let log = &log;
                scope.spawn(move || {
                    let (mut known, mut steps, mut tries) = (0, Vec::new(), 0_u64);
                    while known < ENTRIES {
                        tries += 1;
                        assert!(tries < 5000, "it goes on");
                        let to = (known + 1 + (n + tries) % 4).min(ENTRIES);
                        let (status, body) = asks(addresses[usize::try_from(n % 2).unwrap()], &log.shows(known, to));
                        match status {
                            200 => {
                                steps.push((known, to));
                                known = to;
                            }
                            409 => {
                                let named = body.trim().parse().unwrap();
                                assert!(named >= known, "{named} after {known}: a head was rolled back");
                                known = named;
                            }
                            503 => {}
                            status => panic!("{status}: {body}"),
                        }
                    }
                    steps
                })
            })
            .collect();
        hammering.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // What was cosigned is one chain: from each size one step leads away, and none is left out.
    let mut steps = steps;
    steps.sort_unstable();
    let mut at = 0;
    for (from, to) in &steps {
        assert_eq!(*from, at, "two heads were cosigned that both follow {from}: {steps:?}");
        at = *to;
    }
    assert_eq!((at, alone.knows(LOG)), (ENTRIES, Some(ENTRIES)));
    assert!(steps.len() > 20, "there was something to race for");
}

#[test]
fn slow_and_greedy_clients_keep_nobody_out() {
    let folder = folder();
    let (alone, log) = with_a_log(folder.path(), 9);
    let (process, address) = alone.serves();
    let slow = |text: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let mut waiting: Vec<TcpStream> =
        (0..100).map(|_| slow("POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 90\r\n\r\nold ")).collect();
    waiting.extend((0..20).map(|_| slow("POST /add-ch")));
    let honest = http_within(3, address, "POST", "/add-checkpoint", &log.shows(0, 9));
    assert_eq!(honest.status, 200, "an honest log does not wait for them");
    for stream in waiting {
        assert_eq!(answer(stream).status, 408, "and they are cut off");
    }
    assert_eq!(http(address, "POST", "/add-checkpoint", &"x".repeat(MAX_REQUEST + 1)).status, 413);
    assert_eq!(http(address, "GET", "/add-checkpoint", "").status, 405);
    assert_eq!(http(address, "GET", "/0123/checkpoint", "").status, 404);
    assert_eq!(asks(address, "old 9\n").0, 400);
    assert_eq!(process.terminate(), 0);
    let log = fs::read_to_string(alone.folder.join("log")).unwrap();
    assert!(!log.contains("PRIVATE") && log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[test]
fn a_policy_that_changes_is_read_again_when_asked() {
    let folder = folder();
    let (alone, log) = with_a_log(folder.path(), 9);
    let other = MemoryLog::of("birch.example/trail", 5, "b");
    let (process, address) = alone.serves();
    assert_eq!(asks(address, &other.shows(0, 5)).0, 404);
    let hears = |status: u16, body: &str| {
        for tries in 0.. {
            if asks(address, body).0 == status {
                break;
            }
            assert!(tries < 100, "within seconds");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    alone.is_told(&[log.vkey.to_string(), other.vkey.to_string()]);
    process.signal("-HUP");
    hears(200, &other.shows(0, 5));
    // What is no policy leaves the last good one in place.
    fs::write(&alone.policy, "quorum none\n").unwrap();
    process.signal("-HUP");
    std::thread::sleep(Duration::from_millis(500));
    hears(200, &other.shows(5, 5));
    assert_eq!(process.terminate(), 0);
}

#[test]
fn a_witness_without_its_memory_its_key_or_a_log_does_not_run() {
    let folder = folder();
    let (alone, log) = with_a_log(folder.path(), 9);
    let serve = |more: &[&str]| {
        let policy = alone.policy.to_str().unwrap();
        alone.runs(&[&["serve", "--policy", policy, "--listen"], more].concat())
    };
    let (code, said) = serve(&["0.0.0.0:0"]);
    assert!(code == 2 && said.contains("--behind-proxy"), "{said}");
    alone.is_told(&[]);
    let (code, said) = serve(&["127.0.0.1:0"]);
    assert!(code == 2 && said.contains("names no log") && said.contains("log <vkey>"), "{said}");
    alone.is_told(&[log.vkey.to_string()]);
    let (process, address) = alone.serves();
    assert_eq!(asks(address, &log.shows(0, 9)).0, 200);
    assert_eq!(process.terminate(), 0);
    let dir = alone.folder.to_str().unwrap();
    let (code, said) = runs(&["--dir", dir, "witness", "init", "--name", AUDITOR]);
    assert!(code == 1 && said.contains("nothing was changed"), "{said}");
    // Another witness's key on this one's memory.
    let other = Alone::init(&folder.path().join("other"), AUDITOR, &[]);
    let file = |name: &str| (alone.folder.join(name), other.folder.join(name));
    for name in ["witness.key", "witness.vkey"] {
        fs::rename(file(name).0, alone.folder.join(format!("{name}.kept"))).unwrap();
        fs::copy(file(name).1, file(name).0).unwrap();
        let (code, said) = serve(&["127.0.0.1:0"]);
        assert!(code == 1 && (said.contains("do not belong together") || said.contains("not cosigned by")), "{said}");
    }
    for name in ["witness.key", "witness.vkey"] {
        fs::rename(alone.folder.join(format!("{name}.kept")), file(name).0).unwrap();
    }
    // A key that others can read.
    let mode =
        |mode| fs::set_permissions(file("witness.key").0, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    assert_ne!(serve(&["127.0.0.1:0"]).0, 0);
    mode(0o600);
    // Its memory is gone: it must not begin anew.
    for name in ["witness.db", "witness.db-wal", "witness.db-shm"] {
        drop(fs::remove_file(file(name).0));
    }
    let (code, said) = serve(&["127.0.0.1:0"]);
    assert!(code == 1 && said.contains("second trail"), "{said}");
    assert!(!file("witness.db").0.exists(), "and none is made");
}

#[actix_web::test]
async fn a_witness_alone_speaks_tls_to_nodes_that_trust_its_authority() {
    const HOST: &str = "auditor.test";
    let mut made = None;
    let mut watched = Watched::in_force_with(|federation, nodes| {
        let alone = Alone::init(&federation.folder().join("auditor"), AUDITOR, &logs_of(nodes));
        let [certificate, key] = certificate(federation, HOST, &alone.folder);
        let tls = ["--tls-cert", certificate.as_str(), "--tls-key", key.as_str()];
        let (process, address) = alone.serves_at(([127, 0, 0, 1], 0).into(), &tls);
        let line = format!("{} https://{HOST}:{}", alone.key, address.port());
        made = Some((process, address));
        vec![("auditor".to_owned(), line)]
    })
    .await;
    let (_process, address) = made.unwrap();
    assert!(matches!(said(&watched.alder).await[AUDITOR], Said::Failed(_)), "nobody said where it is");
    watched.alder.restart_with(|config| {
        config.peer.hosts.insert(HOST.to_owned(), address);
    });
    assert!(matches!(said(&watched.alder).await[AUDITOR], Said::Failed(_)), "nor whom to trust");
    watched.alder.restart_with(|config| config.trail.witness_ca = config.peer.ca.clone());
    let said = said(&watched.alder).await;
    assert!(matches!(said[AUDITOR], Said::Cosigned { .. }), "{said:?}");
}

/// A certificate of the federation's authority for a host, and its key, as files.
fn certificate(federation: &Federation, host: &str, folder: &Path) -> [String; 2] {
    let key = SigningKey::generate_p256().unwrap();
    let authority = CaFolder::open(&federation.pki.ca.folder).unwrap();
    let hosts = [host.parse().unwrap()];
    let issued =
        authority.issue("CA0990900".parse().unwrap(), key.public(), &Order::Node(&hosts), start(), LONG).unwrap();
    let paths = ["tls.pem", "tls.key"].map(|name| folder.join(name));
    fs::write(&paths[0], &issued.pem).unwrap();
    concordat::keyfile::write_secret(&paths[1], &key.to_pem().unwrap()).unwrap();
    paths.map(|path| path.to_str().unwrap().to_owned())
}

#[actix_web::test]
async fn a_witness_that_is_not_ours_is_one_of_a_nodes_witnesses() {
    let Some(python) = aics() else { return };
    let address = free();
    let mut made = None;
    let watched = Watched::in_force_with(|federation, nodes| {
        let folder = federation.folder().join("foreign");
        let foreign = Foreign::init(python, &folder, "witness.example.org/w1", &logs_of(nodes));
        let line = format!("{} http://{address}", foreign.key);
        made = Some(foreign);
        vec![("foreign".to_owned(), line)]
    })
    .await;
    let foreign = made.unwrap();
    let name = foreign.key.name().to_owned();
    let alder = &watched.alder;
    assert!(matches!(said(alder).await[&name], Said::Failed(_)), "it does not run yet");
    let process = foreign.serves(address);
    assert!(matches!(said(alder).await[&name], Said::Cosigned { .. }));
    let first = alder.node().watch().cosigned();
    assert!(first.since.is_some() && foreign.key.cosigned(&SignedText::parse(&first.text).unwrap()).is_some());
    process.kill();
    // Over the edge of a tile, while it is away.
    for _ in 0..260 {
        alder.writes_an_entry().await;
    }
    assert!(matches!(said(alder).await[&name], Said::Failed(_)));
    assert_eq!(alder.node().watch().cosigned().size, first.size);
    let _process = foreign.serves(address);
    let came = said(alder).await;
    assert!(matches!(came[&name], Said::Cosigned { size, .. } if size >= first.size + 260), "{came:?}");
    // It is shown another trail by a copy of the log, and both sides know.
    let forger = alder.fork(watched.federation.folder());
    alder.writes_an_entry().await;
    assert!(matches!(said(alder).await[&name], Said::Cosigned { .. }));
    forger.writes_an_entry().await;
    let forged = forger.checkpoint();
    let size: u64 = forged.lines().nth(1).unwrap().parse().unwrap();
    let (status, _) = asks(address, &Shown::body(size, &[], &forged));
    assert_eq!(status, 422, "both speak v1.1.0 of the specification");
    let evidence: Value = serde_json::from_str(&foreign.says(&["evidence"])).unwrap();
    assert!(evidence.to_string().contains(&alder.node().party().node.log_origin), "{evidence}");
}

/// What the client of aics-witness makes of showing these heads, and its memory.
fn feeds(address: SocketAddr, alone: &Alone, state: &Path, heads: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers/aics_feeder.py");
    let mut child = Command::new(aics().unwrap())
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told =
        json!({"url": format!("http://{address}"), "vkey": alone.key.to_string(), "state": state, "heads": heads});
    child.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A head with the proofs from every earlier one.
fn fed(log: &MemoryLog, size: u64) -> Value {
    let lines = |old| log.proof(old, size).iter().map(ToString::to_string).collect::<Vec<_>>();
    let proofs: BTreeMap<String, Vec<String>> = (0..=size).map(|old| (old.to_string(), lines(old))).collect();
    json!({"note": log.head(size), "proofs": proofs})
}

#[test]
fn a_client_that_is_not_ours_understands_what_a_witness_alone_says() {
    if aics().is_none() {
        return;
    }
    let folder = folder();
    let (alone, log) = with_a_log(folder.path(), 40);
    let (process, address) = alone.serves();
    let (state, fresh) = (folder.path().join("state.json"), folder.path().join("fresh.json"));
    let said = feeds(address, &alone, &state, &[fed(&log, 1), fed(&log, 7), fed(&log, 7), fed(&log, 30)]);
    assert!(said.iter().all(|said| said["line"].is_string()), "it verified each line: {said:?}");
    // One that remembers nothing is told the size, and goes on from there.
    assert!(feeds(address, &alone, &fresh, &[fed(&log, 40)])[0]["line"].is_string());
    // A smaller head, another trail of the same size, one from another beginning, another log.
    let forked = log.forked(50, "b");
    let stranger = MemoryLog::of("birch.example/trail", 3, "b");
    let heads = [fed(&log, 12), fed(&forked, 40), fed(&forked, 50), fed(&stranger, 3)];
    let errors: Vec<Value> =
        feeds(address, &alone, &fresh, &heads).into_iter().map(|said| said["error"].clone()).collect();
    assert_eq!(errors, ["WitnessAhead", "WitnessRejected", "WitnessRejected", "WitnessRejected"]);
    assert_eq!((alone.knows(LOG), alone.shows().0), (Some(40), 1), "nothing of that moved the head; the fork is kept");
    process.kill();
    let (_process, address) = alone.serves();
    assert!(feeds(address, &alone, &state, &[fed(&log, 40)])[0]["line"].is_string(), "the same after a restart");
}

/// The mails of a node that are about its witnesses.
fn mails(node: &TestNode) -> Vec<String> {
    let mails = node.mails().into_iter().map(|mail| mail.dedup).filter(|dedup| dedup.starts_with("witnesses:"));
    mails.map(|dedup| dedup.split(':').nth(1).unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn forks_and_silence_are_told_once_and_shown_until_they_are_mended() {
    let mut watched = Watched::in_force().await;
    watched.birch.mails_to(&["administrator@birch.example"], &[]);
    watched.publish().await;
    let source = |node: &TestNode| -> std::sync::Arc<dyn concordat::console::StatusSource> { node.node().clone() };
    watched.birch.works_it_off().await;
    assert_eq!((mails(&watched.birch), source(&watched.birch).readiness().alarms), (Vec::new(), Vec::new()));
    let shown = source(&watched.birch).status().witnesses;
    assert!(shown.says.contains("vouches for this trail since") && shown.last.len() == 2, "{shown:?}");
    assert!(shown.weaknesses[0].contains("no third party witnesses this trail"), "agencies alone: {shown:?}");
    // Nobody cosigns for over an hour: its witnesses are away.
    watched.alder.stop();
    watched.cedar.stop();
    watched.birch.clock.forward(61 * Instant::MINUTE);
    for _ in 0..2 {
        watched.birch.works_it_off().await;
        watched.birch.clock.forward(10 * Instant::MINUTE);
    }
    assert_eq!(mails(&watched.birch), ["silence"], "once");
    let readiness = source(&watched.birch).readiness();
    assert!(readiness.alarms[0].contains("no quorum of witnesses") && readiness.ready.is_ok(), "{readiness:?}");
    watched.birch.clock.forward(25 * Instant::HOUR);
    let reasons = source(&watched.birch).readiness().ready.unwrap_err();
    assert!(reasons.iter().any(|reason| reason.contains("no quorum of witnesses has cosigned")), "{reasons:?}");
    concordat::upkeep::follow(watched.birch.node());
    let text = watched.birch.node().metrics().text().unwrap();
    let age = text.lines().find_map(|line| line.strip_prefix("concordat_witness_quorum_age_seconds ")).unwrap();
    assert!((94_000.0..95_000.0).contains(&age.parse::<f64>().unwrap()), "{age}");
    assert!(said(&watched.birch).await.values().all(|said| matches!(said, Said::Failed(_))));
    assert!(watched.birch.counted("concordat_witness_answers_total{outcome=\"Failed\"}") >= 2);
    // They are back, and one of them shows two trails.
    for node in [&mut watched.alder, &mut watched.cedar] {
        node.try_start().unwrap();
    }
    watched.set_clocks(watched.birch.clock.now());
    watched.publish().await;
    assert!(source(&watched.birch).readiness().alarms.is_empty(), "that is over");
    let forger = watched.alder.fork(watched.federation.folder());
    watched.alder.writes_an_entry().await;
    watched.publish().await;
    forger.writes_an_entry().await;
    let forged = forger.checkpoint();
    let size: u64 = forged.lines().nth(1).unwrap().parse().unwrap();
    let body = Shown::body(size, &[], &forged);
    let reply = watched.alder.calls(&watched.birch).post("/peer/v1/witness/add-checkpoint", &body).await;
    assert_eq!(reply.status, 422);
    for _ in 0..2 {
        watched.birch.clock.forward(5 * Instant::MINUTE);
        watched.birch.works_it_off().await;
    }
    assert_eq!(mails(&watched.birch), ["silence", "fork"]);
    let alarms = source(&watched.birch).readiness().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("showed two trails")), "{alarms:?}");
}

#[actix_web::test]
async fn a_third_party_in_the_policy_is_seen_as_one() {
    let (watched, _alone, _process, _) = audited().await;
    watched.publish().await;
    let source: std::sync::Arc<dyn concordat::console::StatusSource> = watched.birch.node().clone();
    let shown = source.status().witnesses;
    assert_eq!((shown.weaknesses, shown.last.len()), (Vec::new(), 3));
}
