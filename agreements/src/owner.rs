//! Owners' own limits compared: which are narrower, and in what others are wider.

use crate::decide::{OwnerRules, Searches, Sensitive};
use crate::purpose::Purpose;

impl OwnerRules {
    /// What both allow: of each limit the narrower one.
    #[must_use]
    pub fn narrower(&self, other: &Self) -> Self {
        let both = |purpose: &&Purpose| other.purposes.contains(purpose);
        let all = self.searches == Searches::All && other.searches == Searches::All;
        let deny = self.sensitive == Sensitive::Deny || other.sensitive == Sensitive::Deny;
        Self {
            purposes: self.purposes.iter().filter(both).copied().collect(),
            max_lookback_days: self.max_lookback_days.min(other.max_lookback_days),
            max_rows: self.max_rows.min(other.max_rows),
            rate_per_minute: self.rate_per_minute.min(other.rate_per_minute),
            searches: if all { Searches::All } else { Searches::Exact },
            sensitive: if deny { Sensitive::Deny } else { Sensitive::Refer },
        }
    }

    /// In what these rules allow more than `other` does, one line each; empty when in nothing.
    #[must_use]
    pub fn wider_than(&self, other: &Self) -> Vec<String> {
        let mut wider = Vec::new();
        let more: Vec<&str> = self
            .purposes
            .iter()
            .filter(|purpose| !other.purposes.contains(purpose))
            .map(|purpose| purpose.as_str())
            .collect();
        if !more.is_empty() {
            wider.push(format!("rules.purposes also has {}", more.join(", ")));
        }
        for (name, ours, theirs) in [
            ("rules.max_lookback_days", self.max_lookback_days, other.max_lookback_days),
            ("rules.max_rows", self.max_rows, other.max_rows),
            ("rules.rate_per_minute", self.rate_per_minute, other.rate_per_minute),
        ] {
            if ours > theirs {
                wider.push(format!("{name} is {ours} instead of {theirs}"));
            }
        }
        if self.searches == Searches::All && other.searches == Searches::Exact {
            wider.push("more than exact plates is answered".to_owned());
        }
        if self.sensitive == Sensitive::Refer && other.sensitive == Sensitive::Deny {
            wider.push("rules.sensitive is refer instead of deny".to_owned());
        }
        wider
    }
}
