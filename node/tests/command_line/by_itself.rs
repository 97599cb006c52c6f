//! What a node does by itself, as the person who runs it sees it: its jobs, and the mail that comes of them.

use std::fs;
use std::time::Duration;

use concordat::config::{MailBackend, MailTls};
use serde_json::Value;

use super::program::{County, Node};

const ALDER: &str = "CA0990000";

fn jobs(node: &Node) -> Vec<Value> {
    node.run(&["jobs", "list", "--json"]).json().as_array().unwrap().clone()
}

#[test]
fn a_serving_node_runs_its_jobs_at_start_and_one_can_be_run_by_hand() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    assert!(jobs(&node).iter().all(|job| job["last"].is_null()), "nothing ran yet");
    let listed = node.run(&["jobs", "list"]).ended(0);
    assert!(listed.contains("reminders") && listed.contains("never ran"), "{listed}");

    let serving = node.serve();
    let all_done = || jobs(&node).iter().all(|job| job["last"]["outcome"] == "done");
    let waited = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        all_done()
    });
    assert!(waited, "{:?}", jobs(&node));
    // The same jobs, in another process and beside the serving one.
    let ran = node.run(&["jobs", "run", "reminders"]).ended(0);
    assert!(ran.contains("done, nothing was to be done"), "{ran}");
    assert_eq!(node.run(&["jobs", "run", "prune", "--json"]).json()["outcome"], "done");
    assert_eq!(serving.stop(), Some(0));
    let unknown = node.run(&["jobs", "run", "reminder"]).ended(2);
    assert!(unknown.contains("reminders"), "{unknown}");
}

#[test]
fn a_job_that_fails_says_why_and_what_is_wrong_with_mail_is_said_before_anything_is_sent() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    let off = node.run(&["mail", "test", "operator@alder.example"]).ended(1);
    assert!(off.contains("mail is off") && off.contains("mail.backend"), "{off}");
    assert_eq!(node.run(&["mail", "list", "--json"]).json(), Value::Array(Vec::new()));
    assert!(node.run(&["mail", "retry", "nothing"]).ended(1).contains("concordat mail list"));
    assert!(node.run(&["mail", "test", "operator"]).ended(2).contains("NAME@DOMAIN"));

    node.configure(|config| {
        config.mail.backend = MailBackend::File;
        config.mail.from = Some("alpr@alder.example".parse().unwrap());
        config.mail.folder = "post".into();
        config.mail.operators = vec!["operator@alder.example".parse().unwrap()];
    });
    node.run(&["mail", "test", "operator@alder.example"]).ended(0);
    // The authority's revocation list is good for a week; a warning comes a day before, so there is none yet.
    node.run(&["jobs", "run", "expiry"]).ended(0);
    let files: Vec<_> = fs::read_dir(node.path("post")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains("To: operator@alder.example") && text.contains(ALDER), "{text}");

    let crl = county.path("ca/crl.pem");
    fs::write(&crl, "no list").unwrap();
    let said = node.run(&["jobs", "run", "expiry"]).ended(3);
    assert!(said.contains("crl.pem"), "{said}");

    node.configure(|config| {
        config.mail.backend = MailBackend::Smtp;
        config.mail.host = "127.0.0.1".to_owned();
        // Nobody listens on the port for discarding.
        (config.mail.port, config.mail.tls) = (9, MailTls::None);
    });
    let refused = node.run(&["mail", "test", "operator@alder.example"]).ended(3);
    assert!(refused.contains("not sent") && refused.contains("refused"), "{refused}");
    node.configure(|config| config.mail.username = "alder".to_owned());
    let written = fs::read_to_string(node.path("concordat.toml")).unwrap();
    fs::write(node.path("concordat.toml"), written.replace("host = \"127.0.0.1\"", "host = \"mail.example\"")).unwrap();
    let clear = node.run(&["mail", "list"]).ended(2);
    assert!(clear.contains("mail.tls") && clear.contains("starttls"), "{clear}");
}
