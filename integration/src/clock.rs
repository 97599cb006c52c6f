//! A clock that stands still, moves when told, and can do something once when it is next read.

use std::fmt;
use std::sync::{Arc, Mutex};

use agreements::time::Instant;
use concordat::clock::{Clock, SetClock};

type Hook = Box<dyn FnOnce() + Send>;

/// One node's clock. Clones show the same time.
#[derive(Clone)]
pub struct TestClock {
    time: SetClock,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl TestClock {
    pub fn at(now: Instant) -> Self {
        Self { time: SetClock::at(now), hook: Arc::default() }
    }

    pub fn set(&self, now: Instant) {
        self.time.set(now);
    }

    pub fn forward(&self, micros: i64) {
        self.set(self.time.now().plus(micros));
    }

    /// Does `what` the next time that somebody reads this clock: how a test gets in between two steps of a node.
    pub fn when_next_read(&self, what: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(what));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.time.now()
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestClock({})", self.time.now())
    }
}
