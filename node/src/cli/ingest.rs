//! `concordat ingest`: plate reads from a file or a pipe, as JSON lines or as a CSV.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::time::Instant;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::config::{Config, SourceName};
use crate::intake::open::{self, Format, Told};
use crate::intake::{self, By, Feed, Stores, folder};
use crate::node;
use crate::reads::images::Images;
use crate::reads::ingest::{Options, Progress, Summary};
use crate::reads::rejects;

/// Where the report of what came through a pipe goes.
const REPORT_OF_PIPE: &str = "ingest.rejected";

/// Arguments of `ingest`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  concordat ingest reads.jsonl --as alder.admin\n  concordat ingest export.csv --source acme --as alder.admin\n  zcat reads.jsonl.gz | concordat ingest - --report rejected.jsonl --as alder.admin\n\nJSON lines of the Rekor layout: alpr_group, alpr_results, heartbeat. A CSV with the header plate, seen_at, camera, and if there are any state, lat, lon, confidence, direction, image_path; what a vendor calls them, and how it writes times, stands in [ingest.csv.NAME] of concordat.toml. A line that is wrong goes to the report with its number and the reason; the rest is kept. The same lines again change nothing. Ctrl-C stops after the batch in work."
)]
pub struct IngestArgs {
    /// JSON lines (.jsonl) or a CSV (.csv); `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The format, when the file's name does not tell it
    #[arg(long)]
    format: Option<Format>,
    /// The layout of a CSV: the NAME of an [ingest.csv.NAME] in concordat.toml. It is part of each read's identity
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,
    /// Where to report lines that are refused; beside the file when absent
    #[arg(long)]
    report: Option<PathBuf>,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Shown {
    lines: u64,
    kept: u64,
    repeated: u64,
    heartbeats: u64,
    rejected: u64,
    images: u64,
    first_seen: Option<Instant>,
    last_seen: Option<Instant>,
    stopped: bool,
    report: Option<PathBuf>,
}

pub(super) async fn run(place: &Place, args: IngestArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let (reader, length) = reader(&args.file)?;
    let piped = args.file.as_os_str() == "-";
    let options = options(&config, args.report, &args.file);
    let told = Told { format: args.format, source: args.source };
    let source = open::open(reader, (!piped).then_some(&args.file), &told, &config.ingest, &options)
        .map_err(|error| refused(&args.file, error))?;
    let db = place.registry_of(&config)?;
    let (reads, _) = node::open_reads(&config, &db)?;
    let stores = Stores { reads: Arc::new(reads), images: Images::in_folder(&config.store.images)?, metrics: None };
    let stop = Arc::new(AtomicBool::new(false));
    let bar = bar(length);
    let watched = bar.clone();
    let progress = Box::new(move |now: Progress| {
        watched.set_position(now.bytes);
        watched.set_message(format!("{} kept, {} refused", now.kept, now.rejected));
    });
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let feed = Feed { source, progress, stop };
    let taken = intake::take(&db, stores, options, feed, &By::Person(args.person.user)).await;
    watch.abort();
    bar.finish_and_clear();
    let taken = taken?;
    // A feed of which no line is what it should be has changed its format: whoever runs this every hour must notice.
    let exit = match &taken {
        // A script must not take what was interrupted for done.
        taken if taken.stopped => Exit::Failure,
        taken if taken.is_all_refused() => Exit::Refused,
        _ => Exit::Done,
    };
    out.one(&shown(taken), text)?;
    Ok(exit)
}

fn reader(path: &Path) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Problem> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let cannot = |error| Problem::failure(format!("cannot read {}: {error}", path.display()), None);
    let file = File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    Ok((Box::new(BufReader::new(file)), about.is_file().then_some(about.len())))
}

fn options(config: &Config, report: Option<PathBuf>, file: &Path) -> Options {
    let beside = || if file.as_os_str() == "-" { REPORT_OF_PIPE.into() } else { rejects::beside(file) };
    // A report beside the file lies where whoever made the file may write.
    let exposed = report.is_none();
    Options { exposed, ..folder::options(config, report.unwrap_or_else(beside)) }
}

/// What is not taken in at all: the command line or the configuration says something else than the file is.
fn refused(file: &Path, error: open::OpenError) -> Problem {
    let message = format!("{}: {error}", file.display());
    match error {
        open::OpenError::Source(_) => Problem::failure(message, None),
        _ => Problem::usage(message, Some("nothing was taken in".to_owned())),
    }
}

/// A bar on standard error; none when that is no terminal.
fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:30} {bytes}/{total_bytes} {eta} {msg}"),
        None => (ProgressBar::no_length(), "{spinner} {bytes} {elapsed} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The first Ctrl-C stops before the next batch; the second, as when a pipe gives nothing more, at once. What was kept
/// by then stays either way.
pub(super) async fn interrupted(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.store(true, Ordering::SeqCst);
    // There is nowhere left to say that standard error is gone.
    let _ = io::Write::write_all(&mut io::stderr(), b"Stopping after the batch in work; Ctrl-C again stops at once.\n");
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(Exit::Failure as i32);
    }
}

fn shown(summary: Summary) -> Shown {
    let Summary { lines, kept, repeated, heartbeats, rejected, images, first_seen, last_seen, stopped, report } =
        summary;
    Shown { lines, kept, repeated, heartbeats, rejected, images, first_seen, last_seen, stopped, report }
}

fn text(shown: &Shown) -> String {
    // Writing to a String does not fail.
    let mut text = format!(
        "{} lines: {} reads kept ({} with images), {} known already, {} heartbeats, {} lines refused.",
        shown.lines, shown.kept, shown.images, shown.repeated, shown.heartbeats, shown.rejected
    );
    if let (Some(first), Some(last)) = (shown.first_seen, shown.last_seen) {
        let _ = write!(text, "\nSeen from {} to {}.", local::shown(first), local::shown(last));
    }
    if let Some(report) = &shown.report {
        let _ = write!(text, "\nWhich lines and why: {}", report.display());
    }
    if shown.stopped {
        text.push_str("\nStopped before the end: run the same command again to go on.");
    }
    text
}
