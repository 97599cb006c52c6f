//! What is in a watched folder, and what of it stands still.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file as one look found it. Another size, time or file behind the name is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Looked {
    pub(super) name: OsString,
    size: u64,
    modified: (i64, i64),
    inode: (u64, u64),
}

/// How a name ends while its file is being written, or of what other files name.
const NOT_TAKEN: [&str; 9] = [".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".jpg", ".jpeg", "~"];

/// Whether a file of this name is left alone: hidden, half there, or an image that a CSV names.
fn left_alone(name: &OsStr) -> bool {
    let name = name.as_bytes().to_ascii_lowercase();
    name.starts_with(b".") || NOT_TAKEN.iter().any(|end| name.ends_with(end.as_bytes()))
}

impl Looked {
    /// The file of this name in `folder`; `None` if it is a link, a folder or anything else, or gone.
    pub(super) fn at(folder: &Path, name: &OsStr) -> Option<Self> {
        let about = fs::symlink_metadata(folder.join(name)).ok()?;
        about.is_file().then(|| Self {
            name: name.to_owned(),
            size: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            inode: (about.dev(), about.ino()),
        })
    }
}

/// The files of a folder that are to be taken. Links are not followed, folders not entered.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Looked>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !left_alone(&name) {
            files.extend(Looked::at(folder, &name));
        }
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// What earlier looks found.
pub(super) struct Seen {
    settle: u32,
    /// For how many looks each file has stood still.
    still: BTreeMap<OsString, (Looked, u32)>,
}

impl Seen {
    /// A file is whole when it was the same in a look and in `settle` looks after it.
    pub(super) fn new(settle: u32) -> Self {
        Self { settle, still: BTreeMap::new() }
    }

    /// Of one more look, the files that are whole, in the order of their names.
    pub(super) fn whole(&mut self, listed: Vec<Looked>) -> Vec<Looked> {
        let mut before = std::mem::take(&mut self.still);
        let mut whole = Vec::new();
        for file in listed {
            let looks = match before.remove(&file.name) {
                Some((same, looks)) if same == file => looks.saturating_add(1),
                _ => 0,
            };
            if looks >= self.settle {
                whole.push(file.clone());
            }
            self.still.insert(file.name.clone(), (file, looks));
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[Looked]) -> Vec<&str> {
        files.iter().map(|file| file.name.to_str().unwrap()).collect()
    }

    #[test]
    fn what_is_half_there_hidden_or_linked_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let take = ["b.csv", "a.jsonl", "c", "parted.csv"];
        let leave = ["x.tmp", "x.csv.part", "x.CSV.FILEPART", ".x.csv", "x.csv~", "x.jpg", "x.partial"];
        for name in take.iter().chain(&leave) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("done")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("b.csv"), dir.path().join("link.csv")).unwrap();
        assert_eq!(names(&list(dir.path()).unwrap()), ["a.jsonl", "b.csv", "c", "parted.csv"]);
        assert!(list(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn a_file_is_whole_when_it_stood_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let mut seen = Seen::new(2);
        let mut look = || names(&seen.whole(list(dir.path()).unwrap())).join(" ");
        fs::write(&path, "1").unwrap();
        assert_eq!([look(), look()], ["", ""]);
        fs::write(&path, "12").unwrap();
        assert_eq!([look(), look(), look(), look()], ["", "", "a.csv", "a.csv"]);
        // Another file under the same name, of the same size.
        fs::write(dir.path().join("new.tmp"), "21").unwrap();
        fs::rename(dir.path().join("new.tmp"), &path).unwrap();
        assert_eq!([look(), look(), look()], ["", "", "a.csv"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), "");
    }
}
