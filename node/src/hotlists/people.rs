//! What people do with hotlists: accept a partner's, end that, see hits and verify them. Each is an entry of the trail.

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::hotlist::Entry;
use agreements::ids::{Ori, RequestId};
use agreements::json;
use agreements::time::Instant;
use serde::Serialize;

use super::load::name_formed;
use super::refresh::Erased;
use super::shared::{Held, SharedError, SharedLists};
use crate::db::{Conn, Db, DbError, Tx};
use crate::exchange::standing;
use crate::people::{self, PeopleError};
use crate::registry::accounts::{self, Action};
use crate::registry::hits::{self, Hit, HitStatus};
use crate::registry::hotlists::{List, Share};
use crate::registry::{accepted, agencies, agreements as documents, hotlists};
use crate::trail::Facts;

/// The most hits that are shown at once.
const SHOWN: i64 = 1000;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum HotlistError {
    /// The person may not, or it is not recorded.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The registry.
    #[error("the registry: {0}")]
    Query(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
    /// The place of shared lists.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

#[derive(Serialize)]
struct AcceptedList<'a> {
    accepted: bool,
    list: &'a str,
    owner: Ori,
    v: u16,
}

/// Accepts a partner's list for matching: a person answers for it. Until then none of it is stored, nor matched.
///
/// # Errors
/// See [`PeopleError`].
pub async fn accept(db: &Db, owner: Ori, list: &str, by: &str) -> Result<(), PeopleError> {
    let (list, by) = (list.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::ApproveHotlists)? {
            return Ok(Err(why));
        }
        if !name_formed(&list) {
            return Ok(Err("a list's name is 1 to 64 of a-z, 0-9, hyphen and underscore".to_owned()));
        }
        if agencies::find(tx.conn(), owner)?.is_none() {
            return Ok(Err(format!("{owner} is not enrolled: `concordat peer add` enrols it")));
        }
        if accepted::find(tx.conn(), owner, &list)?.is_some() {
            return Ok(Err(format!("{list} of {owner} is accepted already")));
        }
        let granted = documents::ids(tx.conn(), Some(owner))?.into_iter().try_fold(false, |granted, id| {
            let found = standing::verified(tx.conn(), id)?;
            let grants = |found: standing::Verified| found.agreement.grants_hotlist(owner, &list);
            Ok::<_, diesel::result::Error>(granted || found.is_some_and(grants))
        })?;
        if !granted {
            return Ok(Err(format!(
                "no agreement with {owner} grants {list}: draft one that does with `concordat agreement draft`"
            )));
        }
        let now = tx.now();
        accepted::insert(tx.conn(), owner, &list, &by, now)?;
        let message = AcceptedList { accepted: true, list: &list, owner, v: 1 };
        let facts = Facts { partner: Some(owner), decision: Some("accepted".to_owned()), ..Facts::default() };
        people::record(tx, Kind::HotlistAccepted, &message, &by, facts)?;
        Ok(Ok(()))
    };
    people::settled(db.record(job).await?)
}

/// Ends that, and erases what is held of the list: first the one, so that nothing new of it is put in use, and what is said
/// to be erased is. Who dies in between leaves the rest to the next start of the node.
///
/// # Errors
/// See [`HotlistError`].
pub async fn withdraw(
    db: &Db,
    shared: &Arc<SharedLists>,
    owner: Ori,
    list: &str,
    by: &str,
) -> Result<(), HotlistError> {
    let (name, person) = (list.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &person, Action::ApproveHotlists)? {
            return Ok(Err(why));
        }
        if !accepted::delete(tx.conn(), owner, &name)? {
            return Ok(Err(format!("{name} of {owner} is not accepted here")));
        }
        let message = AcceptedList { accepted: false, list: &name, owner, v: 1 };
        let facts = Facts { partner: Some(owner), decision: Some("withdrawn".to_owned()), ..Facts::default() };
        people::record(tx, Kind::HotlistAccepted, &message, &person, facts)?;
        Ok(Ok(()))
    };
    people::settled(db.record(job).await.map_err(PeopleError::from)?)?;
    let (shared, name) = (Arc::clone(shared), list.to_owned());
    let erased = tokio::task::spawn_blocking(move || shared.erase(owner, &name)).await;
    let Some(held) = erased.map_err(|_| SharedError::Damaged("thread"))?? else { return Ok(()) };
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        let Held { list, version, entries, .. } = held;
        let message = Erased { entries, list, owner, v: 1, version, why: "it is no longer accepted" };
        let facts = Facts { partner: Some(owner), decision: Some("withdrawn".to_owned()), ..Facts::default() };
        people::record(tx, Kind::HotlistErased, &message, &by, facts)
    };
    db.record(job).await.map_err(PeopleError::from)?;
    Ok(())
}

/// Every list that this node knows of.
#[derive(Debug)]
pub struct Lists {
    /// Own ones.
    pub own: Vec<List>,
    /// What partners were told of them.
    pub shares: Vec<Share>,
    /// Partners' that were accepted.
    pub accepted: Vec<accepted::Accepted>,
    /// What is held of these now.
    pub held: Vec<Held>,
}

/// Every list that this node knows of.
///
/// # Errors
/// The stores failed.
pub fn lists(db: &Db, shared: &SharedLists) -> Result<Lists, HotlistError> {
    let mut conn = db.reader()?;
    Ok(Lists {
        own: hotlists::all(&mut conn)?,
        shares: hotlists::shares(&mut conn)?,
        accepted: accepted::all(&mut conn)?,
        held: SharedLists::held(&mut shared.reader()?)?,
    })
}

/// A hit with the entry that it matched, where that still exists.
#[derive(Debug)]
pub struct Seen {
    /// The hit.
    pub hit: Hit,
    /// The entry.
    pub entry: Option<Entry>,
}

/// The message of a `hit.listed` entry.
#[derive(Serialize)]
struct Listed {
    found: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    v: u16,
}

/// The newest hits, for the account `by`. The look is an entry before anything is shown (VIII-03).
///
/// # Errors
/// See [`HotlistError`].
pub async fn hits(
    db: &Db,
    shared: &SharedLists,
    us: Ori,
    status: Option<HitStatus>,
    by: &str,
) -> Result<Vec<Seen>, HotlistError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::VerifyHits)? {
            return Ok(Err(why));
        }
        let found = hits::newest(tx.conn(), status, SHOWN)?;
        let message = Listed { found: found.len(), status: status.map(HitStatus::as_str), v: 1 };
        people::record(tx, Kind::HitListed, &message, &by, Facts::default())?;
        Ok(Ok(found))
    };
    let found = people::settled(db.record(job).await.map_err(PeopleError::from)?)?;
    let mut conn = db.reader()?;
    let mut theirs = shared.reader()?;
    let now = db.present(&mut conn)?;
    let mut seen = Vec::new();
    for hit in found {
        let entry = entry_of(&hit, us, &mut conn, &mut theirs, now)?;
        seen.push(Seen { hit, entry });
    }
    Ok(seen)
}

/// The entry that a read matched; `None` when it is not on the list any more, or the list's lease has ended.
fn entry_of(
    hit: &Hit,
    us: Ori,
    conn: &mut Conn,
    theirs: &mut Conn,
    now: Instant,
) -> Result<Option<Entry>, HotlistError> {
    let body = if hit.owner == us {
        hotlists::entry(conn, &hit.list, hit.entry)?
    } else {
        SharedLists::entry(theirs, hit.owner, &hit.list, hit.entry, now)?
    };
    Ok(body.and_then(|body| json::parse(body.as_bytes()).ok()))
}

/// What a person did before saying what a hit is.
#[derive(Debug, Clone, Copy)]
pub struct Looked {
    /// Compared the image with the plate, the state and the vehicle.
    pub image: bool,
    /// Asked the owner of the entry, or its source, whether it still stands.
    pub status: bool,
}

#[derive(Serialize)]
struct Verified<'a> {
    hit: RequestId,
    image: bool,
    status: bool,
    v: u16,
    verdict: &'a str,
}

/// Notes what a person found. Nobody may act on a hit before it is confirmed, and it is confirmed only by a person who
/// compared the image and asked whether the entry still stands: so there must be both.
///
/// # Errors
/// See [`HotlistError`].
pub async fn verify(
    db: &Db,
    shared: &SharedLists,
    us: Ori,
    id: RequestId,
    verdict: HitStatus,
    looked: Looked,
    by: &str,
) -> Result<(Hit, Instant), HotlistError> {
    let mut conn = db.reader()?;
    let now = db.present(&mut conn)?;
    let gone = match hits::find(&mut conn, id)? {
        Some(hit) => entry_of(&hit, us, &mut conn, &mut shared.reader()?, now)?.is_none(),
        None => false,
    };
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::VerifyHits)? {
            return Ok(Err(why));
        }
        let Some(hit) = hits::find(tx.conn(), id)? else {
            return Ok(Err("there is no such hit; `concordat hit list` shows them".to_owned()));
        };
        if verdict == HitStatus::Confirmed && !(looked.image && looked.status) {
            return Ok(Err(
                "a hit is confirmed by who compared the image with the plate (--image) and asked whether the entry still stands (--status)"
                    .to_owned(),
            ));
        }
        if verdict == HitStatus::Confirmed && hit.image.is_none() {
            return Ok(Err(
                "the read came without an image, so nobody can compare it: the hit is not to be confirmed".to_owned()
            ));
        }
        if verdict == HitStatus::Confirmed && gone {
            return Ok(Err(
                "the entry is not on the list any more, or the list was not asserted for a day: the hit is not to be confirmed"
                    .to_owned(),
            ));
        }
        let now = tx.now();
        hits::verify(tx.conn(), id, verdict, &by, now)?;
        let message = Verified { hit: id, image: looked.image, status: looked.status, v: 1, verdict: verdict.as_str() };
        let facts = Facts {
            partner: Some(hit.owner),
            plate: Some(hit.plate.as_str().to_owned()),
            decision: Some(verdict.as_str().to_owned()),
            ..Facts::default()
        };
        people::record(tx, Kind::HitVerified, &message, &by, facts)?;
        Ok(Ok((hit, now)))
    };
    Ok(people::settled(db.record(job).await.map_err(PeopleError::from)?)?)
}
