//! When a job is due: slots on a grid of UTC, and which of them a ledger still lacks. Pure; nothing here reads a clock.

use std::fmt;

use agreements::time::Instant;

use crate::registry::job_runs::{Outcome, Run};

/// The first wait before a failed run is tried again, in microseconds; each further one is twice as long.
const FIRST_WAIT: i64 = Instant::MINUTE;
/// The longest of these waits, in microseconds.
const LONGEST_WAIT: i64 = Instant::HOUR;

/// A regular schedule in UTC, which no change to or from summer time moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At the start of each so many minutes of the hour; a divisor of 60.
    EveryMinutes(u8),
    /// At this minute of each hour.
    Hourly {
        /// 0 to 59.
        minute: u8,
    },
    /// At this time of each day.
    Daily {
        /// 0 to 23.
        hour: u8,
        /// 0 to 59.
        minute: u8,
    },
}

impl Schedule {
    /// The grid: how far apart slots are, and where the first one of 1970 is.
    fn grid(self) -> (i64, i64) {
        match self {
            Self::EveryMinutes(minutes) => (i64::from(minutes.max(1)) * Instant::MINUTE, 0),
            Self::Hourly { minute } => (Instant::HOUR, i64::from(minute) * Instant::MINUTE),
            Self::Daily { hour, minute } => {
                (Instant::DAY, i64::from(hour) * Instant::HOUR + i64::from(minute) * Instant::MINUTE)
            }
        }
    }

    /// The newest slot that is not after `now`.
    #[must_use]
    pub fn latest(self, now: Instant) -> Instant {
        let (period, offset) = self.grid();
        now.plus(-now.plus(-offset).micros().rem_euclid(period))
    }

    /// The first slot after `now`.
    #[must_use]
    pub fn next(self, now: Instant) -> Instant {
        self.latest(now).plus(self.grid().0)
    }

    /// What is due of a job at `now`: the slots that it lacks since its `newest` run (whose slot is not after `now`), but
    /// no more than the last `catch_up` of them, oldest first; or else that run's slot once more, if it failed and has
    /// waited, or died. With each slot goes the number of the attempt. Nothing while a run lives. Without any run,
    /// nothing was missed yet, and one slot is due.
    #[must_use]
    pub fn due(self, catch_up: u32, newest: Option<&Run>, now: Instant) -> Vec<(Instant, i64)> {
        let (period, _) = self.grid();
        let latest = self.latest(now);
        let Some(run) = newest else { return vec![(latest, 1)] };
        if run.lives(now) {
            return Vec::new();
        }
        if latest > run.slot {
            let mut slots: Vec<_> = std::iter::successors(Some(latest), |slot| Some(slot.plus(-period)))
                .take_while(|slot| *slot > run.slot)
                .take(catch_up.max(1) as usize)
                .map(|slot| (slot, 1))
                .collect();
            slots.reverse();
            return slots;
        }
        let again = match run.outcome {
            Some(Outcome::Done) => false,
            Some(Outcome::Failed) => run.finished_at.is_none_or(|ended| now.since(ended) >= wait(run.attempt)),
            Some(Outcome::Abandoned) | None => true,
        };
        if again { vec![(run.slot, run.attempt + 1)] } else { Vec::new() }
    }
}

fn wait(attempt: i64) -> i64 {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(20);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

impl fmt::Display for Schedule {
    /// As cron writes it, seconds first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryMinutes(1) => f.pad("0 * * * * *"),
            Self::EveryMinutes(minutes) => f.pad(&format!("0 */{minutes} * * * *")),
            Self::Hourly { minute } => f.pad(&format!("0 {minute} * * * *")),
            Self::Daily { hour, minute } => f.pad(&format!("0 {minute} {hour} * * *")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::job_runs::{AHEAD, LEASE};

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    fn run(slot: Instant, attempt: i64, ended: Option<(Instant, Outcome)>) -> Run {
        Run {
            slot,
            attempt,
            started_at: slot,
            finished_at: ended.map(|(at, _)| at),
            outcome: ended.map(|(_, outcome)| outcome),
            error: None,
            applied: 0,
            holder: "one".to_owned(),
            lease_until: slot.plus(LEASE),
        }
    }

    #[test]
    fn slots_are_where_cron_would_have_them() {
        let now = at("2026-11-23T20:17:00.000001Z");
        for (schedule, cron, latest, next) in [
            (Schedule::EveryMinutes(1), "0 * * * * *", "2026-11-23T20:17:00Z", "2026-11-23T20:18:00Z"),
            (Schedule::EveryMinutes(5), "0 */5 * * * *", "2026-11-23T20:15:00Z", "2026-11-23T20:20:00Z"),
            (Schedule::Hourly { minute: 30 }, "0 30 * * * *", "2026-11-23T19:30:00Z", "2026-11-23T20:30:00Z"),
            (Schedule::Daily { hour: 14, minute: 5 }, "0 5 14 * * *", "2026-11-23T14:05:00Z", "2026-11-24T14:05:00Z"),
            (Schedule::Daily { hour: 21, minute: 0 }, "0 0 21 * * *", "2026-11-22T21:00:00Z", "2026-11-23T21:00:00Z"),
        ] {
            assert_eq!(schedule.to_string(), cron);
            assert_eq!((schedule.latest(now), schedule.next(now)), (at(latest), at(next)), "{cron}");
            assert_eq!(schedule.latest(at(next)), at(next), "a slot is due at its own instant");
            assert_eq!(schedule.latest(at(next).plus(-1)), at(latest));
        }
    }

    #[test]
    fn what_failed_is_tried_again_after_a_wait_and_what_died_at_once() {
        let daily = Schedule::Daily { hour: 14, minute: 0 };
        let slot = at("2026-11-23T14:00:00Z");
        let due = |run: &Run, now: Instant| daily.due(1, Some(run), now);
        let failed = |attempt| run(slot, attempt, Some((slot, Outcome::Failed)));
        for (attempt, minutes) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (70, 60)] {
            assert_eq!(due(&failed(attempt), slot.plus(minutes * Instant::MINUTE - 1)), []);
            assert_eq!(due(&failed(attempt), slot.plus(minutes * Instant::MINUTE)), [(slot, attempt + 1)]);
        }
        assert_eq!(due(&run(slot, 1, Some((slot, Outcome::Abandoned))), slot), [(slot, 2)]);
        assert_eq!(due(&run(slot, 1, Some((slot, Outcome::Done))), slot.plus(Instant::DAY - 1)), []);

        let running = run(slot, 1, None);
        assert_eq!(due(&running, slot.plus(LEASE - 1)), []);
        assert_eq!(due(&running, slot.plus(LEASE)), [(slot, 2)], "its lease is over");
        let from = |ahead: i64| Run { lease_until: slot.plus(LEASE + ahead), ..running.clone() };
        for ahead in [1, 50_000, AHEAD] {
            assert_eq!(due(&from(ahead), slot), [], "clocks differ a little");
        }
        assert_eq!(due(&from(AHEAD + 1), slot), [(slot, 2)], "a lease that no clock of today gave");
    }

    proptest! {
        /// Over any hours on and off, crashes and failures: no slot is run twice after it was done, and what is due is
        /// the newest slots, none left out.
        #[test]
        fn each_slot_is_done_at_most_once_and_the_newest_never_lost(
            steps in proptest::collection::vec((0_i64..200, 0_u8..4), 1..80),
            catch_up in 1_u32..4,
            minutes in proptest::sample::select(vec![1_u8, 5, 20]),
        ) {
            let schedule = Schedule::EveryMinutes(minutes);
            let period = i64::from(minutes) * Instant::MINUTE;
            let mut now = at("2026-11-23T20:17:00.000001Z");
            let mut newest: Option<Run> = None;
            let mut done: Vec<Instant> = Vec::new();
            for (forward, fate) in steps {
                now = now.plus(forward * Instant::MINUTE / 2);
                let latest = schedule.latest(now);
                let before = newest.clone();
                for (slot, attempt) in schedule.due(catch_up, newest.as_ref(), now) {
                    prop_assert!(!done.contains(&slot), "{slot} was done");
                    prop_assert!(slot <= now && now.since(slot) < period * i64::from(catch_up).max(1));
                    let ended = match fate {
                        0 => Some((now, Outcome::Failed)),
                        1 => None,
                        _ => { done.push(slot); Some((now, Outcome::Done)) }
                    };
                    newest = Some(Run { started_at: now, lease_until: now.plus(LEASE), ..run(slot, attempt, ended) });
                }
                // Whoever looks while nothing lives and nothing waits has the newest slot in the ledger.
                if before.as_ref().is_none_or(|run| !run.lives(now)) {
                    prop_assert_eq!(newest.as_ref().map(|run| run.slot), Some(latest));
                }
                // All of the last `catch_up` slots since the newest of before are there.
                if let Some(before) = before.filter(|run| run.outcome == Some(Outcome::Done)) && fate > 1 {
                    for back in 0..i64::from(catch_up) {
                        let slot = latest.plus(-back * period);
                        prop_assert!(slot <= before.slot || done.contains(&slot), "{slot} was lost");
                    }
                }
            }
        }
    }
}
