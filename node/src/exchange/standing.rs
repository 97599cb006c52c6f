//! What a decision stands on, read from the registry and verified; [`StandingCache`] keeps it for a standing epoch.

mod cache;

use std::collections::BTreeSet;

use agreements::agreement::Agreement;
use agreements::authorization::Authorized;
use agreements::decide::{OwnerRules, Standing};
use agreements::entry::{Kind, Leaf};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::json;
use agreements::message::{Acknowledgement, Change, Changed, Resumption, StreamEvent};
use agreements::register::Register;
use agreements::status::Status;
use agreements::stream::{Event, Heir, Said, Stream, Streams, heirs};
use agreements::time::Instant;
use certs::jws;
use certs::key::PublicKey;
use diesel::result::QueryResult;

use super::known::Known;
use crate::changes::{authorizing, rules};
use crate::db::Conn;
use crate::epoch::recovering;
use crate::registry::agreements::Kept;
use crate::registry::{ag, agreements as documents, exchanged};
use crate::trail;
pub use cache::{Asking, StandingCache};

/// The `typ` of a sealed agreement.
pub const AGREEMENT_TYP: &str = "concordat-agreement+jws";
/// The `typ` of a sealed resumption.
pub const RESUMPTION_TYP: &str = "concordat-resumption+jws";
/// The `typ` of an official's own signature under an agreement.
pub const OFFICIAL_TYP: &str = "concordat-official+jws";
/// The `typ` of a sealed change of a node's keys or place.
pub const CHANGE_TYP: &str = "concordat-change+jws";

/// How our acknowledgement of an offer is found in the trail; that of an event is found by the event's name.
pub(crate) const OFFER_RECEIVED: &str = "offer received";

/// An agreement with both parties' events, every seal of which was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The document.
    pub agreement: Agreement,
    /// Its canonical bytes.
    pub document: Vec<u8>,
    /// Both parties' events.
    pub streams: Streams,
}

/// Reads an agreement and its streams, and verifies them: that the document is the one that was kept by that id, that
/// each seal is over its bytes, that each event's message is the one that its leaf commits to, and that no event which
/// the trail knows of is missing. `None` when there is no such agreement, or when its rows or those of another one with the
/// same partner were changed by other hands (that one might be the one that took its place); the second is said in the log.
pub fn verified(conn: &mut Conn, id: AgreementId) -> QueryResult<Option<Verified>> {
    Known::default().verified(conn, id)
}

/// Why the rows of an agreement count for nothing; `None` when they are what was sworn.
pub(crate) fn objection(conn: &mut Conn, id: AgreementId) -> QueryResult<Option<String>> {
    match documents::partner(conn, id)? {
        Some(partner) => family_objection(conn, partner),
        None => Ok(None),
    }
}

/// The same for all agreements with `partner`.
pub(crate) fn family_objection(conn: &mut Conn, partner: Ori) -> QueryResult<Option<String>> {
    Ok(Known::default().family(conn, partner)?.err())
}

/// Every agreement with one partner, oldest first, each verified as [`verified`] does; none when rows of one of them were
/// changed by other hands, which is said in the log. It costs no more than reading each once.
pub fn family(conn: &mut Conn, partner: Ori) -> QueryResult<Vec<Verified>> {
    Known::default().sound(conn, partner)
}

/// The agreements between the same two, each with what supersedes it.
pub(super) fn with_heirs(mut family: Vec<Verified>) -> Vec<Verified> {
    let heirs: Vec<Vec<Heir>> = family
        .iter()
        .map(|found| {
            let others = family.iter().map(|other| (&other.agreement, &other.streams));
            heirs(&found.agreement, Digest::of(&found.document), others)
        })
        .collect();
    for (found, heirs) in family.iter_mut().zip(heirs) {
        found.streams.heirs = heirs;
    }
    family
}

/// An agreement and its own streams, without what supersedes it.
pub(super) fn read_alone(conn: &mut Conn, id: AgreementId) -> QueryResult<Result<Option<Verified>, String>> {
    Known::default().alone(conn, id)
}

/// Whether each row is of an entry that our trail knows: ours by itself, the partner's by our acknowledgement of it. A row
/// that somebody made up in place of another one is neither.
pub(super) fn told(
    conn: &mut Conn,
    agreement: &Agreement,
    partner: Ori,
    kept: &[Vec<Kept>; 2],
) -> QueryResult<Result<(), String>> {
    for (party, rows) in agreement.parties.iter().zip(kept) {
        for (row, n) in rows.iter().zip(1..) {
            let known = if party.ori == partner {
                acknowledged(conn, partner, row)?
            } else {
                match &row.proof {
                    None => trail::append::stored(conn, row.rid)?.is_some_and(|entry| entry.leaf == row.leaf),
                    // Our trail of before has it, and this one says that the partner gave it back.
                    Some(_) => match recovering::recovered(conn, partner)? {
                        Ok(recovered) => recovered.contains(&Leaf::hash_of(&row.leaf)),
                        Err(what) => return Ok(Err(what)),
                    },
                }
            };
            if !known {
                return Ok(Err(format!("event {n} of {} is none that the trail recorded", party.ori)));
            }
        }
    }
    Ok(Ok(()))
}

fn acknowledged(conn: &mut Conn, partner: Ori, row: &Kept) -> QueryResult<bool> {
    let Some(heard) = exchanged::heard(conn, partner, row.rid)? else { return Ok(false) };
    let Some(entry) = trail::append::stored(conn, heard.answer)? else { return Ok(false) };
    let committed =
        Leaf::from_bytes(&entry.leaf).is_ok_and(|leaf| Digest::salted(&entry.salt, &entry.message) == leaf.message);
    let names = |said: Acknowledgement| said.of == Leaf::hash_of(&row.leaf);
    Ok(committed && json::parse::<Acknowledgement>(&entry.message).is_ok_and(names))
}

/// Whether as many events of both parties are kept as the trail recorded with `partner`: the last of a stream could be
/// taken away without a trace in the others, and a suspension with it. The trail's entries name only partners, so where
/// `partner` is this agency itself there are none.
pub(crate) fn complete(conn: &mut Conn, us: Ori, partner: Ori) -> QueryResult<bool> {
    // The trail is read first: what another process adds in between is then more than it says, not less.
    let said = trail::search::count(conn, Kind::AgreementEvent, partner, OFFER_RECEIVED)?
        .saturating_add(trail::search::count(conn, Kind::EventRecovered, partner, OFFER_RECEIVED)?);
    let heard = trail::search::count(conn, Kind::AgreementAcknowledged, partner, OFFER_RECEIVED)?;
    Ok(said <= documents::events(conn, partner, us)? && heard <= documents::events(conn, partner, partner)?)
}

/// Both parties' streams, from rows that are what was sworn; or why they are not.
pub(super) fn check(
    id: AgreementId,
    document: &[u8],
    agreement: &Agreement,
    kept: &[Vec<Kept>; 2],
) -> Result<Streams, String> {
    if agreement.id != id {
        return Err("the document has another id than its row".to_owned());
    }
    let mut streams = Streams::default();
    for ((party, rows), stream) in agreement.parties.iter().zip(kept).zip(&mut streams.parties) {
        for (row, n) in rows.iter().zip(1..) {
            let said = row.event().map_err(|error| error.to_string())?;
            let leaf = Leaf::from_bytes(&row.leaf).map_err(|error| error.to_string())?;
            let committed = Digest::salted(&row.salt, &row.message) == leaf.message;
            let this = said.document == Digest::of(document) && said.n == n && leaf.rid == row.rid;
            if !committed || !this {
                return Err(format!("event {n} of {} is not the one that was sworn", party.ori));
            }
            sealed(agreement, document, party.ori, &said, stream)?;
            let taken = stream.take(n, Said { event: said.event, at: leaf.at });
            taken.map_err(|why| format!("event {n} of {} cannot follow those before it: {why:?}", party.ori))?;
        }
    }
    Ok(streams)
}

/// Whether an event that must be sealed is: by the seal key that its party has after the events `before` it, from the one
/// that the document pins; new keys and another place also by the identity key, when the seal key is lost.
///
/// # Errors
/// Why it is not.
pub fn sealed(
    agreement: &Agreement,
    document: &[u8],
    ori: Ori,
    said: &StreamEvent,
    before: &Stream,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| format!("the seal of {ori}: {error}");
    let party = agreement.party(ori).ok_or("not a party")?;
    let (pinned, n) = (&party.node, said.n);
    let seal_key = || key(&before.address(pinned, n.saturating_sub(1)).seal_key);
    let one = |payload: &[u8], typ, seal, key: &PublicKey| {
        jws::verify_one(payload, typ, seal, key).map(drop).map_err(|error| text(&error))
    };
    match &said.event {
        Event::Signed { seal, official } => {
            one(document, AGREEMENT_TYP, seal, &seal_key()?)?;
            match (official, &party.official.key) {
                (Some(official), Some(own)) => one(document, OFFICIAL_TYP, official, &key(own)?)
                    .map_err(|error| format!("the signature of {}: {error}", party.official.title)),
                (None, None) => Ok(()),
                (None, Some(_)) => Err(format!("the signature of {} is missing", party.official.title)),
                (Some(_), None) => Err("an official signed whose key the document does not name".to_owned()),
            }
        }
        Event::Resumed { seal, reason } => {
            let statement = resumption(agreement, document, ori, n, reason).map_err(|error| text(&error))?;
            one(&statement, RESUMPTION_TYP, seal, &seal_key()?)
        }
        Event::Rekeyed { .. } | Event::Moved { .. } => {
            let seal_key = before.address(pinned, n.saturating_sub(1)).seal_key;
            vouched(ori, agreement.id, said, &[&seal_key, &party.identity_key])
        }
        Event::Declined { .. } | Event::Withdrawn { .. } | Event::Suspended { .. } | Event::Terminated { .. } => Ok(()),
    }
}

/// The statement that `ori` seals when its node gets other keys or another place, as event `n` of its stream under the
/// agreement with this `document`; `None` for an event of another kind.
///
/// # Errors
/// None in practice: the event has a JSON form.
pub fn change_statement(
    ori: Ori,
    agreement: AgreementId,
    document: Digest,
    n: u32,
    event: &Event,
) -> Result<Option<Vec<u8>>, json::StrictError> {
    let (changed, reason) = match event {
        Event::Rekeyed { keys, compromised, reason, .. } => {
            (Changed::Rekeyed { keys: keys.clone(), compromised: *compromised }, reason)
        }
        Event::Moved { url, contacts, reason, .. } => {
            (Changed::Moved { url: url.clone(), contacts: contacts.clone() }, reason)
        }
        _ => return Ok(None),
    };
    json::canonical(&Change::new(ori, agreement, document, n, reason, changed)).map(Some)
}

/// Whether one of `keys` sealed the change of keys or of place that `ori` tells of.
///
/// # Errors
/// Why none did.
pub fn vouched(ori: Ori, agreement: AgreementId, said: &StreamEvent, keys: &[&str]) -> Result<(), String> {
    let statement = change_statement(ori, agreement, said.document, said.n, &said.event);
    let statement = statement.map_err(|error| error.to_string())?;
    let (Some(statement), Event::Rekeyed { seal, .. } | Event::Moved { seal, .. }) = (statement, &said.event) else {
        return Err("it is no change of keys or of place".to_owned());
    };
    let mut why = "there is no key to verify it with".to_owned();
    for text in keys {
        match jws::verify_one(&statement, CHANGE_TYP, seal, &key(text)?) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("the seal of {ori}: {why}"))
}

fn key(text: &str) -> Result<PublicKey, String> {
    text.parse().map_err(|error| format!("a key that the agreement pins is none: {error}"))
}

/// The statement that a party seals when it lifts its own suspension.
///
/// # Errors
/// None for a document that was kept.
pub fn resumption(
    agreement: &Agreement,
    document: &[u8],
    party: Ori,
    n: u32,
    reason: &str,
) -> Result<Vec<u8>, jws::JwsError> {
    let statement = Resumption::new(party, agreement.id, Digest::of(document), n, reason);
    json::canonical(&statement).map_err(jws::JwsError::Payload)
}

/// Where the agreement `id` stands at `now`, as this node knows it.
pub fn status(conn: &mut Conn, id: AgreementId, now: Instant) -> QueryResult<Status> {
    let register = ag::register(conn)?;
    let found = verified(conn, id)?;
    Ok(found.map_or(Status::NoAgreement {}, |found| Status::at(&found.agreement, &found.streams, &register, now)))
}

/// Where the agreement `id` stands at `now` for what `us` does under it: its own early review holds that too.
pub fn status_for(conn: &mut Conn, us: Ori, id: AgreementId, now: Instant) -> QueryResult<Status> {
    let register = ag::register(conn)?;
    let found = verified(conn, id)?;
    Ok(found.map_or(Status::NoAgreement {}, |found| {
        Status::of_grants(us, &found.agreement, &found.streams, &register, now)
    }))
}

/// Whose node this is and what its owner allows: the part of every standing that configuration gives.
#[derive(Debug, Clone)]
pub struct Owner {
    /// This agency.
    pub ori: Ori,
    /// Its own limits.
    pub rules: OwnerRules,
}

/// Reads what a decision about `partner` under `agreement` stands on.
pub fn load(
    conn: &mut Conn,
    owner: &Owner,
    partner: Ori,
    agreement: AgreementId,
    now: Instant,
) -> QueryResult<(Standing, Instant)> {
    // The epoch is read first: what is read after it can only be newer, and then the commit decides again.
    let epoch = trail::head::epoch(conn)?;
    let known = Known::default();
    let all = |conn: &mut Conn, register: &Register| Ok(in_force(&known.all(conn)?, owner.ori, register, now));
    let decided = Decided::read(conn, owner)?;
    load_with(conn, owner, partner, agreement, epoch, (&decided, &known), all)
}

/// What two people of this agency decided about all agreements: the owner's rules that count, and what is authorized.
#[derive(Debug)]
struct Decided {
    rules: OwnerRules,
    authorizations: Vec<Authorized>,
}

impl Decided {
    fn read(conn: &mut Conn, owner: &Owner) -> QueryResult<Self> {
        Ok(Self { rules: rules::counting(conn, &owner.rules)?, authorizations: authorizing::all(conn)? })
    }

    /// Until when the custodian has authorized, once for all, what `found` grants `partner` that way.
    fn until(&self, found: &Verified, us: Ori, partner: Ori) -> Option<Instant> {
        let grant = found.agreement.query_grant(us, partner)?;
        let (id, document) = (found.agreement.id, Digest::of(&found.document));
        let covers =
            |one: &&Authorized| one.document == document && one.covers(id, grant, Instant::from_micros(i64::MIN));
        self.authorizations.iter().filter(covers).map(|one| one.expires_at).max()
    }
}

fn load_with(
    conn: &mut Conn,
    owner: &Owner,
    partner: Ori,
    agreement: AgreementId,
    epoch: i64,
    (decided, known): (&Decided, &Known),
    in_force: impl FnOnce(&mut Conn, &Register) -> QueryResult<(BTreeSet<Ori>, Instant)>,
) -> QueryResult<(Standing, Instant)> {
    let register = ag::register(conn)?;
    let named = known.verified(conn, agreement)?.filter(|found| {
        found.agreement.party(owner.ori).is_some()
            && found.agreement.other(owner.ori).is_some_and(|other| other.ori == partner)
    });
    // Nothing is decided on the others where there is no agreement: naming made-up ones must not cost verifying all.
    let (under_agreement, changes) = match &named {
        Some(_) => in_force(conn, &register)?,
        None => (BTreeSet::new(), Instant::from_micros(i64::MAX)),
    };
    let authorized_until = named.as_ref().and_then(|found| decided.until(found, owner.ori, partner));
    let (agreement, streams) = named.map_or((None, Streams::default()), |found| (Some(found.agreement), found.streams));
    let standing = Standing {
        owner: owner.ori,
        partner,
        agreement,
        streams,
        register,
        rules: decided.rules.clone(),
        authorized_until,
        under_agreement,
        epoch,
    };
    Ok((standing, changes))
}

/// The agencies that may query `us` under an agreement in force at `now` (nobody gets reads through a partner that it could
/// not ask for itself), and the first later instant at which one of them
/// begins or ends by itself.
fn in_force(all: &[Verified], us: Ori, register: &Register, now: Instant) -> (BTreeSet<Ori>, Instant) {
    let mut partners = BTreeSet::new();
    let mut changes = Instant::from_micros(i64::MAX);
    for found in all {
        match Status::of_grants(us, &found.agreement, &found.streams, register, now) {
            Status::InForce { until } => {
                changes = changes.min(until);
                let other = found.agreement.other(us).map(|other| other.ori);
                partners.extend(other.filter(|other| found.agreement.query_grant(us, *other).is_some()));
            }
            Status::NotYet { effective } => changes = changes.min(effective),
            _ => {}
        }
    }
    (partners, changes)
}
