//! What came of a question, as the person who asked is shown it.

use agreements::ids::{Digest, Ori, RequestId};
use agreements::message::{Cap, RuleSaid};
use agreements::status::Status;
use serde::Serialize;

use crate::reads::Read;

/// What came of a question.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The id of the question; absent when it did not leave this node.
    pub question: Option<RequestId>,
    /// One line for each partner.
    pub lines: Vec<Line>,
}

/// What one partner gave.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The partner.
    pub ori: Ori,
    /// Its name, where it is enrolled.
    pub name: Option<String>,
    /// What it gave.
    #[serde(flatten)]
    pub gave: Gave,
}

/// What a partner gave, or why it gave nothing.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Gave {
    /// Reads, newest first; perhaps none.
    Reads {
        /// Them.
        reads: Vec<Read>,
        /// Which limits cut the question down.
        capped: Vec<Cap>,
        /// The leaf hash of its answer: the receipt.
        receipt: Digest,
    },
    /// A no.
    Denied {
        /// By which rules.
        rules: Vec<RuleSaid>,
        /// Where the agreement stands, when that is why.
        status: Option<Status>,
        /// The leaf hash of its answer.
        receipt: Digest,
    },
    /// Its custodian decides.
    Referred {
        /// To ask for the outcome with.
        ticket: RequestId,
        /// By which rules.
        rules: Vec<RuleSaid>,
        /// The leaf hash of its answer.
        receipt: Digest,
    },
    /// Permitted, and overtaken before it could be recorded.
    Withheld {
        /// Where the agreement stood.
        status: Status,
        /// The leaf hash of its answer.
        receipt: Digest,
    },
    /// Not asked: no agreement in force grants it.
    NotAsked {
        /// Why, in words.
        why: String,
    },
    /// No reply.
    Unreachable {
        /// Why.
        why: String,
    },
    /// A reply that proves nothing, and so counts for nothing.
    Invalid {
        /// Why.
        why: String,
    },
}

impl Gave {
    /// One word for the trail and the metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reads { .. } => "permitted",
            Self::Denied { .. } => "denied",
            Self::Referred { .. } => "referred",
            Self::Withheld { .. } => "withheld",
            Self::NotAsked { .. } => "not_asked",
            Self::Unreachable { .. } => "unreachable",
            Self::Invalid { .. } => "invalid",
        }
    }
}
