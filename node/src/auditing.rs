//! Looking into the trail: who searches it is in it (VIII-03), and receipts verify without asking anybody.

use agreements::entry::{Kind, Leaf, LeafError};
use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::Serialize;

use crate::db::{Conn, Db, Tx};
use crate::exchange::partner::{Partner, PartnerError};
use crate::people::{self, PeopleError};
use crate::registry::accounts::{self, Action};
use crate::registry::agencies;
use crate::registry::exchanged::Receipt;
use crate::trail::Facts;
use crate::trail::proof::{self, Included, ProofError};
use crate::trail::search::{self, Filter, Row};

/// The message of a `trail.searched` entry: what was searched for.
#[derive(Serialize)]
struct Searched {
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    found: usize,
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
    v: u16,
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
        let facts = Facts {
            partner: filter.partner,
            plate: filter.plate.clone(),
            reference: filter.reference.clone(),
            ..Facts::default()
        };
        people::record(tx, Kind::TrailSearched, &searched(filter, rows.len()), &by, facts)?;
        Ok(Ok(rows))
    };
    people::settled(db.record(job).await?)
}

fn searched(filter: Filter, found: usize) -> Searched {
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
    Searched {
        before: before_index,
        decision,
        found,
        kind,
        partner,
        plate,
        purpose,
        reference,
        rule,
        since,
        until,
        username,
        v: 1,
    }
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
    /// The proof does not lead to a head that the partner signed.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Its origin is not enrolled.
    #[error("its origin is not enrolled here, so there is no key to verify it with")]
    Stranger,
    /// The enrolled partner's keys are none.
    #[error(transparent)]
    Keys(#[from] PartnerError),
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

/// Verifies a receipt by the enrolled key of the log that it is of, and nothing else: no network, no other row.
///
/// # Errors
/// The registry failed. What is wrong with the receipt is the inner result.
pub fn verify_receipt(conn: &mut Conn, receipt: &Receipt) -> QueryResult<Result<Included, ReceiptError>> {
    let Some(party) = agencies::find(conn, receipt.origin)? else { return Ok(Err(ReceiptError::Stranger)) };
    let verify = || {
        let partner = Partner::new(party)?;
        let leaf = leaf_of(receipt)?;
        if Digest::salted(&receipt.salt, &receipt.message) != leaf.message {
            return Err(ReceiptError::Commitment);
        }
        Ok(proof::verify(&receipt.proof, &receipt.leaf, partner.log())?)
    };
    Ok(verify())
}
