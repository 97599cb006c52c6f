//! Logs: one subscriber, for people or as JSON lines, on standard error.
//!
//! **Never in a log**, at any level: plates, names of people, case numbers and other references, reasons, free text of a
//! query, keys and salts, database URLs, bodies. Log ids, ORIs, counts, durations and the names of rules. What other
//! crates say below a warning is not written at all, because Concordat cannot know what is in it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::clock::Clock;
use crate::config::{Log, LogFormat, LogLevel};

/// The environment variable whose value overrides the configured level.
pub const LEVEL_VARIABLE: &str = "CONCORDAT_LOG";

/// The crates whose lines below a warning are written.
const OWN: [&str; 4] = ["agreements", "certs", "concordat", "migrations"];

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The environment names no level.
    #[error("{LEVEL_VARIABLE} is `{0}`; set it to error, warn, info, debug or trace")]
    Level(String),
    /// Logging started already.
    #[error("logging has already started in this process: {0}")]
    Twice(#[from] SetGlobalDefaultError),
}

/// Starts logging for the whole process, on standard error.
///
/// `overriding` is the value of [`LEVEL_VARIABLE`], if it is set.
///
/// # Errors
/// `overriding` names no level, or logging has started already.
pub fn start(log: &Log, overriding: Option<&str>, clock: Arc<dyn Clock>) -> Result<(), LogsError> {
    let level = match overriding {
        Some(text) => named(text).ok_or_else(|| LogsError::Level(text.chars().take(20).collect()))?,
        None => log.level,
    };
    let log = Log { level, ..log.clone() };
    Ok(tracing::subscriber::set_global_default(subscriber(&log, clock, io::stderr))?)
}

/// A subscriber that writes lines as `log` says to `to`, with `clock`'s times.
pub fn subscriber<W>(log: &Log, clock: Arc<dyn Clock>, to: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = LevelFilter::from(log.level);
    let filter = Targets::new().with_targets(OWN.map(|own| (own, level))).with_default(level.min(LevelFilter::WARN));
    let time = Time(clock);
    // A line that cannot be written would be told on standard error, and where that is the same full disk the attempt is a
    // panic: on the registry's writer it would end the node.
    let told = false;
    let (human, json) = match log.format {
        LogFormat::Human => {
            (Some(layer().log_internal_errors(told).with_timer(time).with_ansi(false).with_writer(to)), None)
        }
        LogFormat::Json => {
            (None, Some(layer().log_internal_errors(told).json().flatten_event(true).with_timer(time).with_writer(to)))
        }
    };
    tracing_subscriber::registry().with(human.with_filter(filter.clone())).with(json.with_filter(filter))
}

fn named(text: &str) -> Option<LogLevel> {
    Some(match text {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return None,
    })
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

struct Time(Arc<dyn Clock>);

impl FormatTime for Time {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", self.0.now())
    }
}

/// A place in memory for log lines: what a test searches for a plate. Clones share their text.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// All that was logged.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Captured {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SetClock;

    fn logged(format: LogFormat, level: LogLevel) -> String {
        let captured = Captured::default();
        let clock = Arc::new(SetClock::at("2026-11-23T20:17:00Z".parse().unwrap()));
        let subscriber = subscriber(&Log { format, level }, clock, captured.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(rows = 3, "searched");
            tracing::debug!("detail");
            tracing::debug!(target: "actix_http::h1", "somebody else's detail");
            tracing::warn!(target: "rustls", "somebody else's warning");
        });
        captured.text()
    }

    #[test]
    fn people_and_machines_read_the_injected_time_and_the_fields() {
        let human = logged(LogFormat::Human, LogLevel::Info);
        assert!(human.starts_with("2026-11-23T20:17:00.000000Z") && human.contains("searched rows=3"), "{human}");
        let json = logged(LogFormat::Json, LogLevel::Info);
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["timestamp"], "2026-11-23T20:17:00.000000Z");
        assert_eq!((&first["message"], &first["rows"]), (&"searched".into(), &3.into()));
        assert!(!json.contains("\"detail\""));
    }

    #[test]
    fn other_crates_are_silent_below_a_warning() {
        let all = logged(LogFormat::Human, LogLevel::Trace);
        assert!(all.contains(" detail") && all.contains("somebody else's warning"), "{all}");
        assert!(!all.contains("somebody else's detail"), "{all}");
        assert_eq!(logged(LogFormat::Human, LogLevel::Error), "");
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_to_set() {
        let clock = Arc::new(SetClock::at("2026-11-23T20:17:00Z".parse().unwrap()));
        let error = start(&Log::default(), Some("loud"), clock).unwrap_err().to_string();
        assert_eq!(error, "CONCORDAT_LOG is `loud`; set it to error, warn, info, debug or trace");
    }
}
