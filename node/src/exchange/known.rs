//! Every agreement at once: rows read in bulk, and verified again only where they are others than last time. With three
//! hundred partners, what one of them says must not cost verifying what all the others ever said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use agreements::agreement::Agreement;
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::stream::Streams;
use diesel::result::QueryResult;

use super::descriptor;
use super::standing::{self, OFFER_RECEIVED, Verified};
use crate::db::Conn;
use crate::registry::agencies;
use crate::registry::agreements::{self as documents, Kept};
use crate::trail;

/// What was verified, by what it was verified from.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashMap<AgreementId, (Digest, Agreement, Streams)>>);

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
}

impl Rows {
    fn read(conn: &mut Conn) -> QueryResult<Self> {
        // The trail is read first: what another process adds in between is then more than it says, not less.
        let said = trail::search::counts(conn, Kind::AgreementEvent, OFFER_RECEIVED)?;
        let heard = trail::search::counts(conn, Kind::AgreementAcknowledged, OFFER_RECEIVED)?;
        let (all, (streams, unreadable)) = (documents::all(conn)?, documents::streams(conn)?);
        let mut kept: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (id, partner, _) in &all {
            for (party, events) in streams.get(&id.to_string()).into_iter().flatten() {
                let count = kept.entry((partner.clone(), party.clone())).or_default();
                *count = count.saturating_add(i64::try_from(events.len()).unwrap_or(i64::MAX));
            }
        }
        let files = agencies::descriptors(conn)?;
        let identities = files.into_iter().map(|(ori, file)| (ori, descriptor::names(&file))).collect();
        Ok(Self { documents: all, streams, unreadable, recorded: [said, heard], kept, identities })
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

impl Known {
    /// Every agreement that [`standing::verified`] would give, oldest first.
    pub fn all(&self, conn: &mut Conn) -> QueryResult<Vec<Verified>> {
        let mut rows = Rows::read(conn)?;
        let mut families: BTreeMap<String, Vec<(AgreementId, Vec<u8>)>> = BTreeMap::new();
        for (id, partner, document) in std::mem::take(&mut rows.documents) {
            families.entry(partner).or_default().push((id, document));
        }
        let mut all = Vec::new();
        for (partner, family) in families {
            let ids: Vec<AgreementId> = family.iter().map(|(id, _)| *id).collect();
            let mut sound = Some(Vec::new());
            for (id, document) in family {
                let one = self.one(conn, &rows, &partner, id, document)?;
                sound = sound.zip(one).map(|(mut family, one)| {
                    family.push(one);
                    family
                });
            }
            match sound {
                Some(family) => all.extend(standing::with_heirs(family)),
                // One by one, so that each that counts for nothing is said in the log.
                None => {
                    for id in ids {
                        all.extend(standing::verified(conn, id)?);
                    }
                }
            }
        }
        all.sort_by_key(|found| found.agreement.id);
        Ok(all)
    }

    /// One agreement without what supersedes it; `None` when its rows are not what was sworn.
    fn one(
        &self,
        conn: &mut Conn,
        rows: &Rows,
        partner: &str,
        id: AgreementId,
        document: Vec<u8>,
    ) -> QueryResult<Option<Verified>> {
        if rows.unreadable.contains(&id.to_string()) {
            return Ok(None);
        }
        let none = BTreeMap::new();
        let kept = rows.streams.get(&id.to_string()).unwrap_or(&none);
        let name = name(&document, kept);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let (agreement, streams) = if let Some((_, agreement, streams)) = known.filter(|(known, ..)| *known == name) {
            (agreement, streams)
        } else {
            let Ok(agreement) = Agreement::from_bytes(&document) else { return Ok(None) };
            let of = |n: usize| agreement.parties.get(n).and_then(|party| kept.get(party.ori.as_str()));
            let both = [of(0).cloned().unwrap_or_default(), of(1).cloned().unwrap_or_default()];
            let Some(with) = agreement.parties.iter().find(|party| party.ori.as_str() == partner) else {
                return Ok(None);
            };
            if standing::told(conn, &agreement, with.ori, &both)?.is_err() {
                return Ok(None);
            }
            let Ok(streams) = standing::check(id, &document, &agreement, &both) else { return Ok(None) };
            let new = (name, agreement.clone(), streams.clone());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, new);
            (agreement, streams)
        };
        let [first, second] = [&agreement.parties[0], &agreement.parties[1]].map(|party| party.ori);
        let complete = rows.complete(first, second) && rows.complete(second, first);
        // It is with whom its row says, and pins the identity key that that partner is enrolled with.
        let Some(with) = agreement.parties.iter().find(|party| party.ori.as_str() == partner) else { return Ok(None) };
        let same = rows.identities.get(&with.ori).is_none_or(|key| key.as_ref() == Some(&with.identity_key));
        Ok((complete && same).then_some(Verified { agreement, document, streams }))
    }

    /// Forgets everything, so that the rows are verified again.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A digest of all that an agreement is verified from, each part with its length.
fn name(document: &[u8], kept: &BTreeMap<String, Vec<Kept>>) -> Digest {
    let mut bytes = Vec::with_capacity(document.len().saturating_mul(2));
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(&part.len().to_be_bytes());
        bytes.extend_from_slice(part);
    };
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
