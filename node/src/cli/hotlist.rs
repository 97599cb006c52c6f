//! `concordat hotlist`: this agency's own lists, and partners' that it accepted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::ids::Ori;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, ingest, local};
use crate::hotlists::layout::Layout;
use crate::hotlists::load::{self, Load, Loaded, Progress, Watcher};
use crate::hotlists::people::{self, Lists};
use crate::hotlists::pulling::Pulled;
use crate::hotlists::refresh::{self, Refreshed};
use crate::hotlists::shared::SharedLists;
use crate::reads::rejects;

/// Load, share and accept hotlists.
#[derive(Debug, Subcommand)]
pub enum HotlistCommand {
    /// Load a list of this agency from its source: show what changes, then put the new version in place at once
    #[command(
        after_help = "Examples:\n  concordat hotlist load svs.tbl --list stolen --as alder.admin\n  concordat hotlist load VEHEXTRT.txt --list ncic --dry-run --as alder.admin\n  concordat hotlist load own.csv --list own --as alder.analyst --approved-by alder.supervisor\n\nLayouts: svs, sfr, slr (California DOJ), ncic (VEHEXTRT.txt; type N is counted and dropped), custom (CSV with plate, state, category, reason, case_number, entered_by, contact, expires_at; a supervisor approves). A line that is wrong goes to the report with its number and the reason. A source that is not whole, or of the wrong date, changes nothing. Ctrl-C stops, and the version in place stays."
    )]
    Load(LoadArgs),
    /// Show own lists, what partners were told of them, and partners' lists that are accepted
    #[command(after_help = "Example:\n  concordat hotlist list")]
    List,
    /// Accept a partner's list: from then on its entries are pulled, and reads are matched against them
    #[command(
        after_help = "Example:\n  concordat hotlist accept CA0990100 wanted --as alder.supervisor\n\nThe agreement must grant the list. `--withdraw` ends it, and erases what is held."
    )]
    Accept(AcceptArgs),
    /// Pull accepted lists at once: all, or those of one partner
    #[command(after_help = "Examples:\n  concordat hotlist refresh\n  concordat hotlist refresh CA0990100")]
    Refresh {
        /// The partner
        partner: Option<Ori>,
    },
}

/// Arguments of `hotlist load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The source, a file
    file: PathBuf,
    /// The list's name, as agreements name it
    #[arg(long)]
    list: String,
    /// The source's layout; by its first line when absent
    #[arg(long)]
    layout: Option<Layout>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Load it although it has over a fifth fewer entries
    #[arg(long)]
    accept_shrink: bool,
    /// Load it although its header's date is in the future, too old, or older than what is loaded
    #[arg(long)]
    accept_date: bool,
    /// The supervisor who approved the entries of a custom list
    #[arg(long, value_name = "USER")]
    approved_by: Option<String>,
    /// Where to report lines that are rejected; beside the file when absent
    #[arg(long)]
    report: Option<PathBuf>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hotlist accept`.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The partner
    partner: Ori,
    /// The list's name
    list: String,
    /// No longer accept it, and erase what is held of it
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    person: As,
}

pub(super) async fn run(place: &Place, command: HotlistCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        HotlistCommand::Load(args) => load(place, args, out).await?,
        HotlistCommand::List => list(place, out)?,
        HotlistCommand::Accept(args) => accept(place, args, out).await?,
        HotlistCommand::Refresh { partner } => return refresh(place, partner, out).await,
    }
    Ok(Exit::Done)
}

async fn load(place: &Place, args: LoadArgs, out: &mut Output<'_>) -> Result<(), Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let bar = bar(std::fs::metadata(&args.file).map_or(0, |about| about.len()));
    let watched = bar.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let progress = Box::new(move |progress: Progress| match progress {
        Progress::Reading(at) => watched.set_position(at.bytes),
        Progress::Staging(done, of) => {
            watched.set_length(of);
            watched.set_position(done);
            watched.set_message("entries staged");
        }
    });
    let report = args.report.unwrap_or_else(|| rejects::beside(&args.file));
    let load = Load {
        path: args.file,
        list: args.list,
        layout: args.layout,
        by: args.person.user,
        approved_by: args.approved_by,
        report,
        dry_run: args.dry_run,
        accept_shrink: args.accept_shrink,
        accept_date: args.accept_date,
        max_age: i64::from(config.hotlists.max_source_age_hours.get()) * Instant::HOUR,
    };
    let watch = actix_web::rt::spawn(ingest::interrupted(Arc::clone(&stop)));
    let loaded = load::load(&db, load, Watcher { progress, stop }).await;
    watch.abort();
    bar.finish_and_clear();
    Ok(out.one(&loaded?, told)?)
}

/// A bar on standard error; none when that is no terminal.
fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn told(loaded: &Loaded) -> String {
    let mut lines = vec![format!(
        "{} ({}, of {}): {} entries: {} added, {} removed, {} unchanged.",
        loaded.list,
        loaded.layout,
        local::shown(loaded.source_at),
        loaded.entries,
        loaded.added,
        loaded.removed,
        loaded.unchanged
    )];
    for change in &loaded.first {
        let state = change.state.as_deref().unwrap_or("--");
        lines.push(format!("  {} {} {state} {}", change.change, change.plate.as_str(), change.category));
    }
    if loaded.dropped > 0 {
        lines.push(format!("{} records of type N were counted and dropped.", loaded.dropped));
    }
    if let Some(report) = &loaded.report {
        lines.push(format!("{} lines rejected; which and why: {}", loaded.rejected, report.display()));
    }
    lines.push(match (loaded.dry_run, loaded.version == loaded.before) {
        (true, _) => "Nothing was written (--dry-run).".to_owned(),
        (false, true) => format!("Nothing changed; version {} stays, and the load is recorded.", loaded.version),
        (false, false) => format!("Version {} is in place; partners have it at their next look.", loaded.version),
    });
    lines.join("\n")
}

#[derive(Serialize)]
struct Shown {
    owner: Option<Ori>,
    list: String,
    layout: Option<String>,
    version: Option<u64>,
    entries: Option<u64>,
    /// When its source was last loaded at its owner.
    loaded_at: Option<Instant>,
    loaded_by: Option<String>,
    dropped: Option<u64>,
    accepted_by: Option<String>,
    asserted_at: Option<Instant>,
    /// Until when a partner's list is used.
    until: Option<Instant>,
    usable: bool,
    told: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    partner: Ori,
    version: u64,
    asserted_at: Instant,
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<(), Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let shared = SharedLists::beside(&config.store.registry).map_err(people::HotlistError::from)?;
    let shown = shown(people::lists(&db, &shared)?, place.now());
    let headers = ["owner", "list", "version", "entries", "source loaded", "used until", "partners told"];
    let or_blank = |text: Option<String>| text.unwrap_or_default();
    out.list(&headers, &shown, |list| {
        vec![
            list.owner.map_or_else(|| "own".to_owned(), |ori| ori.to_string()),
            list.list.clone(),
            or_blank(list.version.map(|version| version.to_string())),
            or_blank(list.entries.map(|entries| entries.to_string())),
            or_blank(list.loaded_at.map(local::shown)),
            match (list.owner, list.usable) {
                (None, _) => "as its entries say".to_owned(),
                (Some(_), true) => or_blank(list.until.map(local::shown)),
                (Some(_), false) => "not held".to_owned(),
            },
            list.told.iter().map(|told| format!("{} v{}", told.partner, told.version)).collect::<Vec<_>>().join(", "),
        ]
    })?;
    Ok(())
}

fn shown(lists: Lists, now: Instant) -> Vec<Shown> {
    let Lists { own, shares, accepted, held } = lists;
    let own = own.into_iter().map(|list| Shown {
        owner: None,
        told: shares
            .iter()
            .filter(|share| share.list == list.name)
            .map(|share| Told {
                partner: share.partner,
                version: share.version.unsigned_abs(),
                asserted_at: share.asserted_at,
            })
            .collect(),
        list: list.name,
        layout: Some(list.layout),
        version: Some(list.version.unsigned_abs()),
        entries: Some(list.entries),
        loaded_at: Some(list.loaded_at),
        loaded_by: Some(list.loaded_by),
        dropped: Some(list.dropped),
        accepted_by: None,
        asserted_at: None,
        until: None,
        usable: true,
    });
    let theirs = accepted.into_iter().map(|accepted| {
        let held = held.iter().find(|held| held.owner == accepted.owner && held.list == accepted.list);
        let held = held.filter(|held| now < held.ends_at);
        Shown {
            owner: Some(accepted.owner),
            list: accepted.list,
            layout: None,
            version: held.map(|held| held.version),
            entries: held.map(|held| held.entries),
            loaded_at: held.and_then(|held| held.source_loaded_at),
            loaded_by: None,
            dropped: None,
            accepted_by: Some(accepted.accepted_by),
            asserted_at: held.map(|held| held.asserted_at),
            until: held.map(|held| held.ends_at),
            usable: held.is_some(),
            told: Vec::new(),
        }
    });
    own.chain(theirs).collect()
}

async fn accept(place: &Place, args: AcceptArgs, out: &mut Output<'_>) -> Result<(), Problem> {
    let AcceptArgs { partner, list, withdraw, person } = args;
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let value = json!({"owner": partner, "list": list, "accepted": !withdraw});
    if withdraw {
        let shared = SharedLists::beside(&config.store.registry).map_err(people::HotlistError::from)?;
        people::withdraw(&db, &Arc::new(shared), partner, &list, &person.user).await?;
        out.one(&value, |_| format!("{list} of {partner} is no longer accepted; what was held of it is erased."))?;
    } else {
        people::accept(&db, partner, &list, &person.user).await?;
        out.one(&value, |_| {
            format!(
                "{list} of {partner} is accepted. A node that serves pulls it within a minute; `concordat hotlist refresh {partner}` pulls it now."
            )
        })?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Line {
    owner: Ori,
    list: String,
    #[serde(flatten)]
    came: Option<Pulled>,
    error: Option<String>,
}

async fn refresh(place: &Place, partner: Option<Ori>, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let lines: Vec<Line> = refresh::refresh(&node, partner).await?.into_iter().map(line).collect();
    if lines.is_empty() {
        return Err(Problem::refused(
            "no list is accepted",
            Some("`concordat hotlist accept PARTNER LIST` accepts one".to_owned()),
        ));
    }
    let failed = lines.iter().any(|line| line.error.is_some());
    let denied = lines.iter().any(|line| matches!(line.came, Some(Pulled::Denied { .. })));
    out.list(&["owner", "list", "what came"], &lines, |line| {
        let came = match (&line.came, &line.error) {
            (Some(Pulled::Held { version, entries, added, removed, until }), _) => format!(
                "version {version}: {entries} entries ({added} came, {removed} went), used until {}",
                local::shown(*until)
            ),
            (Some(Pulled::Denied { why }), _) => format!("denied: {why}"),
            (None, error) => error.clone().unwrap_or_default(),
        };
        vec![line.owner.to_string(), line.list.clone(), came]
    })?;
    Ok(match (failed, denied) {
        (true, _) => Exit::Failure,
        (false, true) => Exit::Refused,
        (false, false) => Exit::Done,
    })
}

fn line(refreshed: Refreshed) -> Line {
    let Refreshed { owner, list, came } = refreshed;
    match came {
        Ok(came) => Line { owner, list, came: Some(came), error: None },
        Err(error) => Line { owner, list, came: None, error: Some(error.to_string()) },
    }
}
