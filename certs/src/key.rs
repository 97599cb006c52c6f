//! Signing keys (P-256 and Ed25519) and their public halves.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use agreements::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sign::{Signer, Verifier};
use openssl::symm::Cipher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What precedes the 65 bytes of an uncompressed P-256 point in its `SubjectPublicKeyInfo` (RFC 5480, section 2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What precedes the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410, section 4).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The signature algorithms that exist here. Each belongs to one kind of key, so a key never leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 7518, section 3.4).
    Es256,
    /// Ed25519 (RFC 8032; RFC 8037, section 3.1).
    EdDsa,
}

impl Algorithm {
    /// The name in a JWS header's `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The digest to name to OpenSSL when a certificate, request or list is signed.
    pub(crate) fn digest(self) -> MessageDigest {
        match self {
            Self::Es256 => MessageDigest::sha256(),
            Self::EdDsa => MessageDigest::null(),
        }
    }
}

/// Why bytes are no key, or a key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither P-256 nor Ed25519, or not in the one encoding that is accepted.
    #[error("a key must be P-256 (uncompressed, named curve) or Ed25519")]
    Kind,
    /// An Ed25519 key of small order: one signature would fit many messages, so it could be disowned.
    #[error("this Ed25519 key is of small order and proves nothing; its owner must make another")]
    SmallOrder,
    /// Not base64url without padding.
    #[error("a public key is written as the base64url of its SubjectPublicKeyInfo, without padding")]
    Text,
    /// Not a private key in PEM, or one that is encrypted.
    #[error("not an unencrypted private key in PEM (PKCS#8)")]
    Pem,
    /// Another passphrase, or no private key at all.
    #[error("not a private key in PEM, or its passphrase is another")]
    Locked,
    /// No signature of this kind of key.
    #[error("not a signature of this kind of key: 64 bytes, or DER as OpenSSL writes it")]
    Signature,
    /// OpenSSL failed.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// A private key. Clones share it; `Debug` shows only which public key it belongs to.
#[derive(Clone)]
pub struct SigningKey {
    key: PKey<Private>,
    public: PublicKey,
}

impl SigningKey {
    /// A new P-256 key, for certificates and seals.
    ///
    /// # Errors
    /// OpenSSL has no randomness or memory.
    pub fn generate_p256() -> Result<Self, KeyError> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        Self::from_key(PKey::from_ec_key(EcKey::generate(&group)?)?)
    }

    /// A new Ed25519 key, for the log, the witness and the identity.
    ///
    /// # Errors
    /// OpenSSL has no randomness or memory.
    pub fn generate_ed25519() -> Result<Self, KeyError> {
        Self::from_key(PKey::generate_ed25519()?)
    }

    /// Reads a private key in PEM. An encrypted one is refused rather than asked a password for.
    ///
    /// # Errors
    /// [`KeyError::Pem`], or [`KeyError::Kind`] for a key of another algorithm.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| KeyError::Pem)?;
        Self::from_key(key)
    }

    fn from_key(key: PKey<Private>) -> Result<Self, KeyError> {
        if !matches!(key.id(), Id::EC | Id::ED25519) {
            return Err(KeyError::Kind);
        }
        let public = PublicKey::from_spki_der(&key.public_key_to_der()?)?;
        Ok(Self { key, public })
    }

    /// This key as PKCS#8 in PEM (RFC 5958, RFC 7468). The caller keeps it secret.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn to_pem(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.private_key_to_pem_pkcs8()?)
    }

    /// Reads a private key in PEM that a passphrase locks; one that nothing locks is read as it is.
    ///
    /// # Errors
    /// [`KeyError::Locked`] for another passphrase or no PEM, or [`KeyError::Kind`] for a key of another algorithm.
    pub fn from_locked_pem(pem: &[u8], passphrase: &[u8]) -> Result<Self, KeyError> {
        let key = PKey::private_key_from_pem_passphrase(pem, passphrase).map_err(|_| KeyError::Locked)?;
        Self::from_key(key)
    }

    /// This key as PKCS#8 in PEM, locked by a passphrase (PBES2 with AES-256).
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn to_locked_pem(&self, passphrase: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase)?)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// How this key signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm
    }

    /// Signs `message`: 64 bytes, for ES256 r and s of 32 bytes each, big endian (RFC 7518, section 3.4).
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self.algorithm() {
            Algorithm::EdDsa => Ok(Signer::new_without_digest(&self.key)?.sign_oneshot_to_vec(message)?),
            Algorithm::Es256 => {
                let der = Signer::new(MessageDigest::sha256(), &self.key)?.sign_oneshot_to_vec(message)?;
                let signature = EcdsaSig::from_der(&der)?;
                Ok([signature.r().to_vec_padded(32)?, signature.s().to_vec_padded(32)?].concat())
            }
        }
    }

    pub(crate) fn openssl(&self) -> &PKey<Private> {
        &self.key
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {:?})", self.public)
    }
}

/// A public key, known by the SHA-256 of its `SubjectPublicKeyInfo`.
///
/// One key has exactly one accepted encoding, so equal keys are equal bytes and have equal ids.
#[derive(Clone)]
pub struct PublicKey {
    key: PKey<Public>,
    spki: Vec<u8>,
    id: Digest,
    algorithm: Algorithm,
}

impl PublicKey {
    /// Reads a public key in PEM, as OpenSSL and card tools write it.
    ///
    /// # Errors
    /// See [`Self::from_spki_der`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let key = PKey::public_key_from_pem(pem).map_err(|_| KeyError::Kind)?;
        Self::from_spki_der(&key.public_key_to_der()?)
    }

    /// A signature that another program made, in the form that [`SigningKey::sign`] gives: as it is when it has 64 bytes,
    /// converted from DER otherwise (RFC 3279, section 2.2.3).
    ///
    /// # Errors
    /// [`KeyError::Signature`]: neither.
    pub fn signature_from(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        if bytes.len() == 64 {
            return Ok(bytes.to_vec());
        }
        if self.algorithm != Algorithm::Es256 {
            return Err(KeyError::Signature);
        }
        let signature = EcdsaSig::from_der(bytes).map_err(|_| KeyError::Signature)?;
        let part = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).map_err(|_| KeyError::Signature);
        Ok([part(signature.r())?, part(signature.s())?].concat())
    }

    /// Reads a `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1.2.7).
    ///
    /// # Errors
    /// [`KeyError::Kind`] for any other algorithm, curve or encoding, or a point that is not on the curve;
    /// [`KeyError::SmallOrder`].
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        let algorithm = if let Some(raw) = spki.strip_prefix(&ED25519_PREFIX) {
            let raw: [u8; 32] = raw.try_into().map_err(|_| KeyError::Kind)?;
            if of_small_order(raw) {
                return Err(KeyError::SmallOrder);
            }
            Algorithm::EdDsa
        } else if let Some([0x04, point @ ..]) = spki.strip_prefix(&P256_PREFIX)
            && point.len() == 64
        {
            Algorithm::Es256
        } else {
            return Err(KeyError::Kind);
        };
        let key = PKey::public_key_from_der(spki).map_err(|_| KeyError::Kind)?;
        Ok(Self { key, spki: spki.to_vec(), id: Digest::of(spki), algorithm })
    }

    /// The Ed25519 key with these 32 bytes, as log and witness keys travel in C2SP notes.
    ///
    /// # Errors
    /// [`KeyError::SmallOrder`].
    pub fn from_ed25519_bytes(raw: [u8; 32]) -> Result<Self, KeyError> {
        Self::from_spki_der(&[&ED25519_PREFIX[..], &raw].concat())
    }

    /// The `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of the `SubjectPublicKeyInfo`: `kid` of a sealed document, and what an agreement pins.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// How the owner of this key signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The 32 raw bytes of an Ed25519 key (RFC 8032, section 5.1.5); `None` for P-256.
    #[must_use]
    pub fn ed25519_bytes(&self) -> Option<[u8; 32]> {
        self.spki.strip_prefix(&ED25519_PREFIX)?.try_into().ok()
    }

    /// Whether `signature` (64 bytes, as [`SigningKey::sign`] makes) is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        // An error of OpenSSL means a signature that it cannot even read: that is a "no" as well.
        signature.len() == 64 && self.try_verify(message, signature).unwrap_or(false)
    }

    fn try_verify(&self, message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        match self.algorithm {
            Algorithm::EdDsa => Verifier::new_without_digest(&self.key)?.verify_oneshot(signature, message),
            Algorithm::Es256 => {
                let (r, s) = signature.split_at(32);
                let der =
                    EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?.to_der()?;
                Verifier::new(MessageDigest::sha256(), &self.key)?.verify_oneshot(&der, message)
            }
        }
    }

    pub(crate) fn openssl(&self) -> &PKey<Public> {
        &self.key
    }
}

/// Whether `raw` encodes one of the points whose order divides eight (RFC 8032, section 5.1; the sign bit is ignored).
fn of_small_order(mut raw: [u8; 32]) -> bool {
    const ORDER_EIGHT: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    raw[31] &= 0x7f;
    let [first, middle @ .., last] = raw;
    // y is 0 or 1; or p - 1, p or p + 1, where p = 2^255 - 19 is ed ff .. ff 7f.
    let low = first <= 1 && middle.iter().all(|b| *b == 0) && last == 0;
    let high = (0xec..=0xee).contains(&first) && middle.iter().all(|b| *b == 0xff) && last == 0x7f;
    low || high || ORDER_EIGHT.contains(&raw)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spki.hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.spki))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.id)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_spki_der(&URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Text)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::rsa::Rsa;

    fn both() -> [SigningKey; 2] {
        [SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap()]
    }

    #[test]
    fn keys_go_round_and_sign() {
        fn shared<T: Send + Sync>(_: &T) {}
        for key in both() {
            shared(&key);
            let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
            let public: PublicKey = again.public().to_string().parse().unwrap();
            assert_eq!(&public, key.public());
            assert_eq!(public.id(), Digest::of(public.spki_der()));
            let signature = again.sign(b"words").unwrap();
            assert_eq!(signature.len(), 64);
            assert!(public.verify(b"words", &signature));
            assert!(!public.verify(b"other words", &signature));
            assert!(!public.verify(b"words", &signature[..63]));
            assert!(!public.verify(b"words", &[&signature[..], &[0]].concat()));
            assert!(!public.verify(b"words", &[0; 64]));
            assert!(!public.verify(b"words", &[0xff; 64]));
        }
    }

    #[test]
    fn a_locked_key_opens_with_its_passphrase_alone() {
        let key = SigningKey::generate_p256().unwrap();
        let pem = key.to_locked_pem(b"correct horse").unwrap();
        assert!(pem.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        assert_eq!(SigningKey::from_locked_pem(&pem, b"correct horse").unwrap().public(), key.public());
        for wrong in [&b"correct hors"[..], b"", b"x"] {
            assert!(matches!(SigningKey::from_locked_pem(&pem, wrong), Err(KeyError::Locked)));
        }
        assert!(matches!(SigningKey::from_pem(&pem), Err(KeyError::Pem)));
    }

    #[test]
    fn a_signature_of_another_program_is_taken_raw_or_in_der() {
        let key = SigningKey::generate_p256().unwrap();
        let der = Signer::new(MessageDigest::sha256(), key.openssl()).unwrap().sign_oneshot_to_vec(b"words").unwrap();
        let raw = key.public().signature_from(&der).unwrap();
        assert!(key.public().verify(b"words", &raw));
        assert_eq!(key.public().signature_from(&raw).unwrap(), raw);
        for bad in [&der[..der.len() - 1], &[0; 63], b""] {
            assert!(matches!(key.public().signature_from(bad), Err(KeyError::Signature)));
        }
        let pem = key.openssl().public_key_to_pem().unwrap();
        assert_eq!(&PublicKey::from_pem(&pem).unwrap(), key.public());
    }

    #[test]
    fn es256_signature_is_padded_whatever_r_and_s_are() {
        let key = SigningKey::generate_p256().unwrap();
        for round in 0..600u16 {
            let signature = key.sign(&round.to_be_bytes()).unwrap();
            assert!(signature.len() == 64 && key.public().verify(&round.to_be_bytes(), &signature));
        }
    }

    #[test]
    fn the_vector_of_rfc_8032_holds() {
        // RFC 8032, section 7.1, test 2: its public key over the message 0x72.
        let raw: Digest = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c".parse().unwrap();
        let r: Digest = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da".parse().unwrap();
        let s: Digest = "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00".parse().unwrap();
        let key = PublicKey::from_ed25519_bytes(raw.0).unwrap();
        assert_eq!(key.ed25519_bytes(), Some(raw.0));
        assert!(key.verify(&[0x72], &[r.0, s.0].concat()));
        // The same signature with s + L is refused (RFC 8032, section 5.1.7).
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0u16;
        let more: Vec<u8> = (s.0.iter().zip(order))
            .map(|(a, b)| {
                carry += u16::from(*a) + u16::from(b);
                let byte = carry.to_le_bytes()[0];
                carry >>= 8;
                byte
            })
            .collect();
        assert!(!key.verify(&[0x72], &[&r.0[..], &more].concat()));
    }

    #[test]
    fn what_is_no_such_key_is_refused() {
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        assert!(matches!(SigningKey::from_pem(&rsa.private_key_to_pem_pkcs8().unwrap()), Err(KeyError::Kind)));
        assert!(matches!(PublicKey::from_spki_der(&rsa.public_key_to_der().unwrap()), Err(KeyError::Kind)));
        let p384 = EcKey::generate(&EcGroup::from_curve_name(Nid::SECP384R1).unwrap()).unwrap();
        let p384 = PKey::from_ec_key(p384).unwrap().private_key_to_pem_pkcs8().unwrap();
        assert!(matches!(SigningKey::from_pem(&p384), Err(KeyError::Kind)));
        let [p256, ed25519] = both();
        let locked = p256.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret").unwrap();
        assert!(matches!(SigningKey::from_pem(&locked), Err(KeyError::Pem)));
        let mut off_curve = p256.public().spki_der().to_vec();
        off_curve[90] ^= 1;
        assert!(matches!(PublicKey::from_spki_der(&off_curve), Err(KeyError::Kind)));
        let longer = [ed25519.public().spki_der(), &[0]].concat();
        assert!(matches!(PublicKey::from_spki_der(&longer), Err(KeyError::Kind)));
        let padded = format!("{}=", ed25519.public());
        assert!(matches!(padded.parse::<PublicKey>(), Err(KeyError::Text)));
        for small in [[0; 32], {
            let mut p = [0xff; 32];
            p[0] = 0xec;
            p
        }] {
            assert!(matches!(PublicKey::from_ed25519_bytes(small), Err(KeyError::SmallOrder)));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        for key in both() {
            let shown = format!("{key:?}");
            assert_eq!(shown, format!("SigningKey(of {}:{})", key.algorithm().name(), key.public().id()));
        }
    }
}
