//! Takes the records of a source into whatever keeps reads.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::time::Instant;

use super::field::LineError;
use super::images::ImageError;
use super::keep::{Keep, KeepError, MOST};
use super::read::NewRead;
use super::rejects::Report;
use super::source::{Line, Source};
use super::store::StoreError;
use crate::clock::Clock;

/// The most bytes of images that a batch holds, before its number of reads ends it.
const BATCH_BYTES: usize = 16 << 20;

/// Limits of an ingest, and where its rejections go.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest line, in bytes.
    pub line_limit: usize,
    /// The largest image, in bytes after decoding.
    pub image_limit: usize,
    /// Reads in one transaction; at most [`MOST`].
    pub batch: usize,
    /// The error report: JSON lines `{line, reason, bytes}`. Replaced when something is rejected.
    pub report: PathBuf,
    /// Whether others than this program's user write where the report goes, and may have put a link there.
    pub exposed: bool,
}

impl Options {
    /// Lines up to 4 MiB, images up to 2 MiB, 500 reads a transaction.
    #[must_use]
    pub fn reporting_to(report: PathBuf) -> Self {
        Self { line_limit: 4 << 20, image_limit: 2 << 20, batch: 500, report, exposed: false }
    }
}

/// Where an ingest stands after a batch: all of this is on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the source.
    pub bytes: u64,
    /// Records taken from the source.
    pub lines: u64,
    /// Reads kept.
    pub kept: u64,
    /// Reads that the store already had.
    pub repeated: u64,
    /// Records refused.
    pub rejected: u64,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records of the source: lines of JSON, blank ones included; rows of a CSV, its header not included.
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

impl Summary {
    /// Whether there were records and every one was refused: then it is not this format any more, and whoever sees to it
    /// must notice.
    #[must_use]
    pub fn is_all_refused(&self) -> bool {
        self.rejected > 0 && self.kept + self.repeated + self.heartbeats == 0
    }
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

/// Keeps the reads of `source`, up to its end or until `stop` says so.
///
/// A read is known again by its uuid, time and plate, so delivering records again is harmless. Each batch is whole: its
/// rejections are in the report and its images on the disk before its reads are committed, and only then `progress`
/// hears of it. No more than one record and one batch is in memory.
///
/// Reading and writing block the thread between batches: run this on a thread of its own, under a tokio runtime.
///
/// # Errors
/// The source, the disk or the store failed. A record that is wrong is no error: it goes to the report.
pub async fn ingest(
    source: &mut dyn Source,
    keep: &impl Keep,
    options: &Options,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(Progress),
    stop: &AtomicBool,
) -> Result<Summary, IngestError> {
    let mut run = Run {
        keep,
        options,
        report: Report::at(&options.report, options.exposed),
        summary: Summary::default(),
        batch: Vec::new(),
        held: 0,
        bytes: 0,
    };
    loop {
        if stop.load(Ordering::SeqCst) {
            run.summary.stopped = true;
            break;
        }
        let line = run.summary.lines;
        let record = source.next(clock.now()).map_err(|error| IngestError::Source { line, error })?;
        let Some(record) = record else { break };
        run.summary.lines += 1;
        run.bytes += record.taken;
        run.sort(record.said, record.line, record.bytes)?;
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
struct Run<'a, K> {
    keep: &'a K,
    options: &'a Options,
    report: Report<'a>,
    summary: Summary,
    batch: Vec<NewRead>,
    /// Bytes of images in the batch.
    held: usize,
    /// Bytes taken from the source.
    bytes: u64,
}

impl<K: Keep> Run<'_, K> {
    /// Counts a record and puts its reads into the batch or its error into the report.
    fn sort(&mut self, said: Result<Option<Line>, LineError>, line: u64, bytes: u64) -> Result<(), IngestError> {
        match said {
            Ok(None) => {}
            Ok(Some(Line::Heartbeat { .. })) => self.summary.heartbeats += 1,
            Ok(Some(Line::Reads(reads))) => {
                for read in reads {
                    self.held += read.image.as_ref().map_or(0, Vec::len);
                    self.batch.push(read);
                }
            }
            Err(error) => {
                self.summary.rejected += 1;
                self.report.add(line, error, bytes).map_err(|error| self.report_failed(error))?;
            }
        }
        Ok(())
    }

    fn report_failed(&self, error: io::Error) -> IngestError {
        IngestError::Report { path: self.options.report.clone(), error }
    }

    async fn flush(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), IngestError> {
        self.report.sync().map_err(|error| self.report_failed(error))?;
        self.held = 0;
        let line = self.summary.lines;
        let mut batch = std::mem::take(&mut self.batch);
        let mut unmatched = None;
        // A frame may hold more plates than a batch has room for.
        while !batch.is_empty() && unmatched.is_none() {
            let rest = batch.split_off(batch.len().min(self.options.batch.clamp(1, MOST)));
            let kept = self.keep.keep(std::mem::replace(&mut batch, rest)).await.map_err(|error| match error {
                KeepError::Image(error) => IngestError::Image { line, error },
                KeepError::Store(error) => IngestError::Store(error),
            })?;
            let summary = &mut self.summary;
            summary.kept += kept.new.len() as u64;
            summary.repeated += kept.repeated;
            summary.images += kept.images;
            summary.first_seen = summary.first_seen.min(kept.first_seen).or(summary.first_seen).or(kept.first_seen);
            summary.last_seen = summary.last_seen.max(kept.last_seen);
            unmatched = kept.unmatched;
        }
        let Summary { lines, kept, repeated, rejected, .. } = self.summary;
        progress(Progress { bytes: self.bytes, lines, kept, repeated, rejected });
        unmatched.map_or(Ok(()), |why| Err(StoreError::Watch(why).into()))
    }
}

#[cfg(test)]
mod tests;
