//! Readers' agents: tokens made, recognised and ended, through the service that records it.

use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::db::Db;
use concordat::demo::agency::{self, ALDER};
use concordat::intake::agents::{add, recognise, revoke};
use concordat::people::PeopleError;
use concordat::registry::agents;
use integration::database::Backend;
use integration::federation::start;
use integration::on_both;
use integration::registry::{TestRegistry, block_on, keeper};

on_both!(
    a_token_is_recognised_until_it_is_revoked,
    an_agent_has_one_token_that_counts,
    agents_are_listed_in_the_order_of_their_bytes_and_heard_by_their_own_token,
);

const ADMIN: &str = "alder.admin";
const UID: &str = "agent-1";

fn staffed(backend: Backend) -> (TestRegistry, Db) {
    let registry = TestRegistry::on(backend);
    let db = registry.open();
    block_on(agency::people_of(&db, &keeper(), &ALDER, start().date().unwrap())).unwrap();
    (registry, db)
}

fn token(db: &Db, uid: &str) -> String {
    block_on(add(db, uid, ADMIN)).unwrap().expose().to_owned()
}

fn whose(db: &Db, token: &str) -> Option<String> {
    recognise(&mut db.reader().unwrap(), token).unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, PeopleError>) -> String {
    match result {
        Err(PeopleError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn a_token_is_recognised_until_it_is_revoked(backend: Backend) {
    let (registry, db) = staffed(backend);
    let good = token(&db, UID);
    let other = token(&db, "agent-2");
    assert_eq!((whose(&db, &good).as_deref(), whose(&db, &other).as_deref()), (Some(UID), Some("agent-2")));
    let (key, secret) = good.split_once('.').unwrap();
    let (other_key, _) = other.split_once('.').unwrap();
    for wrong in [
        format!("{key}.{}", secret.chars().rev().collect::<String>()),
        format!("{other_key}.{secret}"),
        format!("0000000000000000.{secret}"),
        format!("{key}."),
        key.to_owned(),
        format!("{good} "),
        format!("' OR 1=1 --.{secret}"),
        String::new(),
    ] {
        assert_eq!(whose(&db, &wrong), None, "{wrong}");
    }
    let kept = agents::in_use(&mut db.reader().unwrap(), key).unwrap().unwrap();
    assert_eq!((kept.uid.as_str(), kept.added_by.as_str(), kept.added_at), (UID, ADMIN, registry.clock.now()));
    assert_eq!((kept.revoked, kept.heard_at), (None, None));

    // Another process sees it at once.
    let elsewhere = registry.open();
    assert_eq!(whose(&elsewhere, &good).as_deref(), Some(UID));
    registry.clock.set(start().plus(Instant::MINUTE));
    block_on(revoke(&db, UID, ADMIN)).unwrap();
    assert_eq!((whose(&db, &good), whose(&elsewhere, &good)), (None, None));
    assert_eq!(whose(&db, &other).as_deref(), Some("agent-2"), "no other");
    let all = agents::all(&mut db.reader().unwrap()).unwrap();
    let revoked = all.iter().find(|agent| agent.uid == UID).unwrap();
    assert_eq!(revoked.revoked, Some((start().plus(Instant::MINUTE), ADMIN.to_owned())));
}

fn an_agent_has_one_token_that_counts(backend: Backend) {
    let (registry, db) = staffed(backend);
    let first = token(&db, UID);
    let why = refused(block_on(add(&db, UID, ADMIN)));
    assert!(why.contains("has a token") && why.contains("concordat agent revoke"), "{why}");
    assert!(whose(&db, &token(&db, "AGENT-1")).is_some(), "ids compare to the byte");
    for uid in ["", "two words", "grün"] {
        assert!(refused(block_on(add(&db, uid, ADMIN))).contains("visible ASCII"), "{uid}");
    }
    refused(block_on(add(&db, "agent-3", "alder.investigator")));
    refused(block_on(revoke(&db, UID, "alder.investigator")));
    assert!(whose(&db, &first).is_some(), "who may not changes nothing");

    registry.clock.set(start().plus(1));
    block_on(revoke(&db, UID, ADMIN)).unwrap();
    assert!(refused(block_on(revoke(&db, UID, ADMIN))).contains("has no token"));
    assert!(agents::of(&mut db.reader().unwrap(), UID).unwrap().is_none());
    registry.clock.set(start().plus(2));
    let second = token(&db, UID);
    assert_eq!((whose(&db, &first), whose(&db, &second).as_deref()), (None, Some(UID)));
    let of_one: Vec<bool> = agents::all(&mut db.reader().unwrap())
        .unwrap()
        .into_iter()
        .filter(|agent| agent.uid == UID)
        .map(|agent| agent.revoked.is_some())
        .collect();
    assert_eq!(of_one, [true, false], "the older first");
}

fn agents_are_listed_in_the_order_of_their_bytes_and_heard_by_their_own_token(backend: Backend) {
    let (registry, db) = staffed(backend);
    // A server's language would put the dot, the hyphen and the capitals elsewhere, or nowhere.
    let uids = ["b", "a-1", "B", "a1", "a.1", "a_1"];
    for uid in uids {
        token(&db, uid);
    }
    let listed = || agents::all(&mut db.reader().unwrap()).unwrap();
    let mut sorted = uids;
    sorted.sort_unstable();
    assert_eq!(listed().into_iter().map(|agent| agent.uid).collect::<Vec<_>>(), sorted);

    block_on(revoke(&db, "b", ADMIN)).unwrap();
    let at = registry.clock.now().plus(7);
    let heard = ["a1", "b", "unknown"].map(|uid| (uid.to_owned(), at));
    block_on(db.write("test", move |conn| agents::heard(conn, &heard))).unwrap();
    let of: Vec<_> = listed().into_iter().filter_map(|agent| Some((agent.uid, agent.heard_at?))).collect();
    assert_eq!(of, [("a1".to_owned(), at)], "what is revoked is not heard");
}
