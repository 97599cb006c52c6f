//! Entries that rows of the registry stand on, read back from the trail, each verified: an account, a finding or a check
//! counts because it was recorded, not because a table has it.

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, RequestId, Salt};
use agreements::time::Instant;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::result::Error;
use tlog_tiles::Hash;

use super::head::{Head, HeadError};
use super::schema::{detail, leaf};
use super::tiles::{TileCache, Tree, TreeError};
use crate::db::{Conn, steady};

/// An entry as it was recorded.
#[derive(Debug)]
pub(crate) struct Told {
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

/// Which entries of a kind are wanted.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    /// All of them.
    All,
    /// The last one.
    Last,
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
        if matches!(which, Which::Last) {
            query = query.limit(1);
        }
        let mut found: Vec<Found> = query.load(conn)?;
        found.reverse();
        let head = Head::read(conn)?;
        no_strays(conn, &head, &found)?;
        let cache = TileCache::default();
        let tree = Tree::new(conn, &cache);
        found.into_iter().map(|row| verified(&tree, &head, kind, row)).collect::<Result<Vec<_>, ToldError>>()
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
fn no_strays(conn: &mut Conn, head: &Head, found: &[Found]) -> Result<(), ToldError> {
    let size = head.size.cast_signed();
    let Some((last, ..)) = found.last().filter(|(idx, ..)| *idx >= size) else { return Ok(()) };
    let beyond: i64 =
        leaf::table.filter(leaf::idx.ge(size).and(leaf::idx.le(*last))).select(count_star()).first(conn)?;
    if beyond == last - size + 1 { Ok(()) } else { Err(changed(*last, "it is beyond the head")) }
}

fn verified(tree: &Tree<'_>, head: &Head, kind: Kind, (idx, body, kept): Found) -> Result<Told, ToldError> {
    let changed = |what| changed(idx, what);
    let leaf = Leaf::from_bytes(&body).map_err(|_| changed("it is no leaf"))?;
    if leaf.kind != kind {
        return Err(changed("it is of another kind than its column says"));
    }
    // What rows stand on is not deleted at the end of a retention while they stand.
    let (message, salt) = kept.ok_or_else(|| changed("what it says is missing"))?;
    let salt = salt.try_into().map(Salt).map_err(|_| changed("its salt is none"))?;
    if Digest::salted(&salt, &message) != leaf.message {
        return Err(changed("it says something else than it commits to"));
    }
    let index = idx.cast_unsigned();
    if index < head.size {
        let path = tree.path(head.size, index)?;
        let hash = Hash(Leaf::hash_of(&body).0);
        tlog_tiles::check_record(&path, head.size, Hash(head.root.0), index, hash)
            .map_err(|_| changed("it is not in the tree"))?;
    }
    Ok(Told { rid: leaf.rid, at: leaf.at, message })
}
