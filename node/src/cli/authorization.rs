//! `concordat authorization`: what the custodian authorized once for all (V-16).

use agreements::authorization::Authorized;
use agreements::ids::AgreementId;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::change::{self, Propose};
use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::changes::{Command, authorizing};

/// See, give and take back the custodian's standing authorizations.
#[derive(Debug, Subcommand)]
pub enum AuthorizationCommand {
    /// Show what is authorized once for all, until when
    #[command(after_help = "Example:\n  concordat authorization list")]
    List,
    /// Propose to authorize again what an agreement grants once for all; signing it does so the first time
    #[command(
        after_help = "Example:\n  concordat authorization give 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"the review found nothing\" --as alder.agreements"
    )]
    Give(Give),
    /// Take it back, as the custodian: each question waits for the custodian from now on
    #[command(
        name = "take-back",
        after_help = "Example:\n  concordat authorization take-back 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"questions without a case number\" --as alder.custodian"
    )]
    TakeBack(TakeBack),
}

/// Arguments of `authorization give`.
#[derive(Debug, Args)]
pub struct Give {
    /// The agreement's id
    id: AgreementId,
    #[command(flatten)]
    propose: Propose,
}

/// Arguments of `authorization take-back`.
#[derive(Debug, Args)]
pub struct TakeBack {
    /// The agreement's id
    id: AgreementId,
    /// Why, in two words or more
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Shown {
    agreement: AgreementId,
    grants: usize,
    recipients: Vec<String>,
    expires_at: Instant,
    live: bool,
}

pub(super) async fn run(place: &Place, command: AuthorizationCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        AuthorizationCommand::List => list(place, out),
        AuthorizationCommand::Give(Give { id, propose }) => {
            change::propose(place, Command::Authorize { agreement: id }, propose, out).await
        }
        AuthorizationCommand::TakeBack(TakeBack { id, reason, person }) => {
            authorizing::take_back(&*place.node()?, id, &person.user, &reason).await?;
            out.one(&json!({"agreement": id, "authorized": false}), |_| {
                format!(
                    "Taken back. Questions under agreement {id} wait for the custodian from now on; two people can give it again: \
                     concordat authorization give {id}"
                )
            })?;
            Ok(Exit::Done)
        }
    }
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let now = place.now();
    let all = authorizing::all(&mut place.registry()?.reader()?)?;
    let items: Vec<Shown> = all
        .into_iter()
        .map(|Authorized { agreement, grants, expires_at, .. }| Shown {
            agreement,
            grants: grants.len(),
            recipients: grants.iter().map(|grant| grant.recipient.to_string()).collect(),
            expires_at,
            live: now < expires_at,
        })
        .collect();
    out.list(&["agreement", "recipients", "until", "live"], &items, |item| {
        vec![
            item.agreement.to_string(),
            item.recipients.join(", "),
            local::shown(item.expires_at),
            if item.live { "yes" } else { "no" }.to_owned(),
        ]
    })?;
    Ok(Exit::Done)
}
