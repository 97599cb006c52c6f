//! `check-config` and `doctor` on one node: each fault in its files is named, all at once, with its fix.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use concordat::config::FILE_NAME;
use serde_json::Value;

use super::program::{County, Node, Ran};

const ALDER: &str = "CA0990000";

/// The findings of a check with this name, as `verdict: says`.
fn found(ran: &Ran, check: &str) -> Vec<String> {
    let looked: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout));
    let all = looked["findings"].as_array().unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    for finding in all {
        let needs_fix = matches!(text(finding, "verdict").as_str(), "fail" | "warn");
        assert_eq!(needs_fix, finding["fix"].is_string(), "{finding}");
    }
    all.iter()
        .filter(|finding| finding["check"] == check)
        .map(|finding| format!("{}: {}", text(finding, "verdict"), text(finding, "says")))
        .collect()
}

#[track_caller]
fn says(ran: &Ran, check: &str, verdict: &str, words: &str) {
    let found = found(ran, check);
    let good = found.iter().any(|text| text.starts_with(verdict) && text.contains(words));
    assert!(good, "{check}: {verdict} with `{words}` is not in {found:?}");
}

fn check(node: &Node) -> Ran {
    node.run(&["check-config", "--json"])
}

#[test]
fn a_node_as_it_should_be_has_nothing_that_fails_and_nothing_is_changed() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let ran = check(&node);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for name in [
        "configuration",
        "keys",
        "certificate",
        "names",
        "seal",
        "authorities",
        "revocation-lists",
        "chain",
        "agency",
        "folders",
        "port-peer",
        "port-console",
        "port-ops",
    ] {
        says(&ran, name, "ok", "");
    }
    says(&ran, "identity", "warn", "identity.key");
    assert!(!fs::exists(node.path("registry.db")).unwrap() && !fs::exists(node.path("reads.db")).unwrap());
    let doctor = node.run(&["doctor", "--json"]);
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    says(&doctor, "registry", "ok", "not there yet");
    says(&doctor, "disk", "", "MiB");
    assert!(!fs::exists(node.path("registry.db")).unwrap(), "a look makes no database");
    node.staff();
    let doctor = node.run(&["doctor", "--json"]);
    says(&doctor, "registry", "ok", "schema");
    says(&doctor, "trail-head", "ok", "signed by this log's key");
    says(&doctor, "clock", "ok", "");
    says(&doctor, "partners", "warn", "nobody is enrolled");
    // A table for people, with what to do.
    let table = node.run(&["doctor"]).ended(0);
    assert!(
        table.contains("identity") && table.contains("kept offline") && table.contains("to be looked after"),
        "{table}"
    );
}

#[test]
fn every_fault_in_the_files_is_named_at_once() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let path = node.path(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    let other = county.node("birch", "CA0990100");
    // The configuration: a typo, a value that cannot be, a port twice.
    let wrong = text
        .replace("rate_per_second = 20", "rate_per_second = 0")
        .replace("in_flight", "in_flihgt")
        .replace("details_kept_years = 2", "details_kept_years = 1")
        .replace("registry = \"sqlite:registry.db\"", "registry = { env = \"CONCORDAT_NO_SUCH\" }");
    fs::write(&path, wrong).unwrap();
    // Keys and certificates: exposed, gone, another's.
    fs::set_permissions(node.path("keys/seal.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(node.path("keys/witness.key")).unwrap();
    fs::copy(other.path("keys/tls.pem"), node.path("keys/tls.pem")).unwrap();
    fs::remove_file(county.path("ca/crl.pem")).unwrap();
    let ran = check(&node);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    says(&ran, "configuration", "fail", "did you mean `peer.in_flight`?");
    says(&ran, "configuration", "fail", "peer.rate_per_second (line");
    says(&ran, "configuration", "fail", "trail.details_kept_years (line");
    says(&ran, "configuration", "fail", "kept for two years at least (V-14, IX-05)");
    says(&ran, "secrets", "fail", "CONCORDAT_NO_SUCH");
    says(&ran, "keys", "fail", "chmod 600");
    says(&ran, "keys", "fail", "witness.key");
    says(&ran, "certificate", "fail", "is not the certificate of the key");
    says(&ran, "revocation-lists", "fail", "crl.pem");
    says(&ran, "chain", "not_tried", "certificate");
    let doctor = node.run(&["doctor", "--json"]);
    assert_eq!(doctor.code, 3, "{}", doctor.stdout);
    says(&doctor, "registry", "not_tried", "concordat.toml");
}

#[test]
fn a_certificate_of_another_agency_or_for_another_host_is_named() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let (csr, pem) = (node.path("keys/tls.csr"), node.path("keys/tls.pem"));
    fs::remove_file(&pem).unwrap();
    let issue = ["ca", "issue", "--dir", &county.path("ca"), "--ori", "CA0990200", "--host", "elsewhere.test"];
    super::program::concordat([&issue[..], &["--csr", &csr, "--out", &pem, "--days", "9"]].concat()).ended(0);
    let ran = check(&node);
    assert_eq!(ran.code, 3, "{}", ran.stdout);
    says(&ran, "certificate", "fail", "it is of CA0990200");
    says(&ran, "certificate", "warn", "it ends at");
    says(&ran, "names", "fail", "elsewhere.test");
    says(&ran, "chain", "fail", "not valid for name");
}

#[test]
fn doctor_tells_this_nodes_ports_from_another_programs() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    node.configure(|config| config.console.listen = taken);
    let ran = node.run(&["doctor", "--json"]);
    assert_eq!(ran.code, 3);
    says(&ran, "port-console", "fail", "not this node");
    drop(other);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    node.configure(|config| config.peer.listen = free);
    let serving = node.serve();
    serving.reload();
    let ran = node.run(&["doctor", "--json"]);
    says(&ran, "port-peer", "ok", "with the certificate that is in keys/tls.pem");
    says(&ran, "port-console", "ok", "this node's console answers");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_trail_that_was_changed_fails_by_name() {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, SqliteConnection};

    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let mut conn = SqliteConnection::establish(&node.path("registry.db")).unwrap();
    conn.batch_execute("UPDATE head SET size = size - 1").unwrap();
    let ran = node.run(&["doctor", "--json"]);
    assert_eq!(ran.code, 3);
    says(&ran, "trail-head", "fail", "checkpoint");
    says(&ran, "clock", "not_tried", "");
    conn.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')").unwrap();
    says(&node.run(&["doctor", "--json"]), "registry", "fail", "9999");
}

#[test]
fn a_partner_that_is_not_enrolled_is_said_and_what_follows_is_not_tried() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let ran = node.run(&["doctor", "CA0990100", "--json"]);
    assert_eq!(ran.code, 3);
    says(&ran, "enrolment", "fail", "not enrolled");
    says(&ran, "trail-head", "not_tried", "");
    assert!(node.run(&["doctor", "CA0990100", "--all"]).ended(2).contains("cannot be used with"));
    assert_eq!(node.run(&["doctor", "--all", "--json"]).code, 0, "nobody is enrolled");
}

#[test]
fn what_signing_needs_is_asked_for_with_how_to_supply_it() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let path = node.path(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!check(&node).stdout.contains("no agreement can be signed"));
    for (key, does) in [
        ("contacts", "[\\\"records@agency.example\\\"]"),
        ("official_key", "concordat official enroll --out FILE"),
        ("checked_by", "the title of who did"),
    ] {
        let blank = |line: &str| match line.split_once(" = ") {
            Some((name, value)) if name == key => {
                format!("{key} = {}", if value.starts_with('[') { "[]" } else { "\"\"" })
            }
            _ => line.to_owned(),
        };
        let lines: Vec<String> = text.lines().map(blank).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let ran = check(&node);
        assert_eq!(ran.code, 0, "{key}: it is no failure: {}", ran.stdout);
        says(&ran, "agency", "warn", key);
        says(&ran, "agency", "warn", "so no agreement can be signed");
        assert_eq!(found(&ran, "agency").len(), 1, "{key}: {}", ran.stdout);
        assert!(ran.stdout.contains(does), "{key}: {}", ran.stdout);
    }
}
