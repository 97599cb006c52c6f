//! A certificate of any authority, for a server that strangers reach: a witness alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::trust::{certificates, read};
use super::{TlsError, provider};
use crate::clock::{Clock, TlsTime};

/// A certificate chain with its key, as the files were when they were read last.
#[derive(Debug)]
pub struct WebCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl WebCertificate {
    /// Reads `certificate` (PEM, leaf first) and `key` (PEM, readable by its owner alone).
    ///
    /// # Errors
    /// A file is missing or holds something else, or they do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from(pair(certificate, key)?);
        Ok(Arc::new(Self { certificate: certificate.to_owned(), key: key.to_owned(), current }))
    }

    /// Reads the files again; what is in use stays where they are not usable.
    ///
    /// # Errors
    /// The same.
    pub fn refresh(&self) -> Result<(), TlsError> {
        self.current.store(pair(&self.certificate, &self.key)?);
        Ok(())
    }

    /// A server's side that shows it to clients without certificates.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn server(self: &Arc<Self>, clock: Arc<dyn Clock>) -> Result<ServerConfig, TlsError> {
        let config = ServerConfig::builder_with_details(provider(), Arc::new(TlsTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        Ok(config.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _))
    }
}

impl ResolvesServerCert for WebCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(certificate, &read(certificate)?)?;
    let secret = crate::keyfile::read_secret(key)?;
    let bad = |error: String| TlsError::Content(key.to_owned(), "private key of that certificate", error);
    let key = PrivateKeyDer::from_pem_slice(&secret).map_err(|error| bad(error.to_string()))?;
    let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    Ok(Arc::new(pair.map_err(|error| bad(error.to_string()))?))
}
