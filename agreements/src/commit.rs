//! What holds at a commit: between a decision and the record of it, time goes on and standing changes.

use crate::agreement::Agreement;
use crate::decide::{Decision, Denial, Permit, Standing, Usage, decide};
use crate::ids::{AgreementId, Ori};
use crate::message::Question;
use crate::register::Register;
use crate::rule::Rule;
use crate::status::Status;
use crate::stream::Streams;
use crate::time::Instant;

/// What becomes of an answer whose permit was made before its commit.
#[derive(Debug)]
pub enum Upheld {
    /// It leaves.
    Stands,
    /// The custodian decides now; these rules ask for it.
    Refer(Vec<Rule>),
    /// These rules say no now.
    Deny(Vec<Rule>),
    /// It is withheld: the agreement is no longer in force, or lets less be searched than was.
    Withheld(Status),
}

impl Permit {
    /// Whether it holds at the commit without another decision: nothing that it was made from moved, it is not dead, and
    /// the quota is not used up by others.
    #[must_use]
    pub fn stands(&self, epoch: i64, today: u32, now: Instant) -> bool {
        self.epoch() == epoch && !self.dead(now) && self.within_quota(today)
    }
}

/// Decides again about what was searched under `permit`, which does not [stand](Permit::stands) any more.
#[must_use]
pub fn uphold(permit: &Permit, question: &Question, standing: &Standing, today: u32, now: Instant) -> Upheld {
    match decide(question, standing, Usage { today, over_rate: false }, now) {
        Decision::Permit(fresh) if fresh.covers(permit) => Upheld::Stands,
        Decision::Refer(rules) => Upheld::Refer(rules),
        Decision::Deny(Denial { status: None, rules }) => Upheld::Deny(rules),
        Decision::Permit(_) | Decision::Deny(_) => Upheld::Withheld(standing.status(now)),
    }
}

/// For how long what was asked under is known to be in force: the asker's side of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The standing epoch under which it is.
    pub epoch: i64,
    /// The instant at which that was looked up.
    pub since: Instant,
    /// The first instant at which it stops being so by itself.
    pub until: Instant,
}

impl Term {
    /// Whether it is over: standing moved, the instant has come, or the clock was set back since.
    #[must_use]
    pub fn over(self, epoch: i64, now: Instant) -> bool {
        epoch != self.epoch || !(self.since..self.until).contains(&now)
    }
}

/// Under which of the agreements between `us` and `owner`, given oldest first, `us` may ask at `now`: the newest one in
/// force that grants it, and until when that is so, since another one may begin before it ends. Or why there is none:
/// of several, the newest says it.
///
/// # Errors
/// The sentence; `None` where there is no agreement at all.
pub fn under<'a>(
    us: Ori,
    owner: Ori,
    agreements: impl DoubleEndedIterator<Item = (&'a Agreement, &'a Streams)>,
    register: &Register,
    now: Instant,
) -> Result<(AgreementId, Instant), Option<String>> {
    let mut why = None;
    let (mut newest, mut begins) = (None, Instant::from_micros(i64::MAX));
    for (agreement, streams) in agreements.rev() {
        // Under the other's grant: an early review that we have opened holds only our own.
        match Status::at(agreement, streams, register, now) {
            Status::InForce { until } if agreement.query_grant(owner, us).is_some() => {
                newest = newest.or(Some((agreement.id, until)));
            }
            Status::InForce { .. } => why = Some("the agreement in force grants this agency no queries".to_owned()),
            status => {
                if let Status::NotYet { effective } = status {
                    begins = begins.min(effective);
                }
                why.get_or_insert_with(|| format!("agreement {}: {}", agreement.id, status.says()));
            }
        }
    }
    newest.map(|(id, until)| (id, until.min(begins))).ok_or(why)
}
