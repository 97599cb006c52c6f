//! Who asks, and for whom: a hub names the end agency and the end user, and nobody asks without a training of the last year.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest};
use agreements::message::{OnBehalfOf, Question};
use agreements::rule::Rule;
use agreements::time::Instant;
use concordat::demo::agency::{ALDER, BIRCH, CEDAR};
use concordat::exchange::ask::{Ask, AskError, Gave};
use concordat::people::{self, NewAccount, Training};
use concordat::registry::accounts::Role;
use concordat::trail::proof;
use integration::federation::Federation;
use integration::pair::{Pair, Terms, agree, days_from_start};
use integration::{Reply, TestNode};
use jiff::civil::Date;
use serde_json::{Value, json};

const PLATE: &str = "7ASK018";

const WHOLE: Training = Training { sb34: true, sb54: true, policy: true };

/// The superior court of the county: eligible without an agreement.
const COURT: &str = "CA099015J";

/// Alder is a hub, under a determination; Birch owns reads; Cedar is an agency under agreement with Birch.
struct Around {
    pair: Pair,
    cedar: TestNode,
    cedar_and_birch: AgreementId,
}

async fn around_a_hub() -> Around {
    let federation = Federation::found();
    let mut alder = TestNode::found(&federation, ALDER).await;
    alder.restart_with(|config| {
        config.agency.hub = true;
        config.agency.determination_sha256 = Some(Digest::of(b"determination"));
        config.agency.determination_expires_on = Some(days_from_start(300));
    });
    let birch = TestNode::found(&federation, BIRCH).await;
    let cedar = TestNode::found(&federation, CEDAR).await;
    for (one, other) in [(&alder, &birch), (&birch, &alder), (&cedar, &birch), (&birch, &cedar)] {
        one.enrols(other).await;
    }
    let cedar_and_birch = agree(&cedar, &birch, &Terms::default()).await.unwrap();
    let id = agree(&alder, &birch, &Terms::default()).await.unwrap();
    let pair = Pair { alder, birch, id, federation };
    pair.birch_saw(PLATE).await;
    Around { pair, cedar, cedar_and_birch }
}

fn for_whom(agency: &str, end_user: &str) -> OnBehalfOf {
    OnBehalfOf { agency: agency.parse().unwrap(), end_user: end_user.to_owned() }
}

/// Opens an account of an investigator whose training was on a date.
async fn trained(node: &TestNode, username: &str, on: Date) {
    let by = node.fiction.person("admin");
    let new = NewAccount {
        username: username.to_owned(),
        name: "Lane Late".to_owned(),
        affiliation: "Detectives".to_owned(),
        role: Role::Investigator,
    };
    people::open_account(node.node().registry(), new, &by).await.unwrap();
    people::record_training(node.node().registry(), username, on, WHOLE, &by).await.unwrap();
}

/// What Birch says to a question that Alder's own node would not have sent like that.
async fn past_the_askers_node(pair: &Pair, change: impl FnOnce(&mut Question)) -> Reply {
    let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
    change(&mut question);
    let text = pair.alder.forger().asks(&question).await;
    pair.alder.posts_query(&pair.birch, &text).await
}

/// That Birch denied by this rule alone, told why, swore it and has it on record, and did not touch its store.
async fn denied_by(pair: &Pair, what: &str, rule: Rule, change: impl FnOnce(&mut Question)) {
    let (size, touched) = (pair.birch.trail_size(), pair.birch.touches());
    let reply = past_the_askers_node(pair, change).await;
    assert_eq!(reply.status, 403, "{what}: {}", reply.text());
    let said = json!([{"rule": rule.as_str(), "clauses": rule.clauses(), "says": rule.says()}]);
    assert_eq!(reply.message()["outcome"], json!({"decision": "denied", "rules": said}), "{what}");
    assert!(!reply.text().contains("\"results\""), "{what}");
    assert_eq!(pair.birch.touches(), touched, "{what}: the store was touched");
    let (row, message) = pair.birch.newest();
    assert_eq!((pair.birch.trail_size(), row.kind), (size + 1, Kind::QueryAnswered), "{what}");
    assert_eq!((row.facts.rule.as_deref(), &message), (Some(rule.as_str()), &reply.message()), "{what}");
    let vkey = pair.birch.node().party().node.log_vkey.parse().unwrap();
    proof::verify(reply.json()["proof"].as_str().unwrap(), reply.raw("leaf").as_bytes(), &vkey).unwrap();
}

/// That this agency's own node let nothing out, by this rule, and has on record that it was tried.
fn kept_here(asker: &TestNode, owners: u64, owner: &TestNode, what: &str, rule: Rule) -> Value {
    let (row, message) = asker.newest();
    assert_eq!((row.kind, row.facts.rule.as_deref()), (Kind::QueryRefused, Some(rule.as_str())), "{what}");
    assert_eq!(owner.trail_size(), owners, "{what}: nothing left the node");
    message
}

#[actix_web::test]
async fn s18_a_hub_that_does_not_name_end_agency_and_end_user_is_denied() {
    let Around { pair, cedar, cedar_and_birch } = around_a_hub().await;
    let rule = Rule::OnBehalfOf;
    denied_by(&pair, "for itself", rule, |_| {}).await;
    let cedars = cedar.ori().to_string();
    for (what, agency, end_user) in [
        ("an end agency without an agreement", "CA0990300", "Rowan Reader"),
        ("the owner as the end agency", "CA0990100", "Rowan Reader"),
        ("no end user", &cedars, ""),
        ("a blank end user", &cedars, " \u{200b}\t "),
    ] {
        denied_by(&pair, what, rule, |question| question.on_behalf_of = for_whom(agency, end_user)).await;
    }
    // With both it is answered, to the hub's own person as well.
    for agency in [cedars.as_str(), COURT] {
        let reply = past_the_askers_node(&pair, |it| it.on_behalf_of = for_whom(agency, "Rowan Reader")).await;
        assert_eq!((reply.status, &reply.message()["outcome"]["decision"]), (200, &json!("permitted")), "{agency}");
        assert!(reply.raw("results").contains(PLATE), "{agency}");
    }
    // An agency whose agreement with the owner is suspended is none under agreement: the very next question.
    pair.birch.suspends(cedar_and_birch).await;
    let other = for_whom(&cedars, "Rowan Reader");
    denied_by(&pair, "an end agency that is suspended", rule, |question| question.on_behalf_of = other).await;
}

#[actix_web::test]
async fn s18_a_hubs_own_node_lets_no_question_out_that_is_for_itself() {
    let Around { pair, cedar, .. } = around_a_hub().await;
    let owners = pair.birch.trail_size();
    let mut ask = pair.alder.asking(&pair.birch, PLATE);
    match pair.alder.asks(ask.clone()).await {
        Err(error @ AskError::Screened(_)) => {
            let said = error.to_string();
            assert!(said.starts_with("on_behalf_of") && said.contains("names the end agency"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let tried = kept_here(&pair.alder, owners, &pair.birch, "for itself", Rule::OnBehalfOf);
    assert_eq!(tried["on_behalf_of"]["agency"], "CA0990000");
    ask.on_behalf_of = Some(for_whom(cedar.ori().as_str(), "Rowan Reader"));
    let report = pair.alder.asks(ask).await.unwrap();
    assert!(matches!(report.lines[0].gave, Gave::Reads { .. }), "{report:?}");
    assert_eq!(pair.birch.newest().0.facts.decision.as_deref(), Some("permitted"));
}

#[actix_web::test]
async fn s18_a_training_that_lapsed_yesterday_is_denied_at_the_requesters_own_node() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    // The last day of this training is today.
    let whom = "alder.late";
    trained(&pair.alder, whom, days_from_start(-364)).await;
    let asks_at = async |username: &str, at: Instant| {
        pair.set_clocks(at);
        let ask = Ask { username: username.to_owned(), ..pair.alder.asking(&pair.birch, PLATE) };
        pair.alder.asks(ask).await
    };
    let lapses = Instant::start_of(days_from_start(1)).unwrap();
    let last = asks_at(whom, lapses.plus(-1)).await.unwrap();
    assert!(matches!(last.lines[0].gave, Gave::Reads { .. }), "{last:?}");
    for (what, at) in [("the instant after", lapses), ("a day later", lapses.plus(Instant::DAY))] {
        let owners = pair.birch.trail_size();
        match asks_at(whom, at).await {
            Err(AskError::Screened(rules)) => assert_eq!(rules, [Rule::AskerTrained], "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        let tried = kept_here(&pair.alder, owners, &pair.birch, what, Rule::AskerTrained);
        assert_eq!(tried["asker"]["username"], whom, "{what}");
        assert_eq!(tried["asker"].get("trained_on"), None, "{what}: what lapsed is not asserted");
        // It is this person's training alone: the next desk is answered.
        let others = asks_at(&pair.alder.fiction.person("investigator"), at).await.unwrap();
        assert!(matches!(others.lines[0].gave, Gave::Reads { .. }), "{what}: {others:?}");
    }
    let again = pair.alder.fiction.person("admin");
    people::record_training(pair.alder.node().registry(), whom, days_from_start(2), WHOLE, &again).await.unwrap();
    let report = asks_at(whom, lapses.plus(Instant::DAY)).await.unwrap();
    assert!(matches!(report.lines[0].gave, Gave::Reads { .. }), "{report:?}");
}

#[actix_web::test]
async fn s18_a_question_that_asserts_no_current_training_is_denied_at_the_owner_sworn_and_recorded() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    for (what, trained_on) in [
        ("none at all", None),
        ("a year ago to the day", Some(days_from_start(-365))),
        ("one that is still to come", Some(days_from_start(1))),
    ] {
        denied_by(&pair, what, Rule::AskerTrained, |question| question.asker.trained_on = trained_on).await;
    }
    let reply = past_the_askers_node(&pair, |question| question.asker.trained_on = Some(days_from_start(-364))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    denied_by(&pair, "nor approved", Rule::AskerApproved, |question| question.asker.approved = false).await;
}
