//! Full recomputation of the trail from its leaves: finds what was edited, dropped, reordered, added or rolled back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use agreements::entry::Leaf;
use agreements::ids::{Digest, Salt};
use agreements::time::Instant;
use diesel::dsl::{count_star, max};
use diesel::prelude::*;

use super::append::{self, FactRow, Facts};
use super::deleted::{self, Certified};
use super::head::{Head, HeadError};
use super::note::Vkey;
use super::pages::{Indexed, Page, Stored};
use super::rebuild::{Rebuilt, STRETCH};
use super::schema::{leaf, tile};
use super::tiles::TreeError;
use crate::db::{Conn, snapshot};

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
    fn new() -> Self {
        let (problems, alike) = (Vec::new(), BTreeMap::new());
        Self { entries: 0, root: Digest::of(b""), without_detail: 0, problems, unlisted: 0, alike }
    }

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

    /// Adds what was found in the entries that come next.
    fn absorb(&mut self, later: Self) {
        self.entries += later.entries;
        self.without_detail += later.without_detail;
        self.unlisted = self.unlisted.saturating_add(later.unlisted);
        for Problem { index, what } in later.problems {
            self.add(index, what);
        }
    }
}

/// Recomputes everything, in constant memory. `progress` is called with how many entries are done, and how many there are;
/// `cancel` is looked at between pages.
///
/// Entries that have their full tiles are read a stretch at a time, each in one state of the database, so that a node that
/// records meanwhile is not kept from clearing its write-ahead log; the rest and the head are read in one last state.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(
    conn: &mut Conn,
    vkey: &Vkey,
    progress: &mut dyn FnMut(u64, u64),
    cancel: &AtomicBool,
) -> Result<Report, VerifyError> {
    verify_with(conn, &mut [], vkey, progress, cancel)
}

/// Like [`verify`]; each of `helpers`, more connections to the same database, has a thread of its own.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify_with(
    conn: &mut Conn,
    helpers: &mut [Conn],
    vkey: &Vkey,
    progress: &mut dyn FnMut(u64, u64),
    cancel: &AtomicBool,
) -> Result<Report, VerifyError> {
    let stored: Option<i64> = leaf::table.select(max(leaf::idx)).first(conn)?;
    let stored = stored.map_or(0, |last| last.max(-1).saturating_add(1).cast_unsigned());
    let stated = match Head::read(conn) {
        Ok(head) => head.size,
        Err(HeadError::Tree(TreeError::Store(error))) => return Err(error.into()),
        Err(_) => 0,
    };
    progress(0, stated);
    let mut run = Run::from(0, Arc::new(Certified::load(conn)?));
    // Not as many as somebody may have written into the head's row.
    let whole = stated.min(stored) / STRETCH;
    let mut said = 0;
    let mut counted = |done| {
        if done > said {
            said = done;
            progress(done, stated.max(done));
        }
    };
    if helpers.is_empty() {
        run.stretches(conn, whole, &mut counted, cancel)?;
    } else {
        run.stretches_by(conn, helpers, whole, &mut counted, cancel)?;
    }
    snapshot(conn, |conn| {
        let head = run.head(conn, vkey)?;
        run.entries(conn, None, &mut counted, cancel)?;
        run.end(conn, head.as_ref())?;
        Ok(run.report)
    })
}

/// Entries in their order, from the first of a stretch on.
struct Run {
    report: Report,
    tree: Rebuilt,
    /// Of which entries a certificate says that they say nothing any more, and whether this was read here.
    certified: Arc<Certified>,
    reread: bool,
    /// When the first entry was appended, and the one before the next.
    first: Option<Instant>,
    last: Option<Instant>,
    /// The highest of these instants.
    newest: Option<Instant>,
    /// Positions of rows that belong to no leaf: of the index, and of what entries say.
    strays: [Option<i64>; 2],
}

impl Run {
    fn from(first: u64, certified: Arc<Certified>) -> Self {
        let (report, tree) = (Report::new(), Rebuilt::from(first));
        Self { report, tree, certified, reread: false, first: None, last: None, newest: None, strays: [None; 2] }
    }

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

    /// The first `count` stretches. Ends before one that has gaps that its tiles do not fill: that one is for who reads what is
    /// behind it, too.
    fn stretches(
        &mut self,
        conn: &mut Conn,
        count: u64,
        progress: &mut dyn FnMut(u64),
        cancel: &AtomicBool,
    ) -> Result<(), VerifyError> {
        for number in 0..count {
            let before = self.report.entries;
            let certified = Arc::clone(&self.certified);
            let came = stretch(conn, number, certified, &mut |done| progress(before + done), cancel)?;
            let Some(root) = came.tree.stretch() else { break };
            self.absorb(conn, came, root)?;
        }
        Ok(())
    }

    /// Like [`Self::stretches`], by `helpers`.
    fn stretches_by(
        &mut self,
        conn: &mut Conn,
        helpers: &mut [Conn],
        count: u64,
        progress: &mut dyn FnMut(u64),
        cancel: &AtomicBool,
    ) -> Result<(), VerifyError> {
        let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (done, coming) = sync_channel(helpers.len());
            for helper in &mut *helpers {
                let (next, enough, done) = (&next, &enough, done.clone());
                let certified = Arc::clone(&self.certified);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count || enough.load(Ordering::Relaxed) {
                            return;
                        }
                        if done
                            .send((number, stretch(helper, number, Arc::clone(&certified), &mut |_| {}, cancel)))
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
            drop(done);
            // Each is at most as far ahead as there are helpers.
            let (mut early, mut wanted) = (BTreeMap::new(), 0);
            let taking = || -> Result<(), VerifyError> {
                for (number, came) in coming {
                    early.insert(number, came?);
                    while let Some(came) = early.remove(&wanted) {
                        let Some(root) = came.tree.stretch() else { return Ok(()) };
                        self.absorb(conn, came, root)?;
                        progress(self.report.entries);
                        wanted += 1;
                    }
                }
                Ok(())
            };
            let taken = taking();
            enough.store(true, Ordering::Relaxed);
            taken
        })
    }

    /// Adds a stretch, whose tree has this root and so many tiles.
    fn absorb(&mut self, conn: &mut Conn, later: Self, root: (tlog_tiles::Hash, u64)) -> QueryResult<()> {
        self.follows(later.first, self.tree.size());
        self.report.absorb(later.report);
        self.first = self.first.or(later.first);
        self.last = later.last.or(self.last);
        self.newest = self.newest.max(later.newest);
        let [fact, detail] = later.strays;
        self.stray(fact, detail);
        self.tree.push_stretch(conn, root, &mut self.report)
    }

    /// The entries from where this run is to before `end`; all there are where there is none.
    fn entries(
        &mut self,
        conn: &mut Conn,
        end: Option<u64>,
        progress: &mut dyn FnMut(u64),
        cancel: &AtomicBool,
    ) -> Result<(), VerifyError> {
        // The very first page has what is before the first position, too.
        let mut after = self.tree.size().checked_sub(1).map_or(i64::MIN, u64::cast_signed);
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(VerifyError::Cancelled);
            }
            let page = Page::read(conn, after, end.map_or(i64::MAX, u64::cast_signed))?;
            self.stray(page.stray_fact, page.stray_detail);
            for row in &page.rows {
                self.entry(conn, row)?;
            }
            let Some(last) = page.more() else { break };
            after = last;
            progress(self.report.entries);
        }
        progress(self.report.entries);
        Ok(())
    }

    fn entry(&mut self, conn: &mut Conn, row: &Stored) -> Result<(), VerifyError> {
        let index = row.idx.cast_unsigned();
        if row.idx < 0 {
            self.report.add(None, "a leaf has a negative position");
            return Ok(());
        }
        self.report.entries += 1;
        let hash = Leaf::hash_of(&row.body);
        self.columns(conn, index, row, hash)?;
        // Missing leaves are taken from the tiles, so that the rest can be compared.
        while self.tree.size() < index && self.tree.push_stored(conn, &mut self.report)? {}
        if self.tree.size() == index {
            self.tree.push(conn, hash, &mut self.report)?;
        } else {
            self.report.add(Some(index), "the leaf is behind a gap");
        }
        Ok(())
    }

    fn columns(&mut self, conn: &mut Conn, index: u64, row: &Stored, hash: Digest) -> QueryResult<()> {
        let Ok(leaf) = Leaf::from_bytes(&row.body) else {
            self.report.add(Some(index), "the body is no leaf in canonical form");
            return Ok(());
        };
        let same = row.rid == leaf.rid.as_bytes()
            && row.kind == leaf.kind.as_str().as_bytes()
            && row.at == leaf.at.micros()
            && row.hash == hash.0;
        if !same {
            self.report.add(Some(index), "the columns say something else than the leaf");
        }
        self.follows(Some(leaf.at), index);
        self.first = self.first.or(Some(leaf.at));
        self.last = Some(leaf.at);
        self.newest = self.newest.max(self.last);
        if matches!(row.facts, Indexed::Nothing) {
            self.report.add(Some(index), "the leaf has no row in the search index");
        }
        if let Some(what) = self.uncertified(conn, index, &leaf, row.detail.is_some())? {
            self.report.add(Some(index), what);
        }
        let Some((message, message_salt, note, note_salt)) = &row.detail else {
            self.report.without_detail += 1;
            let nothing = |facts: &FactRow| Facts::from_row(facts.clone()).is_ok_and(|facts| facts == Facts::default());
            if row.facts.is_other_than(nothing) {
                self.report.add(Some(index), "the search index says something of an entry that says nothing");
            }
            return Ok(());
        };
        if !commits(leaf.message, message_salt, message) {
            self.report.add(Some(index), "the message is not the one that the leaf commits to");
        }
        if !commits(leaf.note, note_salt, note) {
            self.report.add(Some(index), "the note is not the one that the leaf commits to");
        } else if row.facts.is_other_than(|facts| append::says(note, facts)) {
            self.report.add(Some(index), "the search index says something else than the note");
        }
        Ok(())
    }

    /// What is wrong with what is there, or not, of an entry. Certificates may have come since they were read: what is missing in
    /// this state of the database has its certificate in this state, too.
    fn uncertified(
        &mut self,
        conn: &mut Conn,
        index: u64,
        leaf: &Leaf,
        has_detail: bool,
    ) -> QueryResult<Option<&'static str>> {
        let what = self.certified.objection(index, leaf, has_detail);
        if what.is_none() || self.reread {
            return Ok(what);
        }
        self.certified = Arc::new(Certified::load(conn)?);
        self.reread = true;
        Ok(self.certified.objection(index, leaf, has_detail))
    }

    /// Holds the entry `index`, appended at `at`, to the one before it.
    fn follows(&mut self, at: Option<Instant>, index: u64) {
        if at.zip(self.last).is_some_and(|(at, last)| at < last) {
            self.report.add(Some(index), "the leaf is dated before the one before it");
        }
    }

    fn stray(&mut self, fact: Option<i64>, detail: Option<i64>) {
        let [facts, details] = &mut self.strays;
        *facts = facts.or(fact);
        *details = details.or(detail);
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
        // Foreign keys forbid rows that belong to no leaf, but not to who edits the file.
        let [fact, detail] = self.strays;
        if let Some(idx) = fact {
            self.report.add(Some(idx.cast_unsigned()), "the search index has an entry that is not in the trail");
        }
        if let Some(idx) = detail {
            self.report.add(Some(idx.cast_unsigned()), "there is a detail of an entry that is not in the trail");
        }
        for index in deleted::of_others(conn)? {
            self.report.add(Some(index), "the certificate is not of the entries for which it was made");
        }
        let tiles: i64 = tile::table.select(count_star()).first(conn)?;
        if tiles.cast_unsigned() > self.tree.tiles() {
            self.report.add(None, "there are more tiles than the leaves have");
        }
        Ok(())
    }
}

/// The stretch `number` by itself.
fn stretch(
    conn: &mut Conn,
    number: u64,
    certified: Arc<Certified>,
    progress: &mut dyn FnMut(u64),
    cancel: &AtomicBool,
) -> Result<Run, VerifyError> {
    snapshot(conn, |conn| {
        let mut run = Run::from(number * STRETCH, certified);
        let end = (number + 1) * STRETCH;
        run.entries(conn, Some(end), progress, cancel)?;
        while run.tree.size() < end && run.tree.push_stored(conn, &mut run.report)? {}
        Ok(run)
    })
}

fn commits(commitment: Digest, salt: &[u8], bytes: &[u8]) -> bool {
    salt.try_into().is_ok_and(|salt| Digest::salted(&Salt(salt), bytes) == commitment)
}

#[cfg(test)]
mod tests;
