//! A certificate authority: its own certificate, and the certificates that it issues (RFC 5280).
//!
//! Each request is linted before it is signed, and what was signed is read back by the rules that a partner will apply.

use agreements::ids::Ori;
use agreements::time::Instant;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

use crate::asn1;
use crate::host::Host;
use crate::key::{Algorithm, KeyError, PublicKey, SigningKey};
use crate::leaf::{Identity, IdentityError};
use crate::serial::Serial;

/// The longest life of a node's or seal's certificate, in microseconds: 398 days.
pub const MAX_LEAF_LIFE: i64 = 398 * Instant::DAY;
/// The longest life of an authority's certificate, in microseconds: ten years with three leap days.
pub const MAX_AUTHORITY_LIFE: i64 = 3653 * Instant::DAY;

/// id-kp-documentSigning (RFC 9336, section 3.1).
const DOCUMENT_SIGNING: &str = "1.3.6.1.5.5.7.3.36";

/// Why a certificate or list was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The validity ends before it begins.
    #[error("not valid for any time: {not_before} to {not_after}")]
    Empty {
        /// The asked begin.
        not_before: Instant,
        /// The asked end.
        not_after: Instant,
    },
    /// The validity is longer than the rules allow.
    #[error("a certificate of this kind may live {max_days} days at most; ask for less")]
    TooLong {
        /// The limit, in days.
        max_days: i64,
    },
    /// The certificate would outlive the authority's.
    #[error("the authority's own certificate ends {0}, before this one would; ask for less, or make a new authority")]
    OutlivesAuthority(Instant),
    /// The certificate or list would begin before the authority's certificate does.
    #[error("the authority's own certificate begins {0}, after this time")]
    BeforeAuthority(Instant),
    /// A node without a name to be reached by.
    #[error("name at least one host by which partners reach the node")]
    NoHost,
    /// A seal that is not P-256.
    #[error("a seal's key must be P-256 (ES256)")]
    SealKey,
    /// The authority's name does not fit a certificate.
    #[error("an authority's name has 1 to 64 printable characters (RFC 5280, ub-common-name)")]
    Name,
    /// The key is not the certificate's.
    #[error("this key does not belong to this authority's certificate")]
    KeyMismatch,
    /// The certificate is no authority's.
    #[error("this certificate is no authority's: it lacks the CA flag, or the right to sign certificates and lists")]
    NotAuthority,
    /// What was signed does not read back as what was asked: nothing is handed out.
    #[error("the issued certificate does not say what was asked")]
    ReadBack,
    /// What was signed does not read back as a certificate of ours.
    #[error("the issued certificate would be refused: {0}")]
    Identity(#[from] IdentityError),
    /// A key of the wrong kind.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// OpenSSL failed.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// What a node's certificate is to say. Every name comes from the authority's operator, never from the applicant.
#[derive(Debug, Clone)]
pub struct NodeRequest<'a> {
    /// The agency.
    pub ori: Ori,
    /// The node's public key.
    pub public: &'a PublicKey,
    /// Where the node is reached; at least one.
    pub hosts: &'a [Host],
    /// The first second of validity.
    pub not_before: Instant,
    /// The last second of validity, at most [`MAX_LEAF_LIFE`] later.
    pub not_after: Instant,
    /// The serial number, never used before by this authority.
    pub serial: Serial,
}

/// What a seal's certificate is to say.
#[derive(Debug, Clone)]
pub struct SealRequest<'a> {
    /// The agency.
    pub ori: Ori,
    /// The seal's public key: P-256.
    pub public: &'a PublicKey,
    /// The first second of validity.
    pub not_before: Instant,
    /// The last second of validity, at most [`MAX_LEAF_LIFE`] later.
    pub not_after: Instant,
    /// The serial number, never used before by this authority.
    pub serial: Serial,
}

/// An authority's certificate and its private key.
#[derive(Clone)]
pub struct Authority {
    pub(crate) certificate: X509,
    pub(crate) key: SigningKey,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({:?})", self.key.public())
    }
}

impl Authority {
    /// A new authority with a P-256 key and a self-signed certificate that may issue leaves only (path length 0).
    ///
    /// Lists and certificates are matched by the issuer's *name*: give a successor a name of its own.
    ///
    /// # Errors
    /// [`CaError::Name`], [`CaError::Empty`], [`CaError::TooLong`] (over [`MAX_AUTHORITY_LIFE`]), or OpenSSL failed.
    pub fn create(common_name: &str, not_before: Instant, not_after: Instant) -> Result<Self, CaError> {
        let length = common_name.chars().count();
        if !(1..=64).contains(&length) || common_name.trim() != common_name || common_name.chars().any(char::is_control)
        {
            return Err(CaError::Name);
        }
        check_life(not_before, not_after, MAX_AUTHORITY_LIFE)?;
        let key = SigningKey::generate_p256()?;
        let name = name(common_name)?;
        let mut builder = begin(&name, key.public(), not_before, not_after, Serial::random()?)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(identifier)?;
        builder.sign(key.openssl(), key.algorithm().digest())?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// Reads an authority back.
    ///
    /// # Errors
    /// Not PEM; [`CaError::KeyMismatch`]; [`CaError::NotAuthority`].
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, CaError> {
        let certificate = X509::from_pem(certificate)?;
        let key = SigningKey::from_pem(key)?;
        if !certificate.public_key()?.public_eq(key.openssl()) {
            return Err(CaError::KeyMismatch);
        }
        let may_sign = certificate.key_usage().is_some_and(|usage| {
            usage.contains(openssl::x509::X509KeyUsage::KEY_CERT_SIGN | openssl::x509::X509KeyUsage::CRL_SIGN)
        });
        // A path length is only ever reported for a certificate with the CA flag; ours always have one.
        if !may_sign || certificate.pathlen().is_none() {
            return Err(CaError::NotAuthority);
        }
        Ok(Self { certificate, key })
    }

    /// The authority's certificate, for those who are to trust it.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn certificate_pem(&self) -> Result<Vec<u8>, CaError> {
        Ok(self.certificate.to_pem()?)
    }

    /// The authority's private key. The caller keeps it secret.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn key_pem(&self) -> Result<Vec<u8>, CaError> {
        Ok(self.key.to_pem()?)
    }

    /// A node's certificate in PEM: `urn:ori:` and hosts as alternative names, for both ends of TLS.
    ///
    /// # Errors
    /// A lint of the request failed, or OpenSSL did.
    pub fn issue_node(&self, request: &NodeRequest<'_>) -> Result<Vec<u8>, CaError> {
        if request.hosts.is_empty() {
            return Err(CaError::NoHost);
        }
        self.check_leaf_life(request.not_before, request.not_after)?;
        let subject = name(request.ori.as_str())?;
        let mut builder = begin(&subject, request.public, request.not_before, request.not_after, request.serial)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
        let issued = self.finish(builder, request.ori, request.hosts)?;
        let identity = Identity::from_der(&issued.to_der()?)?;
        read_back(&identity, request.ori, request.public, request.serial)?;
        Ok(issued.to_pem()?)
    }

    /// A seal's certificate in PEM: for signing documents (RFC 9336), refused in a handshake.
    ///
    /// # Errors
    /// A lint of the request failed, or OpenSSL did.
    pub fn issue_seal(&self, request: &SealRequest<'_>) -> Result<Vec<u8>, CaError> {
        if request.public.algorithm() != Algorithm::Es256 {
            return Err(CaError::SealKey);
        }
        self.check_leaf_life(request.not_before, request.not_after)?;
        let subject = name(request.ori.as_str())?;
        let mut builder = begin(&subject, request.public, request.not_before, request.not_after, request.serial)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().non_repudiation().build()?)?;
        // Without any extended usage TLS libraries would take a seal's certificate for a node's.
        builder.append_extension(ExtendedKeyUsage::new().other(DOCUMENT_SIGNING).build()?)?;
        let issued = self.finish(builder, request.ori, &[])?;
        let identity = Identity::seal_from_der(&issued.to_der()?)?;
        read_back(&identity, request.ori, request.public, request.serial)?;
        Ok(issued.to_pem()?)
    }

    fn check_leaf_life(&self, not_before: Instant, not_after: Instant) -> Result<(), CaError> {
        check_life(not_before, not_after, MAX_LEAF_LIFE)?;
        let (begins, ends) = self.validity()?;
        if not_before < begins {
            return Err(CaError::BeforeAuthority(begins));
        }
        if not_after > ends {
            return Err(CaError::OutlivesAuthority(ends));
        }
        Ok(())
    }

    /// The first and last second of the authority's own certificate.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn validity(&self) -> Result<(Instant, Instant), CaError> {
        let epoch = openssl::asn1::Asn1Time::from_unix(0)?;
        let instant = |time: &openssl::asn1::Asn1TimeRef| {
            epoch.diff(time).map(|d| asn1::instant(i64::from(d.days) * 86_400 + i64::from(d.secs)))
        };
        Ok((instant(self.certificate.not_before())?, instant(self.certificate.not_after())?))
    }

    /// Adds what all leaves share, and signs.
    fn finish(&self, mut builder: X509Builder, ori: Ori, hosts: &[Host]) -> Result<X509, ErrorStack> {
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        let (names, subject, issuer) = {
            let context = builder.x509v3_context(Some(&self.certificate), None);
            (
                alternative_names(ori, hosts).build(&context)?,
                SubjectKeyIdentifier::new().build(&context)?,
                AuthorityKeyIdentifier::new().keyid(true).build(&context)?,
            )
        };
        builder.append_extension(names)?;
        builder.append_extension(subject)?;
        builder.append_extension(issuer)?;
        builder.sign(self.key.openssl(), self.key.algorithm().digest())?;
        Ok(builder.build())
    }
}

/// The alternative names of a leaf, or those that a request asks for.
pub(crate) fn alternative_names(ori: Ori, hosts: &[Host]) -> SubjectAlternativeName {
    let mut names = SubjectAlternativeName::new();
    names.uri(&format!("{}{ori}", crate::leaf::URN));
    for host in hosts {
        match host.ip() {
            Some(ip) => names.ip(&ip.to_string()),
            None => names.dns(&host.to_string()),
        };
    }
    names
}

pub(crate) fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(builder.build())
}

fn begin(
    subject: &X509Name,
    public: &PublicKey,
    not_before: Instant,
    not_after: Instant,
    serial: Serial,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = serial.asn1()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_pubkey(public.openssl())?;
    let (not_before, not_after) = (asn1::time(not_before)?, asn1::time(not_after)?);
    builder.set_not_before(&not_before)?;
    builder.set_not_after(&not_after)?;
    Ok(builder)
}

fn check_life(not_before: Instant, not_after: Instant, max: i64) -> Result<(), CaError> {
    if not_after <= not_before {
        return Err(CaError::Empty { not_before, not_after });
    }
    if not_after.since(not_before) > max {
        return Err(CaError::TooLong { max_days: max / Instant::DAY });
    }
    Ok(())
}

fn read_back(identity: &Identity, ori: Ori, public: &PublicKey, serial: Serial) -> Result<(), CaError> {
    let as_asked =
        identity.ori == ori && identity.spki == public.id() && identity.serial.as_slice() == serial.as_bytes();
    if as_asked { Ok(()) } else { Err(CaError::ReadBack) }
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
