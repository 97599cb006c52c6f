//! Early reviews of partners (V-28): opened by one person or by what happened, closed by two people with a record of what
//! they looked at. What an open one suspends is computed: this agency's own grants to that partner, and nothing else.

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::json::{self, MAX_TEXT};
use agreements::register::{Grade, Trigger};
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::{Deserialize, Serialize};

use super::{Keeper, said};
use crate::changes::Approved;
use crate::config::MailAddress;
use crate::db::{Conn, Db, Tx};
use crate::exchange::partner;
use crate::mail::{self, Audience, Notice};
use crate::node::fresh_rid;
use crate::people::{By, PeopleError, Refusable, settled};
use crate::registry::accounts::{Action, operator};
use crate::registry::reviews::{self, Closed, Opened, Review};
use crate::registry::{ag, agencies, policies};
use crate::trail::told::Which;
use crate::trail::{Draft, Facts};

/// A review to be opened.
#[derive(Debug, Clone)]
pub struct NewReview {
    /// Whom it is about.
    pub ori: Ori,
    /// Why, by the table of triggers.
    pub trigger: Trigger,
    /// What happened.
    pub reason: String,
    /// The files that show it, as they are kept.
    pub evidence: Vec<Digest>,
}

/// What a review is closed with, apart from what came of it: that is the reason of the change that closes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// The review.
    pub review: RequestId,
    /// What was looked at.
    pub looked_at: String,
    /// The files that show it, as they are kept.
    pub evidence: Vec<Digest>,
}

/// Opens a review: one person, at once, because it only takes away. Its id.
///
/// # Errors
/// See [`PeopleError`].
pub async fn open(db: &Db, keeper: &Keeper, new: NewReview, by: &str) -> Result<RequestId, PeopleError> {
    let (keeper, by) = (keeper.clone(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::KeepRegister)? {
            return Ok(Err(why));
        }
        if !said(&new.reason) {
            return Ok(Err(format!("say what happened, in 1 to {MAX_TEXT} characters")));
        }
        if agencies::find(tx.conn(), new.ori)?.is_none() {
            return Ok(Err(format!("{} is not enrolled; `concordat peer list` shows the partners", new.ori)));
        }
        // Another incident is a review of its own, so that closing one does not close the other.
        let all = reviews::all(tx.conn())?.unwrap_or_default();
        let same = |one: &&Review| {
            let Opened { ori, trigger, reason, .. } = &one.opened;
            one.closed.is_none() && (*ori, *trigger, reason.trim()) == (new.ori, new.trigger, new.reason.trim())
        };
        if let Some(same) = all.iter().find(same) {
            return Ok(Err(format!(
                "a review of {} for this very reason is open already: `concordat review show {}`. For another incident \
                 say what happened in its own words",
                new.ori, same.id
            )));
        }
        open_in(tx, &keeper, new, Some(&by)).map(Ok)
    };
    settled(db.record(job).await?)
}

/// Whether a review of `ori` for `trigger` is open. Where the trail's entries are not sound, none is: another one does no
/// harm, and nothing is in force then anyway.
pub(crate) fn is_open(conn: &mut Conn, ori: Ori, trigger: Trigger) -> QueryResult<bool> {
    let open = reviews::all(conn)?.map(|all| reviews::open(&all, None)).unwrap_or_default();
    Ok(open.iter().any(|review| review.ori == ori && review.trigger == trigger))
}

/// Whether a review of `ori` was opened for this very reason, be it open or closed.
pub(crate) fn is_known(conn: &mut Conn, ori: Ori, trigger: Trigger, reason: &str) -> QueryResult<bool> {
    let same = |review: &Review| {
        let Opened { ori: of, trigger: by, reason: said, .. } = &review.opened;
        (*of, *by, said.as_str()) == (ori, trigger, reason)
    };
    Ok(reviews::all(conn)?.is_ok_and(|all| all.iter().any(same)))
}

/// Opens a review inside the transaction of what caused it, and queues the mails about it. The node opens one by itself
/// where nobody is named. It counts at the next request.
pub(crate) fn open_in(tx: &mut Tx<'_>, keeper: &Keeper, new: NewReview, by: Option<&str>) -> QueryResult<RequestId> {
    let NewReview { ori, trigger, reason, evidence } = new;
    let now = tx.now();
    let rid = fresh_rid(now)?;
    let opened = Opened { by: by.map(str::to_owned), evidence, ori, reason, trigger, v: 1 };
    let message = canonical(&opened)?;
    let note = match by {
        Some(by) => canonical(&By { by })?,
        None => b"{}".to_vec(),
    };
    let facts = Facts {
        partner: Some(ori),
        username: by.map(str::to_owned),
        decision: Some(trigger.as_str().to_owned()),
        ..Facts::default()
    };
    tx.append(Draft { kind: Kind::ReviewOpened, rid, message, note, facts })?;
    tx.bump_epoch();
    tell(tx, keeper, rid, &opened, now)?;
    Ok(rid)
}

fn canonical<T: Serialize>(value: &T) -> QueryResult<Vec<u8>> {
    json::canonical(value).map_err(|error| Error::SerializationError(error.into()))
}

/// From when on this agency's grants are held, in words.
fn consequence(trigger: Trigger, opened_at: Instant) -> String {
    match trigger.grade() {
        Grade::AtOnce => "suspended from now on, until the review is closed".to_owned(),
        Grade::Cure(days) => {
            let from = opened_at.plus(i64::from(days) * Instant::DAY);
            format!("suspended from {from} on ({days} days), unless the review is closed before")
        }
        Grade::Note => "not suspended; it is noted for the next review".to_owned(),
    }
}

/// Mails to both agencies' contacts. The partner is told what it can act on; the reason in words stays here.
fn tell(tx: &mut Tx<'_>, keeper: &Keeper, rid: RequestId, opened: &Opened, now: Instant) -> QueryResult<()> {
    let Some(party) = partner::known(tx.conn(), opened.ori)? else { return Ok(()) };
    let (them, trigger) = (format!("{} ({})", party.legal_name, opened.ori), opened.trigger);
    let what = consequence(trigger, now);
    let notice = |to: &str, subject: String, body: String| Notice {
        dedup: format!("review:{rid}:{to}"),
        audience: Audience::Agreements,
        subject,
        body,
    };
    let ours = notice(
        "ours",
        format!("Early review of {them}: {trigger}"),
        format!(
            "An early review of {them} was opened: {trigger} (V-28).\n{}\n\n\
             What this agency grants it is {what}.\n\nNext: concordat review show {rid}\n",
            opened.reason
        ),
    );
    mail::queue(tx.conn(), &keeper.contacts, &ours, now)?;
    if trigger.grade() == Grade::Note {
        return Ok(());
    }
    let theirs = notice(
        "theirs",
        format!("{} reviews its agreement with you: {trigger}", keeper.name),
        format!(
            "{} ({}) has opened an early review of its agreement with {them}: {trigger} (V-28).\n\n\
             What it grants you is {what}. What you grant it is not touched by this.\n\n\
             Next: mend what it is about, and write to your contacts there; they close the review.\n",
            keeper.name, keeper.ours
        ),
    );
    let contacts: Vec<MailAddress> = party.contacts.iter().filter_map(|contact| contact.parse().ok()).collect();
    mail::queue(tx.conn(), &contacts, &theirs, now)?;
    Ok(())
}

/// Closes a review as two people decided.
pub(crate) fn apply_closing(tx: &mut Tx<'_>, closing: &Closing, approved: &Approved<'_>) -> QueryResult<Refusable<()>> {
    let review = match closable(tx.conn(), closing)? {
        Ok(review) => review,
        Err(why) => return Ok(Err(why)),
    };
    append_closing(tx, &review, closing, &approved.change().proposed.reason, approved).map(Ok)
}

/// The review that `closing` is about, if it may be closed now: never while a finding stands against the agency, or what the
/// review is about still is so.
pub(crate) fn closable(conn: &mut Conn, closing: &Closing) -> QueryResult<Refusable<Review>> {
    if !said(&closing.looked_at) {
        return Ok(Err(format!("say what was looked at (--looked-at), in 1 to {MAX_TEXT} characters")));
    }
    if closing.evidence.is_empty() {
        return Ok(Err("a review is closed with what was looked at: give it with --evidence FILE".to_owned()));
    }
    let all = match reviews::all(conn)? {
        Ok(all) => all,
        Err(what) => return Ok(Err(what)),
    };
    let Some(review) = all.into_iter().find(|review| review.id == closing.review) else {
        return Ok(Err(format!("there is no review {}; `concordat review list` shows those open", closing.review)));
    };
    if let Some(closed) = &review.closed {
        return Ok(Err(format!("the review {} was closed at {}", review.id, closed.at)));
    }
    if let Err(why) = no_finding(conn, review.opened.ori)? {
        return Ok(Err(why));
    }
    let still = still_so(conn, &review)?;
    Ok(still.map_or(Ok(review), Err))
}

/// Whether no finding stands against `ori`.
pub(super) fn no_finding(conn: &mut Conn, ori: Ori) -> QueryResult<Refusable<()>> {
    let register = match ag::sworn(conn, Which::Last)? {
        Ok(register) => register,
        Err(what) => return Ok(Err(what)),
    };
    if register.adverse.contains(&ori) {
        return Ok(Err(format!(
            "a finding stands against {ori}: no review of it is closed before that is cleared with its citation \
             (`concordat ag clear {ori}`)"
        )));
    }
    Ok(Ok(()))
}

/// Why what a review of a published policy is about still is so.
fn still_so(conn: &mut Conn, review: &Review) -> QueryResult<Option<String>> {
    let ori = review.opened.ori;
    let standing = match review.opened.trigger {
        Trigger::PolicyChanged | Trigger::PolicyUnreachable => {
            policies::standings(conn)?.remove(&ori).unwrap_or_default()
        }
        _ => return Ok(None),
    };
    if review.opened.trigger == Trigger::PolicyChanged {
        return Ok(standing.is_changed().then(|| {
            format!(
                "the text that {ori} publishes is still another than the accepted one: `concordat policy accept {ori}` \
                 shows the difference and closes the review with it"
            )
        }));
    }
    let read_since = standing.unreachable == 0 && standing.read_at.is_some_and(|at| at > review.opened_at);
    Ok((!read_since).then(|| {
        format!(
            "the policy that {ori} publishes was not read since this review was opened: `concordat policy check {ori}` \
             reads it again, and has to succeed"
        )
    }))
}

/// Appends the record that closes a review.
pub(super) fn append_closing(
    tx: &mut Tx<'_>,
    review: &Review,
    closing: &Closing,
    outcome: &str,
    approved: &Approved<'_>,
) -> QueryResult<()> {
    let ori = review.opened.ori;
    let by = approved.proposed_by();
    let record = Closed {
        approved_by: approved.approved_by().to_owned(),
        by: by.to_owned(),
        evidence: closing.evidence.clone(),
        looked_at: closing.looked_at.clone(),
        ori,
        outcome: outcome.to_owned(),
        review: review.id,
        v: 1,
    };
    let facts =
        Facts { partner: Some(ori), decision: Some(review.opened.trigger.as_str().to_owned()), ..Facts::default() };
    crate::people::record(tx, Kind::ReviewClosed, &record, by, facts)?;
    tx.bump_epoch();
    Ok(())
}
