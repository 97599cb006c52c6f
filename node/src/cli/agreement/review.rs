//! `concordat agreement review`: the review of partners before their agreements are renewed (V-30).

use std::path::{Path, PathBuf};

use agreements::ids::Ori;
use agreements::review::Verdict;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::cli::exit::Exit;
use crate::cli::place::{As, Place};
use crate::cli::{Output, Problem, local};
use crate::evidence::Evidence;
use crate::exchange::lifecycle::ActError;
use crate::renewal::forms;
use crate::renewal::review::{self, Due, Round, Submitted};

/// Review partners before their agreements are renewed.
#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// Show every partner: reviewed, to be reviewed, or without a packet
    #[command(after_help = "Example:\n  concordat agreement review list")]
    List,
    /// Show the partner to be reviewed next: what changed since the last time
    #[command(after_help = "Example:\n  concordat agreement review next")]
    Next,
    /// Write the forms to fill in: one for each partner about whom something changed, one for all others
    #[command(
        after_help = "Examples:\n  concordat agreement review start reviews\n  concordat agreement review start reviews --apart CA0990100\n\nForms that are there already are left as they are."
    )]
    Start(Start),
    /// Read the forms, and seal and record what is decided; what is blank stays open
    #[command(after_help = "Example:\n  concordat agreement review submit reviews --as alder.agreements")]
    Submit(Submit),
    /// Show the newest review of a partner
    #[command(after_help = "Example:\n  concordat agreement review show CA0990100")]
    Show(Show),
}

/// Arguments of `agreement review start`.
#[derive(Debug, Args)]
pub struct Start {
    /// The folder of the forms; it is made if there is none
    #[arg(value_name = "FOLDER")]
    forms: PathBuf,
    /// A partner to review once more, though its packet was; may be repeated
    #[arg(long)]
    again: Vec<Ori>,
    /// A partner that gets a form of its own, though nothing changed; may be repeated
    #[arg(long)]
    apart: Vec<Ori>,
}

/// Arguments of `agreement review submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// The folder of the forms
    #[arg(value_name = "FOLDER")]
    forms: PathBuf,
    #[command(flatten)]
    person: As,
}

/// Arguments of `agreement review show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The partner
    partner: Ori,
}

#[derive(Serialize)]
struct Row {
    partner: Ori,
    state: &'static str,
    about: String,
}

pub(super) async fn run(place: &Place, command: ReviewCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        ReviewCommand::List => list(place, out),
        ReviewCommand::Next => next(place, out),
        ReviewCommand::Start(args) => start(place, args, out),
        ReviewCommand::Submit(args) => submit(place, args, out).await,
        ReviewCommand::Show(args) => show(place, args.partner, out),
    }
}

fn round(place: &Place, again: &[Ori]) -> Result<Round, Problem> {
    let config = place.config()?;
    Ok(review::round(&mut place.registry_of(&config)?.reader()?, config.agency.ori, again, place.now())?)
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Round { due, waiting, done } = round(place, &[])?;
    let mut rows = Vec::new();
    rows.extend(due.iter().map(|it| {
        let what = if it.is_unchanged() { "unchanged" } else { "changed" };
        let about = format!("{}; ends on {}; {} fields differ, {what}", it.name, it.sunset_on, it.changes.len());
        Row { partner: it.partner, state: "to be reviewed", about }
    }));
    rows.extend(waiting.into_iter().map(|it| {
        let about = format!("{}; ends on {}; {}", it.name, it.sunset_on, it.why);
        Row { partner: it.partner, state: "waits for its packet", about }
    }));
    rows.extend(done.into_iter().map(|(partner, ok)| {
        let about = if ok { "all ok" } else { "NOT ok; it cannot be renewed" }.to_owned();
        Row { partner, state: "reviewed", about }
    }));
    out.list(&["partner", "state", "about"], &rows, |row| {
        vec![row.partner.to_string(), row.state.to_owned(), row.about.clone()]
    })?;
    Ok(Exit::Done)
}

fn next(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Round { due, waiting, .. } = round(place, &[])?;
    let (next, waits) = (due.into_iter().next(), !waiting.is_empty());
    out.one(&next, |next| next.as_ref().map_or_else(|| nothing_due(waits).to_owned(), text))?;
    Ok(Exit::Done)
}

/// What to do when no packet is to be reviewed.
fn nothing_due(waits: bool) -> &'static str {
    if waits {
        "No partner is to be reviewed now: those that `concordat agreement review list` shows have to send their packets first."
    } else {
        "No partner is to be reviewed. Next: concordat agreement renew --all-due --spread --as USER"
    }
}

fn text(due: &Due) -> String {
    let mut lines = vec![
        format!("{} ({}), agreement {}, which ends on {}", due.name, due.partner, due.agreement, due.sunset_on),
        due.reviewed_at.map_or_else(
            || "It was never reviewed: everything that it says is new.".to_owned(),
            |at| format!("What changed since the review of {}:", local::shown(at)),
        ),
    ];
    lines.extend(due.remarks.iter().map(|remark| format!("  ! {remark}")));
    lines.extend(due.changes.iter().map(|it| {
        let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "(nothing)".to_owned());
        format!("  {}: {} -> {}", it.field, shown(&it.before), shown(&it.after))
    }));
    lines.push("To decide: concordat agreement review start FOLDER".to_owned());
    lines.join("\n")
}

fn start(place: &Place, args: Start, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let again: Vec<Ori> = args.again.iter().chain(&args.apart).copied().collect();
    let Round { mut due, waiting, .. } = round(place, &again)?;
    let mut made = Vec::new();
    for ori in &args.apart {
        let found = due.iter().position(|due| due.partner == *ori);
        let found = found.ok_or_else(|| Problem::refused(format!("{ori} has no packet to be reviewed"), None))?;
        made.push(forms::write_apart(&args.forms, &due.swap_remove(found))?);
    }
    let mut written = if args.apart.is_empty() { forms::write(&args.forms, &due)? } else { forms::Written::default() };
    written.files.splice(0..0, made);
    let value = json!({
        "files": written.files, "kept": written.kept, "unchanged": written.unchanged, "waiting": waiting
    });
    out.one(&value, |_| {
        let mut lines: Vec<String> = written.files.iter().map(|file| format!("Wrote {}", file.display())).collect();
        lines.extend(written.kept.iter().map(|file| format!("Left {} as it is", file.display())));
        lines.extend(waiting.iter().map(|it| format!("{} ({}): {}", it.name, it.partner, it.why)));
        let forms = !written.files.is_empty() || !written.kept.is_empty();
        lines.push(if forms {
            format!("Fill them in, then: concordat agreement review submit {} --as USER", args.forms.display())
        } else {
            nothing_due(!waiting.is_empty()).to_owned()
        });
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Outcome {
    submitted: Vec<Submitted>,
    open: Vec<(Ori, Vec<String>)>,
    problems: Vec<String>,
}

async fn submit(place: &Place, args: Submit, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let forms::Read { decided, open, problems, evidence } = forms::read(&args.forms)?;
    let node = place.node()?;
    // Kept before it is named: `ag evidence show` gives it back.
    Evidence::of(node.config())?.keep_files(&evidence).await?;
    let mut outcome =
        Outcome { submitted: Vec::new(), open, problems: problems.iter().map(ToString::to_string).collect() };
    for decision in decided {
        match review::submit(&node, decision, &args.person.user).await {
            Ok(submitted) => outcome.submitted.push(submitted),
            Err(ActError::Refused(why)) => outcome.problems.extend(why),
            Err(error) => return Err(error.into()),
        }
    }
    outcome.problems.dedup();
    out.one(&outcome, |outcome| {
        let mut lines: Vec<String> = outcome
            .submitted
            .iter()
            .map(|it| {
                let ok = if it.all_ok { "all ok" } else { "NOT ok: its renewal cannot be signed" };
                let was = if it.already { "was recorded before" } else { "recorded" };
                format!("{}: {ok}; {was} as {}", it.partner, it.review)
            })
            .collect();
        lines.extend(outcome.open.iter().map(|(ori, items)| format!("{ori}: open: {}", items.join(", "))));
        lines.extend(outcome.problems.iter().map(|problem| format!("NOT TAKEN: {problem}")));
        lines.extend(next_after(outcome, &args.forms));
        lines.join("\n")
    })?;
    Ok(if outcome.problems.is_empty() { Exit::Done } else { Exit::Refused })
}

/// What is to be done after a submission: what it left open first, then what it allows.
fn next_after(outcome: &Outcome, forms: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    if !outcome.open.is_empty() || !outcome.problems.is_empty() {
        let what = if outcome.problems.is_empty() { "decide what is open" } else { "mend what was not taken" };
        let forms = forms.display();
        lines.push(format!("Next: {what}, then again: concordat agreement review submit {forms} --as USER"));
    }
    lines.extend(outcome.submitted.iter().filter(|it| !it.all_ok).map(|it| {
        format!(
            "{}: it mends what is not ok and sends another packet, which `concordat agreement review start` then shows; or \
             decide once more: concordat agreement review start FOLDER --again {}",
            it.partner, it.partner
        )
    }));
    if outcome.submitted.iter().any(|it| it.all_ok) {
        lines
            .push("Next, for those that are all ok: concordat agreement renew --all-due --spread --as USER".to_owned());
    }
    if lines.is_empty() {
        lines.push("There is no form in it: concordat agreement review start FOLDER".to_owned());
    }
    lines
}

fn show(place: &Place, partner: Ori, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let found = review::newest(&mut place.registry()?.reader()?, partner)?;
    let held = found.ok_or_else(|| {
        Problem::refused(
            format!("{partner} was never reviewed"),
            Some("`concordat agreement review list` shows who is to be".to_owned()),
        )
    })?;
    out.one(&json!({"id": held.id, "review": held.review}), |_| {
        let it = &held.review;
        let mut lines = vec![
            format!("Review {}", held.id),
            format!("  of {} by {}, {}", it.partner, it.by, local::shown(it.at)),
            format!("  packet {}", it.packet),
        ];
        lines.extend(it.items.iter().map(|decided| {
            let verdict = match decided.verdict {
                Verdict::Ok => "ok",
                Verdict::NotOk => "NOT OK",
                Verdict::Note => "note",
            };
            let evidence = decided.evidence.map(|digest| format!(" [{digest}]")).unwrap_or_default();
            format!("  {:14} {verdict} {}{evidence}", decided.item, decided.note)
        }));
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use agreements::ids::Digest;

    use super::*;

    #[test]
    fn what_is_next_after_a_submission_is_what_it_left() {
        let partner: Ori = "CA0990100".parse().unwrap();
        let submitted = |all_ok| vec![Submitted { partner, review: Digest::of(b"review"), all_ok, already: false }];
        let said = |submitted, open: bool, problem: bool| {
            let open = if open { vec![(partner, vec!["audit".to_owned()])] } else { Vec::new() };
            let problems = if problem { vec!["reviews/x.toml: no such item".to_owned()] } else { Vec::new() };
            next_after(&Outcome { submitted, open, problems }, Path::new("reviews")).join("\n")
        };
        let (again, renew) = ("concordat agreement review submit reviews", "concordat agreement renew");
        for (submitted, open, problem, says, not) in [
            (submitted(true), false, false, renew, again),
            (Vec::new(), true, false, again, renew),
            (Vec::new(), false, true, "mend what was not taken", renew),
            (submitted(false), false, false, "--again CA0990100", renew),
            (Vec::new(), false, false, "concordat agreement review start FOLDER", renew),
        ] {
            let text = said(submitted, open, problem);
            assert!(text.contains(says) && !text.contains(not), "{text}");
        }
        let both = said(submitted(true), true, false);
        assert!(both.find(again) < both.find(renew) && both.contains(again), "{both}");
    }
}
