//! What holds cover, who sees them, and what whoever asks for one is told.

use std::process::Command;

use agreements::entry::Kind;
use agreements::hold::Covers;
use agreements::retention::kept_until;
use agreements::time::Instant;
use concordat::demo::agency::{ALDER, BIRCH, CEDAR};
use concordat::exchange::ask::Whom;
use concordat::holds as holding;
use concordat::people::PeopleError;
use concordat::trail::search::Filter;
use integration::TestNode;
use integration::database::Backend;
use integration::federation::{Federation, start};
use integration::pair::{Pair, Terms, agree};
use integration::process::program;
use serde_json::{Value, json};

use super::{OTHER, PLATE, asks_to_hold, deletes, fill, nobody_else_deletes, of_kind, says};

#[actix_web::test]
async fn s25_a_hold_on_a_partner_covers_questions_that_went_to_several() {
    let federation = Federation::found();
    let mut alder = TestNode::found(&federation, ALDER).await;
    let others = [TestNode::found(&federation, BIRCH).await, TestNode::found(&federation, CEDAR).await];
    for other in &others {
        alder.enrols(other).await;
        other.enrols(&alder).await;
        agree(&alder, other, &Terms::default()).await.unwrap();
    }
    let [birch, cedar] = &others;
    let mut both = alder.asking(birch, PLATE);
    both.whom = Whom::These(vec![birch.ori(), cedar.ori()]);
    alder.asks(both).await.unwrap();
    alder.queries(birch, OTHER).await;
    nobody_else_deletes(&mut alder);
    let until = kept_until(start(), 2).unwrap().plus(Instant::HOUR);
    for node in [&alder, birch, cedar] {
        node.clock.set(until);
    }
    federation.pki.renews_all(&[&alder, birch, cedar], until);
    let (asked, received) = (of_kind(&alder, Kind::QueryAsked), of_kind(&alder, Kind::QueryReceived));
    assert!(asked[0].facts.partner.is_none() && received[0].facts.partner.is_none(), "the index has room for one");
    let hold = asks_to_hold(&alder, Covers { partner: Some(cedar.ori()), ..Covers::default() }).await;
    let wrong = asks_to_hold(&alder, Covers { plate: Some("7RET999".to_owned()), ..Covers::default() }).await;
    assert_eq!(holding::covered(&mut alder.conn(), hold).unwrap(), Some(2));
    assert_eq!(holding::covered(&mut alder.conn(), wrong).unwrap(), Some(0));
    assert_eq!(deletes(&alder).await.unwrap().held, 2);
    assert!(says(&alder, asked[0].rid) && says(&alder, received[0].rid));
    assert_eq!(alder.receipts(asked[0].rid).len(), 2);
    assert!(!says(&alder, asked[1].rid) && !says(&alder, received[1].rid), "the other went to the other alone");
}

#[actix_web::test]
async fn holds_are_shown_to_whom_they_concern_and_that_somebody_looked_is_recorded() {
    let pair = Pair::in_force().await;
    let hold = asks_to_hold(&pair.alder, Covers { plate: Some(PLATE.to_owned()), ..Covers::default() }).await;
    let (db, person) = (pair.alder.node().registry(), |role| pair.alder.fiction.person(role));
    let size = pair.alder.trail_size();
    for role in ["admin", "agreements"] {
        for one in [None, Some(hold)] {
            let refused = holding::seen(db, one, true, &person(role)).await;
            assert!(matches!(refused, Err(PeopleError::Refused(_))), "{role}: {refused:?}");
        }
    }
    assert!(matches!(holding::seen(db, None, true, "nobody").await, Err(PeopleError::Refused(_))));
    assert_eq!(pair.alder.trail_size(), size);
    for role in ["investigator", "supervisor", "custodian", "auditor"] {
        for one in [None, Some(hold)] {
            assert_eq!(holding::seen(db, one, false, &person(role)).await.unwrap().len(), 1, "{role}");
            let (row, message) = pair.alder.newest();
            assert_eq!((row.kind, row.facts.username), (Kind::TrailSearched, Some(person(role))));
            let expected = match one {
                None => json!({"found": 1, "v": 1, "what": "holds"}),
                Some(hold) => json!({"found": 1, "hold": hold, "v": 1, "what": "holds"}),
            };
            assert_eq!(message, expected);
        }
    }
}

#[actix_web::test]
async fn the_program_says_how_much_a_hold_covers_and_warns_when_that_is_nothing() {
    let federation = Federation::found_at(Backend::Sqlite, integration::process::now());
    let mut birch = TestNode::found(&federation, BIRCH).await;
    fill(&birch, 500).await;
    let row = birch.entries(&Filter { kind: Some(Kind::QueryAnswered), limit: 1, ..Filter::default() }).remove(0);
    birch.stop();
    let folder = birch.registry_file().parent().unwrap().to_owned();
    let asks = |more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["hold", "request", "--case", "2026-1", "--reason", "trial in spring", "--contact", "desk 5"]);
        let done = command.args(["--as", "birch.investigator", "--dir"]).arg(&folder).args(more).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let rid = row.rid.to_string();
    let one = asks(&["--entry", &rid]);
    assert!(one.contains("covers today: 1,") && !one.contains("WARNING"), "{one}");
    let none = asks(&["--plate", "7TYP000"]);
    assert!(none.contains("WARNING: it covers NO entry"), "{none}");
    let said: Value = serde_json::from_str(&asks(&["--plate", "7TYP000", "--json"])).unwrap();
    assert_eq!(said["covered"], 0);
    let id = said["hold"].as_str().unwrap();
    let done = Command::new(program())
        .args(["hold", "approve", id, "--as", "birch.supervisor", "--dir"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(String::from_utf8(done.stdout).unwrap().contains("WARNING"));
}
