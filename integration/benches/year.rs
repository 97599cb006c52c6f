//! How long a year of 300 agreements takes to simulate: `cargo bench -p integration --bench year`.
//!
//! The same year as the scenario's, held to the same scripts: 300 partners enrol, sign, suspend, resume, end, are found and
//! cleared, renew or lapse, and the node's jobs run each day for 366 days. The stores are in `/dev/shm` where there is one: on a
//! disk that syncs in some milliseconds, over ten thousand commits take longer than all else. One JSON line per figure on standard output; it fails
//! when it takes over a minute. `--agreements N` takes another number, of which no time is demanded.

use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use integration::year::{self, Figures};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many agreements a large agency has ...
const AGREEMENTS: usize = 300;
/// ... and how long their year may take.
const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut count = AGREEMENTS;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // What `cargo bench` itself passes.
            "--bench" => {}
            "--agreements" => {
                count = args.next().and_then(|value| value.parse().ok()).expect("--agreements takes a number");
            }
            other => panic!("{other} is no option; there is --agreements"),
        }
    }
    let Figures { agreements, documents, entries, mails, set_up, took } = System::new().block_on(year::goes_by(count));
    let say = |figure: &str, value: f64, unit: &str| {
        let value = (value * 1000.0).round() / 1000.0;
        println!("{}", json!({"bench": "year", "case": "a year", "figure": figure, "value": value, "unit": unit}));
    };
    let counts = [("agreements", agreements), ("documents", documents), ("mails", mails)];
    for (figure, number) in counts.into_iter().chain([("entries", usize::try_from(entries).unwrap_or(usize::MAX))]) {
        say(figure, f64::from(u32::try_from(number).unwrap_or(u32::MAX)), "");
    }
    say("set_up", set_up.as_secs_f64(), "s");
    say("took", took.as_secs_f64(), "s");
    if count == AGREEMENTS && took >= BOUND {
        eprintln!("a year of {count} agreements takes over {BOUND:?}: {took:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
