//! Whom to trust: authorities and their revocation lists, following the files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agreements::ids::Digest;
use agreements::time::Instant;
use arc_swap::ArcSwap;
use certs::leaf::Identity;
use certs::revocation::{Revocation, RevocationSet};
use openssl::x509::X509;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{TlsError, provider};

/// Which files say whom to trust.
#[derive(Debug, Clone)]
pub struct TrustFiles {
    /// CA certificates, PEM.
    pub ca: Vec<PathBuf>,
    /// Their revocation lists, PEM.
    pub crl: Vec<PathBuf>,
}

/// Whom to trust, as the files say at one moment.
#[derive(Debug)]
struct Trust {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
    revoked: RevocationSet,
    stamp: Vec<Stamp>,
}

/// Whom to trust, following the files: a newer revocation list counts from the next request, and one that does not
/// parse leaves the last good one in place.
#[derive(Debug, Clone)]
pub struct TrustStore {
    files: TrustFiles,
    current: Arc<ArcSwap<Trust>>,
}

impl TrustStore {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing or no CA certificate or revocation list; a CA has no list.
    pub fn open(files: TrustFiles) -> Result<Self, TlsError> {
        let trust = Trust::load(&files)?;
        Ok(Self { files, current: Arc::new(ArcSwap::from_pointee(trust)) })
    }

    /// Reads the files again when one was changed. Called every second by a running node.
    ///
    /// # Errors
    /// What was read before still counts, also against an older list than it has: that may hide a revocation.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let held = self.current.load();
        if stamp(&self.files) == held.stamp {
            return Ok(false);
        }
        let trust = Trust::load(&self.files)?;
        held.revoked.clone().merge(trust.revoked.clone()).map_err(TlsError::OldCrl)?;
        self.current.store(Arc::new(trust));
        Ok(true)
    }

    /// What is trusted now, for [`Self::is_current`] to compare with later.
    #[must_use]
    pub fn seen(&self) -> SeenTrust {
        SeenTrust(self.current.load_full())
    }

    /// Whether nothing was read again since `seen`.
    #[must_use]
    pub fn is_current(&self, seen: &SeenTrust) -> bool {
        Arc::ptr_eq(&seen.0, &self.current.load())
    }

    /// Why a certificate does not count at `now`, although its handshake was accepted: it was revoked or it expired
    /// since, or the revocation list itself is too old.
    #[must_use]
    pub fn objection(&self, identity: &Identity, now: Instant) -> Option<&'static str> {
        if !identity.valid_at(now) {
            return Some("outside its validity");
        }
        match self.current.load().revoked.status(identity, now) {
            Revocation::Good => None,
            Revocation::Revoked => Some("revoked"),
            Revocation::Stale => Some("its authority's revocation list is past its next update"),
            Revocation::NoList => Some("there is no revocation list of its authority"),
        }
    }

    /// When the first of the revocation lists becomes void.
    #[must_use]
    pub fn next_update(&self) -> Option<Instant> {
        self.current.load().revoked.next_update()
    }

    /// What verifies clients now.
    pub(super) fn clients(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.current.load().clients)
    }

    /// What verifies servers now.
    pub(crate) fn servers(&self) -> Arc<WebPkiServerVerifier> {
        Arc::clone(&self.current.load().servers)
    }

    /// Why a partner would not accept this chain (leaf first) at `now` from the node at `host`, in both directions: its
    /// names, its validity, its authority, and whether it was revoked.
    ///
    /// # Errors
    /// The reason, as rustls says it.
    pub fn vouches(&self, chain: &[CertificateDer<'_>], host: &str, now: Instant) -> Result<(), rustls::Error> {
        let (leaf, others) = chain.split_first().ok_or(rustls::Error::General("there is no certificate".to_owned()))?;
        let seconds = u64::try_from(now.micros() / Instant::SECOND).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| rustls::Error::General(error.to_string()))?;
        let trust = self.current.load();
        trust.servers.verify_server_cert(leaf, others, &name, &[], now)?;
        trust.clients.verify_client_cert(leaf, others, now).map(drop)
    }
}

/// What was trusted at a moment.
#[derive(Debug, Clone)]
pub struct SeenTrust(Arc<Trust>);

/// By what a file that was changed is told: its time, its length, and which file it is.
pub(super) type Stamp = Option<(std::time::SystemTime, u64, u64)>;

pub(super) fn stamp_of(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len(), about.ino()))
}

fn stamp(files: &TrustFiles) -> Vec<Stamp> {
    files.ca.iter().chain(&files.crl).map(|path| stamp_of(path)).collect()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error))
}

impl Trust {
    fn load(files: &TrustFiles) -> Result<Self, TlsError> {
        let stamp = stamp(files);
        let mut roots = RootCertStore::empty();
        let mut cas = Vec::new();
        for path in &files.ca {
            for der in certificates(path, &read(path)?)? {
                // One file may hold several authorities; each needs its own list.
                let read = X509::from_der(&der).and_then(|ca| Ok((ca.to_pem()?, ca.subject_name().to_der()?)));
                let (pem, name) =
                    read.map_err(|error| TlsError::Content(path.clone(), "certificate", error.to_string()))?;
                cas.push((pem, Digest::of(&name)));
                roots.add(der)?;
            }
        }
        if cas.is_empty() {
            return Err(TlsError::NoCa);
        }
        let mut lists = Vec::new();
        let mut revoked = RevocationSet::default();
        for path in &files.crl {
            let bytes = read(path)?;
            let bad = |error: String| TlsError::Content(path.clone(), "revocation list", error);
            let der = CertificateRevocationListDer::from_pem_slice(&bytes).map_err(|error| bad(error.to_string()))?;
            let mut read = cas.iter().map(|(ca, _)| RevocationSet::from_pem(&bytes, ca));
            let set = read.find_map(Result::ok).ok_or_else(|| bad("no configured CA signed it".to_owned()))?;
            revoked.merge(set).map_err(|error| bad(error.to_string()))?;
            lists.push(der);
        }
        if !cas.iter().all(|(_, name)| revoked.issuers().any(|issuer| issuer == name)) {
            return Err(TlsError::NoCrl);
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .with_crls(lists.clone())
            .enforce_revocation_expiration()
            .build()?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .with_crls(lists)
            .enforce_revocation_expiration()
            .build()?;
        Ok(Self { clients, servers, revoked, stamp })
    }
}

pub(super) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |error: String| TlsError::Content(path.to_owned(), "certificate", error);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() { Err(bad("it has none".to_owned())) } else { Ok(chain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use certs::ca::{Authority, NodeRequest};
    use certs::crl::{Reason, Revoked};
    use certs::key::SigningKey;
    use certs::serial::Serial;

    fn begin() -> Instant {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    /// An authority with files for its certificate and its list.
    struct Ca {
        authority: Authority,
        pem: PathBuf,
        crl: PathBuf,
    }

    impl Ca {
        fn create(folder: &Path, name: &str) -> Self {
            let authority = Authority::create(name, begin(), begin().plus(100 * Instant::DAY)).unwrap();
            let (pem, crl) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.crl")));
            std::fs::write(&pem, authority.certificate_pem().unwrap()).unwrap();
            let this = Self { authority, pem, crl };
            this.lists(&[], 1);
            this
        }

        /// Writes the list of this number, at a time of its own: each is seen as a change.
        fn lists(&self, serials: &[Serial], number: u64) {
            let line = |serial: &Serial| Revoked { serial: *serial, at: begin(), reason: Reason::KeyCompromise };
            let lines: Vec<Revoked> = serials.iter().map(line).collect();
            let pem = self.authority.crl(&lines, number, begin(), begin().plus(9 * Instant::DAY)).unwrap();
            self.writes(&pem, std::time::Duration::from_secs(1_000_000 + number));
        }

        fn writes(&self, pem: &[u8], at: std::time::Duration) {
            std::fs::write(&self.crl, pem).unwrap();
            let file = std::fs::File::options().append(true).open(&self.crl).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + at).unwrap();
        }

        fn issues(&self, serial: Serial) -> Identity {
            let key = SigningKey::generate_p256().unwrap();
            let request = NodeRequest {
                ori: "CA0190000".parse().unwrap(),
                public: key.public(),
                hosts: &["alpr.alder.test".parse().unwrap()],
                not_before: begin(),
                not_after: begin().plus(50 * Instant::DAY),
                serial,
            };
            let pem = self.authority.issue_node(&request).unwrap();
            Identity::from_der(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_list_counts_at_once_and_neither_an_older_nor_a_damaged_one_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::create(folder.path(), "one");
        let serial = Serial::random().unwrap();
        let identity = ca.issues(serial);
        let trust = TrustStore::open(TrustFiles { ca: vec![ca.pem.clone()], crl: vec![ca.crl.clone()] }).unwrap();
        let objection = || trust.objection(&identity, begin().plus(Instant::DAY));
        assert_eq!(objection(), None);
        assert!(!trust.refresh().unwrap());
        ca.lists(&[serial], 2);
        assert!(trust.refresh().unwrap());
        assert_eq!(objection(), Some("revoked"));

        ca.lists(&[], 1);
        assert!(matches!(trust.refresh(), Err(TlsError::OldCrl(_))));
        assert_eq!(objection(), Some("revoked"));
        ca.writes(b"no list", std::time::Duration::from_secs(5));
        assert!(matches!(trust.refresh(), Err(TlsError::Content(..))));
        std::fs::remove_file(&ca.crl).unwrap();
        assert!(matches!(trust.refresh(), Err(TlsError::Read(..))));
        assert_eq!(objection(), Some("revoked"));

        ca.lists(&[], 3);
        assert!(trust.refresh().unwrap());
        assert_eq!(objection(), None);
        let stale = "its authority's revocation list is past its next update";
        assert_eq!(trust.objection(&identity, begin().plus(9 * Instant::DAY)), Some(stale));
    }

    #[test]
    fn each_authority_of_a_bundle_needs_its_list() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Ca::create(folder.path(), "one"), Ca::create(folder.path(), "two"));
        let bundle = folder.path().join("bundle.pem");
        std::fs::write(&bundle, [std::fs::read(&one.pem).unwrap(), std::fs::read(&two.pem).unwrap()].concat()).unwrap();
        let open = |crl| TrustStore::open(TrustFiles { ca: vec![bundle.clone()], crl });
        assert!(matches!(open(vec![one.crl.clone()]), Err(TlsError::NoCrl)));
        let trust = open(vec![one.crl.clone(), two.crl.clone()]).unwrap();
        let identity = two.issues(Serial::random().unwrap());
        assert_eq!(trust.objection(&identity, begin().plus(Instant::DAY)), None);
    }
}
