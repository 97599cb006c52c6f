//! A node as the witness of the logs of those whom it has enrolled, and of those that its federation's policy names.

use agreements::ids::Digest;

use super::{Done, Refusal, Witnessed};
use crate::agency::witness_name;
use crate::exchange::Failure;
use crate::node::{Desk, Node, read_key};
use crate::trail::cosignature::Cosigner;
use crate::trail::epoch;
use crate::trail::note::Vkey;
use crate::trail::policy::Policy;

/// The keys of the log `origin` that count here. A policy that names logs gives the origins; the key of the day is the
/// enrolled partner's, which changes without the policy. Whoever's log has to go on in a new epoch (see [`epoch`]) is the same
/// with the same key. Never this node's own log: nobody witnesses itself.
fn keys(node: &Node, origin: &str) -> Vec<Vkey> {
    let base = epoch::base(origin);
    if epoch::base(&node.party().node.log_origin) == base {
        return Vec::new();
    }
    let same = |log: &Vkey| epoch::base(log.name()) == base;
    let under = |log: &Vkey| Vkey::new(origin, *log.key()).ok();
    let logs = node.watch().policy().map(Policy::logs).unwrap_or_default();
    let named: Vec<Vkey> = logs.iter().filter(|log| same(&log.vkey)).filter_map(|log| under(&log.vkey)).collect();
    if named.is_empty() && !logs.is_empty() {
        return Vec::new();
    }
    let partners = node.partners();
    let enrolled = partners.all().find(|partner| same(partner.log())).and_then(|partner| under(partner.log()));
    enrolled.map_or(named, |key| vec![key])
}

/// Cosigns the head that `body` shows, or says why not.
///
/// # Errors
/// The registry, or this node's witness key.
pub async fn add_checkpoint(node: &Node, body: &[u8]) -> Result<Done, Failure> {
    let asked = match super::verified(body, |origin| keys(node, origin)) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Done::Refused(refusal)),
    };
    let key = read_key(&node.config().keys.witness_key()).map_err(|error| {
        tracing::error!(%error, "the witness key cannot be read: partners' heads are not cosigned");
        Failure::Unrecorded
    })?;
    let cosigner = Cosigner::new(&witness_name(&node.party().node.log_origin), key).map_err(|error| {
        tracing::error!(%error, "the witness key is none: partners' heads are not cosigned");
        Failure::Unrecorded
    })?;
    let now = node.now();
    let job = move |conn: &mut crate::db::Conn| super::add_checkpoint(conn, &cosigner, &asked, now);
    let done = node.registry().write("a witnessed head", job).await?;
    if let Done::Refused(refusal @ (Refusal::Forked(_) | Refusal::Inconsistent)) = &done {
        tracing::warn!(status = refusal.status(), "a partner's log was not cosigned: its head does not follow");
    }
    Ok(done)
}

/// The newest head that was cosigned here of the log whose origin has this SHA-256 (64 hexadecimal digits).
///
/// # Errors
/// The registry.
pub fn newest(desk: &Desk, origin: &str) -> Result<Option<Witnessed>, Failure> {
    let Ok(origin) = origin.parse::<Digest>() else { return Ok(None) };
    desk.registry(|conn| super::newest_by_hash(conn, origin))
}
