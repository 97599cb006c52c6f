//! `concordat hit`: reads that matched a hotlist, and what a person found on looking.

use agreements::hotlist::{Category, Entry};
use agreements::ids::{Digest, Ori, RequestId};
use agreements::plate::Plate;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::hotlists::people::{self, Looked, Seen};
use crate::hotlists::shared::SharedLists;
use crate::registry::hits::HitStatus;

/// See hits and verify them.
#[derive(Debug, Subcommand)]
pub enum HitCommand {
    /// Show hits, newest first. One that is not confirmed is not actionable. The look itself is recorded (VIII-03)
    #[command(
        after_help = "Examples:\n  concordat hit list --as alder.investigator\n  concordat hit list --status unconfirmed --as alder.investigator"
    )]
    List(ListArgs),
    /// Say what a hit is, after looking: confirmed, or misread
    #[command(
        after_help = "Examples:\n  concordat hit verify 01940a2b-0000-7000-8000-000000000001 --confirmed --image --status --as indigo\n  concordat hit verify 01940a2b-0000-7000-8000-000000000001 --misread --as indigo\n\nNobody acts on a hit before a person compared the image with the plate, the state and the vehicle, and asked the owner of the entry whether it still stands."
    )]
    Verify(VerifyArgs),
}

/// Arguments of `hit list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only hits of this status: unconfirmed, confirmed or misread
    #[arg(long)]
    status: Option<HitStatus>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `hit verify`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
#[group(id = "verdict", required = true, multiple = false, args = ["confirmed", "misread"])]
pub struct VerifyArgs {
    /// The hit
    id: RequestId,
    /// It is the vehicle, and the entry stands
    #[arg(long)]
    confirmed: bool,
    /// It is another plate, or the entry does not stand
    #[arg(long)]
    misread: bool,
    /// I compared the image with the plate, the state and the vehicle
    #[arg(long)]
    image: bool,
    /// I asked the owner of the entry, or looked at its source, whether it still stands
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of its own in the JSON")]
struct Shown {
    id: RequestId,
    status: &'static str,
    actionable: bool,
    plate: Plate,
    state: Option<String>,
    exact: bool,
    substitutions: u32,
    state_known: bool,
    owner: Ori,
    list: String,
    category: Category,
    seen_at: Instant,
    matched_at: Instant,
    /// How long after it was seen it matched, seconds.
    age_seconds: i64,
    late: bool,
    camera: String,
    image: Option<Digest>,
    entry: Option<Entry>,
    verified_by: Option<String>,
    verified_at: Option<Instant>,
}

pub(super) async fn run(place: &Place, command: HitCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        HitCommand::List(ListArgs { status, person }) => list(place, status, &person, out).await?,
        HitCommand::Verify(args) => verify(place, args, out).await?,
    }
    Ok(Exit::Done)
}

async fn list(place: &Place, status: Option<HitStatus>, person: &As, out: &mut Output<'_>) -> Result<(), Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let shared = SharedLists::beside(&config.store.registry).map_err(people::HotlistError::from)?;
    let late_after = i64::from(config.hotlists.late_after_minutes.get()) * Instant::MINUTE;
    let seen = people::hits(&db, &shared, config.agency.ori, status, &person.user).await?;
    let shown: Vec<Shown> = seen.into_iter().map(|seen| shown(seen, late_after)).collect();
    let headers = ["id", "status", "plate", "match", "list", "category", "seen", "camera", "entry"];
    out.list(&headers, &shown, |hit| {
        vec![
            hit.id.to_string(),
            if hit.actionable { hit.status.to_owned() } else { format!("{}: NOT ACTIONABLE", hit.status) },
            format!("{} {}", hit.plate.as_str(), hit.state.as_deref().unwrap_or("--")),
            matched(hit),
            format!("{} {}", hit.owner, hit.list),
            hit.category.to_string(),
            age(hit),
            hit.camera.clone(),
            hit.entry.as_ref().map_or_else(|| "no longer held".to_owned(), entry),
        ]
    })?;
    Ok(())
}

fn shown(seen: Seen, late_after: i64) -> Shown {
    let Seen { hit, entry } = seen;
    let age = hit.matched_at.since(hit.seen_at);
    Shown {
        id: hit.id,
        status: hit.status.as_str(),
        actionable: hit.status.actionable(),
        plate: hit.plate,
        state: hit.state,
        exact: hit.substitutions == 0,
        substitutions: hit.substitutions,
        state_known: hit.state_known,
        owner: hit.owner,
        list: hit.list,
        category: hit.category,
        seen_at: hit.seen_at,
        matched_at: hit.matched_at,
        age_seconds: age / Instant::SECOND,
        late: age > late_after,
        camera: hit.camera,
        image: hit.image,
        entry,
        verified_by: hit.verified_by,
        verified_at: hit.verified_at,
    }
}

fn matched(hit: &Shown) -> String {
    let plate = match hit.substitutions {
        0 => "exact".to_owned(),
        1 => "NOT EXACT: 1 character".to_owned(),
        n => format!("NOT EXACT: {n} characters"),
    };
    if hit.state_known { plate } else { format!("{plate}, state unknown") }
}

fn age(hit: &Shown) -> String {
    let seen = local::shown(hit.seen_at);
    if !hit.late {
        return seen;
    }
    let minutes = hit.age_seconds / 60;
    format!("{seen} LATE: {} h {:02} min old when it matched", minutes / 60, minutes % 60)
}

fn entry(entry: &Entry) -> String {
    let texts = [
        Some(entry.plate.as_str()),
        entry.reason.as_deref(),
        entry.case_number.as_deref(),
        entry.vehicle.as_deref(),
        entry.contact.as_deref(),
    ];
    texts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

async fn verify(place: &Place, args: VerifyArgs, out: &mut Output<'_>) -> Result<(), Problem> {
    let VerifyArgs { id, confirmed, misread: _, image, status, person } = args;
    let verdict = if confirmed { HitStatus::Confirmed } else { HitStatus::Misread };
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let shared = SharedLists::beside(&config.store.registry).map_err(people::HotlistError::from)?;
    let looked = Looked { image, status };
    let (hit, at) = people::verify(&db, &shared, config.agency.ori, id, verdict, looked, &person.user).await?;
    let value = json!({"id": id, "status": verdict.as_str(), "actionable": verdict.actionable(), "verified_at": at});
    out.one(&value, |_| {
        let list = format!("{} of {}", hit.list, hit.owner);
        match verdict {
            HitStatus::Confirmed => format!("Confirmed: the hit on {list} may be acted on."),
            HitStatus::Misread | HitStatus::Unconfirmed => {
                format!("Noted: the hit on {list} is {verdict}; nobody acts on it.")
            }
        }
    })?;
    Ok(())
}
