//! S39: one partner takes far more than its share, and others notice nothing.

#![expect(clippy::disallowed_methods, reason = "what others wait for is the time that passes")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Passing};

use agreements::entry::Kind;
use concordat::demo::agency::CEDAR;
use futures_util::future::join_all;
use integration::pair::{Terms, agree};
use integration::{Caller, Pair, TestNode};

const PLATE: &str = "7CRD039";
/// How many questions a minute an owner hears of one partner here.
const SHARE: u32 = 20;
/// How often Cedar asks, without and with the crowd.
const ASKED: usize = 9;

/// Asks again and again until told to stop: how many were answered with an entry, and how many were refused.
async fn crowds(caller: Caller, texts: Vec<String>, enough: Arc<AtomicBool>) -> (usize, usize) {
    let (mut sworn, mut refused) = (0, 0);
    let long = "x".repeat(1 << 21);
    for (n, text) in texts.iter().cycle().enumerate() {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        // Questions, ids of nothing, and bodies that are too long.
        let body = match n % 8 {
            3 => "{}",
            5 if n % 40 == 5 => &long,
            _ => text,
        };
        match caller.send("POST", "/peer/v1/queries", Some(body.as_bytes())).await {
            Ok(reply) if matches!(reply.status, 200 | 403) => sworn += 1,
            Ok(reply) => {
                assert!(matches!(reply.status, 400 | 413 | 429), "{}", reply.text());
                refused += 1;
            }
            // The door closed while a body that nobody reads was still on its way.
            Err(_) => refused += 1,
        }
    }
    (sworn, refused)
}

/// How long each of some questions takes, the median.
async fn asks(cedar: &TestNode, birch: &TestNode, texts: &[String]) -> Duration {
    let mut took = Vec::new();
    for text in texts {
        let begun = Passing::now();
        let reply = cedar.posts_query(birch, text).await;
        took.push(begun.elapsed());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

#[actix_web::test]
async fn s39_one_partner_that_asks_a_hundred_times_its_share_is_unnoticed_and_adds_one_entry_a_minute() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.birch).await;
    pair.birch.enrols(&cedar).await;
    let id = agree(&cedar, &pair.birch, &Terms::default()).await.unwrap();
    pair.birch.restart_with(|config| config.rules.rate_per_minute = NonZeroU32::new(SHARE).unwrap());
    let mut cedars = Vec::new();
    for _ in 0..2 * ASKED {
        cedars.push(cedar.forger().asks(&cedar.question(&pair.birch, id, PLATE)).await);
    }
    let mut alders = Vec::new();
    for _ in 0..100 {
        alders.push(pair.question_text(PLATE).await);
    }
    let calm = asks(&cedar, &pair.birch, &cedars[..ASKED]).await;
    pair.birch.node().record_refused().await.unwrap();
    let before = pair.birch.trail_size();

    let enough = Arc::new(AtomicBool::new(false));
    let (others, stop) = (pair.alder.calls(&pair.birch), Arc::clone(&enough));
    // On a thread of its own: it is not this test that has to be quick.
    let crowd = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shares = alders.chunks(25).map(|texts| crowds(others.clone(), texts.to_vec(), Arc::clone(&stop)));
        runtime.block_on(join_all(shares))
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let crowded = asks(&cedar, &pair.birch, &cedars[ASKED..]).await;
    let deadline = Passing::now() + Duration::from_secs(20);
    let limited = || pair.birch.counted("concordat_requests_total{door=\"Peer\",reply=\"Limited\"}");
    while limited() < u64::from(100 * SHARE) && Passing::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    enough.store(true, Ordering::Relaxed);
    let came = crowd.join().unwrap();
    let (sworn, refused) = came.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));

    // No more than its share was heard: a full one at once, and one more with each three seconds.
    assert!(sworn >= 1 && sworn <= 2 * SHARE as usize, "{sworn} were heard");
    assert!(refused > 20 * sworn, "{refused} of the crowd were refused, and {sworn} heard: that was no crowd");
    // Those who ask within their share are served, at no other pace but for what the machine has left.
    let ratio = crowded.as_secs_f64() / calm.as_secs_f64();
    assert!(ratio < 10.0, "with the crowd a question takes {crowded:?}, without it {calm:?}");
    // Each answer is an entry; all that was refused is one.
    let grown = pair.birch.trail_size() - before;
    assert!(grown <= (ASKED + sworn) as u64, "{grown} entries for {ASKED} of Cedar's and {sworn} of Alder's");
    pair.birch.node().record_refused().await.unwrap();
    assert_eq!(pair.birch.trail_size() - before, grown + 1);
    let (row, message) = pair.birch.newest();
    assert_eq!(row.kind, Kind::RefusedCounted);
    assert!(message["limited"].as_u64().unwrap() > 10 * u64::from(SHARE), "{message}");
    pair.birch.node().record_refused().await.unwrap();
    assert_eq!(pair.birch.trail_size() - before, grown + 1);
    assert_eq!(pair.birch.trail_problems(), []);
}
