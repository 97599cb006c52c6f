//! How soon it takes effect that one side closes: `cargo bench -p integration --bench effect`.
//!
//! - **suspended**, **terminated**: from the start of the command at the owner's node (its stores are opened, as the command
//!   line does) until the asker's first question is refused, and until the asker's own node does not ask any more.
//! - **suspended by the asker**: from the start of the command at the asker's node until the owner refuses what a node asks
//!   that does not care.
//! - **sunset**: from the instant of it until the first refusal of either side. No command, no message, no job.
//!
//! Whole nodes over mutual TLS on one machine, each with its own stores; their clocks run as the machine's does, and what is
//! measured is the machine's time. The asker asks without a pause. After the first refusal no read comes: that is checked.
//! One JSON line per figure on standard output: median and maximum of the rounds. `--rounds R` says how many.

#![expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use agreements::ids::AgreementId;
use agreements::status::Status;
use agreements::time::Instant as When;
use concordat::clock::Clock as _;
use concordat::exchange::Failure;
use concordat::exchange::ask::{AskError, Gave};
use concordat::exchange::lifecycle::{self, Act};
use concordat::node::Node;
use integration::pair::{agree, days_from_start};
use integration::{Pair, Terms, TestClock, TestNode};
use serde_json::json;

const PLATE: &str = "7EFF001";

fn main() {
    let mut rounds = 20;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // What `cargo bench` itself passes.
            "--bench" => {}
            "--rounds" => rounds = args.next().and_then(|value| value.parse().ok()).expect("--rounds takes a number"),
            other => panic!("{other} is no option; there is --rounds"),
        }
    }
    System::new().block_on(async move {
        by_the_owner(rounds, "suspended", |reason| Act::Suspend { reason }).await;
        by_the_owner(rounds, "terminated", |reason| Act::Terminate { reason }).await;
        by_the_asker(rounds).await;
        sunset(rounds.min(10)).await;
    });
}

/// Lets clocks run from `from` on, as the machine's does.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn of(pair: &Pair, from: When) -> Self {
        let clocks: Vec<TestClock> = [&pair.alder, &pair.birch].map(|node| node.clock.clone()).to_vec();
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let passed = i64::try_from(begun.elapsed().as_micros()).unwrap();
                for clock in &clocks {
                    clock.set(from.plus(passed));
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

async fn pair() -> Pair {
    let mut terms = Terms::default();
    terms.query.daily_quota = u32::MAX;
    let pair = Pair::under(terms).await;
    pair.birch_saw(PLATE).await;
    pair
}

/// Somebody does `act` at a node: in a thread that has nothing yet, as a process does that was just started.
fn command(node: &TestNode, id: AgreementId, act: Act) -> JoinHandle<()> {
    let (config, clock, by) = (node.settings().clone(), node.clock.clone(), node.fiction.person("custodian"));
    std::thread::spawn(move || {
        System::new().block_on(async move {
            let node = Node::open(config, Arc::new(clock), Arc::new(|_: &str| {})).unwrap();
            lifecycle::act(&node, id, act, &by).await.unwrap();
        });
    })
}

/// What a question of Alder to Birch came to.
enum Came {
    Reads,
    Refused,
    NotAsked,
}

async fn asked(pair: &Pair) -> Came {
    match pair.alder.asks(pair.alder.asking(&pair.birch, PLATE)).await {
        // It ended while this was asked: nothing left the node.
        Err(AskError::Failure(Failure::Overtaken)) => Came::NotAsked,
        Err(error) => panic!("{error}"),
        Ok(report) => match &report.lines[0].gave {
            Gave::Reads { .. } => Came::Reads,
            Gave::Denied { .. } | Gave::Withheld { .. } => Came::Refused,
            Gave::NotAsked { .. } => Came::NotAsked,
            other => panic!("{other:?}"),
        },
    }
}

/// Asks without a pause until Alder's own node does not. Milliseconds since `begun` of the first refusal, and of that.
async fn until_not_asked(pair: &Pair, begun: Instant) -> (f64, f64) {
    let mut first = None;
    loop {
        let came = asked(pair).await;
        let now = begun.elapsed().as_secs_f64() * 1000.0;
        match came {
            Came::Reads => assert!(first.is_none(), "a read after a refusal"),
            Came::Refused => _ = first.get_or_insert(now),
            Came::NotAsked => return (first.unwrap_or(now), now),
        }
    }
}

async fn by_the_owner(rounds: usize, case: &str, act: impl Fn(String) -> Act) {
    let mut pair = pair().await;
    let _running = Running::of(&pair, pair.alder.clock.now());
    let (mut refused, mut not_asked) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        assert!(matches!(asked(&pair).await, Came::Reads), "before round {round}");
        let begun = Instant::now();
        let commanded = command(&pair.birch, pair.id, act("the audit is open".to_owned()));
        let (first, none) = until_not_asked(&pair, begun).await;
        refused.push(first);
        not_asked.push(none);
        commanded.join().unwrap();
        let over = matches!(pair.birch.status(pair.id), Status::Ended { .. });
        if over {
            let mut terms = Terms::default();
            terms.query.daily_quota = u32::MAX;
            pair.id = agree(&pair.alder, &pair.birch, &terms).await.unwrap();
        } else {
            pair.birch.resumes(pair.id).await;
        }
    }
    say(case, "first_refused", refused, "ms");
    say(case, "not_asked_any_more", not_asked, "ms");
}

async fn by_the_asker(rounds: usize) {
    let pair = pair().await;
    let _running = Running::of(&pair, pair.alder.clock.now());
    let mut refused = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let commanded = command(&pair.alder, pair.id, Act::Suspend { reason: "the audit is open".to_owned() });
        loop {
            let text = pair.question_text(PLATE).await;
            match pair.alder.posts_query(&pair.birch, &text).await.status {
                200 => {}
                403 => break,
                other => panic!("{other}"),
            }
        }
        refused.push(begun.elapsed().as_secs_f64() * 1000.0);
        commanded.join().unwrap();
        pair.alder.resumes(pair.id).await;
    }
    say("suspended by the asker", "owner_refuses", refused, "ms");
}

async fn sunset(rounds: usize) {
    const BEFORE: i64 = 200_000;
    let (mut refused, mut owner) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let pair = pair().await;
        let sunset = When::start_of(days_from_start(30)).unwrap();
        pair.set_clocks(sunset.plus(-BEFORE));
        pair.birch_saw(PLATE).await;
        let begun = Instant::now();
        let _running = Running::of(&pair, sunset.plus(-BEFORE));
        let at = begun + Duration::from_micros(BEFORE.unsigned_abs());
        assert!(matches!(asked(&pair).await, Came::Reads), "before the sunset");
        loop {
            let came = asked(&pair).await;
            if !matches!(came, Came::Reads) {
                break;
            }
        }
        refused.push(at.elapsed().as_secs_f64() * 1000.0);
        let text = pair.question_text(PLATE).await;
        assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 403);
        owner.push(at.elapsed().as_secs_f64() * 1000.0);
    }
    say("sunset", "asker_does_not_ask", refused, "ms");
    say("sunset", "owner_refuses", owner, "ms");
}

fn say(case: &str, figure: &str, mut values: Vec<f64>, unit: &str) {
    values.sort_by(f64::total_cmp);
    for (which, value) in [("median", values[values.len() / 2]), ("max", values[values.len() - 1])] {
        let value = (value * 1000.0).round() / 1000.0;
        let figure = format!("{figure}_{which}");
        println!("{}", json!({"bench": "effect", "case": case, "figure": figure, "value": value, "unit": unit}));
    }
}
