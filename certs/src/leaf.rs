//! The identity that a leaf certificate proves, once a chain to a trusted authority has been verified (rustls does).

use agreements::ids::{Digest, Ori, OriError};
use agreements::time::Instant;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::asn1;

/// What an ORI's URI begins with, in a certificate's alternative names.
pub(crate) const URN: &str = "urn:ori:";

/// Who a certificate says its holder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The agency.
    pub ori: Ori,
    /// The serial number: big endian, no leading zeros.
    pub serial: Vec<u8>,
    /// The SHA-256 of the issuer's distinguished name in DER: which authority's list may revoke it.
    pub issuer: Digest,
    /// The SHA-256 of the `SubjectPublicKeyInfo`, as pinned in agreements.
    pub spki: Digest,
    /// The first second of validity.
    pub not_before: Instant,
    /// The last second of validity, inclusive (RFC 5280, section 4.1.2.5).
    pub not_after: Instant,
}

/// Why a certificate identifies no agency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate, or one with damaged or repeated extensions.
    #[error("not a well-formed X.509 certificate; have the authority issue it again")]
    Malformed,
    /// No `urn:ori:` name.
    #[error(
        "the certificate names no agency (no urn:ori: among its alternative names); have it issued with `concordat ca issue --ori`"
    )]
    NoOri,
    /// More than one `urn:ori:` name.
    #[error("the certificate names more than one agency; have one certificate issued for each")]
    SeveralOris,
    /// The agency is none that can be enrolled.
    #[error("the certificate's agency cannot take part: {0}")]
    Ori(#[from] OriError),
    /// Not for TLS clients.
    #[error(
        "the certificate is not for a node: it lacks the extended key usage clientAuth; present the node's certificate, not the seal's"
    )]
    NotForNodes,
    /// Not for sealing.
    #[error(
        "the certificate is not for a seal: it lacks the key usage nonRepudiation; use the seal's certificate, not the node's"
    )]
    NotForSeals,
}

impl Identity {
    /// The identity of a node, from its TLS certificate in DER.
    ///
    /// # Errors
    /// See [`IdentityError`]. Validity and revocation are not looked at: that needs a time and a list.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let usage = certificate.extended_key_usage().map_err(|_| IdentityError::Malformed)?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(IdentityError::NotForNodes);
        }
        read(&certificate)
    }

    /// The identity of a seal, from its certificate in DER.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn seal_from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let usage = certificate.key_usage().map_err(|_| IdentityError::Malformed)?;
        if !usage.is_some_and(|usage| usage.value.non_repudiation()) {
            return Err(IdentityError::NotForSeals);
        }
        read(&certificate)
    }

    /// Whether `now` lies in the certificate's validity.
    #[must_use]
    pub fn valid_at(&self, now: Instant) -> bool {
        // The last second counts to its end.
        self.not_before <= now && now < self.not_after.plus(Instant::SECOND)
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(IdentityError::Malformed),
    }
}

fn read(certificate: &X509Certificate<'_>) -> Result<Identity, IdentityError> {
    Ok(Identity {
        ori: ori(certificate)?,
        serial: trimmed(certificate.raw_serial()).to_vec(),
        issuer: Digest::of(certificate.issuer().as_raw()),
        spki: Digest::of(certificate.public_key().raw),
        not_before: asn1::instant(certificate.validity().not_before.timestamp()),
        not_after: asn1::instant(certificate.validity().not_after.timestamp()),
    })
}

fn ori(certificate: &X509Certificate<'_>) -> Result<Ori, IdentityError> {
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(IdentityError::Malformed);
    }
    let mut oris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => after_urn(uri),
        _ => None,
    });
    match (oris.next(), oris.next()) {
        (None, _) => Err(IdentityError::NoOri),
        (Some(_), Some(_)) => Err(IdentityError::SeveralOris),
        (Some(text), None) => Ok(text.parse()?),
    }
}

/// What follows `urn:ori:`, whose two words mean the same in any case (RFC 8141, section 3.1).
fn after_urn(uri: &str) -> Option<&str> {
    let (head, tail) = uri.split_at_checked(URN.len())?;
    head.eq_ignore_ascii_case(URN).then_some(tail)
}

/// A big endian number without the zeros that DER puts in front.
pub(crate) fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
