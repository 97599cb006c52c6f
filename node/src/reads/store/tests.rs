use agreements::json::canonical;

use super::*;
use crate::reads::Vehicle;

const NOW: &str = "2026-11-23T20:00:00Z";

fn now() -> Instant {
    NOW.parse().unwrap()
}

fn plate(text: &str) -> Plate {
    text.parse().unwrap()
}

fn seen(text: &str, micros: i64, uuid: &str) -> (NewRead, Option<Digest>) {
    let read = NewRead {
        uuid: uuid.to_owned(),
        plate: plate(text),
        state: Some("CA".to_owned()),
        seen_at: now().plus(micros),
        camera: "101".to_owned(),
        lat: Some(34_600_000),
        lon: Some(-118_300_000),
        confidence: Some(90_125),
        direction: None,
        vehicle: Some(Vehicle { color: Some("red".to_owned()), ..Vehicle::default() }),
        image: None,
        agent: Some("AGENT".to_owned()),
    };
    (read, Some(Digest::of(uuid.as_bytes())))
}

fn bounds(plate: &Plate, from: i64, until: i64, limit: u32) -> SearchBounds<'_> {
    SearchBounds { plate, from: now().plus(from), until: now().plus(until), area: None, limit, images: true }
}

struct Opened {
    dir: tempfile::TempDir,
    db: ReadsDb,
    reader: Reader,
}

fn url(dir: &tempfile::TempDir) -> String {
    format!("sqlite:{}", dir.path().join("reads.db").display())
}

async fn with(reads: &[(NewRead, Option<Digest>)]) -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let db = ReadsDb::open(&url(&dir)).unwrap();
    assert_eq!(db.keep(reads, now()).await.unwrap().ids.iter().flatten().count(), reads.len());
    let reader = db.reader().unwrap();
    Opened { dir, db, reader }
}

fn micros(found: &[Read]) -> Vec<i64> {
    found.iter().map(|read| read.seen_at.since(now())).collect()
}

#[tokio::test]
async fn the_window_is_half_open_to_the_microsecond() {
    let mut store = with(&[seen("7ABC123", -1, "a"), seen("7ABC123", 0, "b"), seen("7ABC123", 1, "c")]).await;
    let plate = plate("7ABC123");
    for (from, until, expected) in [
        (-1, 2, vec![1, 0, -1]),
        (-1, 1, vec![0, -1]),
        (0, 1, vec![0]),
        (0, 0, vec![]),
        (1, -1, vec![]),
        (2, 100, vec![]),
    ] {
        let found = store.reader.search_exact(&bounds(&plate, from, until, 10)).unwrap();
        assert_eq!((micros(&found.rows), found.more), (expected, false), "{from}..{until}");
    }
}

#[tokio::test]
async fn newest_first_and_bounded() {
    let reads: Vec<_> = (0..7).map(|i| seen("7ABC123", i % 5, &format!("u{i}"))).collect();
    let mut store = with(&reads).await;
    let plate = plate("7ABC123");
    let all = store.reader.search_exact(&bounds(&plate, 0, 10, 7)).unwrap();
    assert_eq!((micros(&all.rows), all.more), (vec![4, 3, 2, 1, 1, 0, 0], false));
    for limit in 0..7 {
        let found = store.reader.search_exact(&bounds(&plate, 0, 10, limit)).unwrap();
        assert_eq!(found.rows, all.rows[..limit as usize], "equal times keep one order");
        assert!(found.more);
    }
}

#[tokio::test]
async fn only_the_exact_plate_although_the_key_is_shared() {
    let mut store = with(&[seen("8OB", 0, "same"), seen("B0B", 0, "same"), seen("9XYZ999", 0, "other")]).await;
    for text in ["8OB", "B0B"] {
        let found = store.reader.search_exact(&bounds(&plate(text), 0, 1, 10)).unwrap();
        assert_eq!(found.rows.iter().map(|r| r.plate.as_str()).collect::<Vec<_>>(), [text]);
    }
    assert_eq!(store.reader.search_exact(&bounds(&plate("80B"), 0, 1, 10)).unwrap().rows, []);
}

#[tokio::test]
async fn a_re_delivery_changes_nothing() {
    let mut store = with(&[seen("7ABC123", 0, "a")]).await;
    let plate = plate("7ABC123");
    let before = store.reader.search_exact(&bounds(&plate, 0, 1, 10)).unwrap();
    let mut again = seen("7ABC123", 0, "a");
    again.0.camera = "999".to_owned();
    let later = now().plus(5);
    let kept = store.db.keep(&[again.clone(), again, seen("7ABC123", 0, "b")], later).await.unwrap();
    assert_eq!(kept.ids.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
    let after = store.reader.search_exact(&bounds(&plate, 0, 1, 10)).unwrap();
    assert_eq!(after.rows[1..], before.rows, "the first delivery stands");
    assert_eq!(store.reader.count().unwrap(), 2);
}

#[tokio::test]
async fn what_a_lost_try_had_committed_is_new_and_not_repeated() {
    let Opened { db, .. } = with(&[seen("7ABC123", 0, "a")]).await;
    let rows: Vec<NewRow> = ["a", "b", "c"]
        .iter()
        .map(|uuid| {
            let (read, image) = seen("7ABC123", 0, uuid);
            NewRow::new(&read, image, now()).unwrap()
        })
        .collect();
    let new: HashSet<Vec<u8>> = rows[1..].iter().map(|row| row.id.clone()).collect();
    let mut writer = db.writer.lock().await;
    assert_eq!(writer.keep(&db.place, &rows, now(), Try::First).unwrap(), new);
    assert_eq!(writer.keep(&db.place, &rows, now(), Try::Again).unwrap(), new, "it is this batch that brought them");
    assert_eq!(writer.keep(&db.place, &rows, now(), Try::First).unwrap(), HashSet::new());
}

#[tokio::test]
async fn an_area_and_images_are_as_the_bounds_say() {
    let mut nowhere = seen("7ABC123", 1, "nowhere");
    (nowhere.0.lat, nowhere.0.lon) = (None, None);
    let mut store = with(&[seen("7ABC123", 0, "here"), nowhere]).await;
    let plate = plate("7ABC123");
    let ids: Vec<ReadId> = {
        let found = store.reader.search_exact(&bounds(&plate, 0, 9, 9)).unwrap();
        assert!(found.rows.iter().all(|read| read.image.is_some()));
        found.rows.iter().map(|read| read.id).collect()
    };
    let point = Area { south: 34_600_000, west: -118_300_000, north: 34_600_000, east: -118_300_000 };
    for (area, expected) in [(point, vec![0]), (Area { south: 34_600_001, north: 34_600_002, ..point }, vec![])] {
        let bounds = SearchBounds { area: Some(area), images: false, ..bounds(&plate, 0, 9, 9) };
        let found = store.reader.search_exact(&bounds).unwrap();
        assert_eq!(micros(&found.rows), expected);
        assert!(found.rows.iter().all(|read| read.image.is_none()));
        assert_eq!(store.reader.by_ids(&bounds, &ids).unwrap(), found.rows);
    }
}

#[tokio::test]
async fn the_same_answer_again_by_ids_and_only_within_the_bounds() {
    let reads: Vec<_> = (0..2500).map(|i| seen("7ABC123", i, &format!("u{i}"))).collect();
    let dir = tempfile::tempdir().unwrap();
    let db = ReadsDb::open(&url(&dir)).unwrap();
    for part in reads.chunks(500) {
        db.keep(part, now()).await.unwrap();
    }
    let mut reader = db.reader().unwrap();
    let asked = plate("7ABC123");
    let found = reader.search_exact(&bounds(&asked, 0, 9999, 9999)).unwrap();
    let mut ids: Vec<ReadId> = found.rows.iter().map(|read| read.id).collect();
    ids.reverse();
    assert_eq!(reader.by_ids(&bounds(&asked, 0, 9999, 9999), &ids).unwrap(), found.rows);
    assert_eq!(micros(&reader.by_ids(&bounds(&asked, 7, 9, 9999), &ids).unwrap()), [8, 7]);
    assert_eq!(reader.by_ids(&bounds(&asked, 0, 9999, 3), &ids).unwrap(), found.rows[..3]);
    assert_eq!(reader.by_ids(&bounds(&plate("7ABC124"), 0, 9999, 9999), &ids).unwrap(), []);
    assert_eq!(reader.by_ids(&bounds(&asked, 0, 9999, 9999), &[]).unwrap(), []);
}

#[tokio::test]
async fn searches_are_counted_and_nothing_else_is() {
    let mut store = with(&[seen("7ABC123", -3, "a"), seen("7ABC123", 4, "b")]).await;
    assert_eq!(store.reader.count().unwrap(), 2);
    assert_eq!(store.reader.oldest().unwrap(), Some(now().plus(-3)));
    assert_eq!(store.reader.newest().unwrap(), Some(now().plus(4)));
    assert_eq!(store.db.touches(), 0);
    let plate = plate("NONE");
    store.reader.search_exact(&bounds(&plate, 0, 1, 1)).unwrap();
    store.db.reader().unwrap().by_ids(&bounds(&plate, 0, 1, 1), &[]).unwrap();
    assert_eq!(store.db.touches(), 2);
}

#[tokio::test]
async fn rows_have_a_canonical_form() {
    let mut store = with(&[seen("7ABC123", 0, "a")]).await;
    let plate = plate("7ABC123");
    let row = store.reader.search_exact(&bounds(&plate, 0, 1, 1)).unwrap().rows.remove(0);
    let bytes = canonical(&row).unwrap();
    let expected = format!(
        "{{\"camera\":\"101\",\"confidence\":90125,\"direction\":null,\"id\":\"{}\",\"image\":\"{}\",\"lat\":34600000,\
         \"lon\":-118300000,\"plate\":\"7ABC123\",\"seen_at\":\"2026-11-23T20:00:00.000000Z\",\"state\":\"CA\",\
         \"vehicle\":{{\"body\":null,\"color\":\"red\",\"make\":null,\"model\":null,\"year\":null}}}}",
        row.id,
        Digest::of(b"a"),
    );
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    assert_eq!(agreements::json::parse::<Read>(&bytes).unwrap(), row);
}

#[tokio::test]
async fn a_reader_cannot_write_and_the_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut store = with(&[seen("7ABC123", 0, "a")]).await;
    let error = diesel::delete(read::table).execute(&mut store.reader.conn).unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    for file in std::fs::read_dir(store.dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn the_settings_of_the_file_are_the_safe_ones() {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }
    let store = with(&[]).await;
    let mut writer = store.db.writer.lock().await;
    for (pragma, expected) in [("journal_mode", "wal"), ("synchronous", "2"), ("secure_delete", "1")] {
        let query = format!("SELECT CAST({pragma} AS TEXT) AS value FROM pragma_{pragma}");
        let Some(Conn::Sqlite(conn)) = &mut writer.conn else { panic!("SQLite") };
        assert_eq!(diesel::sql_query(query).get_result::<Setting>(conn).unwrap().value, expected, "{pragma}");
    }
}

#[test]
fn opened_twice_it_is_the_same_and_a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(ReadsDb::open(&url(&dir)).unwrap());
    let db = ReadsDb::open(&url(&dir)).unwrap();
    diesel::sql_query("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')")
        .execute(db.writer.blocking_lock().conn.as_mut().unwrap())
        .unwrap();
    assert!(matches!(ReadsDb::open(&url(&dir)), Err(StoreError::NewerSchema(version)) if version == "9999"));
}

#[test]
fn two_openers_at_once_both_find_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..4).map(|_| scope.spawn(|| ReadsDb::open(&url(&dir)).map(|_| ()))).collect();
        for opener in openers {
            opener.join().unwrap().unwrap();
        }
    });
}

#[test]
fn addresses_that_name_no_database_are_refused() {
    for url in ["", "reads.db", "sqlite:", "sqlite::memory:", "sqlite:file::memory:?cache=shared", "mysql://x"] {
        assert!(matches!(ReadsDb::open(url), Err(StoreError::Url)), "{url}");
    }
    assert!(matches!(ReadsDb::open("sqlite:/nowhere/at/all.db"), Err(StoreError::File(..))));
}
