//! `concordat trail receipts`: what partners swore to us, as a list, as files, and verified from files alone.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::time::Instant;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde::Serialize;

use super::super::exit::Exit;
use super::super::ingest::interrupted;
use super::super::place::{As, Place};
use super::super::{Output, Problem, local};
use super::export::settled;
use crate::auditing;
use crate::db::Conn;
use crate::exchange::renewing::{self, Renewed};
use crate::receipts::{self, Demands, Parts, Proven};
use crate::registry::exchanged::Receipt;
use crate::trail::note::Vkey;
use crate::trail::policy::Policy;
use crate::trail::search::Filter;
use crate::{agency, node, publishing};

/// The most receipts that one command shows.
const MAX_RECEIPTS: i64 = 100_000;

/// Arguments of `trail receipts`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Receipts {
    #[command(subcommand)]
    command: Option<ReceiptsCommand>,
    #[command(flatten)]
    listed: Listed,
}

/// Which receipts are shown.
#[derive(Debug, Args)]
pub struct Listed {
    /// Only those for this entry of ours: a question, an offer, an event, or our answer to a partner's question
    #[arg(long, value_name = "RID")]
    of: Option<RequestId>,
    /// Verify each with the enrolled partner's key
    #[arg(long)]
    verify: bool,
    /// The account of the person who looks, which is recorded
    #[arg(long = "as", value_name = "USER", env = "CONCORDAT_USER", hide_env_values = true)]
    user: Option<String>,
}

/// Receipts as files.
#[derive(Debug, Subcommand)]
pub enum ReceiptsCommand {
    /// Write receipts as files that verify by themselves, with the entries of ours that they belong to. That is recorded
    #[command(
        after_help = "Example:\n  concordat trail receipts export receipts --as alder.auditor\n\nA folder for each agency; for each entry five files of one name: .tlog-proof (c2sp.org/tlog-proof), .leaf, .message, .salt and .vkey, the key of the log that it is in. They say what was asked and answered: keep them as the trail itself."
    )]
    Export(Export),
    /// Give receipts their proofs under heads that witnesses have cosigned meanwhile. A running node does it by itself
    #[command(
        after_help = "Examples:\n  concordat trail receipts renew\n  concordat trail receipts renew CA0990100\n\nWhat a partner says comes with a proof under the head of its log at that instant, which no witness has seen yet. The same entry's proof under a later, cosigned head takes its place: only if the entry is the same at the same position and the later head begins with the first one. Only hashes are asked for. A running node does it within a minute or so for what came lately; this does it for all. Exit code 1 when one does not verify, 3 when a partner cannot be reached. Ctrl-C stops."
    )]
    Renew(Renew),
    /// Verify receipts from their files alone: no node, no network
    #[command(
        after_help = "Examples:\n  concordat trail receipts verify receipts\n  concordat trail receipts verify receipts/CA0990100 --policy federation.policy\n\nWhose the key of a log is, a receipt does not prove: compare it with the one that the agreement names, or say it with --log-key. Exit code 1 when one does not verify."
    )]
    Verify(Verify),
}

/// Arguments of `trail receipts export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder
    folder: PathBuf,
    /// Only those for this entry of ours
    #[arg(long, value_name = "RID")]
    of: Option<RequestId>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `trail receipts renew`.
#[derive(Debug, Args)]
pub struct Renew {
    /// The partner; all of them when absent
    peer: Option<Ori>,
}

/// Arguments of `trail receipts verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// .tlog-proof files, or folders with such files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only logs with this key count; can be given again
    #[arg(long, value_name = "VKEY")]
    log_key: Vec<Vkey>,
    /// The federation's witness policy (c2sp.org/tlog-policy): a quorum must have cosigned
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

pub(super) async fn run(place: &Place, args: Receipts, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match args.command {
        None => list(place, args.listed, out).await,
        Some(ReceiptsCommand::Export(args)) => export(place, args, out).await,
        Some(ReceiptsCommand::Renew(args)) => renew(place, args, out).await,
        Some(ReceiptsCommand::Verify(args)) => verify(args, out),
    }
}

#[derive(Serialize)]
struct Exported {
    folder: PathBuf,
    receipts: u64,
    own: u64,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    receipt: Digest,
    why: String,
}

async fn export(place: &Place, args: Export, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let (us, vkey) = (config.agency.ori, node::log_vkey(&config)?);
    auditing::exporting(&db, "receipts", &Filter::default(), &args.person.user).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let bar = ProgressBar::new_spinner();
    let (shown, folder, mut conn) = (bar.clone(), args.folder.clone(), db.reader()?);
    let (policy, own) = (publishing::policy_of(&config)?, agency::witness_key(&config)?);
    let cosigned = publishing::cosigned_of(&mut conn, policy.as_ref(), own.as_ref())?;
    let work = actix_web::web::block(move || {
        let mut progress = |done| shown.set_message(format!("{done} receipts"));
        receipts::export(&mut conn, (us, &vkey), &cosigned, args.of, &folder, &mut progress, &stop)
    });
    let exported = settled(work.await);
    watch.abort();
    bar.finish_and_clear();
    let exported = exported??;
    let refused = exported.refused.into_iter().map(|(receipt, why)| Refused { receipt, why }).collect();
    let shown = Exported { folder: args.folder, receipts: exported.receipts, own: exported.own, refused };
    let exit = if shown.refused.is_empty() { Exit::Done } else { Exit::Refused };
    out.one(&shown, |shown| {
        let line = |one: &Refused| format!("\nNOT EXPORTED: receipt {}: {}", one.receipt, one.why);
        let refused = shown.refused.iter().map(line).collect::<Vec<_>>().concat();
        format!("{} receipts and {} entries of ours in {}.{refused}", shown.receipts, shown.own, shown.folder.display())
    })?;
    Ok(exit)
}

/// What came of a partner's receipts.
#[derive(Serialize)]
struct OfPartner {
    partner: Ori,
    #[serde(flatten)]
    came: Renewed,
}

async fn renew(place: &Place, args: Renew, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    if let Some(peer) = args.peer
        && node.partners().find(peer).is_none()
    {
        let hint = "`concordat peer list` shows the partners".to_owned();
        return Err(Problem::usage(format!("{peer} is not enrolled here"), Some(hint)));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let bar = ProgressBar::new_spinner();
    let progress = |done: u64| bar.set_message(format!("{done} receipts"));
    let renewed = renewing::renew(&node, args.peer, &progress, &stop).await;
    watch.abort();
    bar.finish_and_clear();
    let items: Vec<OfPartner> = renewed?.into_iter().map(|(partner, came)| OfPartner { partner, came }).collect();
    out.list(
        &["partner", "renewed", "had one", "past epoch", "not cosigned yet", "do not verify", "what hinders"],
        &items,
        |item| {
            vec![
                item.partner.to_string(),
                item.came.renewed.to_string(),
                item.came.had.to_string(),
                item.came.past.to_string(),
                item.came.waiting.to_string(),
                item.came.refused.len().to_string(),
                item.came.pending.clone().unwrap_or_default(),
            ]
        },
    )?;
    let is = |wrong: fn(&Renewed) -> bool| items.iter().any(|item| wrong(&item.came));
    Ok(match (is(|came| !came.refused.is_empty()), is(|came| came.pending.is_some())) {
        (true, _) => Exit::Refused,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Done,
    })
}

/// A receipt that was looked at.
#[derive(Serialize)]
struct Looked {
    file: PathBuf,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witnessed: Option<Instant>,
}

fn verify(args: Verify, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let policy = args.policy.map(|path| {
        let bytes = std::fs::read(&path).map_err(|why| receipts::FileError { path, why })?;
        Ok::<_, Problem>(Policy::parse(&bytes)?)
    });
    let demands = Demands { logs: args.log_key, policy: policy.transpose()? };
    let files = receipts::proofs(&args.files)?;
    if files.is_empty() {
        let hint = "name .tlog-proof files, or a folder that has some".to_owned();
        return Err(Problem::usage("there are no receipts in what was named", Some(hint)));
    }
    let items: Vec<Looked> = files.into_iter().map(|file| looked(file, &demands)).collect();
    out.list(&["file", "log", "entry", "at", "kind", "leaf", "answers", "verified"], &items, |item| {
        let verified = match (&item.why, item.witnessed) {
            (Some(why), _) => format!("NO: {why}"),
            (None, Some(at)) => format!("yes, witnessed by {}", local::shown(at)),
            (None, None) => "yes".to_owned(),
        };
        vec![
            item.file.display().to_string(),
            item.log.clone().unwrap_or_default(),
            item.index.map(|index| index.to_string()).unwrap_or_default(),
            item.at.map(local::shown).unwrap_or_default(),
            item.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            item.leaf.map(|leaf| leaf.to_string()).unwrap_or_default(),
            item.answers.map(|leaf| leaf.to_string()).unwrap_or_default(),
            verified,
        ]
    })?;
    Ok(if items.iter().all(|item| item.verified) { Exit::Done } else { Exit::Refused })
}

fn looked(file: PathBuf, demands: &Demands) -> Looked {
    let parts = Parts::read(&file);
    let log = parts.as_ref().ok().map(|parts| parts.vkey.to_string());
    let proven = parts.and_then(|parts| parts.verify(demands));
    let why = proven.as_ref().err().map(ToString::to_string);
    let (mut index, mut rid, mut kind, mut at, mut leaf, mut answers, mut witnessed) = Default::default();
    if let Ok(Proven { leaf: said, hash, included, answers: names, witnessed: since }) = proven {
        (index, rid, kind, at) = (Some(included.index), Some(said.rid), Some(said.kind), Some(said.at));
        (leaf, answers, witnessed) = (Some(hash), names, since);
    }
    Looked { file, verified: why.is_none(), why, log, index, rid, kind, at, leaf, answers, witnessed }
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

async fn list(place: &Place, args: Listed, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Some(user) = args.user else {
        let hint = "name the account of who looks: --as USER".to_owned();
        return Err(Problem::usage(
            "receipts say who asked whom, and looking at them is recorded (VIII-03)",
            Some(hint),
        ));
    };
    let db = place.registry()?;
    let kept = auditing::receipts(&db, args.of, MAX_RECEIPTS, &user).await?;
    let mut conn = db.reader()?;
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
