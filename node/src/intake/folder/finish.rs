//! What is left of a file that was taken: the file itself in `done` or `failed`, and beside it what came of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use agreements::time::Instant;
use serde::Serialize;

use super::look::Looked;
use super::private;
use crate::reads::ingest::Summary;

/// The counts of a file.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counts {
    lines: u64,
    kept: u64,
    repeated: u64,
    heartbeats: u64,
    rejected: u64,
    images: u64,
    first_seen: Option<Instant>,
    last_seen: Option<Instant>,
}

impl Counts {
    pub(super) fn of(summary: &Summary) -> Self {
        let Summary { lines, kept, repeated, heartbeats, rejected, images, first_seen, last_seen, .. } = *summary;
        Self { lines, kept, repeated, heartbeats, rejected, images, first_seen, last_seen }
    }
}

/// How a file ended.
pub(super) enum End {
    Done(Counts),
    Failed(String, Counts),
}

/// What became of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Away,
    /// It is not the one that was taken any more, and stays.
    Changed,
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    counts: &'a Counts,
}

/// Moves `file` of `folder` to where it belongs, with its summary or the report of why not, and the `report` of its
/// refused lines if there is one. The file itself goes last: until then, it is taken again.
pub(super) fn finish(folder: &Path, file: &Looked, report: &Path, end: End) -> io::Result<Moved> {
    let (to, suffix, error, counts) = match &end {
        End::Done(counts) => (folder.join("done"), "summary.json", None, counts),
        End::Failed(error, counts) => (folder.join("failed"), "error.json", Some(error.as_str()), counts),
    };
    let changed = || Looked::at(folder, &file.name).as_ref() != Some(file);
    if changed() {
        return Ok(Moved::Changed);
    }
    private(&to)?;
    let name = free_name(&to, &file.name)?;
    let beside = |suffix: &str| to.join([name.as_os_str(), OsStr::new(suffix)].join(OsStr::new(".")));
    let mut text = serde_json::to_vec(&Said { error, counts })?;
    text.push(b'\n');
    write_private(&beside(suffix), &text)?;
    if report.exists() {
        fs::rename(report, beside("rejected"))?;
    }
    if changed() {
        fs::remove_file(beside(suffix))?;
        return Ok(Moved::Changed);
    }
    fs::rename(folder.join(&file.name), to.join(&name))?;
    for folder in [&to, folder] {
        File::open(folder)?.sync_all()?;
    }
    Ok(Moved::Away)
}

/// `name`, or `name.2` and so on when the folder has had one: nothing is overwritten.
fn free_name(folder: &Path, name: &OsStr) -> io::Result<OsString> {
    for n in 1_u32.. {
        let tried = if n == 1 { name.to_owned() } else { [name, OsStr::new(&n.to_string())].join(OsStr::new(".")) };
        if fs::symlink_metadata(folder.join(&tried)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(tried);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write_private(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
