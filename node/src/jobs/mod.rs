//! What the node does by itself: a closed table of jobs, each with its schedule, run by a single-flight driver.
//!
//! In scope: when a job is due, that it runs once, and each job's plan, its steps and the check afterwards. Out of scope:
//! what must not wait for a schedule. Revocation lists and enrolments are followed each second, and refused requests are
//! counted in this process's memory, by [`crate::serve`]. Nothing here makes an agreement end: that is computed.
//!
//! To add a job: implement `Work` for it and give it a line in [`TABLE`].

mod access;
mod bell;
mod changes;
mod delivery;
mod driver;
mod expiry;
mod notices;
mod packets;
mod partners;
mod policies;
mod post;
mod prune;
mod reconcile;
mod reminders;
mod retention;
mod schedule;
mod unusual;
mod witnesses;
mod work;

use std::sync::Arc;

use tokio::sync::watch;

use crate::node::Node;

pub use bell::{Bell, Ringer};
pub use driver::{Driver, Job, NotRun, Report, Running, Stop};
pub use expiry::Unreadable;
pub use prune::KEEP;
pub use schedule::Schedule;
pub use work::{JobError, Ran};

/// The name of the job that delivers mail, for whoever queued some.
pub const MAIL: &str = "mail";

/// Every job.
pub const TABLE: &[Job] = &[
    Job {
        name: MAIL,
        schedule: Schedule::EveryMinutes(1),
        catch_up: 1,
        about: "send the mails of the outbox",
        run: |node| Box::pin(async move { work::run(post::Post::default(), &node).await }),
    },
    Job {
        name: "deliveries",
        schedule: Schedule::EveryMinutes(5),
        catch_up: 1,
        about: "send partners what they have not acknowledged of agreements",
        run: |node| Box::pin(async move { work::run(delivery::Deliveries, &node).await }),
    },
    Job {
        name: "partners",
        schedule: Schedule::EveryMinutes(5),
        catch_up: 1,
        about: "tell of partners whose keys or place changed",
        run: |node| Box::pin(async move { work::run(notices::Notices(partners::Partners), &node).await }),
    },
    Job {
        name: "packets",
        schedule: Schedule::EveryMinutes(20),
        catch_up: 1,
        about: "send partners this agency's compliance packet until they have it",
        run: |node| Box::pin(async move { work::run(packets::Packets, &node).await }),
    },
    Job {
        name: "changes",
        schedule: Schedule::EveryMinutes(5),
        catch_up: 1,
        about: "carry out approved changes whose effective date has come",
        run: |node| Box::pin(async move { work::run(changes::Changes, &node).await }),
    },
    Job {
        name: "access",
        schedule: Schedule::Daily { hour: 13, minute: 20 },
        catch_up: 1,
        about: "compare who can get what with what follows from the trail",
        run: |node| Box::pin(async move { access::compare(&node).await }),
    },
    Job {
        name: "unusual",
        schedule: Schedule::EveryMinutes(5),
        catch_up: 1,
        about: "tell of partners that ask for the first time, far more than usual, or at a grant's edge",
        run: |node| Box::pin(async move { work::run(notices::Notices(unusual::Unusual), &node).await }),
    },
    Job {
        name: "witnesses",
        schedule: Schedule::EveryMinutes(5),
        catch_up: 1,
        about: "tell of logs that showed two trails, and when no quorum of witnesses vouches for this one",
        run: |node| Box::pin(async move { work::run(notices::Notices(witnesses::Witnesses), &node).await }),
    },
    Job {
        name: "reconcile",
        schedule: Schedule::Daily { hour: 10, minute: 0 },
        catch_up: 1,
        about: "hold each day's exchange with each partner to the partner's own trail",
        run: |node| Box::pin(async move { work::run(reconcile::Reconcile::default(), &node).await }),
    },
    Job {
        name: "unreconciled",
        schedule: Schedule::Daily { hour: 15, minute: 10 },
        catch_up: 1,
        about: "tell of partners with whom days could not be reconciled",
        run: |node| Box::pin(async move { work::run(notices::Notices(reconcile::Unreconciled), &node).await }),
    },
    Job {
        name: "reminders",
        schedule: Schedule::Daily { hour: 15, minute: 0 },
        catch_up: 1,
        about: "remind of agreements that end and are not renewed",
        run: |node| Box::pin(async move { work::run(notices::Notices(reminders::Reminders), &node).await }),
    },
    Job {
        name: "expiry",
        schedule: Schedule::Daily { hour: 15, minute: 5 },
        catch_up: 1,
        about: "warn of certificates, revocation lists and checks that end",
        run: |node| Box::pin(async move { work::run(notices::Notices(expiry::Expiry), &node).await }),
    },
    Job {
        name: "policies",
        schedule: Schedule::Daily { hour: 9, minute: 40 },
        catch_up: 1,
        about: "read partners' published policies again, each once a month",
        run: |node| Box::pin(async move { work::run(policies::Policies, &node).await }),
    },
    Job {
        name: "retention",
        schedule: Schedule::Daily { hour: 10, minute: 50 },
        catch_up: 1,
        about: "delete what the trail's entries say after its retention, with certificates",
        run: |node| Box::pin(async move { retention::run(&node).await }),
    },
    Job {
        name: "prune",
        schedule: Schedule::Daily { hour: 10, minute: 30 },
        catch_up: 1,
        about: "delete the oldest runs from the ledger of jobs",
        run: |node| Box::pin(async move { work::run(prune::Prune, &node).await }),
    },
];

/// A driver of all jobs of a node.
#[must_use]
pub fn driver(node: &Arc<Node>) -> Driver {
    Driver::new(node.registry().clone(), Arc::clone(node), TABLE.to_vec())
}

/// Runs a node's jobs until it is told to stop.
pub async fn serve(node: Arc<Node>, ringer: Ringer, stop: watch::Receiver<Stop>) {
    let crons = TABLE.iter().map(|job| job.schedule.to_string()).collect();
    let mut scheduler = None;
    if ringer == Ringer::Cron {
        match bell::cron(node.bell(), &crons).await {
            Ok(started) => scheduler = Some(started),
            Err(error) => tracing::error!(%error, "the scheduler did not start; jobs are looked at every five minutes"),
        }
    }
    let bell = Arc::clone(node.bell());
    driver(&node).serve(&bell, stop).await;
    if let Some(mut scheduler) = scheduler
        && let Err(error) = scheduler.shutdown().await
    {
        tracing::warn!(%error, "the scheduler did not stop");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_name_once_and_every_schedule_is_one_for_the_scheduler() {
        let names: std::collections::BTreeSet<&str> = TABLE.iter().map(|job| job.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for job in TABLE {
            let made = tokio_cron_scheduler::Job::new(job.schedule.to_string(), |_, _| {});
            assert!(made.is_ok(), "{}: {}", job.name, job.schedule);
            assert!(job.catch_up > 0 && !job.about.is_empty(), "{}", job.name);
        }
    }
}
