//! Accounts as the trail recorded them. A row of `account` that says otherwise counts for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::entry::Kind;
use agreements::json;
use diesel::QueryResult;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::accounts::{Account, Role};
use crate::db::Conn;
use crate::trail::told::{self, Told, Which};

/// The message of a `user.changed` entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum AccountChanged {
    /// An account was opened.
    Opened {
        /// The unit or assignment.
        affiliation: String,
        /// Who opened it.
        by: String,
        /// The person's name.
        name: String,
        /// The role's written name.
        role: String,
        /// The account.
        username: String,
        /// The version of this message.
        v: u16,
    },
    /// An account was closed for good.
    Closed {
        /// Who closed it.
        by: String,
        /// The account.
        username: String,
        /// The version of this message.
        v: u16,
    },
}

/// What a `training.recorded` entry says of an account.
#[derive(Deserialize)]
struct Trained {
    on: Date,
    username: String,
}

/// Every account, by username, as the trail has it.
pub(crate) type Roster = BTreeMap<String, Account>;

/// The roster that was read last, good until the trail has more of it: what one person may do is asked at each question.
#[derive(Debug, Default)]
pub struct Rosters(Mutex<Option<(i64, Arc<Roster>)>>);

impl Rosters {
    /// The roster; the inner error says which entry is not as it was recorded.
    pub(crate) fn read(&self, conn: &mut Conn) -> QueryResult<Result<Arc<Roster>, String>> {
        let last = told::last(conn, Kind::UserChanged)?.max(told::last(conn, Kind::TrainingRecorded)?);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, roster)) = known.filter(|(upto, _)| *upto == last) {
            return Ok(Ok(roster));
        }
        let fresh = read(conn)?.map(Arc::new);
        if let Ok(roster) = &fresh {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((last, Arc::clone(roster)));
        }
        Ok(fresh)
    }

    /// Forgets what was read, so that the trail is read again.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The roster, read from the trail; the inner error says which entry is not as it was recorded.
pub(crate) fn read(conn: &mut Conn) -> QueryResult<Result<Roster, String>> {
    let changes = match told::told(conn, Kind::UserChanged, Which::All)? {
        Ok(changes) => changes,
        Err(what) => return Ok(Err(what)),
    };
    let trainings = told::told(conn, Kind::TrainingRecorded, Which::All)?;
    Ok(trainings.and_then(|trainings| folded(&changes, &trainings).map_err(|error| error.to_string())))
}

/// Entries that make no roster.
#[derive(Debug, thiserror::Error)]
enum RosterError {
    #[error("an account's entry in the trail is none that this version writes: {0}")]
    Form(#[from] json::StrictError),
    #[error("an account's entry in the trail names no role that there is: {0}")]
    Role(#[from] super::accounts::RoleError),
    #[error("an entry in the trail is about an account that no entry opened")]
    Unopened,
}

fn folded(changes: &[Told], trainings: &[Told]) -> Result<Roster, RosterError> {
    let mut roster = Roster::new();
    for Told { at, message, .. } in changes {
        match json::parse(message)? {
            AccountChanged::Opened { affiliation, by, name, role, username, .. } => {
                let role: Role = role.parse()?;
                let account = Account {
                    username: username.clone(),
                    name,
                    affiliation,
                    role,
                    opened_at: *at,
                    opened_by: by,
                    trained_on: None,
                    disabled_at: None,
                };
                roster.insert(username, account);
            }
            AccountChanged::Closed { username, .. } => {
                roster.get_mut(&username).ok_or(RosterError::Unopened)?.disabled_at = Some(*at);
            }
        }
    }
    for Told { message, .. } in trainings {
        let Trained { on, username } = json::parse(message)?;
        roster.get_mut(&username).ok_or(RosterError::Unopened)?.trained_on = Some(on);
    }
    Ok(roster)
}

/// What is not as the trail has it, among all the rows; empty when they agree.
pub(crate) fn objections(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let roster = match read(conn)? {
        Ok(roster) => roster,
        Err(what) => return Ok(vec![what]),
    };
    let rows = match super::accounts::all(conn) {
        Err(diesel::result::Error::DeserializationError(error)) => return Ok(vec![error.to_string()]),
        rows => rows?,
    };
    let mut objections: Vec<String> = roster
        .keys()
        .filter(|username| rows.iter().all(|row| row.username != **username))
        .map(|_| "the row of an account is missing that the trail recorded".to_owned())
        .collect();
    for row in rows {
        match roster.get(&row.username) {
            Some(account) if *account == row => {}
            Some(_) => objections.push("the row of an account says something else than the trail recorded".to_owned()),
            None => objections.push("there is a row of an account that the trail never recorded".to_owned()),
        }
    }
    Ok(objections)
}
