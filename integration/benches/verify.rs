//! A whole trail of many entries: `cargo bench -p integration --bench verify -- --entries 15000000 --dir DISK`.
//!
//! - **made**: entries a second in commits of 32,768, and how many bytes one takes with its indexes and its part of the tree.
//! - **verified**: entries a second of a full recomputation, by one connection and with one helper for each processor; and the
//!   most memory that this process had until then.
//! - **proof**: how long an inclusion proof takes, of entries all over the trail.
//! - **search**: how long a page of 50 takes, by each of the columns that a trail is searched by.
//!
//! One JSON line per figure on standard output. `--keep` leaves the database where it is, and a later run with `--in FOLDER`
//! measures that one.

#![expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agreements::ids::RequestId;
use concordat::clock::SystemClock;
use concordat::db::{self, Conn, Db};
use concordat::trail::note::{LogSigner as _, Vkey};
use concordat::trail::search::{self, Filter};
use concordat::trail::verify;
use integration::registry::{LogKey, said};
use serde_json::json;

/// As the product has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many entries share a commit.
const COMMIT: u64 = 32_768;
/// How many proofs and pages are timed.
const TIMES: u64 = 2000;

struct Options {
    entries: u64,
    folder: PathBuf,
    keep: bool,
    there: Option<PathBuf>,
}

fn main() {
    let mut options = Options { entries: 200_000, folder: std::env::temp_dir(), keep: false, there: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} takes a value"));
        match arg.as_str() {
            // What `cargo bench` itself passes.
            "--bench" => {}
            "--entries" => options.entries = value().parse().unwrap(),
            "--dir" => options.folder = value().into(),
            "--in" => options.there = Some(value().into()),
            "--keep" => options.keep = true,
            other => panic!("{other} is no option; there are --entries, --dir, --in and --keep"),
        }
    }
    if let Some(there) = &options.there {
        let vkey = std::fs::read_to_string(there.join("vkey")).unwrap();
        return measure(there, &vkey.parse().unwrap());
    }
    let mut folder = tempfile::Builder::new().prefix("concordat-bench-").tempdir_in(&options.folder).unwrap();
    folder.disable_cleanup(options.keep);
    let vkey = make(folder.path(), options.entries);
    std::fs::write(folder.path().join("vkey"), vkey.to_string()).unwrap();
    measure(folder.path(), &vkey);
    if options.keep {
        eprintln!("kept in {}", folder.path().display());
    }
}

fn say(case: &str, figure: &str, value: f64, unit: &str) {
    let value = (value * 1000.0).round() / 1000.0;
    println!("{}", json!({"bench": "verify", "case": case, "figure": figure, "value": value, "unit": unit}));
}

#[expect(clippy::cast_precision_loss, reason = "nothing here is beyond 2^52")]
fn real(number: u64) -> f64 {
    number as f64
}

fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("registry.db").display())
}

fn make(folder: &Path, entries: u64) -> Vkey {
    let key = Arc::new(LogKey::new("alder.test/trail"));
    let on_fatal = Arc::new(|reason: &str| panic!("{reason}"));
    let db = Db::open(&url(folder), key.clone(), Arc::new(SystemClock), on_fatal).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let begun = Instant::now();
    let mut done = 0;
    while done < entries {
        let some = COMMIT.min(entries - done);
        let job = db.record(move |tx| {
            for number in done..done + some {
                let rid = tx.fresh_rid()?;
                tx.append_said(rid, said(usize::try_from(number).unwrap()))?;
            }
            Ok(())
        });
        runtime.block_on(job).unwrap();
        done += some;
        eprint!("\r{done} of {entries} entries");
        std::io::stderr().flush().unwrap();
    }
    eprintln!();
    say("made", "rate", real(entries) / begun.elapsed().as_secs_f64(), "1/s");
    key.vkey().clone()
}

fn measure(folder: &Path, vkey: &Vkey) {
    let url = url(folder);
    let conn = || db::reader_of(&url).unwrap();
    let size = std::fs::metadata(folder.join("registry.db")).unwrap().len();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut entries = 0;
    for (case, helpers) in [("alone", 0), ("helped", processors)] {
        let mut helpers: Vec<Conn> = (0..helpers).map(|_| conn()).collect();
        let begun = Instant::now();
        let mut progress = |done, all| {
            if begun.elapsed().as_millis().is_multiple_of(50) {
                eprint!("\r{done} of {all} entries");
            }
        };
        let report = verify::verify_with(&mut conn(), &mut helpers, vkey, &mut progress, &false.into()).unwrap();
        eprintln!();
        assert_eq!(report.problems, [], "what was appended is a trail");
        entries = report.entries;
        say("verified", &format!("{case}_rate"), real(entries) / begun.elapsed().as_secs_f64(), "1/s");
        say("verified", &format!("{case}_peak_memory"), peak_megabytes(), "MB");
    }
    say("made", "entries", real(entries), "entries");
    say("made", "bytes_each", real(size) / real(entries), "B");
    let mut conn = conn();
    let rids: Vec<RequestId> = (0..TIMES)
        .filter_map(|n| {
            let before_index = Some((n * 7919 * 104_729) % entries + 1);
            let found = search::search(&mut conn, &Filter { before_index, limit: 1, ..Filter::default() }).unwrap();
            found.first().map(|row| row.rid)
        })
        .collect();
    let mut rids = rids.iter().cycle();
    timed("proof", "inclusion", || {
        assert!(search::prove(&mut conn, *rids.next().unwrap()).unwrap().is_some());
    });
    let text = |text: &str| Some(text.to_owned());
    let any = Filter { limit: 50, ..Filter::default() };
    let filters = [
        ("newest", any.clone()),
        ("partner", Filter { partner: "CA0990000".parse().ok(), ..any.clone() }),
        ("user", Filter { username: text("alder.user7"), ..any.clone() }),
        ("case", Filter { reference: text("case:2026-77"), ..any.clone() }),
        ("plate", Filter { plate: text("7BEN077"), ..any.clone() }),
        ("nobody", Filter { username: text("nobody"), ..any.clone() }),
        ("user and plate", Filter { username: text("alder.user27"), plate: text("7BEN077"), ..any.clone() }),
        ("in the middle", Filter { before_index: Some(entries / 2), ..any.clone() }),
    ];
    for (name, filter) in filters {
        timed("search", name, || {
            search::search(&mut conn, &filter).unwrap();
        });
    }
}

fn timed(case: &str, name: &str, mut once: impl FnMut()) {
    let mut each: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let at = Instant::now();
            once();
            at.elapsed()
        })
        .collect();
    each.sort_unstable();
    for (percentile, at) in [("p50", each.len() / 2), ("p99", each.len() * 99 / 100)] {
        say(case, &format!("{name} {percentile}"), each[at].as_secs_f64() * 1000.0, "ms");
    }
}

/// The most memory that this process had resident, as Linux tells.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    real(kilobytes.unwrap_or_default()) / 1024.0
}
