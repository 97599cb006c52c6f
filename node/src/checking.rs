//! The whole trail, recomputed in the background: soon after a node starts, and each day from then on. What a start looks at
//! itself is the right edge of the tree and what decisions stand on; this finds whatever else was changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agreements::time::Instant;
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::exchange::Failure;
use crate::jobs::Stop;
use crate::node::{self, Node, OpenError};
use crate::trail::verify::{self, Report, VerifyError};

/// How long after its start a node begins: those who wait for it come first.
const FIRST: Duration = Duration::from_secs(10);
/// How long after the end of one recomputation the next begins.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// For how much of the time it works: one part of so many. The rest is for who asks.
const SHARE: u32 = 4;

/// How far it is, or what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Not begun since the node started.
    Waiting,
    /// So many entries of so many.
    Running {
        /// Done.
        done: u64,
        /// How many there were when it began.
        all: u64,
    },
    /// What was found, and when.
    Done {
        /// When it ended.
        at: Instant,
        /// What was found.
        report: Arc<Report>,
    },
    /// It came to no end.
    Failed {
        /// When.
        at: Instant,
        /// Why.
        why: String,
    },
}

impl Check {
    /// In one sentence.
    #[must_use]
    pub fn says(&self) -> String {
        match self {
            Self::Waiting => "not recomputed yet since the start".to_owned(),
            Self::Running { done, all } => format!("being recomputed: {done} of {all} entries"),
            Self::Done { at, report } if report.is_sound() => {
                format!("recomputed at {at}: all {} entries are sound", report.entries)
            }
            Self::Done { at, report } => {
                let problems = report.unlisted.saturating_add(report.problems.len() as u64);
                format!("recomputed at {at}: {problems} problems in {} entries", report.entries)
            }
            Self::Failed { at, why } => format!("not recomputed at {at}: {why}"),
        }
    }

    /// What somebody has to do about it.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        let report = match self {
            Self::Done { report, .. } => report,
            Self::Failed { why, .. } => {
                return Some(format!(
                    "the trail cannot be recomputed, so that nobody knows whether it is whole: {why}; `concordat trail verify` tries at \
                     once"
                ));
            }
            Self::Waiting | Self::Running { .. } => return None,
        };
        let first = report.problems.first()?;
        let at = first.index.map_or_else(String::new, |index| format!(" (entry {index})"));
        Some(format!(
            "the trail was changed by other hands, first: {}{at}; `concordat trail verify` lists what is wrong. Find out who could, \
             and compare with what partners and witnesses have",
            first.what
        ))
    }
}

/// How it stands with the recomputation of a node's trail.
#[derive(Debug)]
pub struct Checking {
    now: ArcSwap<Check>,
    cancel: AtomicBool,
}

impl Default for Checking {
    fn default() -> Self {
        Self { now: ArcSwap::from_pointee(Check::Waiting), cancel: AtomicBool::new(false) }
    }
}

impl Checking {
    /// How far it is, or what came of it last.
    #[must_use]
    pub fn now(&self) -> Arc<Check> {
        self.now.load_full()
    }
}

/// Why the trail was not recomputed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    Key(#[from] OpenError),
}

/// Recomputes when it is time, until it is told to stop.
pub async fn serve(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let working = tokio::task::spawn_blocking({
            let node = Arc::clone(&node);
            move || check(&node, SHARE)
        });
        tokio::pin!(working);
        let worked = tokio::select! {
            _ = stopped.changed() => {
                node.checking().cancel.store(true, Ordering::Relaxed);
                _ = working.await;
                return;
            }
            worked = &mut working => worked,
        };
        if let Err(error) = worked {
            tracing::error!(%error, "recomputing the trail ended in a panic");
        }
        pause = AGAIN;
    }
}

/// Recomputes once, working for one part in `share` of the time. Blocks.
pub fn check(node: &Node, share: u32) {
    let checking = node.checking();
    let said = match recompute(node, share) {
        Ok(report) => Check::Done { at: node.now(), report: Arc::new(report) },
        Err(CheckError::Verify(VerifyError::Cancelled)) => Check::Waiting,
        Err(error) => Check::Failed { at: node.now(), why: error.to_string() },
    };
    if let Some(alarm) = said.alarm() {
        tracing::error!(alarm, "ALARM");
    } else {
        tracing::info!(what = said.says(), "the trail");
    }
    match &said {
        Check::Done { report, .. } => node.metrics().trail_checked(report.entries, report.problems.len()),
        // No entry was seen to be sound.
        Check::Failed { .. } => node.metrics().trail_checked(0, 1),
        Check::Waiting | Check::Running { .. } => {}
    }
    checking.now.store(Arc::new(said));
}

#[expect(clippy::disallowed_methods, reason = "how long a thread worked and rests is no time of the trail")]
fn recompute(node: &Node, share: u32) -> Result<Report, CheckError> {
    let checking = node.checking();
    let mut conn = node.registry().reader().map_err(Failure::from)?;
    let vkey = node::log_vkey(node.config())?;
    let mut worked = std::time::Instant::now();
    let mut progress = |done, all| {
        checking.now.store(Arc::new(Check::Running { done, all }));
        std::thread::sleep(worked.elapsed().saturating_mul(share.saturating_sub(1)));
        worked = std::time::Instant::now();
    };
    Ok(verify::verify(&mut conn, &vkey, &mut progress, &checking.cancel)?)
}
