//! `concordat retention`: how long what the trail's entries say is kept, and deleting it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::entry::Kind;
use agreements::retention::{CLAUSES, Details};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::exit::Exit;
use super::ingest::interrupted;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::retention::{self as service, Due, Progress};
use crate::trail::deleted::{self, Certificate};

/// See how long the trail keeps what its entries say, and delete what is due.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Show the rule, what is due by it, and what is held
    #[command(after_help = "Example:\n  concordat retention show")]
    Show,
    /// Delete what is due now, as the custodian. The night's job does the same
    #[command(
        after_help = "Example:\n  concordat retention run --as alder.custodian\n\nOnly what entries say is deleted: message, note and their salts together, after two years of the calendar or more (trail.details_kept_years), never under a hold. The tree stays, and verifies. Each batch appends a certificate in the same commit. Ctrl-C stops after the batch in work."
    )]
    Run(Run),
    /// Show the certificates of what was deleted, newest first
    #[command(after_help = "Example:\n  concordat retention certificates --limit 20")]
    Certificates(Certificates),
}

/// Arguments of `retention run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    person: As,
}

/// Arguments of `retention certificates`.
#[derive(Debug, Args)]
pub struct Certificates {
    /// At most this many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Serialize)]
struct Shown {
    years: u16,
    clauses: [&'static str; 2],
    #[serde(flatten)]
    due: Due,
    deleted: u64,
    certificates: u64,
    expires: Vec<Kind>,
    kept: BTreeMap<Kind, &'static str>,
}

#[derive(Serialize)]
struct Attested {
    #[serde(flatten)]
    certificate: Certificate,
    /// Whether the leaves at its positions are those that it names.
    leaves_are_there: bool,
}

pub(super) async fn run(place: &Place, command: RetentionCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        RetentionCommand::Show => show(place, out),
        RetentionCommand::Run(args) => delete(place, args, out).await,
        RetentionCommand::Certificates(args) => certificates(place, &args, out),
    }
}

fn show(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let years = config.trail.details_kept_years.get();
    let db = place.registry_of(&config)?;
    let mut conn = db.reader()?;
    let hint = || Some("run `concordat trail verify`".to_owned());
    let due = service::due(&mut conn, db.clock().now(), years, false)?.map_err(|why| Problem::failure(why, hint()))?;
    let (deleted, certificates) = deleted::totals(&mut conn)?;
    let (mut expires, mut kept) = (Vec::new(), BTreeMap::new());
    for kind in Kind::ALL {
        match kind.details() {
            Details::Expire => expires.push(kind),
            Details::Kept(why) => drop(kept.insert(kind, why)),
        }
    }
    let shown = Shown { years, clauses: CLAUSES, due, deleted, certificates, expires, kept };
    out.one(&shown, text)?;
    Ok(Exit::Done)
}

fn text(shown: &Shown) -> String {
    let Shown { years, clauses, due, deleted, certificates, expires, kept } = shown;
    let names: Vec<&str> = expires.iter().map(|kind| kind.as_str()).collect();
    let mut why: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (kind, reason) in kept {
        why.entry(reason).or_default().push(kind.as_str());
    }
    let mut lines = vec![
        format!(
            "What entries of the trail say is kept for {years} years of the calendar ({}), then deleted. Their leaves stay.",
            clauses.join(", ")
        ),
        format!("  due now: {}; held: {}", due.due, due.held),
        format!("  deleted so far: {deleted}, by {certificates} certificates"),
        format!("  this is deleted: {}", names.join(", ")),
    ];
    lines.extend(why.into_iter().map(|(reason, kinds)| format!("  kept, because {reason}: {}", kinds.join(", "))));
    lines.join("\n")
}

async fn delete(place: &Place, args: Run, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let watched = bar.clone();
    let progress = move |now: Progress| {
        watched.set_message(match now {
            Progress::Verifying(done, all) => format!("verified {done} of {all} entries"),
            Progress::Deleted(count) => format!("deleted what {count} entries said"),
        });
        watched.tick();
    };
    let done = service::run(&node, Some(&args.person.user), progress, stop).await;
    watch.abort();
    bar.finish_and_clear();
    let done = done?;
    // A script must not take what was interrupted for done.
    let exit = if done.stopped { Exit::Failure } else { Exit::Done };
    out.one(&done, |done| {
        let mut lines = vec![format!(
            "Deleted what {} entries said and {} receipts of them, by {} certificates. {} are held.",
            done.deleted, done.receipts, done.certificates, done.held
        )];
        if done.unclear > 0 {
            lines.push(format!(
                "{} are not as they were recorded, and stay as they are: concordat trail verify",
                done.unclear
            ));
        }
        if done.stopped {
            lines.push("Stopped before the end: run the same command again to go on.".to_owned());
        }
        lines.join("\n")
    })?;
    Ok(exit)
}

fn certificates(place: &Place, args: &Certificates, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut conn = place.registry()?.reader()?;
    let mut items = Vec::new();
    for certificate in deleted::newest(&mut conn, i64::from(args.limit))? {
        let leaves_are_there = deleted::names_its_leaves(&mut conn, &certificate.deleted)?;
        items.push(Attested { certificate, leaves_are_there });
    }
    let headers = ["certificate", "deleted", "by", "entries", "recorded from", "to", "receipts", "runs", "leaves"];
    out.list(&headers, &items, |item| {
        let Certificate { id, at, deleted, .. } = &item.certificate;
        vec![
            id.to_string(),
            local::shown(*at),
            deleted.by.clone().unwrap_or_else(|| "this node".to_owned()),
            deleted.count.to_string(),
            local::shown(deleted.oldest),
            local::shown(deleted.newest),
            deleted.receipts.to_string(),
            deleted.entries.len().to_string(),
            if item.leaves_are_there { "as they were" } else { "OTHERS: concordat trail verify" }.to_owned(),
        ]
    })?;
    let all_there = items.iter().all(|item| item.leaves_are_there);
    Ok(if all_there { Exit::Done } else { Exit::Refused })
}
