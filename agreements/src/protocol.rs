//! Protocol versions: which this code speaks, how two nodes agree on one, and how a message of each is read.
//!
//! A node speaks the newest version N and the one before it, N-1, where that was ever released. A message says its version
//! in `v`; [`read`] looks it up in the one table of its type ([`Versioned::FORMS`]) and refuses any other with the
//! versions that are spoken. Within a version an unknown field is refused.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::json::{self, StrictError};
use crate::message::PROTOCOL;

/// A span of protocol versions without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The newest, N.
    pub newest: u16,
    /// The oldest: N-1, or N where there was none before it.
    pub oldest: u16,
}

impl Spoken {
    /// What this release speaks. Its protocol is the first that was released, so nothing is before it.
    pub const OURS: Self = Self { newest: PROTOCOL, oldest: 1 };

    /// Whether a message of version `v` is understood.
    #[must_use]
    pub fn speaks(self, v: u16) -> bool {
        (self.oldest..=self.newest).contains(&v)
    }

    /// Every version, newest first.
    #[must_use]
    pub fn versions(self) -> Vec<u16> {
        (self.oldest..=self.newest).rev().collect()
    }

    /// The highest version that `theirs` has too.
    #[must_use]
    pub fn common(self, theirs: &[u16]) -> Option<u16> {
        theirs.iter().copied().filter(|v| self.speaks(*v)).max()
    }

    /// Whether there is anything to choose.
    #[must_use]
    pub fn is_one(self) -> bool {
        self.newest == self.oldest
    }
}

impl fmt::Display for Spoken {
    /// `1`, or `3 and 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&said(&self.versions()))
    }
}

/// Versions as a sentence names them: `1`, `3 and 2`, `none`.
#[must_use]
pub fn said(versions: &[u16]) -> String {
    match versions {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

/// How one version of a message is read into what this code works with.
pub type Form<T> = (u16, fn(&[u8]) -> Result<T, StrictError>);

/// Something that names its protocol version in `v`.
///
/// A version that changes a message's form adds a line to its `FORMS`: the new one read as it is, the one before read
/// from its own type and turned into this one. A version that does not change it adds a line with the same function.
pub trait Versioned: DeserializeOwned + 'static {
    /// How each version is read.
    const FORMS: &'static [Form<Self>] = &[(1, json::parse::<Self>)];
}

/// Why bytes are no message that this node understands.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not strict JSON, without a version, or with a field that its version does not have.
    #[error("the message: {0}")]
    Json(#[from] StrictError),
    /// A version that is not spoken.
    #[error("the message is of protocol version {found}; this node speaks {spoken}")]
    Version {
        /// What it says.
        found: u16,
        /// What is spoken.
        spoken: Spoken,
    },
}

/// Reads a message of a version that this release speaks.
///
/// # Errors
/// See [`ReadError`]. The version is looked at before any field, so that a message of another version says so rather than
/// that a field is unknown.
pub fn read<T: Versioned>(bytes: &[u8]) -> Result<T, ReadError> {
    read_as(bytes, Spoken::OURS)
}

/// Reads a message of a version that is in `spoken`.
///
/// # Errors
/// See [`ReadError`].
pub fn read_as<T: Versioned>(bytes: &[u8], spoken: Spoken) -> Result<T, ReadError> {
    #[derive(Deserialize)]
    struct Version {
        v: u16,
    }
    json::check(bytes)?;
    let Version { v: found } = serde_json::from_slice(bytes).map_err(StrictError::from)?;
    let form = T::FORMS.iter().find(|(version, _)| *version == found && spoken.speaks(found));
    let (_, parse) = form.ok_or(ReadError::Version { found, spoken })?;
    Ok(parse(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message whose second version says in seconds what its first said in minutes.
    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Waits {
        v: u16,
        seconds: u32,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct WaitsOne {
        v: u16,
        minutes: u32,
    }

    fn from_one(bytes: &[u8]) -> Result<Waits, StrictError> {
        let WaitsOne { v, minutes } = json::parse(bytes)?;
        Ok(Waits { v, seconds: minutes * 60 })
    }

    impl Versioned for Waits {
        const FORMS: &'static [Form<Self>] = &[(2, json::parse::<Self>), (1, from_one)];
    }

    const BOTH: Spoken = Spoken { newest: 2, oldest: 1 };

    #[test]
    fn the_version_before_is_read_by_its_own_form_and_no_other_version_is() {
        assert_eq!(read_as::<Waits>(br#"{"seconds":90,"v":2}"#, BOTH).unwrap(), Waits { v: 2, seconds: 90 });
        assert_eq!(read_as::<Waits>(br#"{"minutes":2,"v":1}"#, BOTH).unwrap(), Waits { v: 1, seconds: 120 });
        for (text, says) in [
            (&br#"{"minutes":2,"seconds":1,"v":3}"#[..], "version 3; this node speaks 2 and 1"),
            (br#"{"minutes":2,"v":0}"#, "version 0; this node speaks 2 and 1"),
            (br#"{"minutes":2,"v":2}"#, "unknown field `minutes`"),
            (br#"{"seconds":2,"v":1}"#, "unknown field `seconds`"),
            (br#"{"seconds":2}"#, "missing field `v`"),
            (br#"{"seconds":2,"v":2,"v":1}"#, "twice"),
        ] {
            let error = read_as::<Waits>(text, BOTH).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        // A release that dropped the first version has its form in the table no more than in what it speaks.
        let later = Spoken { newest: 2, oldest: 2 };
        assert!(matches!(read_as::<Waits>(br#"{"minutes":2,"v":1}"#, later), Err(ReadError::Version { found: 1, .. })));
    }

    #[test]
    fn two_nodes_agree_on_the_highest_version_that_both_speak() {
        let next = Spoken { newest: 3, oldest: 2 };
        assert_eq!(next.versions(), [3, 2]);
        for (theirs, expected) in
            [(&[2, 1][..], Some(2)), (&[3, 2], Some(3)), (&[4, 3], Some(3)), (&[5, 4], None), (&[1], None), (&[], None)]
        {
            assert_eq!(next.common(theirs), expected, "{theirs:?}");
        }
        assert_eq!(Spoken { newest: 1, oldest: 1 }.common(&[2, 1]), Some(1));
        assert!(Spoken::OURS.speaks(PROTOCOL) && !Spoken::OURS.speaks(PROTOCOL + 1));
        assert_eq!((Spoken::OURS.to_string(), next.to_string()), ("1".to_owned(), "3 and 2".to_owned()));
        assert_eq!(said(&[]), "none");
    }
}
