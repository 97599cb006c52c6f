//! S13: a sensitive term in any text of a question, in any dress.

use agreements::entry::Kind;
use agreements::message::{Outcome, Question};
use agreements::rule::Rule;
use agreements::screen;
use agreements::time::Instant;
use concordat::auditing;
use concordat::demo::agency::CEDAR;
use concordat::exchange::ask::{AskError, Gave, Whom};
use concordat::registry::outbox::State;
use concordat::trail::search::{Filter, Row};
use integration::node::CASE;
use integration::pair::{Pair, Terms, agree};
use integration::{TestNode, wire};
use serde_json::{Value, json};

const PLATE: &str = "7HSI013";
const ADMINISTRATOR: &str = "administrator@birch.example";
const CUSTODIAN: &str = "custodian@birch.example";

/// What stands in a text field of a question.
type Field = (&'static str, fn(&mut Question, &str));

/// Every text field, and how each is filled so that nothing but the term is wrong with it.
const FIELDS: [Field; 8] = [
    ("reason", |q, text| q.reason = format!("{text} with a vehicle of a burglary suspect")),
    ("reference", |q, text| q.reference.as_mut().unwrap().number = format!("{text} 26-118")),
    ("why_all", |q, text| q.why_all = Some(format!("{text}, vehicle leaves the county every night"))),
    ("supervisor", |q, text| q.supervisor = Some(text.to_owned())),
    ("end_user", |q, text| q.on_behalf_of.end_user = text.to_owned()),
    ("username", |q, text| q.asker.username = text.to_owned()),
    ("name", |q, text| q.asker.name = text.to_owned()),
    ("affiliation", |q, text| q.asker.affiliation = text.to_owned()),
];

const DRESSES: [&str; 10] = [
    "HSI assist",
    "hSi ASSIST",
    "H  S I    assist",
    "h.s.i. as-sist",
    "HS1 assist",
    "\u{41d}\u{405}\u{406} assist",
    "h\u{455}\u{456} \u{430}ssist",
    "\u{ff28}\u{ff33}\u{ff29} \u{ff41}ssist",
    "H\u{200b}S\u{2060}I assist",
    "\u{1d407}\u{1d412}\u{1d408} assist",
];

/// What the custodian sees that waits, newest first.
async fn waiting(node: &TestNode) -> Vec<Row> {
    let filter = Filter { kind: Some(Kind::QueryAnswered), decision: Some("referred".to_owned()), ..Filter::default() };
    let person = node.fiction.person("custodian");
    auditing::search(node.node().registry(), filter, &person).await.unwrap()
}

fn note(row: &Row) -> Value {
    serde_json::from_slice(&row.detail.as_ref().unwrap().note).unwrap()
}

fn outcome(reply: &wire::Reply) -> Outcome {
    serde_json::from_value(reply.message()["outcome"].clone()).unwrap()
}

/// Alder's questions are forged: as from a node that does not screen its own.
#[actix_web::test]
async fn s13_hsi_assist_in_any_text_field_in_any_dress_is_referred_never_answered_and_seen_by_the_custodian_at_once() {
    let mut pair = Pair::in_force().await;
    pair.birch.mails_to(&[ADMINISTRATOR], &[CUSTODIAN]);
    pair.birch_saw(PLATE).await;
    let touched = pair.birch.touches();
    let forger = pair.alder.forger();
    for (field, fill) in FIELDS {
        for dress in DRESSES {
            let what = format!("{field}: {dress}");
            let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
            fill(&mut question, dress);
            let reply = pair.alder.posts_query(&pair.birch, &forger.asks(&question).await).await;
            assert!(!reply.text().contains("\"results\""), "{what}");
            let listed = waiting(&pair.birch).await;
            match outcome(&reply) {
                Outcome::Referred { ticket, rules } => {
                    assert_eq!(reply.status, 202, "{what}");
                    assert_eq!(
                        rules.iter().map(|said| said.rule).collect::<Vec<_>>(),
                        [Rule::SensitiveTerms],
                        "{what}"
                    );
                    // The newest of what the custodian's list shows, with the list that it was screened by.
                    let message: Value = serde_json::from_slice(&listed[0].detail.as_ref().unwrap().message).unwrap();
                    assert_eq!(message["outcome"]["ticket"], json!(ticket), "{what}");
                    assert_eq!(note(&listed[0])["screen"], screen::version(), "{what}");
                    assert_eq!(note(&listed[0])["topics"], json!(["immigration"]), "{what}");
                }
                // A number of a case is ASCII letters and digits: other characters deny it, and it is on record why.
                Outcome::Denied { rules, .. } if field == "reference" && !dress.is_ascii() => {
                    let rules: Vec<Rule> = rules.iter().map(|said| said.rule).collect();
                    assert_eq!(rules, [Rule::ReferencePresent, Rule::SensitiveTerms], "{what}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    assert_eq!(pair.birch.touches(), touched, "the store was touched");
    assert_eq!(waiting(&pair.birch).await.len(), 75);
}

#[actix_web::test]
async fn s13_the_custodian_gets_mail_at_once_that_names_nothing_and_never_a_flood_of_it() {
    let mut pair = Pair::in_force().await;
    pair.birch.mails_to(&[ADMINISTRATOR], &[CUSTODIAN]);
    let forger = pair.alder.forger();
    let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
    question.asker.affiliation = "HSI assist".to_owned();
    let text = forger.asks(&question).await;
    let Outcome::Referred { ticket, .. } = outcome(&pair.alder.posts_query(&pair.birch, &text).await) else {
        panic!("not referred");
    };
    // It was queued with the referral: by the time of the answer it is there, and the bell has rung for it.
    let mails = pair.birch.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!((mail.recipient.as_str(), mail.created_at), (CUSTODIAN, pair.birch.newest().0.at));
    for says in [&ticket.to_string(), "immigration", "concordat request list", "CA0990000"] {
        assert!(mail.body.contains(says), "{}", mail.body);
    }
    let said = format!("{} {}", mail.subject, mail.body);
    for secret in [PLATE, CASE, "118842", "Indigo", "investigator", "HSI", "hardware"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    // The clock stands still, so no schedule sends it.
    for _ in 0..500 {
        if pair.birch.mails()[0].state == State::Sent {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(pair.birch.mails()[0].state, State::Sent);

    // The same question again is the same referral: no second mail.
    pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(pair.birch.mails().len(), 1);

    // Ten a day have a mail each; then there is one an hour.
    let many = async |count: usize| {
        for _ in 0..count {
            let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
            question.asker.affiliation = "HSI assist".to_owned();
            let reply = pair.alder.posts_query(&pair.birch, &forger.asks(&question).await).await;
            assert_eq!(reply.status, 202);
        }
        // What other jobs have to say by now is not counted.
        pair.birch.mails().iter().filter(|mail| mail.dedup.starts_with("referred:")).count()
    };
    assert_eq!(many(9).await, 10);
    assert_eq!(many(20).await, 11);
    assert_eq!(pair.birch.mails().iter().filter(|mail| mail.body.contains("once an hour")).count(), 1);
    pair.set_clocks(pair.birch.clock_now().plus(Instant::HOUR));
    assert_eq!(many(5).await, 12);
    pair.set_clocks(pair.birch.clock_now().plus(Instant::DAY));
    assert_eq!(many(3).await, 15, "a new day");
}

#[actix_web::test]
async fn s13_where_no_custodian_is_named_the_administrators_get_the_mail() {
    let mut pair = Pair::in_force().await;
    pair.birch.mails_to(&[ADMINISTRATOR], &[]);
    let mut ask = pair.alder.asking(&pair.birch, PLATE);
    ask.reason = "hsi assist with a vehicle".to_owned();
    let report = pair.alder.asks(ask).await.unwrap();
    assert!(matches!(report.lines[0].gave, Gave::Referred { .. }), "{report:?}");
    let mails = pair.birch.mails();
    assert_eq!(mails.iter().map(|mail| mail.recipient.as_str()).collect::<Vec<_>>(), [ADMINISTRATOR]);
}

#[actix_web::test]
async fn s13_the_askers_own_node_screens_first_so_that_no_fan_out_becomes_many_referrals() {
    let pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.alder).await;
    pair.alder.enrols(&cedar).await;
    agree(&pair.alder, &cedar, &Terms::default()).await.unwrap();

    let mut fan_out = pair.alder.asking(&pair.birch, PLATE);
    fan_out.whom = Whom::All { why: "the vehicle leaves the county every night".to_owned() };
    let everybody = pair.alder.asks(fan_out.clone()).await.unwrap();
    assert_eq!(everybody.lines.len(), 2, "{everybody:?}");

    let owners = [pair.birch.trail_size(), cedar.trail_size()];
    for reason in
        ["HSI assist with a vehicle", "h.s.i. assist with a vehicle", "\u{41d}\u{405}\u{406} assist with a vehicle"]
    {
        fan_out.reason = reason.to_owned();
        match pair.alder.asks(fan_out.clone()).await {
            Err(AskError::Screened(rules)) => assert_eq!(rules, [Rule::SensitiveTerms], "{reason}"),
            other => panic!("{reason}: {other:?}"),
        }
        let (row, _) = pair.alder.newest();
        assert_eq!((row.kind, row.facts.rule.as_deref()), (Kind::QueryRefused, Some("sensitive_terms")));
        let expected = json!({"rules": ["sensitive_terms"], "screen": screen::version(), "topics": ["immigration"]});
        assert_eq!(note(&row), expected, "{reason}");
    }
    assert_eq!([pair.birch.trail_size(), cedar.trail_size()], owners, "nothing left the node");

    // One partner's custodian can be asked about it.
    fan_out.whom = Whom::These(vec![pair.birch.ori()]);
    let report = pair.alder.asks(fan_out).await.unwrap();
    assert!(matches!(report.lines[0].gave, Gave::Referred { .. }), "{report:?}");
    let asked = Filter { kind: Some(Kind::QueryAsked), limit: 1, ..Filter::default() };
    let asked = note(&pair.alder.entries(&asked)[0]);
    assert_eq!(asked, json!({"screen": screen::version(), "topics": ["immigration"]}));
}
