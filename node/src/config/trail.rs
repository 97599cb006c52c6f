//! `[trail]`: who witnesses this agency's trail.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use agreements::time::Instant;
use serde::{Deserialize, Serialize};

use super::values::blank;

/// `[trail]`: who witnesses this agency's trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trail {
    /// The federation's witness policy (c2sp.org/tlog-policy). Without one partners witness each other.
    #[serde(with = "blank")]
    pub witness_policy: Option<String>,
    /// CAs of witnesses that are no partners, PEM files. Without one those that this machine trusts.
    pub witness_ca: Vec<PathBuf>,
    /// For how long nothing may be disclosed any more once no quorum cosigned the trail's head, hours.
    pub max_unwitnessed_hours: NonZeroU32,
}

impl Default for Trail {
    fn default() -> Self {
        Self { witness_policy: None, witness_ca: Vec::new(), max_unwitnessed_hours: NonZeroU32::MIN.saturating_add(23) }
    }
}

impl Trail {
    /// Makes paths absolute.
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.witness_policy = self.witness_policy.take().map(|path| folder.join(path).to_string_lossy().into_owned());
        for path in &mut self.witness_ca {
            *path = folder.join(&*path);
        }
    }

    /// How old a quorum's cosignatures may be, in microseconds.
    #[must_use]
    pub fn max_unwitnessed(&self) -> i64 {
        i64::from(self.max_unwitnessed_hours.get()).saturating_mul(Instant::HOUR)
    }
}
