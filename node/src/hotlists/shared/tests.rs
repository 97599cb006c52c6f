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

fn lease_to_the_microsecond(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end);
    assert_eq!(found(&shared, SECRET, at("2026-11-23T23:59:59.999999Z")), 1);
    assert_eq!(found(&shared, SECRET, at("2026-11-24T00:00:00.000000Z")), 0);
    assert!(shared.erase_due(end.plus(-1)).unwrap().is_empty());
    assert_eq!(found(&shared, SECRET, end.plus(-1)), 1);
    assert_eq!(shared.erase_due(end).unwrap().len(), 1);
    assert_eq!(found(&shared, SECRET, end.plus(-1)), 0, "it is erased, and not only past its lease");
    assert!(shared.erase_due(end).unwrap().is_empty(), "once");
}

fn versions_follow_each_other_whole(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let now = end.plus(-Instant::HOUR);
    let shared = one(url, end);
    let first = SharedLists::held(&mut shared.reader().unwrap()).unwrap().remove(0);
    let next = shared.begin(Some(first.generation), now).unwrap();
    assert!(shared.stage(next, &[entry(SECRET).digest], &[entry("9NEW001"), entry("9NEW002")]).unwrap());
    assert_eq!((found(&shared, SECRET, now), found(&shared, "9NEW001", now)), (1, 0));
    shared.keep(&held(next, 2, end)).unwrap();
    assert_eq!((found(&shared, SECRET, now), found(&shared, "9NEW001", now)), (0, 1));
    let mut digests = Vec::new();
    shared.digests(next, |digest| digests.push(digest)).unwrap();
    let mut expected = vec![entry("9NEW001").digest, entry("9NEW002").digest];
    expected.sort_unstable();
    assert_eq!(digests, expected);
    assert!(!shared.stage(next, &[entry(SECRET).digest], &[]).unwrap(), "what is not there cannot go");
    assert!(!shared.stage(next, &[], &[entry("9NEW001")]).unwrap(), "what is there cannot come");
}

fn a_list_that_is_not_accepted_matches_nothing(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end);
    let key = entry(SECRET).plate_key;
    let keys = BTreeSet::from([key.as_str()]);
    let mut conn = shared.reader().unwrap();
    let other = BTreeSet::from([(OWNER.parse().unwrap(), "other".to_owned())]);
    for accepted in [BTreeSet::new(), other] {
        assert!(SharedLists::candidates(&mut conn, &keys, &accepted, end.plus(-1)).unwrap().is_empty());
    }
}

fn what_lost_its_entries_is_not_renewed(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end);
    let owner: Ori = OWNER.parse().unwrap();
    let usable = || shared.usable(owner, "wanted", end.plus(-1)).unwrap();
    let generation = usable().unwrap().generation;
    // As a server does with an unlogged table after a crash.
    shared.stage(generation, &[entry(SECRET).digest], &[]).unwrap();
    assert_eq!(usable(), None, "all of it is pulled again");
}

fn a_version_that_was_given_up_goes(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end.plus(Instant::DAY));
    let abandoned = shared.begin(None, end).unwrap();
    shared.stage(abandoned, &[], &[entry("9ABN001")]).unwrap();
    shared.erase_due(end.plus(29 * Instant::MINUTE)).unwrap();
    assert!(shared.digests(abandoned, |_| {}).is_ok(), "a load may still be at it");
    shared.erase_due(end.plus(31 * Instant::MINUTE)).unwrap();
    assert!(shared.digests(abandoned, |_| {}).is_err());
    assert_eq!(found(&shared, SECRET, end), 1);
}

const SUITE: [fn(&DatabaseUrl); 5] = [
    lease_to_the_microsecond,
    versions_follow_each_other_whole,
    a_list_that_is_not_accepted_matches_nothing,
    what_lost_its_entries_is_not_renewed,
    a_version_that_was_given_up_goes,
];

#[test]
fn on_sqlite() {
    for test in SUITE {
        let folder = tempfile::tempdir().unwrap();
        test(&url_in(&folder));
    }
}

#[test]
#[ignore = "needs an empty PostgreSQL database: CONCORDAT_TEST_POSTGRES=postgres://..."]
fn on_postgres() {
    let url = std::env::var("CONCORDAT_TEST_POSTGRES").unwrap();
    for test in SUITE {
        let mut conn = PgConnection::establish(&url).unwrap();
        conn.batch_execute("DROP SCHEMA IF EXISTS concordat_shared CASCADE").unwrap();
        test(&DatabaseUrl::Postgres(url.clone()));
        let logged = "SELECT COUNT(*) AS n FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
            WHERE nspname = 'concordat_shared' AND relname LIKE 'entry%' AND relpersistence <> 'u'";
        let logged: Counted = diesel::sql_query(logged).get_result(&mut conn).unwrap();
        assert_eq!(logged.n, 0, "entries are in unlogged tables alone");
    }
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
