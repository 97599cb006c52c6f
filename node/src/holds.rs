//! Holding records beyond their retention (VI-06 to VI-16): one person asks, in writing; a second one approves. So it ends,
//! too. Each step is an entry of the trail, and nothing else.

use agreements::entry::Kind;
use agreements::hold::Covers;
use agreements::ids::RequestId;
use agreements::screen;
use diesel::result::QueryResult;
use serde::Serialize;

use crate::db::{Conn, Db, Tx};
use crate::people::{self, PeopleError, Refusable, settled};
use crate::registry::accounts::{Action, operator};
use crate::registry::holds::{self, Agreed, Hold, Requested, Said, State};
use crate::retention;
use crate::trail::Facts;

/// The longest case number or contact, in characters.
const MAX_TEXT: usize = 200;

/// A hold that is asked for.
#[derive(Clone, Debug)]
pub struct NewHold {
    /// The case (VI-07).
    pub case_number: String,
    /// Why (VI-08).
    pub reason: String,
    /// How the investigator is reached (VI-09).
    pub contact: String,
    /// What is held.
    pub covers: Covers,
}

/// The message of a `trail.searched` entry about holds.
#[derive(Serialize)]
struct HoldsListed {
    found: usize,
    /// The hold that was asked for; absent when it is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<RequestId>,
    what: &'static str,
    v: u16,
}

/// Whoever works with holds may see them, and whoever reads the trail.
const SEEN_BY: [Action; 3] = [Action::AskHolds, Action::ApproveHolds, Action::ReadTrail];

/// About what a second person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The request.
    Request,
    /// The release.
    Release,
}

impl Waiting {
    fn state(self) -> State {
        match self {
            Self::Request => State::Requested,
            Self::Release => State::ReleaseAsked,
        }
    }
}

fn said(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.trim().chars().count()) && screen::legible(text)
}

fn vague(reason: &str) -> Option<String> {
    (!screen::substantive(reason)).then(|| {
        format!(
            "say the specific reason in two words or more, and at most {} characters, so that it can be checked later (VI-08)",
            screen::MAX_REASON
        )
    })
}

/// Asks for a hold. It protects from this commit on, approved or not. Its id.
///
/// # Errors
/// See [`PeopleError`].
pub async fn request(db: &Db, new: NewHold, by: &str) -> Result<RequestId, PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::AskHolds)? {
            return Ok(Err(why));
        }
        let NewHold { case_number, reason, contact, covers } = new;
        if !said(&case_number) || !said(&contact) {
            return Ok(Err(format!(
                "a hold names the case number and how the investigator is reached (VI-07, VI-09), each in 1 to {MAX_TEXT} \
                 characters"
            )));
        }
        if let Some(why) = vague(&reason) {
            return Ok(Err(why));
        }
        if let Some(why) = covers.problem() {
            return Ok(Err(why.to_owned()));
        }
        // Found by what it covers, as what it covers is.
        let facts = Facts {
            partner: covers.partner,
            plate: covers.plate.clone(),
            reference: covers.reference.clone(),
            decision: Some("requested".to_owned()),
            ..Facts::default()
        };
        let requested = Requested { by: by.clone(), case_number, contact, covers, reason, v: 1 };
        people::record_as(tx, Kind::HoldRequested, &requested, &by, facts).map(Ok)
    };
    settled(db.record(job).await?)
}

/// Approves what waits of a hold, as the second person.
///
/// # Errors
/// See [`PeopleError`].
pub async fn approve(db: &Db, id: RequestId, what: Waiting, by: &str) -> Result<(), PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        let hold = match decided_by(tx, id, what, &by)? {
            Ok(hold) => hold,
            Err(why) => return Ok(Err(why)),
        };
        let (kind, decision) = match what {
            Waiting::Request => (Kind::HoldApproved, "approved"),
            Waiting::Release => (Kind::HoldReleased, "released"),
        };
        people::record(tx, kind, &Agreed { by: by.clone(), hold: id, v: 1 }, &by, facts(&hold, decision)).map(Ok)
    };
    settled(db.record(job).await?)
}

/// Refuses what waits of a hold, as the second person.
///
/// # Errors
/// See [`PeopleError`].
pub async fn refuse(db: &Db, id: RequestId, what: Waiting, reason: String, by: &str) -> Result<(), PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        let hold = match decided_by(tx, id, what, &by)? {
            Ok(hold) => hold,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(why) = vague(&reason) {
            return Ok(Err(why));
        }
        let said = Said { by: by.clone(), hold: id, reason, v: 1 };
        people::record(tx, Kind::HoldRefused, &said, &by, facts(&hold, "refused")).map(Ok)
    };
    settled(db.record(job).await?)
}

/// Asks that a hold be released; it stands until a second person releases it.
///
/// # Errors
/// See [`PeopleError`].
pub async fn release(db: &Db, id: RequestId, reason: String, by: &str) -> Result<(), PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::AskHolds)? {
            return Ok(Err(why));
        }
        if let Some(why) = vague(&reason) {
            return Ok(Err(why));
        }
        let hold = match find(tx, id)? {
            Ok(hold) => hold,
            Err(why) => return Ok(Err(why)),
        };
        if hold.state != State::InForce {
            return Ok(Err(format!("the hold {id} is not to be released: {}", hold.state.as_str())));
        }
        let said = Said { by: by.clone(), hold: id, reason, v: 1 };
        people::record(tx, Kind::HoldReleaseAsked, &said, &by, facts(&hold, "release_asked")).map(Ok)
    };
    settled(db.record(job).await?)
}

/// The holds that protect, or all of them, or the one `hold`, for the account `by`; oldest first. They say which plate, person
/// and file an investigation is about, so that somebody looked is an entry before they are shown (VIII-03).
///
/// # Errors
/// The person may not see them, the look is not recorded, or a hold is not as it was recorded.
pub async fn seen(db: &Db, hold: Option<RequestId>, all: bool, by: &str) -> Result<Vec<Hold>, PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = sees(tx, &by)? {
            return Ok(Err(why));
        }
        let mut found = match holds::all(tx.conn())? {
            Ok(found) => found,
            Err(what) => return Ok(Err(format!("{what}; run `concordat trail verify`"))),
        };
        found.retain(|one| match hold {
            Some(id) => one.id == id,
            None => all || one.state.protects(),
        });
        let message = HoldsListed { found: found.len(), hold, what: "holds", v: 1 };
        people::record(tx, Kind::TrailSearched, &message, &by, Facts::default())?;
        Ok(Ok(found))
    };
    settled(db.record(job).await?)
}

/// Whether `by` may see holds; why not by the first of what would let them.
fn sees(tx: &mut Tx<'_>, by: &str) -> QueryResult<Refusable<()>> {
    let mut refused = None;
    for action in SEEN_BY {
        match operator(tx.conn(), by, action)? {
            Ok(_) => return Ok(Ok(())),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    Ok(refused.map_or(Ok(()), Err))
}

/// How many entries a hold covers today, for whoever was just told of it.
///
/// # Errors
/// The registry failed.
pub fn covered(conn: &mut Conn, id: RequestId) -> QueryResult<Option<u64>> {
    let Ok(all) = holds::all(conn)? else { return Ok(None) };
    match all.into_iter().find(|hold| hold.id == id) {
        Some(hold) => retention::covered(conn, &hold.requested.covers).map(Some),
        None => Ok(None),
    }
}

fn facts(hold: &Hold, decision: &str) -> Facts {
    let covers = &hold.requested.covers;
    Facts {
        partner: covers.partner,
        plate: covers.plate.clone(),
        reference: covers.reference.clone(),
        decision: Some(decision.to_owned()),
        ..Facts::default()
    }
}

fn find(tx: &mut Tx<'_>, id: RequestId) -> QueryResult<Refusable<Hold>> {
    Ok(holds::all(tx.conn())?.and_then(|all| {
        let found = all.into_iter().find(|hold| hold.id == id);
        found.ok_or_else(|| format!("there is no hold {id}; `concordat hold list --all` shows those that there are"))
    }))
}

/// The hold, if `by` may decide about what waits of it.
fn decided_by(tx: &mut Tx<'_>, id: RequestId, what: Waiting, by: &str) -> QueryResult<Refusable<Hold>> {
    if let Err(why) = operator(tx.conn(), by, Action::ApproveHolds)? {
        return Ok(Err(why));
    }
    Ok(find(tx, id)?.and_then(|hold| match hold.first_person() {
        _ if hold.state != what.state() => {
            Err(format!("nothing of that waits for a second person: the hold {id} is {}", hold.state.as_str()))
        }
        Some(first) if first == by => {
            Err("nobody approves their own hold, nor its release: another person does".to_owned())
        }
        _ => Ok(hold),
    }))
}
