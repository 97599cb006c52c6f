//! What is asked of a witness: `add-checkpoint` (c2sp.org/tlog-witness).

use std::fmt::Write as _;

use agreements::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlog_tiles::{Checkpoint, Hash};

use crate::trail::cosignature::SignedText;
use crate::trail::note::{MAX_CHECKPOINT, MAX_SIZE};

/// The most lines of a consistency proof.
const MAX_PROOF: usize = 63;
/// The longest request that is read, in bytes.
pub const MAX_REQUEST: usize = MAX_CHECKPOINT + 64 * (MAX_PROOF + 1);

/// A head that somebody shows to a witness, and how it follows from an earlier one.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The size of the earlier head.
    pub old: u64,
    /// From the earlier head to this one (RFC 6962, section 2.1.2).
    pub proof: Vec<Hash>,
    /// The signed text.
    pub checkpoint: String,
    /// The same taken apart.
    pub note: SignedText,
    /// The log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree of those entries.
    pub root: Digest,
}

impl Shown {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// A sentence that says what belongs there.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        if body.len() > MAX_REQUEST {
            return Err("the request is too long");
        }
        let text = std::str::from_utf8(body).map_err(|_| "the request is not UTF-8")?;
        let (first, mut rest) = text.split_once('\n').ok_or("the first line is `old <size>`")?;
        let old = first.strip_prefix("old ").and_then(decimal).ok_or("the first line is `old <size>`")?;
        let mut proof = Vec::new();
        let checkpoint = loop {
            let (line, after) = rest.split_once('\n').ok_or("an empty line comes before the checkpoint")?;
            rest = after;
            if line.is_empty() {
                break rest;
            }
            let hash = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
            proof.push(Hash(hash.ok_or("a line of the proof is one hash in base64")?));
            if proof.len() > MAX_PROOF {
                return Err("a proof has at most 63 lines");
            }
        };
        let note = SignedText::parse(checkpoint).map_err(|_| "the checkpoint is no signed note")?;
        // The whole body is cosigned, lines of extensions included; nothing is said about these.
        let head = Checkpoint::from_bytes(note.body().as_bytes());
        let head = head.map_err(|_| "the checkpoint is not one of origin, size and root")?;
        if head.size() > MAX_SIZE {
            return Err("no log is as large as this checkpoint says");
        }
        Ok(Self {
            old,
            proof,
            checkpoint: checkpoint.to_owned(),
            origin: head.origin().to_owned(),
            size: head.size(),
            root: Digest(head.hash().0),
            note,
        })
    }

    /// The body that says so.
    #[must_use]
    pub fn body(old: u64, proof: &[Hash], checkpoint: &str) -> String {
        let mut body = format!("old {old}\n");
        for hash in proof {
            // Writing to a String does not fail.
            let _ = writeln!(body, "{hash}");
        }
        body.push('\n');
        body.push_str(checkpoint);
        body
    }
}

/// A number in its one written form.
#[must_use]
pub fn decimal(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number: &u64| number.to_string() == digits)
}

/// Whether the tree of `new` entries begins with that of `old`, by a proof of RFC 6962, section 2.1.2.
#[must_use]
pub fn extends(proof: &[Hash], old: (u64, Digest), new: (u64, Digest)) -> bool {
    match (old.0, new.0) {
        // Of nothing everything is an extension, and the proof must be empty. Nothing itself has one root.
        (0, after) => proof.is_empty() && (after > 0 || new.1 == Digest::of(b"")),
        (before, after) if before > after => false,
        (before, after) => tlog_tiles::check_tree(&proof.to_vec(), after, Hash(new.1.0), before, Hash(old.1.0)).is_ok(),
    }
}
