//! The read store, through the product's own ingest and permits.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier};

use agreements::agreement::Area;
use agreements::ids::ReadId;
use agreements::time::Instant;
use concordat::clock::SetClock;
use concordat::demo::generator::{Agency, lines, shared_plates};
use concordat::reads::images::Images;
use concordat::reads::ingest::{Options, Summary, ingest};
use concordat::reads::keep::Keeper;
use concordat::reads::source::JsonLines;
use concordat::reads::store::{Found, Reader, ReadsDb, SearchBounds};
use concordat::reads::{Read, Vehicle};
use integration::database::{Backend, TestDatabase};
use integration::federation::start;
use integration::feeding::rekor;
use integration::on_both;
use integration::permit::Sought;
use integration::registry::block_on;

on_both!(
    the_window_is_half_open_to_the_microsecond,
    newest_first_then_by_the_bytes_of_the_uuid_and_capped,
    the_same_answer_again_by_ids_within_the_bounds,
    a_re_delivery_changes_nothing_whoever_delivers_it,
    what_is_rejected_is_reported_and_the_rest_is_kept,
    areas_and_images_are_as_the_permit_says,
    a_read_comes_back_as_it_was_taken,
    months_have_no_seam,
    two_writers_at_once_lose_nothing,
);

struct Station {
    database: TestDatabase,
    db: Arc<ReadsDb>,
    folder: tempfile::TempDir,
}

impl Station {
    fn on(backend: Backend) -> Self {
        let database = backend.database();
        let db = Arc::new(ReadsDb::open(&database.url).unwrap());
        Self { database, db, folder: tempfile::tempdir().unwrap() }
    }

    fn take(&self, source: &str) -> Summary {
        self.take_at(source, start())
    }

    fn take_at(&self, source: &str, now: Instant) -> Summary {
        let images = Images::in_folder(&self.folder.path().join("images")).unwrap();
        let options = Options::reporting_to(self.folder.path().join("rejected"));
        let clock = Arc::new(SetClock::at(now));
        let keeper = Keeper { reads: Arc::clone(&self.db), images, clock: Arc::clone(&clock) as _ };
        let (mut lines, go_on) = (JsonLines::new(source.as_bytes(), &options), AtomicBool::new(false));
        block_on(ingest(&mut lines, &keeper, &options, clock.as_ref(), &mut |_| {}, &go_on)).unwrap()
    }

    fn reader(&self) -> Reader {
        self.db.reader().unwrap()
    }

    fn search(&self, sought: &Sought<'_>) -> Found {
        self.reader().search_exact(&SearchBounds::permitted(&sought.permit()).unwrap()).unwrap()
    }

    fn by_ids(&self, sought: &Sought<'_>, ids: &[ReadId]) -> Vec<Read> {
        self.reader().by_ids(&SearchBounds::permitted(&sought.permit()).unwrap(), ids).unwrap()
    }
}

const PLATE: &str = "7ABC123";

/// A line for the plate, `ms` milliseconds after the start (readers know no finer time).
fn seen(ms: i64) -> String {
    rekor(PLATE, start().plus(ms * 1000))
}

/// The same with another uuid.
fn seen_as(ms: i64, uuid: &str) -> String {
    let mut line: serde_json::Value = serde_json::from_str(&seen(ms)).unwrap();
    line["best_uuid"] = uuid.into();
    line["uuids"] = serde_json::json!([uuid]);
    format!("{line}\n")
}

fn ms(found: &[Read]) -> Vec<i64> {
    found.iter().map(|read| read.seen_at.since(start()) / 1000).collect()
}

fn the_window_is_half_open_to_the_microsecond(backend: Backend) {
    let station = Station::on(backend);
    assert_eq!(station.take(&(seen(-2) + &seen(-1) + &seen(0))).kept, 3);
    for (from, until, expected) in [
        (-2000, 1, vec![0, -1, -2]),
        (-2000, 0, vec![-1, -2]),
        (-1999, 0, vec![-1]),
        (-1000, -999, vec![-1]),
        (-1000, -1000 + 1, vec![-1]),
        (-999, -1, vec![]),
    ] {
        let sought = Sought { from: start().plus(from), until: start().plus(until), ..Sought::default() };
        let found = station.search(&sought);
        assert_eq!((ms(&found.rows), found.more), (expected, false), "{from}..{until}");
    }
    // Another plate of the same key is not the plate.
    assert_eq!(station.search(&Sought { plate: "7A8C123", ..Sought::default() }).rows, []);
}

fn newest_first_then_by_the_bytes_of_the_uuid_and_capped(backend: Backend) {
    let station = Station::on(backend);
    // An order by language would put these differently: it ignores case and hyphens first.
    let uuids = ["a-1", "A-1", "a1", "B", "b", "a_1", "Z"];
    let source: String = uuids.iter().map(|uuid| seen_as(-5, uuid)).collect();
    assert_eq!(station.take(&(source + &seen(-4) + &seen(-6))).kept, 9);
    let all = station.search(&Sought::default());
    assert_eq!(ms(&all.rows), [-4, -5, -5, -5, -5, -5, -5, -5, -6]);
    let kept = station
        .database
        .cells("SELECT uuid AS cell FROM read WHERE uuid NOT LIKE 'agent%' ORDER BY seen_at DESC, uuid DESC");
    let mut sorted: Vec<Option<String>> = uuids.iter().map(|uuid| Some((*uuid).to_owned())).collect();
    sorted.sort();
    sorted.reverse();
    assert_eq!(kept, sorted);
    let ids = |found: &Found| found.rows.iter().map(|read| read.id).collect::<Vec<_>>();
    for cap in [1, 3, 8, 9, 10] {
        let found = station.search(&Sought { max_rows: cap, ..Sought::default() });
        let shown = usize::try_from(cap).unwrap().min(9);
        assert_eq!((ids(&found), found.more), (ids(&all)[..shown].to_vec(), cap < 9), "{cap}");
    }
}

fn the_same_answer_again_by_ids_within_the_bounds(backend: Backend) {
    let station = Station::on(backend);
    let source: String = (0..1200).map(|i| seen(-i)).collect();
    assert_eq!(station.take(&source).kept, 1200);
    let all = Sought { max_rows: 5000, ..Sought::default() };
    let found = station.search(&all);
    assert_eq!(found.rows.len(), 1200);
    let mut ids: Vec<ReadId> = found.rows.iter().map(|read| read.id).collect();
    ids.reverse();
    assert_eq!(station.by_ids(&all, &ids), found.rows);
    assert_eq!(station.by_ids(&Sought { max_rows: 3, ..Sought::default() }, &ids), found.rows[..3]);
    let window = Sought { from: start().plus(-3000), until: start().plus(-1000), ..Sought::default() };
    assert_eq!(ms(&station.by_ids(&window, &ids)), [-2, -3]);
    assert_eq!(station.by_ids(&Sought { plate: "7ABC124", ..Sought::default() }, &ids), []);
    assert_eq!(station.by_ids(&all, &[]), []);
}

fn a_re_delivery_changes_nothing_whoever_delivers_it(backend: Backend) {
    let station = Station::on(backend);
    let first = station.take(&seen(-9));
    let before = station.search(&Sought::default());
    let mut other: serde_json::Value = serde_json::from_str(&seen(-9)).unwrap();
    other["camera_id"] = 999.into();
    let again = station.take_at(&format!("{other}\n{other}\n{}", seen(-8)), start().plus(Instant::SECOND));
    assert_eq!((first.kept, again.kept, again.repeated), (1, 1, 2));
    let elsewhere = ReadsDb::open(&station.database.url).unwrap();
    let station = Station { db: Arc::new(elsewhere), ..station };
    assert_eq!((station.take(&seen(-9)).kept, station.reader().count().unwrap()), (0, 2));
    assert_eq!(station.search(&Sought::default()).rows[1..], before.rows, "the first delivery stands");
}

fn what_is_rejected_is_reported_and_the_rest_is_kept(backend: Backend) {
    let station = Station::on(backend);
    let mut null: serde_json::Value = serde_json::from_str(&seen(-1)).unwrap();
    null["best_uuid"] = "a\u{0}b".into();
    let mut camera: serde_json::Value = serde_json::from_str(&seen(-1)).unwrap();
    camera["agent_uid"] = "a\u{0}b".into();
    let old = rekor(PLATE, "1999-12-31T23:59:59Z".parse().unwrap());
    let source = format!("{}x\n{null}\n{camera}\n{old}{}", seen(-3), seen(-2));
    let summary = station.take(&source);
    // PostgreSQL's texts cannot hold the character that ends a text in C, so no store is offered one.
    assert_eq!((summary.lines, summary.kept, summary.rejected), (6, 2, 4), "{summary:?}");
    let report = std::fs::read_to_string(summary.report.unwrap()).unwrap();
    assert_eq!(report.lines().count(), 4, "{report}");
    assert_eq!(ms(&station.search(&Sought::default()).rows), [-2, -3]);
}

fn areas_and_images_are_as_the_permit_says(backend: Backend) {
    let station = Station::on(backend);
    let at = |ms, place: Option<(f64, f64)>| {
        let mut line: serde_json::Value = serde_json::from_str(&seen(ms)).unwrap();
        line["gps_latitude"] = place.map_or(serde_json::Value::Null, |(lat, _)| lat.into());
        line["gps_longitude"] = place.map_or(serde_json::Value::Null, |(_, lon)| lon.into());
        format!("{line}\n")
    };
    let source = at(-1, Some((34.6, -118.3))) + &at(-2, Some((34.600_001, -118.3))) + &at(-3, None);
    assert_eq!(station.take(&source).kept, 3);
    let everywhere = station.search(&Sought::default());
    assert!(everywhere.rows.iter().all(|read| read.image.is_some()));
    let ids: Vec<ReadId> = everywhere.rows.iter().map(|read| read.id).collect();
    let area = Some(Area { south: 34_600_000, west: -118_300_000, north: 34_600_000, east: -118_299_999 });
    let sought = Sought { area, images: false, ..Sought::default() };
    let found = station.search(&sought);
    assert_eq!(ms(&found.rows), [-1]);
    assert!(found.rows.iter().all(|read| read.image.is_none()));
    assert_eq!(station.by_ids(&sought, &ids), found.rows);
}

fn a_read_comes_back_as_it_was_taken(backend: Backend) {
    let station = Station::on(backend);
    let mut line: serde_json::Value = serde_json::from_str(&seen(-1)).unwrap();
    line["best_region"] = "us-ca".into();
    line["best_confidence"] = 90.125.into();
    line["travel_direction"] = 359.99.into();
    line["vehicle"] = serde_json::json!({"color": [{"name": "grün", "confidence": 90.0}]});
    station.take(&format!("{line}\n"));
    let read = station.search(&Sought::default()).rows.remove(0);
    assert_eq!((read.plate.as_str(), read.seen_at, read.state.as_deref()), (PLATE, start().plus(-1000), Some("CA")));
    assert_eq!((read.confidence, read.direction), (Some(90_125), Some(35_999)));
    assert_eq!(read.vehicle, Some(Vehicle { color: Some("grün".to_owned()), ..Vehicle::default() }));
    let mut reader = station.reader();
    assert_eq!((reader.oldest().unwrap(), reader.newest().unwrap()), (Some(read.seen_at), Some(read.seen_at)));
    assert_eq!((reader.count().unwrap(), station.db.kept()), (1, 1));
}

fn months_have_no_seam(backend: Backend) {
    let station = Station::on(backend);
    let at = |text: &str| text.parse::<Instant>().unwrap();
    let times = [
        "2025-12-31T23:59:59.999Z",
        "2026-01-01T00:00:00Z",
        "2026-10-31T23:59:59.999Z",
        "2026-11-01T00:00:00Z",
        "2026-11-23T20:16:59Z",
    ];
    let source: String = times.iter().map(|time| rekor(PLATE, at(time))).collect();
    assert_eq!(station.take(&source).kept, 5);
    // Long ago and the day after tomorrow's month, from another opening that knows of no partition yet.
    let again = Station { db: Arc::new(ReadsDb::open(&station.database.url).unwrap()), ..station };
    let old = rekor("OLD1", at("2000-01-01T00:00:00Z"));
    assert_eq!(again.take_at(&old, at("2026-12-31T23:00:00Z")).kept, 1);
    let everything = Sought { from: at("2025-11-01T00:00:00Z"), ..Sought::default() };
    let found: Vec<Instant> = again.search(&everything).rows.iter().map(|read| read.seen_at).collect();
    let mut expected = times.map(at).to_vec();
    expected.reverse();
    assert_eq!(found, expected);
    let seam = Sought { from: at("2026-01-01T00:00:00Z"), until: at("2026-11-01T00:00:00Z"), ..Sought::default() };
    assert_eq!(again.search(&seam).rows.len(), 2);
    assert_eq!(again.reader().oldest().unwrap(), Some(at("2000-01-01T00:00:00Z")));
    if backend == Backend::Postgres {
        let partitions = again.database.cells(
            "SELECT inhrelid::regclass::text AS cell FROM pg_inherits WHERE inhparent = 'read'::regclass ORDER BY 1",
        );
        let named = ["2000_01", "2025_12", "2026_01", "2026_10", "2026_11", "2026_12", "2027_01"];
        assert_eq!(partitions, named.map(|month| Some(format!("read_{month}"))));
        let misplaced = "SELECT tableoid::regclass::text AS cell FROM read \
             WHERE tableoid::regclass::text <> to_char(to_timestamp(seen_at / 1000000) AT TIME ZONE 'UTC', '\"read_\"YYYY_MM')";
        assert_eq!(again.database.cells(misplaced), []);
        let keys = "SELECT string_agg(a.attname, ' ' ORDER BY k.n) AS cell FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(att, n) \
             JOIN pg_attribute a ON a.attnum = k.att WHERE a.attrelid = i.indrelid AND i.indisprimary AND i.indrelid = 'read_2000_01'::regclass";
        assert_eq!(again.database.cell(keys), "plate_key seen_at uuid plate");
    }
}

fn two_writers_at_once_lose_nothing(backend: Backend) {
    let station = Arc::new(Station::on(backend));
    let agency = Agency::scattered("ALDER", 101, 3, 7);
    let generated: Vec<String> = lines(&agency, 7, 400, start()).map(|line| line.unwrap() + "\n").collect();
    let barrier = Arc::new(Barrier::new(4));
    let writers: Vec<_> = (0..4_usize)
        .map(|n| {
            let (station, barrier) = (Arc::clone(&station), Arc::clone(&barrier));
            // Each overlaps with the next by half, and opens the store for itself.
            let part: String = generated.iter().skip(n * 80).take(160).map(String::as_str).collect();
            std::thread::spawn(move || {
                let db = ReadsDb::open(&station.database.url).unwrap();
                let own = Station {
                    db: Arc::new(db),
                    database: Backend::Sqlite.database(),
                    folder: tempfile::tempdir().unwrap(),
                };
                barrier.wait();
                let summary = own.take(&part);
                assert_eq!(summary.rejected, 0);
                summary.kept
            })
        })
        .collect();
    let kept: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    assert_eq!((kept, station.reader().count().unwrap()), (400, 400));
    let plate = shared_plates(7).remove(0);
    assert!(!station.search(&Sought { plate: plate.as_str(), ..Sought::default() }).rows.is_empty());
}
