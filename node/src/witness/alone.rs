//! A witness alone: a folder with a key and one file of heads, for whoever is no exchanging agency, such as a county auditor.
//!
//! The file is the witness's memory. It is made once, with the key, and never again: a witness that forgot what it saw could
//! be led to cosign a second trail.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agreements::ids::Digest;
use agreements::time::Instant;
use arc_swap::ArcSwap;
use certs::key::{KeyError, SigningKey};
use diesel::result::QueryResult;

use super::evidence::{self, Fork};
use super::{Done, Refusal, Witnessed};
use crate::clock::Clock;
use crate::db::{self, Conn, DbError, immediate};
use crate::keyfile::{self, KeyFileError};
use crate::trail::cosignature::{Cosigner, CosignerKey, SignedText};
use crate::trail::epoch;
use crate::trail::note::Vkey;
use crate::trail::policy::{Policy, PolicyError};

const KEY: &str = "witness.key";
const PUBLIC: &str = "witness.vkey";
const STORE: &str = "witness.db";

/// Why a witness is not made, or does not run.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// There is one in the folder.
    #[error("{} holds a witness already, and nothing was changed", .0.display())]
    Exists(PathBuf),
    /// There is none in the folder.
    #[error("{} holds no witness", .0.display())]
    Absent(PathBuf),
    /// What it saw is gone.
    #[error(
        "{} is gone, and with it what this witness saw: under the same key it could be led to cosign a second trail. Put the \
         file back from where it went (a copy of before will not do), or make another witness with another key, and have \
         the policy changed", .0.display()
    )]
    Lost(PathBuf),
    /// A name that no witness can have.
    #[error(
        "`{0}` is no name for a witness: write it without spaces and plus signs, such as auditor.alder.example/witness"
    )]
    Name(String),
    /// A key cannot be made.
    #[error("cannot make a key: {0}")]
    Make(#[from] KeyError),
    /// A key file is none.
    #[error("{path}: {1}", path = .0.display())]
    Key(PathBuf, String),
    /// The key file is another witness's.
    #[error("witness.key and witness.vkey in {} do not belong together: put back the pair that `concordat witness init` made", .0.display())]
    Pair(PathBuf),
    /// What is kept was cosigned by another key.
    #[error(
        "the head of {0} that is kept was not cosigned by this witness's key: the file is another witness's, or was changed"
    )]
    OtherKey(String),
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The folder cannot be made.
    #[error("cannot make {path}: {1}", path = .0.display())]
    Folder(PathBuf, std::io::Error),
    /// The policy cannot be read.
    #[error("cannot read {path}: {1}", path = .0.display())]
    Policy(PathBuf, std::io::Error),
    /// It is none.
    #[error("{path}: {1}", path = .0.display())]
    Form(PathBuf, PolicyError),
    /// It names no log.
    #[error(
        "{} names no log: a witness alone watches those that the policy names, so it needs a line `log <vkey>` for each agency \
         (the log_vkey of its descriptor)", .0.display()
    )]
    NoLogs(PathBuf),
    /// The file of heads.
    #[error("the witness's file: {0}")]
    Store(#[from] DbError),
    /// The same.
    #[error("the witness's file: {0}")]
    Query(#[from] diesel::result::Error),
}

/// The policy in `file`, which must name logs.
///
/// # Errors
/// [`AloneError::Policy`], [`AloneError::Form`], [`AloneError::NoLogs`].
pub fn policy(file: &Path) -> Result<Policy, AloneError> {
    let policy = any_policy(file)?;
    if policy.logs().is_empty() { Err(AloneError::NoLogs(file.to_owned())) } else { Ok(policy) }
}

/// The policy in `file`.
///
/// # Errors
/// [`AloneError::Policy`], [`AloneError::Form`].
pub fn any_policy(file: &Path) -> Result<Policy, AloneError> {
    let bytes = fs::read(file).map_err(|error| AloneError::Policy(file.to_owned(), error))?;
    Policy::parse(&bytes).map_err(|error| AloneError::Form(file.to_owned(), error))
}

/// Makes a witness named `name` in `folder`: its key, readable by its owner alone, and its file. Nothing is overwritten.
///
/// # Errors
/// See [`AloneError`]. What was made before a failure is removed again.
pub fn init(folder: &Path, name: &str) -> Result<CosignerKey, AloneError> {
    let (key, public, store) = (folder.join(KEY), folder.join(PUBLIC), folder.join(STORE));
    if [&key, &public, &store].iter().any(|path| path.exists()) {
        return Err(AloneError::Exists(folder.to_owned()));
    }
    let secret = SigningKey::generate_ed25519()?;
    let pem = secret.to_pem()?;
    let cosigner = Cosigner::new(name, secret).map_err(|_| AloneError::Name(name.to_owned()))?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| AloneError::Folder(folder.to_owned(), error))?;
    // Of two that make one at once, only one gets past this.
    keyfile::write_secret(&key, &pem)?;
    let finish = || {
        drop(db::witness_writer(&store)?);
        // Last: where it is, the rest is whole.
        Ok(keyfile::write_public(&public, format!("{}\n", cosigner.public()).as_bytes())?)
    };
    if let Err(error) = finish() {
        for path in [&key, &store, &public] {
            drop(fs::remove_file(path));
        }
        return Err(error);
    }
    Ok(cosigner.public().clone())
}

/// The file of the witness in `folder`, which must be there.
fn store_of(folder: &Path) -> Result<PathBuf, AloneError> {
    if !folder.join(PUBLIC).exists() {
        return Err(AloneError::Absent(folder.to_owned()));
    }
    let store = folder.join(STORE);
    if store.exists() { Ok(store) } else { Err(AloneError::Lost(store)) }
}

/// What a witness has seen.
#[derive(Debug)]
pub struct Seen {
    /// The newest head of each log that it cosigned.
    pub heads: Vec<Witnessed>,
    /// Logs that showed two trails, oldest first: the SHA-256 of the evidence, the evidence, when it was found.
    pub forks: Vec<(Digest, Fork, Instant)>,
}

/// What the witness in `folder` has seen, whether it runs or not.
///
/// # Errors
/// See [`AloneError`].
pub fn seen(folder: &Path) -> Result<Seen, AloneError> {
    let mut conn = db::witness_reader(&store_of(folder)?)?;
    Ok(Seen { heads: super::all(&mut conn)?, forks: evidence::all(&mut conn)? })
}

/// A witness that runs.
pub struct Alone {
    cosigner: Cosigner,
    logs: ArcSwap<Vec<Vkey>>,
    store: PathBuf,
    writer: Mutex<Option<Conn>>,
    /// Another one: who asks for a head is told what is committed, and waits for nobody.
    reader: Mutex<Option<Conn>>,
    clock: Arc<dyn Clock>,
}

impl Alone {
    /// The witness in `folder`, for the logs of `policy`.
    ///
    /// # Errors
    /// See [`AloneError`].
    pub fn open(folder: &Path, policy: &Policy, clock: Arc<dyn Clock>) -> Result<Self, AloneError> {
        let store = store_of(folder)?;
        let path = folder.join(KEY);
        let key = SigningKey::from_pem(&keyfile::read_secret(&path)?);
        let key = key.map_err(|error| AloneError::Key(path, error.to_string()))?;
        let path = folder.join(PUBLIC);
        let public = fs::read_to_string(&path).map_err(|error| AloneError::Key(path.clone(), error.to_string()))?;
        let public: CosignerKey = public.trim().parse().map_err(|error| AloneError::Key(path, format!("{error}")))?;
        let cosigner = Cosigner::new(public.name(), key).map_err(|_| AloneError::Pair(folder.to_owned()))?;
        if *cosigner.public() != public {
            return Err(AloneError::Pair(folder.to_owned()));
        }
        let mut conn = db::witness_writer(&store)?;
        for head in super::all(&mut conn)? {
            let note = SignedText::parse(&head.checkpoint).ok();
            if note.and_then(|note| public.cosigned(&note)).is_none() {
                return Err(AloneError::OtherKey(head.origin));
            }
        }
        Ok(Self {
            cosigner,
            logs: ArcSwap::from_pointee(keys(policy)),
            writer: Mutex::new(Some(conn)),
            reader: Mutex::default(),
            store,
            clock,
        })
    }

    /// Its key, as a policy names it.
    #[must_use]
    pub fn key(&self) -> &CosignerKey {
        self.cosigner.public()
    }

    /// How many keys of logs it trusts.
    #[must_use]
    pub fn logs(&self) -> usize {
        self.logs.load().len()
    }

    /// Watches the logs of this policy from now on.
    pub fn watch(&self, policy: &Policy) {
        self.logs.store(Arc::new(keys(policy)));
    }

    /// Cosigns the head that `body` shows, or says why not. What it cosigns is durable before this returns. Blocks.
    ///
    /// # Errors
    /// The file failed: nothing was cosigned.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<Done, AloneError> {
        let logs = self.logs.load();
        // A log goes on in a new epoch with the same key.
        let same = |key: &&Vkey, origin: &str| epoch::base(key.name()) == epoch::base(origin);
        let known = |origin: &str| {
            logs.iter().filter(|key| same(key, origin)).filter_map(|key| Vkey::new(origin, *key.key()).ok()).collect()
        };
        let asked = match super::verified(body, known) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Done::Refused(refusal)),
        };
        let done = self.on(&self.writer, db::witness_writer, |conn| {
            // The clock is read under the lock: nobody can have cosigned at a later instant since.
            immediate(conn, |conn| super::add_checkpoint(conn, &self.cosigner, &asked, self.clock.now()))
        })?;
        if let Done::Refused(refusal @ (Refusal::Forked(_) | Refusal::Inconsistent)) = &done {
            tracing::warn!(status = refusal.status(), "a log was not cosigned: its head does not follow");
        }
        Ok(done)
    }

    /// The newest head that was cosigned of the log whose origin has this SHA-256. Blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn newest(&self, origin: Digest) -> Result<Option<Witnessed>, AloneError> {
        self.on(&self.reader, db::witness_reader, |conn| super::newest_by_hash(conn, origin))
    }

    /// Runs `job` on the connection in `place`, which is opened where there is none. After a failure it is given up: what a
    /// COMMIT left behind that said no is nobody's to go on with.
    fn on<T>(
        &self,
        place: &Mutex<Option<Conn>>,
        open: impl FnOnce(&Path) -> Result<Conn, DbError>,
        job: impl FnOnce(&mut Conn) -> QueryResult<T>,
    ) -> Result<T, AloneError> {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut conn = match place.take() {
            Some(conn) => conn,
            // Who removed the file under a running witness took its memory: a new one would not have it.
            None if !self.store.exists() => return Err(AloneError::Lost(self.store.clone())),
            None => open(&self.store)?,
        };
        let done = job(&mut conn)?;
        *place = Some(conn);
        Ok(done)
    }
}

fn keys(policy: &Policy) -> Vec<Vkey> {
    policy.logs().iter().map(|log| log.vkey.clone()).collect()
}

impl std::fmt::Debug for Alone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alone({:?})", self.key())
    }
}
