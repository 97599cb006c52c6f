//! Tells administrators of logs that showed two trails, and that no quorum of witnesses vouches for this one any more.

use agreements::ids::Digest;
use agreements::time::Instant;

use super::notices::{Due, Source};
use super::work::JobError;
use crate::db::snapshot;
use crate::mail::{Audience, Notice};
use crate::node::Node;
use crate::publishing::Standing;
use crate::witness::evidence::{self, Fork};

/// The source of these notices.
pub(super) struct Witnesses;

/// What the registry has of them.
pub(super) struct World {
    forks: Vec<(Digest, Fork, Instant)>,
    standing: Standing,
}

impl Source for Witnesses {
    type World = World;
    const PREFIX: &'static str = "witnesses:";

    fn look(&self, node: &Node) -> Result<World, JobError> {
        let mut conn = node.registry().reader()?;
        Ok(snapshot(&mut conn, |conn| {
            Ok::<_, diesel::result::Error>(World { forks: evidence::all(conn)?, standing: node.witnessed(conn)? })
        })?)
    }

    fn due(world: &World, now: Instant) -> Vec<Due> {
        let forks = world.forks.iter().map(|(sha256, fork, found_at)| of_fork(*sha256, fork, *found_at));
        forks.chain(world.standing.silent(now).map(of_silence)).collect()
    }
}

fn of_fork(sha256: Digest, fork: &Fork, found_at: Instant) -> Due {
    let origin = &fork.origin;
    let subject = format!("ALARM: the log {origin} showed two trails");
    let body = format!(
        "{subject}.\n\nIts key signed two heads that exclude each other; that was found at {found_at}. Either its owner rewrote \
         what was recorded, or somebody else has its key, or it went on with an old copy.\n\n\
         Keep the evidence, and give it to the owner's auditor, to the other agencies and to their witnesses; it convicts \
         without this node:\n  concordat trail forks --of {sha256} --out fork.json\n\n\
         If this is a partner: suspend what is agreed with it (`concordat agreement suspend ID`), and call it on a number that \
         you know. If it is this agency's own log, stop this node, and find out who else has keys/log.key.\n"
    );
    let dedup = format!("witnesses:fork:{sha256}");
    Due { reason: subject.clone(), notice: Notice { dedup, audience: Audience::Agreements, subject, body } }
}

fn of_silence(since: Instant) -> Due {
    let subject = format!("No quorum of witnesses has cosigned this trail since {since}");
    let body = format!(
        "{subject}.\n\nThis node shows its head to the witnesses of the policy all the time, and too few of them answer, or \
         what they know does not fit. `concordat doctor` says what each of them said last; the log says why one did not.\n\n\
         Have their operators see to it: once trail.max_unwitnessed_hours are over this node discloses nothing, and partners \
         take nothing from it.\n"
    );
    let dedup = format!("witnesses:silence:{}", since.micros());
    Due { reason: subject.clone(), notice: Notice { dedup, audience: Audience::Agreements, subject, body } }
}
