//! The rows of what entries say, once it may be deleted: which they are, and taking them away. Whether they are due, or held,
//! is for [`crate::retention`] to say.

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, Salt};
use agreements::message::Received;
use agreements::time::Instant;
use agreements::{json, retention};
use diesel::prelude::*;

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

/// The kinds that expire.
fn expiring() -> Vec<&'static str> {
    Kind::ALL.into_iter().filter(|kind| kind.expires()).map(Kind::as_str).collect()
}

/// A page of what may be due.
pub(crate) struct Page {
    /// What is as it was recorded.
    pub(crate) saying: Vec<Saying>,
    /// How many others there are: nothing is decided about them, so they stay.
    pub(crate) unclear: usize,
    /// The position of the last one.
    pub(crate) last: i64,
}

/// The first `limit` entries behind `after` that were recorded by `until` and still say something that expires; `None` when
/// there are no more.
pub(crate) fn page(conn: &mut Conn, after: i64, until: Instant, limit: i64) -> QueryResult<Option<Page>> {
    type Row = (i64, Vec<u8>, (Vec<u8>, Vec<u8>), (Vec<u8>, Vec<u8>));
    let rows: Vec<Row> = detail::table
        .inner_join(leaf::table)
        .filter(detail::idx.gt(after).and(leaf::at.le(until.micros())))
        .filter(leaf::kind.eq_any(expiring()))
        .order(detail::idx)
        .limit(limit)
        .select((
            detail::idx,
            leaf::body,
            (detail::message, detail::message_salt),
            (detail::note, detail::note_salt),
        ))
        .load(conn)?;
    let Some((last, ..)) = rows.last() else { return Ok(None) };
    let (last, all) = (*last, rows.len());
    let saying: Vec<Saying> = rows.into_iter().filter_map(|(idx, body, message, note)| saying(idx, &body, message, &note)).collect();
    Ok(Some(Page { unclear: all - saying.len(), saying, last }))
}

fn saying(index: i64, body: &[u8], (message, salt): (Vec<u8>, Vec<u8>), note: &(Vec<u8>, Vec<u8>)) -> Option<Saying> {
    let leaf = Leaf::from_bytes(body).ok()?;
    let commits = |salt: &[u8], text: &[u8], to| salt.try_into().is_ok_and(|salt| Digest::salted(&Salt(salt), text) == to);
    if !leaf.kind.expires() || !commits(&salt, &message, leaf.message) || !commits(&note.1, &note.0, leaf.note) {
        return None;
    }
    let (facts, _) = append::read_note(&note.0)?;
    Some(Saying { index, hash: Leaf::hash_of(body), leaf, facts, message })
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

/// One entry that still says something; `None` if it does not, or is not as it was recorded.
pub(crate) fn one(conn: &mut Conn, index: i64) -> QueryResult<Option<Saying>> {
    type Row = (Vec<u8>, (Vec<u8>, Vec<u8>), (Vec<u8>, Vec<u8>));
    let row: Option<Row> = detail::table
        .inner_join(leaf::table)
        .filter(detail::idx.eq(index))
        .select((leaf::body, (detail::message, detail::message_salt), (detail::note, detail::note_salt)))
        .first(conn)
        .optional()?;
    Ok(row.and_then(|(body, message, note)| saying(index, &body, message, &note)))
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
