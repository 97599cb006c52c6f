//! Entries that rows of the registry stand on, read back from the trail, each verified: an account, a finding or a check
//! counts because it was recorded, not because a table has it.

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, Ori, RequestId, Salt};
use agreements::time::Instant;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::result::Error;

use super::head::{Head, HeadError};
use super::schema::{detail, fact, leaf};
use super::tiles::{TileCache, Tree, TreeError};
use crate::db::{Conn, steady};

/// An entry as it was recorded.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its position in the trail.
    pub(crate) index: u64,
    /// Its id.
    pub(crate) rid: RequestId,
    /// When.
    pub(crate) at: Instant,
    /// What it says: canonical JSON.
    pub(crate) message: Vec<u8>,
}

/// Why the trail does not tell.
enum ToldError {
    /// The database failed.
    Store(Error),
    /// An entry is not the one that was recorded.
    Changed(String),
}

impl From<Error> for ToldError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<HeadError> for ToldError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Tree(TreeError::Store(error)) => Self::Store(error),
            other => Self::Changed(other.to_string()),
        }
    }
}

impl From<TreeError> for ToldError {
    fn from(error: TreeError) -> Self {
        HeadError::Tree(error).into()
    }
}

/// Which entries of a kind are wanted. Those that are found by the index of what entries are about are verified as all
/// others are; a row of that index which was changed can hide one as much as a row of the trail that was taken away: the first
/// is an alarm within a minute (see [`crate::tampering`]), and `trail verify` finds both.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    /// All of them.
    All,
    /// The last one.
    Last,
    /// Those about one partner.
    About(Ori),
    /// Those that were decided as this word says.
    Decided(&'static str),
    /// Those from this position on.
    From(u64),
}

type Found = (i64, Vec<u8>, Option<(Vec<u8>, Vec<u8>)>);

/// The entries of `kind`, in the order of the trail; the inner error says which is not as it was recorded. Within a
/// transaction that records, those that it appended so far are among them.
pub(crate) fn told(conn: &mut Conn, kind: Kind, which: Which) -> QueryResult<Result<Vec<Told>, String>> {
    let told = steady(conn, |conn| {
        let mut query = leaf::table
            .left_join(detail::table)
            .filter(leaf::kind.eq(kind.as_str()))
            .select((leaf::idx, leaf::body, (detail::message, detail::message_salt).nullable()))
            .order(leaf::idx.desc())
            .into_boxed();
        query = match which {
            Which::All => query,
            Which::Last => query.limit(1),
            Which::About(partner) => {
                let about = fact::table.filter(fact::partner.eq(partner.as_str().to_owned())).select(fact::idx);
                query.filter(leaf::idx.eq_any(about))
            }
            Which::Decided(decision) => {
                query.filter(leaf::idx.eq_any(fact::table.filter(fact::decision.eq(decision)).select(fact::idx)))
            }
            Which::From(index) => query.filter(leaf::idx.ge(i64::try_from(index).unwrap_or(i64::MAX))),
        };
        let mut found: Vec<Found> = query.load(conn)?;
        found.reverse();
        let head = Head::read(conn)?;
        no_strays(conn, &head, found.last().map(|(idx, ..)| *idx))?;
        let cache = TileCache::remembered(head.origin());
        let tree = Tree::new(conn, &cache);
        let told: Vec<Told> =
            found.into_iter().map(|row| verified(&tree, &head, kind, row)).collect::<Result<_, ToldError>>()?;
        cache.remember(head.origin());
        Ok(told)
    });
    match told {
        Ok(told) => Ok(Ok(told)),
        Err(ToldError::Changed(what)) => Ok(Err(what)),
        Err(ToldError::Store(error)) => Err(error),
    }
}

fn changed(idx: i64, what: &str) -> ToldError {
    ToldError::Changed(format!("entry {idx} of the trail is not the one that was recorded: {what}"))
}

/// How many entries are looked at in one go.
const PAGE: i64 = 256;

/// Whether one of the entries of `kind` within `range` says what `wanted` looks for, and is as it was recorded.
pub(crate) fn any(
    conn: &mut Conn,
    kind: Kind,
    range: std::ops::Range<u64>,
    wanted: impl Fn(&[u8]) -> bool,
) -> QueryResult<bool> {
    let (mut from, until) = (range.start.cast_signed(), i64::try_from(range.end).unwrap_or(i64::MAX));
    loop {
        let page: Vec<(i64, Vec<u8>, Vec<u8>)> = leaf::table
            .inner_join(detail::table)
            .filter(leaf::kind.eq(kind.as_str()).and(leaf::idx.ge(from)).and(leaf::idx.lt(until)))
            .select((leaf::idx, leaf::rid, detail::message))
            .order(leaf::idx)
            .limit(PAGE)
            .load(conn)?;
        let Some((last, ..)) = page.last() else { return Ok(false) };
        from = last.saturating_add(1);
        for (_, rid, _) in page.iter().filter(|(.., message)| wanted(message)) {
            let rid = RequestId::from_slice(rid).map_err(|error| Error::DeserializationError(Box::new(error)))?;
            if let Ok(Some((told, _))) = by_rid(conn, kind, rid)? {
                return Ok(range.contains(&told.index) && wanted(&told.message));
            }
        }
    }
}

/// How many entries of `kind` there are.
pub(crate) fn count(conn: &mut Conn, kind: Kind) -> QueryResult<i64> {
    leaf::table.filter(leaf::kind.eq(kind.as_str())).select(count_star()).first(conn)
}

/// The position of the last entry of `kind`; -1 if there is none.
pub(crate) fn last(conn: &mut Conn, kind: Kind) -> QueryResult<i64> {
    let last = leaf::table.filter(leaf::kind.eq(kind.as_str())).select(diesel::dsl::max(leaf::idx));
    Ok(last.first::<Option<i64>>(conn)?.unwrap_or(-1))
}

/// A transaction that records has leaves beyond the head, one behind the other. Leaves with a gap before them are nobody's.
fn no_strays(conn: &mut Conn, head: &Head, last: Option<i64>) -> Result<(), ToldError> {
    let size = head.size.cast_signed();
    let Some(last) = last.filter(|idx| *idx >= size) else { return Ok(()) };
    let beyond: i64 =
        leaf::table.filter(leaf::idx.ge(size).and(leaf::idx.le(last))).select(count_star()).first(conn)?;
    if beyond == last - size + 1 { Ok(()) } else { Err(changed(last, "it is beyond the head")) }
}

fn verified(tree: &Tree<'_>, head: &Head, kind: Kind, (idx, body, kept): Found) -> Result<Told, ToldError> {
    let changed = |what| changed(idx, what);
    let leaf = Leaf::from_bytes(&body).map_err(|_| changed("it is no leaf"))?;
    if leaf.kind != kind {
        return Err(changed("it is of another kind than its column says"));
    }
    // What rows stand on is never deleted: see `Kind::details`.
    let (message, salt) = kept.ok_or_else(|| changed("what it says is missing"))?;
    let salt = salt.try_into().map(Salt).map_err(|_| changed("its salt is none"))?;
    if Digest::salted(&salt, &message) != leaf.message {
        return Err(changed("it says something else than it commits to"));
    }
    let index = idx.cast_unsigned();
    if index < head.size && !tree.has(head.size, head.root, index, Leaf::hash_of(&body))? {
        return Err(changed("it is not in the tree"));
    }
    Ok(Told { index, rid: leaf.rid, at: leaf.at, message })
}

/// An entry with its note; the inner error says that it is not as it was recorded.
type WithNote = Result<Option<(Told, Vec<u8>)>, String>;

type Row = (i64, Vec<u8>, Option<(Vec<u8>, Vec<u8>)>, Option<(Vec<u8>, Vec<u8>)>);

/// The entry `rid` of `kind` and its note, both verified, or `None` if the trail has none; the inner error says that it is
/// not as it was recorded.
pub(crate) fn by_rid(conn: &mut Conn, kind: Kind, rid: RequestId) -> QueryResult<WithNote> {
    let found = steady(conn, |conn| {
        let row: Option<Row> = leaf::table
            .left_join(detail::table)
            .filter(leaf::rid.eq(rid.as_bytes().to_vec()))
            .select((
                leaf::idx,
                leaf::body,
                (detail::message, detail::message_salt).nullable(),
                (detail::note, detail::note_salt).nullable(),
            ))
            .first(conn)
            .optional()?;
        let Some((idx, body, message, note)) = row else { return Ok(None) };
        let leaf = Leaf::from_bytes(&body).map_err(|_| changed(idx, "it is no leaf"))?;
        let (note, salt) = note.ok_or_else(|| changed(idx, "its note is missing"))?;
        let salt = salt.try_into().map(Salt).map_err(|_| changed(idx, "its salt is none"))?;
        if leaf.rid != rid || Digest::salted(&salt, &note) != leaf.note {
            return Err(changed(idx, "its id or its note is another one"));
        }
        let head = Head::read(conn)?;
        no_strays(conn, &head, Some(idx))?;
        let cache = TileCache::remembered(head.origin());
        let told = verified(&Tree::new(conn, &cache), &head, kind, (idx, body, message))?;
        cache.remember(head.origin());
        Ok(Some((told, note)))
    });
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(ToldError::Changed(what)) => Ok(Err(what)),
        Err(ToldError::Store(error)) => Err(error),
    }
}
