//! Mail that leaves or left: what is queued, who is sending it, and what came of it.

use std::fmt;
use std::str::FromStr;

use agreements::time::Instant;
use diesel::prelude::*;
use serde::Serialize;

use super::parsed;
use super::schema::outbox;
use crate::db::{Conn, each};

/// Where a mail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was not sent: not tried yet, or refused so that it is tried again.
    Waiting,
    /// A process is sending it and has handed nothing over.
    Claimed,
    /// A process is handing it over.
    HandedOver,
    /// It was handed over, and whether it was taken is not known. It is sent again once, with the same Message-ID.
    Unknown,
    /// The server took it.
    Sent,
    /// It is not tried any more.
    GivenUp,
}

impl State {
    const ALL: [Self; 6] = [Self::Waiting, Self::Claimed, Self::HandedOver, Self::Unknown, Self::Sent, Self::GivenUp];

    /// The written name, such as `given_up`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Claimed => "claimed",
            Self::HandedOver => "handed_over",
            Self::Unknown => "unknown",
            Self::Sent => "sent",
            Self::GivenUp => "given_up",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or("no such state")
    }
}

/// A mail to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// A UUID, version 7.
    pub id: String,
    /// What is said to whom: it is said once.
    pub dedup: String,
    /// One address.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// From then on it is given up.
    pub give_up_at: Instant,
}

/// A queued mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queued {
    /// A UUID, version 7; the Message-ID is made of it.
    pub id: String,
    /// What is said to whom.
    pub dedup: String,
    /// One address.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    #[serde(skip)]
    pub body: String,
    /// When it was queued.
    pub created_at: Instant,
    /// Where it stands.
    pub state: State,
    /// How often it was claimed.
    pub attempts: i64,
    /// How often it was handed over without learning whether it was taken.
    pub doubtful: i64,
    /// Not before.
    pub next_attempt: Instant,
    /// From then on it is given up.
    pub give_up_at: Instant,
    /// When the server took it.
    pub sent_at: Option<Instant>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the process that is sending it counts as dead.
    pub claim_until: Option<Instant>,
}

impl Queued {
    /// How often it was handed over without learning whether it was taken, counting a process that died at it.
    #[must_use]
    pub fn doubts(&self) -> i64 {
        self.doubtful + i64::from(self.state == State::HandedOver)
    }
}

type Row = (
    (String, String, String, String, String, i64),
    (String, i64, i64, i64, i64, Option<i64>, Option<String>, Option<i64>),
);

fn queued_of(row: Row) -> QueryResult<Queued> {
    let ((id, dedup, recipient, subject, body, created_at), rest) = row;
    let (state, attempts, doubtful, next_attempt, give_up_at, sent_at, last_error, claim_until) = rest;
    Ok(Queued {
        id,
        dedup,
        recipient,
        subject,
        body,
        created_at: Instant::from_micros(created_at),
        state: parsed("outbox", state.parse())?,
        attempts,
        doubtful,
        next_attempt: Instant::from_micros(next_attempt),
        give_up_at: Instant::from_micros(give_up_at),
        sent_at: sent_at.map(Instant::from_micros),
        last_error,
        claim_until: claim_until.map(Instant::from_micros),
    })
}

type Columns = (
    (outbox::id, outbox::dedup, outbox::recipient, outbox::subject, outbox::body, outbox::created_at),
    (
        outbox::state,
        outbox::attempts,
        outbox::doubtful,
        outbox::next_attempt,
        outbox::give_up_at,
        outbox::sent_at,
        outbox::last_error,
        outbox::claim_until,
    ),
);

const COLUMNS: Columns = (
    (outbox::id, outbox::dedup, outbox::recipient, outbox::subject, outbox::body, outbox::created_at),
    (
        outbox::state,
        outbox::attempts,
        outbox::doubtful,
        outbox::next_attempt,
        outbox::give_up_at,
        outbox::sent_at,
        outbox::last_error,
        outbox::claim_until,
    ),
);

/// Queues a mail, unless the same was said to the same before. Whether it was queued.
pub fn queue(conn: &mut Conn, new: &New, now: Instant) -> QueryResult<bool> {
    let row = (
        outbox::id.eq(&new.id),
        outbox::dedup.eq(&new.dedup),
        outbox::recipient.eq(&new.recipient),
        outbox::subject.eq(&new.subject),
        outbox::body.eq(&new.body),
        outbox::created_at.eq(now.micros()),
        outbox::state.eq(State::Waiting.as_str()),
        outbox::attempts.eq(0_i64),
        outbox::doubtful.eq(0_i64),
        outbox::next_attempt.eq(now.micros()),
        outbox::give_up_at.eq(new.give_up_at.micros()),
    );
    let rows =
        each!(conn, conn => diesel::insert_into(outbox::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok(rows == 1)
}

/// What was queued before of what begins with `prefix`.
pub fn known(conn: &mut Conn, prefix: &str) -> QueryResult<Vec<String>> {
    let end = format!("{prefix}\u{7f}");
    let of_kind = outbox::dedup.ge(prefix).and(outbox::dedup.lt(end));
    outbox::table.filter(of_kind).select(outbox::dedup).load(conn)
}

/// The newest mails, newest first.
pub fn newest(conn: &mut Conn, limit: i64) -> QueryResult<Vec<Queued>> {
    let rows: Vec<Row> = outbox::table.order(outbox::id.desc()).limit(limit).select(COLUMNS).load(conn)?;
    rows.into_iter().map(queued_of).collect()
}

/// One mail.
pub fn find(conn: &mut Conn, id: &str) -> QueryResult<Option<Queued>> {
    outbox::table.find(id).select(COLUMNS).first::<Row>(conn).optional()?.map(queued_of).transpose()
}

/// What is to be done at `now`, the longest waiting first: mails whose time has come, and those whose sender is dead.
pub fn due(conn: &mut Conn, now: Instant, limit: i64) -> QueryResult<Vec<Queued>> {
    let waiting = [State::Waiting, State::Unknown].map(State::as_str);
    let claimed = [State::Claimed, State::HandedOver].map(State::as_str);
    let time_has_come = outbox::state.eq_any(waiting).and(outbox::next_attempt.le(now.micros()));
    let sender_is_dead = outbox::state.eq_any(claimed).and(outbox::claim_until.le(now.micros()));
    let rows: Vec<Row> = outbox::table
        .filter(time_has_come.or(sender_is_dead.assume_not_null()))
        .order((outbox::next_attempt, outbox::id))
        .limit(limit)
        .select(COLUMNS)
        .load(conn)?;
    rows.into_iter().map(queued_of).collect()
}

/// Claims the mail as it was `seen`; whether it is ours. If another process changed it since, it is not.
pub fn claim(conn: &mut Conn, seen: &Queued, holder: &str, until: Instant) -> QueryResult<bool> {
    let same = outbox::table
        .find(&seen.id)
        .filter(outbox::state.eq(seen.state.as_str()))
        .filter(outbox::attempts.eq(seen.attempts));
    let claimed = (
        outbox::state.eq(State::Claimed.as_str()),
        outbox::attempts.eq(seen.attempts + 1),
        outbox::doubtful.eq(seen.doubts()),
        outbox::claimed_by.eq(holder),
        outbox::claim_until.eq(until.micros()),
    );
    Ok(diesel::update(same).set(claimed).execute(conn)? == 1)
}

/// Says that a claimed mail is about to be handed over: from here on its end may become unknown. Whether it is still
/// ours.
pub fn hand_over(conn: &mut Conn, id: &str, holder: &str, until: Instant) -> QueryResult<bool> {
    let ours = outbox::table.find(id).filter(outbox::claimed_by.eq(holder));
    let ours = ours.filter(outbox::state.eq(State::Claimed.as_str()));
    let handed_over = (outbox::state.eq(State::HandedOver.as_str()), outbox::claim_until.eq(until.micros()));
    Ok(diesel::update(ours).set(handed_over).execute(conn)? == 1)
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server took it.
    Sent,
    /// It was not sent, and is tried again.
    Again {
        /// Why.
        why: String,
        /// Not before.
        next_attempt: Instant,
    },
    /// It was handed over, and whether it was taken is not known.
    Unknown {
        /// Why.
        why: String,
        /// Not before.
        next_attempt: Instant,
    },
    /// It is not tried any more.
    GivenUp {
        /// Why.
        why: String,
        /// Whether this attempt handed it over, and it is not known whether it was taken.
        in_doubt: bool,
    },
}

/// Ends an attempt of `holder`. Whether the mail was still its.
pub fn end(conn: &mut Conn, id: &str, holder: &str, ending: &Ending, now: Instant) -> QueryResult<bool> {
    let ours = outbox::table.find(id).filter(outbox::claimed_by.eq(holder));
    let nobody = (outbox::claimed_by.eq(None::<String>), outbox::claim_until.eq(None::<i64>));
    let rows = match ending {
        Ending::Sent => {
            let sent = (outbox::state.eq(State::Sent.as_str()), outbox::sent_at.eq(now.micros()));
            diesel::update(ours).set((sent, nobody, outbox::last_error.eq(None::<String>))).execute(conn)?
        }
        Ending::Again { why, next_attempt } => {
            let again = (outbox::state.eq(State::Waiting.as_str()), outbox::next_attempt.eq(next_attempt.micros()));
            diesel::update(ours).set((again, nobody, outbox::last_error.eq(why))).execute(conn)?
        }
        Ending::Unknown { why, next_attempt } => {
            let unknown = (
                outbox::state.eq(State::Unknown.as_str()),
                outbox::next_attempt.eq(next_attempt.micros()),
                outbox::doubtful.eq(outbox::doubtful + 1),
            );
            diesel::update(ours).set((unknown, nobody, outbox::last_error.eq(why))).execute(conn)?
        }
        Ending::GivenUp { why, in_doubt } => {
            let given_up = outbox::state.eq(State::GivenUp.as_str());
            let doubtful = outbox::doubtful.eq(outbox::doubtful + i64::from(*in_doubt));
            diesel::update(ours).set((given_up, doubtful, nobody, outbox::last_error.eq(why))).execute(conn)?
        }
    };
    Ok(rows == 1)
}

/// Makes a mail that was not sent due at `now`, for as long as a new one. Whether there is such a mail.
pub fn retry(conn: &mut Conn, id: &str, now: Instant, give_up_at: Instant) -> QueryResult<bool> {
    let states = [State::Waiting, State::Unknown, State::GivenUp].map(State::as_str);
    let again = outbox::table.find(id).filter(outbox::state.eq_any(states));
    let due = (
        outbox::state.eq(State::Waiting.as_str()),
        outbox::next_attempt.eq(now.micros()),
        outbox::give_up_at.eq(give_up_at.micros()),
    );
    Ok(diesel::update(again).set(due).execute(conn)? == 1)
}

/// How many mails are in each state, by its name.
pub fn counts(conn: &mut Conn) -> QueryResult<Vec<(State, i64)>> {
    let mut counts = Vec::new();
    for state in State::ALL {
        let count: i64 = outbox::table.filter(outbox::state.eq(state.as_str())).count().get_result(conn)?;
        if count > 0 {
            counts.push((state, count));
        }
    }
    Ok(counts)
}
