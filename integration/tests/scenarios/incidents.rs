//! Several findings and several incidents about one partner: each ends by itself.

use agreements::register::{FindingKind, Trigger};
use agreements::status::Status;
use concordat::changes::{self, Command};
use concordat::compliance::{self, Written};
use concordat::exchange::ask::Gave;
use concordat::registry::ag;
use integration::compliance::written;
use integration::pair::{Pair, days_from_start};

use super::compliance::{PLATE, answered, no_change, refused, shown};

#[actix_web::test]
async fn clearing_one_of_two_findings_leaves_the_other_and_each_has_its_own_review() {
    let pair = Pair::in_force().await;
    let alder = pair.alder.ori();
    pair.birch.finds_named(alder).await;
    let found = async |kind, citation: &str, days| {
        let evidence = vec![pair.birch.keeps(citation).await];
        let written = Written { on: days_from_start(days), ..written(citation, evidence) };
        let (db, by) = (pair.birch.node().registry(), pair.birch.fiction.person("agreements"));
        let finding = compliance::finding(alder, kind, written);
        compliance::enter_finding(db, &pair.birch.keeper(), finding, &by).await
    };
    found(FindingKind::LetterReported, "letter of the day before", -1).await.unwrap();
    assert_eq!(pair.birch.open_reviews().len(), 2);
    // The same once more is refused, and says what is there.
    let why = refused(found(FindingKind::LetterReported, " letter of the day before", -1).await);
    assert!(why.contains("was entered before") && why.contains("by birch.agreements"), "{why}");
    assert_eq!(pair.birch.open_reviews().len(), 2);

    let stands = || ag::register(&mut pair.birch.conn()).unwrap().adverse;
    let adverse = Status::AdverseFinding { parties: vec![alder] };
    // A clearing of before anything was found clears nothing.
    let evidence = vec![pair.birch.keeps("an old dismissal").await];
    let early = Written { on: days_from_start(-4), ..written("an old dismissal", evidence) };
    let early = Command::ClearFinding { ori: alder, written: early };
    let why = no_change(pair.birch.proposes_as("agreements", early).await);
    assert!(why.contains("clears nothing that was found later"), "{why}");

    // That of three days ago clears the suit, and not the letter that came after it.
    let change = pair.birch.proposes_clearing(alder, "agreements").await.unwrap();
    let lines = shown(&pair.birch, change);
    assert!(lines.iter().any(|line| line.starts_with("cleared: named_in_suit")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("still stands: letter_reported")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "nothing changes in who can get what"), "{lines:?}");
    // Something else is found meanwhile: whoever approves looks again.
    found(FindingKind::SelfDisclosed, "its own letter", -2).await.unwrap();
    let moved = pair.birch.approves(change).await.unwrap_err().to_string();
    assert!(moved.contains("look again") && moved.contains("self_disclosed"), "{moved}");
    changes::withdraw(pair.birch.node(), change, &pair.birch.fiction.person("agreements")).await.unwrap();
    pair.birch.clears(alder, "agreements", "custodian").await.unwrap();
    assert_eq!((stands(), answered(&pair).await), (vec![alder], adverse.clone()), "two stand");
    let later = async |kind: &str| {
        let evidence = vec![pair.birch.keeps(kind).await];
        let written = Written { on: days_from_start(0), ..written(kind, evidence) };
        let change = pair.birch.proposes_as("agreements", Command::ClearFinding { ori: alder, written }).await.unwrap();
        pair.birch.approves(change).await.unwrap();
    };
    later("about its letter").await;
    assert_eq!((stands(), answered(&pair).await), (vec![alder], adverse), "one stands");
    later("about the letter").await;
    assert_eq!(stands(), []);
    // What was cleared may be found again; and three reviews end one by one.
    let reviews = pair.birch.open_reviews();
    assert_eq!(reviews.len(), 3);
    for review in reviews {
        assert!(matches!(answered(&pair).await, Status::UnderReview { .. }));
        pair.birch.closes_review(review.id, "agreements", "custodian").await.unwrap();
    }
    flows_nothing(&pair).await;
    found(FindingKind::LetterReported, "letter of the day before", -1).await.unwrap();
    assert_eq!(stands(), [alder]);
    assert_eq!(pair.birch.trail_problems(), []);
}

/// Alder is answered; there is nothing about the plate.
async fn flows_nothing(pair: &Pair) {
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
}

#[actix_web::test]
async fn a_second_incident_under_an_open_review_keeps_it_from_ending_with_the_first() {
    let pair = Pair::in_force().await;
    let alder = pair.alder.ori();
    let first = pair.birch.opens_review_for(alder, Trigger::Breach, "a laptop was lost").await.unwrap();
    // Whoever looks into the first has proposed to close it when the second becomes known.
    let change = pair.birch.proposes_as("agreements", pair.birch.closing(first).await).await.unwrap();
    let second = pair.birch.opens_review_for(alder, Trigger::Breach, "an account was shared").await.unwrap();
    assert_ne!(first, second);
    let moved = pair.birch.approves(change).await.unwrap_err().to_string();
    assert!(moved.contains("look again") && moved.contains(&second.to_string()), "{moved}");
    changes::withdraw(pair.birch.node(), change, &pair.birch.fiction.person("agreements")).await.unwrap();
    pair.birch.closes_review(first, "agreements", "custodian").await.unwrap();
    let open: Vec<_> = pair.birch.open_reviews().into_iter().map(|review| review.id).collect();
    assert_eq!(open, [second]);
    assert!(matches!(answered(&pair).await, Status::UnderReview { trigger: Trigger::Breach, .. }));
    pair.birch.closes_review(second, "custodian", "agreements").await.unwrap();
    flows_nothing(&pair).await;
}

#[actix_web::test]
async fn a_finding_about_this_agency_itself_stops_everything_and_opens_no_review() {
    let pair = Pair::in_force().await;
    let (birch, by) = (pair.birch.ori(), pair.birch.fiction.person("agreements"));
    let letter = vec![pair.birch.keeps("our own letter").await];
    let finding = compliance::finding(birch, FindingKind::SelfDisclosed, written("our own letter", letter));
    let (db, keeper) = (pair.birch.node().registry(), pair.birch.keeper());
    assert_eq!(compliance::enter_finding(db, &keeper, finding, &by).await.unwrap(), None);
    assert_eq!(pair.birch.open_reviews(), []);
    let status = answered(&pair).await;
    assert_eq!(status, Status::AdverseFinding { parties: vec![birch] });
    assert!(!status.says().contains("Attorney General"), "nobody named it: {}", status.says());
    // Two people clear that as well, and see everything that comes back.
    let change = pair.birch.proposes_clearing(birch, "agreements").await.unwrap();
    let opens = shown(&pair.birch, change).iter().filter(|line| line.starts_with("opens: ")).count();
    assert_eq!(opens, 2, "{:?}", shown(&pair.birch, change));
    pair.birch.approves(change).await.unwrap();
    flows_nothing(&pair).await;
}
