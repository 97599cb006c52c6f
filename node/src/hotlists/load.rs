//! Loading an own hotlist: compare the source with the version in place, stage what differs in small transactions, and
//! put the new version in place in one last transaction with its entry in the trail.

mod kinds;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use agreements::entry::Kind;
use agreements::hotlist::Entry;
use agreements::ids::Digest;
use agreements::time::Instant;
use serde::Serialize;
use tokio::runtime::Handle;

use super::layout::Layout;
use super::reading::{self, At, Contents, Key, ReadingError, Watch, key};
use crate::db::{Db, Tx};
use crate::people;
use crate::registry::accounts::{self, Action};
use crate::registry::hotlists::{self, EntryRow, List, Part};
use crate::trail::Facts;

pub use kinds::{Change, Load, LoadError, Loaded, Progress, Watcher, name_formed};

/// Rows of one transaction.
const BATCH: usize = 1000;
/// Entries of one page when the version in place is read.
const PAGE: i64 = 5000;
/// How many changes are shown.
const SHOWN: usize = 5;
/// How long a version is remembered after another followed it, in microseconds: longer than any lease, so that every
/// partner whose copy lives gets the difference.
const REMEMBERED: i64 = 2 * Instant::DAY;

/// Loads a source. Must be called inside a tokio runtime; reads on a thread of its own.
///
/// # Errors
/// See [`LoadError`].
pub async fn load(db: &Db, load: Load, watcher: Watcher) -> Result<Loaded, LoadError> {
    let db = db.clone();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || Job { db, load, watcher, runtime }.run()).await?
}

/// The message of a `hotlist.loaded` entry: counts and hashes, no plates.
#[derive(Serialize)]
struct Recorded<'a> {
    accepted_date: bool,
    accepted_shrink: bool,
    added: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<&'a str>,
    dropped: u64,
    entries: u64,
    layout: &'a str,
    list: &'a str,
    rejected: u64,
    removed: u64,
    source: Digest,
    source_at: Instant,
    v: u16,
    version: i64,
}

/// A load under way.
struct Job {
    db: Db,
    load: Load,
    watcher: Watcher,
    runtime: Handle,
}

/// What differs between the source and the version in place.
struct Difference {
    added: HashSet<Key>,
    removed: Vec<Digest>,
    unchanged: u64,
    first: Vec<Change>,
}

impl Job {
    fn run(mut self) -> Result<Loaded, LoadError> {
        let now = self.db.clock().now();
        let mut conn = self.db.reader()?;
        accounts::operator(&mut conn, &self.load.by, Action::LoadHotlists)?.map_err(LoadError::Refused)?;
        if !name_formed(&self.load.list) {
            return Err(LoadError::Refused("a list's name is 1 to 64 of a-z, 0-9, hyphen and underscore".to_owned()));
        }
        let (contents, keys) = self.read_keys(now)?;
        let place = hotlists::find(&mut conn, &self.load.list)?;
        let begun = hotlists::layout(&mut conn, &self.load.list)?;
        if let Some(layout) = begun.filter(|layout| place.is_some() && layout != contents.layout.as_str()) {
            return Err(LoadError::Refused(format!(
                "{} is a list of the layout {layout}, and this file is {}: load it under another name",
                self.load.list, contents.layout
            )));
        }
        self.dated(&contents, place.as_ref(), now)?;
        self.approved(&mut conn, contents.layout)?;
        let version = place.as_ref().map_or(0, |list| list.version);
        let mut difference = self.compare(&mut conn, version, keys)?;
        self.shrunk(&contents, &difference, place.is_some())?;
        drop(conn);
        let mut loaded = self.loaded(&contents, version, &difference);
        if self.load.dry_run {
            self.take(&contents, now, &mut difference, &mut loaded, None)?;
            return Ok(loaded);
        }
        let stage = if loaded.added + loaded.removed > 0 {
            let stage = self.stage(&contents, now, &mut difference, &mut loaded)?;
            loaded.version = stage;
            Some(stage)
        } else {
            None
        };
        self.flip(&contents, &loaded, stage)?;
        self.forget();
        Ok(loaded)
    }

    fn read_keys(&mut self, now: Instant) -> Result<(Contents, HashSet<Key>), ReadingError> {
        let Self { load, watcher, .. } = self;
        let progress = &mut |at| (watcher.progress)(Progress::Reading(at));
        let mut watch = Watch { progress, stop: &watcher.stop };
        reading::keys(&load.path, load.layout, now, &load.report, &mut watch)
    }

    /// Whether the source's own date lets it be loaded.
    fn dated(&self, contents: &Contents, place: Option<&List>, now: Instant) -> Result<(), LoadError> {
        let at = contents.source_at;
        let why = match place {
            _ if at > now.plus(5 * Instant::MINUTE) => {
                format!("its header says {at}, which is in the future ({now} now): check the clocks")
            }
            Some(list) if at < list.source_at => {
                format!("its header says {at}, but what is loaded is of {}: it is an older file", list.source_at)
            }
            _ if now.since(at) > self.load.max_age => {
                let hours = self.load.max_age / Instant::HOUR;
                format!("its header says {at}, over {hours} hours ago (hotlists.max_source_age_hours)")
            }
            _ => return Ok(()),
        };
        if self.load.accept_date {
            return Ok(());
        }
        Err(LoadError::Refused(format!(
            "{why}. Fetch the newest file, or load this one with --accept-date if it is right"
        )))
    }

    /// Entries of the agency's own need a second person.
    fn approved(&self, conn: &mut crate::db::Conn, layout: Layout) -> Result<(), LoadError> {
        if layout != Layout::Custom || self.load.dry_run {
            return Ok(());
        }
        let Some(approver) = &self.load.approved_by else {
            return Err(LoadError::Refused(
                "a supervisor approves the entries of a custom list: name another person with --approved-by".to_owned(),
            ));
        };
        if *approver == self.load.by {
            return Err(LoadError::Refused("nobody approves their own entries: another person does".to_owned()));
        }
        accounts::operator(conn, approver, Action::ApproveHotlists)?.map_err(LoadError::Refused)?;
        Ok(())
    }

    fn compare(
        &self,
        conn: &mut crate::db::Conn,
        version: i64,
        mut keys: HashSet<Key>,
    ) -> Result<Difference, LoadError> {
        let (mut removed, mut unchanged, mut first) = (Vec::new(), 0, Vec::new());
        let mut after = None;
        loop {
            let page = hotlists::page(conn, &self.load.list, Part::At(version), None, after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (digest, body) in page {
                if keys.remove(&key(digest)) {
                    unchanged += 1;
                    continue;
                }
                removed.push(digest);
                if first.len() < SHOWN
                    && let Ok(entry) = agreements::json::parse::<Entry>(body.as_bytes())
                {
                    first.push(change("removed", &entry));
                }
            }
        }
        Ok(Difference { added: keys, removed, unchanged, first })
    }

    /// A list from elsewhere that lost over a fifth of its entries is more likely a broken file. Entries of the agency's
    /// own are few, and a second person looked; but a file without any is more likely the wrong one.
    fn shrunk(&self, contents: &Contents, difference: &Difference, known: bool) -> Result<(), LoadError> {
        let before = difference.unchanged + difference.removed.len() as u64;
        let after = difference.unchanged + difference.added.len() as u64;
        if self.load.dry_run {
            return Ok(());
        }
        if after == 0 && !known {
            return Err(LoadError::Refused(format!(
                "it has no entries, so there is nothing to begin the list {} with: look at the file, and at what was rejected of it",
                self.load.list
            )));
        }
        let few = contents.layout == Layout::Custom && after > 0;
        if few || self.load.accept_shrink || after * 5 >= before * 4 {
            return Ok(());
        }
        Err(LoadError::Refused(format!(
            "it has {after} entries, and what is loaded has {before}: over a fifth fewer. See what changed with --dry-run, and load it with --accept-shrink if it is right"
        )))
    }

    fn loaded(&self, contents: &Contents, before: i64, difference: &Difference) -> Loaded {
        let added = difference.added.len() as u64;
        Loaded {
            list: self.load.list.clone(),
            layout: contents.layout.as_str(),
            source_at: contents.source_at,
            before,
            version: before,
            entries: difference.unchanged + added,
            added,
            removed: difference.removed.len() as u64,
            unchanged: difference.unchanged,
            records: contents.records,
            dropped: contents.dropped,
            rejected: contents.rejected,
            report: contents.report.clone(),
            first: difference.first.clone(),
            dry_run: self.load.dry_run,
        }
    }

    /// Writes what differs, for readers of a version that is not in place yet. Its number.
    fn stage(
        &mut self,
        contents: &Contents,
        now: Instant,
        difference: &mut Difference,
        loaded: &mut Loaded,
    ) -> Result<i64, LoadError> {
        let (name, layout) = (self.load.list.clone(), contents.layout.as_str());
        let stage = self.write(move |conn| hotlists::begin(conn, &name, layout))?;
        loop {
            let name = self.load.list.clone();
            if self.write(move |conn| hotlists::clear_staged(conn, &name, 2000))? == 0 {
                break;
            }
        }
        let removed = std::mem::take(&mut difference.removed);
        for part in removed.chunks(BATCH) {
            let (name, part) = (self.load.list.clone(), part.to_vec());
            self.write_held(stage, move |conn| hotlists::stage_removed(conn, &name, stage, &part))?;
        }
        self.take(contents, now, difference, loaded, Some(stage))?;
        Ok(stage)
    }

    /// Reads the source a second time, for the entries that are new: to show the first of them, and to write all of them
    /// when there is a `stage`.
    fn take(
        &mut self,
        contents: &Contents,
        now: Instant,
        difference: &mut Difference,
        loaded: &mut Loaded,
        stage: Option<i64>,
    ) -> Result<(), LoadError> {
        let total = difference.added.len() as u64;
        let (mut rows, mut done, mut shown) = (Vec::new(), 0_u64, 0_usize);
        let path = self.load.path.clone();
        let stop = Arc::clone(&self.watcher.stop);
        let mut quiet = |_: At| {};
        let mut watch = Watch { progress: &mut quiet, stop: &stop };
        let read = reading::read(&path, Some(contents.layout), now, None, &mut watch, &mut |found| {
            if !difference.added.remove(&key(found.digest)) {
                return Ok(true);
            }
            if shown < SHOWN {
                shown += 1;
                loaded.first.push(change("added", &found.entry));
            }
            let Some(stage) = stage else { return Ok(shown < SHOWN) };
            rows.push(row(&self.load.list, stage, found)?);
            if rows.len() == BATCH {
                let part = std::mem::take(&mut rows);
                done += part.len() as u64;
                self.write_held(stage, move |conn| hotlists::stage_added(conn, &part)).map_err(sunk)?;
                (self.watcher.progress)(Progress::Staging(done, total));
            }
            Ok(true)
        });
        match (read, stage) {
            // It was stopped as soon as enough was seen, perhaps before its trailer.
            (Err(ReadingError::Cut | ReadingError::Count { .. }) | Ok(_), None) => return Ok(()),
            (Err(ReadingError::Sink(error)), _) => {
                return Err(error
                    .downcast::<LoadError>()
                    .map_or_else(|error| ReadingError::Sink(error).into(), |e| *e));
            }
            (Err(error), _) => return Err(error.into()),
            (Ok(again), Some(_)) if again.sha256 != contents.sha256 || !difference.added.is_empty() => {
                return Err(ReadingError::Changed.into());
            }
            (Ok(_), Some(stage)) if !rows.is_empty() => {
                self.write_held(stage, move |conn| hotlists::stage_added(conn, &rows))?;
            }
            (Ok(_), Some(_)) => {}
        }
        (self.watcher.progress)(Progress::Staging(total, total));
        Ok(())
    }

    /// Puts the new version in place, with its entry, in one transaction.
    fn flip(&self, contents: &Contents, loaded: &Loaded, stage: Option<i64>) -> Result<(), LoadError> {
        let (load, contents, loaded) = (self.load.clone(), contents.clone(), loaded.clone());
        let job = move |tx: &mut Tx<'_>| {
            let no = |why: &str| Ok(Err(why.to_owned()));
            let there = hotlists::find(tx.conn(), &load.list)?;
            // Also a load that changed nothing says of what time its source was.
            if there.as_ref().is_some_and(|there| there.source_at > contents.source_at) && !load.accept_date {
                return no("a newer source of this list was loaded meanwhile; what it says stays in place");
            }
            let place = there.map_or(0, |list| list.version);
            let ours = match stage {
                Some(stage) => hotlists::holds(tx.conn(), &load.list, stage)?,
                None => true,
            };
            if !ours || place != loaded.before {
                return no("another load of this list began meanwhile; load it again");
            }
            let mut people = vec![(&load.by, Action::LoadHotlists)];
            let approved = load.approved_by.as_ref().filter(|_| contents.layout == Layout::Custom);
            people.extend(approved.map(|by| (by, Action::ApproveHotlists)));
            for (person, action) in people {
                if let Err(why) = accounts::operator(tx.conn(), person, action)? {
                    return Ok(Err(why));
                }
            }
            let list = List {
                name: load.list.clone(),
                layout: contents.layout.as_str().to_owned(),
                version: loaded.version,
                entries: loaded.entries,
                dropped: contents.dropped,
                source_at: contents.source_at,
                source: contents.sha256,
                loaded_at: tx.now(),
                loaded_by: load.by.clone(),
            };
            hotlists::flip(tx.conn(), &list, loaded.before)?;
            let message = Recorded {
                accepted_date: load.accept_date,
                accepted_shrink: load.accept_shrink,
                added: loaded.added,
                approved_by: approved.map(String::as_str),
                dropped: loaded.dropped,
                entries: loaded.entries,
                layout: loaded.layout,
                list: &load.list,
                rejected: loaded.rejected,
                removed: loaded.removed,
                source: contents.sha256,
                source_at: contents.source_at,
                v: 1,
                version: loaded.version,
            };
            people::record(tx, Kind::HotlistLoaded, &message, &load.by, Facts::default())?;
            Ok(Ok(()))
        };
        self.runtime.block_on(self.db.record(job))?.into_inner().map_err(LoadError::Refused)
    }

    /// Lets go of entries that no partner's lease can need. What is left over goes with the next load.
    fn forget(&self) {
        let before = self.db.clock().now().plus(-REMEMBERED);
        loop {
            let name = self.load.list.clone();
            match self.write(move |conn| hotlists::purge(conn, &name, before, 2000)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "entries of old versions of a hotlist are not removed yet");
                    return;
                }
            }
        }
    }

    fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut crate::db::Conn) -> diesel::QueryResult<T> + Send + 'static,
    ) -> Result<T, LoadError> {
        Ok(self.runtime.block_on(self.db.write("hotlist_load", job))?)
    }

    /// Writes if no other load of the list began since.
    fn write_held<T: Send + 'static>(
        &self,
        stage: i64,
        job: impl FnOnce(&mut crate::db::Conn) -> diesel::QueryResult<T> + Send + 'static,
    ) -> Result<T, LoadError> {
        if self.watcher.stop.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(ReadingError::Stopped.into());
        }
        let name = self.load.list.clone();
        let written =
            self.write(move |conn| if hotlists::holds(conn, &name, stage)? { job(conn).map(Some) } else { Ok(None) })?;
        written.ok_or_else(|| LoadError::Refused("another load of this list began meanwhile; load it again".to_owned()))
    }
}

fn sunk(error: LoadError) -> ReadingError {
    ReadingError::Sink(Box::new(error))
}

fn change(what: &'static str, entry: &Entry) -> Change {
    Change { change: what, plate: entry.plate.clone(), state: entry.state.clone(), category: entry.category }
}

fn row(list: &str, stage: i64, found: reading::Found) -> Result<EntryRow, ReadingError> {
    let body =
        String::from_utf8(found.body).map_err(|error| ReadingError::Source(PathBuf::new(), io::Error::other(error)))?;
    Ok(EntryRow {
        list: list.to_owned(),
        digest: found.digest.0.to_vec(),
        since: stage,
        plate_key: found.entry.plate.key().as_str().to_owned(),
        plate: found.entry.plate.as_str().to_owned(),
        category: found.entry.category.as_str().to_owned(),
        body,
    })
}
