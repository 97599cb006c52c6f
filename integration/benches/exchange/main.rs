//! What the exchange costs beside a bare look-up of the same plates: `cargo bench -p integration --bench exchange`.
//!
//! - **direct**: a handler that only looks the plate up on its worker's own connection and returns the reads as JSON.
//! - **through**: the product's owner side: a sworn question verified, decided, searched, recorded, answered with proof.
//!   The questions were committed to the asker's trail in batches before the run.
//! - **pair**: two whole nodes: the asker's durable record of the question, the owner's of the answer, and the asker's of
//!   what it received.
//!
//! One process, two nodes over mutual TLS with connections kept alive, the load's own work included. The kinds alternate,
//! so that a slow minute of the machine hurts each alike. One JSON line per figure on standard output, notes on standard
//! error. Options: `--reads N`, `--seconds S`, `--rounds R`, `--connections 1,16,64`, and `--kinds through` to look at one
//! kind alone.

#![expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]

mod direct;
mod load;
mod plates;
mod report;

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::rt::System;
use agreements::ids::AgreementId;
use integration::{Pair, Terms, TestNode};

use load::{Run, Shot};
use plates::Plates;

/// The allocator of the `concordat` binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a run is told on its command line.
struct Settings {
    reads: u32,
    seconds: u64,
    rounds: usize,
    connections: Vec<usize>,
    kinds: Vec<Kind>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Direct,
    Through,
    Pair,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Direct, Self::Through, Self::Pair];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Through => "through",
            Self::Pair => "pair",
        }
    }
}

impl Settings {
    fn from_args() -> Self {
        let mut this =
            Self { reads: 1_000_000, seconds: 4, rounds: 3, connections: vec![1, 16, 64], kinds: Kind::ALL.to_vec() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} takes a value"));
            match arg.as_str() {
                // What `cargo bench` itself passes.
                "--bench" => {}
                "--reads" => this.reads = value().parse().unwrap(),
                "--seconds" => this.seconds = value().parse().unwrap(),
                "--rounds" => this.rounds = value().parse().unwrap(),
                "--connections" => this.connections = value().split(',').map(|n| n.parse().unwrap()).collect(),
                "--kinds" => {
                    let names = value();
                    this.kinds =
                        Kind::ALL.into_iter().filter(|kind| names.split(',').any(|n| n == kind.name())).collect();
                }
                other => panic!("{other} is no option; there are --reads --seconds --rounds --connections --kinds"),
            }
        }
        this
    }
}

fn main() {
    let settings = Settings::from_args();
    System::new().block_on(async move {
        let bench = Bench::set_up(&settings).await;
        for connections in &settings.connections {
            bench.compare(&settings, *connections).await;
        }
    });
}

/// Alder asks, Birch owns.
struct Bench {
    pair: Pair,
    direct: direct::Door,
    plates: Plates,
}

impl Bench {
    async fn set_up(settings: &Settings) -> Self {
        let mut terms = Terms::default();
        terms.query.daily_quota = u32::MAX;
        let mut pair = Pair::under(terms).await;
        for node in [&mut pair.alder, &mut pair.birch] {
            node.restart_with(|config| {
                // What is measured is work, not the limits that keep a partner from asking for too much of it.
                config.peer.rate_per_second = NonZeroU32::MAX;
                config.peer.in_flight = NonZeroU32::MAX;
                config.rules.rate_per_minute = NonZeroU32::MAX;
            });
        }
        let plates = Plates::of(settings.reads);
        let begun = std::time::Instant::now();
        plates.fill(&pair.birch, settings.reads);
        eprintln!("{} reads of {} plates in {:.1} s", settings.reads, plates.count(), begun.elapsed().as_secs_f64());
        let direct = direct::Door::open(&pair.birch);
        Self { pair, direct, plates }
    }

    async fn compare(&self, settings: &Settings, connections: usize) {
        let time = Duration::from_secs(settings.seconds);
        let mut runs: Vec<(Kind, Vec<Run>)> = settings.kinds.iter().map(|kind| (*kind, Vec::new())).collect();
        for round in 1..=settings.rounds {
            for (kind, runs) in &mut runs {
                let commits = self.commits();
                let run = self.run(*kind, connections, time).await;
                let note = report::round(&run, commits, self.commits());
                eprintln!("{connections} connections, round {round}, {}: {note}", kind.name());
                runs.push(run);
            }
        }
        report::figures(connections, &runs);
    }

    /// How many entries the owner's trail has, and in how many commits they came.
    fn commits(&self) -> (u64, u64) {
        let commits = self.pair.birch.node().registry().commits();
        (commits.entries.get(), commits.batches.get())
    }

    async fn run(&self, kind: Kind, connections: usize, time: Duration) -> Run {
        let Pair { alder, birch, .. } = &self.pair;
        match kind {
            Kind::Direct => {
                load::fire(&self.direct.caller(alder, birch), self.look_ups(300_000), connections, time).await
            }
            Kind::Through => {
                let shots = self.questions(12_000 * time.as_secs()).await;
                load::fire(&alder.calls(birch), shots, connections, time).await
            }
            Kind::Pair => load::ask(alder, birch, &self.plates, connections, time).await,
        }
    }

    fn look_ups(&self, count: usize) -> Vec<Shot> {
        let shot = |plate: String| Shot { method: "GET", path: format!("/reads/{plate}"), body: None };
        self.plates.draw(count).map(shot).collect()
    }

    /// Questions that Alder's trail has, in commits of many.
    async fn questions(&self, count: u64) -> Vec<Shot> {
        let Pair { alder, birch, id, .. } = &self.pair;
        let plates: Vec<String> = self.plates.draw(usize::try_from(count).unwrap()).collect();
        let mut shots = Vec::new();
        for part in plates.chunks(256) {
            let texts = futures_util::future::join_all(part.iter().map(|plate| sworn(alder, birch, *id, plate))).await;
            let shot = |text| Shot { method: "POST", path: "/peer/v1/queries".to_owned(), body: Some(text) };
            shots.extend(texts.into_iter().map(shot));
        }
        shots
    }
}

async fn sworn(alder: &TestNode, birch: &TestNode, id: AgreementId, plate: &str) -> String {
    alder.forger().asks(&alder.question(birch, id, plate)).await
}
