//! Carrying out what two people decided.

use agreements::time::Instant;
use diesel::result::QueryResult;

use super::{Change, Command, Refusable, authorizing, rules};
use crate::compliance::{self, policies, reviews};
use crate::db::Tx;
use crate::epoch;
use crate::exchange::lifecycle::{self, Act, Actor};

/// That two people decided a change: only an approval makes one.
pub(crate) struct Approved<'a> {
    change: &'a Change,
    by: &'a str,
    custodian: &'a str,
}

impl<'a> Approved<'a> {
    /// Only for [`super::settle`], after it looked at everything.
    pub(super) fn new(change: &'a Change, by: &'a str, custodian: &'a str) -> Self {
        Self { change, by, custodian }
    }

    /// The change.
    pub(crate) fn change(&self) -> &Change {
        self.change
    }

    /// Who proposed it.
    pub(crate) fn proposed_by(&self) -> &str {
        &self.change.proposed.by
    }

    /// Who approved it.
    pub(crate) fn approved_by(&self) -> &str {
        self.by
    }

    /// Which of the two is the custodian.
    pub(crate) fn custodian(&self) -> &str {
        self.custodian
    }
}

/// Does it, in the transaction that records the approval.
pub(super) fn apply(tx: &mut Tx<'_>, actor: &Actor, approved: &Approved<'_>) -> QueryResult<Refusable<()>> {
    let proposed = &approved.change.proposed;
    match &proposed.command {
        Command::Sign { agreement } => {
            if let Err(why) = lifecycle::say_decided(tx, actor, *agreement, &Act::Sign, approved)? {
                return Ok(Err(why));
            }
            authorizing::give(tx, actor.us, *agreement, approved)
        }
        Command::Resume { agreement } => {
            let act = Act::Resume { reason: proposed.reason.clone() };
            lifecycle::say_decided(tx, actor, *agreement, &act, approved)
        }
        Command::Authorize { agreement } => authorizing::give(tx, actor.us, *agreement, approved),
        Command::WidenRules { rules } => {
            rules::count(tx, Some(approved.change.id), rules.clone())?;
            Ok(Ok(()))
        }
        Command::ClearFinding { ori, written } => {
            told(compliance::apply_clearing(tx, &actor.seal, *ori, written, approved)?)
        }
        Command::CloseReview { closing } => told(reviews::apply_closing(tx, closing, approved)?),
        // The clock follows once that is recorded: see `super::settle`.
        Command::AcceptClock { .. } => Ok(Ok(())),
        Command::OpenEpoch { last } => epoch::open(tx, actor.opening.as_ref(), last, approved),
        Command::AcceptPolicy { ori, text } => told(policies::apply_acceptance(tx, *ori, *text, approved)?),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends a transaction's job, which may fail")]
fn told(done: Result<(), String>) -> QueryResult<Refusable<()>> {
    Ok(done.map_err(|why| vec![why]))
}

/// Whether its effective date has come.
pub(super) fn is_due(change: &Change, now: Instant) -> bool {
    change.proposed.effective_at <= now
}
