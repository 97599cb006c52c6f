//! `[trail]`: who witnesses this agency's trail, and for how long it keeps what entries say.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use agreements::retention::MIN_YEARS;
use agreements::time::Instant;
use serde::{Deserialize, Serialize};

use super::values::blank;

/// `[trail]`: who witnesses this agency's trail, and for how long it keeps what entries say.
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
    /// For how many years of the calendar what entries say is kept before it is deleted.
    pub details_kept_years: KeptYears,
}

/// For how many years of the calendar what the trail's entries say is kept: two at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct KeptYears(u16);

/// Fewer years than the law and the policy allow, or more than a calendar has.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "what the trail's entries say is the audit trail, which is kept for two years at least (V-14, IX-05): write 2 or more, and \
     at most 100"
)]
pub struct KeptYearsError;

impl KeptYears {
    /// How many.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for KeptYears {
    fn default() -> Self {
        Self(MIN_YEARS)
    }
}

impl TryFrom<u16> for KeptYears {
    type Error = KeptYearsError;

    fn try_from(years: u16) -> Result<Self, KeptYearsError> {
        if (MIN_YEARS..=100).contains(&years) { Ok(Self(years)) } else { Err(KeptYearsError) }
    }
}

impl From<KeptYears> for u16 {
    fn from(years: KeptYears) -> Self {
        years.0
    }
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            witness_policy: None,
            witness_ca: Vec::new(),
            max_unwitnessed_hours: NonZeroU32::MIN.saturating_add(23),
            details_kept_years: KeptYears::default(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_two_years_is_refused_with_the_clause_and_more_is_taken() {
        let read = |years: &str| toml::from_str::<Trail>(&format!("details_kept_years = {years}"));
        for years in ["0", "1", "101"] {
            let refused = read(years).unwrap_err().to_string();
            assert!(refused.contains("V-14, IX-05") && refused.contains("write 2 or more"), "{years}: {refused}");
        }
        assert!(read("-2").is_err() && read("65538").is_err());
        for (years, taken) in [("2", 2), ("5", 5), ("100", 100)] {
            assert_eq!(read(years).unwrap().details_kept_years.get(), taken);
        }
        assert_eq!(Trail::default().details_kept_years.get(), 2);
    }
}
