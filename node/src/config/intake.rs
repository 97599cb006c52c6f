//! How reads come in: limits, layouts of CSV files, watched folders, the door for readers' agents.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Delimiter, SeenFormat, SourceName, TimeZoneName, blank};

/// `[ingest]`: limits on what is ingested, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingest {
    /// The longest line of input, bytes (it carries the images in base64).
    pub max_line_bytes: NonZeroUsize,
    /// The largest image, bytes.
    pub max_image_bytes: NonZeroUsize,
    /// The door for readers' agents.
    pub webhook: Webhook,
    /// Layouts of CSV files, by the name of their source.
    pub csv: BTreeMap<SourceName, Csv>,
    /// Folders that a running node takes files from, by name.
    pub folder: BTreeMap<SourceName, Folder>,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            max_line_bytes: NonZeroUsize::MIN.saturating_add((8 << 20) - 1),
            max_image_bytes: NonZeroUsize::MIN.saturating_add((2 << 20) - 1),
            webhook: Webhook::default(),
            csv: BTreeMap::new(),
            folder: BTreeMap::new(),
        }
    }
}

impl Ingest {
    /// The path of a key whose value does not go together with another's, and what to do.
    pub(super) fn contradiction(&self) -> Option<(Vec<String>, &'static str)> {
        let path = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        for (name, csv) in &self.csv {
            let own = ["ingest", "csv", name.as_str()];
            if csv.time_zone.is_none() && csv.seen_at_format.as_ref().is_some_and(|format| !format.has_zone()) {
                let what = "name the zone of the times, because seen_at_format has no %z";
                return Some((path(&[&own[..], &["time_zone"]].concat()), what));
            }
            if let Some(what) = csv.columns.contradiction() {
                return Some((path(&[&own[..], &["columns"]].concat()), what));
            }
        }
        for (name, folder) in &self.folder {
            if folder.csv.as_ref().is_some_and(|csv| !self.csv.contains_key(csv)) {
                let what = "there is no section of this name in [ingest.csv]";
                return Some((path(&["ingest", "folder", name.as_str(), "csv"]), what));
            }
        }
        let bare = !self.webhook.tls && self.webhook.listen.is_some_and(|listen| !listen.ip().is_loopback());
        bare.then(|| {
            let what = "tokens and reads go over the network only with TLS: write true, or let it listen on loopback";
            (path(&["ingest", "webhook", "tls"]), what)
        })
    }
}

/// `[ingest.csv.NAME]`: how one vendor writes its CSV files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Csv {
    /// What parts the columns.
    pub delimiter: Delimiter,
    /// How times are written; when absent, RFC 3339 or milliseconds since 1970.
    #[serde(with = "blank")]
    pub seen_at_format: Option<SeenFormat>,
    /// The zone of times that are written without one.
    #[serde(with = "blank")]
    pub time_zone: Option<TimeZoneName>,
    /// What the columns are called.
    pub columns: Columns,
}

/// `[ingest.csv.NAME.columns]`: the vendor's name of each column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Columns {
    /// The plate.
    pub plate: String,
    /// When the vehicle was seen.
    pub seen_at: String,
    /// The camera.
    pub camera: String,
    /// The issuing state, two letters.
    pub state: String,
    /// Latitude, degrees.
    pub lat: String,
    /// Longitude, degrees.
    pub lon: String,
    /// Confidence, percent.
    pub confidence: String,
    /// Direction of travel, degrees clockwise from north.
    pub direction: String,
    /// The image's file.
    pub image_path: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            plate: "plate".to_owned(),
            seen_at: "seen_at".to_owned(),
            camera: "camera".to_owned(),
            state: "state".to_owned(),
            lat: "lat".to_owned(),
            lon: "lon".to_owned(),
            confidence: "confidence".to_owned(),
            direction: "direction".to_owned(),
            image_path: "image_path".to_owned(),
        }
    }
}

impl Columns {
    /// Each column's own name, the three that must be there first, with what it is called in a file.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &str); 9] {
        [
            ("plate", &self.plate),
            ("seen_at", &self.seen_at),
            ("camera", &self.camera),
            ("state", &self.state),
            ("lat", &self.lat),
            ("lon", &self.lon),
            ("confidence", &self.confidence),
            ("direction", &self.direction),
            ("image_path", &self.image_path),
        ]
    }

    fn contradiction(&self) -> Option<&'static str> {
        let mut names: Vec<String> = self.named().map(|(_, name)| name.trim().to_lowercase()).to_vec();
        names.sort_unstable();
        if names.iter().any(String::is_empty) {
            return Some("a column's name must not be blank; delete the key if there is no such column");
        }
        names.dedup();
        (names.len() < self.named().len()).then_some("one column's name stands twice")
    }
}

/// `[ingest.folder.NAME]`: a folder that a running node takes files from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// The layout of its CSV files, one of `[ingest.csv]`; the plain one when absent.
    #[serde(default, with = "blank")]
    pub csv: Option<SourceName>,
    /// A file is whole once it stood still for so long, seconds.
    #[serde(default = "Folder::default_settle_seconds")]
    pub settle_seconds: NonZeroU32,
}

impl Folder {
    /// A folder of plain files.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, csv: None, settle_seconds: Self::default_settle_seconds() }
    }

    const fn default_settle_seconds() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(4)
    }
}

/// `[ingest.webhook]`: the door for readers' agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhook {
    /// Where it listens; when absent, there is no such door.
    #[serde(with = "blank")]
    pub listen: Option<SocketAddr>,
    /// Whether it speaks TLS, with the node's certificate. Without it, on loopback only.
    pub tls: bool,
    /// The longest body, bytes, also after decompression.
    pub max_body_bytes: NonZeroUsize,
    /// How many bodies may wait to be kept.
    pub queue: NonZeroUsize,
    /// How many bytes of bodies may be in memory.
    pub max_waiting_bytes: NonZeroUsize,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            listen: None,
            tls: true,
            max_body_bytes: NonZeroUsize::MIN.saturating_add((4 << 20) - 1),
            queue: NonZeroUsize::MIN.saturating_add(255),
            max_waiting_bytes: NonZeroUsize::MIN.saturating_add((128 << 20) - 1),
        }
    }
}
