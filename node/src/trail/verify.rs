//! Full recomputation of the trail from its leaves: finds what was edited, dropped, reordered, added or rolled back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::entry::Leaf;
use agreements::ids::{Digest, Salt};
use agreements::time::Instant;
use diesel::dsl::count_star;
use diesel::prelude::*;

use super::append::{self, FactRow, Facts};
use super::deleted::Certified;
use super::head::{Head, HeadError};
use super::note::Vkey;
use super::rebuild::Rebuilt;
use super::schema::{detail, fact, leaf, tile};
use super::tiles::TreeError;
use crate::db::{Conn, snapshot};

/// How many leaves are held at a time.
const PAGE: i64 = 256;
/// How many problems of one kind are listed; more are counted. One damaged tile must not hide what else is wrong.
pub const MAX_ALIKE: usize = 50;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many leaves are stored.
    pub entries: u64,
    /// The root of the tree of those leaves.
    pub root: Digest,
    /// How many entries have no detail any more. A certificate in the trail names each that was deleted after its retention; of
    /// any other it is a problem.
    pub without_detail: u64,
    /// The first [`MAX_ALIKE`] problems of each kind.
    pub problems: Vec<Problem>,
    /// How many problems are not listed.
    pub unlisted: u64,
    alike: BTreeMap<&'static str, usize>,
}

/// Something that is not as the trail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The entry, where it is about one.
    pub index: Option<u64>,
    /// What is wrong. Names no content.
    pub what: &'static str,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The caller asked to stop.
    #[error("stopped before the end")]
    Cancelled,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] diesel::result::Error),
}

impl Report {
    /// Whether the trail is as its head says.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn add(&mut self, index: Option<u64>, what: &'static str) {
        let alike = self.alike.entry(what).or_default();
        *alike += 1;
        if *alike <= MAX_ALIKE {
            self.problems.push(Problem { index, what });
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }
}

/// Recomputes everything in one state of the database, in constant memory. `progress` is called with how many entries
/// are done, and how many there are; `cancel` is looked at between pages.
pub fn verify(
    conn: &mut Conn,
    vkey: &Vkey,
    progress: &mut dyn FnMut(u64, u64),
    cancel: &AtomicBool,
) -> Result<Report, VerifyError> {
    snapshot(conn, |conn| {
        let report = Report {
            entries: 0,
            root: Digest::of(b""),
            without_detail: 0,
            problems: Vec::new(),
            unlisted: 0,
            alike: BTreeMap::new(),
        };
        let certified = Certified::load(conn)?;
        let mut run = Run { report, tree: Rebuilt::default(), certified, last: None, newest: None };
        let head = run.head(conn, vkey)?;
        let total: i64 = leaf::table.select(count_star()).first(conn)?;
        let total = total.cast_unsigned();
        progress(0, total);
        let mut after = -1;
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(VerifyError::Cancelled);
            }
            let page = page(conn, after)?;
            let Some(end) = page.last() else { break };
            after = end.idx;
            for row in page {
                run.entry(conn, &row)?;
            }
            progress(run.report.entries, total);
        }
        run.end(conn, head.as_ref())?;
        Ok(run.report)
    })
}

/// Message and its salt, note and its salt.
type Salted = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

/// A leaf with what belongs to it.
#[derive(Queryable)]
struct Stored {
    idx: i64,
    rid: Vec<u8>,
    kind: String,
    at: i64,
    hash: Vec<u8>,
    body: Vec<u8>,
    fact: Option<i64>,
    facts: Option<FactRow>,
    detail: Option<Salted>,
}

fn page(conn: &mut Conn, after: i64) -> QueryResult<Vec<Stored>> {
    leaf::table
        .left_join(fact::table)
        .left_join(detail::table)
        .filter(leaf::idx.gt(after))
        .order(leaf::idx)
        .limit(PAGE)
        .select((
            leaf::idx,
            leaf::rid,
            leaf::kind,
            leaf::at,
            leaf::hash,
            leaf::body,
            fact::idx.nullable(),
            (fact::partner, fact::username, fact::purpose, fact::reference, fact::plate, fact::decision, fact::rule)
                .nullable(),
            (detail::message, detail::message_salt, detail::note, detail::note_salt).nullable(),
        ))
        .load(conn)
}

struct Run {
    report: Report,
    tree: Rebuilt,
    /// Of which entries a certificate says that they say nothing any more.
    certified: Certified,
    /// When the entry before was appended.
    last: Option<Instant>,
    /// The highest of these instants.
    newest: Option<Instant>,
}

impl Run {
    fn head(&mut self, conn: &mut Conn, vkey: &Vkey) -> Result<Option<Head>, VerifyError> {
        let head = match Head::read(conn) {
            Ok(head) => head,
            Err(HeadError::Tree(TreeError::Store(error))) => return Err(error.into()),
            Err(_) => {
                self.report.add(None, "the head row is missing or holds what no head can hold");
                return Ok(None);
            }
        };
        match head.check_statement(vkey) {
            Ok(()) => {}
            Err(HeadError::Disagrees) => self.report.add(None, "the checkpoint states another head than its row"),
            Err(HeadError::Root) => self.report.add(None, "the head of the empty trail has another root"),
            Err(_) => self.report.add(None, "the checkpoint is not one that this log's key signed"),
        }
        Ok(Some(head))
    }

    fn entry(&mut self, conn: &mut Conn, row: &Stored) -> Result<(), VerifyError> {
        let index = row.idx.cast_unsigned();
        if row.idx < 0 {
            self.report.add(None, "a leaf has a negative position");
            return Ok(());
        }
        self.report.entries += 1;
        self.columns(index, row);
        // Missing leaves are taken from the tiles, so that the rest can be compared.
        while self.tree.size() < index && self.tree.push_stored(conn, &mut self.report)? {}
        if self.tree.size() == index {
            self.tree.push(conn, Leaf::hash_of(&row.body), &mut self.report)?;
        } else {
            self.report.add(Some(index), "the leaf is behind a gap");
        }
        Ok(())
    }

    fn columns(&mut self, index: u64, row: &Stored) {
        let Ok(leaf) = Leaf::from_bytes(&row.body) else {
            self.report.add(Some(index), "the body is no leaf in canonical form");
            return;
        };
        let same = row.rid == leaf.rid.as_bytes()
            && row.kind == leaf.kind.as_str()
            && row.at == leaf.at.micros()
            && row.hash == Leaf::hash_of(&row.body).0;
        if !same {
            self.report.add(Some(index), "the columns say something else than the leaf");
        }
        if self.last.is_some_and(|last| leaf.at < last) {
            self.report.add(Some(index), "the leaf is dated before the one before it");
        }
        self.last = Some(leaf.at);
        self.newest = self.newest.max(self.last);
        if row.fact.is_none() {
            self.report.add(Some(index), "the leaf has no row in the search index");
        }
        if let Some(what) = self.certified.objection(index, &leaf, row.detail.is_some()) {
            self.report.add(Some(index), what);
        }
        let Some((message, message_salt, note, note_salt)) = &row.detail else {
            self.report.without_detail += 1;
            if row.facts.as_ref().is_some_and(|facts| Facts::from_row(facts.clone()).ok() != Some(Facts::default())) {
                self.report.add(Some(index), "the search index says something of an entry that says nothing");
            }
            return;
        };
        if !commits(leaf.message, message_salt, message) {
            self.report.add(Some(index), "the message is not the one that the leaf commits to");
        }
        if !commits(leaf.note, note_salt, note) {
            self.report.add(Some(index), "the note is not the one that the leaf commits to");
        } else if row.fact.is_some()
            && Facts::from_row(row.facts.clone().unwrap_or_default()).ok()
                != append::read_note(note).map(|(facts, _)| facts)
        {
            self.report.add(Some(index), "the search index says something else than the note");
        }
    }

    fn end(&mut self, conn: &mut Conn, head: Option<&Head>) -> Result<(), VerifyError> {
        let stated = head.map_or(0, |head| head.size);
        while self.tree.size() < stated && self.tree.push_stored(conn, &mut self.report)? {}
        let size = self.tree.size();
        self.report.root = self.tree.finish(conn, &mut self.report)?;
        if let Some(head) = head {
            if size < head.size {
                self.report.add(Some(size), "the leaf and all after it are missing");
            }
            if size > head.size {
                self.report.add(Some(head.size), "the leaf and all after it are beyond the head");
            }
            if size == head.size && self.report.root != head.root {
                self.report.add(None, "the leaves do not have the root that the head states");
            }
            if self.newest.is_some_and(|newest| newest > head.mark) {
                self.report.add(None, "the head's time mark is before the last entry");
            }
        }
        self.strays(conn)
    }

    /// Rows that belong to no leaf. Foreign keys forbid them, but not to who edits the file.
    fn strays(&mut self, conn: &mut Conn) -> Result<(), VerifyError> {
        let facts: Option<i64> = fact::table
            .left_join(leaf::table)
            .filter(leaf::idx.nullable().is_null())
            .select(fact::idx)
            .first(conn)
            .optional()?;
        if let Some(idx) = facts {
            self.report.add(Some(idx.cast_unsigned()), "the search index has an entry that is not in the trail");
        }
        let details: Option<i64> = detail::table
            .left_join(leaf::table)
            .filter(leaf::idx.nullable().is_null())
            .select(detail::idx)
            .first(conn)
            .optional()?;
        if let Some(idx) = details {
            self.report.add(Some(idx.cast_unsigned()), "there is a detail of an entry that is not in the trail");
        }
        let tiles: i64 = tile::table.select(count_star()).first(conn)?;
        if tiles.cast_unsigned() > self.tree.tiles() {
            self.report.add(None, "there are more tiles than the leaves have");
        }
        Ok(())
    }
}

fn commits(commitment: Digest, salt: &[u8], bytes: &[u8]) -> bool {
    salt.try_into().is_ok_and(|salt| Digest::salted(&Salt(salt), bytes) == commitment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::deleted::MISSING;
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

    fn report(trail: &TestTrail) -> Report {
        verify(&mut trail.connect(), trail.key.vkey(), &mut |_, _| {}, &AtomicBool::new(false)).unwrap()
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
        let edited = found(
            "UPDATE leaf SET body = replace(CAST(body AS TEXT), 'query.answered', 'query.received') WHERE idx = 7",
        );
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
}
