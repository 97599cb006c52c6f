//! What ends recording for good, and what is then no longer opened.

use super::tests::{append, runtime};
use super::*;
use crate::trail::head::HeadError;
use crate::trail::testing::TestTrail;

/// That the process stops recording, once, for a reason that has `why` in it.
fn stops(trail: &TestTrail, db: &Db, why: &str) {
    runtime().block_on(async {
        assert!(matches!(append(db, 1).await.unwrap_err(), RecordError::Stopped));
        assert!(matches!(append(db, 1).await.unwrap_err(), RecordError::Stopped));
        assert!(matches!(db.write("late", |_| Ok(())).await.unwrap_err(), RecordError::Stopped));
    });
    // The reason is given after the callers are told.
    let deadline = 500;
    for _ in 0..deadline {
        if !trail.fatal.lock().unwrap().is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let reasons = trail.fatal.lock().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains(why), "{reasons:?}");
}

#[test]
fn a_head_rolled_back_under_a_running_process_stops_it() {
    let trail = TestTrail::new();
    let db = trail.open();
    runtime().block_on(async {
        append(&db, 3).await.unwrap();
        trail.tamper("CREATE TABLE kept AS SELECT * FROM head");
        append(&db, 1).await.unwrap();
    });
    trail.tamper("DELETE FROM head; INSERT INTO head SELECT * FROM kept");
    stops(&trail, &db, "rolled back");
    drop(db);
    let reopened = trail.try_open().unwrap_err();
    assert!(matches!(reopened, DbError::Trail(HeadError::Entries { stated: 3, found: 4 })), "{reopened}");
}

#[test]
fn a_forked_trail_of_the_same_key_stops_a_running_process() {
    let trail = TestTrail::new();
    let db = trail.open();
    runtime().block_on(append(&db, 3)).unwrap();
    // Another history, signed by the same key, in another file.
    let fork = TestTrail::with(trail.key.clone());
    runtime().block_on(append(&fork.open(), 5)).unwrap();
    trail.tamper(&format!(
        "ATTACH '{}' AS fork; PRAGMA foreign_keys = OFF; DELETE FROM main.fact; DELETE FROM main.detail; DELETE FROM main.leaf;
         DELETE FROM main.tile; DELETE FROM main.head; INSERT INTO main.leaf SELECT * FROM fork.leaf;
         INSERT INTO main.tile SELECT * FROM fork.tile; INSERT INTO main.head SELECT * FROM fork.head;",
        fork.path()
    ));
    stops(&trail, &db, "forked");
}

#[test]
fn damaged_tiles_and_foreign_checkpoints_stop_a_running_process() {
    for (sql, why) in [
        ("UPDATE tile SET data = zeroblob(96)", "tiles"),
        ("DELETE FROM tile", "damaged"),
        ("UPDATE head SET checkpoint = checkpoint || 'x'", "checkpoint"),
    ] {
        let trail = TestTrail::new();
        let db = trail.open();
        runtime().block_on(append(&db, 3)).unwrap();
        trail.tamper(sql);
        stops(&trail, &db, why);
        drop(db);
        assert!(matches!(trail.try_open().unwrap_err(), DbError::Trail(_)), "{sql}");
    }
}

#[test]
fn a_panic_in_a_job_stops_the_process_without_its_text() {
    let trail = TestTrail::new();
    let db = trail.open();
    let answer = runtime().block_on(db.record(|_| -> QueryResult<()> { panic!("7ABC123") }));
    assert!(matches!(answer.unwrap_err(), RecordError::Stopped));
    stops(&trail, &db, "panic");
    assert!(!trail.fatal.lock().unwrap()[0].contains("7ABC123"));
}
