//! Mutual TLS of the peer port, both ways: TLS 1.3 only, no resumption, revocation checked at the handshake and again for
//! every request.

mod own;
mod trust;
mod web;

use std::path::PathBuf;
use std::sync::Arc;

use agreements::ids::{Digest, Ori};
use certs::leaf::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

use crate::clock::{Clock, TlsTime};

pub use own::{OwnCertificate, OwnStore};
pub use trust::{SeenTrust, TrustFiles, TrustStore};
use trust::{certificates, read};
pub use web::WebCertificate;

/// Why certificates or keys cannot be used. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// A key file that others can read, or that cannot be read.
    #[error(transparent)]
    Key(#[from] crate::keyfile::KeyFileError),
    /// A file holds no such thing.
    #[error("{0} holds no usable {1}: {2}")]
    Content(PathBuf, &'static str, String),
    /// The certificate is of another key.
    #[error(
        "{0} is not the certificate of the key in {1}: have it issued for that key (`concordat ca issue --csr keys/tls.csr`)"
    )]
    Pair(PathBuf, PathBuf),
    /// There is no CA.
    #[error("no CA is configured: name the file of your federation's CA certificate in peer.ca")]
    NoCa,
    /// There is no revocation list for a CA.
    #[error("a CA in peer.ca has no revocation list: name it in peer.crl (`concordat ca crl` makes one)")]
    NoCrl,
    /// An older revocation list than the one in use.
    #[error("peer.crl: {0}")]
    OldCrl(certs::revocation::RevocationError),
    /// rustls refuses.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// rustls refuses the CA or the revocation list.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The server's side of the peer port. Each handshake shows the certificate that is the current one then.
///
/// # Errors
/// rustls refuses the settings.
pub fn server(own: &OwnStore, trust: &TrustStore, clock: Arc<dyn Clock>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(TlsTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Clients(trust.clone())))
        .with_cert_resolver(Arc::new(own.clone()));
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A server's side for clients without certificates: readers' agents.
///
/// # Errors
/// rustls refuses the settings.
pub fn server_alone(own: &OwnStore, clock: Arc<dyn Clock>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(TlsTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(own.clone()));
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The client's side, towards one partner: its chain, its name, its ORI and its pinned key.
///
/// # Errors
/// rustls refuses the settings.
pub fn client(
    own: &OwnStore,
    trust: &TrustStore,
    clock: Arc<dyn Clock>,
    pinned: (Ori, Digest),
) -> Result<ClientConfig, TlsError> {
    let (ori, key) = pinned;
    client_with(own, clock, Arc::new(Pinned { trust: trust.clone(), ori, key: Some(key) }))
}

/// The client's side towards whoever has a certificate of an authority that we trust with this ORI and this host, whatever
/// its key: for telling a partner our new keys whose own may have changed too. What it answers proves nothing.
///
/// # Errors
/// rustls refuses the settings.
pub(crate) fn client_unpinned(
    own: &OwnStore,
    trust: &TrustStore,
    clock: Arc<dyn Clock>,
    ori: Ori,
) -> Result<ClientConfig, TlsError> {
    client_with(own, clock, Arc::new(Pinned { trust: trust.clone(), ori, key: None }))
}

/// The side of a client of the public web, which shows no certificate: servers are those of the authorities in `ca` or,
/// where none is named, of those that this machine trusts. Sites may still speak TLS 1.2.
///
/// # Errors
/// A file holds no certificate, or this machine trusts nobody.
pub fn web(ca: &[PathBuf], clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(TlsTime(clock)));
    let builder = builder.with_safe_default_protocol_versions()?;
    if ca.is_empty() {
        let verifier = rustls_platform_verifier::Verifier::new(provider())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for path in ca {
        for der in certificates(path, &read(path)?)? {
            roots.add(der).map_err(|error| TlsError::Content(path.clone(), "certificate", error.to_string()))?;
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The client's side with this verifier of servers.
pub(crate) fn client_with(
    own: &OwnStore,
    clock: Arc<dyn Clock>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(TlsTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(own.clone()));
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Verifies clients against what is trusted at the moment of the handshake.
#[derive(Debug)]
struct Clients(TrustStore);

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.clients().verify_client_cert(leaf, chain, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.clients().verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.clients().verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clients().supported_verify_schemes()
    }
}

/// Verifies a server as any would, and then that it is the pinned partner: a rogue CA cannot stand in for one.
#[derive(Debug)]
struct Pinned {
    trust: TrustStore,
    ori: Ori,
    key: Option<Digest>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.trust.servers().verify_server_cert(leaf, chain, name, ocsp, now)?;
        match Identity::from_der(leaf) {
            Ok(identity) if identity.ori == self.ori && self.key.is_none_or(|key| key == identity.spki) => Ok(verified),
            _ => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.servers().verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.servers().verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.servers().supported_verify_schemes()
    }
}
