//! Sending the partner what it lacks, and telling it what we have.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, PROTOCOL};
use agreements::protocol::{self, Versioned};
use agreements::status::Status;
use diesel::result::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{hear_event, introduction, other, stream_of};
use crate::db::Tx;
use crate::exchange::ask::{problem, receipt_of};
use crate::exchange::failure::Failure;
use crate::exchange::partner::Partner;
use crate::exchange::standing;
use crate::exchange::sworn::{self, Sworn};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Desk, Node};
use crate::registry::agreements::{self as documents, Kept};
use crate::registry::{ag, exchanged};
use crate::trail;

/// Whether the partner has all that we said about an agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "delivery", rename_all = "snake_case")]
pub enum Delivery {
    /// It has, and says where the agreement stands for it.
    Delivered {
        /// Where the agreement stands at the partner; absent when there was nothing to send.
        there: Option<Status>,
    },
    /// It has not; `concordat agreement sync` sends what is missing.
    Pending {
        /// Why.
        why: String,
    },
}

/// Sends the partner what it lacks: the document, if it was ours to offer, and our events in their order.
pub async fn deliver(node: &Node, id: AgreementId) -> Delivery {
    match send_missing(node, id).await {
        Ok(there) => Delivery::Delivered { there },
        Err(why) => Delivery::Pending { why },
    }
}

/// Sends what the partner lacks; where it does not know this node's keys of today yet, these first.
async fn send_missing(node: &Node, id: AgreementId) -> Result<Option<Status>, String> {
    let why = match send_in_order(node, id).await {
        Err(why) => why,
        sent => return sent,
    };
    match introduction::introduce(node, id).await {
        Ok(true) => send_in_order(node, id).await,
        Ok(false) => Err(why),
        Err(also) => Err(format!("{why}; nor did it take this node's new keys: {also}")),
    }
}

async fn send_in_order(node: &Node, id: AgreementId) -> Result<Option<Status>, String> {
    let desk = node.desk();
    let failed = |error: Failure| error.to_string();
    let found =
        desk.registry(|conn| standing::verified(conn, id)).map_err(failed)?.ok_or("there is no such agreement")?;
    let partner = other(node, &found.agreement).map_err(|error| error.to_string())?;
    let mut there = None;
    let known = view(node, &partner, id).await?;
    let received = known.as_ref().map_or(0, |view| usize::try_from(view.received).unwrap_or(usize::MAX));
    let acknowledged = |rid| desk.registry(|conn| Ok(!exchanged::receipts(conn, Some(rid), 1)?.is_empty()));
    let offer = desk.registry(|conn| documents::offer(conn, id)).map_err(failed)?;
    match (known, offer) {
        (None, None) => {
            return Err("the partner offered this agreement and does not know it now: it has to offer it again".into());
        }
        // What the partner has, but whose acknowledgement was lost, is sent again for that: it gives the same one.
        (known, Some(offer)) if known.is_none() || !acknowledged(offer).map_err(failed)? => {
            there = Some(send(node, &partner, "agreements", offer, Some(&found.document)).await?);
        }
        _ => {}
    }
    let rids: Vec<RequestId> = desk
        .registry(|conn| Ok(documents::stream(conn, id, node.ori())?.into_iter().map(|kept| kept.rid).collect()))
        .map_err(failed)?;
    for (n, rid) in rids.into_iter().enumerate() {
        if n >= received || !acknowledged(rid).map_err(failed)? {
            there = Some(send(node, &partner, &format!("agreements/{id}/events"), rid, None).await?);
        }
    }
    Ok(there)
}

/// Sends our entry `rid` and keeps the partner's acknowledgement as a receipt.
async fn send(
    node: &Node,
    partner: &Partner,
    path: &str,
    rid: RequestId,
    document: Option<&[u8]>,
) -> Result<Status, String> {
    let recorded = node.registry().record(move |tx| tx.again(rid)).await.map_err(|error| error.to_string())?;
    let entry = (*recorded).and_then(|slot| recorded.entry(slot)).ok_or("the entry is gone from our trail")?;
    let document = document.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let bulk = document.as_deref().map_or(Bulk::None, Bulk::Document);
    let text = wire::write(entry, bulk).map_err(|error| error.to_string())?;
    let reply = node.dialer().post(partner, path, text).await.map_err(|error| error.to_string())?;
    let envelope = Envelope::parse(&reply.body).map_err(|_| {
        node.versions().learn_from_problem(partner.ori(), &reply.body);
        problem(&reply.body)
    })?;
    let sworn: Sworn<Acknowledgement> =
        sworn::verify(&envelope, Kind::AgreementAcknowledged, partner, node.ori(), node.checkpoints())
            .map_err(|error| error.to_string())?;
    if sworn.message().of != entry.hash() {
        return Err("it acknowledged something else".to_owned());
    }
    let (acknowledgement, evidence) = sworn.into_parts();
    let keep = move |tx: &mut Tx<'_>| {
        if !evidence.under.still(tx)? {
            return Err(Error::RollbackTransaction);
        }
        let now = tx.now();
        exchanged::see_head(tx.conn(), evidence.origin, &evidence.head, now)?;
        exchanged::keep(tx.conn(), &receipt_of(evidence, rid), now)
    };
    node.registry().record(keep).await.map_err(|error| error.to_string())?;
    Ok(acknowledgement.status)
}

/// What a node tells a partner about an agreement between the two.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Protocol version.
    pub v: u16,
    /// Where it stands.
    pub status: Status,
    /// How many of the asking party's events it has.
    pub received: u32,
    /// Its own events, as sworn entries.
    pub events: Vec<Box<RawValue>>,
}

impl Versioned for View {}

/// What the partner says of an agreement; `None` when it knows of none by that id.
///
/// # Errors
/// It does not answer, or not as it should.
pub async fn view(node: &Node, partner: &Partner, id: AgreementId) -> Result<Option<View>, String> {
    let reply = node.dialer().get(partner, &format!("agreements/{id}")).await.map_err(|error| error.to_string())?;
    match reply.status {
        200 => protocol::read(&reply.body).map(Some).map_err(|error| error.to_string()),
        403 => Ok(None),
        status => Err(format!("status {status}: {}", problem(&reply.body))),
    }
}

/// What `partner` may know of the agreement `id`: `None` unless it is a party to it.
///
/// # Errors
/// The registry failed.
pub fn show(node: &Node, desk: &Desk, partner: &Partner, id: AgreementId) -> Result<Option<View>, Failure> {
    let now = node.now();
    let shown = desk.registry(|conn| {
        let Some(found) = standing::verified(conn, id)? else { return Ok(None) };
        let Some(stream) = stream_of(&found, partner.ori()) else { return Ok(None) };
        let status = Status::at(&found.agreement, &found.streams, &ag::register(conn)?, now);
        let received = stream.next_number().saturating_sub(1);
        let mut events = Vec::new();
        for kept in documents::stream(conn, id, node.ori())? {
            let proof =
                trail::search::prove(conn, kept.rid).map_err(|error| Error::DeserializationError(error.into()))?;
            events.push((kept, proof.ok_or(Error::NotFound)?));
        }
        Ok(Some((status, received, events)))
    })?;
    let Some((status, received, events)) = shown else { return Ok(None) };
    let events =
        events.iter().map(|(kept, proof)| raw(kept, proof)).collect::<Result<_, _>>().map_err(Failure::Internal)?;
    Ok(Some(View { v: PROTOCOL, status, received, events }))
}

fn raw(kept: &Kept, proof: &str) -> Result<Box<RawValue>, json::StrictError> {
    let text = wire::text_of(&kept.leaf, &kept.message, &kept.salt, proof, Bulk::None)?;
    Ok(RawValue::from_string(text)?)
}

/// Sends what the partner lacks and takes what it has that we lack. Where the agreement then stands here.
///
/// # Errors
/// The partner is not to be reached, or what it says does not verify.
pub async fn sync(node: &Node, id: AgreementId) -> Result<Status, String> {
    send_missing(node, id).await?;
    let desk = node.desk();
    let found = desk
        .registry(|conn| standing::verified(conn, id))
        .map_err(|error| error.to_string())?
        .ok_or("there is no such agreement")?;
    let partner = other(node, &found.agreement).map_err(|error| error.to_string())?;
    if let Some(view) = view(node, &partner, id).await? {
        let have = stream_of(&found, partner.ori()).map_or(0, |stream| stream.next_number().saturating_sub(1));
        for event in view.events.iter().skip(usize::try_from(have).unwrap_or(usize::MAX)) {
            hear_event(node, &partner, Some(id), event.get().as_bytes()).await.map_err(|error| error.to_string())?;
        }
    }
    let now = node.now();
    desk.registry(|conn| standing::status(conn, id, now)).map_err(|error| error.to_string())
}
