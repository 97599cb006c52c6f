//! The rows of what entries say, once it may be deleted: which they are, and taking them away. Whether they are due, or held,
//! is for [`crate::retention`] to say.

use agreements::entry::{Kind, Leaf};
use agreements::hold::Covers;
use agreements::ids::{Digest, Ori, RequestId, Salt};
use agreements::message::Received;
use agreements::time::Instant;
use agreements::{json, retention};
use diesel::prelude::*;
use serde::Deserialize;

use super::append::{self, Facts};
use super::schema::{detail, fact, leaf};
use crate::db::{Conn, each};

/// An entry that still says something, of a kind that does not for ever.
pub(crate) struct Saying {
    /// Its position.
    pub(crate) index: i64,
    /// Its leaf.
    pub(crate) leaf: Leaf,
    /// The leaf's hash.
    pub(crate) hash: Digest,
    /// What it is about, as its note has it: what other hands wrote into the index is not asked.
    pub(crate) facts: Facts,
    /// What it says.
    pub(crate) message: Vec<u8>,
}

/// A page of what may be due.
pub(crate) struct Page {
    /// What expires, and is as it was recorded.
    pub(crate) saying: Vec<Saying>,
    /// How many are not as they were recorded: nothing is decided about them, so they stay.
    pub(crate) unclear: usize,
    /// The position of the last one that was looked at.
    pub(crate) last: i64,
}

type Row = (i64, Vec<u8>, (Vec<u8>, Vec<u8>), (Vec<u8>, Vec<u8>));

/// What expires among the first `limit` entries behind `after` that still say something, as far as they were recorded by
/// `until`; `None` when there are no more. Read in the order of the log, in which times only rise: by kind or by time all that
/// there ever was would be sorted first.
pub(crate) fn page(conn: &mut Conn, after: i64, until: Instant, limit: i64) -> QueryResult<Option<Page>> {
    let rows: Vec<Row> = detail::table
        .inner_join(leaf::table)
        .filter(detail::idx.gt(after))
        .order(detail::idx)
        .limit(limit)
        .select((detail::idx, leaf::body, (detail::message, detail::message_salt), (detail::note, detail::note_salt)))
        .load(conn)?;
    let Some((last, ..)) = rows.last() else { return Ok(None) };
    let mut page = Page { saying: Vec::new(), unclear: 0, last: *last };
    for (count, row) in rows.into_iter().enumerate() {
        match saying(row) {
            Said::Kept(at) if at > until => return Ok((count > 0).then_some(page)),
            Said::Expires(saying) if saying.leaf.at > until => return Ok((count > 0).then_some(page)),
            Said::Expires(saying) => page.saying.push(*saying),
            Said::Kept(_) => {}
            Said::Unclear => page.unclear += 1,
        }
    }
    Ok(Some(page))
}

enum Said {
    Expires(Box<Saying>),
    /// It is kept; when it was recorded.
    Kept(Instant),
    Unclear,
}

fn saying((index, body, (message, salt), (note, note_salt)): Row) -> Said {
    let Ok(leaf) = Leaf::from_bytes(&body) else { return Said::Unclear };
    if !leaf.kind.expires() {
        return Said::Kept(leaf.at);
    }
    let commits =
        |salt: &[u8], text: &[u8], to| salt.try_into().is_ok_and(|salt| Digest::salted(&Salt(salt), text) == to);
    if !commits(&salt, &message, leaf.message) || !commits(&note_salt, &note, leaf.note) {
        return Said::Unclear;
    }
    let Some((facts, _)) = append::read_note(&note) else { return Said::Unclear };
    Said::Expires(Box::new(Saying { index, hash: Leaf::hash_of(&body), leaf, facts, message }))
}

/// Until when an entry must have been recorded to be worth a look at `now`: no year is shorter.
pub(crate) fn at_latest(now: Instant, years: u16) -> Instant {
    let days = 365 * i64::from(years.max(retention::MIN_YEARS)) - 1;
    now.plus(-days * Instant::DAY)
}

/// The question that a `query.received` entry at `index` is about: its own facts say less.
pub(crate) fn question_of(conn: &mut Conn, index: i64, message: &[u8]) -> QueryResult<Option<i64>> {
    let Ok(received) = json::parse::<Received>(message) else { return Ok(None) };
    // It is a few entries before: the index of the kind is read from there down.
    let question = leaf::table
        .filter(leaf::kind.eq(Kind::QueryAsked.as_str()).and(leaf::idx.lt(index)))
        .filter(leaf::hash.eq(received.question.0.to_vec()))
        .order(leaf::idx.desc())
        .select(leaf::idx);
    question.first(conn).optional()
}

/// The question that the single entry `rid` is about, if it says what came of one.
pub(crate) fn question_of_entry(conn: &mut Conn, rid: RequestId) -> QueryResult<Option<i64>> {
    let found: Option<(i64, Vec<u8>)> = detail::table
        .inner_join(leaf::table)
        .filter(leaf::rid.eq(rid.as_bytes().to_vec()).and(leaf::kind.eq(Kind::QueryReceived.as_str())))
        .select((detail::idx, detail::message))
        .first(conn)
        .optional()?;
    match found {
        Some((index, message)) => question_of(conn, index, &message),
        None => Ok(None),
    }
}

/// An agency that a message names.
#[derive(Deserialize)]
struct Named {
    ori: Ori,
}

/// What a message says of agencies: to whom it goes, or from whom answers came.
#[derive(Deserialize)]
struct Agencies {
    #[serde(default)]
    to: Vec<Named>,
    #[serde(default)]
    answers: Vec<Named>,
}

/// The agencies that a message went to, or that answered.
pub(crate) fn partners_of(message: &[u8]) -> Vec<Ori> {
    let Ok(Agencies { to, answers }) = json::parse::<Agencies>(message) else { return Vec::new() };
    to.into_iter().chain(answers).map(|named| named.ori).collect()
}

/// What expires among the next `limit` entries behind `after` of which the index says that the terms of `covers` may be about
/// them; `None` when there are no more.
pub(crate) fn candidates(conn: &mut Conn, covers: &Covers, after: i64, limit: i64) -> QueryResult<Option<Page>> {
    let Covers { entries: _, partner, plate, reference, since, until, username } = covers;
    let mut query = detail::table
        .inner_join(leaf::table.inner_join(fact::table))
        .filter(detail::idx.gt(after))
        .order(detail::idx)
        .limit(limit)
        .select((detail::idx, leaf::body, (detail::message, detail::message_salt), (detail::note, detail::note_salt)))
        .into_boxed();
    if let Some(partner) = partner {
        // What is about several has none in the index.
        query = query.filter(fact::partner.eq(partner.as_str()).or(fact::partner.is_null()));
    }
    if let Some(plate) = plate {
        query = query.filter(fact::plate.eq(plate));
    }
    if let Some(reference) = reference {
        query = query.filter(fact::reference.eq(reference));
    }
    if let Some(username) = username {
        query = query.filter(fact::username.eq(username));
    }
    if let Some(since) = since {
        query = query.filter(leaf::at.ge(since.micros()));
    }
    if let Some(until) = until {
        query = query.filter(leaf::at.lt(until.micros()));
    }
    let rows: Vec<Row> = query.load(conn)?;
    let Some((last, ..)) = rows.last() else { return Ok(None) };
    let last = *last;
    let saying = rows.into_iter().filter_map(expires).collect();
    Ok(Some(Page { saying, unclear: 0, last }))
}

/// The single entry `rid`, if it expires and still says something.
pub(crate) fn by_rid(conn: &mut Conn, rid: RequestId) -> QueryResult<Option<Saying>> {
    let index: Option<i64> =
        leaf::table.filter(leaf::rid.eq(rid.as_bytes().to_vec())).select(leaf::idx).first(conn).optional()?;
    match index {
        Some(index) => one(conn, index),
        None => Ok(None),
    }
}

fn expires(row: Row) -> Option<Saying> {
    match saying(row) {
        Said::Expires(saying) => Some(*saying),
        Said::Kept(_) | Said::Unclear => None,
    }
}

/// One entry that expires and still says something; `None` if it does not, or is not as it was recorded.
pub(crate) fn one(conn: &mut Conn, index: i64) -> QueryResult<Option<Saying>> {
    let row: Option<Row> = detail::table
        .inner_join(leaf::table)
        .filter(detail::idx.eq(index))
        .select((detail::idx, leaf::body, (detail::message, detail::message_salt), (detail::note, detail::note_salt)))
        .first(conn)
        .optional()?;
    Ok(row.and_then(expires))
}

/// Runs of neighbours among positions in their order.
pub(crate) fn runs(of: impl IntoIterator<Item = i64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for index in of.into_iter().map(i64::cast_unsigned) {
        match runs.last_mut() {
            Some((_, last)) if last.saturating_add(1) == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    runs
}

/// Takes away what the entries in `runs` say, their salts, and what they are found by. Their leaves stay. How many there were.
pub(crate) fn delete(conn: &mut Conn, runs: &[(u64, u64)]) -> QueryResult<usize> {
    let mut deleted: usize = 0;
    for (first, last) in runs {
        let (first, last) = (first.cast_signed(), last.cast_signed());
        let said = detail::table.filter(detail::idx.ge(first).and(detail::idx.le(last)));
        deleted = deleted.saturating_add(each!(conn, c => diesel::delete(said).execute(c))?);
        let nothing = (
            fact::partner.eq(None::<String>),
            fact::username.eq(None::<String>),
            fact::purpose.eq(None::<String>),
            fact::reference.eq(None::<String>),
            fact::plate.eq(None::<String>),
            fact::decision.eq(None::<String>),
            fact::rule.eq(None::<String>),
        );
        let found_by = fact::table.filter(fact::idx.ge(first).and(fact::idx.le(last)));
        each!(conn, c => diesel::update(found_by).set(nothing).execute(c))?;
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        assert_eq!(runs([]), []);
        assert_eq!(runs([0, 1, 2, 5, 7, 8]), [(0, 2), (5, 5), (7, 8)]);
    }
}
