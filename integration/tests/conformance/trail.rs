//! The registry's writer and the trail.

use std::sync::mpsc;
use std::time::Duration;

use agreements::entry::{Kind, Leaf};
use agreements::ids::Digest;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::db::{Conn, Db, Entry, RecordError, Recorded, Tx};
use concordat::trail::note::LogSigner as _;
use concordat::trail::search::{self, Filter};
use concordat::trail::{Draft, Facts, head, proof, verify};
use diesel::prelude::*;
use diesel::result::Error;
use integration::database::Backend;
use integration::on_both;
use integration::registry::{TestRegistry, append, block_on, draft};

on_both!(
    two_handles_on_one_registry_never_lose_or_double_an_index,
    the_head_is_locked_while_a_job_runs,
    a_job_that_fails_is_rolled_back_alone,
    rows_that_are_written_late_are_those_of_the_jobs_that_succeed,
    a_job_that_goes_on_after_a_failed_statement_does_not_take_the_others_down,
    an_unrecorded_write_that_goes_on_after_a_failed_statement_is_no_success,
    a_reader_cannot_write,
    epoch_and_mark_move_and_a_clock_set_back_records_nothing,
    an_entry_is_said_again_under_the_new_head,
    tiles_prove_every_entry_and_verify_finds_what_was_changed,
    every_filter_finds_the_newest_first_and_compares_to_the_byte,
    a_commit_that_fails_is_settled,
    a_forked_or_rolled_back_trail_stops_the_writer,
);

fn check(entry: &Entry, trail: &TestRegistry) -> u64 {
    let leaf = Leaf::from_bytes(entry.leaf()).unwrap();
    assert_eq!(leaf.message, Digest::salted(entry.salt(), entry.message()));
    let included = proof::verify(entry.proof(), entry.leaf(), trail.key.vkey()).unwrap();
    assert_eq!(included.index, entry.index());
    included.index
}

fn problems(trail: &TestRegistry) -> Vec<verify::Problem> {
    verify::verify(&mut trail.conn(), trail.key.vkey(), &mut |_, _| {}, &false.into()).unwrap().problems
}

fn size(trail: &TestRegistry) -> u64 {
    head::extent(&mut trail.conn()).unwrap().0
}

/// Holds the writer in a job until the guard is dropped: what is queued meanwhile becomes one batch.
async fn held<T>(db: &Db, then: impl Future<Output = T>) -> T {
    let (release, until) = mpsc::channel::<()>();
    let holding = db.write("hold", move |_| {
        until.recv().unwrap_or_default();
        Ok(())
    });
    let letting_go = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(release);
    };
    // Polled in this order: the writer is held before anything else is in its queue.
    let (held, done, ()) = tokio::join!(holding, then, letting_go);
    held.unwrap();
    done
}

fn two_handles_on_one_registry_never_lose_or_double_an_index(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let both = [trail.open(), trail.open()];
    let recorded = block_on(async {
        let work = both.iter().flat_map(|db| (0..6).map(move |_| db)).map(|db| async move {
            let mut entries = Vec::new();
            for _ in 0..15 {
                entries.push(append(db, 2).await.unwrap());
            }
            entries
        });
        futures_util::future::join_all(work).await
    });
    let mut indexes: Vec<u64> =
        recorded.iter().flatten().flat_map(Recorded::entries).map(|entry| check(entry, &trail)).collect();
    indexes.sort_unstable();
    assert!(indexes.iter().copied().eq(0..2 * 6 * 15 * 2), "{indexes:?}");
    assert_eq!(problems(&trail), []);
    assert_eq!(trail.fatal(), Vec::<String>::new());
}

fn the_head_is_locked_while_a_job_runs(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let (one, other) = (trail.open(), trail.open());
    let (entered, running) = mpsc::channel();
    let (release, until) = mpsc::channel::<()>();
    let first = std::thread::spawn(move || {
        block_on(one.record(move |tx| {
            tx.append(draft(tx.now(), 1))?;
            entered.send(()).unwrap();
            until.recv().unwrap_or_default();
            Ok(tx.epoch())
        }))
        .unwrap()
        .entries()[0]
            .index()
    });
    running.recv().unwrap();
    let (told, tells) = mpsc::channel();
    let second = std::thread::spawn(move || {
        let index = block_on(append(&other, 1)).unwrap().entries()[0].index();
        told.send(index).unwrap();
    });
    assert!(tells.recv_timeout(Duration::from_millis(300)).is_err(), "the second must wait for the first");
    drop(release);
    assert_eq!(first.join().unwrap(), 0);
    second.join().unwrap();
    assert_eq!(tells.recv().unwrap(), 1);
}

fn a_job_that_fails_is_rolled_back_alone(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(async {
        let before = draft(trail.clock.now(), 7);
        let rid = before.rid;
        db.record(move |tx| tx.append(before)).await.unwrap();
        let batch = async {
            tokio::join!(
                append(&db, 2),
                db.record(|tx| {
                    tx.append(draft(tx.now(), 1))?;
                    tx.bump_epoch();
                    Err::<(), _>(Error::RollbackTransaction)
                }),
                db.record(move |tx| {
                    tx.append(draft(tx.now(), 1))?;
                    tx.append(Draft { rid, ..draft(tx.now(), 2) })
                }),
                db.record(|tx| diesel::sql_query("SELECT nothing FROM nowhere").execute(tx.conn())),
                append(&db, 1),
            )
        };
        let (good, undone, repeated, senseless, after) = held(&db, batch).await;
        assert!(matches!(undone.unwrap_err(), RecordError::Job(Error::RollbackTransaction)));
        assert!(matches!(repeated.unwrap_err(), RecordError::Job(Error::DatabaseError(..))));
        assert!(matches!(senseless.unwrap_err(), RecordError::Job(Error::DatabaseError(..))));
        let (good, after) = (good.unwrap(), after.unwrap());
        let indexes: Vec<u64> = good.entries().iter().chain(after.entries()).map(|e| check(e, &trail)).collect();
        assert_eq!(indexes, [1, 2, 3]);
        assert_eq!(good.checkpoint(), after.checkpoint(), "one batch");
    });
    assert_eq!((size(&trail), head::epoch(&mut trail.conn()).unwrap()), (4, 0));
    assert_eq!(problems(&trail), []);
}

fn rows_that_are_written_late_are_those_of_the_jobs_that_succeed(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    let beside = |tx: &mut Tx<'_>| diesel::sql_query("DELETE FROM day_use").execute(tx.beside_trail());
    let stored = |tx: &mut Tx<'_>| -> QueryResult<usize> { Ok(search::search(tx.conn(), &Filter::default())?.len()) };
    block_on(async {
        let (one, failed, seen, broken, last) = held(&db, async {
            tokio::join!(
                append(&db, 2),
                // Beside the trail first, so that the savepoint is older than the rows of the job before.
                db.record(move |tx| {
                    beside(tx)?;
                    tx.append(draft(tx.now(), 1))?;
                    assert_eq!(stored(tx)?, 3, "what was appended is there for who looks");
                    tx.append(draft(tx.now(), 2))?;
                    Err::<(), _>(Error::RollbackTransaction)
                }),
                db.record(move |tx| {
                    tx.append(draft(tx.now(), 3))?;
                    beside(tx)?;
                    stored(tx)
                }),
                db.record(move |tx| {
                    tx.append(draft(tx.now(), 4))?;
                    Err::<(), _>(Error::RollbackTransaction)
                }),
                append(&db, 1),
            )
        })
        .await;
        assert!(failed.is_err() && broken.is_err());
        assert_eq!(**seen.as_ref().unwrap(), 3);
        let (one, seen, last) = (one.unwrap(), seen.unwrap(), last.unwrap());
        let all = [one.entries(), seen.entries(), last.entries()]
            .map(|entries| entries.iter().map(|entry| check(entry, &trail)).collect::<Vec<_>>());
        assert_eq!(all, [vec![0, 1], vec![2], vec![3]]);
    });
    assert_eq!(size(&trail), 4);
    assert_eq!(problems(&trail), []);
}

fn a_job_that_goes_on_after_a_failed_statement_does_not_take_the_others_down(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(async {
        let batch = async {
            tokio::join!(
                append(&db, 1),
                db.record(|tx| {
                    drop(diesel::sql_query("SELECT nothing FROM nowhere").execute(tx.conn()));
                    Ok(())
                }),
                append(&db, 1),
            )
        };
        let (before, careless, after) = held(&db, batch).await;
        // SQLite forgives a failed statement, PostgreSQL does not.
        assert_eq!(careless.is_ok(), backend == Backend::Sqlite, "{careless:?}");
        let indexes = [before.unwrap(), after.unwrap()].map(|recorded| check(&recorded.entries()[0], &trail));
        assert_eq!(indexes, [0, 1]);
    });
    assert_eq!(problems(&trail), []);
    assert_eq!(trail.fatal(), Vec::<String>::new());
}

fn an_unrecorded_write_that_goes_on_after_a_failed_statement_is_no_success(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(async {
        db.write("make", |conn| diesel::sql_query("CREATE TABLE job (n BIGINT)").execute(conn)).await.unwrap();
        let insert = |conn: &mut Conn| diesel::sql_query("INSERT INTO job VALUES (1)").execute(conn);
        let careless = db
            .write("careless", move |conn| {
                insert(conn)?;
                drop(diesel::sql_query("SELECT nothing FROM nowhere").execute(conn));
                Ok(())
            })
            .await;
        let rows = db.write("count", |conn| diesel::sql_query("DELETE FROM job").execute(conn)).await.unwrap();
        assert_eq!(careless.is_ok(), rows == 1, "what it says is what was kept: {careless:?}");
        let failed = db.write("insert and fail", move |conn| {
            insert(conn)?;
            Err::<(), _>(Error::RollbackTransaction)
        });
        assert!(matches!(failed.await.unwrap_err(), RecordError::Job(_)));
        let (recorded, written) = tokio::join!(append(&db, 1), db.write("insert", insert));
        assert_eq!((recorded.unwrap().entries().len(), written.unwrap()), (1, 1));
    });
}

fn a_reader_cannot_write(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(append(&db, 1)).unwrap();
    let mut reader = db.reader().unwrap();
    for sql in ["DELETE FROM fact", "UPDATE head SET epoch = 9", "CREATE TABLE t (n BIGINT)"] {
        let refused = diesel::sql_query(sql).execute(&mut reader).unwrap_err().to_string();
        assert!(refused.contains("read-only") || refused.contains("readonly"), "{sql}: {refused}");
    }
    assert_eq!(search::search(&mut reader, &Filter::default()).unwrap().len(), 1, "it still reads");
}

fn epoch_and_mark_move_and_a_clock_set_back_records_nothing(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    let start = trail.clock.now();
    block_on(async {
        let before = db.record(|tx| Ok((tx.epoch(), tx.bump_epoch(), tx.epoch()))).await.unwrap();
        assert_eq!((before.0, before.2), (0, 1));
        assert_eq!(db.record(|tx| Ok(tx.epoch())).await.unwrap().into_inner(), 1);
        trail.clock.set(start.plus(Instant::SECOND));
        append(&db, 1).await.unwrap();
        trail.clock.set(start.plus(Instant::SECOND - 1));
        let refused = append(&db, 1).await.unwrap_err();
        assert!(matches!(refused, RecordError::ClockBack { mark } if mark == start.plus(Instant::SECOND)), "{refused}");
        trail.clock.set(start.plus(Instant::SECOND));
        assert_eq!(append(&db, 1).await.unwrap().entries()[0].index(), 1);
    });
    assert_eq!(head::extent(&mut trail.conn()).unwrap(), (2, start.plus(Instant::SECOND)));
}

fn an_entry_is_said_again_under_the_new_head(backend: Backend) {
    let trail = TestRegistry::on(backend);
    block_on(async {
        let first = append(&trail.open(), 1).await.unwrap();
        let rid = first.entries()[0].rid();
        // From another opening, which finds it in the table and not in its memory.
        let db = trail.open();
        append(&db, 300).await.unwrap();
        let again = db.record(move |tx| tx.again(rid)).await.unwrap();
        let entry = again.entry(again.unwrap()).unwrap();
        assert_eq!((check(entry, &trail), entry.leaf()), (0, first.entries()[0].leaf()));
        assert_ne!(again.checkpoint(), first.checkpoint());
        trail.database.run("DELETE FROM detail WHERE idx = 0");
        let deleted = db.record(move |tx| tx.again(rid)).await.unwrap_err();
        assert!(matches!(deleted, RecordError::Job(Error::NotFound)), "{deleted}");
    });
}

fn tiles_prove_every_entry_and_verify_finds_what_was_changed(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(async {
        for count in [1, 254, 2, 300, 43] {
            append(&db, count).await.unwrap();
        }
    });
    assert_eq!(problems(&trail), []);
    let mut reader = db.reader().unwrap();
    for index in [0, 255, 256, 257, 599] {
        let filter = Filter { before_index: Some(index + 1), limit: 1, ..Filter::default() };
        let row = search::search(&mut reader, &filter).unwrap().remove(0);
        let proof = search::prove(&mut reader, row.rid).unwrap().unwrap();
        let included = proof::verify(&proof, &row.leaf, trail.key.vkey()).unwrap();
        assert_eq!((included.index, included.checkpoint.size), (index, 600));
    }
    drop(db);
    let body = trail.database.replaced("body", "query.answered", "query.received");
    for (sql, says) in [
        (format!("UPDATE leaf SET body = {body} WHERE idx = 7"), "the leaf is not the one that its tile has"),
        ("UPDATE leaf SET at = at - 1 WHERE idx = 8".to_owned(), "the columns say something else than the leaf"),
        ("DELETE FROM leaf WHERE idx = 300".to_owned(), "the leaf is missing"),
        ("DELETE FROM fact WHERE idx = 9".to_owned(), "the leaf has no row in the search index"),
        ("UPDATE head SET time_mark = 0".to_owned(), "the head's time mark is before the last entry"),
    ] {
        trail.database.run(&sql);
        let found = problems(&trail);
        assert!(found.iter().any(|problem| problem.what == says), "{sql}: {found:?}");
    }
}

fn every_filter_finds_the_newest_first_and_compares_to_the_byte(backend: Backend) {
    const PARTNERS: [&str; 2] = ["CA0990100", "CA0990200"];
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    let start = trail.clock.now();
    let names = ["ana", "Ana", "aña", "an a", "ana ", "a%a"];
    for n in 0..12_u8 {
        trail.clock.set(start.plus(i64::from(n) * Instant::SECOND));
        let even = usize::from(n % 2);
        let facts = Facts {
            partner: Some(PARTNERS[even].parse().unwrap()),
            username: Some(names[usize::from(n % 6)].to_owned()),
            purpose: Some(["homicide", "amber"][even].to_owned()),
            reference: Some(format!("case:{n}")),
            plate: Some(format!("7ABC{n}")),
            decision: Some(["permitted", "denied"][even].to_owned()),
            rule: (n % 2 == 1).then(|| "purpose_granted".to_owned()),
        };
        let kind = [Kind::QueryAnswered, Kind::QueryAsked, Kind::ReadsIngested][usize::from(n % 3)];
        let entry = Draft { kind, facts, ..draft(trail.clock.now(), u64::from(n)) };
        block_on(db.record(move |tx| tx.append(entry))).unwrap();
    }
    let after = |n: i64| Some(start.plus(n * Instant::SECOND));
    let text = |text: &str| Some(text.to_owned());
    let any = Filter::default();
    let odd = [11, 9, 7, 5, 3, 1];
    let cases: Vec<(Filter, &[u64])> = vec![
        (any.clone(), &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (Filter { since: after(9), ..any.clone() }, &[11, 10, 9]),
        (Filter { until: after(2), ..any.clone() }, &[1, 0]),
        (Filter { partner: PARTNERS[1].parse().ok(), ..any.clone() }, &odd),
        (Filter { username: text("ana"), ..any.clone() }, &[6, 0]),
        (Filter { username: text("Ana"), ..any.clone() }, &[7, 1]),
        (Filter { username: text("aña"), ..any.clone() }, &[8, 2]),
        (Filter { username: text("ana "), ..any.clone() }, &[10, 4]),
        (Filter { username: text("a%"), ..any.clone() }, &[]),
        (Filter { purpose: text("amber"), ..any.clone() }, &odd),
        (Filter { reference: text("case:4"), ..any.clone() }, &[4]),
        (Filter { plate: text("7ABC6"), ..any.clone() }, &[6]),
        (Filter { plate: text("7abc6"), ..any.clone() }, &[]),
        (Filter { decision: text("denied"), ..any.clone() }, &odd),
        (Filter { rule: text("purpose_granted"), ..any.clone() }, &odd),
        (Filter { kind: Some(Kind::QueryAsked), ..any.clone() }, &[10, 7, 4, 1]),
        (Filter { kind: Some(Kind::QueryAsked), decision: text("denied"), ..any.clone() }, &[7, 1]),
        (Filter { before_index: Some(3), limit: 2, ..any.clone() }, &[2, 1]),
        (Filter { before_index: Some(u64::MAX), limit: 1, ..any.clone() }, &[11]),
        (Filter { plate: text("' OR 1=1 --"), ..any.clone() }, &[]),
    ];
    let mut reader = db.reader().unwrap();
    for (number, (filter, expected)) in cases.iter().enumerate() {
        let found: Vec<u64> = search::search(&mut reader, filter).unwrap().iter().map(|row| row.index).collect();
        assert_eq!(&found, expected, "case {number}");
    }
    let denied = search::count(&mut reader, Kind::QueryAsked, PARTNERS[1].parse().unwrap(), "permitted").unwrap();
    assert_eq!(denied, 2);
}

fn a_commit_that_fails_is_settled(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(async {
        append(&db, 1).await.unwrap();
        // A deferred foreign key is checked at COMMIT.
        let made = "CREATE TABLE child (n BIGINT REFERENCES leaf (idx) DEFERRABLE INITIALLY DEFERRED)";
        db.write("make", move |conn| diesel::sql_query(made).execute(conn)).await.unwrap();
        let orphan = |conn: &mut Conn| diesel::sql_query("INSERT INTO child VALUES (99)").execute(conn);
        let failed = db.record(move |tx| {
            tx.append(draft(tx.now(), 1))?;
            orphan(tx.conn())
        });
        assert!(matches!(failed.await.unwrap_err(), RecordError::Database(_)));
        assert!(matches!(db.write("orphan", orphan).await.unwrap_err(), RecordError::Database(_)));
        assert_eq!(check(&append(&db, 1).await.unwrap().entries()[0], &trail), 1);
    });
    assert_eq!(trail.fatal(), Vec::<String>::new());
}

fn a_forked_or_rolled_back_trail_stops_the_writer(backend: Backend) {
    let trail = TestRegistry::on(backend);
    let db = trail.open();
    block_on(async {
        append(&db, 3).await.unwrap();
        trail.database.run("CREATE TABLE kept AS SELECT * FROM head");
        append(&db, 1).await.unwrap();
        trail.database.run("DELETE FROM head; INSERT INTO head SELECT * FROM kept");
        for _ in 0..2 {
            assert!(matches!(append(&db, 1).await.unwrap_err(), RecordError::Stopped));
        }
    });
    drop(db);
    let fatal = trail.fatal();
    assert!(fatal.len() == 1 && fatal[0].contains("rolled back"), "{fatal:?}");
    let refused = trail.try_open().unwrap_err().to_string();
    assert!(refused.contains("the trail's head states 3 entries, but 4 are stored"), "{refused}");
}
