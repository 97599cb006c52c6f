//! Figures: one JSON line each, on standard output.

use serde_json::json;

use crate::Kind;
use crate::load::Run;

/// A round for people, with what it cost: processor time of the whole process, and the owner's entries and commits before
/// and after.
#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 of anything")]
pub fn round(run: &Run, before: (u64, u64), after: (u64, u64)) -> String {
    let cost = run.processor.as_secs_f64() * 1e6 / run.took.len() as f64;
    let batch = (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
    let [p50, p99] = [50, 99].map(|percent| run.percentile(percent));
    let rate = run.rate();
    format!(
        "{rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms; {cost:.0} us of processor each, {batch:.1} entries a commit"
    )
}

/// The medians of all rounds for machines.
pub fn figures(connections: usize, runs: &[(Kind, Vec<Run>)]) {
    let rate = |runs: &Vec<Run>| median(runs.iter().map(Run::rate));
    for (kind, runs) in runs {
        let kind = kind.name();
        say(connections, &format!("{kind}_rps"), rate(runs), "1/s");
        say(connections, &format!("{kind}_p50"), median(runs.iter().map(|run| run.percentile(50))), "ms");
        say(connections, &format!("{kind}_p99"), median(runs.iter().map(|run| run.percentile(99))), "ms");
    }
    let of = |wanted| runs.iter().find(|(kind, _)| *kind == wanted).map(|(_, runs)| rate(runs));
    let Some(direct) = of(Kind::Direct) else { return };
    for kind in [Kind::Through, Kind::Pair] {
        if let Some(rate) = of(kind) {
            say(connections, &format!("{}_over_direct", kind.name()), rate / direct, "ratio");
        }
    }
}

fn say(connections: usize, figure: &str, value: f64, unit: &str) {
    let value = (value * 1000.0).round() / 1000.0;
    let line =
        json!({"bench": "exchange", "case": connections.to_string(), "figure": figure, "value": value, "unit": unit});
    println!("{line}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
