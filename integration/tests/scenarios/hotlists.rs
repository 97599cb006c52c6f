//! Hotlists: loaded whole or not at all, shared under an agreement, dead within a day, and hits that a person confirms.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agreements::entry::Kind;
use agreements::hotlist::{Have, Pull};
use agreements::ids::Digest;
use agreements::message::{PROTOCOL, To};
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::demo::agency::CEDAR;
use concordat::exchange::lifecycle::Delivery;
use concordat::hotlists::asserting;
use concordat::hotlists::handing::Pages;
use concordat::hotlists::people::Looked;
use concordat::hotlists::pulling::{PullError, Pulled};
use concordat::hotlists::refresh;
use concordat::registry::hits::HitStatus;
use concordat::trail::search::Filter;
use integration::hotlists::{CONTACT, eventually};
use integration::pair::{Pair, Terms, agree};
use integration::proxy::FaultProxy;
use integration::{TestNode, pair};

const LIST: &str = "wanted";
const READ: &str = "7HOT337";
const NEVER_READ: &str = "8NVR402";
const SVS: &str = include_str!("../../../node/tests/fixtures/hotlists/svs.tbl");
const NCIC: &str = include_str!("../../../node/tests/fixtures/hotlists/VEHEXTRT.txt");

fn terms() -> Terms {
    Terms { lists: vec![(LIST, vec!["stolen_vehicle", "felony_vehicle"])], ..Terms::default() }
}

/// Alder holds Birch's list, in which these plates are.
async fn holding(plates: &[&str]) -> Pair {
    let pair = Pair::under(terms()).await;
    pair.birch.lists(LIST, plates).await;
    pair.alder.accepts(&pair.birch, LIST).await;
    match pair.alder.pulls().await.unwrap() {
        Pulled::Held { entries, .. } => assert_eq!(entries, plates.len() as u64),
        other @ Pulled::Denied { .. } => panic!("{other:?}"),
    }
    pair
}

fn count(node: &TestNode, kind: Kind) -> usize {
    node.entries(&Filter { kind: Some(kind), ..Filter::default() }).len()
}

#[actix_web::test]
async fn s26_an_owner_silent_for_a_day_its_entries_match_nothing_and_are_gone_from_the_files() {
    let mut pair = holding(&[READ, NEVER_READ]).await;
    let asserted = pair.birch.clock_now();
    assert_eq!(pair.alder.held(&pair.birch, LIST).unwrap().ends_at, asserted.plus(Instant::DAY));
    assert!(!pair.alder.files_with(NEVER_READ).is_empty(), "it is there before");
    assert!(!pair.alder.files_with(CONTACT).is_empty());
    pair.birch.stop();

    let last = asserted.plus(Instant::DAY - 1);
    pair.alder.clock.set(last);
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1, "23:59:59.999999");

    pair.alder.clock.set(asserted.plus(Instant::DAY));
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1, "24:00:00.000000");

    pair.alder.clock.set(asserted.plus(Instant::DAY + Instant::SECOND));
    eventually("erased", || pair.alder.held(&pair.birch, LIST).is_none()).await;
    eventually("gone from every file", || pair.alder.files_with(NEVER_READ).is_empty()).await;
    assert_eq!(pair.alder.files_with(CONTACT), [] as [std::path::PathBuf; 0]);
    eventually("recorded", || count(&pair.alder, Kind::HotlistErased) == 1).await;
    pair.alder.sees(READ).await;
    pair.alder.sees(NEVER_READ).await;
    assert_eq!((pair.alder.hits(READ).len(), pair.alder.hits(NEVER_READ).len()), (1, 0));
    assert!(pair.alder.trail_problems().is_empty());
}

#[actix_web::test]
async fn s26_a_node_that_was_down_meanwhile_matches_nothing_and_erases_when_it_starts() {
    let mut pair = holding(&[READ, NEVER_READ]).await;
    let asserted = pair.birch.clock_now();
    pair.alder.stop();
    pair.birch.stop();
    assert!(!pair.alder.files_with(NEVER_READ).is_empty(), "a node that is down cannot erase");
    pair.alder.clock.set(asserted.plus(Instant::DAY));
    pair.alder.try_start().unwrap();
    pair.alder.sees(READ).await;
    assert!(pair.alder.hits(READ).is_empty());
    eventually("gone from every file", || pair.alder.files_with(NEVER_READ).is_empty()).await;
}

#[actix_web::test]
async fn s26_a_clock_set_back_brings_nothing_back() {
    let mut pair = holding(&[READ]).await;
    let asserted = pair.birch.clock_now();
    pair.birch.stop();
    pair.alder.clock.set(asserted.plus(Instant::DAY + Instant::HOUR));
    eventually("erased", || pair.alder.held(&pair.birch, LIST).is_none()).await;
    eventually("recorded", || count(&pair.alder, Kind::HotlistErased) == 1).await;
    pair.alder.clock.set(asserted.plus(Instant::HOUR));
    pair.alder.sees(READ).await;
    assert!(pair.alder.hits(READ).is_empty());
}

#[actix_web::test]
async fn s26_renewed_in_time_it_lives_on_and_an_assertion_without_change_carries_nothing() {
    let pair = holding(&[READ, NEVER_READ]).await;
    let asserted = pair.birch.clock_now();
    pair.set_clocks(asserted.plus(5 * Instant::HOUR));
    eventually("renewed by itself", || {
        pair.alder.held(&pair.birch, LIST).unwrap().ends_at == asserted.plus(29 * Instant::HOUR)
    })
    .await;
    let (_, assertion) = pair.birch.newest();
    let outcome = &assertion["outcome"];
    assert_eq!((&outcome["added"], &outcome["removed"], &outcome["entries"]), (&0.into(), &0.into(), &2.into()));
    pair.set_clocks(asserted.plus(25 * Instant::HOUR));
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1);
}

#[actix_web::test]
async fn s27_an_entry_that_its_owner_removed_stops_matching_at_every_partner_within_a_minute() {
    let pair = Pair::under(terms()).await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.birch).await;
    pair.birch.enrols(&cedar).await;
    agree(&pair.birch, &cedar, &terms()).await.unwrap();
    let partners = [&pair.alder, &cedar];
    pair.birch.lists(LIST, &[READ, NEVER_READ]).await;
    for partner in partners {
        partner.accepts(&pair.birch, LIST).await;
        partner.pulls().await.unwrap();
        partner.sees(NEVER_READ).await;
        assert_eq!(partner.hits(NEVER_READ).len(), 1);
    }
    // Nothing moved: they look, and nobody writes anything.
    let sizes = || [&pair.alder, &cedar, &pair.birch].map(TestNode::trail_size);
    let before = sizes();
    for _ in 0..3 {
        for node in [&pair.alder, &cedar, &pair.birch] {
            node.clock.forward(31 * Instant::SECOND);
        }
        for partner in partners {
            refresh::refresh_due(partner.node()).await.unwrap();
        }
    }
    assert_eq!(sizes(), before, "a look is no entry");

    let loaded = pair.birch.lists(LIST, &[READ]).await;
    assert_eq!((loaded.added, loaded.removed, loaded.unchanged), (0, 1, 1));
    for node in [&pair.alder, &cedar, &pair.birch] {
        node.clock.forward(59 * Instant::SECOND);
    }
    for partner in partners {
        eventually("the new version", || partner.held(&pair.birch, LIST).unwrap().version == 2).await;
        partner.ingests(NEVER_READ, partner.clock.now().plus(-Instant::SECOND)).await;
        partner.sees(READ).await;
        assert_eq!((partner.hits(NEVER_READ).len(), partner.hits(READ).len()), (1, 1), "{}", partner.fiction.word);
    }
    let (_, assertion) = pair.birch.newest();
    let outcome = &assertion["outcome"];
    assert_eq!((&outcome["since"], &outcome["added"], &outcome["removed"]), (&1.into(), &0.into(), &1.into()));
}

#[actix_web::test]
async fn s27_what_was_removed_is_gone_from_the_files_too() {
    let pair = holding(&[READ, NEVER_READ]).await;
    assert!(!pair.alder.files_with(NEVER_READ).is_empty());
    pair.birch.lists(LIST, &[READ]).await;
    pair.alder.pulls().await.unwrap();
    eventually("gone from every file", || pair.alder.files_with(NEVER_READ).is_empty()).await;
    assert!(!pair.alder.files_with(CONTACT).is_empty(), "the other entry is still there");
}

#[actix_web::test]
async fn s28_records_of_type_n_are_counted_and_dropped() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    let plate = |line: &str| line[27..37].trim().to_owned();
    let loaded: Vec<String> = NCIC.lines().skip(1).filter(|line| !line.starts_with('N')).map(plate).collect();
    let of_n: Vec<String> = NCIC
        .lines()
        .skip(1)
        .filter(|line| line.starts_with('N'))
        .map(plate)
        .filter(|it| !loaded.contains(it))
        .collect();
    assert!(of_n.len() > 3);
    let source = alder.source("VEHEXTRT.txt", NCIC);
    let done = alder.loads(&source, "ncic", |_| {}).await.unwrap();
    assert_eq!((done.records, done.dropped, done.rejected, done.entries), (60, 8, 0, 52));
    let (_, message) = alder.newest();
    assert_eq!((&message["dropped"], &message["entries"]), (&8.into(), &52.into()));
    assert_eq!(alder.known_lists().own[0].dropped, 8);
    for plate in &of_n {
        assert_eq!(alder.files_with(plate), [] as [std::path::PathBuf; 0], "a plate of type N is kept");
        alder.sees(plate).await;
        assert!(alder.hits(plate).is_empty());
        alder.clock.forward(Instant::SECOND);
    }
    alder.sees(&loaded[0]).await;
    assert_eq!(alder.hits(&loaded[0]).len(), 1);
}

#[actix_web::test]
async fn s28_a_source_that_is_not_whole_changes_nothing_of_what_was_there() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    let source = alder.source("svs.tbl", SVS);
    alder.loads(&source, "stolen", |_| {}).await.unwrap();
    let (before, size) = (alder.known_lists().own, alder.trail_size());
    let dated = |date: &str| SVS.replace("11/22/2026", date);
    for (text, says) in [
        (SVS.replace("00000040", "00000041"), "says TOTAL RECORD 41, but has 40"),
        (SVS.replace("TOTAL RECORDS 00000040\n", ""), "cut off"),
        (
            SVS.lines().take(30).fold(String::new(), |text, line| text + line + "\n") + "TOTAL RECORDS 00000029\n",
            "--accept-shrink",
        ),
        (dated("11/21/2026"), "it is an older file"),
        (dated("11/24/2026"), "in the future"),
        (SVS.replace("SVS 11", "SFR 11"), "layout svs"),
    ] {
        let refused = alder.loads(&alder.source("bad.tbl", text), "stolen", |_| {}).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    let old = alder.source("old.tbl", dated("11/01/2026"));
    let refused = alder.loads(&old, "other", |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("over 72 hours ago") && refused.contains("--accept-date"), "{refused}");
    assert_eq!((alder.known_lists().own, alder.trail_size()), (before, size), "nothing changed");
    let plate = &SVS.lines().nth(1).unwrap()[..7];
    alder.sees(plate).await;
    assert_eq!(alder.hits(plate).len(), 1, "what was there still matches");
    alder.loads(&old, "stolen", |load| load.accept_date = true).await.unwrap();
    let (_, message) = alder.newest();
    assert_eq!(message["accepted_date"], true, "and that is on the record");
}

#[actix_web::test]
async fn s28_a_dry_run_shows_what_changes_and_writes_nothing() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.loads(&alder.source("svs.tbl", SVS), "stolen", |_| {}).await.unwrap();
    let changed = SVS.replace(&SVS.lines().nth(1).unwrap()[..7], "9ZZZ998");
    let source = alder.source("svs.tbl", changed);
    let (before, size) = (alder.known_lists().own, alder.trail_size());
    let shown = alder.loads(&source, "stolen", |load| load.dry_run = true).await.unwrap();
    assert_eq!((shown.added, shown.removed, shown.unchanged, shown.before, shown.version), (1, 1, 39, 1, 1));
    let changes: Vec<_> = shown.first.iter().map(|change| (change.change, change.plate.as_str().to_owned())).collect();
    assert_eq!(changes, [("removed", "1VSN050".to_owned()), ("added", "9ZZZ998".to_owned())]);
    assert_eq!((alder.known_lists().own, alder.trail_size()), (before, size));
    let done = alder.loads(&source, "stolen", |_| {}).await.unwrap();
    assert_eq!((done.added, done.removed, done.version), (1, 1, 2));
    alder.sees("9ZZZ998").await;
    alder.sees("1VSN050").await;
    assert_eq!((alder.hits("9ZZZ998").len(), alder.hits("1VSN050").len()), (1, 0));
}

#[actix_web::test]
async fn s28_a_file_without_entries_begins_no_list_and_empties_one_only_when_told_to() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    let header = "plate,state,category,reason,case_number,entered_by,contact,expires_at\n";
    let size = alder.trail_size();
    let refused = alder.loads(&alder.source("empty.csv", header), "own", |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("no entries") && refused.contains("own"), "{refused}");
    assert_eq!(
        (alder.known_lists().own.len(), alder.trail_size()),
        (0, size),
        "nothing is said of a list that is none"
    );
    alder.lists("own", &[READ]).await;
    let refused = alder.loads(&alder.source("empty.csv", header), "own", |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("--accept-shrink"), "{refused}");
    alder.sees(READ).await;
    assert_eq!(alder.hits(READ).len(), 1);
    let emptied =
        alder.loads(&alder.source("empty.csv", header), "own", |load| load.accept_shrink = true).await.unwrap();
    assert_eq!((emptied.removed, emptied.entries), (1, 0));
}

#[actix_web::test]
async fn a_custom_list_needs_a_supervisor_who_is_another_person() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.lists("own", &[READ]).await;
    let source = alder.source("again.csv", std::fs::read(alder.source("x", "").with_file_name("own.csv")).unwrap());
    for (by, approved_by, says) in [
        ("admin", None, "--approved-by"),
        ("admin", Some("admin"), "nobody approves"),
        ("supervisor", Some("supervisor"), "nobody approves"),
        ("admin", Some("investigator"), "does not allow"),
        ("auditor", Some("supervisor"), "does not allow"),
    ] {
        let refused = alder
            .loads(&source, "own", |load| {
                load.by = alder.fiction.person(by);
                load.approved_by = approved_by.map(|person| alder.fiction.person(person));
            })
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[actix_web::test]
async fn s29_a_hit_is_not_actionable_until_a_person_confirmed_image_and_status() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.lists("own", &[READ]).await;
    alder.sees(READ).await;
    assert!(alder.shows_hits(READ, "admin").await.unwrap_err().to_string().contains("does not allow"));
    assert_ne!(alder.newest().0.kind, Kind::HitListed);
    let seen = alder.shows_hits(READ, "investigator").await.unwrap().remove(0);
    let (row, message) = alder.newest();
    assert_eq!((row.kind, &message["found"]), (Kind::HitListed, &1.into()), "the look is recorded");
    assert_eq!(row.facts.username.as_deref(), Some("alder.investigator"));
    assert_eq!(seen.hit.status, HitStatus::Unconfirmed);
    assert!(!seen.hit.status.actionable() && seen.hit.image.is_some());
    assert_eq!(seen.entry.unwrap().contact.as_deref(), Some(CONTACT));
    for looked in [(false, false), (true, false), (false, true)] {
        let looked = Looked { image: looked.0, status: looked.1 };
        let refused = alder.verifies(seen.hit.id, HitStatus::Confirmed, looked).await.unwrap_err().to_string();
        assert!(refused.contains("--image") && refused.contains("--status"), "{refused}");
    }
    assert!(!alder.hits(READ)[0].hit.status.actionable());
    alder.verifies(seen.hit.id, HitStatus::Confirmed, Looked { image: true, status: true }).await.unwrap();
    let confirmed = alder.hits(READ).remove(0).hit;
    assert!(confirmed.status.actionable());
    assert_eq!(confirmed.verified_by.as_deref(), Some("alder.investigator"));
    let (row, message) = alder.newest();
    assert_eq!((row.kind, &message["verdict"]), (Kind::HitVerified, &"confirmed".into()));
    alder.verifies(seen.hit.id, HitStatus::Misread, Looked { image: true, status: false }).await.unwrap();
    assert!(!alder.hits(READ)[0].hit.status.actionable(), "new information takes it back (IV-07)");
}

#[actix_web::test]
async fn s30_a_list_that_was_not_accepted_is_never_stored_nor_matched() {
    let pair = Pair::under(terms()).await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    birch.lists(LIST, &[READ, NEVER_READ]).await;
    pair.set_clocks(birch.clock_now().plus(Instant::MINUTE));
    assert!(refresh::refresh_due(alder.node()).await.unwrap().is_empty());
    assert!(refresh::refresh(alder.node(), None).await.unwrap().is_empty());
    alder.sees(READ).await;
    assert!(alder.hits(READ).is_empty() && alder.known_lists().held.is_empty());
    assert!(alder.files_with(NEVER_READ).is_empty());
    assert_eq!((count(alder, Kind::HotlistPulled), count(birch, Kind::HotlistAsserted)), (0, 0));

    alder.accepts(birch, LIST).await;
    alder.pulls().await.unwrap();
    alder.clock.forward(Instant::SECOND);
    alder.sees(READ).await;
    assert_eq!(alder.hits(READ).len(), 1);
    assert!(!alder.files_with(NEVER_READ).is_empty());

    alder.withdraws(birch, LIST).await.unwrap();
    eventually("gone from every file", || alder.files_with(NEVER_READ).is_empty()).await;
    alder.clock.forward(Instant::SECOND);
    alder.sees(READ).await;
    assert_eq!(alder.hits(READ).len(), 1, "no new one");
    assert!(refresh::refresh(alder.node(), None).await.unwrap().is_empty());
}

#[actix_web::test]
async fn a_suspended_agreement_lets_nothing_flow_and_the_lease_runs_out() {
    let mut pair = holding(&[READ, NEVER_READ]).await;
    let asserted = pair.birch.clock_now();
    // Alder does not hear of it: only Birch knows.
    pair.alder.stop();
    assert!(matches!(pair.birch.suspends(pair.id).await, Delivery::Pending { .. }));
    pair.alder.try_start().unwrap();
    match pair.alder.pulls().await.unwrap() {
        Pulled::Denied { why } => assert!(why.contains("suspended"), "{why}"),
        other @ Pulled::Held { .. } => panic!("{other:?}"),
    }
    let (row, message) = pair.birch.newest();
    assert_eq!((row.kind, &message["outcome"]["decision"]), (Kind::HotlistAsserted, &"denied".into()));
    assert_eq!(count(&pair.alder, Kind::HotlistReceived), 2);
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1, "what is held is used until its lease ends");
    pair.alder.clock.set(asserted.plus(Instant::DAY + Instant::SECOND));
    eventually("gone from every file", || pair.alder.files_with(NEVER_READ).is_empty()).await;
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1);
}

#[actix_web::test]
async fn at_its_sunset_nothing_of_a_shared_list_is_used() {
    let pair = holding(&[READ]).await;
    let sunset = Instant::start_of(pair::days_from_start(30)).unwrap();
    pair.set_clocks(sunset.plus(-Instant::HOUR));
    pair.alder.pulls().await.unwrap();
    assert_eq!(pair.alder.held(&pair.birch, LIST).unwrap().ends_at, sunset, "not a day later");
    pair.set_clocks(sunset.plus(-1));
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1);
    pair.set_clocks(sunset);
    pair.alder.ingests(READ, sunset.plus(-Instant::MINUTE)).await;
    assert_eq!(pair.alder.hits(READ).len(), 1);
    assert!(matches!(pair.alder.pulls().await, Err(PullError::NotNow(why)) if why.contains("sunset")));
}

/// A source of so many stolen vehicles, the first of them as given.
fn svs(first: &str, count: usize) -> String {
    let mut records = format!("{first:<8}CA3720260123\n");
    records.extend((1..count).map(|n| format!("{:<8}CA3720260123\n", format!("9A{n:06}"))));
    format!("SVS 11/23/2026 04:00\n{records}TOTAL RECORDS {count:08}\n")
}

#[actix_web::test]
async fn a_list_of_many_pages_arrives_whole_and_then_only_what_changed() {
    // As many as somebody who measures wants.
    let wanted = std::env::var("CONCORDAT_TEST_ENTRIES").ok().and_then(|count| count.parse().ok());
    let count: usize = wanted.unwrap_or(5003);
    let pair = Pair::under(terms()).await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    birch.loads(&birch.source("svs.tbl", svs(READ, count)), LIST, |_| {}).await.unwrap();
    alder.accepts(birch, LIST).await;
    match alder.pulls().await.unwrap() {
        Pulled::Held { entries, added, removed, .. } => {
            assert_eq!((entries, added, removed), (count as u64, count as u64, 0));
        }
        other @ Pulled::Denied { .. } => panic!("{other:?}"),
    }
    alder.sees("9A001234").await;
    assert_eq!(alder.hits("9A001234").len(), 1);

    let fewer = svs("9NEW001", count - 1100);
    birch.loads(&birch.source("svs.tbl", fewer), LIST, |load| load.accept_shrink = true).await.unwrap();
    match alder.pulls().await.unwrap() {
        Pulled::Held { entries, added, removed, .. } => {
            assert_eq!((entries, added, removed), (count as u64 - 1100, 1, 1101));
        }
        other @ Pulled::Denied { .. } => panic!("{other:?}"),
    }
    alder.sees(READ).await;
    alder.sees("9NEW001").await;
    assert_eq!((alder.hits(READ).len(), alder.hits("9NEW001").len()), (0, 1));
}

/// What Birch hands out to Alder, of which the first page was taken.
async fn first_page_of(pair: &Pair) -> Pages {
    let birch = pair.birch.node();
    pair.birch.loads(&pair.birch.source("svs.tbl", svs(READ, 5003)), LIST, |_| {}).await.unwrap();
    let to = vec![To { ori: pair.birch.ori(), agreement: pair.id }];
    let pull = Pull { v: PROTOCOL, to, list: LIST.to_owned(), have: None };
    let (_, text) = pair.alder.forger().swears(Kind::HotlistPulled, None, &pull).await;
    let (desk, partners) = (Rc::new(birch.desk()), birch.partners());
    let partner = partners.find(pair.alder.ori()).unwrap();
    let answered = asserting::answer(birch, &desk, partner, "127.0.0.1:1", LIST, text.as_bytes()).await.unwrap();
    let caller = Arc::new(pair.alder.node().dialer().own().current().identity().clone());
    let mut pages = answered.follows.unwrap().pages(birch, desk, caller);
    pages.next().await.unwrap().unwrap();
    // The next one is read already.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    pages
}

#[actix_web::test]
async fn who_reads_slowly_gets_no_page_after_the_end_of_what_was_permitted() {
    for (what, says) in
        [("nothing", ""), ("sunset", "not in force"), ("suspended", "not in force"), ("revoked", "certificate")]
    {
        let pair = Pair::under(terms()).await;
        let mut pages = first_page_of(&pair).await;
        match what {
            "sunset" => pair.birch.clock.set(Instant::start_of(pair::days_from_start(30)).unwrap()),
            "suspended" => drop(pair.birch.suspends(pair.id).await),
            "revoked" => {
                pair.federation.pki.revoke(pair.alder.ori(), pair.birch.clock_now());
                let (trust, now) = (pair.birch.node().trust(), pair.birch.clock_now());
                let own = pair.alder.node().dialer().own().current();
                eventually("the new list is read", || trust.objection(own.identity(), now).is_some()).await;
            }
            _ => {}
        }
        let next = pages.next().await.unwrap();
        if what == "nothing" {
            next.unwrap();
            let mut rest = 0;
            while let Some(page) = pages.next().await {
                page.unwrap();
                rest += 1;
            }
            assert_eq!(rest, 4, "5003 entries are six pages");
        } else {
            let refused = next.unwrap_err().to_string();
            assert!(refused.contains(says), "{what}: {refused}");
            assert!(pages.next().await.is_none(), "{what}");
        }
    }
}

#[actix_web::test]
async fn bulk_that_was_changed_on_the_way_is_not_taken() {
    for (what, from, to, says) in [
        ("an entry's plate", READ, "7HOT338", "not what was asserted"),
        ("a digit of a case", "118901", "118902", "not what was asserted"),
        ("an entry left out", "{\"add\"", "", "none"),
        ("the message", "\"version\":1", "\"version\":2", "does not commit"),
    ] {
        let mut pair = Pair::under(terms()).await;
        pair.birch.lists(LIST, &[READ, NEVER_READ]).await;
        pair.alder.accepts(&pair.birch, LIST).await;
        let change = move |body: String| {
            assert!(body.contains(from), "{body}");
            body.replacen(from, to, 1)
        };
        let proxy = FaultProxy::before(&pair.birch, &pair.alder, &pair.alder.clock, change).await;
        let (host, address) = (pair.birch.fiction.host(), proxy.address);
        pair.alder.restart_with(|config| {
            config.peer.hosts.insert(host, address);
        });
        let refused = pair.alder.pulls().await.unwrap_err().to_string();
        assert!(refused.contains(says), "{what}: {refused}");
        assert!(pair.alder.held(&pair.birch, LIST).is_none(), "{what}");
        let (row, received) = pair.alder.newest();
        assert_eq!((row.kind, &received["outcome"]), (Kind::HotlistReceived, &"invalid".into()), "{what}");
        eventually("nothing is left of it", || pair.alder.files_with(NEVER_READ).is_empty()).await;
    }
}

#[actix_web::test]
async fn a_truncated_bulk_leaves_the_version_that_is_held() {
    let mut pair = holding(&[READ]).await;
    pair.birch.lists(LIST, &[READ, NEVER_READ]).await;
    let change = |body: String| body[..body.rfind("{\"add\"").unwrap()].to_owned();
    let proxy = FaultProxy::before(&pair.birch, &pair.alder, &pair.alder.clock, change).await;
    let (host, address) = (pair.birch.fiction.host(), proxy.address);
    pair.alder.restart_with(|config| {
        config.peer.hosts.insert(host, address);
    });
    assert!(pair.alder.pulls().await.unwrap_err().to_string().contains("not what was asserted"));
    assert_eq!(pair.alder.held(&pair.birch, LIST).unwrap().version, 1);
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1);
}

#[actix_web::test]
async fn a_pull_whose_answer_is_lost_is_not_sent_a_second_time() {
    let mut pair = Pair::under(terms()).await;
    pair.birch.lists(LIST, &[READ]).await;
    pair.alder.accepts(&pair.birch, LIST).await;
    let pulls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pulls);
    let change = move |path: &str, body: String| {
        let first = path.ends_with("/pull") && counted.fetch_add(1, Ordering::SeqCst) == 0;
        assert!(!first, "the connection is lost");
        body
    };
    let proxy = FaultProxy::standing(&pair.birch, &pair.alder, &pair.alder.clock, change).await;
    let (host, address) = (pair.birch.fiction.host(), proxy.address);
    pair.alder.restart_with(|config| {
        config.peer.hosts.insert(host, address);
    });
    // A client for this partner is kept from now on.
    let node = pair.alder.node();
    refresh::look(node, node.partners().find(pair.birch.ori()).unwrap()).await.unwrap();
    assert!(matches!(pair.alder.pulls().await, Err(PullError::Dial(_))));
    assert_eq!(pulls.load(Ordering::SeqCst), 1);
    assert!(matches!(pair.alder.pulls().await, Ok(Pulled::Held { entries: 1, .. })), "the next pull is a new one");
}

#[actix_web::test]
async fn an_older_assertion_sent_again_is_refused() {
    let mut pair = holding(&[READ, NEVER_READ]).await;
    let pull = |have| Pull {
        v: PROTOCOL,
        to: vec![To { ori: pair.birch.ori(), agreement: pair.id }],
        list: LIST.to_owned(),
        have,
    };
    let (_, text) = pair.alder.forger().swears(Kind::HotlistPulled, None, &pull(None::<Have>)).await;
    let older = pair.alder.calls(&pair.birch).post("/peer/v1/hotlists/wanted/pull", &text).await;
    assert_eq!(older.status, 200);
    let older = older.text().to_owned();
    assert!(older.contains(NEVER_READ) && older.lines().count() == 3, "{older}");
    // The same pull again is no second answer.
    let again = pair.alder.calls(&pair.birch).post("/peer/v1/hotlists/wanted/pull", &text).await;
    again.problem(422, "unacceptable");

    pair.birch.lists(LIST, &[READ]).await;
    pair.alder.pulls().await.unwrap();
    let proxy = FaultProxy::before(&pair.birch, &pair.alder, &pair.alder.clock, move |_| older).await;
    let (host, address) = (pair.birch.fiction.host(), proxy.address);
    pair.alder.restart_with(|config| {
        config.peer.hosts.insert(host, address);
    });
    let refused = pair.alder.pulls().await.unwrap_err().to_string();
    assert!(refused.contains("answers another pull"), "{refused}");
    assert_eq!(pair.alder.held(&pair.birch, LIST).unwrap().version, 2);
}

#[actix_web::test]
async fn a_list_that_is_not_granted_is_denied_and_nothing_of_it_leaves() {
    let pair = Pair::under(terms()).await;
    pair.birch.lists("secret", &[NEVER_READ]).await;
    pair.birch.lists_of(LIST, &[(READ, "stolen_vehicle"), (NEVER_READ, "missing_person")]).await;
    let forger = pair.alder.forger();
    let pull = |list: &str| Pull {
        v: PROTOCOL,
        to: vec![To { ori: pair.birch.ori(), agreement: pair.id }],
        list: list.to_owned(),
        have: Some(Have { version: 0, contents: Digest([0; 32]) }),
    };
    let (_, text) = forger.swears(Kind::HotlistPulled, None, &pull("secret")).await;
    let reply = pair.alder.calls(&pair.birch).post("/peer/v1/hotlists/secret/pull", &text).await;
    assert_eq!((reply.status, &reply.message()["outcome"]["rules"][0]["rule"]), (403, &"grant_exists".into()));
    assert!(!reply.text().contains(NEVER_READ));
    // Not through the path of another list either.
    let (_, text) = forger.swears(Kind::HotlistPulled, None, &pull("secret")).await;
    let reply = pair.alder.calls(&pair.birch).post("/peer/v1/hotlists/wanted/pull", &text).await;
    reply.problem(422, "unacceptable");
    // Nor what is of a category that was not granted.
    pair.alder.accepts(&pair.birch, LIST).await;
    pair.alder.pulls().await.unwrap();
    assert_eq!(pair.alder.held(&pair.birch, LIST).unwrap().entries, 1);
    assert!(pair.alder.files_with(NEVER_READ).is_empty());
    let offered = pair.alder.calls(&pair.birch).get("/peer/v1/hotlists").await.json();
    assert_eq!(offered["lists"].as_array().unwrap().len(), 1, "{offered}");
    assert_eq!((&offered["lists"][0]["list"], &offered["lists"][0]["version"]), (&LIST.into(), &1.into()));
    // An entry of another kind is no pull.
    let (_, text) = forger.swears(Kind::QueryAsked, None, &pull(LIST)).await;
    let reply = pair.alder.calls(&pair.birch).post("/peer/v1/hotlists/wanted/pull", &text).await;
    reply.problem(400, "unsworn");
}

#[actix_web::test]
async fn a_match_that_is_not_exact_is_labelled_and_two_misread_characters_are_none() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.lists("own", &["8ABC501"]).await;
    for (plate, found) in [("8ABC501", Some(0)), ("BABC501", Some(1)), ("BA8C501", None), ("9ABC501", None)] {
        alder.sees(plate).await;
        alder.clock.forward(Instant::SECOND);
        let hits = alder.hits(plate);
        assert_eq!(hits.first().map(|seen| seen.hit.substitutions), found, "{plate}");
    }
    let (_, message) = alder.newest();
    assert_eq!((&message["exact"], &message["substitutions"]), (&false.into(), &1.into()));
}

#[actix_web::test]
async fn the_same_read_again_gives_no_second_hit_and_a_late_one_says_its_age() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.lists("own", &[READ]).await;
    let seen_at = alder.clock_now().plus(-3 * Instant::HOUR);
    alder.ingests(READ, seen_at).await;
    let size = alder.trail_size();
    let hit = alder.hits(READ).remove(0).hit;
    assert_eq!(hit.matched_at.since(hit.seen_at), 3 * Instant::HOUR);
    alder.delivers_again(READ, seen_at).await;
    assert_eq!((alder.hits(READ).len(), alder.trail_size()), (1, size));
    assert!(alder.trail_problems().is_empty());
}

#[actix_web::test]
async fn an_entry_matches_nothing_once_it_expired() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.lists("own", &[READ]).await;
    let end = alder.clock_now().plus(60 * Instant::DAY);
    alder.clock.set(end.plus(-1));
    alder.sees(READ).await;
    assert_eq!(alder.hits(READ).len(), 1);
    alder.clock.set(end);
    alder.sees(READ).await;
    assert_eq!(alder.hits(READ).len(), 1);
}

#[actix_web::test]
async fn logs_never_show_what_is_on_a_list() {
    let pair = holding(&[READ, "7LGL118"]).await;
    pair.alder.sees("7LGL118").await;
    pair.set_clocks(pair.birch.clock_now().plus(5 * Instant::HOUR));
    eventually("renewed", || count(&pair.alder, Kind::HotlistReceived) == 2).await;
    let logged = integration::logs::captured().text();
    assert!(logged.contains("a partner's hotlist was refreshed"), "nothing was captured");
    for secret in ["7LGL118", CONTACT, "Elm Street", "118901"] {
        assert!(!logged.contains(secret), "{secret} is in the logs");
    }
}
