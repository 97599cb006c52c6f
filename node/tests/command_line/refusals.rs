//! How refusals end: 1 where a rule says no, 2 where the command line cannot be understood, 3 where something failed; and who
//! would be allowed is named.

use super::program::County;

const ALDER: &str = "CA0990000";

/// An id of nothing.
const ID: &str = "01940a2b-0000-7000-8000-000000000001";

#[test]
fn what_is_not_there_is_refused_alike_by_every_command() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    for line in [
        &["agreement", "show", ID][..],
        &["agreement", "sync", ID],
        &["agreement", "render", ID, "--out", "a.pdf"],
        &["agreement", "diff", ID, ID],
        &["agreement", "suspend", ID, "--reason", "the audit is open", "--as", "custodian"],
        &["agreement", "renew", ID, "--as", "agreements"],
        &["change", "show", ID],
        &["change", "approve", ID, "--as", "custodian"],
        &["review", "show", ID],
        &["mail", "retry", ID],
        &["trail", "proof", ID],
        &["hit", "verify", ID, "--misread", "--as", "investigator"],
        &["user", "close", "nobody", "--as", "admin"],
        &["training", "record", "nobody", "--on", "2026-01-01", "--sb34", "--sb54", "--policy", "--as", "admin"],
        &["agent", "revoke", "nobody", "--as", "admin"],
        &["agreement", "access", "--as-of", "2999-01-01"],
    ] {
        let said = node.run(line).ended(1);
        // What to do is either a command or said in the sentence.
        assert!(said.contains("concordat ") || said.contains("leave --as-of out"), "{line:?}: {said}");
        assert!(!said.contains("new keys"), "{line:?}: {said}");
    }
    // A file that cannot be read is a failure, whatever was to be done with it.
    let missing = node.path("none");
    for line in [
        &["agreement", "propose", &missing, "--as", "agreements"][..],
        &["agreement", "draft", &missing],
        &["ag", "import", &missing, "--as", "agreements"],
        &["hotlist", "load", &missing, "--list", "stolen", "--as", "admin"],
        &["ingest", &missing, "--as", "admin"],
        &["official", "enroll", "--public", &missing],
    ] {
        let said = node.run(line).ended(3);
        assert!(said.contains("No such file"), "{line:?}: {said}");
    }
}

#[test]
fn who_may_not_is_told_who_may() {
    let county = County::new();
    let node = county.node("alder", ALDER);
    node.staff();
    let about = ["--name", "U", "--affiliation", "A", "--role", "auditor"];
    for (line, may) in [
        (&["agreement", "suspend", ID, "--reason", "the audit is open"][..], "agreements_administrator or custodian"),
        (&["agreement", "renew", "--all-due"], "agreements_administrator or custodian"),
        (&["authorization", "take-back", ID, "--reason", "the audit is open"], "custodian"),
        (&["key", "move", "--reason", "moved"], "custodian or system_administrator"),
        (&["agent", "add", "READER-1"], "system_administrator"),
        (&["hit", "list"], "investigator, analyst or supervisor"),
        (&[&["user", "add", "x"], &about[..]].concat(), "supervisor or system_administrator"),
        (
            &["query", "7ABC123", "--purpose", "lifesaving", "--reason", "r", "--peer", "CA0990100"],
            "investigator, analyst or supervisor",
        ),
    ] {
        let said = node.run_as("auditor", line).ended(1);
        assert!(said.contains("auditor is auditor, which does not allow this"), "{line:?}: {said}");
        assert!(said.contains(&format!(": {may} may;")), "{line:?}: {said}");
        assert_eq!(said.matches("concordat user list").count(), 1, "{line:?}: {said}");
    }
}
