//! The files of new keys: made beside those in use, and put in their place when the trail says so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agreements::party::Keys;
use certs::csr::{self, CsrError};
use certs::host::{Host, HostError};
use certs::key::{KeyError, SigningKey};
use certs::leaf::Identity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use crate::agency::witness_name;
use crate::config::Config;
use crate::exchange::lifecycle::ActError;
use crate::keyfile::{self, KeyFileError};
use crate::node::{Node, OpenError, read_key};
use crate::seal;
use crate::tls::OwnCertificate;
use crate::trail::cosignature::CosignerKey;
use crate::trail::note::Vkey;

/// A key of a node that can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// That of the TLS certificate (P-256).
    Tls,
    /// The seal's (P-256).
    Seal,
    /// The log's (Ed25519).
    Log,
    /// The witness's (Ed25519).
    Witness,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tls, Self::Seal, Self::Log, Self::Witness];

    /// The name of its file.
    fn file(self) -> &'static str {
        match self {
            Self::Tls => "tls.key",
            Self::Seal => "seal.key",
            Self::Log => "log.key",
            Self::Witness => "witness.key",
        }
    }

    /// The files that go with it: its certificate, and the request for that.
    fn beside(self) -> &'static [&'static str] {
        match self {
            Self::Tls => &["tls.pem", "tls.csr"],
            Self::Seal => &["seal.pem", "seal.csr"],
            Self::Log | Self::Witness => &[],
        }
    }

    fn generate(self) -> Result<SigningKey, KeyError> {
        match self {
            Self::Tls | Self::Seal => SigningKey::generate_p256(),
            Self::Log | Self::Witness => SigningKey::generate_ed25519(),
        }
    }

    /// Puts the public half of `key` where `keys` has this one. Whether it is of the right kind.
    fn enter(self, key: &SigningKey, keys: &mut Keys) -> bool {
        let public = key.public();
        let raw = public.ed25519_bytes();
        match self {
            Self::Tls => keys.tls_spki = public.id(),
            Self::Seal => keys.seal_key = public.to_string(),
            Self::Log => {
                let Some(vkey) = raw.and_then(|key| Vkey::new(&keys.log_origin, key).ok()) else { return false };
                keys.log_vkey = vkey.to_string();
            }
            Self::Witness => {
                let name = witness_name(&keys.log_origin);
                let Some(vkey) = raw.and_then(|key| CosignerKey::new(&name, key).ok()) else { return false };
                keys.witness_vkey = vkey.to_string();
            }
        }
        true
    }

    /// Whether `key` is the one of this kind among `keys`.
    fn is(self, key: &SigningKey, keys: &Keys) -> bool {
        let mut with = keys.clone();
        self.enter(key, &mut with) && with == *keys
    }
}

/// Why new keys are not made or not put in place.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A key cannot be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] KeyError),
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A key that is there cannot be read.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// The folder for new keys.
    #[error("cannot use the folder {0}: {1}")]
    Folder(PathBuf, io::Error),
    /// A request for a certificate.
    #[error("cannot make the request for a certificate: {0}")]
    Request(#[from] CsrError),
    /// The URL names no host that a certificate can name.
    #[error("peer.url names no host that a certificate can name: {0}")]
    Host(#[from] HostError),
    /// The registry.
    #[error("the registry: {0}")]
    Registry(#[from] diesel::result::Error),
}

impl From<OpenError> for RotationError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

/// What lies prepared.
#[derive(Debug, Clone, Serialize)]
pub struct Prepared {
    /// The folder.
    pub folder: PathBuf,
    /// Which keys.
    pub keys: Vec<KeyKind>,
    /// The requests for certificates.
    pub requests: Vec<PathBuf>,
}

/// Whether something lies beside the keys in use.
#[must_use]
pub fn is_staged(config: &Config) -> bool {
    fs::read_dir(config.keys.next_folder()).is_ok_and(|mut files| files.next().is_some())
}

/// Makes new keys beside those in use, and requests for their certificates. What is there already stays.
///
/// # Errors
/// See [`RotationError`]; repeating it completes it.
pub fn prepare(config: &Config, which: &[KeyKind]) -> Result<Prepared, RotationError> {
    let folder = config.keys.next_folder();
    fs::create_dir_all(&folder).map_err(|error| RotationError::Folder(folder.clone(), error))?;
    let mut requests = Vec::new();
    for kind in which {
        let path = config.keys.next(kind.file());
        if !path.exists() {
            keyfile::write_secret(&path, &kind.generate()?.to_pem()?)?;
        }
        let hosts: Vec<Host> = match kind {
            KeyKind::Tls => vec![config.peer.url.host().parse()?],
            KeyKind::Seal => Vec::new(),
            KeyKind::Log | KeyKind::Witness => continue,
        };
        let request = path.with_extension("csr");
        // The host may be another one than when it was made first.
        keyfile::replace(&request, &csr::csr(&read_key(&path)?, config.agency.ori, &hosts)?)?;
        requests.push(request);
    }
    let keys = KeyKind::ALL.into_iter().filter(|kind| config.keys.next(kind.file()).exists()).collect();
    Ok(Prepared { folder, keys, requests })
}

/// New keys that are ready to be used.
pub(super) struct Staged {
    kinds: Vec<KeyKind>,
    /// All keys of this node, with them.
    pub(super) keys: Keys,
}

impl Staged {
    pub(super) fn has(&self, kind: KeyKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// The keys that lie prepared; `None` when there are none.
///
/// # Errors
/// What is missing, in words.
pub(super) fn staged(node: &Node) -> Result<Option<Staged>, ActError> {
    let config = node.config();
    let mut staged = Staged { kinds: Vec::new(), keys: node.party().node.keys() };
    let mut problems = Vec::new();
    for kind in KeyKind::ALL {
        let path = config.keys.next(kind.file());
        if !path.exists() {
            continue;
        }
        let checked = read_key(&path).map_err(|error| error.to_string()).and_then(|key| {
            if !kind.enter(&key, &mut staged.keys) {
                return Err(format!("{} holds a key of another kind", path.display()));
            }
            match kind {
                KeyKind::Tls => certificate(node, &path),
                KeyKind::Seal => seal_certificate(node, &path, &key),
                KeyKind::Log | KeyKind::Witness => Ok(()),
            }
        });
        match checked {
            Ok(()) => staged.kinds.push(kind),
            Err(problem) => problems.push(problem),
        }
    }
    match (problems.is_empty(), staged.kinds.is_empty()) {
        (false, _) => Err(ActError::Refused(problems)),
        (true, true) => Ok(None),
        (true, false) => Ok(Some(staged)),
    }
}

/// A new TLS key is of no use without a certificate that partners take.
fn certificate(node: &Node, key: &Path) -> Result<(), String> {
    let pem = key.with_extension("pem");
    if !pem.exists() {
        return Err(format!(
            "{} is missing: have the authority issue it (`concordat ca issue --csr {}`) and put it there; or remove {} to keep the TLS key",
            pem.display(),
            key.with_extension("csr").display(),
            key.display()
        ));
    }
    let new = OwnCertificate::read(&pem, key).map_err(|error| error.to_string())?;
    if new.identity().ori != node.ori() {
        return Err(format!("{} is of {}, not of {}", pem.display(), new.identity().ori, node.ori()));
    }
    let host = node.config().peer.url.host();
    let trusted = node.trust().vouches(new.chain(), host, node.now());
    trusted.map_err(|error| format!("partners would refuse {}: {error}", pem.display()))
}

fn seal_certificate(node: &Node, path: &Path, key: &SigningKey) -> Result<(), String> {
    let pem = path.with_extension("pem");
    match fs::read(&pem) {
        Ok(bytes) => {
            seal::certificate(&bytes, node.ori(), key).map(drop).map_err(|why| format!("{}: {why}", pem.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("cannot read {}: {error}", pem.display())),
    }
}

/// Puts the announced `keys` in the place of those in use, file by file. Each step finds out by itself whether it is still to
/// be done: a repeat completes what was cut off. The old keys are gone afterwards; nobody takes them any more.
pub(crate) fn put(config: &Config, keys: &Keys) -> Result<(), RotationError> {
    for kind in KeyKind::ALL {
        let (new, used) = (config.keys.next(kind.file()), config.keys.folder.join(kind.file()));
        if new.exists() {
            // Keys that were prepared and not announced yet stay where they are.
            if !kind.is(&read_key(&new)?, keys) {
                continue;
            }
            keyfile::put_in_place(&new, &used)?;
        }
        if !used.exists() || !kind.is(&read_key(&used)?, keys) {
            continue;
        }
        for name in kind.beside() {
            keyfile::put_in_place(&config.keys.next(name), &config.keys.folder.join(name))?;
        }
    }
    without_old_seal(config, keys)?;
    let folder = config.keys.next_folder();
    // It is gone when it is empty; what is in it otherwise was not announced.
    if !is_staged(config) && folder.exists() {
        fs::remove_dir(&folder).map_err(|error| RotationError::Folder(folder, error))?;
    }
    Ok(())
}

/// The certificate of a seal key that was replaced names another key: without it, a seal names none.
fn without_old_seal(config: &Config, keys: &Keys) -> Result<(), RotationError> {
    let path = config.keys.seal_cert();
    let (Ok(pem), Ok(key)) = (fs::read(&path), read_key(&config.keys.seal_key())) else { return Ok(()) };
    let of = CertificateDer::from_pem_slice(&pem).ok().and_then(|der| Identity::seal_from_der(&der).ok());
    if KeyKind::Seal.is(&key, keys) && of.is_some_and(|identity| identity.spki != key.public().id()) {
        fs::remove_file(&path).map_err(|error| RotationError::Folder(path, error))?;
    }
    Ok(())
}
