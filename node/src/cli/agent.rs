//! `concordat agent`: which readers' agents may post what they read.

use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::intake::agents as service;
use crate::registry::agents::{self, Agent};

/// Let readers' agents post what they read, and stop them.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Make the token of an agent. It is shown this once
    #[command(
        after_help = "Example:\n  concordat agent add 5f0c2d5e-ALPRD-1 --as alder.admin\n\nThe agent sends it with every message, as `Authorization: Bearer TOKEN` or `X-Api-Key: TOKEN`, to POST /rekor at the address in ingest.webhook of concordat.toml. UID is the `agent_uid` of its messages; others are refused."
    )]
    Add(Named),
    /// Show the agents, and when each last sent something
    #[command(after_help = "Example:\n  concordat agent list")]
    List,
    /// End an agent's token: its next message is refused
    #[command(after_help = "Example:\n  concordat agent revoke 5f0c2d5e-ALPRD-1 --as alder.admin")]
    Revoke(Named),
}

/// Arguments of `agent add` and `agent revoke`.
#[derive(Debug, Args)]
pub struct Named {
    /// The agent's id: `agent_uid` of its messages
    uid: String,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Listed {
    uid: String,
    key: String,
    added_at: Instant,
    added_by: String,
    heard_at: Option<Instant>,
    revoked_at: Option<Instant>,
    revoked_by: Option<String>,
}

pub(super) async fn run(place: &Place, command: AgentCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    match command {
        AgentCommand::Add(Named { uid, person }) => {
            let token = service::add(&db, &uid, &person.user).await?;
            let door = match config.ingest.webhook.listen {
                Some(listen) => format!("It posts to {listen}, path /rekor."),
                None => "No door for agents is open yet: set ingest.webhook.listen in concordat.toml.".to_owned(),
            };
            out.one(&json!({"agent": uid, "token": token.expose()}), |_| {
                format!(
                    "The token of {uid}; it is shown this once, and only its digest is kept:\n{}\n{door}",
                    token.expose()
                )
            })?;
        }
        AgentCommand::Revoke(Named { uid, person }) => {
            service::revoke(&db, &uid, &person.user).await?;
            out.one(&json!({"revoked": uid}), |_| format!("Ended the token of {uid}."))?;
        }
        AgentCommand::List => {
            let items: Vec<Listed> = agents::all(&mut db.reader()?)?.into_iter().map(listed).collect();
            let headers = ["agent", "key", "added", "by", "last heard", "revoked"];
            out.list(&headers, &items, |item| {
                vec![
                    item.uid.clone(),
                    item.key.clone(),
                    local::shown(item.added_at),
                    item.added_by.clone(),
                    item.heard_at.map(local::shown).unwrap_or_default(),
                    item.revoked_at.map(local::shown).unwrap_or_default(),
                ]
            })?;
        }
    }
    Ok(Exit::Done)
}

fn listed(agent: Agent) -> Listed {
    let Agent { key, uid, added_at, added_by, revoked, heard_at, .. } = agent;
    let (revoked_at, revoked_by) = revoked.unzip();
    Listed { uid, key, added_at, added_by, heard_at, revoked_at, revoked_by }
}
