//! `concordat change`: what opens or widens sharing, decided by two people.

use agreements::ids::Ori;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, agreement, local};
use crate::changes::{self, Change, ChangeId, Command, Proposed, State};
use crate::clock::Jump;
use crate::exchange::lifecycle::Delivery;
use crate::registry::agencies;

/// Decide, by two people, what opens or widens sharing.
#[derive(Debug, Subcommand)]
pub enum ChangeCommand {
    /// Show the changes that wait, or all of them
    #[command(after_help = "Example:\n  concordat change list")]
    List(List),
    /// Show one change: why, and what it does to who can get what
    #[command(after_help = "Example:\n  concordat change show 01940a2b-0000-7000-8000-000000000001")]
    Show(One),
    /// Approve a change that somebody else proposed, and carry it out
    #[command(
        after_help = "Example:\n  concordat change approve 01940a2b-0000-7000-8000-000000000001 --as alder.custodian\n\nOf the two, one has to be the custodian. When something moved since it was proposed, it is refused: look again."
    )]
    Approve(Decide),
    /// Refuse a change that somebody else proposed
    #[command(
        after_help = "Example:\n  concordat change refuse 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"lookback too long\" --as alder.custodian"
    )]
    Refuse(Refuse),
    /// Take back a change that was not carried out yet
    #[command(
        after_help = "Example:\n  concordat change withdraw 01940a2b-0000-7000-8000-000000000001 --as alder.agreements"
    )]
    Withdraw(Decide),
    /// Propose that the owner's rules count as wide as concordat.toml now has them
    #[command(
        after_help = "Example:\n  concordat change widen --reason \"council approved two years of lookback\" --as alder.agreements\n\nNarrower rules count at the next start; wider ones when two people have decided so."
    )]
    Widen(Propose),
    /// Propose that time goes on from what the clock says after it has jumped
    #[command(
        after_help = "Example:\n  concordat change accept-clock --reason \"the clock was a day late\" --as alder.agreements\n\nA clock that is suddenly over five minutes ahead makes the node unready: it goes on by the time that has passed. If the clock is wrong, set it right, and the node is ready again. If it is right, two people decide so here."
    )]
    AcceptClock(Propose),
}

/// Arguments of `change list`.
#[derive(Debug, Args)]
pub struct List {
    /// Those that were settled or lapsed, too
    #[arg(long)]
    all: bool,
}

/// One change.
#[derive(Debug, Args)]
pub struct One {
    /// The change's id
    id: ChangeId,
}

/// A decision about one change.
#[derive(Debug, Args)]
pub struct Decide {
    /// The change's id
    id: ChangeId,
    #[command(flatten)]
    person: As,
}

/// Arguments of `change refuse`.
#[derive(Debug, Args)]
pub struct Refuse {
    /// The change's id
    id: ChangeId,
    /// Why, in two words or more
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    person: As,
}

/// What whoever proposes says.
#[derive(Debug, Args)]
pub struct Propose {
    /// Why, in two words or more
    #[arg(long)]
    pub(super) reason: String,
    /// The effective date, or a time with its zone; when it is approved, if absent
    #[arg(long, value_name = "WHEN", value_parser = local::instant)]
    pub(super) from: Option<Instant>,
    #[command(flatten)]
    pub(super) person: As,
}

#[derive(Serialize)]
struct Shown<'a> {
    id: ChangeId,
    at: Instant,
    #[serde(flatten)]
    state: State,
    #[serde(flatten)]
    proposed: &'a Proposed,
    partner: Option<Ori>,
    partner_name: Option<String>,
}

pub(super) async fn run(place: &Place, command: ChangeCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        ChangeCommand::List(List { all }) => list(place, all, out),
        ChangeCommand::Show(One { id }) => show(place, id, out),
        ChangeCommand::Approve(Decide { id, person }) => approve(place, id, &person.user, out).await,
        ChangeCommand::Refuse(Refuse { id, reason, person }) => {
            let change = changes::refuse(&*place.node()?, id, &person.user, &reason).await?;
            said(&change, place.now(), out)
        }
        ChangeCommand::Withdraw(Decide { id, person }) => {
            let change = changes::withdraw(&*place.node()?, id, &person.user).await?;
            said(&change, place.now(), out)
        }
        ChangeCommand::Widen(args) => {
            let node = place.node()?;
            let rules = node.owner().rules.clone();
            propose_at(&node, Command::WidenRules { rules }, args, out).await
        }
        ChangeCommand::AcceptClock(args) => {
            let node = place.node()?;
            let now = node.now();
            let Some(Jump { says, should }) = node.clock().jump() else {
                let why = format!("the clock has not jumped, it is {now}: there is nothing to accept");
                return Err(Problem::refused(why, None));
            };
            propose_at(&node, Command::AcceptClock { says, should }, args, out).await
        }
    }
}

/// Proposes a command, and says who has to do what next.
pub(super) async fn propose(
    place: &Place,
    command: Command,
    args: Propose,
    out: &mut Output<'_>,
) -> Result<Exit, Problem> {
    propose_at(&*place.node()?, command, args, out).await
}

pub(super) async fn propose_at(
    node: &crate::node::Node,
    command: Command,
    args: Propose,
    out: &mut Output<'_>,
) -> Result<Exit, Problem> {
    let Propose { reason, from, person } = args;
    let change = changes::propose_from(node, command, &person.user, &reason, from).await?;
    let value = json!({"change": change.id, "shows": change.proposed.shows, "on": change.proposed.on});
    out.one(&value, |_| {
        format!(
            "Proposed: {}. It does this:\n{}\nNothing changes until somebody else approves it: concordat change approve {} --as USER",
            change.proposed.command,
            lines(&change.proposed.shows),
            change.id
        )
    })?;
    Ok(Exit::Done)
}

fn lines(shows: &[String]) -> String {
    shows.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn read(place: &Place) -> Result<(Vec<Change>, crate::db::Db, Ori), Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let all = changes::all(&mut db.reader()?)?;
    let all = all.map_err(|what| Problem::failure(what, Some("run `concordat trail verify`".to_owned())))?;
    Ok((all, db, config.agency.ori))
}

fn list(place: &Place, whole: bool, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let (all, db, us) = read(place)?;
    let now = place.now();
    let mut conn = db.reader()?;
    let mut items = Vec::new();
    for change in &all {
        let state = change.state(now);
        if whole || state.waits() {
            let partner = change.partner(us);
            let named = partner.map(|ori| agencies::find(&mut conn, ori)).transpose()?.flatten();
            let partner_name = named.map(|party| party.legal_name);
            let Change { id, at, proposed, .. } = change;
            items.push(Shown { id: *id, at: *at, state, proposed, partner, partner_name });
        }
    }
    out.list(&["change", "proposed", "by", "what", "partner", "effective", "state"], &items, |item| {
        vec![
            item.id.to_string(),
            local::shown(item.at),
            item.proposed.by.clone(),
            item.proposed.command.to_string(),
            item.partner_name.clone().unwrap_or_default(),
            local::shown(item.proposed.effective_at),
            item.state.says(),
        ]
    })?;
    Ok(Exit::Done)
}

fn show(place: &Place, id: ChangeId, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let (all, _, us) = read(place)?;
    let Some(change) = all.iter().find(|change| change.id == id) else {
        let hint = "`concordat change list --all` shows those that there are".to_owned();
        return Err(Problem::refused(format!("there is no change {id}"), Some(hint)));
    };
    let Change { id, at, proposed, .. } = change;
    let state = change.state(place.now());
    let shown = Shown { id: *id, at: *at, state, proposed, partner: change.partner(us), partner_name: None };
    out.one(&shown, |shown| {
        format!(
            "Change {}: {}\n  proposed by {} at {}, effective {}\n  why: {}\n  {}\nIt does this:\n{}",
            shown.id,
            shown.proposed.command,
            shown.proposed.by,
            local::shown(shown.at),
            local::shown(shown.proposed.effective_at),
            shown.proposed.reason,
            shown.state.says(),
            lines(&shown.proposed.shows)
        )
    })?;
    Ok(Exit::Done)
}

async fn approve(place: &Place, id: ChangeId, by: &str, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let changes::Approval { change, delivery } = changes::approve(&node, id, by).await?;
    let state = change.state(node.now());
    let value = json!({"change": id, "state": state, "delivery": delivery});
    out.one(&value, |_| {
        let done = format!("Approved: {}; {}.", change.proposed.command, state.says());
        match (&delivery, change.proposed.command.agreement()) {
            (Some(Delivery::Delivered { there: Some(status) }), Some(agreement)) => {
                format!("{done}\nThe partner has it. There, agreement {agreement} is now: {}.", status.says())
            }
            (Some(delivery), Some(agreement)) => match delivery.lacking(agreement) {
                Some(lacking) => format!("{done}\n{lacking}"),
                None => done,
            },
            _ => match &change.proposed.command {
                Command::ClearFinding { .. } => {
                    format!("{done}\nThe early review that the finding opened goes on until it is closed: concordat review list")
                }
                _ => done,
            },
        }
    })?;
    Ok(delivery.as_ref().map_or(Exit::Done, agreement::exit))
}

fn said(change: &Change, now: Instant, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let state = change.state(now);
    out.one(&json!({"change": change.id, "state": state}), |_| format!("Change {}: {}.", change.id, state.says()))?;
    Ok(Exit::Done)
}
