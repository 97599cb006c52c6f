//! This agency's people and what they keep: accounts, training, enrolments. Every change is an
//! entry of the trail in the same transaction.

use agreements::entry::Kind;
use agreements::ids::{Digest, RequestId};
use agreements::json;
use agreements::screen;
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;
use serde::Serialize;

use crate::db::{Db, RecordError, Tx};
use crate::exchange::descriptor::{self, DescriptorError};
use crate::exchange::partner::{self, Partners};
use crate::node::fresh_rid;
use crate::registry::accounts::{self, Account, Action, Role, operator};
use crate::registry::agencies::{self, Enrolled, PeerEnrolled};
use crate::registry::roster::{self, AccountChanged};
use crate::trail::{Draft, Facts};

/// Why an administrative change is not made. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// A rule refuses it; the sentence says what to do.
    #[error("{0}")]
    Refused(String),
    /// The descriptor is not taken.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// It failed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A domain "no" from inside a transaction, in which nothing was written yet.
pub(crate) type Refusable<T> = Result<T, String>;

/// The value of a recorded change, or why it was refused.
pub(crate) fn settled<T>(recorded: crate::db::Recorded<Refusable<T>>) -> Result<T, PeopleError> {
    recorded.into_inner().map_err(PeopleError::Refused)
}

/// What goes into the note of an administrative entry: who did it.
#[derive(Serialize)]
pub(crate) struct By<'a> {
    pub(crate) by: &'a str,
}

/// Appends the entry of a change that `by` makes.
pub(crate) fn record<M: Serialize>(
    tx: &mut Tx<'_>,
    kind: Kind,
    message: &M,
    by: &str,
    facts: Facts,
) -> QueryResult<()> {
    record_as(tx, kind, message, by, facts).map(drop)
}

/// The same. The entry's id.
pub(crate) fn record_as<M: Serialize>(
    tx: &mut Tx<'_>,
    kind: Kind,
    message: &M,
    by: &str,
    facts: Facts,
) -> QueryResult<RequestId> {
    let canonical =
        |result: Result<Vec<u8>, json::StrictError>| result.map_err(|error| Error::SerializationError(error.into()));
    let rid = fresh_rid(tx.now())?;
    let facts = Facts { username: Some(by.to_owned()), ..facts };
    let draft = Draft {
        kind,
        rid,
        message: canonical(json::canonical(message))?,
        note: canonical(json::canonical(&By { by }))?,
        facts,
    };
    tx.append(draft)?;
    Ok(rid)
}

/// Appends the entry of what this node did by itself. Its id.
pub(crate) fn record_by_node<M: Serialize>(
    tx: &mut Tx<'_>,
    kind: Kind,
    message: &M,
    facts: Facts,
) -> QueryResult<RequestId> {
    let rid = fresh_rid(tx.now())?;
    let message = json::canonical(message).map_err(|error| Error::SerializationError(error.into()))?;
    tx.append(Draft { kind, rid, message, note: b"{}".to_vec(), facts })?;
    Ok(rid)
}

/// A new account.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its name, never reused.
    pub username: String,
    /// The person's name.
    pub name: String,
    /// Unit or assignment.
    pub affiliation: String,
    /// What the person may do.
    pub role: Role,
}

/// Opens an account. The first of a node is opened by whoever installs it; every other by an account that may (II-11),
/// and by nobody for themselves.
///
/// # Errors
/// See [`PeopleError`].
pub async fn open_account(db: &Db, new: NewAccount, by: &str) -> Result<(), PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if !username_formed(&new.username) {
            return Ok(Err("a username is 1 to 64 of a-z, 0-9, dot, hyphen and underscore".to_owned()));
        }
        let named =
            |text: &str| screen::legible(text) && text.chars().count() <= 200 && !text.contains(char::is_control);
        if !named(&new.name) || !named(&new.affiliation) {
            return Ok(Err("name and affiliation are each 1 to 200 printable characters".to_owned()));
        }
        let roster = match roster::read(tx.conn())? {
            Ok(roster) => roster,
            Err(what) => return Ok(Err(what)),
        };
        // Whoever empties the table does not make the next account the first one.
        let first = roster.is_empty() && accounts::all(tx.conn())?.is_empty();
        if first && new.role != Role::SystemAdministrator {
            return Ok(Err("the first account of a node is a system_administrator's, who opens the others".to_owned()));
        }
        if !first && let Err(why) = operator(tx.conn(), &by, Action::ManagePeople)? {
            return Ok(Err(why));
        }
        if roster.contains_key(&new.username) || accounts::find(tx.conn(), &new.username)?.is_some() {
            return Ok(Err(format!("there is an account {} already, and names are not reused", new.username)));
        }
        let now = tx.now();
        let account = Account {
            username: new.username.clone(),
            name: new.name.clone(),
            affiliation: new.affiliation.clone(),
            role: new.role,
            opened_at: now,
            opened_by: by.clone(),
            trained_on: None,
            disabled_at: None,
        };
        accounts::insert(tx.conn(), &account)?;
        let message = AccountChanged::Opened {
            affiliation: new.affiliation.clone(),
            by: by.clone(),
            name: new.name.clone(),
            role: new.role.as_str().to_owned(),
            username: new.username.clone(),
            v: 1,
        };
        record(tx, Kind::UserChanged, &message, &by, Facts::default())?;
        Ok(Ok(()))
    };
    settled(db.record(job).await?)
}

/// One way to write each username: what looks alike would be two people to the rule that asks for two.
fn username_formed(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b))
}

/// Closes somebody else's account for good. So the last who may open accounts cannot be closed.
///
/// # Errors
/// See [`PeopleError`].
pub async fn close_account(db: &Db, username: &str, by: &str) -> Result<(), PeopleError> {
    let (username, by) = (username.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::ManagePeople)? {
            return Ok(Err(why));
        }
        if username == by {
            return Ok(Err("nobody closes their own account: another who may does".to_owned()));
        }
        let now = tx.now();
        if !accounts::disable(tx.conn(), &username, now)? {
            return Ok(Err(format!(
                "there is no open account {username}; `concordat user list` shows those that there are"
            )));
        }
        record(
            tx,
            Kind::UserChanged,
            &AccountChanged::Closed { by: by.clone(), username: username.clone(), v: 1 },
            &by,
            Facts::default(),
        )?;
        Ok(Ok(()))
    };
    settled(db.record(job).await?)
}

/// Which parts of the training a person completed (VII-11 to VII-13). A training counts when it has all three.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Training {
    /// The privacy requirements of SB 34.
    pub sb34: bool,
    /// The limits of SB 54.
    pub sb54: bool,
    /// The agency's own policy.
    pub policy: bool,
}

/// Records a training that somebody else completed on a date.
///
/// # Errors
/// See [`PeopleError`].
pub async fn record_training(
    db: &Db,
    username: &str,
    on: Date,
    training: Training,
    by: &str,
) -> Result<(), PeopleError> {
    #[derive(Serialize)]
    struct Recorded<'a> {
        on: Date,
        training: Training,
        username: &'a str,
        v: u16,
    }
    let (username, by) = (username.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if !(training.sb34 && training.sb54 && training.policy) {
            return Ok(Err(
                "a training counts when it covers SB 34, SB 54 and the policy (VII-11 to VII-13): give all three"
                    .to_owned(),
            ));
        }
        if let Err(why) = operator(tx.conn(), &by, Action::ManagePeople)? {
            return Ok(Err(why));
        }
        if username == by {
            return Ok(Err("nobody records their own training".to_owned()));
        }
        if tx.now().date().is_none_or(|today| on > today) {
            return Ok(Err(format!("{on} is in the future")));
        }
        if !accounts::set_trained(tx.conn(), &username, on)? {
            return Ok(Err(format!("there is no account {username}; `concordat user add` opens one")));
        }
        record(
            tx,
            Kind::TrainingRecorded,
            &Recorded { on, training, username: &username, v: 1 },
            &by,
            Facts::default(),
        )?;
        Ok(Ok(()))
    };
    settled(db.record(job).await?)
}

/// Enrols the partner of a descriptor file, after one person imported it and another compared its fingerprint by voice. A
/// partner that is enrolled already may be enrolled again by a newer file of the same identity key: what it says then are the
/// values of the day. That is for keys that no agreement can tell of.
///
/// # Errors
/// See [`PeopleError`].
pub async fn enrol(
    db: &Db,
    file: Vec<u8>,
    fingerprint: &str,
    by: &str,
    confirmed_by: &str,
) -> Result<agreements::ids::Ori, PeopleError> {
    let (party, found) = descriptor::read(&file)?;
    descriptor::compare(fingerprint, found)?;
    let (by, confirmed_by) = (by.to_owned(), confirmed_by.to_owned());
    let ori = party.ori;
    let job = move |tx: &mut Tx<'_>| {
        if by == confirmed_by {
            return Ok(Err(
                "two people enrol a partner: one imports the file, another compares the fingerprint by voice"
                    .to_owned(),
            ));
        }
        for person in [&by, &confirmed_by] {
            if let Err(why) = operator(tx.conn(), person, Action::EnrolPartners)? {
                return Ok(Err(why));
            }
        }
        if let Some(over) = party.determination_over(tx.now()) {
            return Ok(Err(format!(
                "the determination by which {ori} is a public agency (Civ. Code 1798.90.5(f)) counts no longer since {over}: \
                 it sends a descriptor with a new one"
            )));
        }
        if let Ok(log) = party.node.log_vkey.parse()
            && let Some(other) = Partners::load(tx.conn())?.named_alike(ori, &log)
        {
            return Ok(Err(format!(
                "{} is the log of {other}, and every log has a name of its own: {ori} sends a descriptor with another keys.log_origin",
                log.name()
            )));
        }
        let again = agencies::descriptor(tx.conn(), ori)?;
        let replaces = match &again {
            None => Vec::new(),
            Some(held) => match partner::replaced(tx.conn(), held, &file, &party)? {
                Ok(replaces) => replaces,
                Err(why) => return Ok(Err(why)),
            },
        };
        let enrolled =
            Enrolled { party, enrolled_at: tx.now(), enrolled_by: by.clone(), confirmed_by: confirmed_by.clone() };
        match again {
            None => agencies::insert(tx.conn(), &enrolled, &file)?,
            Some(_) => agencies::replace(tx.conn(), &enrolled, &file)?,
        }
        tx.bump_epoch();
        let message = PeerEnrolled {
            confirmed_by: confirmed_by.clone(),
            descriptor: Digest::of(&file),
            fingerprint: found,
            ori,
            replaces,
            v: 1,
        };
        record(tx, Kind::PeerEnrolled, &message, &by, Facts { partner: Some(ori), ..Facts::default() })?;
        Ok(Ok(ori))
    };
    settled(db.record(job).await?)
}
