//! Taking what a partner says about an agreement: its offers, and the events of its stream.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::message::{Acknowledgement, Offer, StreamEvent, To};
use agreements::register::Trigger;
use agreements::status::Status;
use agreements::stream::{Event, NotTaken, Said, Stream};
use diesel::result::{Error, QueryResult};

use super::{acceptable, dating, stream_of};
use crate::compliance::Keeper;
use crate::compliance::reviews::{self, NewReview};
use crate::db::{Conn, Entry, Recorded, Slot, Tx};
use crate::exchange::answer::canonical;
use crate::exchange::failure::Failure;
use crate::exchange::partner::{Named, Partner, Partners};
use crate::exchange::standing::{self, Verified};
use crate::exchange::sworn::{self, Evidence, Sworn};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Node, fresh_rid};
use crate::registry::agreements::{self as documents, Kept};
use crate::registry::exchanged::{self, Heard};
use crate::registry::{ag, heads};
use crate::trail::{Draft, Facts};

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
    let (offer, evidence) = sworn.into_parts();
    let job = move |tx: &mut Tx<'_>| {
        if !evidence.under.still(tx)? {
            return Ok(Err(Refused::Overtaken));
        }
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
        let now = tx.now();
        let status = standing::status(tx.conn(), id, now)?;
        acknowledge(tx, id, offer.v, &evidence, (standing::OFFER_RECEIVED, Vec::new()), status)
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
    if !envelope.is_bare() {
        return Err(Failure::Unacceptable(wire::NO_BULK.to_owned()));
    }
    if id.is_some_and(|id| id != agreement) {
        return Err(Failure::Unacceptable("the event is of another agreement than the path names".to_owned()));
    }
    let (message, evidence) = sworn.into_parts();
    let changes = is_change(&message.event);
    let (keeper, mut from) = (Keeper::of_node(node), partner.clone());
    let job = move |tx: &mut Tx<'_>| {
        if !evidence.under.still(tx)? {
            return Ok(Err(Refused::Overtaken));
        }
        keep_event(tx, &keeper, agreement, &message, &evidence, &mut from)
    };
    let text = acknowledged(node.registry().record(job).await?)?;
    if changes {
        node.desk().registry(|conn| node.refresh_partners(conn))?;
    }
    Ok(text)
}

/// Whether an event changes the keys or the place of the node of whoever says it.
fn is_change(event: &Event) -> bool {
    matches!(event, Event::Rekeyed { .. } | Event::Moved { .. })
}

/// Why a partner's entry is not kept, decided inside the transaction.
pub(super) enum Refused {
    Conflict,
    /// The key that swore it is not the partner's any more.
    Overtaken,
    OutOfOrder {
        found: u32,
        expected: u32,
    },
    Unacceptable(String),
}

impl From<NotTaken> for Refused {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::OutOfOrder { found, expected } => Self::OutOfOrder { found, expected },
            NotTaken::Unacceptable(why) => Self::Unacceptable(why),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Conflict => Self::Conflict,
            Refused::Overtaken => Self::Overtaken,
            Refused::OutOfOrder { found, expected } => Self::OutOfOrder { found, expected },
            Refused::Unacceptable(why) => Self::Unacceptable(why),
        }
    }
}

pub(super) type Heeded = Result<Slot, Refused>;

pub(super) fn acknowledged(recorded: Recorded<Heeded>) -> Result<String, Failure> {
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

/// Keeps and acknowledges an event of `from`, and takes over what it says of that partner's keys or place.
pub(super) fn keep_event(
    tx: &mut Tx<'_>,
    keeper: &Keeper,
    id: AgreementId,
    said: &StreamEvent,
    evidence: &Evidence,
    from: &mut Partner,
) -> QueryResult<Heeded> {
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
    if let Err(why) = dating::timely(tx, evidence)? {
        return Ok(Err(Refused::Unacceptable(why)));
    }
    if let Err(not_taken) = stream.clone().take(said.n, Said { event: said.event.clone(), at: evidence.at }) {
        return Ok(Err(not_taken.into()));
    }
    if let Err(why) = standing::sealed(&found.agreement, &found.document, party, said, stream) {
        return Ok(Err(Refused::Unacceptable(why)));
    }
    let ours = found.agreement.other(party).and_then(|us| stream_of(&found, us.ori)).map_or(0, Stream::len);
    if let Err(why) = decided_on(said, ours) {
        return Ok(Err(Refused::Unacceptable(why)));
    }
    if is_change(&said.event) {
        let before = from.log().name().to_owned();
        if let Err(why) = from.heed(id, said) {
            return Ok(Err(Refused::Unacceptable(why)));
        }
        if let Some(other) = Partners::load(tx.conn())?.named_alike(party, from.log()) {
            return Ok(Err(Refused::Unacceptable(format!("{} is the log of {other}", from.log().name()))));
        }
        if before != from.log().name() {
            heads::put_aside(tx.conn(), party, &before)?;
        }
    }
    let receipts = named_before(tx.conn(), &found, said)?;
    let Evidence { rid, leaf, message, salt, proof, .. } = evidence.clone();
    documents::append(tx.conn(), id, party, said.n, &Kept { rid, leaf, message, salt, proof: Some(proof) })?;
    tx.bump_epoch();
    if let Event::Rekeyed { compromised: true, reason, keys, .. } = &said.event {
        // One compromise is said in the stream of each agreement, another one names other keys.
        let reason = format!("{reason} (its new seal key: {})", Digest::of(keys.seal_key.as_bytes()));
        if !reviews::is_known(tx.conn(), party, Trigger::KeyCompromise, &reason)? {
            let new = NewReview { ori: party, trigger: Trigger::KeyCompromise, reason, evidence: Vec::new() };
            reviews::open_in(tx, keeper, new, None)?;
        }
    }
    let status = with(tx, &found, party, said, evidence)?;
    acknowledge(tx, id, said.v, evidence, (said.event.name(), receipts), status)
}

/// Where an agreement stands with an event that is being taken: its row counts from its acknowledgement on, which says this.
fn with(tx: &mut Tx<'_>, found: &Verified, party: Ori, said: &StreamEvent, evidence: &Evidence) -> QueryResult<Status> {
    let mut streams = found.streams.clone();
    for (of, stream) in found.agreement.parties.iter().zip(&mut streams.parties).filter(|(of, _)| of.ori == party) {
        let event = Said { event: said.event.clone(), at: evidence.at };
        stream.take(said.n, event).map_err(|why| Error::DeserializationError(format!("{}: {why:?}", of.ori).into()))?;
    }
    let now = tx.now();
    Ok(Status::at(&found.agreement, &streams, &ag::register(tx.conn())?, now))
}

/// The note of our acknowledgement: with a change of keys it names the partner's receipts that no entry of ours names, so
/// that our trail named them before it recorded that the key which signed them is replaced.
fn named_before(conn: &mut Conn, found: &Verified, said: &StreamEvent) -> QueryResult<Vec<Digest>> {
    if !matches!(said.event, Event::Rekeyed { .. }) {
        return Ok(Vec::new());
    }
    let partner = documents::partner(conn, found.agreement.id)?.ok_or(Error::NotFound)?;
    documents::acknowledgements(conn, partner)
}

/// Whether a partner can have decided what it said on what it says that it had seen: it cannot have seen more of our
/// stream, of `ours` events, than there is. Then ours was set back, or it decided on somebody else's word; what opens
/// sharing waits until that is clear. All else counts all the same: it needs nobody's consent.
fn decided_on(said: &StreamEvent, ours: u32) -> Result<(), String> {
    let Some(seen) = said.seen.filter(|seen| *seen > ours) else { return Ok(()) };
    let why = format!(
        "event {} was decided on {seen} events of this agency, which has said {ours}: look at the agreement again, and ask this agency whether its registry was set back",
        said.n
    );
    match said.event {
        Event::Declined { .. }
        | Event::Withdrawn { .. }
        | Event::Suspended { .. }
        | Event::Terminated { .. }
        | Event::Rekeyed { .. }
        | Event::Moved { .. } => {
            tracing::error!(why, "ALARM: a partner knows more of this agency's events than there are; it is heard");
            Ok(())
        }
        Event::Signed { .. } | Event::Resumed { .. } => Err(why),
    }
}

/// Acknowledges in the version `v` in which it was said.
fn acknowledge(
    tx: &mut Tx<'_>,
    id: AgreementId,
    v: u16,
    evidence: &Evidence,
    (what, receipts): (&str, Vec<Digest>),
    status: Status,
) -> QueryResult<Heeded> {
    let now = tx.now();
    let to = vec![To { ori: evidence.origin, agreement: id }];
    let message = Acknowledgement { v, to, of: evidence.leaf_hash, status };
    let rid = fresh_rid(now)?;
    let facts = Facts { partner: Some(evidence.origin), decision: Some(what.to_owned()), ..Facts::default() };
    let note = canonical(&Named { head: Some(evidence.head.size), receipts })?;
    let draft = Draft { kind: Kind::AgreementAcknowledged, rid, message: canonical(&message)?, note, facts };
    let slot = tx.append(draft)?;
    let this = Heard { leaf: evidence.leaf_hash, answer: rid };
    // Whoever acknowledges has looked, under the same lock, that it was not heard before.
    exchanged::hear(tx.conn(), evidence.origin, evidence.rid, this)?.then_some(()).ok_or(Error::RollbackTransaction)?;
    evidence.see_head(tx.conn(), now)?;
    Ok(Ok(slot))
}
