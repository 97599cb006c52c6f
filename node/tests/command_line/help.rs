//! Every help text is held to a file, and every command to what a person expects of it: an example that can be typed, a
//! word about each argument, and JSON.
//!
//! `CONCORDAT_BLESS=1 cargo test -p concordat --test cli help` writes the files anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _, Parser as _};
use concordat::cli::Cli;
use serde_json::Value;

use super::program::{County, Node, concordat};

/// The width of the files' lines: what a pipe gets.
const WIDTH: usize = 100;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/command_line/help")
}

/// All commands by what is typed, such as `trail search`; the program itself is the empty one.
fn commands() -> BTreeMap<String, Command> {
    fn walk(command: &Command, path: &str, into: &mut BTreeMap<String, Command>) {
        into.insert(path.to_owned(), command.clone());
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(inner, format!("{path} {}", inner.get_name()).trim_start(), into);
        }
    }
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    let mut all = BTreeMap::new();
    walk(&root, "", &mut all);
    all
}

pub(super) fn leaves() -> BTreeMap<String, Command> {
    commands().into_iter().filter(|(_, command)| !command.has_subcommands()).collect()
}

fn file_name(path: &str) -> String {
    match path {
        "" => "concordat.txt".to_owned(),
        path => format!("{}.txt", path.replace(' ', "-")),
    }
}

/// What the program prints into a pipe.
fn help(path: &str) -> String {
    let text = concordat(path.split_whitespace().chain(["--help"])).ended(0);
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn help_texts_are_those_that_were_read_last() {
    let blessing = std::env::var_os("CONCORDAT_BLESS").is_some_and(|value| value == "1");
    let expected: BTreeMap<String, String> = commands().keys().map(|path| (file_name(path), help(path))).collect();
    if blessing {
        fs::create_dir_all(folder()).unwrap();
        for (name, text) in &expected {
            fs::write(folder().join(name), text).unwrap();
        }
        for file in fs::read_dir(folder()).unwrap().map(Result::unwrap) {
            if !expected.contains_key(file.file_name().to_str().unwrap()) {
                fs::remove_file(file.path()).unwrap();
            }
        }
    }
    let there: BTreeSet<String> =
        fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let how = "CONCORDAT_BLESS=1 cargo test -p concordat --test cli help";
    let names: BTreeSet<String> = expected.keys().cloned().collect();
    assert_eq!(there, names, "commands came or went: read the difference, then {how}");
    for (name, text) in expected {
        let held = fs::read_to_string(folder().join(&name)).unwrap();
        assert!(held == text, "{name} is another text now. Was:\n{held}\nIs:\n{text}\nIf it is meant: {how}");
    }
}

#[test]
fn help_says_something_about_every_command_and_argument() {
    for (path, command) in commands() {
        assert!(command.get_about().is_some(), "`{path}` has no description");
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Example"), "`{path}` shows no example");
        let lines: Vec<&str> = after.lines().collect();
        for pair in lines.windows(2) {
            let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ');
            let broken = is_text(pair[0]) && is_text(pair[1]) && pair[0].len() > 60;
            assert!(!broken, "`{path}`: a paragraph is one line, and the terminal breaks it: {}", pair[0]);
        }
        let wide = lines.iter().find(|line| line.starts_with(' ') && line.chars().count() > WIDTH);
        assert_eq!(wide, None, "`{path}`: an example is wider than {WIDTH} columns");
        for argument in
            command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        {
            assert!(argument.get_help().is_some(), "`{path}`: nothing is said about {}", argument.get_id());
        }
    }
}

/// The command lines of an example: lines that begin with two spaces, each with what follows a backslash.
fn typed(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut going_on = false;
    for line in text.lines() {
        let Some(line) = line.strip_prefix("  ") else { continue };
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if going_on => *last = format!("{last} {}", part.trim()),
            _ => lines.push(part.trim().to_owned()),
        }
        going_on = more;
    }
    lines.into_iter().filter(|line| line.contains("concordat ")).collect()
}

/// The words of a command line, as a shell parts them; what is before and behind a pipe or a redirection is not ours.
fn words(line: &str) -> Vec<String> {
    let ours = line.rsplit(" | ").find(|part| part.trim_start().starts_with("concordat")).unwrap_or(line);
    let ours = ours.split(" > ").next().unwrap();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in ours.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

#[test]
fn help_shows_examples_that_can_be_typed_as_they_are() {
    let mut count = 0;
    for (path, command) in commands() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = typed(&after);
        assert!(!lines.is_empty(), "`{path}`: no line of its example is a command");
        for line in lines {
            count += 1;
            if let Err(error) = Cli::try_parse_from(words(&line)) {
                panic!("`{path}`: {line}\n{error}");
            }
        }
    }
    assert!(count > 40, "{count} examples");
}

/// What is a command by itself, and has commands of its own.
pub(super) const BOTH: [&str; 1] = ["trail receipts"];

/// A command line for each command, to be run with `--json` at a node. Those that print no JSON at all are named.
#[expect(clippy::too_many_lines, reason = "a table of every command")]
pub(super) fn samples(node: &Node) -> BTreeMap<&'static str, Vec<String>> {
    let id = "01940a2b-0000-7000-8000-000000000001";
    let reads = node.reads(2);
    let draft = node.path("draft.toml");
    let busy = node.path("keys");
    let line = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let with = |text: &str, more: &[&str]| {
        let mut all = line(text);
        all.extend(more.iter().map(|word| (*word).to_owned()));
        all
    };
    let about = ["--legal-name", "A", "--kind", "city", "--county", "A", "--url", "https://a.test"];
    BTreeMap::from([
        ("init", with("init --ori CA0990300", &[&about[..], &["--dir", &node.path("new")]].concat())),
        ("demo", with("demo --once", &["--dir", &busy])),
        ("serve", with("serve", &["--dir", &busy])),
        ("check-config", line("check-config")),
        ("doctor", line("doctor")),
        ("ca init", with("ca init --name X", &["--dir", &node.path("ca")])),
        (
            "ca issue",
            with("ca issue --ori CA0990000 --host a.test --csr none --out none.pem", &["--dir", &node.path("ca")]),
        ),
        ("ca revoke", with(&format!("ca revoke {} --reason superseded", "0".repeat(32)), &["--dir", &node.path("ca")])),
        ("ca crl", with("ca crl", &["--dir", &node.path("ca")])),
        ("peer export", line("peer export")),
        ("peer add", line("peer add none --fingerprint x --confirmed-by x --as x")),
        ("peer list", line("peer list")),
        ("user add", line("user add u --name U --affiliation A --role auditor --as admin")),
        ("user list", line("user list")),
        ("user close", line("user close u --as admin")),
        ("training record", line("training record auditor --on 2026-01-01 --sb34 --sb54 --policy --as admin")),
        ("ag find", line("ag find CA0990100 --kind letter_reported --citation c --on 2026-01-01 --as agreements")),
        ("ag clear", line("ag clear CA0990100 --citation c --on 2026-01-02 --reason r --as agreements")),
        ("ag check", line("ag check --source s --result none --as agreements")),
        ("ag list", line("ag list")),
        ("ag export", with("ag export --as agreements", &["--out", &node.path("register.json")])),
        ("ag import", with("ag import --as agreements", &[&draft])),
        ("ag evidence show", line(&format!("ag evidence show {}", "0".repeat(64)))),
        ("trail reconcile", line("trail reconcile --all --as auditor")),
        ("discrepancy list", line("discrepancy list")),
        ("discrepancy show", line(&format!("discrepancy show {id}"))),
        ("discrepancy close", line(&format!("discrepancy close {id} --explanation e --reason r --as custodian"))),
        ("review open", line("review open CA0990100 --trigger concern --reason r --as agreements")),
        ("review list", line("review list")),
        ("review show", line(&format!("review show {id}"))),
        (
            "review close",
            with(&format!("review close {id} --looked-at w --outcome o --as agreements"), &["--evidence", &draft]),
        ),
        ("policy check", line("policy check --as agreements")),
        ("policy list", line("policy list")),
        ("policy accept", line("policy accept CA0990100")),
        ("agreement draft", line("agreement draft --template")),
        ("agreement frame", with("agreement frame --out pairs", &[&node.path("framework.toml")])),
        ("agreement adopt", with("agreement adopt", &[&draft])),
        ("agreement render", with(&format!("agreement render {id}"), &["--out", &node.path("a.pdf")])),
        ("agreement diff", line(&format!("agreement diff {id} {id}"))),
        ("agreement propose", with("agreement propose --as agreements", &[&draft])),
        ("agreement list", line("agreement list")),
        ("agreement show", line(&format!("agreement show {id}"))),
        ("agreement sign", line(&format!("agreement sign {id} --reason r --as custodian"))),
        ("agreement access", line("agreement access")),
        ("agreement decline", line(&format!("agreement decline {id} --reason r --as custodian"))),
        ("agreement withdraw", line(&format!("agreement withdraw {id} --reason r --as custodian"))),
        ("agreement suspend", line(&format!("agreement suspend {id} --reason r --as custodian"))),
        ("change list", line("change list")),
        ("change show", line(&format!("change show {id}"))),
        ("change approve", line(&format!("change approve {id} --as custodian"))),
        ("change refuse", line(&format!("change refuse {id} --reason r --as custodian"))),
        ("change withdraw", line(&format!("change withdraw {id} --as agreements"))),
        ("change widen", line("change widen --reason r --as agreements")),
        ("change accept-clock", line("change accept-clock --reason r --as agreements")),
        ("trail epoch show", line("trail epoch show")),
        ("trail epoch propose", line("trail epoch propose --reason r --as agreements")),
        ("trail epoch approve", line(&format!("trail epoch approve {id} --as custodian"))),
        ("authorization list", line("authorization list")),
        ("authorization give", line(&format!("authorization give {id} --reason r --as agreements"))),
        ("authorization take-back", line(&format!("authorization take-back {id} --reason r --as custodian"))),
        ("agreement resume", line(&format!("agreement resume {id} --reason r --as custodian"))),
        ("agreement terminate", line(&format!("agreement terminate {id} --reason r --as custodian"))),
        ("agreement sync", line(&format!("agreement sync {id}"))),
        ("agreement packet make", line("agreement packet make --template")),
        ("agreement packet send", line("agreement packet send")),
        ("agreement packet show", line("agreement packet show")),
        ("agreement packet list", line("agreement packet list")),
        ("agreement review list", line("agreement review list")),
        ("agreement review next", line("agreement review next")),
        ("agreement review start", with("agreement review start", &[&node.path("reviews")])),
        ("agreement review submit", with("agreement review submit --as agreements", &[&node.path("reviews")])),
        ("agreement review show", line("agreement review show CA0990100")),
        ("agreement renew", line("agreement renew --all-due --spread --as agreements")),
        (
            "agreement approve",
            line(&format!(
                "agreement approve {id} --kind counsel --by b --reference r --date 2026-01-01 --as agreements"
            )),
        ),
        ("agreement tosign", with(&format!("agreement tosign {id}"), &["--out", &node.path("tosign")])),
        ("agreement calendar", line("agreement calendar")),
        ("official enroll", with("official enroll", &["--public", &node.path("none.pem")])),
        ("ingest", with("ingest --as admin", &[&reads])),
        ("key prepare", line("key prepare tls log")),
        ("key rotate", line("key rotate --reason yearly --as admin")),
        ("key move", line("key move --reason moved --as admin")),
        ("agent add", line("agent add READER-1 --as admin")),
        ("agent list", line("agent list")),
        ("agent revoke", line("agent revoke READER-1 --as admin")),
        ("hotlist load", with("hotlist load --list stolen --as admin", &[&reads])),
        ("hotlist list", line("hotlist list")),
        ("hotlist accept", line("hotlist accept CA0990100 stolen --as supervisor")),
        ("hotlist refresh", line("hotlist refresh")),
        ("hit list", line("hit list --as investigator")),
        ("hit verify", line(&format!("hit verify {id} --misread --as investigator"))),
        ("jobs list", line("jobs list")),
        ("jobs run", line("jobs run prune")),
        ("mail list", line("mail list")),
        ("mail retry", line(&format!("mail retry {id}"))),
        ("mail test", line("mail test operator@alder.example")),
        ("query", line("query 7ABC123 --purpose lifesaving --reason r --peer CA0990100 --as investigator")),
        ("trail search", line("trail search --as auditor")),
        ("trail verify", line("trail verify")),
        ("trail proof", line(&format!("trail proof {id}"))),
        ("trail export", with("trail export --as auditor", &["--out", &node.path("entries.csv")])),
        ("trail receipts", line("trail receipts --as auditor")),
        ("trail receipts export", with("trail receipts export --as auditor", &[&node.path("receipts")])),
        ("trail receipts renew", line("trail receipts renew")),
        ("trail receipts verify", with("trail receipts verify", &[&busy])),
        ("trail forks", line("trail forks")),
        ("hold request", line("hold request --case 1 --reason r --contact c --plate 7ABC123 --as investigator")),
        ("hold approve", line(&format!("hold approve {id} --as supervisor"))),
        ("hold refuse", line(&format!("hold refuse {id} --reason r --as supervisor"))),
        ("hold release", line(&format!("hold release {id} --reason r --as investigator"))),
        ("hold list", line("hold list --as custodian")),
        ("hold show", line(&format!("hold show {id} --as custodian"))),
        ("retention show", line("retention show")),
        ("retention run", line("retention run --as custodian")),
        ("retention certificates", line("retention certificates")),
        ("witness init", with("witness init --name a.test/w", &["--dir", &node.path("witness")])),
        ("witness serve", with("witness serve --policy none", &["--dir", &busy])),
        ("witness show", with("witness show", &["--dir", &busy])),
        ("witness evidence", with(&format!("witness evidence {}", "0".repeat(64)), &["--out", &node.path("f.json")])),
        ("witness verify", with("witness verify --policy none", &[&draft])),
        ("request list", line("request list --as custodian")),
        ("completions", line("completions bash")),
    ])
}

#[test]
fn every_command_speaks_json_whether_it_ends_well_or_not() {
    let county = County::new();
    let node = county.node("alder", "CA0990000");
    node.staff();
    fs::write(node.path("draft.toml"), concordat::exchange::draft::TEMPLATE).unwrap();
    let samples = samples(&node);
    let known: BTreeSet<String> = leaves().into_keys().chain(BOTH.map(str::to_owned)).collect();
    let tried: BTreeSet<String> = samples.keys().map(|path| (*path).to_owned()).collect();
    assert_eq!(known, tried, "each command has its line in `samples`");
    let mut well = 0;
    for (path, line) in &samples {
        let line: Vec<&str> = line.iter().map(String::as_str).chain(["--json"]).collect();
        let ran = node.run(&line);
        for text in ran.stdout.lines() {
            let json: Result<Value, _> = serde_json::from_str(text);
            assert!(json.is_ok(), "`{path}` printed no JSON: {text}\n{}", ran.stderr);
        }
        if ran.stdout.is_empty() {
            let last = ran.stderr.lines().last().unwrap_or_default();
            let problem: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("`{path}`: {error}: {last}"));
            assert_eq!(problem["exit"], ran.code, "`{path}`: {problem}");
            assert!(problem["error"].as_str().is_some_and(|text| !text.is_empty()), "`{path}`: {problem}");
        } else {
            well += 1;
        }
    }
    assert!(well > 20, "only {well} of them printed anything");
}

#[test]
fn a_draft_where_a_document_belongs_names_the_next_command() {
    let county = County::new();
    let node = county.node("alder", "CA0990000");
    let draft = node.path("draft.toml");
    fs::write(&draft, concordat::exchange::draft::TEMPLATE).unwrap();
    let said = node.run_as("agreements", &["agreement", "propose", &draft]).ended(2);
    assert!(
        said.contains("is a draft") && said.contains("concordat agreement draft") && said.contains("--out"),
        "{said}"
    );
}

#[test]
fn the_demo_plays_where_it_is_told_or_says_why_not() {
    let county = County::new();
    fs::create_dir(county.path("used")).unwrap();
    fs::write(county.path("used/file"), "mine").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_concordat"));
    command.args(["--dir", ".", "demo", "--once"]).current_dir(county.path("used")).env_remove("CONCORDAT_DIR");
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("is not empty") && said.contains("--dir"), "{said}");
    assert_eq!(fs::read_dir(county.path("used")).unwrap().count(), 1);
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = concordat(["completions", shell]).ended(0);
        for (path, _) in leaves() {
            let last = path.rsplit(' ').next().unwrap().to_owned();
            assert!(script.contains(&last), "{shell} does not know {path}");
        }
    }
    assert!(concordat(["completions", "tcsh"]).ended(2).contains("bash"));
}
