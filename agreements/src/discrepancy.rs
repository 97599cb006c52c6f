//! Where two agencies' trails differ: what can differ, and what the one that finds it tells the other.
//!
//! It names entries by their hashes and ids, and says nothing of what they are about.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::entry::Kind;
use crate::ids::{Digest, Ori, RequestId};
use crate::json;
use crate::message::{Message, To};
use crate::protocol::Versioned;

/// What differs between a finder's trail and its partner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// The partner's list lacks an entry of the partner that the finder holds, and that is in the partner's log.
    LeftOut,
    /// An entry of the partner that the finder holds is not in the partner's log.
    Gone,
    /// The partner lists an entry under this id with another hash, or in another place.
    Altered,
    /// The partner lists an entry that is not in its log.
    Invented,
    /// The partner lists a reply to an entry that the finder's trail does not have.
    Unasked,
    /// The finder's trail names an entry of the partner of which the finder holds no proof any more.
    Unproven,
    /// The partner's log has two trails.
    Forked,
    /// The partner found a discrepancy.
    Told,
    /// Days of the exchange were never compared, and are no longer caught up with.
    NotCompared,
}

impl Differs {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LeftOut,
        Self::Gone,
        Self::Altered,
        Self::Invented,
        Self::Unasked,
        Self::Unproven,
        Self::Forked,
        Self::Told,
        Self::NotCompared,
    ];

    /// The written name, such as `left_out`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeftOut => "left_out",
            Self::Gone => "gone",
            Self::Altered => "altered",
            Self::Invented => "invented",
            Self::Unasked => "unasked",
            Self::Unproven => "unproven",
            Self::Forked => "forked",
            Self::Told => "told",
            Self::NotCompared => "not_compared",
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A discrepancy (kind `discrepancy.opened`). The finder's is for the partner; the partner's, which it opens when it is
/// told, is for nobody: so each has a case, and they do not go on telling each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discrepancy {
    /// [`crate::message::PROTOCOL`].
    pub v: u16,
    /// The partner, under an agreement with it; nobody where the partner told of it.
    pub to: Vec<To>,
    /// The other agency.
    pub partner: Ori,
    /// The day of UTC that was reconciled; where several were not, the first of them.
    pub day: Date,
    /// The last of several days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    /// What differs.
    pub differs: Differs,
    /// The partner's entry that it is about, by its leaf hash; where it is forked, SHA-256 of the evidence; where it was told,
    /// the partner's `discrepancy.opened`; where days were not compared, SHA-256 of the first one as it is written.
    pub about: Digest,
    /// The id of that entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<RequestId>,
    /// What kind of entry it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The other entry concerned: what was answered, what is listed instead, or what names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Digest>,
    /// SHA-256 of files that the finder keeps as evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// The same as a sentence for custodians.
    #[serde(deserialize_with = "json::text")]
    pub says: String,
}

impl Discrepancy {
    /// Whether it is the same one as another: that one is opened once, on whichever night it is found again.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.partner, self.differs, self.about) == (other.partner, other.differs, other.about)
    }
}

impl Versioned for Discrepancy {}

impl Message for Discrepancy {
    fn version(&self) -> u16 {
        self.v
    }

    fn to(&self) -> &[To] {
        &self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_written_as_it_is_read() {
        for differs in Differs::ALL {
            assert_eq!(serde_json::to_string(&differs).unwrap(), format!("\"{differs}\""));
        }
    }
}
