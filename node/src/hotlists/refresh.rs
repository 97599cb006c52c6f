//! When partners' lists are pulled: at once when their owner has a newer version, and otherwise well before their lease
//! ends.
//!
//! A look costs no entry on either side, so it is made often; a pull is an entry on both, so it is made only for a reason.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use agreements::entry::Kind;
use agreements::hotlist::Offers;
use agreements::ids::Ori;
use agreements::time::Instant;
use futures_util::future::join_all;
use serde::Serialize;

use super::pulling::{self, PullError, Pulled};
use super::shared::{Gone, Held, Look, SharedError, SharedLists};
use crate::db::Tx;
use crate::exchange::Failure;
use crate::exchange::ask::problem;
use crate::exchange::partner::Partner;
use crate::node::Node;
use crate::people;
use crate::registry::accepted::{self, Accepted};
use crate::trail::Facts;

/// What came of one list.
#[derive(Debug)]
pub struct Refreshed {
    /// The list's owner.
    pub owner: Ori,
    /// The list.
    pub list: String,
    /// What came.
    pub came: Result<Pulled, PullError>,
}

/// Why nothing was refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The registry.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The place of shared lists.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// When each partner was looked at and each list was pulled last.
#[derive(Debug)]
pub struct Schedule {
    /// When the node was opened: nobody is looked at before the first turn after that.
    opened: Instant,
    looked: Mutex<HashMap<Ori, Instant>>,
    tried: Mutex<HashMap<(Ori, String), Instant>>,
    /// One refreshing of an owner's lists at a time.
    turns: Mutex<HashMap<Ori, Arc<tokio::sync::Mutex<()>>>>,
}

impl Schedule {
    /// The schedule of a node that is opened `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { opened: now, looked: Mutex::default(), tried: Mutex::default(), turns: Mutex::default() }
    }

    fn turn(&self, owner: Ori) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(owner).or_default())
    }

    /// Whether it is time to look at a partner; notes that it is looked at.
    fn look(&self, owner: Ori, now: Instant, every: i64) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back is no reason to wait for it.
        let last = looked.get(&owner).copied().unwrap_or(self.opened);
        let due = now.since(last).unsigned_abs() >= every.unsigned_abs();
        if due {
            looked.insert(owner, now);
        }
        due
    }

    /// Whether a list may be pulled again; notes that it is. An owner whose list never is what it says does not fill the
    /// trails.
    fn try_pull(&self, owner: Ori, list: &str, now: Instant, every: i64) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (owner, list.to_owned());
        let may = tried.get(&key).is_none_or(|last| now.since(*last).unsigned_abs() >= every.unsigned_abs());
        if may {
            tried.insert(key, now);
        }
        may
    }
}

/// Looks at the owners of accepted lists that are due, and pulls what moved and what has to be renewed. A running node
/// calls it every second, without waiting for the end of the call before: an owner that takes its time keeps no other one
/// waiting, and is itself left out until it is done. It does nothing most times.
///
/// # Errors
/// The stores failed. What single partners did is in what it gives.
pub async fn refresh_due(node: &Arc<Node>) -> Result<Vec<Refreshed>, RefreshError> {
    let desk = node.desk();
    let (lists, now) = desk.registry(|conn| Ok((accepted::all(conn)?, node.registry().present(conn)?)))?;
    let every = i64::from(node.config().hotlists.look_seconds.get()) * Instant::SECOND;
    let owners: HashSet<Ori> = lists.iter().map(|accepted| accepted.owner).collect();
    let turn = |owner: &Ori| node.hotlist_schedule().look(*owner, node.now(), every);
    let due: Vec<Ori> = owners.into_iter().filter(turn).collect();
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let held = SharedLists::held(&mut node.shared_lists().reader()?)?;
    let each = due.into_iter().map(|owner| {
        let lists = lists.iter().filter(|accepted| accepted.owner == owner).cloned().collect();
        of_owner(node, owner, lists, &held, now)
    });
    Ok(join_all(each).await.into_iter().flatten().collect())
}

/// One owner's lists: looks what moved, pulls what did and what is due.
async fn of_owner(node: &Arc<Node>, owner: Ori, lists: Vec<Accepted>, held: &[Held], now: Instant) -> Vec<Refreshed> {
    let turn = node.hotlist_schedule().turn(owner);
    let Ok(_ours) = turn.try_lock() else { return Vec::new() };
    let partners = node.partners();
    let Some(partner) = partners.find(owner) else { return Vec::new() };
    let offers = match look(node, partner).await {
        Ok(offers) => offers,
        Err(why) => {
            tracing::info!(%owner, why, "the hotlists of a partner could not be looked at");
            return Vec::new();
        }
    };
    let renew = i64::from(node.config().hotlists.refresh_minutes.get()) * Instant::MINUTE;
    let retry = i64::from(node.config().hotlists.look_seconds.get()) * Instant::SECOND / 2;
    let mut refreshed = Vec::new();
    for Accepted { list, .. } in lists {
        let offered = offers.lists.iter().find(|offered| offered.list == list);
        let Some(offered) = offered else { continue };
        let held = held.iter().find(|held| held.owner == owner && held.list == list);
        let current = held.is_some_and(|held| {
            held.version == offered.version
                && now < held.asserted_at.min(held.received_at).plus(renew)
                && now < held.ends_at
        });
        if current || !node.hotlist_schedule().try_pull(owner, &list, node.now(), retry) {
            continue;
        }
        let came = pulling::pull(node, owner, &list).await;
        match &came {
            Ok(Pulled::Held { version, entries, .. }) => {
                tracing::info!(%owner, version, entries, "a partner's hotlist was refreshed");
            }
            Ok(Pulled::Denied { why }) => tracing::warn!(%owner, why, "a partner denied its hotlist"),
            Err(error) => tracing::warn!(%owner, %error, "a partner's hotlist was not refreshed"),
        }
        refreshed.push(Refreshed { owner, list, came });
    }
    refreshed
}

/// What a partner offers now.
///
/// # Errors
/// It cannot be reached, or says nothing of the kind.
pub async fn look(node: &Node, partner: &Partner) -> Result<Offers, String> {
    let reply = node.dialer().get(partner, "hotlists").await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!("status {}: {}", reply.status, problem(&reply.body)));
    }
    agreements::protocol::read(&reply.body).map_err(|error| error.to_string())
}

/// Pulls every accepted list at once, or those of one partner.
///
/// # Errors
/// The registry failed. What single partners did is in what it gives.
pub async fn refresh(node: &Arc<Node>, only: Option<Ori>) -> Result<Vec<Refreshed>, RefreshError> {
    let lists = node.desk().registry(accepted::all)?;
    let mut refreshed = Vec::new();
    for Accepted { owner, list, .. } in lists.into_iter().filter(|list| only.is_none_or(|only| only == list.owner)) {
        let turn = node.hotlist_schedule().turn(owner);
        let _ours = turn.lock().await;
        let came = pulling::pull(node, owner, &list).await;
        refreshed.push(Refreshed { owner, list, came });
    }
    Ok(refreshed)
}

/// The message of a `hotlist.erased` entry.
#[derive(Serialize)]
pub(super) struct Erased {
    pub(super) entries: u64,
    pub(super) list: String,
    pub(super) owner: Ori,
    pub(super) v: u16,
    pub(super) version: u64,
    pub(super) why: &'static str,
}

/// Erases partners' lists whose lease has ended or that are not accepted any more, then records that. A running node calls
/// it when it starts and every second; what is due matches nothing before that either.
///
/// # Errors
/// The place of shared lists failed, or the record was not made; what is erased stays erased.
pub async fn erase_due(node: &Arc<Node>) -> Result<u64, RefreshError> {
    let copy = Arc::clone(node);
    let look = move || -> Result<Look, RefreshError> {
        let db = copy.registry();
        let mut conn = db.reader().map_err(Failure::from)?;
        let now = db.present(&mut conn).map_err(Failure::from)?;
        let accepted = accepted::all(&mut conn).map_err(Failure::from)?;
        let accepted = accepted.into_iter().map(|accepted| (accepted.owner, accepted.list)).collect();
        Ok(Look { now, accepted })
    };
    let shared = Arc::clone(node.shared_lists());
    let erased = tokio::task::spawn_blocking(move || shared.erase_due(look)).await;
    let erased = erased.map_err(|_| SharedError::Damaged("thread"))??;
    let count = erased.len() as u64;
    if count == 0 {
        return Ok(0);
    }
    let job = move |tx: &mut Tx<'_>| {
        for Gone { held: Held { owner, list, version, entries, .. }, why } in erased {
            let message = Erased { entries, list, owner, v: 1, version, why };
            let facts = Facts { partner: Some(owner), ..Facts::default() };
            people::record_by_node(tx, Kind::HotlistErased, &message, facts)?;
        }
        Ok(())
    };
    node.registry().record(job).await.map_err(Failure::from)?;
    Ok(count)
}
