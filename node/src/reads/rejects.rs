//! The error report of an ingest: which lines were refused and why, without what they said.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::field::LineError;

/// `reads.jsonl` gets its report in `reads.jsonl.rejected` beside it.
#[must_use]
pub fn beside(source: &Path) -> PathBuf {
    let mut name: OsString = source.as_os_str().to_owned();
    name.push(".rejected");
    PathBuf::from(name)
}

/// One line of the report.
#[derive(Serialize)]
struct Rejected<'a> {
    /// Counted from 1.
    line: u64,
    /// A sentence that names the field.
    reason: &'a str,
    /// The line's length.
    bytes: u64,
}

/// The report, made at the first rejection.
pub(super) struct Report<'a> {
    path: &'a Path,
    /// Whether others may have put a link there.
    exposed: bool,
    file: Option<BufWriter<File>>,
}

impl<'a> Report<'a> {
    pub(super) fn at(path: &'a Path, exposed: bool) -> Self {
        Self { path, exposed, file: None }
    }

    pub(super) fn add(&mut self, line: u64, error: LineError, bytes: u64) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(create(self.path, self.exposed)?)),
        };
        serde_json::to_writer(&mut *file, &Rejected { line, reason: &error.to_string(), bytes })?;
        file.write_all(b"\n")
    }

    /// Puts on the disk what was added.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => {
                file.flush()?;
                file.get_ref().sync_data()
            }
            None => Ok(()),
        }
    }

    /// Where it is, if anything was rejected.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|_| self.path.to_owned())
    }
}

/// Where a person said, their file or device is written to. Where others write too, what is there is not followed.
fn create(path: &Path, exposed: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if !exposed {
        return File::create(path);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_others_put_there_is_replaced_and_a_persons_own_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("reads.rejected"));
        for exposed in [true, false] {
            fs::write(&target, "ours").unwrap();
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&target, &link).unwrap();
            let mut report = Report::at(&link, exposed);
            report.add(1, LineError::NotUtf8, 1).unwrap();
            report.sync().unwrap();
            assert_eq!(fs::read(&target).unwrap() == b"ours", exposed);
            assert_eq!(fs::symlink_metadata(&link).unwrap().is_file(), exposed);
        }
    }
}
