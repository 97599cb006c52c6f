//! Matching reads against hotlists: own ones, and partners' that were accepted and whose lease lives.
//!
//! Every read that is kept passes here, whoever brings it in, and again when it is delivered again: one read gives one hit
//! for each list and category, whatever is repeated or cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use agreements::entry::Kind;
use agreements::hotlist::{Category, Entry};
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::time::Instant;
use diesel::result::QueryResult;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::shared::{SharedError, SharedLists};
use crate::db::{Conn, Db, DbError, RecordError, Tx};
use crate::node::fresh_rid;
use crate::people;
use crate::reads::NewRead;
use crate::reads::store::Watch;
use crate::registry::hits::{self, Hit, HitStatus};
use crate::registry::{accepted, hotlists};
use crate::trail::Facts;

/// The most characters in which a read may differ from an entry, whatever is configured.
pub const MAX_SUBSTITUTIONS: u32 = 2;

/// Why reads were not matched.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// The registry.
    #[error("the registry: {0}")]
    Query(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// Hits were not recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The place of shared lists.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// Connections of a matcher, opened when first needed and again after a failure.
#[derive(Default)]
struct Connections {
    registry: Option<Conn>,
    shared: Option<Conn>,
}

/// Matches reads.
pub struct Matcher {
    db: Db,
    shared: Arc<SharedLists>,
    us: Ori,
    substitutions: u32,
    connections: Mutex<Connections>,
}

/// The message of a `hit.matched` entry; the plate is in the index of the trail alone.
#[derive(Serialize)]
struct Matched<'a> {
    camera: &'a str,
    category: Category,
    entry: Digest,
    exact: bool,
    list: &'a str,
    owner: Ori,
    read: Digest,
    seen_at: Instant,
    state_known: bool,
    substitutions: u32,
    v: u16,
}

/// An entry that a read was found to match.
struct Found {
    entry: Digest,
    substitutions: u32,
    state_known: bool,
}

/// What an index gave for a batch: whose list, which, and the entry.
struct Candidate {
    owner: Ori,
    list: String,
    digest: Digest,
    entry: Entry,
}

impl Matcher {
    /// A matcher of this agency `us`, which lets a read differ from an entry in so many characters that readers confuse.
    #[must_use]
    pub fn new(db: Db, shared: Arc<SharedLists>, us: Ori, substitutions: u32) -> Self {
        let substitutions = substitutions.min(MAX_SUBSTITUTIONS);
        Self { db, shared, us, substitutions, connections: Mutex::default() }
    }

    /// Matches reads that are kept, and records the hits that are new. How many.
    ///
    /// # Errors
    /// See [`MatchError`]. The same reads again give what is missing.
    pub async fn batch(&self, reads: &[(NewRead, Option<Digest>)]) -> Result<u64, MatchError> {
        let found = self.find(reads)?;
        if found.is_empty() {
            return Ok(0);
        }
        let recorded = self.db.record(move |tx| record(tx, found)).await?;
        Ok(*recorded)
    }

    /// The hits of these reads that are not known yet.
    fn find(&self, reads: &[(NewRead, Option<Digest>)]) -> Result<Vec<Hit>, MatchError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut registry = match connections.registry.take() {
            Some(conn) => conn,
            None => self.db.reader()?,
        };
        let now = self.db.present(&mut registry)?;
        let keys: Vec<_> = reads.iter().map(|(read, _)| read.plate.key()).collect();
        let keys: BTreeSet<&str> = keys.iter().map(agreements::plate::PlateKey::as_str).collect();
        let mut candidates = self.own(&mut registry, &keys, now)?;
        let accepted: BTreeSet<(Ori, String)> =
            accepted::all(&mut registry)?.into_iter().map(|accepted| (accepted.owner, accepted.list)).collect();
        if !accepted.is_empty() {
            let mut shared = match connections.shared.take() {
                Some(conn) => conn,
                None => self.shared.reader()?,
            };
            let found = partners(&mut shared, &keys, &accepted, now);
            // A version that was replaced between two of its statements: the next is whole.
            candidates.extend(found.or_else(|_| partners(&mut shared, &keys, &accepted, now))?);
            connections.shared = Some(shared);
        }
        let mut by_key: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            by_key.entry(candidate.entry.plate.key().as_str().to_owned()).or_default().push(candidate);
        }
        let mut new = Vec::new();
        for (read, image) in reads {
            for hit in self.of_read(read, *image, &by_key, now)? {
                if !hits::known(&mut registry, hit.read_key, hit.owner, &hit.list, hit.category)? {
                    new.push(hit);
                }
            }
        }
        connections.registry = Some(registry);
        Ok(new)
    }

    /// The entries in place of own lists with one of these folded plates.
    fn own(&self, conn: &mut Conn, keys: &BTreeSet<&str>, now: Instant) -> QueryResult<Vec<Candidate>> {
        let keys: Vec<&str> = keys.iter().copied().collect();
        let mut found = Vec::new();
        for part in keys.chunks(500) {
            for hotlists::Candidate { list, digest, body } in hotlists::candidates(conn, part)? {
                found.extend(candidate(self.us, list, digest, &body, now));
            }
        }
        Ok(found)
    }

    /// The hits of one read: for each list and category the entry that it differs least from.
    fn of_read(
        &self,
        read: &NewRead,
        image: Option<Digest>,
        by_key: &BTreeMap<String, Vec<Candidate>>,
        now: Instant,
    ) -> QueryResult<Vec<Hit>> {
        let mut best: BTreeMap<(Ori, &str, Category), Found> = BTreeMap::new();
        for candidate in by_key.get(read.plate.key().as_str()).into_iter().flatten() {
            let Some(found) = matched(read, candidate, self.substitutions) else { continue };
            let key = (candidate.owner, candidate.list.as_str(), candidate.entry.category);
            let better =
                |known: &Found| (found.substitutions, !found.state_known) < (known.substitutions, !known.state_known);
            if best.get(&key).is_none_or(better) {
                best.insert(key, found);
            }
        }
        let hit = |((owner, list, category), found): ((Ori, &str, Category), Found)| {
            Ok(Hit {
                id: fresh_rid(now)?,
                read_key: read_key(read),
                owner,
                list: list.to_owned(),
                category,
                entry: found.entry,
                plate: read.plate.clone(),
                state: read.state.clone(),
                seen_at: read.seen_at,
                camera: read.camera.clone(),
                image,
                substitutions: found.substitutions,
                state_known: found.state_known,
                matched_at: now,
                status: HitStatus::Unconfirmed,
                verified_at: None,
                verified_by: None,
            })
        };
        best.into_iter().map(hit).collect()
    }
}

/// Whether a read is one of what an entry names: the plate up to `at_most` confusable characters, and no other state.
fn matched(read: &NewRead, candidate: &Candidate, at_most: u32) -> Option<Found> {
    let substitutions = read.plate.substitutions(&candidate.entry.plate)?;
    let states = (&read.state, &candidate.entry.state);
    let state_known = matches!(states, (Some(_), Some(_)));
    let other_state = state_known && states.0 != states.1;
    let found = Found { entry: candidate.digest, substitutions, state_known };
    (substitutions <= at_most && !other_state).then_some(found)
}

impl Watch for Matcher {
    fn kept<'a>(&'a self, reads: &'a [(NewRead, Option<Digest>)]) -> BoxFuture<'a, Result<(), String>> {
        async move { self.batch(reads).await.map(drop).map_err(|error| error.to_string()) }.boxed()
    }
}

/// An entry that may match now: one that parses and has not expired.
fn candidate(owner: Ori, list: String, digest: Digest, body: &str, now: Instant) -> Option<Candidate> {
    let entry = json::parse::<Entry>(body.as_bytes()).ok().filter(|_| Digest::of(body.as_bytes()) == digest);
    let Some(entry) = entry else {
        tracing::error!(%owner, list, "ALARM: an entry of a hotlist was changed by other hands; it matches nothing");
        return None;
    };
    let expired = entry.expires_at.is_some_and(|end| now >= end);
    (!expired).then_some(Candidate { owner, list, digest, entry })
}

fn partners(
    conn: &mut Conn,
    keys: &BTreeSet<&str>,
    accepted: &BTreeSet<(Ori, String)>,
    now: Instant,
) -> Result<Vec<Candidate>, SharedError> {
    let found = SharedLists::candidates(conn, keys, accepted, now)?;
    Ok(found.into_iter().filter_map(|it| candidate(it.owner, it.list, it.digest, &it.body, now)).collect())
}

/// What makes a read known again.
#[must_use]
pub fn read_key(read: &NewRead) -> Digest {
    let parts = [read.uuid.as_str(), read.plate.as_str(), &read.seen_at.micros().to_string()];
    Digest::of(parts.join("\n").as_bytes())
}

/// Records hits in one commit, each with an entry of its own.
fn record(tx: &mut Tx<'_>, found: Vec<Hit>) -> QueryResult<u64> {
    let mut new = 0;
    for mut hit in found {
        // Another process, or the same batch, may have been first.
        if hits::known(tx.conn(), hit.read_key, hit.owner, &hit.list, hit.category)? {
            continue;
        }
        hit.matched_at = tx.now();
        let message = Matched {
            camera: &hit.camera,
            category: hit.category,
            entry: hit.entry,
            exact: hit.substitutions == 0,
            list: &hit.list,
            owner: hit.owner,
            read: hit.read_key,
            seen_at: hit.seen_at,
            state_known: hit.state_known,
            substitutions: hit.substitutions,
            v: 1,
        };
        let facts = Facts {
            partner: Some(hit.owner),
            plate: Some(hit.plate.as_str().to_owned()),
            decision: Some(hit.status.as_str().to_owned()),
            ..Facts::default()
        };
        hit.id = people::record_by_node(tx, Kind::HitMatched, &message, facts)?;
        hits::insert(tx.conn(), &hit)?;
        new += 1;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(plate: &str, state: Option<&str>) -> NewRead {
        NewRead {
            uuid: "agent-1-1".to_owned(),
            plate: plate.parse().unwrap(),
            state: state.map(str::to_owned),
            seen_at: Instant::from_micros(0),
            camera: "1".to_owned(),
            lat: None,
            lon: None,
            confidence: None,
            direction: None,
            vehicle: None,
            image: None,
            agent: None,
        }
    }

    fn listed(plate: &str, state: Option<&str>) -> Candidate {
        let mut entry = Entry::new(plate.parse().unwrap(), Category::StolenVehicle);
        entry.state = state.map(str::to_owned);
        Candidate { owner: "CA0990100".parse().unwrap(), list: "own".to_owned(), digest: Digest([0; 32]), entry }
    }

    #[test]
    fn a_read_differs_in_as_many_confusable_characters_as_it_may_and_no_more() {
        for (plate, differs) in
            [("8ABC501", Some(0)), ("BABC501", Some(1)), ("BA8C501", Some(2)), ("BA8CSO1", Some(4)), ("9ABC501", None)]
        {
            for at_most in 0..=MAX_SUBSTITUTIONS {
                let found = matched(&read(plate, None), &listed("8ABC501", None), at_most);
                let expected = differs.filter(|differs| *differs <= at_most);
                assert_eq!(found.map(|found| found.substitutions), expected, "{plate} {at_most}");
            }
        }
    }

    #[test]
    fn another_state_is_another_vehicle_and_an_unknown_one_is_labelled() {
        let found = |read_state, listed_state| {
            matched(&read("8ABC501", read_state), &listed("8ABC501", listed_state), 1).map(|found| found.state_known)
        };
        assert_eq!(found(Some("CA"), Some("CA")), Some(true));
        assert_eq!(found(Some("NV"), Some("CA")), None);
        for (one, other) in [(None, Some("CA")), (Some("CA"), None), (None, None)] {
            assert_eq!(found(one, other), Some(false));
        }
    }

    #[test]
    fn an_entry_of_other_hands_matches_nothing() {
        let owner = "CA0990100".parse().unwrap();
        let now = Instant::from_micros(0);
        for body in ["{}", r#"{"category":"immigration_violator","plate":"8ABC501"}"#, "x"] {
            assert!(candidate(owner, "own".to_owned(), Digest([0; 32]), body, now).is_none());
        }
    }
}
