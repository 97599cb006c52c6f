//! The one place where the real clock is read. Everything else takes an [`Instant`] or a [`Clock`].

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use agreements::time::Instant;

/// A source of the current time. Injected everywhere; one per node.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Instant;

    /// Microseconds since the machine started, which nobody sets. A clock without such a count never seems to jump.
    fn ticks(&self) -> i64 {
        self.now().micros()
    }

    /// Since which start of which machine [`Self::ticks`] counts; `None` where that means nothing to other processes.
    fn boot(&self) -> Option<String> {
        None
    }

    /// How far the machine's clock had jumped when this clock was read last, where it does not follow it.
    fn jump(&self) -> Option<Jump> {
        None
    }

    /// Looks whether the jump was accepted by another process, and keeps up with how the machine's clock is corrected.
    fn follow(&self) {}

    /// Whether the clock has jumped, and this is still the jump.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn acceptable(&self, _: Jump) -> Result<(), String> {
        Err("the clock has not jumped: there is nothing to accept".to_owned())
    }

    /// Others whom this node believes say that it is `at`: a clock that is suddenly far ahead of that has jumped while nobody
    /// looked, as in a machine that was off.
    fn hear(&self, _: Instant) {}

    /// Follows the jump from now on.
    ///
    /// # Errors
    /// As [`Self::acceptable`]; or it could not be kept.
    fn accept(&self, jump: Jump) -> Result<(), String> {
        self.acceptable(jump)
    }
}

/// A clock that says another time than has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// What the machine's clock says.
    pub says: Instant,
    /// What it would say had it gone on as it went.
    pub should: Instant,
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reading of the real clock")]
    fn now(&self) -> Instant {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Instant::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    /// Counts on while the machine is suspended.
    fn ticks(&self) -> i64 {
        let since_start = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        since_start.tv_sec.saturating_mul(Instant::SECOND).saturating_add(since_start.tv_nsec / 1000)
    }

    fn boot(&self) -> Option<String> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    }
}

/// A clock that stands still until it is set: for the demo's copies of nodes, and for tests.
#[derive(Debug, Clone)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    /// A clock that says `now`. Clones show the same time.
    #[must_use]
    pub fn at(now: Instant) -> Self {
        Self(Arc::new(AtomicI64::new(now.micros())))
    }

    /// Sets the time, forwards or back.
    pub fn set(&self, now: Instant) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A [`Clock`] as rustls wants it: whole seconds, for certificates and CRLs.
#[derive(Debug, Clone)]
pub struct TlsTime(pub Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for TlsTime {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let seconds = u64::try_from(self.0.now().micros() / Instant::SECOND).ok()?;
        Some(rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}
