//! What the node counts, as `OpenMetrics`.
//!
//! A label is a closed enum or the `'static` name of a rule. There is no way to put a text that arrived from outside
//! (a plate, a name, a reference, an address) into one, and a test lists every label that exists.

use std::sync::atomic::AtomicU64;

use agreements::time::Instant;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::db::Commits;
use crate::tampering::Table;

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A port of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Door {
    /// Partners'.
    Peer,
    /// The agency's own people's.
    Console,
    /// The operator's.
    Ops,
    /// Readers' agents'.
    Intake,
}

/// What became of a request, by the class of its status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Reply {
    /// 200-299 but 202, and 304.
    Answered,
    /// 202: it waits for the custodian.
    Referred,
    /// 403: a rule denies it.
    Denied,
    /// 429: over the rate or the number in work.
    Limited,
    /// Any other 4xx.
    Refused,
    /// 503: not ready, or it cannot record.
    Unavailable,
    /// Any other 5xx.
    Failed,
}

/// What was decided about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Decided {
    /// A permit was made.
    Permitted,
    /// It waits for the custodian.
    Referred,
    /// It is denied.
    Denied,
}

/// What became of a line of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Ingested {
    /// A new read.
    Stored,
    /// A read that was there.
    Duplicate,
    /// A line for the error report.
    Rejected,
}

/// What a witness did with this node's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Answered {
    /// It cosigned.
    Cosigned,
    /// It knows a larger head.
    Ahead,
    /// It knows another trail.
    Forked,
    /// It did not answer as a witness does.
    Failed,
}

impl Reply {
    /// The class of an HTTP status code.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            202 => Self::Referred,
            ..400 => Self::Answered,
            403 => Self::Denied,
            429 => Self::Limited,
            400..500 => Self::Refused,
            503 => Self::Unavailable,
            _ => Self::Failed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    door: Door,
    reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    decision: Decided,
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: Table,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IngestLabels {
    outcome: Ingested,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabels {
    outcome: Answered,
}

/// The counters of one node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    strangers: Counter,
    decisions: Family<DecisionLabels, Counter>,
    ingested: Family<IngestLabels, Counter>,
    certificate_end: Gauge<f64, AtomicU64>,
    list_end: Gauge<f64, AtomicU64>,
    changed: Family<TableLabels, Gauge>,
    access: Gauge,
    unreconciled: Gauge,
    unchecked: Gauge,
    behind: Gauge,
    heartbeats: Counter,
    agents: Gauge,
    silent: Gauge,
    newest: Gauge<f64, AtomicU64>,
    waiting: Gauge,
    folders: Counter,
    witnesses: Family<WitnessLabels, Counter>,
    quorum: Gauge<f64, AtomicU64>,
    checked: Gauge,
    problems: Gauge,
}

impl Metrics {
    /// Everything at nought, for a process that started at `started` and whose trail grows by `commits`.
    #[must_use]
    pub fn new(started: Instant, commits: &Commits) -> Self {
        let mut registry = Registry::with_prefix("concordat");
        let requests = Family::default();
        registry.register("requests", "Requests, by door and what became of them", requests.clone());
        let strangers = Counter::default();
        registry.register("strangers", "Connections of whom this node has not enrolled", strangers.clone());
        let decisions = Family::default();
        registry.register("decisions", "Decisions about questions, by outcome and rule", decisions.clone());
        registry.register("trail_entries", "Entries committed to the trail", commits.entries.clone());
        registry.register("trail_commits", "Commits that brought entries to the trail", commits.batches.clone());
        let ingested = Family::default();
        registry.register(
            "ingested_lines",
            "Reads taken in and lines refused, by what became of them",
            ingested.clone(),
        );
        let heartbeats = Counter::default();
        registry.register("agent_heartbeats", "Heartbeats of readers' agents", heartbeats.clone());
        let (agents, silent, waiting) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("agents", "Agents with a token that counts", agents.clone());
        registry.register("agents_silent", "Those of them that were not heard of for five minutes", silent.clone());
        registry.register("agent_messages_waiting", "Messages of agents that wait to be kept", waiting.clone());
        let folders = Counter::default();
        registry.register("folder_files_failed", "Files of watched folders that could not be taken", folders.clone());
        let newest = Gauge::<f64, AtomicU64>::default();
        let help = "When the newest read was made of those that this process kept";
        registry.register_with_unit("newest_read_time", help, Unit::Seconds, newest.clone());
        let certificate_end = Gauge::default();
        let help = "When this node's own certificate ends";
        registry.register_with_unit("certificate_end_time", help, Unit::Seconds, certificate_end.clone());
        let list_end = Gauge::default();
        let help = "When the first of the authorities' revocation lists ends";
        registry.register_with_unit("revocation_list_end_time", help, Unit::Seconds, list_end.clone());
        let changed = Family::default();
        let help = "What is not as the trail recorded it, by table: anything but 0 is an alarm";
        registry.register("changed_rows", help, changed.clone());
        let access = Gauge::default();
        let help =
            "In how many things effective access is not what agreements in force give: anything but 0 is an alarm";
        registry.register("access_differences", help, access.clone());
        let unreconciled = Gauge::default();
        let help = "With how many partners a day could not be reconciled for over three days";
        registry.register("unreconciled_partners", help, unreconciled.clone());
        let unchecked = Gauge::default();
        let help = "Entries from before the start whose columns were not held to them yet";
        registry.register("trail_entries_unchecked", help, unchecked.clone());
        let behind = Gauge::default();
        let help =
            "Whether the registry was restored from a backup, so that nothing is exchanged: anything but 0 is an alarm";
        registry.register("trail_behind", help, behind.clone());
        let witnesses = Family::default();
        registry.register("witness_answers", "Heads shown to witnesses, by what came of it", witnesses.clone());
        let quorum = Gauge::<f64, AtomicU64>::default();
        quorum.set(-1.0);
        let help =
            "For how long no quorum of witnesses cosigned the trail; -1 without a policy, since 1970 before the first";
        registry.register_with_unit("witness_quorum_age", help, Unit::Seconds, quorum.clone());
        let (checked, problems) = (Gauge::default(), Gauge::default());
        let help = "Entries of the last whole recomputation of the trail";
        registry.register("trail_checked_entries", help, checked.clone());
        let help = "Problems that it found, as far as they are listed: anything but 0 is an alarm";
        registry.register("trail_problems", help, problems.clone());
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(seconds(started));
        registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);
        Self {
            registry,
            requests,
            strangers,
            decisions,
            ingested,
            certificate_end,
            list_end,
            changed,
            access,
            unreconciled,
            unchecked,
            behind,
            heartbeats,
            agents,
            silent,
            newest,
            waiting,
            folders,
            witnesses,
            quorum,
            checked,
            problems,
        }
    }

    /// The whole trail was recomputed: so many entries, and so many problems.
    pub fn trail_checked(&self, entries: u64, problems: usize) {
        self.checked.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.problems.set(i64::try_from(problems).unwrap_or(i64::MAX));
    }

    /// A witness was shown a head.
    pub fn witness(&self, outcome: Answered) {
        self.witnesses.get_or_create(&WitnessLabels { outcome }).inc();
    }

    /// Under a policy no quorum of witnesses cosigned the trail for so long, in microseconds.
    pub fn quorum_age(&self, age: i64) {
        self.quorum.set(seconds(Instant::from_micros(age.max(0))));
    }

    /// So many things in `table` are not as the trail recorded them.
    pub fn changed_rows(&self, table: Table, count: usize) {
        self.changed.get_or_create(&TableLabels { table }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many entries from before the start were not held to their columns yet.
    pub fn unchecked(&self, count: u64) {
        self.unchecked.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether the registry was set back.
    pub fn behind(&self, is: bool) {
        self.behind.set(i64::from(is));
    }

    /// In so many things effective access is not what agreements in force give.
    pub fn access_differences(&self, count: usize) {
        self.access.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// With so many partners a day could not be reconciled for days.
    pub fn unreconciled(&self, partners: usize) {
        self.unreconciled.set(i64::try_from(partners).unwrap_or(i64::MAX));
    }

    /// A request was answered with `status`.
    pub fn request(&self, door: Door, status: u16) {
        self.requests.get_or_create(&RequestLabels { door, reply: Reply::of(status) }).inc();
    }

    /// Somebody who is not enrolled tried.
    pub fn stranger(&self) {
        self.strangers.inc();
    }

    /// A question was decided; `rule` is the name of the rule that denied or referred it, `none` for a permit.
    pub fn decided(&self, decision: Decided, rule: &'static str) {
        self.decisions.get_or_create(&DecisionLabels { decision, rule }).inc();
    }

    /// An agent said that it lives.
    pub fn heartbeat(&self) {
        self.heartbeats.inc();
    }

    /// So many agents have a token, and so many of them are silent.
    pub fn agents(&self, all: usize, silent: usize) {
        self.agents.set(i64::try_from(all).unwrap_or(i64::MAX));
        self.silent.set(i64::try_from(silent).unwrap_or(i64::MAX));
    }

    /// So many messages of agents wait.
    pub fn waiting(&self, messages: usize) {
        self.waiting.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// A file of a watched folder could not be taken.
    pub fn file_failed(&self) {
        self.folders.inc();
    }

    /// A read of this time was kept.
    pub fn newest_read(&self, seen_at: Instant) {
        if seconds(seen_at) > self.newest.get() {
            self.newest.set(seconds(seen_at));
        }
    }

    /// `lines` reads, or lines of input, ended in `outcome`.
    pub fn ingested(&self, outcome: Ingested, lines: u64) {
        self.ingested.get_or_create(&IngestLabels { outcome }).inc_by(lines);
    }

    /// This node's own certificate ends at `certificate`, and the first of the revocation lists at `list`.
    pub fn ends(&self, certificate: Instant, list: Instant) {
        self.certificate_end.set(seconds(certificate));
        self.list_end.set(seconds(list));
    }

    /// All of it, as `OpenMetrics` text.
    ///
    /// # Errors
    /// Never in practice: writing to a `String` does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "whole microseconds are exact until the year 2255")]
fn seconds(at: Instant) -> f64 {
    at.micros() as f64 / Instant::SECOND as f64
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn no_label_takes_a_free_text() {
        let commits = Commits::default();
        let metrics = Metrics::new("2026-11-23T20:17:00.5Z".parse().unwrap(), &commits);
        for door in [Door::Peer, Door::Console, Door::Ops, Door::Intake] {
            for status in 100..=599 {
                metrics.request(door, status);
            }
        }
        metrics.stranger();
        metrics.decided(Decided::Permitted, "none");
        metrics.decided(Decided::Denied, "reason_vague");
        metrics.decided(Decided::Referred, "sensitive_term");
        commits.entries.inc_by(256);
        commits.batches.inc();
        for outcome in [Ingested::Stored, Ingested::Duplicate, Ingested::Rejected] {
            metrics.ingested(outcome, 2);
        }
        for table in Table::ALL {
            metrics.changed_rows(table, 1);
        }
        for outcome in [Answered::Cosigned, Answered::Ahead, Answered::Forked, Answered::Failed] {
            metrics.witness(outcome);
        }
        metrics.quorum_age(90 * Instant::SECOND);
        let text = metrics.text().unwrap();
        let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for labels in text.lines().filter_map(|line| Some(line.split_once('{')?.1.split_once('}')?.0)) {
            for (name, value) in labels.split(',').map(|label| label.split_once('=').unwrap()) {
                seen.entry(name).or_default().insert(value.trim_matches('"'));
            }
        }
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["decision", "door", "outcome", "reply", "rule", "table"]);
        assert_eq!(seen["reply"].len(), 7);
        assert_eq!(seen["outcome"].len(), 7);
        for (name, values) in &seen {
            for value in values {
                assert!(value.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'), "{name}={value}");
            }
        }
        assert!(text.contains("concordat_process_start_time_seconds 1795465020.5\n"), "{text}");
        assert!(text.contains("concordat_trail_entries_total 256\n"), "{text}");
        assert!(text.contains("concordat_trail_commits_total 1\n"), "{text}");
        assert!(text.contains("concordat_witness_quorum_age_seconds 90.0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_status_has_one_class() {
        assert_eq!(
            [200, 304, 202, 403, 429].map(Reply::of),
            [Reply::Answered, Reply::Answered, Reply::Referred, Reply::Denied, Reply::Limited]
        );
        assert_eq!(
            [404, 409, 503, 500].map(Reply::of),
            [Reply::Refused, Reply::Refused, Reply::Unavailable, Reply::Failed]
        );
    }
}
