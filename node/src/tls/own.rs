//! This node's own TLS certificate and key, following their files while the node runs.
//!
//! A certificate that was renewed for the same key is shown from the next handshake on; connections that are open go on.
//! Another key is taken when the trail announced it (`concordat key rotate`). Whatever else comes (a certificate that does
//! not belong to its key yet, another agency's, an expired one, one that partners would refuse, a key that nobody
//! announced) leaves the last good one in place, with the reason.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use arc_swap::ArcSwap;
use certs::leaf::Identity;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};

use super::TlsError;
use super::trust::{Stamp, TrustStore, certificates, read, stamp_of};

/// This node's certificate chain and key: a pair that belongs together.
#[derive(Debug)]
pub struct OwnCertificate {
    pair: Arc<CertifiedKey>,
    identity: Identity,
}

impl OwnCertificate {
    /// Reads `certificate` (PEM, leaf first) and `key` (PEM, readable by its owner alone).
    ///
    /// # Errors
    /// A file is missing or other than that, the leaf names no ORI, or the key is another certificate's.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate, &read(certificate)?)?;
        let secret = crate::keyfile::read_secret(key)?;
        let bad = |what, error: String| TlsError::Content(key.to_owned(), what, error);
        let parsed = PrivateKeyDer::from_pem_slice(&secret).map_err(|error| bad("private key", error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| bad("certificate", "it has none".to_owned()))?;
        let identity = Identity::from_der(leaf)
            .map_err(|error| TlsError::Content(certificate.to_owned(), "node certificate", error.to_string()))?;
        let pair =
            CertifiedKey::from_der(chain, parsed, &aws_lc_rs::default_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::Pair(certificate.to_owned(), key.to_owned())
                }
                error => bad("private key", error.to_string()),
            })?;
        Ok(Self { pair: Arc::new(pair), identity })
    }

    /// What the leaf says.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.pair.cert
    }
}

/// Why a pair that lies in the files is not the one that is shown.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It cannot be read, or its halves do not belong together.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another agency's.
    #[error("it is of {0}, but concordat.toml is of {1}: have the certificate issued for this agency")]
    OtherAgency(Ori, Ori),
    /// Another key than the one that partners have pinned.
    #[error(
        "it is of another key, and partners have pinned the one in use: they would refuse this node. Put the key in use back and have the certificate issued for it (`concordat ca issue --csr keys/tls.csr`); a new key is made by `concordat key prepare`"
    )]
    OtherKey,
    /// Partners would refuse it.
    #[error("partners would refuse it: {0}")]
    Untrusted(rustls::Error),
}

/// Of the certificate and of the key.
type Stamps = [Stamp; 2];

/// This node's certificate and key, as the files last were good. Clones share them.
#[derive(Debug, Clone)]
pub struct OwnStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<OwnCertificate>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamps,
    /// Why the files as they are now are not taken.
    trouble: Option<String>,
}

impl OwnStore {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`OwnCertificate::read`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamp = stamp(certificate, key);
        let own = OwnCertificate::read(certificate, key)?;
        let seen = Mutex::new(Seen { stamp, trouble: None });
        Ok(Self(Arc::new(Inner {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(own),
            seen,
        })))
    }

    /// The pair that is shown now.
    #[must_use]
    pub fn current(&self) -> Arc<OwnCertificate> {
        self.0.current.load_full()
    }

    /// Why the files, as they are now, are not taken; `None` while what they hold is shown.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    /// Takes what the files hold now, when that is another certificate and a partner of the node at `host` would accept
    /// it at `now`. Another key than the one in use only where it is the `announced` one. Whether it did. Called every second by a running node.
    ///
    /// # Errors
    /// Why not; the last good pair still counts. Said once for each reason: `Ok(false)` while the same holds on.
    pub fn refresh(
        &self,
        trust: &TrustStore,
        host: &str,
        announced: Option<Digest>,
        now: Instant,
    ) -> Result<bool, NotTaken> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.0.certificate, &self.0.key);
        // What is not taken is looked at again each time: its authority may only now have come to be trusted.
        if stamp == seen.stamp && seen.trouble.is_none() {
            return Ok(false);
        }
        seen.stamp = stamp;
        match self.acceptable(trust, host, announced, now) {
            Ok(new) => {
                seen.trouble = None;
                let same = new.chain() == self.current().chain();
                self.0.current.store(Arc::new(new));
                Ok(!same)
            }
            Err(error) => {
                let why = error.to_string();
                if seen.trouble.as_ref() == Some(&why) {
                    return Ok(false);
                }
                seen.trouble = Some(why);
                Err(error)
            }
        }
    }

    fn acceptable(
        &self,
        trust: &TrustStore,
        host: &str,
        announced: Option<Digest>,
        now: Instant,
    ) -> Result<OwnCertificate, NotTaken> {
        let held = self.current();
        let new = OwnCertificate::read(&self.0.certificate, &self.0.key)?;
        if new.identity.ori != held.identity.ori {
            return Err(NotTaken::OtherAgency(new.identity.ori, held.identity.ori));
        }
        if new.identity.spki != held.identity.spki && announced != Some(new.identity.spki) {
            return Err(NotTaken::OtherKey);
        }
        // The files as they are shown already need nobody's word: a list that became void does not change them.
        if new.chain() != held.chain() {
            trust.vouches(new.chain(), host, now).map_err(NotTaken::Untrusted)?;
        }
        Ok(new)
    }

    /// The SHA-256 of the key in use, as partners pin it.
    #[must_use]
    pub fn spki(&self) -> Digest {
        self.current().identity.spki
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(stamp_of)
}

impl ResolvesServerCert for OwnStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.load().pair))
    }
}

impl ResolvesClientCert for OwnStore {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.load().pair))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
