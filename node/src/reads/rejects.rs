//! The error report of an ingest: which lines were refused and why, without what they said.

use std::ffi::OsString;
use std::fs::File;
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
    file: Option<BufWriter<File>>,
}

impl<'a> Report<'a> {
    pub(super) fn at(path: &'a Path) -> Self {
        Self { path, file: None }
    }

    pub(super) fn add(&mut self, line: u64, error: LineError, bytes: u64) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(self.path)?)),
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
