//! Compares, daily, who can get what through the doors with what follows from the trail. A difference is an alarm.

use agreements::entry::Kind;
use agreements::ids::Digest;
use serde::Serialize;

use super::work::{JobError, Ran};
use crate::access::{self, Compared};
use crate::changes::rules;
use crate::db::Tx;
use crate::exchange::answer::canonical;
use crate::mail::{self, Audience, Notice};
use crate::node::{Node, fresh_rid};
use crate::trail::{Draft, Facts};

/// The message of an `access.compared` entry.
#[derive(Serialize)]
struct Entry {
    /// How many things partners may get here.
    access: usize,
    differences: Vec<String>,
    /// Over the list of what partners may get here, in canonical form.
    sha256: Digest,
    v: u16,
}

/// One comparison: recorded, and said where it has to be.
pub(super) async fn compare(node: &Node) -> Result<Ran, JobError> {
    rules::hold(node).await?;
    rules::tell(node).await?;
    let Compared { given, agreements, differences } = access::compare(node)?;
    node.metrics().access_differences(differences.len());
    if agreements == 0 && given.is_empty() && differences.is_empty() {
        return Ok(Ran::default());
    }
    for difference in &differences {
        tracing::error!(difference, "ALARM: effective access is not what agreements in force give");
    }
    let entry =
        Entry { access: given.len(), differences: differences.clone(), sha256: Digest::of(&canonical(&given)?), v: 1 };
    let notice = (!differences.is_empty()).then(|| notice(&differences));
    let to: Vec<_> = mail::recipients(&node.config().mail, Audience::Agreements).into_iter().cloned().collect();
    let job = move |tx: &mut Tx<'_>| {
        let now = tx.now();
        let decision = if entry.differences.is_empty() { "equal" } else { "differs" };
        let facts = Facts { decision: Some(decision.to_owned()), ..Facts::default() };
        let (rid, message) = (fresh_rid(now)?, canonical(&entry)?);
        tx.append(Draft { kind: Kind::AccessCompared, rid, message, note: b"{}".to_vec(), facts })?;
        match &notice {
            Some(notice) => mail::queue(tx.conn(), &to, notice, now),
            None => Ok(0),
        }
    };
    if *node.registry().record(job).await? > 0 {
        node.bell().ring_for(super::MAIL);
    }
    Ok(Ran { applied: 1, later: differences })
}

/// The same differences are mailed once.
fn notice(differences: &[String]) -> Notice {
    let all = differences.join("\n");
    let things =
        if differences.len() == 1 { "1 difference".to_owned() } else { format!("{} differences", differences.len()) };
    Notice {
        dedup: format!("access:{}", Digest::of(all.as_bytes())),
        audience: Audience::Agreements,
        subject: format!("ALARM: effective access is not what agreements in force give: {things}"),
        body: format!(
            "Who can get what from this agency was computed anew, and it is not what the trail of this node gives:\n\n{all}\n\n\
             Find out who changed what: concordat trail verify, concordat agreement access, concordat agreement list.\n\
             Until then, an agreement can be suspended by one person: concordat agreement suspend ID.\n"
        ),
    }
}
