//! `concordat trail`: searching, verifying and proving what was recorded.

mod epoch;
mod export;
mod forks;
mod receipts;
mod reconcile;

use std::sync::atomic::AtomicBool;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::plate::Plate;
use agreements::purpose::{Purpose, Reference};
use agreements::rule::Rule;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::auditing;
use crate::config::Config;
use crate::db::{self, Conn, DbError};
use crate::exporting::shown::Shown;
use crate::node::{self, OpenError};
use crate::trail::deleted::Certified;
use crate::trail::search::{self, Filter, MAX_PAGE};
use crate::trail::verify::{self, Report};

/// Search, verify and prove the trail.
#[derive(Debug, Subcommand)]
pub enum TrailCommand {
    /// Find entries, newest first. The search itself is recorded (VIII-03)
    #[command(
        after_help = "Examples:\n  concordat trail search --plate 7ABC123 --since 2026-11-01 --as alder.auditor\n  concordat trail search --kind query.answered --decision denied --partner CA0990100 \\\n      --json --as alder.auditor"
    )]
    Search(Search),
    /// Recompute the whole trail and compare it with its signed head
    #[command(
        after_help = "Example:\n  concordat trail verify\n\nExit code 1 when anything was changed, dropped, reordered or added; each problem is named."
    )]
    Verify,
    /// Print the proof that an entry is in the trail (c2sp.org/tlog-proof@v1)
    #[command(after_help = "Example:\n  concordat trail proof 01940a2b-0000-7000-8000-000000000001 > entry.tlog-proof")]
    Proof(Proof),
    /// Export entries as a table, or the whole log as static files for other tools. That is itself recorded (VIII-03)
    #[command(
        after_help = "Examples:\n  concordat trail export --out november.xlsx --since 2026-11-01 --as alder.auditor\n  concordat trail export --tiles log --as alder.auditor\n\nA table has a row for each entry, newest first; the file's name says the form. It is there when it is whole, and nothing is overwritten. In CSV and XLSX an apostrophe stands before whatever a spreadsheet could compute; JSON has everything as it is.\n\nThe folder of --tiles is a log of c2sp.org/tlog-tiles: checkpoint, hash tiles, entry bundles. Leaves say what kind of thing happened when, and nothing about whom. The same folder again is brought up to date. Ctrl-C stops."
    )]
    Export(export::Export),
    /// Show partners' signed entries that are kept here, and verify them offline. The look itself is recorded (VIII-03)
    #[command(
        after_help = "Example:\n  concordat trail receipts --of 01940a2b-0000-7000-8000-000000000001 --verify \\\n      --as alder.auditor"
    )]
    Receipts(receipts::Receipts),
    /// Show logs that showed two trails, with the evidence that is kept here
    #[command(
        after_help = "Examples:\n  concordat trail forks\n  concordat trail forks --out fork.json \\\n      --of 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n\nExit code 1 when there are any: nothing is exchanged with the owner of such a log. `concordat witness verify` checks the evidence offline, for whoever gets the file."
    )]
    Forks(forks::Forks),
    /// Hold days of exchange with partners to the partners' own trails, as each night does
    #[command(
        after_help = "Examples:\n  concordat trail reconcile --all --as alder.custodian\n  concordat trail reconcile CA0990100 --day 2026-11-22 --as alder.auditor\n\nThe partner lists what its trail has for this agency on that day; what it lists must be in the log that witnesses see, and what this agency holds must be on the list. Exit code 1 while a discrepancy with it is open (`concordat discrepancy list`), 3 when a day was not reconciled. Ctrl-C stops after the day in work."
    )]
    Reconcile(reconcile::Reconcile),
    /// Go on after the registry was restored from a backup
    #[command(subcommand, after_help = "Example:\n  concordat trail epoch show")]
    Epoch(epoch::EpochCommand),
}

/// Which entries.
#[derive(Debug, Args)]
pub struct Which {
    /// Recorded at or after this date or time
    #[arg(long, value_parser = local::instant)]
    since: Option<Instant>,
    /// Recorded before this date or time
    #[arg(long, value_parser = local::instant)]
    until: Option<Instant>,
    /// The other agency
    #[arg(long, value_name = "ORI")]
    partner: Option<Ori>,
    /// The person on whose behalf it happened
    #[arg(long = "user", value_name = "USERNAME")]
    username: Option<String>,
    /// The purpose that was named
    #[arg(long)]
    purpose: Option<Purpose>,
    /// The file that was named: KIND:NUMBER
    #[arg(long = "ref", value_name = "KIND:NUM")]
    reference: Option<Reference>,
    /// The plate that was searched for
    #[arg(long)]
    plate: Option<Plate>,
    /// How it was decided: permitted, denied, referred, withheld, ...
    #[arg(long)]
    decision: Option<String>,
    /// The rule that decided
    #[arg(long, value_parser = rule)]
    rule: Option<Rule>,
    /// What the entry records, such as query.asked
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
}

impl Which {
    /// The same as the trail has it.
    fn filter(self) -> Filter {
        Filter {
            since: self.since,
            until: self.until,
            partner: self.partner,
            username: self.username,
            purpose: self.purpose.map(|purpose| purpose.to_string()),
            reference: self.reference.map(|reference| reference.to_string()),
            plate: self.plate.map(|plate| plate.as_str().to_owned()),
            decision: self.decision,
            rule: self.rule.map(|rule| rule.as_str().to_owned()),
            kind: self.kind,
            before_index: None,
            limit: 0,
        }
    }
}

/// Arguments of `trail search`.
#[derive(Debug, Args)]
pub struct Search {
    #[command(flatten)]
    which: Which,
    /// Only entries before this position: the last one of the page before
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE)))]
    limit: u32,
    #[command(flatten)]
    person: As,
}

/// Arguments of `trail proof`.
#[derive(Debug, Args)]
pub struct Proof {
    /// The entry's id
    rid: RequestId,
}

fn rule(text: &str) -> Result<Rule, String> {
    let found = Rule::ALL.into_iter().find(|rule| rule.as_str() == text);
    found.ok_or_else(|| format!("the rules are {}", Rule::ALL.map(Rule::as_str).join(", ")))
}

fn kind(text: &str) -> Result<Kind, String> {
    text.parse().map_err(|error: serde::de::value::Error| error.to_string())
}

pub(super) async fn run(place: &Place, command: TrailCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        TrailCommand::Search(args) => search(place, args, out).await,
        TrailCommand::Verify => verify(place, out),
        TrailCommand::Proof(args) => proof(place, args.rid, out),
        TrailCommand::Export(args) => export::run(place, args, out).await,
        TrailCommand::Receipts(args) => receipts::run(place, args, out).await,
        TrailCommand::Forks(args) => forks::run(place, args, out),
        TrailCommand::Reconcile(args) => reconcile::run(place, args, out).await,
        TrailCommand::Epoch(command) => epoch::run(place, command, out).await,
    }
}

async fn search(place: &Place, args: Search, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let filter = Filter { before_index: args.before, limit: args.limit, ..args.which.filter() };
    let db = place.registry()?;
    let found = auditing::search(&db, filter, &args.person.user).await?;
    let says_all = found.iter().all(|row| row.detail.is_some());
    let certified = if says_all { Certified::default() } else { Certified::load(&mut db.reader()?)? };
    let items: Vec<Shown> = found.into_iter().map(|row| Shown::of(row, &certified)).collect();
    let headers = [
        "index",
        "at",
        "kind",
        "partner",
        "user",
        "purpose",
        "reference",
        "plate",
        "decision",
        "rule",
        "id",
        "details",
    ];
    let or_blank = |text: &Option<String>| text.clone().unwrap_or_default();
    out.list(&headers, &items, |item| {
        vec![
            item.index.to_string(),
            local::shown(item.at),
            item.kind.to_string(),
            item.partner.map(|ori| ori.to_string()).unwrap_or_default(),
            or_blank(&item.username),
            or_blank(&item.purpose),
            or_blank(&item.reference),
            or_blank(&item.plate),
            or_blank(&item.decision),
            or_blank(&item.rule),
            item.rid.to_string(),
            item.details().unwrap_or_default(),
        ]
    })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Verified {
    sound: bool,
    entries: u64,
    root: Digest,
    without_detail: u64,
    problems: Vec<Found>,
    unlisted: u64,
}

#[derive(Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    what: &'static str,
}

/// How many processors a recomputation takes at most: beyond these it waits for the disk.
const HELPERS: usize = 8;

fn verify(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let mut conn = whatever_is_there(place, &config)?;
    let url = config.store.registry.to_string();
    let helpers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(HELPERS);
    let mut helpers: Vec<Conn> = (0..helpers).map(|_| db::reader_of(&url)).collect::<Result<_, _>>()?;
    let vkey = node::log_vkey(&config)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} entries {eta}") {
        bar.set_style(style);
    }
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = verify::verify_with(&mut conn, &mut helpers, &vkey, &mut progress, &AtomicBool::new(false))?;
    bar.finish_and_clear();
    let sound = report.is_sound();
    out.one(&verified(report), said)?;
    Ok(if sound { Exit::Done } else { Exit::Refused })
}

/// A connection to the registry, even when its trail is not what its head says: that is what is to be found out.
fn whatever_is_there(place: &Place, config: &Config) -> Result<Conn, Problem> {
    let url = config.store.registry.to_string();
    match node::open_registry(config, std::sync::Arc::clone(&place.clock), std::sync::Arc::clone(&place.on_fatal)) {
        Ok(db) => Ok(db.reader()?),
        Err(OpenError::Registry(DbError::Trail(_))) => Ok(db::reader_of(&url)?),
        Err(error) => Err(error.into()),
    }
}

fn verified(report: Report) -> Verified {
    let sound = report.is_sound();
    let Report { entries, root, without_detail, problems, unlisted, .. } = report;
    let problems = problems.into_iter().map(|problem| Found { index: problem.index, what: problem.what }).collect();
    Verified { sound, entries, root, without_detail, problems, unlisted }
}

fn said(verified: &Verified) -> String {
    if verified.sound {
        return format!(
            "The trail is sound: {} entries, root {}, as its signed head says.{}",
            verified.entries,
            verified.root,
            match verified.without_detail {
                0 => String::new(),
                count => format!(" What {count} of them said was deleted after its retention, with certificates."),
            }
        );
    }
    let one = |found: &Found| match found.index {
        Some(index) => format!("\n  entry {index}: {}", found.what),
        None => format!("\n  {}", found.what),
    };
    let problems: String = verified.problems.iter().map(one).collect();
    let more = if verified.unlisted > 0 { format!("\n  and {} more", verified.unlisted) } else { String::new() };
    format!(
        "THE TRAIL IS NOT SOUND ({} entries):{problems}{more}\nKeep the file as it is, and tell the custodian and the partners.",
        verified.entries
    )
}

fn proof(place: &Place, rid: RequestId, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut conn = place.registry()?.reader()?;
    let (Some(proof), Some(row)) = (search::prove(&mut conn, rid)?, search::by_rid(&mut conn, rid)?) else {
        let hint = "`concordat trail search` shows the ids of entries".to_owned();
        return Err(Problem::refused(format!("the trail has no entry {rid}"), Some(hint)));
    };
    let leaf = String::from_utf8_lossy(&row.leaf).into_owned();
    out.one(&json!({"rid": rid, "index": row.index, "leaf": leaf, "proof": proof}), |_| proof.clone())?;
    Ok(Exit::Done)
}
