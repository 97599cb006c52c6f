//! `concordat ag`: the register of the Attorney General's findings, and the checks of its sources (V-31).

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use agreements::ids::{Digest, Ori, RequestId};
use agreements::register::{AgCheck, CheckResult, Finding, FindingKind};
use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::{Deserialize as _, Serialize};
use serde_json::json;

use super::change::{self, Propose};
use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::changes::Command;
use crate::compliance::bundle::{self, Changes, Vouched};
use crate::compliance::{self, Keeper, Sweep};
use crate::evidence::Evidence;
use crate::exchange::partner::Partners;
use crate::keyfile;
use crate::registry::ag;

/// Keep the register of the Attorney General's findings.
#[derive(Debug, Subcommand)]
pub enum AgCommand {
    /// Enter a finding. It counts at the next request: nothing flows with that agency any more
    #[command(
        after_help = "Example:\n  concordat ag find CA0990100 --kind letter_reported --citation \"oag.ca.gov, letter of 2026-11-20\" \\\n      --on 2026-11-20 --evidence letter.pdf --as alder.agreements\n\nKinds: named_in_suit, letter_reported, self_disclosed, disputed. A disputed finding counts until it is cleared."
    )]
    Find(Find),
    /// Propose that a finding no longer stands, with the file that shows it; a second person approves
    #[command(
        after_help = "Example:\n  concordat ag clear CA0990100 --citation \"oag.ca.gov, case closed\" --on 2026-12-01 \\\n      --evidence closed.pdf --reason \"the court dismissed the suit\" --as alder.agreements\n\nOne clearing clears one finding, never one of a later date. It counts when `concordat change approve` has carried it out; nothing flows to that agency before the early review that the finding opened is closed: `concordat review list`."
    )]
    Clear(Clear),
    /// Record a sweep over the sources, made now; it covers every partner
    #[command(
        after_help = "Example:\n  concordat ag check --source \"oag.ca.gov press releases\" --source \"oag.ca.gov SB 34 letters\" \\\n      --result none --evidence releases.pdf --as alder.agreements\n\nResults: none (no partner is named), named (each that is named was entered with `concordat ag find` before). Signing needs a check of the last 30 days, being in force one of the last 90."
    )]
    Check(Check),
    /// Show findings and checks
    #[command(after_help = "Example:\n  concordat ag list")]
    List,
    /// Write the register with its evidence to a file that another agency can verify and take in
    #[command(after_help = "Example:\n  concordat ag export --out alder.register.json --as alder.agreements")]
    Export(Export),
    /// Show what another agency's register would change here, and change it with --apply
    #[command(
        after_help = "Examples:\n  concordat ag import birch.register.json --as alder.agreements\n  concordat ag import birch.register.json --as alder.agreements --apply\n\nFindings are taken over. That only stops exchanges, so it takes one person. A clearing is only shown: somebody here looks into it and proposes it with `concordat ag clear`, which a second person approves."
    )]
    Import(Import),
    /// Look at a file that is kept as evidence
    #[command(
        subcommand,
        after_help = "Example:\n  concordat ag evidence show 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    Evidence(EvidenceCommand),
}

/// Evidence.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Write it to a file or to standard output, after it was compared with its hash
    #[command(
        after_help = "Example:\n  concordat ag evidence show 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 \\\n      --out letter.pdf"
    )]
    Show(Show),
}

/// Arguments of `ag evidence show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Its SHA-256
    sha256: Digest,
    /// Where to write it; standard output when absent
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Arguments of `ag find`.
#[derive(Debug, Args)]
pub struct Find {
    /// The agency
    ori: Ori,
    /// What was found
    #[arg(long, value_parser = finding_kind)]
    kind: FindingKind,
    #[command(flatten)]
    written: Written,
    #[command(flatten)]
    person: As,
}

/// Arguments of `ag clear`.
#[derive(Debug, Args)]
pub struct Clear {
    /// The agency
    ori: Ori,
    #[command(flatten)]
    written: Written,
    #[command(flatten)]
    propose: Propose,
}

/// Where a finding stands.
#[derive(Debug, Args)]
pub struct Written {
    /// Where it stands written
    #[arg(long)]
    citation: String,
    /// The date of the finding, or of what clears it
    #[arg(long, value_parser = local::date)]
    on: Date,
    /// SHA-256 of the document, where there is one
    #[arg(long, value_name = "SHA256")]
    document: Option<Digest>,
    /// A file that shows it, kept under its SHA-256; may be repeated
    #[arg(long = "evidence", value_name = "FILE")]
    evidence: Vec<PathBuf>,
}

/// Arguments of `ag check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A source that was looked at; may be repeated
    #[arg(long = "source", required = true)]
    sources: Vec<String>,
    /// Whether they name a partner: none or named
    #[arg(long)]
    result: CheckResult,
    /// What else there is to say
    #[arg(long)]
    note: Option<String>,
    /// A file that shows it, kept under its SHA-256; may be repeated
    #[arg(long = "evidence", value_name = "FILE")]
    evidence: Vec<PathBuf>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `ag export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Where to write it
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    person: As,
}

/// Arguments of `ag import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The file that the other agency's `concordat ag export` wrote
    file: PathBuf,
    /// Change the register; without it, what would change is only shown
    #[arg(long)]
    apply: bool,
    /// The descriptor of an agency that is not enrolled here
    #[arg(long, value_name = "FILE", requires = "fingerprint")]
    descriptor: Option<PathBuf>,
    /// Its fingerprint, as that agency read it out on a number known from elsewhere
    #[arg(long, requires = "descriptor")]
    fingerprint: Option<String>,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Kept {
    findings: Vec<Finding>,
    checks: Vec<AgCheck>,
}

fn finding_kind(text: &str) -> Result<FindingKind, String> {
    use serde::de::IntoDeserializer as _;
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    match FindingKind::deserialize(text) {
        Ok(FindingKind::Cleared) => Err("a finding is cleared with `concordat ag clear`".to_owned()),
        Ok(kind) => Ok(kind),
        Err(_) => Err("the kinds are named_in_suit, letter_reported, self_disclosed, disputed".to_owned()),
    }
}

pub(super) async fn run(place: &Place, command: AgCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        AgCommand::Find(args) => find(place, args, out).await?,
        AgCommand::Clear(args) => return clear(place, args, out).await,
        AgCommand::Check(args) => check(place, args, out).await?,
        AgCommand::List => list(place, out)?,
        AgCommand::Export(args) => export(place, args, out).await?,
        AgCommand::Import(args) => import(place, args, out).await?,
        AgCommand::Evidence(EvidenceCommand::Show(args)) => show(place, args, out).await?,
    }
    Ok(Exit::Done)
}

impl Written {
    /// With its files kept as evidence.
    async fn kept(self, evidence: &Evidence) -> Result<compliance::Written, Problem> {
        let Self { citation, on, document, evidence: files } = self;
        Ok(compliance::Written { citation, on, document, evidence: evidence.keep_files(&files).await? })
    }
}

async fn find(place: &Place, args: Find, out: &mut Output<'_>) -> Result<(), Problem> {
    let Find { ori, kind, written, person } = args;
    let config = place.config()?;
    let finding = compliance::finding(ori, kind, written.kept(&Evidence::of(&config)?).await?);
    let ours = config.agency.ori;
    let (db, keeper) = (place.registry_of(&config)?, Keeper::of(&config)?);
    let review = compliance::enter_finding(&db, &keeper, finding, &person.user).await?;
    Ok(out.one(&json!({"found": ori, "review": review}), |_| entered(ori, ours, kind, review))?)
}

/// What follows from a finding that was entered.
fn entered(ori: Ori, ours: Ori, kind: FindingKind, review: Option<RequestId>) -> String {
    if ori == ours {
        return format!(
            "Entered: it is about this agency itself, {ori}, so nothing flows under any of its agreements from now on, as far as \
             this node is asked. No early review was opened: partners review it, each by itself."
        );
    }
    let stops = format!("Entered: nothing flows with {ori} from now on");
    let shows = "`concordat agreement list` shows what it touches.";
    match review {
        Some(review) => format!("{stops}, and an early review of it is open: concordat review show {review}\n{shows}"),
        None if kind == FindingKind::Disputed => {
            format!("{stops}. It disputes what stands already, of which an early review is open.\n{shows}")
        }
        None => format!("{stops}.\n{shows}"),
    }
}

async fn clear(place: &Place, args: Clear, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Clear { ori, written, propose } = args;
    let node = place.node()?;
    let written = written.kept(&Evidence::of(node.config())?).await?;
    change::propose_at(&node, Command::ClearFinding { ori, written }, propose, out).await
}

async fn check(place: &Place, args: Check, out: &mut Output<'_>) -> Result<(), Problem> {
    let Check { sources, result, note, evidence, person } = args;
    let config = place.config()?;
    let evidence = Evidence::of(&config)?.keep_files(&evidence).await?;
    let (db, keeper) = (place.registry_of(&config)?, Keeper::of(&config)?);
    let sweep = Sweep { sources, result, note, evidence };
    let at = compliance::enter_check(&db, &keeper, sweep, &person.user).await?;
    Ok(out.one(&json!({"checked_at": at}), |_| format!("Recorded the check of {}.", local::shown(at)))?)
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<(), Problem> {
    let mut conn = place.registry()?.reader()?;
    let kept = Kept { findings: ag::findings(&mut conn)?, checks: ag::checks(&mut conn)? };
    if !out.is_for_people() {
        return Ok(out.one(&kept, |_| String::new())?);
    }
    let headers = ["agency", "finding", "on", "citation", "evidence", "entered by"];
    out.list(&headers, &kept.findings, |finding| {
        let from = finding.from.map(|from| format!(", from the register of {from}")).unwrap_or_default();
        let second = finding.approved_by.as_ref().map(|second| format!(" and {second}")).unwrap_or_default();
        vec![
            finding.ori.to_string(),
            finding.kind.as_str().to_owned(),
            finding.on.to_string(),
            finding.citation.clone(),
            files(&finding.evidence),
            format!("{}{second}{from}", finding.entered_by),
        ]
    })?;
    Ok(out.list(&["checked", "by", "sources", "result", "note", "evidence"], &kept.checks, |check| {
        vec![
            local::shown(check.at),
            check.by.clone(),
            check.sources.join("; "),
            check.result.to_string(),
            check.note.clone().unwrap_or_default(),
            files(&check.evidence),
        ]
    })?)
}

/// Files by their hashes.
pub(super) fn files(digests: &[Digest]) -> String {
    digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(" ")
}

async fn show(place: &Place, args: Show, out: &mut Output<'_>) -> Result<(), Problem> {
    let bytes = Evidence::of(&place.config()?)?.read(args.sha256).await?;
    match args.out {
        Some(path) => {
            keyfile::write_public(&path, &bytes)?;
            let shown = json!({"sha256": args.sha256, "file": path, "bytes": bytes.len()});
            Ok(out.one(&shown, |_| format!("Wrote {}: {} bytes.", path.display(), bytes.len()))?)
        }
        None if out.is_for_people() => Ok(out.writer().write_all(&bytes)?),
        None => Ok(out.one(&json!({"sha256": args.sha256, "bytes": bytes.len()}), |_| String::new())?),
    }
}

async fn export(place: &Place, args: Export, out: &mut Output<'_>) -> Result<(), Problem> {
    let config = place.config()?;
    let (db, keeper, evidence) = (place.registry_of(&config)?, Keeper::of(&config)?, Evidence::of(&config)?);
    let exported = bundle::export(&db, &keeper, &evidence, place.now(), &args.person.user).await?;
    keyfile::write_public(&args.out, &exported.file)?;
    Ok(out.one(&exported, |exported| {
        format!(
            "Wrote {}: {} findings, {} checks, {} files of evidence.\nThere: concordat ag import FILE --as USER",
            args.out.display(),
            exported.findings,
            exported.checks,
            exported.evidence
        )
    })?)
}

#[derive(Serialize)]
struct Shown {
    applied: bool,
    #[serde(flatten)]
    changes: Changes,
}

async fn import(place: &Place, args: Import, out: &mut Output<'_>) -> Result<(), Problem> {
    let config = place.config()?;
    let file = bundle_of(&args.file)?;
    let (db, keeper, evidence) = (place.registry_of(&config)?, Keeper::of(&config)?, Evidence::of(&config)?);
    let partners = Partners::load(&mut db.reader()?)?;
    let descriptor = args.descriptor.as_ref().map(fs::read).transpose()?;
    let vouched = descriptor.as_ref().zip(args.fingerprint.as_ref());
    let vouched = vouched.map(|(file, fingerprint)| Vouched { file, fingerprint });
    let received = bundle::read(&file, keeper.ours, |ori| partners.find(ori).cloned(), vouched)?;
    let changes = if args.apply {
        bundle::import(&db, &keeper, &evidence, received, &args.person.user).await?
    } else {
        received.changes(&mut db.reader()?)?.map_err(|what| Problem::failure(what, None))?
    };
    Ok(out.one(&Shown { applied: args.apply, changes }, said)?)
}

fn bundle_of(path: &PathBuf) -> Result<Vec<u8>, Problem> {
    let cannot = |error| Problem::failure(format!("cannot read {}: {error}", path.display()), None);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(cannot)?.take(bundle::MAX_BUNDLE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > bundle::MAX_BUNDLE {
        let why = format!("{} is longer than {} MiB", path.display(), bundle::MAX_BUNDLE >> 20);
        return Err(Problem::refused(why, None));
    }
    Ok(bytes.trim_ascii_end().to_vec())
}

fn said(shown: &Shown) -> String {
    let Shown { applied, changes } = shown;
    let one = |mark: &str, finding: &Finding| {
        let Finding { ori, kind, citation, on, .. } = finding;
        format!("{mark} {ori}  {}  {on}  {citation}", kind.as_str())
    };
    let mut lines = vec![format!("The register of {} as of {}", changes.from, local::shown(changes.made_at))];
    let checked = changes.checks.iter().map(|check| check.at).max();
    lines.extend(
        checked.map(|at| format!("It was last checked there at {}; that is no check of ours.", local::shown(at))),
    );
    lines.extend(changes.adverse.iter().map(|finding| one("+", finding)));
    lines.extend(changes.proposals.iter().map(|finding| one("?", finding)));
    lines.push(format!("{} findings are known here already or clear nothing that stands.", changes.known));
    if !changes.proposals.is_empty() {
        lines.push(
            "What is marked ? was cleared there. Nothing is cleared here by that: look into each, and propose it with your \
             own file: concordat ag clear ORI --citation WHERE --on DATE --evidence FILE --reason WHY --as USER"
                .to_owned(),
        );
    }
    lines.push(match (applied, changes.adverse.len()) {
        (true, count) => format!("Taken over: {count} findings. With whom they name nothing flows from now on."),
        (false, 0) => {
            "With --apply its evidence is kept and the import recorded; nothing else would change.".to_owned()
        }
        (false, count) => format!("Nothing was changed. With --apply the {count} findings marked + are taken over."),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_finding_did_is_said_as_it_is() {
        let (ours, theirs): (Ori, Ori) = ("CA0990000".parse().unwrap(), "CA0990100".parse().unwrap());
        let review = RequestId::new(agreements::time::Instant::from_micros(1_800_000_000_000_000), [1; 10]);
        let own = entered(ours, ours, FindingKind::SelfDisclosed, None);
        assert!(own.contains("No early review was opened") && own.contains("this agency itself"), "{own}");
        let named = entered(theirs, ours, FindingKind::NamedInSuit, Some(review));
        assert!(named.contains(&format!("concordat review show {review}")), "{named}");
        let disputed = entered(theirs, ours, FindingKind::Disputed, None);
        assert!(
            disputed.contains("It disputes what stands already") && !disputed.contains("review show"),
            "{disputed}"
        );
    }
}
