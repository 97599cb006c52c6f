//! What is wrong with a node, and what to do: its own files and stores, and the way to each partner.
//!
//! In scope: looking, from the first thing that can be wrong (a name that DNS does not know) to the last (a trail that
//! was rolled back), each look bounded in time, with its fix. Nothing is changed, and no data is asked for.
//! Out of scope: mending, and recomputing the whole trail (`concordat trail verify`).

mod files;
mod partner;
mod ports;
mod probe;
mod standing;
mod stores;
mod witnesses;

use std::path::Path;
use std::sync::Arc;

use agreements::screen;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;

pub use files::{Survey, survey};
pub use partner::partner;
pub use stores::would_change;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It needs something before that can be looked at, which is not as it should be.
    NotTried,
    /// It works now; a person has to do something about it.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    /// As a table shows it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotTried => "not tried",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of whom: `this node`, or a partner's ORI.
    pub of: String,
    /// The check's name.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What checks found so far.
#[derive(Debug)]
pub struct Findings {
    of: String,
    found: Vec<Finding>,
}

impl Findings {
    /// None yet, of this node.
    fn of_this_node() -> Self {
        Self { of: "this node".to_owned(), found: Vec::new() }
    }

    /// None yet, of a partner.
    fn of_partner(ori: agreements::ids::Ori) -> Self {
        Self { of: ori.to_string(), found: Vec::new() }
    }

    fn push(&mut self, check: &'static str, verdict: Verdict, says: impl Into<String>, fix: Option<String>) {
        self.found.push(Finding { of: self.of.clone(), check, verdict, says: says.into(), fix });
    }

    fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.push(check, Verdict::Ok, says, None);
    }

    fn warn(&mut self, check: &'static str, says: impl Into<String>, fix: impl Into<String>) {
        self.push(check, Verdict::Warn, says, Some(fix.into()));
    }

    fn fail(&mut self, check: &'static str, says: impl Into<String>, fix: impl Into<String>) {
        self.push(check, Verdict::Fail, says, Some(fix.into()));
    }

    /// Says of each of `checks` that it was not tried, because of what was found before.
    fn not_tried(&mut self, checks: &[&'static str], because: &str) {
        for check in checks {
            self.push(check, Verdict::NotTried, because, None);
        }
    }

    /// Whether one of this name is there that is not as it should be.
    fn has_failed(&self, check: &str) -> bool {
        self.found.iter().any(|finding| finding.check == check && finding.verdict == Verdict::Fail)
    }

    fn into_vec(self) -> Vec<Finding> {
        self.found
    }
}

/// Whether something does not work.
#[must_use]
pub fn any_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Fail)
}

/// Everything about this node itself: what [`survey`] says about the files in `folder`, the stores, the ports. The
/// configuration, when it can be used.
pub async fn own(folder: &Path, clock: &Arc<dyn Clock>) -> (Option<Config>, Vec<Finding>) {
    let Survey { config, whole, findings, own, trust } = survey(folder, clock.now());
    let mut found = Findings { of: "this node".to_owned(), found: findings };
    if let Some(config) = &config {
        if whole {
            stores::look(&mut found, config, clock.now());
        } else {
            found.not_tried(&stores::CHECKS, "concordat.toml is not as it should be");
        }
        ports::serving(&mut found, config, own.as_ref().zip(trust.as_ref()), clock).await;
        let terms = screen::terms().len();
        found.ok("screen", format!("questions are screened by list {} of {terms} sensitive terms", screen::version()));
    }
    (config.filter(|_| whole), found.into_vec())
}
