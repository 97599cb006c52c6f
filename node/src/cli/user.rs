//! `concordat user` and `concordat training`: accounts, roles, training.

use agreements::time::Instant;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::people::{self, NewAccount, Training};
use crate::registry::accounts::{self, Account, Role};

/// Keep this agency's accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Open an account. The first one is a system administrator's, and opens the others
    #[command(
        after_help = "Examples:\n  concordat user add avery --name \"Avery Admin\" --affiliation \"Records Unit\" \\\n      --role system_administrator\n  concordat user add indigo --name \"Indigo Doe\" --affiliation \"Robbery Unit\" \\\n      --role investigator --as avery\n\nRoles: investigator, analyst, supervisor, agreements_administrator, custodian, auditor, system_administrator."
    )]
    Add(Add),
    /// Show all accounts
    #[command(after_help = "Example:\n  concordat user list")]
    List,
    /// Close an account for good; its name is not reused
    #[command(after_help = "Example:\n  concordat user close indigo --as avery")]
    Close(Close),
}

/// Record completed training.
#[derive(Debug, Subcommand)]
pub enum TrainingCommand {
    /// Record that somebody else completed the training on a date; without it within a year, nobody queries
    #[command(
        after_help = "Example:\n  concordat training record indigo --on 2026-11-23 --sb34 --sb54 --policy --as avery"
    )]
    Record(Record),
}

/// Arguments of `user add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The account's name
    username: String,
    /// The person's name
    #[arg(long)]
    name: String,
    /// The person's unit or assignment
    #[arg(long)]
    affiliation: String,
    /// What the person may do
    #[arg(long)]
    role: Role,
    /// The account of the person who opens it; not needed for the first
    #[arg(long = "as", value_name = "USER", env = "CONCORDAT_USER", hide_env_values = true)]
    user: Option<String>,
}

/// Arguments of `user close`.
#[derive(Debug, Args)]
pub struct Close {
    /// The account's name
    username: String,
    #[command(flatten)]
    person: As,
}

/// Arguments of `training record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The account of the person who was trained
    username: String,
    /// The day on which it was completed
    #[arg(long, value_parser = local::date)]
    on: Date,
    /// It covered the privacy requirements of SB 34
    #[arg(long)]
    sb34: bool,
    /// It covered the limits of SB 54
    #[arg(long)]
    sb54: bool,
    /// It covered this agency's own policy
    #[arg(long)]
    policy: bool,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Listed {
    username: String,
    name: String,
    affiliation: String,
    role: &'static str,
    trained_on: Option<Date>,
    opened_at: Instant,
    opened_by: String,
    closed_at: Option<Instant>,
}

pub(super) async fn run(place: &Place, command: UserCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let db = place.registry()?;
    match command {
        UserCommand::Add(args) => {
            let by = match args.user {
                Some(user) => user,
                None if accounts::all(&mut db.reader()?)?.is_empty() => args.username.clone(),
                None => {
                    return Err(Problem::usage(
                        "this node has accounts already, so somebody opens this one",
                        Some("name who with --as USER; `concordat user list` shows them".to_owned()),
                    ));
                }
            };
            let Add { username, name, affiliation, role, .. } = args;
            let new = NewAccount { username: username.clone(), name, affiliation, role };
            people::open_account(&db, new, &by).await?;
            out.one(&json!({"opened": username, "role": role.as_str()}), |_| {
                format!(
                    "Opened {username} ({role}). Somebody else records the training: concordat training record {username} --on DATE --sb34 --sb54 --policy"
                )
            })?;
        }
        UserCommand::List => {
            let items: Vec<Listed> = accounts::all(&mut db.reader()?)?.into_iter().map(listed).collect();
            let headers = ["username", "name", "affiliation", "role", "trained on", "opened", "closed"];
            out.list(&headers, &items, |item| {
                vec![
                    item.username.clone(),
                    item.name.clone(),
                    item.affiliation.clone(),
                    item.role.to_owned(),
                    item.trained_on.map(|date| date.to_string()).unwrap_or_default(),
                    local::shown(item.opened_at),
                    item.closed_at.map(local::shown).unwrap_or_default(),
                ]
            })?;
        }
        UserCommand::Close(args) => {
            people::close_account(&db, &args.username, &args.person.user).await?;
            out.one(&json!({"closed": args.username}), |_| format!("Closed {}.", args.username))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn run_training(
    place: &Place,
    command: TrainingCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Problem> {
    let TrainingCommand::Record(Record { username, on, sb34, sb54, policy, person }) = command;
    let db = place.registry()?;
    people::record_training(&db, &username, on, Training { sb34, sb54, policy }, &person.user).await?;
    out.one(&json!({"trained": username, "on": on}), |_| format!("Recorded: {username} was trained on {on}."))?;
    Ok(Exit::Done)
}

fn listed(account: Account) -> Listed {
    let Account { username, name, affiliation, role, opened_at, opened_by, trained_on, disabled_at } = account;
    Listed {
        username,
        name,
        affiliation,
        role: role.as_str(),
        trained_on,
        opened_at,
        opened_by,
        closed_at: disabled_at,
    }
}
