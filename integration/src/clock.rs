//! A clock that stands still, moves when told, and can do something once when it is next read.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use agreements::time::Instant;
use concordat::clock::{Clock, SetClock};

/// Called at each reading, until it says that it is done.
type Hook = Box<dyn FnMut() -> bool + Send>;

/// One node's clock. Clones show the same time.
#[derive(Clone)]
pub struct TestClock {
    time: SetClock,
    /// By how many microseconds it was set without that time having passed.
    jumped: Arc<AtomicI64>,
    hook: Arc<Mutex<Option<Hook>>>,
    /// How often the machine was started again.
    boots: Arc<AtomicI64>,
}

impl TestClock {
    pub fn at(now: Instant) -> Self {
        Self { time: SetClock::at(now), jumped: Arc::default(), hook: Arc::default(), boots: Arc::default() }
    }

    pub fn set(&self, now: Instant) {
        self.time.set(now);
    }

    /// Somebody sets the machine's clock: no time has passed.
    pub fn jumps(&self, now: Instant) {
        self.jumped.fetch_add(now.since(self.time.now()), Ordering::SeqCst);
        self.time.set(now);
    }

    /// The machine is started again: what was counted since its last start means nothing.
    pub fn reboots(&self) {
        self.boots.fetch_add(1, Ordering::SeqCst);
    }

    pub fn forward(&self, micros: i64) {
        self.set(self.time.now().plus(micros));
    }

    /// Does `what` whenever somebody reads this clock, until it returns true: how a test gets in between two steps of a
    /// node. The reader then gets the time that `what` may have set.
    pub fn when_read(&self, what: impl FnMut() -> bool + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(what));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook
            && !hook()
        {
            *self.hook.lock().unwrap() = Some(hook);
        }
        self.time.now()
    }

    fn ticks(&self) -> i64 {
        self.time.now().micros() - self.jumped.load(Ordering::SeqCst)
    }

    fn boot(&self) -> Option<String> {
        Some(format!("test {}", self.boots.load(Ordering::SeqCst)))
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestClock({})", self.time.now())
    }
}
