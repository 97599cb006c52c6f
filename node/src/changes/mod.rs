//! Changes that open or widen sharing (II-10): one person proposes with a reason and an effective date, a second one
//! approves, and both see what it does to who can get what. What narrows sharing needs one person, and waits for nobody.
//!
//! In scope: proposing, approving, refusing and withdrawing, and carrying out what was approved. Everything is computed from
//! `change.proposed` and `change.settled` entries of the trail; there is no table. Out of scope: what an act itself checks
//! (see [`crate::exchange::lifecycle`]).
//!
//! To add a command: a variant of [`Command`] and an arm in each `match` on it.

mod apply;
pub mod authorizing;
mod preview;
mod record;
mod reopening;
pub mod rules;
mod settle;
mod telling;

use std::fmt;

use agreements::access::Access;
use agreements::decide::OwnerRules;
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::screen;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::{Deserialize, Serialize};

use crate::compliance::Written;
use crate::compliance::reviews::Closing;
use crate::db::{Conn, Tx};
use crate::exchange::failure::Failure;
use crate::exchange::standing::{self, Owner};
use crate::jobs;
use crate::node::{Node, fresh_rid};
use crate::publishing::Lost;
use crate::registry::accounts::{self, Action};
use crate::registry::agreements as documents;
use crate::trail::policy::Policy;
use crate::trail::{Draft, Facts};

pub(crate) use apply::Approved;
pub use record::{Change, State};
pub use settle::{Approval, approve, carry_out, due, refuse, withdraw};

/// A change's id: that of the entry which proposed it.
pub type ChangeId = RequestId;

/// How long a change waits for a second person, in microseconds.
pub const LAPSES: i64 = 30 * Instant::DAY;

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// To sign an agreement, and to authorize once for all what it grants that way.
    Sign {
        /// It.
        agreement: AgreementId,
    },
    /// To lift this agency's own suspension.
    Resume {
        /// Of which agreement.
        agreement: AgreementId,
    },
    /// To authorize again, once for all, what an agreement grants that way (V-16).
    Authorize {
        /// It.
        agreement: AgreementId,
    },
    /// To let the owner's rules be as wide as the configuration now has them.
    WidenRules {
        /// The rules.
        rules: OwnerRules,
    },
    /// To enter that a finding against an agency no longer stands (V-31).
    ClearFinding {
        /// Which agency.
        ori: Ori,
        /// Where that stands written.
        written: Written,
    },
    /// To close an early review of a partner (V-28); the change's reason is what came of it.
    CloseReview {
        /// Which, and what was looked at.
        closing: Closing,
    },
    /// To let another text count as a partner's published policy (V-28).
    AcceptPolicy {
        /// Whose.
        ori: Ori,
        /// SHA-256 of the text.
        text: Digest,
    },
    /// To let time be what the machine's clock says after it has jumped.
    AcceptClock {
        /// What it said when that was proposed.
        says: Instant,
        /// What it would have said without the jump.
        should: Instant,
    },
    /// To open a new epoch of the trail's log, because the registry was restored from a backup.
    OpenEpoch {
        /// The last head that was witnessed.
        last: Lost,
    },
}

impl Command {
    /// What whoever proposes it must be allowed.
    #[must_use]
    pub fn needs(&self) -> Action {
        match self {
            Self::Sign { .. }
            | Self::Resume { .. }
            | Self::Authorize { .. }
            | Self::WidenRules { .. }
            | Self::AcceptClock { .. }
            | Self::OpenEpoch { .. } => Action::ManageAgreements,
            Self::ClearFinding { .. } | Self::CloseReview { .. } | Self::AcceptPolicy { .. } => Action::KeepRegister,
        }
    }

    /// Whether one of the two has to be the custodian (XI-04, XI-05).
    #[must_use]
    pub fn needs_custodian(&self) -> bool {
        match self {
            Self::Sign { .. }
            | Self::Resume { .. }
            | Self::Authorize { .. }
            | Self::WidenRules { .. }
            | Self::ClearFinding { .. }
            | Self::CloseReview { .. }
            | Self::AcceptPolicy { .. }
            | Self::AcceptClock { .. }
            | Self::OpenEpoch { .. } => true,
        }
    }

    /// The agreement that it is about.
    #[must_use]
    pub fn agreement(&self) -> Option<AgreementId> {
        match self {
            Self::Sign { agreement } | Self::Resume { agreement } | Self::Authorize { agreement } => Some(*agreement),
            Self::WidenRules { .. }
            | Self::ClearFinding { .. }
            | Self::CloseReview { .. }
            | Self::AcceptPolicy { .. }
            | Self::AcceptClock { .. }
            | Self::OpenEpoch { .. } => None,
        }
    }

    /// The agency whose compliance it is about.
    #[must_use]
    pub fn agency(&self) -> Option<Ori> {
        match self {
            Self::ClearFinding { ori, .. } | Self::AcceptPolicy { ori, .. } => Some(*ori),
            Self::Sign { .. }
            | Self::Resume { .. }
            | Self::Authorize { .. }
            | Self::WidenRules { .. }
            | Self::CloseReview { .. }
            | Self::AcceptClock { .. }
            | Self::OpenEpoch { .. } => None,
        }
    }

    /// The written name, such as `sign`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "sign",
            Self::Resume { .. } => "resume",
            Self::Authorize { .. } => "authorize",
            Self::WidenRules { .. } => "widen_rules",
            Self::ClearFinding { .. } => "clear_finding",
            Self::CloseReview { .. } => "close_review",
            Self::AcceptPolicy { .. } => "accept_policy",
            Self::AcceptClock { .. } => "accept_clock",
            Self::OpenEpoch { .. } => "open_epoch",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sign { agreement } => write!(f, "sign agreement {agreement}"),
            Self::Resume { agreement } => write!(f, "resume agreement {agreement}"),
            Self::Authorize { agreement } => write!(f, "authorize the standing grants of agreement {agreement}"),
            Self::WidenRules { .. } => f.write_str("widen the owner's rules"),
            Self::ClearFinding { ori, .. } => write!(f, "clear a finding against {ori}"),
            Self::CloseReview { closing } => write!(f, "close the early review {}", closing.review),
            Self::AcceptPolicy { ori, .. } => write!(f, "accept the policy that {ori} publishes"),
            Self::OpenEpoch { last } => write!(f, "open a new epoch after {} entries of {}", last.size, last.origin),
            Self::AcceptClock { says, should } => write!(f, "accept that it is {says} where it would be {should}"),
        }
    }
}

/// Where everything stood that a change was decided on. A finding, a review or a policy is in the hash of what was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positions {
    /// The agreement, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Position>,
    /// SHA-256 over who could get what before and after, as it was shown.
    pub shown: Digest,
}

/// Where an agreement stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Which.
    pub id: AgreementId,
    /// Its revision.
    pub revision: u32,
    /// SHA-256 of its document.
    pub document: Digest,
    /// How many events of ours there were.
    pub ours: u32,
    /// How many of the partner's.
    pub theirs: u32,
}

/// The message of a `change.proposed` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposed {
    /// Version of this message.
    pub v: u16,
    /// What.
    pub command: Command,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// From when on.
    pub effective_at: Instant,
    /// What it stands on.
    pub on: Positions,
    /// What it does to who can get what, as it was shown, one line each.
    pub shows: Vec<String>,
    /// Who could get what of those whom it touches, without it.
    pub before: Vec<Access>,
    /// And with it.
    pub after: Vec<Access>,
}

/// The message of a `change.settled` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// Version of this message.
    pub v: u16,
    /// Which change; none where this node held to its configuration's rules by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// How.
    pub outcome: Outcome,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// A second person approved it; it is carried out at its effective date.
    Approved {
        /// Who.
        by: String,
    },
    /// It was carried out.
    Applied {
        /// Who approved it.
        by: String,
    },
    /// A second person refused it.
    Refused {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It was taken back.
    Withdrawn {
        /// By whom.
        by: String,
    },
    /// It was approved, and at its effective date it could not be carried out.
    Overtaken {
        /// Why.
        why: Vec<String>,
    },
    /// Somebody tried to approve it who must not: it waits as before.
    NotApproved {
        /// Who.
        by: String,
        /// Why not.
        why: String,
    },
    /// These are the owner's rules that count from here on: the first of the configuration, narrower ones than before, or
    /// wider ones by a change.
    Adopted {
        /// They.
        rules: OwnerRules,
    },
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A rule refuses it; each sentence says what to do.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// It failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

pub(crate) type Refusable<T> = Result<T, Vec<String>>;

#[expect(clippy::unnecessary_wraps, reason = "it ends a transaction's job, which may fail")]
fn no<T>(why: impl Into<String>) -> QueryResult<Refusable<T>> {
    Ok(Err(vec![why.into()]))
}

/// What a reason must be, wherever one is asked for.
pub(crate) fn reasoned(reason: &str) -> Result<(), String> {
    if screen::substantive(reason) {
        return Ok(());
    }
    Err(format!(
        "the reason is too vague to be checked later: say in two words or more, and at most {} characters, what happened or \
         what was found",
        screen::MAX_REASON
    ))
}

/// Proposes a change, effective as soon as a second person approves it.
///
/// # Errors
/// `by` may not, the reason says nothing, or the change would be refused whoever approved it.
pub async fn propose(node: &Node, command: Command, by: &str, reason: &str) -> Result<ChangeId, ChangeError> {
    Ok(propose_from(node, command, by, reason, None).await?.id)
}

/// The same, effective from an instant on, as it now stands in the trail.
///
/// # Errors
/// As [`propose`].
pub async fn propose_from(
    node: &Node,
    command: Command,
    by: &str,
    reason: &str,
    from: Option<Instant>,
) -> Result<Change, ChangeError> {
    if let Command::Sign { agreement } = &command
        && let Some(why) = other_witnesses(node, *agreement)?
    {
        return Err(ChangeError::Refused(vec![why]));
    }
    let (owner, by, reason) = (node.owner().clone(), by.to_owned(), reason.to_owned());
    let told = telling::Told::of(node);
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<Change>> {
        let proposed = proposing(tx, &owner, command, &by, &reason, from)?;
        if let Ok(change) = &proposed {
            telling::waits(tx, &told, change)?;
        }
        Ok(proposed)
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    let change = recorded.into_inner().map_err(ChangeError::Refused)?;
    node.bell().ring_for(jobs::MAIL);
    Ok(change)
}

/// Why an agreement is not signed that goes by other witnesses than this node does: nothing could flow under it.
fn other_witnesses(node: &Node, id: AgreementId) -> Result<Option<String>, Failure> {
    let Some(found) = standing::verified(&mut node.registry().reader()?, id)? else { return Ok(None) };
    let demanded = found.agreement.witness_policy();
    let own = node.watch().policy().map(Policy::sha256);
    Ok((demanded != own).then(|| match (demanded, own) {
        (Some(demanded), None) => format!(
            "it names witness policy {demanded}, and this node has none: set trail.witness_policy to the federation's file"
        ),
        (Some(demanded), Some(own)) => {
            format!("it names witness policy {demanded}, and this node's is {own}: agree on one file, and draft it again")
        }
        (None, _) => "it names no witness policy, and this node has one: draft it again with it".to_owned(),
    }))
}

fn proposing(
    tx: &mut Tx<'_>,
    owner: &Owner,
    command: Command,
    by: &str,
    reason: &str,
    from: Option<Instant>,
) -> QueryResult<Refusable<Change>> {
    let now = tx.now();
    if let Err(why) = accounts::operator(tx.conn(), by, command.needs())? {
        return no(why);
    }
    if let Err(why) = reasoned(reason) {
        return no(why);
    }
    if from.is_some_and(|from| from < now) {
        return no("the effective date is past: leave it out, and the change takes effect when it is approved");
    }
    let known = match partner_of(tx.conn(), &command)? {
        Some(partner) => record::alike(tx.conn(), &command, partner)?,
        None => record::read(tx.conn())?,
    };
    let known = match known {
        Ok(known) => known,
        Err(what) => return no(what),
    };
    let waits = |change: &&Change| change.state(now).waits() && change.proposed.command == command;
    if let Some(same) = known.iter().find(waits) {
        return no(format!(
            "the same was proposed already, by {} at {}: `concordat change show {}`",
            same.proposed.by, same.at, same.id
        ));
    }
    let effective_at = from.unwrap_or(now);
    let shown = match preview::of(tx.conn(), owner, &command, effective_at, now)? {
        Ok(shown) => shown,
        Err(why) => return Ok(Err(why)),
    };
    rules::adopt(tx, &owner.rules)?;
    let proposed = Proposed {
        v: 1,
        command,
        by: by.to_owned(),
        reason: reason.to_owned(),
        effective_at,
        on: shown.positions,
        shows: shown.lines,
        before: shown.before,
        after: shown.after,
    };
    let id = append(tx, Kind::ChangeProposed, &proposed, by, shown.partner, "proposed")?;
    Ok(Ok(Change { id, at: now, proposed, settled: Vec::new() }))
}

/// With whom the agreement is that a command is about, where it is about one.
fn partner_of(conn: &mut Conn, command: &Command) -> QueryResult<Option<Ori>> {
    match command.agreement() {
        Some(id) => documents::partner(conn, id),
        None => Ok(None),
    }
}

/// Appends the entry of a step in the life of a change.
fn append<M: Serialize>(
    tx: &mut Tx<'_>,
    kind: Kind,
    message: &M,
    by: &str,
    partner: Option<Ori>,
    decision: &str,
) -> QueryResult<RequestId> {
    let facts = Facts {
        partner,
        username: (!by.is_empty()).then(|| by.to_owned()),
        decision: Some(decision.to_owned()),
        ..Facts::default()
    };
    let rid = fresh_rid(tx.now())?;
    let message = crate::exchange::answer::canonical(message)?;
    tx.append(Draft { kind, rid, message, note: b"{}".to_vec(), facts })?;
    Ok(rid)
}

/// Every change, oldest first; the inner error says which entry is not as it was recorded.
pub fn all(conn: &mut Conn) -> QueryResult<Result<Vec<Change>, String>> {
    record::read(conn)
}
