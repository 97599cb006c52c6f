//! The custodian's standing authorization of grants (V-16, XI-05): given for exactly what one document grants, it ends with
//! that document and can be taken back before.

use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, Authorization, Grant, QueryGrant};
use crate::ids::{AgreementId, Digest, Ori, RequestId};
use crate::json;
use crate::time::Instant;

/// What an `authorization.given` entry says: that the custodian authorized grants, or took that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationGiven {
    /// Version of this message.
    pub v: u16,
    /// The agreement.
    pub agreement: AgreementId,
    /// SHA-256 of its document.
    pub document: Digest,
    /// Whether it is given; otherwise it is taken back.
    pub given: bool,
    /// The grants, word for word as the document has them.
    pub grants: Vec<QueryGrant>,
    /// When it ends by itself: the sunset.
    pub expires_at: Instant,
    /// The custodian's account.
    #[serde(deserialize_with = "json::text")]
    pub by: String,
    /// Why.
    #[serde(deserialize_with = "json::text")]
    pub reason: String,
    /// The change by which two people decided it; absent when it is taken back, which one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<RequestId>,
}

/// Grants of an agreement that are authorized for good, until the agreement's sunset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized {
    /// The agreement.
    pub agreement: AgreementId,
    /// SHA-256 of the document whose grants they are.
    pub document: Digest,
    /// They.
    pub grants: Vec<QueryGrant>,
    /// When that ends by itself.
    pub expires_at: Instant,
}

impl Authorized {
    /// Whether `grant` of `agreement` is among them at `now`, word for word.
    #[must_use]
    pub fn covers(&self, agreement: AgreementId, grant: &QueryGrant, now: Instant) -> bool {
        self.agreement == agreement && now < self.expires_at && self.grants.contains(grant)
    }
}

/// What is authorized after all that was said, in the order in which it was said.
#[must_use]
pub fn authorized<'a>(said: impl IntoIterator<Item = &'a AuthorizationGiven>) -> Vec<Authorized> {
    let mut all: Vec<Authorized> = Vec::new();
    for said in said {
        // What is said anew stands in place of what was said before: nobody has to know of both.
        for before in all.iter_mut().filter(|before| before.agreement == said.agreement) {
            before.grants.retain(|grant| !said.grants.contains(grant));
        }
        if said.given {
            all.push(Authorized {
                agreement: said.agreement,
                document: said.document,
                grants: said.grants.clone(),
                expires_at: said.expires_at,
            });
        }
        all.retain(|one| !one.grants.is_empty());
    }
    all
}

/// The grants of `owner` in a document that stand on an authorization given once for all.
#[must_use]
pub fn standing_grants(agreement: &Agreement, owner: Ori) -> Vec<QueryGrant> {
    let standing = |grant: &Grant| match grant {
        Grant::Query(query) if query.owner == owner && query.authorization == Authorization::Standing => {
            Some(query.clone())
        }
        _ => None,
    };
    agreement.grants.iter().filter_map(standing).collect()
}
