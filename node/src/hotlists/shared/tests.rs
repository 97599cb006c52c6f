//! What is erased is gone from the bytes of SQLite's files. What both databases do alike is in the conformance suite.

use std::path::Path;

use agreements::hotlist::{Category, Entry};
use agreements::json;
use tempfile::TempDir;

use super::*;

const OWNER: &str = "CA0990100";
const SECRET: &str = "8SCR402";

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn entry(plate: &str) -> NewEntry {
    let entry = Entry::new(plate.parse().unwrap(), Category::StolenVehicle);
    let body = json::canonical(&entry).unwrap();
    NewEntry {
        digest: Digest::of(&body),
        plate_key: entry.plate.key().as_str().to_owned(),
        body: String::from_utf8(body).unwrap(),
    }
}

fn held(generation: Generation, entries: u64, ends_at: Instant) -> Held {
    Held {
        owner: OWNER.parse().unwrap(),
        list: "wanted".to_owned(),
        version: 1,
        contents: Digest([0; 32]),
        entries,
        source_loaded_at: None,
        asserted_at: ends_at.plus(-Instant::DAY),
        received_at: ends_at.plus(-Instant::DAY),
        ends_at,
        log_index: 7,
        generation,
    }
}

/// How many entries of this plate may be matched.
fn found(shared: &SharedLists, plate: &str, now: Instant) -> usize {
    let owner: Ori = OWNER.parse().unwrap();
    let key = entry(plate).plate_key;
    let accepted = BTreeSet::from([(owner, "wanted".to_owned())]);
    let mut conn = shared.reader().unwrap();
    SharedLists::candidates(&mut conn, &BTreeSet::from([key.as_str()]), &accepted, now).unwrap().len()
}

/// A place, with one list of one entry whose lease ends then.
fn one(url: &DatabaseUrl, ends_at: Instant) -> SharedLists {
    let shared = SharedLists::beside(url).unwrap();
    let generation = shared.begin(None, ends_at).unwrap();
    assert!(shared.stage(generation, &[], &[entry(SECRET)]).unwrap());
    assert_eq!(found(&shared, SECRET, ends_at.plus(-1)), 0, "nothing is seen before it is put in use");
    shared.keep(&held(generation, 1, ends_at)).unwrap();
    shared
}

fn url_in(folder: &TempDir) -> DatabaseUrl {
    DatabaseUrl::Sqlite(folder.path().join("registry.db"))
}

/// Whether a text stands in the raw bytes of the file, of its log or of its index.
fn stands_in(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn what_is_erased_or_replaced_is_gone_from_the_bytes_of_every_file() {
    let end = at("2026-11-24T00:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    let shared = one(&url_in(&folder), end);
    assert!(stands_in(folder.path(), SECRET));
    let first = SharedLists::held(&mut shared.reader().unwrap()).unwrap().remove(0);
    let next = shared.begin(Some(first.generation), end.plus(-1)).unwrap();
    shared.stage(next, &[entry(SECRET).digest], &[entry("9NEW001")]).unwrap();
    shared.keep(&held(next, 1, end)).unwrap();
    assert!(!stands_in(folder.path(), SECRET) && stands_in(folder.path(), "9NEW001"));
    shared.erase_due(end).unwrap();
    assert!(!stands_in(folder.path(), "9NEW001"));
}

#[test]
fn somebody_who_reads_meanwhile_only_puts_off_the_end_of_the_bytes() {
    let end = at("2026-11-24T00:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    let shared = one(&url_in(&folder), end);
    let mut reader = shared.reader().unwrap();
    let seen = snapshot(&mut reader, |conn| {
        let n: i64 = lease::table.count().get_result(conn)?;
        assert_eq!(shared.erase_due(end).unwrap().len(), 1);
        assert_eq!(found(&shared, SECRET, end.plus(-1)), 0);
        Ok::<_, SharedError>(n)
    });
    assert_eq!(seen.unwrap(), 1);
    assert!(shared.erase_due(end).unwrap().is_empty());
    assert!(!stands_in(folder.path(), SECRET), "the next turn, a second later, finishes it");
}
