//! Hotlists: loaded whole or not at all, shared under an agreement, dead within a day, and hits that a person confirms.

mod loads;
mod pulls;

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::demo::agency::CEDAR;
use concordat::exchange::lifecycle::Delivery;
use concordat::hotlists::people::{self, Looked};
use concordat::hotlists::pulling::{PullError, Pulled};
use concordat::hotlists::refresh;
use concordat::hotlists::shared::SharedLists;
use concordat::registry::hits::HitStatus;
use concordat::trail::search::Filter;
use diesel::connection::SimpleConnection as _;
use integration::hotlists::{CONTACT, eventually};
use integration::pair::{Pair, Terms, agree};
use integration::{TestNode, pair};

const LIST: &str = "wanted";
const READ: &str = "7HOT337";
const NEVER_READ: &str = "8NVR402";

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
    let present = pair.alder.node().registry().present(&mut pair.alder.conn()).unwrap();
    assert_eq!(present, asserted.plus(Instant::DAY + Instant::HOUR), "what the trail recorded last");
    pair.alder.sees(READ).await;
    assert!(pair.alder.hits(READ).is_empty());
}

/// PostgreSQL empties unlogged tables when it starts after a crash; here the row goes that would be gone then.
#[actix_web::test]
async fn s26_a_list_whose_entries_a_crash_took_stops_nothing_else_and_is_pulled_again_at_the_next_look() {
    let pair = holding(&[READ, NEVER_READ]).await;
    pair.alder.node().shared_lists().reader().unwrap().batch_execute("DELETE FROM alive").unwrap();
    assert!(pair.alder.held(&pair.birch, LIST).is_none());
    pair.alder.lists("own", &[READ]).await;
    pair.alder.sees(READ).await;
    assert_eq!(pair.alder.hits(READ).len(), 1, "own lists match as before");
    pair.set_clocks(pair.alder.clock_now().plus(31 * Instant::SECOND));
    eventually("pulled again", || pair.alder.held(&pair.birch, LIST).is_some()).await;
    pair.alder.sees(NEVER_READ).await;
    assert_eq!(pair.alder.hits(NEVER_READ).len(), 1);
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
async fn s30_a_withdrawal_that_was_cut_off_before_it_erased_is_finished_by_the_node() {
    let pair = holding(&[READ, NEVER_READ]).await;
    let (alder, by) = (&pair.alder, pair.alder.fiction.person("supervisor"));
    // The command ended before it came to the place in which the list is held.
    let elsewhere = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", elsewhere.path().join("registry.db").display()).parse().unwrap();
    let elsewhere = Arc::new(SharedLists::beside(&url).unwrap());
    people::withdraw(alder.node().registry(), &elsewhere, pair.birch.ori(), LIST, &by).await.unwrap();
    eventually("gone from every file", || alder.files_with(NEVER_READ).is_empty()).await;
    eventually("recorded", || count(alder, Kind::HotlistErased) == 1).await;
    let (_, message) = alder.newest();
    assert_eq!(message["why"], "it is no longer accepted");
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
