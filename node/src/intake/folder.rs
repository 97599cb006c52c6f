//! Watched folders: a running node takes the files that appear in them, in the order of their names.
//!
//! Looked at once a second with plain `std`: folders on network shares, which is where vendors write, do not tell of
//! changes made by others, so watching would need the same look besides. A look costs one listing.
//!
//! A file is moved only after its reads are committed and recorded, so one that a crash interrupts is taken again, and
//! what was kept of it is known by then.

mod finish;
mod look;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::open::{self, OpenError, Told};
use super::{By, Feed, IntakeError, Stores};
use crate::config::{self, Config, SourceName};
use crate::jobs::Stop;
use crate::node::Node;
use crate::reads::csv::HeaderError;
use crate::reads::images::ImageError;
use crate::reads::ingest::{IngestError, Options, Progress, Summary};
use crate::reads::open_regular;
use look::{Looked, Seen};

/// How often the folders are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks pass before a file is tried again for which a store failed, or which cannot be read.
const AGAIN: u32 = 10;
/// The most looks between two tries of a file that cannot be read: each time it is twice as many.
const AT_LAST: u32 = 600;
/// Records between two lines of the log about a long file.
const SAY_EVERY: u64 = 100_000;

/// Takes files until `stopped` says otherwise; the file in work is then left where it is, and what was kept of it stays.
pub async fn watch(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut folders: Vec<Watched> = node.config().ingest.folder.iter().map(Watched::new).collect();
    if folders.is_empty() {
        return;
    }
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let round = async {
            for folder in &mut folders {
                folder.round(&node, &stop).await;
            }
        };
        tokio::pin!(round);
        tokio::select! {
            () = &mut round => {}
            _ = stopped.changed() => {
                stop.store(true, Ordering::SeqCst);
                round.await;
                return;
            }
        }
    }
}

/// One watched folder.
struct Watched {
    name: String,
    path: PathBuf,
    csv: Option<SourceName>,
    seen: Seen,
    /// Files that were taken and cannot be moved: known, so that they are not taken every second.
    stuck: HashSet<Looked>,
    /// Files that could not be read: they wait, and hold up no other.
    unread: HashMap<Looked, Wait>,
    /// Looks to pass before the next try.
    wait: u32,
    /// Whether the last look failed, so that it is logged once.
    failing: bool,
}

/// How long a file waits for its next try, in looks.
#[derive(Clone, Copy)]
struct Wait {
    left: u32,
    last: u32,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("every one of its lines was refused; see the report beside it")]
    AllRejected(Box<Summary>),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Images(#[from] ImageError),
}

/// What has to be mended before a file can be taken.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The file itself: another try would end the same.
    File,
    /// The disk, the share or a permission: another try may go well, and so may another file.
    Reading,
    /// What keeps reads: no other file goes better.
    Keeping,
}

impl FileError {
    fn fault(&self) -> Fault {
        match self {
            Self::Open(OpenError::Source(_) | OpenError::Header(HeaderError::Source(_)))
            | Self::Intake(IntakeError::Ingest(IngestError::Source { .. } | IngestError::Report { .. })) => {
                Fault::Reading
            }
            Self::Open(
                OpenError::Unknown
                | OpenError::NotCsv
                | OpenError::NoLayout { .. }
                | OpenError::LayoutOfJson
                | OpenError::Header(_),
            )
            | Self::AllRejected(_) => Fault::File,
            Self::Intake(_) | Self::Images(_) => Fault::Keeping,
        }
    }
}

impl Watched {
    fn new((name, folder): (&SourceName, &config::Folder)) -> Self {
        let config::Folder { path, csv, settle_seconds } = folder;
        Self {
            name: name.to_string(),
            path: path.clone(),
            csv: csv.clone(),
            seen: Seen::new(settle_seconds.get()),
            stuck: HashSet::new(),
            unread: HashMap::new(),
            wait: 0,
            failing: false,
        }
    }

    /// Looks once, and takes what is whole.
    async fn round(&mut self, node: &Arc<Node>, stop: &Arc<AtomicBool>) {
        let path = self.path.clone();
        let listed = tokio::task::spawn_blocking(move || look::list(&path)).await;
        let listed = match listed.map_err(std::io::Error::other).and_then(|listed| listed) {
            Ok(listed) => listed,
            Err(error) => {
                if !self.failing {
                    tracing::error!(folder = self.name, %error, "a watched folder cannot be read; it is tried again");
                }
                self.failing = true;
                return;
            }
        };
        self.failing = false;
        self.stuck.retain(|file| listed.contains(file));
        self.unread.retain(|file, _| listed.contains(file));
        for wait in self.unread.values_mut() {
            wait.left = wait.left.saturating_sub(1);
        }
        let whole = self.seen.whole(listed);
        self.wait = self.wait.saturating_sub(1);
        for file in whole {
            if stop.load(Ordering::SeqCst) || self.wait > 0 {
                return;
            }
            let waits = self.unread.get(&file).is_some_and(|wait| wait.left > 0);
            if !waits && !self.stuck.contains(&file) {
                self.file(node, &file, stop).await;
            }
        }
    }

    /// Takes one file and moves it to where it belongs.
    async fn file(&mut self, node: &Arc<Node>, file: &Looked, stop: &Arc<AtomicBool>) {
        let report = self.path.join(format!(".{}.rejected", file.name.to_string_lossy()));
        let taken = self.take(node, &self.path.join(&file.name), &report, Arc::clone(stop)).await;
        if taken.as_ref().is_ok_and(|summary| summary.stopped) {
            tracing::info!(
                folder = self.name,
                "stopped within a file; it is taken from its beginning at the next start"
            );
            return;
        }
        if let Err(error) = &taken
            && self.waits(file, error)
        {
            return;
        }
        self.unread.remove(file);
        let (folder, seen) = (self.path.clone(), file.clone());
        let ended = match &taken {
            Ok(summary) => finish::End::Done(finish::Counts::of(summary)),
            Err(FileError::AllRejected(summary)) => {
                finish::End::Failed(FileError::AllRejected(summary.clone()).to_string(), finish::Counts::of(summary))
            }
            Err(error) => finish::End::Failed(error.to_string(), finish::Counts::default()),
        };
        match tokio::task::spawn_blocking(move || finish::finish(&folder, &seen, &report, ended)).await {
            Ok(Ok(finish::Moved::Away)) => self.said(node, &taken),
            Ok(Ok(finish::Moved::Changed)) => {
                tracing::warn!(folder = self.name, "a file changed while it was taken; it is taken again");
            }
            failed => {
                self.stuck.insert(file.clone());
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                    Ok(Ok(_)) => String::new(),
                };
                tracing::error!(
                    folder = self.name,
                    error,
                    "a file was taken, but cannot be moved; let the node write there"
                );
            }
        }
    }

    /// Whether a file is tried again, because not it but something else failed.
    fn waits(&mut self, file: &Looked, error: &FileError) -> bool {
        match error.fault() {
            Fault::File => return false,
            Fault::Keeping => {
                tracing::error!(folder = self.name, %error, "a file waits, because what keeps reads failed");
                self.wait = AGAIN;
            }
            Fault::Reading => {
                tracing::error!(folder = self.name, %error, "a file waits, because it cannot be read; others go on");
                let last = self.unread.get(file).map_or(AGAIN, |wait| wait.last.saturating_mul(2).min(AT_LAST));
                self.unread.insert(file.clone(), Wait { left: last, last });
            }
        }
        true
    }

    /// A line of the log. No file's name: a vendor chooses it.
    fn said(&self, node: &Node, taken: &Result<Summary, FileError>) {
        if let Ok(Summary { lines, kept, repeated, rejected, images, .. }) = taken {
            tracing::info!(folder = self.name, lines, kept, repeated, rejected, images, "took a file");
        } else {
            node.metrics().file_failed();
            tracing::warn!(folder = self.name, "a file is in failed, with a report that says why");
        }
    }

    async fn take(
        &self,
        node: &Arc<Node>,
        path: &Path,
        report: &Path,
        stop: Arc<AtomicBool>,
    ) -> Result<Summary, FileError> {
        let told = Told { format: None, source: self.csv.clone() };
        let options = Options { exposed: true, ..options(node.config(), report.to_owned()) };
        let source = {
            let (path, config, options) = (path.to_owned(), node.config().ingest.clone(), options.clone());
            let opened = tokio::task::spawn_blocking(move || {
                // Of a try that was interrupted; what is wrong is found again.
                match fs::remove_file(&options.report) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
                let reader = Box::new(BufReader::new(open_regular(&path)?));
                let told = Told { source: told.source.filter(|_| is_csv(&path)), ..told };
                open::open(reader, Some(&path), &told, &config, &options)
            });
            opened.await.map_err(IntakeError::from)??
        };
        let mut said = 0;
        let folder = self.name.clone();
        let progress = Box::new(move |now: Progress| {
            if now.lines >= said + SAY_EVERY {
                said = now.lines;
                tracing::info!(folder, lines = now.lines, kept = now.kept, rejected = now.rejected, "taking a file");
            }
        });
        let feed = Feed { source, progress, stop };
        let by = By::Folder(self.name.clone());
        let summary = super::take(node.registry(), Stores::of(node)?, options, feed, &by).await?;
        if summary.is_all_refused() && !summary.stopped {
            Err(FileError::AllRejected(Box::new(summary)))
        } else {
            Ok(summary)
        }
    }
}

/// A folder may get both formats; its layout is for one of them.
fn is_csv(path: &Path) -> bool {
    open::Format::by_name(path) == Some(open::Format::Csv)
}

/// The limits of the configuration.
#[must_use]
pub fn options(config: &Config, report: PathBuf) -> Options {
    let mut options = Options::reporting_to(report);
    options.line_limit = config.ingest.max_line_bytes.get();
    options.image_limit = config.ingest.max_image_bytes.get();
    options
}

/// Makes a folder that its owner alone enters, if it is not there.
fn private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::reads::LineError;

    #[test]
    fn what_fails_for_now_is_not_the_files_fault() {
        let unplugged = || io::Error::other("unplugged");
        let ingest = |error| FileError::Intake(IntakeError::Ingest(error));
        let report = PathBuf::from("report");
        for (error, fault) in [
            (OpenError::Source(unplugged()).into(), Fault::Reading),
            (OpenError::Header(HeaderError::Source(unplugged())).into(), Fault::Reading),
            (ingest(IngestError::Source { line: 7, error: unplugged() }), Fault::Reading),
            (ingest(IngestError::Report { path: report, error: unplugged() }), Fault::Reading),
            (ingest(IngestError::Store(crate::reads::store::StoreError::Url)), Fault::Keeping),
            (ImageError::Folder(PathBuf::from("images"), unplugged()).into(), Fault::Keeping),
            (OpenError::Unknown.into(), Fault::File),
            (OpenError::NotCsv.into(), Fault::File),
            (OpenError::LayoutOfJson.into(), Fault::File),
            (OpenError::Header(HeaderError::Empty).into(), Fault::File),
            (OpenError::Header(HeaderError::Line(LineError::NotUtf8)).into(), Fault::File),
            (FileError::AllRejected(Box::default()), Fault::File),
        ] {
            let error: FileError = error;
            assert_eq!(error.fault(), fault, "{error}");
        }
    }
}
