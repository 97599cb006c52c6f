//! The owner's side of sharing a hotlist: verify the pull, decide, prepare, record the assertion, then let the bulk
//! follow. Nothing leaves that was not recorded first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::agreement::Agreement;
use agreements::decide::Denial;
use agreements::entry::Kind;
use agreements::hotlist::{
    Asserted, Assertion, Category, Have, HotlistPermit, Offered, Offers, Outcome, Pull, categories, decide_pull,
};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::message::{PROTOCOL, RuleSaid, To};
use agreements::status::Status;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::Serialize;

use super::bulk::{self, Lines, Summed};
use super::handing::Follows;
use crate::db::{Conn, RecordError, Slot, Tx};
use crate::exchange::Failure;
use crate::exchange::answer::canonical;
use crate::exchange::ask::receipt_of;
use crate::exchange::partner::Partner;
use crate::exchange::standing;
use crate::exchange::sworn::{self, Sworn, SwornError};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Desk, Node, fresh_rid};
use crate::publishing;
use crate::registry::agreements as documents;
use crate::registry::exchanged::{self, Heard};
use crate::registry::hotlists::{self, List};
use crate::trail::{Draft, Facts};

/// A pull that is answered, the answer durably recorded.
#[derive(Debug)]
pub struct Answered {
    /// Whether the list is asserted.
    pub asserted: bool,
    /// The text that carries entry and proof: one line.
    pub text: String,
    /// What follows it.
    pub follows: Option<Follows>,
}

/// What versions come to for sets of categories, and the bulks that lead to them: each computed once, because it is a walk
/// through the whole list.
#[derive(Debug, Default)]
pub struct ContentsCache {
    contents: Mutex<HashMap<Shared, (u64, Digest)>>,
    bulks: Mutex<HashMap<(Option<i64>, Shared), Summed>>,
}

/// A list, its version, and the categories that are told of it.
type Shared = (String, i64, Vec<Category>);

impl ContentsCache {
    /// Lists times sets of categories times recent versions.
    const CAPACITY: usize = 256;

    fn contents(&self, conn: &mut Conn, list: &str, version: i64, of: &[Category]) -> QueryResult<(u64, Digest)> {
        let key = (list.to_owned(), version, of.to_vec());
        once(&self.contents, key, || bulk::contents(conn, list, version, of))
    }

    fn bulk(&self, conn: &mut Conn, lines: &Lines) -> QueryResult<Summed> {
        let key = (lines.since, (lines.list.clone(), lines.to, lines.categories.clone()));
        once(&self.bulks, key, || lines.sum(conn))
    }
}

fn once<K: Eq + Hash, V: Copy>(
    known: &Mutex<HashMap<K, V>>,
    key: K,
    find: impl FnOnce() -> QueryResult<V>,
) -> QueryResult<V> {
    if let Some(known) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(*known);
    }
    let found = find()?;
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= ContentsCache::CAPACITY {
        known.clear();
    }
    known.insert(key, found);
    Ok(found)
}

#[derive(Serialize)]
struct Note<'a> {
    from: &'a str,
}

/// Answers a pull of `partner` for the list that the path names.
///
/// # Errors
/// See [`Failure`]. Whatever the error, nothing of a list has left.
pub async fn answer(
    node: &Arc<Node>,
    desk: &Desk,
    partner: &Partner,
    from: &str,
    list: &str,
    body: &[u8],
) -> Result<Answered, Failure> {
    publishing::disclosable(node).await?;
    let envelope = Envelope::parse(body).map_err(Failure::Malformed)?;
    let sworn: Sworn<Pull> = sworn::verify(&envelope, Kind::HotlistPulled, partner, node.ori(), node.checkpoints())?;
    let now = node.now();
    sworn::fresh(&sworn, now)?;
    if !envelope.is_bare() {
        return Err(Failure::Unacceptable(wire::NO_BULK.to_owned()));
    }
    if sworn.message().list != list {
        return Err(Failure::Unacceptable("the pull names another list than the path".to_owned()));
    }
    let standing =
        desk.registry(|conn| node.standings().standing(conn, node.owner(), partner.ori(), sworn.agreement(), now))?;
    let demanded = standing.agreement.as_ref().and_then(Agreement::witness_policy);
    let held = node.watch().holds(partner, demanded, envelope.cosigned.as_deref(), now);
    held.map_err(SwornError::from)?;
    let prepared = match decide_pull(list, &standing, now) {
        Ok(permit) => {
            let (node, partner, have) = (Arc::clone(node), partner.ori(), sworn.message().have);
            // Not on this thread: others' questions wait for it.
            let prepared = tokio::task::spawn_blocking(move || prepare(&node, partner, permit, have)).await;
            Ok(prepared.map_err(|_| RecordError::Stopped)??)
        }
        Err(denial) => Err(denial),
    };
    let asked = Arc::new((sworn, from.to_owned(), node.owner().clone()));
    let recorded = node.registry().record(move |tx| commit(tx, &asked, prepared)).await?;
    let (slot, outcome) = match &*recorded {
        Ok((slot, outcome, _)) => (*slot, outcome),
        Err(NotSaid::Again) => {
            return Err(Failure::Unacceptable(
                "this pull was answered already: pull again with a new entry".to_owned(),
            ));
        }
        Err(NotSaid::Moved) => return Err(Failure::Overtaken),
    };
    let entry = recorded.entry(slot).ok_or(Failure::Unrecorded)?;
    let text = wire::write_witnessed(node, entry, Bulk::None).map_err(Failure::Internal)?;
    let asserted = matches!(outcome, Outcome::Asserted(_));
    let follows = recorded.into_inner().ok().and_then(|(_, _, follows)| follows);
    Ok(Answered { asserted, text, follows })
}

/// What may be said, worked out before the commit: it walks through the list.
struct Prepared {
    asserted: Asserted,
    follows: Follows,
    version: i64,
}

fn prepare(node: &Node, partner: Ori, permit: HotlistPermit, have: Option<Have>) -> Result<Prepared, Failure> {
    let (mut conn, known) = (node.registry().reader()?, node.hotlist_contents());
    let list: Option<List> = hotlists::find(&mut conn, permit.list())?;
    let version = list.as_ref().map_or(0, |list| list.version);
    let (entries, contents) = known.contents(&mut conn, permit.list(), version, permit.categories())?;
    let since = match have {
        Some(have) => leads_from(&mut conn, known, &permit, have, version)?,
        None => None,
    };
    let lines = Lines { list: permit.list().to_owned(), since, to: version, categories: permit.categories().to_vec() };
    let summed = known.bulk(&mut conn, &lines)?;
    let asserted = Asserted {
        version: version.unsigned_abs(),
        source_loaded_at: list.map(|list| list.loaded_at),
        categories: permit.categories().to_vec(),
        entries,
        contents,
        since: since.map(i64::unsigned_abs),
        added: summed.added,
        removed: summed.removed,
        bulk: summed.digest,
    };
    Ok(Prepared { asserted, follows: Follows { lines, permit, partner }, version })
}

/// The version that the puller has, if a difference can lead from it: it is remembered here, and what the puller has of
/// it is what it should be.
fn leads_from(
    conn: &mut Conn,
    known: &ContentsCache,
    permit: &HotlistPermit,
    have: Have,
    version: i64,
) -> QueryResult<Option<i64>> {
    let Some(theirs) = i64::try_from(have.version).ok().filter(|theirs| *theirs <= version) else { return Ok(None) };
    let remembered = theirs == version || theirs == 0 || hotlists::knows_version(conn, permit.list(), theirs)?;
    if !remembered {
        return Ok(None);
    }
    let (_, contents) = known.contents(conn, permit.list(), theirs, permit.categories())?;
    Ok((contents == have.contents).then_some(theirs))
}

/// Why nothing is said, seen in the commit.
enum NotSaid {
    Again,
    Moved,
}

type Said = Result<(Slot, Outcome, Option<Follows>), NotSaid>;

/// Records the assertion under the head's lock: standing and version are read again there.
fn commit(
    tx: &mut Tx<'_>,
    asked: &(Sworn<Pull>, String, standing::Owner),
    prepared: Result<Prepared, Denial>,
) -> QueryResult<Said> {
    let (sworn, from, owner) = asked;
    let evidence = sworn.evidence();
    if !evidence.under.still(tx)? {
        return Ok(Err(NotSaid::Moved));
    }
    if exchanged::heard(tx.conn(), evidence.origin, evidence.rid)?.is_some() {
        return Ok(Err(NotSaid::Again));
    }
    let now = tx.now();
    let list = &sworn.message().list;
    let prepared = match prepared {
        Ok(prepared) => still(tx, sworn, owner, prepared, now)?,
        Err(denial) => Err(denial),
    };
    let (outcome, follows) = match prepared {
        Ok(Prepared { asserted, follows, version }) => {
            if hotlists::find(tx.conn(), list)?.map_or(0, |list| list.version) != version {
                return Ok(Err(NotSaid::Moved));
            }
            hotlists::shared(tx.conn(), list, evidence.origin, version, now)?;
            (Outcome::Asserted(asserted), Some(follows))
        }
        Err(Denial { rules, status }) => {
            (Outcome::Denied { rules: rules.into_iter().map(RuleSaid::from).collect(), status }, None)
        }
    };
    let rid = fresh_rid(now)?;
    let slot = tx.append(draft(sworn, from, rid, &outcome)?)?;
    exchanged::hear(tx.conn(), evidence.origin, evidence.rid, Heard { leaf: evidence.leaf_hash, answer: rid })?;
    exchanged::keep(tx.conn(), &receipt_of(evidence.clone(), rid), now)?;
    evidence.see_head(tx.conn(), now)?;
    Ok(Ok((slot, outcome, follows)))
}

/// What was prepared, if the permit still holds; what the standing says now, if it moved.
fn still(
    tx: &mut Tx<'_>,
    sworn: &Sworn<Pull>,
    owner: &standing::Owner,
    prepared: Prepared,
    now: Instant,
) -> QueryResult<Result<Prepared, Denial>> {
    let permit = &prepared.follows.permit;
    if permit.epoch() == tx.epoch() && !permit.dead(now) {
        return Ok(Ok(prepared));
    }
    let (standing, _) = standing::load(tx.conn(), owner, sworn.evidence().origin, sworn.agreement(), now)?;
    Ok(match decide_pull(&sworn.message().list, &standing, now) {
        Ok(fresh) if fresh.same(permit) => {
            let follows = Follows { permit: fresh, ..prepared.follows };
            Ok(Prepared { follows, ..prepared })
        }
        // The grant is another one now: as if it had been suspended, until the next pull.
        Ok(_) => Err(Denial { rules: vec![agreements::rule::Rule::GrantExists], status: None }),
        Err(denial) => Err(denial),
    })
}

fn draft(sworn: &Sworn<Pull>, from: &str, rid: agreements::ids::RequestId, outcome: &Outcome) -> QueryResult<Draft> {
    let evidence = sworn.evidence();
    let message = Assertion {
        v: PROTOCOL,
        to: vec![To { ori: evidence.origin, agreement: sworn.agreement() }],
        pull: evidence.leaf_hash,
        list: sworn.message().list.clone(),
        outcome: outcome.clone(),
    };
    let (decision, rule) = match outcome {
        Outcome::Asserted(_) => ("asserted", None),
        Outcome::Denied { rules, .. } => ("denied", rules.first().map(|said| said.rule.as_str().to_owned())),
    };
    Ok(Draft {
        kind: Kind::HotlistAsserted,
        rid,
        message: canonical(&message)?,
        note: canonical(&Note { from })?,
        facts: Facts { partner: Some(evidence.origin), decision: Some(decision.to_owned()), rule, ..Facts::default() },
    })
}

/// The lists that `partner` may pull now, with their versions: no entry, and nothing about what is on them.
///
/// # Errors
/// The registry failed.
pub fn offers(node: &Node, desk: &Desk, partner: &Partner) -> Result<Offers, Failure> {
    let now = node.now();
    let ids: Vec<AgreementId> = desk.registry(|conn| documents::ids(conn, Some(partner.ori())))?;
    let mut lists: Vec<Offered> = Vec::new();
    for id in ids {
        let standing = desk.registry(|conn| node.standings().standing(conn, node.owner(), partner.ori(), id, now))?;
        let (Status::InForce { .. }, Some(agreement)) = (standing.status(now), &standing.agreement) else { continue };
        for grant in agreement.hotlist_grants(node.ori(), partner.ori()) {
            if categories(&grant.categories).is_empty() || lists.iter().any(|offered| offered.list == grant.list) {
                continue;
            }
            let list = desk.registry(|conn| hotlists::find(conn, &grant.list))?;
            let version = list.map_or(0, |list| list.version.unsigned_abs());
            lists.push(Offered { list: grant.list.clone(), agreement: id, version });
        }
    }
    Ok(Offers { v: PROTOCOL, owner: node.ori(), lists })
}
