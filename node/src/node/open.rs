//! Opening what a node stands on: its keys and its stores, each by itself for commands that need no more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agreements::ids::Ori;
use certs::key::SigningKey;
use diesel::result::Error;

use crate::agency::AgencyError;
use crate::clock::Clock;
use crate::config::{Config, DatabaseUrl};
use crate::db::{self, Db, DbError, OnFatal};
use crate::exchange::Failure;
use crate::hotlists::matching::Matcher;
use crate::hotlists::shared::{SharedError, SharedLists};
use crate::keyfile::{self, KeyFileError};
use crate::publishing::PolicyFileError;
use crate::reads::store::{ReadsDb, StoreError};
use crate::rotation::{self, RotationError};
use crate::steady::SteadyClock;
use crate::tls::TlsError;
use crate::trail::epoch;
use crate::trail::head::Head;
use crate::trail::note::{LogSigner, SignError, Vkey};

/// Why a node is not opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The registry.
    #[error("the registry: {0}")]
    Registry(#[from] DbError),
    /// The read store.
    #[error(transparent)]
    Reads(#[from] StoreError),
    /// A key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A key file with something else in it.
    #[error("{0} holds no usable key: {1}")]
    Key(PathBuf, String),
    /// The seal's certificate.
    #[error("{0} is not the certificate of this agency's seal: {1}")]
    Seal(PathBuf, String),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The description of this agency.
    #[error(transparent)]
    Agency(#[from] AgencyError),
    /// The certificate is another agency's.
    #[error("the TLS certificate is of {0}, but concordat.toml is of {1}: have the certificate issued for this agency")]
    OtherAgency(Ori, Ori),
    /// The registry cannot be read.
    #[error("the registry: {0}")]
    Query(#[from] Error),
    /// Its rows cannot be compared with the trail.
    #[error(transparent)]
    Compare(#[from] Failure),
    /// The place of partners' hotlists.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// The witness policy.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// New keys are not in their place.
    #[error(transparent)]
    Rotation(Box<RotationError>),
}

impl From<RotationError> for OpenError {
    fn from(error: RotationError) -> Self {
        Self::Rotation(Box::new(error))
    }
}

/// The log's key, over openssl.
struct LogKey {
    key: SigningKey,
    vkey: Vkey,
    /// Where keys of this log are: the one in use, and the one that takes its place. And where its head is.
    config: Config,
}

impl LogSigner for LogKey {
    fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.key.sign(message).ok().and_then(|signature| signature.try_into().ok()).ok_or(SignError)
    }

    fn others(&self) -> Vec<Arc<dyn LogSigner>> {
        // Another process may have begun a new epoch, too.
        let origin = stated_origin(&self.config);
        let keys = files(&self.config).into_iter().filter_map(|file| Self::read(&file, &origin, &self.config).ok());
        keys.filter(|other| other.vkey != self.vkey).map(|other| Arc::new(other) as _).collect()
    }
}

fn files(config: &Config) -> [PathBuf; 2] {
    [config.keys.log_key(), config.keys.next("log.key")]
}

/// The origin of the log's present epoch, as the trail's head states it; that of the configuration where there is no head, or
/// one of another log. It counts as far as the log's key signed it: see [`crate::trail::head`].
fn stated_origin(config: &Config) -> String {
    let base = &config.keys.log_origin;
    // Whoever opens a file that is not there makes one.
    let is_there = match &config.store.registry {
        DatabaseUrl::Sqlite(path) => path.exists(),
        DatabaseUrl::Postgres(_) | DatabaseUrl::Elsewhere(_) => true,
    };
    let read = || Head::read(&mut db::reader_of(&config.store.registry.to_string()).ok()?).ok();
    let head = if is_there { read() } else { None };
    let stated = head.map(|head| head.origin().to_owned());
    stated.filter(|origin| epoch::base(origin) == base).unwrap_or_else(|| base.clone())
}

/// Reads a private key, readable by its owner alone.
///
/// # Errors
/// The file is missing, others can read it, or it holds something else.
pub fn read_key(path: &Path) -> Result<SigningKey, OpenError> {
    let pem = keyfile::read_secret(path)?;
    SigningKey::from_pem(&pem).map_err(|error| OpenError::Key(path.to_owned(), error.to_string()))
}

/// The verifier key of this node's own log.
///
/// # Errors
/// See [`read_key`].
pub fn log_vkey(config: &Config) -> Result<Vkey, OpenError> {
    Ok(log_key(config)?.vkey)
}

impl LogKey {
    fn read(path: &Path, origin: &str, config: &Config) -> Result<Self, OpenError> {
        let key = read_key(path)?;
        let bad = |what: &str| OpenError::Key(path.to_owned(), what.to_owned());
        let public = key.public().ed25519_bytes().ok_or_else(|| bad("it is no Ed25519 key"))?;
        let vkey = Vkey::new(origin, public).map_err(|error| bad(&error.to_string()))?;
        Ok(Self { key, vkey, config: config.clone() })
    }
}

fn log_key(config: &Config) -> Result<LogKey, OpenError> {
    LogKey::read(&config.keys.log_key(), &stated_origin(config), config)
}

/// What signs this node's log with the key that is to take the place of the one in use.
///
/// # Errors
/// See [`read_key`].
pub fn next_log_signer(config: &Config) -> Result<Arc<dyn LogSigner>, OpenError> {
    Ok(Arc::new(LogKey::read(&config.keys.next("log.key"), &stated_origin(config), config)?))
}

/// What signs the epoch of this node's log that `origin` names, with the key in use.
///
/// # Errors
/// See [`read_key`].
pub fn epoch_signer(config: &Config, origin: &str) -> Result<Arc<dyn LogSigner>, OpenError> {
    Ok(Arc::new(LogKey::read(&config.keys.log_key(), origin, config)?))
}

/// Opens the registry alone: all that commands about people, findings and the trail need. Keys whose change is in the trail
/// already, and which are not in their place yet, are put there.
///
/// # Errors
/// See [`OpenError`].
pub fn open_registry(config: &Config, clock: Arc<dyn Clock>, on_fatal: OnFatal) -> Result<Db, OpenError> {
    let clock = SteadyClock::over(clock, config);
    let signer = Arc::new(log_key(config)?);
    let db = Db::open(&config.store.registry.to_string(), signer, clock, on_fatal)?;
    if rotation::is_staged(config) {
        rotation::complete(config, &mut db.reader()?)?;
    }
    Ok(db)
}

/// Opens the read store, whose reads are matched against the hotlists as they are kept, and the place of partners'
/// lists.
///
/// # Errors
/// See [`OpenError`].
pub fn open_reads(config: &Config, registry: &Db) -> Result<(ReadsDb, Arc<SharedLists>), OpenError> {
    let shared = Arc::new(SharedLists::beside(&config.store.registry)?);
    let substitutions = config.hotlists.substitutions;
    let matcher = Matcher::new(registry.clone(), Arc::clone(&shared), config.agency.ori, substitutions);
    let reads = ReadsDb::open(&config.store.reads.to_string())?.watched_by(Arc::new(matcher));
    Ok((reads, shared))
}
