//! Two nodes: enrolment by voice, an agreement, a question, its receipt.

use std::fs;
use std::path::Path;

use agreements::time::Instant;
use certs::key::SigningKey;
use concordat::demo::generator::shared_plates;
use concordat::exchange::draft::TEMPLATE;
use concordat::reconciling::listing::day_of;
use serde_json::Value;

use super::program::{County, Node, PASSPHRASE, Ran, SEED, concordat, now};

const ALDER: &str = "CA0990000";
const BIRCH: &str = "CA0990100";

/// Exports the descriptor of `from` and enrols it at `at`.
pub(super) fn enrol(from: &Node, at: &Node) {
    let file = from.path("descriptor.json");
    let exported = from.run(&["peer", "export", "--out", &file, "--json"]).json();
    let printed = from.run(&["peer", "export"]);
    assert!(printed.stderr.contains(exported["spoken"].as_str().unwrap()), "{}", printed.stderr);
    // Ed25519 signs the same bytes the same way.
    assert_eq!(printed.stdout.trim_end(), fs::read_to_string(&file).unwrap());
    let spoken = exported["spoken"].as_str().unwrap();
    let add = |fingerprint: &str, confirmed: &str| {
        at.run_as("agreements", &["peer", "add", &file, "--fingerprint", fingerprint, "--confirmed-by", confirmed])
    };
    let wrong = add(&"0".repeat(64), "custodian").ended(1);
    assert!(wrong.contains("fingerprint is not the file's"), "{wrong}");
    assert!(!wrong.contains(spoken), "the right one comes by voice, not from the refusal: {wrong}");
    assert!(add(spoken, "agreements").ended(1).contains("two people"));
    assert!(add(spoken, "investigator").ended(1).contains("does not allow"));
    add(spoken, "custodian").ended(0);
    assert!(add(spoken, "custodian").ended(1).contains("enrolled already"));
}

/// Drafts the agreement of a year from today on, after what is wrong in a draft was named.
pub(super) fn draft(node: &Node, partner: &str) -> String {
    let today = now().date().unwrap();
    let next = agreements::agreement::anniversary(today).unwrap();
    let text = TEMPLATE
        .replace("partner = \"CA0990100\"", &format!("partner = \"{partner}\""))
        .replace("2027-01-01", &today.to_string())
        .replace("2028-01-01", &next.to_string());
    let (draft, document) = (node.path("draft.toml"), node.path("agreement.json"));
    fs::write(&draft, text.replace("lookback_days", "lookback")).unwrap();
    let typo = node.run(&["agreement", "draft", &draft]).ended(2);
    assert!(typo.contains("lookback") && typo.contains("--template"), "{typo}");
    fs::write(&draft, text.replace(&next.to_string(), "2199-01-01")).unwrap();
    assert!(node.run(&["agreement", "draft", &draft]).ended(1).contains("V-27"));
    let past = text.replace(&today.to_string(), "2020-01-01").replace(&next.to_string(), "2021-01-01");
    fs::write(&draft, past).unwrap();
    let over = node.run(&["agreement", "draft", &draft]).ended(1);
    assert!(over.contains("sunset_on: 2021-01-01 is not after today"), "{over}");
    let own = if partner == ALDER { BIRCH } else { ALDER };
    fs::write(&draft, text.replace(partner, own)).unwrap();
    let itself = node.run(&["agreement", "draft", &draft]).ended(1);
    assert!(itself.contains(&format!("the draft is between {own} and itself")), "{itself}");
    fs::write(&draft, b"partner = \"\xff\"").unwrap();
    assert!(node.run(&["agreement", "draft", &draft]).ended(2).contains("UTF-8"));
    fs::write(&draft, text).unwrap();
    node.run(&["agreement", "draft", &draft, "--out", &document]).ended(0);
    document
}

fn ask(node: &Node, reason: &str, more: &[&str]) -> Ran {
    let plate = shared_plates(SEED)[0].as_str().to_owned();
    let about = ["--purpose", "criminal_investigation", "--ref", "case:2026-118842", "--peer", BIRCH];
    node.run_as("investigator", &[&["query", &plate, "--reason", reason], &about[..], more].concat())
}

const REASON: &str = "vehicle fled the scene of an armed robbery on Main Street";

/// The file of the signature that an official's smart card makes over what it is given.
fn signed_by_card(node: &Node, id: &str) -> String {
    let (input, output) = (node.path("official.input"), node.path("official.sig"));
    node.run(&["agreement", "tosign", id, "--out", &input]).ended(0);
    let pem = fs::read(node.path("official.key")).unwrap();
    let card = SigningKey::from_locked_pem(&pem, PASSPHRASE.as_bytes()).unwrap();
    fs::write(&output, card.sign(b"something else").unwrap()).unwrap();
    let sign = ["agreement", "sign", id, "--reason", "the board approved it", "--official-signature", &output];
    assert!(node.run_as("agreements", &sign).ended(1).contains("does not verify"));
    fs::write(&output, card.sign(&fs::read(&input).unwrap()).unwrap()).unwrap();
    output
}

/// Proposes what opens sharing; the change's id.
pub fn proposed(node: &Node, args: &[&str]) -> String {
    let said = node.run_as("agreements", &[args, &["--json"]].concat()).json();
    said["change"].as_str().unwrap().to_owned()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one walk, in its order")]
fn an_agreement_and_a_question_from_the_first_file_to_the_receipt() {
    let county = County::new();
    let (alder, birch) = (county.node("alder", ALDER), county.node("birch", BIRCH));
    for node in [&alder, &birch] {
        node.staff();
    }
    enrol(&alder, &birch);
    enrol(&birch, &alder);
    assert_eq!(alder.run(&["peer", "list", "--json"]).json()[0]["ori"], BIRCH);
    let reads = birch.reads(40);
    birch.run_as("admin", &["ingest", &reads]).ended(0);

    let document = draft(&alder, BIRCH);
    assert!(alder.run_as("investigator", &["agreement", "propose", &document]).ended(1).contains("does not allow"));
    // Birch does not serve yet: recorded here, sent later.
    let said = alder.run_as("agreements", &["agreement", "propose", &document]).ended(0);
    assert!(said.contains("concordat agreement sync"), "{said}");
    let listed = alder.run(&["agreement", "list", "--json"]).json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed[0]["status"], "unsigned");

    let (serving_alder, serving_birch) = (alder.serve(), birch.serve());
    for node in [&alder, &birch] {
        node.configure(|config| {
            config.peer.hosts.insert("alder.test".to_owned(), serving_alder.peer);
            config.peer.hosts.insert("birch.test".to_owned(), serving_birch.peer);
        });
    }
    alder.run(&["agreement", "sync", &id]).ended(0);
    let why = ["--reason", "the county board approved it"];
    let sign = [&["agreement", "sign", &id], &why[..]].concat();
    assert!(alder.run_as("investigator", &sign).ended(1).contains("does not allow"));
    let vague = alder.run_as("agreements", &["agreement", "sign", &id, "--reason", "because"]).ended(1);
    assert!(vague.contains("too vague"), "{vague}");
    let not_in_force = ask(&alder, REASON, &[]).ended(1);
    assert!(not_in_force.contains("not asked") && not_in_force.contains("not signed by"), "{not_in_force}");
    let missing = alder.run_as("agreements", &sign).ended(1);
    for what in ["counsel has not approved", "1798.90.55(a)", "--official-key FILE"] {
        assert!(missing.contains(what), "{missing}");
    }
    alder.approves(&id);
    birch.approves(&id);
    let by_key = alder.signing(&id, why[1]);
    let change = proposed(&alder, &by_key.iter().map(String::as_str).collect::<Vec<_>>());
    let own = alder.run_as("agreements", &["change", "approve", &change]).ended(1);
    assert!(own.contains("nobody approves their own change"), "{own}");
    let waits = alder.run(&["change", "list", "--json"]).json();
    assert_eq!((&waits[0]["id"], &waits[0]["state"]), (&Value::from(change.as_str()), &Value::from("pending")));
    let shown = alder.run(&["change", "show", &change]).ended(0);
    assert!(shown.contains("opens: ") && shown.contains(&format!("once {BIRCH} has signed too")), "{shown}");
    alder.run_as("custodian", &["change", "approve", &change]).ended(0);
    let by_card = signed_by_card(&birch, &id);
    let by_card = [&sign[..], &["--official-signature", &by_card]].concat();
    let signed = birch.run_as("custodian", &["change", "approve", &proposed(&birch, &by_card)]).ended(0);
    assert!(signed.contains("in force until"), "{signed}");
    let authorized = alder.run(&["authorization", "list", "--json"]).json();
    let access = alder.run(&["agreement", "access", "--json"]).json();
    assert_eq!((access.as_array().unwrap().len(), &access[0]["under"]), (2, &Value::from(id.as_str())));
    assert!(alder.run(&["agreement", "access", "--as-of", "2026-01-01"]).ended(0).lines().count() <= 1);
    assert!(alder.run(&["agreement", "access", "--as-of", "2999-01-01"]).ended(1).contains("still to come"));
    assert_eq!((&authorized[0]["agreement"], &authorized[0]["live"]), (&Value::from(id.as_str()), &Value::from(true)));
    let shown = alder.run(&["agreement", "show", &id]).ended(0);
    assert!(shown.contains("in force until") && shown.contains(&format!("{BIRCH} 1, ")), "{shown}");
    assert_eq!(shown.matches("signed, by the official's own hand too").count(), 2, "{shown}");

    let answered = ask(&alder, REASON, &["--json"]).json();
    let question = answered["question"].as_str().unwrap();
    assert_eq!(answered["lines"][0]["outcome"], "reads");
    assert!(!answered["lines"][0]["reads"].as_array().unwrap().is_empty());
    let table = ask(&alder, REASON, &["--images", "--max-rows", "1"]).ended(0);
    assert!(table.contains("receipt ") && table.contains("birch CA0990100: 1 read"), "{table}");
    assert!(table.contains(shared_plates(SEED)[0].as_str()), "{table}");
    let vague = ask(&alder, "stuff", &[]).ended(1);
    assert!(vague.contains("reason_substantive") && vague.contains("V-13"), "{vague}");
    let referred = ask(&alder, "burglar took this vehicle from the church service last night", &[]).ended(0);
    assert!(referred.contains("ticket"), "{referred}");
    let waiting = birch.run_as("custodian", &["request", "list", "--json"]).json();
    assert!(referred.contains(waiting[0]["ticket"].as_str().unwrap()));

    let receipts = alder.run_as("auditor", &["trail", "receipts", "--of", question, "--verify", "--json"]).json();
    assert_eq!((&receipts[0]["origin"], &receipts[0]["verified"]), (&Value::from(BIRCH), &Value::from(true)));

    exported_receipts_verify_from_files_alone(&alder, &birch);
    an_agreement_changed_by_other_hands_is_listed_as_damaged(&alder, &id);

    alder.run_as("custodian", &["agreement", "suspend", &id, "--reason", "audit under way"]).ended(0);
    assert!(ask(&alder, REASON, &[]).ended(1).contains("suspended by"));
    let resume = ["agreement", "resume", &id, "--reason", "audit passed"];
    let refused = proposed(&alder, &resume);
    let no = ["change", "refuse", &refused, "--reason", "the audit report is missing"];
    assert!(alder.run_as("custodian", &no).ended(0).contains("refused by"));
    let withdrawn = proposed(&alder, &resume);
    assert!(alder.run_as("agreements", &["change", "withdraw", &withdrawn]).ended(0).contains("withdrawn by"));
    assert!(ask(&alder, REASON, &[]).ended(1).contains("suspended by"));
    alder.run_as("custodian", &["change", "approve", &proposed(&alder, &resume)]).ended(0);
    let finding = ["--kind", "letter_reported", "--citation", "letter", "--on", "2026-01-01"];
    birch.run_as("agreements", &[&["ag", "find", ALDER], &finding[..]].concat()).ended(0);
    assert!(ask(&alder, REASON, &[]).ended(1).contains("a finding of non-compliance stands against"));
    let closed = birch.path("closed.txt");
    fs::write(&closed, "the case was closed").unwrap();
    let clear = ["ag", "clear", ALDER, "--citation", "closed", "--on", "2026-01-02", "--evidence", &closed];
    let clear = [&clear[..], &["--reason", "the court dismissed the suit"]].concat();
    let change = proposed(&birch, &clear);
    let alone = birch.run_as("agreements", &["change", "approve", &change]).ended(1);
    assert!(alone.contains("nobody approves their own change"), "{alone}");
    assert!(ask(&alder, REASON, &[]).ended(1).contains("a finding of non-compliance stands against"));
    birch.run_as("custodian", &["change", "approve", &change]).ended(0);
    let findings = birch.run(&["ag", "list", "--json"]).json();
    let hash = findings["findings"][1]["evidence"][0].as_str().unwrap().to_owned();
    assert_eq!(birch.run(&["ag", "evidence", "show", &hash]).ended(0).trim(), "the case was closed");
    assert!(ask(&alder, REASON, &[]).ended(1).contains("early review"));
    let review = birch.run(&["review", "list", "--json"]).json()[0]["id"].as_str().unwrap().to_owned();
    birch.run(&["review", "show", &review]).ended(0);
    let record =
        ["review", "close", &review, "--looked-at", "the court's docket", "--outcome", "the suit was dismissed"];
    let change = proposed(&birch, &[&record[..], &["--evidence", &closed]].concat());
    assert!(ask(&alder, REASON, &[]).ended(1).contains("early review"));
    birch.run_as("custodian", &["change", "approve", &change]).ended(0);
    ask(&alder, REASON, &[]).ended(0);
    let register = birch.path("birch.register.json");
    birch.run_as("agreements", &["ag", "export", "--out", &register]).ended(0);
    let shown = alder.run_as("agreements", &["ag", "import", &register]).ended(0);
    assert!(shown.contains("Nothing was changed") && shown.contains(&format!("? {ALDER}")), "{shown}");
    let day = both_trails_agree(&alder);
    assert_eq!(serving_birch.stop(), Some(0), "SIGTERM ends it well");
    let away = alder.run_as("auditor", &["trail", "reconcile", BIRCH, "--day", &day]).ended(3);
    assert!(away.contains("cannot reach it"), "{away}");
    assert!(ask(&alder, REASON, &[]).ended(3).contains("unreachable"));
    assert_eq!(serving_alder.stop(), Some(0));
    for node in [&alder, &birch] {
        node.run(&["trail", "verify"]).ended(0);
    }
}

/// A day that is over is reconciled by hand; it is of before they knew each other. That day.
fn both_trails_agree(alder: &Node) -> String {
    let day_of = |days: i64| day_of(now().plus(-days * Instant::DAY)).to_string();
    let (past, today) = (day_of(2), day_of(0));
    let done = alder.run_as("auditor", &["trail", "reconcile", "--all", "--day", &past, "--json"]).json();
    assert_eq!((&done[0]["partner"], &done[0]["found"]["differs"]), (&Value::from(BIRCH), &Value::from(0)), "{done}");
    let refused = alder.run_as("investigator", &["trail", "reconcile", BIRCH, "--day", &past]).ended(1);
    assert!(refused.contains("does not allow"), "{refused}");
    let early = alder.run_as("auditor", &["trail", "reconcile", BIRCH, "--day", &today]).ended(3);
    assert!(early.contains("not over by an hour"), "{early}");
    assert!(alder.run_as("auditor", &["trail", "reconcile"]).ended(2).contains("<PEER>"));
    assert_eq!(alder.run(&["discrepancy", "list", "--json"]).json(), Value::Array(Vec::new()));
    let unknown = "01940a2b-0000-7000-8000-000000000001";
    assert!(alder.run(&["discrepancy", "show", unknown]).ended(1).contains("there is no discrepancy"));
    past
}

/// Both sides export what the other swore; whoever has the files and a key verifies them without either node.
fn exported_receipts_verify_from_files_alone(alder: &Node, birch: &Node) {
    let files = alder.path("receipts");
    assert!(alder.run_as("investigator", &["trail", "receipts", "export", &files]).ended(1).contains("does not allow"));
    let exported = alder.run_as("auditor", &["trail", "receipts", "export", &files, "--json"]).json();
    assert!(exported["receipts"].as_u64().unwrap() > 2 && exported["refused"].as_array().unwrap().is_empty());
    let owners = birch.path("receipts");
    birch.run_as("auditor", &["trail", "receipts", "export", &owners]).ended(0);
    let nowhere = tempfile::tempdir().unwrap();
    let verify = |more: &[&str]| {
        let dir = nowhere.path().to_str().unwrap();
        concordat([&["--dir", dir, "trail", "receipts", "verify", "--json"], more].concat())
    };
    let verified = verify(&[&files, &owners]).json();
    let kind = |kind: &str| verified.as_array().unwrap().iter().filter(|one| one["kind"] == kind).count();
    assert!(kind("query.asked") > 1 && kind("query.answered") > 1, "{verified}");
    let entry = |index: usize| verified[index]["file"].as_str().unwrap().to_owned();
    let key = fs::read_to_string(Path::new(&entry(0)).with_extension("vkey")).unwrap();
    let own = Path::new(&entry(0)).parent().unwrap().to_str().unwrap().to_owned();
    verify(&[&own, "--log-key", key.trim()]).json();
    let others: Value = serde_json::from_str(&verify(&[&files, "--log-key", key.trim()]).ended(1)).unwrap();
    assert!(others.to_string().contains("none of those that count here"), "{others}");
    let policy = birch.path("federation.policy");
    fs::write(&policy, "quorum all\n").unwrap();
    assert!(verify(&[&files, "--policy", &policy]).ended(2).contains("line 1 of the witness policy"));
    fs::write(&policy, format!("log {key}quorum none\n")).unwrap();
    verify(&[&own, "--policy", &policy]).json();
    let message = Path::new(&entry(0)).with_extension("message");
    let bytes = fs::read_to_string(&message).unwrap();
    fs::write(&message, bytes.replacen("\"v\":1", "\"v\":2", 1)).unwrap();
    let changed: Value = serde_json::from_str(&verify(&[&entry(0)]).ended(1)).unwrap();
    assert_eq!(changed[0]["verified"], false);
    assert!(verify(&[nowhere.path().to_str().unwrap()]).ended(2).contains("no receipts"));
}

fn an_agreement_changed_by_other_hands_is_listed_as_damaged(node: &Node, id: &str) {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, SqliteConnection};

    let listed = node.run(&["agreement", "list", "--json"]).json();
    assert!(listed[0].get("damaged").is_none(), "{listed}");
    let mut conn = SqliteConnection::establish(&node.path("registry.db")).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 5000; CREATE TABLE kept AS SELECT * FROM agreement").unwrap();
    let change = "UPDATE agreement SET document = CAST(replace(CAST(document AS TEXT), '\"lookback_days\":', \
                  '\"lookback_days\":1') AS BLOB)";
    conn.batch_execute(change).unwrap();
    let ran = node.run(&["agreement", "list", "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.stdout);
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed[0]["id"], id);
    assert!(listed[0]["damaged"].as_str().is_some_and(|why| !why.is_empty()), "{listed}");
    let table = node.run(&["agreement", "list"]);
    assert!(table.code == 3 && table.stdout.contains("DAMAGED"), "{}", table.stdout);
    conn.batch_execute("UPDATE agreement SET document = (SELECT document FROM kept WHERE kept.id = agreement.id)")
        .unwrap();
    conn.batch_execute("DROP TABLE kept").unwrap();
    assert_eq!(node.run(&["agreement", "list", "--json"]).json()[0]["id"], id);
}
