//! The tree made again from leaf hashes in order, compared tile by tile with what is stored. Holds one tile per level.

use agreements::ids::Digest;
use diesel::prelude::*;
use tlog_tiles::{Hash, Tile, node_hash};

use super::schema::tile;
use super::tiles::{FULL, HASH, HEIGHT};
use super::verify::Report;
use crate::db::Conn;

#[derive(Default)]
pub(super) struct Rebuilt {
    size: u64,
    /// The roots of the full subtrees of the leaves so far, the largest first, with their heights.
    subtrees: Vec<(u8, Hash)>,
    /// The growing tile of each level.
    levels: Vec<Growing>,
    /// The stored tile of level 0 in which the next leaf belongs.
    stored: Option<(u64, Vec<u8>)>,
    /// How many tiles were compared.
    tiles: u64,
}

#[derive(Default)]
struct Growing {
    number: u64,
    hashes: Vec<u8>,
}

impl Rebuilt {
    /// How many leaves there are so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How many tiles they have; complete after [`Self::finish`].
    pub(super) fn tiles(&self) -> u64 {
        self.tiles
    }

    /// Adds the next leaf.
    pub(super) fn push(&mut self, conn: &mut Conn, leaf: Digest, report: &mut Report) -> QueryResult<()> {
        if self.stored_leaf(conn)? != Some(leaf.0) {
            report.add(Some(self.size), "the leaf is not the one that its tile has");
        }
        self.grow(conn, Hash(leaf.0), report)
    }

    /// Adds the next leaf as its tile has it, because its row is missing; says no if the tile does not have it either.
    pub(super) fn push_stored(&mut self, conn: &mut Conn, report: &mut Report) -> QueryResult<bool> {
        let Some(hash) = self.stored_leaf(conn)? else { return Ok(false) };
        report.add(Some(self.size), "the leaf is missing");
        self.grow(conn, Hash(hash), report)?;
        Ok(true)
    }

    /// Compares the tiles that are not full, and gives the root of all the leaves.
    pub(super) fn finish(&mut self, conn: &mut Conn, report: &mut Report) -> QueryResult<Digest> {
        for level in 0..self.levels.len() {
            self.compare(conn, level, report)?;
        }
        let mut smallest_first = self.subtrees.iter().rev().map(|(_, root)| *root);
        let smallest = smallest_first.next();
        let root = smallest.map(|smallest| smallest_first.fold(smallest, |right, left| node_hash(left, right)));
        Ok(root.map_or_else(|| Digest::of(b""), |root| Digest(root.0)))
    }

    fn stored_leaf(&mut self, conn: &mut Conn) -> QueryResult<Option<[u8; HASH]>> {
        let number = self.size >> HEIGHT;
        if self.stored.as_ref().is_none_or(|(loaded, _)| *loaded != number) {
            self.stored = Some((number, load(conn, 0, number)?));
        }
        let within = usize::try_from(self.size).unwrap_or_default() % FULL;
        let hash = self.stored.as_ref().and_then(|(_, data)| data.get(within * HASH..(within + 1) * HASH));
        Ok(hash.and_then(|hash| hash.try_into().ok()))
    }

    fn grow(&mut self, conn: &mut Conn, leaf: Hash, report: &mut Report) -> QueryResult<()> {
        self.size += 1;
        let (mut height, mut root) = (0, leaf);
        while let Some((_, left)) = self.subtrees.pop_if(|(h, _)| *h == height) {
            root = node_hash(left, root);
            height += 1;
        }
        self.subtrees.push((height, root));

        let mut carried = Some(leaf);
        let mut level = 0;
        while let Some(hash) = carried.take() {
            if self.levels.len() == level {
                self.levels.push(Growing::default());
            }
            let Some(growing) = self.levels.get_mut(level) else { break };
            growing.hashes.extend(hash.0);
            if growing.hashes.len() == FULL * HASH {
                carried = Some(Tile::subtree_hash(&growing.hashes));
                self.compare(conn, level, report)?;
            }
            level += 1;
        }
        Ok(())
    }

    /// Compares the growing tile of `level` with the stored one, and begins the next.
    fn compare(&mut self, conn: &mut Conn, level: usize, report: &mut Report) -> QueryResult<()> {
        let Some(growing) = self.levels.get_mut(level).filter(|growing| !growing.hashes.is_empty()) else {
            return Ok(());
        };
        let stored = load(conn, i64::try_from(level).unwrap_or(i64::MAX), growing.number)?;
        if stored != growing.hashes {
            let first = growing.number << (usize::from(HEIGHT) * (level + 1));
            report.add(Some(first), "a tile that begins with this leaf is not the one that the leaves make");
        }
        growing.hashes.clear();
        growing.number += 1;
        self.tiles += 1;
        Ok(())
    }
}

/// The hashes of a stored tile; empty if there is none, or not as many as it says.
fn load(conn: &mut Conn, level: i64, number: u64) -> QueryResult<Vec<u8>> {
    let found: Option<(i64, Vec<u8>)> =
        tile::table.find((level, number.cast_signed())).select((tile::w, tile::data)).first(conn).optional()?;
    let sound = found.filter(|(width, data)| usize::try_from(*width).ok().map(|w| w * HASH) == Some(data.len()));
    Ok(sound.map(|(_, data)| data).unwrap_or_default())
}
