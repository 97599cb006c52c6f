//! What each command records is what the table of commands says, and whatever reads who asked for what is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use agreements::entry::Kind;
use concordat::doors::commands::ALL;
use concordat::doors::{Recorded, readme};

use super::help::{BOTH, leaves, samples};
use super::program::{County, Node};

/// What reads entries, or says who asked for what (VIII-03).
const READS: [&str; 6] =
    ["hit list", "request list", "trail export", "trail receipts", "trail receipts export", "trail search"];

fn entries(node: &Node) -> u64 {
    node.run(&["trail", "verify", "--json"]).json()["entries"].as_u64().unwrap()
}

/// The kinds of the newest entries. That is a search, and an entry of its own.
fn newest(node: &Node, count: u64) -> BTreeSet<Kind> {
    let found = node.run_as("auditor", &["trail", "search", "--limit", &count.to_string(), "--json"]).json();
    let found = found.as_array().unwrap();
    found.iter().map(|entry| entry["kind"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn every_command_records_what_the_table_says_and_no_other_kind() {
    let table: BTreeMap<&str, Recorded> = ALL.iter().copied().collect();
    let known: BTreeSet<String> = leaves().into_keys().chain(BOTH.map(str::to_owned)).collect();
    assert_eq!(
        table.keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        known,
        "each command has its line"
    );
    assert_eq!(table.len(), ALL.len(), "and one alone");

    let county = County::new();
    let node = county.node("alder", "CA0990000");
    node.staff();
    fs::write(node.path("draft.toml"), concordat::exchange::draft::TEMPLATE).unwrap();
    let mut recorded = BTreeSet::new();
    for (name, line) in samples(&node) {
        // Others' folders, and what would not end.
        if matches!(name, "serve" | "demo") {
            continue;
        }
        let before = entries(&node);
        let ran = node.run(&line.iter().map(String::as_str).collect::<Vec<_>>());
        let grown = entries(&node) - before;
        match table[name] {
            Recorded::Not(_) => assert_eq!(grown, 0, "`{name}` records, and the table says that it does not"),
            Recorded::First(kinds) | Recorded::Counted(kinds) => {
                if grown > 0 {
                    let said = newest(&node, grown);
                    assert!(said.iter().all(|kind| kinds.contains(kind)), "`{name}`: {said:?}");
                    recorded.insert(name);
                }
            }
        }
        if READS.contains(&name) {
            assert_eq!(ran.code, 0, "`{name}`: {}", ran.stderr);
            assert!(grown > 0, "`{name}` shows who asked for what, and is not in the trail");
        }
    }
    assert!(READS.iter().all(|name| matches!(table[name], Recorded::First(_))));
    assert!(recorded.len() >= 15, "only {} commands recorded anything: {recorded:?}", recorded.len());
}

#[test]
fn the_readme_says_what_is_recorded_and_what_is_not() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = fs::read_to_string(path).unwrap();
    let (begins, ends) = ("<!-- what is recorded: begins -->\n", "<!-- what is recorded: ends -->");
    let (head, rest) = text.split_once(begins).expect("README.md has the list");
    let (listed, tail) = rest.split_once(ends).expect("the list has an end");
    if std::env::var_os("CONCORDAT_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, format!("{head}{begins}{}{ends}{tail}", readme())).unwrap();
        return;
    }
    let how = "CONCORDAT_BLESS=1 cargo test -p concordat --test cli the_readme";
    assert!(listed == readme(), "what is recorded is something else now. Read the difference, then {how}");
}
