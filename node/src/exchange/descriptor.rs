//! Descriptor files: how two agencies first learn each other's keys. Nothing is pinned off the wire.

use agreements::ids::Digest;
use agreements::json;
use agreements::party::Party;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::jws;
use certs::key::{PublicKey, SigningKey};
use serde::Deserialize;

use super::partner::{Partner, PartnerError};

/// The `typ` of a sealed descriptor.
pub const TYP: &str = "concordat-descriptor+jws";

/// Why a descriptor is not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// Not a descriptor.
    #[error("the file is no descriptor: {0}")]
    Form(String),
    /// Its seal is not of the identity key that it names.
    #[error("the descriptor is not sealed by the identity key that it names: {0}")]
    Seal(#[from] jws::JwsError),
    /// Its content is incomplete.
    #[error("the descriptor is incomplete: {}", .0.join("; "))]
    Problems(Vec<String>),
    /// A key in it is none.
    #[error(transparent)]
    Keys(#[from] PartnerError),
    /// The fingerprint differs.
    #[error(
        "the fingerprint is not the file's. Call the partner on a number that you know and have it read out; if it still differs, somebody exchanged the file"
    )]
    Fingerprint,
}

/// The sealed file of `party`, by its identity key.
///
/// # Errors
/// The party is incomplete: every problem is named.
pub fn write(party: &Party, identity: &SigningKey) -> Result<Vec<u8>, DescriptorError> {
    let problems = party.problems();
    if !problems.is_empty() {
        return Err(DescriptorError::Problems(problems));
    }
    let payload = json::canonical(party).map_err(|error| DescriptorError::Form(error.to_string()))?;
    let seal = jws::sign(&payload, TYP, identity, None)?;
    Ok(jws::flatten(&payload, &seal)?)
}

/// The party that a file describes, after its seal was verified with the identity key that it names, and that key's
/// fingerprint. Trust comes from comparing the fingerprint, not from the seal.
///
/// # Errors
/// See [`DescriptorError`].
pub fn read(file: &[u8]) -> Result<(Party, Digest), DescriptorError> {
    #[derive(Deserialize)]
    struct Named {
        identity_key: String,
    }
    let form = |what: &dyn std::fmt::Display| DescriptorError::Form(what.to_string());
    let named = |payload: &[u8]| serde_json::from_slice::<Named>(payload).ok()?.identity_key.parse().ok();
    let (document, key): (_, PublicKey) = jws::open_self_sealed(file, TYP, named)?;
    let party: Party = json::parse(document.payload()).map_err(|error| form(&error))?;
    let problems = party.problems();
    if !problems.is_empty() {
        return Err(DescriptorError::Problems(problems));
    }
    Partner::new(party.clone())?;
    Ok((party, key.id()))
}

/// The identity key that a file names, without verifying anything: for comparing with a file that was verified when it was
/// imported, and is held to the trail since. `None` if it is no descriptor.
#[must_use]
pub fn names(file: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Flattened {
        payload: String,
    }
    #[derive(Deserialize)]
    struct Named {
        identity_key: String,
    }
    let Flattened { payload } = serde_json::from_slice(file).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Named>(&payload).ok().map(|named| named.identity_key)
}

/// A fingerprint as it is read out over the telephone: sixteen groups of four hexadecimal digits.
#[must_use]
pub fn spoken(fingerprint: Digest) -> String {
    let digits = fingerprint.to_string();
    let groups: Vec<String> =
        digits.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join(" ")
}

/// Compares what was said with what the file has, which the refusal does not tell: it comes by voice or not at all. Spaces, hyphens and case make no difference; every digit counts.
///
/// # Errors
/// [`DescriptorError::Fingerprint`].
pub fn compare(said: &str, found: Digest) -> Result<(), DescriptorError> {
    let digits: String =
        said.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_lowercase).collect();
    if digits == found.to_string() { Ok(()) } else { Err(DescriptorError::Fingerprint) }
}
