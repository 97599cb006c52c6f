use agreements::entry::Kind;
use agreements::json;

use super::*;
use crate::trail::Draft;
use crate::trail::deleted::{Deleted, MISSING};
use crate::trail::note::LogSigner as _;
use crate::trail::testing::{TestTrail, draft};

/// A trail of 600 entries, in two commits; a second apart, so that their order shows.
fn trail() -> TestTrail {
    let trail = TestTrail::new();
    let db = trail.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 0..2 {
        let job = db.record(move |tx| {
            for number in 0..300 {
                tx.append(draft(tx.now(), round * 300 + number))?;
            }
            Ok(())
        });
        runtime.block_on(job).unwrap();
        trail.clock.set(db.clock().now().plus(Instant::SECOND));
    }
    trail
}

/// The same whoever helps.
fn report(trail: &TestTrail) -> Report {
    let [alone, helped] = [0, 3].map(|helpers| {
        let mut helpers: Vec<Conn> = (0..helpers).map(|_| trail.connect()).collect();
        let cancel = AtomicBool::new(false);
        verify_with(&mut trail.connect(), &mut helpers, trail.key.vkey(), &mut |_, _| {}, &cancel).unwrap()
    });
    assert_eq!(alone, helped);
    alone
}

/// What is found after `sql`, on a trail of its own.
fn found(sql: &str) -> Vec<(Option<u64>, &'static str)> {
    let trail = trail();
    trail.tamper(&format!("PRAGMA foreign_keys = OFF; {sql}"));
    report(&trail).problems.into_iter().map(|problem| (problem.index, problem.what)).collect()
}

#[test]
fn a_changed_row_of_the_index_is_found() {
    let changed = "UPDATE fact SET username = 'somebody.else' WHERE idx = 7";
    assert_eq!(found(changed), [(Some(7), "the search index says something else than the note")]);
}

#[test]
fn a_column_that_is_no_text_is_found_and_hides_nothing_else() {
    let silenced = "UPDATE detail SET message = '{}' WHERE idx = 400";
    let message = (Some(400), "the message is not the one that the leaf commits to");
    for (sql, what) in [
        ("UPDATE fact SET username = x'ff00' WHERE idx = 7", "the search index says something else than the note"),
        ("UPDATE leaf SET kind = x'ff' WHERE idx = 7", "the columns say something else than the leaf"),
    ] {
        assert_eq!(found(&format!("{sql}; {silenced}")), [(Some(7), what), message], "{sql}");
    }
}

#[test]
fn a_certificate_of_other_entries_than_it_names_is_found() {
    let trail = trail();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let leaves = Digest::of(&leaf_hash(&trail, 7));
    for (entries, leaves, sound) in [
        (vec![(7, 7)], leaves, true),
        (vec![(8, 8)], leaves, false),
        (vec![(7, 8)], leaves, false),
        (vec![(7, 7)], Digest::of(b""), false),
    ] {
        let deleted = Deleted {
            by: None,
            clauses: Vec::new(),
            count: 1,
            entries,
            kinds: BTreeMap::new(),
            leaves,
            newest: Instant::from_micros(0),
            oldest: Instant::from_micros(0),
            receipts: 0,
            v: 1,
            years: 2,
        };
        let message = json::canonical(&deleted).unwrap();
        let job = move |tx: &mut crate::db::Tx<'_>| {
            tx.append(Draft { kind: Kind::RetentionDeleted, message, ..draft(tx.now(), 0) }).map(drop)
        };
        runtime.block_on(trail.open().record(job)).unwrap();
        let what = "the certificate is not of the entries for which it was made";
        let last = report(&trail).entries - 1;
        let found = report(&trail).problems.iter().any(|problem| (problem.index, problem.what) == (Some(last), what));
        assert_eq!(found, !sound, "{last}");
    }
}

fn leaf_hash(trail: &TestTrail, idx: i64) -> Vec<u8> {
    leaf::table.find(idx).select(leaf::hash).first(&mut trail.connect()).unwrap()
}

#[test]
fn an_untouched_trail_is_sound_and_progress_ends_at_the_total() {
    let trail = trail();
    let mut seen = Vec::new();
    let mut progress = |done, total| seen.push((done, total));
    let report = verify(&mut trail.connect(), trail.key.vkey(), &mut progress, &AtomicBool::new(false)).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.entries, report.without_detail), (600, 0));
    assert_eq!(seen, [(0, 600), (256, 600), (512, 600), (600, 600)]);
    let cancelled = verify(&mut trail.connect(), trail.key.vkey(), &mut |_, _| {}, &AtomicBool::new(true));
    assert!(matches!(cancelled, Err(VerifyError::Cancelled)));
    let empty = TestTrail::new();
    drop(empty.open());
    assert_eq!(self::report(&empty).problems, []);
}

#[test]
fn an_edited_leaf_is_found() {
    let edited =
        found("UPDATE leaf SET body = replace(CAST(body AS TEXT), 'query.answered', 'query.received') WHERE idx = 7");
    assert!(edited.contains(&(Some(7), "the leaf is not the one that its tile has")), "{edited:?}");
    assert!(edited.contains(&(None, "the leaves do not have the root that the head states")), "{edited:?}");
    for column in ["rid = randomblob(16)", "kind = 'query.asked'", "at = at - 1", "hash = randomblob(32)"] {
        let edited = found(&format!("UPDATE leaf SET {column} WHERE idx = 7"));
        assert_eq!(edited, [(Some(7), "the columns say something else than the leaf")], "{column}");
    }
    let spaced = found("UPDATE leaf SET body = CAST(body AS TEXT) || ' ' WHERE idx = 7");
    assert!(spaced.contains(&(Some(7), "the body is no leaf in canonical form")), "{spaced:?}");
}

#[test]
fn a_dropped_leaf_is_found_at_the_start_in_the_middle_and_at_the_end() {
    for index in [0, 299, 599] {
        let dropped = found(&format!("DELETE FROM leaf WHERE idx = {index}"));
        assert_eq!(
            dropped,
            [
                (Some(index), "the leaf is missing"),
                (Some(index), "the search index has an entry that is not in the trail"),
                (Some(index), "there is a detail of an entry that is not in the trail"),
            ]
        );
    }
}

#[test]
fn leaves_that_change_places_are_found() {
    let swapped = found(
        "UPDATE leaf SET idx = -1 WHERE idx = 10; UPDATE leaf SET idx = 10 WHERE idx = 400; UPDATE leaf SET idx = 400 WHERE idx = -1",
    );
    for expected in [
        (Some(10), "the leaf is not the one that its tile has"),
        (Some(400), "the leaf is not the one that its tile has"),
        (Some(11), "the leaf is dated before the one before it"),
        (Some(10), "the message is not the one that the leaf commits to"),
    ] {
        assert!(swapped.contains(&expected), "{expected:?} in {swapped:?}");
    }
}

#[test]
fn details_that_change_places_or_words_are_found() {
    let swapped = found(
        "UPDATE detail SET idx = -1 WHERE idx = 10; UPDATE detail SET idx = 10 WHERE idx = 11; UPDATE detail SET idx = 11 WHERE idx = -1",
    );
    let wrong = |index| {
        [
            (Some(index), "the message is not the one that the leaf commits to"),
            (Some(index), "the note is not the one that the leaf commits to"),
        ]
    };
    assert_eq!(swapped, [wrong(10), wrong(11)].concat());
    for column in ["message = '{}'", "message_salt = randomblob(32)", "message_salt = x''"] {
        assert_eq!(found(&format!("UPDATE detail SET {column} WHERE idx = 3")), wrong(3)[..1], "{column}");
    }
    assert_eq!(found("UPDATE detail SET note = '{}' WHERE idx = 3"), wrong(3)[1..]);
}

#[test]
fn a_detail_that_is_missing_without_a_certificate_and_a_missing_fact_are_found() {
    let trail = trail();
    trail.tamper("DELETE FROM detail WHERE idx = 4; DELETE FROM fact WHERE idx = 9");
    let report = report(&trail);
    assert_eq!(report.without_detail, 1);
    let problem = |index, what| Problem { index: Some(index), what };
    let expected = [
        problem(4, MISSING),
        problem(4, "the search index says something of an entry that says nothing"),
        problem(9, "the leaf has no row in the search index"),
    ];
    assert_eq!(report.problems, expected);
}

#[test]
fn a_head_rolled_back_is_found() {
    let trail = TestTrail::new();
    let db = trail.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(db.record(|tx| tx.append(draft(tx.now(), 0)))).unwrap();
    trail.tamper("CREATE TABLE kept AS SELECT * FROM head");
    runtime.block_on(db.record(|tx| tx.append(draft(tx.now(), 1)))).unwrap();
    trail.tamper("DELETE FROM head; INSERT INTO head SELECT * FROM kept");
    let beyond = Problem { index: Some(1), what: "the leaf and all after it are beyond the head" };
    assert_eq!(report(&trail).problems, [beyond]);
}

#[test]
fn an_edited_head_is_found() {
    for (sql, what) in [
        (
            "UPDATE head SET checkpoint = replace(checkpoint, 'alder', 'birch')",
            "the checkpoint is not one that this log's key signed",
        ),
        (
            "UPDATE head SET checkpoint = replace(checkpoint, '600', '601')",
            "the checkpoint is not one that this log's key signed",
        ),
        ("UPDATE head SET root = randomblob(32)", "the checkpoint states another head than its row"),
        ("UPDATE head SET time_mark = 0", "the head's time mark is before the last entry"),
        ("UPDATE head SET root = x''", "the head row is missing or holds what no head can hold"),
        ("DELETE FROM head", "the head row is missing or holds what no head can hold"),
    ] {
        assert!(found(sql).contains(&(None, what)), "{sql}");
    }
}

#[test]
fn an_edited_missing_or_added_tile_is_found() {
    let tile = "a tile that begins with this leaf is not the one that the leaves make";
    let edited = found("UPDATE tile SET data = randomblob(8192) WHERE level = 0 AND n = 1");
    assert!(
        edited.contains(&(Some(256), tile))
            && edited.contains(&(Some(300), "the leaf is not the one that its tile has"))
    );
    assert_eq!(found("DELETE FROM tile WHERE level = 1"), [(Some(0), tile)]);
    assert_eq!(found("UPDATE tile SET w = 255 WHERE level = 1"), [(Some(0), tile)]);
    let added = "INSERT INTO tile VALUES (0, 99, 1, randomblob(32))";
    assert_eq!(found(added), [(None, "there are more tiles than the leaves have")]);
}

#[test]
fn a_trail_without_leaves_or_with_a_stray_one_ends_with_a_short_list() {
    let trail = trail();
    trail.tamper("DELETE FROM detail; DELETE FROM fact; DELETE FROM leaf; DELETE FROM tile");
    let emptied = report(&trail);
    assert_eq!(emptied.problems, [Problem { index: Some(0), what: "the leaf and all after it are missing" }]);
    let far = found("UPDATE leaf SET idx = 9000000000000000 WHERE idx = 599");
    assert!(far.contains(&(Some(9_000_000_000_000_000), "the leaf is behind a gap")), "{far:?}");
    let trail = self::trail();
    trail.tamper("UPDATE detail SET message = '{}'");
    let many = report(&trail);
    assert_eq!((many.problems.len(), many.unlisted), (MAX_ALIKE, 600 - MAX_ALIKE as u64));
}
