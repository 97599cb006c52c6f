//! The ledger of jobs: claims, leases, takeovers, and drivers that share it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agreements::time::Instant;
use concordat::clock::{Clock as _, SetClock};
use concordat::db::{Conn, Db};
use concordat::jobs::{Driver, Job, Ran, Report, Schedule};
use concordat::registry::job_runs::{self, AHEAD, Claim, LEASE, Outcome, Run};
use diesel::QueryResult;
use futures_util::FutureExt as _;
use integration::database::Backend;
use integration::on_both;
use integration::registry::{TestRegistry, block_on};
use tokio::sync::Notify;

on_both!(
    an_attempt_is_claimed_once_and_only_while_nothing_lives,
    who_has_the_claim_renews_and_ends_it_and_nobody_else,
    a_lease_that_is_over_is_taken_over,
    clocks_that_differ_a_little_do_not_run_a_slot_twice,
    two_drivers_run_each_slot_once_between_them,
    a_driver_takes_over_what_another_left_in_work,
    the_ledger_is_read_newest_first_and_pruned_by_number,
);

const JOB: &str = "test";

fn write<T: Send + 'static>(db: &Db, job: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static) -> T {
    block_on(db.write("test", job)).unwrap()
}

fn claim(db: &Db, slot: Instant, attempt: Option<i64>, holder: &'static str, now: Instant) -> Option<Claim> {
    write(db, move |conn| job_runs::claim(conn, JOB, slot, attempt, holder, now))
}

fn finish(db: &Db, claim: &Claim, outcome: Outcome, error: Option<&'static str>, now: Instant) -> bool {
    let claim = claim.clone();
    write(db, move |conn| job_runs::finish(conn, &claim, outcome, 3, error, now))
}

/// Every run until a day from now, oldest first.
fn runs(registry: &TestRegistry, db: &Db) -> Vec<Run> {
    let until = registry.clock.now().plus(Instant::DAY);
    let mut runs = job_runs::newest(&mut db.reader().unwrap(), JOB, until, 1000).unwrap();
    runs.reverse();
    runs
}

fn an_attempt_is_claimed_once_and_only_while_nothing_lives(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, now) = (registry.open(), registry.clock.now());
    let first = claim(&db, now, Some(1), "one", now).unwrap();
    assert_eq!((first.slot, first.attempt, first.holder.as_str()), (now, 1, "one"));
    assert_eq!(claim(&db, now, Some(1), "two", now), None, "the same attempt");
    assert_eq!(claim(&db, now, Some(2), "two", now), None, "the next one, while it lives");
    assert_eq!(claim(&db, now.plus(1), Some(1), "two", now), None, "another slot, while it lives");
    let other = write(&db, move |conn| job_runs::claim(conn, "other", now, Some(1), "two", now));
    assert!(other.is_some(), "another job");
    assert!(finish(&db, &first, Outcome::Failed, Some("grün"), now.plus(5)));
    assert_eq!(claim(&db, now, Some(1), "two", now.plus(6)), None, "that attempt was made");
    let next = claim(&db, now, None, "two", now.plus(6)).unwrap();
    assert_eq!(next.attempt, 2, "where none is named, the next one");
    let [failed, runs_now] = runs(&registry, &db).try_into().unwrap();
    assert_eq!((failed.outcome, failed.error.as_deref(), failed.applied), (Some(Outcome::Failed), Some("grün"), 3));
    assert_eq!((failed.finished_at, failed.lease_until), (Some(now.plus(5)), now.plus(LEASE)));
    assert_eq!((runs_now.outcome, runs_now.finished_at, runs_now.applied), (None, None, 0));
    assert!(runs_now.lives(now.plus(6)) && !failed.lives(now));
}

fn who_has_the_claim_renews_and_ends_it_and_nobody_else(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, now) = (registry.open(), registry.clock.now());
    let ours = claim(&db, now, Some(1), "one", now).unwrap();
    let theirs = Claim { holder: "two".to_owned(), ..ours.clone() };
    let renew = |claim: &Claim, at| {
        let claim = claim.clone();
        write(&db, move |conn| job_runs::renew(conn, &claim, at))
    };
    assert!(!renew(&theirs, now.plus(1)) && !finish(&db, &theirs, Outcome::Done, None, now.plus(1)));
    assert!(renew(&ours, now.plus(7)));
    assert_eq!(runs(&registry, &db)[0].lease_until, now.plus(7).plus(LEASE));
    assert_eq!(write(&db, move |conn| job_runs::abandon(conn, "two", now)), 0);
    assert!(finish(&db, &ours, Outcome::Done, None, now.plus(8)));
    assert!(!renew(&ours, now.plus(9)), "it ended");
    assert!(!finish(&db, &ours, Outcome::Failed, None, now.plus(9)), "it ended");
    assert_eq!(runs(&registry, &db)[0].outcome, Some(Outcome::Done));

    claim(&db, now.plus(10), Some(1), "one", now.plus(10)).unwrap();
    assert_eq!(write(&db, move |conn| job_runs::abandon(conn, "one", now.plus(11))), 1);
    assert_eq!(runs(&registry, &db)[1].outcome, Some(Outcome::Abandoned));
}

fn a_lease_that_is_over_is_taken_over(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, now) = (registry.open(), registry.clock.now());
    let dead = claim(&db, now, Some(1), "one", now).unwrap();
    assert_eq!(claim(&db, now, Some(2), "two", now.plus(LEASE - 1)), None, "it may still live");
    let again = claim(&db, now, Some(2), "two", now.plus(LEASE)).unwrap();
    let [first, second] = runs(&registry, &db).try_into().unwrap();
    assert_eq!((first.outcome, first.finished_at), (Some(Outcome::Abandoned), Some(now.plus(LEASE))));
    assert_eq!((second.outcome, second.holder.as_str()), (None, "two"));
    assert!(!finish(&db, &dead, Outcome::Done, None, now.plus(LEASE + 1)), "it was taken over");
    assert!(finish(&db, &again, Outcome::Done, None, now.plus(LEASE + 1)));
}

fn clocks_that_differ_a_little_do_not_run_a_slot_twice(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, now) = (registry.open(), registry.clock.now());
    let ahead = now.plus(50_000);
    let first = claim(&db, now, Some(1), "ahead", ahead).unwrap();
    assert_eq!(claim(&db, now, Some(2), "behind", now), None, "the other one's clock is 50 ms behind");
    assert!(runs(&registry, &db)[0].lives(now));
    assert!(finish(&db, &first, Outcome::Done, None, ahead.plus(1)), "it is still its own");
    // A clock that was set wrong stops nothing for longer than that.
    let next = now.plus(5 * Instant::MINUTE);
    claim(&db, next, Some(1), "far ahead", next.plus(AHEAD + 1)).unwrap();
    assert!(claim(&db, next, Some(2), "right", next).is_some());
}

/// What the jobs of a test's drivers do: count, and end or not.
#[derive(Default)]
struct World {
    begun: AtomicU64,
    began: Notify,
    /// How many of the next runs hang until they are dropped.
    hang: AtomicU64,
}

async fn act(world: Arc<World>) -> Ran {
    world.begun.fetch_add(1, Ordering::SeqCst);
    world.began.notify_one();
    let hangs = world.hang.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if hangs {
        std::future::pending::<()>().await;
    }
    // The other driver has every chance to come in between.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    Ran { applied: 1, later: Vec::new() }
}

const FIVE: Schedule = Schedule::EveryMinutes(5);

/// A process on this registry whose clock is this one.
fn driver(registry: &TestRegistry, world: &Arc<World>, clock: &SetClock) -> Driver<World> {
    let on_fatal = Arc::new(|reason: &str| panic!("{reason}"));
    let db = Db::open(&registry.database.url, registry.key.clone(), Arc::new(clock.clone()), on_fatal).unwrap();
    let run = |world| async { Ok(act(world).await) }.boxed_local();
    Driver::new(db, Arc::clone(world), vec![Job { name: JOB, schedule: FIVE, catch_up: 1, about: "a test", run }])
}

async fn ring(driver: &Driver<World>) -> Vec<Report> {
    driver.ring(&BTreeSet::new()).await.unwrap()
}

fn two_drivers_run_each_slot_once_between_them(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, world) = (registry.open(), Arc::<World>::default());
    let clocks = [registry.clock.clone(), SetClock::at(registry.clock.now())];
    let [one, two] = clocks.each_ref().map(|clock| driver(&registry, &world, clock));
    let first = FIVE.latest(registry.clock.now());
    block_on(async {
        for minute in 0..30 {
            let at = first.plus(minute * Instant::MINUTE + 100_000);
            clocks[0].set(at);
            // Now this one is ahead, now that one.
            clocks[1].set(at.plus(if minute % 2 == 0 { 50_000 } else { -50_000 }));
            let (a, b) = tokio::join!(ring(&one), ring(&two));
            assert!(a.len() + b.len() <= 1, "{minute}: {a:?} {b:?}");
        }
    });
    let runs = runs(&registry, &db);
    assert_eq!((world.begun.load(Ordering::SeqCst), runs.len()), (6, 6));
    assert!(runs.iter().all(|run| run.outcome == Some(Outcome::Done) && run.attempt == 1), "{runs:?}");
    let slots: Vec<Instant> = runs.iter().map(|run| run.slot).collect();
    assert_eq!(slots, (0..6).map(|n| first.plus(n * 5 * Instant::MINUTE)).collect::<Vec<_>>());
}

fn a_driver_takes_over_what_another_left_in_work(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, world) = (registry.open(), Arc::<World>::default());
    let (behind, ahead) = (registry.clock.clone(), SetClock::at(registry.clock.now().plus(50_000)));
    let [dies, lives] = [&ahead, &behind].map(|clock| driver(&registry, &world, clock));
    world.hang.store(1, Ordering::SeqCst);
    block_on(async {
        tokio::select! {
            reports = ring(&dies) => panic!("it ended: {reports:?}"),
            () = async {
                world.began.notified().await;
                assert_eq!(ring(&lives).await, [], "it runs, by a clock that is 50 ms ahead");
            } => {}
        }
        let left = runs(&registry, &db).remove(0);
        behind.set(left.lease_until.plus(-1));
        assert_eq!(ring(&lives).await, [], "it may still live");
        behind.set(left.lease_until);
        let reports = ring(&lives).await;
        assert_eq!((reports.len(), reports[0].slot, reports[0].outcome), (1, left.slot, Outcome::Done));
    });
    let outcomes: Vec<_> = runs(&registry, &db).iter().map(|run| (run.attempt, run.outcome)).collect();
    assert_eq!(outcomes, [(1, Some(Outcome::Abandoned)), (2, Some(Outcome::Done))]);
}

fn the_ledger_is_read_newest_first_and_pruned_by_number(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let (db, now) = (registry.open(), registry.clock.now());
    let at = move |n: i64| now.plus(n * Instant::MINUTE);
    for n in 0..9 {
        let claim = claim(&db, at(n), Some(1), "one", at(n)).unwrap();
        assert!(finish(&db, &claim, Outcome::Done, None, at(n)));
    }
    claim(&db, at(9), Some(1), "one", at(9)).unwrap();
    let mut reader = db.reader().unwrap();
    let slots = |reader: &mut Conn, until, limit| -> Vec<Instant> {
        job_runs::newest(reader, JOB, until, limit).unwrap().into_iter().map(|run| run.slot).collect()
    };
    assert_eq!(slots(&mut reader, at(7), 3), [at(7), at(6), at(5)]);
    assert_eq!(job_runs::crowded(&mut reader, 10).unwrap(), []);
    assert_eq!(job_runs::crowded(&mut reader, 4).unwrap(), [(JOB.to_owned(), at(6))]);
    assert_eq!(write(&db, move |conn| job_runs::prune(conn, JOB, at(60))), 9, "what runs stays");
    assert_eq!(slots(&mut reader, at(60), 100), [at(9)]);
}
