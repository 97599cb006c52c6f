use super::*;
use certs::key::SigningKey;
use certs::leaf::Identity;
use certs::revocation::{Revocation, RevocationSet};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

fn now() -> Instant {
    "2026-11-23T20:00:00Z".parse().unwrap()
}

fn new_folder(path: &Path) -> CaFolder {
    CaFolder::create(path, "Fictional Counties CA", now(), 3650 * Instant::DAY, 7 * Instant::DAY).unwrap()
}

fn published(ca: &CaFolder) -> RevocationSet {
    RevocationSet::from_pem(&fs::read(ca.list()).unwrap(), &fs::read(ca.certificate()).unwrap()).unwrap()
}

fn identity(pem: &[u8]) -> Identity {
    Identity::from_der(&openssl::x509::X509::from_pem(pem).unwrap().to_der().unwrap()).unwrap()
}

#[test]
fn issued_then_revoked_then_listed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ca");
    drop(new_folder(&path));
    let ca = CaFolder::open(&path).unwrap();
    let (ori, key) = ("CA0190000".parse().unwrap(), SigningKey::generate_p256().unwrap());
    let hosts = ["alder.example".parse().unwrap()];
    let life = 397 * Instant::DAY;
    let node = ca.issue(ori, key.public(), &Order::Node(&hosts), now(), life).unwrap();
    let seal = ca.issue(ori, key.public(), &Order::Seal, now(), life).unwrap();
    assert_eq!(ca.lines().unwrap(), [node.line, seal.line]);
    let who = identity(&node.pem);
    assert_eq!((who.not_after, &who.serial[..]), (node.line.expires, &node.line.serial.as_bytes()[..]));
    assert_eq!(published(&ca).status(&who, now()), Revocation::Good);

    let later = now().plus(Instant::DAY);
    let list = ca.revoke(node.line.serial, Reason::KeyCompromise, later, 7 * Instant::DAY).unwrap();
    assert_eq!(list, Published { number: 2, next_update: later.plus(7 * Instant::DAY), revoked: 1 });
    assert_eq!(published(&ca).status(&who, later), Revocation::Revoked);
    let again = ca.revoke(node.line.serial, Reason::Superseded, later, Instant::DAY);
    assert!(matches!(again, Err(CaFolderError::AlreadyRevoked { at, .. }) if at == later));
    let unknown = ca.revoke(Serial::new([3; 16]), Reason::Superseded, later, Instant::DAY);
    assert!(matches!(unknown, Err(CaFolderError::UnknownSerial(_))));
    assert_eq!(ca.publish(later, Instant::DAY).unwrap().number, 3);
    assert_eq!(published(&ca).status(&who, later), Revocation::Revoked, "a later list still names it");
}

#[test]
fn a_refused_certificate_leaves_no_line() {
    let place = tempfile::tempdir().unwrap();
    let ca = new_folder(place.path());
    let key = SigningKey::generate_p256().unwrap();
    let refused = ca.issue("CA0190000".parse().unwrap(), key.public(), &Order::Node(&[]), now(), Instant::DAY);
    assert!(matches!(refused, Err(CaFolderError::Authority(CaError::NoHost))));
    assert_eq!(ca.lines().unwrap(), []);
}

#[test]
fn the_folder_guards_its_key_and_its_numbers() {
    let place = tempfile::tempdir().unwrap();
    let ca = new_folder(place.path());
    assert_eq!(fs::metadata(place.path().join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
    for damaged in ["", "two"] {
        fs::write(place.path().join("crl.number"), damaged).unwrap();
        assert!(matches!(ca.publish(now(), Instant::DAY), Err(CaFolderError::Number)));
    }
    fs::remove_file(place.path().join("crl.number")).unwrap();
    assert!(matches!(ca.publish(now(), Instant::DAY), Err(CaFolderError::Io { .. })), "numbering does not start again");
    drop(ca);
    let second = CaFolder::create(place.path(), "Other CA", now(), Instant::DAY, Instant::DAY);
    assert!(matches!(second, Err(CaFolderError::Exists(_))));
    fs::set_permissions(place.path().join("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = CaFolder::open(place.path());
    assert!(matches!(exposed, Err(CaFolderError::File(KeyFileError::Exposed { .. }))));
    assert!(matches!(CaFolder::open(&place.path().join("none")), Err(CaFolderError::Io { .. })));
}

#[test]
fn one_process_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let held = new_folder(place.path());
    let other = File::options().write(true).open(place.path().join("lock")).unwrap();
    assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
    drop(held);
    other.try_lock().unwrap();
}

/// What rustls, with the folder's current list, says of a client that shows this certificate.
fn handshake(ca: &CaFolder, leaf: &[u8], at: Instant) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(ca.certificate()).unwrap()).unwrap()).unwrap();
    let list = CertificateRevocationListDer::from_pem_slice(&fs::read(ca.list()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls([list])
        .enforce_revocation_expiration()
        .build()
        .unwrap();
    let seconds = u64::try_from(at.micros() / Instant::SECOND).unwrap();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_client_cert(&CertificateDer::from_pem_slice(leaf).unwrap(), &[], time).map(|_| ())
}

#[test]
fn rustls_reads_certificates_and_lists_as_we_do() {
    let place = tempfile::tempdir().unwrap();
    let (ca, other) = (new_folder(&place.path().join("ca")), new_folder(&place.path().join("other")));
    let (ori, hosts) = ("CA0190000".parse().unwrap(), ["alder.example".parse().unwrap()]);
    for key in [SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap()] {
        let node = ca.issue(ori, key.public(), &Order::Node(&hosts), now(), 3 * Instant::DAY).unwrap();
        assert_eq!(handshake(&ca, &node.pem, now()), Ok(()));
        assert!(handshake(&other, &node.pem, now()).is_err(), "a foreign authority of the same name");
        let expired = handshake(&ca, &node.pem, now().plus(4 * Instant::DAY));
        assert!(matches!(expired, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))));
        ca.revoke(node.line.serial, Reason::KeyCompromise, now(), Instant::DAY).unwrap();
        assert_eq!(handshake(&ca, &node.pem, now()), Err(Error::InvalidCertificate(CertificateError::Revoked)));
        let later = ca.issue(ori, key.public(), &Order::Node(&hosts), now(), 3 * Instant::DAY).unwrap();
        let stale = handshake(&ca, &later.pem, now().plus(2 * Instant::DAY));
        assert!(matches!(stale, Err(Error::InvalidCertificate(CertificateError::ExpiredRevocationListContext { .. }))));
        assert_eq!(published(&ca).status(&identity(&later.pem), now().plus(2 * Instant::DAY)), Revocation::Stale);
        ca.publish(now(), 7 * Instant::DAY).unwrap();
    }
    let seal_key = SigningKey::generate_p256().unwrap();
    let seal = ca.issue(ori, seal_key.public(), &Order::Seal, now(), Instant::DAY).unwrap();
    assert!(handshake(&ca, &seal.pem, now()).is_err(), "a seal is not for handshakes");
}
