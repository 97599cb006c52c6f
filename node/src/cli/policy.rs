//! `concordat policy`: partners' published policies, read again and compared.

use std::fmt::Write as _;

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::change::{self, Propose};
use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::changes::Command;
use crate::compliance::policies::{self as service, Looked};
use crate::registry::agencies;
use crate::registry::policies::{self, Outcome, Standing};

/// Read partners' published policies again.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Fetch the policy of a partner, or of all, and compare it with the text that was accepted
    #[command(
        after_help = "Examples:\n  concordat policy check --as alder.agreements\n  concordat policy check CA0990100 --as alder.agreements\n\nThe node does so by itself each month. A text that changed opens an early review; so does one that cannot be read on three days in a row."
    )]
    Check(Check),
    /// Show where each partner's policy stands
    #[command(after_help = "Example:\n  concordat policy list")]
    List,
    /// Show how a published text differs from the accepted one; with --text, propose to accept it
    #[command(
        after_help = "Examples:\n  concordat policy accept CA0990100\n  concordat policy accept CA0990100 --as alder.agreements --reason \"a phone number changed\" \\\n    --text 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n\nIt counts when a second person, who has seen the difference too, has approved it: `concordat change approve`."
    )]
    Accept(Accept),
}

/// Arguments of `policy check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The partner; all of them when absent
    ori: Option<Ori>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `policy accept`.
#[derive(Debug, Args)]
pub struct Accept {
    /// The partner
    ori: Ori,
    /// SHA-256 of the text that you saw and accept
    #[arg(long, value_name = "SHA256", requires_all = ["user", "reason"])]
    text: Option<Digest>,
    /// The account of the person who acts
    #[arg(long = "as", value_name = "USER", env = "CONCORDAT_USER", hide_env_values = true)]
    user: Option<String>,
    /// Why, in two words or more
    #[arg(long, requires = "text")]
    reason: Option<String>,
    /// The effective date, or a time with its zone; when it is approved, if absent
    #[arg(long, value_name = "WHEN", value_parser = local::instant, requires = "text")]
    from: Option<Instant>,
}

#[derive(Serialize)]
struct Listed {
    ori: Ori,
    name: String,
    url: String,
    /// The elements A-G that it lacks.
    missing: String,
    #[serde(flatten)]
    standing: Standing,
}

pub(super) async fn run(place: &Place, command: PolicyCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        PolicyCommand::Check(args) => check(place, args, out).await?,
        PolicyCommand::List => list(place, out)?,
        PolicyCommand::Accept(args) => return accept(place, args, out).await,
    }
    Ok(Exit::Done)
}

async fn check(place: &Place, args: Check, out: &mut Output<'_>) -> Result<(), Problem> {
    let node = place.node()?;
    let partners = node.partners();
    let mut chosen: Vec<_> =
        partners.all().filter(|partner| args.ori.is_none_or(|ori| partner.ori() == ori)).cloned().collect();
    chosen.sort_unstable_by_key(|partner| partner.ori());
    if let Some(ori) = args.ori.filter(|_| chosen.is_empty()) {
        let hint = "`concordat peer list` shows the partners".to_owned();
        return Err(Problem::refused(format!("{ori} is not enrolled"), Some(hint)));
    }
    let mut looked = Vec::with_capacity(chosen.len());
    for partner in chosen {
        looked.push(service::check(&node, partner.party(), Some(&args.person.user)).await?);
    }
    Ok(out.list(&["partner", "policy", "outcome", "review"], &looked, |looked: &Looked| {
        vec![
            looked.ori.to_string(),
            looked.url.clone(),
            said(&looked.outcome),
            looked.review.map(|id| id.to_string()).unwrap_or_default(),
        ]
    })?)
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unreachable { why } => format!("unreachable: {why}"),
        other => other.name().to_owned(),
    }
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<(), Problem> {
    let mut conn = place.registry()?.reader()?;
    let mut standings = policies::standings(&mut conn)?;
    let listed = agencies::all(&mut conn)?.into_iter().map(|enrolled| Listed {
        ori: enrolled.party.ori,
        missing: enrolled.party.policy.elements.missing().into_iter().collect(),
        standing: standings.remove(&enrolled.party.ori).unwrap_or_default(),
        name: enrolled.party.legal_name,
        url: enrolled.party.policy.url,
    });
    let listed: Vec<Listed> = listed.collect();
    out.list(&["partner", "agency", "policy", "read", "stands", "lacks"], &listed, |one| {
        vec![
            one.ori.to_string(),
            one.name.clone(),
            one.url.clone(),
            one.standing.read_at.map_or_else(|| "never".to_owned(), local::shown),
            one.standing.last.as_ref().map(said).unwrap_or_default(),
            one.missing.clone(),
        ]
    })?;
    Ok(())
}

async fn accept(place: &Place, args: Accept, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let Accept { ori, text, user, reason, from } = args;
    if let (Some(text), Some(user), Some(reason)) = (text, user, reason) {
        let propose = Propose { reason, from, person: As { user } };
        return change::propose_at(&node, Command::AcceptPolicy { ori, text }, propose, out).await;
    }
    let Some(difference) = service::difference(&node, ori).await? else {
        let why = format!("there is nothing to accept: no other text of {ori} was read than the one that counts");
        return Err(Problem::refused(why, Some(format!("`concordat policy check {ori}` reads it again"))));
    };
    out.one(&difference, |difference| {
        let mut text = difference.lines.join("\n");
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n\nTo accept it: concordat policy accept {ori} --text {} --reason WHY --as USER",
            difference.published
        );
        text
    })?;
    Ok(Exit::Done)
}
