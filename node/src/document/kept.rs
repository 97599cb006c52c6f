//! Texts that agreements name by their SHA-256, kept once each under it: frameworks.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use agreements::ids::Digest;

use crate::keyfile::{self, KeyFileError};

/// Why a text was not kept or not given.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The folder cannot be made, or a text in it not read.
    #[error("the folder of texts, {path}: {source}; see store.documents in concordat.toml", path = .path.display())]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text cannot be written.
    #[error(transparent)]
    Write(#[from] KeyFileError),
    /// What is kept is not what was.
    #[error("{} is not the text that its name says; adopt the text again from its file", .0.display())]
    Damaged(PathBuf),
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> KeptError + '_ {
    move |source| KeptError::Folder { path: path.to_owned(), source }
}

/// Keeps `text`; when this returns it is on the disk. The same text again changes nothing, and mends a damaged one.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn keep(folder: &Path, text: &[u8]) -> Result<Digest, KeptError> {
    let digest = Digest::of(text);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed(folder))?;
    match read(folder, digest) {
        Ok(Some(_)) => {}
        Ok(None) | Err(KeptError::Damaged(_)) => keyfile::replace(&path_of(folder, digest), text)?,
        Err(error) => return Err(error),
    }
    Ok(digest)
}

/// The text with this hash; `None` when it is not kept.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn read(folder: &Path, digest: Digest) -> Result<Option<String>, KeptError> {
    let path = path_of(folder, digest);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path)(error)),
    };
    if Digest::of(&bytes) != digest {
        return Err(KeptError::Damaged(path));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| KeptError::Damaged(path))
}

fn path_of(folder: &Path, digest: Digest) -> PathBuf {
    folder.join(format!("{digest}.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_a_changed_one_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("documents");
        assert!(matches!(read(&folder, Digest::of(b"x")), Ok(None)));
        let digest = keep(&folder, b"Three counties\n").unwrap();
        assert_eq!(keep(&folder, b"Three counties\n").unwrap(), digest);
        assert_eq!(read(&folder, digest).unwrap().as_deref(), Some("Three counties\n"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::write(path_of(&folder, digest), b"Four counties\n").unwrap();
        let error = read(&folder, digest).unwrap_err();
        assert!(error.to_string().contains("adopt the text again"), "{error}");
        keep(&folder, b"Three counties\n").unwrap();
        assert_eq!(read(&folder, digest).unwrap().as_deref(), Some("Three counties\n"));
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(matches!(keep(&dir.path().join("file"), b"x"), Err(KeptError::Folder { .. })));
    }
}
