//! The Merkle tree in tiles in the database, read and extended inside the caller's transaction.
//!
//! `tlog_tiles` has the mathematics; this type keeps it from sizes and rows on which it panics.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use agreements::ids::Digest;
use diesel::prelude::*;
use tlog_tiles::{Hash, HashReader, Tile};

use super::note::MAX_SIZE;
use super::schema::tile;
use crate::db::{Conn, each};

/// Tiles have 2^8 hashes (c2sp.org/tlog-tiles).
pub(super) const HEIGHT: u8 = 8;
/// How many hashes a full tile has.
pub(super) const FULL: usize = 1 << HEIGHT;
/// The length of a hash, in bytes.
pub(super) const HASH: usize = 32;

/// Why the tree was not read or extended.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] diesel::result::Error),
    /// A tile is missing, or has not the hashes that it must have.
    #[error("tile {n} of level {level} is missing or damaged")]
    Damaged {
        /// The tile's level.
        level: u8,
        /// The tile's number within its level.
        n: u64,
    },
    /// The size is none that a trail can have.
    #[error("a trail cannot have this size")]
    Size,
    /// The tree's mathematics refused.
    #[error("the tree: {0}")]
    Mathematics(tlog_tiles::Error),
}

type Tiles = HashMap<(u8, u64), Rc<[u8]>>;

thread_local! {
    /// Hashes of whole subtrees, by the log's origin and their place in its storage order.
    static WHOLE: RefCell<HashMap<String, HashMap<u64, Hash>>> = RefCell::default();
}

/// How many hashes of a log are remembered.
const REMEMBERED: usize = 1 << 16;

/// What one transaction has read or made of the tree. Never kept beyond it, but for what [`TileCache::remember`] keeps.
#[derive(Default)]
pub(crate) struct TileCache {
    /// By level and number.
    tiles: RefCell<Tiles>,
    /// By their place in the tree's storage order.
    hashes: RefCell<HashMap<u64, Hash>>,
    /// Why a read failed: the error of `HashReader` has no room for it.
    failed: RefCell<Option<TreeError>>,
}

impl TileCache {
    /// With the hashes that this thread remembers of a log. They are for paths that are then checked against the head's root:
    /// one that is wrong proves nothing, and a path that proves nothing is to be read again after [`Self::forget`].
    pub(crate) fn remembered(origin: &str) -> Self {
        let hashes = WHOLE.with_borrow_mut(|whole| whole.remove(origin)).unwrap_or_default();
        Self { hashes: RefCell::new(hashes), ..Self::default() }
    }

    /// Remembers them. A whole subtree of a log that only grows never has another hash.
    pub(crate) fn remember(self, origin: &str) {
        let hashes = self.hashes.into_inner();
        if hashes.len() <= REMEMBERED {
            WHOLE.with_borrow_mut(|whole| whole.insert(origin.to_owned(), hashes));
        }
    }

    /// Forgets everything, so that it is read again.
    pub(crate) fn forget(&self) {
        self.tiles.borrow_mut().clear();
        self.hashes.borrow_mut().clear();
    }
}

/// The tree over one connection.
pub(crate) struct Tree<'a> {
    conn: RefCell<&'a mut Conn>,
    cache: &'a TileCache,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(conn: &'a mut Conn, cache: &'a TileCache) -> Self {
        Self { conn: RefCell::new(conn), cache }
    }

    /// The root of the first `size` entries.
    pub(crate) fn root(&self, size: u64) -> Result<Digest, TreeError> {
        checked(size)?;
        let root = tlog_tiles::tree_hash(size, self).map_err(|e| self.reason(e))?;
        Ok(Digest(root.0))
    }

    /// The path from entry `index` to the root of the first `size` entries, from the leaf's sibling up.
    pub(crate) fn path(&self, size: u64, index: u64) -> Result<Vec<Hash>, TreeError> {
        checked(size)?;
        tlog_tiles::prove_record(size, index, self).map_err(|e| self.reason(e))
    }

    /// That the tree of `size` entries begins with that of `old` (RFC 6962, section 2.1.2); empty where `old` is 0.
    pub(crate) fn consistency(&self, size: u64, old: u64) -> Result<Vec<Hash>, TreeError> {
        checked(size)?;
        match old {
            0 => Ok(Vec::new()),
            old if old > size => Err(TreeError::Size),
            old => tlog_tiles::prove_tree(size, old, self).map_err(|e| self.reason(e)),
        }
    }

    /// Whether the tree of `size` with this root has the leaf with this hash at `index`.
    pub(crate) fn has(&self, size: u64, root: Digest, index: u64, leaf: Digest) -> Result<bool, TreeError> {
        let has = |path: Vec<Hash>| tlog_tiles::check_record(&path, size, Hash(root.0), index, Hash(leaf.0)).is_ok();
        if self.path(size, index).is_ok_and(has) {
            return Ok(true);
        }
        // What was remembered may be of another log by the same name.
        self.cache.forget();
        Ok(has(self.path(size, index)?))
    }

    /// Appends `leaves` (hashes of leaves) to the tree of `size` and writes the tiles that changed.
    pub(crate) fn extend(&self, size: u64, leaves: &[Digest]) -> Result<u64, TreeError> {
        let new = size.saturating_add(leaves.len() as u64);
        checked(new)?;
        for (index, leaf) in (size..).zip(leaves) {
            let made = tlog_tiles::stored_hashes_for_record_hash(index, Hash(leaf.0), self);
            let made = made.map_err(|e| self.reason(e))?;
            let first = tlog_tiles::stored_hash_index(0, index);
            self.cache.hashes.borrow_mut().extend((first..).zip(made));
        }
        for tile in Tile::new_tiles(HEIGHT, size, new) {
            self.save(tile, size)?;
        }
        Ok(new)
    }

    /// Writes `tile`, of which the tree of `old` entries had the beginning.
    fn save(&self, tile: Tile, old: u64) -> Result<(), TreeError> {
        let (level, n) = (tile.level(), tile.level_index());
        let begins = n << HEIGHT;
        let had = (old >> (HEIGHT * level)).saturating_sub(begins);
        let mut data = if had == 0 {
            Vec::new()
        } else {
            let had = usize::try_from(had).map_err(|_| TreeError::Size)? * HASH;
            self.tile(level, n)?.get(..had).ok_or(TreeError::Damaged { level, n })?.to_vec()
        };
        for index in begins + had..begins + u64::from(tile.width()) {
            data.extend(self.hash(tlog_tiles::stored_hash_index(HEIGHT * level, index))?.0);
        }
        let width = i64::from(tile.width());
        let row =
            (tile::level.eq(i64::from(level)), tile::n.eq(n.cast_signed()), tile::w.eq(width), tile::data.eq(&data));
        each!(&mut **self.conn.borrow_mut(), c => diesel::insert_into(tile::table)
            .values(row)
            .on_conflict((tile::level, tile::n))
            .do_update()
            .set((tile::w.eq(width), tile::data.eq(&data)))
            .execute(c))?;
        self.cache.tiles.borrow_mut().insert((level, n), data.into());
        Ok(())
    }

    fn hash(&self, index: u64) -> Result<Hash, TreeError> {
        if let Some(hash) = self.cache.hashes.borrow().get(&index) {
            return Ok(*hash);
        }
        let least = Tile::from_index(HEIGHT, index);
        let (level, n) = (least.level(), least.level_index());
        let data = self.tile(level, n)?;
        let width = u32::try_from(data.len() / HASH).map_err(|_| TreeError::Damaged { level, n })?;
        let stored = Tile::new(HEIGHT, level, n, width, false);
        let hash = stored.hash_at_index(&data, index).map_err(|_| TreeError::Damaged { level, n })?;
        self.cache.hashes.borrow_mut().insert(index, hash);
        Ok(hash)
    }

    /// The hashes of a stored tile: 1 to [`FULL`] of them.
    pub(super) fn tile(&self, level: u8, n: u64) -> Result<Rc<[u8]>, TreeError> {
        if let Some(data) = self.cache.tiles.borrow().get(&(level, n)) {
            return Ok(data.clone());
        }
        let key = (i64::from(level), n.cast_signed());
        let found: Option<(i64, Vec<u8>)> = each!(&mut **self.conn.borrow_mut(), c => {
            tile::table.find(key).select((tile::w, tile::data)).get_result(c).optional()
        })?;
        let (width, data) = found.ok_or(TreeError::Damaged { level, n })?;
        let hashes = data.len() / HASH;
        if data.len() % HASH != 0 || !(1..=FULL).contains(&hashes) || usize::try_from(width) != Ok(hashes) {
            return Err(TreeError::Damaged { level, n });
        }
        let data: Rc<[u8]> = data.into();
        self.cache.tiles.borrow_mut().insert((level, n), data.clone());
        Ok(data)
    }

    fn reason(&self, error: tlog_tiles::Error) -> TreeError {
        self.cache.failed.borrow_mut().take().unwrap_or(TreeError::Mathematics(error))
    }
}

impl HashReader for Tree<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let read = |index: &u64| {
            self.hash(*index).map_err(|error| {
                self.cache.failed.replace(Some(error));
                tlog_tiles::Error::InvalidTile
            })
        };
        indexes.iter().map(read).collect()
    }
}

fn checked(size: u64) -> Result<(), TreeError> {
    if size > MAX_SIZE { Err(TreeError::Size) } else { Ok(()) }
}
