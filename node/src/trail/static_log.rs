//! The log as static resources (c2sp.org/tlog-tiles): checkpoint, hash tiles and entry bundles, by their paths.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use agreements::entry::Leaf;
use agreements::ids::Digest;
use diesel::prelude::*;
use tlog_tiles::Tile;

use super::cosignature::SignedText;
use super::head::{Head, HeadError};
use super::schema::{cosignature, leaf, published};
use super::tiles::{FULL, HASH, HEIGHT, TileCache, Tree, TreeError};
use crate::db::Conn;

/// The highest level that a path can name.
const MAX_LEVEL: u8 = 63;

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Of {
    /// Hashes of this level: of leaves at 0, of full tiles of the level below above it.
    Hashes(u8),
    /// The leaves themselves.
    Entries,
}

/// A tile or an entry bundle, full or partial. Written as its path behind `tile/`, such as `0/x001/x234/067.p/112`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Of what.
    pub of: Of,
    /// Its number within its level.
    pub n: u64,
    /// How many hashes or leaves it has: 1 to 256. Fewer than 256 are a partial one.
    width: u16,
}

/// A path that names no tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tile is named LEVEL/NUMBER or entries/NUMBER, with .p/WIDTH behind a partial one (c2sp.org/tlog-tiles)")]
pub struct NoTile;

impl Resource {
    /// Tile or bundle `n` of which `width` parts are asked for; `None` if that is not 1 to 256.
    #[must_use]
    pub fn new(of: Of, n: u64, width: u16) -> Option<Self> {
        (1..=full()).contains(&width).then_some(Self { of, n, width })
    }

    /// How many hashes or leaves it has.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether a log of `size` entries has it: a full one only when all of it is there, a partial one when so much is.
    #[must_use]
    pub fn is_of(&self, size: u64) -> bool {
        self.width <= parts(size, self.of, self.n)
    }
}

fn full() -> u16 {
    u16::try_from(FULL).unwrap_or(u16::MAX)
}

/// How many parts tile `n` has in a log of `size` entries.
fn parts(size: u64, of: Of, n: u64) -> u16 {
    let level = match of {
        Of::Hashes(level) => u32::from(level),
        Of::Entries => 0,
    };
    let at_level = size.checked_shr(u32::from(HEIGHT) * level).unwrap_or(0);
    let before = n.saturating_mul(u64::from(full()));
    u16::try_from(at_level.saturating_sub(before).min(u64::from(full()))).unwrap_or_default()
}

/// Every tile and bundle of a log of `size` entries: the full ones and the last partial one of each level.
pub fn resources(size: u64) -> impl Iterator<Item = Resource> {
    let levels = (0..=MAX_LEVEL).take_while(move |level| parts(size, Of::Hashes(*level), 0) > 0).map(Of::Hashes);
    let some = (size > 0).then_some(Of::Entries);
    levels.chain(some).flat_map(move |of| (0..).map_while(move |n| Resource::new(of, n, parts(size, of, n))))
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Of::Hashes(level) => write!(f, "{level}/")?,
            Of::Entries => f.write_str("entries/")?,
        }
        let mut groups = vec![self.n % 1000];
        let mut rest = self.n / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            if place > 0 {
                write!(f, "x{group:03}/")?;
            } else {
                write!(f, "{group:03}")?;
            }
        }
        if self.width < full() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Resource {
    type Err = NoTile;

    fn from_str(path: &str) -> Result<Self, NoTile> {
        let (of, rest) = path.split_once('/').ok_or(NoTile)?;
        let of = match of {
            "entries" => Of::Entries,
            level => Of::Hashes(level.parse().ok().filter(|level| *level <= MAX_LEVEL).ok_or(NoTile)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| *width < full()).ok_or(NoTile)?),
            None => (rest, full()),
        };
        let mut n: u64 = 0;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let group: u64 = digits.parse().map_err(|_| NoTile)?;
            n = n.checked_mul(1000).and_then(|n| n.checked_add(group)).ok_or(NoTile)?;
        }
        let read = Self::new(of, n, width).ok_or(NoTile)?;
        // Whatever else could be read as the same number is another path, and there is nothing.
        if read.to_string() == path { Ok(read) } else { Err(NoTile) }
    }
}

/// The bytes of a tile or a bundle; `None` if this log does not have it (yet).
///
/// # Errors
/// The database failed, or what is stored is not what belongs there.
pub fn read(conn: &mut Conn, resource: Resource) -> Result<Option<Vec<u8>>, HeadError> {
    // The head is read before the rows: tiles and leaves only grow, so whatever it counts is there.
    let size = Head::read(conn)?.size;
    if !resource.is_of(size) {
        return Ok(None);
    }
    match resource.of {
        Of::Hashes(level) => hashes(conn, level, resource.n, resource.width).map(Some),
        Of::Entries => bundle(conn, resource.n, resource.width).map(Some),
    }
}

fn hashes(conn: &mut Conn, level: u8, n: u64, width: u16) -> Result<Vec<u8>, HeadError> {
    let cache = TileCache::default();
    let stored = Tree::new(conn, &cache).tile(level, n)?;
    let data = stored.get(..usize::from(width) * HASH).ok_or(TreeError::Damaged { level, n })?;
    Ok(data.to_vec())
}

/// The leaves of a bundle, as the log has them.
fn leaves(conn: &mut Conn, n: u64, width: u16) -> Result<Vec<Vec<u8>>, HeadError> {
    let first = n.checked_mul(u64::from(full())).ok_or(TreeError::Size)?;
    let found: Vec<(i64, Vec<u8>)> = leaf::table
        .filter(leaf::idx.ge(first.cast_signed()))
        .filter(leaf::idx.lt((first + u64::from(width)).cast_signed()))
        .order(leaf::idx)
        .select((leaf::idx, leaf::body))
        .load(conn)?;
    let whole = found.len() == usize::from(width)
        && found.iter().map(|(idx, _)| *idx).eq((first.cast_signed()..).take(found.len()));
    if !whole {
        return Err(TreeError::Damaged { level: 0, n }.into());
    }
    Ok(found.into_iter().map(|(_, body)| body).collect())
}

fn bundle(conn: &mut Conn, n: u64, width: u16) -> Result<Vec<u8>, HeadError> {
    Ok(bundled(&leaves(conn, n, width)?).ok_or(TreeError::Damaged { level: 0, n })?)
}

/// The bytes of a tile or a bundle that the log has, after it was held to what is below it: a bundle's leaves to their tile,
/// a tile's hashes to the tiles of which they are. The inner error is the first entry that is another one.
pub(crate) fn checked(conn: &mut Conn, resource: Resource) -> Result<Result<Vec<u8>, u64>, HeadError> {
    let Resource { of, n, width } = resource;
    let first = n.saturating_mul(u64::from(full()));
    match of {
        Of::Hashes(0) => Ok(Ok(hashes(conn, 0, n, width)?)),
        Of::Hashes(level) => {
            let stored = hashes(conn, level, n, width)?;
            for (child, hash) in (first..).zip(stored.chunks(HASH)) {
                if Tile::subtree_hash(&hashes(conn, level - 1, child, full())?).0 != hash {
                    return Ok(Err(child << (u32::from(HEIGHT) * u32::from(level))));
                }
            }
            Ok(Ok(stored))
        }
        Of::Entries => {
            let (leaves, stored) = (leaves(conn, n, width)?, hashes(conn, 0, n, width)?);
            let other = (first..).zip(leaves.iter().zip(stored.chunks(HASH)));
            if let Some((index, _)) = { other }.find(|(_, (leaf, hash))| Leaf::hash_of(leaf).0 != **hash) {
                return Ok(Err(index));
            }
            Ok(Ok(bundled(&leaves).ok_or(TreeError::Damaged { level: 0, n })?))
        }
    }
}

/// The root of the first `size` entries, by the tiles.
pub(crate) fn root(conn: &mut Conn, size: u64) -> Result<Digest, HeadError> {
    Ok(Tree::new(conn, &TileCache::default()).root(size)?)
}

/// Each leaf behind its length, in two bytes with the high one first; `None` if one is longer than that can say.
fn bundled(leaves: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for leaf in leaves {
        bytes.extend(u16::try_from(leaf.len()).ok()?.to_be_bytes());
        bytes.extend(leaf);
    }
    Some(bytes)
}

/// The newest checkpoint, with the cosignatures that there are of it; `None` while the log is empty.
///
/// # Errors
/// The database failed, or the head's row is not what a head is.
pub fn checkpoint(conn: &mut Conn) -> Result<Option<String>, HeadError> {
    let head = Head::read(conn)?;
    if head.size == 0 {
        return Ok(None);
    }
    let lines = lines(conn, head.size.cast_signed())?;
    Ok(Some(with(head.checkpoint, &lines)))
}

/// Of the heads of more than `above` entries the one that the most witnesses cosigned, with their lines, and the largest of
/// several; `None` when nobody cosigned one. What an earlier key of the log signed does not count: who verifies has the key of
/// today.
///
/// # Errors
/// The database failed, or the head's row is not what a head is.
pub fn cosigned(conn: &mut Conn, above: u64) -> Result<Option<(u64, String)>, HeadError> {
    // Few: heads before the newest that a quorum cosigned are not kept.
    let sizes: Vec<i64> = published::table
        .inner_join(cosignature::table.on(cosignature::size.eq(published::size)))
        .filter(published::size.gt(i64::try_from(above).unwrap_or(i64::MAX)))
        .select(published::size)
        .load(conn)?;
    let mut witnesses: BTreeMap<i64, usize> = BTreeMap::new();
    for size in sizes {
        *witnesses.entry(size).or_default() += 1;
    }
    let Some((size, _)) = witnesses.into_iter().max_by_key(|(size, count)| (*count, *size)) else { return Ok(None) };
    let text: String = published::table.find(size).select(published::checkpoint).first(conn)?;
    let (Ok(cosigned), Ok(head)) = (SignedText::parse(&text), SignedText::parse(&Head::read(conn)?.checkpoint)) else {
        return Ok(None);
    };
    if cosigned.first_signer() != head.first_signer() {
        return Ok(None);
    }
    let lines = lines(conn, size)?;
    Ok(Some((size.cast_unsigned(), with(text, &lines))))
}

/// What witnesses said of the head of this size, each line as it came.
fn lines(conn: &mut Conn, size: i64) -> QueryResult<Vec<String>> {
    let of_it = cosignature::table.filter(cosignature::size.eq(size));
    of_it.order(cosignature::witness).select(cosignature::line).load(conn)
}

/// A checkpoint with witnesses' lines behind its own. A line that is none is left out: it cannot spoil the rest.
fn with(checkpoint: String, lines: &[String]) -> String {
    lines.iter().fold(checkpoint, |text, line| {
        let with = SignedText::parse(&text).and_then(|note| note.with(line));
        with.unwrap_or(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::cosignature::Cosigner;
    use crate::trail::note::{Checkpoint, LogSigner as _};
    use crate::trail::testing::{TestTrail, draft};
    use agreements::time::Instant;
    use certs::key::SigningKey;
    use proptest::prelude::*;

    fn path(text: &str) -> Resource {
        text.parse().unwrap()
    }

    /// How many full tiles there are of each kind, and how wide the partial one is.
    fn shape(size: u64) -> Vec<(Of, u64, Option<u16>)> {
        let mut shape: Vec<(Of, u64, Option<u16>)> = Vec::new();
        for resource in resources(size) {
            if shape.last().is_none_or(|(of, ..)| *of != resource.of) {
                shape.push((resource.of, 0, None));
            }
            let last = shape.last_mut().unwrap();
            assert!(last.2.is_none() && resource.n == last.1, "a partial one is the last: {resource}");
            if resource.width() == 256 {
                last.1 += 1;
            } else {
                last.2 = Some(resource.width());
            }
        }
        shape
    }

    #[test]
    fn a_log_of_70000_entries_has_the_tiles_of_the_specification() {
        let expected = [
            (Of::Hashes(0), 273, Some(112)),
            (Of::Hashes(1), 1, Some(17)),
            (Of::Hashes(2), 0, Some(1)),
            (Of::Entries, 273, Some(112)),
        ];
        assert_eq!(shape(70_000), expected);
        assert_eq!(shape(256), [(Of::Hashes(0), 1, None), (Of::Hashes(1), 0, Some(1)), (Of::Entries, 1, None)]);
        assert_eq!(shape(1), [(Of::Hashes(0), 0, Some(1)), (Of::Entries, 0, Some(1))]);
        assert_eq!(shape(0), []);
        assert_eq!(resources(u64::MAX).next(), Resource::new(Of::Hashes(0), 0, 256));
    }

    #[test]
    fn paths_are_written_as_the_specification_writes_them() {
        let numbered = |n| Resource::new(Of::Hashes(0), n, 256).unwrap().to_string();
        assert_eq!(numbered(1_234_067), "0/x001/x234/067");
        assert_eq!([0, 999, 1000, 1_000_000].map(numbered), ["0/000", "0/999", "0/x001/000", "0/x001/x000/000"]);
        assert_eq!(Resource::new(Of::Entries, 273, 112).unwrap().to_string(), "entries/273.p/112");
        assert_eq!(Resource::new(Of::Hashes(63), 0, 1).unwrap().to_string(), "63/000.p/1");
        assert_eq!((Resource::new(Of::Entries, 0, 0), Resource::new(Of::Entries, 0, 257)), (None, None));
    }

    #[test]
    fn another_way_to_write_a_path_is_no_path() {
        for wrong in [
            "",
            "0",
            "0/",
            "/000",
            "64/000",
            "00/000",
            "+1/000",
            "-1/000",
            "0x0/000",
            "255/000",
            "256/000",
            "a/000",
            "entries",
            "entries/",
            "Entries/000",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000",
            "0/x000/000",
            "0/x000/001",
            "0/001/002",
            "0/x001/x002",
            "0/x01/002",
            "0/x001/2",
            "0/x0001/002",
            "0/+01",
            "0/xx01/002",
            "0/000/",
            "0//000",
            "0/000.p",
            "0/000.p/",
            "0/000.p/0",
            "0/000.p/00",
            "0/000.p/01",
            "0/000.p/+1",
            "0/000.p/256",
            "0/000.p/257",
            "0/000.p/65537",
            "0/000.p/1/",
            "0/000.p/1.p/1",
            "0/000.P/1",
            "0/..",
            "0/../000",
            "0/%30",
            "0/\u{663}\u{663}\u{663}",
            "0/000\n",
            " 0/000",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/x001/x000/x000/x000/x000/x000/x000/000",
        ] {
            assert_eq!(wrong.parse::<Resource>(), Err(NoTile), "{wrong:?}");
        }
        let last = path("0/x018/x446/x744/x073/x709/x551/615");
        assert_eq!((last.n, last.is_of(u64::MAX)), (u64::MAX, false));
    }

    #[test]
    fn what_a_log_has_follows_from_its_size() {
        for (text, has) in [
            ("0/272", true),
            ("0/273", false),
            ("0/273.p/112", true),
            ("0/273.p/1", true),
            ("0/273.p/113", false),
            ("0/274.p/1", false),
            ("0/000.p/255", true),
            ("1/000", true),
            ("1/001.p/17", true),
            ("1/001.p/18", false),
            ("1/001", false),
            ("2/000.p/1", true),
            ("2/000.p/2", false),
            ("3/000.p/1", false),
            ("63/000.p/1", false),
            ("entries/272", true),
            ("entries/273.p/112", true),
            ("entries/273", false),
            ("7/x072/x057/x594/x037/x927/936.p/1", false),
        ] {
            let found = text.parse::<Resource>().is_ok_and(|resource| resource.is_of(70_000));
            assert_eq!(found, has, "{text}");
        }
    }

    /// A trail of 600 entries in three commits.
    fn trail() -> TestTrail {
        let trail = TestTrail::new();
        let db = trail.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (from, to) in [(0, 250), (250, 511), (511, 600)] {
            let job =
                db.record(move |tx| (from..to).try_for_each(|number| tx.append(draft(tx.now(), number)).map(|_| ())));
            runtime.block_on(job).unwrap();
        }
        trail
    }

    #[test]
    fn tiles_and_bundles_are_served_to_the_byte_and_what_is_not_there_never() {
        let trail = trail();
        let mut conn = trail.connect();
        let mut get = |text: &str| read(&mut conn, path(text)).unwrap();
        let full = get("0/000").unwrap();
        assert_eq!(full.len(), 8192);
        assert_eq!(get("0/000.p/7").unwrap(), full[..7 * 32], "a prefix");
        assert_eq!(get("0/002.p/88").unwrap().len(), 88 * 32);
        assert_eq!(get("1/000.p/2").unwrap()[..32], Tile::subtree_hash(&full).0);
        for absent in ["0/002", "0/002.p/89", "0/003.p/1", "1/000", "1/000.p/3", "2/000.p/1", "entries/002"] {
            assert_eq!(get(absent), None, "{absent}");
        }
        let bundle = get("entries/002.p/88").unwrap();
        let (mut rest, mut hashes) = (bundle.as_slice(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (leaf, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            Leaf::from_bytes(leaf).unwrap();
            hashes.extend(tlog_tiles::record_hash(leaf).0);
            rest = after;
        }
        assert_eq!(hashes, get("0/002.p/88").unwrap(), "each entry has the hash of its tile");
        assert_eq!(get("entries/002.p/5").unwrap(), bundle[..get("entries/002.p/5").unwrap().len()]);
    }

    #[test]
    fn a_damaged_row_is_an_error_and_no_shorter_tile() {
        for (sql, asked) in [
            ("DELETE FROM tile WHERE level = 0 AND n = 1", "0/001"),
            ("UPDATE tile SET w = 9, data = substr(data, 1, 288) WHERE level = 0 AND n = 1", "0/001.p/200"),
            ("PRAGMA foreign_keys = OFF; DELETE FROM leaf WHERE idx = 300", "entries/001"),
            ("PRAGMA foreign_keys = OFF; UPDATE leaf SET idx = 9000 WHERE idx = 300", "entries/001"),
            ("UPDATE leaf SET body = zeroblob(65536) WHERE idx = 300", "entries/001"),
        ] {
            let trail = trail();
            trail.tamper(sql);
            let error = read(&mut trail.connect(), path(asked)).unwrap_err();
            assert!(matches!(error, HeadError::Tree(TreeError::Damaged { n: 1, .. })), "{sql}: {error}");
        }
    }

    #[test]
    fn the_checkpoint_carries_what_witnesses_said_of_it_and_of_nothing_else() {
        let trail = trail();
        let mut conn = trail.connect();
        let bare = checkpoint(&mut conn).unwrap().unwrap();
        assert_eq!(Checkpoint::verify(&bare, trail.key.vkey()).unwrap().size, 600);
        assert_eq!(cosigned(&mut conn, 0).unwrap(), None);
        let witness = Cosigner::new("witness.test/one", SigningKey::generate_ed25519().unwrap()).unwrap();
        let now: Instant = "2026-11-23T20:17:03Z".parse().unwrap();
        let line = witness.cosign(&SignedText::parse(&bare).unwrap(), now).unwrap();
        let earlier = bare.replacen("\n600\n", "\n511\n", 1);
        let kept = |size: u64, text: &str, name: &str, line: &str| {
            trail.tamper(&format!(
                "INSERT OR IGNORE INTO published VALUES ({size}, '{text}', 1); INSERT INTO cosignature VALUES ('{name}', {size}, '{line}', 1)"
            ));
        };
        kept(511, &earlier, "witness.test/one", &line);
        assert_eq!(checkpoint(&mut conn).unwrap().unwrap(), bare, "what was said of another head");
        assert_eq!(cosigned(&mut conn, 0).unwrap(), Some((511, format!("{earlier}{line}"))));
        kept(600, &bare, "a.broken", "no signature line");
        kept(600, &bare, "witness.test/one", &line);
        let with = checkpoint(&mut conn).unwrap().unwrap();
        assert_eq!(with, format!("{bare}{line}"));
        assert_eq!(witness.public().cosigned(&SignedText::parse(&with).unwrap()), Some(now));
        assert_eq!(cosigned(&mut conn, 0).unwrap(), Some((600, with)));
        assert_eq!(cosigned(&mut conn, 600).unwrap(), None, "none of more entries");
        kept(511, &earlier, "witness.test/two", &line);
        kept(511, &earlier, "witness.test/three", &line);
        assert_eq!(cosigned(&mut conn, 0).unwrap().unwrap().0, 511, "what more witnesses saw");
        assert_eq!(cosigned(&mut conn, 511).unwrap().unwrap().0, 600);
        let other_key = TestTrail::new();
        let of_other = Checkpoint::verify(&bare, trail.key.vkey()).unwrap().sign(&*other_key.key).unwrap();
        trail.tamper(&format!("UPDATE published SET checkpoint = '{of_other}'"));
        assert_eq!(cosigned(&mut conn, 0).unwrap(), None, "a key that was replaced signed it");
        let empty = TestTrail::new();
        drop(empty.open());
        assert_eq!(checkpoint(&mut empty.connect()).unwrap(), None, "an empty log has no head");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_path_goes_round(level in 0u8..=63, entries: bool, n: u64, width in 1u16..=256) {
            let of = if entries { Of::Entries } else { Of::Hashes(level) };
            let resource = Resource::new(of, n, width).unwrap();
            prop_assert_eq!(resource.to_string().parse(), Ok(resource));
        }

        #[test]
        fn whatever_is_read_has_one_path(text in "(entries|[0-9]{1,2})?/?(x?[0-9]{2,4}/?){0,3}(\\.p/)?[0-9]{0,4}") {
            if let Ok(resource) = text.parse::<Resource>() {
                prop_assert_eq!(resource.to_string(), text);
            }
        }

        #[test]
        fn a_log_has_each_resource_that_is_listed_and_no_wider_one(size in 0u64..200_000) {
            for resource in resources(size) {
                prop_assert!(resource.is_of(size));
                let wider = Resource::new(resource.of, resource.n, resource.width() + 1);
                prop_assert!(wider.is_none_or(|wider| !wider.is_of(size)));
            }
        }
    }
}
