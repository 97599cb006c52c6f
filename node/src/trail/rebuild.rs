//! The tree made again from leaf hashes in order, compared tile by tile with what is stored. Holds one tile per level.

use agreements::ids::Digest;
use diesel::prelude::*;
use tlog_tiles::{Hash, Tile, node_hash};

use super::schema::tile;
use super::tiles::{FULL, HASH, HEIGHT};
use super::verify::Report;
use crate::db::Conn;

/// The level at which the root of a stretch is a hash. Tests have short ones.
const ABOVE: usize = if cfg!(test) { 1 } else { 2 };
/// How many leaves a stretch has, which is made again by itself.
pub(super) const STRETCH: u64 = 1 << (HEIGHT as usize * ABOVE);

#[derive(Default)]
pub(super) struct Rebuilt {
    size: u64,
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
    /// The tree from the leaf `first` on, which begins a stretch.
    pub(super) fn from(first: u64) -> Self {
        let level = |level: usize| Growing { number: first >> (usize::from(HEIGHT) * (level + 1)), hashes: Vec::new() };
        Self { size: first, levels: (0..=ABOVE).map(level).collect(), ..Self::default() }
    }

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

    /// The root of the one stretch that this tree has, with the number of its tiles.
    pub(super) fn stretch(&self) -> Option<(Hash, u64)> {
        let (above, below) = self.levels.get(..=ABOVE)?.split_last()?;
        let whole = self.size.is_multiple_of(STRETCH) && below.iter().all(|growing| growing.hashes.is_empty());
        let root = above.hashes.as_slice().try_into().ok().filter(|_| whole)?;
        Some((Hash(root), self.tiles))
    }

    /// Adds the next stretch, made again by itself: its root, and how many tiles it has.
    pub(super) fn push_stretch(
        &mut self,
        conn: &mut Conn,
        (root, tiles): (Hash, u64),
        report: &mut Report,
    ) -> QueryResult<()> {
        self.size += STRETCH;
        self.tiles += tiles;
        for (level, growing) in self.levels.iter_mut().enumerate().take(ABOVE) {
            growing.number = self.size >> (usize::from(HEIGHT) * (level + 1));
        }
        self.carry(conn, ABOVE, root, report)
    }

    /// Compares the tiles that are not full, and gives the root of all the leaves.
    pub(super) fn finish(&mut self, conn: &mut Conn, report: &mut Report) -> QueryResult<Digest> {
        let root = self.root();
        for level in 0..self.levels.len() {
            self.compare(conn, level, report)?;
        }
        Ok(root.map_or_else(|| Digest::of(b""), |root| Digest(root.0)))
    }

    /// The root (RFC 6962, section 2.1): full subtrees, of which the levels have the roots, the largest first.
    fn root(&self) -> Option<Hash> {
        let mut right: Option<Hash> = None;
        for growing in &self.levels {
            let (hashes, _) = growing.hashes.as_chunks::<HASH>();
            let mut hashes: Vec<Hash> = hashes.iter().copied().map(Hash).collect();
            while !hashes.is_empty() {
                // The last one or two, or four: as many as the lowest bit of their number says are one full subtree.
                let full = 1 << hashes.len().trailing_zeros();
                let mut subtree = hashes.split_off(hashes.len() - full);
                while let [_, _, ..] = subtree.as_slice() {
                    let (pairs, _) = subtree.as_chunks::<2>();
                    subtree = pairs.iter().map(|[left, right]| node_hash(*left, *right)).collect();
                }
                let left = subtree.pop();
                right = match (left, right) {
                    (Some(left), Some(right)) => Some(node_hash(left, right)),
                    (left, right) => left.or(right),
                };
            }
        }
        right
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
        self.carry(conn, 0, leaf, report)
    }

    /// Adds the next hash of `level`, and of the levels above it what becomes full by that.
    fn carry(&mut self, conn: &mut Conn, level: usize, hash: Hash, report: &mut Report) -> QueryResult<()> {
        let mut level = level;
        let mut carried = Some(hash);
        while let Some(hash) = carried.take() {
            while self.levels.len() <= level {
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
        let known = self.stored.as_ref().filter(|(number, _)| level == 0 && *number == growing.number);
        let same = match known {
            Some((_, stored)) => *stored == growing.hashes,
            None => load(conn, i64::try_from(level).unwrap_or(i64::MAX), growing.number)? == growing.hashes,
        };
        if !same {
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
