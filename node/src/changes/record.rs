//! Changes as the trail recorded them.

use std::collections::BTreeMap;

use agreements::entry::Kind;
use agreements::ids::Ori;
use agreements::json;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ChangeId, Command, LAPSES, Outcome, Proposed, Settled};
use crate::db::Conn;
use crate::trail::told::{self, Told, Which};

/// How the entry of an approval for a later date is found in the trail.
pub(super) const APPROVED: &str = "approved";

/// A proposed change and what became of it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// When it was proposed.
    pub at: Instant,
    /// What was proposed.
    pub proposed: Proposed,
    /// What was done about it, in the order of the trail.
    pub settled: Vec<(Instant, Outcome)>,
}

/// Where a change stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits for a second person.
    Pending {
        /// Until when.
        lapses_at: Instant,
    },
    /// It is approved and waits for its effective date.
    Approved {
        /// By whom.
        approved_by: String,
    },
    /// It was carried out.
    Applied {
        /// Who approved it.
        approved_by: String,
        /// When.
        settled_at: Instant,
    },
    /// A second person refused it.
    Refused {
        /// Who.
        refused_by: String,
        /// Why.
        why: String,
        /// When.
        settled_at: Instant,
    },
    /// It was taken back.
    Withdrawn {
        /// By whom.
        withdrawn_by: String,
        /// When.
        settled_at: Instant,
    },
    /// It was approved, and could not be carried out.
    Overtaken {
        /// Why.
        why: String,
        /// When.
        settled_at: Instant,
    },
    /// Nobody approved it in time.
    Lapsed {
        /// When.
        lapsed_at: Instant,
    },
}

impl State {
    /// Whether something may still come of it.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::Approved { .. })
    }

    /// In one line.
    #[must_use]
    pub fn says(&self) -> String {
        match self {
            Self::Pending { lapses_at } => format!("waits for a second person until {lapses_at}"),
            Self::Approved { approved_by } => format!("approved by {approved_by}; waits for its effective date"),
            Self::Applied { approved_by, settled_at } => {
                format!("approved by {approved_by}, in effect since {settled_at}")
            }
            Self::Refused { refused_by, why, settled_at } => format!("refused by {refused_by} at {settled_at}: {why}"),
            Self::Withdrawn { withdrawn_by, settled_at } => format!("withdrawn by {withdrawn_by} at {settled_at}"),
            Self::Overtaken { why, settled_at } => format!("approved, and not carried out at {settled_at}: {why}"),
            Self::Lapsed { lapsed_at } => format!("lapsed at {lapsed_at}: nobody approved it in 30 days"),
        }
    }
}

impl Change {
    /// Where it stands at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        let settles = |outcome: &Outcome| !matches!(outcome, Outcome::NotApproved { .. } | Outcome::Adopted { .. });
        let last = self.settled.iter().rev().find(|(_, outcome)| settles(outcome));
        let lapses_at = self.at.plus(LAPSES);
        let Some((at, outcome)) = last else {
            return if now < lapses_at { State::Pending { lapses_at } } else { State::Lapsed { lapsed_at: lapses_at } };
        };
        let settled_at = *at;
        match outcome.clone() {
            Outcome::Approved { by } => State::Approved { approved_by: by },
            Outcome::Applied { by } => State::Applied { approved_by: by, settled_at },
            Outcome::Refused { by, reason } => State::Refused { refused_by: by, why: reason, settled_at },
            Outcome::Withdrawn { by } => State::Withdrawn { withdrawn_by: by, settled_at },
            Outcome::Overtaken { why } => State::Overtaken { why: why.join("; "), settled_at },
            Outcome::NotApproved { .. } | Outcome::Adopted { .. } => State::Pending { lapses_at },
        }
    }

    /// The partner whom it is about, where it is about one.
    #[must_use]
    pub fn partner(&self, us: Ori) -> Option<Ori> {
        if let Some(ori) = self.proposed.command.agency() {
            return (ori != us).then_some(ori);
        }
        let access = self.proposed.before.iter().chain(&self.proposed.after).next()?;
        Some(if access.owner == us { access.recipient } else { access.owner })
    }
}

/// Entries of one kind, read as what they say.
pub(super) fn said<M: DeserializeOwned>(
    conn: &mut Conn,
    kind: Kind,
    which: Which,
) -> QueryResult<Result<Vec<(Told, M)>, String>> {
    let told = match told::told(conn, kind, which)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    Ok(told.into_iter().map(|told| parsed(kind, told)).collect())
}

fn parsed<M: DeserializeOwned>(kind: Kind, told: Told) -> Result<(Told, M), String> {
    let message = json::parse(&told.message);
    message.map(|message| (told, message)).map_err(|error| format!("an entry of {kind} cannot be read: {error}"))
}

/// One change; the inner error says which entry is not as it was recorded. It costs no more when there are many others.
pub(super) fn find(conn: &mut Conn, id: ChangeId) -> QueryResult<Result<Option<Change>, String>> {
    let told = match told::by_rid(conn, Kind::ChangeProposed, id)? {
        Ok(Some((told, _))) => told,
        Ok(None) => return Ok(Ok(None)),
        Err(what) => return Ok(Err(what)),
    };
    let proposed = match parsed::<Proposed>(Kind::ChangeProposed, told) {
        Ok(proposed) => proposed,
        Err(what) => return Ok(Err(what)),
    };
    Ok(with_settled(conn, vec![proposed])?.map(|mut found| found.pop()))
}

/// The changes that propose `command` about an agreement with `partner`, as [`find`] reads them.
pub(super) fn alike(conn: &mut Conn, command: &Command, partner: Ori) -> QueryResult<Result<Vec<Change>, String>> {
    match said::<Proposed>(conn, Kind::ChangeProposed, Which::About(partner))? {
        Ok(mut proposed) => {
            proposed.retain(|(_, proposed)| proposed.command == *command);
            with_settled(conn, proposed)
        }
        Err(what) => Ok(Err(what)),
    }
}

/// The changes that were ever approved for a later date, as [`find`] reads them.
pub(super) fn approved(conn: &mut Conn) -> QueryResult<Result<Vec<Change>, String>> {
    let settled = match said::<Settled>(conn, Kind::ChangeSettled, Which::Decided(APPROVED))? {
        Ok(settled) => settled,
        Err(what) => return Ok(Err(what)),
    };
    let mut changes = Vec::new();
    for id in settled.into_iter().filter_map(|(_, settled)| settled.change) {
        match find(conn, id)? {
            Ok(change) => changes.extend(change),
            Err(what) => return Ok(Err(what)),
        }
    }
    Ok(Ok(changes))
}

/// Proposals, each with what was done about it since.
fn with_settled(conn: &mut Conn, proposed: Vec<(Told, Proposed)>) -> QueryResult<Result<Vec<Change>, String>> {
    let Some(first) = proposed.iter().map(|(told, _)| told.index).min() else { return Ok(Ok(Vec::new())) };
    let settled = match said::<Settled>(conn, Kind::ChangeSettled, Which::From(first))? {
        Ok(settled) => settled,
        Err(what) => return Ok(Err(what)),
    };
    let mut of: BTreeMap<ChangeId, Vec<(Instant, Outcome)>> = BTreeMap::new();
    for (told, Settled { change, outcome, .. }) in settled {
        if let Some(id) = change {
            of.entry(id).or_default().push((told.at, outcome));
        }
    }
    let with = |(told, proposed): (Told, Proposed)| Change {
        id: told.rid,
        at: told.at,
        proposed,
        settled: of.remove(&told.rid).unwrap_or_default(),
    };
    Ok(Ok(proposed.into_iter().map(with).collect()))
}

/// Every change, oldest first; the inner error says which entry is not as it was recorded.
pub(super) fn read(conn: &mut Conn) -> QueryResult<Result<Vec<Change>, String>> {
    // What settles is read first: whatever is proposed meanwhile has not been settled.
    let settled = match said::<Settled>(conn, Kind::ChangeSettled, Which::All)? {
        Ok(settled) => settled,
        Err(what) => return Ok(Err(what)),
    };
    let proposed = match said::<Proposed>(conn, Kind::ChangeProposed, Which::All)? {
        Ok(proposed) => proposed,
        Err(what) => return Ok(Err(what)),
    };
    // Ids of one millisecond are in no order.
    let order: Vec<ChangeId> = proposed.iter().map(|(told, _)| told.rid).collect();
    let mut changes: BTreeMap<ChangeId, Change> = BTreeMap::new();
    for (told, proposed) in proposed {
        changes.insert(told.rid, Change { id: told.rid, at: told.at, proposed, settled: Vec::new() });
    }
    for (told, Settled { change, outcome, .. }) in settled {
        let Some(id) = change else { continue };
        match changes.get_mut(&id) {
            Some(change) => change.settled.push((told.at, outcome)),
            None => return Ok(Err("an entry settles a change that no entry proposed".to_owned())),
        }
    }
    Ok(Ok(order.into_iter().filter_map(|id| changes.remove(&id)).collect()))
}
