//! Certificate revocation lists (RFC 5280, section 5), as an authority signs them.

use std::fmt;
use std::str::FromStr;

use agreements::time::Instant;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::x509::extension::AuthorityKeyIdentifier;
use openssl::x509::{CrlNumber, X509, X509CrlBuilder, X509Revoked, X509RevokedBuilder};

use crate::asn1;
use crate::ca::{Authority, CaError};
use crate::serial::Serial;

/// Why a certificate was revoked (RFC 5280, section 5.3.1). There is no hold: a revocation is for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason given.
    Unspecified,
    /// Somebody else has, or may have, the key.
    KeyCompromise,
    /// The agency's name or ORI changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The node is shut down.
    CessationOfOperation,
    /// The agency lost the right to take part.
    PrivilegeWithdrawn,
}

impl Reason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The written form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    /// The code in a list. `unspecified` is written by leaving the extension out (RFC 5280, section 5.3.1).
    const fn code(self) -> Option<u8> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(1),
            Self::AffiliationChanged => Some(3),
            Self::Superseded => Some(4),
            Self::CessationOfOperation => Some(5),
            Self::PrivilegeWithdrawn => Some(9),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reason is one of unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn"
)]
pub struct ReasonError;

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or(ReasonError)
    }
}

/// One line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Which certificate.
    pub serial: Serial,
    /// Since when.
    pub at: Instant,
    /// Why.
    pub reason: Reason,
}

impl Authority {
    /// A complete list in PEM: `number` rises with each list of this authority; the list is void from `next_update` on.
    ///
    /// # Errors
    /// [`CaError::Empty`] when `next_update` is not after `this_update`, or OpenSSL failed.
    pub fn crl(
        &self,
        revoked: &[Revoked],
        number: u64,
        this_update: Instant,
        next_update: Instant,
    ) -> Result<Vec<u8>, CaError> {
        if next_update <= this_update {
            return Err(CaError::Empty { not_before: this_update, not_after: next_update });
        }
        let mut builder = X509CrlBuilder::new()?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        let (this_update, next_update) = (asn1::time(this_update)?, asn1::time(next_update)?);
        builder.set_last_update(&this_update)?;
        builder.set_next_update(&next_update)?;
        // The context belongs to a certificate builder; only its issuer matters for the key identifier.
        let unsent = X509::builder()?;
        let context = unsent.x509v3_context(Some(&self.certificate), None);
        builder.append_extension(AuthorityKeyIdentifier::new().keyid(true).build(&context)?)?;
        builder.append_extension(CrlNumber::new(BigNum::from_slice(&number.to_be_bytes())?)?.build()?)?;
        for line in revoked {
            builder.add_revoked(entry(line)?)?;
        }
        builder.sort()?;
        builder.sign(self.key.openssl(), self.key.algorithm().digest())?;
        Ok(builder.build()?.to_pem()?)
    }
}

/// One line as OpenSSL holds it. Its safe builder has no way to add the reason, so the extension's few bytes are
/// appended to the line's DER and OpenSSL reads the whole back.
fn entry(line: &Revoked) -> Result<X509Revoked, ErrorStack> {
    let mut builder = X509RevokedBuilder::new()?;
    let serial = line.serial.asn1()?;
    builder.set_serial_number(&serial)?;
    let at = asn1::time(line.at)?;
    builder.set_revocation_date(&at)?;
    let plain = builder.build();
    let Some(code) = line.reason.code() else { return Ok(plain) };
    // SEQUENCE { SEQUENCE { OID 2.5.29.21, OCTET STRING { ENUMERATED code } } }
    let extension = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01, code];
    let mut der = plain.to_der()?;
    // Serial (18 bytes) and time (at most 17) leave the length in its short form, in the second byte.
    if let Some(length) = der.get_mut(1) {
        *length += 14;
    }
    der.extend(extension);
    X509Revoked::from_der(&der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::X509Crl;
    use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

    #[test]
    fn a_list_says_serial_time_reason_number_and_issuer() {
        let begin: Instant = "2026-11-23T00:00:00Z".parse().unwrap();
        let authority = Authority::create("Test CA", begin, begin.plus(100 * Instant::DAY)).unwrap();
        let revoked: Vec<Revoked> = (Reason::ALL.into_iter().zip(1u8..))
            .map(|(reason, n)| Revoked { serial: Serial::new([n; 16]), at: begin.plus(Instant::HOUR), reason })
            .collect();
        let pem = authority.crl(&revoked, 300, begin, begin.plus(7 * Instant::DAY)).unwrap();
        let der = X509Crl::from_pem(&pem).unwrap().to_der().unwrap();
        let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
        assert_eq!(list.crl_number().unwrap(), &300u32.into());
        assert_eq!(list.iter_revoked_certificates().count(), revoked.len());
        for line in list.iter_revoked_certificates() {
            let asked = revoked.iter().find(|r| r.serial.as_bytes()[..] == *line.raw_serial()).unwrap();
            assert_eq!(line.reason_code().map(|(_, code)| code.0), asked.reason.code());
            assert_eq!(asn1::instant(line.revocation_date.timestamp()), asked.at);
        }
        assert!(authority.crl(&[], 1, begin, begin).is_err());
        assert!(authority.crl(&[], 1, begin, begin.plus(Instant::DAY)).is_ok());
    }

    #[test]
    fn reasons_go_round() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        assert_eq!("keyCompromise".parse::<Reason>(), Err(ReasonError));
    }
}
