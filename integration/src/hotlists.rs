//! What people and nodes do with hotlists.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agreements::ids::RequestId;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::hotlists::layout::Layout;
use concordat::hotlists::load::{self, Load, LoadError, Loaded, Watcher};
use concordat::hotlists::people::{self, HotlistError, Lists, Looked, Seen};
use concordat::hotlists::pulling::{PullError, Pulled};
use concordat::hotlists::refresh;
use concordat::hotlists::shared::Held;
use concordat::registry::hits::{self, HitStatus};

use crate::federation::start;
use crate::node::TestNode;

/// A text in every entry of [`TestNode::lists`] that nothing else has.
pub const CONTACT: &str = "(555) 010-0177";

impl TestNode {
    /// A folder of this test that is not the node's.
    fn outside(&self) -> PathBuf {
        let folder = self.settings().keys.folder.parent().unwrap().with_extension("sources");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Loads a list of these plates, stolen vehicles of California, as the agency's own CSV.
    pub async fn lists(&self, list: &str, plates: &[&str]) -> Loaded {
        let entries: Vec<(&str, &str)> = plates.iter().map(|plate| (*plate, "stolen_vehicle")).collect();
        self.lists_of(list, &entries).await
    }

    /// The same with a category for each.
    pub async fn lists_of(&self, list: &str, entries: &[(&str, &str)]) -> Loaded {
        let expires = start().plus(60 * Instant::DAY);
        let mut text = "plate,state,category,reason,case_number,entered_by,contact,expires_at\n".to_owned();
        let rest = format!("Taken from a driveway on Elm Street,2026-118901,det204,{CONTACT},{expires}");
        text.extend(entries.iter().map(|(plate, category)| format!("{plate},CA,{category},{rest}\n")));
        let path = self.outside().join("own.csv");
        std::fs::write(&path, text).unwrap();
        self.loads(&path, list, |_| {}).await.unwrap()
    }

    /// Loads a source, as the administrator does whom a supervisor approves.
    pub async fn loads(&self, path: &Path, list: &str, change: impl FnOnce(&mut Load)) -> Result<Loaded, LoadError> {
        let mut load = Load {
            path: path.to_owned(),
            list: list.to_owned(),
            layout: None::<Layout>,
            by: self.fiction.person("admin"),
            approved_by: Some(self.fiction.person("supervisor")),
            report: self.outside().join("rejected.jsonl"),
            dry_run: false,
            accept_shrink: false,
            accept_date: false,
            max_age: 72 * Instant::HOUR,
        };
        change(&mut load);
        let watcher = Watcher { progress: Box::new(|_| {}), stop: Arc::default() };
        load::load(self.node().registry(), load, watcher).await
    }

    /// Writes a source that belongs to no node's folder.
    pub fn source(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.outside().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The supervisor accepts a partner's list.
    pub async fn accepts(&self, owner: &Self, list: &str) {
        people::accept(self.node().registry(), owner.ori(), list, &self.fiction.person("supervisor")).await.unwrap();
    }

    /// And no longer does.
    pub async fn withdraws(&self, owner: &Self, list: &str) -> Result<(), HotlistError> {
        let by = self.fiction.person("supervisor");
        people::withdraw(self.node().registry(), self.node().shared_lists(), owner.ori(), list, &by).await
    }

    /// Pulls the one list that it accepted, at once.
    pub async fn pulls(&self) -> Result<Pulled, PullError> {
        let mut refreshed = refresh::refresh(self.node(), None).await.unwrap();
        assert_eq!(refreshed.len(), 1, "one list is accepted");
        refreshed.remove(0).came
    }

    /// What is held of a partner's list.
    pub fn held(&self, owner: &Self, list: &str) -> Option<Held> {
        let held = self.known_lists().held;
        held.into_iter().find(|held| held.owner == owner.ori() && held.list == list)
    }

    pub fn known_lists(&self) -> Lists {
        people::lists(self.node().registry(), self.node().shared_lists()).unwrap()
    }

    /// The hits of a plate, newest first, as they are kept.
    pub fn hits(&self, plate: &str) -> Vec<Seen> {
        let kept = hits::newest(&mut self.conn(), None, 1000).unwrap();
        let of_plate = kept.into_iter().filter(|hit| hit.plate.as_str() == plate);
        of_plate.map(|hit| Seen { hit, entry: None }).collect()
    }

    /// The hits of a plate as the person with this role is shown them.
    pub async fn shows_hits(&self, plate: &str, role: &str) -> Result<Vec<Seen>, HotlistError> {
        let (db, shared) = (self.node().registry(), self.node().shared_lists());
        let seen = people::hits(db, shared, self.ori(), None, &self.fiction.person(role)).await?;
        Ok(seen.into_iter().filter(|seen| seen.hit.plate.as_str() == plate).collect())
    }

    pub async fn verifies(&self, hit: RequestId, verdict: HitStatus, looked: Looked) -> Result<(), HotlistError> {
        let by = self.fiction.person("investigator");
        let (db, shared) = (self.node().registry(), self.node().shared_lists());
        people::verify(db, shared, self.ori(), hit, verdict, looked, &by).await.map(drop)
    }

    /// Sees a vehicle now.
    pub async fn sees(&self, plate: &str) {
        self.ingests(plate, self.clock.now()).await;
    }

    /// The files of this node's folder in whose raw bytes a text stands.
    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.registry_file().parent().unwrap().to_owned()];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // A log that was emptied meanwhile may be gone.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// Waits until something is so, as the running nodes bring it about by themselves.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within ten seconds: {what}");
}
