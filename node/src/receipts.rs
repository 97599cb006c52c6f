//! Receipts as files: entries of logs that verify from these files alone, without a node, a network or anybody's help.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::entry::{Leaf, LeafError};
use agreements::ids::{Digest, Ori, RequestId, Salt, SaltError};
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use tempfile::NamedTempFile;

use crate::auditing::{self, ReceiptError};
use crate::db::Conn;
use crate::exchange::partner::Partners;
use crate::publishing::Cosigned;
use crate::registry::exchanged::{self, Receipt};
use crate::trail::cosignature::SignedText;
use crate::trail::head::HeadError;
use crate::trail::note::{NoteError, Vkey};
use crate::trail::policy::Policy;
use crate::trail::proof::{self, Included, ProofError};
use crate::trail::{append, search};

/// What the name of a proof's file ends with (c2sp.org/tlog-proof); its other parts are beside it under the same name.
pub const PROOF: &str = "tlog-proof";
const LEAF: &str = "leaf";
const MESSAGE: &str = "message";
const SALT: &str = "salt";
const VKEY: &str = "vkey";
/// The longest part that is read, in bytes.
const MAX_PART: u64 = 16 * 1024 * 1024;
/// How many receipts are held at a time.
const PAGE: i64 = 256;

/// A file is not written or read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub why: io::Error,
}

/// Why files are no receipt.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A part is missing or cannot be read.
    #[error("{0}; a receipt is five files of one name: .tlog-proof, .leaf, .message, .salt and .vkey")]
    File(#[from] FileError),
    /// The leaf is no leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The salt is none.
    #[error(transparent)]
    Salt(#[from] SaltError),
    /// The key is none, or the checkpoint no note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The leaf commits to another message.
    #[error("its leaf does not commit to its message with its salt")]
    Commitment,
    /// The proof does not lead from the leaf to a head that the key signed.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Another key than those that were asked for.
    #[error("it is of log {0}, which is none of those that count here")]
    OtherLog(String),
    /// Not enough witnesses cosigned the head.
    #[error("no quorum of the policy's witnesses cosigned the head that it leads to")]
    Unwitnessed,
}

/// An entry with everything that it takes to verify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Its canonical leaf.
    pub leaf: Vec<u8>,
    /// Its message, as it was sent.
    pub message: Vec<u8>,
    /// The message's salt.
    pub salt: Salt,
    /// tlog-proof@v1.
    pub proof: String,
    /// The key of its log.
    pub vkey: Vkey,
}

/// What makes a receipt count.
#[derive(Debug, Default)]
pub struct Demands {
    /// Only logs with one of these keys; any when there are none.
    pub logs: Vec<Vkey>,
    /// A quorum of these witnesses; and only this policy's logs, where it names any.
    pub policy: Option<Policy>,
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The leaf.
    pub leaf: Leaf,
    /// The leaf's hash, by which other entries name it.
    pub hash: Digest,
    /// Where it is, under which head.
    pub included: Included,
    /// Which entry it answers, by that one's leaf hash.
    pub answers: Option<Digest>,
    /// Since when a quorum of witnesses has cosigned that head, where a policy was given that asks for one.
    pub witnessed: Option<Instant>,
}

impl Parts {
    /// Writes the parts into `folder`, named after the entry's id. The path of the proof.
    ///
    /// # Errors
    /// The leaf is none, or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Fault> {
        let leaf = Leaf::from_bytes(&self.leaf)?;
        let path = folder.join(format!("{}.{PROOF}", leaf.rid));
        fs::create_dir_all(folder).map_err(|why| FileError { path: folder.to_owned(), why })?;
        let (salt, vkey) = (format!("{}\n", self.salt), format!("{}\n", self.vkey));
        put(&path.with_extension(LEAF), &self.leaf)?;
        put(&path.with_extension(MESSAGE), &self.message)?;
        put(&path.with_extension(SALT), salt.as_bytes())?;
        put(&path.with_extension(VKEY), vkey.as_bytes())?;
        // Whoever finds the proof finds the rest.
        put(&path, self.proof.as_bytes())?;
        Ok(path)
    }

    /// Reads the parts beside the proof at `path`.
    ///
    /// # Errors
    /// One is missing, too long, or not what its name says.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let text = |ending: &str| {
            let path = path.with_extension(ending);
            let invalid = |_| FileError { path: path.clone(), why: io::Error::other("it is not UTF-8") };
            String::from_utf8(part(&path)?).map_err(invalid)
        };
        // One newline at the end, as text files have it.
        let line = |ending: &str| text(ending).map(|text| text.strip_suffix('\n').unwrap_or(&text).to_owned());
        Ok(Self {
            leaf: part(&path.with_extension(LEAF))?,
            message: part(&path.with_extension(MESSAGE))?,
            salt: line(SALT)?.parse()?,
            proof: text(PROOF)?,
            vkey: line(VKEY)?.parse()?,
        })
    }

    /// Verifies the entry by these parts alone. Whose the log's key is, is for who verifies to know: the agreement that both
    /// agencies signed names it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn verify(&self, demands: &Demands) -> Result<Proven, Fault> {
        let leaf = Leaf::from_bytes(&self.leaf)?;
        if Digest::salted(&self.salt, &self.message) != leaf.message {
            return Err(Fault::Commitment);
        }
        let included = proof::verify(&self.proof, &self.leaf, &self.vkey)?;
        let other = !demands.logs.is_empty() && !demands.logs.contains(&self.vkey);
        let named = demands.policy.as_ref().map(Policy::logs).unwrap_or_default();
        if other || !named.is_empty() && named.iter().all(|log| log.vkey != self.vkey) {
            return Err(Fault::OtherLog(self.vkey.to_string()));
        }
        let witnessed = demands.policy.as_ref().map(|policy| self.witnessed(policy)).transpose()?;
        let answers = auditing::named(leaf.kind, &self.message);
        // A policy that asks for nobody says nothing about when.
        let witnessed = witnessed.filter(|at| *at < Instant::from_micros(i64::MAX));
        Ok(Proven { hash: Leaf::hash_of(&self.leaf), leaf, included, answers, witnessed })
    }

    fn witnessed(&self, policy: &Policy) -> Result<Instant, Fault> {
        let note = SignedText::parse(proof::checkpoint_of(&self.proof).unwrap_or_default())?;
        // A log does not witness itself.
        let at = policy.witnessed(&note, |witness| witness.key.key() != self.vkey.key());
        at.ok_or(Fault::Unwitnessed)
    }
}

fn part(path: &Path) -> Result<Vec<u8>, FileError> {
    let cannot = |why| FileError { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(cannot)?.take(MAX_PART + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_PART {
        return Err(cannot(io::Error::other(format!("it is longer than {MAX_PART} bytes"))));
    }
    Ok(bytes)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let cannot = |why| FileError { path: path.to_owned(), why };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(cannot)?;
    file.write_all(bytes).map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    Ok(())
}

/// The proofs that these paths are, or that are in the folders that they are and in those of these.
///
/// # Errors
/// A folder cannot be read.
pub fn proofs(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    let mut wait: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    while let Some(path) = wait.pop() {
        if !path.is_dir() {
            found.push(path);
            continue;
        }
        let cannot = |why| FileError { path: path.clone(), why };
        let inside = fs::read_dir(&path).map_err(cannot)?.map(|entry| entry.map(|entry| entry.path()));
        let mut inside = inside.collect::<io::Result<Vec<_>>>().map_err(cannot)?;
        inside.retain(|path| {
            path.extension().is_some_and(|ending| ending == PROOF) || path.is_dir() && !path.is_symlink()
        });
        inside.sort_unstable_by(|a, b| b.cmp(a));
        wait.extend(inside);
    }
    Ok(found)
}

/// What was exported.
#[derive(Debug, Default)]
pub struct Exported {
    /// How many receipts.
    pub receipts: u64,
    /// How many entries of our own they belong to.
    pub own: u64,
    /// Receipts that do not verify here, which are not written, and why.
    pub refused: Vec<(Digest, String)>,
}

/// Why nothing more was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The caller asked to stop.
    #[error("stopped before the end")]
    Stopped,
    /// A file cannot be written, or what should be is no receipt.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The trail is not what its head says.
    #[error("{0}; run `concordat trail verify`, which names what is wrong")]
    Trail(#[from] HeadError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Writes every receipt that is kept here (or those for our entry `of`) into `folder`, by agency, and the entry of ours that
/// each belongs to: a question and the answer to it stand or fall together. Own entries are proven under the `cosigned` head
/// where that has them.
///
/// # Errors
/// See [`ExportError`]. What was written stays.
pub fn export(
    conn: &mut Conn,
    (us, vkey): (Ori, &Vkey),
    cosigned: &Cosigned,
    of: Option<RequestId>,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
    stop: &AtomicBool,
) -> Result<Exported, ExportError> {
    let partners = Partners::load(conn)?;
    let mut exported = Exported::default();
    let (mut after, mut last_own) = (None, None);
    loop {
        let page = exchanged::receipts_after(conn, of, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(exported) };
        after = Some(last.leaf_hash);
        for receipt in page {
            if stop.load(Ordering::SeqCst) {
                return Err(ExportError::Stopped);
            }
            let of = receipt.of;
            match verified(conn, &partners, &receipt)? {
                Ok(vkey) => {
                    let Receipt { origin, leaf, message, salt, proof, .. } = receipt;
                    Parts { leaf, message, salt, proof, vkey }.write(&folder.join(origin.as_str()))?;
                    exported.receipts += 1;
                }
                Err(why) => {
                    exported.refused.push((receipt.leaf_hash, why.to_string()));
                    continue;
                }
            }
            if last_own != Some(of)
                && let Some(own) = own(conn, of, vkey, cosigned)?
            {
                own.write(&folder.join(us.as_str()))?;
                exported.own += 1;
            }
            last_own = Some(of);
        }
        progress(exported.receipts);
    }
}

fn verified(conn: &mut Conn, partners: &Partners, receipt: &Receipt) -> QueryResult<Result<Vkey, ReceiptError>> {
    Ok(auditing::verify_receipt_of(conn, partners, receipt)?.map(|(_, vkey)| vkey))
}

/// An entry of ours with its proof; `None` when what it says was deleted after its retention.
fn own(conn: &mut Conn, rid: RequestId, vkey: &Vkey, cosigned: &Cosigned) -> Result<Option<Parts>, HeadError> {
    let stored = match append::stored(conn, rid) {
        Err(Error::NotFound) => None,
        stored => stored?,
    };
    let (Some(stored), Some(proof)) = (stored, search::prove_under(conn, rid, cosigned.vouched())?) else {
        return Ok(None);
    };
    Ok(Some(Parts { leaf: stored.leaf, message: stored.message, salt: stored.salt, proof, vkey: vkey.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock as _;
    use crate::trail::cosignature::Cosigner;
    use crate::trail::note::LogSigner as _;
    use crate::trail::testing::{TestTrail, draft};
    use certs::key::SigningKey;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    /// The parts of an entry of a trail, its head cosigned by `witnesses`.
    fn parts(trail: &TestTrail, witnesses: &[&Cosigner]) -> Parts {
        let db = trail.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let entry = draft(trail.clock.now(), 1);
        let rid = entry.rid;
        runtime.block_on(db.record(move |tx| tx.append(entry))).unwrap();
        let mut conn = trail.connect();
        let mut parts = own(&mut conn, rid, trail.key.vkey(), &Cosigned::default()).unwrap().unwrap();
        let checkpoint = proof::checkpoint_of(&parts.proof).unwrap();
        let note = SignedText::parse(checkpoint).unwrap();
        for witness in witnesses {
            parts.proof += &witness.cosign(&note, at("2026-11-23T20:18:00Z")).unwrap();
        }
        parts
    }

    fn witness(name: &str) -> Cosigner {
        Cosigner::new(name, SigningKey::generate_ed25519().unwrap()).unwrap()
    }

    #[test]
    fn a_policy_wants_a_quorum_and_its_logs() {
        let trail = TestTrail::new();
        let (one, two, stranger) = (witness("w.test/1"), witness("w.test/2"), witness("w.test/1"));
        let lines = format!("witness a {}\nwitness b {}\n", one.public(), two.public());
        let policy = |text: &str| Demands { logs: vec![], policy: Some(Policy::parse(text.as_bytes()).unwrap()) };
        let both = policy(&format!("{lines}group q all a b\nquorum q\n"));
        let any = policy(&format!("{lines}group q any a b\nquorum q\n"));
        let none = policy(&format!("{lines}quorum none\n"));
        let half = parts(&trail, &[&one, &stranger]);
        assert!(matches!(half.verify(&both), Err(Fault::Unwitnessed)));
        assert_eq!(half.verify(&any).unwrap().witnessed, Some(at("2026-11-23T20:18:00Z")));
        assert_eq!(half.verify(&none).unwrap().witnessed, None);
        assert_eq!(half.verify(&Demands::default()).unwrap().witnessed, None);
        let log = |vkey: &Vkey| policy(&format!("log {vkey}\n{lines}group q any a b\nquorum q\n"));
        assert!(half.verify(&log(trail.key.vkey())).is_ok());
        let other = TestTrail::new();
        assert!(matches!(half.verify(&log(other.key.vkey())), Err(Fault::OtherLog(_))));
    }

    #[test]
    fn files_go_round_and_other_salts_keys_and_names_do_not_verify() {
        let trail = TestTrail::new();
        let folder = tempfile::tempdir().unwrap();
        let parts = parts(&trail, &[]);
        let path = parts.write(&folder.path().join("CA0990100")).unwrap();
        assert_eq!(Parts::read(&path).unwrap(), parts);
        assert_eq!(receipt_files(folder.path()), std::slice::from_ref(&path));
        for (ending, text) in [("salt", "abc\n"), ("vkey", "alder\n"), ("salt", ""), ("vkey", "")] {
            let part = path.with_extension(ending);
            let kept = fs::read(&part).unwrap();
            fs::write(&part, text).unwrap();
            assert!(Parts::read(&path).is_err(), "{ending}: {text:?}");
            fs::write(&part, kept).unwrap();
        }
        let other = Parts { salt: Salt([7; 32]), ..parts.clone() };
        assert!(matches!(other.verify(&Demands::default()), Err(Fault::Commitment)));
        let long = fs::OpenOptions::new().write(true).open(path.with_extension(MESSAGE)).unwrap();
        long.set_len(MAX_PART + 1).unwrap();
        assert!(matches!(Parts::read(&path), Err(Fault::File(_))));
    }

    fn receipt_files(folder: &Path) -> Vec<PathBuf> {
        proofs(&[folder.to_owned()]).unwrap()
    }
}
