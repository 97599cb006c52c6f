//! Drafting an agreement: what two agencies agreed on, from a short file; who they are, from what their nodes say.

pub mod frame;
mod reading;

use agreements::agreement::{Agreement, Commitments, FORMAT, Framework, Grant, Witnesses};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::json::StrictError;
use agreements::party::Party;
use agreements::time::Instant;
use jiff::civil::Date;
use serde::Deserialize;
use toml::Value;

pub use self::reading::Fault;
use self::reading::{DRAFT, Reading};

/// A draft to start from, commented: queries both ways.
pub const TEMPLATE: &str = include_str!("draft.toml");
/// The same for hotlists alone.
pub const HOTLIST_TEMPLATE: &str = include_str!("draft/hotlist.toml");

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// Not TOML. Names the line.
    #[error("the draft: {0}")]
    Text(#[from] toml::de::Error),
    /// Everything that is wrong, each with its line where there is one.
    #[error("the draft has {}:\n{}", counted(.faults.len()), lines(.faults))]
    Faults {
        /// All of it.
        faults: Vec<Fault>,
        /// Whether any is in how it is written, and not only in what it says.
        unreadable: bool,
    },
    /// The partner is not enrolled.
    #[error("{0} is not enrolled")]
    NotEnrolled(Ori),
    /// The document would not be an agreement: every problem is named.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
    /// The text of a framework cannot be one.
    #[error("the framework's text cannot be used: {0}")]
    Framework(&'static str),
    /// No randomness for the id.
    #[error("no randomness: {0}")]
    Random(#[from] openssl::error::ErrorStack),
    /// The document has no canonical form.
    #[error(transparent)]
    Json(#[from] StrictError),
}

fn counted(count: usize) -> String {
    if count == 1 { "a fault".to_owned() } else { format!("{count} faults") }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Problems of a document, with the lines that they come from.
fn problems(reading: Option<&Reading>, found: Vec<String>) -> DraftError {
    let located = |problem: String| match reading {
        Some(reading) => reading.located(problem),
        None => Fault { line: None, says: problem },
    };
    let mut faults: Vec<Fault> = found.into_iter().map(located).collect();
    faults.sort();
    DraftError::Faults { faults, unreadable: false }
}

/// What the file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// With whom.
    pub partner: Ori,
    /// From the start of which day.
    pub effective_on: Date,
    /// Until the start of which day.
    pub sunset_on: Date,
    /// The file of the text that more agencies adopted, beside this one.
    pub framework: Option<String>,
    /// Who may get what from whom.
    pub grants: Vec<Grant>,
    /// What both promise.
    pub commitments: Commitments,
}

/// A draft as it was read, with what is wrong in it.
pub struct Read {
    draft: Option<Draft>,
    reading: Reading,
}

impl Read {
    /// Reads a file as far as it can be read.
    ///
    /// # Errors
    /// [`DraftError::Text`]: it is no TOML at all.
    pub fn new(text: &str) -> Result<Self, DraftError> {
        let reading = reading::read(text, DRAFT, true)?;
        let draft =
            if reading.hopeless { None } else { Some(Draft::deserialize(Value::Table(reading.table.clone()))?) };
        Ok(Self { draft, reading })
    }

    /// With whom, where that can be read.
    #[must_use]
    pub fn partner(&self) -> Option<Ori> {
        self.draft.as_ref().map(|draft| draft.partner)
    }

    /// The file of the framework's text, where one is named.
    #[must_use]
    pub fn framework(&self) -> Option<&str> {
        self.draft.as_ref()?.framework.as_deref()
    }

    /// The first revision of the agreement between `ours` and `theirs`, under a framework and a witness policy where there
    /// are such, with a new id, and its canonical bytes.
    ///
    /// # Errors
    /// [`DraftError::Faults`]: everything that is wrong at once, in how the draft is written and in what it says.
    pub fn between(
        self,
        ours: &Party,
        theirs: Option<&Party>,
        (framework, witnesses): (Option<Framework>, Option<Digest>),
        now: Instant,
    ) -> Result<(Agreement, Vec<u8>), DraftError> {
        let Self { draft, reading } = self;
        let document = match (draft, theirs) {
            (Some(draft), Some(theirs)) => draft.between(ours, theirs, (framework, witnesses), now),
            (Some(draft), None) => Err(DraftError::NotEnrolled(draft.partner)),
            (None, _) => Err(DraftError::Problems(Vec::new())),
        };
        let unreadable = !reading.faults.is_empty();
        let found = match document {
            Ok(document) if !unreadable => return Ok(document),
            Ok(_) => Vec::new(),
            Err(DraftError::Problems(found)) => found,
            Err(DraftError::NotEnrolled(partner)) if unreadable => vec![format!("partner: {partner} is not enrolled")],
            Err(other) => return Err(other),
        };
        let mut faults = reading.faults.clone();
        faults.extend(found.into_iter().map(|problem| reading.located(problem)));
        faults.sort();
        Err(DraftError::Faults { faults, unreadable })
    }
}

impl Draft {
    /// Reads a file that has no fault.
    ///
    /// # Errors
    /// [`DraftError::Text`] or [`DraftError::Faults`].
    pub fn parse(text: &str) -> Result<Self, DraftError> {
        let Read { draft, reading } = Read::new(text)?;
        match draft {
            Some(draft) if reading.faults.is_empty() => Ok(draft),
            _ => Err(DraftError::Faults { faults: reading.faults, unreadable: true }),
        }
    }

    /// The first revision of the agreement between `ours` and `theirs`, under a framework and a witness policy where there
    /// are such, with a new id, and its canonical bytes.
    ///
    /// # Errors
    /// [`DraftError::Problems`]: it would not be an agreement.
    pub fn between(
        self,
        ours: &Party,
        theirs: &Party,
        (framework, witnesses): (Option<Framework>, Option<Digest>),
        now: Instant,
    ) -> Result<(Agreement, Vec<u8>), DraftError> {
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
            framework,
            witnesses: witnesses.map(|policy_sha256| Witnesses { policy_sha256 }),
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

    fn faults(error: DraftError) -> Vec<Fault> {
        match error {
            DraftError::Faults { faults, .. } => faults,
            other => panic!("{other:?}"),
        }
    }

    fn line(text: &str, start: &str) -> usize {
        1 + text.lines().position(|line| line.starts_with(start)).unwrap()
    }

    #[test]
    fn the_templates_are_drafts_also_with_what_is_commented_out() {
        let draft = Draft::parse(TEMPLATE).unwrap();
        assert_eq!(draft.grants.len(), 2);
        assert!(draft.commitments.no_onward_transfer);
        assert_eq!(Draft::parse(HOTLIST_TEMPLATE).unwrap().grants.len(), 2);
        let code = |line: &str| {
            let line = line.strip_prefix("# ")?;
            let key = line.split(" = ").next()?;
            let is = line.starts_with("[[")
                || (line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            is.then(|| line.to_owned())
        };
        let whole: String = TEMPLATE.lines().map(|line| code(line).unwrap_or_else(|| line.to_owned()) + "\n").collect();
        let draft = Draft::parse(&whole).unwrap();
        assert_eq!((draft.grants.len(), draft.framework.as_deref()), (4, Some("framework.md")));
        assert!(whole.contains("\narea = "));
        let unquoted = TEMPLATE.replace("\"2027-01-01\"", "2027-01-01");
        assert_eq!(Draft::parse(&unquoted).unwrap().effective_on, draft.effective_on, "a date without quotes");
    }

    #[test]
    fn a_fault_is_named_with_its_line_and_what_to_write() {
        for (from, to, says) in [
            (
                "lookback_days = 30",
                "lookback = 30",
                "there is no key `lookback` in this grant; did you mean `lookback_days`?",
            ),
            ("sunset_on", "sunset", "there is no key `sunset` in the draft; did you mean `sunset_on`?"),
            ("lawful_use", "lawful", "there is no key `lawful` in [commitments]; did you mean `lawful_use`?"),
            ("purposes = [\"criminal_investigation\"", "purposes = [\"immigration\"", "unknown variant `immigration`"),
            ("sunset_on = \"2028-", "sunset_on = \"2028-13-", "sunset_on"),
            ("max_rows = 100", "max_rows = \"many\"", "such as max_rows = 100"),
            ("fuzzy = false", "fuzzy = 0", "such as fuzzy = false"),
            ("kind = \"query\"", "kind = \"everything\"", "kind = \"query\", \"hotlist\" or \"hits\""),
            ("authorization = \"standing\"", "authorization = \"none\"", "unknown variant `none`"),
            ("partner = \"CA0990100\"", "partner = \"NV0990100\"", "not a California agency"),
        ] {
            let text = TEMPLATE.replacen(from, to, 1);
            let found = faults(Draft::parse(&text).unwrap_err());
            let [fault] = found.as_slice() else { panic!("{found:?}") };
            assert!(fault.says.contains(says), "{fault}");
            let start = to.split(" = ").next().unwrap();
            assert_eq!(fault.line, Some(line(&text, start)), "{fault}");
        }
        let without = TEMPLATE.replacen("max_rows = 100\n", "\n", 1);
        let found = faults(Draft::parse(&without).unwrap_err());
        assert_eq!(found.len(), 1);
        assert!(found[0].says.contains("write max_rows = 100"), "{}", found[0]);
        assert_eq!(found[0].line, Some(line(&without, "[[grants]]")));
        assert!(matches!(Draft::parse("partner = "), Err(DraftError::Text(_))));
        assert!(matches!(Draft::parse(""), Err(DraftError::Faults { faults, .. }) if faults.len() == 5));
    }
}
