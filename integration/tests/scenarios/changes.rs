//! What opens or widens sharing takes two people, and what they see is what they decide.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use agreements::authorization::AuthorizationGiven;
use agreements::decide::{OwnerRules, Sensitive};
use agreements::entry::Kind;
use agreements::json;
use agreements::message::Cap;
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::changes::{self, ChangeError, ChangeId, Command, LAPSES, Outcome, Settled, State, authorizing};
use concordat::clock::Clock as _;
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{self, Act, ActError};
use concordat::node::Node;
use concordat::people::{self, NewAccount};
use concordat::registry::accounts::Role;
use concordat::trail::search::Filter;
use integration::TestNode;
use integration::compliance::written;
use integration::pair::{Pair, Terms, days_from_start};
use integration::web::Page;

const PLATE: &str = "7AGR106";
const REASON: &str = "the county board approved sharing with this partner";

async fn proposes(node: &TestNode, role: &str, command: Command) -> Result<ChangeId, ChangeError> {
    changes::propose(node.node(), command, &node.fiction.person(role), REASON).await
}

async fn approves(node: &TestNode, id: ChangeId, by: &str) -> Result<State, ChangeError> {
    let approval = changes::approve(node.node(), id, &node.fiction.person(by)).await?;
    Ok(approval.change.state(node.clock.now()))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ChangeError>, says: &str) {
    match result {
        Err(ChangeError::Refused(why)) => assert!(why.join("\n").contains(says), "{says}: {why:?}"),
        other => panic!("{says}: {other:?}"),
    }
}

fn state(node: &TestNode, id: ChangeId) -> State {
    let all = changes::all(&mut node.conn()).unwrap().unwrap();
    all.iter().find(|change| change.id == id).unwrap().state(node.clock.now())
}

async fn opens_account(node: &TestNode, username: &str, name: &str, role: Role) {
    let new = NewAccount {
        username: username.to_owned(),
        name: name.to_owned(),
        affiliation: "headquarters".to_owned(),
        role,
    };
    people::open_account(node.node().registry(), new, &node.fiction.person("admin")).await.unwrap();
}

/// The newest attempts to approve that were refused because of who tried.
fn attempts(node: &TestNode) -> Vec<(String, ChangeId)> {
    let filter =
        Filter { kind: Some(Kind::ChangeSettled), decision: Some("not approved".to_owned()), ..Filter::default() };
    let rows = node.entries(&filter).into_iter().map(|row| {
        let said: Settled = json::parse(&row.detail.unwrap().message).unwrap();
        let Outcome::NotApproved { by, .. } = said.outcome else { panic!("{said:?}") };
        assert_eq!(row.facts.username.as_deref(), Some(by.as_str()));
        (by, said.change.unwrap())
    });
    rows.collect()
}

/// Everybody who must not be the second person of a change that `proposer` proposed tries to be, and nothing comes of it.
async fn everybody_else_tries(node: &TestNode, id: ChangeId, proposer: &str) {
    let (before, sizes) = (attempts(node).len(), node.trail_size());
    refused(approves(node, id, proposer).await, "proposed it, and nobody approves their own change");
    let tried = attempts(node);
    assert_eq!(tried.len(), before + 1, "the attempt is on the record");
    assert_eq!(tried[0], (node.fiction.person(proposer), id));
    for role in ["auditor", "admin", "investigator", "supervisor"] {
        refused(approves(node, id, role).await, "does not allow this");
    }
    refused(approves(node, id, "nobody").await, "there is no account");
    refused(approves(node, id, "former").await, "is closed");
    // The same person with another account, by a name written otherwise.
    refused(approves(node, id, &format!("{proposer}2")).await, "nobody approves their own change");
    assert_eq!(attempts(node).len(), before + 2, "this attempt, too");
    assert_eq!(node.trail_size(), sizes + 2, "and nothing else was recorded");
    assert!(matches!(state(node, id), State::Pending { .. }), "it waits as before");
    refused(changes::refuse(node.node(), id, &node.fiction.person("auditor"), REASON).await, "does not allow this");
    refused(changes::withdraw(node.node(), id, &node.fiction.person("auditor")).await, "does not allow this");
}

/// The people who try.
async fn more_people(node: &TestNode) {
    let word = node.fiction.word;
    let names = [("agreements2", " ARIEL  agreements"), ("custodian2", "Custodian, Casey")];
    opens_account(node, &format!("{word}.{}", names[0].0), names[0].1, Role::AgreementsAdministrator).await;
    opens_account(node, &format!("{word}.{}", names[1].0), names[1].1, Role::Custodian).await;
    opens_account(node, &format!("{word}.third"), "Taylor Third", Role::AgreementsAdministrator).await;
    let former = format!("{word}.former");
    opens_account(node, &former, "Fran Former", Role::Custodian).await;
    people::close_account(node.node().registry(), &former, &node.fiction.person("admin")).await.unwrap();
}

/// One widening command, proposed by each of the two roles that may: nobody but a second person with the other role makes
/// it take effect, and the partner hears of nothing before.
async fn takes_two(pair: &Pair, command: &Command) {
    let (alder, birch) = (&pair.alder, &pair.birch);
    let (stood, heard) = (alder.status(pair.id), birch.trail_size());
    for role in ["auditor", "admin", "investigator", "supervisor"] {
        refused(proposes(alder, role, command.clone()).await, "does not allow this");
    }
    let id = proposes(alder, "agreements", command.clone()).await.unwrap();
    refused(proposes(alder, "custodian", command.clone()).await, "was proposed already");
    everybody_else_tries(alder, id, "agreements").await;
    refused(approves(alder, id, "third").await, "one has to be the custodian");
    changes::withdraw(alder.node(), id, &alder.fiction.person("agreements")).await.unwrap();
    refused(approves(alder, id, "custodian").await, "withdrawn by");
    // The custodian alone is one person, too.
    let id = proposes(alder, "custodian", command.clone()).await.unwrap();
    everybody_else_tries(alder, id, "custodian").await;
    assert_eq!(alder.status(pair.id), stood, "nothing changed");
    assert_eq!(birch.trail_size(), heard, "and the partner heard of nothing");
    assert!(matches!(approves(alder, id, "agreements").await, Ok(State::Applied { .. })));
    refused(approves(alder, id, "third").await, "nothing is to be decided");
    assert!(alder.trail_problems().is_empty());
}

#[actix_web::test]
async fn s32_nobody_approves_their_own_sharing_change_to_sign_resume_or_authorize() {
    let (federation, alder, birch) = Pair::enrolled().await;
    more_people(&alder).await;
    let document = Terms::default().between(&alder.node().party(), &birch.node().party());
    let by = alder.fiction.person("agreements");
    let (id, _) = lifecycle::propose(alder.node(), document.to_bytes().unwrap(), &by).await.unwrap();
    let pair = Pair { alder, birch, id, federation };
    for role in ["custodian", "agreements"] {
        for act in [Act::Sign, Act::Resume { reason: REASON.to_owned() }] {
            let alone = lifecycle::act(pair.alder.node(), id, act, &pair.alder.fiction.person(role)).await;
            assert!(matches!(&alone, Err(ActError::Refused(why)) if why[0].contains("two people")), "{alone:?}");
        }
    }
    pair.alder.has_approved(id).await;
    takes_two(&pair, &Command::Sign { agreement: id }).await;
    pair.birch.acts(id, Act::Sign).await.unwrap();
    assert!(matches!(pair.alder.status(id), Status::InForce { .. }));
    pair.alder.suspends(id).await;
    takes_two(&pair, &Command::Resume { agreement: id }).await;
    assert!(matches!(pair.birch.status(id), Status::InForce { .. }));
    let custodian = pair.alder.fiction.person("custodian");
    authorizing::take_back(pair.alder.node(), id, &custodian, "questions without a case number").await.unwrap();
    takes_two(&pair, &Command::Authorize { agreement: id }).await;
    assert_eq!(pair.alder.node().desk().registry(authorizing::all).unwrap().len(), 1);
}

#[actix_web::test]
async fn s32_nobody_approves_their_own_sharing_change_of_the_owners_rules() {
    let mut pair = Pair::in_force().await;
    more_people(&pair.alder).await;
    pair.alder.restart_with(|config| config.rules.max_lookback_days = NonZeroU32::new(700).unwrap());
    pair.alder.node().refresh_partners(&mut pair.alder.conn()).unwrap();
    let rules = pair.alder.node().owner().rules.clone();
    takes_two(&pair, &Command::WidenRules { rules }).await;
    let rules = pair.alder.node().owner().rules.clone();
    refused(proposes(&pair.alder, "agreements", Command::WidenRules { rules }).await, "nothing to approve");
}

#[actix_web::test]
async fn s32_nobody_clears_a_finding_or_closes_a_review_alone() {
    let pair = Pair::in_force().await;
    more_people(&pair.alder).await;
    let birch = pair.birch.ori();
    pair.alder.finds_named(birch).await;
    let evidence = vec![pair.alder.keeps("the case was dismissed").await];
    let command = Command::ClearFinding { ori: birch, written: written("dismissal of 20 November 2026", evidence) };
    takes_two(&pair, &command).await;
    let review = pair.alder.open_reviews().remove(0).id;
    takes_two(&pair, &pair.alder.closing(review).await).await;
    assert!(pair.alder.open_reviews().is_empty());
    assert!(matches!(pair.alder.status(pair.id), Status::InForce { .. }));
}

#[actix_web::test]
async fn s32_nobody_accepts_another_policy_of_a_partner_alone() {
    let (mut pair, site) = super::policies::published().await;
    super::policies::day(&pair, 1).await;
    site.publishes(super::policies::PATH, Page::html("<p>Alder County Sheriff</p><p>Reads are now sold.</p>"));
    let text = super::policies::day(&pair, 31).await.changed.unwrap();
    let ori = pair.alder.ori();
    // The other way round: Birch is who decides.
    std::mem::swap(&mut pair.alder, &mut pair.birch);
    more_people(&pair.alder).await;
    takes_two(&pair, &Command::AcceptPolicy { ori, text }).await;
    assert!(pair.alder.open_reviews().is_empty());
}

#[actix_web::test]
async fn whoever_may_approve_a_change_is_told_once_and_nobody_is_named() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&["administrator@alder.example"], &["custodian@alder.example"]);
    pair.alder.suspends(pair.id).await;
    let told = |id: ChangeId| {
        let all = pair.alder.mails().into_iter();
        all.filter(|mail| mail.body.contains(&format!("concordat change approve {id}"))).collect::<Vec<_>>()
    };
    let id = pair.alder.proposes(Command::Resume { agreement: pair.id }, "Pat Smith passed the audit").await.unwrap();
    pair.alder.works_it_off().await;
    let mails = told(id);
    let to: BTreeSet<&str> = mails.iter().map(|mail| mail.recipient.as_str()).collect();
    assert_eq!(mails.len(), 2, "each once");
    assert_eq!(Vec::from_iter(to), ["administrator@alder.example", "custodian@alder.example"]);
    for mail in &mails {
        let text = format!("{} {}", mail.subject, mail.body);
        assert!(text.contains(&format!("resume agreement {}", pair.id)), "{text}");
        for personal in ["Pat", "Smith", "alder.agreements", "audit"] {
            assert!(!text.contains(personal), "{personal}: {text}");
        }
    }
    // A refused attempt, a look, another run of the jobs: nobody is told again.
    refused(approves(&pair.alder, id, "agreements").await, "nobody approves their own change");
    refused(proposes(&pair.alder, "custodian", Command::Resume { agreement: pair.id }).await, "was proposed already");
    pair.alder.clock.forward(Instant::DAY);
    pair.alder.works_it_off().await;
    assert_eq!(told(id).len(), 2);
    approves(&pair.alder, id, "custodian").await.unwrap();
    assert_eq!(told(id).len(), 2);
}

/// A change of Alder that is approved, and takes effect in a week.
async fn approved_for_later(pair: &Pair, by: &str, second: &str) -> ChangeId {
    let (alder, now) = (&pair.alder, pair.alder.clock.now());
    let (resume, later) = (Command::Resume { agreement: pair.id }, Some(now.plus(7 * Instant::DAY)));
    let by = alder.fiction.person(by);
    let id = changes::propose_from(alder.node(), resume, &by, REASON, later).await.unwrap().id;
    assert!(matches!(approves(alder, id, second).await, Ok(State::Approved { .. })));
    id
}

#[actix_web::test]
async fn an_approved_change_whose_deciders_lost_their_accounts_is_not_carried_out() {
    for closed in [vec!["agreements"], vec!["custodian"], vec!["agreements", "custodian"], vec![]] {
        let pair = Pair::in_force().await;
        pair.alder.suspends(pair.id).await;
        let id = approved_for_later(&pair, "agreements", "custodian").await;
        for role in &closed {
            let (left, admin) = (pair.alder.fiction.person(role), pair.alder.fiction.person("admin"));
            people::close_account(pair.alder.node().registry(), &left, &admin).await.unwrap();
        }
        pair.set_clocks(pair.alder.clock.now().plus(7 * Instant::DAY));
        pair.alder.works_it_off().await;
        match state(&pair.alder, id) {
            State::Applied { .. } if closed.is_empty() => {
                assert!(matches!(pair.alder.status(pair.id), Status::InForce { .. }));
            }
            State::Overtaken { why, .. } if !closed.is_empty() => {
                assert!(why.contains("may not any more"), "{why}");
                assert!(matches!(pair.alder.status(pair.id), Status::Suspended { .. }));
            }
            other => panic!("{closed:?}: {other:?}"),
        }
    }
}

#[actix_web::test]
async fn what_was_approved_for_an_agreement_that_is_over_ends_as_overtaken_before_its_date() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&["administrator@alder.example"], &["custodian@alder.example"]);
    pair.alder.suspends(pair.id).await;
    let id = approved_for_later(&pair, "agreements", "custodian").await;
    pair.alder.works_it_off().await;
    assert!(matches!(state(&pair.alder, id), State::Approved { .. }), "it waits for its date");
    pair.birch.acts(pair.id, Act::Terminate { reason: "the board ended it".to_owned() }).await.unwrap();
    pair.alder.clock.forward(5 * Instant::MINUTE);
    pair.alder.works_it_off().await;
    match state(&pair.alder, id) {
        State::Overtaken { why, .. } => assert!(why.contains("is over: terminated by"), "{why}"),
        other => panic!("{other:?}"),
    }
    let told = |mail: &concordat::registry::outbox::Queued| mail.dedup.contains(&format!("change:{id}:overtaken"));
    let mails: Vec<_> = pair.alder.mails().into_iter().filter(told).collect();
    assert_eq!(mails.len(), 2, "both who decide such things are told, once");
    assert!(mails[0].subject.contains("was not carried out") && mails[0].body.contains("is over: terminated by"));
    refused(approves(&pair.alder, id, "custodian").await, "nothing is to be decided");
}

#[actix_web::test]
async fn a_reason_that_says_nothing_is_no_reason_and_what_narrows_takes_one_person() {
    let pair = Pair::in_force().await;
    let by = pair.alder.fiction.person("agreements");
    // One person, at once.
    lifecycle::act(pair.alder.node(), pair.id, Act::Suspend { reason: "audit".to_owned() }, &by).await.unwrap();
    assert!(matches!(pair.birch.status(pair.id), Status::Suspended { .. }));
    let command = Command::Resume { agreement: pair.id };
    for vague in ["", ".", "test", "because", "12345", "7ABC123"] {
        refused(changes::propose(pair.alder.node(), command.clone(), &by, vague).await, "too vague");
    }
    let id = pair.alder.proposes(command.clone(), REASON).await.unwrap();
    let custodian = pair.alder.fiction.person("custodian");
    refused(changes::refuse(pair.alder.node(), id, &custodian, "no").await, "too vague");
    refused(changes::refuse(pair.alder.node(), id, &by, REASON).await, "withdraw it");
    changes::refuse(pair.alder.node(), id, &custodian, "the audit report is missing").await.unwrap();
    refused(approves(&pair.alder, id, "custodian").await, "refused by");
    assert!(matches!(pair.alder.status(pair.id), Status::Suspended { .. }));
    // What nobody approves in 30 days lapses.
    let id = pair.alder.proposes(command, REASON).await.unwrap();
    pair.alder.clock.forward(LAPSES - 1);
    assert!(matches!(state(&pair.alder, id), State::Pending { .. }));
    pair.alder.clock.forward(1);
    refused(approves(&pair.alder, id, "custodian").await, "lapsed");
}

#[actix_web::test]
async fn what_moved_since_it_was_shown_has_to_be_looked_at_again() {
    let pair = Pair::in_force().await;
    let resume = || Command::Resume { agreement: pair.id };
    // The partner suspends meanwhile.
    pair.alder.suspends(pair.id).await;
    let id = pair.alder.proposes(resume(), REASON).await.unwrap();
    pair.birch.suspends(pair.id).await;
    refused(approves(&pair.alder, id, "custodian").await, "look again");
    assert_eq!(attempts(&pair.alder).len(), 0, "that was nobody's own");
    changes::withdraw(pair.alder.node(), id, &pair.alder.fiction.person("agreements")).await.unwrap();
    let id = pair.alder.proposes(resume(), REASON).await.unwrap();
    pair.birch.acts(pair.id, Act::Resume { reason: REASON.to_owned() }).await.unwrap();
    refused(approves(&pair.alder, id, "custodian").await, "look again");
    changes::withdraw(pair.alder.node(), id, &pair.alder.fiction.person("agreements")).await.unwrap();
    // The custodian took the authorization back meanwhile: what would open is something else.
    let id = pair.alder.proposes(resume(), REASON).await.unwrap();
    let custodian = pair.alder.fiction.person("custodian");
    authorizing::take_back(pair.alder.node(), pair.id, &custodian, "questions without a case number").await.unwrap();
    refused(approves(&pair.alder, id, "custodian").await, "look again");
    changes::withdraw(pair.alder.node(), id, &pair.alder.fiction.person("agreements")).await.unwrap();
    // The proposer left.
    let id = pair.alder.proposes(resume(), REASON).await.unwrap();
    let (left, admin) = (pair.alder.fiction.person("agreements"), pair.alder.fiction.person("admin"));
    people::close_account(pair.alder.node().registry(), &left, &admin).await.unwrap();
    refused(approves(&pair.alder, id, "custodian").await, "may not any more");
    assert!(matches!(pair.alder.status(pair.id), Status::Suspended { .. }));
}

#[actix_web::test]
async fn a_change_takes_effect_at_its_effective_date_and_not_if_something_moved_before() {
    let pair = Pair::in_force().await;
    let (alder, start) = (&pair.alder, pair.alder.clock.now());
    let by = alder.fiction.person("agreements");
    let from = |days: i64| Some(start.plus(days * Instant::DAY));
    let resume = || Command::Resume { agreement: pair.id };
    alder.suspends(pair.id).await;
    refused(changes::propose_from(alder.node(), resume(), &by, REASON, from(-1)).await, "is past");
    for (moves, ends) in [(false, "applied"), (true, "overtaken")] {
        if moves {
            alder.suspends(pair.id).await;
        }
        let now = alder.clock.now();
        let tomorrow = Some(now.plus(Instant::DAY));
        let id = changes::propose_from(alder.node(), resume(), &by, REASON, tomorrow).await.unwrap().id;
        assert!(matches!(approves(alder, id, "custodian").await, Ok(State::Approved { .. })));
        refused(approves(alder, id, "custodian").await, "approved by");
        alder.works_it_off().await;
        assert!(matches!(alder.status(pair.id), Status::Suspended { .. }), "not before its date");
        if moves {
            pair.birch.suspends(pair.id).await;
        }
        pair.set_clocks(now.plus(Instant::DAY));
        alder.works_it_off().await;
        match (state(alder, id), ends) {
            (State::Applied { .. }, "applied") => assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. })),
            (State::Overtaken { why, .. }, "overtaken") => {
                assert!(why.contains("look again"), "{why}");
                assert!(matches!(alder.status(pair.id), Status::Suspended { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The rules by which a question waits for the custodian; panics when it does not.
#[track_caller]
fn waits_by(gave: &Gave) -> Vec<Rule> {
    let Gave::Referred { rules, .. } = gave else { panic!("{gave:?}") };
    rules.iter().map(|said| said.rule).collect()
}

fn given(node: &TestNode) -> Vec<AuthorizationGiven> {
    let mut rows = node.entries(&Filter { kind: Some(Kind::AuthorizationGiven), ..Filter::default() });
    rows.reverse();
    rows.into_iter().map(|row| json::parse(&row.detail.unwrap().message).unwrap()).collect()
}

#[actix_web::test]
async fn standing_grants_are_answered_only_while_the_custodian_authorizes_them() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    // Given with the signature, for exactly our own standing grants, until the sunset.
    let said = given(&pair.birch);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].agreement, said[0].given, said[0].grants.len()), (pair.id, true, 1));
    assert_eq!(said[0].by, pair.birch.fiction.person("custodian"));
    assert!(said[0].grants.iter().all(|grant| grant.owner == pair.birch.ori() && grant.recipient == pair.alder.ori()));
    assert_eq!(said[0].expires_at, Instant::start_of(days_from_start(30)).unwrap());
    // Taken back by one, at once; by no other.
    let why = "questions without a case number";
    for role in ["agreements", "supervisor", "auditor", "admin"] {
        let by = pair.birch.fiction.person(role);
        refused(authorizing::take_back(pair.birch.node(), pair.id, &by, why).await, "does not allow this");
    }
    let custodian = pair.birch.fiction.person("custodian");
    let text = pair.question_text(PLATE).await;
    authorizing::take_back(pair.birch.node(), pair.id, &custodian, why).await.unwrap();
    refused(authorizing::take_back(pair.birch.node(), pair.id, &custodian, why).await, "nothing is authorized");
    let touched = pair.birch.touches();
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 202, "asked before, answered after");
    assert_eq!(waits_by(&pair.alder.queries(&pair.birch, PLATE).await), [Rule::StandingAuthorization]);
    assert_eq!(pair.birch.touches(), touched, "nothing was searched for");
    assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }), "the agreement stands");
    // And given again, by two.
    let id = pair.birch.proposes(Command::Authorize { agreement: pair.id }, REASON).await.unwrap();
    assert_eq!(waits_by(&pair.alder.queries(&pair.birch, PLATE).await), [Rule::StandingAuthorization]);
    pair.birch.approves(id).await.unwrap();
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    refused(proposes(&pair.birch, "agreements", Command::Authorize { agreement: pair.id }).await, "authorized already");
}

#[actix_web::test]
async fn an_authorization_taken_back_between_search_and_commit_withholds_the_answer() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
    let custodian = pair.birch.fiction.person("custodian");
    authorizing::take_back(pair.birch.node(), pair.id, &custodian, "questions without a case number").await.unwrap();
    let again = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(again.status, 202, "the same question is decided anew: {}", again.text());
    assert!(!again.text().contains(PLATE));
}

/// What the node says that a person has to do, after it looked at what others changed.
fn notices_of(node: &TestNode) -> Vec<String> {
    node.node().refresh_partners(&mut node.conn()).unwrap();
    concordat::upkeep::notices(node.node(), node.clock.now())
}

#[actix_web::test]
async fn rules_made_wider_in_the_configuration_count_only_when_two_people_decided_so() {
    let (federation, alder, mut birch) = Pair::enrolled().await;
    birch.restart_with(|config| {
        config.rules.max_lookback_days = NonZeroU32::new(2).unwrap();
        config.rules.sensitive = Sensitive::Deny;
    });
    let id = integration::pair::agree(&alder, &birch, &Terms::default()).await.unwrap();
    let mut pair = Pair { alder, birch, id, federation };
    let capped = |gave: Gave| match gave {
        Gave::Reads { capped, .. } => capped.iter().any(|cap| matches!(cap, Cap::Lookback { .. })),
        other => panic!("{other:?}"),
    };
    pair.birch_saw(PLATE).await;
    assert!(capped(pair.alder.queries(&pair.birch, PLATE).await));
    // Wider in the file: as before.
    pair.birch.restart_with(|config| {
        config.rules.max_lookback_days = NonZeroU32::new(30).unwrap();
        config.rules.sensitive = Sensitive::Refer;
        config.mail.custodians = vec!["custodian@birch.test".parse().unwrap()];
    });
    assert!(capped(pair.alder.queries(&pair.birch, PLATE).await), "nobody decided that");
    let file: OwnerRules = pair.birch.node().owner().rules.clone();
    let notices = notices_of(&pair.birch);
    let says = notices.iter().find(|notice| notice.contains("concordat change widen")).expect("it is said");
    assert!(says.contains("rules.max_lookback_days is 30 instead of 2") && says.contains("rules.sensitive"), "{says}");
    pair.birch.works_it_off().await;
    changes::rules::tell(pair.birch.node()).await.unwrap();
    let told: Vec<_> = pair.birch.mails().into_iter().filter(|mail| mail.body.contains("change widen")).collect();
    assert_eq!(told.len(), 1, "told once: {told:?}");
    let change = pair.birch.proposes(Command::WidenRules { rules: file }, REASON).await.unwrap();
    let shown = changes::all(&mut pair.birch.conn()).unwrap().unwrap().pop().unwrap().proposed.shows;
    assert!(shown.iter().any(|line| line.starts_with("changes: ") && line.contains("7 days back")), "{shown:?}");
    assert!(capped(pair.alder.queries(&pair.birch, PLATE).await), "proposed is not decided");
    pair.birch.approves(change).await.unwrap();
    assert!(!capped(pair.alder.queries(&pair.birch, PLATE).await), "at the very next question, with no restart");
    assert!(!notices_of(&pair.birch).iter().any(|notice| notice.contains("change widen")));
    // Narrower: at once, and wide again only by two.
    pair.birch.restart_with(|config| config.rules.max_lookback_days = NonZeroU32::new(1).unwrap());
    assert!(capped(pair.alder.queries(&pair.birch, PLATE).await));
    changes::rules::hold(pair.birch.node()).await.unwrap();
    pair.birch.restart_with(|config| config.rules.max_lookback_days = NonZeroU32::new(30).unwrap());
    assert!(capped(pair.alder.queries(&pair.birch, PLATE).await), "it was narrower meanwhile");
}

#[actix_web::test]
async fn rules_decided_at_a_command_line_while_the_node_runs_with_the_old_ones_count_from_its_next_start() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let mut config = pair.birch.settings().clone();
    config.rules.max_lookback_days = NonZeroU32::new(2).unwrap();
    pair.birch.restart_with(|narrow| *narrow = config.clone());
    changes::rules::hold(pair.birch.node()).await.unwrap();
    config.rules.max_lookback_days = NonZeroU32::new(30).unwrap();
    let clock = Arc::new(pair.birch.clock.clone());
    let other = Node::open(config.clone(), clock, Arc::new(|_: &str| {})).unwrap();
    let command = Command::WidenRules { rules: other.owner().rules.clone() };
    let (by, second) = (pair.birch.fiction.person("agreements"), pair.birch.fiction.person("custodian"));
    let id = changes::propose(&other, command, &by, REASON).await.unwrap();
    changes::approve(&other, id, &second).await.unwrap();
    let capped = |gave: Gave| matches!(gave, Gave::Reads { capped, .. } if !capped.is_empty());
    assert!(capped(pair.alder.queries(&pair.birch, PLATE).await), "this process was started with narrower ones");
    assert!(concordat::access::compare(pair.birch.node()).unwrap().differences.is_empty(), "which is no alarm");
    assert!(concordat::access::compare(&other).unwrap().differences.is_empty());
    drop(other);
    pair.birch.restart_with(|wide| *wide = config);
    assert!(!capped(pair.alder.queries(&pair.birch, PLATE).await));
}

#[actix_web::test]
async fn a_change_edited_in_the_trail_is_no_change_any_more() {
    let pair = Pair::in_force().await;
    pair.alder.suspends(pair.id).await;
    let id = pair.alder.proposes(Command::Resume { agreement: pair.id }, REASON).await.unwrap();
    let sql = "UPDATE detail SET message = replace(CAST(message AS TEXT), 'alder.agreements', 'alder.auditor') \
               WHERE idx = (SELECT max(idx) FROM leaf WHERE kind = 'change.proposed')";
    integration::tamper::run(&pair.alder.registry_file(), sql);
    refused(approves(&pair.alder, id, "custodian").await, "not the one that was recorded");
    assert!(matches!(pair.alder.status(pair.id), Status::Suspended { .. }));
}
