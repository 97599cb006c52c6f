//! S20: an owner that is killed at random instants, under load, by `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agreements::entry::Kind;
use concordat::trail::proof;
use concordat::trail::search::{self, Filter};
use futures_util::future::join_all;
use integration::database::Backend;
use integration::process::Apart;
use integration::{Caller, Reply};
use serde_json::Value;
use tokio::sync::Notify;

use crate::faults::{Injected, may_inject};

const PLATE: &str = "7KIL200";
/// How many connections ask at once.
const CONNECTIONS: usize = 4;
/// How many questions are new in each round.
const NEW: usize = 8;
/// How long an owner lives at most, in microseconds: from when it serves in some rounds, in most from its first answer, so
/// that others are in work.
const LIFE: u64 = 50_000;

/// A question and every reply that reached its asker.
struct Asked {
    text: String,
    replies: Vec<Reply>,
}

/// Asks what is in the queue, one after the other on one connection, until that breaks.
async fn ask(
    caller: Caller,
    queue: Arc<Mutex<Vec<usize>>>,
    asked: Arc<Mutex<BTreeMap<usize, Asked>>>,
    first: Arc<Notify>,
) -> usize {
    let Ok(mut line) = caller.connect().await else { return 1 };
    loop {
        let Some(next) = queue.lock().unwrap().pop() else { return 0 };
        let text = asked.lock().unwrap()[&next].text.clone();
        match line.send("POST", "/peer/v1/queries", Some(text.as_bytes())).await {
            Ok(reply) => {
                asked.lock().unwrap().get_mut(&next).unwrap().replies.push(reply);
                first.notify_one();
            }
            Err(_) => return 1,
        }
    }
}

/// What an owner's disk is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// As it is.
    Usual,
    /// Each write into a file takes two milliseconds more before it begins: a commit takes so long that an owner which answered
    /// before it would be killed in between.
    Slow,
}

async fn killed(backend: Backend, disk: Disk, kills: usize) {
    let seed = fastrand::u64(..);
    // Past the capture: a failure can be played again.
    let _ = writeln!(std::io::stderr(), "s20 on {backend:?}: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut apart = Apart::found(backend, |_| ()).await;
    apart.pair.birch.try_start().unwrap();
    apart.pair.birch_saw(PLATE).await;
    apart.pair.birch.stop();
    let caller = apart.caller();
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let mut cut = 0;
    for round in 0..kills {
        for n in 0..NEW {
            let text = apart.question(PLATE).await;
            asked.lock().unwrap().insert(round * NEW + n, Asked { text, replies: Vec::new() });
        }
        // The new ones, what got no reply so far, and some that did.
        let mut queue: Vec<usize> = {
            let asked = asked.lock().unwrap();
            let recent = asked.iter().rev().take(10 * NEW);
            recent.filter(|(n, asked)| asked.replies.is_empty() || *n % 8 == 0).map(|(n, _)| *n).collect()
        };
        random.shuffle(&mut queue);
        let queue = Arc::new(Mutex::new(queue));
        apart.starts();
        let life = Duration::from_micros(random.u64(..LIFE));
        let first = Arc::new(Notify::new());
        let asking =
            (0..CONNECTIONS).map(|_| ask(caller.clone(), Arc::clone(&queue), Arc::clone(&asked), Arc::clone(&first)));
        let early = random.u8(..8) == 0;
        let process = apart.process();
        // What is killed is the owner: this goes with it.
        let _slow = (disk == Disk::Slow).then(|| Injected::into(process.id(), "pwrite64", "delay_enter=2000"));
        let (broken, ()) = tokio::join!(join_all(asking), async {
            if !early {
                let _ = tokio::time::timeout(Duration::from_secs(5), first.notified()).await;
            }
            tokio::time::sleep(life).await;
            process.kill();
        });
        cut += broken.into_iter().sum::<usize>();
    }
    // What never got a reply is asked once more, and so is everything else: it is told what it was told.
    apart.starts();
    let mut asked = Arc::into_inner(asked).unwrap().into_inner().unwrap();
    let mut line = caller.connect().await.unwrap();
    let answered = asked.values().filter(|asked| !asked.replies.is_empty()).count();
    for asked in asked.values_mut().rev().take(20 * NEW) {
        let reply = line.send("POST", "/peer/v1/queries", Some(asked.text.as_bytes())).await.unwrap();
        asked.replies.push(reply);
    }
    check(&mut apart, &asked.into_values().collect::<Vec<_>>());
    let enough = if disk == Disk::Slow { kills / 2 } else { kills };
    assert!(answered > enough, "only {answered} questions were answered in {kills} lives: there was no load");
    assert!(cut > kills / 2, "only {cut} connections were cut in {kills} deaths: nothing was in work");
}

/// That every reply is an entry of the trail, proven in it, and the only one to its question.
fn check(apart: &mut Apart, all: &[Asked]) {
    let birch = apart.returns();
    assert_eq!(birch.trail_problems(), [], "the tree verifies");
    let vkey = concordat::node::log_vkey(birch.settings()).unwrap();
    let mut conn = birch.conn();
    let (mut rows, mut before) = (BTreeMap::new(), None);
    loop {
        let filter = Filter { kind: Some(Kind::QueryAnswered), before_index: before, ..Filter::default() };
        let page = search::search(&mut conn, &filter).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.index);
        rows.extend(page.into_iter().map(|row| (row.index, row)));
    }
    let mut questions = BTreeSet::new();
    for row in rows.values() {
        let message: Value = serde_json::from_slice(&row.detail.as_ref().unwrap().message).unwrap();
        let question = message["question"].as_str().unwrap().to_owned();
        assert!(questions.insert(question), "a question is answered by two entries");
    }
    let mut entries = BTreeSet::new();
    for Asked { replies, .. } in all {
        let Some(first) = replies.first() else { continue };
        for reply in replies {
            assert_eq!(reply.status, 200, "{}", reply.text());
            let leaf = reply.raw("leaf");
            let included = proof::verify(reply.json()["proof"].as_str().unwrap(), leaf.as_bytes(), &vkey).unwrap();
            let row = rows.get(&included.index).expect("an answer that was heard is in the trail");
            assert_eq!(row.leaf, leaf.as_bytes(), "and is the entry that its proof says");
            for member in ["leaf", "message", "results"] {
                assert_eq!(reply.raw(member), first.raw(member), "asked again, it is told the same {member}");
            }
            assert!(reply.raw("results").contains(PLATE));
        }
        assert!(entries.insert(first.raw("leaf")), "two questions, one entry");
    }
}

#[actix_web::test]
async fn s20_an_owner_killed_200_times_under_load_has_recorded_every_answer_that_was_heard() {
    killed(Backend::Sqlite, Disk::Usual, 200).await;
}

#[actix_web::test]
async fn s20_an_owner_on_postgresql_killed_under_load_has_recorded_every_answer_that_was_heard() {
    if Backend::Postgres.is_there() {
        killed(Backend::Postgres, Disk::Usual, 40).await;
    }
}

#[actix_web::test]
async fn s20_an_owner_killed_while_its_commits_take_long_has_recorded_every_answer_that_was_heard() {
    if may_inject("commits that take long") {
        killed(Backend::Sqlite, Disk::Slow, 25).await;
    }
}
