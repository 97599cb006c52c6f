//! `concordat review`: early reviews of partners (V-28).

use std::path::PathBuf;

use agreements::ids::{Ori, RequestId};
use agreements::register::{Grade, Trigger};
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde_json::json;

use super::ag::files;
use super::change::{self, Propose};
use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::changes::Command;
use crate::compliance::Keeper;
use crate::compliance::reviews::{self as service, Closing, NewReview};
use crate::db::Conn;
use crate::evidence::Evidence;
use crate::registry::ag;
use crate::registry::reviews::{self, Review};

/// Review partners before their renewal is due.
#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// Open a review: what this agency grants the partner is suspended, at once or after some days
    #[command(
        after_help = "Example:\n  concordat review open CA0990100 --trigger breach --reason \"a laptop with answers was lost\" \\\n      --as alder.agreements\n\nAt once: ag_finding, breach, key_compromise. After 30 days: policy_changed, policy_unreachable, packet_inaccurate. After 14 days: audit_failed. Not at all: concern."
    )]
    Open(Open),
    /// Show the reviews that are open
    #[command(
        after_help = "Examples:\n  concordat review list\n  concordat review list --as-of 2026-11-23\n  concordat review list --all"
    )]
    List(List),
    /// Show one review
    #[command(after_help = "Example:\n  concordat review show 01940a2b-0000-7000-8000-000000000001")]
    Show(Show),
    /// Propose to close a review, with what was looked at; a second person approves
    #[command(
        after_help = "Example:\n  concordat review close 01940a2b-0000-7000-8000-000000000001 --looked-at \"the partner's report\" \\\n      --outcome \"the laptop was encrypted\" --evidence report.pdf --as alder.agreements\n\nIt is closed when `concordat change approve` has carried it out. It closes this review, and no other of the same partner."
    )]
    Close(Close),
}

/// Arguments of `review open`.
#[derive(Debug, Args)]
pub struct Open {
    /// The partner
    ori: Ori,
    /// Why, by the table of triggers
    #[arg(long)]
    trigger: Trigger,
    /// What happened
    #[arg(long)]
    reason: String,
    /// A file that shows it, kept under its SHA-256; may be repeated
    #[arg(long = "evidence", value_name = "FILE")]
    evidence: Vec<PathBuf>,
    #[command(flatten)]
    person: As,
}

/// Arguments of `review list`.
#[derive(Debug, Args)]
pub struct List {
    /// The closed ones, too
    #[arg(long)]
    all: bool,
    /// Those that were open at this time
    #[arg(long, value_name = "TIME", value_parser = local::instant, conflicts_with = "all")]
    as_of: Option<Instant>,
}

/// Arguments of `review show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The review
    id: RequestId,
}

/// Arguments of `review close`.
#[derive(Debug, Args)]
pub struct Close {
    /// The review
    id: RequestId,
    /// What was looked at
    #[arg(long)]
    looked_at: String,
    /// What came of it, in two words or more: the reason of the change
    #[arg(long)]
    outcome: String,
    /// A file that shows it, kept under its SHA-256; at least one
    #[arg(long = "evidence", value_name = "FILE", required = true)]
    evidence: Vec<PathBuf>,
    /// The effective date, or a time with its zone; when it is approved, if absent
    #[arg(long, value_name = "WHEN", value_parser = local::instant)]
    from: Option<Instant>,
    #[command(flatten)]
    person: As,
}

pub(super) async fn run(place: &Place, command: ReviewCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        ReviewCommand::Open(args) => open(place, args, out).await?,
        ReviewCommand::List(args) => list(place, &args, out)?,
        ReviewCommand::Show(Show { id }) => show(place, id, out)?,
        ReviewCommand::Close(args) => return close(place, args, out).await,
    }
    Ok(Exit::Done)
}

async fn open(place: &Place, args: Open, out: &mut Output<'_>) -> Result<(), Problem> {
    let Open { ori, trigger, reason, evidence, person } = args;
    let config = place.config()?;
    let evidence = Evidence::of(&config)?.keep_files(&evidence).await?;
    let new = NewReview { ori, trigger, reason, evidence };
    let id = service::open(&place.registry_of(&config)?, &Keeper::of(&config)?, new, &person.user).await?;
    Ok(out.one(&json!({"review": id}), |_| {
        let then = match trigger.grade() {
            Grade::AtOnce => format!("What this agency grants {ori} is suspended from now on."),
            Grade::Cure(days) => {
                format!("What this agency grants {ori} is suspended in {days} days unless it is closed.")
            }
            Grade::Note => "Nothing is suspended; it is noted for the next review.".to_owned(),
        };
        format!("Opened the review {id}. {then}")
    })?)
}

fn known(conn: &mut Conn) -> Result<Vec<Review>, Problem> {
    let hint = || Some("run `concordat trail verify`".to_owned());
    reviews::all(conn)?.map_err(|what| Problem::failure(what, hint()))
}

fn list(place: &Place, args: &List, out: &mut Output<'_>) -> Result<(), Problem> {
    let mut all = known(&mut place.registry()?.reader()?)?;
    match args.as_of {
        Some(at) => all.retain(|review| review.is_open_at(at)),
        None if !args.all => all.retain(|review| review.closed.is_none()),
        None => {}
    }
    let headers = ["review", "partner", "because of", "opened", "grants suspended", "closed"];
    Ok(out.list(&headers, &all, |review| {
        let held = review.standing().holds_from();
        vec![
            review.id.to_string(),
            review.opened.ori.to_string(),
            review.opened.trigger.to_string(),
            local::shown(review.opened_at),
            held.map_or_else(|| "no".to_owned(), |from| format!("from {}", local::shown(from))),
            review.closed.as_ref().map(|closed| local::shown(closed.at)).unwrap_or_default(),
        ]
    })?)
}

fn show(place: &Place, id: RequestId, out: &mut Output<'_>) -> Result<(), Problem> {
    let mut conn = place.registry()?.reader()?;
    let Some(review) = known(&mut conn)?.into_iter().find(|review| review.id == id) else {
        let hint = "`concordat review list --all` shows those that there are".to_owned();
        return Err(Problem::refused(format!("there is no review {id}"), Some(hint)));
    };
    let named = ag::register(&mut conn)?.adverse.contains(&review.opened.ori);
    Ok(out.one(&review, |review| text(review, named))?)
}

/// What is to be done before a review can be closed, and then.
fn next(review: &Review, named: bool) -> String {
    let (id, ori) = (review.id, review.opened.ori);
    let close = format!("concordat review close {id} --looked-at WHAT --outcome WHAT --evidence FILE --as USER");
    match review.opened.trigger {
        _ if named => {
            format!(
                "concordat ag clear {ori} --citation WHERE --on DATE --evidence FILE --reason WHY --as USER, then: {close}"
            )
        }
        Trigger::PolicyChanged => {
            format!("concordat policy accept {ori}, which closes it; or, if it was changed back: {close}")
        }
        Trigger::PolicyUnreachable => format!("concordat policy check {ori} --as USER, then: {close}"),
        _ => close,
    }
}

fn text(review: &Review, named: bool) -> String {
    let Review { id, opened_at, opened, closed } = review;
    let held = review.standing().holds_from().map_or_else(
        || "no".to_owned(),
        |from| format!("from {}{}", local::shown(from), if closed.is_some() { " until it was closed" } else { "" }),
    );
    let by = opened.by.as_deref().unwrap_or("this node, by itself");
    let mut lines = vec![
        format!("Review {id} of {}: {}", opened.ori, opened.trigger),
        format!("  opened {} by {by}", local::shown(*opened_at)),
        format!("  reason: {}", opened.reason),
        format!("  grants to it suspended: {held}"),
    ];
    if !opened.evidence.is_empty() {
        lines.push(format!("  evidence: {}", files(&opened.evidence)));
    }
    match closed {
        Some(closed) => {
            let record = &closed.record;
            lines.push(format!("  closed {} by {} and {}", local::shown(closed.at), record.by, record.approved_by));
            lines.push(format!("  looked at: {}", record.looked_at));
            lines.push(format!("  outcome: {}", record.outcome));
            lines.push(format!("  evidence: {}", files(&record.evidence)));
        }
        None => lines.push(format!("  open. Next: {}", next(review, named))),
    }
    lines.join("\n")
}

async fn close(place: &Place, args: Close, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Close { id, looked_at, outcome, evidence, from, person } = args;
    let node = place.node()?;
    let evidence = Evidence::of(node.config())?.keep_files(&evidence).await?;
    let closing = Closing { review: id, looked_at, evidence };
    let propose = Propose { reason: outcome, from, person };
    change::propose_at(&node, Command::CloseReview { closing }, propose, out).await
}
