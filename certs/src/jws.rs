//! Sealed documents: JSON Web Signatures (RFC 7515) over canonical JSON (RFC 8785).
//!
//! A document that two agencies sign is read for years by software that does not exist yet, so one reading is allowed
//! and no other. The protected header is rebuilt from what is expected and compared as bytes: what it may say is not
//! parsed leniently, it is known. `alg` follows from the pinned key and is never taken from the document.
//!
//! Refused: an unprotected header; any other header member (`crit`, `jku`, `jwk`, ..); a key twice in an object;
//! base64url with padding or stray bits; a payload that is not canonical; a missing, repeated or additional signer.

use agreements::ids::Digest;
use agreements::json::{self, StrictError};
pub use agreements::stream::Seal as Signature;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::key::{KeyError, PublicKey, SigningKey};

/// Why a document was not made or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum JwsError {
    /// Not strict JSON of this form.
    #[error("the sealed document is not of the expected form: {0}")]
    Form(#[source] StrictError),
    /// A header that is not strict JSON with only the members that exist here.
    #[error("the protected header is not of the expected form ({{alg, kid, typ, x5t#S256}} and nothing else): {0}")]
    Header(#[source] StrictError),
    /// The header is not in canonical form, or its certificate thumbprint is none.
    #[error("the protected header is not canonical JSON (RFC 8785)")]
    HeaderForm,
    /// Base64url with padding, stray bits or other characters.
    #[error("`{0}` is not canonical base64url without padding (RFC 7515, section 2)")]
    Base64(&'static str),
    /// The payload is not strict JSON.
    #[error("the payload is not strict JSON: {0}")]
    Payload(#[source] StrictError),
    /// The payload is JSON in some other form than RFC 8785's.
    #[error("the payload is not canonical JSON (RFC 8785): its bytes could be written in another way")]
    NotCanonical,
    /// The payload names no key.
    #[error("the document does not name the key that sealed it")]
    NoKey,
    /// Another type of document.
    #[error("the document is of another type; this place takes `{expected}`")]
    Type {
        /// The type that was asked for.
        expected: String,
    },
    /// An algorithm that is not the pinned key's.
    #[error("the header names another algorithm than the pinned key's, {expected}")]
    Algorithm {
        /// The pinned key's.
        expected: &'static str,
    },
    /// A signer that is not among those required.
    #[error("signed by a key that is not required here: {0}")]
    UnknownSigner(Digest),
    /// The same signer twice.
    #[error("the key {0} stands twice among the signers")]
    RepeatedSigner(Digest),
    /// A required signer did not sign.
    #[error("the signature of key {0} is missing")]
    MissingSigner(Digest),
    /// The general form with fewer than two signatures.
    #[error("the general form is for two or more signers; one signer uses the flattened form")]
    TooFew,
    /// The signature does not fit the key and the bytes.
    #[error("the signature of key {0} does not verify: the document was changed, or the key is not the signer's")]
    Signature(Digest),
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// One verified signature: only the functions here make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    signer: Digest,
    x5t: Option<Digest>,
    document: Digest,
}

impl Verified {
    /// The id of the key that signed ([`PublicKey::id`]).
    #[must_use]
    pub fn signer(&self) -> Digest {
        self.signer
    }

    /// The SHA-256 of the certificate (DER) that the signer named, if any (RFC 7515, section 4.1.8). The signer said
    /// so; what counts is the pinned key.
    #[must_use]
    pub fn x5t(&self) -> Option<Digest> {
        self.x5t
    }

    /// The id of the document that was signed.
    #[must_use]
    pub fn document(&self) -> Digest {
        self.document
    }
}

/// A document whose every required signature was verified over exactly the bytes of [`Document::payload`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    payload: Vec<u8>,
    signatures: Vec<Verified>,
}

impl Document {
    /// The verified bytes: canonical JSON. Parse these and no others.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The document's id: the SHA-256 of its canonical bytes.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// The signatures, in the document's order: one for each required key.
    #[must_use]
    pub fn signatures(&self) -> &[Verified] {
        &self.signatures
    }
}

/// The members in canonical order, so that serialising gives canonical bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: Digest,
    typ: String,
    #[serde(rename = "x5t#S256", default, skip_serializing_if = "Option::is_none")]
    x5t: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct General {
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    payload: String,
    protected: String,
    signature: String,
}

/// Signs canonical JSON as a document of type `typ`; `x5t` is the SHA-256 of the seal's certificate in DER, if the key
/// has one.
///
/// # Errors
/// [`JwsError::Payload`], [`JwsError::NotCanonical`], or the key cannot sign.
pub fn sign(payload: &[u8], typ: &str, key: &SigningKey, x5t: Option<Digest>) -> Result<Signature, JwsError> {
    check_payload(payload)?;
    let protected = protected(typ, key.public(), x5t)?;
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&signing_input(&protected, payload))?);
    Ok(Signature { protected, signature })
}

fn protected(typ: &str, key: &PublicKey, x5t: Option<Digest>) -> Result<String, JwsError> {
    let header = Header {
        alg: key.algorithm().name().to_owned(),
        kid: key.id(),
        typ: typ.to_owned(),
        x5t: x5t.map(|digest| URL_SAFE_NO_PAD.encode(digest.0)),
    };
    Ok(URL_SAFE_NO_PAD.encode(json::canonical(&header).map_err(JwsError::Header)?))
}

/// The bytes that the holder of `key` signs elsewhere, such as with a smart card: the JWS signing input (RFC 7515, section
/// 5.1, step 5).
///
/// # Errors
/// The payload is not canonical.
pub fn to_sign(payload: &[u8], typ: &str, key: &PublicKey) -> Result<Vec<u8>, JwsError> {
    check_payload(payload)?;
    Ok(signing_input(&protected(typ, key, None)?, payload))
}

/// The signature that `key` made elsewhere over [`to_sign`], raw or in DER; it is verified.
///
/// # Errors
/// It is none of that key over these bytes.
pub fn signed_elsewhere(payload: &[u8], typ: &str, key: &PublicKey, bytes: &[u8]) -> Result<Signature, JwsError> {
    let signature = URL_SAFE_NO_PAD.encode(key.signature_from(bytes)?);
    let signature = Signature { protected: protected(typ, key, None)?, signature };
    verify_one(payload, typ, &signature, key)?;
    Ok(signature)
}

/// The general form (RFC 7515, section 7.2.1), for two or more signers. Verifies nothing: [`open_general`] does.
///
/// # Errors
/// [`JwsError::TooFew`], or the payload is not canonical.
pub fn assemble(payload: &[u8], signatures: &[Signature]) -> Result<Vec<u8>, JwsError> {
    check_payload(payload)?;
    if signatures.len() < 2 {
        return Err(JwsError::TooFew);
    }
    let general = General { payload: URL_SAFE_NO_PAD.encode(payload), signatures: signatures.to_vec() };
    json::canonical(&general).map_err(JwsError::Form)
}

/// The flattened form (RFC 7515, section 7.2.2), for one signer. Verifies nothing: [`open_flattened`] does.
///
/// # Errors
/// The payload is not canonical.
pub fn flatten(payload: &[u8], signature: &Signature) -> Result<Vec<u8>, JwsError> {
    check_payload(payload)?;
    let Signature { protected, signature } = signature.clone();
    json::canonical(&Flattened { payload: URL_SAFE_NO_PAD.encode(payload), protected, signature })
        .map_err(JwsError::Form)
}

/// Verifies one signature that travelled apart from its document.
///
/// # Errors
/// See [`JwsError`].
pub fn verify_one(payload: &[u8], typ: &str, signature: &Signature, key: &PublicKey) -> Result<Verified, JwsError> {
    check_payload(payload)?;
    verify(payload, typ, signature, &[key])
}

/// Opens a document that exactly these keys signed, each once.
///
/// # Errors
/// See [`JwsError`].
pub fn open_general(bytes: &[u8], typ: &str, keys: &[&PublicKey]) -> Result<Document, JwsError> {
    let general: General = json::parse(bytes).map_err(JwsError::Form)?;
    if keys.len() < 2 || general.signatures.len() < 2 {
        return Err(JwsError::TooFew);
    }
    if let Some((_, twice)) = keys.iter().enumerate().find(|(at, key)| keys.iter().take(*at).any(|k| k == *key)) {
        return Err(JwsError::RepeatedSigner(twice.id()));
    }
    let payload = decode("payload", &general.payload)?;
    check_payload(&payload)?;
    let mut signatures: Vec<Verified> = Vec::with_capacity(keys.len());
    // A repeated or unknown signer ends the loop, so no more signatures are verified than there are keys, and one.
    for signature in &general.signatures {
        let verified = verify(&payload, typ, signature, keys)?;
        if signatures.iter().any(|earlier| earlier.signer == verified.signer) {
            return Err(JwsError::RepeatedSigner(verified.signer));
        }
        signatures.push(verified);
    }
    match keys.iter().find(|key| signatures.iter().all(|s| s.signer != key.id())) {
        Some(missing) => Err(JwsError::MissingSigner(missing.id())),
        None => Ok(Document { payload, signatures }),
    }
}

/// Opens a document that this key signed.
///
/// # Errors
/// See [`JwsError`].
pub fn open_flattened(bytes: &[u8], typ: &str, key: &PublicKey) -> Result<Document, JwsError> {
    let Flattened { payload, protected, signature } = json::parse(bytes).map_err(JwsError::Form)?;
    let payload = decode("payload", &payload)?;
    check_payload(&payload)?;
    let verified = verify(&payload, typ, &Signature { protected, signature }, &[key])?;
    Ok(Document { payload, signatures: vec![verified] })
}

/// Verifies a signature by that one of `keys` which its header names.
fn verify(payload: &[u8], typ: &str, signature: &Signature, keys: &[&PublicKey]) -> Result<Verified, JwsError> {
    let bytes = decode("protected", &signature.protected)?;
    let header: Header = json::parse(&bytes).map_err(JwsError::Header)?;
    // One written form, with no member that is present and null.
    if json::canonical(&header).map_err(JwsError::Header)? != bytes {
        return Err(JwsError::HeaderForm);
    }
    let key = keys.iter().find(|key| key.id() == header.kid).ok_or(JwsError::UnknownSigner(header.kid))?;
    if header.alg != key.algorithm().name() {
        return Err(JwsError::Algorithm { expected: key.algorithm().name() });
    }
    if header.typ != typ {
        return Err(JwsError::Type { expected: typ.to_owned() });
    }
    let x5t = match &header.x5t {
        None => None,
        Some(text) => Some(Digest(decode("x5t#S256", text)?.try_into().map_err(|_| JwsError::HeaderForm)?)),
    };
    let raw = decode("signature", &signature.signature)?;
    if !key.verify(&signing_input(&signature.protected, payload), &raw) {
        return Err(JwsError::Signature(header.kid));
    }
    Ok(Verified { signer: header.kid, x5t, document: Digest::of(payload) })
}

/// Opens a flattened document whose payload names the key that sealed it, as a descriptor does. It proves that the holder
/// of that key wrote it, not who that is.
///
/// # Errors
/// See [`JwsError`]; `NoKey` when `key_of` finds none in the payload.
pub fn open_self_sealed(
    bytes: &[u8],
    typ: &str,
    key_of: impl FnOnce(&[u8]) -> Option<PublicKey>,
) -> Result<(Document, PublicKey), JwsError> {
    let Flattened { payload, .. } = json::parse(bytes).map_err(JwsError::Form)?;
    let key = key_of(&decode("payload", &payload)?).ok_or(JwsError::NoKey)?;
    let document = open_flattened(bytes, typ, &key)?;
    Ok((document, key))
}

/// The payload of a flattened document. Verifies nothing: for a document that was verified when it was kept, and whose hash
/// is held elsewhere.
///
/// # Errors
/// It is no flattened document.
pub fn payload_of(bytes: &[u8]) -> Result<Vec<u8>, JwsError> {
    let Flattened { payload, .. } = json::parse(bytes).map_err(JwsError::Form)?;
    decode("payload", &payload)
}

/// RFC 7515, section 5.1, step 5.
fn signing_input(protected: &str, payload: &[u8]) -> Vec<u8> {
    format!("{protected}.{}", URL_SAFE_NO_PAD.encode(payload)).into_bytes()
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwsError::Base64(part))
}

fn check_payload(payload: &[u8]) -> Result<(), JwsError> {
    let value: serde_json::Value = json::parse(payload).map_err(JwsError::Payload)?;
    if json::canonical(&value).map_err(JwsError::Payload)? == payload { Ok(()) } else { Err(JwsError::NotCanonical) }
}

#[cfg(test)]
#[path = "jws_tests.rs"]
mod tests;
