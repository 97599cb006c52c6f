//! What a partner swore: an entry of its own trail, proven to be in there and meant for us.
//!
//! [`Sworn`] is the only type that services take from a partner, and [`verify`] the only way to one.

use agreements::entry::{Kind, Leaf, LeafError};
use agreements::ids::{AgreementId, Digest, Ori, RequestId, Salt};
use agreements::json::StrictError;
use agreements::message::Message;
use agreements::protocol::{self, ReadError, Spoken};
use agreements::time::Instant;

use diesel::result::QueryResult;

use super::partner::{Partner, Seen};
use super::wire::Envelope;
use crate::db::Conn;
use crate::publishing::NotHeld;
use crate::registry::heads;
use crate::trail::epoch;
use crate::trail::note::Checkpoint;
use crate::trail::proof::{self, CheckpointCache, ProofError};

/// A question older or newer than this, in microseconds, is not heard.
pub const FRESH: i64 = 5 * Instant::MINUTE;

/// A message that a partner committed to its trail before it sent it.
#[derive(Debug)]
pub struct Sworn<T> {
    message: T,
    entry: Evidence,
    agreement: AgreementId,
}

/// The entry as it arrived: what proves it, offline and for ever.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Whose trail it is in.
    pub origin: Ori,
    /// Its id there.
    pub rid: RequestId,
    /// Its position there.
    pub index: u64,
    /// When it was appended, by the origin's clock.
    pub at: Instant,
    /// Its canonical leaf.
    pub leaf: Vec<u8>,
    /// Its leaf hash.
    pub leaf_hash: Digest,
    /// Its message, as it arrived.
    pub message: Vec<u8>,
    /// The message's salt.
    pub salt: Salt,
    /// tlog-proof@v1.
    pub proof: String,
    /// The head that the proof leads to.
    pub head: Checkpoint,
    /// From what the keys were made that it was verified with.
    pub under: Seen,
}

impl Evidence {
    /// Where it stands among all that its log ever said, whichever epoch that was: what is newer stands later.
    #[must_use]
    pub fn place(&self) -> u64 {
        epoch::place(&self.head.origin, self.index)
    }

    /// Remembers the head that it stands on: a later one must have it as its beginning.
    pub fn see_head(&self, conn: &mut Conn, now: Instant) -> QueryResult<()> {
        heads::see(conn, self.origin, &self.head, proof::checkpoint(&self.proof), now)
    }
}

impl<T> Sworn<T> {
    /// What was said.
    pub fn message(&self) -> &T {
        &self.message
    }

    /// What proves it.
    pub fn evidence(&self) -> &Evidence {
        &self.entry
    }

    /// The agreement under which it was said to us.
    pub fn agreement(&self) -> AgreementId {
        self.agreement
    }

    /// The message and its evidence.
    pub fn into_parts(self) -> (T, Evidence) {
        (self.message, self.entry)
    }
}

/// Why an entry is not heard. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SwornError {
    /// The leaf is no leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The proof does not prove it.
    #[error("{0}; send the entry with a proof from your own log")]
    Proof(#[from] ProofError),
    /// Another kind than this door takes.
    #[error("an entry of kind {found} came where {expected} belongs")]
    Kind {
        /// What came.
        found: Kind,
        /// What belongs here.
        expected: Kind,
    },
    /// The leaf commits to another message.
    #[error("the leaf does not commit to this message with this salt")]
    Commitment,
    /// Not strict JSON of the message that belongs here.
    #[error("the message: {0}")]
    Message(StrictError),
    /// A protocol version that this node does not speak.
    #[error("the message is of protocol version {found}; this node speaks {spoken}")]
    Version {
        /// What it says.
        found: u16,
        /// What this node speaks.
        spoken: Spoken,
    },
    /// Its log has two trails.
    #[error(
        "this log signed two heads that exclude each other (evidence {0}): nothing is exchanged with it until it begins a new one"
    )]
    Forked(Digest),
    /// Its log is not witnessed as the agreement demands.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// For others.
    #[error("the message is not for this agency; send it to those whom it names")]
    NotForUs,
    /// For us more than once.
    #[error("the message names this agency twice; name each agency once, under one agreement")]
    Twice,
    /// Said too long ago, or in the future.
    #[error(
        "the question was recorded at {at} and it is {now} here: over five minutes apart; ask again, and check the clocks"
    )]
    NotFresh {
        /// When it was recorded.
        at: Instant,
        /// What time it is here.
        now: Instant,
    },
}

impl From<ReadError> for SwornError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Json(error) => Self::Message(error),
            ReadError::Version { found, spoken } => Self::Version { found, spoken },
        }
    }
}

impl SwornError {
    /// Whether it is refused for its version, of the message or of the leaf.
    #[must_use]
    pub fn is_of_version(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Leaf(LeafError::Version(_)))
    }
}

/// Checks that `partner` swore what `envelope` says, that it is an entry of kind `expected`, and that it is for `us`.
/// The order is fixed: proof, kind, commitment, addressee. Whether its id is new is for the commit to see, and whether
/// the TLS peer is `partner` was seen before the body was read.
///
/// # Errors
/// See [`SwornError`]. Nothing is kept of what is refused.
pub fn verify<T: Message>(
    envelope: &Envelope<'_>,
    expected: Kind,
    partner: &Partner,
    us: Ori,
    cache: &CheckpointCache,
) -> Result<Sworn<T>, SwornError> {
    if let Some(evidence) = partner.forked()
        && matches!(expected, Kind::QueryAsked | Kind::QueryAnswered | Kind::HotlistPulled | Kind::HotlistAsserted)
    {
        return Err(SwornError::Forked(evidence));
    }
    let leaf_bytes = envelope.entry.leaf.get().as_bytes();
    let leaf = Leaf::from_bytes(leaf_bytes)?;
    let included = proof::verify_with(&envelope.proof, leaf_bytes, partner.log(), cache)?;
    if leaf.kind != expected {
        return Err(SwornError::Kind { found: leaf.kind, expected });
    }
    let message_bytes = envelope.entry.message.get().as_bytes();
    if Digest::salted(&envelope.entry.salt, message_bytes) != leaf.message {
        return Err(SwornError::Commitment);
    }
    let message: T = protocol::read(message_bytes)?;
    let mut to_us = message.to().iter().filter(|to| to.ori == us);
    // Two readers could take two agreements from it.
    let agreement = match (to_us.next(), to_us.next()) {
        (Some(to), None) => to.agreement,
        (None, _) => return Err(SwornError::NotForUs),
        (Some(_), Some(_)) => return Err(SwornError::Twice),
    };
    let entry = Evidence {
        origin: partner.ori(),
        rid: leaf.rid,
        index: included.index,
        at: leaf.at,
        leaf_hash: Leaf::hash_of(leaf_bytes),
        leaf: leaf_bytes.to_vec(),
        message: message_bytes.to_vec(),
        salt: envelope.entry.salt,
        proof: envelope.proof.clone(),
        head: included.checkpoint,
        under: partner.seen().clone(),
    };
    Ok(Sworn { message, entry, agreement })
}

/// Whether a question was recorded within [`FRESH`] of `now`.
///
/// # Errors
/// [`SwornError::NotFresh`].
pub fn fresh<T>(sworn: &Sworn<T>, now: Instant) -> Result<(), SwornError> {
    let at = sworn.entry.at;
    if now.since(at).unsigned_abs() > FRESH.unsigned_abs() {
        return Err(SwornError::NotFresh { at, now });
    }
    Ok(())
}
