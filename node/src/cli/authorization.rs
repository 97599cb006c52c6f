//! `concordat authorization`: what the custodian authorized once for all (V-16).

use std::collections::BTreeMap;

use agreements::authorization::Authorized;
use agreements::ids::AgreementId;
use agreements::status::Status;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::change::{self, Propose};
use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::changes::{Command, authorizing};
use crate::exchange::lifecycle;

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
    /// Whether it counts now.
    live: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<String>,
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
    let mut conn = place.registry()?.reader()?;
    let statuses: BTreeMap<AgreementId, Status> =
        lifecycle::list(&mut conn, now)?.into_iter().map(|(found, status)| (found.agreement.id, status)).collect();
    let shown = |Authorized { agreement, grants, expires_at, .. }: Authorized| {
        let over = match statuses.get(&agreement) {
            _ if now >= expires_at => Some("it ended by itself".to_owned()),
            // No question comes under it any more, whatever was authorized.
            Some(status @ (Status::Ended { .. } | Status::Sunset { .. } | Status::Superseded { .. })) => {
                Some(format!("the agreement is over: {}", status.says()))
            }
            Some(_) => None,
            None => Some("the agreement counts for nothing: run `concordat doctor`".to_owned()),
        };
        Shown {
            agreement,
            grants: grants.len(),
            recipients: grants.iter().map(|grant| grant.recipient.to_string()).collect(),
            expires_at,
            live: over.is_none(),
            over,
        }
    };
    let items: Vec<Shown> = authorizing::all(&mut conn)?.into_iter().map(shown).collect();
    out.list(&["agreement", "recipients", "until", "live"], &items, |item| {
        vec![
            item.agreement.to_string(),
            item.recipients.join(", "),
            local::shown(item.expires_at),
            item.over.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
        ]
    })?;
    Ok(Exit::Done)
}
