//! `concordat trail epoch`: when this node's registry was restored from a backup.

use agreements::ids::AgreementId;
use agreements::status::Status;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::changes::{self, ChangeId, Command};
use crate::cli::change::{self, Propose};
use crate::cli::exit::Exit;
use crate::cli::place::{As, Place};
use crate::cli::{Output, Problem};
use crate::epoch::{self, Opened};
use crate::exchange::lifecycle::Apart;
use crate::node::Node;
use crate::publishing::{self, Lost};

/// Go on after the registry was restored from a backup.
#[derive(Debug, Subcommand)]
pub enum EpochCommand {
    /// Show whether the registry was restored from a backup, and which epochs there were. Asks the witnesses
    #[command(
        after_help = "Example:\n  concordat trail epoch show\n\nExit code 1 while the registry lacks entries that a witness knows: nothing is exchanged then."
    )]
    Show,
    /// Propose a new epoch, which names the last head that a witness knows
    #[command(
        after_help = "Example:\n  concordat trail epoch propose --as alder.agreements \\\n      --reason \"the disk failed, yesterday's backup was restored\"\n\nPut back a newer backup first if there is one: what is lost between the backup and now stays lost, but for what partners give back."
    )]
    Propose(Reason),
    /// Approve a new epoch that somebody else proposed, and take back from partners what was said to them
    #[command(
        after_help = "Example:\n  concordat trail epoch approve 01940a2b-0000-7000-8000-000000000001 --as alder.custodian\n\nOf the two, one has to be the custodian. Every agreement is suspended by this agency afterwards: look at each, and resume it (concordat agreement resume)."
    )]
    Approve(Decide),
}

/// Arguments of `trail epoch propose`.
#[derive(Debug, Args)]
pub struct Reason {
    /// Why, in two words or more
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    person: As,
}

/// Arguments of `trail epoch approve`.
#[derive(Debug, Args)]
pub struct Decide {
    /// The change's id
    id: ChangeId,
    #[command(flatten)]
    person: As,
}

pub(super) async fn run(place: &Place, command: EpochCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    match command {
        EpochCommand::Show => show(&node, out).await,
        EpochCommand::Propose(Reason { reason, person }) => {
            publishing::recall(&node).await?;
            let Some(behind) = node.watch().behind() else {
                let why = "nobody who watches this trail knows more of it than this registry: no epoch is to be opened";
                return Err(Problem::refused(why, None));
            };
            let command = Command::OpenEpoch { last: behind.head.clone() };
            change::propose_at(&node, command, Propose { reason, from: None, person }, out).await
        }
        EpochCommand::Approve(Decide { id, person }) => approve(&node, id, &person.user, out).await,
    }
}

#[derive(Serialize)]
struct Shown {
    origin: String,
    vkey: String,
    behind: Option<Lacking>,
    epochs: Vec<Opened>,
    lacking: Vec<AgreementId>,
}

#[derive(Serialize)]
struct Lacking {
    #[serde(flatten)]
    head: Lost,
    witness: String,
    here: u64,
    says: String,
}

async fn show(node: &Node, out: &mut Output<'_>) -> Result<Exit, Problem> {
    publishing::recall(node).await?;
    let behind = node.watch().behind().map(|behind| Lacking {
        head: behind.head.clone(),
        witness: behind.witness.clone(),
        here: behind.here,
        says: behind.says(),
    });
    let epochs = node.desk().registry(epoch::opened)?.into_iter().map(|(_, opened)| opened).collect();
    let (party, lacking) = (node.party(), epoch::lacking(node)?);
    let vkey = party.node.log_vkey.clone();
    let shown = Shown { origin: party.node.log_origin.clone(), vkey, behind, epochs, lacking };
    out.one(&shown, said)?;
    Ok(if shown.behind.is_some() { Exit::Refused } else { Exit::Done })
}

fn said(shown: &Shown) -> String {
    let mut lines = vec![match &shown.behind {
        Some(lacking) => format!("NOTHING IS EXCHANGED: {}", lacking.says),
        None => "Nobody who answers knows more of this trail than this registry.".to_owned(),
    }];
    lines.push(format!(
        "The trail's log is {}; whoever keeps a list of logs needs the line\n  log {}",
        shown.origin, shown.vkey
    ));
    lines.extend(shown.epochs.iter().map(|opened| {
        format!(
            "{} was opened by {} and {} after {} entries of {}: {}",
            opened.origin, opened.by, opened.approved_by, opened.last.size, opened.last.origin, opened.reason
        )
    }));
    if shown.behind.is_none() {
        let one = |id| format!("What was said under agreement {id} is not back yet: concordat agreement sync {id}");
        lines.extend(shown.lacking.iter().map(one));
    }
    lines.join("\n")
}

async fn approve(node: &Node, id: ChangeId, by: &str, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let changes::Approval { change, .. } = changes::approve(node, id, by).await?;
    let Command::OpenEpoch { .. } = change.proposed.command else {
        let done = format!("Approved: {}.", change.proposed.command);
        out.one(&json!({"change": id, "state": change.state(node.now())}), |_| done.clone())?;
        return Ok(Exit::Done);
    };
    let agreements: Vec<Back> = epoch::take_back(node).await?.into_iter().map(Back::of).collect();
    let party = node.party();
    let (origin, vkey) = (&party.node.log_origin, &party.node.log_vkey);
    out.one(&json!({"change": id, "origin": origin, "vkey": vkey, "agreements": agreements}), |_| {
        let first = format!(
            "The trail goes on as {origin}. Whoever keeps a list of logs, as a witness that is no partner, needs the line\n  log {vkey}"
        );
        [first].into_iter().chain(agreements.iter().map(Back::says)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// What came of taking back what was said under an agreement.
#[derive(Serialize)]
struct Back {
    agreement: AgreementId,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
}

impl Back {
    fn of((agreement, came): (AgreementId, Result<Status, Apart>)) -> Self {
        let pending = came.as_ref().err().map(ToString::to_string);
        Self { agreement, status: came.ok(), pending }
    }

    fn says(&self) -> String {
        let id = self.agreement;
        let status = self.status.as_ref().map(Status::says).unwrap_or_default();
        match &self.pending {
            Some(why) => format!("Agreement {id}: not back yet ({why}): concordat agreement sync {id}"),
            None => format!("Agreement {id}: {status}. Look at it, then: concordat agreement resume {id}"),
        }
    }
}
