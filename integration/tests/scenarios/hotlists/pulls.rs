//! Pulling partners' lists: what arrives, what is cut off, and what is refused.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agreements::entry::Kind;
use agreements::hotlist::{Have, Pull};
use agreements::ids::Digest;
use agreements::message::{PROTOCOL, To};
use agreements::time::Instant;
use concordat::hotlists::asserting;
use concordat::hotlists::handing::Pages;
use concordat::hotlists::pulling::{PullError, Pulled};
use concordat::hotlists::refresh;
use integration::hotlists::eventually;
use integration::pair::{self, Pair};
use integration::proxy::FaultProxy;

use super::{LIST, NEVER_READ, READ, holding, terms};

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
