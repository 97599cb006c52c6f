//! One node: making it, its people, its reads, its trail, and what bad input gets.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use concordat::config::FILE_NAME;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::Value;

use super::program::{County, Node, concordat};

const ALDER: &str = "CA0990000";

/// A question in which one thing is wrong.
fn question(node: &Node, plate: &str, more: &[&str]) -> super::program::Ran {
    let rest = ["--purpose", "criminal_investigation", "--reason", "vehicle fled an armed robbery", "--as", "x"];
    node.run(&[&["query", plate], &rest[..], more].concat())
}

#[test]
fn init_makes_a_node_once_and_says_what_is_next() {
    let county = County::new();
    let init = |ori: &str, kind: &str| {
        let about = ["--legal-name", "Alder", "--county", "Alder", "--url", "https://alder.test", "--kind", kind];
        concordat([&["--dir", &county.path("alder"), "init", "--ori", ori], &about[..]].concat())
    };
    let federal = init("CAFBILA00", "county").ended(2);
    assert!(federal.contains("not a California agency") && federal.contains("1798.90.5(f)"), "{federal}");
    assert!(init(ALDER, "federal").ended(2).contains("subdivision"));
    let blank = |name: &str, county_name: &str| {
        let about = ["--ori", ALDER, "--kind", "county", "--url", "https://alder.test"];
        let names = ["--legal-name", name, "--county", county_name];
        concordat([&["--dir", &county.path("alder"), "init"], &about[..], &names[..]].concat()).ended(2)
    };
    for (name, county_name) in [("", "Alder"), ("  ", "Alder"), ("Alder", " "), ("-", "Alder"), ("A\u{7}", "Alder")] {
        assert!(blank(name, county_name).contains("printable characters"), "{name:?} {county_name:?}");
    }
    assert!(!fs::exists(county.path("alder")).unwrap(), "nothing is written half");
    let said = init(ALDER, "county").ended(0);
    for next in ["tls.csr", "ca issue", "[policy]", "identity.key", "offline", "user add"] {
        assert!(said.contains(next), "{next}: {said}");
    }
    assert!(init(ALDER, "county").ended(1).contains("exists already"));
    let before_the_authority_answered = concordat(["--dir", &county.path("alder"), "agreement", "sync", "x"]);
    assert!(before_the_authority_answered.ended(2).contains("UUID"));
    let serve = concordat(["--dir", &county.path("alder"), "serve"]).ended(3);
    assert!(serve.contains("tls.pem") && serve.contains("certificate authority"), "{serve}");
    // The authority does not move into a node's folder.
    assert!(concordat(["ca", "init", "--dir", &county.path("alder"), "--name", "X"]).ended(2).contains("--dir"));
}

#[test]
fn a_configuration_with_a_typo_names_the_nearest_key() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let path = node.path(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("max_body_bytes", "max_boddy_bytes")).unwrap();
    let said = node.run(&["serve"]).ended(2);
    assert!(said.contains("max_boddy_bytes") && said.contains("did you mean `peer.max_body_bytes`?"), "{said}");
    let json: Value = serde_json::from_str(&node.run(&["--json", "user", "list"]).ended(2)).unwrap();
    assert_eq!(json["exit"], 2);
    fs::write(&path, [text.as_bytes(), b"\n# \xff\n"].concat()).unwrap();
    assert!(node.run(&["user", "list"]).ended(2).contains("UTF-8"));
    let nowhere = concordat(["--dir", &county.path("nowhere"), "user", "list"]).ended(2);
    assert!(nowhere.contains("concordat init"), "{nowhere}");
}

#[test]
fn the_first_account_is_a_system_administrators_and_opens_the_others() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let add = |name: &str, role: &str, more: &[&str]| {
        let about = ["user", "add", name, "--name", "Doe", "--affiliation", "Unit", "--role", role];
        node.run(&[&about[..], more].concat())
    };
    assert!(add("indigo", "investigator", &[]).ended(1).contains("system_administrator"));
    add("avery", "system_administrator", &[]).ended(0);
    assert!(add("indigo", "investigator", &[]).ended(2).contains("--as"));
    assert!(add("indigo", "sheriff", &[]).ended(2).contains("agreements_administrator"));
    assert!(add("indigo", "investigator", &["--as", "nobody"]).ended(1).contains("no account nobody"));
    add("indigo", "investigator", &["--as", "avery"]).ended(0);
    assert!(add("ash", "analyst", &["--as", "indigo"]).ended(1).contains("does not allow"));
    let trained = |name: &str, on: &str, more: &[&str]| {
        let about = ["training", "record", name, "--on", on, "--sb34", "--sb54", "--as", "avery"];
        node.run(&[&about[..], more].concat())
    };
    assert!(trained("indigo", "2026-02-30", &["--policy"]).ended(2).contains("YEAR-MONTH-DAY"));
    assert!(trained("indigo", "11/20/2026", &["--policy"]).ended(2).contains("2026-11-23"));
    assert!(trained("indigo", "2199-01-01", &["--policy"]).ended(1).contains("future"));
    assert!(trained("indigo", "2025-11-20", &[]).ended(1).contains("all three"));
    assert!(trained("avery", "2025-11-20", &["--policy"]).ended(1).contains("their own"));
    trained("indigo", "2025-11-20", &["--policy"]).ended(0);
    node.run(&["user", "close", "indigo", "--as", "avery"]).ended(0);
    let list = node.run(&["user", "list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[1]["trained_on"], "2025-11-20");
    assert!(list[1]["closed_at"].is_string());
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_is_opened() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let peer = ["--peer", "CA0990100"];
    assert!(question(&node, &"A".repeat(200), &peer).ended(2).contains("longer than 10"));
    assert!(question(&node, "7AB*", &peer).ended(2).contains("wildcards are not plates"));
    assert!(question(&node, "7ABC123", &["--peer", "CAICE0900"]).ended(2).contains("not a California agency"));
    assert!(question(&node, "7ABC123", &[]).ended(2).contains("--peer"));
    assert!(question(&node, "7ABC123", &["--all"]).ended(2).contains("--why-all"));
    for wrong in ["2026-02-30", "2026-11-23T12:00:00", "yesterday"] {
        let said = question(&node, "7ABC123", &["--peer", "CA0990100", "--from", wrong]).ended(2);
        assert!(said.contains("midnight in Los Angeles"), "{said}");
    }
    let purpose = node.run(&["query", "7ABC123", "--purpose", "immigration_enforcement", "--reason", "r", "--all"]);
    assert!(purpose.ended(2).contains("criminal_investigation"));
    let bytes = [OsStr::new("query"), OsStr::from_bytes(b"7ABC\xff")];
    assert!(concordat(bytes).ended(2).contains("UTF-8"));
    let find = ["ag", "find", "NV0020100", "--kind", "named_in_suit", "--citation", "c", "--on", "2026-11-23"];
    assert!(node.run_as("x", &find).ended(2).contains("not a California agency"));
    assert!(!fs::exists(node.path("registry.db")).unwrap(), "nothing was opened");
    // Nobody by this name: refused by a rule, not a usage error.
    assert!(question(&node, "7ABC123", &peer).ended(1).contains("user add"));
}

#[test]
fn a_date_to_come_and_a_window_of_nothing_are_refused() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let ask = |from: &str, to: &str| {
        let about = ["query", "7ABC123", "--purpose", "criminal_investigation", "--ref", "case:2026-118842", "--peer"];
        let rest = ["CA0990100", "--reason", "vehicle fled an armed robbery", "--from", from, "--to", to];
        node.run_as("investigator", &[&about[..], &rest[..]].concat())
    };
    let before = node.run(&["trail", "verify"]).ended(0);
    let inverted = ask("2026-01-20", "2026-01-19").ended(2);
    assert!(inverted.contains("ends before it begins") && inverted.contains("--from"), "{inverted}");
    let future = ask("2199-01-01", "2199-01-02").ended(2);
    assert!(future.contains("2199-01-01") && future.contains("--from an earlier time"), "{future}");
    assert_eq!(node.run(&["trail", "verify"]).ended(0), before, "nothing is recorded");
    node.configure(|config| config.policy.checked_on = Some("2199-01-01".parse().unwrap()));
    for arguments in [&["serve"][..], &["peer", "export"]] {
        let said = node.run(arguments).ended(2);
        assert!(said.contains("policy.checked_on is 2199-01-01") && said.contains("still to come"), "{said}");
    }
}

#[test]
fn a_bad_line_is_reported_and_the_rest_is_kept_and_recorded() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let path = node.reads(8);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"data_type\":\"alpr_group\"}\n\xff\xfe\nnot json\n");
    fs::write(&path, &bytes).unwrap();
    assert!(node.run_as("investigator", &["ingest", &path]).ended(1).contains("does not allow"));
    let first = node.run_as("admin", &["ingest", &path, "--json"]).json();
    assert_eq!((&first["kept"], &first["rejected"], &first["lines"]), (&8.into(), &3.into(), &11.into()));
    let report = fs::read_to_string(path.clone() + ".rejected").unwrap();
    let lines: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["line"].as_u64().unwrap()).collect::<Vec<_>>(), [9, 10, 11]);
    let again = node.run_as("admin", &["ingest", &path, "--report", &node.path("other"), "--json"]).json();
    assert_eq!((&again["kept"], &again["repeated"]), (&0.into(), &8.into()));
    assert!(fs::exists(node.path("other")).unwrap());
    assert!(node.run_as("admin", &["ingest", "/nowhere.jsonl"]).ended(3).contains("/nowhere.jsonl"));
    // Both intakes are in the trail, with who and how many; looking is itself recorded.
    let search = ["trail", "search", "--kind", "reads.ingested", "--json"];
    assert!(node.run_as("admin", &search).ended(1).contains("does not allow"));
    let found = node.run_as("auditor", &search).json();
    let kept: Vec<&Value> = found.as_array().unwrap().iter().map(|entry| &entry["message"]["kept"]).collect();
    assert_eq!(kept, [&Value::from(0), &Value::from(8)]);
    assert_eq!(found[0]["username"], "admin");
    let searches = node.run_as("auditor", &["trail", "search", "--kind", "trail.searched", "--json"]).json();
    assert_eq!(searches[0]["username"], "auditor");
    assert_eq!(searches[0]["message"]["kind"], "reads.ingested");
}

#[test]
fn an_edited_row_of_the_trail_is_named() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let sound = node.run(&["trail", "verify"]).ended(0);
    assert!(sound.contains("sound") && sound.contains("10 entries"), "{sound}");
    let edit = |statement: &str| {
        SqliteConnection::establish(&node.path("registry.db")).unwrap().batch_execute(statement).unwrap();
    };
    edit("UPDATE detail SET message = CAST('{\"v\":1}' AS BLOB) WHERE idx = 3");
    let edited = node.run(&["trail", "verify"]).ended(1);
    assert!(edited.contains("entry 3: the message is not the one"), "{edited}");
    // A trail that lost its end is not recorded into, and is still verified.
    edit("DELETE FROM fact WHERE idx = 9; DELETE FROM detail WHERE idx = 9; DELETE FROM leaf WHERE idx = 9");
    let refused = node.run(&["user", "list"]).ended(1);
    assert!(refused.contains("trail verify"), "{refused}");
    let report: Value = serde_json::from_str(&node.run(&["trail", "verify", "--json"]).ended(1)).unwrap();
    assert_eq!(report["sound"], false);
    let problems = report["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["index"] == 9), "{problems:?}");
}

#[test]
fn an_export_is_recorded_first_and_is_of_who_may_read_the_trail() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let (csv, json, tiles) = (node.path("all.csv"), node.path("all.json"), node.path("log"));
    let exports = || node.run_as("auditor", &["trail", "search", "--kind", "trail.exported", "--json"]).json();
    assert!(node.run_as("investigator", &["trail", "export", "--out", &csv]).ended(1).contains("does not allow"));
    assert!(!fs::exists(&csv).unwrap() && exports().as_array().unwrap().is_empty());
    for wrong in [
        &["--out", "all.xls"][..],
        &[],
        &["--tiles", "log", "--out", "a.csv"],
        &["--tiles", "log", "--plate", "7ABC123"],
    ] {
        node.run_as("auditor", &[&["trail", "export"], wrong].concat()).ended(2);
    }
    let filtered = ["trail", "export", "--out", &csv, "--kind", "user.changed", "--plate", "7ABC123", "--json"];
    let empty = node.run_as("auditor", &filtered).json();
    assert_eq!((&empty["entries"], empty["sha256"].as_str().unwrap().len()), (&Value::from(0), 64));
    let said = exports();
    let message = &said[0]["message"];
    assert_eq!(
        (&message["form"], &message["kind"], &message["plate"]),
        (&"csv".into(), &"user.changed".into(), &"7ABC123".into())
    );
    assert_eq!(said[0]["username"], "auditor");
    assert!(node.run_as("auditor", &filtered).ended(2).contains("nothing is overwritten"));
    assert_eq!(exports().as_array().unwrap().len(), 1, "nothing was taken out, so nothing is recorded");

    let all = node.run_as("auditor", &["trail", "export", "--out", &json, "--json"]).json();
    let rows: Vec<Value> = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(all["entries"], rows.len());
    assert_eq!(rows[0]["index"], rows.len() - 1, "all up to the export, which is none of them");
    node.run_as("auditor", &["trail", "export", "--out", &node.path("all.xlsx")]).ended(0);
    let log = node.run_as("auditor", &["trail", "export", "--tiles", &tiles, "--json"]).json();
    assert_eq!(log["size"], exports()[0]["index"].as_u64().unwrap() + 1, "its own record is the last entry of the log");
    for file in ["checkpoint", "tile/0/000.p", "tile/entries/000.p"] {
        assert!(fs::exists(format!("{tiles}/{file}")).unwrap(), "{file}");
    }
    assert!(node.run_as("auditor", &["trail", "export", "--tiles", &node.path("keys")]).ended(2).contains("not empty"));
}

#[test]
fn a_proof_is_printed_for_an_entry_that_exists() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let found = node.run_as("auditor", &["trail", "search", "--kind", "ag.check", "--json"]).json();
    let rid = found[0]["rid"].as_str().unwrap();
    let proof = node.run(&["trail", "proof", rid]).ended(0);
    let printed = node.run(&["trail", "proof", rid, "--json"]).json();
    assert_eq!(proof, printed["proof"].as_str().unwrap());
    let config = concordat::config::Config::load(node.path(FILE_NAME).as_ref()).unwrap();
    let vkey = concordat::node::log_vkey(&config).unwrap();
    let leaf = printed["leaf"].as_str().unwrap().as_bytes();
    let included = concordat::trail::proof::verify(&proof, leaf, &vkey).unwrap();
    assert_eq!(included.index, printed["index"].as_u64().unwrap());
    assert!(node.run(&["trail", "proof", "01940a2b-0000-7000-8000-000000000001"]).ended(1).contains("trail search"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    for (key, arguments) in [("keys/log.key", &["user", "list"][..]), ("keys/tls.key", &["serve"])] {
        fs::set_permissions(node.path(key), fs::Permissions::from_mode(0o644)).unwrap();
        let said = node.run(arguments).ended(1);
        assert!(said.contains("chmod 600") && said.contains(key), "{said}");
        fs::set_permissions(node.path(key), fs::Permissions::from_mode(0o600)).unwrap();
    }
    node.run(&["user", "list"]).ended(0);
}

#[test]
fn every_command_shows_an_example() {
    for command in [
        "init",
        "ca init",
        "ca issue",
        "ca revoke",
        "ca crl",
        "serve",
        "peer export",
        "peer add",
        "peer list",
        "user add",
        "user list",
        "user close",
        "training record",
        "ag find",
        "ag clear",
        "ag check",
        "ag list",
        "ag export",
        "ag import",
        "ag evidence show",
        "review open",
        "review list",
        "review show",
        "review close",
        "policy check",
        "policy list",
        "policy accept",
        "agreement draft",
        "agreement propose",
        "agreement access",
        "agreement list",
        "agreement show",
        "agreement sign",
        "agreement decline",
        "agreement withdraw",
        "agreement suspend",
        "agreement resume",
        "agreement terminate",
        "agreement sync",
        "agreement packet make",
        "agreement packet send",
        "agreement packet show",
        "agreement packet list",
        "agreement review list",
        "agreement review next",
        "agreement review start",
        "agreement review submit",
        "agreement review show",
        "agreement renew",
        "agreement approve",
        "agreement tosign",
        "agreement calendar",
        "official enroll",
        "change list",
        "change show",
        "change approve",
        "change refuse",
        "change withdraw",
        "change widen",
        "authorization list",
        "authorization give",
        "authorization take-back",
        "agent add",
        "agent list",
        "agent revoke",
        "ingest",
        "query",
        "trail search",
        "trail verify",
        "trail proof",
        "trail receipts",
        "trail export",
        "request list",
        "jobs list",
        "jobs run",
        "mail list",
        "mail retry",
        "mail test",
    ] {
        let help = concordat(command.split(' ').chain(["--help"])).ended(0);
        let example = help.split_once("Example").map(|(_, example)| example).unwrap_or_default();
        assert!(example.contains("concordat ") && example.contains(command), "{help}");
    }
}
