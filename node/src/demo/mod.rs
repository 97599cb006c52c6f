//! The demonstration: three fictional agencies on one machine, each with a node of its own, and what they may and may
//! not do to each other.
//!
//! In scope: everything real but the agencies and their reads: mutual TLS on loopback, SQLite, trails, signatures.
//! Out of scope: any code that only the demo runs through. It calls the services that the doors and commands call.

pub mod agency;
mod asking;
mod crop;
pub mod generator;
mod page;
mod stage;
mod steps;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::SystemClock;
use asking::{Asking, REASON};
use page::Page;
use stage::{Stage, shared_plate};
use steps::{STEPS, Step};

/// How the demo runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its folder, empty or absent; a temporary one, which is removed at the end, when none is given.
    pub dir: Option<PathBuf>,
    /// End after the last step.
    pub once: bool,
    /// Print one object for each step and nothing else.
    pub json: bool,
}

/// Shows every step on `out`. Whether each did what it should: those that did not are said there. Without
/// [`Options::once`] the nodes then serve until Ctrl-C. To be called inside an actix system.
///
/// # Errors
/// The folder is not empty or cannot be made, or `out` cannot be written. A step that fails is no error.
pub async fn run(options: Options, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = Folder::of(options.dir.as_deref())?;
    let mut stage = Stage::new(folder.path.clone(), Arc::new(SystemClock));
    let mut page = Page::new(out, options.json);
    page.title(&folder.path)?;
    let played = show(&mut stage, &mut page, &options, &folder).await;
    stage.close().await;
    let failed = played?;
    if let Some(temporary) = folder.temporary {
        temporary.close().context("the temporary folder could not be removed")?;
    }
    Ok(failed.is_empty())
}

async fn show(
    stage: &mut Stage,
    page: &mut Page<'_>,
    options: &Options,
    folder: &Folder,
) -> anyhow::Result<Vec<&'static str>> {
    let failed = play(stage, &STEPS, page).await?;
    page.summary(STEPS.len(), &failed)?;
    if !options.once && stage.sites.is_some() {
        invite(stage, page, folder.temporary.is_some())?;
        tokio::signal::ctrl_c().await?;
        page.say("Stopping.")?;
    }
    Ok(failed)
}

/// Plays `steps` in their order. The names of those that failed, or were not tried because others did.
async fn play(stage: &mut Stage, steps: &[Step], page: &mut Page<'_>) -> std::io::Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for (step, number) in steps.iter().zip(1..) {
        page.heading(number, step.title)?;
        let result = match step.needs.iter().find(|need| failed.contains(*need)) {
            Some(need) => Err(format!("not tried: it needs the step `{need}`, which failed")),
            None => (step.act)(stage, page).await.map_err(|error| format!("{error:#}")),
        };
        page.outcome(step.name, &result)?;
        if result.is_err() {
            failed.push(step.name);
        }
    }
    Ok(failed)
}

/// How to go on by hand.
fn invite(stage: &Stage, page: &mut Page<'_>, temporary: bool) -> anyhow::Result<()> {
    let sites = stage.sites()?;
    page.paragraph("The three nodes go on serving. Query by hand, from another terminal:")?;
    page.typed(&format!("D={}", stage.root.display()))?;
    let plate = shared_plate()?;
    let asking = Asking { plate: &plate, whom: sites.alder.ori(), reason: REASON, days: 30 };
    page.typed(&asking.command(&sites.birch, "$D")?)?;
    page.paragraph("Their consoles:")?;
    for site in [&sites.alder, &sites.birch, &sites.cedar] {
        if let Some(running) = &site.running {
            page.say(&format!("http://{}/  {}", running.console, site.titled()))?;
        }
    }
    let end = if temporary { "Ctrl-C stops them and removes the folder." } else { "Ctrl-C stops them." };
    Ok(page.paragraph(end)?)
}

/// Where the demo plays.
struct Folder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn of(dir: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = dir else {
            let temporary = tempfile::Builder::new().prefix("concordat-demo-").tempdir()?;
            return Ok(Self { path: temporary.path().canonicalize()?, temporary: Some(temporary) });
        };
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let used = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_some();
        anyhow::ensure!(
            !used,
            "{} is not empty: name an empty folder, or one that does not exist, with --dir",
            dir.display()
        );
        Ok(Self { path: dir.canonicalize()?, temporary: None })
    }
}

#[cfg(test)]
mod tests;
