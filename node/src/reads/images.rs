//! Images, each kept once under the SHA-256 of its bytes.
//!
//! Durable before the row that names it: `object_store`'s local store, with its `fsync` turned on (it is off by
//! default), writes a staged file, syncs it, renames it, and syncs the folder and every folder that it had to make,
//! before `put` returns. The root folder is synced here.

use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use agreements::ids::Digest;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt as _};

/// Why an image was not stored or not given.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The folder cannot be made or used.
    #[error("the image folder {0}: {1}")]
    Folder(PathBuf, io::Error),
    /// The store failed.
    #[error("the image store: {0}")]
    Store(#[from] ObjectError),
    /// No image has this digest.
    #[error("there is no image {0}")]
    Unknown(Digest),
    /// What is stored under this digest is not what was.
    #[error("the image {0} is damaged")]
    Damaged(Digest),
}

/// The image store.
#[derive(Clone)]
pub struct Images {
    store: Arc<dyn ObjectStore>,
}

impl Images {
    /// Images in a local folder, made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// The folder cannot be made or used.
    pub fn in_folder(folder: &FsPath) -> Result<Self, ImageError> {
        let failed = |error| ImageError::Folder(folder.to_owned(), error);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(failed)?;
        #[cfg(unix)]
        if let Some(parent) = folder.canonicalize().map_err(failed)?.parent() {
            std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// Stores `bytes`; when this returns they are on the disk. The same bytes again change nothing.
    ///
    /// # Errors
    /// The store failed; nothing is there under the digest, or what was there.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, ImageError> {
        let digest = Digest::of(&bytes);
        let path = path_of(&digest);
        match self.store.head(&path).await {
            Ok(meta) if meta.size == bytes.len() as u64 => return Ok(digest),
            Ok(_) | Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.store.put(&path, bytes.into()).await?;
        Ok(digest)
    }

    /// The bytes stored under `digest`, checked against it.
    ///
    /// # Errors
    /// Unknown or damaged, or the store failed.
    pub async fn read(&self, digest: Digest) -> Result<Bytes, ImageError> {
        let bytes = match self.store.get(&path_of(&digest)).await {
            Err(ObjectError::NotFound { .. }) => return Err(ImageError::Unknown(digest)),
            found => found?.bytes().await?,
        };
        if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(ImageError::Damaged(digest)) }
    }
}

/// `ab/cd/<hex>`: no folder gets too many entries.
fn path_of(digest: &Digest) -> Path {
    let [first, second, ..] = digest.0;
    Path::from(format!("{first:02x}/{second:02x}/{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn kept_once_under_their_digest_and_checked_when_read() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::in_folder(&dir.path().join("images")).unwrap();
        let digest = images.put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(images.put(Bytes::from_static(b"abc")).await.unwrap(), digest);
        assert_eq!(images.read(digest).await.unwrap(), Bytes::from_static(b"abc"));
        let unknown = Digest::of(b"other");
        assert!(matches!(images.read(unknown).await, Err(ImageError::Unknown(d)) if d == unknown));

        let file = dir.path().join(format!("images/ba/78/{digest}"));
        std::fs::write(&file, b"abd").unwrap();
        assert!(matches!(images.read(digest).await, Err(ImageError::Damaged(_))));
        std::fs::write(&file, b"ab").unwrap();
        images.put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(images.read(digest).await.unwrap(), Bytes::from_static(b"abc"), "a torn file is written again");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::in_folder(&dir.path().join("images")).unwrap();
        let digest = Digest::of(b"abc");
        let [first, ..] = digest.0;
        std::fs::write(dir.path().join(format!("images/{first:02x}")), b"a file where a folder belongs").unwrap();
        assert!(images.put(Bytes::from_static(b"abc")).await.is_err());
    }
}
