//! Partners' heads as they were seen with every exchange, until each is found in a later one.

use std::collections::BTreeMap;

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use diesel::prelude::*;

use super::parsed;
use super::schema::{past_head, seen_head};
use crate::db::{Conn, each};
use crate::trail::note::Checkpoint;
use crate::witness::evidence::{self, Fork};

/// A partner's head that was seen. Its origin is left blank: the row has the partner's ORI instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it states.
    pub head: Checkpoint,
    /// As its log signed it.
    pub text: String,
    /// When it was seen first.
    pub at: Instant,
    /// Whether it was found to be the beginning of a later one.
    pub found: bool,
}

type Row = (i64, Vec<u8>, String, i64, Option<i64>);
const COLUMNS: (seen_head::size, seen_head::root, seen_head::checkpoint, seen_head::seen_at, seen_head::found_at) =
    (seen_head::size, seen_head::root, seen_head::checkpoint, seen_head::seen_at, seen_head::found_at);

fn from_row((size, root, text, at, found): Row) -> QueryResult<Seen> {
    let root = parsed("seen_head", root.try_into().map(Digest).map_err(|_| "a hash of another length"))?;
    let head = Checkpoint { origin: String::new(), size: size.cast_unsigned(), root };
    Ok(Seen { head, text, at: Instant::from_micros(at), found: found.is_some() })
}

/// Remembers a partner's head, whose signature was verified. One of a size that was seen before with another root is evidence
/// that the log has two trails, and is kept as such.
pub fn see(conn: &mut Conn, origin: Ori, head: &Checkpoint, text: &str, now: Instant) -> QueryResult<()> {
    let size = i64::try_from(head.size).unwrap_or(i64::MAX);
    let row = (
        seen_head::origin.eq(origin.as_str()),
        seen_head::size.eq(size),
        seen_head::root.eq(&head.root.0[..]),
        seen_head::checkpoint.eq(text),
        seen_head::seen_at.eq(now.micros()),
    );
    let new = each!(conn, c => diesel::insert_into(seen_head::table).values(row).on_conflict_do_nothing().execute(c))?;
    if new == 1 {
        return Ok(());
    }
    let known: Row = each!(conn, c => seen_head::table.find((origin.as_str(), size)).select(COLUMNS).first(c))?;
    let known = from_row(known)?;
    if known.head.root != head.root {
        let evidence = Fork { origin: head.origin.clone(), held: known.text, shown: text.to_owned(), prefix: None };
        if evidence::keep(conn, &evidence, now)? {
            tracing::error!(%origin, size, "ALARM: a partner's log signed two heads of one size");
        }
    }
    Ok(())
}

/// Puts a partner's heads of the log `log` aside: it goes on under another name, and no later head will have them as its
/// beginning. They stay what its log signed.
pub fn put_aside(conn: &mut Conn, origin: Ori, log: &str) -> QueryResult<()> {
    let rows: Vec<Row> = seen_head::table.filter(seen_head::origin.eq(origin.as_str())).select(COLUMNS).load(conn)?;
    for (size, root, text, at, _) in rows {
        let row = (
            past_head::origin.eq(origin.as_str()),
            past_head::log.eq(log),
            past_head::size.eq(size),
            past_head::root.eq(root),
            past_head::checkpoint.eq(text),
            past_head::seen_at.eq(at),
        );
        each!(conn, c => diesel::insert_into(past_head::table).values(row).on_conflict_do_nothing().execute(c))?;
    }
    diesel::delete(seen_head::table.filter(seen_head::origin.eq(origin.as_str()))).execute(conn).map(drop)
}

/// A partner's newest head that was seen, and when.
pub fn newest(conn: &mut Conn, origin: Ori) -> QueryResult<Option<(Checkpoint, Instant)>> {
    let row: Option<Row> = seen_head::table
        .filter(seen_head::origin.eq(origin.as_str()))
        .order(seen_head::size.desc())
        .select(COLUMNS)
        .first(conn)
        .optional()?;
    Ok(row.map(from_row).transpose()?.map(|seen| (seen.head, seen.at)))
}

/// A partner's newest head that was found in a later one, or was the one in which others were found.
pub fn anchor(conn: &mut Conn, origin: Ori) -> QueryResult<Option<Seen>> {
    let row: Option<Row> = seen_head::table
        .filter(seen_head::origin.eq(origin.as_str()))
        .filter(seen_head::found_at.is_not_null())
        .order(seen_head::size.desc())
        .select(COLUMNS)
        .first(conn)
        .optional()?;
    row.map(from_row).transpose()
}

/// The heads of a partner that were not found in a later one yet, smallest first; at most `limit`.
pub fn wanted(conn: &mut Conn, origin: Ori, limit: i64) -> QueryResult<Vec<Seen>> {
    let rows: Vec<Row> = seen_head::table
        .filter(seen_head::origin.eq(origin.as_str()))
        .filter(seen_head::found_at.is_null())
        .order(seen_head::size)
        .select(COLUMNS)
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(from_row).collect()
}

/// The partners of which heads were not found in a later one yet, and the largest of those of each that were seen before
/// `before`, if there is one.
pub fn waiting(conn: &mut Conn, before: Instant) -> QueryResult<BTreeMap<Ori, Option<u64>>> {
    let rows: Vec<(String, i64, i64)> = seen_head::table
        .filter(seen_head::found_at.is_null())
        .select((seen_head::origin, seen_head::size, seen_head::seen_at))
        .load(conn)?;
    let mut waiting: BTreeMap<Ori, Option<u64>> = BTreeMap::new();
    for (origin, size, at) in rows {
        let overdue = waiting.entry(parsed("seen_head", origin.parse())?).or_default();
        if at < before.micros() {
            *overdue = (*overdue).max(Some(size.cast_unsigned()));
        }
    }
    Ok(waiting)
}

/// Notes that these heads of a partner were found, and forgets them but its newest.
pub fn found(conn: &mut Conn, origin: Ori, sizes: &[u64], now: Instant) -> QueryResult<()> {
    let sizes: Vec<i64> = sizes.iter().map(|size| size.cast_signed()).collect();
    for some in sizes.chunks(500) {
        let rows = seen_head::table.filter(seen_head::origin.eq(origin.as_str())).filter(seen_head::size.eq_any(some));
        each!(conn, c => diesel::update(rows).set(seen_head::found_at.eq(now.micros())).execute(c))?;
    }
    if let Some((newest, _)) = newest(conn, origin)? {
        let older = seen_head::table
            .filter(seen_head::origin.eq(origin.as_str()))
            .filter(seen_head::found_at.is_not_null())
            .filter(seen_head::size.lt(newest.size.cast_signed()));
        diesel::delete(older).execute(conn)?;
    }
    Ok(())
}
