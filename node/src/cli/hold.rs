//! `concordat hold`: what is kept beyond its retention (VI-06 to VI-16).

use agreements::hold::Covers;
use agreements::ids::{Ori, RequestId};
use agreements::plate::Plate;
use agreements::purpose::Reference;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::db::Db;
use crate::holds::{self as service, NewHold, Waiting};
use crate::registry::holds::{Hold, State, Step};

/// Keep records beyond their retention, and release them.
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Ask for a hold. It protects from now on, while a second person has not decided
    #[command(
        after_help = "Examples:\n  concordat hold request --case 2026-118842 --reason \"trial is set for spring\" \\\n      --contact \"desk 5, 555-0100\" --ref case:2026-118842 --as alder.investigator\n  concordat hold request --case IA-17 --reason \"internal investigation ordered\" --contact \"desk 9\" \\\n      --user alder.analyst --since 2026-03-01 --until 2026-04-01 --as alder.supervisor\n\nIt covers what all of its terms say, now and later, and each --entry besides. Whatever is covered is never deleted while the hold stands."
    )]
    Request(Request),
    /// Approve a hold that somebody else asked for, or with --release its release
    #[command(
        after_help = "Examples:\n  concordat hold approve 01940a2b-0000-7000-8000-000000000001 --as alder.supervisor\n  concordat hold approve 01940a2b-0000-7000-8000-000000000001 --release --as alder.custodian"
    )]
    Approve(Approve),
    /// Refuse a hold that somebody else asked for, or with --release its release
    #[command(
        after_help = "Example:\n  concordat hold refuse 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"no such case exists\" --as alder.supervisor"
    )]
    Refuse(Refuse),
    /// Ask that a hold be released; it stands until a second person approves that
    #[command(
        after_help = "Example:\n  concordat hold release 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"final disposition was reached\" --as alder.investigator\n\nThen: concordat hold approve ID --release --as SOMEBODY-ELSE"
    )]
    Release(Release),
    /// Show the holds that protect, or all of them. The look itself is recorded (VIII-03)
    #[command(
        after_help = "Examples:\n  concordat hold list --as alder.custodian\n  concordat hold list --all --as alder.auditor"
    )]
    List(List),
    /// Show one hold. The look itself is recorded (VIII-03)
    #[command(after_help = "Example:\n  concordat hold show 01940a2b-0000-7000-8000-000000000001 --as alder.custodian")]
    Show(One),
}

/// Arguments of `hold request`.
#[derive(Debug, Args)]
pub struct Request {
    /// The case number (VI-07)
    #[arg(long, value_name = "NUMBER")]
    case: String,
    /// The specific reason, in two words or more (VI-08)
    #[arg(long)]
    reason: String,
    /// How the investigator is reached (VI-09)
    #[arg(long)]
    contact: String,
    /// What names this file: KIND:NUMBER
    #[arg(long = "ref", value_name = "KIND:NUM")]
    reference: Option<Reference>,
    /// What is about this agency
    #[arg(long, value_name = "ORI")]
    partner: Option<Ori>,
    /// What is about this plate
    #[arg(long)]
    plate: Option<Plate>,
    /// What this person did, or what was done for them
    #[arg(long = "user", value_name = "USERNAME")]
    username: Option<String>,
    /// What was recorded at or after this date or time
    #[arg(long, value_parser = local::instant)]
    since: Option<Instant>,
    /// What was recorded before this date or time
    #[arg(long, value_parser = local::instant)]
    until: Option<Instant>,
    /// A single entry, by its id; may be repeated
    #[arg(long = "entry", value_name = "ID")]
    entries: Vec<RequestId>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hold approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The hold
    id: RequestId,
    /// Its release
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hold refuse`.
#[derive(Debug, Args)]
pub struct Refuse {
    /// The hold
    id: RequestId,
    /// Its release
    #[arg(long)]
    release: bool,
    /// Why, in two words or more
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hold release`.
#[derive(Debug, Args)]
pub struct Release {
    /// The hold
    id: RequestId,
    /// Why, in two words or more
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hold list`.
#[derive(Debug, Args)]
pub struct List {
    /// Those that were refused or released, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hold show`.
#[derive(Debug, Args)]
pub struct One {
    /// The hold
    id: RequestId,
    #[command(flatten)]
    person: As,
}

pub(super) async fn run(place: &Place, command: HoldCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        HoldCommand::Request(args) => request(place, args, out).await?,
        HoldCommand::Approve(Approve { id, release, person }) => {
            let db = place.registry()?;
            service::approve(&db, id, waiting(release), &person.user).await?;
            let what = if release { "released: what it covered is deleted after its retention" } else { "in force" };
            let count = covered(&db, id)?;
            out.one(&json!({"hold": id, "release": release, "covered": count}), |_| {
                let mut lines = vec![format!("The hold {id} is {what}.")];
                lines.extend((!release).then(|| says(count)));
                lines.join("\n")
            })?;
        }
        HoldCommand::Refuse(Refuse { id, release, reason, person }) => {
            service::refuse(&place.registry()?, id, waiting(release), reason, &person.user).await?;
            let what = if release { "stays in force" } else { "is refused, and protects nothing any more" };
            out.one(&json!({"hold": id, "release": release}), |_| format!("The hold {id} {what}."))?;
        }
        HoldCommand::Release(Release { id, reason, person }) => {
            service::release(&place.registry()?, id, reason, &person.user).await?;
            out.one(&json!({"hold": id}), |_| {
                format!(
                    "The hold {id} stands until another person releases it:\n  concordat hold approve {id} --release --as USER"
                )
            })?;
        }
        HoldCommand::List(List { all, person }) => list(place, all, &person, out).await?,
        HoldCommand::Show(One { id, person }) => show(place, id, &person, out).await?,
    }
    Ok(Exit::Done)
}

fn waiting(release: bool) -> Waiting {
    if release { Waiting::Release } else { Waiting::Request }
}

async fn request(place: &Place, args: Request, out: &mut Output<'_>) -> Result<(), Problem> {
    let Request { case, reason, contact, reference, partner, plate, username, since, until, entries, person } = args;
    let covers = Covers {
        entries,
        partner,
        plate: plate.map(|plate| plate.as_str().to_owned()),
        reference: reference.map(|reference| reference.to_string()),
        since,
        until,
        username,
    };
    let new = NewHold { case_number: case, reason, contact, covers };
    let db = place.registry()?;
    let id = service::request(&db, new, &person.user).await?;
    let count = covered(&db, id)?;
    Ok(out.one(&json!({"hold": id, "covered": count}), |_| {
        format!(
            "Asked for the hold {id}. What it covers is not deleted from now on.\n{}\nAnother person decides:\n  concordat hold \
             approve {id} --as USER",
            says(count)
        )
    })?)
}

/// How many entries it covers today. The hold stands whether that can be told or not.
fn covered(db: &Db, id: RequestId) -> Result<Option<u64>, Problem> {
    Ok(service::covered(&mut db.reader()?, id)?)
}

fn says(covered: Option<u64>) -> String {
    match covered {
        Some(0) => "WARNING: it covers NO entry today, so nothing that is there is kept by it. Compare what it names (`concordat \
                    hold show`) with `concordat trail search`, and ask for another hold if it is wrong."
            .to_owned(),
        Some(count) => format!("Entries that it covers today: {count}, and what came of the questions among them."),
        None => "How much it covers cannot be told: run `concordat trail verify`.".to_owned(),
    }
}

async fn list(place: &Place, all: bool, person: &As, out: &mut Output<'_>) -> Result<(), Problem> {
    let holds = service::seen(&place.registry()?, None, all, &person.user).await?;
    Ok(out.list(&["hold", "case", "asked by", "asked", "covers", "state"], &holds, |hold| {
        vec![
            hold.id.to_string(),
            hold.requested.case_number.clone(),
            hold.requested.by.clone(),
            local::shown(hold.requested_at),
            covers(&hold.requested.covers).join(", "),
            hold.state.as_str().to_owned(),
        ]
    })?)
}

fn covers(covers: &Covers) -> Vec<String> {
    let Covers { entries, partner, plate, reference, since, until, username } = covers;
    let mut said: Vec<String> = Vec::new();
    let mut add = |what: &str, value: Option<String>| said.extend(value.map(|value| format!("{what} {value}")));
    add("file", reference.clone());
    add("partner", partner.map(|ori| ori.to_string()));
    add("plate", plate.clone());
    add("user", username.clone());
    add("since", since.map(local::shown));
    add("before", until.map(local::shown));
    add("single entries:", (!entries.is_empty()).then(|| entries.len().to_string()));
    said
}

async fn show(place: &Place, id: RequestId, person: &As, out: &mut Output<'_>) -> Result<(), Problem> {
    let holds = service::seen(&place.registry()?, Some(id), true, &person.user).await?;
    let Some(hold) = holds.into_iter().next() else {
        let hint = "`concordat hold list --all` shows those that there are".to_owned();
        return Err(Problem::refused(format!("there is no hold {id}"), Some(hint)));
    };
    Ok(out.one(&hold, text)?)
}

fn text(hold: &Hold) -> String {
    let Hold { id, requested_at, requested, state, approved, refused, release_asked, released } = hold;
    let mut lines = vec![
        format!("Hold {id} for case {}: {}", requested.case_number, state.as_str()),
        format!("  asked for {} by {}", local::shown(*requested_at), requested.by),
        format!("  reason: {}", requested.reason),
        format!("  contact: {}", requested.contact),
        format!("  covers: {}", covers(&requested.covers).join(", ")),
    ];
    lines.extend(requested.covers.entries.iter().map(|entry| format!("    entry {entry}")));
    let mut add = |what: &str, step: &Option<Step>| {
        lines.extend(step.as_ref().map(|Step { at, by, reason }| {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("  {what} {} by {by}{why}", local::shown(*at))
        }));
    };
    add("approved", approved);
    add("refused", refused);
    add("its release asked for", release_asked);
    add("released", released);
    match state {
        State::Requested => lines.push(format!("  Next: concordat hold approve {id} --as USER")),
        State::ReleaseAsked => lines.push(format!("  Next: concordat hold approve {id} --release --as USER")),
        State::InForce | State::Refused | State::Released => {}
    }
    lines.join("\n")
}
