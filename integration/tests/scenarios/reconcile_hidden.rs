//! Reconciling with a partner that hides what it did: behind other things that differ, behind words, and by never being compared.

use agreements::discrepancy::{Differs, Discrepancy};
use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::message::To;
use concordat::exchange::ask::Gave;
use concordat::trail::search::{Filter, Row};
use integration::TestNode;
use integration::pair::Pair;

use super::reconcile::{CUSTODIAN, PLATE, asked_and_answered, hash, newest, today};

#[actix_web::test]
async fn an_owner_does_not_hide_answers_behind_others_that_differ() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&[], &[CUSTODIAN]);
    pair.birch_saw(PLATE).await;
    for _ in 0..25 {
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    }
    let every = Filter { kind: Some(Kind::QueryAnswered), limit: 100, ..Filter::default() };
    let answers: Vec<Digest> = pair.birch.entries(&every).iter().map(hash).collect();
    pair.birch
        .registry_store()
        .run("UPDATE fact SET partner = NULL WHERE idx IN (SELECT idx FROM leaf WHERE kind = 'query.answered')");
    pair.nights_later(1);
    let first = pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    assert_eq!((first.found.differs, first.opened.len(), first.found.unopened.len()), (25, 20, 5));
    // Those that have no case yet are on the record, and have one when it is looked again.
    let about = |node: &TestNode| -> Vec<Digest> { node.cases().iter().map(|case| case.opened.about).collect() };
    let mut all: Vec<Digest> = about(&pair.alder).into_iter().chain(first.found.unopened.clone()).collect();
    all.sort();
    let mut given = answers;
    given.sort();
    assert_eq!(all, given);
    let next = pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    assert_eq!((next.found.differs, next.opened.len(), next.found.unopened.len()), (25, 5, 0));
    let mut all = about(&pair.alder);
    all.sort();
    assert_eq!(all, given, "each once");
    assert_eq!(pair.alder.reconciles(&pair.birch, today()).await.unwrap().opened, []);
}

/// Words that have no place in a custodian's mail.
const WORDS: &str = "all is well.\n\nNext: call +1 555 0100 \u{202e}and say the password";

/// Birch tells Alder of a discrepancy, in its own words.
async fn birch_tells(pair: &Pair) -> Row {
    let opened = Discrepancy {
        v: 1,
        to: vec![To { ori: pair.alder.ori(), agreement: pair.id }],
        partner: pair.alder.ori(),
        day: today(),
        until: None,
        differs: Differs::LeftOut,
        about: Digest::of(b"an entry of Alder's"),
        rid: None,
        kind: Some(Kind::QueryAsked),
        other: None,
        evidence: Vec::new(),
        says: WORDS.to_owned(),
    };
    pair.birch.forger().swears(Kind::DiscrepancyOpened, None, &opened).await;
    let told = newest(&pair.birch, Kind::DiscrepancyOpened);
    let filed = format!("UPDATE fact SET partner = '{}' WHERE idx = {}", pair.alder.ori(), told.index);
    pair.birch.registry_store().run(&filed);
    told
}

#[actix_web::test]
async fn what_a_partner_says_in_words_is_in_no_mail_and_in_no_case() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&[], &[CUSTODIAN]);
    let told = birch_tells(&pair).await;
    pair.nights_later(1);
    pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    let case = pair.alder.cases().remove(0);
    assert_eq!((case.opened.differs, case.opened.about), (Differs::Told, hash(&told)));
    let mail = pair.alder.mails_about_discrepancies().remove(0);
    for text in [&case.opened.says, &mail.body] {
        assert!(!text.contains("555") && !text.contains("all is well") && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("left_out") && text.contains("query.asked") && text.contains("Birch"), "{text}");
        assert!(text.contains(&Digest::of(b"an entry of Alder's").to_string()), "{text}");
    }
}

#[actix_web::test]
async fn what_a_partner_says_that_it_found_counts_as_far_as_its_log_has_it_and_it_verifies() {
    // It lists one that is not in its log.
    let pair = Pair::in_force().await;
    let told = birch_tells(&pair).await;
    let store = pair.birch.registry_store();
    let body = store.replaced("body", "2026-11-23T20:17", "2026-11-23T20:18");
    store.run(&format!("UPDATE leaf SET body = {body} WHERE idx = {}", told.index));
    pair.nights_later(1);
    let done = pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    assert_eq!((pair.alder.differs(), done.found.unopened), (vec![Differs::Invented], vec![]));
    // It has it in its log, and does not say what it is.
    let pair = Pair::in_force().await;
    let told = birch_tells(&pair).await;
    let store = pair.birch.registry_store();
    let message = store.replaced("message", "all is well", "all is good");
    store.run(&format!("UPDATE detail SET message = {message} WHERE idx = {}", told.index));
    pair.nights_later(1);
    let done = pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    assert_eq!((pair.alder.differs(), done.found.unopened), (vec![], vec![hash(&told)]));
    assert_eq!(newest(&pair.alder, Kind::TrailReconciled).facts.decision.as_deref(), Some("differs"));
}

#[actix_web::test]
async fn two_runs_at_once_open_one_case() {
    let pair = asked_and_answered().await;
    let answer = newest(&pair.birch, Kind::QueryAnswered);
    pair.birch.registry_store().run(&format!("DELETE FROM detail WHERE idx = {}", answer.index));
    let one = || pair.alder.reconciles(&pair.birch, today());
    let (first, second) = futures_util::join!(one(), one());
    assert_eq!(first.unwrap().opened.len() + second.unwrap().opened.len(), 1);
    assert_eq!(pair.alder.differs(), [Differs::LeftOut]);
}
