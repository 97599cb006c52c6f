//! Reconciling with a partner that hides what it did: behind other things that differ, behind words, and by never being compared.

use agreements::discrepancy::{Differs, Discrepancy};
use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::message::To;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::exchange::ask::Gave;
use concordat::publishing;
use concordat::reconciling::listing::day_of;
use concordat::trail::search::{Filter, Row};
use integration::TestNode;
use integration::pair::Pair;
use integration::witnesses::Watched;
use jiff::ToSpan as _;
use jiff::civil::Date;

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

#[actix_web::test]
async fn days_that_a_partner_never_lists_are_a_case_when_they_are_no_longer_caught_up_with() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&[], &[CUSTODIAN]);
    let day = |n: i64| today().checked_add(n.days()).unwrap();
    pair.birch.stop();
    pair.nights_later(36);
    pair.alder.rings().await;
    let case = pair.alder.cases().remove(0);
    let spans = |node: &TestNode| -> Vec<(Differs, Date, Option<Date>)> {
        node.cases().iter().map(|case| (case.opened.differs, case.opened.day, case.opened.until)).collect()
    };
    assert_eq!(spans(&pair.alder), [(Differs::NotCompared, day(0), Some(day(0)))]);
    assert!(case.opened.says.contains("1 day ") && case.opened.says.contains("--since"), "{}", case.opened.says);
    // Days that fall while it is open are no further cases; they are when it is closed.
    for _ in 0..3 {
        pair.nights_later(1);
        pair.alder.rings().await;
    }
    assert_eq!(pair.alder.cases().len(), 1);
    pair.alder.closes(case.id, "custodian").await.unwrap();
    for _ in 0..2 {
        pair.nights_later(1);
        pair.alder.rings().await;
    }
    assert_eq!(spans(&pair.alder)[1..], [(Differs::NotCompared, day(1), Some(day(4)))]);
    let mails = pair.alder.mails().into_iter().filter(|mail| mail.subject.contains("were not compared from"));
    assert_eq!(mails.count(), 2);
    // Its partner is told when it is back.
    let found_on = day_of(case.opened_at);
    pair.birch.try_start().unwrap();
    pair.birch.reconciles(&pair.alder, found_on).await.unwrap();
    // It was away itself, and may have a case of its own by then.
    let theirs = pair.birch.cases().into_iter().find(|case| case.opened.differs == Differs::Told).unwrap();
    assert_eq!(theirs.opened.day, day(0));
    assert!(theirs.opened.says.contains("not_compared"), "{}", theirs.opened.says);
}

#[actix_web::test]
async fn what_is_held_of_a_log_that_its_owner_ended_is_counted() {
    let mut watched = Watched::in_force().await;
    watched.birch.ingests(PLATE, watched.birch.clock.now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    let backup = watched.birch.backs_up(watched.federation.folder(), "before");
    assert!(matches!(watched.alder.queries(&watched.birch, PLATE).await, Gave::Reads { .. }));
    watched.publish().await;
    watched.birch.is_restored(&backup);
    watched.birch.try_start().unwrap();
    publishing::settled(watched.birch.node()).await.unwrap_err();
    integration::epochs::opens_an_epoch(watched.birch.node(), &watched.birch.fiction).await;
    watched.publish().await;
    watched.set_clocks(watched.birch.clock.now().plus(8 * Instant::HOUR));
    watched.publish().await;
    let done = watched.alder.reconciles(&watched.birch, today()).await.unwrap();
    assert!(done.found.counts.of_earlier_log > 0, "{:?}", done.found);
}

#[actix_web::test]
async fn evidence_of_an_answer_that_nobody_asked_for_has_its_proof_and_not_what_it_says() {
    let pair = asked_and_answered().await;
    let answer = newest(&pair.birch, Kind::QueryAnswered);
    let store = pair.alder.registry_store();
    store.run("DELETE FROM receipt");
    let ours = "SELECT idx FROM leaf WHERE kind IN ('query.asked', 'query.received')";
    store.run(&format!("DELETE FROM detail WHERE idx IN ({ours})"));
    pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    let case = pair.alder.cases().into_iter().find(|case| case.opened.differs == Differs::Unasked).unwrap();
    assert_eq!(case.opened.about, hash(&answer));
    let kept = concordat::evidence::Evidence::of(pair.alder.settings()).unwrap().read(case.opened.evidence[0]).await;
    let kept: serde_json::Value = serde_json::from_slice(&kept.unwrap()).unwrap();
    let members: Vec<&String> = kept.as_object().unwrap().keys().collect();
    assert_eq!(members, ["leaf", "proof"]);
    assert_eq!(kept["leaf"], serde_json::from_slice::<serde_json::Value>(&answer.leaf).unwrap());
    assert!(kept["proof"].as_str().unwrap().contains("tlog-proof"));
}
