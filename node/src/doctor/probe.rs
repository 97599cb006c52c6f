//! A TLS handshake that looks before it judges: what is shown is kept, so that each thing that is wrong with it can be
//! said by its name. Nothing is sent or read after it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, NamedGroup, ProtocolVersion, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::tls::{self, OwnStore, TrustStore};

/// What a handshake showed.
pub(super) struct Shown {
    /// The certificates, leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The version.
    pub(super) version: Option<ProtocolVersion>,
    /// How the key was agreed.
    pub(super) group: Option<NamedGroup>,
}

/// Shakes hands with whoever is at the other end of `tcp`, as a partner that dials `host` would.
pub(super) async fn handshake(
    own: &OwnStore,
    trust: &TrustStore,
    clock: &Arc<dyn Clock>,
    host: &str,
    tcp: TcpStream,
) -> Result<Shown, String> {
    let noting = Arc::new(Noting { trust: trust.clone(), chain: Mutex::default() });
    let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&noting) as _;
    let config = tls::client_with(own, Arc::clone(clock), verifier).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| error.to_string())?;
    let (_, session) = stream.get_ref();
    let chain = std::mem::take(&mut *noting.chain.lock().unwrap_or_else(PoisonError::into_inner));
    let group = session.negotiated_key_exchange_group().map(SupportedKxGroup::name);
    Ok(Shown { chain, version: session.protocol_version(), group })
}

/// Takes any certificate, if its holder has the key, and keeps the chain.
#[derive(Debug)]
struct Noting {
    trust: TrustStore,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(leaf).chain(chain).map(|one| one.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(ServerCertVerified::assertion())
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
