//! The outbox: what is said once, who sends it, and what came of it.

use std::sync::{Arc, Barrier};

use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::db::{Conn, Db};
use concordat::mail;
use concordat::registry::outbox::{self, Ending, New, Queued, State};
use diesel::QueryResult;
use integration::database::Backend;
use integration::federation::start;
use integration::on_both;
use integration::registry::{TestRegistry, block_on};

on_both!(
    the_same_is_said_to_the_same_once,
    a_mail_is_claimed_as_it_was_seen_by_one,
    what_is_due_comes_in_its_order_with_what_dead_senders_left,
    each_ending_says_where_a_mail_stands,
    only_what_was_not_sent_is_tried_again,
    two_processes_at_once_send_each_mail_once,
);

fn write<T: Send + 'static>(db: &Db, job: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static) -> T {
    block_on(db.write("test", job)).unwrap()
}

fn opened(backend: Backend) -> (TestRegistry, Db) {
    let registry = TestRegistry::on(backend);
    let db = registry.open();
    (registry, db)
}

/// Queues a mail with this id which says this; whether it is new.
fn queue(db: &Db, id: &str, dedup: &str, now: Instant) -> bool {
    let new = New {
        id: id.to_owned(),
        dedup: dedup.to_owned(),
        recipient: "one@alder.example".to_owned(),
        subject: "An agreement ends — soon".to_owned(),
        body: "Grüße\n.\n✓ 'quoted'\n".to_owned(),
        give_up_at: now.plus(mail::MAX_AGE),
    };
    write(db, move |conn| outbox::queue(conn, &new, now))
}

fn mail(db: &Db, id: &str) -> Queued {
    outbox::find(&mut db.reader().unwrap(), id).unwrap().unwrap()
}

fn claim(db: &Db, seen: &Queued, holder: &'static str, until: Instant) -> bool {
    let seen = seen.clone();
    write(db, move |conn| outbox::claim(conn, &seen, holder, until))
}

fn hand_over(db: &Db, id: &'static str, holder: &'static str, until: Instant) -> bool {
    write(db, move |conn| outbox::hand_over(conn, id, holder, until))
}

fn end(db: &Db, id: &'static str, holder: &'static str, ending: Ending, now: Instant) -> bool {
    write(db, move |conn| outbox::end(conn, id, holder, &ending, now))
}

fn ids(db: &Db, now: Instant, limit: i64) -> Vec<String> {
    outbox::due(&mut db.reader().unwrap(), now, limit).unwrap().into_iter().map(|mail| mail.id).collect()
}

fn the_same_is_said_to_the_same_once(backend: Backend) {
    let (_registry, db) = opened(backend);
    let now = start();
    assert!(queue(&db, "m1", "renewal:A:7 to one@alder.example", now));
    assert!(!queue(&db, "m2", "renewal:A:7 to one@alder.example", now.plus(9)), "another mail of the same");
    assert!(outbox::find(&mut db.reader().unwrap(), "m2").unwrap().is_none());
    for (id, dedup) in [
        ("m3", "renewal:A:7 to two@alder.example"),
        ("m4", "renewal:a:7 to one@alder.example"),
        ("m5", "renewals:A to one@alder.example"),
        ("m6", "renewal:A-7 to one@alder.example"),
    ] {
        assert!(queue(&db, id, dedup, now), "{dedup}");
    }
    let mut reader = db.reader().unwrap();
    // An order by language would take what begins alike but for case and punctuation into the range.
    let mut known = outbox::known(&mut reader, "renewal:A:").unwrap();
    known.sort();
    assert_eq!(known, ["renewal:A:7 to one@alder.example", "renewal:A:7 to two@alder.example"]);
    assert_eq!(outbox::known(&mut reader, "renewal:").unwrap().len(), 4);
    assert_eq!(outbox::known(&mut reader, "renewalx").unwrap(), Vec::<String>::new());

    let kept = mail(&db, "m1");
    assert_eq!((kept.created_at, kept.next_attempt, kept.give_up_at), (now, now, now.plus(mail::MAX_AGE)));
    assert_eq!((kept.state, kept.attempts, kept.doubtful), (State::Waiting, 0, 0));
    assert_eq!((kept.subject.as_str(), kept.body.as_str()), ("An agreement ends — soon", "Grüße\n.\n✓ 'quoted'\n"));
    assert_eq!((kept.sent_at, kept.last_error, kept.claim_until), (None, None, None));
}

fn a_mail_is_claimed_as_it_was_seen_by_one(backend: Backend) {
    let (_registry, db) = opened(backend);
    let now = start();
    queue(&db, "m1", "one", now);
    let seen = mail(&db, "m1");
    let until = now.plus(mail::CLAIM);
    assert!(claim(&db, &seen, "one", until));
    assert!(!claim(&db, &seen, "two", until), "it was claimed since it was seen");
    let claimed = mail(&db, "m1");
    assert_eq!((claimed.state, claimed.attempts, claimed.claim_until), (State::Claimed, 1, Some(until)));
    assert!(!hand_over(&db, "m1", "two", until), "it is not that one's");
    assert!(!end(&db, "m1", "two", Ending::Sent, now) && mail(&db, "m1").state == State::Claimed);
    assert!(hand_over(&db, "m1", "one", until.plus(5)));
    assert!(!hand_over(&db, "m1", "one", until), "it is in that state already");
    assert_eq!((mail(&db, "m1").state, mail(&db, "m1").claim_until), (State::HandedOver, Some(until.plus(5))));

    // Its process dies, and another takes it over: the first one's word counts no more.
    assert!(claim(&db, &mail(&db, "m1"), "two", until.plus(mail::CLAIM)));
    let taken_over = mail(&db, "m1");
    assert_eq!((taken_over.state, taken_over.attempts, taken_over.doubtful), (State::Claimed, 2, 1));
    assert!(!end(&db, "m1", "one", Ending::Sent, now) && !hand_over(&db, "m1", "one", until));
    assert!(end(&db, "m1", "two", Ending::Sent, now.plus(3)));
    let sent = mail(&db, "m1");
    assert_eq!((sent.state, sent.sent_at, sent.claim_until), (State::Sent, Some(now.plus(3)), None));
    assert!(!end(&db, "m1", "two", Ending::Sent, now.plus(4)), "once");
}

fn what_is_due_comes_in_its_order_with_what_dead_senders_left(backend: Backend) {
    let (_registry, db) = opened(backend);
    let now = start();
    for (id, at) in [("b", 0), ("B", 0), ("a", 0), ("late", 10), ("dead", 1), ("handed", 2), ("sent", 0)] {
        assert!(queue(&db, id, id, now.plus(at)));
    }
    let until = now.plus(mail::CLAIM);
    for id in ["dead", "handed", "sent"] {
        assert!(claim(&db, &mail(&db, id), "one", until));
    }
    assert!(hand_over(&db, "handed", "one", until));
    assert!(end(&db, "sent", "one", Ending::Sent, now));
    assert_eq!(ids(&db, now.plus(9), 100), ["B", "a", "b"]);
    assert_eq!(ids(&db, now.plus(9), 2), ["B", "a"]);
    assert_eq!(ids(&db, now.plus(10), 100), ["B", "a", "b", "late"]);
    assert_eq!(ids(&db, until.plus(-1), 100), ["B", "a", "b", "late"]);
    assert_eq!(ids(&db, until, 100), ["B", "a", "b", "dead", "handed", "late"]);
    let newest = outbox::newest(&mut db.reader().unwrap(), 3).unwrap();
    assert_eq!(newest.into_iter().map(|mail| mail.id).collect::<Vec<_>>(), ["sent", "late", "handed"]);
}

fn each_ending_says_where_a_mail_stands(backend: Backend) {
    let (registry, db) = opened(backend);
    let now = registry.clock.now();
    queue(&db, "m1", "one", now);
    let (mut at, why) = (now, "refusé".to_owned());
    let mut attempt = |ending: Ending| {
        at = at.plus(Instant::HOUR);
        assert!(claim(&db, &mail(&db, "m1"), "one", at.plus(mail::CLAIM)));
        assert!(hand_over(&db, "m1", "one", at.plus(mail::CLAIM)));
        assert!(end(&db, "m1", "one", ending, at));
        let ended = mail(&db, "m1");
        assert_eq!((ended.claim_until, ended.sent_at), (None, None));
        (ended.state, ended.doubtful, ended.next_attempt.since(now), ended.last_error.unwrap())
    };
    let next_attempt = now.plus(77);
    let again = attempt(Ending::Again { why: why.clone(), next_attempt });
    assert_eq!(again, (State::Waiting, 0, 77, why.clone()));
    let next_attempt = now.plus(78);
    let unknown = attempt(Ending::Unknown { why: why.clone(), next_attempt });
    assert_eq!(unknown, (State::Unknown, 1, 78, why.clone()));
    let given_up = attempt(Ending::GivenUp { why: why.clone(), in_doubt: true });
    assert_eq!(given_up, (State::GivenUp, 2, 78, why.clone()));
    assert_eq!(ids(&db, at.plus(1000 * Instant::DAY), 100), Vec::<String>::new());
    let standing = mail::standing(&mut db.reader().unwrap(), true).unwrap();
    assert_eq!((standing.waiting, standing.unknown, standing.given_up), (0, 0, 1));
}

fn only_what_was_not_sent_is_tried_again(backend: Backend) {
    let (_registry, db) = opened(backend);
    let now = start();
    for id in ["waiting", "claimed", "unknown", "sent", "given_up"] {
        queue(&db, id, id, now);
        if id != "waiting" {
            assert!(claim(&db, &mail(&db, id), "one", now.plus(mail::CLAIM)));
        }
    }
    let why = || "no".to_owned();
    assert!(end(&db, "unknown", "one", Ending::Unknown { why: why(), next_attempt: now.plus(Instant::HOUR) }, now));
    assert!(end(&db, "sent", "one", Ending::Sent, now));
    assert!(end(&db, "given_up", "one", Ending::GivenUp { why: why(), in_doubt: false }, now));
    let counted = outbox::counts(&mut db.reader().unwrap()).unwrap();
    let one_each =
        [State::Waiting, State::Claimed, State::Unknown, State::Sent, State::GivenUp].map(|state| (state, 1));
    assert_eq!(counted, one_each);
    let retry = |id: &'static str| {
        let (at, end) = (now.plus(5), now.plus(5).plus(mail::MAX_AGE));
        write(&db, move |conn| outbox::retry(conn, id, at, end))
    };
    for (id, expected) in
        [("waiting", true), ("claimed", false), ("unknown", true), ("sent", false), ("given_up", true), ("none", false)]
    {
        assert_eq!(retry(id), expected, "{id}");
    }
    let again = mail(&db, "given_up");
    assert_eq!((again.state, again.next_attempt), (State::Waiting, now.plus(5)));
    assert_eq!(again.give_up_at, now.plus(5).plus(mail::MAX_AGE));
    assert_eq!(mail(&db, "sent").state, State::Sent);
}

fn two_processes_at_once_send_each_mail_once(backend: Backend) {
    let (registry, db) = opened(backend);
    let (now, count) = (start(), 40);
    for n in 0..count {
        queue(&db, &format!("m{n:02}"), &format!("mail {n}"), now);
    }
    let barrier = Arc::new(Barrier::new(2));
    let processes = ["one", "two"].map(|holder| {
        let (db, barrier) = (registry.open(), Arc::clone(&barrier));
        std::thread::spawn(move || {
            let seen = outbox::due(&mut db.reader().unwrap(), now, 100).unwrap();
            assert_eq!(seen.len(), count);
            barrier.wait();
            seen.iter().filter(|mail| claim(&db, mail, holder, now.plus(mail::CLAIM))).count()
        })
    });
    let claimed: Vec<usize> = processes.into_iter().map(|process| process.join().unwrap()).collect();
    assert_eq!(claimed.iter().sum::<usize>(), count, "{claimed:?}");
    let mails = outbox::newest(&mut db.reader().unwrap(), 100).unwrap();
    assert!(mails.iter().all(|mail| mail.state == State::Claimed && mail.attempts == 1));
}
