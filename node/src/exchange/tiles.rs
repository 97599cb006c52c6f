//! Reading a partner's hash tiles under one of its heads: nothing is taken that is not proven to be in that tree.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use agreements::ids::Digest;
use tlog_tiles::{Hash, HashReader as _, Tile, TileHashReader, TileReader};

use super::failure::Failure;
use super::partner::Partner;
use crate::node::Node;
use crate::trail::note::Checkpoint;
use crate::trail::static_log::{Of, Resource};

/// How often more tiles are fetched for one look.
const FETCHES: usize = 64;
/// How many tiles are at hand, of 8 KiB at most.
const AT_HAND: usize = 1024;
const HEIGHT: u8 = 8;

/// How many leaves are looked up at once.
const LEAVES: usize = 256;
/// What is wrong with a partner that does not show what its head stands on.
pub(super) const NO_TILES: &str = "it gives no tiles that its head stands on";

/// Why nothing came of looking at a partner's log.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Something failed here.
    Failure(Failure),
    /// The partner does not give what it takes, and why.
    Partner(String),
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

/// The leaf hashes that a partner's log has at some positions under `head`, as its tiles prove them. `indexes` are below the
/// head's size.
pub(crate) async fn leaves(
    node: &Node,
    partner: &Partner,
    head: &Checkpoint,
    indexes: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, Digest>, Trouble> {
    let mut tiles = Tiles::new(node, partner, head);
    let mut leaves = BTreeMap::new();
    let all: Vec<u64> = indexes.iter().copied().collect();
    for some in all.chunks(LEAVES) {
        let hashes = tiles.leaves(some).await?.ok_or_else(|| Trouble::Partner(NO_TILES.to_owned()))?;
        leaves.extend(some.iter().copied().zip(hashes));
    }
    Ok(leaves)
}

/// A partner's hash tiles under one of its heads. What is read of them is proven to be in that tree.
pub(super) struct Tiles<'a> {
    partner: &'a Partner,
    node: &'a Node,
    head: &'a Checkpoint,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    data: HashMap<Resource, Vec<u8>>,
    missing: BTreeSet<Resource>,
}

impl<'a> Tiles<'a> {
    /// Nothing is fetched yet.
    pub(super) fn new(node: &'a Node, partner: &'a Partner, head: &'a Checkpoint) -> Self {
        Self { partner, node, head, known: RefCell::default() }
    }

    /// The root of the first `size` entries of the head's tree, and that they are its beginning; `None` where the partner does
    /// not show it.
    pub(super) async fn prefix(&mut self, size: u64) -> Result<Option<(Digest, Vec<Hash>)>, Trouble> {
        let all = self.head.size;
        self.shown(|reader| {
            let root = tlog_tiles::tree_hash(size, reader)?;
            Ok((Digest(root.0), tlog_tiles::prove_tree(all, size, reader)?))
        })
        .await
    }

    /// The path from the leaf at `index` to the head's root; `None` where the partner does not show it.
    pub(super) async fn path(&mut self, index: u64) -> Result<Option<Vec<Hash>>, Trouble> {
        let all = self.head.size;
        self.shown(|reader| tlog_tiles::prove_record(all, index, reader)).await
    }

    /// The leaf hashes at these positions; `None` where the partner does not show them.
    async fn leaves(&mut self, indexes: &[u64]) -> Result<Option<Vec<Digest>>, Trouble> {
        let stored: Vec<u64> = indexes.iter().map(|index| tlog_tiles::stored_hash_index(0, *index)).collect();
        let hashes = self.shown(|reader| reader.read_hashes(&stored)).await?;
        Ok(hashes.map(|hashes| hashes.into_iter().map(|hash| Digest(hash.0)).collect()))
    }

    /// Forgets what was fetched when it is much: it is fetched again.
    pub(super) fn trim(&mut self) {
        let mut known = self.known.borrow_mut();
        if known.data.len() > AT_HAND {
            known.data.clear();
        }
    }

    async fn shown<T>(
        &mut self,
        prove: impl Fn(&TileHashReader<'_>) -> Result<T, tlog_tiles::Error>,
    ) -> Result<Option<T>, Trouble> {
        for _ in 0..FETCHES {
            if let Ok(proven) = prove(&TileHashReader::new(self.head.size, Hash(self.head.root.0), &*self)) {
                return Ok(Some(proven));
            }
            let missing = std::mem::take(&mut self.known.borrow_mut().missing);
            if missing.is_empty() {
                // All is here, and it is not what the head stands on.
                return Ok(None);
            }
            for resource in missing {
                let reply = self.node.dialer().fetch(self.partner, &format!("log/tile/{resource}")).await;
                let reply = reply.map_err(|error| Trouble::Partner(error.to_string()))?;
                if reply.status != 200 || reply.body.len() != usize::from(resource.width()) * 32 {
                    return Ok(None);
                }
                self.known.borrow_mut().data.insert(resource, reply.body.to_vec());
            }
        }
        Ok(None)
    }
}

impl TileReader for Tiles<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let mut known = self.known.borrow_mut();
        let mut data = Vec::with_capacity(tiles.len());
        for tile in tiles {
            let width = u16::try_from(tile.width()).map_err(|_| tlog_tiles::Error::InvalidTile)?;
            let resource = Resource::new(Of::Hashes(tile.level()), tile.level_index(), width);
            let resource = resource.ok_or(tlog_tiles::Error::InvalidTile)?;
            if let Some(bytes) = known.data.get(&resource) {
                data.push(bytes.clone());
            } else {
                known.missing.insert(resource);
            }
        }
        if data.len() == tiles.len() { Ok(data) } else { Err(tlog_tiles::Error::InvalidTile) }
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}
