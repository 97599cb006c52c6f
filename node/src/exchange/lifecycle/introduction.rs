//! A node whose keys changed tells a partner that still has the old ones. Its entries are proven by a log key, and arrive over
//! a TLS key, that the partner does not know yet: so they are heard for one thing only, and only whole. See decision 0009.
//!
//! What is sent: the sender's events that the partner has not acknowledged, in their order, up to the last `rekeyed`. The
//! receiver works out from memory alone which keys the sender has after them; each new set must be sealed by the seal key
//! that was the partner's up to then or by its identity key, and the last must name the very TLS key that the connection
//! has and the very log key that proves every event. Anything else is a stranger's, and gets a stranger's answer.

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{Acknowledgement, StreamEvent};
use agreements::protocol;
use agreements::stream::Event;
use diesel::result::Error;

use super::hearing::{Refused, acknowledged, keep_event};
use super::other;
use crate::compliance::Keeper;
use crate::db::{RecordError, Tx};
use crate::exchange::ask::{problem, receipt_of};
use crate::exchange::failure::Failure;
use crate::exchange::partner::Partner;
use crate::exchange::standing;
use crate::exchange::sworn::{self, Evidence, Sworn};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::Node;
use crate::registry::agreements as documents;
use crate::registry::exchanged;
use crate::trail::proof::CheckpointCache;

/// The longest body that is read from whom nobody knows yet, in bytes.
pub const MAX_BODY: usize = 256 * 1024;
/// The most events in it.
const MAX_EVENTS: usize = 64;

/// Events of a partner that lead from the keys that are known to those that swear them.
struct Introduction {
    said: Vec<(StreamEvent, Evidence)>,
}

impl Introduction {
    /// Verifies `body` against the partner's values of the day, without any store. `None` for whatever is not exactly an
    /// introduction of `partner` to `us`, under the agreement `id`, over a connection with the TLS key `presented`.
    fn verify(partner: &Partner, us: Ori, presented: Digest, id: AgreementId, body: &[u8]) -> Option<Self> {
        let envelopes: Vec<Envelope<'_>> = serde_json::from_slice(body).ok()?;
        if envelopes.is_empty() || envelopes.len() > MAX_EVENTS || !envelopes.iter().all(Envelope::is_bare) {
            return None;
        }
        let mut after = partner.clone();
        let mut news = false;
        for envelope in &envelopes {
            let said: StreamEvent = protocol::read(envelope.entry.message.get().as_bytes()).ok()?;
            news |= after.heed(id, &said).ok()? && matches!(said.event, Event::Rekeyed { .. });
        }
        // Without news the sender has the keys that are known, or none that are the partner's.
        if !news || after.party().node.tls_spki != presented {
            return None;
        }
        let cache = CheckpointCache::default();
        let mut said = Vec::with_capacity(envelopes.len());
        for envelope in &envelopes {
            let sworn: Sworn<StreamEvent> = sworn::verify(envelope, Kind::AgreementEvent, &after, us, &cache).ok()?;
            if sworn.agreement() != id {
                return None;
            }
            said.push(sworn.into_parts());
        }
        Some(Self { said })
    }
}

/// Takes an introduction of the agency `ori`, over a connection with the TLS key `presented`: the text of the
/// acknowledgement of its last event. `None` for everything else, which is to be answered as a stranger is: no store was
/// touched then, unless the partner's own seal or identity key was under it.
pub async fn hear(node: &Arc<Node>, ori: Ori, presented: Digest, id: &str, body: &[u8]) -> Option<String> {
    let id: AgreementId = id.parse().ok()?;
    let partners = node.partners();
    let partner = partners.find(ori)?;
    let introduction = Introduction::verify(partner, node.ori(), presented, id, body)?;
    let (keeper, from) = (Keeper::of_node(node), Partner::clone(partner));
    let job = move |tx: &mut Tx<'_>| {
        let mut from = from;
        let mut last = None;
        for (n, (said, evidence)) in introduction.said.iter().enumerate() {
            if n == 0 && !evidence.under.still(tx)? {
                return Ok(Err(Refused::Overtaken));
            }
            match keep_event(tx, &keeper, id, said, evidence, &mut from)? {
                Ok(slot) => last = Some(slot),
                // All of it or nothing: what is before the change was sworn by a key that only the change makes known.
                Err(refused) => {
                    tracing::warn!(partner = %ori, agreement = %id, why = %Failure::from(refused), "a partner's new keys are not taken");
                    return Err(Error::RollbackTransaction);
                }
            }
        }
        Ok(last.ok_or(Refused::Overtaken))
    };
    let recorded = match node.registry().record(job).await {
        Ok(recorded) => recorded,
        Err(RecordError::Job(Error::RollbackTransaction)) => return None,
        Err(error) => {
            tracing::error!(partner = %ori, %error, "a partner's new keys could not be recorded; it sends them again");
            return None;
        }
    };
    let text = acknowledged(recorded).ok()?;
    if let Err(error) = node.desk().registry(|conn| node.refresh_partners(conn)) {
        tracing::error!(partner = %ori, %error, "a partner's new keys were recorded, and could not be read again yet");
    }
    Some(text)
}

/// Sends the partner our new keys, if our events have some that it has not acknowledged. Whether there were any, and it took
/// them.
///
/// # Errors
/// Why it did not.
pub(super) async fn introduce(node: &Node, id: AgreementId) -> Result<bool, String> {
    let desk = node.desk();
    let failed = |error: Failure| error.to_string();
    let found =
        desk.registry(|conn| standing::verified(conn, id)).map_err(failed)?.ok_or("there is no such agreement")?;
    let partner = other(node, &found.agreement).map_err(|error| error.to_string())?;
    let rids = desk.registry(|conn| pending(conn, id, node.ori())).map_err(failed)?;
    let Some(last) = rids.last().copied() else { return Ok(false) };
    let job = move |tx: &mut Tx<'_>| rids.iter().map(|rid| tx.again(*rid)).collect::<Result<Vec<_>, _>>();
    let recorded = node.registry().record(job).await.map_err(|error| error.to_string())?;
    let mut texts = Vec::new();
    let mut hash = None;
    for slot in recorded.iter() {
        let entry = slot.and_then(|slot| recorded.entry(slot)).ok_or("an entry is gone from our trail")?;
        texts.push(wire::write(entry, Bulk::None).map_err(|error| error.to_string())?);
        hash = Some(entry.hash());
    }
    let body = format!("[{}]", texts.join(","));
    let path = format!("agreements/{id}/rekeyed");
    let reply = node.dialer().introduce(&partner, &path, body).await.map_err(|error| error.to_string())?;
    let envelope =
        Envelope::parse(&reply.body).map_err(|_| format!("status {}: {}", reply.status, problem(&reply.body)))?;
    let sworn: Sworn<Acknowledgement> =
        sworn::verify(&envelope, Kind::AgreementAcknowledged, &partner, node.ori(), node.checkpoints())
            .map_err(|error| error.to_string())?;
    if Some(sworn.message().of) != hash {
        return Err("it acknowledged something else".to_owned());
    }
    let (_, evidence) = sworn.into_parts();
    let keep = move |tx: &mut Tx<'_>| {
        if !evidence.under.still(tx)? {
            return Err(Error::RollbackTransaction);
        }
        let now = tx.now();
        evidence.see_head(tx.conn(), now)?;
        exchanged::keep(tx.conn(), &receipt_of(evidence, last), now)
    };
    node.registry().record(keep).await.map_err(|error| error.to_string())?;
    Ok(true)
}

/// Our events from the first that the partner has not acknowledged to the last change of keys, if there is one among them.
fn pending(conn: &mut crate::db::Conn, id: AgreementId, us: Ori) -> diesel::QueryResult<Vec<RequestId>> {
    let mut rids = Vec::new();
    let mut until = 0;
    for kept in documents::stream(conn, id, us)? {
        // What came back from the partner it has.
        if kept.proof.is_some() || rids.is_empty() && !exchanged::receipts(conn, Some(kept.rid), 1)?.is_empty() {
            continue;
        }
        rids.push(kept.rid);
        if matches!(kept.event()?.event, Event::Rekeyed { .. }) {
            until = rids.len();
        }
    }
    rids.truncate(until);
    Ok(rids)
}
