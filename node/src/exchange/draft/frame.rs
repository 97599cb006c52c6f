//! A text that several agencies adopt, and the agreement of each pair that carries it out.
//!
//! The text itself grants nothing. One file says what each agency grants each other; every agency drafts from the same file
//! the documents with its partners, and each pair signs its own.

use std::collections::BTreeSet;

use agreements::agreement::{Commitments, Framework, Grant};
use agreements::ids::{Digest, Ori};
use agreements::party::Party;
use jiff::civil::Date;
use serde::Deserialize;
use toml::{Table, Value};

use super::reading::{self, FRAME, Reading};
use super::{Draft, DraftError, problems};

/// A framework's draft to start from, commented.
pub const TEMPLATE: &str = include_str!("frame.toml");
/// The longest title, in characters.
const MAX_TITLE: usize = 200;

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The file of the text, beside this one.
    pub framework: String,
    /// All agencies that adopt it.
    pub agencies: Vec<Ori>,
    effective_on: Date,
    sunset_on: Date,
    #[serde(default)]
    spread_days: u16,
    /// What each grants each other, without owner and recipient.
    grants: Vec<Table>,
    commitments: Commitments,
    #[serde(skip)]
    reading: Option<Reading>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl Frame {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DraftError`]: every fault with its line.
    pub fn parse(text: &str) -> Result<Self, DraftError> {
        let reading = reading::read(text, FRAME, false)?;
        if !reading.faults.is_empty() {
            return Err(DraftError::Faults { faults: reading.faults, unreadable: true });
        }
        let mut frame = Self::deserialize(Value::Table(reading.table.clone()))?;
        frame.reading = Some(reading);
        let unique: BTreeSet<Ori> = frame.agencies.iter().copied().collect();
        if unique.len() != frame.agencies.len() || unique.len() < 2 {
            return Err(frame.fault("agencies must name each agency once, and at least two".to_owned()));
        }
        Ok(frame)
    }

    fn fault(&self, problem: String) -> DraftError {
        problems(self.reading.as_ref(), vec![problem])
    }

    /// The partners of `ours`, in the order of their ORIs.
    ///
    /// # Errors
    /// `ours` is not among the agencies.
    pub fn partners(&self, ours: Ori) -> Result<Vec<Ori>, DraftError> {
        if !self.agencies.contains(&ours) {
            return Err(
                self.fault(format!("agencies does not name this agency, {ours}: add it, or leave the framework"))
            );
        }
        let all: BTreeSet<Ori> = self.agencies.iter().copied().filter(|ori| *ori != ours).collect();
        Ok(all.into_iter().collect())
    }

    /// The sunset of the pair that is the `n`th (from 0) of `count`: spread evenly over the days before the last one.
    #[must_use]
    pub fn sunset(&self, n: usize, count: usize) -> Date {
        let early = usize::from(self.spread_days).saturating_mul(n) / count.max(1);
        let days = i64::try_from(early).unwrap_or(i64::MAX);
        jiff::Span::new().try_days(days).and_then(|span| self.sunset_on.checked_sub(span)).unwrap_or(self.sunset_on)
    }

    /// The draft of the pair, the `n`th (from 0) of `count` of `ours`.
    ///
    /// # Errors
    /// A grant that cannot be read; none for what [`Frame::parse`] gave.
    pub fn pair(&self, ours: &Party, theirs: Ori, n: usize, count: usize) -> Result<Draft, DraftError> {
        let mut grants = Vec::new();
        for (owner, recipient) in [(ours.ori, theirs), (theirs, ours.ori)] {
            for grant in &self.grants {
                let mut grant = grant.clone();
                grant.insert("owner".to_owned(), owner.as_str().into());
                grant.insert("recipient".to_owned(), recipient.as_str().into());
                grants.push(Grant::deserialize(Value::Table(grant))?);
            }
        }
        Ok(Draft {
            partner: theirs,
            effective_on: self.effective_on,
            sunset_on: self.sunset(n, count),
            framework: Some(self.framework.clone()),
            grants,
            commitments: self.commitments.clone(),
        })
    }

    /// The same error with the lines of this file.
    #[must_use]
    pub fn located(&self, error: DraftError) -> DraftError {
        match error {
            DraftError::Problems(found) => problems(self.reading.as_ref(), found),
            other => other,
        }
    }
}

/// What names a text: its first line that is not blank, without the marks of a heading, and its hash.
///
/// # Errors
/// [`DraftError::Framework`]: it is not UTF-8, or has no such line, or a very long one.
pub fn named(text: &[u8]) -> Result<Framework, DraftError> {
    let words = std::str::from_utf8(text).map_err(|_| DraftError::Framework("it is not UTF-8: save it as UTF-8"))?;
    let first = words.lines().map(|line| line.trim().trim_matches('#').trim()).find(|line| !line.is_empty());
    let title = first.ok_or(DraftError::Framework("it is empty: its first line is its title"))?;
    if title.chars().count() > MAX_TITLE {
        return Err(DraftError::Framework("its first line is its title, in at most 200 characters"));
    }
    Ok(Framework { title: title.to_owned(), sha256: Digest::of(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sunsets_are_spread_evenly_and_never_past_the_last_day() {
        let frame = Frame::parse(TEMPLATE).unwrap();
        let sunsets: Vec<Date> = (0..300).map(|n| frame.sunset(n, 300)).collect();
        assert_eq!(sunsets.first(), Some(&"2028-01-01".parse().unwrap()));
        assert!(sunsets.iter().all(|day| *day <= frame.sunset_on && *day > frame.effective_on));
        let days: BTreeSet<Date> = sunsets.iter().copied().collect();
        assert_eq!(days.len(), 180);
        let most = days.iter().map(|day| sunsets.iter().filter(|other| *other == day).count()).max();
        assert_eq!(most, Some(2), "never more than two on a day");
        let together = Frame { spread_days: 0, ..frame };
        assert!((0..300).all(|n| together.sunset(n, 300) == together.sunset_on));
    }

    #[test]
    fn a_text_is_named_by_its_first_line_and_its_hash() {
        let text = b"\n# Three counties \n\nEach may ask each.\n";
        assert_eq!(named(text).unwrap(), Framework { title: "Three counties".to_owned(), sha256: Digest::of(text) });
        for wrong in [&b"\xff"[..], b"", b" \n#\n", "x".repeat(201).as_bytes()] {
            assert!(matches!(named(wrong), Err(DraftError::Framework(_))));
        }
    }

    #[test]
    fn what_is_wrong_in_a_framework_is_named_with_its_line() {
        for (from, to, says) in [
            ("kind = \"query\"", "kind = \"query\"\nowner = \"CA0990000\"", "there is no key `owner` in this grant"),
            ("\"CA0990200\"", "\"CA0990100\"", "each agency once"),
            ("spread_days = 180", "spread_days = -1", "spread_days"),
            ("framework = ", "framwork = ", "did you mean `framework`?"),
        ] {
            let text = TEMPLATE.replacen(from, to, 1);
            assert_ne!(text, TEMPLATE, "{from}");
            let error = Frame::parse(&text).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("line "), "{error}");
        }
        let frame = Frame::parse(TEMPLATE).unwrap();
        assert!(frame.partners("CA0990900".parse().unwrap()).unwrap_err().to_string().contains("CA0990900"));
        assert_eq!(frame.partners("CA0990100".parse().unwrap()).unwrap().len(), 2);
    }
}
