//! `concordat request`: questions of partners that wait for this agency's custodian.

use agreements::entry::Kind;
use agreements::ids::RequestId;
use agreements::message::{Answer, Outcome, RuleSaid};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::auditing;
use crate::exporting::shown::Shown;
use crate::trail::search::Filter;

/// See what waits for the custodian.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// Show the questions that were referred to the custodian, newest first. The look itself is recorded (VIII-03)
    #[command(after_help = "Example:\n  concordat request list --as birch.custodian")]
    List(List),
}

/// Arguments of `request list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Waiting {
    ticket: Option<RequestId>,
    rules: Vec<RuleSaid>,
    #[serde(flatten)]
    entry: Shown,
}

pub(super) async fn run(place: &Place, command: RequestCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let RequestCommand::List(List { person }) = command;
    let filter = Filter { kind: Some(Kind::QueryAnswered), decision: Some("referred".to_owned()), ..Filter::default() };
    let found = auditing::search(&place.registry()?, filter, &person.user).await?;
    let items: Vec<Waiting> = found.into_iter().map(|row| waiting(row.into())).collect();
    let headers = ["asked", "ticket", "partner", "user", "purpose", "reference", "plate", "because of"];
    let or_blank = |text: &Option<String>| text.clone().unwrap_or_default();
    out.list(&headers, &items, |item| {
        vec![
            local::shown(item.entry.at),
            item.ticket.map(|ticket| ticket.to_string()).unwrap_or_default(),
            item.entry.partner.map(|ori| ori.to_string()).unwrap_or_default(),
            or_blank(&item.entry.username),
            or_blank(&item.entry.purpose),
            or_blank(&item.entry.reference),
            or_blank(&item.entry.plate),
            item.rules.iter().map(|said| said.rule.as_str()).collect::<Vec<_>>().join(", "),
        ]
    })?;
    Ok(Exit::Done)
}

fn waiting(entry: Shown) -> Waiting {
    let answer: Option<Answer> =
        entry.message.as_ref().and_then(|message| agreements::json::parse(message.get().as_bytes()).ok());
    let (ticket, rules) = match answer.map(|answer| answer.outcome) {
        Some(Outcome::Referred { ticket, rules }) => (Some(ticket), rules),
        _ => (None, Vec::new()),
    };
    Waiting { ticket, rules, entry }
}
