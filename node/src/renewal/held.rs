//! What the trail has of packets, reviews and approvals. Which documents count, and whose they are, stands there alone; a
//! document itself is held to its hash.

use std::collections::BTreeMap;

use agreements::approval::ApprovalGiven;
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, PacketReceived, PacketSent};
use agreements::packet::Packet;
use agreements::review::Review;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::db::Conn;
use crate::exchange::Failure;
use crate::exchange::lifecycle::ActError;
use crate::registry::papers;
use crate::trail::told::{self, Told, Which};

/// The `typ` of a sealed compliance packet.
pub const PACKET_TYP: &str = "concordat-packet+jws";
/// The `typ` of a sealed review.
pub const REVIEW_TYP: &str = "concordat-review+jws";

/// Why it is not told.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// The registry failed.
    #[error("the registry: {0}")]
    Store(#[from] Error),
    /// It cannot be opened, or not now.
    #[error(transparent)]
    Open(#[from] crate::db::DbError),
    /// An entry of the trail is not the one that was recorded.
    #[error("{0}; run `concordat trail verify`, and do not go on before it is known who changed it")]
    Changed(String),
    /// A document that the trail names is not here, or its row was changed.
    #[error(
        "the {what} {id} that the trail names is missing or was changed by other hands: put its row back from a backup"
    )]
    Missing {
        /// Which kind of document.
        what: &'static str,
        /// Its hash.
        id: Digest,
    },
}

impl From<HeldError> for ActError {
    fn from(error: HeldError) -> Self {
        match error {
            HeldError::Store(error) => Self::Failure(Failure::Registry(error)),
            HeldError::Open(error) => Self::Failure(Failure::Open(error)),
            other => Self::Refused(vec![other.to_string()]),
        }
    }
}

/// Inside a transaction a changed entry is a refusal, and a failing database a failure.
pub(crate) fn settled<T>(result: Result<T, HeldError>) -> QueryResult<Result<T, Vec<String>>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(HeldError::Store(error)) => Err(error),
        Err(other) => Ok(Err(vec![other.to_string()])),
    }
}

/// The message of a `packet.sealed` entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PacketSealed {
    /// The account of the person who had it sealed.
    pub(crate) by: String,
    /// SHA-256 of the packet.
    pub(crate) packet: Digest,
    /// The version of this message.
    pub(crate) v: u16,
}

/// The message of a `renewal.reviewed` entry. It stays in this agency's trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewalReviewed {
    /// The agreement that is to be renewed.
    pub(crate) agreement: AgreementId,
    /// The account of the reviewer.
    pub(crate) by: String,
    /// SHA-256 of the packet that was reviewed.
    pub(crate) packet: Digest,
    /// Whose.
    pub(crate) partner: Ori,
    /// SHA-256 of the review.
    pub(crate) review: Digest,
    /// The version of this message.
    pub(crate) v: u16,
}

/// A packet that is held.
#[derive(Clone, Debug)]
pub struct HeldPacket {
    /// SHA-256 of it.
    pub id: Digest,
    /// What it says.
    pub packet: Packet,
    /// When it was recorded here.
    pub at: Instant,
}

/// A review that is held.
#[derive(Clone, Debug)]
pub struct HeldReview {
    /// SHA-256 of it.
    pub id: Digest,
    /// What it says.
    pub review: Review,
}

/// Every entry of a kind, read as the message that belongs to it.
fn entries<T: DeserializeOwned>(conn: &mut Conn, kind: Kind, which: Which) -> Result<Vec<(Told, T)>, HeldError> {
    let told = told::told(conn, kind, which)?.map_err(HeldError::Changed)?;
    let read = |entry: Told| match json::parse(&entry.message) {
        Ok(message) => Ok((entry, message)),
        Err(error) => Err(HeldError::Changed(format!("an entry {kind} is none that this version writes: {error}"))),
    };
    told.into_iter().map(read).collect()
}

/// A packet by its hash.
///
/// # Errors
/// [`HeldError::Missing`], or the registry failed.
pub fn packet(conn: &mut Conn, id: Digest) -> Result<Packet, HeldError> {
    let missing = HeldError::Missing { what: "packet", id };
    let Some(paper) = papers::find(conn, id, PACKET_TYP)? else { return Err(missing) };
    Packet::from_bytes(&paper.payload).map_err(|_| missing)
}

fn review(conn: &mut Conn, id: Digest) -> Result<Review, HeldError> {
    let missing = HeldError::Missing { what: "review", id };
    let Some(paper) = papers::find(conn, id, REVIEW_TYP)? else { return Err(missing) };
    Review::from_bytes(&paper.payload).map_err(|_| missing)
}

/// This agency's own packets, oldest first: when each was recorded, and its hash.
///
/// # Errors
/// See [`HeldError`].
pub fn own_packets(conn: &mut Conn) -> Result<Vec<(Instant, Digest)>, HeldError> {
    let sealed: Vec<(Told, PacketSealed)> = entries(conn, Kind::PacketSealed, Which::All)?;
    Ok(sealed.into_iter().map(|(told, sealed)| (told.at, sealed.packet)).collect())
}

/// This agency's newest packet.
///
/// # Errors
/// See [`HeldError`].
pub fn newest_own(conn: &mut Conn) -> Result<Option<HeldPacket>, HeldError> {
    let sealed: Vec<(Told, PacketSealed)> = entries(conn, Kind::PacketSealed, Which::Last)?;
    let held = |(told, sealed): &(Told, PacketSealed)| {
        Ok(HeldPacket { id: sealed.packet, packet: packet(conn, sealed.packet)?, at: told.at })
    };
    sealed.last().map(held).transpose()
}

/// The packets that partners sent, by partner, each list oldest first: when each was recorded here, and its hash.
///
/// # Errors
/// See [`HeldError`].
pub fn received(conn: &mut Conn) -> Result<BTreeMap<Ori, Vec<(Instant, Digest)>>, HeldError> {
    received_by(conn, Which::All)
}

/// The same of one partner alone.
///
/// # Errors
/// See [`HeldError`].
pub fn received_of(conn: &mut Conn, partner: Ori) -> Result<Vec<(Instant, Digest)>, HeldError> {
    Ok(received_by(conn, Which::About(partner))?.remove(&partner).unwrap_or_default())
}

fn received_by(conn: &mut Conn, which: Which) -> Result<BTreeMap<Ori, Vec<(Instant, Digest)>>, HeldError> {
    let all: Vec<(Told, PacketReceived)> = entries(conn, Kind::PacketReceived, which)?;
    let mut by_partner: BTreeMap<Ori, Vec<(Instant, Digest)>> = BTreeMap::new();
    for (told, received) in all {
        for to in received.to {
            let of = by_partner.entry(to.ori).or_default();
            if of.iter().all(|(_, id)| *id != received.packet) {
                of.push((told.at, received.packet));
            }
        }
    }
    Ok(by_partner)
}

/// The packet of a partner that was made last, of those received.
///
/// # Errors
/// See [`HeldError`].
pub fn newest_of(conn: &mut Conn, received: &[(Instant, Digest)]) -> Result<Option<HeldPacket>, HeldError> {
    let mut newest: Option<HeldPacket> = None;
    for (at, id) in received {
        let held = HeldPacket { id: *id, packet: packet(conn, *id)?, at: *at };
        if newest.as_ref().is_none_or(|newest| newest.packet.made_at <= held.packet.made_at) {
            newest = Some(held);
        }
    }
    Ok(newest)
}

/// Every review by this agency, by partner, each list oldest first.
pub(crate) fn reviewed(conn: &mut Conn) -> Result<BTreeMap<Ori, Vec<RenewalReviewed>>, HeldError> {
    reviewed_by(conn, Which::All)
}

/// The same of one partner alone.
pub(crate) fn reviewed_of(conn: &mut Conn, partner: Ori) -> Result<Vec<RenewalReviewed>, HeldError> {
    Ok(reviewed_by(conn, Which::About(partner))?.remove(&partner).unwrap_or_default())
}

fn reviewed_by(conn: &mut Conn, which: Which) -> Result<BTreeMap<Ori, Vec<RenewalReviewed>>, HeldError> {
    let mut by_partner: BTreeMap<Ori, Vec<RenewalReviewed>> = BTreeMap::new();
    for (_, reviewed) in entries::<RenewalReviewed>(conn, Kind::RenewalReviewed, which)? {
        by_partner.entry(reviewed.partner).or_default().push(reviewed);
    }
    Ok(by_partner)
}

/// The newest of these reviews.
pub(crate) fn newest_review(conn: &mut Conn, reviewed: &[RenewalReviewed]) -> Result<Option<HeldReview>, HeldError> {
    let held = |last: &RenewalReviewed| Ok(HeldReview { id: last.review, review: review(conn, last.review)? });
    reviewed.last().map(held).transpose()
}

/// What was approved and signed by officials of documents with `partner`, oldest first: when each was entered, and what it
/// says.
///
/// # Errors
/// See [`HeldError`].
pub fn given(conn: &mut Conn, partner: Ori) -> Result<Vec<(Instant, ApprovalGiven)>, HeldError> {
    let given = entries(conn, Kind::ApprovalGiven, Which::About(partner))?;
    Ok(given.into_iter().map(|(told, given): (Told, _)| (told.at, given)).collect())
}

/// When this agency acknowledged the partner's offer of an agreement; `None` where it did not, or offered it itself.
///
/// # Errors
/// See [`HeldError`].
pub(crate) fn offered_at(conn: &mut Conn, partner: Ori, id: AgreementId) -> Result<Option<Instant>, HeldError> {
    // Nothing about an agreement is acknowledged before its offer is.
    let all: Vec<(Told, Acknowledgement)> = entries(conn, Kind::AgreementAcknowledged, Which::About(partner))?;
    let first = all.iter().find(|(_, said)| said.to.iter().any(|to| to.agreement == id));
    Ok(first.map(|(told, _)| told.at))
}

/// The packets that this agency sent: the entry of each.
///
/// # Errors
/// See [`HeldError`].
pub fn sent(conn: &mut Conn) -> Result<Vec<(RequestId, PacketSent)>, HeldError> {
    Ok(entries(conn, Kind::PacketSent, Which::All)?.into_iter().map(|(told, sent)| (told.rid, sent)).collect())
}

/// The checks of the Attorney General's sources (V-31), oldest first: when each was made, and the hash of what was recorded.
///
/// # Errors
/// See [`HeldError`].
pub fn ag_checks(conn: &mut Conn) -> Result<Vec<(Instant, Digest)>, HeldError> {
    let told = told::told(conn, Kind::AgCheck, Which::All)?.map_err(HeldError::Changed)?;
    Ok(told.into_iter().map(|told| (told.at, Digest::of(&told.message))).collect())
}

/// What is missing or changed of the documents that the trail names; empty when all are here.
pub(crate) fn objections(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let look = |conn: &mut Conn| -> Result<Vec<String>, HeldError> {
        let mut wanted: Vec<(Digest, &'static str, &'static str)> = Vec::new();
        wanted.extend(own_packets(conn)?.into_iter().map(|(_, id)| (id, PACKET_TYP, "packet")));
        wanted.extend(received(conn)?.into_values().flatten().map(|(_, id)| (id, PACKET_TYP, "packet")));
        wanted.extend(reviewed(conn)?.into_values().flatten().map(|it| (it.review, REVIEW_TYP, "review")));
        let mut objections = Vec::new();
        for (id, typ, what) in wanted {
            if papers::find(conn, id, typ)?.is_none() {
                objections.push(format!("the {what} {id} is missing or is not the one that the trail names"));
            }
        }
        Ok(objections)
    };
    Ok(settled(look(conn))?.unwrap_or_else(|what| what))
}
