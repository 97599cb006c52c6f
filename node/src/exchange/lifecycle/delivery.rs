//! Bringing both sides of an agreement together: sending the partner what it lacks, taking what it has said that did not
//! arrive, and telling it what we have.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Ori, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, PROTOCOL};
use agreements::protocol::{self, Versioned};
use agreements::status::Status;
use agreements::stream::Stream;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{hear_event, introduction, other, stream_of};
use crate::db::{Conn, Tx};
use crate::epoch::recovering;
use crate::exchange::ask::{problem, receipt_of};
use crate::exchange::dial::{DialError, Reply};
use crate::exchange::failure::Failure;
use crate::exchange::partner::Partner;
use crate::exchange::standing::{self, Verified};
use crate::exchange::sworn::{self, Sworn};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Desk, Node};
use crate::publishing;
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
    /// It refuses it: the same once more is refused as well, until what it objects to is settled with it.
    Refused {
        /// Why, in the partner's words.
        why: String,
    },
}

impl Delivery {
    /// What a person is told of a partner that does not have it, and what to do; `None` when it has.
    #[must_use]
    pub fn lacking(&self, id: AgreementId) -> Option<String> {
        match self {
            Self::Delivered { .. } => None,
            Self::Pending { why } => Some(format!(
                "The partner does not have it yet: {why}.\nA serving node sends it again by itself; so does: concordat agreement sync {id}"
            )),
            Self::Refused { why } => Some(format!(
                "The partner REFUSES it: {why}.\nSending the same again does not help. Settle that with the partner, then: concordat agreement sync {id}"
            )),
        }
    }
}

/// Why what one side has does not reach the other.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// The partner is not there, or takes nothing now: nothing else needs to be tried.
    #[error("{0}")]
    Away(String),
    /// Another process sent something meanwhile: to be looked at again.
    #[error("{0}")]
    Overtaken(String),
    /// The partner read it, and does not accept it.
    #[error("{0}")]
    Refused(String),
    /// It does not work, and why.
    #[error("{0}")]
    Other(String),
}

impl From<DialError> for Undelivered {
    fn from(error: DialError) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<Failure> for Undelivered {
    fn from(error: Failure) -> Self {
        match error {
            Failure::Behind(_) => Self::Away(error.to_string()),
            error => Self::Other(error.to_string()),
        }
    }
}

impl Undelivered {
    /// Of a reply that is none of those expected.
    fn of_reply(reply: &Reply) -> Self {
        let why = format!("status {}: {}", reply.status, problem(&reply.body));
        match reply.status {
            404 | 429 | 500.. => Self::Away(why),
            409 => Self::Overtaken(why),
            413 | 422 => Self::Refused(why),
            _ => Self::Other(why),
        }
    }
}

/// What came of bringing the two sides of an agreement together.
struct Together {
    /// Where it stands at the partner, where that knows of it.
    there: Option<Status>,
    /// Why something that the partner says was not taken.
    objection: Option<String>,
}

/// Sends the partner what it lacks: the document, if it was ours to offer, and our events in their order. What it has said
/// that did not arrive yet is taken first.
pub async fn deliver(node: &Node, id: AgreementId) -> Delivery {
    match in_turn(node, id).await {
        Ok(Together { there, objection }) => {
            if let Some(objection) = objection {
                tracing::warn!(agreement = %id, objection, "what the partner says of an agreement is not taken");
            }
            Delivery::Delivered { there }
        }
        Err(Undelivered::Refused(why)) => Delivery::Refused { why },
        Err(undelivered) => Delivery::Pending { why: undelivered.to_string() },
    }
}

/// Why both sides of an agreement are not brought together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Apart {
    /// One side does not accept what the other says.
    #[error("{0}")]
    Refused(String),
    /// It does not work now.
    #[error("{0}")]
    Failed(String),
}

/// Sends what the partner lacks and takes what it has that we lack. Where the agreement then stands here.
///
/// # Errors
/// The partner is not to be reached, refuses what we say, or what it says does not verify.
pub async fn sync(node: &Node, id: AgreementId) -> Result<Status, Apart> {
    let Together { objection, .. } = in_turn(node, id).await.map_err(|why| match why {
        Undelivered::Refused(why) => Apart::Refused(format!("the partner refuses it: {why}")),
        why => Apart::Failed(why.to_string()),
    })?;
    if let Some(objection) = objection {
        return Err(Apart::Refused(objection));
    }
    let now = node.now();
    node.desk().registry(|conn| standing::status(conn, id, now)).map_err(|error| Apart::Failed(error.to_string()))
}

/// Brings every agreement with `partner` together that may still be in force, or of which it lacks something; the oldest
/// first. It is noted whether that worked: who does not answer is left alone for a while.
///
/// # Errors
/// Why not all of it worked: the first reason.
pub async fn reconcile(node: &Node, partner: Ori) -> Result<(), String> {
    let contacts = node.dialer().contacts();
    let turn = contacts.turn(partner);
    let _ours = turn.lock().await;
    let done = reconcile_all(node, partner).await;
    contacts.tried(partner, node.now(), done.is_ok());
    if let Err(why) = &done {
        tracing::info!(%partner, why, "what both sides said of agreements is not brought together yet");
    }
    done
}

async fn reconcile_all(node: &Node, partner: Ori) -> Result<(), String> {
    let now = node.now();
    let open = node.desk().registry(|conn| open(conn, node.ori(), partner, now)).map_err(|error| error.to_string())?;
    let mut first = None;
    for id in open {
        let objection = match again_if_overtaken(node, id).await {
            Ok(Together { objection, .. }) => objection,
            Err(Undelivered::Away(why)) => return Err(why),
            Err(other) => Some(other.to_string()),
        };
        first = first.or(objection.map(|why| format!("agreement {id}: {why}")));
    }
    first.map_or(Ok(()), Err)
}

/// The agreements with `partner` that something can still come of: those that are not over, and those of which it has not
/// acknowledged all.
fn open(conn: &mut Conn, us: Ori, partner: Ori, now: Instant) -> QueryResult<Vec<AgreementId>> {
    let lacking = documents::unacknowledged(conn, us)?;
    let register = ag::register(conn)?;
    let all = standing::family(conn, partner)?;
    let over = |found: &Verified| {
        let status = Status::at(&found.agreement, &found.streams, &register, now);
        matches!(status, Status::Ended { .. } | Status::Sunset { .. })
    };
    let ids = all.iter().filter(|found| !over(found) || lacking.contains(&found.agreement.id));
    Ok(ids.map(|found| found.agreement.id).collect())
}

/// One exchange of both streams, when nobody else of this process is at it with that partner.
async fn in_turn(node: &Node, id: AgreementId) -> Result<Together, Undelivered> {
    let partner = node.desk().registry(|conn| documents::partner(conn, id))?;
    let turn = partner.map(|partner| node.dialer().contacts().turn(partner));
    let _ours = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    again_if_overtaken(node, id).await
}

/// Another process may send at the same time: what then is out of order is in order at the next look.
async fn again_if_overtaken(node: &Node, id: AgreementId) -> Result<Together, Undelivered> {
    let why = match together(node, id).await {
        Err(Undelivered::Overtaken(_)) => return together(node, id).await,
        Err(why) => why,
        done => return done,
    };
    // Who does not know this node's keys of today yet is told these first.
    match introduction::introduce(node, id).await {
        Ok(true) => together(node, id).await,
        Ok(false) => Err(why),
        // It may know them by now: another process told it, or it looked itself.
        Err(also) => together(node, id)
            .await
            .map_err(|_| Undelivered::Away(format!("{why}; nor did it take this node's new keys: {also}"))),
    }
}

async fn together(node: &Node, id: AgreementId) -> Result<Together, Undelivered> {
    publishing::settled(node).await?;
    let desk = node.desk();
    let found = desk.registry(|conn| standing::verified(conn, id))?;
    let found = found.ok_or_else(|| Undelivered::Other("there is no such agreement".to_owned()))?;
    let partner = other(node, &found.agreement).map_err(|error| Undelivered::Other(error.to_string()))?;
    let found = if found.streams.lost.contains(&node.ori()) {
        recovering::recover(node, &partner, &found).await?;
        desk.registry(|conn| standing::verified(conn, id))?.unwrap_or(found)
    } else {
        found
    };
    let have = stream_of(&found, partner.ori()).map_or(0, Stream::len);
    let known = view(node, &partner, id, have).await?;
    let received = known.as_ref().map(|view| view.received);
    let stood = known.as_ref().map(|view| view.status.clone());
    // A suspension that did not arrive yet comes before all that may follow from what is sent. Whatever is wrong with what
    // the partner says, it gets what we say.
    let mut objection = match known {
        Some(view) => hear_all(node, &partner, id, view, have).await.err(),
        None => None,
    };
    let there = send_missing(node, &partner, id, &found.document, received).await?;
    let ours = desk.registry(|conn| documents::stream(conn, id, node.ori()))?.len();
    if received.is_some_and(|received| usize::try_from(received).is_ok_and(|received| received > ours)) {
        let why = "the partner has more of this agency's events than this node: its registry was set back, or rows are gone; put back the newest backup, and suspend the agreement meanwhile";
        tracing::error!(agreement = %id, partner = %partner.ori(), why, "ALARM");
        objection.get_or_insert_with(|| why.to_owned());
    }
    // Somebody else of this node may have sent it all meanwhile.
    Ok(Together { there: there.or(stood), objection })
}

/// Takes the events of the partner that this node lacks, page by page; it has `have` of them, and `view` follows those.
async fn hear_all(node: &Node, partner: &Partner, id: AgreementId, view: View, mut have: u32) -> Result<(), String> {
    let mut page = view;
    loop {
        // A node that does not know of pages says everything at once.
        let before = if page.said.is_some() { 0 } else { usize::try_from(have).unwrap_or(usize::MAX) };
        let mut came: u32 = 0;
        for event in page.events.iter().skip(before) {
            hear_event(node, partner, Some(id), event.get().as_bytes()).await.map_err(|error| error.to_string())?;
            came = came.saturating_add(1);
        }
        have = have.saturating_add(came);
        if came == 0 || page.said.is_none_or(|said| have >= said) {
            return Ok(());
        }
        match self::view(node, partner, id, have).await.map_err(|why| why.to_string())? {
            Some(next) => page = next,
            None => return Ok(()),
        }
    }
}

/// Sends what the partner lacks of our side; it has `received` of our events, or does not know the agreement.
async fn send_missing(
    node: &Node,
    partner: &Partner,
    id: AgreementId,
    document: &[u8],
    received: Option<u32>,
) -> Result<Option<Status>, Undelivered> {
    let desk = node.desk();
    let acknowledged = |rid| desk.registry(|conn| Ok(!exchanged::receipts(conn, Some(rid), 1)?.is_empty()));
    let mut there = None;
    match (received, desk.registry(|conn| documents::offer(conn, id))?) {
        (None, None) => {
            let why = "the partner offered this agreement and does not know it now: it has to offer it again";
            return Err(Undelivered::Other(why.to_owned()));
        }
        // What the partner has, but whose acknowledgement was lost, is sent again for that: it gives the same one.
        (received, Some(offer)) if received.is_none() || !acknowledged(offer)? => {
            there = Some(send(node, partner, "agreements", offer, Some(document)).await?);
        }
        _ => {}
    }
    let received = received.map_or(0, |received| usize::try_from(received).unwrap_or(usize::MAX));
    let ours = desk.registry(|conn| documents::stream(conn, id, node.ori()))?;
    for (n, Kept { rid, proof, .. }) in ours.into_iter().enumerate() {
        // What came back from the partner it has.
        if proof.is_none() && (n >= received || !acknowledged(rid)?) {
            there = Some(send(node, partner, &format!("agreements/{id}/events"), rid, None).await?);
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
) -> Result<Status, Undelivered> {
    let other = |why: String| Undelivered::Other(why);
    let recorded = node.registry().record(move |tx| tx.again(rid)).await.map_err(Failure::from)?;
    let entry = (*recorded).and_then(|slot| recorded.entry(slot));
    let entry = entry.ok_or_else(|| other("the entry is gone from our trail".to_owned()))?;
    let document = document.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let bulk = document.as_deref().map_or(Bulk::None, Bulk::Document);
    let text = wire::write(entry, bulk).map_err(Failure::Internal)?;
    let reply = node.dialer().post(partner, path, text).await?;
    let envelope = Envelope::parse(&reply.body).map_err(|_| {
        node.versions().learn_from_problem(partner.ori(), &reply.body);
        Undelivered::of_reply(&reply)
    })?;
    let sworn: Sworn<Acknowledgement> =
        sworn::verify(&envelope, Kind::AgreementAcknowledged, partner, node.ori(), node.checkpoints())
            .map_err(|error| other(error.to_string()))?;
    if sworn.message().of != entry.hash() {
        return Err(other("it acknowledged something else".to_owned()));
    }
    let (acknowledgement, evidence) = sworn.into_parts();
    let keep = move |tx: &mut Tx<'_>| {
        if !evidence.under.still(tx)? {
            return Err(Error::RollbackTransaction);
        }
        let now = tx.now();
        evidence.see_head(tx.conn(), now)?;
        exchanged::keep(tx.conn(), &receipt_of(evidence, rid), now)
    };
    node.registry().record(keep).await.map_err(Failure::from)?;
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
    /// How many events of its own it has said; absent from a node that does not know of pages, and says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<u32>,
    /// Its own events after those that were asked for, as sworn entries: at most a page of them.
    pub events: Vec<Box<RawValue>>,
    /// The asking party's own events after those that it asked for, as that one swore them: at most a page of them. Only for
    /// whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yours: Option<Vec<Box<RawValue>>>,
}

impl Versioned for View {}

/// What the partner says of an agreement, with its events after the first `after`; `None` when it knows of none by that
/// id.
///
/// # Errors
/// It does not answer, or not as it should.
pub async fn view(node: &Node, partner: &Partner, id: AgreementId, after: u32) -> Result<Option<View>, Undelivered> {
    let page = if after == 0 { String::new() } else { format!("?after={after}") };
    view_at(node, partner, id, &page).await
}

/// The same with this agency's own events after the first `have`, which its registry may have lost.
///
/// # Errors
/// As [`view`].
pub(crate) async fn view_ours(
    node: &Node,
    partner: &Partner,
    id: AgreementId,
    have: u32,
) -> Result<Option<View>, Undelivered> {
    view_at(node, partner, id, &format!("?yours={have}")).await
}

async fn view_at(node: &Node, partner: &Partner, id: AgreementId, page: &str) -> Result<Option<View>, Undelivered> {
    let reply = node.dialer().get(partner, &format!("agreements/{id}{page}")).await?;
    match reply.status {
        200 => protocol::read(&reply.body).map(Some).map_err(|error| Undelivered::Other(error.to_string())),
        403 => Ok(None),
        _ => Err(Undelivered::of_reply(&reply)),
    }
}

/// So many events are in one view at most.
pub const PAGE: usize = 20;

/// What a partner asks of an agreement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Our events after so many.
    pub after: u32,
    /// And its own after so many, if it asks for them.
    pub yours: Option<u32>,
}

/// What `partner` may know of the agreement `id`, with a page of our events and, where it asks for them, of its own: `None`
/// unless it is a party to it. A node whose registry was set back shows no events of its own: they would stand on another head
/// than the one that was shown before.
///
/// # Errors
/// The registry failed.
pub fn show(
    node: &Node,
    desk: &Desk,
    partner: &Partner,
    id: AgreementId,
    wanted: Wanted,
) -> Result<Option<View>, Failure> {
    let from = |after: u32| usize::try_from(after).unwrap_or(usize::MAX);
    let (now, silent) = (node.now(), node.watch().behind().is_some());
    let shown = desk.registry(|conn| {
        let Some(found) = standing::verified(conn, id)? else { return Ok(None) };
        let Some(stream) = stream_of(&found, partner.ori()) else { return Ok(None) };
        // What it asks about is our grants to it: it learns that an early review holds them (V-28).
        let status = Status::of_grants(node.ori(), &found.agreement, &found.streams, &ag::register(conn)?, now);
        let (received, said) = (stream.len(), stream_of(&found, node.ori()).map(Stream::len));
        let mut events = Vec::new();
        let ours = if silent { Vec::new() } else { documents::stream(conn, id, node.ori())? };
        for kept in ours.into_iter().skip(from(wanted.after)).take(PAGE) {
            let proof = match &kept.proof {
                Some(proof) => Some(proof.clone()),
                None => {
                    trail::search::prove(conn, kept.rid).map_err(|error| Error::DeserializationError(error.into()))?
                }
            };
            events.push((kept, proof.ok_or(Error::NotFound)?));
        }
        let yours = match wanted.yours {
            None => None,
            Some(have) => {
                let theirs = documents::stream(conn, id, partner.ori())?.into_iter().skip(from(have)).take(PAGE);
                Some(theirs.filter_map(|kept| Some((kept.clone(), kept.proof?))).collect::<Vec<_>>())
            }
        };
        Ok(Some((status, received, said, events, yours)))
    })?;
    let Some((status, received, said, events, yours)) = shown else { return Ok(None) };
    let raws = |all: Vec<(Kept, String)>| {
        all.iter().map(|(kept, proof)| raw(kept, proof)).collect::<Result<Vec<_>, _>>().map_err(Failure::Internal)
    };
    let (events, yours) = (raws(events)?, yours.map(raws).transpose()?);
    Ok(Some(View { v: PROTOCOL, status, received, said, events, yours }))
}

fn raw(kept: &Kept, proof: &str) -> Result<Box<RawValue>, json::StrictError> {
    let text = wire::text_of(&kept.leaf, &kept.message, &kept.salt, proof, Bulk::None)?;
    Ok(RawValue::from_string(text)?)
}
