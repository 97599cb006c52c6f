//! The current revocation lists of all trusted authorities, asked on every request.

use std::collections::{BTreeMap, BTreeSet};

use agreements::ids::Digest;
use agreements::time::Instant;
use openssl::x509::{X509, X509Crl, X509KeyUsage};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, ParsedExtension};

use crate::asn1;
use crate::leaf::{Identity, trimmed};

/// Verified lists, one for each authority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationSet {
    by_issuer: BTreeMap<Digest, List>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    number: u64,
    next_update: Instant,
    serials: BTreeSet<Vec<u8>>,
}

/// What the lists say of a certificate at one instant. Only [`Revocation::Good`] lets anything through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Its authority's current list does not name it.
    Good,
    /// Its authority's list names it.
    Revoked,
    /// Its authority's list is past its `nextUpdate`: it may have been revoked since.
    Stale,
    /// There is no list of its authority.
    NoList,
}

/// Why a list was not taken. Keep the last good one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Not a list in PEM.
    #[error("not a revocation list in PEM (it begins with -----BEGIN X509 CRL-----); fetch it again")]
    Malformed,
    /// The certificate of the issuer cannot be read, or may not sign lists.
    #[error("the issuer's certificate cannot be read or may not sign revocation lists (key usage cRLSign)")]
    Issuer,
    /// The list is of another authority.
    #[error(
        "the list is of another authority than the certificate that it was given with; pair each list with its own"
    )]
    OtherIssuer,
    /// The signature is not the authority's.
    #[error("the list is not signed by the authority that it names; do not use it")]
    Signature,
    /// No number, or none that fits 64 bits.
    #[error("the list has no usable number (RFC 5280, section 5.2.3); have the authority make it again")]
    Number,
    /// No end of validity.
    #[error("the list does not say when the next one comes (nextUpdate); have the authority make it again")]
    NoNextUpdate,
    /// A partial, indirect or otherwise special list.
    #[error(
        "the list has a critical extension that is not understood (RFC 5280, section 5.2); a complete, direct list is needed"
    )]
    Critical,
    /// An older list than the one at hand.
    #[error(
        "list number {offered} is older than number {held}, which is already in use; an old list may hide a revocation"
    )]
    Older {
        /// The number of the list offered.
        offered: u64,
        /// The number of the list held.
        held: u64,
    },
}

impl RevocationSet {
    /// Verifies one authority's list and reads it.
    ///
    /// # Errors
    /// See [`RevocationError`].
    pub fn from_pem(crl_pem: &[u8], issuer_cert_pem: &[u8]) -> Result<Self, RevocationError> {
        let crl = X509Crl::from_pem(crl_pem).map_err(|_| RevocationError::Malformed)?;
        let issuer = X509::from_pem(issuer_cert_pem).map_err(|_| RevocationError::Issuer)?;
        if !issuer.key_usage().is_some_and(|usage| usage.contains(X509KeyUsage::CRL_SIGN)) {
            return Err(RevocationError::Issuer);
        }
        let name = issuer.subject_name().to_der().map_err(|_| RevocationError::Issuer)?;
        if crl.issuer_name().to_der().map_err(|_| RevocationError::Malformed)? != name {
            return Err(RevocationError::OtherIssuer);
        }
        let key = issuer.public_key().map_err(|_| RevocationError::Issuer)?;
        if !crl.verify(&key).unwrap_or(false) {
            return Err(RevocationError::Signature);
        }
        let list = read(&crl.to_der().map_err(|_| RevocationError::Malformed)?)?;
        Ok(Self { by_issuer: BTreeMap::from([(Digest::of(&name), list)]) })
    }

    /// Adds `other`'s lists. A newer list takes the place of its authority's older one.
    ///
    /// # Errors
    /// [`RevocationError::Older`], and nothing is changed.
    pub fn merge(&mut self, other: Self) -> Result<(), RevocationError> {
        for (issuer, list) in &other.by_issuer {
            if let Some(held) = self.by_issuer.get(issuer).filter(|held| held.number > list.number) {
                return Err(RevocationError::Older { offered: list.number, held: held.number });
            }
        }
        self.by_issuer.extend(other.by_issuer);
        Ok(())
    }

    /// What the lists say of this certificate at `now`.
    #[must_use]
    pub fn status(&self, identity: &Identity, now: Instant) -> Revocation {
        match self.by_issuer.get(&identity.issuer) {
            None => Revocation::NoList,
            Some(list) if list.serials.contains(&identity.serial) => Revocation::Revoked,
            Some(list) if list.next_update <= now => Revocation::Stale,
            Some(_) => Revocation::Good,
        }
    }

    /// Whether the list of the authority with this name ([`Identity::issuer`]) has this serial number (big endian, no
    /// leading zeros). Prefer [`RevocationSet::status`], which also tells when there is no list to trust.
    #[must_use]
    pub fn is_revoked(&self, issuer: &Digest, serial: &[u8]) -> bool {
        self.by_issuer.get(issuer).is_some_and(|list| list.serials.contains(serial))
    }

    /// When the first of the lists becomes void; `None` without a list.
    #[must_use]
    pub fn next_update(&self) -> Option<Instant> {
        self.by_issuer.values().map(|list| list.next_update).min()
    }

    /// Whether any list is void at `now`, or there is none.
    #[must_use]
    pub fn expired_at(&self, now: Instant) -> bool {
        self.next_update().is_none_or(|end| end <= now)
    }

    /// The number of an authority's list; `None` without one.
    #[must_use]
    pub fn number(&self, issuer: &Digest) -> Option<u64> {
        self.by_issuer.get(issuer).map(|list| list.number)
    }

    /// The authorities that have a list here, by the SHA-256 of their name.
    pub fn issuers(&self) -> impl Iterator<Item = &Digest> {
        self.by_issuer.keys()
    }
}

fn read(der: &[u8]) -> Result<List, RevocationError> {
    let Ok(([], crl)) = CertificateRevocationList::from_der(der) else {
        return Err(RevocationError::Malformed);
    };
    let special = |critical: bool, parsed: &ParsedExtension<'_>| {
        critical && !matches!(parsed, ParsedExtension::CRLNumber(_) | ParsedExtension::ReasonCode(_))
    };
    let of_list = crl.extensions().iter();
    let of_lines = crl.iter_revoked_certificates().flat_map(|line| line.extensions());
    if of_list.chain(of_lines).any(|extension| special(extension.critical, extension.parsed_extension())) {
        return Err(RevocationError::Critical);
    }
    let number = crl.crl_number().and_then(|number| u64::try_from(number).ok()).ok_or(RevocationError::Number)?;
    let next_update = crl.next_update().ok_or(RevocationError::NoNextUpdate)?;
    Ok(List {
        number,
        next_update: asn1::instant(next_update.timestamp()),
        serials: crl.iter_revoked_certificates().map(|line| trimmed(line.raw_serial()).to_vec()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Authority;
    use crate::crl::{Reason, Revoked};
    use crate::serial::Serial;

    fn begin() -> Instant {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    fn authority(name: &str) -> Authority {
        Authority::create(name, begin(), begin().plus(100 * Instant::DAY)).unwrap()
    }

    fn list(authority: &Authority, number: u64, serials: &[Serial]) -> RevocationSet {
        let revoked: Vec<_> =
            serials.iter().map(|s| Revoked { serial: *s, at: begin(), reason: Reason::KeyCompromise }).collect();
        let pem = authority.crl(&revoked, number, begin(), begin().plus(Instant::DAY)).unwrap();
        RevocationSet::from_pem(&pem, &authority.certificate_pem().unwrap()).unwrap()
    }

    fn identity(set: &RevocationSet, serial: Serial) -> Identity {
        Identity {
            ori: "CA0190000".parse().unwrap(),
            serial: serial.as_bytes().to_vec(),
            issuer: *set.issuers().next().unwrap(),
            spki: Digest::of(b""),
            not_before: begin(),
            not_after: begin().plus(Instant::DAY),
        }
    }

    #[test]
    fn status_is_by_issuer_and_fails_closed() {
        let (one, two) = (Serial::new([1; 16]), Serial::new([2; 16]));
        let (alder, birch) = (authority("Alder CA"), authority("Birch CA"));
        let (mut set, other) = (list(&alder, 5, &[one]), list(&birch, 1, &[two]));
        let (revoked, good) = (identity(&set, one), identity(&set, two));
        let end = begin().plus(Instant::DAY);
        assert_eq!(set.status(&revoked, begin()), Revocation::Revoked);
        assert_eq!(set.status(&good, end.plus(-1)), Revocation::Good);
        assert_eq!(set.status(&good, end), Revocation::Stale);
        assert!(!set.expired_at(end.plus(-1)) && set.expired_at(end));
        assert_eq!(set.status(&identity(&other, one), begin()), Revocation::NoList);
        assert_eq!(RevocationSet::default().status(&good, begin()), Revocation::NoList);
        assert!(RevocationSet::default().expired_at(begin()));
        set.merge(other.clone()).unwrap();
        assert_eq!(set.status(&good, begin()), Revocation::Good, "the same serial, of another authority");
        assert_eq!(set.status(&identity(&other, two), begin()), Revocation::Revoked);
        assert_eq!(set.merge(list(&alder, 4, &[])), Err(RevocationError::Older { offered: 4, held: 5 }));
        assert!(set.is_revoked(&revoked.issuer, &revoked.serial));
        set.merge(list(&alder, 6, &[one, two])).unwrap();
        assert_eq!(set.status(&good, begin()), Revocation::Revoked);
        assert_eq!((set.number(&good.issuer), set.issuers().count()), (Some(6), 2));
    }

    #[test]
    fn a_list_that_is_not_the_authoritys_is_refused() {
        let (alder, birch, imposter) = (authority("Alder CA"), authority("Birch CA"), authority("Alder CA"));
        let pem = alder.crl(&[], 1, begin(), begin().plus(Instant::DAY)).unwrap();
        let read = |pem: &[u8], by: &Authority| RevocationSet::from_pem(pem, &by.certificate_pem().unwrap());
        assert!(read(&pem, &alder).is_ok());
        assert_eq!(read(&pem, &birch), Err(RevocationError::OtherIssuer));
        assert_eq!(read(&pem, &imposter), Err(RevocationError::Signature));
        assert_eq!(read(b"", &alder), Err(RevocationError::Malformed));
        assert_eq!(RevocationSet::from_pem(&pem, &pem), Err(RevocationError::Issuer));
        let mut der = X509Crl::from_pem(&pem).unwrap().to_der().unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(read(&X509Crl::from_der(&der).unwrap().to_pem().unwrap(), &alder), Err(RevocationError::Signature));
    }
}
