//! The place of partners' hotlists: leases, versions that follow each other whole, and what is erased.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use agreements::hotlist::{Category, Entry};
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::time::Instant;
use concordat::hotlists::shared::{Generation, Gone, Held, Kept, Look, NewEntry, SharedError, SharedLists};
use integration::database::{Backend, TestDatabase};
use integration::on_both;

on_both!(
    a_lease_ends_to_the_microsecond,
    versions_follow_each_other_whole,
    a_list_that_is_not_accepted_matches_nothing,
    what_lost_its_entries_is_not_renewed,
    a_version_that_was_given_up_goes,
    a_list_that_is_erased_leaves_no_table,
    two_processes_that_start_at_once_share_the_place,
);

const OWNER: &str = "CA0990100";
const LIST: &str = "wanted";
const SECRET: &str = "8SCR402";

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

/// When the leases of these tests end.
fn end() -> Instant {
    at("2026-11-24T00:00:00Z")
}

fn owner() -> Ori {
    OWNER.parse().unwrap()
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

/// A version of the list, asserted later than those of smaller numbers.
fn held(generation: Generation, version: u64, entries: u64, ends_at: Instant) -> Held {
    Held {
        owner: owner(),
        list: LIST.to_owned(),
        version,
        contents: Digest([0; 32]),
        entries,
        source_loaded_at: None,
        asserted_at: ends_at.plus(-Instant::DAY),
        received_at: ends_at.plus(-Instant::DAY),
        ends_at,
        log_index: version,
        generation,
    }
}

/// A place, in a database of its own.
struct Place {
    database: TestDatabase,
    lists: SharedLists,
}

impl Place {
    fn empty(backend: Backend) -> Self {
        let database = backend.database();
        let lists = open(&database.url);
        Self { database, lists }
    }

    /// With one list of one entry whose lease ends then.
    fn with_one(backend: Backend, ends_at: Instant) -> Self {
        let place = Self::empty(backend);
        let generation = place.lists.begin(None, ends_at).unwrap();
        assert!(place.lists.stage(generation, &[], &[entry(SECRET)], end()).unwrap());
        assert_eq!(place.found(SECRET, ends_at.plus(-1)), 0, "nothing is seen before it is put in use");
        assert_eq!(place.lists.keep(&held(generation, 1, 1, ends_at)).unwrap(), Kept::InUse);
        place
    }

    /// How many entries of this plate may be matched.
    fn found(&self, plate: &str, now: Instant) -> usize {
        self.found_in(plate, &BTreeSet::from([(owner(), LIST.to_owned())]), now)
    }

    fn found_in(&self, plate: &str, accepted: &BTreeSet<(Ori, String)>, now: Instant) -> usize {
        let key = entry(plate).plate_key;
        let mut conn = self.lists.reader().unwrap();
        SharedLists::candidates(&mut conn, &BTreeSet::from([key.as_str()]), accepted, now).unwrap().len()
    }

    /// What is erased at `now`, when the list is accepted.
    fn erased(&self, now: Instant) -> Vec<Gone> {
        let accepted = BTreeSet::from([(owner(), LIST.to_owned())]);
        self.lists.erase_due(|| Ok::<_, SharedError>(Look { now, accepted })).unwrap()
    }

    fn held(&self) -> Vec<Held> {
        SharedLists::held(&mut self.lists.reader().unwrap()).unwrap()
    }

    /// On PostgreSQL, how many tables of entries are there that are not in the write-ahead log, and how many that are.
    fn tables(&self) -> [String; 2] {
        ["=", "<>"].map(|unlogged| {
            self.database.cell(&format!(
                "SELECT CAST(COUNT(*) AS TEXT) AS cell FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
                 WHERE nspname = 'concordat_shared' AND relkind = 'r' AND relname LIKE 'entry%' AND relpersistence {unlogged} 'u'"
            ))
        })
    }
}

fn open(url: &str) -> SharedLists {
    SharedLists::beside(&url.parse().unwrap()).unwrap()
}

fn a_lease_ends_to_the_microsecond(backend: Backend) {
    let place = Place::with_one(backend, end());
    assert_eq!(place.found(SECRET, at("2026-11-23T23:59:59.999999Z")), 1);
    assert_eq!(place.found(SECRET, at("2026-11-24T00:00:00.000000Z")), 0);
    let digest = entry(SECRET).digest;
    let body = |now| SharedLists::entry(&mut place.lists.reader().unwrap(), owner(), LIST, digest, now).unwrap();
    assert_eq!((body(end().plus(-1)), body(end())), (Some(entry(SECRET).body), None));
    assert!(place.erased(end().plus(-1)).is_empty());
    assert_eq!(place.found(SECRET, end().plus(-1)), 1);
    assert_eq!(place.erased(end()).len(), 1);
    assert_eq!(place.found(SECRET, end().plus(-1)), 0, "it is erased, and not only past its lease");
    assert!(place.erased(end()).is_empty(), "once");
}

fn versions_follow_each_other_whole(backend: Backend) {
    let now = end().plus(-Instant::HOUR);
    let place = Place::with_one(backend, end());
    let Place { lists, .. } = &place;
    let first = place.held().remove(0);
    let next = lists.begin(Some(first.generation), now).unwrap();
    assert!(lists.stage(next, &[entry(SECRET).digest], &[entry("9NEW001"), entry("9NEW002")], now).unwrap());
    assert_eq!((place.found(SECRET, now), place.found("9NEW001", now)), (1, 0));
    assert_eq!(lists.keep(&held(next, 2, 2, end())).unwrap(), Kept::InUse);
    assert_eq!((place.found(SECRET, now), place.found("9NEW001", now)), (0, 1));
    assert_eq!(place.held(), [held(next, 2, 2, end())]);
    let mut digests = Vec::new();
    lists.digests(next, |digest| digests.push(digest)).unwrap();
    let mut expected = vec![entry("9NEW001").digest, entry("9NEW002").digest];
    expected.sort_unstable();
    assert_eq!(digests, expected);
    assert!(!lists.stage(next, &[entry(SECRET).digest], &[], end()).unwrap(), "what is not there cannot go");
    assert!(!lists.stage(next, &[], &[entry("9NEW001")], end()).unwrap(), "what is there cannot come");
}

fn a_list_that_is_not_accepted_matches_nothing(backend: Backend) {
    let place = Place::with_one(backend, end());
    let other = |list: &str, ori: &str| BTreeSet::from([(ori.parse().unwrap(), list.to_owned())]);
    for accepted in [BTreeSet::new(), other("other", OWNER), other("Wanted", OWNER), other(LIST, "CA0990200")] {
        assert_eq!(place.found_in(SECRET, &accepted, end().plus(-1)), 0, "{accepted:?}");
    }
}

fn what_lost_its_entries_is_not_renewed(backend: Backend) {
    let place = Place::with_one(backend, end());
    let usable = || place.lists.usable(owner(), LIST, end().plus(-1)).unwrap();
    let generation = usable().unwrap().generation;
    // As a server does with an unlogged table after a crash.
    place.lists.stage(generation, &[entry(SECRET).digest], &[], end()).unwrap();
    assert_eq!(usable(), None, "all of it is pulled again");
}

fn a_version_that_was_given_up_goes(backend: Backend) {
    let place = Place::with_one(backend, end().plus(Instant::DAY));
    let Place { lists, .. } = &place;
    let abandoned = lists.begin(None, end()).unwrap();
    lists.stage(abandoned, &[], &[entry("9ABN001")], end()).unwrap();
    place.erased(end().plus(29 * Instant::MINUTE));
    assert!(lists.digests(abandoned, |_| {}).is_ok(), "a load may still be at it");
    place.erased(end().plus(31 * Instant::MINUTE));
    assert!(lists.digests(abandoned, |_| {}).is_err());
    assert_eq!(place.found(SECRET, end()), 1);
}

fn a_list_that_is_erased_leaves_no_table(backend: Backend) {
    let place = Place::with_one(backend, end());
    let generation = place.held()[0].generation;
    if backend == Backend::Postgres {
        assert_eq!(place.tables(), ["1", "0"], "entries are in unlogged tables alone");
    }
    assert!(place.lists.erase(owner(), LIST).unwrap().is_some());
    assert!(place.lists.erase(owner(), LIST).unwrap().is_none(), "once");
    assert_eq!(place.held(), []);
    assert!(place.lists.digests(generation, |_| {}).is_err());
    if backend == Backend::Postgres {
        assert_eq!(place.tables(), ["0", "0"]);
    }
}

fn two_processes_that_start_at_once_share_the_place(backend: Backend) {
    let database = backend.database();
    let barrier = Arc::new(Barrier::new(4));
    let processes: Vec<_> = (0..4)
        .map(|_| {
            let (url, barrier) = (database.url.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                open(&url)
            })
        })
        .collect();
    let places: Vec<SharedLists> = processes.into_iter().map(|process| process.join().unwrap()).collect();
    let mut begun = BTreeSet::new();
    for lists in &places {
        let generation = lists.begin(None, end()).unwrap();
        assert!(lists.stage(generation, &[], &[entry(SECRET)], end()).unwrap());
        assert!(begun.insert(format!("{generation:?}")), "each has a version of its own: {begun:?}");
    }
}
