//! Reconciles, each night, every day with every partner that was not reconciled yet, and tells of partners with whom that does
//! not work for days.

use std::collections::BTreeMap;

use agreements::ids::Ori;
use agreements::time::Instant;
use diesel::result::Error;
use jiff::civil::Date;

use super::notices::{Due, Source};
use super::work::{Applied, JobError, Work};
use crate::mail::{Audience, Notice};
use crate::node::Node;
use crate::reconciling::fallen::{self, Span};
use crate::reconciling::run::{self, NotDone};
use crate::reconciling::{self, LATE, listing};

/// Reconciles what is due.
#[derive(Default)]
pub(super) struct Reconcile {
    /// Partners that did not answer: the rest of their days can wait.
    away: BTreeMap<Ori, String>,
}

/// The days that are due, by partner.
type Days = BTreeMap<Ori, Vec<Date>>;

fn due(node: &Node) -> Result<Days, JobError> {
    let mut conn = node.registry().reader()?;
    let due = reconciling::due(&mut conn, &node.partners(), node.now())?;
    Ok(due.map_err(|what| Error::DeserializationError(what.into()))?)
}

/// What is due, and what fell out of it without being done.
pub(super) struct World {
    due: Days,
    fallen: BTreeMap<Ori, Span>,
}

/// Something to be done with a partner.
#[derive(Clone, PartialEq)]
pub(super) enum Op {
    /// Reconcile a day.
    Day(Ori, Date),
    /// Open a case for days that nothing catches up with any more.
    Fallen(Ori, Span),
}

impl Work for Reconcile {
    type World = World;
    type Op = Op;

    async fn look(&self, node: &Node) -> Result<World, JobError> {
        let due = due(node)?;
        node.metrics().unreconciled(late(&due, node.now()).count());
        let fallen = fallen::fallen(&mut node.registry().reader()?, &node.partners(), node.now())?;
        Ok(World { due, fallen: fallen.map_err(|what| Error::DeserializationError(what.into()))? })
    }

    fn plan(&self, world: &World, _: Instant) -> Vec<Op> {
        let fallen = world.fallen.iter().map(|(ori, span)| Op::Fallen(*ori, *span));
        let due = world.due.iter().flat_map(|(ori, days)| days.iter().map(|day| Op::Day(*ori, *day)));
        fallen.chain(due).collect()
    }

    fn says(&self, op: &Op) -> String {
        match op {
            Op::Day(ori, day) => format!("reconcile {day} with {ori}"),
            Op::Fallen(ori, span) => {
                format!("open a case: {} to {} were not reconciled with {ori}", span.first, span.last)
            }
        }
    }

    async fn apply(&mut self, node: &Node, op: &Op) -> Result<Applied, JobError> {
        let (ori, day) = match op {
            Op::Day(ori, day) => (ori, day),
            Op::Fallen(ori, span) => {
                return match run::not_compared(node, &node.desk(), *ori, span).await {
                    Ok(_) => Ok(Applied::Done),
                    Err(NotDone::Failure(error)) => Err(error.into()),
                    Err(error) => Ok(Applied::Later(error.to_string())),
                };
            }
        };
        if let Some(why) = self.away.get(ori) {
            return Ok(Applied::Later(why.clone()));
        }
        match run::reconcile(node, &node.desk(), *ori, *day, None).await {
            Ok(_) => Ok(Applied::Done),
            Err(NotDone::Failure(error)) => Err(error.into()),
            Err(error) => {
                self.away.insert(*ori, error.to_string());
                Ok(Applied::Later(error.to_string()))
            }
        }
    }
}

/// The partners with whom a day could not be reconciled for [`LATE`] days, with the oldest such day.
fn late(due: &Days, now: Instant) -> impl Iterator<Item = (Ori, Date)> {
    let long_ago = listing::day_of(now.plus(-(LATE + 1) * Instant::DAY));
    due.iter().filter_map(move |(ori, days)| Some((*ori, *days.first().filter(|day| **day <= long_ago)?)))
}

/// The source of mails about partners with whom it does not work.
pub(super) struct Unreconciled;

impl Source for Unreconciled {
    type World = Days;
    const PREFIX: &'static str = "unreconciled:";

    fn look(&self, node: &Node) -> Result<Days, JobError> {
        due(node)
    }

    fn due(world: &Days, now: Instant) -> Vec<Due> {
        late(world, now).map(|(ori, day)| of_partner(ori, day)).collect()
    }
}

fn of_partner(ori: Ori, day: Date) -> Due {
    let subject = format!("The exchange with {ori} is not reconciled since {day}");
    let body = format!(
        "{subject} (a day of UTC): each night this node asks for its list of what it recorded for this agency, and gets none \
         that it can hold to its log. Until then nobody knows whether the two trails agree.\n\n\
         See why, and try it again: concordat trail reconcile {ori} --day {day} --as USER\n\
         Then call its administrator. Days are caught up with for {} days; what is older by then is a case, and has to be \
         reconciled by hand.\n",
        reconciling::BACK
    );
    let dedup = format!("unreconciled:{ori}:{day}");
    Due { reason: subject.clone(), notice: Notice { dedup, audience: Audience::Custodian, subject, body } }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_partner_is_told_of_after_three_days_and_by_the_same_mail_until_that_day_is_done() {
        let now: Instant = "2026-11-27T10:00:00Z".parse().unwrap();
        let (early, late_one): (Ori, Ori) = ("CA0010000".parse().unwrap(), "CA0990100".parse().unwrap());
        let world = BTreeMap::from([
            (early, vec![date(2026, 11, 24), date(2026, 11, 26)]),
            (late_one, vec![date(2026, 11, 23)]),
        ]);
        assert_eq!(late(&world, now).collect::<Vec<_>>(), [(late_one, date(2026, 11, 23))]);
        let keys = |now| Unreconciled::due(&world, now).into_iter().map(|due| due.notice.dedup).collect::<Vec<_>>();
        assert_eq!(keys(now), keys(now.plus(3600 * Instant::SECOND)));
        assert_eq!(keys(now.plus(Instant::DAY)).len(), 2);
    }
}
