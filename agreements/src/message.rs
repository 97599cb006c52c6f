//! The messages that nodes exchange, each inside an entry of the sender's trail.
//!
//! Every message names its protocol version and the agencies and agreements that it is for. Unknown fields are refused.
//! Which versions there are, and how each is read, is [`crate::protocol`]'s.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::agreement::Area;
use crate::ids::{AgreementId, Digest, Ori, ReadId, RequestId};
use crate::json;
use crate::party::Keys;
use crate::plate::Plate;
use crate::protocol::Versioned;
use crate::purpose::{Purpose, Reference};
use crate::rule::Rule;
use crate::status::Status;
use crate::stream::Event;
use crate::time::Instant;

/// The newest protocol version that this code speaks; [`crate::protocol::Spoken::OURS`] has the others.
pub const PROTOCOL: u16 = 1;

/// Whom a message is for: an agency, under an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// The agency.
    pub ori: Ori,
    /// The agreement.
    pub agreement: AgreementId,
}

/// A message that travels in an entry.
pub trait Message: Versioned {
    /// The protocol version that it names.
    fn version(&self) -> u16;
    /// Whom it is for.
    fn to(&self) -> &[To];
}

macro_rules! messages {
    ($($name:ident)*) => {$(
        impl Versioned for $name {}

        impl Message for $name {
            fn version(&self) -> u16 {
                self.v
            }

            fn to(&self) -> &[To] {
                &self.to
            }
        }
    )*};
}
messages!(Question Answer Offer StreamEvent PacketSent PacketReceived Acknowledgement);

/// What is searched for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Search {
    /// One plate.
    Exact {
        /// The plate.
        plate: Plate,
    },
    /// One plate, and plates that readers confuse with it.
    Fuzzy {
        /// The plate.
        plate: Plate,
    },
    /// Part of a plate; `?` stands for one character, `*` for any number.
    Partial {
        /// The pattern.
        #[serde(deserialize_with = "json::text")]
        pattern: String,
    },
    /// Whatever was read in an area.
    WithoutPlate {},
}

impl Search {
    /// The kind, such as `exact`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact { .. } => "exact",
            Self::Fuzzy { .. } => "fuzzy",
            Self::Partial { .. } => "partial",
            Self::WithoutPlate {} => "without_plate",
        }
    }

    /// The plate or pattern, for the trail (VIII-05).
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Exact { plate } | Self::Fuzzy { plate } => Some(plate.as_str()),
            Self::Partial { pattern } => Some(pattern),
            Self::WithoutPlate {} => None,
        }
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Search({}, ..)", self.kind())
    }
}

/// Who asks: a person, and what the person's agency asserts about them (V-11, VIII-06, VIII-07, VII-11 to VII-15).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The agency that the person works for; the one that sends the question.
    pub agency: Ori,
    /// The account, not reused within a year.
    #[serde(deserialize_with = "json::text")]
    pub username: String,
    /// The person's name.
    #[serde(deserialize_with = "json::text")]
    pub name: String,
    /// Unit or assignment.
    #[serde(deserialize_with = "json::text")]
    pub affiliation: String,
    /// Whether the agency approved the person for queries (II-01, II-06).
    pub approved: bool,
    /// The date of the last complete training (SB 34, SB 54, policy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<Date>,
}

/// For whom the answer is: the asker's own agency, or another that it asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnBehalfOf {
    /// The agency that will use the answer.
    pub agency: Ori,
    /// The person there who will.
    #[serde(deserialize_with = "json::text")]
    pub end_user: String,
}

/// A question to one or more owners of reads (kind `query.asked`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The owners asked.
    pub to: Vec<To>,
    /// Who asks.
    pub asker: Asker,
    /// For whom.
    pub on_behalf_of: OnBehalfOf,
    /// What for.
    pub purpose: Purpose,
    /// The file that it belongs to. Absent when the asker gave none; the decision then denies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Why, in words.
    #[serde(deserialize_with = "json::text")]
    pub reason: String,
    /// The supervisor who knows of it; needed for crime prevention (I-05).
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<String>,
    /// Why every partner is asked, when every partner is (III-06).
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub why_all: Option<String>,
    /// What is searched for.
    pub search: Search,
    /// Reads from this instant on.
    pub from: Instant,
    /// Reads before this instant.
    pub until: Instant,
    /// Reads within this area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<Area>,
    /// At most this many.
    pub max_rows: u32,
    /// Whether images are wanted.
    pub images: bool,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asker(of {}, ..)", self.agency)
    }
}

impl fmt::Debug for OnBehalfOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnBehalfOf({}, ..)", self.agency)
    }
}

impl fmt::Debug for Question {
    /// No names, no case numbers, no words of the asker: a question may come into a log by its `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { v, to, asker, purpose, search, .. } = self;
        write!(f, "Question {{ v: {v}, to: {to:?}, asker: {asker:?}, purpose: {purpose}, search: {search:?}, .. }}")
    }
}

/// The owner's answer to one question (kind `query.answered`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The asker, under the agreement that the question named.
    pub to: Vec<To>,
    /// The leaf hash of the question.
    pub question: Digest,
    /// What was decided.
    pub outcome: Outcome,
}

/// What an owner decided about a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The reads that follow as bulk.
    Permitted {
        /// Their ids, newest read first.
        reads: Vec<ReadId>,
        /// SHA-256 of the bulk's bytes.
        results: Digest,
        /// Which limits cut the question down.
        capped: Vec<Cap>,
    },
    /// Nothing, and why.
    Denied {
        /// The rules that denied it; the first decided.
        rules: Vec<RuleSaid>,
        /// Where the agreement stands, when it is not in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<Status>,
    },
    /// It waits for the owner's custodian (V-15, XI-05). Says nothing about what exists.
    Referred {
        /// To ask for the outcome with.
        ticket: RequestId,
        /// The rules that referred it.
        rules: Vec<RuleSaid>,
    },
    /// It was permitted, and the permit ended before the answer could be recorded.
    Withheld {
        /// Where the agreement stood then.
        status: Status,
    },
}

impl Outcome {
    /// One word: `permitted`, `denied`, `referred`, `withheld`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Permitted { .. } => "permitted",
            Self::Denied { .. } => "denied",
            Self::Referred { .. } => "referred",
            Self::Withheld { .. } => "withheld",
        }
    }
}

/// A rule as a partner is told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSaid {
    /// Its name.
    pub rule: Rule,
    /// The clauses of the policy that it makes real.
    #[serde(deserialize_with = "json::texts")]
    pub clauses: Vec<String>,
    /// What the asker can do about it.
    #[serde(deserialize_with = "json::text")]
    pub says: String,
}

impl From<Rule> for RuleSaid {
    fn from(rule: Rule) -> Self {
        Self {
            rule,
            clauses: rule.clauses().iter().map(|&clause| clause.to_owned()).collect(),
            says: rule.says().to_owned(),
        }
    }
}

/// A limit that cut a question down to what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "limit", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cap {
    /// Reads before this instant were not searched.
    Lookback {
        /// The earliest instant that was.
        from: Instant,
    },
    /// Only this area was searched.
    Area {
        /// It.
        area: Area,
    },
    /// At most this many reads were asked of the store.
    Rows {
        /// How many.
        max: u32,
    },
    /// Older reads exist within the window than the answer holds.
    More {},
    /// Images were asked for and are not released.
    Images {},
}

/// What the asker got (kind `query.received`). It stays in the asker's own trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The leaf hash of the question.
    pub question: Digest,
    /// One line for each owner asked.
    pub answers: Vec<ReceivedFrom>,
}

/// What one owner gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceivedFrom {
    /// The owner.
    pub ori: Ori,
    /// The leaf hash of its answer; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Digest>,
    /// The decision, or why there was no answer.
    pub outcome: String,
}

/// An agreement offered to the partner; the document follows as bulk (kind `agreement.offered`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The partner, under the agreement offered.
    pub to: Vec<To>,
    /// SHA-256 of the document.
    pub document: Digest,
}

/// One event of the sender's stream (kind `agreement.event`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEvent {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The partner, under the agreement concerned.
    pub to: Vec<To>,
    /// SHA-256 of the document.
    pub document: Digest,
    /// Its number in the sender's stream, from 1.
    pub n: u32,
    /// How many of the receiver's events the sender had when it said this: what it was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u32>,
    /// What happened.
    pub event: Event,
}

/// A compliance packet (V-29) for the partner; the sealed document follows as bulk (kind `packet.sent`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketSent {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The partner, under an agreement with it.
    pub to: Vec<To>,
    /// SHA-256 of the packet.
    pub packet: Digest,
}

/// A partner's compliance packet was received, found to be sealed by it, and kept (kind `packet.received`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketReceived {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The partner, under the agreement that it named.
    pub to: Vec<To>,
    /// The leaf hash of what was received.
    pub of: Digest,
    /// SHA-256 of the packet.
    pub packet: Digest,
}

/// A partner's offer or event was received and kept (kind `agreement.acknowledged`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// [`PROTOCOL`].
    pub v: u16,
    /// The partner, under the agreement concerned.
    pub to: Vec<To>,
    /// The leaf hash of what was received.
    pub of: Digest,
    /// Where the agreement stands with it.
    pub status: Status,
}

/// What is sealed when a party lifts its own suspension: the statement, apart from any trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// `concordat-resumption/1`.
    #[serde(deserialize_with = "json::text")]
    pub format: String,
    /// Who resumes.
    pub party: Ori,
    /// The agreement.
    pub agreement: AgreementId,
    /// SHA-256 of the document.
    pub document: Digest,
    /// The number of the event in the party's stream.
    pub n: u32,
    /// Why.
    #[serde(deserialize_with = "json::text")]
    pub reason: String,
}

impl Resumption {
    /// The statement of `party` that event `n` of its stream resumes `agreement`.
    #[must_use]
    pub fn new(party: Ori, agreement: AgreementId, document: Digest, n: u32, reason: &str) -> Self {
        let format = "concordat-resumption/1".to_owned();
        Self { format, party, agreement, document, n, reason: reason.to_owned() }
    }
}

/// What is sealed when a party's node gets other keys or another place: the statement, apart from any trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// `concordat-change/1`.
    #[serde(deserialize_with = "json::text")]
    pub format: String,
    /// Whose node.
    pub party: Ori,
    /// The agreement.
    pub agreement: AgreementId,
    /// SHA-256 of the document.
    pub document: Digest,
    /// The number of the event in the party's stream.
    pub n: u32,
    /// Why.
    #[serde(deserialize_with = "json::text")]
    pub reason: String,
    /// What changes.
    pub change: Changed,
}

/// What changes about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Changed {
    /// Its keys.
    Rekeyed {
        /// The new ones.
        keys: Keys,
        /// Whether an old one is, or may be, in other hands.
        compromised: bool,
    },
    /// Its place or its contacts.
    Moved {
        /// The URL of its peer port.
        #[serde(deserialize_with = "json::text")]
        url: String,
        /// Mailboxes of roles there.
        #[serde(deserialize_with = "json::texts")]
        contacts: Vec<String>,
    },
}

impl Change {
    /// The statement of `party` that event `n` of its stream under `agreement` makes.
    #[must_use]
    pub fn new(party: Ori, agreement: AgreementId, document: Digest, n: u32, reason: &str, change: Changed) -> Self {
        let format = "concordat-change/1".to_owned();
        Self { format, party, agreement, document, n, reason: reason.to_owned(), change }
    }
}
