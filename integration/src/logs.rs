//! All that the whole test process logs, at the most talkative level.

use std::sync::{Arc, OnceLock};

use concordat::clock::SetClock;
use concordat::config::{Log, LogFormat, LogLevel};
use concordat::logs::{Captured, subscriber};

/// Starts capturing, once; returns the place where everything goes.
pub fn captured() -> &'static Captured {
    static CAPTURED: OnceLock<Captured> = OnceLock::new();
    CAPTURED.get_or_init(|| {
        let captured = Captured::default();
        let log = Log { format: LogFormat::Json, level: LogLevel::Trace };
        let clock = Arc::new(SetClock::at(crate::federation::start()));
        tracing::subscriber::set_global_default(subscriber(&log, clock, captured.clone())).unwrap();
        captured
    })
}
