//! What is left of a file that was taken: the file itself in `done` or `failed`, and beside it what came of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

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
///
/// Whoever writes into `folder` can put links there: nothing is written through one.
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
    if !fs::symlink_metadata(&to)?.is_dir() {
        return Err(io::Error::other("`done` and `failed` must be folders, and one of them is a link"));
    }
    let name = free_name(&to, &file.name, suffix)?;
    let beside = |suffix: &str| to.join([name.as_os_str(), OsStr::new(suffix)].join(OsStr::new(".")));
    let mut text = serde_json::to_vec(&Said { error, counts })?;
    text.push(b'\n');
    write_new(&beside(suffix), &text)?;
    let moved = if changed() {
        Ok(Moved::Changed)
    } else {
        with_report(report, &beside("rejected"))
            .and_then(|()| fs::rename(folder.join(&file.name), to.join(&name)))
            .map(|()| Moved::Away)
    };
    if !matches!(moved, Ok(Moved::Away)) {
        // The next try writes its own.
        fs::remove_file(beside(suffix))?;
        return moved;
    }
    for folder in [&to, folder] {
        File::open(folder)?.sync_all()?;
    }
    Ok(Moved::Away)
}

/// Moves the report of refused lines, if there is one.
fn with_report(report: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(report).is_ok_and(|about| about.is_file()) { fs::rename(report, to) } else { Ok(()) }
}

/// `name`, or `name.2` and so on when the folder has had one, or what would lie beside it: nothing is overwritten.
fn free_name(folder: &Path, name: &OsStr, suffix: &str) -> io::Result<OsString> {
    let free = |name: &OsStr| {
        fs::symlink_metadata(folder.join(name)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let with = |name: &OsStr, end: &str| [name, OsStr::new(end)].join(OsStr::new("."));
    for n in 1_u32.. {
        let tried = if n == 1 { name.to_owned() } else { with(name, &n.to_string()) };
        if free(&tried) && free(&with(&tried, suffix)) && free(&with(&tried, "rejected")) {
            return Ok(tried);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Writes a file that is not there yet, which its owner alone reads.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// An inbox with `a.jsonl`, its report, and a file outside that must stay as it is.
    struct Inbox {
        dir: tempfile::TempDir,
        file: Looked,
    }

    impl Inbox {
        fn with_a_file() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("in")).unwrap();
            fs::create_dir(dir.path().join("outside")).unwrap();
            fs::write(dir.path().join("outside/config"), "ours").unwrap();
            fs::write(dir.path().join("in/a.jsonl"), "reads").unwrap();
            fs::write(dir.path().join("in/.a.jsonl.rejected"), "report").unwrap();
            let file = Looked::at(&dir.path().join("in"), OsStr::new("a.jsonl")).unwrap();
            Self { dir, file }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        fn finish(&self) -> io::Result<Moved> {
            finish(&self.at("in"), &self.file, &self.at("in/.a.jsonl.rejected"), End::Done(Counts::default()))
        }

        fn outside_is_as_it_was(&self) -> bool {
            let entries = fs::read_dir(self.at("outside")).unwrap().count();
            entries == 1 && fs::read(self.at("outside/config")).unwrap() == b"ours"
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        for planted in ["a.jsonl", "a.jsonl.summary.json", "a.jsonl.rejected"] {
            let inbox = Inbox::with_a_file();
            fs::create_dir(inbox.at("in/done")).unwrap();
            symlink("../../outside/config", inbox.at("in/done").join(planted)).unwrap();
            assert_eq!(inbox.finish().unwrap(), Moved::Away, "{planted}");
            assert!(inbox.outside_is_as_it_was(), "{planted}");
            assert_eq!(fs::read(inbox.at("in/done/a.jsonl.2")).unwrap(), b"reads", "{planted}");
            assert_eq!(fs::read(inbox.at("in/done/a.jsonl.2.rejected")).unwrap(), b"report", "{planted}");
            assert!(inbox.at("in/done/a.jsonl.2.summary.json").is_file(), "{planted}");
        }
    }

    #[test]
    fn a_link_where_done_belongs_leads_nowhere() {
        let inbox = Inbox::with_a_file();
        symlink("../outside", inbox.at("in/done")).unwrap();
        assert!(inbox.finish().unwrap_err().to_string().contains("a link"));
        assert!(inbox.outside_is_as_it_was());
        assert_eq!(fs::read(inbox.at("in/a.jsonl")).unwrap(), b"reads", "it waits where it is");
    }
}
