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
pub struct CheckpointCache(Mutex<VecDeque<(Digest, Checkpoint)>>);

impl CheckpointCache {
    /// How many checkpoints are kept.
    pub const CAPACITY: usize = 64;

    fn verify(&self, text: &str, vkey: &Vkey) -> Result<Checkpoint, NoteError> {
        // The key belongs to the name of what was verified: another log's key must not find it.
        let name = Digest::of(&[vkey.to_string().as_bytes(), b"\n", text.as_bytes()].concat());
        let known =
            |seen: &VecDeque<(Digest, Checkpoint)>| seen.iter().find(|(n, _)| *n == name).map(|(_, c)| c.clone());
        if let Some(checkpoint) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(checkpoint);
        }
        let checkpoint = Checkpoint::verify(text, vkey)?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known(&seen).is_none() {
            seen.truncate(Self::CAPACITY - 1);
            seen.push_front((name, checkpoint.clone()));
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
