//! Why an exchange gave no sworn answer. A domain "no" is not here: that is an answer.

use std::sync::Arc;

use agreements::json::StrictError;

use super::sworn::SwornError;
use crate::clock::Jump;
use crate::db::RecordError;
use crate::publishing::{Behind, Unheard, Unwitnessed};
use crate::reads::store::StoreError;

/// Why there is no sworn answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The body is no envelope.
    #[error("the body is no sworn entry: {0}")]
    Malformed(StrictError),
    /// The entry is not heard.
    #[error(transparent)]
    Unsworn(#[from] SwornError),
    /// The id was used for another entry.
    #[error("this id was heard with another entry; an id is used once")]
    Conflict,
    /// A number of a stream that cannot be next.
    #[error("event {found} came where event {expected} of your stream is next; send them in order")]
    OutOfOrder {
        /// What came.
        found: u32,
        /// What is next.
        expected: u32,
    },
    /// What was said is not acceptable, and why.
    #[error("{0}")]
    Unacceptable(String),
    /// The standing changed between the decision and the record of what was about to leave.
    #[error("the standing changed meanwhile; ask again")]
    Overtaken,
    /// The record could not be made, so there is no answer.
    #[error("this node cannot record now, so it does not answer: {0}")]
    Record(#[from] RecordError),
    /// Entries of this node's trail are hidden from whoever looks for them, so nothing that was decided can be relied on.
    #[error("this node's trail was changed by other hands, so it discloses nothing: `concordat trail verify`")]
    Hidden,
    /// No quorum of witnesses vouches for this node's trail, so nothing is disclosed.
    #[error("{0}, so it discloses nothing; the administrator has to reach the witnesses")]
    Unwitnessed(#[from] Unwitnessed),
    /// This node's registry was restored from a backup, so nothing is said to any partner.
    #[error("this node is unready: {0}")]
    Behind(Arc<Behind>),
    /// Its witnesses have not said yet which head they know.
    #[error("{0}, so it discloses nothing; the administrator has to reach the witnesses")]
    Unheard(#[from] Unheard),
    /// The machine's clock has jumped.
    #[error("this node is unready: {0}; set the clock right, or let two people accept it")]
    Jumped(Jump),
    /// A record without its entry: cannot be.
    #[error("this node recorded, but cannot prove it, so it does not answer")]
    Unrecorded,
    /// The read store failed.
    #[error("this node's read store failed: {0}")]
    Reads(#[from] StoreError),
    /// The registry failed.
    #[error("this node's registry failed: {0}")]
    Registry(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("this node's registry cannot be opened: {0}")]
    Open(#[from] crate::db::DbError),
    /// Something that cannot be: a value without a text.
    #[error("internal: {0}")]
    Internal(StrictError),
}
