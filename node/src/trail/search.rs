//! Finding entries, and proving again those that exist.

use std::str::FromStr;

use agreements::entry::Kind;
use agreements::ids::{Ori, RequestId};
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;

use super::append::Facts;
use super::head::{Head, HeadError};
use super::proof;
use super::schema::{detail, fact, leaf};
use super::tiles::{TileCache, Tree};
use crate::db::{Conn, snapshot};

/// The most rows that one page has.
pub const MAX_PAGE: u32 = 1000;

/// What is searched for: entries for which everything that is given here holds.
#[derive(Clone, Default)]
pub struct Filter {
    /// Appended at or after.
    pub since: Option<Instant>,
    /// Appended before.
    pub until: Option<Instant>,
    /// The other agency.
    pub partner: Option<Ori>,
    /// The user on whose behalf it happened.
    pub username: Option<String>,
    /// The purpose that was named.
    pub purpose: Option<String>,
    /// The typed reference.
    pub reference: Option<String>,
    /// The plate, normalised.
    pub plate: Option<String>,
    /// How it was decided.
    pub decision: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What the entry records.
    pub kind: Option<Kind>,
    /// Only entries before this position: the last one of the page before.
    pub before_index: Option<u64>,
    /// At most so many rows, and never over [`MAX_PAGE`]. 0 means [`MAX_PAGE`].
    pub limit: u32,
}

/// An entry as it is stored.
pub struct Row {
    /// The position in the log, from 0.
    pub index: u64,
    /// The entry's id.
    pub rid: RequestId,
    /// What it records.
    pub kind: Kind,
    /// When it was appended.
    pub at: Instant,
    /// The leaf's canonical JSON.
    pub leaf: Vec<u8>,
    /// By what it is found.
    pub facts: Facts,
    /// What it says; `None` after it was deleted at the end of its retention.
    pub detail: Option<Detail>,
}

/// What an entry says.
pub struct Detail {
    /// Canonical JSON of what the partner got.
    pub message: Vec<u8>,
    /// Canonical JSON of what never travelled.
    pub note: Vec<u8>,
}

type Texts =
    (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);
type Found = (i64, Vec<u8>, String, i64, Vec<u8>, Option<Texts>, Option<(Vec<u8>, Vec<u8>)>);

/// The tables joined, with the columns of [`Found`].
macro_rules! entries {
    () => {
        leaf::table.left_join(fact::table).left_join(detail::table).select((
            leaf::idx,
            leaf::rid,
            leaf::kind,
            leaf::at,
            leaf::body,
            (fact::partner, fact::username, fact::purpose, fact::reference, fact::plate, fact::decision, fact::rule)
                .nullable(),
            (detail::message, detail::note).nullable(),
        ))
    };
}

/// The newest entries that `filter` lets through, newest first.
pub fn search(conn: &mut Conn, filter: &Filter) -> QueryResult<Vec<Row>> {
    let limit = if filter.limit == 0 { MAX_PAGE } else { filter.limit.min(MAX_PAGE) };
    let mut query = entries!().order(leaf::idx.desc()).limit(i64::from(limit)).into_boxed();
    if let Some(since) = filter.since {
        query = query.filter(leaf::at.ge(since.micros()));
    }
    if let Some(until) = filter.until {
        query = query.filter(leaf::at.lt(until.micros()));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(leaf::kind.eq(kind.as_str()));
    }
    if let Some(before) = filter.before_index {
        query = query.filter(leaf::idx.lt(before.min(super::note::MAX_SIZE).cast_signed()));
    }
    if let Some(partner) = filter.partner {
        query = query.filter(fact::partner.eq(partner.to_string()));
    }
    if let Some(username) = &filter.username {
        query = query.filter(fact::username.eq(username));
    }
    if let Some(purpose) = &filter.purpose {
        query = query.filter(fact::purpose.eq(purpose));
    }
    if let Some(reference) = &filter.reference {
        query = query.filter(fact::reference.eq(reference));
    }
    if let Some(plate) = &filter.plate {
        query = query.filter(fact::plate.eq(plate));
    }
    if let Some(decision) = &filter.decision {
        query = query.filter(fact::decision.eq(decision));
    }
    if let Some(rule) = &filter.rule {
        query = query.filter(fact::rule.eq(rule));
    }
    query.load::<Found>(conn)?.into_iter().map(Row::from_found).collect()
}

/// The entry `rid`, or `None`.
pub fn by_rid(conn: &mut Conn, rid: RequestId) -> QueryResult<Option<Row>> {
    let found: Option<Found> = entries!().filter(leaf::rid.eq(rid.as_bytes().to_vec())).first(conn).optional()?;
    found.map(Row::from_found).transpose()
}

/// The proof (c2sp.org/tlog-proof@v1) that the entry `rid` is under the present head, or `None` if there is none such.
pub fn prove(conn: &mut Conn, rid: RequestId) -> Result<Option<String>, HeadError> {
    snapshot(conn, |conn| {
        let position = leaf::table.filter(leaf::rid.eq(rid.as_bytes().to_vec())).select(leaf::idx);
        let Some(idx) = position.first::<i64>(conn).optional()? else { return Ok(None) };
        let head = Head::read(conn)?;
        let index = idx.cast_unsigned();
        let path = Tree::new(conn, &TileCache::default()).path(head.size, index)?;
        Ok(Some(proof::text(index, &path, &head.checkpoint)))
    })
}

impl Row {
    fn from_found((idx, rid, kind, at, leaf, texts, kept): Found) -> QueryResult<Self> {
        let (partner, username, purpose, reference, plate, decision, rule) = texts.unwrap_or_default();
        Ok(Self {
            index: idx.cast_unsigned(),
            rid: RequestId::from_slice(&rid).map_err(unreadable)?,
            kind: Kind::from_str(&kind).map_err(unreadable)?,
            at: Instant::from_micros(at),
            leaf,
            facts: Facts {
                partner: partner.map(|ori| ori.parse()).transpose().map_err(unreadable)?,
                username,
                purpose,
                reference,
                plate,
                decision,
                rule,
            },
            detail: kept.map(|(message, note)| Detail { message, note }),
        })
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::DeserializationError(Box::new(error))
}
