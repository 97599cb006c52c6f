//! Drafting an agreement: what two agencies agreed on, from a short file; who they are, from what their nodes say.

use agreements::agreement::{Agreement, Commitments, FORMAT, Grant};
use agreements::ids::{AgreementId, Ori};
use agreements::json::StrictError;
use agreements::party::Party;
use agreements::time::Instant;
use jiff::civil::Date;
use serde::Deserialize;

/// A draft to start from, commented.
pub const TEMPLATE: &str = include_str!("draft.toml");

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// Not TOML, a key that does not exist, or a value that cannot be. Names the line.
    #[error("the draft: {0}")]
    Text(#[from] toml::de::Error),
    /// The partner is not enrolled.
    #[error("{0} is not enrolled")]
    NotEnrolled(Ori),
    /// The document would not be an agreement: every problem is named.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
    /// No randomness for the id.
    #[error("no randomness: {0}")]
    Random(#[from] openssl::error::ErrorStack),
    /// The document has no canonical form.
    #[error(transparent)]
    Json(#[from] StrictError),
}

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// With whom.
    pub partner: Ori,
    /// From the start of which day.
    pub effective_on: Date,
    /// Until the start of which day.
    pub sunset_on: Date,
    /// Who may get what from whom.
    pub grants: Vec<Grant>,
    /// What both promise.
    pub commitments: Commitments,
}

impl Draft {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DraftError::Text`].
    pub fn parse(text: &str) -> Result<Self, DraftError> {
        Ok(toml::from_str(text)?)
    }

    /// The first revision of the agreement between `ours` and `theirs`, with a new id, and its canonical bytes.
    ///
    /// # Errors
    /// [`DraftError::Problems`]: it would not be an agreement.
    pub fn between(self, ours: &Party, theirs: &Party, now: Instant) -> Result<(Agreement, Vec<u8>), DraftError> {
        let mut random = [0; 10];
        openssl::rand::rand_bytes(&mut random)?;
        let mut parties = [ours.clone(), theirs.clone()];
        parties.sort_by_key(|party| party.ori);
        let agreement = Agreement {
            format: FORMAT.to_owned(),
            id: AgreementId::new(now, random),
            revision: 1,
            supersedes: None,
            parties,
            grants: self.grants,
            commitments: self.commitments,
            framework: None,
            witnesses: None,
            effective_on: self.effective_on,
            sunset_on: self.sunset_on,
            renewal: None,
        };
        let problems = agreement.problems();
        if !problems.is_empty() {
            return Err(DraftError::Problems(problems));
        }
        let bytes = agreement.to_bytes()?;
        Ok((agreement, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_draft_and_a_typo_is_named_with_its_line() {
        let draft = Draft::parse(TEMPLATE).unwrap();
        assert_eq!(draft.grants.len(), 2);
        assert!(draft.commitments.no_onward_transfer);
        for (from, to, says) in [
            ("lookback_days", "lookback", "unknown field `lookback`"),
            ("sunset_on", "sunset", "unknown field `sunset`"),
            ("lawful_use", "lawful", "unknown field `lawful`"),
            ("criminal_investigation", "immigration", "unknown variant `immigration`"),
            ("\"2027-", "\"2027-13-", "line"),
        ] {
            let error = Draft::parse(&TEMPLATE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
