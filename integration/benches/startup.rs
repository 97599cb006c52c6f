//! What it costs to start and to keep a node: `cargo build --release && cargo bench -p integration --bench startup`.
//!
//! - **demo**: the built binary's `demo --once`, from its start to its last step.
//! - **serve**: a founded node, from the start of its process until `/readyz` says that it is ready; and its resident memory
//!   after some seconds in which nobody asks it anything.
//!
//! One JSON line per figure on standard output: the median of the rounds. The binary is the one beside this bench's own
//! profile; `--binary PATH` names another, `--rounds R` how often.

#![expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::rt::System;
use agreements::time::Instant as When;
use concordat::clock::{Clock as _, SystemClock};
use concordat::demo::agency::{self, ALDER, FictionalCa};
use integration::wire;
use serde_json::{Value, json};

/// How long a node idles before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// A node that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let (mut binary, mut rounds) = (beside(), 5);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} takes a value"));
        match arg.as_str() {
            // What `cargo bench` itself passes.
            "--bench" => {}
            "--binary" => binary = value().into(),
            "--rounds" => rounds = value().parse().unwrap(),
            other => panic!("{other} is no option; there are --binary and --rounds"),
        }
    }
    assert!(binary.exists(), "{} is not built: cargo build --release", binary.display());
    let demos = (0..rounds).map(|_| demo(&binary));
    say("demo", "last_step", median(demos), "s");
    let nodes: Vec<(f64, f64)> = (0..rounds).map(|_| System::new().block_on(serve(&binary))).collect();
    say("serve", "ready", median(nodes.iter().map(|(ready, _)| *ready)), "s");
    say("serve", "idle_resident", median(nodes.iter().map(|(_, resident)| *resident)), "MB");
}

/// The binary that the same profile builds.
fn beside() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("concordat")
}

/// Seconds from the start of the demo to its end.
fn demo(binary: &Path) -> f64 {
    let begun = Instant::now();
    let run = Command::new(binary).args(["demo", "--once", "--json"]).stdin(Stdio::null()).output().unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    took
}

/// A node's process, which ends with this.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds until a node is ready, and its resident megabytes when it idles.
async fn serve(binary: &Path) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemClock.now();
    let ca = FictionalCa::create(folder.path().join("ca"), now, 7 * When::DAY).unwrap();
    let node = folder.path().join(ALDER.word);
    agency::found(&node, &ALDER, &ca, ([127, 0, 0, 1], 0).into(), now).unwrap();
    let begun = Instant::now();
    let mut serving = Command::new(binary)
        .args(["serve", "--json", "--dir"])
        .arg(&node)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Serving)
        .unwrap();
    let mut said = String::new();
    BufReader::new(serving.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let said: Value = serde_json::from_str(&said).expect("the node says where it serves");
    let console: SocketAddr = said["console"].as_str().unwrap().parse().unwrap();
    while wire::plain_get(console, "/readyz").await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the node does not become ready");
        actix_web::rt::time::sleep(Duration::from_millis(2)).await;
    }
    let ready = begun.elapsed().as_secs_f64();
    actix_web::rt::time::sleep(IDLE).await;
    (ready, resident(serving.0.id()))
}

/// A process's resident memory, in megabytes.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn say(case: &str, figure: &str, value: f64, unit: &str) {
    let value = (value * 1000.0).round() / 1000.0;
    println!("{}", json!({"bench": "startup", "case": case, "figure": figure, "value": value, "unit": unit}));
}
