use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use agreements::ids::Digest;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::*;
use crate::clock::SetClock;
use crate::demo::generator::{Agency, lines, shared_plates};
use crate::reads::images::Images;
use crate::reads::keep::Keeper;
use crate::reads::source::JsonLines;
use crate::reads::store::{ReadsDb, SearchBounds, Watch};

const SAMPLES: &str = include_str!("../../../tests/fixtures/alder.alpr_group.jsonl");

struct Station {
    dir: tempfile::TempDir,
    db: Arc<ReadsDb>,
    images: Images,
    clock: SetClock,
    options: Options,
    stop: AtomicBool,
}

impl Station {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::reporting_to(dir.path().join("rejected"));
        Self {
            db: Arc::new(ReadsDb::open(&format!("sqlite:{}", dir.path().join("reads.db").display())).unwrap()),
            images: Images::in_folder(&dir.path().join("images")).unwrap(),
            clock: SetClock::at("2026-11-23T20:00:00Z".parse().unwrap()),
            options,
            stop: AtomicBool::new(false),
            dir,
        }
    }

    async fn take_watched(&self, source: &[u8], progress: &mut dyn FnMut(Progress)) -> Result<Summary, IngestError> {
        self.take_from(BufReader::new(source), progress).await
    }

    async fn take_from(
        &self,
        reader: impl io::BufRead + Send,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary, IngestError> {
        let keeper =
            Keeper { reads: Arc::clone(&self.db), images: self.images.clone(), clock: Arc::new(self.clock.clone()) };
        let mut source = JsonLines::new(reader, &self.options);
        ingest(&mut source, &keeper, &self.options, &self.clock, progress, &self.stop).await
    }

    async fn take(&self, source: &[u8]) -> Result<Summary, IngestError> {
        self.take_watched(source, &mut |_| {}).await
    }

    fn count(&self) -> u64 {
        self.db.reader().unwrap().count().unwrap()
    }

    fn report(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.options.report).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn generated(count: usize) -> String {
    let agency = Agency::scattered("ALDER", 101, 3, 7);
    let until = "2026-11-23T20:00:00Z".parse().unwrap();
    lines(&agency, 7, count, until).map(|line| line.unwrap() + "\n").collect()
}

#[tokio::test]
async fn samples_are_kept_with_their_images_and_again_is_harmless() {
    let station = Station::new();
    let first = station.take(SAMPLES.as_bytes()).await.unwrap();
    assert_eq!((first.lines, first.kept, first.repeated, first.rejected, first.images), (3, 3, 0, 0, 3));
    assert_eq!(first.first_seen, Some(Instant::from_micros(1_795_046_455_028_000)));
    assert!(first.last_seen > first.first_seen);
    assert_eq!(first.report, None);
    assert!(!station.options.report.exists());
    let again = station.take(SAMPLES.as_bytes()).await.unwrap();
    assert_eq!((again.kept, again.repeated, again.images), (0, 3, 3));
    assert_eq!(station.count(), 3);
}

/// Hears of reads, and fails from the second batch on.
#[derive(Default)]
struct Deaf(std::sync::atomic::AtomicU64);

impl Watch for Deaf {
    fn kept<'a>(&'a self, _: &'a [(NewRead, Option<Digest>)]) -> BoxFuture<'a, Result<(), String>> {
        let before = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(if before == 0 { Ok(()) } else { Err("deaf".to_owned()) }))
    }
}

#[tokio::test]
async fn what_is_kept_and_not_matched_is_counted_as_kept() {
    let mut station = Station::new();
    station.options.batch = 2;
    let url = format!("sqlite:{}", station.dir.path().join("reads.db").display());
    station.db = Arc::new(ReadsDb::open(&url).unwrap().watched_by(Arc::new(Deaf::default())));
    let mut last = Progress::default();
    let taken = station.take_watched(generated(9).as_bytes(), &mut |progress| last = progress).await;
    assert!(matches!(taken, Err(IngestError::Store(StoreError::Watch(why))) if why == "deaf"));
    assert_eq!((last.lines, last.kept, last.repeated, station.count()), (4, 4, 0, 4), "and nothing after it is taken");
}

#[tokio::test]
async fn what_was_generated_is_found_with_its_image() {
    let station = Station::new();
    let summary = station.take(generated(120).as_bytes()).await.unwrap();
    assert_eq!((summary.kept, summary.rejected, summary.images), (120, 0, 120));
    let plate = shared_plates(7).remove(0);
    let bounds = SearchBounds {
        plate: &plate,
        from: Instant::from_micros(0),
        until: station.clock.now(),
        area: None,
        limit: 10,
        images: true,
    };
    let found = station.db.reader().unwrap().search_exact(&bounds).unwrap();
    let image = found.rows.first().and_then(|read| read.image).unwrap();
    assert!(station.images.read(image).await.unwrap().starts_with(&[0xff, 0xd8]));
}

#[tokio::test]
async fn rejects_name_their_line_and_keep_the_rest() {
    let mut station = Station::new();
    station.options.line_limit = 8000;
    station.options.batch = 2;
    let good: Vec<&str> = SAMPLES.lines().collect();
    let mut bad_plate: Value = serde_json::from_str(good[0]).unwrap();
    bad_plate["best_plate_number"] = json!("SECRET*");
    let source = [
        b"\xef\xbb\xbf".as_slice(),
        good[0].as_bytes(),
        b"\r\n",
        bad_plate.to_string().as_bytes(),
        b"\n\n", // and a blank line, the third
        b"{\"data_type\":\"heartbeat\"}\n",
        b"\xff\xfe\n",
        "x".repeat(9000).as_bytes(),
        b"\n",
        good[1].as_bytes(),
        b"\n{\"SECRET\n",
        good[2].as_bytes(), // without a line end
    ]
    .concat();
    let summary = station.take(&source).await.unwrap();
    assert_eq!((summary.lines, summary.kept, summary.heartbeats, summary.rejected), (9, 3, 1, 4));
    assert_eq!(summary.report.as_deref(), Some(station.options.report.as_path()));
    let report = station.report();
    let field = |name: &str| -> Vec<Value> { report.iter().map(|entry| entry[name].clone()).collect() };
    assert_eq!(field("line"), [2, 5, 6, 8]);
    assert_eq!(field("bytes"), [bad_plate.to_string().len(), 2, 9000, 8]);
    let reasons = field("reason");
    for (reason, says) in reasons.iter().zip(["best_plate_number", "UTF-8", "longer than 8000", "not JSON"]) {
        assert!(reason.as_str().unwrap().contains(says), "{reason}");
    }
    assert!(!std::fs::read_to_string(&station.options.report).unwrap().contains("SECRET"));
}

#[tokio::test]
async fn a_frame_with_more_plates_than_a_batch_is_kept_whole() {
    let mut station = Station::new();
    station.options.batch = 3;
    let plates: Vec<Value> = (0..10).map(|i| json!({"plate": format!("PLATE{i}"), "confidence": 50})).collect();
    let frame = json!({"data_type": "alpr_results", "epoch_time": 1_795_046_455_928_i64, "uuid": "AG-1-1795046455928",
        "results": plates});
    let summary = station.take(frame.to_string().as_bytes()).await.unwrap();
    assert_eq!((summary.lines, summary.kept, summary.images), (1, 10, 0));
}

#[tokio::test]
async fn told_to_stop_it_keeps_what_it_took_and_goes_on_later() {
    let mut station = Station::new();
    station.options.batch = 10;
    let source = generated(55);
    let mut acknowledged = 0;
    let summary = station
        .take_watched(source.as_bytes(), &mut |progress| {
            acknowledged = progress.kept;
            station.stop.store(progress.kept >= 20, Ordering::SeqCst);
        })
        .await
        .unwrap();
    assert!(summary.stopped);
    assert_eq!((summary.kept, acknowledged, station.count()), (20, 20, 20));
    station.stop.store(false, Ordering::SeqCst);
    let rest = station.take(source.as_bytes()).await.unwrap();
    assert_eq!((rest.kept, rest.repeated, rest.stopped, station.count()), (35, 20, false, 55));
}

#[tokio::test]
async fn a_source_that_breaks_loses_nothing_acknowledged() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let mut station = Station::new();
    station.options.batch = 10;
    let source = generated(25);
    let reader = BufReader::new(source.as_bytes().chain(Broken));
    let mut acknowledged = 0;
    let mut progress = |progress: Progress| acknowledged = progress.kept;
    let run = station.take_from(reader, &mut progress);
    assert!(matches!(run.await, Err(IngestError::Source { line: 25, .. })));
    assert_eq!((acknowledged, station.count()), (20, 20));
}

#[tokio::test]
async fn an_image_that_cannot_be_stored_ends_the_run_before_its_row() {
    let station = Station::new();
    let images = station.dir.path().join("images");
    std::fs::remove_dir(&images).unwrap();
    std::fs::write(&images, b"a file where the folder was").unwrap();
    let run = station.take(SAMPLES.as_bytes()).await;
    assert!(matches!(run, Err(IngestError::Image { line: 3, .. })), "{run:?}");
    assert_eq!(station.count(), 0);
    assert!(!Path::new(&station.options.report).exists());
}

#[tokio::test]
async fn a_report_that_cannot_be_written_ends_the_run() {
    let mut station = Station::new();
    station.options.report = station.dir.path().join("missing/rejected");
    assert!(matches!(station.take(b"x\n").await, Err(IngestError::Report { .. })));
}
