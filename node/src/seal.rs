//! This agency's seal: the key that signs what lives outside the node, and its certificate where an authority issued one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::ids::{Digest, Ori};
use agreements::stream::Seal as Signature;
use agreements::time::Instant;
use arc_swap::ArcSwap;
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

/// The seal, following its files while the node runs: a certificate that was issued or renewed for the same key counts
/// from the next document on, and another key when the trail announced it. The last good one stays otherwise.
#[derive(Clone)]
pub struct SealStore(Arc<Inner>);

struct Inner {
    ori: Ori,
    key: PathBuf,
    certificate: PathBuf,
    current: ArcSwap<Seal>,
    trouble: Mutex<Option<String>>,
}

impl SealStore {
    /// Reads the seal.
    ///
    /// # Errors
    /// See [`Seal::read`].
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(Inner {
            ori: config.agency.ori,
            key: config.keys.seal_key(),
            certificate: config.keys.seal_cert(),
            current: ArcSwap::from_pointee(Seal::read(config)?),
            trouble: Mutex::default(),
        })))
    }

    /// The seal that signs now.
    #[must_use]
    pub fn current(&self) -> Arc<Seal> {
        self.0.current.load_full()
    }

    /// Why the files, as they are now, are not taken.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the certificate that the file holds now, if it is this seal's and it is valid at `now`; and another key where
    /// it is the `announced` one. Whether something is another than before.
    ///
    /// # Errors
    /// Why not, once for each reason.
    pub fn refresh(&self, announced: Option<&str>, now: Instant) -> Result<bool, String> {
        let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match self.read(announced, now) {
            Ok(new) => {
                *trouble = None;
                let held = self.current();
                let changed = new.certificate != held.certificate || new.key.public() != held.key.public();
                if changed {
                    self.0.current.store(Arc::new(new));
                }
                Ok(changed)
            }
            Err(why) if trouble.as_ref() == Some(&why) => Ok(false),
            Err(why) => {
                *trouble = Some(why.clone());
                Err(why)
            }
        }
    }

    fn read(&self, announced: Option<&str>, now: Instant) -> Result<Seal, String> {
        let held = self.current();
        let key = read_key(&self.0.key).map_err(|error| error.to_string())?;
        let same = key.public() == held.key.public();
        if !same && announced != Some(key.public().to_string().as_str()) {
            return Err("seal.key is another key now, and agreements pin the one in use: put it back; a new key is made by `concordat key prepare`".to_owned());
        }
        let pem = match std::fs::read(&self.0.certificate) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && (held.certificate.is_none() || !same) => {
                return Ok(Seal { key, certificate: None });
            }
            Err(error) => return Err(format!("seal.pem cannot be read: {error}")),
        };
        let digest = certificate(&pem, self.0.ori, &key)?;
        if held.certificate != Some(digest) && !valid_at(&pem, now) {
            return Err("seal.pem is outside its validity: have it issued again".to_owned());
        }
        Ok(Seal { key, certificate: Some(digest) })
    }
}

fn valid_at(pem: &[u8], now: Instant) -> bool {
    let der = CertificateDer::from_pem_slice(pem).ok();
    der.and_then(|der| Identity::seal_from_der(&der).ok()).is_some_and(|identity| identity.valid_at(now))
}

pub(crate) fn certificate(pem: &[u8], ori: Ori, key: &SigningKey) -> Result<Digest, String> {
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
