//! `concordat jobs`: what the node does by itself, what came of it, and one of it now.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Explain};
use super::place::Place;
use super::{Output, Problem, local};
use crate::jobs::{self, Job, NotRun, TABLE};
use crate::registry::job_runs::{self, Outcome, Run};
use agreements::time::Instant;

/// See and run what the node does by itself.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Show every job: its schedule (UTC, seconds first), its last run, and when it is due next
    #[command(after_help = "Example:\n  concordat --dir alder jobs list")]
    List,
    /// Run a job now, due or not. If it is running already, here or in another process, it is not run twice
    #[command(after_help = "Example:\n  concordat --dir alder jobs run reminders")]
    Run(RunNow),
}

/// Arguments of `jobs run`.
#[derive(Debug, Args)]
pub struct RunNow {
    /// The job; `concordat jobs list` says what each does
    #[arg(value_parser = PossibleValuesParser::new(TABLE.iter().map(|job| job.name)))]
    name: String,
}

#[derive(Serialize)]
struct Shown {
    name: &'static str,
    about: &'static str,
    schedule: String,
    last: Option<Run>,
    next: Instant,
}

#[derive(Serialize)]
struct Done<'a> {
    job: &'a str,
    outcome: Outcome,
    applied: usize,
    said: &'a Option<String>,
}

impl Explain for NotRun {
    fn exit(&self) -> Exit {
        match self {
            Self::Running { .. } | Self::Overtaken(_) => Exit::Refused,
            Self::Failed(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::Running { .. }).then(|| "wait, then look with `concordat jobs list`".to_owned())
    }
}

pub(super) async fn run(place: &Place, command: JobsCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        JobsCommand::List => list(place, out),
        JobsCommand::Run(RunNow { name }) => run_now(place, &name, out).await,
    }
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut conn = place.registry()?.reader()?;
    let now = place.now();
    let shown = |job: &Job| {
        let last = job_runs::newest(&mut conn, job.name, now, 1)?.into_iter().next();
        let schedule = job.schedule.to_string();
        Ok(Shown { name: job.name, about: job.about, schedule, last, next: job.schedule.next(now) })
    };
    let items: Vec<Shown> = TABLE.iter().map(shown).collect::<Result<_, diesel::result::Error>>()?;
    out.list(&["job", "does", "schedule", "last run", "outcome", "said", "next"], &items, |item| {
        let last = item.last.as_ref();
        let outcome = last.map_or("never ran", |run| match run.outcome {
            Some(Outcome::Done) => "done",
            Some(Outcome::Failed) => "failed",
            Some(Outcome::Abandoned) => "abandoned",
            None if run.lives(now) => "running",
            None => "its process died",
        });
        vec![
            item.name.to_owned(),
            item.about.to_owned(),
            item.schedule.clone(),
            last.map(|run| local::shown(run.started_at)).unwrap_or_default(),
            outcome.to_owned(),
            last.and_then(|run| run.error.clone()).unwrap_or_default(),
            local::shown(item.next),
        ]
    })?;
    Ok(Exit::Done)
}

async fn run_now(place: &Place, name: &str, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Some(job) = TABLE.iter().find(|job| job.name == name) else {
        return Err(Problem::usage(format!("there is no job {name}"), Some("see `concordat jobs list`".to_owned())));
    };
    let node = place.node()?;
    let report = jobs::driver(&node).run_now(job).await?;
    if report.outcome != Outcome::Done {
        return Err(Problem::failure(format!("{name} failed: {}", report.said.unwrap_or_default()), None));
    }
    let done = Done { job: report.job, outcome: report.outcome, applied: report.applied, said: &report.said };
    out.one(&done, |done| {
        let operations = match done.applied {
            0 => "nothing was to be done".to_owned(),
            1 => "1 operation".to_owned(),
            count => format!("{count} operations"),
        };
        let said = done.said.as_ref().map(|said| format!("\n{said}")).unwrap_or_default();
        format!("{}: done, {operations}.{said}", done.job)
    })?;
    Ok(Exit::Done)
}
