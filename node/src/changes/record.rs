//! Changes as the trail recorded them.

use agreements::entry::Kind;
use agreements::ids::Ori;
use agreements::json;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ChangeId, LAPSES, Outcome, Proposed, Settled};
use crate::db::Conn;
use crate::trail::told::{self, Told, Which};

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
pub(super) fn said<M: DeserializeOwned>(conn: &mut Conn, kind: Kind) -> QueryResult<Result<Vec<(Told, M)>, String>> {
    let told = match told::told(conn, kind, Which::All)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let read = |told: Told| {
        let message = json::parse(&told.message);
        message.map(|message| (told, message)).map_err(|error| format!("an entry of {kind} cannot be read: {error}"))
    };
    Ok(told.into_iter().map(read).collect())
}

/// Every change, oldest first; the inner error says which entry is not as it was recorded.
pub(super) fn read(conn: &mut Conn) -> QueryResult<Result<Vec<Change>, String>> {
    // What settles is read first: whatever is proposed meanwhile has not been settled.
    let settled = match said::<Settled>(conn, Kind::ChangeSettled)? {
        Ok(settled) => settled,
        Err(what) => return Ok(Err(what)),
    };
    let proposed = match said::<Proposed>(conn, Kind::ChangeProposed)? {
        Ok(proposed) => proposed,
        Err(what) => return Ok(Err(what)),
    };
    let mut changes: Vec<Change> = proposed
        .into_iter()
        .map(|(told, proposed)| Change { id: told.rid, at: told.at, proposed, settled: Vec::new() })
        .collect();
    for (told, Settled { change, outcome, .. }) in settled {
        let Some(id) = change else { continue };
        match changes.iter_mut().find(|change| change.id == id) {
            Some(change) => change.settled.push((told.at, outcome)),
            None => return Ok(Err("an entry settles a change that no entry proposed".to_owned())),
        }
    }
    Ok(Ok(changes))
}
