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

/// The same, asserted one entry of the owner's log later.
fn newer(generation: Generation, entries: u64, ends_at: Instant) -> Held {
    Held { log_index: 8, ..held(generation, entries, ends_at) }
}

/// How many entries of this plate may be matched.
fn found(shared: &SharedLists, plate: &str, now: Instant) -> usize {
    let owner: Ori = OWNER.parse().unwrap();
    let key = entry(plate).plate_key;
    let accepted = BTreeSet::from([(owner, "wanted".to_owned())]);
    let mut conn = shared.reader().unwrap();
    SharedLists::candidates(&mut conn, &BTreeSet::from([key.as_str()]), &accepted, now).unwrap().len()
}

/// What is erased at `now`, when the list is accepted.
fn erased(shared: &SharedLists, now: Instant) -> Vec<Gone> {
    let accepted = BTreeSet::from([(OWNER.parse().unwrap(), "wanted".to_owned())]);
    shared.erase_due(|| Ok::<_, SharedError>(Look { now, accepted })).unwrap()
}

fn only(shared: &SharedLists) -> Held {
    let mut held = SharedLists::held(&mut shared.reader().unwrap()).unwrap();
    assert_eq!(held.len(), 1);
    held.remove(0)
}

/// A place, with one list of one entry whose lease ends then.
fn one(url: &DatabaseUrl, ends_at: Instant) -> SharedLists {
    let shared = SharedLists::beside(url).unwrap();
    let generation = shared.begin(None, ends_at).unwrap();
    assert!(shared.stage(generation, &[], &[entry(SECRET)], ends_at).unwrap());
    assert_eq!(found(&shared, SECRET, ends_at.plus(-1)), 0, "nothing is seen before it is put in use");
    assert_eq!(shared.keep(&held(generation, 1, ends_at)).unwrap(), Kept::InUse);
    shared
}

fn lease_to_the_microsecond(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end);
    assert_eq!(found(&shared, SECRET, at("2026-11-23T23:59:59.999999Z")), 1);
    assert_eq!(found(&shared, SECRET, at("2026-11-24T00:00:00.000000Z")), 0);
    assert!(erased(&shared, end.plus(-1)).is_empty());
    assert_eq!(found(&shared, SECRET, end.plus(-1)), 1);
    assert_eq!(erased(&shared, end).len(), 1);
    assert_eq!(found(&shared, SECRET, end.plus(-1)), 0, "it is erased, and not only past its lease");
    assert!(erased(&shared, end).is_empty(), "once");
}

fn versions_follow_each_other_whole(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let now = end.plus(-Instant::HOUR);
    let shared = one(url, end);
    let first = only(&shared);
    let next = shared.begin(Some(first.generation), now).unwrap();
    assert!(shared.stage(next, &[entry(SECRET).digest], &[entry("9NEW001"), entry("9NEW002")], now).unwrap());
    assert_eq!((found(&shared, SECRET, now), found(&shared, "9NEW001", now)), (1, 0));
    assert_eq!(shared.keep(&newer(next, 2, end)).unwrap(), Kept::InUse);
    assert_eq!((found(&shared, SECRET, now), found(&shared, "9NEW001", now)), (0, 1));
    let mut digests = Vec::new();
    shared.digests(next, |digest| digests.push(digest)).unwrap();
    let mut expected = vec![entry("9NEW001").digest, entry("9NEW002").digest];
    expected.sort_unstable();
    assert_eq!(digests, expected);
    assert!(!shared.stage(next, &[entry(SECRET).digest], &[], now).unwrap(), "what is not there cannot go");
    assert!(!shared.stage(next, &[], &[entry("9NEW001")], now).unwrap(), "what is there cannot come");
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
    shared.stage(generation, &[entry(SECRET).digest], &[], end).unwrap();
    assert_eq!(usable(), None, "all of it is pulled again");
}

fn a_version_that_was_given_up_goes(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end.plus(Instant::DAY));
    let abandoned = shared.begin(None, end).unwrap();
    shared.stage(abandoned, &[], &[entry("9ABN001")], end).unwrap();
    erased(&shared, end.plus(29 * Instant::MINUTE));
    assert!(shared.digests(abandoned, |_| {}).is_ok(), "a load may still be at it");
    erased(&shared, end.plus(31 * Instant::MINUTE));
    assert!(shared.digests(abandoned, |_| {}).is_err());
    assert_eq!(found(&shared, SECRET, end), 1);
}

fn a_load_that_takes_long_is_not_given_up_under_itself(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end.plus(Instant::DAY));
    let slow = shared.begin(None, end).unwrap();
    for minutes in [20, 40, 60] {
        let now = end.plus(minutes * Instant::MINUTE);
        assert!(shared.stage(slow, &[], &[entry(&format!("9SLW0{minutes}"))], now).unwrap());
        erased(&shared, now);
    }
    assert_eq!(shared.keep(&newer(slow, 3, end.plus(Instant::DAY))).unwrap(), Kept::InUse);
}

/// A pull began before the end of the lease, and the owner had nothing new; at the end what was held was erased.
fn what_was_erased_meanwhile_is_not_put_in_use(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = one(url, end);
    let renewed = Held { ends_at: end.plus(Instant::DAY), ..newer(only(&shared).generation, 1, end) };
    assert_eq!(erased(&shared, end).len(), 1);
    assert_eq!(shared.keep(&renewed).unwrap(), Kept::Overtaken);
    assert!(SharedLists::held(&mut shared.reader().unwrap()).unwrap().is_empty());
    assert_eq!(found(&shared, SECRET, end), 0);
    let owner: Ori = OWNER.parse().unwrap();
    assert_eq!(shared.usable(owner, "wanted", end).unwrap(), None, "all of it is pulled again");
}

/// Two processes pull the same list, and the one with the older assertion is the last to put it in use.
fn an_older_assertion_never_replaces_a_newer_one(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let now = end.plus(-Instant::HOUR);
    let shared = one(url, end);
    let [older, newest] = [(); 2].map(|()| shared.begin(None, now).unwrap());
    shared.stage(newest, &[], &[entry("9NEW001")], now).unwrap();
    let newest = Held { log_index: 9, ..held(newest, 1, end) };
    assert_eq!(shared.keep(&newest).unwrap(), Kept::InUse);
    assert_eq!(shared.keep(&newer(older, 0, end)).unwrap(), Kept::Overtaken);
    assert_eq!(shared.keep(&Held { version: 3, ..newest.clone() }).unwrap(), Kept::Overtaken, "nor does the same");
    shared.give_up(older).unwrap();
    assert_eq!((only(&shared), found(&shared, "9NEW001", now)), (newest, 1));
}

fn a_number_is_never_given_out_again(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let shared = SharedLists::beside(url).unwrap();
    let mut before = Vec::new();
    for _ in 0..3 {
        let generation = shared.begin(None, end).unwrap();
        assert!(!before.contains(&generation));
        before.push(generation);
        shared.give_up(generation).unwrap();
    }
}

fn what_is_no_longer_accepted_is_erased_and_what_was_accepted_again_is_not(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let now = end.plus(-1);
    let shared = one(url, end);
    let look = || Ok::<_, SharedError>(Look { now, accepted: BTreeSet::new() });
    // Another process puts a newer one in use while this one looks.
    let replaced = shared.erase_due(|| {
        let next = shared.begin(None, now)?;
        assert_eq!(shared.keep(&newer(next, 0, end))?, Kept::InUse);
        look()
    });
    assert!(replaced.unwrap().is_empty());
    let gone = shared.erase_due(look).unwrap();
    assert_eq!(gone.iter().map(|gone| gone.why).collect::<Vec<_>>(), ["it is no longer accepted"]);
    assert!(SharedLists::held(&mut shared.reader().unwrap()).unwrap().is_empty());
}

/// As a server does with all unlogged tables when it starts after a crash.
fn after_a_crash_a_lease_counts_for_nothing_and_the_next_pull_brings_all(url: &DatabaseUrl) {
    let end = at("2026-11-24T00:00:00Z");
    let now = end.plus(-Instant::HOUR);
    let shared = one(url, end);
    let generation = only(&shared).generation;
    shared
        .writing(|conn| Ok(conn.batch_execute(&format!("DELETE FROM {}; DELETE FROM alive", generation.table()))?))
        .unwrap();
    let mut conn = shared.reader().unwrap();
    let owner: Ori = OWNER.parse().unwrap();
    assert!(SharedLists::held(&mut conn).unwrap().is_empty());
    assert_eq!(found(&shared, SECRET, now), 0);
    assert_eq!(shared.usable(owner, "wanted", now).unwrap(), None);
    assert_eq!(SharedLists::entry(&mut conn, owner, "wanted", entry(SECRET).digest, now).unwrap(), None);
    assert_eq!(shared.keep(&newer(generation, 1, end)).unwrap(), Kept::Overtaken);
    let whole = shared.begin(None, now).unwrap();
    shared.stage(whole, &[], &[entry(SECRET)], now).unwrap();
    assert_eq!(shared.keep(&newer(whole, 1, end)).unwrap(), Kept::InUse);
    assert_eq!((only(&shared).generation, found(&shared, SECRET, now)), (whole, 1));
}

const SUITE: [fn(&DatabaseUrl); 11] = [
    a_load_that_takes_long_is_not_given_up_under_itself,
    what_was_erased_meanwhile_is_not_put_in_use,
    an_older_assertion_never_replaces_a_newer_one,
    a_number_is_never_given_out_again,
    what_is_no_longer_accepted_is_erased_and_what_was_accepted_again_is_not,
    after_a_crash_a_lease_counts_for_nothing_and_the_next_pull_brings_all,
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
            WHERE nspname = 'concordat_shared' AND (relname LIKE 'entry%' OR relname LIKE 'alive%') AND relpersistence <> 'u'";
        let logged: Counted = diesel::sql_query(logged).get_result(&mut conn).unwrap();
        assert_eq!(logged.n, 0, "entries, and what says that they are there, are in unlogged tables alone");
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
    let first = only(&shared);
    let next = shared.begin(Some(first.generation), end.plus(-1)).unwrap();
    shared.stage(next, &[entry(SECRET).digest], &[entry("9NEW001")], end).unwrap();
    assert_eq!(shared.keep(&newer(next, 1, end)).unwrap(), Kept::InUse);
    assert!(!stands_in(folder.path(), SECRET) && stands_in(folder.path(), "9NEW001"));
    erased(&shared, end);
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
        assert_eq!(erased(&shared, end).len(), 1);
        assert_eq!(found(&shared, SECRET, end.plus(-1)), 0);
        Ok::<_, SharedError>(n)
    });
    assert_eq!(seen.unwrap(), 1);
    assert!(erased(&shared, end).is_empty());
    assert!(!stands_in(folder.path(), SECRET), "the next turn, a second later, finishes it");
}

#[test]
fn what_another_process_erased_while_somebody_read_is_gone_from_the_bytes_at_the_next_turn() {
    let end = at("2026-11-24T00:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    let serving = one(&url_in(&folder), end);
    erased(&serving, end.plus(-1));
    let mut reader = serving.reader().unwrap();
    snapshot(&mut reader, |conn| {
        let _: i64 = lease::table.count().get_result(conn)?;
        let command = SharedLists::beside(&url_in(&folder))?;
        assert!(command.erase(OWNER.parse().unwrap(), "wanted")?.is_some());
        Ok::<_, SharedError>(())
    })
    .unwrap();
    assert!(stands_in(folder.path(), SECRET), "it could not empty the log, and ended");
    erased(&serving, end.plus(-1));
    assert!(!stands_in(folder.path(), SECRET));
}

#[test]
fn a_server_that_does_not_answer_is_named_without_its_password() {
    let url = DatabaseUrl::Postgres("postgres://node:s3cret@127.0.0.1:1/registry".to_owned());
    let error = SharedLists::beside(&url).err().unwrap().to_string();
    assert!(error.contains("does not answer") && !error.contains("s3cret"), "{error}");
}
