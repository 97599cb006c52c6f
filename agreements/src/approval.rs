//! What must approve a signature, and did: counsel, a public meeting (Civ. Code 1798.90.55(a)), the signing authority, and
//! the official's own hand. Each is held to one document by its hash.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ids::{AgreementId, Digest};
use crate::stream::Seal;

/// What approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalKind {
    /// Counsel read the document.
    Counsel,
    /// The public could comment at a meeting (Civ. Code 1798.90.55(a)).
    PublicMeeting,
    /// What empowers the official to sign this document.
    SigningAuthority,
}

impl ApprovalKind {
    /// All of them. None may be missing.
    pub const ALL: [Self; 3] = [Self::Counsel, Self::PublicMeeting, Self::SigningAuthority];

    /// The written name, such as `public_meeting`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counsel => "counsel",
            Self::PublicMeeting => "public_meeting",
            Self::SigningAuthority => "signing_authority",
        }
    }
}

impl fmt::Display for ApprovalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no approval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such approval; there are {}", ApprovalKind::ALL.map(ApprovalKind::as_str).join(", "))]
pub struct ApprovalKindError;

impl FromStr for ApprovalKind {
    type Err = ApprovalKindError;

    fn from_str(text: &str) -> Result<Self, ApprovalKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(ApprovalKindError)
    }
}

/// What was given for a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "given", rename_all = "snake_case", deny_unknown_fields)]
pub enum Given {
    /// An approval.
    Approval {
        /// Which.
        kind: ApprovalKind,
        /// Whose: a body or a title.
        #[serde(deserialize_with = "crate::json::text")]
        by: String,
        /// Where it stands written.
        #[serde(deserialize_with = "crate::json::text")]
        reference: String,
        /// When it was given.
        on: Date,
    },
    /// The official's own signature over the document, by the key that the document names.
    Signature {
        /// Protected header and signature.
        seal: Seal,
    },
}

/// The message of an `approval.given` entry. It stays in the agency's own trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGiven {
    /// The version of this message.
    pub v: u16,
    /// The agreement.
    pub agreement: AgreementId,
    /// SHA-256 of its document: the approval is of these bytes and no others.
    pub document: Digest,
    /// The account that entered it.
    pub entered_by: String,
    /// What.
    pub what: Given,
}

/// The kinds of approval that are missing among what was given for `document`.
#[must_use]
pub fn missing(given: &[ApprovalGiven], document: Digest) -> Vec<ApprovalKind> {
    let has = |wanted: ApprovalKind| {
        given
            .iter()
            .any(|it| it.document == document && matches!(&it.what, Given::Approval { kind, .. } if *kind == wanted))
    };
    ApprovalKind::ALL.into_iter().filter(|kind| !has(*kind)).collect()
}

/// The official's newest signature of `document`.
#[must_use]
pub fn signature(given: &[ApprovalGiven], document: Digest) -> Option<&Seal> {
    given.iter().rev().filter(|it| it.document == document).find_map(|it| match &it.what {
        Given::Signature { seal } => Some(seal),
        Given::Approval { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn approvals_of_another_document_count_for_nothing() {
        let at = "2026-11-23T20:17:00Z".parse().unwrap();
        let given = |document: &[u8], kind| ApprovalGiven {
            v: 1,
            agreement: AgreementId::new(at, [1; 10]),
            document: Digest::of(document),
            entered_by: "avery".to_owned(),
            what: Given::Approval {
                kind,
                by: "County Counsel".to_owned(),
                reference: "memo 12".to_owned(),
                on: date(2026, 11, 1),
            },
        };
        let mut all: Vec<_> = ApprovalKind::ALL.map(|kind| given(b"this", kind)).to_vec();
        assert_eq!(missing(&all, Digest::of(b"this")), []);
        assert_eq!(missing(&all, Digest::of(b"another")), ApprovalKind::ALL);
        all[1] = given(b"another", ApprovalKind::PublicMeeting);
        assert_eq!(missing(&all, Digest::of(b"this")), [ApprovalKind::PublicMeeting]);
        assert_eq!(signature(&all, Digest::of(b"this")), None);
    }
}
