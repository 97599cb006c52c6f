//! The trail's rows in their order, some at a time: leaves, with what the index and the details have of each. Each table is
//! read by itself, in its own order, which costs a fraction of joining them.

use diesel::prelude::*;

use super::append::FactRow;
use super::schema::detail;
use crate::db::Conn;

// Texts are read as the bytes that they are: by other hands they may have become no text, and that is to be found out.
diesel::table! {
    leaf (idx) {
        idx -> BigInt,
        rid -> Binary,
        kind -> Binary,
        at -> BigInt,
        hash -> Binary,
        body -> Binary,
    }
}

diesel::table! {
    fact (idx) {
        idx -> BigInt,
        partner -> Nullable<Binary>,
        username -> Nullable<Binary>,
        purpose -> Nullable<Binary>,
        reference -> Nullable<Binary>,
        plate -> Nullable<Binary>,
        decision -> Nullable<Binary>,
        rule -> Nullable<Binary>,
    }
}

/// How many leaves are held at a time.
const ROWS: usize = 256;

/// How many rows of another table are held beside them: more are there only where most belong to no leaf.
const BESIDE: i64 = 4 * 256;

/// Message and its salt, note and its salt.
type Salted = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

/// What the index says of a leaf.
pub(super) enum Indexed {
    /// There is no row.
    Nothing,
    /// It says what is no text.
    Garbled,
    /// This.
    Says(FactRow),
}

impl Indexed {
    /// Whether there is a row, and it does not say what it should.
    pub(super) fn is_other_than(&self, should: impl FnOnce(&FactRow) -> bool) -> bool {
        match self {
            Self::Nothing => false,
            Self::Garbled => true,
            Self::Says(facts) => !should(facts),
        }
    }
}

/// A leaf with what belongs to it.
pub(super) struct Stored {
    pub(super) idx: i64,
    pub(super) rid: Vec<u8>,
    pub(super) kind: Vec<u8>,
    pub(super) at: i64,
    pub(super) hash: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) facts: Indexed,
    pub(super) detail: Option<Salted>,
}

/// The next leaves, and what lies between them that belongs to none.
pub(super) struct Page {
    pub(super) rows: Vec<Stored>,
    /// The position of the first row of the index that belongs to no leaf.
    pub(super) stray_fact: Option<i64>,
    /// The position of the first detail that belongs to no leaf.
    pub(super) stray_detail: Option<i64>,
}

type LeafRow = (i64, Vec<u8>, Vec<u8>, i64, Vec<u8>, Vec<u8>);
type Bytes = Option<Vec<u8>>;
type Facts = (Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes);

fn texts(facts: Facts) -> Indexed {
    all_texts(facts).map_or(Indexed::Garbled, Indexed::Says)
}

fn all_texts((partner, username, purpose, reference, plate, decision, rule): Facts) -> Option<FactRow> {
    let text = |bytes: Bytes| bytes.map(String::from_utf8).transpose().ok();
    Some((
        text(partner)?,
        text(username)?,
        text(purpose)?,
        text(reference)?,
        text(plate)?,
        text(decision)?,
        text(rule)?,
    ))
}

impl Page {
    /// The leaves behind the position `after` and before `end`, as many as a page has.
    pub(super) fn read(conn: &mut Conn, after: i64, end: i64) -> QueryResult<Self> {
        let leaves: Vec<LeafRow> = leaf::table
            .filter(leaf::idx.gt(after))
            .filter(leaf::idx.lt(end))
            .order(leaf::idx)
            .limit(i64::try_from(ROWS).unwrap_or(i64::MAX))
            .select((leaf::idx, leaf::rid, leaf::kind, leaf::at, leaf::hash, leaf::body))
            .load(conn)?;
        // The last page has whatever is behind the last leaf.
        let last = leaves.last().filter(|_| leaves.len() == ROWS).map_or(end, |row| row.0.saturating_add(1));
        let facts: Vec<(i64, Facts)> = fact::table
            .filter(fact::idx.gt(after))
            .filter(fact::idx.lt(last))
            .order(fact::idx)
            .limit(BESIDE)
            .select((
                fact::idx,
                (
                    fact::partner,
                    fact::username,
                    fact::purpose,
                    fact::reference,
                    fact::plate,
                    fact::decision,
                    fact::rule,
                ),
            ))
            .load(conn)?;
        let details: Vec<(i64, Salted)> = detail::table
            .filter(detail::idx.gt(after))
            .filter(detail::idx.lt(last))
            .order(detail::idx)
            .limit(BESIDE)
            .select((detail::idx, (detail::message, detail::message_salt, detail::note, detail::note_salt)))
            .load(conn)?;
        let (mut facts, mut details) = (Beside::new(facts), Beside::new(details));
        let rows = leaves.into_iter().map(|(idx, rid, kind, at, hash, body)| {
            let (facts, detail) = (facts.of(idx).map_or(Indexed::Nothing, texts), details.of(idx));
            Stored { idx, rid, kind, at, hash, body, facts, detail }
        });
        let rows = rows.collect();
        Ok(Self { rows, stray_fact: facts.rest(), stray_detail: details.rest() })
    }

    /// Behind which position the next page is; `None` after the last one.
    pub(super) fn more(&self) -> Option<i64> {
        self.rows.last().filter(|_| self.rows.len() == ROWS).map(|row| row.idx)
    }
}

/// Rows of another table by their positions.
struct Beside<T> {
    rows: std::iter::Peekable<std::vec::IntoIter<(i64, T)>>,
    stray: Option<i64>,
}

impl<T> Beside<T> {
    fn new(rows: Vec<(i64, T)>) -> Self {
        Self { rows: rows.into_iter().peekable(), stray: None }
    }

    /// The row of the leaf at `idx`, which is behind those that were asked for before.
    fn of(&mut self, idx: i64) -> Option<T> {
        while let Some((stray, _)) = self.rows.next_if(|(at, _)| *at < idx) {
            self.stray.get_or_insert(stray);
        }
        self.rows.next_if(|(at, _)| *at == idx).map(|(_, row)| row)
    }

    /// The first row that belongs to no leaf.
    fn rest(mut self) -> Option<i64> {
        self.stray.or_else(|| self.rows.next().map(|(stray, _)| stray))
    }
}
