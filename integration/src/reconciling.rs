//! Reconciling, as nodes do it at night and people by hand.

use agreements::discrepancy::Differs;
use agreements::ids::RequestId;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::people::PeopleError;
use concordat::reconciling::cases;
use concordat::reconciling::run::{self, Done, NotDone};
use concordat::registry::discrepancies::{self, Case};
use concordat::registry::outbox::Queued;
use jiff::civil::Date;

use crate::node::TestNode;
use crate::pair::Pair;

impl TestNode {
    /// Reconciles a day with another node, as the night does.
    pub async fn reconciles(&self, other: &Self, day: Date) -> Result<Done, NotDone> {
        run::reconcile(self.node(), &self.node().desk(), other.ori(), day, None).await
    }

    /// The same, where both trails agree.
    pub async fn agrees_with(&self, other: &Self, day: Date) -> Done {
        let done = self.reconciles(other, day).await.unwrap();
        assert_eq!((done.found.differs, done.opened.len()), (0, 0), "{:?}\n{:?}", done.found, self.cases());
        done
    }

    /// Every case, oldest first.
    pub fn cases(&self) -> Vec<Case> {
        discrepancies::all(&mut self.conn()).unwrap().unwrap()
    }

    /// What differs by the cases, oldest first.
    pub fn differs(&self) -> Vec<Differs> {
        self.cases().iter().map(|case| case.opened.differs).collect()
    }

    /// The person with this role closes a case.
    pub async fn closes(&self, case: RequestId, role: &str) -> Result<(), PeopleError> {
        let (how, why) = ("a disk was repaired there", "the entry is listed again");
        cases::close(self.node().registry(), case, how, why, &self.fiction.person(role)).await
    }

    /// The mails about discrepancies.
    pub fn mails_about_discrepancies(&self) -> Vec<Queued> {
        self.mails().into_iter().filter(|mail| mail.subject.starts_with("The trails of this agency")).collect()
    }
}

impl Pair {
    /// So many days later, at a quarter past the hour at which nodes reconcile.
    pub fn nights_later(&self, nights: i64) {
        let midnight = self.alder.clock.now().micros().div_euclid(Instant::DAY) * Instant::DAY;
        let at = Instant::from_micros(midnight).plus(nights * Instant::DAY + 10 * Instant::HOUR + 15 * Instant::MINUTE);
        self.set_clocks(at);
    }
}
