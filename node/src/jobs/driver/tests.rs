//! Drivers on one registry, with two writers on its file as two processes would have.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tokio::sync::Notify;

use super::*;
use crate::clock::Clock as _;
use crate::trail::testing::TestTrail;

/// What a run of the test's job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails,
    Panics,
    /// It begins and never ends.
    Hangs,
}

struct World {
    fate: Mutex<Fate>,
    begun: AtomicU64,
    began: Notify,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { fate: Mutex::new(Fate::Succeeds), begun: AtomicU64::new(0), began: Notify::new() })
    }

    fn will(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }
}

async fn act(world: Arc<World>) -> Result<Ran, JobError> {
    world.begun.fetch_add(1, Ordering::SeqCst);
    world.began.notify_one();
    let fate = *world.fate.lock().unwrap();
    match fate {
        Fate::Succeeds => Ok(Ran { applied: 1, later: Vec::new() }),
        Fate::Fails => Err(JobError::Differs("one thing".to_owned())),
        Fate::Panics => panic!("on purpose"),
        Fate::Hangs => std::future::pending().await,
    }
}

const EVERY_FIVE: Schedule = Schedule::EveryMinutes(5);
const JOB: Job<World> =
    Job { name: "test", schedule: EVERY_FIVE, catch_up: 1, about: "a test", run: |world| Box::pin(act(world)) };

fn driver(trail: &TestTrail, world: &Arc<World>) -> Driver<World> {
    Driver::new(trail.open(), Arc::clone(world), vec![JOB])
}

fn runs(trail: &TestTrail) -> Vec<Run> {
    let mut runs = job_runs::newest(&mut trail.connect(), JOB.name, trail.clock.now(), 1000).unwrap();
    runs.reverse();
    runs
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn ring<C: 'static>(driver: &Driver<C>) -> Vec<Report> {
    driver.ring(&BTreeSet::new()).await.unwrap()
}

/// Rings until a run has begun, and is then gone as a killed process is: nothing is written any more.
async fn killed_in_work(driver: Driver<World>, world: &World) {
    world.will(Fate::Hangs);
    let begun = world.begun();
    tokio::select! {
        reports = ring(&driver) => panic!("it ended: {reports:?}"),
        () = world.began.notified() => {}
    }
    assert_eq!(world.begun(), begun + 1);
}

#[test]
fn two_drivers_run_each_slot_once_between_them() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        let (one, two) = (driver(&trail, &world), driver(&trail, &world));
        let first = EVERY_FIVE.latest(trail.clock.now());
        let mut ours = [0, 0];
        for minute in 0..60 {
            trail.clock.set(first.plus(minute * Instant::MINUTE));
            let (a, b) = tokio::join!(ring(&one), ring(&two));
            ours[0] += a.len();
            ours[1] += b.len();
        }
        assert_eq!(world.begun(), 12);
        assert_eq!(ours[0] + ours[1], 12, "{ours:?}");
        let slots: Vec<Instant> = runs(&trail).iter().map(|run| run.slot).collect();
        assert_eq!(slots, (0..12).map(|n| first.plus(n * 5 * Instant::MINUTE)).collect::<Vec<_>>());
        assert!(runs(&trail).iter().all(|run| run.outcome == Some(Outcome::Done) && run.applied == 1));
    });
}

#[test]
fn what_was_missed_is_made_up_for_by_one_run_at_start() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        assert_eq!(ring(&driver(&trail, &world)).await.len(), 1);
        trail.clock.set(trail.clock.now().plus(10 * Instant::DAY));
        let restarted = driver(&trail, &world);
        let reports = ring(&restarted).await;
        assert_eq!(
            reports.iter().map(|report| report.slot).collect::<Vec<_>>(),
            [EVERY_FIVE.latest(trail.clock.now())]
        );
        assert!(ring(&restarted).await.is_empty());
        assert_eq!(world.begun(), 2);
    });
}

#[test]
fn while_one_runs_no_other_begins_and_who_asks_is_told_so() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        let (one, two) = (driver(&trail, &world), driver(&trail, &world));
        world.will(Fate::Hangs);
        tokio::select! {
            reports = ring(&one) => panic!("it ended: {reports:?}"),
            () = async {
                world.began.notified().await;
                // The next slot is due, the run lives: neither driver begins another.
                trail.clock.set(EVERY_FIVE.next(trail.clock.now()));
                let lease_until = runs(&trail)[0].lease_until;
                trail.clock.set(lease_until.plus(-1));
                for driver in [&one, &two] {
                    assert!(driver.ring(&BTreeSet::from([JOB.name])).await.unwrap().is_empty());
                    match driver.run_now(&JOB).await {
                        Err(NotRun::Running { run, .. }) => assert_eq!(run.attempt, 1),
                        other => panic!("{other:?}"),
                    }
                }
            } => {}
        }
        assert_eq!(world.begun(), 1);
    });
}

#[test]
fn a_run_whose_process_was_killed_is_run_again_when_its_lease_is_over() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        killed_in_work(driver(&trail, &world), &world).await;
        world.will(Fate::Succeeds);
        let restarted = driver(&trail, &world);
        let claimed = runs(&trail).remove(0);
        assert_eq!((claimed.finished_at, claimed.attempt), (None, 1));
        trail.clock.set(claimed.lease_until.plus(-1));
        assert!(ring(&restarted).await.is_empty(), "it may still live");
        trail.clock.set(claimed.lease_until);
        let reports = ring(&restarted).await;
        assert_eq!((reports[0].slot, reports[0].outcome), (claimed.slot, Outcome::Done));
        let [dead, again] = runs(&trail).try_into().unwrap();
        assert_eq!((dead.outcome, dead.attempt), (Some(Outcome::Abandoned), 1));
        assert_eq!((again.outcome, again.attempt), (Some(Outcome::Done), 2));
        assert_ne!(dead.holder, again.holder);
    });
}

#[test]
fn who_lost_its_lease_neither_renews_nor_ends_the_run() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        let (one, two) = (driver(&trail, &world), driver(&trail, &world));
        let slot = EVERY_FIVE.latest(trail.clock.now());
        let claim = one.claim(JOB, slot, Some(1)).await.unwrap().unwrap();
        assert_eq!(two.claim(JOB, slot, Some(1)).await.unwrap(), None);
        let now = trail.clock.now();
        assert!(job_runs::renew(&mut trail.connect(), &claim, now.plus(LEASE / 2)).unwrap());
        trail.clock.set(now.plus(LEASE));
        assert!(ring(&two).await.is_empty(), "it was renewed");
        trail.clock.set(now.plus(LEASE / 2 + LEASE));
        assert_eq!(ring(&two).await.len(), 1);
        assert!(!job_runs::renew(&mut trail.connect(), &claim, trail.clock.now()).unwrap());
        let end = job_runs::finish(&mut trail.connect(), &claim, Outcome::Failed, 0, None, trail.clock.now());
        assert!(!end.unwrap());
        assert_eq!(runs(&trail).last().unwrap().outcome, Some(Outcome::Done));
    });
}

#[test]
fn a_panic_is_a_failure_that_is_tried_again_after_a_wait_and_harms_no_other_job() {
    const OTHER: Job<World> = Job {
        name: "other",
        run: |_| Box::pin(async { Ok(Ran { applied: 3, later: vec!["one thing: not yet".to_owned()] }) }),
        ..JOB
    };
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        let driver = Driver::new(trail.open(), Arc::clone(&world), vec![JOB, OTHER]);
        world.will(Fate::Panics);
        let [test, other] = ring(&driver).await.try_into().unwrap();
        assert_eq!(test.outcome, Outcome::Failed);
        assert!(test.said.unwrap().contains("on purpose"));
        assert_eq!((other.outcome, other.applied), (Outcome::Done, 3));
        assert_eq!(other.said.as_deref(), Some("left for later: one thing: not yet"));

        world.will(Fate::Fails);
        assert!(ring(&driver).await.is_empty(), "not at once");
        trail.clock.set(trail.clock.now().plus(Instant::MINUTE));
        assert_eq!(ring(&driver).await[0].outcome, Outcome::Failed);
        world.will(Fate::Succeeds);
        trail.clock.set(trail.clock.now().plus(2 * Instant::MINUTE));
        assert_eq!(ring(&driver).await.len(), 2, "again, and the next slot of the other or of both");
        let last = runs(&trail).pop().unwrap();
        assert_eq!(last.outcome, Some(Outcome::Done));
    });
}

#[test]
fn a_driver_that_is_stopped_leaves_its_run_to_the_next_one_at_once() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        let (stopping, bell) = (driver(&trail, &world), Bell::default());
        let (stop, stopped) = watch::channel(Stop::Not);
        world.will(Fate::Hangs);
        let ending = async {
            world.began.notified().await;
            stop.send_replace(Stop::AtOnce);
        };
        tokio::join!(stopping.serve(&bell, stopped), ending);
        assert_eq!(runs(&trail)[0].outcome, Some(Outcome::Abandoned));
        world.will(Fate::Succeeds);
        let reports = ring(&driver(&trail, &world)).await;
        assert_eq!((reports.len(), reports[0].outcome), (1, Outcome::Done));
        assert_eq!(runs(&trail).last().unwrap().attempt, 2);
    });
}

#[test]
fn a_bell_for_a_job_runs_it_out_of_turn_also_twice_at_the_same_instant() {
    block_on(async {
        let (trail, world) = (TestTrail::new(), World::new());
        let (serving, bell) = (driver(&trail, &world), Bell::default());
        let (stop, stopped) = watch::channel(Stop::Not);
        let ringing = async {
            world.began.notified().await;
            while runs(&trail).iter().any(|run| run.finished_at.is_none()) {
                tokio::task::yield_now().await;
            }
            for begun in 2..4 {
                bell.ring_for(JOB.name);
                world.began.notified().await;
                assert_eq!(world.begun(), begun);
                while runs(&trail).iter().any(|run| run.finished_at.is_none()) {
                    tokio::task::yield_now().await;
                }
            }
            stop.send_replace(Stop::Gently);
        };
        tokio::join!(serving.serve(&bell, stopped), ringing);
        let now = trail.clock.now();
        let asked: Vec<(Instant, i64)> = runs(&trail).iter().skip(1).map(|run| (run.slot, run.attempt)).collect();
        assert_eq!(asked, [(now, 1), (now, 2)]);
    });
}

#[test]
fn the_ledger_is_pruned_by_number_and_keeps_what_runs() {
    let trail = TestTrail::new();
    let db = trail.open();
    let mut conn = trail.connect();
    let at = |n: i64| trail.clock.now().plus(n * Instant::MINUTE);
    for n in 0..30 {
        let claim = job_runs::claim(&mut conn, "test", at(n), Some(1), "one", at(n)).unwrap().unwrap();
        job_runs::finish(&mut conn, &claim, Outcome::Done, 0, None, at(n)).unwrap();
    }
    job_runs::claim(&mut conn, "test", at(30), Some(1), "one", at(30)).unwrap().unwrap();
    assert_eq!(job_runs::crowded(&mut conn, 31).unwrap(), []);
    assert_eq!(job_runs::crowded(&mut conn, 10).unwrap(), [("test".to_owned(), at(21))]);
    assert_eq!(job_runs::prune(&mut conn, "test", at(21)).unwrap(), 21);
    assert_eq!(job_runs::crowded(&mut conn, 10).unwrap(), []);
    assert_eq!(job_runs::newest(&mut conn, "test", at(99), 99).unwrap().len(), 10);
    drop(db);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Two processes, of which either may be killed in work, fail or be restarted at any time: no slot is done twice, and
    /// when all is quiet the newest is done.
    #[test]
    fn whatever_dies_no_slot_is_done_twice_and_the_newest_is_not_lost(
        steps in proptest::collection::vec((0_i64..12, any::<bool>(), 0_u8..5), 1..14),
    ) {
        block_on(async {
            let (trail, world) = (TestTrail::new(), World::new());
            let mut drivers = [driver(&trail, &world), driver(&trail, &world)];
            for (forward, second, fate) in steps {
                trail.clock.set(trail.clock.now().plus(forward * Instant::MINUTE / 2));
                let which = usize::from(second);
                match fate {
                    0 => {
                        world.will(Fate::Hangs);
                        let killed = std::mem::replace(&mut drivers[which], driver(&trail, &world));
                        tokio::select! {
                            _ = ring(&killed) => {}
                            () = world.began.notified() => {}
                        }
                    }
                    1 => {
                        world.will(Fate::Fails);
                        ring(&drivers[which]).await;
                    }
                    _ => {
                        world.will(Fate::Succeeds);
                        tokio::join!(ring(&drivers[0]), ring(&drivers[1]));
                    }
                }
                // A run that ended at once left its notice.
                let _ = tokio::time::timeout(Duration::ZERO, world.began.notified()).await;
            }
            world.will(Fate::Succeeds);
            trail.clock.set(trail.clock.now().plus(3 * LEASE));
            ring(&drivers[0]).await;
            trail.clock.set(trail.clock.now().plus(2 * Instant::HOUR));
            ring(&drivers[1]).await;
            let done: Vec<Instant> =
                runs(&trail).iter().filter(|run| run.outcome == Some(Outcome::Done)).map(|run| run.slot).collect();
            let once: BTreeSet<Instant> = done.iter().copied().collect();
            assert_eq!(once.len(), done.len(), "a slot was done twice: {:?}", runs(&trail));
            assert_eq!(done.last(), Some(&EVERY_FIVE.latest(trail.clock.now())));
        });
    }
}
