//! Takes JSON lines from a file or a pipe into the read store.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::ids::Digest;
use agreements::time::Instant;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::images::{ImageError, Images};
use super::lines::{Taken, take};
use super::read::NewRead;
use super::rejects::Report;
use super::rekor::{self, Line, LineError};
use super::store::{ReadsDb, StoreError};
use crate::clock::Clock;

/// How many images of a batch are written at once: most of the time of each is waiting for the disk.
const IMAGES_AT_ONCE: usize = 16;
/// The most bytes of images that a batch holds, before its number of reads ends it.
const BATCH_BYTES: usize = 16 << 20;

/// Limits of an ingest, and where its rejections go.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest line, in bytes.
    pub line_limit: usize,
    /// The largest image, in bytes after decoding.
    pub image_limit: usize,
    /// Reads in one transaction; at most 2,000, so that their values fit one statement.
    pub batch: usize,
    /// The error report: JSON lines `{line, reason, bytes}`. Replaced when something is rejected.
    pub report: PathBuf,
}

impl Options {
    /// Lines up to 4 MiB, images up to 2 MiB, 500 reads a transaction.
    #[must_use]
    pub fn reporting_to(report: PathBuf) -> Self {
        Self { line_limit: 4 << 20, image_limit: 2 << 20, batch: 500, report }
    }
}

/// Where an ingest stands after a batch: all of this is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the source.
    pub bytes: u64,
    /// Lines taken from the source.
    pub lines: u64,
    /// Reads kept.
    pub kept: u64,
    /// Lines refused.
    pub rejected: u64,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines of the source, blank ones included.
    pub lines: u64,
    /// Reads that are new in the store. One line may hold several, or none.
    pub kept: u64,
    /// Reads that the store already had.
    pub repeated: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Lines refused.
    pub rejected: u64,
    /// Reads (kept or repeated) whose image is stored.
    pub images: u64,
    /// The earliest time seen among the reads, kept or repeated.
    pub first_seen: Option<Instant>,
    /// The latest.
    pub last_seen: Option<Instant>,
    /// Whether it was told to stop before the end of the source. The same source again goes on from there.
    pub stopped: bool,
    /// The error report, if a line was refused.
    pub report: Option<PathBuf>,
}

/// Why an ingest ended early. What its last [`Progress`] said is kept; the same source again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The source failed.
    #[error("cannot read the source after line {line}: {error}")]
    Source {
        /// Lines taken before.
        line: u64,
        /// What happened.
        error: io::Error,
    },
    /// An image could not be stored: the disk, not the line.
    #[error("an image before line {line} could not be stored: {error}")]
    Image {
        /// Lines taken by then.
        line: u64,
        /// What happened.
        error: ImageError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report could not be written.
    #[error("cannot write the error report {path}: {error}")]
    Report {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

/// Keeps the reads of `reader`'s lines (the layout of [`rekor`]), up to its end or until `stop` says so.
///
/// A read is known again by its uuid, time and plate, so delivering lines again is harmless. Each batch is whole: its
/// rejections are in the report and its images on the disk before its reads are committed, and only then `progress`
/// hears of it. No more than one line and one batch is in memory.
///
/// Reading and writing block the thread between batches: run this on a thread of its own, under a tokio runtime.
///
/// # Errors
/// The source, the disk or the store failed. A line that is wrong is no error: it goes to the report.
pub async fn ingest(
    reader: &mut impl BufRead,
    store: &ReadsDb,
    images: &Images,
    options: &Options,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(Progress),
    stop: &AtomicBool,
) -> Result<Summary, IngestError> {
    let mut run = Run {
        store,
        images,
        options,
        clock,
        report: Report::at(&options.report),
        summary: Summary::default(),
        batch: Vec::new(),
        held: 0,
        bytes: 0,
    };
    let mut line = Vec::new();
    loop {
        if stop.load(Ordering::SeqCst) {
            run.summary.stopped = true;
            break;
        }
        let lines = run.summary.lines;
        let taken =
            take(reader, &mut line, options.line_limit).map_err(|error| IngestError::Source { line: lines, error })?;
        let bytes = match taken {
            Taken::End => break,
            Taken::Whole => line.len() as u64,
            Taken::TooLong { bytes } => bytes,
        };
        run.summary.lines += 1;
        run.bytes += bytes + 1;
        let parsed = match taken {
            Taken::TooLong { .. } => Err(LineError::Long(options.line_limit)),
            _ => run.parse(&line),
        };
        run.sort(parsed, bytes)?;
        if run.batch.len() >= options.batch || run.held >= BATCH_BYTES {
            run.flush(progress).await?;
            tokio::task::yield_now().await; // so that on a single thread, who would stop us gets to say so
        }
    }
    run.flush(progress).await?;
    run.summary.report = run.report.path();
    Ok(run.summary)
}

/// One ingest under way.
struct Run<'a> {
    store: &'a ReadsDb,
    images: &'a Images,
    options: &'a Options,
    clock: &'a dyn Clock,
    report: Report<'a>,
    summary: Summary,
    batch: Vec<NewRead>,
    /// Bytes of images in the batch.
    held: usize,
    /// Bytes taken from the source.
    bytes: u64,
}

impl Run<'_> {
    fn parse(&self, line: &[u8]) -> Result<Option<Line>, LineError> {
        // A byte-order mark, which some exporters put before the first line.
        let line = if self.summary.lines == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        rekor::parse(line, self.clock.now(), self.options.image_limit).map(Some)
    }

    /// Counts a line and puts its reads into the batch or its error into the report.
    fn sort(&mut self, parsed: Result<Option<Line>, LineError>, bytes: u64) -> Result<(), IngestError> {
        match parsed {
            Ok(None) => {}
            Ok(Some(Line::Heartbeat)) => self.summary.heartbeats += 1,
            Ok(Some(Line::Reads(reads))) => {
                for read in reads {
                    self.held += read.image.as_ref().map_or(0, Vec::len);
                    self.batch.push(read);
                }
            }
            Err(error) => {
                self.summary.rejected += 1;
                let written = self.report.add(self.summary.lines, error, bytes);
                written.map_err(|error| self.report_failed(error))?;
            }
        }
        Ok(())
    }

    fn report_failed(&self, error: io::Error) -> IngestError {
        IngestError::Report { path: self.options.report.clone(), error }
    }

    async fn flush(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), IngestError> {
        self.report.sync().map_err(|error| self.report_failed(error))?;
        let batch = std::mem::take(&mut self.batch);
        self.held = 0;
        let line = self.summary.lines;
        let reads: Vec<(NewRead, Option<Digest>)> = stream::iter(batch)
            .map(|read| stored(self.images, read))
            .buffered(IMAGES_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| IngestError::Image { line, error })?;
        // A frame may hold more plates than a batch has room for.
        for part in reads.chunks(self.options.batch.clamp(1, 2000)) {
            let kept = self.store.keep(part, self.clock.now()).await?;
            self.summary.kept += kept as u64;
            self.summary.repeated += part.len().saturating_sub(kept) as u64;
        }
        for (read, image) in &reads {
            self.summary.images += u64::from(image.is_some());
            let seen = Some(read.seen_at);
            self.summary.first_seen = self.summary.first_seen.min(seen).or(seen);
            self.summary.last_seen = self.summary.last_seen.max(seen);
        }
        let Summary { lines, kept, rejected, .. } = self.summary;
        progress(Progress { bytes: self.bytes, lines, kept, rejected });
        Ok(())
    }
}

/// Stores the read's image, and lets go of its bytes.
async fn stored(images: &Images, mut read: NewRead) -> Result<(NewRead, Option<Digest>), ImageError> {
    let image = match read.image.take() {
        Some(bytes) => Some(images.put(Bytes::from(bytes)).await?),
        None => None,
    };
    Ok((read, image))
}

#[cfg(test)]
mod tests;
