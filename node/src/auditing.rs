//! Looking into the trail: who searches it is in it (VIII-03), and receipts verify without asking anybody.

use agreements::entry::{Kind, Leaf, LeafError};
use agreements::hotlist::Assertion;
use agreements::ids::{Digest, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, Answer, PacketReceived, Received};
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::{Deserialize, Serialize};

use crate::db::{Conn, Db, Tx};
use crate::exchange::partner::{Partners, Past};
use crate::people::{self, PeopleError};
use crate::registry::accounts::{self, Action};
use crate::registry::exchanged::{self, Receipt};
use crate::trail::note::Vkey;
use crate::trail::proof::{self, Included, ProofError};
use crate::trail::search::{self, Filter, Row};
use crate::trail::{Facts, head, told};

/// The message of a `trail.searched` entry: what was searched for.
#[derive(Serialize)]
struct Searched {
    #[serde(flatten)]
    what: What,
    found: usize,
    v: u16,
}

/// The message of a `trail.searched` entry about receipts.
#[derive(Serialize)]
struct ReceiptsListed {
    found: usize,
    /// The entry of ours that they are for; absent when it is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<RequestId>,
    what: &'static str,
    v: u16,
}

/// The message of a `trail.exported` entry: what left the trail, and in which form.
#[derive(Serialize)]
struct Exported {
    #[serde(flatten)]
    what: What,
    form: &'static str,
    /// How many entries the trail had: what is exported is among them.
    size: u64,
    v: u16,
}

/// What was searched for, as it is recorded.
#[derive(Default, Serialize)]
struct What {
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<agreements::ids::Ori>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
}

/// The newest entries that `filter` lets through, for the account `by`. The search is an entry before its result is
/// shown.
///
/// # Errors
/// The person may not read the trail, or the search is not recorded.
pub async fn search(db: &Db, filter: Filter, by: &str) -> Result<Vec<Row>, PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::ReadTrail)? {
            return Ok(Err(why));
        }
        let rows = search::search(tx.conn(), &filter)?;
        let facts = about(&filter);
        let message = Searched { what: what(filter), found: rows.len(), v: 1 };
        people::record(tx, Kind::TrailSearched, &message, &by, facts)?;
        Ok(Ok(rows))
    };
    people::settled(db.record(job).await?)
}

/// The receipts that are kept for the entry `of` of this trail, or all of them, oldest first and at most `limit`, for the
/// account `by`. That somebody looked is an entry before it is shown.
///
/// # Errors
/// The person may not read the trail, or the look is not recorded.
pub async fn receipts(db: &Db, of: Option<RequestId>, limit: i64, by: &str) -> Result<Vec<Receipt>, PeopleError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::ReadTrail)? {
            return Ok(Err(why));
        }
        let kept = exchanged::receipts(tx.conn(), of, limit)?;
        let message = ReceiptsListed { found: kept.len(), of, what: "receipts", v: 1 };
        people::record(tx, Kind::TrailSearched, &message, &by, Facts::default())?;
        Ok(Ok(kept))
    };
    people::settled(db.record(job).await?)
}

/// Records that `by` takes what `filter` lets through out of the trail in this form (VIII-03), before any of it is read.
/// How many entries there are by then: the export is of those.
///
/// # Errors
/// The person may not read the trail, or it is not recorded.
pub async fn exporting(db: &Db, form: &'static str, filter: &Filter, by: &str) -> Result<u64, PeopleError> {
    let (by, filter) = (by.to_owned(), filter.clone());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::ReadTrail)? {
            return Ok(Err(why));
        }
        let (size, _) = head::extent(tx.conn())?;
        let facts = about(&filter);
        let message = Exported { what: what(filter), form, size, v: 1 };
        people::record(tx, Kind::TrailExported, &message, &by, facts)?;
        Ok(Ok(size))
    };
    people::settled(db.record(job).await?)
}

/// By what it is found that somebody looked.
fn about(filter: &Filter) -> Facts {
    Facts {
        partner: filter.partner,
        plate: filter.plate.clone(),
        reference: filter.reference.clone(),
        ..Facts::default()
    }
}

fn what(filter: Filter) -> What {
    let Filter {
        since,
        until,
        partner,
        username,
        purpose,
        reference,
        plate,
        decision,
        rule,
        kind,
        before_index,
        limit: _,
    } = filter;
    What { before: before_index, decision, kind, partner, plate, purpose, reference, rule, since, until, username }
}

/// Why a receipt does not prove what it says.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The leaf is no leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// It is kept under another hash than its own.
    #[error("it is kept under another hash than that of its leaf")]
    Hash,
    /// The leaf commits to another message.
    #[error("its leaf does not commit to its message")]
    Commitment,
    /// It is kept for another entry of ours than the one that it answers.
    #[error("it answers another entry than the one that it is kept for")]
    Answers,
    /// The proof does not lead to a head that the partner signed.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A key signed it that is not its origin's any more, and our trail did not name it while that was.
    #[error(
        "its key was replaced, which entry {until} of this trail recorded, and no entry before that names it: it counts for nothing"
    )]
    Replaced {
        /// The position of that entry.
        until: u64,
    },
    /// Its origin is not enrolled.
    #[error("its origin is not enrolled here, so there is no key to verify it with")]
    Stranger,
}

/// The leaf of a receipt.
///
/// # Errors
/// It is none, or another one than the receipt is kept for.
pub fn leaf_of(receipt: &Receipt) -> Result<Leaf, ReceiptError> {
    let leaf = Leaf::from_bytes(&receipt.leaf)?;
    if Leaf::hash_of(&receipt.leaf) != receipt.leaf_hash {
        return Err(ReceiptError::Hash);
    }
    Ok(leaf)
}

/// Verifies a receipt by the key of the log that it is of, without any network, and that it answers the entry of our trail
/// that it is kept for. What a key signed that was replaced since stands if our trail named it before it recorded that.
///
/// # Errors
/// The registry failed. What is wrong with the receipt is the inner result.
pub fn verify_receipt(conn: &mut Conn, receipt: &Receipt) -> QueryResult<Result<Included, ReceiptError>> {
    let partners = Partners::load(conn)?;
    Ok(verify_receipt_of(conn, &partners, receipt)?.map(|(included, _)| included))
}

/// The same with the enrolled partners as they were read before, and with the key that it verifies with.
///
/// # Errors
/// The registry failed. What is wrong with the receipt is the inner result.
pub fn verify_receipt_of(
    conn: &mut Conn,
    partners: &Partners,
    receipt: &Receipt,
) -> QueryResult<Result<(Included, Vkey), ReceiptError>> {
    let Some(partner) = partners.find(receipt.origin).cloned() else {
        return Ok(Err(ReceiptError::Stranger));
    };
    let ours = search::by_rid(conn, receipt.of)?;
    let verify = || {
        let leaf = leaf_of(receipt)?;
        if Digest::salted(&receipt.salt, &receipt.message) != leaf.message {
            return Err(ReceiptError::Commitment);
        }
        if !ours.is_some_and(|ours| belong(&ours, leaf.kind, receipt)) {
            return Err(ReceiptError::Answers);
        }
        Ok(proof::verify(&receipt.proof, &receipt.leaf, partner.log())?)
    };
    match verify() {
        Err(ReceiptError::Proof(refused)) => {
            let replaced = partner.past().iter().rev().find_map(|past| {
                let included = proof::verify(&receipt.proof, &receipt.leaf, &past.log).ok()?;
                Some((past, included))
            });
            match replaced {
                Some((past, included)) if named_before(conn, receipt, past)? => Ok(Ok((included, past.log.clone()))),
                Some((past, _)) => Ok(Err(ReceiptError::Replaced { until: past.until })),
                None => Ok(Err(refused.into())),
            }
        }
        verified => Ok(verified.map(|included| (included, partner.log().clone()))),
    }
}

/// Whether an entry of this kind asks, so that it is kept for our answer to it.
fn belongs_to_answer(kind: Kind) -> bool {
    matches!(kind, Kind::QueryAsked | Kind::HotlistPulled)
}

/// Whether an entry of ours and a receipt that is kept for it are question and answer: one names the other.
fn belong(ours: &Row, kind: Kind, receipt: &Receipt) -> bool {
    match kind {
        // What a partner asked was there first: our answer names it.
        kind if belongs_to_answer(kind) => {
            let said = ours.detail.as_ref().and_then(|said| named(ours.kind, &said.message));
            said == Some(receipt.leaf_hash)
        }
        _ => named(kind, &receipt.message) == Some(Leaf::hash_of(&ours.leaf)),
    }
}

/// Whether our trail named a receipt before it recorded that the key which signed it is replaced: in the entry that says what
/// came, or in the one that recorded the change.
fn named_before(conn: &mut Conn, receipt: &Receipt, past: &Past) -> QueryResult<bool> {
    if past.named.contains(&receipt.leaf_hash) {
        return Ok(true);
    }
    let Some(of) = search::by_rid(conn, receipt.of)? else { return Ok(false) };
    if of.index < past.until && leaf_of(receipt).is_ok_and(|leaf| belongs_to_answer(leaf.kind)) {
        // Our answer to it names it, and was made while the key counted.
        return Ok(true);
    }
    let kind = match leaf_of(receipt).map(|leaf| leaf.kind) {
        Ok(Kind::QueryAnswered) => Kind::QueryReceived,
        Ok(Kind::HotlistAsserted) => Kind::HotlistReceived,
        _ => return Ok(false),
    };
    let named = |message: &[u8]| match kind {
        Kind::QueryReceived => json::parse::<Received>(message)
            .is_ok_and(|message| message.answers.iter().any(|from| from.answer == Some(receipt.leaf_hash))),
        _ => json::parse::<Taken>(message).is_ok_and(|message| message.assertion == Some(receipt.leaf_hash)),
    };
    told::any(conn, kind, of.index..past.until, named)
}

/// What matters here of a `hotlist.received` entry.
#[derive(Deserialize)]
struct Taken {
    #[serde(default)]
    assertion: Option<Digest>,
}

/// The leaf hash of the entry that a partner's entry says it answers.
pub(crate) fn named(kind: Kind, message: &[u8]) -> Option<Digest> {
    match kind {
        Kind::QueryAnswered => json::parse::<Answer>(message).ok().map(|answer| answer.question),
        Kind::AgreementAcknowledged => {
            json::parse::<Acknowledgement>(message).ok().map(|acknowledgement| acknowledgement.of)
        }
        Kind::PacketReceived => json::parse::<PacketReceived>(message).ok().map(|received| received.of),
        Kind::HotlistAsserted => json::parse::<Assertion>(message).ok().map(|assertion| assertion.pull),
        _ => None,
    }
}
