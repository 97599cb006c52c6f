//! Partners' questions, counted against the owner's rate.

use std::num::NonZeroU32;

use agreements::ids::Ori;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Counts the questions of each partner.
pub(super) struct Questions {
    per_minute: u32,
    limiter: DefaultKeyedRateLimiter<Ori>,
}

impl Questions {
    /// None so far, of so many a minute.
    pub(super) fn at(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self { per_minute, limiter: RateLimiter::keyed(quota) }
    }

    /// How many a minute.
    pub(super) fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Whether one more is too many. Counts it.
    pub(super) fn over(&self, partner: Ori) -> bool {
        self.limiter.check_key(&partner).is_err()
    }
}
