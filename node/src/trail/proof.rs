//! Inclusion proofs as texts (c2sp.org/tlog-proof@v1): what makes an entry verifiable offline, by anybody.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use agreements::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlog_tiles::Hash;

use super::note::{Checkpoint, MAX_CHECKPOINT, NoteError, Vkey};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The longest path in a tree of at most [`super::note::MAX_SIZE`] entries.
const MAX_PATH: usize = 53;
/// The longest proof that is read, in bytes.
pub const MAX_PROOF: usize = MAX_CHECKPOINT + 4 * 1024;

/// What a proof showed: the leaf is at `index` of the log whose head is `checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// The position of the leaf, from 0.
    pub index: u64,
    /// The head that the log signed.
    pub checkpoint: Checkpoint,
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Longer than [`MAX_PROOF`].
    #[error("the proof is longer than {MAX_PROOF} bytes")]
    Long,
    /// Not in the one written form.
    #[error("this is no {HEADER} text of index, path and checkpoint")]
    Form,
    /// The checkpoint in it is not accepted.
    #[error("the proof's checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The path does not lead from the leaf to the root.
    #[error("the leaf is not in the tree that the checkpoint states")]
    NotIncluded,
}

/// Checkpoints that were verified lately: one signature check serves all the proofs of a batch.
#[derive(Debug, Default)]
pub struct CheckpointCache {
    lately: Mutex<VecDeque<(Digest, Checkpoint)>>,
    /// Those that nobody took over yet, as they are written.
    fresh: Mutex<VecDeque<(Checkpoint, String)>>,
}

impl CheckpointCache {
    /// How many checkpoints are kept.
    pub const CAPACITY: usize = 64;
    /// How many wait to be taken over; beyond that the oldest are let go.
    pub const WAITING: usize = 4096;

    /// Forgets everything: the key of a log was replaced.
    pub fn forget(&self) {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The checkpoints that were verified since this was asked the last time.
    pub fn take_fresh(&self) -> Vec<(Checkpoint, String)> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    fn verify(&self, text: &str, vkey: &Vkey) -> Result<Checkpoint, NoteError> {
        // The key belongs to the name of what was verified: another log's key must not find it.
        let name = Digest::of(&[vkey.to_string().as_bytes(), b"\n", text.as_bytes()].concat());
        let known =
            |seen: &VecDeque<(Digest, Checkpoint)>| seen.iter().find(|(n, _)| *n == name).map(|(_, c)| c.clone());
        if let Some(checkpoint) = known(&self.lately.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(checkpoint);
        }
        let checkpoint = Checkpoint::verify(text, vkey)?;
        let mut seen = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if known(&seen).is_none() {
            seen.truncate(Self::CAPACITY - 1);
            seen.push_front((name, checkpoint.clone()));
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.len() >= Self::WAITING {
                fresh.pop_front();
            }
            fresh.push_back((checkpoint.clone(), text.to_owned()));
        }
        Ok(checkpoint)
    }
}

/// Checks that the log with `vkey` has a leaf of exactly these bytes, by the proof's text alone.
pub fn verify(proof: &str, leaf: &[u8], vkey: &Vkey) -> Result<Included, ProofError> {
    let parsed = Parsed::from_text(proof)?;
    parsed.included(leaf, Checkpoint::verify(parsed.checkpoint, vkey)?)
}

/// Like [`verify`], without checking again the signature of a checkpoint that `cache` has seen.
pub fn verify_with(proof: &str, leaf: &[u8], vkey: &Vkey, cache: &CheckpointCache) -> Result<Included, ProofError> {
    let parsed = Parsed::from_text(proof)?;
    parsed.included(leaf, cache.verify(parsed.checkpoint, vkey)?)
}

/// The signed checkpoint within a proof, with all signatures that are on it; not verified.
#[must_use]
pub fn checkpoint_of(proof: &str) -> Option<&str> {
    Parsed::from_text(proof).ok().map(|parsed| parsed.checkpoint)
}

/// The signed checkpoint at the end of a proof; empty where there is none.
#[must_use]
pub fn checkpoint(proof: &str) -> &str {
    proof.split_once("\n\n").map_or("", |(_, checkpoint)| checkpoint)
}

/// The text of a proof: `path` from the leaf's sibling up, under the signed `checkpoint`.
pub(crate) fn text(index: u64, path: &[Hash], checkpoint: &str) -> String {
    let mut text = format!("{HEADER}\nindex {index}\n");
    for hash in path {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{hash}");
    }
    text.push('\n');
    text.push_str(checkpoint);
    text
}

struct Parsed<'a> {
    index: u64,
    path: Vec<Hash>,
    checkpoint: &'a str,
}

impl<'a> Parsed<'a> {
    fn from_text(proof: &'a str) -> Result<Self, ProofError> {
        if proof.len() > MAX_PROOF {
            return Err(ProofError::Long);
        }
        let (header, rest) = proof.split_once('\n').ok_or(ProofError::Form)?;
        let (index, mut rest) = rest.split_once('\n').ok_or(ProofError::Form)?;
        let digits = index.strip_prefix("index ").ok_or(ProofError::Form)?;
        let index: u64 = digits.parse().map_err(|_| ProofError::Form)?;
        if header != HEADER || index.to_string() != digits {
            return Err(ProofError::Form);
        }
        let mut path = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(ProofError::Form)?;
            rest = after;
            if line.is_empty() {
                return Ok(Self { index, path, checkpoint: rest });
            }
            // The engine refuses missing padding and bits that do not count, so a hash has one written form.
            let hash = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(ProofError::Form)?;
            path.push(Hash(hash));
            if path.len() > MAX_PATH {
                return Err(ProofError::Form);
            }
        }
    }

    fn included(&self, leaf: &[u8], checkpoint: Checkpoint) -> Result<Included, ProofError> {
        let hash = tlog_tiles::record_hash(leaf);
        tlog_tiles::check_record(&self.path, checkpoint.size, Hash(checkpoint.root.0), self.index, hash)
            .map_err(|_| ProofError::NotIncluded)?;
        Ok(Included { index: self.index, checkpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::note::LogSigner as _;
    use crate::trail::testing::TestKey;
    use proptest::prelude::*;

    const LEAVES: [&[u8]; 3] = [b"zero", b"one", b"two"];

    /// The proof of each leaf of a tree of three, made by hand (RFC 6962, section 2.1.3).
    fn proofs(key: &TestKey) -> [String; 3] {
        let [zero, one, two] = LEAVES.map(tlog_tiles::record_hash);
        let left = tlog_tiles::node_hash(zero, one);
        let root = Digest(tlog_tiles::node_hash(left, two).0);
        let checkpoint = Checkpoint { origin: key.vkey().name().to_owned(), size: 3, root }.sign(key).unwrap();
        [text(0, &[one, two], &checkpoint), text(1, &[zero, two], &checkpoint), text(2, &[left], &checkpoint)]
    }

    #[test]
    fn a_proof_holds_for_its_leaf_alone() {
        let key = TestKey::new("alder.example/trail");
        let proofs = proofs(&key);
        for (index, proof) in proofs.iter().enumerate() {
            for (other, leaf) in LEAVES.iter().enumerate() {
                let result = verify(proof, leaf, key.vkey());
                assert_eq!(result.is_ok(), index == other, "{result:?}");
            }
        }
        let moved = proofs[0].replacen("index 0", "index 1", 1);
        assert_eq!(verify(&moved, LEAVES[0], key.vkey()), Err(ProofError::NotIncluded));
        let beyond = proofs[0].replacen("index 0", "index 3", 1);
        assert_eq!(verify(&beyond, LEAVES[0], key.vkey()), Err(ProofError::NotIncluded));
    }

    #[test]
    fn other_written_forms_are_refused() {
        let key = TestKey::new("alder.example/trail");
        let [proof, ..] = proofs(&key);
        let hash = proof.lines().nth(2).unwrap();
        let (canonical, laxer) = (format!("{hash}\n"), format!("{}\n", hash.trim_end_matches('=')));
        for wrong in [
            proof.replacen("@v1", "@v2", 1),
            proof.replacen("index 0", "index 00", 1),
            proof.replacen("index 0", "index +0", 1),
            proof.replacen("index 0", "index 18446744073709551616", 1),
            proof.replacen("index 0", "extra AA==\nindex 0", 1),
            proof.replacen(&canonical, &laxer, 1),
            proof.replacen(&canonical, &canonical.repeat(MAX_PATH), 1),
            proof.replace('\n', "\r\n"),
            proof[..proof.len() / 3].to_owned(),
            String::new(),
        ] {
            assert_eq!(verify(&wrong, LEAVES[0], key.vkey()), Err(ProofError::Form), "{wrong}");
        }
        let long = proof.clone() + &"a".repeat(MAX_PROOF);
        assert_eq!(verify(&long, LEAVES[0], key.vkey()), Err(ProofError::Long));
        let unsigned = proof.rsplit_once("\n\n").unwrap().0.to_owned() + "\n\n";
        assert!(matches!(verify(&unsigned, LEAVES[0], key.vkey()), Err(ProofError::Checkpoint(_))));
    }

    #[test]
    fn a_cached_checkpoint_does_not_serve_another_key_and_the_cache_stays_small() {
        let key = TestKey::new("alder.example/trail");
        let namesake = TestKey::new("alder.example/trail");
        let cache = CheckpointCache::default();
        let [proof, ..] = proofs(&key);
        for _ in 0..2 {
            assert!(verify_with(&proof, LEAVES[0], key.vkey(), &cache).is_ok());
            let refused = verify_with(&proof, LEAVES[0], namesake.vkey(), &cache);
            assert_eq!(refused, Err(ProofError::Checkpoint(NoteError::Signature)));
            assert_eq!(verify_with(&proof, LEAVES[1], key.vkey(), &cache), Err(ProofError::NotIncluded));
        }
        assert_eq!(cache.lately.lock().unwrap().len(), 1);
        for size in 4..100 {
            let head = Checkpoint { origin: key.vkey().name().to_owned(), size, root: Digest([0; 32]) };
            cache.verify(&head.sign(&key).unwrap(), key.vkey()).unwrap();
        }
        assert_eq!(cache.lately.lock().unwrap().len(), CheckpointCache::CAPACITY);
        assert_eq!(cache.take_fresh().len(), 97, "each is taken over once");
        assert_eq!(cache.take_fresh(), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_byte_of_a_proof_can_change(at in any::<prop::sample::Index>(), flip in 1u8..128) {
            let key = TestKey::new("alder.example/trail");
            let [proof, ..] = proofs(&key);
            let mut bytes = proof.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(verify(&changed, LEAVES[0], key.vkey()).is_err(), "{}", changed);
            }
        }

        #[test]
        fn whatever_is_read_does_not_panic(text in "(c2sp.org/tlog-proof@v1\n)?(index [0-9]{1,20}\n)?([A-Za-z0-9+/=]{44}\n){0,3}\n?.*") {
            let key = TestKey::new("alder.example/trail");
            prop_assert!(verify(&text, b"leaf", key.vkey()).is_err());
        }
    }
}
