//! An entry as it is shown to who may read the trail.

use agreements::entry::Kind;
use agreements::ids::{Ori, RequestId};
use agreements::time::Instant;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::trail::deleted::{Certified, Deletion};
use crate::trail::search::Row;

/// An entry as it is shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The position in the log.
    pub index: u64,
    /// The entry's id.
    pub rid: RequestId,
    /// What it records.
    pub kind: Kind,
    /// When it was appended.
    pub at: Instant,
    /// The other agency.
    pub partner: Option<Ori>,
    /// The user on whose behalf it happened.
    pub username: Option<String>,
    /// The purpose that was named.
    pub purpose: Option<String>,
    /// The typed reference.
    pub reference: Option<String>,
    /// The plate.
    pub plate: Option<String>,
    /// How it was decided.
    pub decision: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What the partner got; absent after its retention.
    pub message: Option<Box<RawValue>>,
    /// What never travelled; absent after its retention.
    pub note: Option<Box<RawValue>>,
    /// By which certificate what it said was deleted after its retention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deletion>,
}

/// The columns of a table of entries.
pub const COLUMNS: [&str; 14] = [
    "index",
    "at",
    "kind",
    "partner",
    "user",
    "purpose",
    "reference",
    "plate",
    "decision",
    "rule",
    "id",
    "message",
    "note",
    "details",
];

impl Shown {
    /// Its cells, in the order of [`COLUMNS`].
    #[must_use]
    pub fn cells(&self) -> [String; 14] {
        let or_blank = |text: &Option<String>| text.clone().unwrap_or_default();
        let json =
            |value: &Option<Box<RawValue>>| value.as_ref().map(|value| value.get().to_owned()).unwrap_or_default();
        [
            self.index.to_string(),
            self.at.to_string(),
            self.kind.to_string(),
            self.partner.map(|ori| ori.to_string()).unwrap_or_default(),
            or_blank(&self.username),
            or_blank(&self.purpose),
            or_blank(&self.reference),
            or_blank(&self.plate),
            or_blank(&self.decision),
            or_blank(&self.rule),
            self.rid.to_string(),
            json(&self.message),
            json(&self.note),
            self.details().unwrap_or_default(),
        ]
    }

    /// What became of what it said, where that is not there.
    #[must_use]
    pub fn details(&self) -> Option<String> {
        match self.deleted {
            Some(Deletion { at, certificate }) => Some(format!("details deleted on {at} by certificate {certificate}")),
            None if self.message.is_none() => {
                Some("details missing, and no certificate: concordat trail verify".to_owned())
            }
            None => None,
        }
    }

    /// With what certificates say became of it, where it says nothing any more.
    #[must_use]
    pub fn of(row: Row, certified: &Certified) -> Self {
        let deleted = if row.detail.is_none() { certified.of(row.index) } else { None };
        Self { deleted, ..Self::from(row) }
    }
}

impl From<Row> for Shown {
    fn from(row: Row) -> Self {
        // What does not read as JSON was changed by other hands; `trail verify` names it.
        let json = |bytes: Vec<u8>| String::from_utf8(bytes).ok().and_then(|text| RawValue::from_string(text).ok());
        let (message, note) = row.detail.map_or((None, None), |detail| (json(detail.message), json(detail.note)));
        Self {
            index: row.index,
            rid: row.rid,
            kind: row.kind,
            at: row.at,
            partner: row.facts.partner,
            username: row.facts.username,
            purpose: row.facts.purpose,
            reference: row.facts.reference,
            plate: row.facts.plate,
            decision: row.facts.decision,
            rule: row.facts.rule,
            message,
            note,
            deleted: None,
        }
    }
}
