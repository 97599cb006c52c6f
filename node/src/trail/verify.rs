//! Full recomputation of the trail from its leaves: finds what was edited, dropped, reordered, added or rolled back.

use std::sync::atomic::{AtomicBool, Ordering};

use agreements::entry::Leaf;
use agreements::ids::{Digest, Salt};
use agreements::time::Instant;
use diesel::dsl::count_star;
use diesel::prelude::*;

use super::head::{Head, HeadError};
use super::note::Vkey;
use super::rebuild::Rebuilt;
use super::schema::{detail, fact, leaf, tile};
use super::tiles::TreeError;
use crate::db::{Conn, snapshot};

/// How many leaves are held at a time.
const PAGE: i64 = 256;
/// How many problems are described; more are counted.
pub const MAX_PROBLEMS: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many leaves are stored.
    pub entries: u64,
    /// The root of the tree of those leaves.
    pub root: Digest,
    /// How many entries have no detail any more, as after the end of their retention.
    pub without_detail: u64,
    /// The first [`MAX_PROBLEMS`] problems.
    pub problems: Vec<Problem>,
    /// How many problems are not listed.
    pub unlisted: u64,
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
        if self.problems.len() < MAX_PROBLEMS {
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
        let report = Report { entries: 0, root: Digest::of(b""), without_detail: 0, problems: Vec::new(), unlisted: 0 };
        let mut run = Run { report, tree: Rebuilt::default(), last: None };
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
    detail: Option<(Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>)>,
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
            (detail::message, detail::message_salt, detail::note, detail::note_salt).nullable(),
        ))
        .load(conn)
}

struct Run {
    report: Report,
    tree: Rebuilt,
    /// When the last entry was appended.
    last: Option<Instant>,
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
        self.last = self.last.max(Some(leaf.at));
        if row.fact.is_none() {
            self.report.add(Some(index), "the leaf has no row in the search index");
        }
        let Some((message, message_salt, note, note_salt)) = &row.detail else {
            self.report.without_detail += 1;
            return;
        };
        if !commits(leaf.message, message_salt, message) {
            self.report.add(Some(index), "the message is not the one that the leaf commits to");
        }
        if !commits(leaf.note, note_salt, note) {
            self.report.add(Some(index), "the note is not the one that the leaf commits to");
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
            if self.last.is_some_and(|last| last > head.mark) {
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
