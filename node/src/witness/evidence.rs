//! Evidence that a log shows one trail to some and another one to others: two heads that it signed and that exclude each
//! other. It convicts the log offline, whoever shows it.

use agreements::ids::Digest;
use agreements::json;
use agreements::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use diesel::result::Error;
use serde::{Deserialize, Serialize};
use tlog_tiles::Hash;

use super::request::extends;
use super::schema::fork;
use crate::db::{Conn, each};
use crate::trail::note::{Checkpoint, Vkey};

/// Two heads of one log of which at most one can be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// The log's origin.
    pub origin: String,
    /// The smaller head, or that which was seen first, as the log signed it.
    pub held: String,
    /// The other one, as the log signed it.
    pub shown: String,
    /// Where the sizes differ: what the larger tree really begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
}

/// What the tree of the larger head has as its first entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// The root of the first so many entries as the smaller head has.
    pub root: Digest,
    /// That they are its beginning (RFC 6962, section 2.1.2), base64.
    pub proof: Vec<String>,
}

/// Why evidence convicts nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this does not show that the log with this key signed two heads that exclude each other")]
pub struct NoFork;

impl Fork {
    /// What convicts the log with `vkey`, checked anew: both heads, in their order.
    ///
    /// # Errors
    /// [`NoFork`].
    pub fn convicts(&self, vkey: &Vkey) -> Result<(Checkpoint, Checkpoint), NoFork> {
        let held = Checkpoint::verify(&self.held, vkey).map_err(|_| NoFork)?;
        let shown = Checkpoint::verify(&self.shown, vkey).map_err(|_| NoFork)?;
        if vkey.name() != self.origin || held.size > shown.size {
            return Err(NoFork);
        }
        let excluded = match &self.prefix {
            None => held.size == shown.size && held.root != shown.root,
            Some(Prefix { root, proof }) => {
                let hash = |line: &String| STANDARD.decode(line).ok()?.try_into().ok().map(Hash);
                let proof: Vec<Hash> = proof.iter().map(hash).collect::<Option<_>>().ok_or(NoFork)?;
                held.size > 0
                    && held.size < shown.size
                    && *root != held.root
                    && extends(&proof, (held.size, *root), (shown.size, shown.root))
            }
        };
        if excluded { Ok((held, shown)) } else { Err(NoFork) }
    }

    /// Its canonical JSON.
    fn text(&self) -> QueryResult<String> {
        let bytes = json::canonical(self).map_err(|error| Error::SerializationError(error.into()))?;
        String::from_utf8(bytes).map_err(|error| Error::SerializationError(error.into()))
    }
}

impl Prefix {
    /// From the root of the beginning and its proof.
    #[must_use]
    pub fn new(root: Digest, proof: &[Hash]) -> Self {
        Self { root, proof: proof.iter().map(ToString::to_string).collect() }
    }
}

/// Keeps evidence; whether it is new.
pub fn keep(conn: &mut Conn, evidence: &Fork, now: Instant) -> QueryResult<bool> {
    let text = evidence.text()?;
    let row = (
        fork::id.eq(Digest::of(text.as_bytes()).0.to_vec()),
        fork::origin.eq(&evidence.origin),
        fork::evidence.eq(&text),
        fork::found_at.eq(now.micros()),
    );
    let new = each!(conn, c => diesel::insert_into(fork::table).values(row).on_conflict_do_nothing().execute(c))?;
    Ok(new == 1)
}

/// The evidence that is kept, oldest first, with its SHA-256 and when it was found.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<(Digest, Fork, Instant)>> {
    let rows: Vec<(String, i64)> =
        fork::table.select((fork::evidence, fork::found_at)).order((fork::found_at, fork::id)).load(conn)?;
    let read = |(text, at): (String, i64)| {
        let evidence = json::parse(text.as_bytes()).map_err(|error| Error::DeserializationError(error.into()))?;
        Ok((Digest::of(text.as_bytes()), evidence, Instant::from_micros(at)))
    };
    rows.into_iter().map(read).collect()
}
