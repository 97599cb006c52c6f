//! `concordat discrepancy`: where this trail and a partner's differ.

use agreements::discrepancy::Differs;
use agreements::ids::RequestId;
use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::db::Conn;
use crate::reconciling::cases;
use crate::registry::discrepancies::{self, Case};

/// See where this trail and a partner's differ, and close such cases.
#[derive(Debug, Subcommand)]
pub enum DiscrepancyCommand {
    /// Show the cases that are open
    #[command(after_help = "Examples:\n  concordat discrepancy list\n  concordat discrepancy list --all")]
    List(List),
    /// Show one case, and what shows it
    #[command(after_help = "Example:\n  concordat discrepancy show 01940a2b-0000-7000-8000-000000000001")]
    Show(Show),
    /// Close a case, with how it came about and why it can be closed. The custodian does
    #[command(
        after_help = "Example:\n  concordat discrepancy close 01940a2b-0000-7000-8000-000000000001 \\\n      --explanation \"their index was repaired\" --reason \"the entry is listed again\" \\\n      --as alder.custodian"
    )]
    Close(Close),
}

/// Arguments of `discrepancy list`.
#[derive(Debug, Args)]
pub struct List {
    /// The closed ones, too
    #[arg(long)]
    all: bool,
}

/// Arguments of `discrepancy show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The case
    id: RequestId,
}

/// Arguments of `discrepancy close`.
#[derive(Debug, Args)]
pub struct Close {
    /// The case
    id: RequestId,
    /// How it came about, in two words or more
    #[arg(long)]
    explanation: String,
    /// Why it can be closed, in two words or more
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    person: As,
}

pub(super) async fn run(place: &Place, command: DiscrepancyCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        DiscrepancyCommand::List(List { all }) => list(place, all, out)?,
        DiscrepancyCommand::Show(Show { id }) => show(place, id, out)?,
        DiscrepancyCommand::Close(Close { id, explanation, reason, person }) => {
            cases::close(&place.registry()?, id, &explanation, &reason, &person.user).await?;
            out.one(&json!({"discrepancy": id, "closed": true}), |_| format!("Closed the case {id}."))?;
        }
    }
    Ok(Exit::Done)
}

fn known(conn: &mut Conn) -> Result<Vec<Case>, Problem> {
    let hint = || Some("run `concordat trail verify`".to_owned());
    discrepancies::all(conn)?.map_err(|what| Problem::failure(what, hint()))
}

fn list(place: &Place, all: bool, out: &mut Output<'_>) -> Result<(), Problem> {
    let mut cases = known(&mut place.registry()?.reader()?)?;
    cases.retain(|case| all || case.closed.is_none());
    let headers = ["case", "partner", "day", "what differs", "kind of entry", "opened", "closed"];
    Ok(out.list(&headers, &cases, |case| {
        vec![
            case.id.to_string(),
            case.opened.partner.to_string(),
            case.opened.day.to_string(),
            case.opened.differs.to_string(),
            case.opened.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            local::shown(case.opened_at),
            case.closed.as_ref().map(|closed| local::shown(closed.at)).unwrap_or_default(),
        ]
    })?)
}

fn show(place: &Place, id: RequestId, out: &mut Output<'_>) -> Result<(), Problem> {
    let Some(case) = known(&mut place.registry()?.reader()?)?.into_iter().find(|case| case.id == id) else {
        let hint = "`concordat discrepancy list --all` shows those that there are".to_owned();
        return Err(Problem::refused(format!("there is no discrepancy {id}"), Some(hint)));
    };
    Ok(out.one(&case, text)?)
}

fn text(case: &Case) -> String {
    let Case { id, opened_at, opened, closed } = case;
    let until = opened.until.map(|until| format!(" to {until}")).unwrap_or_default();
    let mut lines = vec![
        format!("Discrepancy {id} with {}: {}", opened.partner, opened.differs),
        format!("  opened {}, about {}{until} (a day of UTC)", local::shown(*opened_at), opened.day),
        format!("  {}", opened.says),
    ];
    if opened.differs != Differs::NotCompared {
        lines.push(format!("  the entry: {}", opened.about));
    }
    let named = [
        opened.rid.map(|rid| format!("  its id there: {rid}")),
        opened.kind.map(|kind| format!("  its kind: {kind}")),
        opened.other.map(|other| format!("  the other entry: {other}")),
    ];
    lines.extend(named.into_iter().flatten());
    lines.extend(opened.evidence.iter().map(|digest| format!("  evidence: {digest}, in the folder of evidence")));
    lines.push("  the partner's signed entries that are kept here: concordat trail receipts --verify".to_owned());
    match closed {
        Some(closed) => {
            let record = &closed.record;
            lines.push(format!("  closed {} by {}", local::shown(closed.at), record.by));
            lines.push(format!("  how it came about: {}", record.explanation));
            lines.push(format!("  why it was closed: {}", record.reason));
        }
        None => lines
            .push(format!("  open. Next: concordat discrepancy close {id} --explanation WHAT --reason WHY --as USER")),
    }
    lines.join("\n")
}
