//! Own hotlists and hits: loaded whole, matched in place, each hit known once; through the services that record them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use agreements::hotlist::Category;
use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::db::{Conn, Db};
use concordat::demo::agency::{self, ALDER};
use concordat::hotlists::load::{self, Load, LoadError, Loaded, Progress, Watcher};
use concordat::hotlists::matching::Matcher;
use concordat::hotlists::people::{self, HotlistError, Looked};
use concordat::hotlists::shared::SharedLists;
use concordat::people::PeopleError;
use concordat::reads::NewRead;
use concordat::reads::ingest::Options;
use concordat::reads::source::{JsonLines, Line, Source as _};
use concordat::registry::hits::{self, HitStatus};
use concordat::registry::hotlists::{self, Part};
use integration::database::Backend;
use integration::federation::start;
use integration::feeding::rekor;
use integration::on_both;
use integration::registry::{TestRegistry, block_on, keeper};

on_both!(
    a_load_is_seen_whole_or_not_at_all,
    a_load_that_was_cut_off_leaves_nothing_that_counts,
    of_two_loads_of_one_list_the_later_counts,
    versions_differ_by_what_came_and_went,
    a_hit_is_known_once_whoever_matches_it,
    a_hit_is_found_by_what_is_in_place_and_looked_at_by_a_person,
);

const LIST: &str = "own";
const US: &str = "CA0990000";

/// An agency's registry with its people, and a folder for sources.
struct Agency {
    registry: TestRegistry,
    db: Db,
    folder: tempfile::TempDir,
}

impl Agency {
    fn on(backend: Backend) -> Self {
        let registry = TestRegistry::on(backend);
        let db = registry.open();
        block_on(agency::people_of(&db, &keeper(), &ALDER, start().date().unwrap())).unwrap();
        Self { registry, db, folder: tempfile::tempdir().unwrap() }
    }

    /// A source of these plates, stolen vehicles of California.
    fn source(&self, plates: &[String]) -> PathBuf {
        let expires = start().plus(60 * Instant::DAY);
        let mut text = "plate,state,category,reason,case_number,entered_by,contact,expires_at\n".to_owned();
        let rest = format!("Taken from a driveway on Elm Street,2026-118901,det204,(555) 010-0177,{expires}");
        text.extend(plates.iter().map(|plate| format!("{plate},CA,stolen_vehicle,{rest}\n")));
        let path = self.folder.path().join("own.csv");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn loads(&self, plates: &[String], watcher: Watcher) -> Result<Loaded, LoadError> {
        let load = Load {
            path: self.source(plates),
            list: LIST.to_owned(),
            layout: None,
            by: "alder.admin".to_owned(),
            approved_by: Some("alder.supervisor".to_owned()),
            report: self.folder.path().join("rejected.jsonl"),
            dry_run: false,
            accept_shrink: false,
            accept_date: false,
            max_age: 72 * Instant::HOUR,
        };
        block_on(load::load(&self.db, load, watcher))
    }

    fn lists(&self, plates: &[String]) -> Loaded {
        self.loads(plates, quiet()).unwrap()
    }

    fn conn(&self) -> Conn {
        self.db.reader().unwrap()
    }

    /// A matcher of this agency, as another process would have it.
    fn shared(&self) -> Arc<SharedLists> {
        Arc::new(SharedLists::beside(&self.registry.database.url.parse().unwrap()).unwrap())
    }

    fn matcher(&self, substitutions: u32) -> Matcher {
        Matcher::new(self.registry.open(), self.shared(), US.parse().unwrap(), substitutions)
    }

    fn hits(&self) -> Vec<hits::Hit> {
        hits::newest(&mut self.conn(), None, 100).unwrap()
    }

    fn recorded(&self, kind: &str) -> usize {
        let count = format!("SELECT CAST(COUNT(*) AS TEXT) AS cell FROM leaf WHERE kind = '{kind}'");
        self.registry.database.cell(&count).parse().unwrap()
    }
}

fn quiet() -> Watcher {
    Watcher { progress: Box::new(|_| {}), stop: Arc::default() }
}

fn plates(of: std::ops::Range<u32>) -> Vec<String> {
    of.map(|n| format!("9LST{n:04}")).collect()
}

/// Which entries of the list there are by its index of plates, in place now.
fn found(conn: &mut Conn, plates: &[String]) -> usize {
    let keys: Vec<String> =
        plates.iter().map(|it| it.parse::<agreements::plate::Plate>().unwrap().key().as_str().to_owned()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    keys.chunks(500).map(|part| hotlists::candidates(conn, part).unwrap().len()).sum()
}

/// The plates of a part of the list, by pages.
fn pages(conn: &mut Conn, part: Part) -> Vec<Digest> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = hotlists::page(conn, LIST, part, None, after, 7).unwrap();
        let Some((last, _)) = page.last() else { return all };
        after = Some(*last);
        all.extend(page.into_iter().map(|(digest, _)| digest));
    }
}

fn a_load_is_seen_whole_or_not_at_all(backend: Backend) {
    let agency = Agency::on(backend);
    let (old, new) = (plates(0..10), plates(10..2510));
    assert_eq!(agency.lists(&old).version, 1);
    // Whoever reads while it is staged, by whatever path, has the old version whole.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inside, mut conn) = (Arc::clone(&seen), agency.conn());
    let (old_plates, new_plates) = (old.clone(), new.clone());
    let progress = move |at: Progress| {
        if let Progress::Staging(done, total) = at {
            let list = hotlists::find(&mut conn, LIST).unwrap().unwrap();
            let counts = (found(&mut conn, &old_plates), found(&mut conn, &new_plates));
            let paged = pages(&mut conn, Part::At(list.version)).len();
            inside.lock().unwrap().push((done, total, list.version, list.entries, counts, paged));
        }
    };
    let loaded = agency.loads(&new, Watcher { progress: Box::new(progress), stop: Arc::default() }).unwrap();
    let staged = seen.lock().unwrap().clone();
    assert_eq!(staged.iter().map(|it| it.0).collect::<Vec<_>>(), [1000, 2000, 2500], "{staged:?}");
    assert!(staged.iter().all(|it| (it.1, it.2, it.3, it.4, it.5) == (2500, 1, 10, (10, 0), 10)), "{staged:?}");

    let mut conn = agency.conn();
    assert_eq!((found(&mut conn, &old), found(&mut conn, &new)), (0, 2500));
    let list = hotlists::find(&mut conn, LIST).unwrap().unwrap();
    assert_eq!((list.version, list.entries, list.loaded_by.as_str()), (loaded.version, 2500, "alder.admin"));
    assert_eq!(list.loaded_at, agency.registry.clock.now());
    assert_eq!(agency.recorded("hotlist.loaded"), 2);
}

fn a_load_that_was_cut_off_leaves_nothing_that_counts(backend: Backend) {
    let agency = Agency::on(backend);
    let (old, new) = (plates(0..10), plates(5..2510));
    agency.lists(&old);
    let stop = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&stop);
    let progress = move |at| {
        if matches!(at, Progress::Staging(1000, _)) {
            stops.store(true, Ordering::SeqCst);
        }
    };
    let cut_off = agency.loads(&new, Watcher { progress: Box::new(progress), stop });
    assert!(matches!(cut_off, Err(LoadError::Reading(_))), "{cut_off:?}");
    let mut conn = agency.conn();
    assert_eq!((found(&mut conn, &old), found(&mut conn, &plates(10..2510))), (10, 0));
    assert_eq!(agency.recorded("hotlist.loaded"), 1);
    let staged = "SELECT CAST(COUNT(*) AS TEXT) AS cell FROM hotlist_entry WHERE since > 1 OR until > 1";
    assert_ne!(agency.registry.database.cell(staged), "0", "it was cut off in the middle");

    // The next load finds what is in place, and neither what came nor what went of the one that was cut off.
    let loaded = agency.lists(&plates(0..12));
    assert_eq!((loaded.added, loaded.removed, loaded.unchanged), (2, 0, 10));
    assert_eq!((found(&mut conn, &plates(0..2510)), loaded.entries), (12, 12));
}

fn of_two_loads_of_one_list_the_later_counts(backend: Backend) {
    let agency = Agency::on(backend);
    agency.lists(&plates(0..10));
    // While the first stages, another process begins a load and ends it.
    let (other, name) = (agency.registry.open(), LIST.to_owned());
    let begun = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&begun);
    let progress = move |at| {
        if matches!(at, Progress::Staging(1000, _)) && !once.swap(true, Ordering::SeqCst) {
            let name = name.clone();
            let stage = block_on(other.write("test", move |conn| hotlists::begin(conn, &name, "custom"))).unwrap();
            assert_eq!(stage, 3);
        }
    };
    let watcher = Watcher { progress: Box::new(progress), stop: Arc::default() };
    match agency.loads(&plates(10..2510), watcher) {
        Err(LoadError::Refused(why)) => assert!(why.contains("another load"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(begun.load(Ordering::SeqCst));
    let mut conn = agency.conn();
    assert_eq!((found(&mut conn, &plates(0..10)), found(&mut conn, &plates(10..2510))), (10, 0));
    assert_eq!(agency.recorded("hotlist.loaded"), 1);
}

fn versions_differ_by_what_came_and_went(backend: Backend) {
    let agency = Agency::on(backend);
    let versions = [plates(0..20), plates(5..25), plates(0..22)].map(|plates| agency.lists(&plates).version);
    let mut conn = agency.conn();
    let [first, second, third] = versions;
    for (part, expected) in [
        (Part::At(first), 20),
        (Part::At(second), 20),
        (Part::At(third), 22),
        (Part::Added(first, second), 5),
        (Part::Removed(first, second), 5),
        (Part::Added(second, third), 5),
        (Part::Removed(second, third), 3),
        (Part::Added(0, third), 22),
        (Part::Removed(third, third), 0),
    ] {
        let digests = pages(&mut conn, part);
        assert_eq!(digests.len(), expected, "{part:?}");
        assert!(digests.is_sorted(), "{part:?}: in the order of the digests' bytes");
    }
    let same = agency.lists(&plates(0..22));
    assert_eq!((same.version, same.added, same.removed), (third, 0, 0), "the same again is no version");
    let stolen = Some([Category::StolenVehicle].as_slice());
    assert_eq!(hotlists::page(&mut conn, LIST, Part::At(third), stolen, None, 100).unwrap().len(), 22);
    let missing = Some([Category::MissingPerson].as_slice());
    assert_eq!(hotlists::page(&mut conn, LIST, Part::At(third), missing, None, 100).unwrap(), []);
    assert!(hotlists::knows_version(&mut conn, LIST, first).unwrap());

    agency.registry.clock.set(start().plus(3 * Instant::DAY));
    agency.lists(&plates(0..21));
    assert!(!hotlists::knows_version(&mut conn, LIST, first).unwrap(), "no lease can need it");
    assert!(hotlists::knows_version(&mut conn, LIST, third).unwrap());
    assert_eq!((found(&mut conn, &plates(0..25)), pages(&mut conn, Part::Removed(third, third + 1)).len()), (21, 1));
}

/// The reads that a reader's line says.
fn read(plate: &str, ms: i64) -> (NewRead, Option<Digest>) {
    let line = rekor(plate, start().plus(ms * 1000));
    let options = Options::reporting_to(PathBuf::new());
    match JsonLines::new(line.as_bytes(), &options).next(start()).unwrap().unwrap().said {
        Ok(Some(Line::Reads(mut reads))) => (reads.remove(0), None),
        other => panic!("{other:?}"),
    }
}

fn a_hit_is_known_once_whoever_matches_it(backend: Backend) {
    let agency = Agency::on(backend);
    agency.lists(&plates(0..10));
    let seen = [read("9LST0003", -5), read("9LST0003", -4), read("9NOT0001", -3)];
    let (one, two) = (agency.matcher(0), agency.matcher(0));
    assert_eq!(block_on(one.batch(&seen)).unwrap(), 2);
    assert_eq!(block_on(one.batch(&seen)).unwrap(), 0, "delivered again");
    assert_eq!(block_on(two.batch(&seen)).unwrap(), 0, "to another process");
    assert_eq!((agency.hits().len(), agency.recorded("hit.matched")), (2, 2));

    // Two processes, and in each the same read twice, at the same time.
    let reads: Vec<_> = (0..20).map(|n| read("9LST0004", -(n % 10))).collect();
    let reads = &reads;
    let new: u64 = std::thread::scope(|scope| {
        let matchers = [&one, &two].map(|matcher| scope.spawn(move || block_on(matcher.batch(reads)).unwrap()));
        matchers.into_iter().map(|matcher| matcher.join().unwrap()).sum()
    });
    assert_eq!(new, 10);
    assert_eq!((agency.hits().len(), agency.recorded("hit.matched")), (12, 12));
}

fn a_hit_is_found_by_what_is_in_place_and_looked_at_by_a_person(backend: Backend) {
    let agency = Agency::on(backend);
    let us: Ori = US.parse().unwrap();
    agency.lists(&plates(0..10));
    let matcher = agency.matcher(1);
    let seen = [read("9LST0O03", -2), read("9LST0004", -1)];
    assert_eq!(block_on(matcher.batch(&seen)).unwrap(), 2);
    let kept = agency.hits();
    let inexact = kept.iter().find(|hit| hit.plate.as_str() == "9LST0O03").unwrap();
    assert_eq!((inexact.substitutions, inexact.status, inexact.owner), (1, HitStatus::Unconfirmed, us));
    assert_eq!((inexact.category, inexact.seen_at), (Category::StolenVehicle, start().plus(-2000)));
    assert_eq!((inexact.matched_at, inexact.list.as_str()), (start(), LIST));
    assert!(hotlists::entry(&mut agency.conn(), LIST, inexact.entry).unwrap().unwrap().contains("9LST0003"));

    let verify = |verdict, looked| {
        let by = "alder.investigator";
        block_on(people::verify(&agency.db, &agency.shared(), us, inexact.id, verdict, looked, by)).map(drop)
    };
    let not_looked = Looked { image: true, status: false };
    assert!(matches!(verify(HitStatus::Confirmed, not_looked), Err(HotlistError::People(PeopleError::Refused(_)))));
    let blind = verify(HitStatus::Confirmed, Looked { image: true, status: true }).unwrap_err().to_string();
    assert!(blind.contains("without an image"), "{blind}");
    agency.registry.clock.set(start().plus(9));
    verify(HitStatus::Misread, not_looked).unwrap();
    let verified = hits::find(&mut agency.conn(), inexact.id).unwrap().unwrap();
    assert_eq!((verified.status, verified.verified_at), (HitStatus::Misread, Some(start().plus(9))));
    assert_eq!(verified.verified_by.as_deref(), Some("alder.investigator"));
    let of = |status| hits::newest(&mut agency.conn(), Some(status), 100).unwrap().len();
    let all = [HitStatus::Unconfirmed, HitStatus::Confirmed, HitStatus::Misread].map(of);
    assert_eq!((all, agency.recorded("hit.verified")), ([1, 0, 1], 1));

    // What is not in place any more gives no hit.
    agency.lists(&plates(0..4));
    assert_eq!(block_on(matcher.batch(&[read("9LST0004", -5), read("9LST0003", -6)])).unwrap(), 1);
}
