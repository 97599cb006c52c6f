//! This agency's seal: the key that signs what lives outside the node, and its certificate where an authority issued one.

use agreements::ids::{Digest, Ori};
use agreements::status::Seal as Signature;
use certs::jws::{self, JwsError};
use certs::key::SigningKey;
use certs::leaf::Identity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::Config;
use crate::node::{OpenError, read_key};

/// The seal key (P-256), and the SHA-256 of its certificate in DER.
#[derive(Clone)]
pub struct Seal {
    key: SigningKey,
    certificate: Option<Digest>,
}

impl Seal {
    /// Reads `seal.key`, and `seal.pem` if it is there.
    ///
    /// # Errors
    /// The key cannot be read, or the certificate is not this agency's seal's.
    pub fn read(config: &Config) -> Result<Self, OpenError> {
        let key = read_key(&config.keys.seal_key())?;
        let path = config.keys.seal_cert();
        let certificate = match std::fs::read(&path) {
            Ok(pem) => Some(certificate(&pem, config.agency.ori, &key).map_err(|why| OpenError::Seal(path, why))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(OpenError::Seal(path, error.to_string())),
        };
        Ok(Self { key, certificate })
    }

    /// Seals canonical JSON as a document of type `typ`; the header names the certificate (RFC 7515, section 4.1.8).
    ///
    /// # Errors
    /// See [`JwsError`].
    pub fn sign(&self, payload: &[u8], typ: &str) -> Result<Signature, JwsError> {
        jws::sign(payload, typ, &self.key, self.certificate)
    }
}

fn certificate(pem: &[u8], ori: Ori, key: &SigningKey) -> Result<Digest, String> {
    let der = CertificateDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let identity = Identity::seal_from_der(&der).map_err(|error| error.to_string())?;
    if identity.ori != ori {
        return Err(format!("it is of {}, but concordat.toml is of {ori}", identity.ori));
    }
    if identity.spki != key.public().id() {
        return Err("it is of another key than seal.key; have it issued for keys/seal.csr".to_owned());
    }
    Ok(Digest::of(&der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agreements::time::Instant;
    use certs::ca::{Authority, SealRequest};
    use certs::serial::Serial;

    #[test]
    fn only_the_own_seals_certificate_is_named() {
        let now: Instant = "2026-11-23T20:17:00Z".parse().unwrap();
        let ca = Authority::create("Test CA", now, now.plus(1000 * Instant::DAY)).unwrap();
        let (key, other) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_p256().unwrap());
        let ori: Ori = "CA0990000".parse().unwrap();
        let issue = |ori, key: &SigningKey| {
            let serial = Serial::random().unwrap();
            let not_after = now.plus(300 * Instant::DAY);
            ca.issue_seal(&SealRequest { ori, public: key.public(), not_before: now, not_after, serial }).unwrap()
        };
        let der = CertificateDer::from_pem_slice(&issue(ori, &key)).unwrap();
        let pem = issue(ori, &key);
        assert_ne!(
            certificate(&pem, ori, &key).unwrap(),
            Digest::of(&der),
            "another serial number, another certificate"
        );
        assert!(certificate(&pem, ori, &other).unwrap_err().contains("another key"));
        assert!(certificate(&pem, "CA0990100".parse().unwrap(), &key).unwrap_err().contains("CA0990000"));
        assert!(certificate(b"nonsense", ori, &key).is_err());
    }
}
