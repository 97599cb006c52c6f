//! The writer as its callers see it: on SQLite files, with real keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use agreements::entry::Leaf;
use agreements::ids::{Digest, RequestId};
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;
use proptest::prelude::*;

use super::*;
use crate::clock::SystemClock;
use crate::trail::Draft;
use crate::trail::head::HeadError;
use crate::trail::note::{Checkpoint, LogSigner, SignError, Vkey};
use crate::trail::proof::{self, CheckpointCache};
use crate::trail::search;
use crate::trail::testing::{TestKey, TestTrail, draft};

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Appends `count` entries in one job.
pub(super) async fn append(db: &Db, count: u64) -> Result<Recorded<()>, RecordError> {
    db.record(move |tx| {
        for number in 0..count {
            tx.append(draft(tx.now(), number))?;
        }
        Ok(())
    })
    .await
}

/// Checks an entry as a partner would: with what travels, and the log's public key.
fn check(entry: &Entry, trail: &TestTrail) -> proof::Included {
    let leaf = Leaf::from_bytes(entry.leaf()).unwrap();
    assert_eq!(leaf.rid, entry.rid());
    assert_eq!(leaf.message, Digest::salted(entry.salt(), entry.message()));
    assert_eq!(Leaf::hash_of(entry.leaf()), entry.hash());
    let included = proof::verify(entry.proof(), entry.leaf(), trail.key.vkey()).unwrap();
    assert_eq!(included.index, entry.index());
    included
}

fn stored_head(trail: &TestTrail) -> (i64, i64, i64) {
    use crate::trail::schema::head;
    head::table.select((head::size, head::epoch, head::time_mark)).first(&mut trail.connect()).unwrap()
}

#[test]
fn sixty_four_recorders_at_once_each_get_a_proof_that_verifies_offline() {
    let trail = TestTrail::new();
    let db = trail.open();
    let recorded = runtime().block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|worker| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut all = Vec::new();
                    for turn in 0..8 {
                        all.push(append(&db, 1 + (worker + turn) % 3).await.unwrap());
                    }
                    all
                })
            })
            .collect();
        futures_util::future::join_all(tasks).await
    });
    let cache = CheckpointCache::default();
    let mut indexes = Vec::new();
    for recorded in recorded.into_iter().flat_map(Result::unwrap) {
        for entry in recorded.entries() {
            indexes.push(check(entry, &trail).index);
            assert!(entry.proof().ends_with(&*recorded.checkpoint()));
            assert!(proof::verify_with(entry.proof(), entry.leaf(), trail.key.vkey(), &cache).is_ok());
        }
    }
    indexes.sort_unstable();
    assert!(indexes.iter().copied().eq(0..indexes.len() as u64), "no index lost or given twice");
    assert_eq!(stored_head(&trail).0, i64::try_from(indexes.len()).unwrap());
}

#[test]
fn a_job_that_fails_is_rolled_back_alone() {
    let trail = TestTrail::new();
    let db = trail.open();
    let before = draft(db.clock().now(), 7);
    let rid = before.rid;
    runtime().block_on(async {
        db.record(move |tx| tx.append(before)).await.unwrap();
        let (good, undone, repeated, after) = tokio::join!(
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
            append(&db, 1),
        );
        assert!(matches!(undone.unwrap_err(), RecordError::Job(Error::RollbackTransaction)));
        assert!(matches!(repeated.unwrap_err(), RecordError::Job(Error::DatabaseError(..))));
        let indexes: Vec<u64> =
            good.unwrap().entries().iter().chain(after.unwrap().entries()).map(|e| check(e, &trail).index).collect();
        assert_eq!(indexes, [1, 2, 3]);
    });
    assert_eq!((stored_head(&trail).0, stored_head(&trail).1), (4, 0));
}

#[test]
fn an_entry_is_sent_again_under_the_new_head_even_from_its_own_batch() {
    let trail = TestTrail::new();
    let db = trail.open();
    runtime().block_on(async {
        let first = db.record(|tx| tx.append(draft(tx.now(), 1))).await.unwrap();
        let (old, first_leaf) = (first.entry(*first).unwrap().rid(), first.entry(*first).unwrap().leaf().to_vec());
        let new = draft(db.clock().now(), 2);
        let rid = new.rid;
        let both = db.record(move |tx| {
            let appended = tx.append(new)?;
            let same = tx.again(rid)?.unwrap();
            assert_eq!(tx.leaf_hash(same), tx.leaf_hash(appended));
            let unknown = tx.again(RequestId::new(tx.now(), [9; 10]))?;
            assert!(unknown.is_none());
            Ok((same, tx.again(old)?.unwrap()))
        });
        let both = both.await.unwrap();
        let (same, again) = *both;
        let again = both.entry(again).unwrap();
        assert_eq!(check(both.entry(same).unwrap(), &trail).index, 1);
        assert_eq!(again.leaf(), first_leaf);
        assert_eq!(check(again, &trail).checkpoint.size, 2);

        // Nothing appended: the head stays, and so does its signature.
        let only = db.record(move |tx| tx.again(old)).await.unwrap();
        assert_eq!(only.checkpoint(), both.checkpoint());
        check(only.entry(only.unwrap()).unwrap(), &trail);
        assert!(only.entry(Slot(1)).is_none(), "another job's slot");
    });
}

#[test]
fn a_deleted_detail_cannot_be_said_again() {
    let trail = TestTrail::new();
    let db = trail.open();
    runtime().block_on(async {
        let first = db.record(|tx| tx.append(draft(tx.now(), 1))).await.unwrap();
        let rid = first.entries()[0].rid();
        trail.tamper("DELETE FROM detail");
        let again = db.record(move |tx| tx.again(rid)).await.unwrap_err();
        assert!(matches!(again, RecordError::Job(Error::NotFound)));
    });
}

#[test]
fn epoch_and_time_mark_move_without_the_tree() {
    let trail = TestTrail::new();
    let db = trail.open();
    let start = trail.clock.now();
    runtime().block_on(async {
        trail.clock.set(start.plus(Instant::SECOND));
        let epochs = db.record(|tx| {
            let before = tx.epoch();
            tx.bump_epoch();
            Ok((before, tx.epoch()))
        });
        assert_eq!(epochs.await.unwrap().into_inner(), (0, 1));
        assert_eq!(db.record(|tx| Ok(tx.epoch())).await.unwrap().into_inner(), 1);
    });
    assert_eq!(stored_head(&trail), (0, 1, start.plus(Instant::SECOND).micros()));
}

#[test]
fn a_clock_set_back_records_nothing() {
    let trail = TestTrail::new();
    let db = trail.open();
    let start = trail.clock.now();
    runtime().block_on(async {
        append(&db, 1).await.unwrap();
        trail.clock.set(start.plus(-1));
        let refused = append(&db, 1).await.unwrap_err();
        assert!(matches!(refused, RecordError::ClockBack { mark } if mark == start));
        trail.clock.set(start);
        assert_eq!(append(&db, 1).await.unwrap().entries()[0].index(), 1);
    });
    assert!(trail.fatal.lock().unwrap().is_empty());
}

#[test]
fn reopened_it_continues() {
    let trail = TestTrail::new();
    for round in 0..3 {
        let db = trail.open();
        let recorded = runtime().block_on(append(&db, 200)).unwrap();
        assert_eq!(check(&recorded.entries()[199], &trail).index, round * 200 + 199);
    }
    let db = trail.open();
    let mut reader = db.reader().unwrap();
    let newest = search::search(&mut reader, &search::Filter { limit: 1, ..search::Filter::default() }).unwrap();
    let proof = search::prove(&mut reader, newest[0].rid).unwrap().unwrap();
    assert_eq!(proof::verify(&proof, &newest[0].leaf, trail.key.vkey()).unwrap().index, 599);
    let written = diesel::sql_query("DELETE FROM fact").execute(&mut reader);
    assert!(written.unwrap_err().to_string().contains("readonly"));
}

#[test]
fn two_processes_on_one_file_share_one_log() {
    let trail = TestTrail::new();
    let open = || {
        let url = format!("sqlite:{}", trail.path());
        Db::open(&url, trail.key.clone(), Arc::new(SystemClock), Arc::new(|reason| panic!("{reason}"))).unwrap()
    };
    let both = [open(), open()];
    let recorded = runtime().block_on(async {
        let work = both.iter().flat_map(|db| (0..8).map(move |_| db)).map(|db| async move {
            let mut entries = Vec::new();
            for _ in 0..20 {
                entries.push(append(db, 2).await.unwrap());
            }
            entries
        });
        futures_util::future::join_all(work).await
    });
    let mut indexes: Vec<u64> =
        recorded.iter().flatten().flat_map(Recorded::entries).map(|e| check(e, &trail).index).collect();
    indexes.sort_unstable();
    assert!(indexes.iter().copied().eq(0..640));
    let report = crate::trail::verify::verify(&mut trail.connect(), trail.key.vkey(), &mut |_, _| {}, &false.into());
    assert_eq!(report.unwrap().problems, []);
}

/// Holds the writer in a job until the guard is dropped.
fn block(db: &Db) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (entered, running) = mpsc::channel();
    let job = db.write("hold", move |_| {
        entered.send(()).unwrap();
        // An error says that the guard was dropped: go on.
        held.recv().unwrap_or_default();
        Ok(())
    });
    // Polled once, it is in the queue; nobody waits for its answer.
    drop(futures_util::FutureExt::now_or_never(job));
    running.recv().unwrap();
    release
}

#[test]
fn a_full_queue_says_so_at_once_and_dropped_callers_cancel_nothing() {
    let trail = TestTrail::new();
    let db = trail.open();
    let held = block(&db);
    for _ in 0..QUEUE {
        assert!(futures_util::FutureExt::now_or_never(append(&db, 1)).is_none());
    }
    let refused = futures_util::FutureExt::now_or_never(append(&db, 1)).unwrap();
    assert!(matches!(refused.unwrap_err(), RecordError::Busy));
    drop(held);
    drop(db);
    assert_eq!(stored_head(&trail).0, i64::try_from(QUEUE).unwrap());
}

#[test]
fn unrecorded_writes_take_their_turn_and_are_rolled_back_whole() {
    let trail = TestTrail::new();
    let db = trail.open();
    runtime().block_on(async {
        db.write("make", |conn| diesel::sql_query("CREATE TABLE job (n BIGINT)").execute(conn)).await.unwrap();
        let insert = |conn: &mut Conn| diesel::sql_query("INSERT INTO job VALUES (1)").execute(conn);
        let (recorded, written, failed) = tokio::join!(
            db.record(move |tx| {
                tx.append(draft(tx.now(), 1))?;
                insert(tx.conn())
            }),
            db.write("insert", insert),
            db.write("insert and fail", move |conn| {
                insert(conn)?;
                Err::<(), _>(Error::RollbackTransaction)
            }),
        );
        assert_eq!((*recorded.unwrap(), written.unwrap()), (1, 1));
        assert!(matches!(failed.unwrap_err(), RecordError::Job(_)));
        let rows = db.write("count", |conn| diesel::sql_query("DELETE FROM job").execute(conn)).await.unwrap();
        assert_eq!(rows, 2);
    });
}

#[test]
fn a_write_holds_the_lock_before_it_reads() {
    let trail = TestTrail::new();
    let db = trail.open();
    let path = trail.path();
    let job = db.write("read, then write", move |conn| {
        use crate::trail::schema::head;
        let epoch: i64 = head::table.select(head::epoch).first(conn)?;
        let mut other = SqliteConnection::establish(&path).unwrap();
        let meanwhile = diesel::sql_query("UPDATE head SET epoch = epoch + 1").execute(&mut other);
        assert!(meanwhile.unwrap_err().to_string().contains("locked"));
        diesel::update(head::table).set(head::epoch.eq(epoch + 1)).execute(conn)
    });
    assert_eq!(runtime().block_on(job).unwrap(), 1);
}

/// A key that does not sign while the counter is not 0.
struct Failing(TestKey, Arc<AtomicU64>);

impl LogSigner for Failing {
    fn vkey(&self) -> &Vkey {
        self.0.vkey()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let left = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() { Err(SignError) } else { self.0.sign(message) }
    }
}

#[test]
fn after_a_failure_of_the_database_or_the_key_service_returns_by_itself() {
    let trail = TestTrail::new();
    let failures = Arc::new(AtomicU64::new(0));
    let key = Arc::new(Failing(TestKey::new("alder.example/trail"), failures.clone()));
    let url = format!("sqlite:{}", trail.path());
    let db = Db::open(&url, key.clone(), Arc::new(trail.clock.clone()), Arc::new(|r| panic!("{r}"))).unwrap();
    runtime().block_on(async {
        append(&db, 1).await.unwrap();
        failures.store(1, Ordering::SeqCst);
        assert!(matches!(append(&db, 1).await.unwrap_err(), RecordError::Database(_)));
        assert_eq!(append(&db, 1).await.unwrap().entries()[0].index(), 1);

        // A full disk: the file may not grow.
        db.write("limit", |conn| diesel::sql_query("PRAGMA max_page_count = 1").execute(conn)).await.unwrap();
        let full = db.record(|tx| {
            for number in 0..500 {
                tx.append(draft(tx.now(), number))?;
            }
            Ok(())
        });
        let refused = full.await.unwrap_err();
        assert!(matches!(refused, RecordError::Database(_) | RecordError::Job(_)), "{refused}");
        db.write("lift", |conn| diesel::sql_query("PRAGMA max_page_count = 1000000").execute(conn)).await.unwrap();
        let recorded = append(&db, 1).await.unwrap();
        let entry = &recorded.entries()[0];
        assert_eq!(proof::verify(entry.proof(), entry.leaf(), key.vkey()).unwrap().index, 2);
    });
}

#[test]
fn a_commit_that_fails_is_settled_and_the_next_one_succeeds() {
    let trail = TestTrail::new();
    let db = trail.open();
    runtime().block_on(async {
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
        assert_eq!(check(&append(&db, 1).await.unwrap().entries()[0], &trail).index, 1);
    });
    assert!(trail.fatal.lock().unwrap().is_empty());
}

#[test]
fn under_load_without_a_pause_the_write_ahead_log_begins_anew() {
    #[derive(QueryableByName)]
    struct Log {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        log: i32,
    }
    let trail = TestTrail::new();
    let db = trail.open();
    let began = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (mut conn, began) = (SqliteConnection::establish(&trail.path()).unwrap(), Arc::clone(&began));
        move || {
            let (mut longest, mut now) = (0, 0);
            while now * 2 >= longest && longest < 100 * 1000 {
                now = diesel::sql_query("PRAGMA wal_checkpoint(NOOP)").get_result::<Log>(&mut conn).unwrap().log;
                longest = longest.max(now);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            began.store(true, Ordering::Relaxed);
            longest
        }
    });
    // Two at a time, so that there is always one that waits when the other is committed.
    runtime().block_on(async {
        let working = || async {
            while !began.load(Ordering::Relaxed) {
                append(&db, 100).await.unwrap();
            }
        };
        tokio::join!(working(), working());
    });
    let longest = looking.join().unwrap();
    assert!(longest < 100 * 1000, "it has {longest} pages and grows");
}

#[test]
fn what_is_no_trail_of_ours_is_not_opened() {
    let trail = TestTrail::new();
    for url in ["sqlite:", "sqlite::memory:", "sqlite:file:x?mode=memory", "mysql://localhost/x", "registry.db"] {
        let opened = Db::open(url, trail.key.clone(), Arc::new(SystemClock), Arc::new(|_| {}));
        assert!(matches!(opened.unwrap_err(), DbError::Url), "{url}");
    }
    runtime().block_on(append(&trail.open(), 2)).unwrap();
    let stranger = Arc::new(TestKey::new("alder.example/trail"));
    let url = format!("sqlite:{}", trail.path());
    let opened = Db::open(&url, stranger, Arc::new(SystemClock), Arc::new(|_| {}));
    assert!(matches!(opened.unwrap_err(), DbError::Trail(HeadError::Checkpoint(_))));
    trail.tamper("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
    assert!(matches!(trail.try_open().unwrap_err(), DbError::Newer(version) if version == "9999"));
}

#[cfg(unix)]
#[test]
fn only_this_user_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let trail = TestTrail::new();
    let _db = trail.open();
    for suffix in ["", "-wal"] {
        let mode = std::fs::metadata(format!("{}{suffix}", trail.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}

/// RFC 6962, section 2.1, to the letter.
fn tree_hash(leaves: &[Vec<u8>]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => Digest::of(&[&[0], leaf.as_slice()].concat()),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Digest::of(&[&[1], &tree_hash(left).0[..], &tree_hash(right).0[..]].concat())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_head_is_the_root_that_the_rfc_computes(sizes in prop::collection::vec(1u64..300, 1..6)) {
        let trail = TestTrail::new();
        let db = trail.open();
        let mut leaves = Vec::new();
        for size in sizes {
            let recorded = runtime().block_on(append(&db, size)).unwrap();
            leaves.extend(recorded.entries().iter().map(|entry| entry.leaf().to_vec()));
            let head = Checkpoint::verify(&recorded.checkpoint(), trail.key.vkey()).unwrap();
            prop_assert_eq!((head.size, head.root), (leaves.len() as u64, tree_hash(&leaves)));
            for entry in [recorded.entries().first(), recorded.entries().last()].into_iter().flatten() {
                check(entry, &trail);
            }
        }
    }
}
