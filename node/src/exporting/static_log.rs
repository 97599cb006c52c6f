//! The whole log as a directory of static files (c2sp.org/tlog-tiles) that any tool for such logs reads.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::NamedTempFile;

use super::ExportError;
use crate::db::Conn;
use crate::trail::head::HeadError;
use crate::trail::note::{Checkpoint, Vkey};
use crate::trail::static_log::{self, Of, Resource};

/// The name of the checkpoint in the directory.
pub const CHECKPOINT: &str = "checkpoint";
/// The name of the head that the most witnesses cosigned, where that is an earlier one. Not part of the specification: the same
/// tiles belong to it.
pub const COSIGNED: &str = "checkpoint.cosigned";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The head.
    pub head: Checkpoint,
    /// How many tiles.
    pub tiles: u64,
    /// How many entry bundles.
    pub bundles: u64,
    /// The size of the head that the most witnesses cosigned, if one did.
    pub cosigned: Option<u64>,
}

/// Writes the log to `folder`: its tiles, its entry bundles and, when all of them are there, its checkpoint. Every leaf and
/// every tile is held to the tile above it and the head on the way, so an export is never of a trail that was changed. A
/// folder with an earlier export of the log that `vkey` signs is brought up to date.
///
/// # Errors
/// See [`ExportError`]. What was written stays: the same command goes on.
pub fn write(
    conn: &mut Conn,
    vkey: &Vkey,
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
    stop: &AtomicBool,
) -> Result<Written, ExportError> {
    let text = static_log::checkpoint(conn)?.ok_or(ExportError::Empty)?;
    let head = Checkpoint::verify(&text, vkey).map_err(HeadError::from)?;
    prepare(folder, vkey)?;
    let mut written = Written { head, tiles: 0, bundles: 0, cosigned: None };
    let size = written.head.size;
    let all = static_log::resources(size).filter(|it| it.of == Of::Entries).count() as u64;
    progress(0, all);
    for resource in static_log::resources(size) {
        if stop.load(Ordering::SeqCst) {
            return Err(ExportError::Stopped);
        }
        let bytes = static_log::checked(conn, resource)?.map_err(ExportError::Changed)?;
        put(&path_of(folder, resource), &bytes)?;
        match resource.of {
            Of::Hashes(_) => written.tiles += 1,
            Of::Entries => {
                written.bundles += 1;
                progress(written.bundles, all);
            }
        }
    }
    if static_log::root(conn, size)? != written.head.root {
        return Err(HeadError::Root.into());
    }
    written.cosigned = cosigned(conn, folder, size)?;
    put(&folder.join(CHECKPOINT), text.as_bytes())?;
    Ok(written)
}

/// The cosigned head goes beside the newest one where it is another.
fn cosigned(conn: &mut Conn, folder: &Path, size: u64) -> Result<Option<u64>, ExportError> {
    let Some((of, text)) = static_log::cosigned(conn, 0)?.filter(|(of, _)| *of <= size) else { return Ok(None) };
    if of < size {
        put(&folder.join(COSIGNED), text.as_bytes())?;
    }
    Ok(Some(of))
}

/// A folder that is empty, or has an earlier export of this log.
fn prepare(folder: &Path, vkey: &Vkey) -> Result<(), ExportError> {
    let cannot = |error| ExportError::File(folder.to_owned(), error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    let mut inside = fs::read_dir(folder).map_err(cannot)?.map(|entry| entry.map(|entry| entry.file_name()));
    let others = inside.try_fold(false, |others, name: io::Result<_>| {
        name.map(|name| others || !["tile", CHECKPOINT, COSIGNED].iter().any(|ours| name == *ours))
    });
    let earlier = match fs::read_to_string(folder.join(CHECKPOINT)) {
        // By its origin: the key may have been replaced since.
        Ok(text) => text.lines().next() == Some(vkey.name()),
        // One that was interrupted has no checkpoint yet.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if others.map_err(cannot)? || !earlier {
        return Err(ExportError::Foreign(folder.to_owned()));
    }
    Ok(())
}

/// Writes a file whole, or leaves it as it was.
fn put(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let cannot = |error| ExportError::File(path.to_owned(), error);
    let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    fs::create_dir_all(&folder).map_err(cannot)?;
    let mut file = NamedTempFile::new_in(&folder).map_err(cannot)?;
    file.write_all(bytes).map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    Ok(())
}

/// The tile or bundle at this path of an exported log.
#[must_use]
pub fn path_of(folder: &Path, resource: Resource) -> PathBuf {
    folder.join("tile").join(resource.to_string())
}
