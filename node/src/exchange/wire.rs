//! Entries as they travel: `{"entry":{"leaf","message","salt"},"proof",...bulk}`.
//!
//! What is hashed is kept as the bytes that arrived, never written again.

use agreements::ids::Salt;
use agreements::json::StrictError;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::db::Entry;
use crate::node::Node;

/// An entry with its proof and its bulk, as it arrived and before anything about it was checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<'a> {
    /// The entry.
    #[serde(borrow)]
    pub entry: EntryText<'a>,
    /// `c2sp.org/tlog-proof@v1`.
    pub proof: String,
    /// The sender's newest cosigned checkpoint, where it has witnesses.
    #[serde(default)]
    pub cosigned: Option<String>,
    /// The reads of an answer.
    #[serde(default, borrow)]
    pub results: Option<&'a RawValue>,
    /// The document of an offer.
    #[serde(default, borrow)]
    pub document: Option<&'a RawValue>,
}

/// The three parts of an entry that travel; the note and its salt never do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryText<'a> {
    /// The leaf.
    #[serde(borrow)]
    pub leaf: &'a RawValue,
    /// The message.
    #[serde(borrow)]
    pub message: &'a RawValue,
    /// The message's salt.
    pub salt: Salt,
}

impl<'a> Envelope<'a> {
    /// Reads an envelope.
    ///
    /// # Errors
    /// Not JSON in UTF-8, a member missing, unknown or twice.
    pub fn parse(body: &'a [u8]) -> Result<Self, StrictError> {
        Ok(serde_json::from_slice(body)?)
    }

    /// Whether it has no bulk: what nobody swore is not taken along.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.results.is_none() && self.document.is_none()
    }
}

/// Why bulk that came is not taken.
pub const NO_BULK: &str = "nothing follows an entry of this kind: send it without `results` and `document`";

/// Which bulk follows an entry.
#[derive(Debug, Clone, Copy)]
pub enum Bulk<'a> {
    /// None.
    None,
    /// The reads of an answer, as JSON.
    Results(&'a str),
    /// The document of an offer, as canonical JSON.
    Document(&'a str),
}

/// The text that carries `entry` and its bulk.
///
/// # Errors
/// None in practice: a text always has a JSON form.
pub fn write(entry: &Entry, bulk: Bulk<'_>) -> Result<String, StrictError> {
    text_of(entry.leaf(), entry.message(), entry.salt(), entry.proof(), bulk)
}

/// The same with the newest cosigned head of this node's log, where there is one: what the receiver discloses, or takes as
/// disclosed, stands on it.
///
/// # Errors
/// None in practice: a text always has a JSON form.
pub fn write_witnessed(node: &Node, entry: &Entry, bulk: Bulk<'_>) -> Result<String, StrictError> {
    let mut text = write(entry, bulk)?;
    if let Some(cosigned) = node.watch().text() {
        let member = format!(",\"cosigned\":{}", serde_json::to_string(&cosigned)?);
        let end = text.len().saturating_sub(1);
        text.insert_str(end, &member);
    }
    Ok(text)
}

/// The text that carries an entry of these parts, and its bulk.
///
/// # Errors
/// None in practice: a text always has a JSON form.
pub fn text_of(leaf: &[u8], message: &[u8], salt: &Salt, proof: &str, bulk: Bulk<'_>) -> Result<String, StrictError> {
    let proof = serde_json::to_string(proof)?;
    let bulk = match bulk {
        Bulk::None => String::new(),
        Bulk::Results(results) => format!(",\"results\":{results}"),
        Bulk::Document(document) => format!(",\"document\":{document}"),
    };
    let (leaf, message) = (String::from_utf8_lossy(leaf), String::from_utf8_lossy(message));
    Ok(format!(r#"{{"entry":{{"leaf":{leaf},"message":{message},"salt":"{salt}"}},"proof":{proof}{bulk}}}"#))
}
