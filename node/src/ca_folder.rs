//! A certificate authority in a folder: its key, the ledger of what it issued, and its current revocation list.
//!
//! | file | what |
//! |---|---|
//! | `ca.pem`, `ca.key` | the authority's certificate and key (0600) |
//! | `issued.tsv` | the ledger: one line for each certificate, written before the certificate leaves |
//! | `crl.pem`, `crl.number` | the current list, and the highest number ever used |
//! | `lock` | held while a command changes the folder |

mod ledger;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use agreements::ids::Ori;
use agreements::time::Instant;
use certs::ca::{Authority, CaError, MAX_AUTHORITY_LIFE, NodeRequest, SealRequest};
use certs::crl::{Reason, Revoked};
use certs::host::Host;
use certs::key::PublicKey;
use certs::serial::Serial;

pub use ledger::{Kind, LedgerError, Line};

use crate::keyfile::{self, KeyFileError};

/// How long before `now` a certificate begins, in microseconds: partners' clocks may be a little behind.
pub const BACKDATED: i64 = 5 * Instant::MINUTE;

/// Why the authority did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CaFolderError {
    /// There is an authority in the folder.
    #[error("{} holds an authority already; name another folder", .0.display())]
    Exists(PathBuf),
    /// No certificate of this number was issued here.
    #[error("no certificate with serial number {0} was issued here; see issued.tsv")]
    UnknownSerial(Serial),
    /// The certificate is revoked already.
    #[error("certificate {serial} was revoked at {at}; a revocation is for good")]
    AlreadyRevoked {
        /// Which.
        serial: Serial,
        /// Since when.
        at: Instant,
    },
    /// `crl.number` holds no number.
    #[error("crl.number holds no number; write into it a number above that of the last list published")]
    Number,
    /// The folder cannot be used.
    #[error("cannot use {path}: {source}", path = .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The ledger is damaged.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The authority refused.
    #[error(transparent)]
    Authority(#[from] CaError),
}

/// What is to be issued.
#[derive(Debug, Clone)]
pub enum Order<'a> {
    /// A node's certificate for these hosts.
    Node(&'a [Host]),
    /// A seal's certificate.
    Seal,
}

/// A certificate just issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub pem: Vec<u8>,
    /// Its line in the ledger.
    pub line: Line,
}

/// An authority in its folder. While it lives, no other process changes the folder.
#[derive(Debug)]
pub struct CaFolder {
    folder: PathBuf,
    authority: Authority,
    _lock: File,
}

impl CaFolder {
    /// Makes a new authority, valid from [`BACKDATED`] before `now` for `life` microseconds, with an empty list that is
    /// good for `list_life` microseconds.
    ///
    /// # Errors
    /// [`CaFolderError::Exists`], the authority's lints, or the file system.
    pub fn create(folder: &Path, name: &str, now: Instant, life: i64, list_life: i64) -> Result<Self, CaFolderError> {
        fs::create_dir_all(folder).map_err(|source| CaFolderError::Io { path: folder.to_owned(), source })?;
        let lock = lock(folder)?;
        if ["ca.pem", "ca.key"].iter().any(|file| folder.join(file).exists()) {
            return Err(CaFolderError::Exists(folder.to_owned()));
        }
        let begin = now.plus(-BACKDATED);
        let authority = Authority::create(name, begin, begin.plus(life.min(MAX_AUTHORITY_LIFE)))?;
        keyfile::write_secret(&folder.join("ca.key"), &authority.key_pem()?)?;
        keyfile::replace(&folder.join("ca.pem"), &authority.certificate_pem()?)?;
        let created = Self { folder: folder.to_owned(), authority, _lock: lock };
        created.save(&[])?;
        created.publish(now, list_life)?;
        Ok(created)
    }

    /// Opens the authority in `folder`; waits while another process has it open.
    ///
    /// # Errors
    /// The key is exposed, missing or another's; or the file system failed.
    pub fn open(folder: &Path) -> Result<Self, CaFolderError> {
        let certificate = read(&folder.join("ca.pem"))?;
        let lock = lock(folder)?;
        let key = keyfile::read_secret(&folder.join("ca.key"))?;
        Ok(Self { folder: folder.to_owned(), authority: Authority::from_pem(&certificate, &key)?, _lock: lock })
    }

    /// Issues a certificate from [`BACKDATED`] before `now` (but not before the authority's own) to `now` + `life`
    /// microseconds. The names come from `ori` and `order`, that is from the operator.
    ///
    /// # Errors
    /// The authority's lints, or the file system. A failure after the ledger was written leaves a line without a
    /// certificate, never a certificate without a line.
    pub fn issue(
        &self,
        ori: Ori,
        public: &PublicKey,
        order: &Order<'_>,
        now: Instant,
        life: i64,
    ) -> Result<Issued, CaFolderError> {
        let serial = Serial::random().map_err(CaError::from)?;
        let not_before = now.plus(-BACKDATED).max(self.authority.validity()?.0);
        let not_after = now.plus(life);
        let (kind, pem) = match order {
            Order::Node(hosts) => (
                Kind::Node,
                self.authority.issue_node(&NodeRequest { ori, public, hosts, not_before, not_after, serial })?,
            ),
            Order::Seal => {
                (Kind::Seal, self.authority.issue_seal(&SealRequest { ori, public, not_before, not_after, serial })?)
            }
        };
        let issued = Issued { pem, line: Line { serial, ori, kind, issued: now, expires: not_after, revoked: None } };
        let mut lines = self.lines()?;
        lines.push(issued.line);
        self.save(&lines)?;
        Ok(issued)
    }

    /// Revokes a certificate and publishes a new list, good for `list_life` microseconds, at once.
    ///
    /// # Errors
    /// [`CaFolderError::UnknownSerial`], [`CaFolderError::AlreadyRevoked`], or the file system. If only publishing
    /// fails the revocation stands: [`CaFolder::publish`] makes up for it.
    pub fn revoke(
        &self,
        serial: Serial,
        reason: Reason,
        now: Instant,
        list_life: i64,
    ) -> Result<Published, CaFolderError> {
        let mut lines = self.lines()?;
        let line = lines.iter_mut().find(|line| line.serial == serial).ok_or(CaFolderError::UnknownSerial(serial))?;
        if let Some((at, _)) = line.revoked {
            return Err(CaFolderError::AlreadyRevoked { serial, at });
        }
        line.revoked = Some((now, reason));
        self.save(&lines)?;
        self.publish(now, list_life)
    }

    /// Publishes a new list of everything revoked, good for `list_life` microseconds from `now`.
    ///
    /// # Errors
    /// The file system, or a damaged ledger or number.
    pub fn publish(&self, now: Instant, list_life: i64) -> Result<Published, CaFolderError> {
        let counter = self.folder.join("crl.number");
        let last: u64 = match fs::read_to_string(&counter) {
            Ok(text) => text.trim().parse().map_err(|_| CaFolderError::Number)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.list().exists() => 0,
            Err(source) => return Err(CaFolderError::Io { path: counter, source }),
        };
        let number = last.checked_add(1).ok_or(CaFolderError::Number)?;
        let revoked: Vec<Revoked> = (self.lines()?.iter())
            .filter_map(|line| line.revoked.map(|(at, reason)| Revoked { serial: line.serial, at, reason }))
            .collect();
        let next_update = now.plus(list_life);
        let pem = self.authority.crl(&revoked, number, now, next_update)?;
        // The number first: after a death between the two, a number is skipped, not used twice.
        keyfile::replace(&counter, format!("{number}\n").as_bytes())?;
        keyfile::replace(&self.list(), &pem)?;
        Ok(Published { number, next_update, revoked: revoked.len() })
    }

    /// The ledger, oldest first.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn lines(&self) -> Result<Vec<Line>, CaFolderError> {
        Ok(ledger::parse(&read(&self.folder.join("issued.tsv"))?)?)
    }

    fn save(&self, lines: &[Line]) -> Result<(), CaFolderError> {
        Ok(keyfile::replace(&self.folder.join("issued.tsv"), ledger::render(lines).as_bytes())?)
    }

    /// Where the authority's certificate is.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Where the current list is.
    #[must_use]
    pub fn list(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }
}

/// A list just published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub number: u64,
    /// When it becomes void.
    pub next_update: Instant,
    /// How many certificates it names.
    pub revoked: usize,
}

fn read(path: &Path) -> Result<Vec<u8>, CaFolderError> {
    fs::read(path).map_err(|source| CaFolderError::Io { path: path.to_owned(), source })
}

/// The folder's lock, held until the file is closed.
fn lock(folder: &Path) -> Result<File, CaFolderError> {
    let path = folder.join("lock");
    let locked = File::options().create(true).truncate(false).write(true).open(&path).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    locked.map_err(|source| CaFolderError::Io { path, source })
}

#[cfg(test)]
mod tests;
