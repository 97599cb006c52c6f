//! Files that must be secret, and files that must be whole.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A secret file larger than this (bytes) is no key.
const MAX_SECRET: u64 = 64 * 1024;

/// Why a file was not read or written. No content is ever in the text.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Others may read the secret.
    #[error("{path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`, and replace the key if others may have seen it", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a device, or far too large.
    #[error("{} is no key file", .0.display())]
    NotAKey(PathBuf),
    /// A secret is never overwritten.
    #[error("{} exists already and is not overwritten; move it away first, or name another file", .0.display())]
    Exists(PathBuf),
    /// The file system failed.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> KeyFileError + 'a {
    move |source| KeyFileError::Io { action, path: path.to_owned(), source }
}

/// Reads a secret that only its owner can read.
///
/// # Errors
/// [`KeyFileError::Exposed`] when group or others have any permission; the file is then not read at all.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    // The open file is asked, not the path: what is checked is what is read.
    let file = File::open(path).map_err(io_error("open", path))?;
    let about = file.metadata().map_err(io_error("inspect", path))?;
    if !about.is_file() || about.len() > MAX_SECRET {
        return Err(KeyFileError::NotAKey(path.to_owned()));
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(bytes)
}

/// Writes a secret with mode 0600, durably, where no file is yet. Either the whole file appears or none.
///
/// # Errors
/// [`KeyFileError::Exists`], or the file system failed.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    create(path, bytes, 0o600)
}

/// Writes a file that anyone may read (mode 0644), durably, where no file is yet.
///
/// # Errors
/// [`KeyFileError::Exists`], or the file system failed.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    create(path, bytes, 0o644)
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let file = written(path, bytes, mode)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => io_error("create", path)(error.error),
    })?;
    sync_folder(path)
}

/// Writes a file that anyone may read (mode 0644), durably, in the place of an earlier one. A reader sees the old
/// bytes or the new, never a part.
///
/// # Errors
/// The file system failed; the earlier file is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let file = written(path, bytes, 0o644)?;
    file.persist(path).map_err(|error| io_error("replace", path)(error.error))?;
    sync_folder(path)
}

/// Puts one file durably in the place of another: who opens that name gets the old bytes or the new, never a part. Whether
/// it was there to be put: another process may have done it.
///
/// # Errors
/// The file system failed.
pub fn put_in_place(from: &Path, to: &Path) -> Result<bool, KeyFileError> {
    match fs::rename(from, to) {
        Ok(()) => {
            sync_folder(to)?;
            sync_folder(from)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("move into place", from)(error)),
    }
}

/// A synced temporary file beside `path`. It has mode 0600 from its first moment; `mode` is set before any byte.
fn written(path: &Path, bytes: &[u8], mode: u32) -> Result<NamedTempFile, KeyFileError> {
    let mut file = NamedTempFile::new_in(folder(path)).map_err(io_error("create a file beside", path))?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.as_file().sync_all().map_err(io_error("write", path))?;
    Ok(file)
}

/// A new name is durable only once its folder is.
fn sync_folder(path: &Path) -> Result<(), KeyFileError> {
    File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder of", path))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        write_secret(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(write_secret(&path, b"two"), Err(KeyFileError::Exists(_))));
        assert_eq!(read_secret(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        let nowhere = folder.path().join("missing/seal.key");
        assert!(matches!(write_secret(&nowhere, b"x"), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        write_secret(&path, b"one").unwrap();
        for exposed in [0o640, 0o604, 0o620, 0o644, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
            let error = read_secret(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
            assert!(!error.contains("one"), "{error}");
        }
        for private in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(private)).unwrap();
            assert_eq!(read_secret(&path).unwrap(), b"one");
        }
        assert!(matches!(read_secret(folder.path()), Err(KeyFileError::NotAKey(_))));
        assert!(matches!(read_secret(&folder.path().join("none")), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn a_public_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crl.pem");
        replace(&path, b"a longer one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o644));
        assert!(matches!(write_public(&path, b"three"), Err(KeyFileError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}
