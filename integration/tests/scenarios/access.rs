//! Who can get what: compared daily, and answered for any instant of the past.

use std::collections::BTreeSet;

use agreements::access::Access;
use agreements::entry::Kind;
use agreements::register::{Finding, FindingKind};
use agreements::time::Instant;
use concordat::access;
use concordat::changes::{Command, authorizing};
use concordat::clock::Clock as _;
use concordat::exchange::lifecycle::{self, Act, Delivery};
use concordat::trail::search::Filter;
use integration::pair::{Pair, Terms, days_from_start};
use integration::{TestNode, tamper};

const REASON: &str = "the county board approved sharing with this partner";

fn present(node: &TestNode) -> Vec<Access> {
    access::present(&mut node.conn(), node.node().owner(), node.clock.now()).unwrap()
}

fn as_of(node: &TestNode, at: Instant) -> Vec<Access> {
    let recorded = access::recorded(&mut node.conn(), node.ori()).unwrap().unwrap();
    assert!(recorded.missing.is_empty(), "{:?}", recorded.missing);
    recorded.history.at(at)
}

/// What held at an instant, on both sides.
type Seen = (Instant, &'static str, [Vec<Access>; 2]);

/// Looks at both sides now, and lets some time pass before and after.
fn look(pair: &Pair, what: &'static str, seen: &mut Vec<Seen>) {
    let nodes = [&pair.alder, &pair.birch];
    for _ in 0..2 {
        seen.push((pair.alder.clock.now(), what, nodes.map(present)));
        pair.set_clocks(pair.alder.clock.now().plus(Instant::HOUR));
    }
}

fn finding(pair: &Pair, kind: FindingKind) -> Finding {
    Finding {
        ori: pair.alder.ori(),
        kind,
        citation: "People v. Alder County, complaint of 20 November 2026".to_owned(),
        document: None,
        on: days_from_start(-3),
        entered_by: String::new(),
    }
}

#[actix_web::test]
async fn any_instant_of_a_walk_through_an_agreements_life_is_answered_as_it_was() {
    let (federation, alder, birch) = Pair::enrolled().await;
    let terms = Terms { lists: vec![("stolen", vec!["stolen_vehicle"])], ..Terms::default() };
    let document = terms.between(&alder.node().party(), &birch.node().party());
    let by = alder.fiction.person("agreements");
    let (id, _) = lifecycle::propose(alder.node(), document.to_bytes().unwrap(), &by).await.unwrap();
    let mut pair = Pair { alder, birch, id, federation };
    let mut seen = Vec::new();
    look(&pair, "offered", &mut seen);
    pair.alder.acts(id, Act::Sign).await.unwrap();
    look(&pair, "signed by one", &mut seen);
    pair.birch.acts(id, Act::Sign).await.unwrap();
    look(&pair, "signed by both", &mut seen);
    pair.birch.suspends(id).await;
    look(&pair, "suspended", &mut seen);
    pair.birch.acts(id, Act::Resume { reason: REASON.to_owned() }).await.unwrap();
    look(&pair, "resumed", &mut seen);
    let custodian = pair.birch.fiction.person("custodian");
    authorizing::take_back(pair.birch.node(), id, &custodian, "questions without a case number").await.unwrap();
    look(&pair, "authorization taken back", &mut seen);
    let change = pair.birch.proposes(Command::Authorize { agreement: id }, REASON).await.unwrap();
    pair.birch.approves(change).await.unwrap();
    look(&pair, "authorized again", &mut seen);
    pair.birch.finds(finding(&pair, FindingKind::NamedInSuit)).await;
    look(&pair, "named in a suit", &mut seen);
    pair.birch.finds(finding(&pair, FindingKind::Cleared)).await;
    look(&pair, "cleared", &mut seen);
    // Said while the partner is down: it counts there from when it is acknowledged.
    pair.birch.stop();
    let pending = pair.alder.suspends(id).await;
    assert!(matches!(pending, Delivery::Pending { .. }), "{pending:?}");
    let said_at = pair.alder.clock.now();
    pair.set_clocks(said_at.plus(Instant::HOUR));
    pair.birch.try_start().unwrap();
    look(&pair, "suspended, not heard yet", &mut seen);
    lifecycle::sync(pair.alder.node(), id).await.unwrap();
    look(&pair, "suspended, heard", &mut seen);
    pair.alder.acts(id, Act::Resume { reason: REASON.to_owned() }).await.unwrap();
    look(&pair, "resumed again", &mut seen);
    let sunset = Instant::start_of(days_from_start(30)).unwrap();
    pair.set_clocks(sunset.plus(-1));
    look(&pair, "the last instant and after the sunset", &mut seen);

    let nodes = [&pair.alder, &pair.birch];
    for (at, what, held) in &seen {
        for (node, held) in nodes.iter().zip(held) {
            assert_eq!(&as_of(node, *at), held, "{what}, as of {at} at {}", node.fiction.word);
        }
    }
    let had = |what: &str, side: usize| {
        let of = seen.iter().find(|(_, known, _)| *known == what).unwrap();
        of.2[side].iter().filter(|one| one.owner == nodes[side].ori()).count()
    };
    assert_eq!((had("offered", 1), had("signed by one", 1), had("signed by both", 1)), (0, 0, 2));
    assert_eq!((had("suspended", 1), had("resumed", 1), had("authorization taken back", 1)), (0, 2, 2));
    assert_eq!((had("named in a suit", 1), had("named in a suit", 0)), (0, 2), "each has its own register");
    assert_eq!((had("suspended, not heard yet", 0), had("suspended, not heard yet", 1)), (0, had("cleared", 1)));
    assert_eq!(had("suspended, heard", 1), 0);
    assert!(as_of(&pair.birch, sunset).is_empty() && as_of(&pair.alder, sunset).is_empty());
    assert!(!as_of(&pair.alder, sunset.plus(-1)).is_empty());
    for node in nodes {
        assert!(as_of(node, integration::federation::start().plus(-1)).is_empty(), "before everything");
    }
}

/// A day goes by, and its jobs are run.
async fn a_day_later(node: &TestNode) {
    node.clock.forward(Instant::DAY);
    node.works_it_off().await;
}

fn compared(node: &TestNode) -> Vec<(String, serde_json::Value)> {
    let mut rows = node.entries(&Filter { kind: Some(Kind::AccessCompared), ..Filter::default() });
    rows.reverse();
    let read = |row: concordat::trail::search::Row| {
        (row.facts.decision.unwrap(), serde_json::from_slice(&row.detail.unwrap().message).unwrap())
    };
    rows.into_iter().map(read).collect()
}

#[actix_web::test]
async fn the_daily_comparison_finds_doors_and_trail_equal_whatever_the_agreements_state() {
    let pair = Pair::under(Terms { lists: vec![("stolen", vec!["stolen_vehicle"])], ..Terms::default() }).await;
    a_day_later(&pair.birch).await;
    let (decision, entry) = compared(&pair.birch).pop().unwrap();
    assert_eq!(
        (decision.as_str(), &entry["access"], &entry["differences"]),
        ("equal", &2.into(), &serde_json::json!([]))
    );
    pair.set_clocks(pair.birch.clock.now());
    pair.birch.suspends(pair.id).await;
    a_day_later(&pair.birch).await;
    let (decision, entry) = compared(&pair.birch).pop().unwrap();
    assert_eq!((decision.as_str(), &entry["access"]), ("equal", &0.into()));
    assert_eq!(pair.birch.counted("concordat_access_differences"), 0);
    assert!(pair.birch.mails().iter().all(|mail| !mail.subject.contains("effective access")));
}

#[actix_web::test]
async fn an_agreement_changed_by_other_hands_is_a_difference_an_alarm_and_one_mail_each() {
    let mut pair = Pair::in_force().await;
    pair.birch.restart_with(|config| {
        config.mail.administrators = vec!["agreements@birch.test".parse().unwrap()];
        config.mail.custodians = vec!["custodian@birch.test".parse().unwrap()];
    });
    a_day_later(&pair.birch).await;
    assert_eq!(compared(&pair.birch).pop().unwrap().0, "equal");
    let sql =
        "UPDATE agreement SET document = replace(CAST(document AS TEXT), '\"lookback_days\":7', '\"lookback_days\":9')";
    tamper::run(&pair.birch.registry_file(), sql);
    pair.birch.looks().await;
    for _ in 0..2 {
        a_day_later(&pair.birch).await;
        let (decision, entry) = compared(&pair.birch).pop().unwrap();
        assert_eq!(decision, "differs");
        assert!(entry["differences"][0].as_str().unwrap().contains("its document is not kept"), "{entry}");
        assert!(pair.birch.counted("concordat_access_differences") > 0);
    }
    let mails: Vec<_> =
        pair.birch.mails().into_iter().filter(|mail| mail.subject.contains("effective access")).collect();
    let to: BTreeSet<&str> = mails.iter().map(|mail| mail.recipient.as_str()).collect();
    assert_eq!((mails.len(), to.len()), (2, 2), "once for each address: {mails:?}");
}
