//! Taking a partner's compliance packet: sealed by it, about itself, kept under its hash and acknowledged.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest};
use agreements::message::{PacketReceived, PacketSent, To};
use agreements::packet::Packet;
use agreements::time::Instant;
use certs::jws;
use diesel::result::{Error, QueryResult};

use super::held::PACKET_TYP;
use crate::db::{Slot, Tx};
use crate::exchange::Failure;
use crate::exchange::answer::canonical;
use crate::exchange::partner::{Partner, seal_key};
use crate::exchange::standing;
use crate::exchange::sworn::{self, Evidence, Sworn};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Node, fresh_rid};
use crate::registry::exchanged::{self, Heard};
use crate::registry::papers;
use crate::trail::{Draft, Facts};

/// How far ahead of this node's clock a packet may be dated, in microseconds.
const AHEAD: i64 = 5 * Instant::MINUTE;

/// Takes a partner's packet: verifies its seal by the partner's key of the day, keeps it, and acknowledges. The text of the
/// acknowledgement. `id` is the agreement that the path names.
///
/// # Errors
/// See [`Failure`].
pub async fn hear_packet(node: &Node, partner: &Partner, id: AgreementId, body: &[u8]) -> Result<String, Failure> {
    let no = |why: String| Failure::Unacceptable(why);
    let envelope = Envelope::parse(body).map_err(Failure::Malformed)?;
    let sworn: Sworn<PacketSent> = sworn::verify(&envelope, Kind::PacketSent, partner, node.ori(), node.checkpoints())?;
    if sworn.agreement() != id {
        return Err(no("the packet is sent under another agreement than the path names".to_owned()));
    }
    let sealed = envelope.document.map(|raw| raw.get().as_bytes().to_vec());
    let sealed = sealed.ok_or_else(|| no("the packet is missing: send it as `document`".to_owned()))?;
    if envelope.results.is_some() {
        return Err(no("nothing but the packet follows: send it without `results`".to_owned()));
    }
    let key = seal_key(partner.party()).map_err(|error| no(error.to_string()))?;
    let document =
        jws::open_flattened(&sealed, PACKET_TYP, &key).map_err(|error| no(format!("the packet: {error}")))?;
    if document.id() != sworn.message().packet {
        return Err(no("the packet is not the one that the entry names by its SHA-256".to_owned()));
    }
    let packet = Packet::from_bytes(document.payload()).map_err(|error| no(error.to_string()))?;
    if packet.ori != partner.ori() {
        return Err(no("the packet is another agency's: send your own".to_owned()));
    }
    if packet.made_at.since(node.now()) > AHEAD {
        return Err(no(format!("the packet is dated {}, which is still to come: check the clocks", packet.made_at)));
    }
    let (message, evidence) = sworn.into_parts();
    let job = move |tx: &mut Tx<'_>| keep(tx, id, &message, &evidence, &sealed);
    let recorded = node.registry().record(job).await?;
    let slot = match &*recorded {
        Ok(slot) => *slot,
        Err(_) => return Err(recorded.into_inner().err().unwrap_or(Failure::Unrecorded)),
    };
    let entry = recorded.entry(slot).ok_or(Failure::Unrecorded)?;
    wire::write(entry, Bulk::None).map_err(Failure::Internal)
}

fn keep(
    tx: &mut Tx<'_>,
    id: AgreementId,
    said: &PacketSent,
    evidence: &Evidence,
    sealed: &[u8],
) -> QueryResult<Result<Slot, Failure>> {
    // Its keys were others when it was verified.
    if !evidence.under.still(tx)? {
        return Ok(Err(Failure::Overtaken));
    }
    if let Some(heard) = exchanged::heard(tx.conn(), evidence.origin, evidence.rid)? {
        if heard.leaf != evidence.leaf_hash {
            return Ok(Err(Failure::Conflict));
        }
        return Ok(Ok(tx.again(heard.answer)?.ok_or(Error::NotFound)?));
    }
    let between_us = standing::verified(tx.conn(), id)?.is_some_and(|it| it.agreement.party(evidence.origin).is_some());
    if !between_us {
        return Ok(Err(Failure::Unacceptable("there is no such agreement here; offer it first".to_owned())));
    }
    let now = tx.now();
    let packet: Digest = said.packet;
    papers::keep(tx.conn(), packet, PACKET_TYP, sealed, now)?;
    let to = vec![To { ori: evidence.origin, agreement: id }];
    let message = canonical(&PacketReceived { v: said.v, to, of: evidence.leaf_hash, packet })?;
    let rid = fresh_rid(now)?;
    let facts = Facts { partner: Some(evidence.origin), ..Facts::default() };
    let slot = tx.append(Draft { kind: Kind::PacketReceived, rid, message, note: b"{}".to_vec(), facts })?;
    let this = Heard { leaf: evidence.leaf_hash, answer: rid };
    // Whoever acknowledges has looked, under the same lock, that it was not heard before.
    exchanged::hear(tx.conn(), evidence.origin, evidence.rid, this)?.then_some(()).ok_or(Error::RollbackTransaction)?;
    evidence.see_head(tx.conn(), now)?;
    Ok(Ok(slot))
}
