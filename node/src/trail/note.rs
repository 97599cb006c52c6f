//! Checkpoints: signed statements of the size and root of a log (c2sp.org/tlog-checkpoint over c2sp.org/signed-note).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use agreements::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Note, Signature, StandardVerifier, Verifier as _, VerifierList};

/// The longest checkpoint that is read, in bytes: the log's signature and those of some hundred witnesses.
pub const MAX_CHECKPOINT: usize = 16 * 1024;
/// The largest tree that is read: sizes are kept as 64-bit signed integers, and tiles of height 8 end below 2^56.
pub const MAX_SIZE: u64 = 1 << 53;
/// The signature type of Ed25519 in signed notes.
const ED25519: u8 = 1;

/// The public half of a log's key, with the log's origin as its name. Written `name+hexkeyid+base64` (signed-note,
/// verifier keys).
#[derive(Clone)]
pub struct Vkey {
    name: String,
    key: [u8; 32],
    verifier: StandardVerifier,
}

/// Signs the heads of one log with its Ed25519 key.
pub trait LogSigner: Send + Sync {
    /// The public half; its name is the log's origin.
    fn vkey(&self) -> &Vkey;

    /// The Ed25519 signature (RFC 8032) of `message`.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;

    /// Other keys of this node under the same name, looked up anew: another process may have put one in the place of this
    /// one, or be about to. Whichever of them signed the head is the log's.
    fn others(&self) -> Vec<Arc<dyn LogSigner>> {
        Vec::new()
    }
}

/// The log's key did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log's key did not sign the head")]
pub struct SignError;

/// Why a checkpoint or a verifier key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// No verifier key in its one written form.
    #[error("a verifier key is written name+hexkeyid+base64 with an Ed25519 key")]
    Vkey,
    /// No key of a witness in its one written form.
    #[error("a witness's key is written name+hexkeyid+base64 with an Ed25519 key of signature type 4")]
    Cosigner,
    /// Longer than [`MAX_CHECKPOINT`].
    #[error("the checkpoint is longer than {MAX_CHECKPOINT} bytes")]
    Long,
    /// Not a checkpoint of three lines with signatures.
    #[error("this is no signed checkpoint of origin, size and root")]
    Form,
    /// Another log's.
    #[error("the checkpoint is of another origin than the key")]
    Origin,
    /// The key did not sign it.
    #[error("the checkpoint does not carry the log's valid signature")]
    Signature,
}

impl Vkey {
    /// The verifier key of the log named `name` with the Ed25519 public key `key` (32 bytes, RFC 8032).
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if !signed_note::is_key_name_valid(name) || name.chars().any(char::is_control) {
            return Err(NoteError::Vkey);
        }
        let verifier = StandardVerifier::new(&written(name, &key)).map_err(|_| NoteError::Vkey)?;
        Ok(Self { name: name.to_owned(), key, verifier })
    }

    /// The key's name: the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether this key signed the note `text`, whatever it says.
    #[must_use]
    pub fn signed(&self, text: &str) -> bool {
        let known = VerifierList::new(vec![Box::new(self.verifier.clone())]);
        text.len() <= MAX_CHECKPOINT && Note::from_bytes(text.as_bytes()).is_ok_and(|note| note.verify(&known).is_ok())
    }
}

fn written(name: &str, key: &[u8; 32]) -> String {
    let typed = [&[ED25519], key.as_slice()].concat();
    format!("{name}+{:08x}+{}", signed_note::key_id(name, &typed), STANDARD.encode(&typed))
}

impl FromStr for Vkey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, rest) = text.split_once('+').ok_or(NoteError::Vkey)?;
        let (_, key) = rest.split_once('+').ok_or(NoteError::Vkey)?;
        let typed: [u8; 33] =
            STANDARD.decode(key).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoteError::Vkey)?;
        let [_, key @ ..] = typed;
        let vkey = Self::new(name, key)?;
        if vkey.to_string() == text { Ok(vkey) } else { Err(NoteError::Vkey) }
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&self.name, &self.key))
    }
}

impl fmt::Debug for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vkey({}+{:08x})", self.name, self.verifier.key_id())
    }
}

impl PartialEq for Vkey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.key == other.key
    }
}

impl Eq for Vkey {}

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree of those entries (RFC 6962, section 2.1).
    pub root: Digest,
}

impl Checkpoint {
    /// The signed text of this head. The signer's name must be the origin.
    pub fn sign(&self, signer: &dyn LogSigner) -> Result<String, SignError> {
        let vkey = signer.vkey();
        let body = self.body();
        let signature = signer.sign(body.as_bytes())?;
        let line = Signature::new(vkey.name.clone(), vkey.verifier.key_id(), signature.to_vec());
        let note = line.and_then(|line| Note::new(body.as_bytes(), &[line])).map_err(|_| SignError)?;
        let text = String::from_utf8(note.to_bytes()).map_err(|_| SignError)?;
        // A key file whose halves do not belong together must not put unverifiable heads into the log.
        match Self::verify(&text, vkey) {
            Ok(read) if read == *self => Ok(text),
            _ => Err(SignError),
        }
    }

    /// The head that `text` states, if the log with `vkey` signed it. Other signatures (of witnesses) are not looked at.
    pub fn verify(text: &str, vkey: &Vkey) -> Result<Self, NoteError> {
        if text.len() > MAX_CHECKPOINT {
            return Err(NoteError::Long);
        }
        let note = Note::from_bytes(text.as_bytes()).map_err(|_| NoteError::Form)?;
        let body = std::str::from_utf8(note.text()).map_err(|_| NoteError::Form)?;
        let head = Self::parse(body)?;
        if head.origin != vkey.name {
            return Err(NoteError::Origin);
        }
        let known = VerifierList::new(vec![Box::new(vkey.verifier.clone())]);
        note.verify(&known).map_err(|_| NoteError::Signature)?;
        Ok(head)
    }

    /// The head that `text` states, whoever signed it.
    pub(crate) fn stated(text: &str) -> Result<Self, NoteError> {
        let note = Note::from_bytes(text.as_bytes()).map_err(|_| NoteError::Form)?;
        Self::parse(std::str::from_utf8(note.text()).map_err(|_| NoteError::Form)?)
    }

    fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Only the form that [`Self::body`] writes: no extension lines, no leading zeros, canonical base64.
    fn parse(body: &str) -> Result<Self, NoteError> {
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Form);
        };
        let root: [u8; 32] =
            STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoteError::Form)?;
        let head =
            Self { origin: origin.to_owned(), size: size.parse().map_err(|_| NoteError::Form)?, root: Digest(root) };
        if head.size > MAX_SIZE || head.body() != body {
            return Err(NoteError::Form);
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::testing::TestKey;

    fn head(size: u64) -> Checkpoint {
        Checkpoint { origin: "alder.example/trail".into(), size, root: Digest([7; 32]) }
    }

    #[test]
    fn the_vkey_of_the_specification_goes_round() {
        // The example of c2sp.org/signed-note and of Go's golang.org/x/mod/sumdb/note.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let vkey: Vkey = text.parse().unwrap();
        assert_eq!((vkey.to_string(), vkey.name()), (text.to_owned(), "PeterNeumann"));
        for wrong in [
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann",
            "",
        ] {
            assert_eq!(wrong.parse::<Vkey>(), Err(NoteError::Vkey), "{wrong}");
        }
    }

    #[test]
    fn a_signature_of_another_implementation_verifies() {
        // golang.org/x/mod/sumdb/note, example of Note: signed there, by the key above.
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let vkey: Vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note = Note::from_bytes(text.as_bytes()).unwrap();
        assert!(note.verify(&VerifierList::new(vec![Box::new(vkey.verifier.clone())])).is_ok());
        assert_eq!(Checkpoint::verify(text, &vkey), Err(NoteError::Form), "a note, but no checkpoint");
    }

    #[test]
    fn only_the_logs_own_signature_over_exactly_this_head_counts() {
        let key = TestKey::new("alder.example/trail");
        let text = head(5).sign(&key).unwrap();
        assert_eq!(Checkpoint::verify(&text, key.vkey()), Ok(head(5)));
        let witness = TestKey::new("witness.example/w1");
        let line = Signature::new("witness.example/w1".into(), 9, vec![1; 72]).unwrap();
        let cosigned = format!("{text}{}", String::from_utf8(line.to_bytes()).unwrap());
        assert_eq!(Checkpoint::verify(&cosigned, key.vkey()), Ok(head(5)));
        assert_eq!(Checkpoint::verify(&text, witness.vkey()), Err(NoteError::Origin));
        let namesake = TestKey::new("alder.example/trail");
        assert_eq!(Checkpoint::verify(&text, namesake.vkey()), Err(NoteError::Signature));
        assert_eq!(Checkpoint::verify(&text.replacen("\n5\n", "\n6\n", 1), key.vkey()), Err(NoteError::Signature));
    }

    #[test]
    fn other_forms_of_a_checkpoint_are_refused_though_signed() {
        let key = TestKey::new("alder.example/trail");
        let root = STANDARD.encode([7; 32]);
        for body in [
            format!("alder.example/trail\n05\n{root}\n"),
            format!("alder.example/trail\n+5\n{root}\n"),
            format!("alder.example/trail\n5\n{root}\nextension\n"),
            format!("alder.example/trail\n5\n{}\n", &root[..43]),
            format!("alder.example/trail\n9007199254740993\n{root}\n"),
            "alder.example/trail\n5\n".to_owned(),
        ] {
            let signature = key.sign(body.as_bytes()).unwrap();
            let line =
                Signature::new(key.vkey().name.clone(), key.vkey().verifier.key_id(), signature.to_vec()).unwrap();
            let text = String::from_utf8(Note::new(body.as_bytes(), &[line]).unwrap().to_bytes()).unwrap();
            assert_eq!(Checkpoint::verify(&text, key.vkey()), Err(NoteError::Form), "{body}");
        }
        assert_eq!(Checkpoint::verify(&"a".repeat(MAX_CHECKPOINT + 1), key.vkey()), Err(NoteError::Long));
        assert_eq!(Checkpoint::verify("", key.vkey()), Err(NoteError::Form));
    }
}
