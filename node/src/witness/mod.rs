//! A witness of other logs (c2sp.org/tlog-witness, v1.1.0): it cosigns each head that extends what it cosigned before, so that a log
//! which shows two trails is found out.
//!
//! In scope: the request, its check against what is kept and the keeping of it in one transaction, evidence of forks.
//! Out of scope: showing own heads to witnesses (see [`crate::publishing`]). A node is a witness by [`here`], and whoever is
//! no node by [`alone`].

pub mod alone;
pub mod door;
pub mod evidence;
pub mod here;
pub mod request;
mod schema;

use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;

use crate::db::{Conn, each};
use crate::trail::cosignature::Cosigner;
use crate::trail::note::{NoteError, Vkey};
use evidence::Fork;
use request::{Shown, extends};
use schema::witnessed;

/// Why a head is not cosigned; each is one answer of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: it cannot be read.
    #[error("{0}")]
    Malformed(&'static str),
    /// 400: it says that it follows from a larger head.
    #[error("the old size is larger than the checkpoint's")]
    Shrinks,
    /// 404: another log.
    #[error("this witness does not watch {0}")]
    UnknownLog(String),
    /// 403: none of the log's keys signed it.
    #[error("no key of {0} that is known here signed the checkpoint")]
    Unsigned(String),
    /// 409: the old size is not that of the head that was cosigned last, which is this large.
    #[error("{0}")]
    Conflict(u64),
    /// 422: a head of the same size with another root was cosigned before, so there are two trails. (It was 409 in v1.0.0 of
    /// the specification.)
    #[error("another checkpoint of {0} entries was cosigned before: this log has two trails")]
    Forked(u64),
    /// 422: the proof does not lead from the one to the other.
    #[error("the consistency proof does not verify")]
    Inconsistent,
}

impl Refusal {
    /// The status code of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Shrinks => 400,
            Self::Unsigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict(_) => 409,
            Self::Forked(_) | Self::Inconsistent => 422,
        }
    }
}

/// What a witness did about a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is kept and cosigned: the signature line, newline included.
    Cosigned(String),
    /// It is not.
    Refused(Refusal),
}

/// A head that was asked for and that its log signed.
#[derive(Debug, Clone)]
pub struct Verified(Shown);

/// Reads and verifies a request before any store is touched. `keys` gives the keys of the log of an origin that are
/// trusted here, none for another log.
///
/// # Errors
/// [`Refusal`].
pub fn verified(body: &[u8], keys: impl FnOnce(&str) -> Vec<Vkey>) -> Result<Verified, Refusal> {
    let shown = Shown::parse(body).map_err(Refusal::Malformed)?;
    let keys = keys(&shown.origin);
    if keys.is_empty() {
        return Err(Refusal::UnknownLog(shown.origin));
    }
    if !keys.iter().any(|key| key.name() == shown.origin && key.signed(&shown.checkpoint)) {
        return Err(Refusal::Unsigned(shown.origin));
    }
    if shown.old > shown.size {
        return Err(Refusal::Shrinks);
    }
    Ok(Verified(shown))
}

/// Cosigns a head and keeps it, or says why not. The caller's transaction is one of its own, and what it commits is durable
/// before the line leaves.
///
/// # Errors
/// The database failed, or the key did not sign.
pub fn add_checkpoint(conn: &mut Conn, cosigner: &Cosigner, asked: &Verified, now: Instant) -> QueryResult<Done> {
    let Verified(shown) = asked;
    let last = newest(conn, &shown.origin)?;
    let (size, root) = last.as_ref().map_or((0, Digest::of(b"")), |last| (last.size, last.root));
    let refused = |refusal| Ok(Done::Refused(refusal));
    if let Some(last) = &last
        && shown.size == last.size
        && shown.root != last.root
    {
        let (origin, held) = (last.origin.clone(), last.checkpoint.clone());
        let evidence = Fork { origin, held, shown: shown.checkpoint.clone(), prefix: None };
        if evidence::keep(conn, &evidence, now)? {
            tracing::error!(origin = last.origin, size = last.size, "ALARM: a log signed two heads of one size");
        }
        if shown.old == last.size {
            return refused(Refusal::Forked(last.size));
        }
    }
    if shown.old != size {
        return refused(Refusal::Conflict(size));
    }
    if !extends(&shown.proof, (size, root), (shown.size, shown.root)) {
        return refused(Refusal::Inconsistent);
    }
    // A clock that was set back does not make later statements earlier.
    let at = last.as_ref().map_or(now, |last| last.at.max(now));
    let line = cosigner.cosign(&shown.note, at).map_err(unsigned)?;
    let kept = Witnessed {
        origin: shown.origin.clone(),
        size: shown.size,
        root: shown.root,
        checkpoint: shown.note.clone().with(&line).map_err(unsigned)?,
        at,
    };
    // Another process may have cosigned a larger head since: then nothing is replaced, and the log asks again.
    if kept.replace(conn, last.as_ref())? { Ok(Done::Cosigned(line)) } else { refused(Refusal::Conflict(size)) }
}

fn unsigned(error: NoteError) -> Error {
    Error::SerializationError(Box::new(error))
}

/// The newest head of a log that was cosigned here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The log.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
    /// As the log signed it, with the cosignature.
    pub checkpoint: String,
    /// When it was cosigned.
    pub at: Instant,
}

impl Witnessed {
    /// Puts this head in the place of `before`, if that is the one that is kept.
    fn replace(&self, conn: &mut Conn, before: Option<&Self>) -> QueryResult<bool> {
        let values = (
            witnessed::size.eq(self.size.cast_signed()),
            witnessed::root.eq(self.root.0.to_vec()),
            witnessed::checkpoint.eq(&self.checkpoint),
            witnessed::at.eq(self.at.micros()),
        );
        let replaced = match before {
            None => each!(conn, c => diesel::insert_into(witnessed::table)
                .values((witnessed::origin.eq(&self.origin), values))
                .on_conflict_do_nothing()
                .execute(c))?,
            Some(before) => {
                let same = witnessed::table
                    .find(&self.origin)
                    .filter(witnessed::size.eq(before.size.cast_signed()))
                    .filter(witnessed::root.eq(before.root.0.to_vec()));
                each!(conn, c => diesel::update(same).set(values).execute(c))?
            }
        };
        Ok(replaced == 1)
    }
}

type Row = (String, i64, Vec<u8>, String, i64);

fn from_row((origin, size, root, checkpoint, at): Row) -> QueryResult<Witnessed> {
    let root = root.try_into().map(Digest).map_err(|_| Error::DeserializationError("a root is 32 bytes".into()))?;
    Ok(Witnessed { origin, size: size.cast_unsigned(), root, checkpoint, at: Instant::from_micros(at) })
}

/// The newest heads that were cosigned here, one of each log.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Witnessed>> {
    let rows: Vec<Row> = witnessed::table.order(witnessed::origin).load(conn)?;
    rows.into_iter().map(from_row).collect()
}

/// The newest head of the log `origin` that was cosigned here.
pub fn newest(conn: &mut Conn, origin: &str) -> QueryResult<Option<Witnessed>> {
    let row: Option<Row> = witnessed::table.find(origin).first(conn).optional()?;
    row.map(from_row).transpose()
}

/// The newest head of the log whose origin has this SHA-256, as monitors ask for it.
pub fn newest_by_hash(conn: &mut Conn, origin: Digest) -> QueryResult<Option<Witnessed>> {
    let origins: Vec<String> = witnessed::table.select(witnessed::origin).load(conn)?;
    match origins.iter().find(|name| Digest::of(name.as_bytes()) == origin) {
        Some(name) => newest(conn, name),
        None => Ok(None),
    }
}

#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;
