//! What this trail has for a partner on a day: the list that the partner is given, by which it reconciles. Hashes, ids and
//! kinds, and nothing of what the entries say.

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, Ori, RequestId};
use agreements::message::PROTOCOL;
use agreements::protocol::Versioned;
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::auditing;
use crate::db::{Conn, snapshot};
use crate::exchange::Failure;
use crate::exchange::own_entry::{TRAVELS, is_for};
use crate::exchange::partner::Partner;
use crate::node::{Desk, Node};
use crate::trail::head::HeadError;
use crate::trail::schema::{detail, fact, leaf};
use crate::trail::{search, static_log};

/// So many entries are on one page at most.
const PAGE: i64 = 500;
/// So many questions to several partners are looked at for one page.
const LOOKED_AT: i64 = 4000;

/// An entry as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// When it was appended.
    pub at: Instant,
    /// Its position in the log.
    pub index: u64,
    /// What it records.
    pub kind: Kind,
    /// Its leaf hash.
    pub leaf: Digest,
    /// The leaf hash of the entry that it replies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Digest>,
    /// Its id, with which the whole entry is given to whom it is for.
    pub rid: RequestId,
}

/// A page of a day's list. It is not sworn: what counts of it is what the log proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayList {
    /// [`PROTOCOL`].
    pub v: u16,
    /// Whose entries they are.
    pub origin: Ori,
    /// Whom they are for.
    pub to: Ori,
    /// The day of UTC on which they were appended, by the origin's clock.
    pub day: Date,
    /// What time it is there.
    pub at: Instant,
    /// The signed head under which each of them is proven by the log's tiles.
    pub checkpoint: String,
    /// In the order of the log.
    pub entries: Vec<Listed>,
    /// Behind which position the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl Versioned for DayList {}

/// From which instant on a day of UTC is, and before which. `None` outside the years that a timestamp can hold.
#[must_use]
pub fn bounds(day: Date) -> Option<(Instant, Instant)> {
    let midnight = day.to_datetime(jiff::civil::Time::midnight()).to_zoned_datetime(TimeZone::UTC).ok()?;
    let start = Instant::from_micros(midnight.timestamp().as_microsecond());
    Some((start, start.plus(Instant::DAY)))
}

/// The day of UTC of an instant.
#[must_use]
pub fn day_of(at: Instant) -> Date {
    let stamp = jiff::Timestamp::from_microsecond(at.micros());
    stamp.map_or(Date::MAX, |stamp| stamp.to_zoned_datetime(TimeZone::UTC).date())
}

/// A page of what this trail has for `partner` on `day`, behind the position `after`.
///
/// # Errors
/// The registry failed.
pub fn page(node: &Node, desk: &Desk, partner: &Partner, day: Date, after: Option<u64>) -> Result<DayList, Failure> {
    let (origin, to) = (node.ori(), partner.ori());
    let (checkpoint, (entries, next)) = desk.registry(|conn| {
        snapshot(conn, |conn| {
            let checkpoint = static_log::checkpoint(conn).map_err(HeadError::of_store)?;
            let (since, until) = bounds(day).unwrap_or((Instant::from_micros(0), Instant::from_micros(0)));
            Ok::<_, Error>((checkpoint.unwrap_or_default(), between(conn, to, since, until, after)?))
        })
    })?;
    Ok(DayList { v: PROTOCOL, origin, to, day, at: node.now(), checkpoint, entries, next })
}

/// All that this trail has for `partner` from `since` on and before `until`.
pub(super) fn all_between(conn: &mut Conn, partner: Ori, since: Instant, until: Instant) -> QueryResult<Vec<Listed>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (entries, next) = between(conn, partner, since, until, after)?;
        all.extend(entries);
        match next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

type Row = (i64, Vec<u8>, Vec<u8>);

fn between(
    conn: &mut Conn,
    partner: Ori,
    since: Instant,
    until: Instant,
    after: Option<u64>,
) -> QueryResult<(Vec<Listed>, Option<u64>)> {
    let behind = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX).saturating_add(1));
    let (from, to) = (search::first_from(conn, since)?.max(behind), search::first_from(conn, until)?);
    let about: Vec<Row> = fact::table
        .inner_join(leaf::table.inner_join(detail::table))
        .filter(fact::partner.eq(partner.as_str()))
        .filter(fact::idx.ge(from).and(fact::idx.lt(to)))
        .filter(leaf::kind.eq_any(TRAVELS.map(Kind::as_str)))
        .order(fact::idx)
        .select((leaf::idx, leaf::body, detail::message))
        .limit(PAGE)
        .load(conn)?;
    // What is for several partners is found by each of those whom it names, and by no column.
    let several: Vec<Row> = leaf::table
        .inner_join(fact::table)
        .inner_join(detail::table)
        .filter(leaf::kind.eq(Kind::QueryAsked.as_str()))
        .filter(leaf::idx.ge(from).and(leaf::idx.lt(to)))
        .filter(fact::partner.is_null())
        .order(leaf::idx)
        .select((leaf::idx, leaf::body, detail::message))
        .limit(LOOKED_AT)
        .load(conn)?;
    let full = |rows: &[Row], limit: i64| {
        let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= limit);
        rows.last().filter(|_| is_full).map(|(idx, ..)| *idx)
    };
    let ends = [full(&about, PAGE), full(&several, LOOKED_AT)].into_iter().flatten().min();
    let mut entries: Vec<Listed> = about
        .iter()
        .chain(&several)
        .filter(|(idx, _, message)| ends.is_none_or(|end| *idx <= end) && is_for(message, partner))
        .map(listed)
        .collect::<QueryResult<_>>()?;
    entries.sort_by_key(|entry| entry.index);
    Ok((entries, ends.map(i64::cast_unsigned)))
}

fn listed((idx, body, message): &Row) -> QueryResult<Listed> {
    let leaf = Leaf::from_bytes(body).map_err(|error| Error::DeserializationError(Box::new(error)))?;
    Ok(Listed {
        at: leaf.at,
        index: idx.cast_unsigned(),
        kind: leaf.kind,
        leaf: Leaf::hash_of(body),
        of: auditing::named(leaf.kind, message),
        rid: leaf.rid,
    })
}
