//! That the two forms say the same, and what they do with names that mean harm.

mod paper;

use agreements::ids::Digest;
use agreements::status::Status;
use agreements::stream::{Event, Said, Seal, Stream, Streams};
use agreements::time::Instant;
use serde_json::json;

use super::summary::readable;
use super::{Block, Found, Readable, Standing, html, pdf};
use paper::Paper;

const ALDER: &str = "CA0010000";
const BIRCH: &str = "CA0020000";

fn now() -> Instant {
    "2027-02-03T04:05:06Z".parse().unwrap()
}

fn party(ori: &str, name: &str) -> serde_json::Value {
    let url = format!("https://{}.test", ori.to_lowercase());
    let elements: serde_json::Map<_, _> = ["A", "B", "C", "D", "E", "F", "G"]
        .map(|letter| (letter.to_owned(), json!(format!("section {letter}"))))
        .into_iter()
        .collect();
    json!({
        "ori": ori, "legal_name": name, "kind": "county", "state": "CA", "county": "Alder", "hub": false,
        "custodian_title": "Records Manager", "official": {"name": "Oakley Official", "title": "Sheriff", "key": "MFkwEwYHKoZIzj0D"},
        "contacts": ["a@alder.test"], "processors": [{"name": "Hosts & Co", "service": "hosting"}],
        "identity_key": "MCowBQYDK2VwAyEA", "approvals": {
            "counsel": "County Counsel, 1 October 2026",
            "public_meeting": {"date": "2026-09-01", "url": format!("{url}/meeting")},
            "signing_authority": "Resolution 26-14",
        },
        "policy": {
            "url": format!("{url}/policy"), "sha256": Digest::of(b"policy"), "checked_on": "2026-10-01", "checked_by": "Records Clerk",
            "elements": elements, "purposes": [{"name": "felonies & theft", "purpose": "criminal_investigation"}],
        },
        "node": {
            "url": format!("{url}:7443"), "tls_spki": Digest::of(b"tls"), "seal_key": "MFkwEwYHKoZIzj0C",
            "log_origin": "a.test/trail", "log_vkey": "a.test/trail+00000000+AQ", "witness_vkey": "a.test/w+00000000+BA",
        },
    })
}

fn found(name: &str) -> Found {
    let query = |owner: &str, recipient: &str, partial: bool| {
        json!({
            "kind": "query", "owner": owner, "recipient": recipient, "purposes": ["criminal_investigation", "lifesaving"],
            "lookback_days": 30, "max_rows": 100, "daily_quota": 200, "partial": partial, "fuzzy": false,
            "images": true, "without_plate": false, "authorization": "standing",
            "area": {"south": 37_000_000, "west": -122_500_000, "north": 38_000_000, "east": -121_000_000},
        })
    };
    let agreement = json!({
        "format": "concordat-agreement/1", "id": "01940a2b-0000-7000-8000-000000000001", "revision": 1,
        "parties": [party(ALDER, "Alder County Sheriff"), party(BIRCH, name)],
        "grants": [
            query(ALDER, BIRCH, true),
            {"kind": "hotlist", "owner": ALDER, "recipient": BIRCH, "list": "stolen", "categories": ["stolen_vehicle"]},
            {"kind": "hits", "owner": ALDER, "recipient": BIRCH, "list": "wanted"},
        ],
        "commitments": {
            "lawful_use": true, "authorized_users_only": true, "trained_users": true, "accuracy": true,
            "hotlist_max_age_hours": 24, "no_onward_transfer": true, "received_retention_days": 365,
        },
        "framework": {"title": "Three counties", "sha256": Digest::of(b"framework")},
        "effective_on": "2027-01-01", "sunset_on": "2028-01-01",
    });
    let agreement: agreements::agreement::Agreement = serde_json::from_value(agreement).unwrap();
    let sha256 = Digest::of(&agreement.to_bytes().unwrap());
    let seal = |n: u8| Seal { protected: "eyJhbGciOiJFUzI1NiJ9".to_owned(), signature: format!("c2VhbA{n}") };
    let at = "2026-12-01T10:00:00Z".parse().unwrap();
    let signed = |n| Said { event: Event::Signed { seal: seal(n), official: Some(seal(n + 2)) }, at };
    let moved = Event::Moved {
        url: "https://new.alder.test".to_owned(),
        contacts: vec!["b@alder.test".to_owned()],
        reason: "another data centre".to_owned(),
        seal: seal(5),
    };
    let streams = [Stream::new(vec![signed(1), Said { event: moved, at }]), Stream::new(vec![signed(2)])];
    Found {
        standing: Standing::Known(Status::InForce { until: agreement.sunset() }),
        agreement,
        sha256,
        streams: Streams::of(streams),
        framework: Some("# Three counties\n\nEach may ask\neach.\n\n\nNobody <else>.\n".to_owned()),
        at: now(),
    }
}

/// The text of an agreement in force with an agency of this name.
pub(super) fn text(name: &str) -> Readable {
    readable(&found(name))
}

/// The texts of a page of HTML, in their order.
fn texts_of_html(page: &str) -> Vec<String> {
    let body = page.split_once("<body>").unwrap().1;
    let mut texts = Vec::new();
    for part in body.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        let name = tag.split(' ').next().unwrap();
        if ["h1", "h2", "h3", "p", "li", "caption", "th", "td"].contains(&name) {
            let text = text.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"").replace("&#39;", "'");
            texts.push(text.replace("&#38;", "&"));
        } else {
            assert!(text.trim().is_empty(), "a text outside of every element: {text}");
        }
    }
    texts
}

#[test]
fn both_forms_say_every_line_and_nothing_else() {
    for name in ["Birch City Police", "Birch & “Beech” <Police>", "Bírch Čity – Полиция Ελλάδα"] {
        let text = text(name);
        let lines: Vec<String> = text.lines().into_iter().map(str::to_owned).collect();
        assert!(lines.len() > 150, "{}", lines.len());
        assert_eq!(texts_of_html(&html::render(&text).unwrap()), lines);
        let paper = Paper::read(&pdf::render(&text).unwrap());
        assert_eq!(paper.lines(), lines);
        // What is drawn is what is said, where the font has all of it.
        assert_eq!(paper.drawn(), lines);
    }
}

#[test]
fn the_plain_words_say_who_may_ask_whom_for_what_until_when_and_what_is_not_allowed() {
    let mut found = found("Birch City Police");
    found.agreement.effective_on = "2026-12-25".parse().unwrap();
    let text = readable(&found);
    let lines = text.lines();
    let says = |what: &str| assert!(lines.iter().any(|line| line.contains(what)), "{what}\n{}", lines.join("\n"));
    says(
        "at the start of 25 December 2026 it can be in force; at 00:00 at the start of 1 January 2028 it ends by itself",
    );
    says(
        "Birch City Police (CA0020000) may ask Alder County Sheriff (CA0010000) for reads of the last 30 days, for \
         investigating crimes (I-02) and saving lives and finding missing persons (I-08).",
    );
    says("Alder County Sheriff (CA0010000) may not ask Birch City Police (CA0020000) for any read.");
    says(
        "may not ask Alder County Sheriff (CA0010000) by plates that readers confuse, without a plate or for reads outside",
    );
    says("between 37.000000° and 38.000000° north, -122.500000° and -121.000000° east");
    says("Not to pass on what was received (V-19).");
    says("standing: the custodian authorizes exactly this in writing");
    says("1 December 2026, 10:00:00 UTC");
    says("{\"alg\":\"ES256\"}");
    says("Own signature of who signed");
    says("is at https://new.alder.test and to be told at b@alder.test: another data centre");
    says("Each may ask each.");
    says(&found.sha256.to_string());
    // Every field of the document stands somewhere, whatever it holds.
    let mut leaves = Vec::new();
    values(&serde_json::to_value(&found.agreement).unwrap(), &mut leaves);
    for leaf in leaves {
        says(&leaf);
    }
}

/// Every text and number of a document as it stands in the readable form; what is worded otherwise is passed over.
fn values(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => {
            let worded = ["county", "query", "hotlist", "hits", "CA", "standing", "hosting"].contains(&text.as_str());
            let dated = text.len() == 10 && text.starts_with("20");
            let key = text.starts_with("MC") || text.starts_with("MF");
            let purpose = agreements::purpose::Purpose::ALL.iter().any(|it| it.as_str() == text);
            if !(worded || dated || key || purpose) {
                into.push(text.clone());
            }
        }
        serde_json::Value::Number(number) if number.as_i64().unwrap().abs() < 1_000_000 => {
            into.push(number.to_string());
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| values(item, into)),
        serde_json::Value::Object(map) => map.values().for_each(|item| values(item, into)),
        _ => {}
    }
}

#[test]
fn what_is_not_in_force_says_so_in_its_head_and_why() {
    let mut found = found("Birch City Police");
    assert!(readable(&found).notice().text.starts_with("IN FORCE at 3 February 2027, 04:05:06 UTC"));
    let cases = [
        (Standing::Known(Status::Unsigned { missing: vec![BIRCH.parse().unwrap()] }), "not signed by CA0020000"),
        (Standing::Known(Status::Suspended { by: vec![ALDER.parse().unwrap()] }), "suspended by CA0010000"),
        (Standing::Changed("event 2 of CA0010000 is not the one that was sworn".to_owned()), "NOT TO BE RELIED ON"),
        (Standing::Changed("event 2 of CA0010000 is not the one that was sworn".to_owned()), "event 2 of CA0010000"),
        (Standing::Draft, "a draft that nobody had offered or signed"),
    ];
    for (standing, says) in cases {
        found.standing = standing;
        found.streams = Streams::default();
        let text = readable(&found);
        assert!(!text.notice().in_force);
        assert!(text.notice().text.starts_with("NOT IN FORCE"), "{}", text.notice().text);
        assert!(text.notice().text.contains(says), "{}", text.notice().text);
        assert!(!text.lines().iter().any(|line| line.contains("c2VhbA")), "a seal that does not count");
        // On every page that is printed.
        let paper = Paper::read(&pdf::render(&text).unwrap());
        assert!(paper.feet().iter().all(|foot| foot.contains("NOT IN FORCE")), "{:?}", paper.feet());
        assert!(html::render(&text).unwrap().contains("class=\"notice not-in-force\""));
    }
}

#[test]
fn the_pdf_is_for_everybody() {
    let text = text("Birch City Police");
    let bytes = pdf::render(&text).unwrap();
    assert_eq!(bytes, pdf::render(&text).unwrap(), "the same text gives the same bytes");
    let paper = Paper::read(&bytes);
    assert_eq!(paper.language(), "en-US");
    assert!(paper.is_marked() && paper.shows_its_title() && paper.claims_universal_accessibility());
    assert_eq!(paper.title(), text.title());
    assert!(paper.pages() >= 4);
    assert_eq!(paper.feet().len(), paper.pages());
    assert_eq!(paper.fonts_without_a_file(), 0);
    let count = |role: &str| paper.roles().iter().filter(|found| *found == role).count();
    assert_eq!(count("H1"), 1);
    assert_eq!(count("H2"), 10);
    assert_eq!((count("Caption"), count("THead")), (count("Table"), count("Table")));
    let tables: Vec<_> =
        text.blocks().iter().filter_map(|it| if let Block::Table(it) = it { Some(it) } else { None }).collect();
    let rows: usize = tables.iter().map(|table| table.rows.len()).sum();
    let columns: usize = tables.iter().map(|table| table.columns.len()).sum();
    let cells: usize = tables.iter().flat_map(|table| &table.rows).map(Vec::len).sum();
    assert_eq!((count("Table"), count("TH"), count("TD")), (tables.len(), columns + rows, cells - rows));
    assert_eq!(paper.headers_without_scope(), 0);
    assert!(count("LI") > 10 && count("Lbl") == count("LI"));
    // The HTML has the same: a language, a title, headers with scope, and nothing from elsewhere.
    let page = html::render(&text).unwrap();
    for part in
        ["<html lang=\"en\">", "<title>Agreement between", "<th scope=\"col\">", "<th scope=\"row\">", "<caption>"]
    {
        assert!(page.contains(part), "{part}");
    }
    for part in ["<script", "<link", "<img", "<iframe", " src=", " href=", "@import", "url(", "http-equiv=\"refresh\""]
    {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn a_name_that_is_markup_stays_a_name() {
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</title><style>*{display:none}</style>",
        "{{ 7 * 7 }} {% include \"x\" %}",
        "<!-- ",
        "&lt;b&gt;",
    ] {
        let text = text(name);
        assert!(text.title().contains(name));
        let page = html::render(&text).unwrap();
        assert_eq!(
            page.matches('<').count(),
            html::render(&self::text("Birch")).unwrap().matches('<').count(),
            "{name}"
        );
        assert_eq!(texts_of_html(&page), text.lines(), "{name}");
        assert_eq!(Paper::read(&pdf::render(&text).unwrap()).lines(), text.lines(), "{name}");
    }
}

#[test]
fn a_name_that_hides_or_turns_round_is_shown_as_what_it_is() {
    for (name, shown) in [
        ("Birch \u{202e}eciloP ytiC", "Birch [U+202E]eciloP ytiC"),
        ("Bi\u{200b}rch", "Bi[U+200B]rch"),
        ("Birch\u{a0}City\u{2028}Police\t", "Birch[U+00A0]City[U+2028]Police[U+0009]"),
        ("Birch\u{ad}", "Birch[U+00AD]"),
        ("\u{e000}Birch\u{1f}", "[U+E000]Birch[U+001F]"),
        ("Bi\u{301}rch", "Bírch"),
    ] {
        let text = text(name);
        assert!(text.title().contains(shown), "{}", text.title());
        assert_eq!(texts_of_html(&html::render(&text).unwrap()), text.lines());
        assert_eq!(Paper::read(&pdf::render(&text).unwrap()).lines(), text.lines());
    }
}

#[test]
fn a_character_that_the_fonts_lack_is_drawn_as_its_number_and_copied_as_itself() {
    for (name, drawn) in [
        ("Birch 警察", "Birch [U+8B66][U+5BDF]"),
        ("Birch שלום", "Birch [U+05E9][U+05DC][U+05D5][U+05DD]"),
        ("Birch 🚓", "Birch [U+1F693]"),
        ("Birch x\u{336}", "Birch x[U+0336]"),
    ] {
        let text = text(name);
        assert!(text.title().contains(name));
        assert!(html::render(&text).unwrap().contains(name));
        let paper = Paper::read(&pdf::render(&text).unwrap());
        assert_eq!(paper.lines(), text.lines());
        assert!(paper.drawn()[0].contains(drawn), "{}", paper.drawn()[0]);
    }
}

#[test]
fn a_name_as_long_as_a_name_may_be_takes_as_many_lines_as_it_needs() {
    for name in ["Birch ".repeat(300), "B".repeat(2000), "警".repeat(700)] {
        let text = text(&name);
        let paper = Paper::read(&pdf::render(&text).unwrap());
        assert_eq!(paper.lines(), text.lines());
        assert!(paper.pages() > 10);
        assert_eq!(texts_of_html(&html::render(&text).unwrap()), text.lines());
    }
}
