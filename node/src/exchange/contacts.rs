//! When each partner was last in touch, and whom to bring up to date: what was said while two nodes could not hear each
//! other has to arrive as soon as they can. In memory only: a node that starts has everybody to bring up to date.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agreements::ids::Ori;
use agreements::time::Instant;
use tokio::sync::Notify;

/// Who was not heard for so long, in microseconds, may have said something that never arrived.
pub const ABSENCE: i64 = 5 * Instant::MINUTE;
/// After a failure a partner is left alone for so long, in microseconds; twice as long after each further one.
const FIRST_REST: i64 = 5 * Instant::MINUTE;
/// A partner that reaches us but that we do not reach is left alone for so long, and twice as long each further time.
const VAIN_REST: i64 = Instant::MINUTE;
/// No rest is longer: a partner that is down for a week costs a try an hour.
const LONGEST_REST: i64 = Instant::HOUR;
/// What a rest ends earlier by, so that the slot of a job that it ends at is not missed.
const SLACK: i64 = Instant::MINUTE;

/// What is known of one partner.
#[derive(Debug, Default)]
struct Contact {
    /// When something of it arrived last; nothing if it could not be reached since.
    heard: Option<Instant>,
    /// Whether it has to be brought up to date.
    due: bool,
    /// Whether that is in work.
    busy: bool,
    /// When that was tried last.
    tried: Option<Instant>,
    /// How often it failed since it last did not.
    failures: u32,
    /// Whether it was heard from since it failed last.
    woken: bool,
    /// How often it failed although the partner had been heard from.
    vain: u32,
}

impl Contact {
    fn rests(&self, now: Instant) -> bool {
        let rest = match (self.woken, self.failures, self.vain) {
            (_, 0, _) | (true, _, 0) => return false,
            (true, _, times) => doubled(VAIN_REST, times),
            (false, times, _) => doubled(FIRST_REST, times) - SLACK,
        };
        // A clock that was set back is no reason to wait for it.
        self.tried.is_some_and(|tried| (0..rest).contains(&now.since(tried)))
    }
}

fn doubled(first: i64, times: u32) -> i64 {
    first.saturating_mul(1_i64 << times.saturating_sub(1).min(16)).min(LONGEST_REST)
}

/// Every partner's contact.
#[derive(Debug, Default)]
pub struct Contacts {
    all: Mutex<HashMap<Ori, Contact>>,
    /// One exchange of streams with a partner at a time, so that events go in their order.
    turns: Mutex<HashMap<Ori, Arc<tokio::sync::Mutex<()>>>>,
    news: Notify,
}

impl Contacts {
    fn all(&self) -> MutexGuard<'_, HashMap<Ori, Contact>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of `partner` arrived: a request, or a reply. After an absence it is brought up to date at once.
    pub fn heard(&self, partner: Ori, now: Instant) {
        let mut all = self.all();
        let contact = all.entry(partner).or_default();
        let long = |heard: Instant| now.since(heard).unsigned_abs() >= ABSENCE.unsigned_abs();
        if contact.failures > 0 || contact.heard.is_none_or(long) {
            contact.due = true;
            contact.woken = true;
            self.news.notify_one();
        }
        contact.heard = Some(now);
    }

    /// `partner` could not be reached.
    pub fn missed(&self, partner: Ori) {
        self.all().entry(partner).or_default().heard = None;
    }

    /// `partner` has to be brought up to date.
    pub fn want(&self, partner: Ori) {
        self.all().entry(partner).or_default().due = true;
        self.news.notify_one();
    }

    /// Waits until somebody may have to be brought up to date.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// The next partner to bring up to date: whoever failed least first, so that those who hang keep nobody waiting long.
    /// It is not given again before [`Self::settled`].
    pub fn take(&self, now: impl FnOnce() -> Instant) -> Option<Ori> {
        let mut all = self.all();
        if !all.values().any(|contact| contact.due && !contact.busy) {
            return None;
        }
        let now = now();
        let ready = |contact: &Contact| contact.due && !contact.busy && !contact.rests(now);
        let next = all.iter_mut().filter(|(_, contact)| ready(contact)).min_by_key(|(ori, it)| (it.failures, **ori));
        let (partner, contact) = next?;
        contact.due = false;
        contact.busy = true;
        Some(*partner)
    }

    /// What [`Self::take`] gave is no longer in work.
    pub fn settled(&self, partner: Ori) {
        self.all().entry(partner).or_default().busy = false;
    }

    /// Whether `partner` is left alone for a while, after failures.
    #[must_use]
    pub fn rests(&self, partner: Ori, now: Instant) -> bool {
        self.all().get(&partner).is_some_and(|contact| contact.rests(now))
    }

    /// `partner` was brought up to date at `now`, or that failed.
    pub fn tried(&self, partner: Ori, now: Instant, done: bool) {
        let mut all = self.all();
        let contact = all.entry(partner).or_default();
        contact.tried = Some(now);
        if done {
            (contact.failures, contact.vain) = (0, 0);
        } else {
            contact.failures = contact.failures.saturating_add(1);
            contact.vain = contact.vain.saturating_add(u32::from(contact.woken));
        }
        contact.woken = false;
    }

    /// The turn of whoever exchanges streams with `partner`.
    pub fn turn(&self, partner: Ori) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(partner).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birch() -> Ori {
        "CA0990100".parse().unwrap()
    }

    fn start() -> Instant {
        "2026-11-23T20:17:00Z".parse().unwrap()
    }

    fn take(contacts: &Contacts, now: Instant) -> Option<Ori> {
        contacts.take(|| now)
    }

    fn after(minutes: i64) -> Instant {
        start().plus(minutes * Instant::MINUTE)
    }

    #[test]
    fn who_is_heard_again_after_an_absence_is_brought_up_to_date_once() {
        let contacts = Contacts::default();
        contacts.heard(birch(), after(0));
        assert_eq!((take(&contacts, after(0)), take(&contacts, after(0))), (Some(birch()), None), "for the first time");
        contacts.tried(birch(), after(0), true);
        contacts.settled(birch());
        for minute in [1, 5, 9] {
            contacts.heard(birch(), after(minute));
            assert_eq!(take(&contacts, after(minute)), None, "it was there all the time");
        }
        contacts.heard(birch(), after(14));
        assert_eq!(take(&contacts, after(14)), Some(birch()));
        // What becomes due meanwhile is for afterwards.
        contacts.want(birch());
        assert_eq!(take(&contacts, after(14)), None);
        contacts.settled(birch());
        assert_eq!(take(&contacts, after(14)), Some(birch()));
        contacts.settled(birch());
        // One that could not be reached was absent, however short.
        contacts.missed(birch());
        contacts.heard(birch(), after(15));
        assert_eq!(take(&contacts, after(15)), Some(birch()));
    }

    #[test]
    fn a_partner_that_is_down_for_a_week_costs_a_try_an_hour_and_is_served_at_once_when_it_is_back() {
        let contacts = Contacts::default();
        let mut tries = Vec::new();
        // The job looks every five minutes.
        for minute in (0..7 * 24 * 60).step_by(5) {
            if !contacts.rests(birch(), after(minute)) {
                contacts.tried(birch(), after(minute), false);
                tries.push(minute);
            }
        }
        assert_eq!(tries[..6], [0, 5, 15, 35, 75, 135]);
        assert!(tries.len() < 7 * 24 + 6, "{}", tries.len());
        let back = after(7 * 24 * 60 - 4);
        assert!(contacts.rests(birch(), back));
        contacts.heard(birch(), back);
        assert_eq!(take(&contacts, back), Some(birch()));
    }

    #[test]
    fn a_partner_that_reaches_us_but_is_not_reached_is_not_dialled_at_each_of_its_requests() {
        let contacts = Contacts::default();
        contacts.tried(birch(), after(0), false);
        let mut tries = 0;
        for second in 0..3600 {
            let now = start().plus(second * Instant::SECOND);
            contacts.heard(birch(), now);
            if take(&contacts, now).is_some() {
                contacts.tried(birch(), now, false);
                contacts.settled(birch());
                tries += 1;
            }
        }
        assert!((3..8).contains(&tries), "{tries}");
        // A clock that was set back does not make it wait.
        contacts.heard(birch(), after(-60));
        assert_eq!(take(&contacts, after(-60)), Some(birch()));
    }

    #[test]
    fn whoever_failed_least_comes_first() {
        let contacts = Contacts::default();
        let cedar: Ori = "CA0990200".parse().unwrap();
        contacts.tried(birch(), after(0), false);
        contacts.heard(birch(), after(0));
        contacts.want(cedar);
        assert_eq!((take(&contacts, after(0)), take(&contacts, after(0))), (Some(cedar), Some(birch())));
    }
}
