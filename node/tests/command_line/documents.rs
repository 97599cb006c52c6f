//! Drafts with all their faults, frameworks, agreements as documents for people, and what another one changes.

use std::fs;

use concordat::exchange::draft::{TEMPLATE, frame};
use serde_json::Value;

use super::between_nodes::{draft, enrol};
use super::program::{County, Node, now};
use super::renewal::signs;

const ALDER: &str = "CA0990000";
const BIRCH: &str = "CA0990100";
const CEDAR: &str = "CA0990200";

fn partners(county: &County) -> (Node, Node) {
    let (alder, birch) = (county.node("alder", ALDER), county.node("birch", BIRCH));
    alder.staff();
    enrol(&birch, &alder);
    (alder, birch)
}

/// A template of which the year begins today.
fn today(template: &str) -> String {
    let today = now().date().unwrap();
    let next = agreements::agreement::anniversary(today).unwrap();
    template.replace("2027-01-01", &today.to_string()).replace("2028-01-01", &next.to_string())
}

fn line(text: &str, start: &str) -> usize {
    1 + text.lines().position(|line| line.starts_with(start)).unwrap()
}

#[test]
fn a_draft_is_told_all_its_faults_at_once_with_their_lines() {
    let county = County::new();
    let (alder, _) = partners(&county);
    let file = alder.path("draft.toml");
    let wrong = today(TEMPLATE)
        .replacen("lookback_days = 30", "lookback = 30", 1)
        .replacen("daily_quota = 200", "daily_quota = -1", 1)
        .replacen("max_rows = 100", "max_rows = 100000", 1)
        .replacen("fuzzy = false", "", 1)
        .replacen("accuracy = true", "accuracy = \"yes\"", 1)
        .replacen("hotlist_max_age_hours = 24", "hotlist_max_age_hours = 48", 1);
    fs::write(&file, &wrong).unwrap();
    let said = alder.run(&["agreement", "draft", &file]).ended(2);
    assert!(said.contains("the draft has 6 faults") && said.contains("--template"), "{said}");
    for (at, says) in [
        (line(&wrong, "lookback"), "did you mean `lookback_days`?"),
        (line(&wrong, "daily_quota"), "daily_quota"),
        (line(&wrong, "[[grants]]"), "`fuzzy` is missing from this grant: write fuzzy = false"),
        // What cannot be read there is not what the rule is broken by: the grant is named.
        (line(&wrong, "kind = "), "max_rows 1 to 10000"),
        (line(&wrong, "accuracy"), "such as accuracy = true"),
        (line(&wrong, "hotlist_max_age_hours"), "must be 1 to 24 (V-26)"),
    ] {
        let found = said.lines().any(|said| said.contains(&format!("line {at}: ")) && said.contains(says));
        assert!(found, "line {at}: {says}\n{said}");
    }
    // Only what it says is wrong: a rule refuses it.
    let long = today(TEMPLATE).replacen("lookback_days = 30", "lookback_days = 900", 1);
    fs::write(&file, long.replace("no_onward_transfer = true", "no_onward_transfer = false")).unwrap();
    let said = alder.run(&["agreement", "draft", &file]).ended(1);
    assert!(said.contains("2 faults") && said.contains("VI-02") && said.contains("V-19"), "{said}");
    assert_eq!(said.matches("line ").count(), 2, "{said}");
    let stranger = today(TEMPLATE).replace(BIRCH, CEDAR);
    fs::write(&file, &stranger).unwrap();
    assert!(alder.run(&["agreement", "draft", &file]).ended(1).contains("is not enrolled"));
    fs::write(&file, stranger.replacen("fuzzy = false", "fuzzy = 0", 1)).unwrap();
    let said = alder.run(&["agreement", "draft", &file]).ended(2);
    assert!(said.contains("2 faults") && said.contains("is not enrolled"), "{said}");
    for (kind, says) in [("hotlist", "kind = \"hits\""), ("framework", "agencies = ["), ("query", "kind = \"query\"")] {
        assert!(alder.run(&["agreement", "draft", &format!("--template={kind}")]).ended(0).contains(says), "{kind}");
    }
}

#[test]
fn a_framework_is_drafted_with_every_partner_at_once_and_shown_with_each_agreement() {
    let county = County::new();
    let (alder, _birch) = partners(&county);
    let (file, pairs) = (alder.path("framework.toml"), alder.path("pairs"));
    fs::write(&file, today(frame::TEMPLATE)).unwrap();
    let run = || alder.run(&["agreement", "frame", &file, "--out", &pairs, "--json"]);
    assert!(run().ended(3).contains("framework.md"), "its text is not there");
    fs::write(alder.path("framework.md"), "# Three counties\n\nEach may ask each,\nand nobody <else>.\n").unwrap();
    let framed = run().json();
    assert_eq!(framed["title"], "Three counties");
    assert_eq!(framed["pairs"][0]["outcome"], "drafted");
    assert_eq!(
        (&framed["pairs"][1]["partner"], &framed["pairs"][1]["outcome"]),
        (&CEDAR.into(), &"not_enrolled".into())
    );
    let cedar = county.node("cedar", CEDAR);
    enrol(&cedar, &alder);
    let again = run().json();
    assert_eq!(again["pairs"][0]["outcome"], "there_already");
    assert_eq!(again["pairs"][1]["outcome"], "drafted");
    let document = |n: usize| -> Value {
        serde_json::from_slice(&fs::read(again["pairs"][n]["file"].as_str().unwrap()).unwrap()).unwrap()
    };
    for (n, partner) in [BIRCH, CEDAR].into_iter().enumerate() {
        let document = document(n);
        assert_eq!((&document["parties"][0]["ori"], &document["parties"][1]["ori"]), (&ALDER.into(), &partner.into()));
        assert_eq!(document["framework"], serde_json::json!({"title": "Three counties", "sha256": framed["sha256"]}));
        let grants: Vec<_> =
            document["grants"].as_array().unwrap().iter().map(|it| (&it["owner"], &it["recipient"])).collect();
        assert_eq!(grants, [(&Value::from(ALDER), &Value::from(partner)), (&partner.into(), &ALDER.into())]);
    }
    assert_ne!(document(0)["sunset_on"], document(1)["sunset_on"], "spread over the year");

    // Each is an agreement of its own, and shows the text.
    let path = framed["pairs"][0]["file"].as_str().unwrap();
    alder.run_as("agreements", &["agreement", "propose", path]).ended(0);
    let page = alder.path("page.html");
    alder.run(&["agreement", "render", framed["pairs"][0]["id"].as_str().unwrap(), "--out", &page]).ended(0);
    let said = fs::read_to_string(&page).unwrap();
    assert!(
        said.contains("Framework: Three counties") && said.contains("Each may ask each, and nobody &#60;else&#62;.")
    );
    // A partner without the text names its hash, until it adopts the text.
    let kept = alder.path(&format!("documents/{}.txt", framed["sha256"].as_str().unwrap()));
    fs::remove_file(&kept).unwrap();
    let other = alder.path("other.html");
    alder.run(&["agreement", "render", path, "--out", &other]).ended(0);
    assert!(fs::read_to_string(&other).unwrap().contains("This node does not keep its text"));
    let adopted = alder.run(&["agreement", "adopt", &alder.path("framework.md"), "--json"]).json();
    assert_eq!(adopted["sha256"], framed["sha256"]);
    fs::write(&kept, "# Four counties\n").unwrap();
    let damaged = alder.run(&["agreement", "render", path, "--out", &alder.path("x.html")]).ended(3);
    assert!(damaged.contains("adopt the text again"), "{damaged}");

    // What is wrong is said once, not for each pair.
    fs::remove_dir_all(&pairs).unwrap();
    let wrong = today(frame::TEMPLATE).replace("lookback_days = 30", "lookback_days = 900");
    fs::write(&file, &wrong).unwrap();
    let said = alder.run(&["agreement", "frame", &file, "--out", &pairs]).ended(1);
    assert!(said.contains(&format!("line {}: ", line(&wrong, "kind"))) && said.contains("VI-02"), "{said}");
    assert!(!fs::exists(&pairs).unwrap(), "nothing is written before all of it can be");
    fs::write(&file, today(frame::TEMPLATE).replace("\"CA0990000\", ", "")).unwrap();
    assert!(alder.run(&["agreement", "frame", &file, "--out", &pairs]).ended(1).contains(ALDER));
}

#[test]
fn an_agreement_is_a_document_for_people_from_the_draft_on() {
    let county = County::new();
    let (alder, _birch) = partners(&county);
    let document = draft(&alder, BIRCH);
    let out = |name: &str| alder.path(name);
    let render = |which: &str, name: &str, more: &[&str]| {
        alder.run(&[&["agreement", "render", which, "--out", &out(name)], more].concat())
    };
    let said = render(&document, "draft.html", &[]).ended(0);
    assert!(said.contains("NOT IN FORCE: a draft that nobody had offered"), "{said}");
    assert!(fs::read_to_string(out("draft.html")).unwrap().contains("NOT SIGNED"));
    alder.run_as("agreements", &["agreement", "propose", &document]).ended(0);
    let listed = alder.run(&["agreement", "list", "--json"]).json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    signs(&alder, &id);
    let rendered = render(&id, "one.pdf", &["--json"]).json();
    assert_eq!((&rendered["form"], &rendered["in_force"]), (&"pdf".into(), &false.into()));
    assert!(rendered["notice"].as_str().unwrap().contains(&format!("not signed by {BIRCH}")), "{rendered}");
    assert!(fs::read(out("one.pdf")).unwrap().starts_with(b"%PDF-1.7"));
    render(&id, "one.html", &[]).ended(0);
    let page = fs::read_to_string(out("one.html")).unwrap();
    assert_eq!((page.matches("NOT SIGNED").count(), page.matches("&#34;alg&#34;:&#34;ES256&#34;").count()), (1, 2));
    assert!(page.contains(rendered["sha256"].as_str().unwrap()));
    // A file that is there stays; a name that says nothing is asked about; what is no agreement is said to be none.
    assert!(render(&id, "one.pdf", &[]).ended(1).contains("is not overwritten"));
    assert!(render(&id, "what", &[]).ended(2).contains("--html or --pdf"));
    render(&id, "what", &["--pdf"]).ended(0);
    assert!(fs::read(out("what")).unwrap().starts_with(b"%PDF-1.7"));
    assert!(render("01940a2b-0000-7000-8000-000000000001", "no.pdf", &[]).ended(1).contains("agreement list"));
    assert!(render(&alder.path("draft.toml"), "no.pdf", &[]).ended(2).contains("concordat agreement draft"));
}

#[test]
fn a_difference_is_said_in_words_and_by_what_it_does() {
    let county = County::new();
    let (alder, _birch) = partners(&county);
    let old = draft(&alder, BIRCH);
    let mut changed: Value = serde_json::from_slice(&fs::read(&old).unwrap()).unwrap();
    let diff = |new: &str, more: &[&str]| alder.run(&[&["agreement", "diff", &old, new], more].concat());
    assert!(diff(&old, &[]).ended(0).contains("say the same"));
    changed["grants"][0]["lookback_days"] = 7.into();
    changed["grants"][0]["partial"] = true.into();
    let new = alder.path("new.json");
    fs::write(&new, agreements::json::canonical(&changed).unwrap()).unwrap();
    let said = diff(&new, &[]).ended(0);
    assert!(said.contains("CA0990000 queries CA0990100: lookback 30 days -> 7 days: NARROWER"), "{said}");
    assert!(said.contains("by part of a plate no -> yes: WIDER"), "{said}");
    assert!(said.contains("1 wider, 1 narrower, 0 otherwise changed."), "{said}");
    let json = diff(&new, &["--json"]).json();
    assert_eq!(json[0]["path"], "grants[query CA0990100 CA0990000].lookback_days");
    assert_eq!((&json[0]["before"], &json[0]["effect"]), (&"30 days".into(), &"narrower".into()));
    assert_eq!(diff(&old, &["--json"]).json(), serde_json::json!([]));
    alder.run_as("agreements", &["agreement", "propose", &old]).ended(0);
    let listed = alder.run(&["agreement", "list", "--json"]).json();
    let id = listed[0]["id"].as_str().unwrap();
    let said = alder.run(&["agreement", "diff", id, &new]).ended(0);
    assert!(said.contains("1 wider"), "an id and a file: {said}");
    assert!(alder.run(&["agreement", "diff", id, id]).ended(0).contains("say the same"));
}
