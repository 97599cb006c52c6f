//! Whether anybody else says that it is the time that this node's clock says: what cannot be undone is not done by one clock.
//!
//! A machine may start with any time at all, and then nothing here knows better (see [`crate::steady`]). Where a quorum of a
//! witness policy vouches for the trail, it vouches for the time. Where none does, enrolled partners are asked what time it is
//! there. What they say is a reason to go on or not to; it never moves a clock.

use std::sync::atomic::{AtomicBool, Ordering};

use agreements::ids::{AgreementId, Ori};
use agreements::status::Status;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::db::{Conn, DbError};
use crate::exchange::partner::Partner;
use crate::exchange::standing;
use crate::exchange::versions::Described;
use crate::node::Node;
use crate::registry::agreements as documents;

/// So far apart two clocks may be and still agree, in microseconds.
pub const APART: i64 = 5 * Instant::MINUTE;
/// How many partners are asked at once.
const AT_ONCE: usize = 16;

/// Why what needs the right time is not done.
#[derive(Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// Nobody said what time it is.
    #[error(
        "nobody confirms the clock: it says {now}, no quorum of a witness policy vouches for that, and none of {asked} enrolled \
         partners said what time it is there"
    )]
    Nobody {
        /// What our clock says.
        now: Instant,
        /// How many were asked.
        asked: usize,
    },
    /// Somebody says another time.
    #[error("the clock is not confirmed: it says {now}, and at {partner} it is {there}")]
    Differs {
        /// What our clock says.
        now: Instant,
        /// Who.
        partner: Ori,
        /// What its clock says.
        there: Instant,
    },
    /// An agreement in force promises witnesses, and this node has none.
    #[error("the agreement {0} names a witness policy, and this node's configuration names none")]
    NoPolicy(AgreementId),
    /// The caller stopped it.
    #[error("it was stopped while partners were asked what time it is there")]
    Stopped,
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// The registry failed.
    #[error("the registry: {0}")]
    Store(#[from] Error),
}

impl Unconfirmed {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Nobody { .. } => {
                "look at the clock (`timedatectl`), have one partner's node reached (`concordat doctor`) or name a witness \
                 policy (trail.witness_policy), and run it again"
            }
            Self::Differs { .. } => {
                "set the wrong one of the two clocks right (`timedatectl` here, `concordat doctor` for the way there), and run it \
                 again"
            }
            Self::NoPolicy(_) => "put the federation's policy file into trail.witness_policy, and run it again",
            Self::Stopped => "run it again",
            Self::Open(_) | Self::Store(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// What one partner's clock says, beside ours before and after it was asked.
struct Heard {
    partner: Ori,
    before: Instant,
    there: Instant,
    after: Instant,
}

impl Heard {
    fn agrees(&self) -> bool {
        // What lies between asking and hearing is no difference.
        self.before.since(self.there) <= APART && self.there.since(self.after) <= APART
    }
}

/// That others say that it is the time that this node's clock says: a quorum of its witness policy, or at least one enrolled
/// partner that is asked now, while none of those that answer says otherwise.
///
/// # Errors
/// See [`Unconfirmed`].
pub async fn confirmed(node: &Node, stop: &AtomicBool) -> Result<(), Unconfirmed> {
    if witnessed(node) {
        return Ok(());
    }
    let mut conn = node.registry().reader()?;
    if node.watch().policy().is_none()
        && let Some(id) = promised(&mut conn, node.now())?
    {
        return Err(Unconfirmed::NoPolicy(id));
    }
    node.refresh_partners(&mut conn)?;
    drop(conn);
    let partners = node.partners();
    let all: Vec<_> = partners.all().collect();
    let asked = all.len();
    let mut hearing = stream::iter(all).map(|partner| ask(node, partner)).buffer_unordered(AT_ONCE);
    let mut confirmed = false;
    while let Some(heard) = hearing.next().await {
        if stop.load(Ordering::SeqCst) {
            return Err(Unconfirmed::Stopped);
        }
        match heard {
            None => {}
            Some(heard) if heard.agrees() => confirmed = true,
            Some(Heard { partner, there, after, .. }) => {
                return Err(Unconfirmed::Differs { now: after, partner, there });
            }
        }
    }
    if confirmed { Ok(()) } else { Err(Unconfirmed::Nobody { now: node.now(), asked }) }
}

/// Whether a quorum of witnesses signed a head lately, by their clocks and by ours.
fn witnessed(node: &Node) -> bool {
    let (watch, now) = (node.watch(), node.now());
    // A policy that asks for no witness vouches for nothing: its quorum is of a time that never comes.
    let since = watch.policy().and_then(|_| watch.cosigned().since);
    since.is_some_and(|since| since.since(now) <= APART) && watch.may_disclose(now).is_ok()
}

/// An agreement in force that names a witness policy.
fn promised(conn: &mut Conn, now: Instant) -> QueryResult<Option<AgreementId>> {
    for id in documents::ids(conn, None)? {
        let named = documents::find(conn, id)?.is_some_and(|(_, agreement)| agreement.witness_policy().is_some());
        if named && matches!(standing::status(conn, id, now)?, Status::InForce { .. }) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// What time it is there; `None` where it does not say. Nobody is dialled but the holder of the pinned key.
async fn ask(node: &Node, partner: &Partner) -> Option<Heard> {
    let before = node.now();
    let reply = node.dialer().get(partner, "node").await.ok().filter(|reply| reply.status == 200)?;
    let described: Described = serde_json::from_slice(&reply.body).ok()?;
    Some(Heard { partner: partner.ori(), before, there: described.at?, after: node.now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_are_agreement_and_what_lies_between_asking_and_hearing_is_no_difference() {
        let at = |micros: i64| "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(micros);
        let partner: Ori = "CA0990100".parse().unwrap();
        let agrees =
            |there| Heard { partner, before: at(0), there: at(there), after: at(10 * Instant::SECOND) }.agrees();
        assert!(agrees(0) && agrees(-APART) && agrees(APART + 10 * Instant::SECOND));
        assert!(!agrees(-APART - 1) && !agrees(APART + 10 * Instant::SECOND + 1));
    }
}
