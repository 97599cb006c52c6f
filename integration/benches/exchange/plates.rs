//! The read store that is asked: so many reads, eight of each plate, all within the days that questions ask for.

use agreements::ids::ReadId;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use integration::TestNode;

/// How many reads of one plate there are.
const OF_EACH: u32 = 8;
/// How many rows one statement inserts.
const CHUNK: u32 = 2000;

diesel::table! {
    read (plate_key, seen_at, uuid, plate) {
        plate_key -> Text,
        seen_at -> BigInt,
        uuid -> Text,
        plate -> Text,
        id -> Binary,
        state -> Nullable<Text>,
        camera -> Text,
        lat -> Nullable<Integer>,
        lon -> Nullable<Integer>,
        confidence -> Nullable<Integer>,
        direction -> Nullable<Integer>,
        vehicle -> Nullable<Text>,
        image -> Nullable<Binary>,
        source -> Nullable<Text>,
        ingested_at -> BigInt,
    }
}

/// Plates of seven digits, which fold to themselves.
pub struct Plates(u32);

impl Plates {
    /// Those of so many reads.
    pub fn of(reads: u32) -> Self {
        Self((reads / OF_EACH).max(1))
    }

    pub fn count(&self) -> u32 {
        self.0
    }

    /// So many plates at random, the same ones each time.
    pub fn draw(&self, count: usize) -> impl Iterator<Item = String> + use<> {
        let (mut random, plates) = (fastrand::Rng::with_seed(7), self.0);
        (0..count).map(move |_| format!("{:07}", random.u32(..plates)))
    }

    /// Writes the reads past the product's ingest, which is not what is measured here.
    pub fn fill(&self, owner: &TestNode, reads: u32) {
        let url = owner.settings().store.reads.to_string();
        let mut conn = SqliteConnection::establish(url.strip_prefix("sqlite:").unwrap()).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
        let now = owner.clock.now();
        for first in (0..reads).step_by(CHUNK as usize) {
            let rows: Vec<_> = (first..reads.min(first + CHUNK)).map(|n| self.row(n, now)).collect();
            diesel::insert_into(read::table).values(rows).execute(&mut conn).unwrap();
        }
        conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }

    fn row(&self, n: u32, now: Instant) -> Row {
        let plate = format!("{:07}", n % self.0);
        // Spread over six of the seven days, each read of a plate at a time of its own.
        let seen_at = now.plus(-(i64::from(n) + 1) * (6 * Instant::DAY / 10_000_000));
        let camera = n % 366;
        let mut random = [0; 10];
        random[..4].copy_from_slice(&n.to_be_bytes());
        Row {
            plate_key: plate.clone(),
            seen_at: seen_at.micros(),
            uuid: format!("agent-{camera}-{n}"),
            plate,
            id: ReadId::new(now, random).as_bytes().to_vec(),
            state: "CA",
            camera: camera.to_string(),
            lat: 37_000_000 + i32::try_from(camera).unwrap(),
            lon: -121_000_000,
            confidence: 91_500,
            direction: 18_000,
            vehicle: r#"{"color":"silver-gray","make":"honda","model":"honda_civic","body":"sedan-compact","year":"2010-2014"}"#,
            image: vec![7; 32],
            source: "agent",
            ingested_at: now.micros(),
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = read, treat_none_as_default_value = false)]
struct Row {
    plate_key: String,
    seen_at: i64,
    uuid: String,
    plate: String,
    id: Vec<u8>,
    state: &'static str,
    camera: String,
    lat: i32,
    lon: i32,
    confidence: i32,
    direction: i32,
    vehicle: &'static str,
    image: Vec<u8>,
    source: &'static str,
    ingested_at: i64,
}
