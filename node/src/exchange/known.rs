//! Agreements as they are read, all or those with one partner: rows read in bulk, and verified again only where they are
//! others than last time. With three hundred partners, what one of them says must not cost verifying what all the others
//! ever said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use agreements::agreement::Agreement;
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::stream::Streams;
use diesel::result::{Error, QueryResult};

use super::descriptor;
use super::standing::{self, OFFER_RECEIVED, Verified};
use crate::db::Conn;
use crate::epoch::Missing;
use crate::registry::agencies;
use crate::registry::agreements::{self as documents, Kept};
use crate::trail;

/// An agreement and both streams, as its bytes say them.
type Checked = Arc<(Agreement, Streams)>;

/// What was verified, by what it was verified from.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashMap<AgreementId, (Digest, Checked)>>);

/// What follows from bytes alone, by their digest: that a document and events parse, follow each other and bear their seals.
/// It is the same for whoever reads them, so every transaction has it: one signature reads an agreement a dozen times. Whether
/// the trail knows those bytes is not in here.
static CHECKED: Mutex<BTreeMap<Digest, Checked>> = Mutex::new(BTreeMap::new());

/// Partners send documents; what they send must not fill the memory.
const CAPACITY: usize = 4096;

/// The rows of all agreements, and what the trail says that there must be.
struct Rows {
    documents: Vec<(AgreementId, String, Vec<u8>)>,
    streams: documents::AllStreams,
    /// The ids of those with a row that cannot be read.
    unreadable: BTreeSet<String>,
    /// How many events the trail recorded with each partner: ours, and its.
    recorded: [BTreeMap<String, i64>; 2],
    /// How many events are kept in all agreements with a partner, by its ORI and the party's.
    kept: BTreeMap<(String, String), i64>,
    /// The identity key with which each partner is enrolled; none where its file names none.
    identities: BTreeMap<Ori, Option<String>>,
    /// What of this agency's own streams is missing.
    missing: Missing,
}

impl Rows {
    /// Those of all agreements, or of those with one partner.
    fn read(conn: &mut Conn, with: Option<Ori>) -> QueryResult<Self> {
        // The trail is read first: what another process adds in between is then more than it says, not less.
        let mut ours = recorded(conn, Kind::AgreementEvent, with)?;
        for (partner, count) in recorded(conn, Kind::EventRecovered, with)? {
            let all = ours.entry(partner).or_default();
            *all = all.saturating_add(count);
        }
        let recorded = [ours, recorded(conn, Kind::AgreementAcknowledged, with)?];
        let (all, (streams, unreadable)) = (documents::all(conn, with)?, documents::streams(conn, with)?);
        let mut kept: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (id, partner, _) in &all {
            for (party, events) in streams.get(&id.to_string()).into_iter().flatten() {
                let count = kept.entry((partner.clone(), party.clone())).or_default();
                *count = count.saturating_add(i64::try_from(events.len()).unwrap_or(i64::MAX));
            }
        }
        let files = match with {
            Some(partner) => agencies::descriptor(conn, partner)?.map(|file| (partner, file)).into_iter().collect(),
            None => agencies::descriptors(conn)?,
        };
        let identities = files.into_iter().map(|(ori, file)| (ori, descriptor::names(&file))).collect();
        let missing = Missing::read(conn)?;
        Ok(Self { documents: all, streams, unreadable, recorded, kept, identities, missing })
    }

    /// Whether as many events are kept as the trail recorded with `partner`: see [`standing::complete`].
    fn complete(&self, us: Ori, partner: Ori) -> bool {
        let partner_text = partner.as_str().to_owned();
        let parties = [us, partner];
        self.recorded.iter().zip(parties).all(|(recorded, party)| {
            let kept = self.kept.get(&(partner_text.clone(), party.as_str().to_owned()));
            recorded.get(&partner_text).copied().unwrap_or(0) <= kept.copied().unwrap_or(0)
        })
    }
}

/// Agreements with one partner, oldest first; or why all of them count for nothing.
type Family = Result<Vec<Verified>, String>;

impl Known {
    /// Every agreement whose rows are what was sworn, oldest first. Where they are not, all with that partner count for
    /// nothing, and that is said in the log.
    pub fn all(&self, conn: &mut Conn) -> QueryResult<Vec<Verified>> {
        Ok(self.all_or_less(conn)?.0)
    }

    /// The same, and whether it is all of them.
    pub(super) fn all_or_less(&self, conn: &mut Conn) -> QueryResult<(Vec<Verified>, bool)> {
        let families = self.families(conn, None)?;
        let sound = families.iter().all(|(_, family)| family.is_ok());
        let mut all: Vec<Verified> =
            families.into_iter().flat_map(|(partner, family)| counting(&partner, family)).collect();
        all.sort_by_key(|found| found.agreement.id);
        Ok((all, sound))
    }

    /// Those with one partner, likewise.
    pub(super) fn sound(&self, conn: &mut Conn, partner: Ori) -> QueryResult<Vec<Verified>> {
        Ok(counting(partner.as_str(), self.family(conn, partner)?))
    }

    /// One of them, likewise.
    pub(super) fn verified(&self, conn: &mut Conn, id: AgreementId) -> QueryResult<Option<Verified>> {
        let partner = match documents::partner(conn, id) {
            Err(Error::DeserializationError(error)) => {
                tracing::error!(agreement = %id, %error, "ALARM: an agreement's row was changed by other hands; it counts for nothing");
                return Ok(None);
            }
            partner => partner?,
        };
        let Some(partner) = partner else { return Ok(None) };
        Ok(self.sound(conn, partner)?.into_iter().find(|found| found.agreement.id == id))
    }

    /// Those with one partner; the inner error says which rows are not what was sworn. One whose rows count for nothing
    /// might be the one that took another one's place: then none of them counts.
    pub(super) fn family(&self, conn: &mut Conn, partner: Ori) -> QueryResult<Family> {
        Ok(match self.families(conn, Some(partner)) {
            Err(Error::DeserializationError(error)) => Err(error.to_string()),
            families => families?.into_iter().next().map_or(Ok(Vec::new()), |(_, family)| family),
        })
    }

    /// One of them by itself, without what supersedes it.
    pub(super) fn alone(&self, conn: &mut Conn, id: AgreementId) -> QueryResult<Result<Option<Verified>, String>> {
        let Some(partner) = documents::partner(conn, id)? else { return Ok(Ok(None)) };
        let mut rows = Rows::read(conn, Some(partner))?;
        let found = std::mem::take(&mut rows.documents).into_iter().find(|(found, ..)| *found == id);
        let Some((_, with, document)) = found else { return Ok(Ok(None)) };
        Ok(self.one(conn, &rows, &with, id, document)?.map(Some))
    }

    fn families(&self, conn: &mut Conn, with: Option<Ori>) -> QueryResult<Vec<(String, Family)>> {
        let mut rows = Rows::read(conn, with)?;
        let mut families: BTreeMap<String, Vec<(AgreementId, Vec<u8>)>> = BTreeMap::new();
        for (id, partner, document) in std::mem::take(&mut rows.documents) {
            families.entry(partner).or_default().push((id, document));
        }
        let mut all = Vec::new();
        for (partner, family) in families {
            let mut sound: Family = Ok(Vec::new());
            for (id, document) in family {
                let one = self.one(conn, &rows, &partner, id, document)?;
                sound = sound.and_then(|mut family| {
                    family.push(one.map_err(|why| format!("agreement {id} with {partner}: {why}"))?);
                    Ok(family)
                });
            }
            all.push((partner, sound.map(standing::with_heirs)));
        }
        Ok(all)
    }

    /// One agreement without what supersedes it; the inner error says why its rows are not what was sworn.
    fn one(
        &self,
        conn: &mut Conn,
        rows: &Rows,
        partner: &str,
        id: AgreementId,
        document: Vec<u8>,
    ) -> QueryResult<Result<Verified, String>> {
        if rows.unreadable.contains(&id.to_string()) {
            return Ok(Err("a row of its events cannot be read".to_owned()));
        }
        let none = BTreeMap::new();
        let kept = rows.streams.get(&id.to_string()).unwrap_or(&none);
        let name = name(id, &document, kept);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let checked = match known.filter(|(known, _)| *known == name) {
            Some((_, checked)) => checked,
            None => match fresh(conn, kept, partner, (id, name), &document)? {
                Ok(checked) => {
                    self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (name, Arc::clone(&checked)));
                    checked
                }
                Err(why) => return Ok(Err(why)),
            },
        };
        let (agreement, streams) = &*checked;
        let [first, second] = [&agreement.parties[0], &agreement.parties[1]].map(|party| party.ori);
        // It is with whom its row says, and pins the identity key that that partner is enrolled with: everything else about
        // a node changes with the day, that key does not.
        let Some(with) = agreement.parties.iter().find(|party| party.ori.as_str() == partner) else {
            return Ok(Err(NOT_WITH.to_owned()));
        };
        if rows.identities.get(&with.ori).is_some_and(|key| key.as_ref() != Some(&with.identity_key)) {
            return Ok(Err("it pins another identity key of that partner than the one that is enrolled".to_owned()));
        }
        if !rows.complete(first, second) || !rows.complete(second, first) {
            return Ok(Err(format!("events between {first} and {second} are missing that the trail recorded")));
        }
        let mut found = Verified { agreement: agreement.clone(), document, streams: streams.clone() };
        let us = if with.ori == first { second } else { first };
        if rows.missing.is_of(&found, us) {
            found.streams.lost.push(us);
        }
        Ok(Ok(found))
    }

    /// Forgets everything, so that the rows are verified again.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

const NOT_WITH: &str = "its row says that it is with that partner, and its document that it is not";

/// What is read is held to the trail, and verified unless these very bytes were; the inner error says why it is not what was
/// sworn.
fn fresh(
    conn: &mut Conn,
    kept: &BTreeMap<String, Vec<Kept>>,
    partner: &str,
    (id, name): (AgreementId, Digest),
    document: &[u8],
) -> QueryResult<Result<Checked, String>> {
    let before = CHECKED.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
    let parsed;
    let agreement = match &before {
        Some(checked) => &checked.0,
        None => match Agreement::from_bytes(document) {
            Ok(agreement) => {
                parsed = agreement;
                &parsed
            }
            Err(error) => return Ok(Err(error.to_string())),
        },
    };
    let Some(with) = agreement.parties.iter().find(|party| party.ori.as_str() == partner).map(|party| party.ori) else {
        return Ok(Err(NOT_WITH.to_owned()));
    };
    let both = [&agreement.parties[0], &agreement.parties[1]]
        .map(|party| kept.get(party.ori.as_str()).cloned().unwrap_or_default());
    if let Err(why) = standing::told(conn, agreement, with, &both)? {
        return Ok(Err(why));
    }
    if let Some(checked) = before {
        return Ok(Ok(checked));
    }
    let streams = match standing::check(id, document, agreement, &both) {
        Ok(streams) => streams,
        Err(why) => return Ok(Err(why)),
    };
    let checked = Arc::new((agreement.clone(), streams));
    let mut all = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= CAPACITY {
        all.clear();
    }
    all.insert(name, Arc::clone(&checked));
    Ok(Ok(checked))
}

/// How many events the trail recorded with each partner, or with one.
fn recorded(conn: &mut Conn, kind: Kind, with: Option<Ori>) -> QueryResult<BTreeMap<String, i64>> {
    match with {
        Some(partner) => {
            let count = trail::search::count(conn, kind, partner, OFFER_RECEIVED)?;
            Ok(BTreeMap::from([(partner.as_str().to_owned(), count)]))
        }
        None => trail::search::counts(conn, kind, OFFER_RECEIVED),
    }
}

/// A family that counts; of one that does not, nothing, which is said in the log.
pub(super) fn counting(partner: &str, family: Family) -> Vec<Verified> {
    family.unwrap_or_else(|what| {
        tracing::error!(
            partner,
            what,
            "ALARM: an agreement's rows were changed by other hands; all with that partner count for nothing"
        );
        Vec::new()
    })
}

/// A digest of all that an agreement is verified from, each part with its length.
fn name(id: AgreementId, document: &[u8], kept: &BTreeMap<String, Vec<Kept>>) -> Digest {
    let mut bytes = Vec::with_capacity(document.len().saturating_mul(2));
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(&part.len().to_be_bytes());
        bytes.extend_from_slice(part);
    };
    part(id.to_string().as_bytes());
    part(document);
    for (party, events) in kept {
        part(party.as_bytes());
        for Kept { rid, leaf, message, salt, proof: _ } in events {
            for bytes in [rid.as_bytes().as_slice(), leaf, message, &salt.0] {
                part(bytes);
            }
        }
    }
    Digest::of(&bytes)
}

/// The agreements as [`Known::all`] gives them, all verified now.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Verified>> {
    Known::default().all(conn)
}
