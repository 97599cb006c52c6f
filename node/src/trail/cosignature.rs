//! Cosignatures (c2sp.org/tlog-cosignature, `cosignature/v1` with Ed25519): a witness's statement that, at a time, a head was
//! the largest that it had seen of a log and consistent with all before it.

use std::fmt;
use std::str::FromStr;

use agreements::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::key::{PublicKey, SigningKey};
use signed_note::{Note, Signature};

use super::note::NoteError;

/// The signature type of Ed25519 cosignatures in signed notes.
const TYPE: u8 = 4;
/// The length of a timestamped signature, in bytes.
const LENGTH: usize = 8 + 64;
const MICROS: u64 = Instant::SECOND.unsigned_abs();

/// The public half of a witness's key, with the witness's name. Written `name+hexkeyid+base64` (signed-note, verifier keys)
/// with signature type 4.
#[derive(Clone)]
pub struct CosignerKey {
    name: String,
    key: [u8; 32],
    id: u32,
    public: PublicKey,
}

impl CosignerKey {
    /// The key of the witness named `name` with the Ed25519 public key `key` (32 bytes, RFC 8032).
    ///
    /// # Errors
    /// [`NoteError::Cosigner`].
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if !signed_note::is_key_name_valid(name) || name.chars().any(char::is_control) {
            return Err(NoteError::Cosigner);
        }
        let public = PublicKey::from_ed25519_bytes(key).map_err(|_| NoteError::Cosigner)?;
        Ok(Self { name: name.to_owned(), key, id: signed_note::key_id(name, &typed(&key)), public })
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The newest of this witness's cosignatures on a signed note, as the instant at which it was made. `None` where there
    /// is none that verifies; signatures of others are not looked at.
    #[must_use]
    pub fn cosigned(&self, note: &SignedText) -> Option<Instant> {
        note.signatures.iter().filter_map(|line| self.verify(note, line)).max()
    }

    /// When `line` was made, if it is this witness's cosignature on `note`.
    fn verify(&self, note: &SignedText, line: &Signature) -> Option<Instant> {
        if line.name() != self.name || line.id() != self.id {
            return None;
        }
        let signature: &[u8; LENGTH] = line.signature().try_into().ok()?;
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let seconds = u64::from_be_bytes(*time);
        let micros = i64::try_from(seconds.checked_mul(MICROS)?).ok()?;
        let valid = self.public.verify(&message(seconds, &note.body), signature);
        valid.then(|| Instant::from_micros(micros))
    }
}

fn typed(key: &[u8; 32]) -> Vec<u8> {
    [&[TYPE], key.as_slice()].concat()
}

/// What is signed: two lines, and the whole body of the note.
fn message(seconds: u64, body: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{body}").into_bytes()
}

impl FromStr for CosignerKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, rest) = text.split_once('+').ok_or(NoteError::Cosigner)?;
        let (_, key) = rest.split_once('+').ok_or(NoteError::Cosigner)?;
        let typed: [u8; 33] =
            STANDARD.decode(key).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoteError::Cosigner)?;
        let [_, key @ ..] = typed;
        let cosigner = Self::new(name, key)?;
        if cosigner.to_string() == text { Ok(cosigner) } else { Err(NoteError::Cosigner) }
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(typed(&self.key)))
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({}+{:08x})", self.name, self.id)
    }
}

impl PartialEq for CosignerKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.key == other.key
    }
}

impl Eq for CosignerKey {}

/// A witness's key with its name: what makes cosignatures.
pub struct Cosigner {
    key: SigningKey,
    public: CosignerKey,
}

impl Cosigner {
    /// The witness named `name` with this Ed25519 key.
    ///
    /// # Errors
    /// [`NoteError::Cosigner`].
    pub fn new(name: &str, key: SigningKey) -> Result<Self, NoteError> {
        let raw = key.public().ed25519_bytes().ok_or(NoteError::Cosigner)?;
        Ok(Self { public: CosignerKey::new(name, raw)?, key })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &CosignerKey {
        &self.public
    }

    /// A signature line, newline included, that says that `note` was seen at `now`.
    ///
    /// # Errors
    /// [`NoteError::Cosigner`]: the key did not sign, or it is before 1970.
    pub fn cosign(&self, note: &SignedText, now: Instant) -> Result<String, NoteError> {
        let seconds = u64::try_from(now.micros()).map_err(|_| NoteError::Cosigner)? / MICROS;
        let signature = self.key.sign(&message(seconds, &note.body)).map_err(|_| NoteError::Cosigner)?;
        let signature = [seconds.to_be_bytes().as_slice(), &signature].concat();
        let line = Signature::new(self.public.name.clone(), self.public.id, signature);
        let line = line.map_err(|_| NoteError::Cosigner)?;
        // A key file whose halves do not belong together must not give out lines that nobody can verify.
        if self.public.verify(note, &line).is_none() {
            return Err(NoteError::Cosigner);
        }
        String::from_utf8(line.to_bytes()).map_err(|_| NoteError::Cosigner)
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({:?})", self.public)
    }
}

/// A signed note taken apart: its body, and whatever signatures are on it. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedText {
    body: String,
    signatures: Vec<Signature>,
}

impl SignedText {
    /// The note that `text` is.
    ///
    /// # Errors
    /// [`NoteError::Long`] or [`NoteError::Form`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > super::note::MAX_CHECKPOINT {
            return Err(NoteError::Long);
        }
        let note = Note::from_bytes(text.as_bytes()).map_err(|_| NoteError::Form)?;
        let body = std::str::from_utf8(note.text()).map_err(|_| NoteError::Form)?.to_owned();
        // The library gives the body alone: the lines after it are read again, as it read them.
        let lines = text.get(body.len() + 1..).ok_or(NoteError::Form)?;
        Ok(Self { signatures: lines_of(lines)?, body })
    }

    /// The signed text, final newline included.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Name and key id of the first signature: the log's own, where the log wrote the note.
    pub(crate) fn first_signer(&self) -> Option<(&str, u32)> {
        self.signatures.first().map(|line| (line.name(), line.id()))
    }

    /// How many signatures it has.
    pub(crate) fn signers(&self) -> usize {
        self.signatures.len()
    }

    /// The text of the note with the signature lines of `line`s after its own, each name and key once: the first counts.
    ///
    /// # Errors
    /// [`NoteError::Form`]: what is added is no sequence of signature lines.
    pub fn with(mut self, lines: &str) -> Result<String, NoteError> {
        for line in lines_of(lines)? {
            if !self.signatures.iter().any(|has| has.name() == line.name() && has.id() == line.id()) {
                self.signatures.push(line);
            }
        }
        let note = Note::new(self.body.as_bytes(), &self.signatures).map_err(|_| NoteError::Form)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Form)
    }
}

/// The lines of a signature block.
fn lines_of(text: &str) -> Result<Vec<Signature>, NoteError> {
    let lines = text.strip_suffix('\n').ok_or(NoteError::Form)?.split('\n');
    lines.map(|line| Signature::from_bytes(line.as_bytes()).map_err(|_| NoteError::Form)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of c2sp.org/tlog-cosignature (CC BY 4.0); a witness's key is not published with it, so only the form of
    // the line is held to it. The dialogues with other implementations are in `integration`.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    fn witness(name: &str) -> Cosigner {
        Cosigner::new(name, SigningKey::generate_ed25519().unwrap()).unwrap()
    }

    #[test]
    fn the_line_of_the_specification_has_the_shape_that_is_written_here() {
        let note = SignedText::parse(EXAMPLE).unwrap();
        let line = &note.signatures[1];
        assert_eq!((line.name(), line.signature().len()), ("witness.example.com/w1", LENGTH));
        let time = u64::from_be_bytes(line.signature()[..8].try_into().unwrap());
        assert_eq!(time, 1_679_315_147, "the example's own signed message says so");
        assert_eq!(
            SignedText::parse(EXAMPLE).unwrap().with(&EXAMPLE[EXAMPLE.find('\u{2014}').unwrap()..]).unwrap(),
            EXAMPLE
        );
    }

    #[test]
    fn a_cosignature_verifies_for_its_head_and_its_witness_alone() {
        let (note, one) = (SignedText::parse(EXAMPLE).unwrap(), witness("witness.test/one"));
        let line = one.cosign(&note, at("2026-11-23T20:17:03.999999Z")).unwrap();
        let text = note.clone().with(&line).unwrap();
        let signed = SignedText::parse(&text).unwrap();
        assert_eq!(one.public().cosigned(&signed), Some(at("2026-11-23T20:17:03Z")), "in whole seconds");
        assert_eq!(one.public().cosigned(&note), None);
        let namesake = witness("witness.test/one");
        assert_eq!(namesake.public().cosigned(&signed), None);
        let renamed = CosignerKey::new("witness.test/two", *one.public().key()).unwrap();
        assert_eq!(renamed.cosigned(&signed), None);
        let other = SignedText::parse(&EXAMPLE.replace("20852163", "20852164")).unwrap();
        assert_eq!(one.public().cosigned(&SignedText::parse(&other.with(&line).unwrap()).unwrap()), None);
    }

    #[test]
    fn a_line_whose_time_was_changed_does_not_verify() {
        let (note, one) = (SignedText::parse(EXAMPLE).unwrap(), witness("witness.test/one"));
        let line = one.cosign(&note, at("2026-11-23T20:17:03Z")).unwrap();
        let made = &lines_of(&line).unwrap()[0];
        let mut later = made.signature().to_vec();
        later[7] ^= 1;
        let later = Signature::new(made.name().to_owned(), made.id(), later).unwrap();
        assert_eq!(one.public().verify(&note, made), Some(at("2026-11-23T20:17:03Z")));
        assert_eq!(one.public().verify(&note, &later), None);
    }

    #[test]
    fn a_witness_key_has_one_written_form_and_is_no_logs_key() {
        let key = witness("witness.test/one").public().clone();
        assert_eq!(key.to_string().parse::<CosignerKey>().unwrap(), key);
        let log = super::super::note::Vkey::new("witness.test/one", *key.key()).unwrap().to_string();
        assert_eq!(log.parse::<CosignerKey>(), Err(NoteError::Cosigner), "type 1 signs as a log");
        assert!(key.to_string().parse::<super::super::note::Vkey>().is_err(), "type 4 does not");
        for wrong in ["", "witness.test/one", "witness.test/one+00000000+BA=="] {
            assert_eq!(wrong.parse::<CosignerKey>(), Err(NoteError::Cosigner), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let long = "x".repeat(super::super::note::MAX_CHECKPOINT + 1);
        assert_eq!(SignedText::parse(&long), Err(NoteError::Long));
        for wrong in ["", "a\n", "a\n\n", "a\n\n\u{2014} b\n", &EXAMPLE[..EXAMPLE.len() - 1]] {
            assert_eq!(SignedText::parse(wrong), Err(NoteError::Form), "{wrong:?}");
        }
    }
}
