//! The federation's authority, and certificates as they should not be.

use std::path::Path;
use std::sync::Arc;

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use certs::crl::Reason;
use certs::key::SigningKey;
use concordat::ca_folder::{CaFolder, Order};
use concordat::demo::agency::FictionalCa;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::extension::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::clock::TestClock;
use crate::federation::start;
use crate::node::TestNode;

/// Longer than any scenario.
pub const LONG: i64 = 390 * Instant::DAY;

/// The authority in its folder.
pub struct TestPki {
    pub ca: FictionalCa,
}

/// A certificate with its key: what a caller presents.
pub struct Credentials {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    /// The SHA-256 of its key, as partners pin it.
    pub fn spki(&self) -> Digest {
        let der = CertificateDer::from_pem_slice(&self.certificate).unwrap();
        certs::leaf::Identity::from_der(&der).unwrap().spki
    }
}

impl TestPki {
    pub fn create(folder: &Path, now: Instant) -> Self {
        Self { ca: FictionalCa::create(folder.to_owned(), now, LONG).unwrap() }
    }

    /// A sound certificate for `ori`, as the authority issues it.
    pub fn issue(&self, ori: &str) -> Credentials {
        self.issue_for(ori, LONG)
    }

    /// A certificate that is over after `life` microseconds.
    pub fn issue_for(&self, ori: &str, life: i64) -> Credentials {
        let key = SigningKey::generate_p256().unwrap();
        let ori: Ori = ori.parse().unwrap();
        let hosts = ["stranger.test".parse().unwrap()];
        let folder = CaFolder::open(&self.ca.folder).unwrap();
        let issued = folder.issue(ori, key.public(), &Order::Node(&hosts), start(), life).unwrap();
        Credentials { certificate: issued.pem, key: key.to_pem().unwrap() }
    }

    /// A certificate of this authority that says what no certificate of ours says, such as a URI that names no agency:
    /// made by hand, because the authority refuses to.
    pub fn issue_with_uri(&self, uri: &str) -> Credentials {
        let read = |name: &str| std::fs::read(self.ca.folder.join(name)).unwrap();
        let issuer = X509::from_pem(&read("ca.pem")).unwrap();
        let issuer_key = PKey::private_key_from_pem(&read("ca.key")).unwrap();
        let key = SigningKey::generate_p256().unwrap();
        let key_pem = key.to_pem().unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "odd").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&BigNum::from_u32(77).unwrap().to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(issuer.subject_name()).unwrap();
        builder.set_pubkey(&PKey::private_key_from_pem(&key_pem).unwrap()).unwrap();
        let seconds = |at: Instant| Asn1Time::from_unix(at.micros() / Instant::SECOND).unwrap();
        builder.set_not_before(&seconds(start().plus(-Instant::MINUTE))).unwrap();
        builder.set_not_after(&seconds(start().plus(LONG))).unwrap();
        builder.append_extension(BasicConstraints::new().critical().build().unwrap()).unwrap();
        builder.append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap()).unwrap();
        let (san, aki) = {
            let context = builder.x509v3_context(Some(&issuer), None);
            let mut san = SubjectAlternativeName::new();
            san.dns("odd.test").uri(uri);
            (san.build(&context).unwrap(), AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap())
        };
        builder.append_extension(san).unwrap();
        builder.append_extension(aki).unwrap();
        builder.sign(&issuer_key, MessageDigest::sha256()).unwrap();
        Credentials { certificate: builder.build().to_pem().unwrap(), key: key_pem }
    }

    /// A certificate for `ori` of an authority that nobody here trusts, whatever it calls itself.
    pub fn foreign(&self, name: &str, ori: &str) -> Credentials {
        let folder = self.ca.folder.join(name);
        CaFolder::create(&folder, name, start(), 5 * 365 * Instant::DAY, LONG).unwrap();
        Self { ca: FictionalCa { folder } }.issue(ori)
    }

    /// Revokes the certificate that `ori` got first, and publishes the list.
    pub fn revoke(&self, ori: Ori, now: Instant) {
        let folder = CaFolder::open(&self.ca.folder).unwrap();
        let line = folder.lines().unwrap().into_iter().find(|line| line.ori == ori).unwrap();
        folder.revoke(line.serial, Reason::KeyCompromise, now, LONG).unwrap();
    }

    /// The certificate of a node's own key, issued again at `now`, as it is each year. Nobody has put it into its place yet.
    pub fn again(&self, node: &TestNode, now: Instant) -> Vec<u8> {
        let request = std::fs::read(node.settings().keys.folder.join("tls.csr")).unwrap();
        let hosts = [node.fiction.host().parse().unwrap()];
        let folder = CaFolder::open(&self.ca.folder).unwrap();
        let key = certs::csr::proven_key(&request).unwrap();
        folder.issue(node.ori(), &key, &Order::Node(&hosts), now, LONG).unwrap().pem
    }

    /// Publishes the revocation list again.
    pub fn publishes_its_list(&self, now: Instant) {
        CaFolder::open(&self.ca.folder).unwrap().publish(now, LONG).unwrap();
    }

    /// Years went by, and everybody's certificate was renewed in time: so it is at `now`, and these follow.
    pub fn renews_all(&self, nodes: &[&TestNode], now: Instant) {
        self.publishes_its_list(now);
        for node in nodes {
            std::fs::write(node.settings().keys.tls_cert(), self.again(node, now)).unwrap();
            concordat::upkeep::follow(node.node());
        }
    }

    /// A TLS client that trusts this authority and presents `credentials`, or nothing.
    pub fn client(&self, credentials: Option<&Credentials>, clock: &TestClock) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.ca.certificate()).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let time = Arc::new(concordat::clock::TlsTime(Arc::new(clock.clone())));
        let builder = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        match credentials {
            None => builder.with_no_client_auth(),
            Some(Credentials { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().unwrap();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).unwrap()).unwrap()
            }
        }
    }
}
