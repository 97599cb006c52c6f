//! Evidence: files that findings, checks, reviews and policies stand on, each kept once under the SHA-256 of its bytes and
//! compared with it whenever it is read.

use std::path::Path;

use agreements::ids::Digest;
use bytes::Bytes;

use crate::config::Config;
use crate::reads::images::{ImageError, Images};

/// The longest file, in bytes.
pub const MAX_FILE: u64 = 32 << 20;

/// Why a file is not kept or not given.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// It cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(std::path::PathBuf, std::io::Error),
    /// It is empty: a file that says nothing proves nothing.
    #[error("{0} is empty: give the file that shows it")]
    Empty(std::path::PathBuf),
    /// It is too long.
    #[error("{path} is longer than {} MiB: give the part that shows it", MAX_FILE >> 20)]
    Long {
        /// The file.
        path: std::path::PathBuf,
    },
    /// No file has this digest.
    #[error(
        "there is no evidence {0}; `concordat ag list --json` and `concordat review list --json` name those there are"
    )]
    Unknown(Digest),
    /// What is kept under this digest is something else.
    #[error("the evidence {0} was changed on the disk: put the file back from a backup")]
    Damaged(Digest),
    /// The store failed.
    #[error("the folder of evidence: {0}")]
    Store(String),
}

impl From<ImageError> for EvidenceError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unknown(digest) => Self::Unknown(digest),
            ImageError::Damaged(digest) => Self::Damaged(digest),
            other => Self::Store(other.to_string()),
        }
    }
}

/// The store of evidence: the folder `evidence` beside that of images.
#[derive(Clone)]
pub struct Evidence {
    files: Images,
}

impl Evidence {
    /// Opens it, and makes the folder if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or used.
    pub fn of(config: &Config) -> Result<Self, EvidenceError> {
        Ok(Self { files: Images::in_folder(&config.store.images.with_file_name("evidence"))? })
    }

    /// Keeps bytes; when this returns they are on the disk.
    ///
    /// # Errors
    /// The store failed.
    pub async fn keep(&self, bytes: impl Into<Bytes>) -> Result<Digest, EvidenceError> {
        Ok(self.files.put(bytes.into()).await?)
    }

    /// Keeps the files at `paths`, in their order.
    ///
    /// # Errors
    /// One cannot be read, is empty or too long; those before it may be kept.
    pub async fn keep_files(&self, paths: &[std::path::PathBuf]) -> Result<Vec<Digest>, EvidenceError> {
        let mut kept = Vec::with_capacity(paths.len());
        for path in paths {
            kept.push(self.keep(read(path)?).await?);
        }
        Ok(kept)
    }

    /// The bytes under a digest, compared with it.
    ///
    /// # Errors
    /// Unknown, changed, or the store failed.
    pub async fn read(&self, digest: Digest) -> Result<Bytes, EvidenceError> {
        Ok(self.files.read(digest).await?)
    }
}

/// A file of at most [`MAX_FILE`] bytes.
fn read(path: &Path) -> Result<Vec<u8>, EvidenceError> {
    use std::io::Read as _;
    let failed = |error| EvidenceError::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        0 => Err(EvidenceError::Empty(path.to_owned())),
        length if length > MAX_FILE => Err(EvidenceError::Long { path: path.to_owned() }),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_what_is_read_and_a_file_that_was_changed_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = Evidence { files: Images::in_folder(&dir.path().join("evidence")).unwrap() };
        let file = dir.path().join("letter.txt");
        std::fs::write(&file, "a letter").unwrap();
        let kept = evidence.keep_files(std::slice::from_ref(&file)).await.unwrap();
        assert_eq!(kept, [Digest::of(b"a letter")]);
        assert_eq!(evidence.read(kept[0]).await.unwrap(), "a letter");

        let hex = kept[0].to_string();
        std::fs::write(dir.path().join(format!("evidence/{}/{}/{hex}", &hex[..2], &hex[2..4])), "a better").unwrap();
        assert!(matches!(evidence.read(kept[0]).await, Err(EvidenceError::Damaged(_))));
        assert!(matches!(evidence.read(Digest::of(b"")).await, Err(EvidenceError::Unknown(_))));

        std::fs::write(&file, "").unwrap();
        assert!(matches!(evidence.keep_files(std::slice::from_ref(&file)).await, Err(EvidenceError::Empty(_))));
        std::fs::File::options().write(true).open(&file).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(evidence.keep_files(&[file]).await, Err(EvidenceError::Long { .. })));
    }
}
