//! What wakes the driver: a scheduler, or somebody who knows that there is work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

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

/// A scheduler that rings at all times that `crons` name (UTC, seconds first) until it is shut down.
pub(super) async fn cron(bell: &Arc<Bell>, crons: &BTreeSet<String>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    for cron in crons {
        let bell = Arc::clone(bell);
        scheduler.add(Job::new(cron, move |_, _| bell.ring())?).await?;
    }
    scheduler.start().await?;
    Ok(scheduler)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_scheduler_rings_again_and_again_until_it_is_shut_down() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bell = Arc::<Bell>::default();
            let every_second = BTreeSet::from(["* * * * * *".to_owned()]);
            let mut scheduler = cron(&bell, &every_second).await.unwrap();
            for _ in 0..2 {
                let rung = tokio::time::timeout(Duration::from_secs(10), bell.rung()).await;
                assert_eq!(rung.unwrap(), BTreeSet::new());
            }
            scheduler.shutdown().await.unwrap();
            while tokio::time::timeout(Duration::from_secs(3), bell.rung()).await.is_ok() {}
        });
    }
}
