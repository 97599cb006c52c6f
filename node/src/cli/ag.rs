//! `concordat ag`: the register of the Attorney General's findings, and the checks of its sources (V-31).

use agreements::ids::{Digest, Ori};
use agreements::register::{AgCheck, Finding, FindingKind};
use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::{Deserialize as _, Serialize};
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::people;
use crate::registry::ag;

/// Keep the register of the Attorney General's findings.
#[derive(Debug, Subcommand)]
pub enum AgCommand {
    /// Enter a finding. It counts at the next request: nothing flows with that agency any more
    #[command(
        after_help = "Example:\n  concordat ag find CA0990100 --kind letter_reported --citation \"oag.ca.gov, letter of 2026-11-20\" \\\n      --on 2026-11-20 --as alder.agreements\n\nKinds: named_in_suit, letter_reported, self_disclosed."
    )]
    Find(Find),
    /// Enter that an agency's finding no longer stands
    #[command(
        after_help = "Example:\n  concordat ag clear CA0990100 --citation \"oag.ca.gov, case closed\" --on 2026-12-01 \\\n      --as alder.agreements"
    )]
    Clear(Clear),
    /// Record a sweep over the sources, made now; it covers every partner
    #[command(
        after_help = "Example:\n  concordat ag check --source \"oag.ca.gov press releases\" --source \"oag.ca.gov SB 34 letters\" \\\n      --result \"no partner is named\" --as alder.agreements\n\nSigning needs a check of the last 30 days, being in force one of the last 90."
    )]
    Check(Check),
    /// Show findings and checks
    #[command(after_help = "Example:\n  concordat ag list")]
    List,
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
    person: As,
}

/// Where a finding stands.
#[derive(Debug, Args)]
pub struct Written {
    /// Where it stands written
    #[arg(long)]
    citation: String,
    /// The date of the finding
    #[arg(long, value_parser = local::date)]
    on: Date,
    /// SHA-256 of the document, where there is one
    #[arg(long, value_name = "SHA256")]
    document: Option<Digest>,
}

/// Arguments of `ag check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A source that was looked at; may be repeated
    #[arg(long = "source", required = true)]
    sources: Vec<String>,
    /// What was found, in words
    #[arg(long)]
    result: String,
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
        Err(_) => Err("the kinds are named_in_suit, letter_reported, self_disclosed".to_owned()),
    }
}

pub(super) async fn run(place: &Place, command: AgCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        AgCommand::Find(Find { ori, kind, written, person }) => {
            enter(place, ori, kind, written, &person).await?;
            out.one(&json!({"found": ori}), |_| {
                format!(
                    "Entered: nothing flows with {ori} from now on. `concordat agreement list` shows what it touches."
                )
            })?;
        }
        AgCommand::Clear(Clear { ori, written, person }) => {
            enter(place, ori, FindingKind::Cleared, written, &person).await?;
            out.one(&json!({"cleared": ori}), |_| format!("Entered: {ori} is cleared."))?;
        }
        AgCommand::Check(Check { sources, result, person }) => {
            let db = place.registry()?;
            let at = people::enter_check(&db, sources, result, &person.user).await?;
            out.one(&json!({"checked_at": at}), |_| format!("Recorded the check of {}.", local::shown(at)))?;
        }
        AgCommand::List => list(place, out)?,
    }
    Ok(Exit::Done)
}

async fn enter(place: &Place, ori: Ori, kind: FindingKind, written: Written, person: &As) -> Result<(), Problem> {
    let Written { citation, on, document } = written;
    let finding = Finding { ori, kind, citation, document, on, entered_by: person.user.clone() };
    Ok(people::enter_finding(&place.registry()?, finding, &person.user).await?)
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<(), Problem> {
    let mut conn = place.registry()?.reader()?;
    let kept = Kept { findings: ag::findings(&mut conn)?, checks: ag::checks(&mut conn)? };
    if !out.is_for_people() {
        return Ok(out.one(&kept, |_| String::new())?);
    }
    out.list(&["agency", "finding", "on", "citation", "entered by"], &kept.findings, |finding| {
        let kind = serde_json::to_value(finding.kind).ok();
        vec![
            finding.ori.to_string(),
            kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
            finding.on.to_string(),
            finding.citation.clone(),
            finding.entered_by.clone(),
        ]
    })?;
    Ok(out.list(&["checked", "by", "sources", "result"], &kept.checks, |check| {
        vec![local::shown(check.at), check.by.clone(), check.sources.join("; "), check.result.clone()]
    })?)
}
