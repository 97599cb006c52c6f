//! `concordat trail`: searching, verifying and proving what was recorded.

use std::io::Write as _;
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
use serde_json::value::RawValue;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::auditing;
use crate::config::Config;
use crate::db::{self, Conn, DbError};
use crate::node::{self, OpenError};
use crate::registry::exchanged::{self, Receipt};
use crate::trail::search::{self, Filter, MAX_PAGE, Row};
use crate::trail::verify::{self, Report};

/// The most receipts that one command shows.
const MAX_RECEIPTS: i64 = 100_000;

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
    /// Show partners' signed answers that are kept here, and verify them offline
    #[command(after_help = "Example:\n  concordat trail receipts --of 01940a2b-0000-7000-8000-000000000001 --verify")]
    Receipts(Receipts),
}

/// Arguments of `trail search`.
#[derive(Debug, Args)]
pub struct Search {
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

/// Arguments of `trail receipts`.
#[derive(Debug, Args)]
pub struct Receipts {
    /// Only those for this entry of ours: a question, an offer, an event
    #[arg(long, value_name = "RID")]
    of: Option<RequestId>,
    /// Verify each with the enrolled partner's key
    #[arg(long)]
    verify: bool,
}

fn rule(text: &str) -> Result<Rule, String> {
    let found = Rule::ALL.into_iter().find(|rule| rule.as_str() == text);
    found.ok_or_else(|| format!("the rules are {}", Rule::ALL.map(Rule::as_str).join(", ")))
}

fn kind(text: &str) -> Result<Kind, String> {
    text.parse().map_err(|error: serde::de::value::Error| error.to_string())
}

/// An entry as it is shown.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) index: u64,
    pub(super) rid: RequestId,
    pub(super) kind: Kind,
    pub(super) at: Instant,
    pub(super) partner: Option<Ori>,
    pub(super) username: Option<String>,
    pub(super) purpose: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) plate: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) message: Option<Box<RawValue>>,
    pub(super) note: Option<Box<RawValue>>,
}

impl From<Row> for Shown {
    fn from(row: Row) -> Self {
        // What does not read as JSON was changed by other hands; `trail verify` names it.
        let json = |bytes: Vec<u8>| String::from_utf8(bytes).ok().and_then(|text| RawValue::from_string(text).ok());
        let (message, note) = row.detail.map_or((None, None), |detail| (json(detail.message), json(detail.note)));
        Self {
            index: row.index,
            rid: row.rid,
            kind: row.kind,
            at: row.at,
            partner: row.facts.partner,
            username: row.facts.username,
            purpose: row.facts.purpose,
            reference: row.facts.reference,
            plate: row.facts.plate,
            decision: row.facts.decision,
            rule: row.facts.rule,
            message,
            note,
        }
    }
}

pub(super) async fn run(place: &Place, command: TrailCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        TrailCommand::Search(args) => search(place, args, out).await,
        TrailCommand::Verify => verify(place, out),
        TrailCommand::Proof(args) => proof(place, args.rid, out),
        TrailCommand::Receipts(args) => receipts(place, &args, out),
    }
}

async fn search(place: &Place, args: Search, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let filter = Filter {
        since: args.since,
        until: args.until,
        partner: args.partner,
        username: args.username,
        purpose: args.purpose.map(|purpose| purpose.to_string()),
        reference: args.reference.map(|reference| reference.to_string()),
        plate: args.plate.map(|plate| plate.as_str().to_owned()),
        decision: args.decision,
        rule: args.rule.map(|rule| rule.as_str().to_owned()),
        kind: args.kind,
        before_index: args.before,
        limit: args.limit,
    };
    let found = auditing::search(&place.registry()?, filter, &args.person.user).await?;
    let items: Vec<Shown> = found.into_iter().map(Shown::from).collect();
    let headers = ["index", "at", "kind", "partner", "user", "purpose", "reference", "plate", "decision", "rule", "id"];
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

fn verify(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let mut conn = whatever_is_there(place, &config)?;
    let vkey = node::log_vkey(&config)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} entries {eta}") {
        bar.set_style(style);
    }
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = verify::verify(&mut conn, &vkey, &mut progress, &AtomicBool::new(false))?;
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
            "The trail is sound: {} entries, root {}, as its signed head says.",
            verified.entries, verified.root
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

#[derive(Serialize)]
struct ReceiptShown {
    receipt: Digest,
    origin: Ori,
    of: RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Instant>,
    /// Absent when it was not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

fn receipts(place: &Place, args: &Receipts, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut conn = place.registry()?.reader()?;
    let kept = exchanged::receipts(&mut conn, args.of, MAX_RECEIPTS)?;
    let items =
        kept.iter().map(|receipt| receipt_shown(&mut conn, receipt, args.verify)).collect::<Result<Vec<_>, _>>()?;
    out.list(&["at", "origin", "kind", "for our entry", "receipt", "verified"], &items, |item| {
        vec![
            item.at.map(local::shown).unwrap_or_default(),
            item.origin.to_string(),
            item.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            item.of.to_string(),
            item.receipt.to_string(),
            match (item.verified, &item.why) {
                (Some(true), _) => format!("yes, entry {} of its log", item.index.unwrap_or_default()),
                (Some(false), why) => format!("NO: {}", why.as_deref().unwrap_or_default()),
                (None, _) => String::new(),
            },
        ]
    })?;
    let bad = items.iter().filter(|item| item.verified == Some(false)).count();
    if bad > 0 && out.is_for_people() {
        writeln!(std::io::stderr(), "concordat: {bad} of {} receipts do not verify", items.len())?;
    }
    Ok(if bad == 0 { Exit::Done } else { Exit::Refused })
}

fn receipt_shown(conn: &mut Conn, receipt: &Receipt, verify: bool) -> Result<ReceiptShown, Problem> {
    let leaf = auditing::leaf_of(receipt).ok();
    let result = if verify { Some(auditing::verify_receipt(conn, receipt)?) } else { None };
    Ok(ReceiptShown {
        receipt: receipt.leaf_hash,
        origin: receipt.origin,
        of: receipt.of,
        kind: leaf.as_ref().map(|leaf| leaf.kind),
        at: leaf.as_ref().map(|leaf| leaf.at),
        verified: result.as_ref().map(Result::is_ok),
        why: result.as_ref().and_then(|result| result.as_ref().err().map(ToString::to_string)),
        index: result.and_then(Result::ok).map(|included| included.index),
    })
}
