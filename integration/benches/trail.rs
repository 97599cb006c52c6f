//! How fast the trail takes entries: `cargo bench -p integration --bench trail`.
//!
//! - **floor**: on the same disk, `fdatasync`s a second of a 4 KB block that was overwritten; and commits a second of one row
//!   each, by one connection to a database of each kind, with the settings of the registry's.
//! - **sqlite**, **postgres**: entries a second, each a job of its own that waits until it is committed and proven, and how
//!   long one takes, from 1, 16, 64 and 256 threads. Beside it how many times the one-row rate that is, and how many times
//!   an `fdatasync` the slowest hundredth takes.
//!
//! One JSON line per figure on standard output. `--seconds S` says how long each case runs, `--dir D` on which disk.

#![expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use concordat::clock::SystemClock;
use concordat::db::{Conn, Db};
use concordat::trail::verify;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use integration::postgres::ThrowawayCluster;
use integration::registry::{LogKey, said};
use serde_json::json;

/// As the product has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const THREADS: [usize; 4] = [1, 16, 64, 256];

struct Options {
    time: Duration,
    folder: PathBuf,
}

fn main() {
    let mut options = Options { time: Duration::from_secs(5), folder: std::env::temp_dir() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} takes a value"));
        match arg.as_str() {
            // What `cargo bench` itself passes.
            "--bench" => {}
            "--seconds" => options.time = Duration::from_secs(value().parse().unwrap()),
            "--dir" => options.folder = value().into(),
            other => panic!("{other} is no option; there are --seconds and --dir"),
        }
    }
    let folder = tempfile::Builder::new().prefix("concordat-bench-").tempdir_in(&options.folder).unwrap();
    let synced = syncs(folder.path(), options.time);
    synced.say("floor", "fdatasync");
    let path = folder.path().join("floor.db");
    let rows = one_row_commits(&mut sqlite(&path), options.time);
    rows.say("sqlite/floor", "one_row_commits");
    let url = format!("sqlite:{}", folder.path().join("registry.db").display());
    trail("sqlite", &url, &rows, &synced, &options);
    if let Some(server) = ThrowawayCluster::start(&[]) {
        let url = server.database();
        let mut conn = Conn::Pg(PgConnection::establish(&url).unwrap());
        let rows = one_row_commits(&mut conn, options.time);
        rows.say("postgres/floor", "one_row_commits");
        trail("postgres", &server.database(), &rows, &synced, &options);
    }
}

/// How long each of many took, sorted, and all of them.
struct Took {
    each: Vec<Duration>,
    lasted: Duration,
}

impl Took {
    fn of(time: Duration, mut once: impl FnMut(u64)) -> Self {
        let begun = Instant::now();
        let mut each = Vec::new();
        while begun.elapsed() < time {
            let at = Instant::now();
            once(each.len() as u64);
            each.push(at.elapsed());
        }
        Self::sorted(each, begun.elapsed())
    }

    fn sorted(mut each: Vec<Duration>, lasted: Duration) -> Self {
        each.sort_unstable();
        Self { each, lasted }
    }

    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 of anything")]
    fn rate(&self) -> f64 {
        self.each.len() as f64 / self.lasted.as_secs_f64()
    }

    /// In milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        self.each[(self.each.len() * percent / 100).min(self.each.len() - 1)].as_secs_f64() * 1000.0
    }

    fn say(&self, case: &str, what: &str) {
        say(case, &format!("{what}_rate"), self.rate(), "1/s");
        say(case, &format!("{what}_p50"), self.percentile(50), "ms");
        say(case, &format!("{what}_p99"), self.percentile(99), "ms");
    }
}

fn say(case: &str, figure: &str, value: f64, unit: &str) {
    let value = (value * 1000.0).round() / 1000.0;
    println!("{}", json!({"bench": "trail", "case": case, "figure": figure, "value": value, "unit": unit}));
}

/// Overwrites of one block after the other of a file that is there already, each synced.
fn syncs(folder: &Path, time: Duration) -> Took {
    const BLOCKS: u64 = 256;
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(folder.join("synced")).unwrap();
    let block = vec![7; 4096];
    for n in 0..BLOCKS {
        file.write_all_at(&block, n * 4096).unwrap();
    }
    file.sync_all().unwrap();
    Took::of(time, |n| {
        file.write_all_at(&block, (n % BLOCKS) * 4096).unwrap();
        file.sync_data().unwrap();
    })
}

/// A file with the registry's settings.
fn sqlite(path: &Path) -> Conn {
    let mut conn = SqliteConnection::establish(&path.display().to_string()).unwrap();
    conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON").unwrap();
    Conn::Sqlite(conn)
}

/// One row each, of an entry's size.
fn one_row_commits(conn: &mut Conn, time: Duration) -> Took {
    conn.batch_execute("CREATE TABLE one (n BIGINT PRIMARY KEY, text TEXT NOT NULL)").unwrap();
    let text = "x".repeat(500);
    let took = Took::of(time, |n| {
        conn.batch_execute(&format!("BEGIN; INSERT INTO one VALUES ({n}, '{text}'); COMMIT")).unwrap();
    });
    conn.batch_execute("DROP TABLE one").unwrap();
    took
}

fn trail(case: &str, url: &str, rows: &Took, synced: &Took, options: &Options) {
    let key = Arc::new(LogKey::new("alder.test/trail"));
    let on_fatal = Arc::new(|reason: &str| panic!("{reason}"));
    let db = Db::open(url, key.clone(), Arc::new(SystemClock), on_fatal).unwrap();
    for threads in THREADS {
        let before = (db.commits().entries.get(), db.commits().batches.get());
        let took = appends(&db, threads, options.time);
        let (entries, batches) = (db.commits().entries.get() - before.0, db.commits().batches.get() - before.1);
        let case = format!("{case}/{threads}");
        took.say(&case, "appends");
        #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 of anything")]
        say(&case, "entries_per_commit", entries as f64 / batches.max(1) as f64, "entries");
        say(&case, "over_one_row", took.rate() / rows.rate(), "ratio");
        say(&case, "p99_over_fdatasync_p50", took.percentile(99) / synced.percentile(50), "ratio");
        say(&case, "p99_over_fdatasync_p99", took.percentile(99) / synced.percentile(99), "ratio");
    }
    let vkey = concordat::trail::note::LogSigner::vkey(&*key).clone();
    let begun = Instant::now();
    let report = verify::verify_with(
        &mut db.reader().unwrap(),
        &mut [db.reader().unwrap(), db.reader().unwrap()],
        &vkey,
        &mut |_, _| {},
        &false.into(),
    )
    .unwrap();
    assert_eq!(report.problems, [], "what was appended is a trail");
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 of anything")]
    say(case, "verified", report.entries as f64 / begun.elapsed().as_secs_f64(), "1/s");
}

/// Each thread appends one entry after the other, and waits for each.
fn appends(db: &Db, threads: usize, time: Duration) -> Took {
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let (db, start) = (db.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut number = thread;
                start.wait();
                Took::of(time, |_| {
                    number += 1;
                    let said = said(number);
                    let job = db.record(move |tx| {
                        let rid = tx.fresh_rid()?;
                        tx.append_said(rid, said)
                    });
                    let recorded = runtime.block_on(job).unwrap();
                    assert!(recorded.entry(*recorded).is_some_and(|entry| !entry.proof().is_empty()));
                })
            })
        })
        .collect();
    let took: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    let lasted = took.iter().map(|took| took.lasted).max().unwrap();
    Took::sorted(took.into_iter().flat_map(|took| took.each).collect(), lasted)
}
