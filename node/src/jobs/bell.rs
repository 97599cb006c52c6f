//! What wakes the driver: a scheduler, or somebody who knows that there is work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::schedule::Schedule;

/// A bell. It says nothing about what is due: whoever hears it looks at the node's clock.
#[derive(Debug, Default)]
pub struct Bell {
    notify: Notify,
    wanted: Mutex<BTreeSet<&'static str>>,
}

impl Bell {
    /// Rings: something may be due.
    pub fn ring(&self) {
        self.notify.notify_one();
    }

    /// Rings for one job, due or not.
    pub fn ring_for(&self, job: &'static str) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
        self.ring();
    }

    /// Waits until it rings. The jobs that were rung for.
    pub(super) async fn rung(&self) -> BTreeSet<&'static str> {
        self.notify.notified().await;
        std::mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who rings at the times of the schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ringer {
    /// A scheduler, by the machine's clock.
    Cron,
    /// Nobody: whoever moves the node's clock rings.
    Nobody,
}

/// A scheduler that rings at every slot of `schedules` until it is shut down.
pub(super) async fn cron(bell: &Arc<Bell>, schedules: &[Schedule]) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let crons: BTreeSet<String> = schedules.iter().map(ToString::to_string).collect();
    for cron in crons {
        let bell = Arc::clone(bell);
        scheduler.add(Job::new(cron, move |_, _| bell.ring())?).await?;
    }
    scheduler.start().await?;
    Ok(scheduler)
}
