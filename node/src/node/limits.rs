//! What keeps one partner, or a stranger, from taking more than its share: rates, requests in work, and one entry a minute
//! for all that is refused without one of its own.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use agreements::entry::Kind;
use agreements::ids::Ori;
use diesel::result::Error;

use super::rate::Questions;
use super::{Node, fresh_rid};
use crate::exchange::Failure;
use crate::trail::{Draft, Facts};

/// How many introductions of an agency are heard in a second.
pub(super) const INTRODUCTIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// What was refused without an entry of its own since the last aggregate entry.
#[derive(Debug, Default)]
pub(super) struct RefusedCounts {
    strangers: AtomicU64,
    limited: AtomicU64,
    unsworn: AtomicU64,
}

/// A request that was refused without an entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// Of somebody who is not enrolled, or of an agent without a token that counts.
    Stranger,
    /// Over a partner's rate or its requests in work.
    Limited,
    /// Of a partner, and not sworn.
    Unsworn,
}

impl Node {
    /// Whether somebody with a certificate of this agency, and another key than the known one, comes too often to be heard.
    /// Counts one.
    #[must_use]
    pub fn over_introductions(&self, ori: Ori) -> bool {
        self.introductions.check_key(&ori).is_err()
    }

    /// Whether a partner is over the owner's rate of questions. Counts one.
    #[must_use]
    pub fn over_rate(&self, partner: Ori) -> bool {
        self.questions.load().over(partner)
    }

    /// Counts partners' questions against this many a minute from now on: the owner's rules that count may have changed.
    pub fn set_rate(&self, per_minute: u32) {
        if self.questions.load().per_minute() != per_minute {
            self.questions.store(Arc::new(Questions::at(per_minute)));
        }
    }

    /// Takes a place for one request of a partner; `None` when it is over its rate or its requests in work. The place is
    /// free again when the guard is dropped.
    pub fn admit(self: &Arc<Self>, partner: Ori) -> Option<Place> {
        if self.requests.check_key(&partner).is_err() {
            return None;
        }
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let used = in_flight.entry(partner).or_default();
        if *used >= self.config.peer.in_flight.get() {
            return None;
        }
        *used += 1;
        Some(Place { node: Arc::clone(self), partner })
    }

    /// Counts what is refused without an entry of its own.
    pub fn count(&self, what: Uncounted) {
        let counter = match what {
            Uncounted::Stranger => &self.refused.strangers,
            Uncounted::Limited => &self.refused.limited,
            Uncounted::Unsworn => &self.refused.unsworn,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes one entry about all that was refused without one since the last, if anything was: so nobody can fill the
    /// trail, and nothing goes unseen. A running node does so every minute.
    ///
    /// # Errors
    /// Not recorded; the counts are kept for the next time.
    pub async fn record_refused(&self) -> Result<(), Failure> {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let counts = [take(&self.refused.strangers), take(&self.refused.limited), take(&self.refused.unsworn)];
        if counts == [0; 3] {
            return Ok(());
        }
        let [strangers, limited, unsworn] = counts;
        let message = serde_json::json!({"limited": limited, "strangers": strangers, "unsworn": unsworn, "v": 1});
        let job = move |tx: &mut crate::db::Tx<'_>| {
            let message =
                agreements::json::canonical(&message).map_err(|error| Error::SerializationError(error.into()))?;
            let rid = fresh_rid(tx.now())?;
            tx.append(Draft { kind: Kind::RefusedCounted, rid, message, note: b"{}".to_vec(), facts: Facts::default() })
        };
        if let Err(error) = self.registry.record(job).await {
            self.refused.strangers.fetch_add(strangers, Ordering::Relaxed);
            self.refused.limited.fetch_add(limited, Ordering::Relaxed);
            self.refused.unsworn.fetch_add(unsworn, Ordering::Relaxed);
            return Err(error.into());
        }
        Ok(())
    }
}

/// A partner's request in work.
#[derive(Debug)]
pub struct Place {
    node: Arc<Node>,
    partner: Ori,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut in_flight = self.node.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = in_flight.get_mut(&self.partner) {
            *used = used.saturating_sub(1);
        }
    }
}
