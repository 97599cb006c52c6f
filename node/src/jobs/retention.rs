//! Deletes each night what the trail's entries say after its retention.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::work::{JobError, Ran};
use crate::node::Node;
use crate::retention::{self, RetentionError};

/// One run. The plan is who is due, which each batch decides anew under the head's lock: a hold may come meanwhile.
pub(super) async fn run(node: &Arc<Node>) -> Result<Ran, JobError> {
    let years = node.config().trail.details_kept_years.get();
    let now = node.now();
    // The driver ends this where it waits, which is between two batches.
    let done = retention::run(node, None, |_| {}, Arc::new(AtomicBool::new(false))).await?;
    let left = retention::due(&mut node.registry().reader()?, now, years, true)?.map_err(RetentionError::Refused)?;
    if left.first.is_some() {
        return Err(JobError::Differs("what was due at its beginning still says something".to_owned()));
    }
    let mut later = Vec::new();
    if done.held > 0 {
        later.push(format!("{} entries are held, and stay as they are", done.held));
    }
    if done.unclear > 0 {
        later.push(format!(
            "{} entries are not as they were recorded, and stay: `concordat trail verify`",
            done.unclear
        ));
    }
    Ok(Ran { applied: usize::try_from(done.certificates).unwrap_or(usize::MAX), later })
}
