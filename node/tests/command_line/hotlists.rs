//! Hotlists by hand: loads that are refused, cut off and shown, reads that match in a process of their own, hits.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde_json::Value;

use super::program::{County, Node, now, start};

const ALDER: &str = "CA0990000";

/// A source of the layout `svs` with this date and these plates.
fn svs(date: &str, plates: impl Iterator<Item = String>) -> String {
    let records: Vec<String> = plates.map(|plate| format!("{plate:<8}CA3720260123\n")).collect();
    format!("SVS {date} 00:00\n{}TOTAL RECORDS {:08}\n", records.concat(), records.len())
}

fn today() -> String {
    let date = now().date().unwrap();
    format!("{:02}/{:02}/{}", date.month(), date.day(), date.year())
}

fn many(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("9A{n:05}"))
}

fn write(node: &Node, name: &str, text: &str) -> String {
    let path = node.path(name);
    fs::write(&path, text).unwrap();
    path
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn rows(registry: &str, which: &str) -> i64 {
    let mut conn = SqliteConnection::establish(registry).unwrap();
    diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut conn).unwrap();
    let query = format!("SELECT COUNT(*) AS n FROM hotlist_entry WHERE {which}");
    diesel::sql_query(query).get_result::<Count>(&mut conn).map_or(0, |count| count.n)
}

#[test]
fn a_load_that_is_killed_leaves_the_old_version_whole_and_the_next_one_ends_well() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let three = write(&node, "svs.tbl", &svs(&today(), many(3)));
    let first = node.run_as("admin", &["hotlist", "load", &three, "--list", "stolen", "--json"]).json();
    assert_eq!((&first["version"], &first["entries"], &first["added"]), (&1.into(), &3.into(), &3.into()));

    let large = write(&node, "large.tbl", &svs(&today(), many(20_000)));
    let load =
        ["--dir", &node.path(""), "hotlist", "load", &large, "--list", "stolen", "--as", "admin"].map(str::to_owned);
    let mut child = start(&load);
    let registry = node.path("registry.db");
    let mut staged = 0;
    for _ in 0..2000 {
        staged = rows(&registry, "since > 1");
        if staged > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-KILL", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert!(!child.wait().unwrap().success(), "it had not ended");
    assert!(staged > 0 && staged < 20_000, "it was killed in the middle: {staged}");

    let list = || node.run(&["hotlist", "list", "--json"]).json()[0].clone();
    let after = list();
    assert_eq!((&after["version"], &after["entries"]), (&1.into(), &3.into()), "{after}");
    node.run(&["trail", "verify"]).ended(0);
    // What was staged by then matches nothing.
    let plates: Vec<String> = many(20_000).skip(3).take(usize::try_from(staged).unwrap()).collect();
    let reads = node.reads(1);
    let mut read: Value = serde_json::from_str(&fs::read_to_string(&reads).unwrap()).unwrap();
    read["best_plate_number"] = plates[plates.len() / 2].as_str().into();
    fs::write(&reads, format!("{read}\n")).unwrap();
    assert_eq!(node.run_as("admin", &["ingest", &reads, "--json"]).json()["kept"], 1);
    assert_eq!(node.run_as("investigator", &["hit", "list", "--json"]).json(), Value::from(Vec::<Value>::new()));
    let again = node.run_as("admin", &["hotlist", "load", &large, "--list", "stolen", "--json"]).json();
    assert_eq!((&again["added"], &again["removed"], &again["entries"]), (&19_997.into(), &0.into(), &20_000.into()));
    assert_eq!(list()["entries"], 20_000);
    assert_eq!(rows(&registry, "until IS NULL"), 20_000, "what was staged before is cleared away");
    let same = node.run_as("admin", &["hotlist", "load", &large, "--list", "stolen"]).ended(0);
    assert!(same.contains("Nothing changed"), "{same}");
    let fewer = write(&node, "fewer.tbl", &svs(&today(), many(15_000)));
    let shrunk = node.run_as("admin", &["hotlist", "load", &fewer, "--list", "stolen"]).ended(1);
    assert!(shrunk.contains("--accept-shrink") && shrunk.contains("--dry-run"), "{shrunk}");
    let shown = node.run_as("admin", &["hotlist", "load", &fewer, "--list", "stolen", "--dry-run"]).ended(0);
    assert!(shown.contains("5000 removed") && shown.contains("Nothing was written"), "{shown}");
    node.run_as("admin", &["hotlist", "load", &fewer, "--list", "stolen", "--accept-shrink"]).ended(0);
    assert_eq!(list()["entries"], 15_000);
}

#[test]
fn a_source_that_is_wrong_says_why_and_what_to_do() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let load = |text: &str, more: &[&str]| {
        let path = write(&node, "svs.tbl", text);
        node.run_as("admin", &[&["hotlist", "load", &path, "--list", "stolen"], more].concat())
    };
    let good = svs(&today(), many(3));
    assert!(load(&good.replace("00000003", "00000004"), &[]).ended(1).contains("TOTAL RECORD 4"));
    assert!(load(&svs("01/02/2020", many(3)), &[]).ended(1).contains("--accept-date"));
    assert!(load("nonsense\n", &[]).ended(1).contains("--layout"));
    assert!(load(&good, &["--layout", "ncic"]).ended(1).contains("NCIC LPR EXTRACT"));
    assert!(load(&good, &["--layout", "xls"]).ended(2).contains("svs, sfr, slr, ncic, custom"));
    let missing = node.run_as("admin", &["hotlist", "load", "nowhere.tbl", "--list", "stolen"]).ended(3);
    assert!(missing.contains("nowhere.tbl"), "{missing}");
    assert!(node.run_as("auditor", &["hotlist", "load", "x", "--list", "stolen"]).ended(1).contains("does not allow"));
    assert_eq!(node.run(&["hotlist", "list", "--json"]).json(), Value::from(Vec::<Value>::new()));

    let shifted = good.replace("9A00001 CA", " 9A00001CA");
    let said = load(&shifted, &[]).ended(0);
    assert!(said.contains("1 lines rejected"), "{said}");
    let report = fs::read_to_string(node.path("svs.tbl.rejected")).unwrap();
    let line: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(line["line"], 3);
    assert!(!report.contains("9A00001"), "the report says where and why, not what: {report}");
    assert!(node.run(&["hotlist", "refresh"]).ended(1).contains("hotlist accept"));
}

#[test]
fn reads_that_another_process_brings_in_match_and_a_person_verifies_the_hit() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let reads = node.reads(5);
    let text = fs::read_to_string(&reads).unwrap();
    let read: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let plate = read["best_plate_number"].as_str().unwrap().to_owned();
    let own = write(&node, "svs.tbl", &svs(&today(), [plate.clone()].into_iter()));
    node.run_as("admin", &["hotlist", "load", &own, "--list", "stolen"]).ended(0);
    let serving = node.serve();
    node.run_as("admin", &["ingest", &reads]).ended(0);
    node.run_as("admin", &["ingest", &reads]).ended(0);
    assert!(serving.stop() == Some(0));
    let hits = node.run_as("investigator", &["hit", "list", "--json"]).json();
    let of_plate = hits.as_array().unwrap().iter().filter(|hit| hit["plate"] == plate.as_str());
    let hits: Vec<&Value> = of_plate.collect();
    let expected = text.lines().filter(|line| line.contains(&format!("\"best_plate_number\":\"{plate}\""))).count();
    assert_eq!(hits.len(), expected, "{hits:?}");
    assert_eq!((&hits[0]["status"], &hits[0]["actionable"]), (&"unconfirmed".into(), &false.into()));
    let id = hits[0]["id"].as_str().unwrap();
    let table = node.run_as("investigator", &["hit", "list"]).ended(0);
    assert!(table.contains("NOT ACTIONABLE") && table.contains("exact"), "{table}");
    assert!(node.run_as("admin", &["hit", "list"]).ended(1).contains("does not allow"));
    node.run_as("investigator", &["hit", "verify", id]).ended(2);
    let half = node.run_as("investigator", &["hit", "verify", id, "--confirmed", "--image"]).ended(1);
    assert!(half.contains("--status"), "{half}");
    node.run_as("investigator", &["hit", "verify", id, "--confirmed", "--image", "--status"]).ended(0);
    let confirmed = node.run_as("investigator", &["hit", "list", "--status", "confirmed", "--json"]).json();
    assert_eq!((&confirmed[0]["id"], &confirmed[0]["actionable"]), (&id.into(), &true.into()));
    let found = node.run_as("auditor", &["trail", "search", "--plate", &plate, "--json"]).json();
    assert!(found.as_array().unwrap().iter().any(|entry| entry["kind"] == "hit.matched"), "{found}");
    node.run(&["trail", "verify"]).ended(0);
    assert!(Path::new(&node.path("shared-lists.db")).exists());
}
