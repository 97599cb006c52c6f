//! Load: so many connections, each with one request in work, until the time is over.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt;
use concordat::exchange::ask::Gave;
use integration::{Caller, TestNode};

use crate::plates::Plates;

/// One request to be made.
pub struct Shot {
    pub method: &'static str,
    pub path: String,
    pub body: Option<String>,
}

/// What came of a run.
pub struct Run {
    /// How long each request took, sorted.
    pub took: Vec<Duration>,
    pub lasted: Duration,
    /// What the whole process worked meanwhile, on all its threads.
    pub processor: Duration,
}

/// When a run began.
struct Begun {
    at: Instant,
    processor: Duration,
}

impl Begun {
    fn now() -> Self {
        Self { at: Instant::now(), processor: processor() }
    }
}

/// How long this process has worked: user and system time, of which Linux counts hundredths of a second.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

impl Run {
    fn of(mut took: Vec<Duration>, begun: &Begun) -> Self {
        let (lasted, processor) = (begun.at.elapsed(), processor().saturating_sub(begun.processor));
        took.sort_unstable();
        Self { took, lasted, processor }
    }

    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 requests")]
    pub fn rate(&self) -> f64 {
        self.took.len() as f64 / self.lasted.as_secs_f64()
    }

    /// The time, in milliseconds, that `percent` of the requests took at most.
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.took.len() * percent / 100).min(self.took.len() - 1);
        self.took[at].as_secs_f64() * 1000.0
    }
}

/// Sends `shots` over connections that are kept. Each answer must be a 200 with reads in it.
pub async fn fire(caller: &Caller, shots: Vec<Shot>, connections: usize, time: Duration) -> Run {
    let shots = Rc::new(RefCell::new(shots.into_iter()));
    let mut lines = Vec::new();
    for _ in 0..connections {
        lines.push(caller.connect().await.unwrap());
    }
    let begun = Begun::now();
    let begun_at = begun.at;
    let tasks: Vec<_> = lines
        .into_iter()
        .map(|mut line| {
            let shots = Rc::clone(&shots);
            rt::spawn(async move {
                let mut took = Vec::new();
                while begun_at.elapsed() < time {
                    let Some(Shot { method, path, body }) = shots.borrow_mut().next() else { break };
                    let sent = Instant::now();
                    let reply = line.send(method, &path, body.as_deref().map(str::as_bytes)).await.unwrap();
                    took.push(sent.elapsed());
                    assert!(reply.status == 200 && reply.body.len() > 1000, "{}: {}", reply.status, reply.text());
                }
                took
            })
        })
        .collect();
    collect(tasks, &begun).await
}

/// Asks through the asker's own node.
pub async fn ask(asker: &TestNode, owner: &TestNode, plates: &Plates, connections: usize, time: Duration) -> Run {
    let plates = Rc::new(RefCell::new(plates.draw(1_000_000)));
    let (node, template) = (asker.node(), asker.asking(owner, "0000000"));
    let begun = Begun::now();
    let begun_at = begun.at;
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (node, plates, template) = (node.clone(), Rc::clone(&plates), template.clone());
            let desk = node.desk();
            rt::spawn(async move {
                let mut took = Vec::new();
                while begun_at.elapsed() < time {
                    let mut ask = template.clone();
                    let Some(plate) = plates.borrow_mut().next() else { break };
                    ask.plate = plate.parse().unwrap();
                    let sent = Instant::now();
                    let report = concordat::exchange::ask::ask(&node, &desk, ask).await.unwrap();
                    took.push(sent.elapsed());
                    let gave = &report.lines[0].gave;
                    assert!(matches!(gave, Gave::Reads { reads, .. } if !reads.is_empty()), "{gave:?}");
                }
                took
            })
        })
        .collect();
    collect(tasks, &begun).await
}

async fn collect(tasks: Vec<rt::task::JoinHandle<Vec<Duration>>>, begun: &Begun) -> Run {
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    Run::of(took, begun)
}
