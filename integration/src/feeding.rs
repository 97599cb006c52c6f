//! Reads of a test's node: as a reader sends them, and what is in the store.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use agreements::time::Instant;
use concordat::demo::generator;
use concordat::intake::{Door, Stores};
use concordat::reads::ingest::{Options, Summary, ingest};
use concordat::reads::source::JsonLines;
use concordat::reads::store::Reader;
use serde_json::Value;

use crate::node::TestNode;

impl TestNode {
    /// Brings in one read, as a reader sends it: a line in the Rekor layout, through the product's own ingest.
    pub async fn ingests(&self, plate: &str, seen_at: Instant) {
        let summary = self.delivers(plate, seen_at).await;
        assert_eq!((summary.kept, summary.rejected), (1, 0), "{summary:?}");
    }

    /// Brings in a read that is there already.
    pub async fn delivers_again(&self, plate: &str, seen_at: Instant) {
        let summary = self.delivers(plate, seen_at).await;
        assert_eq!((summary.kept, summary.repeated), (0, 1), "{summary:?}");
    }

    async fn delivers(&self, plate: &str, seen_at: Instant) -> Summary {
        let line = rekor(plate, seen_at);
        let door = Door::new(self.node().registry(), Stores::of(self.node()).unwrap());
        let options = Options::reporting_to(self.settings().store.images.with_file_name("rejects.jsonl"));
        let mut source = JsonLines::new(line.as_bytes(), &options);
        let go_on = AtomicBool::new(false);
        ingest(&mut source, &door, &options, &self.clock, &mut |_| {}, &go_on).await.unwrap()
    }

    /// How many reads the store has.
    pub fn reads(&self) -> u64 {
        self.node().desk().reads(Reader::count).unwrap()
    }

    /// The read store's file.
    pub fn reads_file(&self) -> PathBuf {
        let url = self.settings().store.reads.to_string();
        PathBuf::from(url.strip_prefix("sqlite:").unwrap())
    }
}

/// One `alpr_group` line for a plate and a time: a generated one, with these two put in.
pub fn rekor(plate: &str, seen_at: Instant) -> String {
    let agency = generator::Agency::scattered("agent", 1, 1, 7);
    let line = generator::lines(&agency, 7, 1, seen_at).next().unwrap().unwrap();
    let mut line: Value = serde_json::from_str(&line).unwrap();
    let ms = seen_at.micros() / 1000;
    let uuid = format!("agent-1-{ms}");
    line["epoch_start"] = ms.into();
    line["epoch_end"] = (ms + 400).into();
    line["uuids"] = serde_json::json!([uuid]);
    line["best_uuid"] = uuid.into();
    line["best_plate_number"] = plate.into();
    line["best_plate"]["plate"] = plate.into();
    line["candidates"] = serde_json::json!([{"plate": plate, "confidence": 91.5, "matches_template": 1}]);
    line["best_plate"]["candidates"] = line["candidates"].clone();
    format!("{line}\n")
}
