//! Files beside a source: only in or below its folder, whatever a line of it says.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::field::Problem;

/// A folder whose files a source may name.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        // A file of the folder one is in has the parent "".
        path.join(".").canonicalize().map(Self)
    }

    /// The bytes of the file at `path`, at most one more than `limit`. Neither the path nor a link on it leads outside.
    pub(super) fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, Problem> {
        let mut whole = self.0.clone();
        for component in Path::new(path).components() {
            match component {
                Component::CurDir => continue,
                Component::Normal(name) => whole.push(name),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Problem::Outward),
            }
            match fs::symlink_metadata(&whole) {
                Ok(about) if about.is_symlink() => return Err(Problem::Outward),
                Ok(_) => {}
                Err(_) => return Err(Problem::NoFile),
            }
        }
        let mut bytes = Vec::new();
        let file = open_regular(&whole).map_err(|_| Problem::NoFile)?;
        // What was opened must be what is there without any link: a folder on the way may have become one meanwhile.
        match (whole.canonicalize().and_then(fs::metadata), file.metadata()) {
            (Ok(there), Ok(opened)) if whole.canonicalize().is_ok_and(|path| path.starts_with(&self.0)) => {
                if (there.dev(), there.ino()) != (opened.dev(), opened.ino()) {
                    return Err(Problem::Outward);
                }
            }
            _ => return Err(Problem::Outward),
        }
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes).map_err(|_| Problem::NoFile)?;
        Ok(bytes)
    }
}

/// Opens a file that is no link, folder, pipe or device, and is still the one that was looked at.
///
/// # Errors
/// It is something else, or cannot be opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let other = || io::Error::other("it is no regular file");
    let seen = fs::symlink_metadata(path)?;
    if !seen.is_file() {
        return Err(other());
    }
    let file = File::open(path)?;
    let opened = file.metadata()?;
    if (seen.dev(), seen.ino()) == (opened.dev(), opened.ino()) { Ok(file) } else { Err(other()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        fs::create_dir_all(inside.join("img")).unwrap();
        fs::write(dir.path().join("secret"), b"outside").unwrap();
        fs::write(inside.join("img/a.jpg"), b"inside").unwrap();
        std::os::unix::fs::symlink(dir.path(), inside.join("up")).unwrap();
        std::os::unix::fs::symlink("img/a.jpg", inside.join("link")).unwrap();
        let folder = Folder::at(&inside).unwrap();
        for path in ["img/a.jpg", "./img/./a.jpg", "img//a.jpg"] {
            assert_eq!(folder.read(path, 100).unwrap(), b"inside", "{path}");
        }
        assert_eq!(folder.read("img/a.jpg", 2).unwrap().len(), 3, "one more than allowed shows that it is too long");
        let absolute = dir.path().join("secret").display().to_string();
        let outward =
            ["../secret", "img/../../secret", "img/../img/a.jpg", "up/secret", "link", "/", absolute.as_str()];
        for path in outward {
            assert_eq!(folder.read(path, 100), Err(Problem::Outward), "{path}");
        }
        for path in ["", "img", "img/b.jpg", "img/a.jpg/x", "a\0b"] {
            assert_eq!(folder.read(path, 100), Err(Problem::NoFile), "{path:?}");
        }
    }
}
