//! The leaf of a trail entry: what a Merkle log commits to, with no personal data in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, RequestId, Salt};
use crate::json::{self, StrictError};
use crate::time::Instant;

/// The version of leaves and messages that this code writes.
pub const VERSION: u16 = 1;

/// What an entry records. Closed: a kind that is not here is not in any trail that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A question to one or more partners.
    #[serde(rename = "query.asked")]
    QueryAsked,
    /// The owner's answer to one question: permitted, denied, referred or withheld.
    #[serde(rename = "query.answered")]
    QueryAnswered,
    /// What the asker got: the leaf hashes of the answers, and who gave none.
    #[serde(rename = "query.received")]
    QueryReceived,
    /// An own user's question that this node refused before it left.
    #[serde(rename = "query.refused")]
    QueryRefused,
    /// An agreement document offered to the partner.
    #[serde(rename = "agreement.offered")]
    AgreementOffered,
    /// One event of the sender's own stream under an agreement.
    #[serde(rename = "agreement.event")]
    AgreementEvent,
    /// A partner's offer or event was received and kept.
    #[serde(rename = "agreement.acknowledged")]
    AgreementAcknowledged,
    /// A partner was enrolled from its descriptor.
    #[serde(rename = "peer.enrolled")]
    PeerEnrolled,
    /// The register of Attorney General findings changed.
    #[serde(rename = "ag.finding")]
    AgFinding,
    /// A sweep of the Attorney General's sources was made.
    #[serde(rename = "ag.check")]
    AgCheck,
    /// An account was opened, changed or closed.
    #[serde(rename = "user.changed")]
    UserChanged,
    /// A user's training was recorded.
    #[serde(rename = "training.recorded")]
    TrainingRecorded,
    /// An early review of a partner was opened (V-28).
    #[serde(rename = "review.opened")]
    ReviewOpened,
    /// An early review of a partner was closed.
    #[serde(rename = "review.closed")]
    ReviewClosed,
    /// Another agency's register of findings was imported.
    #[serde(rename = "register.imported")]
    RegisterImported,
    /// A partner's published policy was fetched and compared.
    #[serde(rename = "policy.checked")]
    PolicyChecked,
    /// This agency's yearly compliance packet was sealed.
    #[serde(rename = "packet.sealed")]
    PacketSealed,
    /// A compliance packet, to the partner (V-29).
    #[serde(rename = "packet.sent")]
    PacketSent,
    /// A partner's compliance packet was received and kept.
    #[serde(rename = "packet.received")]
    PacketReceived,
    /// A partner's renewal was reviewed (V-30).
    #[serde(rename = "renewal.reviewed")]
    RenewalReviewed,
    /// What must approve a signature did: counsel, a public meeting, the signing authority.
    #[serde(rename = "approval.given")]
    ApprovalGiven,
    /// The custodian authorized grants in writing (V-16), or took that back.
    #[serde(rename = "authorization.given")]
    AuthorizationGiven,
    /// A person proposed a change that opens or widens sharing (II-10).
    #[serde(rename = "change.proposed")]
    ChangeProposed,
    /// A second person approved or refused a proposed change, or it was withdrawn.
    #[serde(rename = "change.settled")]
    ChangeSettled,
    /// Effective access was recomputed and compared with the agreements in force.
    #[serde(rename = "access.compared")]
    AccessCompared,
    /// This node's keys, place or contacts changed.
    #[serde(rename = "keys.changed")]
    KeysChanged,
    /// A reader's agent got a token, or lost it.
    #[serde(rename = "agent.changed")]
    AgentChanged,
    /// A batch of reads was ingested.
    #[serde(rename = "reads.ingested")]
    ReadsIngested,
    /// What was refused without an entry of its own, counted.
    #[serde(rename = "refused.counted")]
    RefusedCounted,
    /// A partner's log signed two heads that exclude each other: nothing is exchanged with it any more.
    #[serde(rename = "trail.forked")]
    TrailForked,
    /// A day's exchange with a partner was held to the partner's own trail.
    #[serde(rename = "trail.reconciled")]
    TrailReconciled,
    /// This trail and a partner's differ: a case for both custodians.
    #[serde(rename = "discrepancy.opened")]
    DiscrepancyOpened,
    /// The custodian closed such a case with what explains it.
    #[serde(rename = "discrepancy.closed")]
    DiscrepancyClosed,
    /// A new epoch of the trail's log began, because its registry was restored from a backup.
    #[serde(rename = "epoch.opened")]
    EpochOpened,
    /// An own event of the epoch before, which the registry had lost, was taken back from the partner that has it.
    #[serde(rename = "event.recovered")]
    EventRecovered,
    /// The trail was searched.
    #[serde(rename = "trail.searched")]
    TrailSearched,
    /// Entries were exported from the trail, or the whole of it.
    #[serde(rename = "trail.exported")]
    TrailExported,
    /// An own hotlist got a new version from its source, or was loaded unchanged.
    #[serde(rename = "hotlist.loaded")]
    HotlistLoaded,
    /// A person accepted a partner's hotlist for matching, or ended that.
    #[serde(rename = "hotlist.accepted")]
    HotlistAccepted,
    /// The newest version of a partner's hotlist was asked for.
    #[serde(rename = "hotlist.pulled")]
    HotlistPulled,
    /// The owner's assertion of a hotlist to one partner, or why there is none.
    #[serde(rename = "hotlist.asserted")]
    HotlistAsserted,
    /// What came of a pull: the leaf hash of the assertion, and whether its list is in use.
    #[serde(rename = "hotlist.received")]
    HotlistReceived,
    /// A partner's hotlist was erased: its lease ran out, or it is no longer accepted.
    #[serde(rename = "hotlist.erased")]
    HotlistErased,
    /// A read matched an entry of a hotlist.
    #[serde(rename = "hit.matched")]
    HitMatched,
    /// A person compared a hit with its image and its entry (IV-07).
    #[serde(rename = "hit.verified")]
    HitVerified,
    /// Hits were looked at (VIII-03).
    #[serde(rename = "hit.listed")]
    HitListed,
    /// A person asked that records be held beyond their retention (VI-06).
    #[serde(rename = "hold.requested")]
    HoldRequested,
    /// A second person approved a hold (VI-10).
    #[serde(rename = "hold.approved")]
    HoldApproved,
    /// A second person refused a hold, or its release.
    #[serde(rename = "hold.refused")]
    HoldRefused,
    /// A person asked that a hold be released (VI-11).
    #[serde(rename = "hold.release_asked")]
    HoldReleaseAsked,
    /// A second person released a hold.
    #[serde(rename = "hold.released")]
    HoldReleased,
    /// What entries said was deleted after its retention: the certificate of it.
    #[serde(rename = "retention.deleted")]
    RetentionDeleted,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 52] = [
        Self::QueryAsked,
        Self::QueryAnswered,
        Self::QueryReceived,
        Self::QueryRefused,
        Self::AgreementOffered,
        Self::AgreementEvent,
        Self::AgreementAcknowledged,
        Self::PeerEnrolled,
        Self::AgFinding,
        Self::AgCheck,
        Self::UserChanged,
        Self::TrainingRecorded,
        Self::ReviewOpened,
        Self::ReviewClosed,
        Self::RegisterImported,
        Self::PolicyChecked,
        Self::PacketSealed,
        Self::PacketSent,
        Self::PacketReceived,
        Self::RenewalReviewed,
        Self::ApprovalGiven,
        Self::AuthorizationGiven,
        Self::ChangeProposed,
        Self::ChangeSettled,
        Self::AccessCompared,
        Self::KeysChanged,
        Self::AgentChanged,
        Self::ReadsIngested,
        Self::RefusedCounted,
        Self::TrailForked,
        Self::TrailReconciled,
        Self::DiscrepancyOpened,
        Self::DiscrepancyClosed,
        Self::EpochOpened,
        Self::EventRecovered,
        Self::TrailSearched,
        Self::TrailExported,
        Self::HotlistLoaded,
        Self::HotlistAccepted,
        Self::HotlistPulled,
        Self::HotlistAsserted,
        Self::HotlistReceived,
        Self::HotlistErased,
        Self::HitMatched,
        Self::HitVerified,
        Self::HitListed,
        Self::HoldRequested,
        Self::HoldApproved,
        Self::HoldRefused,
        Self::HoldReleaseAsked,
        Self::HoldReleased,
        Self::RetentionDeleted,
    ];

    /// The written name, such as `query.asked`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueryAsked => "query.asked",
            Self::QueryAnswered => "query.answered",
            Self::QueryReceived => "query.received",
            Self::QueryRefused => "query.refused",
            Self::AgreementOffered => "agreement.offered",
            Self::AgreementEvent => "agreement.event",
            Self::AgreementAcknowledged => "agreement.acknowledged",
            Self::PeerEnrolled => "peer.enrolled",
            Self::AgFinding => "ag.finding",
            Self::AgCheck => "ag.check",
            Self::UserChanged => "user.changed",
            Self::TrainingRecorded => "training.recorded",
            Self::ReviewOpened => "review.opened",
            Self::ReviewClosed => "review.closed",
            Self::RegisterImported => "register.imported",
            Self::PolicyChecked => "policy.checked",
            Self::PacketSealed => "packet.sealed",
            Self::PacketSent => "packet.sent",
            Self::PacketReceived => "packet.received",
            Self::RenewalReviewed => "renewal.reviewed",
            Self::ApprovalGiven => "approval.given",
            Self::AuthorizationGiven => "authorization.given",
            Self::ChangeProposed => "change.proposed",
            Self::ChangeSettled => "change.settled",
            Self::AccessCompared => "access.compared",
            Self::KeysChanged => "keys.changed",
            Self::AgentChanged => "agent.changed",
            Self::ReadsIngested => "reads.ingested",
            Self::RefusedCounted => "refused.counted",
            Self::TrailForked => "trail.forked",
            Self::TrailReconciled => "trail.reconciled",
            Self::DiscrepancyOpened => "discrepancy.opened",
            Self::DiscrepancyClosed => "discrepancy.closed",
            Self::EpochOpened => "epoch.opened",
            Self::EventRecovered => "event.recovered",
            Self::TrailSearched => "trail.searched",
            Self::TrailExported => "trail.exported",
            Self::HotlistLoaded => "hotlist.loaded",
            Self::HotlistAccepted => "hotlist.accepted",
            Self::HotlistPulled => "hotlist.pulled",
            Self::HotlistAsserted => "hotlist.asserted",
            Self::HotlistReceived => "hotlist.received",
            Self::HotlistErased => "hotlist.erased",
            Self::HitMatched => "hit.matched",
            Self::HitVerified => "hit.verified",
            Self::HitListed => "hit.listed",
            Self::HoldRequested => "hold.requested",
            Self::HoldApproved => "hold.approved",
            Self::HoldRefused => "hold.refused",
            Self::HoldReleaseAsked => "hold.release_asked",
            Self::HoldReleased => "hold.released",
            Self::RetentionDeleted => "retention.deleted",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = serde::de::value::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use serde::de::IntoDeserializer as _;
        Self::deserialize(text.into_deserializer())
    }
}

/// The leaf. Its canonical bytes are the record of the Merkle tree (RFC 6962, section 2.1: hashed after a zero byte).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// When the entry was appended, by the clock of the log's owner.
    pub at: Instant,
    /// What the entry records.
    pub kind: Kind,
    /// `SHA-256(salt_m || message)`.
    pub message: Digest,
    /// `SHA-256(salt_n || note)`.
    pub note: Digest,
    /// The entry's id, unique in its log.
    pub rid: RequestId,
    /// [`VERSION`].
    pub v: u16,
}

impl Leaf {
    /// The leaf over a message (what the partner gets) and a note (what never travels), each with its own salt.
    #[must_use]
    pub fn over(kind: Kind, rid: RequestId, at: Instant, message: (&Salt, &[u8]), note: (&Salt, &[u8])) -> Self {
        Self {
            at,
            kind,
            message: Digest::salted(message.0, message.1),
            note: Digest::salted(note.0, note.1),
            rid,
            v: VERSION,
        }
    }

    /// The canonical bytes (RFC 8785). Written out, not serialised: every field's text is fixed by its type, and a
    /// test holds this to [`json::canonical`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { at, kind, message, note, rid, v } = self;
        format!(r#"{{"at":"{at}","kind":"{kind}","message":"{message}","note":"{note}","rid":"{rid}","v":{v}}}"#)
            .into_bytes()
    }

    /// Reads a leaf from bytes that must be its canonical ones.
    ///
    /// # Errors
    /// Not strict JSON, not a leaf of this version, or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LeafError> {
        if let Some(leaf) = Self::from_canonical(bytes) {
            return Ok(leaf);
        }
        let leaf: Self = json::parse(bytes)?;
        if leaf.v != VERSION {
            return Err(LeafError::Version(leaf.v));
        }
        if leaf.to_bytes() != bytes {
            return Err(LeafError::NotCanonical);
        }
        Ok(leaf)
    }

    /// Reads the canonical bytes of a leaf of this version field by field: there is one way to write each. `None` says
    /// only that they are others; why is for the parser to say.
    fn from_canonical(bytes: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(r#"{"at":""#)?;
        let (at, rest) = rest.split_once(r#"","kind":""#)?;
        let (kind, rest) = rest.split_once(r#"","message":""#)?;
        let (message, rest) = rest.split_once(r#"","note":""#)?;
        let (note, rest) = rest.split_once(r#"","rid":""#)?;
        let (rid, v) = rest.split_once(r#"","v":"#)?;
        let leaf = Self {
            at: Instant::from_written(at)?,
            kind: kind.parse().ok()?,
            message: message.parse().ok()?,
            note: note.parse().ok()?,
            rid: rid.parse().ok()?,
            v: VERSION,
        };
        // An id is read in more forms than the one that it is written in.
        (v == "1}" && leaf.rid.to_string() == rid).then_some(leaf)
    }

    /// The hash by which other entries name this one: SHA-256 over a zero byte and the leaf (RFC 6962, section 2.1).
    #[must_use]
    pub fn hash_of(bytes: &[u8]) -> Digest {
        Digest::of_all(&[&[0], bytes])
    }
}

/// Why bytes are no leaf.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// Not strict JSON of a leaf.
    #[error("the leaf: {0}")]
    Json(#[from] StrictError),
    /// Another version.
    #[error("the leaf is of version {0}; this node reads version {VERSION}")]
    Version(u16),
    /// Other bytes than the canonical ones.
    #[error("the leaf is not in canonical form (RFC 8785)")]
    NotCanonical,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaf_bytes_are_canonical_and_go_round() {
        let at: Instant = "2026-11-23T20:17:00.000001Z".parse().unwrap();
        let leaf = Leaf::over(
            Kind::QueryAsked,
            RequestId::new(at, [3; 10]),
            at,
            (&Salt([1; 32]), b"{}"),
            (&Salt([2; 32]), b"{}"),
        );
        let bytes = leaf.to_bytes();
        assert_eq!(bytes, json::canonical(&leaf).unwrap());
        assert_eq!(Leaf::from_bytes(&bytes).unwrap(), leaf);
        let spaced = [&b" "[..], &bytes].concat();
        assert!(matches!(Leaf::from_bytes(&spaced), Err(LeafError::NotCanonical)));
        let two = String::from_utf8(bytes).unwrap().replace("\"v\":1", "\"v\":2");
        assert!(matches!(Leaf::from_bytes(two.as_bytes()), Err(LeafError::Version(2))));
    }

    #[test]
    fn kinds_are_written_as_they_are_read() {
        // Whoever reads a name that is none says all that are: the list has each of them.
        let said = "none".parse::<Kind>().unwrap_err().to_string();
        let names: Vec<&str> = said.split('`').skip(3).step_by(2).collect();
        assert_eq!(names, Kind::ALL.map(Kind::as_str));
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
        }
    }
}
