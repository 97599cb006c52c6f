//! How the node runs: its stores, keys, doors, logs and limits.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use agreements::decide::Sensitive;
use agreements::purpose::Purpose;
use serde::{Deserialize, Deserializer, Serialize};

use super::values::{DatabaseUrl, HttpsUrl, LoopbackAddr};

/// `[store]`: where the agency's data is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// Agreements, people and the trail.
    pub registry: DatabaseUrl,
    /// Plate reads and the index of images.
    pub reads: DatabaseUrl,
    /// The folder of images.
    pub images: PathBuf,
    /// The folder of texts that agreements name by their hash.
    pub documents: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            registry: DatabaseUrl::Sqlite("registry.db".into()),
            reads: DatabaseUrl::Sqlite("reads.db".into()),
            images: "images".into(),
            documents: "documents".into(),
        }
    }
}

/// `[keys]`: where the node's keys are. The file names in the folder are fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The folder; its key files must be readable by their owner alone.
    #[serde(default = "Keys::default_folder")]
    pub folder: PathBuf,
    /// The origin line of the trail's checkpoints (c2sp.org/tlog-checkpoint). It never changes while the trail lives.
    #[serde(deserialize_with = "origin")]
    pub log_origin: String,
}

impl Keys {
    pub(super) fn new(log_origin: String) -> Self {
        Self { folder: Self::default_folder(), log_origin }
    }

    fn default_folder() -> PathBuf {
        "keys".into()
    }

    /// The TLS certificate and its chain, PEM.
    #[must_use]
    pub fn tls_cert(&self) -> PathBuf {
        self.folder.join("tls.pem")
    }

    /// The TLS certificate's private key.
    #[must_use]
    pub fn tls_key(&self) -> PathBuf {
        self.folder.join("tls.key")
    }

    /// The seal certificate (P-256), PEM.
    #[must_use]
    pub fn seal_cert(&self) -> PathBuf {
        self.folder.join("seal.pem")
    }

    /// The seal's private key, which signs documents.
    #[must_use]
    pub fn seal_key(&self) -> PathBuf {
        self.folder.join("seal.key")
    }

    /// The identity key (Ed25519), which vouches for the others; kept offline once the node is enrolled.
    #[must_use]
    pub fn identity_key(&self) -> PathBuf {
        self.folder.join("identity.key")
    }

    /// The identity key's public half, which stays when the key goes offline.
    #[must_use]
    pub fn identity_public(&self) -> PathBuf {
        self.folder.join("identity.pub")
    }

    /// Where a file of this name lies that is to take the place of the one in use.
    #[must_use]
    pub fn next(&self, name: &str) -> PathBuf {
        self.next_folder().join(name)
    }

    /// Where new keys lie until they are in use.
    #[must_use]
    pub fn next_folder(&self) -> PathBuf {
        self.folder.join("next")
    }

    /// The log key (Ed25519), which signs the trail's head.
    #[must_use]
    pub fn log_key(&self) -> PathBuf {
        self.folder.join("log.key")
    }

    /// The witness key (Ed25519), which cosigns partners' heads.
    #[must_use]
    pub fn witness_key(&self) -> PathBuf {
        self.folder.join("witness.key")
    }
}

/// A key name of c2sp.org/signed-note; printable, because it is a line of a text that people read.
fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '+') {
        return Ok(text);
    }
    Err(serde::de::Error::custom(
        "an origin is printable ASCII without spaces or `+`, such as alpr.example.gov/CA0190000",
    ))
}

/// `[peer]`: the door for partners (mutual TLS), and how this node dials them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it listens.
    #[serde(default = "Peer::default_listen")]
    pub listen: SocketAddr,
    /// What partners dial.
    pub url: HttpsUrl,
    /// The CAs whose node certificates are accepted, PEM files.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// Those CAs' revocation lists, PEM files.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
    /// The longest body that is read, bytes.
    #[serde(default = "Peer::default_max_body_bytes")]
    pub max_body_bytes: NonZeroUsize,
    /// Requests per second from one partner, before a body is read.
    #[serde(default = "Peer::default_rate_per_second")]
    pub rate_per_second: NonZeroU32,
    /// Requests of one partner that may be in work at once.
    #[serde(default = "Peer::default_in_flight")]
    pub in_flight: NonZeroU32,
    /// How long one partner may take to answer this node, milliseconds.
    #[serde(default = "Peer::default_deadline_ms")]
    pub deadline_ms: NonZeroU64,
    /// Addresses of hosts that DNS does not know: host name to address.
    #[serde(default)]
    pub hosts: BTreeMap<String, SocketAddr>,
}

impl Peer {
    pub(super) fn new(url: HttpsUrl) -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, url.port()).into(),
            url,
            ca: Vec::new(),
            crl: Vec::new(),
            max_body_bytes: Self::default_max_body_bytes(),
            rate_per_second: Self::default_rate_per_second(),
            in_flight: Self::default_in_flight(),
            deadline_ms: Self::default_deadline_ms(),
            hosts: BTreeMap::new(),
        }
    }

    fn default_listen() -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, 7443).into()
    }

    const fn default_max_body_bytes() -> NonZeroUsize {
        NonZeroUsize::MIN.saturating_add((1 << 20) - 1)
    }

    const fn default_rate_per_second() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(19)
    }

    const fn default_in_flight() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(7)
    }

    const fn default_deadline_ms() -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(9_999)
    }
}

/// `[console]`: the door for the agency's own people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Console {
    /// Where it listens.
    pub listen: SocketAddr,
}

impl Default for Console {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 7480).into() }
    }
}

/// `[ops]`: the door for the machine's operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ops {
    /// Where it listens; nowhere but on loopback.
    pub listen: LoopbackAddr,
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: LoopbackAddr::with_port(7481) }
    }
}

/// `[log]`: logs, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// How much Concordat's own code says.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Human,
    /// A JSON object.
    Json,
}

/// The least important line that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may become one.
    Warn,
    /// And what a person on duty wants to know.
    #[default]
    Info,
    /// And what finds a fault.
    Debug,
    /// And everything.
    Trace,
}

/// `[hotlists]`: loading, refreshing and matching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hotlists {
    /// In how many characters a read may differ from an entry: 0, 1 or 2.
    #[serde(deserialize_with = "substitutions")]
    pub substitutions: u32,
    /// How old the source of an own list may be, hours.
    pub max_source_age_hours: NonZeroU32,
    /// How often partners are asked whether an accepted list moved, seconds.
    pub look_seconds: NonZeroU32,
    /// How old an assertion gets before it is renewed, minutes.
    #[serde(deserialize_with = "within_the_lease")]
    pub refresh_minutes: NonZeroU32,
    /// From which age on a read that matches is called late, minutes.
    pub late_after_minutes: NonZeroU32,
}

impl Default for Hotlists {
    fn default() -> Self {
        Self {
            substitutions: 1,
            max_source_age_hours: NonZeroU32::MIN.saturating_add(71),
            look_seconds: NonZeroU32::MIN.saturating_add(29),
            refresh_minutes: NonZeroU32::MIN.saturating_add(239),
            late_after_minutes: NonZeroU32::MIN.saturating_add(14),
        }
    }
}

fn substitutions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    if count <= 2 {
        Ok(count)
    } else {
        Err(serde::de::Error::custom("a read differs in 0, 1 or 2 characters, never more"))
    }
}

/// A list that is renewed once in half its lease survives a partner that is down for the other half.
fn within_the_lease<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let minutes = NonZeroU32::deserialize(deserializer)?;
    if minutes.get() <= 720 {
        Ok(minutes)
    } else {
        Err(serde::de::Error::custom("a hotlist lives 24 hours: renew it at least every 720 minutes"))
    }
}

/// `[rules]`: the owner's own limits, whatever an agreement grants. Quotas are the agreement's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The purposes for which a partner may query at all.
    pub purposes: Vec<Purpose>,
    /// How far back a query may look, days.
    pub max_lookback_days: NonZeroU32,
    /// How many reads one answer may hold.
    pub max_rows: NonZeroU32,
    /// Queries per minute from one partner.
    pub rate_per_minute: NonZeroU32,
    /// What happens to a query with a sensitive term.
    pub sensitive: Sensitive,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            purposes: Purpose::ALL.to_vec(),
            max_lookback_days: NonZeroU32::MIN.saturating_add(29),
            max_rows: NonZeroU32::MIN.saturating_add(199),
            rate_per_minute: NonZeroU32::MIN.saturating_add(59),
            sensitive: Sensitive::Refer,
        }
    }
}
