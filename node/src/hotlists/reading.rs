//! Reads a source from its first line to its last: every line is an entry, dropped, or rejected with its reason, and a
//! source that is not whole is refused.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::hotlist::Entry;
use agreements::ids::Digest;
use agreements::json;
use agreements::time::Instant;
use openssl::sha::Sha256;
use serde::Serialize;

use super::layout::{HeaderError, Layout, LineError, Record};
use crate::reads::lines::{Taken, take};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 4096;
/// The most entries of one list.
pub const MAX_ENTRIES: usize = 5_000_000;
/// How many lines lie between two looks at whether to stop.
const EVERY: u64 = 1000;

/// By what an entry is known while a load runs: the first half of its SHA-256. A list of two million needs 32 MB so.
pub type Key = [u8; 16];

/// The key of an entry's digest.
#[must_use]
pub fn key(digest: Digest) -> Key {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(digest.0) {
        *to = from;
    }
    key
}

/// Why a source is refused or could not be read. Nothing of the list changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// There is no first line.
    #[error("the file is empty")]
    Empty,
    /// The first line belongs to no layout.
    #[error("its first line is the header of no layout that is known; name the layout with --layout ({})", Layout::ALL.map(Layout::as_str).join(", "))]
    Unknown,
    /// The first line belongs to another layout.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// The last line is missing.
    #[error("it does not end with TOTAL RECORD and the count: it was cut off; fetch it again")]
    Cut,
    /// The count is another one.
    #[error("it says TOTAL RECORD {said}, but has {found} records: it was cut off or joined; fetch it again")]
    Count {
        /// What the trailer says.
        said: u64,
        /// What there is.
        found: u64,
    },
    /// The count is none.
    #[error("line {0}: TOTAL RECORD without a count")]
    Trailer(u64),
    /// Something follows the trailer.
    #[error("line {0} follows the line TOTAL RECORD: several files were joined; load each by itself")]
    After(u64),
    /// Not one line is a record.
    #[error("not one of its {0} lines is a record; see the report of rejected lines")]
    NoRecord(u64),
    /// Too large.
    #[error("it has over {MAX_ENTRIES} entries")]
    Large,
    /// It was another file the second time.
    #[error("the file changed while it was loaded; load it again")]
    Changed,
    /// Somebody said stop.
    #[error("stopped; the version in place stays as it is")]
    Stopped,
    /// The file.
    #[error("cannot read {0}: {1}")]
    Source(PathBuf, io::Error),
    /// The report.
    #[error("cannot write the report of rejected lines {0}: {1}")]
    Report(PathBuf, io::Error),
    /// An entry without canonical form.
    #[error("internal: {0}")]
    Internal(#[from] json::StrictError),
    /// Whoever takes the entries failed.
    #[error(transparent)]
    Sink(Box<dyn std::error::Error + Send + Sync>),
}

/// What a source has.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Its layout.
    pub layout: Layout,
    /// When it was made, as its header says.
    pub source_at: Instant,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Lines that are neither header, trailer nor blank.
    pub records: u64,
    /// Of these, those that are entries; the same entry twice counts twice.
    pub kept: u64,
    /// Of these, those of type N.
    pub dropped: u64,
    /// Of these, those that are in the report.
    pub rejected: u64,
    /// The report, if a line was rejected.
    pub report: Option<PathBuf>,
}

/// Where a reading stands.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Bytes read.
    pub bytes: u64,
    /// Lines read.
    pub lines: u64,
}

/// What a reading is told from outside.
pub struct Watch<'a> {
    /// Hears where it stands, now and then.
    pub progress: &'a mut dyn FnMut(At),
    /// Stops it.
    pub stop: &'a AtomicBool,
}

/// What one entry of a source is.
pub struct Found {
    /// SHA-256 of `body`.
    pub digest: Digest,
    /// The entry.
    pub entry: Box<Entry>,
    /// Its canonical JSON.
    pub body: Vec<u8>,
}

/// Takes one entry; whether there should be more.
pub type Sink<'a> = dyn FnMut(Found) -> Result<bool, ReadingError> + 'a;

/// Reads the file at `path`. `sink` gets every entry in order. Rejected lines go to `report`, when one is given.
///
/// # Errors
/// See [`ReadingError`]. What `sink` got then counts for nothing.
pub fn read(
    path: &Path,
    layout: Option<Layout>,
    now: Instant,
    report: Option<&Path>,
    watch: &mut Watch<'_>,
    sink: &mut Sink<'_>,
) -> Result<Contents, ReadingError> {
    let source = |error| ReadingError::Source(path.to_owned(), error);
    let file = File::open(path).map_err(source)?;
    let mut reader = BufReader::with_capacity(1 << 16, Hashed { inner: file, sha: Sha256::new() });
    let read = lines(&mut reader, layout, now, report, watch, sink);
    let contents = read.map_err(|error| match error {
        ReadingError::Source(_, error) => ReadingError::Source(path.to_owned(), error),
        other => other,
    })?;
    Ok(Contents { sha256: Digest(reader.into_inner().sha.finish()), ..contents })
}

/// Reads the lines of `reader`; the digest in what it gives is not set.
///
/// # Errors
/// See [`ReadingError`].
pub fn lines(
    reader: &mut impl BufRead,
    layout: Option<Layout>,
    now: Instant,
    report: Option<&Path>,
    watch: &mut Watch<'_>,
    sink: &mut Sink<'_>,
) -> Result<Contents, ReadingError> {
    let mut run = Run { lines: 0, bytes: 0, line: Vec::new() };
    if run.next(reader)?.is_none() {
        return Err(ReadingError::Empty);
    }
    let header = run.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&run.line);
    let layout = layout.or_else(|| Layout::of_header(header)).ok_or(ReadingError::Unknown)?;
    let source_at = layout.header(header, now)?;
    let mut contents = Contents {
        layout,
        source_at,
        sha256: Digest([0; 32]),
        records: 0,
        kept: 0,
        dropped: 0,
        rejected: 0,
        report: None,
    };
    let mut rejects = Rejects { path: report, file: None };
    let mut said = None;
    while let Some(taken) = run.next(reader)? {
        if run.lines.is_multiple_of(EVERY) {
            (watch.progress)(At { bytes: run.bytes, lines: run.lines });
            if watch.stop.load(Ordering::SeqCst) {
                return Err(ReadingError::Stopped);
            }
        }
        if run.line.iter().all(u8::is_ascii_whitespace) && matches!(taken, Taken::Whole) {
            continue;
        }
        if said.is_some() {
            return Err(ReadingError::After(run.lines));
        }
        if let Some(count) = layout.trailer(&run.line) {
            said = Some(count.map_err(|_| ReadingError::Trailer(run.lines))?);
            continue;
        }
        contents.records += 1;
        let record = match taken {
            Taken::TooLong { .. } => Err(LineError::Long(MAX_LINE)),
            _ => layout.record(&run.line, now),
        };
        if !count(record, &run, &mut contents, &mut rejects, sink)? {
            break;
        }
    }
    (watch.progress)(At { bytes: run.bytes, lines: run.lines });
    contents.report = rejects.end()?;
    match said {
        None if layout.counted() => return Err(ReadingError::Cut),
        Some(said) if said != contents.records => return Err(ReadingError::Count { said, found: contents.records }),
        _ => {}
    }
    if contents.rejected > 0 && contents.kept + contents.dropped == 0 {
        return Err(ReadingError::NoRecord(contents.records));
    }
    Ok(contents)
}

/// Counts what a line was, and gives its entry to `sink`. Whether more is wanted.
fn count(
    record: Result<Record, LineError>,
    run: &Run,
    contents: &mut Contents,
    rejects: &mut Rejects<'_>,
    sink: &mut Sink<'_>,
) -> Result<bool, ReadingError> {
    match record {
        Ok(Record::Dropped) => contents.dropped += 1,
        Ok(Record::Entry(entry)) => {
            contents.kept += 1;
            let body = json::canonical(&*entry)?;
            return sink(Found { digest: Digest::of(&body), entry, body });
        }
        Err(error) => {
            contents.rejected += 1;
            rejects.add(run.lines, &error, run.line.len())?;
        }
    }
    Ok(true)
}

/// Reads a whole source and keeps of each entry only its key.
///
/// # Errors
/// See [`ReadingError`].
pub fn keys(
    path: &Path,
    layout: Option<Layout>,
    now: Instant,
    report: &Path,
    watch: &mut Watch<'_>,
) -> Result<(Contents, HashSet<Key>), ReadingError> {
    let mut keys = HashSet::new();
    let contents = read(path, layout, now, Some(report), watch, &mut |found| {
        keys.insert(key(found.digest));
        if keys.len() > MAX_ENTRIES { Err(ReadingError::Large) } else { Ok(true) }
    })?;
    Ok((contents, keys))
}

/// The lines of a source, one at a time.
struct Run {
    lines: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl Run {
    /// The next line, without its end, in `self.line`.
    fn next(&mut self, reader: &mut impl BufRead) -> Result<Option<Taken>, ReadingError> {
        let taken =
            take(reader, &mut self.line, MAX_LINE).map_err(|error| ReadingError::Source(PathBuf::new(), error))?;
        let bytes = match taken {
            Taken::End => return Ok(None),
            Taken::Whole => self.line.len() as u64,
            Taken::TooLong { bytes } => bytes,
        };
        self.lines += 1;
        self.bytes += bytes + 1;
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(Some(taken))
    }
}

/// One line of the report: where and why, not what.
#[derive(Serialize)]
struct Rejected {
    line: u64,
    reason: String,
    bytes: usize,
}

/// The report, made at the first rejection.
struct Rejects<'a> {
    path: Option<&'a Path>,
    file: Option<BufWriter<File>>,
}

impl Rejects<'_> {
    fn add(&mut self, line: u64, error: &LineError, bytes: usize) -> Result<(), ReadingError> {
        let Some(path) = self.path else { return Ok(()) };
        let failed = |error| ReadingError::Report(path.to_owned(), error);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(path).map_err(failed)?)),
        };
        let said = serde_json::to_string(&Rejected { line, reason: error.to_string(), bytes });
        let said = said.map_err(|error| failed(error.into()))?;
        writeln!(file, "{said}").map_err(failed)
    }

    fn end(self) -> Result<Option<PathBuf>, ReadingError> {
        let (Some(path), Some(mut file)) = (self.path, self.file) else { return Ok(None) };
        let failed = |error| ReadingError::Report(path.to_owned(), error);
        file.flush().map_err(failed)?;
        file.get_ref().sync_data().map_err(failed)?;
        Ok(Some(path.to_owned()))
    }
}

/// A file whose bytes are hashed as they are read.
struct Hashed {
    inner: File,
    sha: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.sha.update(into.get(..n).unwrap_or_default());
        Ok(n)
    }
}
