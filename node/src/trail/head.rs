//! The head of the trail: one row, the lock of all that records.

use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::prelude::*;

use super::note::{Checkpoint, MAX_SIZE, NoteError, Vkey};
use super::schema::{head, leaf};
use super::tiles::{TileCache, Tree, TreeError};
use crate::db::{Conn, each};

/// The head as its row has it. Not yet believed: see [`Head::check_statement`] and [`Head::check_edge`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Digest,
    /// Empty while the size is 0.
    pub(crate) checkpoint: String,
    pub(crate) epoch: i64,
    pub(crate) mark: Instant,
}

/// Why the head in the database is not this log's.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The tree could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The row is missing, or no trail can have these values.
    #[error("the trail's head row is missing or holds what no head can hold")]
    Row,
    /// The signed checkpoint is not accepted.
    #[error("the trail's checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The checkpoint states another size or root than the row.
    #[error("the trail's checkpoint states another head than its row")]
    Disagrees,
    /// The tiles' root is another one.
    #[error("the trail's tiles do not have the root that its head states")]
    Root,
    /// Leaves are missing at the end, or there are more than the head says.
    #[error("the trail's head states {stated} entries, but {found} are stored")]
    Entries {
        /// By the head.
        stated: u64,
        /// By the last leaf.
        found: u64,
    },
}

/// The standing epoch: counts up with every change that may change who is permitted what.
pub fn epoch(conn: &mut Conn) -> QueryResult<i64> {
    each!(conn, c => head::table.find(1).select(head::epoch).get_result(c))
}

/// How many entries the trail has, and the highest instant that it recorded.
pub fn extent(conn: &mut Conn) -> QueryResult<(u64, Instant)> {
    let (size, mark): (i64, i64) = head::table.find(1).select((head::size, head::time_mark)).first(conn)?;
    Ok((size.cast_unsigned(), Instant::from_micros(mark)))
}

impl From<diesel::result::Error> for HeadError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Tree(TreeError::Store(error))
    }
}

impl HeadError {
    /// As an error of the store, for whoever has no other: what is damaged is not read either.
    pub(crate) fn of_store(self) -> diesel::result::Error {
        match self {
            Self::Tree(TreeError::Store(error)) => error,
            damaged => diesel::result::Error::DeserializationError(Box::new(damaged)),
        }
    }
}

type Row = (i64, Vec<u8>, String, i64, i64);
const COLUMNS: (head::size, head::root, head::checkpoint, head::epoch, head::time_mark) =
    (head::size, head::root, head::checkpoint, head::epoch, head::time_mark);

impl Head {
    /// Takes the lock of all writers for the rest of the transaction, and reads the head.
    pub(crate) fn lock(conn: &mut Conn) -> Result<Self, HeadError> {
        let row = diesel::update(head::table.find(1)).set(head::size.eq(head::size)).returning(COLUMNS);
        Self::from_row(row.get_result(conn).optional()?)
    }

    /// Reads the head.
    pub(crate) fn read(conn: &mut Conn) -> Result<Self, HeadError> {
        Self::from_row(head::table.find(1).select(COLUMNS).first(conn).optional()?)
    }

    fn from_row(row: Option<Row>) -> Result<Self, HeadError> {
        let (size, root, checkpoint, epoch, mark) = row.ok_or(HeadError::Row)?;
        let size = u64::try_from(size).map_err(|_| HeadError::Row)?;
        let root = Digest(root.try_into().map_err(|_| HeadError::Row)?);
        if size > MAX_SIZE || epoch < 0 || checkpoint.is_empty() != (size == 0) {
            return Err(HeadError::Row);
        }
        Ok(Self { size, root, checkpoint, epoch, mark: Instant::from_micros(mark) })
    }

    /// The name of the log that its checkpoint states; empty while the size is 0.
    pub(crate) fn origin(&self) -> &str {
        self.checkpoint.lines().next().unwrap_or_default()
    }

    /// Writes this head. The caller holds the lock.
    pub(crate) fn write(&self, conn: &mut Conn) -> QueryResult<()> {
        let values = (
            head::size.eq(self.size.cast_signed()),
            head::root.eq(self.root.0.to_vec()),
            head::checkpoint.eq(&self.checkpoint),
            head::epoch.eq(self.epoch),
            head::time_mark.eq(self.mark.micros()),
        );
        match diesel::update(head::table.find(1)).set(values).execute(conn)? {
            1 => Ok(()),
            _ => Err(diesel::result::Error::NotFound),
        }
    }

    /// Checks that the log's own key signed this size and root.
    pub(crate) fn check_statement(&self, vkey: &Vkey) -> Result<(), HeadError> {
        if self.size == 0 {
            return if self.root == Digest::of(b"") { Ok(()) } else { Err(HeadError::Root) };
        }
        let stated = Checkpoint::verify(&self.checkpoint, vkey)?;
        if stated.size == self.size && stated.root == self.root { Ok(()) } else { Err(HeadError::Disagrees) }
    }

    /// Checks that the tiles have the root of the head, and that the last leaf is the last one.
    pub(crate) fn check_edge(&self, conn: &mut Conn) -> Result<(), HeadError> {
        let last: Option<i64> = leaf::table.order(leaf::idx.desc()).select(leaf::idx).first(conn).optional()?;
        let found = last.map_or(0, |idx| idx.cast_unsigned().saturating_add(1));
        if found != self.size {
            return Err(HeadError::Entries { stated: self.size, found });
        }
        if Tree::new(conn, &TileCache::default()).root(self.size)? != self.root {
            return Err(HeadError::Root);
        }
        Ok(())
    }
}
