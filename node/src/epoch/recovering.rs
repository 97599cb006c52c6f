//! Taking back from a partner what this agency said under an agreement and its registry lost. The partner has it as it was
//! sworn: it counts because this agency's own log key signed the head that it is proven under, and its numbers follow those
//! that are here. So the partner can keep something back, but add nothing; and whatever it keeps back, nothing flows before
//! the custodian has looked and resumed.

use std::sync::Arc;

use agreements::entry::{Kind, Leaf};
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::json;
use agreements::message::StreamEvent;
use agreements::stream::{Event, Said, Stream};
use diesel::result::{Error, QueryResult};
use serde::{Deserialize, Serialize};

use super::{Missing, Opened};
use crate::db::{Conn, Tx};
use crate::exchange::answer::canonical;
use crate::exchange::failure::Failure;
use crate::exchange::lifecycle;
use crate::exchange::lifecycle::delivery::{self, Undelivered};
use crate::exchange::partner::Partner;
use crate::exchange::standing::{self, Verified};
use crate::exchange::sworn::{self, Evidence, Sworn};
use crate::exchange::versions::Versions;
use crate::exchange::wire::Envelope;
use crate::node::{Node, fresh_rid};
use crate::registry::agreements::{self as documents, Kept};
use crate::rotation;
use crate::seal::Seal;
use crate::trail::note::Vkey;
use crate::trail::proof::CheckpointCache;
use crate::trail::told::{self, Which};
use crate::trail::{Draft, Facts, epoch};

/// Why an agreement is suspended when its own stream is back.
const LOOK: &str = "this agency's registry was restored from a backup; its custodian looks at what was lost first";

/// The message of an `event.recovered` entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovered {
    v: u16,
    agreement: AgreementId,
    /// Its number in our stream.
    n: u32,
    /// Its leaf hash.
    event: Digest,
    /// The partner that had it.
    ori: Ori,
}

/// The leaf hashes of own events that the trail says were taken back from `partner`; the inner error says which entry is not
/// as it was recorded.
pub(crate) fn recovered(conn: &mut Conn, partner: Ori) -> QueryResult<Result<Vec<Digest>, String>> {
    let told = match told::told(conn, Kind::EventRecovered, Which::About(partner))? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let read = told.iter().map(|told| json::parse::<Recovered>(&told.message).map(|said| said.event));
    Ok(read.collect::<Result<_, _>>().map_err(|error| error.to_string()))
}

/// An own event as it came back.
struct Came {
    said: StreamEvent,
    evidence: Evidence,
}

/// Takes back what this agency said under an agreement, tells the partner the log's new name, and suspends what would be in
/// force. Nothing is to be done where nothing is missing.
///
/// # Errors
/// The partner does not give it now, or what it gives is not what this agency swore.
pub(crate) async fn recover(node: &Node, partner: &Partner, found: &Verified) -> Result<(), Undelivered> {
    if !found.streams.lost.contains(&node.ori()) {
        return Ok(());
    }
    let id = found.agreement.id;
    let opened = node.desk().registry(super::opened)?.pop().map(|(_, opened)| opened);
    let opened = opened.ok_or_else(|| Undelivered::Other(super::not_yet(found)))?;
    let came = fetch(node, partner, found).await?;
    let count = came.len();
    let taking = Taking { us: node.ori(), id, came, opened, seal: node.seal(), versions: node.versions_shared() };
    let recorded = node.registry().record(move |tx| take(tx, &taking)).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(Undelivered::Other)?;
    tracing::info!(agreement = %id, partner = %partner.ori(), count, "this agency's own events are back from the partner");
    Ok(())
}

/// This agency's events that the partner has and this registry does not.
async fn fetch(node: &Node, partner: &Partner, found: &Verified) -> Result<Vec<Came>, Undelivered> {
    let (us, id) = (node.ori(), found.agreement.id);
    let have = found.streams.party(&found.agreement, us).map_or(0, Stream::len);
    let keys = node.desk().registry(|conn| rotation::log_keys(conn, node))?;
    let mut came: Vec<Came> = Vec::new();
    loop {
        let after = have.saturating_add(u32::try_from(came.len()).unwrap_or(u32::MAX));
        let view = delivery::view_ours(node, partner, id, after).await?;
        // Who does not know of the agreement heard nothing under it.
        let Some(view) = view else { return Ok(came) };
        if view.received <= after {
            return Ok(came);
        }
        let before = came.len();
        for text in view.yours.iter().flatten() {
            came.push(own(node, partner, id, text.get(), &keys).map_err(Undelivered::Other)?);
        }
        if came.len() == before {
            let why = "the partner's node gives this agency's own events not back: it is too old for that, and has to be updated";
            return Err(Undelivered::Other(why.to_owned()));
        }
    }
}

/// One of them, if this agency swore it to this partner.
fn own(node: &Node, partner: &Partner, id: AgreementId, text: &str, keys: &[[u8; 32]]) -> Result<Came, String> {
    let not = |why: &dyn std::fmt::Display| format!("what the partner says that this agency said is not: {why}");
    let envelope = Envelope::parse(text.as_bytes()).map_err(|error| not(&error))?;
    // The head that the proof leads to says under which of the log's names it was sworn.
    let origin = crate::trail::proof::checkpoint(&envelope.proof).lines().next().unwrap_or_default().to_owned();
    let party = node.party();
    if epoch::base(&origin) != epoch::base(&party.node.log_origin) {
        return Err(not(&"it is of another log"));
    }
    let mut why = "no key of this log is known".to_owned();
    for key in keys {
        let Ok(log) = Vkey::new(&origin, *key) else { continue };
        let mut ours = (*party).clone();
        (ours.node.log_origin, ours.node.log_vkey) = (origin.clone(), log.to_string());
        let ourselves = Partner::new(ours).map_err(|error| not(&error))?;
        let cache = CheckpointCache::default();
        let sworn: Result<Sworn<StreamEvent>, _> =
            sworn::verify(&envelope, Kind::AgreementEvent, &ourselves, partner.ori(), &cache);
        match sworn {
            Ok(sworn) if sworn.agreement() == id => {
                let (said, evidence) = sworn.into_parts();
                return Ok(Came { said, evidence });
            }
            Ok(_) => return Err(not(&"it is of another agreement")),
            Err(error) => why = error.to_string(),
        }
    }
    Err(not(&why))
}

struct Taking {
    us: Ori,
    id: AgreementId,
    came: Vec<Came>,
    opened: Opened,
    seal: Arc<Seal>,
    versions: Arc<Versions>,
}

fn take(tx: &mut Tx<'_>, taking: &Taking) -> QueryResult<Result<(), String>> {
    let Taking { us, id, came, opened, seal, versions } = taking;
    let (us, id) = (*us, *id);
    let Some(mut found) = standing::verified(tx.conn(), id)? else {
        return Ok(Err("there is no such agreement".to_owned()));
    };
    // Another process may have been faster.
    if Missing::read(tx.conn())? == Missing::Anything || !found.streams.lost.contains(&us) {
        return Ok(Ok(()));
    }
    let Some(partner) = found.agreement.other(us).map(|party| party.ori) else {
        return Ok(Err("not a party".to_owned()));
    };
    for Came { said, evidence } in came {
        let stream = found.streams.party(&found.agreement, us).cloned().unwrap_or_default();
        if said.document != Digest::of(&found.document) {
            return Ok(Err("an own event is about another document".to_owned()));
        }
        if let Err(why) = standing::sealed(&found.agreement, &found.document, us, said, &stream) {
            return Ok(Err(why));
        }
        if let Err(why) = add(&mut found, us, said.n, &said.event, evidence.at) {
            return Ok(Err(why));
        }
        keep(tx, id, us, partner, said, evidence)?;
    }
    found.streams.lost.clear();
    let stream = found.streams.party(&found.agreement, us).cloned().unwrap_or_default();
    if stream.ended().is_some() {
        // Nothing follows that: the partner needs no other name of this log for it.
        tx.bump_epoch();
        return Ok(Ok(()));
    }
    let renamed = match rotation::renamed(&found, us, &opened.keys, &opened.reason, Arc::clone(seal)) {
        Ok(event) => event,
        Err(why) => return Ok(Err(why)),
    };
    let by = opened.approved_by.as_str();
    for event in [renamed, Event::Suspended { reason: LOOK.to_owned() }] {
        let stream = found.streams.party(&found.agreement, us).cloned().unwrap_or_default();
        // What is not signed, or is suspended already, needs no suspension.
        if stream.admits(&event).is_err() {
            continue;
        }
        let n = stream.next_number();
        lifecycle::say_event(tx, us, &found, event.clone(), (versions, by))?;
        let now = tx.now();
        if let Err(why) = add(&mut found, us, n, &event, now) {
            return Err(Error::DeserializationError(why.into()));
        }
    }
    Ok(Ok(()))
}

fn add(found: &mut Verified, us: Ori, n: u32, event: &Event, at: agreements::time::Instant) -> Result<(), String> {
    for (party, stream) in found.agreement.parties.iter().zip(&mut found.streams.parties) {
        if party.ori == us {
            let taken = stream.take(n, Said { event: event.clone(), at });
            taken.map_err(|why| format!("event {n} of this agency cannot follow those that are here: {why:?}"))?;
        }
    }
    Ok(())
}

/// Keeps an own event that came back, and records that it did.
fn keep(
    tx: &mut Tx<'_>,
    id: AgreementId,
    us: Ori,
    partner: Ori,
    said: &StreamEvent,
    evidence: &Evidence,
) -> QueryResult<()> {
    let Evidence { rid, leaf, message, salt, proof, .. } = evidence.clone();
    let event = Leaf::hash_of(&leaf);
    documents::append(tx.conn(), id, us, said.n, &Kept { rid, leaf, message, salt, proof: Some(proof) })?;
    let recovered = Recovered { v: 1, agreement: id, n: said.n, event, ori: partner };
    let facts = Facts { partner: Some(partner), decision: Some(said.event.name().to_owned()), ..Facts::default() };
    let rid: RequestId = fresh_rid(tx.now())?;
    let (message, note) = (canonical(&recovered)?, b"{}".to_vec());
    tx.append(Draft { kind: Kind::EventRecovered, rid, message, note, facts })?;
    tx.bump_epoch();
    Ok(())
}
