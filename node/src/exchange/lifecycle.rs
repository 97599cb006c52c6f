//! The life of an agreement: offered, signed, suspended, resumed, ended. Each party writes its own stream of events as
//! entries of its own trail; here they are written, sent, received and kept.

use agreements::agreement::{Agreement, AgreementError};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, Offer, PROTOCOL, StreamEvent, To};
use agreements::status::{Event, Status, Stream, activation_problems};
use agreements::time::Instant;
use certs::jws;
use certs::key::SigningKey;
use diesel::result::{Error, QueryResult};
use serde::Serialize;

use super::answer::canonical;
use super::ask::receipt_of;
use super::failure::Failure;
use super::partner::Partner;
use super::standing::{self, AGREEMENT_TYP, RESUMPTION_TYP, Verified};
use super::sworn::{self, Evidence, Sworn};
use super::wire::{self, Bulk, Envelope};
use crate::db::{Conn, Entry, Recorded, Slot, Tx};
use crate::node::{Desk, Node, fresh_rid};
use crate::registry::ag;
use crate::registry::agreements::{self as documents, Kept};
use crate::registry::exchanged::{self, Heard};
use crate::trail::{self, Draft, Facts};

/// What a person does about an agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sign it.
    Sign,
    /// Not sign it.
    Decline {
        /// Why.
        reason: String,
    },
    /// Take the offer or the signature back.
    Withdraw {
        /// Why.
        reason: String,
    },
    /// Suspend it.
    Suspend {
        /// Why.
        reason: String,
    },
    /// Lift our own suspension.
    Resume {
        /// Why.
        reason: String,
    },
    /// End it for good.
    Terminate {
        /// Why.
        reason: String,
    },
}

/// Why an act is refused. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A rule refuses it; each sentence says what to do.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// It failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl ActError {
    fn refused(why: impl Into<String>) -> Self {
        Self::Refused(vec![why.into()])
    }
}

/// What goes into the note of an administrative entry: who did it.
#[derive(Serialize)]
struct By<'a> {
    by: &'a str,
}

/// Offers a document to the partner: keeps it, records the offer, and sends it. Whether the partner has it now.
///
/// # Errors
/// The document has problems, is not between us and an enrolled partner, or describes either of us otherwise than the
/// descriptors do.
pub async fn propose(node: &Node, document: Vec<u8>, by: &str) -> Result<(AgreementId, Delivery), ActError> {
    let agreement = acceptable(node, &document)?;
    let id = agreement.id;
    let partner = other(node, &agreement)?;
    let by = by.to_owned();
    let to = partner.ori();
    let job = move |tx: &mut Tx<'_>| {
        if documents::find(tx.conn(), id)?.is_some() {
            return Ok(false);
        }
        let now = tx.now();
        let message = Offer { v: PROTOCOL, to: vec![To { ori: to, agreement: id }], document: Digest::of(&document) };
        let draft = draft(Kind::AgreementOffered, now, &message, &By { by: &by }, to, &by, "offered")?;
        documents::insert(tx.conn(), id, to, &document, Some(draft.rid), now)?;
        tx.append(draft)?;
        tx.bump_epoch();
        Ok(true)
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    if !*recorded {
        return Err(ActError::refused(format!("agreement {id} was offered already; `concordat agreement show {id}`")));
    }
    Ok((id, deliver(node, id).await))
}

/// What a document must be to be offered, by us or to us.
fn acceptable(node: &Node, document: &[u8]) -> Result<Agreement, ActError> {
    let agreement = Agreement::from_bytes(document).map_err(|error| match error {
        AgreementError::Problems(problems) => ActError::Refused(problems),
        other => ActError::refused(other.to_string()),
    })?;
    let ours =
        agreement.party(node.ori()).ok_or_else(|| ActError::refused("this agency is no party to the agreement"))?;
    if ours != node.party() {
        return Err(ActError::refused(format!(
            "the agreement describes {} otherwise than its node does today (names, policy, approvals, keys or URL): draft it again from current descriptors",
            node.ori()
        )));
    }
    let partner = other(node, &agreement)?;
    if agreement.party(partner.ori()) != Some(partner.party()) {
        return Err(ActError::refused(format!(
            "the agreement describes {} otherwise than the descriptor that was enrolled: draft it again, or enrol the new descriptor",
            partner.ori()
        )));
    }
    Ok(agreement)
}

fn other(node: &Node, agreement: &Agreement) -> Result<std::sync::Arc<Partner>, ActError> {
    let theirs =
        agreement.other(node.ori()).ok_or_else(|| ActError::refused("this agency is no party to the agreement"))?;
    let partner = node.partners().find(theirs.ori).cloned();
    partner.ok_or_else(|| {
        ActError::refused(format!("{} is not enrolled; import its descriptor with `concordat peer add`", theirs.ori))
    })
}

/// Does what `act` says to our stream, records it, and sends it.
///
/// # Errors
/// The agreement's state does not admit it, or signing lacks what it needs.
pub async fn act(node: &Node, id: AgreementId, act: Act, by: &str, seal: &SigningKey) -> Result<Delivery, ActError> {
    let (us, seal, by) = (node.ori(), seal.clone(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| apply(tx, us, id, &act, &by, &seal);
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    match recorded.into_inner() {
        Ok(()) => Ok(deliver(node, id).await),
        Err(why) => Err(ActError::Refused(why)),
    }
}

type Refusable<T> = Result<T, Vec<String>>;

fn apply(
    tx: &mut Tx<'_>,
    us: Ori,
    id: AgreementId,
    act: &Act,
    by: &str,
    seal: &SigningKey,
) -> QueryResult<Refusable<()>> {
    let now = tx.now();
    let Some(found) = standing::verified(tx.conn(), id)? else {
        return Ok(Err(vec![format!(
            "there is no agreement {id}; `concordat agreement list` shows those that there are"
        )]));
    };
    let Some(stream) = stream_of(&found, us) else { return Ok(Err(vec!["this agency is no party to it".to_owned()])) };
    let register = ag::register(tx.conn())?;
    let event = match event(act, &found, us, stream, seal) {
        Ok(event) => event,
        Err(error) => return Ok(Err(vec![format!("the seal key does not sign: {error}")])),
    };
    if let Err(why) = stream.admits(&event) {
        return Ok(Err(vec![why]));
    }
    if matches!(act, Act::Sign) {
        let problems = activation_problems(&found.agreement, &register, now);
        if !problems.is_empty() {
            return Ok(Err(problems));
        }
    }
    let Some(partner) = found.agreement.other(us).map(|party| party.ori) else { return Ok(Err(Vec::new())) };
    let n = stream.next_number();
    let name = event.name();
    let document = Digest::of(&found.document);
    let message = StreamEvent { v: PROTOCOL, to: vec![To { ori: partner, agreement: id }], document, n, event };
    let entry = draft(Kind::AgreementEvent, now, &message, &By { by }, partner, by, name)?;
    let rid = entry.rid;
    tx.append(entry)?;
    let stored = trail::append::stored(tx.conn(), rid)?.ok_or(Error::NotFound)?;
    let kept = Kept { rid, leaf: stored.leaf, message: stored.message, salt: stored.salt, proof: None };
    documents::append(tx.conn(), id, us, n, &kept)?;
    tx.bump_epoch();
    Ok(Ok(()))
}

fn stream_of(found: &Verified, party: Ori) -> Option<&Stream> {
    found.agreement.parties.iter().zip(&found.streams.0).find(|(one, _)| one.ori == party).map(|(_, stream)| stream)
}

fn event(act: &Act, found: &Verified, us: Ori, stream: &Stream, seal: &SigningKey) -> Result<Event, jws::JwsError> {
    Ok(match act.clone() {
        Act::Sign => Event::Signed { seal: jws::sign(&found.document, AGREEMENT_TYP, seal, None)? },
        Act::Decline { reason } => Event::Declined { reason },
        Act::Withdraw { reason } => Event::Withdrawn { reason },
        Act::Suspend { reason } => Event::Suspended { reason },
        Act::Terminate { reason } => Event::Terminated { reason },
        Act::Resume { reason } => {
            let n = stream.next_number();
            let statement = standing::resumption(&found.agreement, &found.document, us, n, &reason)?;
            Event::Resumed { seal: jws::sign(&statement, RESUMPTION_TYP, seal, None)?, reason }
        }
    })
}

fn draft<M: Serialize>(
    kind: Kind,
    now: Instant,
    message: &M,
    note: &By<'_>,
    partner: Ori,
    by: &str,
    what: &str,
) -> QueryResult<Draft> {
    let facts = Facts {
        partner: Some(partner),
        username: Some(by.to_owned()),
        decision: Some(what.to_owned()),
        ..Facts::default()
    };
    Ok(Draft { kind, rid: fresh_rid(now)?, message: canonical(message)?, note: canonical(note)?, facts })
}

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

async fn send_missing(node: &Node, id: AgreementId) -> Result<Option<Status>, String> {
    let desk = node.desk();
    let failed = |error: Failure| error.to_string();
    let found =
        desk.registry(|conn| standing::verified(conn, id)).map_err(failed)?.ok_or("there is no such agreement")?;
    let partner = other(node, &found.agreement).map_err(|error| error.to_string())?;
    let mut there = None;
    let known = view(node, &partner, id).await?;
    let mut next = known.as_ref().map_or(1, |view| view.received.saturating_add(1));
    if known.is_none() {
        let Some(offer) = desk.registry(|conn| documents::offer(conn, id)).map_err(failed)? else { return Ok(None) };
        there = Some(send(node, &partner, "agreements", offer, Some(&found.document)).await?);
        next = 1;
    }
    let rids: Vec<RequestId> = desk
        .registry(|conn| Ok(documents::stream(conn, id, node.ori())?.into_iter().map(|kept| kept.rid).collect()))
        .map_err(failed)?;
    for rid in rids.into_iter().skip(usize::try_from(next.saturating_sub(1)).unwrap_or(usize::MAX)) {
        there = Some(send(node, &partner, &format!("agreements/{id}/events"), rid, None).await?);
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
    let envelope = Envelope::parse(&reply.body).map_err(|_| super::ask::problem(&reply.body))?;
    let sworn: Sworn<Acknowledgement> =
        sworn::verify(&envelope, Kind::AgreementAcknowledged, partner, node.ori(), node.checkpoints())
            .map_err(|error| error.to_string())?;
    if sworn.message().of != entry.hash() {
        return Err("it acknowledged something else".to_owned());
    }
    let (acknowledgement, evidence) = sworn.into_parts();
    let keep = move |tx: &mut Tx<'_>| {
        let now = tx.now();
        exchanged::see_head(tx.conn(), evidence.origin, &evidence.head, now)?;
        exchanged::keep(tx.conn(), &receipt_of(evidence, rid), now)
    };
    node.registry().record(keep).await.map_err(|error| error.to_string())?;
    Ok(acknowledgement.status)
}

/// What a node tells a partner about an agreement between the two.
#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Protocol version.
    pub v: u16,
    /// Where it stands.
    pub status: Status,
    /// How many of the asking party's events it has.
    pub received: u32,
    /// Its own events, as sworn entries.
    pub events: Vec<Box<serde_json::value::RawValue>>,
}

async fn view(node: &Node, partner: &Partner, id: AgreementId) -> Result<Option<View>, String> {
    let reply = node.dialer().get(partner, &format!("agreements/{id}")).await.map_err(|error| error.to_string())?;
    match reply.status {
        200 => serde_json::from_slice(&reply.body).map(Some).map_err(|error| error.to_string()),
        403 => Ok(None),
        status => Err(format!("status {status}: {}", super::ask::problem(&reply.body))),
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

fn raw(kept: &Kept, proof: &str) -> Result<Box<serde_json::value::RawValue>, json::StrictError> {
    let text = wire::text_of(&kept.leaf, &kept.message, &kept.salt, proof, Bulk::None)?;
    Ok(serde_json::value::RawValue::from_string(text)?)
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

/// Takes a partner's offer: verifies and keeps the document, and acknowledges. The text of the acknowledgement.
///
/// # Errors
/// See [`Failure`].
pub async fn hear_offer(node: &Node, partner: &Partner, body: &[u8]) -> Result<String, Failure> {
    let envelope = Envelope::parse(body).map_err(Failure::Malformed)?;
    let sworn: Sworn<Offer> =
        sworn::verify(&envelope, Kind::AgreementOffered, partner, node.ori(), node.checkpoints())?;
    let document = envelope.document.map(|raw| raw.get().as_bytes().to_vec());
    let document =
        document.ok_or_else(|| Failure::Unacceptable("the document is missing: send it as `document`".to_owned()))?;
    if Digest::of(&document) != sworn.message().document {
        return Err(Failure::Unacceptable(
            "the document is not the one that the offer names by its SHA-256".to_owned(),
        ));
    }
    let agreement = acceptable(node, &document).map_err(|error| Failure::Unacceptable(error.to_string()))?;
    if agreement.id != sworn.agreement() || agreement.party(partner.ori()).is_none() {
        return Err(Failure::Unacceptable("the document is another agreement than the offer names".to_owned()));
    }
    let (id, from) = (agreement.id, partner.ori());
    let (_, evidence) = sworn.into_parts();
    let job = move |tx: &mut Tx<'_>| {
        if let Some(again) = heard_before(tx, &evidence)? {
            return Ok(again);
        }
        if let Some((kept, _)) = documents::find(tx.conn(), id)? {
            if kept != document {
                return Ok(Err(Refused::Unacceptable(format!(
                    "agreement {id} is another document here; offer it under a new id"
                ))));
            }
        } else {
            let now = tx.now();
            documents::insert(tx.conn(), id, from, &document, None, now)?;
            tx.bump_epoch();
        }
        acknowledge(tx, id, &evidence, "offer received")
    };
    acknowledged(node.registry().record(job).await?)
}

/// Takes an event of a partner's stream, verifies its seal where it bears one, keeps it, and acknowledges. The text of
/// the acknowledgement. `id` is the agreement that the path names.
///
/// # Errors
/// See [`Failure`].
pub async fn hear_event(
    node: &Node,
    partner: &Partner,
    id: Option<AgreementId>,
    body: &[u8],
) -> Result<String, Failure> {
    let envelope = Envelope::parse(body).map_err(Failure::Malformed)?;
    let sworn: Sworn<StreamEvent> =
        sworn::verify(&envelope, Kind::AgreementEvent, partner, node.ori(), node.checkpoints())?;
    let agreement = sworn.agreement();
    if id.is_some_and(|id| id != agreement) {
        return Err(Failure::Unacceptable("the event is of another agreement than the path names".to_owned()));
    }
    let (message, evidence) = sworn.into_parts();
    let job = move |tx: &mut Tx<'_>| keep_event(tx, agreement, &message, &evidence);
    acknowledged(node.registry().record(job).await?)
}

/// Why a partner's entry is not kept, decided inside the transaction.
enum Refused {
    Conflict,
    OutOfOrder { found: u32, expected: u32 },
    Unacceptable(String),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Conflict => Self::Conflict,
            Refused::OutOfOrder { found, expected } => Self::OutOfOrder { found, expected },
            Refused::Unacceptable(why) => Self::Unacceptable(why),
        }
    }
}

type Heeded = Result<Slot, Refused>;

fn acknowledged(recorded: Recorded<Heeded>) -> Result<String, Failure> {
    let slot = match &*recorded {
        Ok(slot) => *slot,
        Err(_) => return Err(recorded.into_inner().err().map_or(Failure::Unrecorded, Failure::from)),
    };
    let entry: &Entry = recorded.entry(slot).ok_or(Failure::Unrecorded)?;
    wire::write(entry, Bulk::None).map_err(Failure::Internal)
}

/// The acknowledgement that an entry got before, if it was heard: the same once more.
fn heard_before(tx: &mut Tx<'_>, evidence: &Evidence) -> QueryResult<Option<Heeded>> {
    let Some(heard) = exchanged::heard(tx.conn(), evidence.origin, evidence.rid)? else { return Ok(None) };
    if heard.leaf != evidence.leaf_hash {
        return Ok(Some(Err(Refused::Conflict)));
    }
    let slot = tx.again(heard.answer)?.ok_or(Error::NotFound)?;
    Ok(Some(Ok(slot)))
}

fn keep_event(tx: &mut Tx<'_>, id: AgreementId, said: &StreamEvent, evidence: &Evidence) -> QueryResult<Heeded> {
    if let Some(again) = heard_before(tx, evidence)? {
        return Ok(again);
    }
    let no = |why: &str| Ok(Err(Refused::Unacceptable(why.to_owned())));
    let party = evidence.origin;
    let Some(found) = standing::verified(tx.conn(), id)? else {
        return no("there is no such agreement here; offer it first");
    };
    let Some(stream) = stream_of(&found, party) else { return no("there is no such agreement here; offer it first") };
    if said.document != Digest::of(&found.document) {
        return no("the event is about another document than the one that was offered");
    }
    if said.n != stream.next_number() {
        return Ok(Err(Refused::OutOfOrder { found: said.n, expected: stream.next_number() }));
    }
    if let Err(why) = stream.admits(&said.event) {
        return Ok(Err(Refused::Unacceptable(why)));
    }
    if let Err(why) = standing::sealed(&found.agreement, &found.document, party, said) {
        return Ok(Err(Refused::Unacceptable(why)));
    }
    let Evidence { rid, leaf, message, salt, proof, .. } = evidence.clone();
    documents::append(tx.conn(), id, party, said.n, &Kept { rid, leaf, message, salt, proof: Some(proof) })?;
    tx.bump_epoch();
    acknowledge(tx, id, evidence, said.event.name())
}

fn acknowledge(tx: &mut Tx<'_>, id: AgreementId, evidence: &Evidence, what: &str) -> QueryResult<Heeded> {
    let now = tx.now();
    let status = standing::status(tx.conn(), id, now)?;
    let to = vec![To { ori: evidence.origin, agreement: id }];
    let message = Acknowledgement { v: PROTOCOL, to, of: evidence.leaf_hash, status };
    let rid = fresh_rid(now)?;
    let facts = Facts { partner: Some(evidence.origin), decision: Some(what.to_owned()), ..Facts::default() };
    let draft =
        Draft { kind: Kind::AgreementAcknowledged, rid, message: canonical(&message)?, note: b"{}".to_vec(), facts };
    let slot = tx.append(draft)?;
    exchanged::hear(tx.conn(), evidence.origin, evidence.rid, Heard { leaf: evidence.leaf_hash, answer: rid })?;
    exchanged::see_head(tx.conn(), evidence.origin, &evidence.head, now)?;
    Ok(Ok(slot))
}

/// Every agreement with where it stands, oldest first.
pub fn list(conn: &mut Conn, now: Instant) -> QueryResult<Vec<(Verified, Status)>> {
    let register = ag::register(conn)?;
    let mut all = Vec::new();
    for id in documents::ids(conn, None)? {
        if let Some(found) = standing::verified(conn, id)? {
            let status = Status::at(&found.agreement, &found.streams, &register, now);
            all.push((found, status));
        }
    }
    Ok(all)
}
