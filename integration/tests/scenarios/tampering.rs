//! Rows that decisions stand on, edited by hand in the database: noticed, refused, alarmed.

use std::num::NonZeroU32;

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, Salt};
use agreements::json;
use agreements::message::{PROTOCOL, StreamEvent, To};
use agreements::register::{Finding, FindingKind};
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::stream::Event;
use concordat::changes::{self, Command};
use concordat::checking::{self, Check};
use concordat::demo::agency::CEDAR;
use concordat::exchange::ask::{AskError, Gave};
use concordat::node::fresh_rid;
use concordat::people::{self, NewAccount, PeopleError};
use concordat::registry::accounts::Role;
use concordat::tampering::Table;
use concordat::trail::search::Filter;
use integration::node::TestNode;
use integration::pair::{Pair, Terms, days_from_start};
use integration::renewal::reviewed_if_not_the_first;
use integration::tamper;
use integration::wire::plain_get;

const PLATE: &str = "7TAM609";

/// What the next question gets: where the agreement stands, if that is why not.
async fn answered(pair: &Pair) -> Result<usize, Option<Status>> {
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::Reads { reads, .. } => Ok(reads.len()),
        Gave::Denied { status, .. } => Err(status),
        other => panic!("{other:?}"),
    }
}

/// That the node alarms about these tables, and about no other, wherever somebody may look.
async fn alarms(node: &TestNode, about: &[Table], what: &str) {
    let changed = node.node().changed();
    let mut tables: Vec<Table> = changed.iter().map(|changed| changed.table).collect();
    tables.dedup();
    assert_eq!(tables, about, "{what}: {changed:?}");
    let ready = plain_get(node.console(), "/readyz").await.json();
    assert_eq!(ready["alarms"].as_array().unwrap().len(), changed.len(), "{what}: {ready}");
    let page = plain_get(node.console(), "/").await.text().to_owned();
    assert_eq!(page.contains("the registry was changed by other hands"), !about.is_empty(), "{what}: {page}");
    let metrics = node.node().metrics().text().unwrap();
    for table in Table::ALL {
        let count = changed.iter().filter(|changed| changed.table == table).count();
        let line = format!("concordat_changed_rows{{table=\"{table:?}\"}} {count}\n");
        assert!(metrics.contains(&line), "{what}: {line} is not in {metrics}");
    }
}

fn alarms_logged() -> usize {
    integration::logs::captured().text().matches("ALARM").count()
}

#[actix_web::test]
async fn s09_a_row_of_the_agreements_table_edited_by_hand_is_noticed_refused_and_alarmed() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let store = pair.birch.registry_store();
    let wider = store.replaced("document", "\"lookback_days\":7", "\"lookback_days\":9");
    let longer = store.replaced("document", "\"sunset_on\":\"2026-12-23\"", "\"sunset_on\":\"2027-06-30\"");
    let event = store.replaced("message", "\"n\":1", "\"n\":2");
    for (what, table, sql) in [
        ("a wider lookback", "agreement", format!("UPDATE agreement SET document = {wider}")),
        ("a later sunset", "agreement", format!("UPDATE agreement SET document = {longer}")),
        ("no document", "agreement", format!("UPDATE agreement SET document = {}", store.bytes(b"{}"))),
        ("no agreement", "agreement", "DELETE FROM agreement".to_owned()),
        ("an event that says something else", "stream_event", format!("UPDATE stream_event SET message = {event}")),
        ("a signature of nobody", "stream_event", format!("UPDATE stream_event SET salt = {}", store.bytes(&[0; 32]))),
        ("no signature", "stream_event", "DELETE FROM stream_event".to_owned()),
    ] {
        alarms(&pair.birch, &[], what).await;
        assert_eq!(answered(&pair).await, Ok(1), "before: {what}");
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM {table}; {sql}"));
        let logged = alarms_logged();
        pair.birch.looks().await;
        let touched = pair.birch.touches();
        assert_eq!(answered(&pair).await, Err(Some(Status::NoAgreement {})), "{what}");
        assert_eq!(pair.birch.touches(), touched, "{what}");
        assert!(alarms_logged() > logged, "{what}");
        // Where the agreement is gone, nobody knows whose questions were counted under it.
        let all = [Table::Agreement, Table::DayUse];
        let about = if what == "no agreement" { &all[..] } else { &all[..1] };
        alarms(&pair.birch, about, what).await;
        pair.birch.restart();
        assert_eq!(answered(&pair).await, Err(Some(Status::NoAgreement {})), "after a restart: {what}");
        alarms(&pair.birch, about, what).await;
        store.run(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept"));
        pair.birch.looks().await;
    }
    assert_eq!(answered(&pair).await, Ok(1), "as it was");
}

#[actix_web::test]
async fn s09_an_event_that_somebody_made_up_in_place_of_a_suspension_brings_nothing_back() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.suspends(pair.id).await;
    let (alder, birch) = (pair.alder.ori(), pair.birch.ori());
    let document = Terms::default().between(&pair.birch.node().party(), &pair.alder.node().party());
    let (id, bytes, now) = (document.id, document.to_bytes().unwrap(), pair.birch.clock_now());
    let event = StreamEvent {
        v: PROTOCOL,
        to: vec![To { ori: alder, agreement: id }],
        document: Digest::of(&bytes),
        n: 1,
        seen: None,
        event: Event::Declined { reason: "made up".to_owned() },
    };
    let (message, rid, salt) = (json::canonical(&event).unwrap(), fresh_rid(now).unwrap(), Salt([7; 32]));
    let leaf = Leaf::over(Kind::AgreementEvent, rid, now, (&salt, &message), (&salt, b"{}")).to_bytes();
    let store = pair.birch.registry_store();
    let row: Vec<String> =
        [rid.as_bytes().as_slice(), &leaf, &message, &salt.0].into_iter().map(|cell| store.bytes(cell)).collect();
    // As many rows as the trail has events, and each as sound as it can be made without a key.
    store.run(&format!(
        "DELETE FROM stream_event WHERE agreement = '{}' AND party = '{birch}' AND n = 2;
         INSERT INTO agreement (id, partner, document, offer, kept_at) VALUES ('{id}', '{alder}', {}, NULL, 0);
         INSERT INTO stream_event (agreement, party, n, rid, leaf, message, salt) VALUES ('{id}', '{birch}', 1, {})",
        pair.id,
        store.bytes(&bytes),
        row.join(", "),
    ));
    pair.birch.looks().await;
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.message()["outcome"]["status"]["status"], "no_agreement", "{}", reply.text());
    alarms(&pair.birch, &[Table::Agreement], "a made-up event").await;
}

#[actix_web::test]
async fn s09_a_renewal_edited_by_hand_does_not_bring_back_what_it_took_the_place_of() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let renewed = pair.alder.document_hash(pair.id);
    reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
    let new = pair.alder.renews_today(pair.id).await.unwrap();
    pair.alder.signs(new).await;
    pair.birch.signs(new).await;
    let superseded = |node: &TestNode| matches!(node.status(pair.id), Status::Superseded { by, .. } if by == new);
    assert!(superseded(&pair.alder) && superseded(&pair.birch));
    let store = pair.birch.registry_store();
    let named = format!(",\"supersedes\":\"{renewed}\"");
    let none = store.replaced("document", &named, "");
    let other = store.replaced("document", &named, &format!(",\"supersedes\":\"{}\"", Digest::of(b"")));
    for (what, table, sql) in [
        ("it renews nothing", "agreement", format!("UPDATE agreement SET document = {none} WHERE id = '{new}'")),
        ("it renews another", "agreement", format!("UPDATE agreement SET document = {other} WHERE id = '{new}'")),
        ("it is gone", "agreement", format!("DELETE FROM agreement WHERE id = '{new}'")),
        (
            "it is with somebody else",
            "agreement",
            format!("UPDATE agreement SET partner = 'CA0990200' WHERE id = '{new}'"),
        ),
        ("it is not signed", "stream_event", format!("DELETE FROM stream_event WHERE agreement = '{new}'")),
        (
            "one did not sign it",
            "stream_event",
            format!("DELETE FROM stream_event WHERE agreement = '{new}' AND party = '{}'", pair.birch.ori()),
        ),
    ] {
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM {table}; PRAGMA foreign_keys = OFF; {sql}"));
        for restarted in [false, true] {
            if restarted {
                pair.birch.restart();
            }
            pair.birch.looks().await;
            let touched = pair.birch.touches();
            let text = pair.question_text(PLATE).await;
            let reply = pair.alder.posts_query(&pair.birch, &text).await;
            assert_eq!(reply.message()["outcome"]["status"]["status"], "no_agreement", "{what}: {}", reply.text());
            assert_eq!(pair.birch.touches(), touched, "{what}");
            let tables: Vec<Table> = pair.birch.node().changed().iter().map(|changed| changed.table).collect();
            assert!(tables.contains(&Table::Agreement), "{what}: {tables:?}");
        }
        store.run(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept"));
        pair.birch.looks().await;
        assert!(superseded(&pair.birch), "as it was: {what}");
    }
    assert_eq!(answered(&pair).await, Ok(1), "under the renewal");
}

#[actix_web::test]
async fn s09_a_key_that_is_none_is_an_alarm_and_no_read_leaves() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let store = pair.birch.registry_store();
    for (table, key, about) in [("agreement", "id", Table::Agreement), ("agency", "ori", Table::Agency)] {
        assert_eq!(answered(&pair).await, Ok(1), "before: {table}");
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM {table}; UPDATE {table} SET {key} = 'x'"));
        pair.birch.looks().await;
        let tables: Vec<Table> = pair.birch.node().changed().iter().map(|changed| changed.table).collect();
        assert!(tables.contains(&about), "{table}: {tables:?}");
        if about == Table::Agreement {
            let text = pair.question_text(PLATE).await;
            let reply = pair.alder.posts_query(&pair.birch, &text).await;
            assert!(reply.status != 200 && !reply.text().contains(PLATE), "{}", reply.text());
        }
        store.run(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept"));
        pair.birch.looks().await;
        assert_eq!(*pair.birch.node().changed(), [], "{table}");
    }
    assert_eq!(answered(&pair).await, Ok(1));
}

fn named(pair: &Pair) -> Finding {
    Finding {
        ori: pair.alder.ori(),
        kind: FindingKind::NamedInSuit,
        citation: "People v. Alder County, complaint of 20 November 2026".to_owned(),
        document: None,
        evidence: Vec::new(),
        from: None,
        on: days_from_start(-3),
        entered_by: String::new(),
        approved_by: None,
    }
}

#[actix_web::test]
async fn s09_a_finding_that_is_edited_added_or_taken_away_by_hand_brings_nothing_into_force() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.finds(named(&pair)).await;
    // The last entry is the early review that the finding opened.
    let last = pair.birch.trail_size() - 2;
    let adverse = Err(Some(Status::AdverseFinding { parties: vec![pair.alder.ori()] }));
    assert_eq!(answered(&pair).await, adverse);
    let store = pair.birch.registry_store();
    let cleared = store.replaced("body", "named_in_suit", "cleared");
    let told = store.replaced("message", "named_in_suit", "cleared");
    let elsewhere = store.replaced("body", "CA0990000", "CA0990200");
    for (what, sql) in [
        ("taken away", "DELETE FROM finding".to_owned()),
        ("cleared", format!("UPDATE finding SET body = {cleared}")),
        ("of somebody else", format!("UPDATE finding SET body = {elsewhere}, ori = 'CA0990200'")),
        ("a clearing added", format!("INSERT INTO finding SELECT 2, ori, {cleared}, entered_at, seal FROM finding")),
        (
            "cleared in the trail too",
            format!(
                "UPDATE finding SET body = {cleared}; \
                 CREATE TABLE told AS SELECT * FROM detail; UPDATE detail SET message = {told} WHERE idx = {last}"
            ),
        ),
    ] {
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM finding; {sql}"));
        pair.birch.looks().await;
        assert_eq!(answered(&pair).await, Err(Some(Status::AgCheckStale { checked_at: None })), "{what}");
        alarms(&pair.birch, &[Table::Register], what).await;
        if what.ends_with("too") {
            store.run("DELETE FROM detail; INSERT INTO detail SELECT * FROM told; DROP TABLE told");
        }
        store.run("DELETE FROM finding; INSERT INTO finding SELECT * FROM kept; DROP TABLE kept");
        pair.birch.looks().await;
        assert_eq!(answered(&pair).await, adverse, "as it was: {what}");
        alarms(&pair.birch, &[], what).await;
    }
}

#[actix_web::test]
async fn s09_a_check_that_is_edited_added_or_taken_away_by_hand_is_no_check() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let store = pair.birch.registry_store();
    let result = store.replaced("body", "none", "named");
    let later = store.replaced("body", "2026-11-23", "2026-11-24");
    for (what, sql) in [
        ("taken away", "DELETE FROM ag_check".to_owned()),
        ("with another result", format!("UPDATE ag_check SET body = {result}")),
        ("later", format!("UPDATE ag_check SET checked_at = checked_at + 86400000000, body = {later}")),
        ("later in its column alone", "UPDATE ag_check SET checked_at = checked_at + 86400000000".to_owned()),
        ("added", format!("INSERT INTO ag_check SELECT n + 1, checked_at + 86400000000, {later}, seal FROM ag_check")),
    ] {
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM ag_check; {sql}"));
        pair.birch.looks().await;
        assert_eq!(answered(&pair).await, Err(Some(Status::AgCheckStale { checked_at: None })), "{what}");
        alarms(&pair.birch, &[Table::Register], what).await;
        store.run("DELETE FROM ag_check; INSERT INTO ag_check SELECT * FROM kept; DROP TABLE kept");
        pair.birch.looks().await;
        assert_eq!(answered(&pair).await, Ok(1), "as it was: {what}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[actix_web::test]
async fn s09_a_finding_cleared_in_its_row_its_entry_and_its_leaf_is_not_in_the_tree() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.finds(named(&pair)).await;
    let store = pair.birch.registry_store();
    let last = pair.birch.trail_size() - 2;
    let of = |what: &str| unhex(&store.cell(&format!("SELECT hex({what}) AS cell FROM detail WHERE idx = {last}")));
    let message = String::from_utf8(of("message")).unwrap().replace("named_in_suit", "cleared").into_bytes();
    let salt = Salt(of("message_salt").try_into().unwrap());
    let body = unhex(&store.cell(&format!("SELECT hex(body) AS cell FROM leaf WHERE idx = {last}")));
    let forged = Leaf { message: Digest::salted(&salt, &message), ..Leaf::from_bytes(&body).unwrap() }.to_bytes();
    store.run(&format!(
        "UPDATE finding SET body = {0}; UPDATE detail SET message = {0} WHERE idx = {last}; \
         UPDATE leaf SET body = {1}, hash = {2} WHERE idx = {last}",
        store.bytes(&message),
        store.bytes(&forged),
        store.bytes(&Leaf::hash_of(&forged).0),
    ));
    for restarted in [false, true] {
        if restarted {
            pair.birch.restart();
        }
        pair.birch.looks().await;
        assert_eq!(answered(&pair).await, Err(Some(Status::AgCheckStale { checked_at: None })));
        alarms(&pair.birch, &[Table::Register], "forged").await;
    }
}

/// Whether this person may ask.
async fn may_ask(pair: &Pair, role: &str) -> bool {
    let mut ask = pair.alder.asking(&pair.birch, PLATE);
    ask.username = pair.alder.fiction.person(role);
    match pair.alder.asks(ask).await {
        Ok(_) => true,
        Err(AskError::Person(_)) => false,
        other => panic!("{other:?}"),
    }
}

#[actix_web::test]
async fn s09_an_account_that_is_edited_added_or_reopened_by_hand_may_do_nothing() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    people::close_account(pair.alder.node().registry(), "alder.supervisor", "alder.admin").await.unwrap();
    let store = pair.alder.registry_store();
    let copy = "INSERT INTO account SELECT 'alder.nobody', name, affiliation, role, opened_at, opened_by, trained_on, \
         disabled_at FROM account WHERE username = 'alder.investigator'";
    for (what, role, sql) in [
        (
            "made an investigator",
            "auditor",
            "UPDATE account SET role = 'investigator' WHERE username = 'alder.auditor'",
        ),
        (
            "trained",
            "investigator",
            "UPDATE account SET trained_on = '2026-11-24' WHERE username = 'alder.investigator'",
        ),
        ("renamed", "investigator", "UPDATE account SET name = 'Other' WHERE username = 'alder.investigator'"),
        ("given a role that there is not", "investigator", "UPDATE account SET role = 'x' WHERE role = 'investigator'"),
        ("opened again", "supervisor", "UPDATE account SET disabled_at = NULL WHERE username = 'alder.supervisor'"),
        ("added", "nobody", copy),
        ("taken away", "investigator", "DELETE FROM account WHERE username = 'alder.investigator'"),
    ] {
        assert!(may_ask(&pair, "investigator").await, "before: {what}");
        let asked = pair.birch.trail_size();
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM account; {sql}"));
        // At once, with no look at all in between.
        let logged = alarms_logged();
        assert!(!may_ask(&pair, role).await, "{what}");
        assert!(alarms_logged() > logged, "{what}");
        assert_eq!(pair.birch.trail_size(), asked, "{what}: nothing left the node");
        pair.alder.looks().await;
        alarms(&pair.alder, &[Table::Account], what).await;
        assert!(!may_ask(&pair, role).await, "{what}");
        store.run("DELETE FROM account; INSERT INTO account SELECT * FROM kept; DROP TABLE kept");
        pair.alder.looks().await;
        alarms(&pair.alder, &[], what).await;
    }
}

#[actix_web::test]
async fn s09_an_entry_hidden_by_its_column_is_alarmed() {
    let pair = Pair::in_force().await;
    people::close_account(pair.alder.node().registry(), "alder.supervisor", "alder.admin").await.unwrap();
    let last = pair.alder.trail_size() - 1;
    let store = pair.alder.registry_store();
    store.run(&format!(
        "UPDATE leaf SET kind = 'trail.searched' WHERE idx = {last}; UPDATE account SET disabled_at = NULL"
    ));
    pair.alder.looks().await;
    alarms(&pair.alder, &[Table::Leaf], "hidden").await;
    store.run(&format!("UPDATE leaf SET kind = 'user.changed' WHERE idx = {last}"));
    pair.alder.looks().await;
    alarms(&pair.alder, &[Table::Account], "found").await;
}

#[actix_web::test]
async fn s09_a_finding_hidden_by_its_column_with_its_row_taken_away_opens_nothing() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    pair.birch.finds_named(pair.alder.ori()).await;
    let denied = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(denied, Gave::Denied { .. }), "{denied:?}");
    let store = pair.birch.registry_store();
    pair.birch.stop();
    store.run("DELETE FROM finding WHERE n = (SELECT MAX(n) FROM finding)");
    store.run("UPDATE leaf SET kind = 'query.refused' WHERE kind IN ('ag.finding', 'review.opened')");
    pair.birch.try_start().unwrap();
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(&gave, Gave::Invalid { why } if why.contains("503")), "{gave:?}");
    let unready = pair.birch.node().unready(&mut pair.birch.conn()).unwrap();
    assert!(unready.iter().any(|why| why.contains("hidden by columns")), "{unready:?}");
}

#[actix_web::test]
async fn s09_an_entry_that_narrows_and_is_hidden_by_its_index_is_alarmed() {
    let mut pair = Pair::in_force().await;
    let (custodian, store) = (pair.birch.fiction.person("custodian"), pair.birch.registry_store());
    // Narrower rules, an authorization taken back, a change withdrawn, a suspension by the partner.
    pair.birch.restart_with(|config| config.rules.max_lookback_days = NonZeroU32::new(1).unwrap());
    changes::rules::hold(pair.birch.node()).await.unwrap();
    let taken_back =
        changes::authorizing::take_back(pair.birch.node(), pair.id, &custodian, "questions without a case");
    taken_back.await.unwrap();
    let authorize = Command::Authorize { agreement: pair.id };
    let change = pair.birch.proposes(authorize, "the review found nothing").await.unwrap();
    changes::withdraw(pair.birch.node(), change, &pair.birch.fiction.person("agreements")).await.unwrap();
    pair.alder.suspends(pair.id).await;
    pair.birch.looks().await;
    alarms(&pair.birch, &[], "as it was").await;

    let last =
        |kind: &str| store.cell(&format!("SELECT CAST(MAX(idx) AS TEXT) AS cell FROM leaf WHERE kind = '{kind}'"));
    let adopted = store.cell("SELECT CAST(MAX(idx) AS TEXT) AS cell FROM fact WHERE decision = 'adopted'");
    for (edit, idx) in [
        ("SET decision = 'proposed'", adopted.clone()),
        ("SET partner = 'CA0990200'", last("authorization.given")),
        ("SET partner = NULL", last("change.proposed")),
        ("SET decision = 'approved'", last("change.settled")),
        ("SET decision = 'offer received'", last("agreement.acknowledged")),
        ("SET partner = 'CA0990200'", last("approval.given")),
    ] {
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM fact; UPDATE fact {edit} WHERE idx = {idx}"));
        pair.birch.looks().await;
        alarms(&pair.birch, &[Table::Leaf], edit).await;
        store.run("DELETE FROM fact; INSERT INTO fact SELECT * FROM kept; DROP TABLE kept");
        pair.birch.looks().await;
        alarms(&pair.birch, &[], edit).await;
    }
    // Nor by taking the row away, and with its note edited to match.
    store.run(&format!("CREATE TABLE kept AS SELECT * FROM fact; DELETE FROM fact WHERE idx = {adopted}"));
    pair.birch.looks().await;
    alarms(&pair.birch, &[Table::Leaf], "without a row").await;
    store.run("DELETE FROM fact; INSERT INTO fact SELECT * FROM kept; DROP TABLE kept");
    let note = store.replaced("note", "\"decision\":\"adopted\"", "\"decision\":\"settled\"");
    store.run(&format!(
        "UPDATE fact SET decision = 'settled' WHERE idx = {adopted}; UPDATE detail SET note = {note} WHERE idx = {adopted}"
    ));
    pair.birch.looks().await;
    alarms(&pair.birch, &[Table::Leaf], "with its note").await;
}

#[actix_web::test]
async fn s09_who_empties_the_table_of_accounts_does_not_open_the_first_one() {
    let pair = Pair::in_force().await;
    pair.alder.registry_store().run("DELETE FROM account");
    let new = NewAccount {
        username: "alder.first".to_owned(),
        name: "Finley First".to_owned(),
        affiliation: "Nowhere".to_owned(),
        role: Role::SystemAdministrator,
    };
    let before = pair.alder.trail_size();
    for by in ["alder.first", "alder.admin"] {
        let opened = people::open_account(pair.alder.node().registry(), new.clone(), by).await;
        assert!(matches!(opened, Err(PeopleError::Refused(_))), "{by}: {opened:?}");
    }
    assert_eq!(pair.alder.trail_size(), before);
}

#[actix_web::test]
async fn s09_a_day_of_questions_that_is_counted_down_by_hand_is_counted_again() {
    let mut terms = Terms::default();
    terms.query.daily_quota = 2;
    let pair = Pair::under(terms).await;
    pair.birch_saw(PLATE).await;
    let store = pair.birch.registry_store();
    for sql in ["UPDATE day_use SET questions = 0", "DELETE FROM day_use", "UPDATE day_use SET questions = 1"] {
        while answered(&pair).await == Ok(1) {}
        store.run(sql);
        let logged = alarms_logged();
        pair.birch.looks().await;
        assert!(alarms_logged() > logged, "{sql}");
        alarms(&pair.birch, &[Table::DayUse], sql).await;
        match pair.alder.queries(&pair.birch, PLATE).await {
            Gave::Denied { rules, .. } => assert_eq!(rules[0].rule, Rule::Quota, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
        pair.birch.looks().await;
        alarms(&pair.birch, &[], sql).await;
    }
    assert_eq!(store.cell("SELECT CAST(questions AS TEXT) AS cell FROM day_use"), "2");
}

#[actix_web::test]
async fn s09_a_partner_that_is_enrolled_by_hand_stays_a_stranger() {
    let mut pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    let store = pair.birch.registry_store();
    let file = store.bytes(&cedar.descriptor());
    let stranger = cedar.calls(&pair.birch).get("/peer/v1/node").await;
    assert_eq!(stranger.status, 404);
    store.run(&format!(
        "INSERT INTO agency SELECT 'CA0990200', party, {file}, enrolled_at, enrolled_by, confirmed_by FROM agency"
    ));
    pair.birch.looks().await;
    alarms(&pair.birch, &[Table::Agency], "added").await;
    pair.birch.restart();
    let still = cedar.calls(&pair.birch).get("/peer/v1/node").await;
    assert_eq!(still.undated(), stranger.undated());
    assert_eq!(pair.alder.calls(&pair.birch).get("/peer/v1/node").await.status, 200, "the other partner is none");
    // Honestly enrolled, it is one.
    store.run("DELETE FROM agency WHERE ori = 'CA0990200'");
    pair.birch.enrols(&cedar).await;
    pair.birch.looks().await;
    alarms(&pair.birch, &[], "enrolled").await;
    assert_eq!(cedar.calls(&pair.birch).get("/peer/v1/node").await.status, 200);
}

#[actix_web::test]
async fn what_only_one_party_said_is_no_alarm() {
    let pair = Pair::in_force().await;
    pair.birch.suspends(pair.id).await;
    for node in [&pair.alder, &pair.birch] {
        alarms(node, &[], "one suspended and the other did not").await;
        assert_eq!(node.status(pair.id), Status::Suspended { by: vec![pair.birch.ori()] });
    }
}

#[actix_web::test]
async fn s22_what_was_changed_where_no_decision_looks_is_found_by_recomputing_the_whole_trail_in_the_background() {
    let pair = Pair::in_force().await;
    assert_eq!(answered(&pair).await, Ok(0));
    let birch = pair.birch.node();
    assert_eq!(*birch.checking().now(), Check::Waiting);
    checking::check(birch, 1);
    let sound = birch.checking().now();
    assert_eq!(sound.alarm(), None, "{sound:?}");
    let page = plain_get(pair.birch.console(), "/").await.text().to_owned();
    assert!(page.contains(&sound.says()) && sound.says().contains("are sound"), "{page}");
    // What somebody asked, a year ago: no rule, no account and no agreement stands on it.
    let answer = Filter { kind: Some(Kind::QueryAnswered), limit: 1, ..Filter::default() };
    let answer = pair.birch.entries(&answer).remove(0).index;
    tamper::run(&pair.birch.registry_file(), &format!("UPDATE detail SET note = '{{}}' WHERE idx = {answer}"));
    pair.birch.looks().await;
    assert_eq!(birch.changed().len(), 0, "nothing that decides was changed");
    checking::check(birch, 1);
    let alarm = birch.checking().now().alarm().unwrap();
    assert!(alarm.contains(&format!("the note is not the one that the leaf commits to (entry {answer})")), "{alarm}");
    let ready = plain_get(pair.birch.console(), "/readyz").await.json();
    assert_eq!(ready["alarms"], serde_json::json!([alarm]));
    let metrics = birch.metrics().text().unwrap();
    assert!(metrics.contains("concordat_trail_problems 1\n"), "{metrics}");
}
