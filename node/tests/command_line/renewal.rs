//! A year's renewal at the command line: packets, reviews as forms, the draft, approvals, signatures, the calendar.

use std::fs;

use agreements::ids::Digest;
use serde_json::Value;

use super::between_nodes::{draft, enrol, proposed};
use super::program::{County, Node, now};

const ALDER: &str = "CA0990000";
const BIRCH: &str = "CA0990100";

/// The official and both people sign for this agency.
pub(super) fn signs(node: &Node, id: &str) {
    node.approves(id);
    let line = node.signing(id, "renewal of last year");
    let change = proposed(node, &line.iter().map(String::as_str).collect::<Vec<_>>());
    node.run_as("custodian", &["change", "approve", &change]).ended(0);
}

/// The packet's answers, filled in as a person does with an editor; the file.
fn answers(node: &Node) -> String {
    let template = node.run(&["agreement", "packet", "make", "--template"]).ended(0);
    let today = now().date().unwrap();
    let year_ago = today.checked_sub(jiff::Span::new().years(1)).unwrap();
    let filled = template
        .replace("from = \"2025-11-01\"", &format!("from = \"{year_ago}\""))
        .replace("until = \"2026-10-31\"", &format!("until = \"{}\"", today.yesterday().unwrap()))
        .replace("on = \"2026-10-15\"", &format!("on = \"{}\"", today.yesterday().unwrap()))
        .replace(" = false  ", " = true  ")
        .replace("by = \"\"", "by = \"Inspection unit\"")
        .replace("queries = 0", "queries = 40")
        .replace("statement = \"\"", "statement = \"none\"");
    let file = node.path("packet.toml");
    fs::write(&file, &filled).unwrap();
    file
}

const REPORT: &str = "the audit found nothing";

#[test]
fn a_years_renewal_from_the_packet_to_the_calendar() {
    let county = County::new();
    let (alder, birch) = (county.node("alder", ALDER), county.node("birch", BIRCH));
    for node in [&alder, &birch] {
        node.staff();
    }
    enrol(&alder, &birch);
    enrol(&birch, &alder);
    let (serving_alder, serving_birch) = (alder.serve(), birch.serve());
    for node in [&alder, &birch] {
        node.configure(|config| {
            config.peer.hosts.insert("alder.test".to_owned(), serving_alder.peer);
            config.peer.hosts.insert("birch.test".to_owned(), serving_birch.peer);
        });
    }
    let document = draft(&alder, BIRCH);
    alder.run_as("agreements", &["agreement", "propose", &document]).ended(0);
    let id = alder.run(&["agreement", "list", "--json"]).json()[0]["id"].as_str().unwrap().to_owned();
    keeps_the_officials_hand(&alder, &id);
    signs(&alder, &id);
    signs(&birch, &id);

    // The packet: what is missing is named, each with what to write.
    let file = answers(&alder);
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, whole.replace("queries = 40", "queries = 0").replace("\"none\"", "\"\"")).unwrap();
    let missing = alder.run_as("agreements", &["agreement", "packet", "make", &file]).ended(1);
    assert!(missing.contains("audit.queries") && missing.contains("out_of_state.statement"), "{missing}");
    fs::write(&file, whole.replace("queries = 40", "querys = 40")).unwrap();
    let typo = alder.run_as("agreements", &["agreement", "packet", "make", &file]).ended(2);
    assert!(typo.contains("querys") && typo.contains("line"), "{typo}");
    fs::write(&file, &whole).unwrap();
    assert!(alder.run_as("investigator", &["agreement", "packet", "make", &file]).ended(1).contains("does not allow"));
    let made = alder.run_as("agreements", &["agreement", "packet", "make", &file]).ended(0);
    assert!(made.contains("1 of 1 partners that lacked it have it now"), "{made}");
    let again = alder.run_as("agreements", &["agreement", "packet", "make", &file]).ended(0);
    assert!(again.contains("sealed before"), "{again}");
    birch.run_as("agreements", &["agreement", "packet", "make", &answers(&birch)]).ended(0);
    let shown = birch.run(&["agreement", "packet", "show", "--partner", ALDER]).ended(0);
    assert!(shown.contains("1 may query, 1 of them trained"), "{shown}");
    assert_eq!(birch.run(&["agreement", "packet", "list", "--json"]).json().as_array().unwrap().len(), 2);

    // The review, as forms.
    let renew = ["agreement", "renew", &id];
    assert!(alder.run_as("agreements", &renew).ended(1).contains("agreement review start"));
    for (node, partner) in [(&alder, BIRCH), (&birch, ALDER)] {
        let folder = node.path("reviews");
        let next = node.run(&["agreement", "review", "next"]).ended(0);
        assert!(next.contains(partner) && next.contains("never reviewed"), "{next}");
        node.run(&["agreement", "review", "start", &folder]).ended(0);
        let form = format!("{folder}/{partner}.toml");
        let blank = fs::read_to_string(&form).unwrap();
        assert!(blank.contains("#   people.may_query: 1"), "{blank}");
        let open = node.run_as("agreements", &["agreement", "review", "submit", &folder]).ended(0);
        assert!(open.contains("open: policy, attestations"), "{open}");
        fs::write(&form, blank.replace("= \"\"  #", "= \"fine\"  #")).unwrap();
        let wrong = node.run_as("agreements", &["agreement", "review", "submit", &folder]).ended(1);
        assert!(wrong.contains("`fine`: write \"ok\""), "{wrong}");
        fs::write(format!("{folder}/audit-report.pdf"), REPORT).unwrap();
        let with = blank.replace("# audit = \"audit-report.pdf\"", "audit = \"audit-report.pdf\"");
        fs::write(&form, with.replace("= \"\"  #", "= \"ok\"  #")).unwrap();
        node.run(&["agreement", "review", "start", &folder]).ended(0);
        let done = node.run_as("agreements", &["agreement", "review", "submit", &folder]).ended(0);
        assert!(done.contains("all ok; recorded"), "{done}");
        let shown = node.run(&["agreement", "review", "show", partner]).ended(0);
        assert!(shown.contains("out_of_state   ok"), "{shown}");
        has_the_report(node);
    }
    let listed = alder.run(&["agreement", "review", "list"]).ended(0);
    assert!(listed.contains("reviewed") && listed.contains("all ok"), "{listed}");

    // A year ahead nothing is due; by name it is drafted from today on.
    assert_eq!(
        alder.run_as("agreements", &["agreement", "renew", "--all-due", "--spread", "--json"]).json(),
        Value::Array(vec![])
    );
    let today = now().date().unwrap().to_string();
    let renewed =
        alder.run_as("agreements", &[&renew[..], &["--effective-on", &today, "--spread", "--json"]].concat()).json();
    let new = renewed["id"].as_str().unwrap().to_owned();
    let again = alder.run_as("agreements", &[&renew[..], &["--json"]].concat()).json();
    assert_eq!((&again["id"], &again["already"]), (&Value::from(new.as_str()), &Value::from(true)));
    let at_birch = birch.run(&["agreement", "list"]).ended(0);
    assert!(at_birch.contains(&format!("renewal offered, unsigned: {new}")), "{at_birch}");
    assert!(at_birch.contains("it is a renewal") && !at_birch.contains("renewed by"), "{at_birch}");
    signs(&birch, &new);
    signs(&alder, &new);
    let listed = alder.run(&["agreement", "list", "--json"]).json();
    let (old, successor) = (&listed[0], &listed[1]);
    assert_eq!((&old["status"], &successor["status"]), (&"superseded".into(), &"in_force".into()), "{listed}");
    assert!(successor["days_left"].as_i64().unwrap() > 180, "{listed}");
    assert!(old["days_left"].is_null() && old["renewal_signed"] == true, "{listed}");
    let shown = alder.run(&["agreement", "show", &new]).ended(0);
    assert!(shown.contains("Approvals by this agency\n  counsel: "), "{shown}");
    assert!(shown.contains("the official's own signature (entered by "), "{shown}");
    assert!(shown.contains("signed, by the official's own hand too"), "{shown}");

    let calendar = alder.path("agreements.ics");
    for _ in 0..2 {
        alder.run(&["agreement", "calendar", "--out", &calendar]).ended(0);
    }
    let text = fs::read_to_string(&calendar).unwrap();
    assert!(text.contains(&format!("UID:{new}-sunset@alder.test")) && !text.contains(&id), "{text}");
    for node in [&alder, &birch] {
        node.run(&["trail", "verify"]).ended(0);
    }
    held_and_ended(&alder, &birch, &new);
    drop((serving_alder, serving_birch));
}

/// What a reviewer looked at is kept, whatever becomes of the folder.
fn has_the_report(node: &Node) {
    let (report, back) = (Digest::of(REPORT.as_bytes()).to_string(), node.path("back.pdf"));
    node.run(&["ag", "evidence", "show", &report, "--out", &back]).ended(0);
    assert_eq!(fs::read_to_string(&back).unwrap(), REPORT);
}

/// The official's own signature is not lost with a proposal that is refused.
fn keeps_the_officials_hand(node: &Node, id: &str) {
    node.approves(id);
    let refused = node.run_as("agreements", &node.signing(id, "x").iter().map(String::as_str).collect::<Vec<_>>());
    let refused = refused.ended(1);
    assert!(refused.contains("too vague") && refused.contains("stays with this document"), "{refused}");
    let without = proposed(node, &["agreement", "sign", id, "--reason", "the board approved it"]);
    node.run_as("agreements", &["change", "withdraw", &without]).ended(0);
}

/// An early review holds what the reviewer grants, and that is what is said; what is over authorizes nothing.
fn held_and_ended(alder: &Node, birch: &Node, id: &str) {
    let opened = ["review", "open", BIRCH, "--trigger", "breach", "--reason", "a laptop with answers was lost"];
    alder.run_as("agreements", &opened).ended(0);
    for line in [&["agreement", "list"][..], &["agreement", "show", id]] {
        let at_alder = alder.run(line).ended(0);
        let held = format!("what {ALDER} grants {BIRCH} is held by an early review since ");
        assert!(at_alder.contains(&held), "{line:?}: {at_alder}");
        assert!(at_alder.contains(&format!("(breach); what {BIRCH} grants {ALDER} is not")), "{line:?}: {at_alder}");
        let at_birch = birch.run(line).ended(0);
        assert!(!at_birch.contains("early review"), "{line:?}: {at_birch}");
    }
    assert_eq!(alder.run(&["agreement", "show", id, "--json"]).json()["status"], "in_force");

    let live = |node: &Node| {
        let all = node.run(&["authorization", "list", "--json"]).json();
        let one = all.as_array().unwrap().iter().find(|one| one["agreement"] == id).unwrap().clone();
        (one["live"].as_bool().unwrap(), one["over"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(live(alder), (true, String::new()));
    alder.run_as("custodian", &["agreement", "terminate", id, "--reason", "the board ended it"]).ended(0);
    for node in [alder, birch] {
        let (live, over) = live(node);
        assert!(!live && over.starts_with("the agreement is over: "), "{over}");
    }
}
