//! `concordat trail export`: entries as a table, or the log as static files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::ids::Digest;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::super::exit::Exit;
use super::super::ingest::interrupted;
use super::super::place::{As, Place};
use super::super::{Output, Problem};
use super::Which;
use crate::auditing;
use crate::exporting::table::Form;
use crate::exporting::{static_log, table};
use crate::node;
use crate::trail::search::Filter;

/// Arguments of `trail export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The table: a new file whose name ends in .csv, .xlsx or .json
    #[arg(long, value_name = "FILE", required_unless_present = "tiles", value_parser = table_file)]
    out: Option<(Form, PathBuf)>,
    /// The whole log, as static files in this folder
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["out", "since", "until", "partner", "username", "purpose", "reference", "plate", "decision", "rule", "kind"]
    )]
    tiles: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    person: As,
}

fn table_file(text: &str) -> Result<(Form, PathBuf), String> {
    let path = PathBuf::from(text);
    let form = Form::of(&path);
    Ok((form.ok_or("name a file that ends in .csv, .xlsx or .json: that says the form")?, path))
}

pub(super) async fn run(place: &Place, args: Export, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match (args.out, args.tiles) {
        (Some(file), _) => entries(place, file, args.which.filter(), &args.person.user, out).await,
        (None, Some(folder)) => log(place, folder, &args.person.user, out).await,
        // The command line's own rules leave nothing else.
        (None, None) => Err(Problem::usage("nothing says where to", None)),
    }
}

/// What ran beside this thread; that it ended in a panic is a failure like others.
pub(super) fn settled<T>(work: Result<T, actix_web::error::BlockingError>) -> Result<T, Problem> {
    work.map_err(|error| Problem::failure(error.to_string(), None))
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[derive(Serialize)]
struct Table {
    file: PathBuf,
    entries: u64,
    sha256: Digest,
    cut_cells: u64,
}

async fn entries(
    place: &Place,
    (form, file): (Form, PathBuf),
    filter: Filter,
    by: &str,
    out: &mut Output<'_>,
) -> Result<Exit, Problem> {
    if file.symlink_metadata().is_ok() {
        // Before anything is recorded: nothing was taken out.
        return Err(crate::exporting::ExportError::There(file).into());
    }
    let db = place.registry()?;
    let size = auditing::exporting(&db, form.as_str(), &filter, by).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let bar = bar("{bar:30} {percent}% of the trail {eta}");
    let (watched, to, mut conn) = (bar.clone(), file.clone(), db.reader()?);
    let work = actix_web::web::block(move || {
        let mut progress = |done, all| {
            watched.set_length(all);
            watched.set_position(done);
        };
        table::write(&mut conn, &filter, size, (form, &to), &mut progress, &stop)
    });
    let written = settled(work.await);
    watch.abort();
    bar.finish_and_clear();
    let written = written??;
    let shown = Table { file, entries: written.entries, sha256: written.sha256, cut_cells: written.cut };
    out.one(&shown, |shown| {
        let cut = match shown.cut_cells {
            0 => String::new(),
            cut => format!(
                "\n{cut} cells were longer than a sheet's cell can be, and say so: JSON and CSV have the whole."
            ),
        };
        format!("{} entries in {}.\nSHA-256 {}{cut}", shown.entries, shown.file.display(), shown.sha256)
    })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Log {
    folder: PathBuf,
    origin: String,
    size: u64,
    root: Digest,
    tiles: u64,
    bundles: u64,
    /// The size of the newest head that witnesses cosigned.
    cosigned: Option<u64>,
    /// The key that the checkpoint verifies with.
    vkey: String,
}

async fn log(place: &Place, folder: PathBuf, by: &str, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let (db, vkey) = (place.registry_of(&config)?, node::log_vkey(&config)?);
    auditing::exporting(&db, "tiles", &Filter::default(), by).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let bar = bar("{bar:30} {pos}/{len} bundles {eta}");
    let (watched, to, key, mut conn) = (bar.clone(), folder.clone(), vkey.clone(), db.reader()?);
    let work = actix_web::web::block(move || {
        let mut progress = |done, all| {
            watched.set_length(all);
            watched.set_position(done);
        };
        static_log::write(&mut conn, &key, &to, &mut progress, &stop)
    });
    let written = settled(work.await);
    watch.abort();
    bar.finish_and_clear();
    let static_log::Written { head, tiles, bundles, cosigned } = written??;
    let (origin, size, root) = (head.origin, head.size, head.root);
    let shown = Log { folder, origin, size, root, tiles, bundles, cosigned, vkey: vkey.to_string() };
    out.one(&shown, |shown| {
        let cosigned = match shown.cosigned {
            Some(size) => format!("Witnesses cosigned its first {size} entries."),
            None => "No witness cosigned a head of it.".to_owned(),
        };
        format!(
            "{} entries of {} in {}: {} tiles, {} bundles. {cosigned}\nIts key: {}",
            shown.size,
            shown.origin,
            shown.folder.display(),
            shown.tiles,
            shown.bundles,
            shown.vkey
        )
    })?;
    Ok(Exit::Done)
}
