//! Sending partners this agency's newest packet: each once, again until it says that it has it.

use std::collections::{BTreeMap, BTreeSet};

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{PacketReceived, PacketSent, To};
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::Serialize;

use super::held::{self, HeldError, PACKET_TYP};
use crate::db::{Conn, Tx};
use crate::exchange::answer::canonical;
use crate::exchange::ask::{problem, receipt_of};
use crate::exchange::partner::Partner;
use crate::exchange::standing;
use crate::exchange::sworn::{self, Sworn};
use crate::exchange::versions;
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Node, fresh_rid};
use crate::publishing;
use crate::registry::{agreements as documents, exchanged, papers};
use crate::trail::{Draft, Facts};

/// A partner that lacks our newest packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owed {
    /// The partner.
    pub partner: Ori,
    /// The agreement under which it is sent.
    pub agreement: AgreementId,
    /// The packet.
    pub packet: Digest,
    /// The entry by which it was sent before, without an acknowledgement.
    #[serde(skip)]
    pub entry: Option<RequestId>,
}

/// Whether a partner has the packet now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The partner.
    pub partner: Ori,
    /// Why it has not; absent when it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
}

/// The partners, or this one, under an agreement that nobody ended and that have not acknowledged our newest packet, while
/// that is of the last year.
///
/// # Errors
/// See [`HeldError`].
pub fn owed(conn: &mut Conn, us: Ori, only: Option<Ori>, now: Instant) -> Result<Vec<Owed>, HeldError> {
    let Some(held) = held::newest_own(conn)?.filter(|held| held.packet.current(now)) else { return Ok(Vec::new()) };
    let mut sent: BTreeMap<Ori, RequestId> = BTreeMap::new();
    for (rid, message) in held::sent(conn)? {
        if message.packet == held.id {
            sent.extend(message.to.iter().map(|to| (to.ori, rid)));
        }
    }
    let mut owed = Vec::new();
    for (partner, agreement) in addressed(conn, us, only)? {
        let entry = sent.get(&partner).copied();
        if let Some(rid) = entry
            && !exchanged::receipts(conn, Some(rid), 1)?.is_empty()
        {
            continue;
        }
        owed.push(Owed { partner, agreement, packet: held.id, entry });
    }
    Ok(owed)
}

/// Each partner with the agreement under which it is written to: the first that nobody ended and that it has answered; or,
/// where one that was in force was ended, the first that it has at least got.
fn addressed(conn: &mut Conn, us: Ori, only: Option<Ori>) -> QueryResult<BTreeMap<Ori, AgreementId>> {
    let (mut all, mut got, mut followed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for id in documents::ids(conn, only)? {
        let Some(found) = standing::verified(conn, id)? else { continue };
        let Some(partner) = found.agreement.other(us).map(|party| party.ori) else { continue };
        if found.streams.parties.iter().any(|stream| stream.ended().is_some()) {
            if found.streams.takes_effect(&found.agreement).is_some() {
                followed.insert(partner);
            }
            continue;
        }
        // What it has not heard of it would not know by its id.
        if found.streams.party(&found.agreement, partner).is_some_and(|stream| !stream.is_empty()) {
            all.entry(partner).or_insert(id);
        } else if has(conn, id)? {
            got.entry(partner).or_insert(id);
        }
    }
    for (partner, id) in got.into_iter().filter(|(partner, _)| followed.contains(partner)) {
        all.entry(partner).or_insert(id);
    }
    Ok(all)
}

/// Whether the partner has the document: it offered it, or acknowledged our offer.
fn has(conn: &mut Conn, id: AgreementId) -> QueryResult<bool> {
    match documents::offer(conn, id)? {
        None => Ok(true),
        Some(offer) => Ok(!exchanged::receipts(conn, Some(offer), 1)?.is_empty()),
    }
}

/// Sends a packet that is owed: records that it is sent, unless it was, and takes the partner's acknowledgement.
pub async fn send(node: &Node, owed: &Owed) -> Sent {
    let pending = try_send(node, owed).await.err();
    Sent { partner: owed.partner, pending }
}

async fn try_send(node: &Node, owed: &Owed) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    publishing::settled(node).await.map_err(|error| failed(&error))?;
    let partner = node.partners().find(owed.partner).cloned().ok_or("it is not enrolled")?;
    let v = versions::agree(node, std::slice::from_ref(&partner)).await.v;
    let id = owed.packet;
    let paper = node.desk().registry(|conn| papers::find(conn, id, PACKET_TYP)).map_err(|error| failed(&error))?;
    let paper = paper.ok_or("the packet's row is missing or was changed by other hands")?;
    let this = owed.clone();
    let job = move |tx: &mut Tx<'_>| recorded(tx, &this, v);
    let recorded = node.registry().record(job).await.map_err(|error| failed(&error))?;
    let (slot, rid) = (*recorded).clone()?;
    let entry = recorded.entry(slot).ok_or("the entry is gone from our trail")?;
    let text = wire::write(entry, Bulk::Document(&String::from_utf8_lossy(&paper.sealed))).map_err(|e| failed(&e))?;
    let path = format!("agreements/{}/renewal", owed.agreement);
    let reply = node.dialer().post(&partner, &path, text).await.map_err(|error| failed(&error))?;
    acknowledged(node, &partner, &reply.body, entry.hash(), id, rid).await
}

/// The entry that says that the packet is sent: the one that there is, or a new one.
fn recorded(tx: &mut Tx<'_>, owed: &Owed, v: u16) -> QueryResult<Result<(crate::db::Slot, RequestId), String>> {
    let sent = match held::settled(held::sent(tx.conn()))? {
        Ok(sent) => sent,
        Err(why) => return Ok(Err(why.join("\n"))),
    };
    let to = To { ori: owed.partner, agreement: owed.agreement };
    let before = sent.iter().find(|(_, message)| message.packet == owed.packet && message.to.contains(&to));
    if let Some((rid, _)) = before {
        return Ok(tx
            .again(*rid)?
            .map(|slot| (slot, *rid))
            .ok_or_else(|| "the entry is gone from our trail".to_owned()));
    }
    let message = canonical(&PacketSent { v, to: vec![to], packet: owed.packet })?;
    let rid = fresh_rid(tx.now())?;
    let facts = Facts { partner: Some(owed.partner), ..Facts::default() };
    let slot = tx.append(Draft { kind: Kind::PacketSent, rid, message, note: b"{}".to_vec(), facts })?;
    Ok(Ok((slot, rid)))
}

/// Verifies the partner's acknowledgement and keeps it as a receipt.
async fn acknowledged(
    node: &Node,
    partner: &Partner,
    body: &[u8],
    entry: Digest,
    packet: Digest,
    rid: RequestId,
) -> Result<(), String> {
    let envelope = Envelope::parse(body).map_err(|_| {
        node.versions().learn_from_problem(partner.ori(), body);
        problem(body)
    })?;
    let sworn: Sworn<PacketReceived> =
        sworn::verify(&envelope, Kind::PacketReceived, partner, node.ori(), node.checkpoints())
            .map_err(|error| error.to_string())?;
    if sworn.message().of != entry || sworn.message().packet != packet {
        return Err("it acknowledged something else".to_owned());
    }
    let (_, evidence) = sworn.into_parts();
    let keep = move |tx: &mut Tx<'_>| {
        if !evidence.under.still(tx)? {
            return Err(Error::RollbackTransaction);
        }
        let now = tx.now();
        evidence.see_head(tx.conn(), now)?;
        exchanged::keep(tx.conn(), &receipt_of(evidence, rid), now)
    };
    node.registry().record(keep).await.map(drop).map_err(|error| error.to_string())
}

/// Sends our newest packet to every partner that lacks it.
///
/// # Errors
/// What is owed cannot be told; whom it did not reach is said of each.
pub async fn send_all(node: &Node) -> Result<Vec<Sent>, HeldError> {
    let (us, now) = (node.ori(), node.now());
    let owed = owed(&mut node.registry().reader()?, us, None, now)?;
    let mut sent = Vec::new();
    for owed in owed {
        sent.push(send(node, &owed).await);
    }
    Ok(sent)
}

/// Sends our newest packet to one partner, if it lacks it.
///
/// # Errors
/// What is owed cannot be told.
pub async fn send_to(node: &Node, partner: Ori) -> Result<Option<Sent>, HeldError> {
    let (us, now) = (node.ori(), node.now());
    let owed = owed(&mut node.registry().reader()?, us, Some(partner), now)?;
    Ok(match owed.into_iter().next() {
        Some(owed) => Some(send(node, &owed).await),
        None => None,
    })
}
