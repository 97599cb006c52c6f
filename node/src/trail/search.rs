//! Finding entries, and proving again those that exist.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use agreements::entry::Kind;
use agreements::ids::{Ori, RequestId};
use agreements::time::Instant;
use diesel::dsl::{count_star, exists, sql};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, Text};

use super::append::{self, FactRow, Facts};
use super::cosignature::SignedText;
use super::head::{Head, HeadError};
use super::schema::{detail, fact, leaf};
use super::tiles::{TileCache, Tree};
use super::{proof, static_log};
use crate::db::{Conn, each, snapshot};

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
    /// The rule that decided, or that cut what was permitted.
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

type Found = (i64, Vec<u8>, String, i64, Vec<u8>, Option<FactRow>, Option<(Vec<u8>, Vec<u8>)>);

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

/// The newest entries that `filter` lets through, newest first. Found by the index of one thing that is searched for, the
/// one that the fewest entries share, from the newest down and no further than the page: a trail of years is not counted,
/// sorted or read through.
pub fn search(conn: &mut Conn, filter: &Filter) -> QueryResult<Vec<Row>> {
    let from = filter.since.map_or(Ok(0), |since| first_from(conn, since))?;
    let to = filter.until.map_or(Ok(i64::MAX), |until| first_from(conn, until))?;
    let before = filter.before_index.map_or(i64::MAX, |before| before.min(super::note::MAX_SIZE).cast_signed());
    let positions = positions(conn, filter, from..to.min(before))?;
    // The lists' length is another at each search: its statement would only fill the connection's cache.
    let query = entries!().filter(leaf::idx.eq_any(positions)).order(leaf::idx.desc());
    let rows: Vec<Found> = each!(conn, c => query.load(c))?;
    rows.into_iter().map(Row::from_found).collect()
}

/// Where the entries of a page are.
fn positions(conn: &mut Conn, filter: &Filter, range: Range<i64>) -> QueryResult<Vec<i64>> {
    let limit = i64::from(if filter.limit == 0 { MAX_PAGE } else { filter.limit.min(MAX_PAGE) });
    if filter.leads_by_fact() { by_fact(conn, filter, range, limit) } else { by_leaf(conn, filter, range, limit) }
}

/// Whether this is PostgreSQL, whose planner takes a range of positions for short and reads all of it: it gets the beginning
/// and the end of what is searched for as rows of the index, and their order, which only that index has. SQLite would use no
/// more than the first column of such rows.
fn is_server(conn: &Conn) -> bool {
    matches!(conn, Conn::Pg(_))
}

/// Found in the log itself, or by kind.
fn by_leaf(conn: &mut Conn, filter: &Filter, range: Range<i64>, limit: i64) -> QueryResult<Vec<i64>> {
    let mut query = leaf::table.select(leaf::idx).order(leaf::idx.desc()).limit(limit).into_boxed();
    match filter.kind.map(Kind::as_str) {
        Some(kind) if is_server(conn) => {
            let from = sql::<Bool>("(leaf.kind, leaf.idx) >= (").bind::<Text, _>(kind).sql(", ");
            let to = sql::<Bool>("(leaf.kind, leaf.idx) < (").bind::<Text, _>(kind).sql(", ");
            query = query
                .filter(from.bind::<BigInt, _>(range.start).sql(")"))
                .filter(to.bind::<BigInt, _>(range.end).sql(")"))
                .order((leaf::kind.desc(), leaf::idx.desc()));
        }
        kind => {
            query = query.filter(leaf::idx.ge(range.start).and(leaf::idx.lt(range.end)));
            if let Some(kind) = kind {
                query = query.filter(leaf::kind.eq(kind));
            }
        }
    }
    if let Some(decision) = &filter.decision {
        let its = fact::table.filter(fact::idx.eq(leaf::idx)).filter(fact::decision.eq(decision));
        query = query.filter(exists(its));
    }
    query.load(conn)
}

/// Found by something that the entries are about.
fn by_fact(conn: &mut Conn, filter: &Filter, range: Range<i64>, limit: i64) -> QueryResult<Vec<i64>> {
    let server = is_server(conn);
    let mut query = fact::table.select(fact::idx).order(fact::idx.desc()).limit(limit).into_boxed();
    // The first leads: its index is read. The others are written so that no index of theirs can be.
    let mut leads = true;
    macro_rules! narrow {
        ($column:ident, $value:expr) => {
            if let Some(value) = $value {
                let first = std::mem::replace(&mut leads, false);
                if !first {
                    query = query.filter(fact::$column.concat("").eq(value));
                } else if server {
                    let row = concat!("(fact.", stringify!($column), ", fact.idx)");
                    let from = sql::<Bool>(row).sql(" >= (").bind::<Text, _>(value).sql(", ");
                    let to = sql::<Bool>(row).sql(" < (").bind::<Text, _>(value).sql(", ");
                    query = query
                        .filter(from.bind::<BigInt, _>(range.start).sql(")"))
                        .filter(to.bind::<BigInt, _>(range.end).sql(")"))
                        // One of the indexes has no others.
                        .filter(fact::$column.is_not_null())
                        .order((fact::$column.desc(), fact::idx.desc()));
                } else {
                    let within = fact::idx.ge(range.start).and(fact::idx.lt(range.end));
                    query = query.filter(fact::$column.eq(value)).filter(within);
                }
            }
        };
    }
    narrow!(plate, filter.plate.as_deref());
    narrow!(reference, filter.reference.as_deref());
    narrow!(username, filter.username.as_deref());
    narrow!(rule, filter.rule.as_deref());
    narrow!(partner, filter.partner.as_ref().map(Ori::as_str));
    narrow!(purpose, filter.purpose.as_deref());
    narrow!(decision, filter.decision.as_deref());
    if let Some(kind) = filter.kind {
        let its = leaf::table.filter(leaf::idx.eq(fact::idx)).filter(leaf::kind.concat("").eq(kind.as_str()));
        query = query.filter(exists(its));
    }
    query.load(conn)
}

impl Filter {
    /// Whether the index of something that an entry is about is read, rather than that of its kind or the log itself. Most
    /// entries are permitted: that is looked up rather than gone by, where there is a kind.
    fn leads_by_fact(&self) -> bool {
        let few =
            [&self.plate, &self.reference, &self.username, &self.rule, &self.purpose].iter().any(|it| it.is_some());
        few || self.partner.is_some()
            || self.decision.as_ref().is_some_and(|decision| self.kind.is_none() || decision != "permitted")
    }
}

/// How many entries of `kind` about `partner` there are, apart from those that were decided as `except`.
pub fn count(conn: &mut Conn, kind: Kind, partner: Ori, except: &str) -> QueryResult<i64> {
    leaf::table
        .inner_join(fact::table)
        .filter(leaf::kind.eq(kind.as_str()))
        .filter(fact::partner.eq(partner.as_str()))
        .filter(fact::decision.ne(except))
        .count()
        .get_result(conn)
}

/// An entry that answered a partner.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Its position.
    pub(crate) index: i64,
    /// When it was appended.
    pub(crate) at: Instant,
    /// Its note, as the service wrote it.
    pub(crate) note: Vec<u8>,
}

/// The last entry after `after` and not after `until` that answered a question, an event, an offer or a packet of `partner`.
pub(crate) fn answered(conn: &mut Conn, partner: Ori, after: i64, until: i64) -> QueryResult<Option<Answered>> {
    let kind = |kind: Kind| leaf::kind.eq(kind.as_str());
    let found: Option<(i64, i64, Vec<u8>)> = fact::table
        .inner_join(leaf::table.inner_join(detail::table))
        .filter(fact::partner.eq(partner.as_str()).and(fact::idx.gt(after)).and(fact::idx.le(until)))
        .filter(kind(Kind::QueryAnswered).or(kind(Kind::AgreementAcknowledged)).or(kind(Kind::PacketReceived)))
        .order(fact::idx.desc())
        .select((leaf::idx, leaf::at, detail::note))
        .first(conn)
        .optional()?;
    Ok(found.map(|(index, at, stored)| Answered { index, at: Instant::from_micros(at), note: inner_note(stored) }))
}

/// The index of the first entry that was appended at `since` or after; beyond all of them when there is none. Times only
/// rise, and by the index those of a kind are found in a trail of years: by the time, all of the kind are looked at.
pub(crate) fn first_from(conn: &mut Conn, since: Instant) -> QueryResult<i64> {
    let from = leaf::table.filter(leaf::at.ge(since.micros())).order((leaf::at, leaf::idx)).select(leaf::idx);
    Ok(from.first(conn).optional()?.unwrap_or(i64::MAX))
}

/// How many entries of `kind` about each partner there are, apart from those that were decided as `except`.
pub(crate) fn counts(conn: &mut Conn, kind: Kind, except: &str) -> QueryResult<BTreeMap<String, i64>> {
    let query = leaf::table
        .inner_join(fact::table)
        .filter(leaf::kind.eq(kind.as_str()))
        .filter(fact::decision.ne(except))
        .filter(fact::partner.is_not_null())
        .group_by(fact::partner)
        .select((fact::partner.assume_not_null(), count_star()));
    Ok(each!(conn, c => query.load::<(String, i64)>(c))?.into_iter().collect())
}

/// How many entries of `kind` that were decided as `decision` each partner has from `since` on, before `until`.
pub(crate) fn decided(
    conn: &mut Conn,
    kind: Kind,
    decision: &str,
    since: Instant,
    until: Instant,
) -> QueryResult<BTreeMap<String, i64>> {
    let (from, to) = (first_from(conn, since)?, first_from(conn, until)?);
    let query = leaf::table
        .inner_join(fact::table)
        .filter(leaf::kind.eq(kind.as_str()))
        .filter(leaf::idx.ge(from).and(leaf::idx.lt(to)))
        .filter(fact::decision.eq(decision))
        .filter(fact::partner.is_not_null())
        .group_by(fact::partner)
        .select((fact::partner.assume_not_null(), count_star()));
    Ok(each!(conn, c => query.load::<(String, i64)>(c))?.into_iter().collect())
}

/// The partners that entries of `kind` from `since` on are about.
pub(crate) fn partners_since(conn: &mut Conn, kind: Kind, since: Instant) -> QueryResult<Vec<String>> {
    let from = first_from(conn, since)?;
    leaf::table
        .inner_join(fact::table)
        .filter(leaf::kind.eq(kind.as_str()))
        .filter(leaf::idx.ge(from))
        .filter(fact::partner.is_not_null())
        .select(fact::partner.assume_not_null())
        .distinct()
        .order(fact::partner)
        .load(conn)
}

/// Whether there is an entry of `kind` about `partner` before `before`.
pub(crate) fn any_before(conn: &mut Conn, kind: Kind, partner: Ori, before: Instant) -> QueryResult<bool> {
    let found = leaf::table
        .inner_join(fact::table)
        .filter(fact::partner.eq(partner.as_str()))
        .filter(leaf::kind.eq(kind.as_str()))
        .filter(leaf::at.lt(before.micros()))
        .order(fact::idx)
        .select(fact::idx);
    Ok(found.first::<i64>(conn).optional()?.is_some())
}

/// When the first entry about `partner` was appended.
pub fn first_about(conn: &mut Conn, partner: Ori) -> QueryResult<Option<Instant>> {
    let first = fact::table
        .inner_join(leaf::table)
        .filter(fact::partner.eq(partner.as_str()))
        .order(fact::idx)
        .select(leaf::at)
        .first::<i64>(conn)
        .optional()?;
    Ok(first.map(Instant::from_micros))
}

/// How many answers with a permit each limit cut, by partner and rule, from `since` on and before `until`.
pub(crate) fn cuts(conn: &mut Conn, since: Instant, until: Instant) -> QueryResult<BTreeMap<(String, String), i64>> {
    let (from, to) = (first_from(conn, since)?, first_from(conn, until)?);
    let query = leaf::table
        .inner_join(fact::table)
        .filter(leaf::kind.eq(Kind::QueryAnswered.as_str()))
        .filter(leaf::idx.ge(from).and(leaf::idx.lt(to)))
        .filter(fact::decision.eq("permitted"))
        .filter(fact::partner.is_not_null().and(fact::rule.is_not_null()))
        .group_by((fact::partner, fact::rule))
        .select((fact::partner.assume_not_null(), fact::rule.assume_not_null(), count_star()));
    let rows: Vec<(String, String, i64)> = each!(conn, c => query.load(c))?;
    Ok(rows.into_iter().map(|(partner, rule, count)| ((partner, rule), count)).collect())
}

/// The entry `rid`, or `None`.
pub fn by_rid(conn: &mut Conn, rid: RequestId) -> QueryResult<Option<Row>> {
    let found: Option<Found> = entries!().filter(leaf::rid.eq(rid.as_bytes().to_vec())).first(conn).optional()?;
    found.map(Row::from_found).transpose()
}

/// The proof (c2sp.org/tlog-proof@v1) that the entry `rid` is under the present head, or `None` if there is none such. Where
/// witnesses cosigned a head that has the entry, it is under the one that the most of them did.
pub fn prove(conn: &mut Conn, rid: RequestId) -> Result<Option<String>, HeadError> {
    prove_under(conn, rid, None)
}

/// The same, under the `cosigned` head of so many entries where that has it: the one that a quorum vouches for.
pub fn prove_under(
    conn: &mut Conn,
    rid: RequestId,
    cosigned: Option<(u64, &str)>,
) -> Result<Option<String>, HeadError> {
    snapshot(conn, |conn| {
        let position = leaf::table.filter(leaf::rid.eq(rid.as_bytes().to_vec())).select(leaf::idx);
        let Some(idx) = position.first::<i64>(conn).optional()? else { return Ok(None) };
        let index = idx.cast_unsigned();
        let head = Head::read(conn)?;
        let vouched = cosigned.filter(|(size, text)| index < *size && *size <= head.size && same_key(text, &head));
        let (size, checkpoint) = match vouched {
            Some((size, text)) => (size, text.to_owned()),
            None => static_log::cosigned(conn, index)?.unwrap_or((head.size, head.checkpoint)),
        };
        let path = Tree::new(conn, &TileCache::default()).path(size, index)?;
        Ok(Some(proof::text(index, &path, &checkpoint)))
    })
}

/// Whether the log's key of today signed a head: who verifies has no other.
fn same_key(text: &str, head: &Head) -> bool {
    let (Ok(one), Ok(other)) = (SignedText::parse(text), SignedText::parse(&head.checkpoint)) else { return false };
    one.first_signer() == other.first_signer()
}

impl Row {
    fn from_found((idx, rid, kind, at, leaf, texts, kept): Found) -> QueryResult<Self> {
        Ok(Self {
            index: idx.cast_unsigned(),
            rid: RequestId::from_slice(&rid).map_err(unreadable)?,
            kind: Kind::from_str(&kind).map_err(unreadable)?,
            at: Instant::from_micros(at),
            leaf,
            facts: Facts::from_row(texts.unwrap_or_default())?,
            detail: kept.map(|(message, stored)| Detail { message, note: inner_note(stored) }),
        })
    }
}

/// The note that the service wrote, without the facts beside it. What is no stored note is shown as it is.
fn inner_note(stored: Vec<u8>) -> Vec<u8> {
    append::read_note(&stored).map_or_else(|| stored.clone(), |(_, note)| note.as_bytes().to_vec())
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::DeserializationError(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock as _;
    use crate::trail::Draft;
    use crate::trail::testing::{TestTrail, draft};

    const PARTNERS: [&str; 2] = ["CA0190000", "CA0010000"];

    /// Entry `n` is `n` seconds after the start; its columns repeat every two or three.
    fn trail() -> (TestTrail, Vec<RequestId>) {
        let trail = TestTrail::new();
        let db = trail.open();
        let start = trail.clock.now();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rids = Vec::new();
        for n in 0..12u8 {
            trail.clock.set(start.plus(i64::from(n) * Instant::SECOND));
            let even = usize::from(n % 2);
            let facts = Facts {
                partner: Some(PARTNERS[even].parse().unwrap()),
                username: Some(format!("user{}", n % 3)),
                purpose: Some(["homicide", "amber"][even].to_owned()),
                reference: Some(format!("case:{n}")),
                plate: Some(format!("7ABC{n}")),
                decision: Some(["permitted", "denied"][even].to_owned()),
                rule: (n % 2 == 1).then(|| "purpose".to_owned()),
            };
            let kind = [Kind::QueryAnswered, Kind::QueryAsked, Kind::ReadsIngested][usize::from(n % 3)];
            let entry = Draft { kind, facts, ..draft(db.clock().now(), u64::from(n)) };
            rids.push(entry.rid);
            runtime.block_on(db.record(move |tx| tx.append(entry))).unwrap();
        }
        (trail, rids)
    }

    #[test]
    fn each_column_filters_and_the_newest_come_first() {
        let (trail, _) = trail();
        let start = trail.clock.now().plus(-11 * Instant::SECOND);
        let after = |n: i64| Some(start.plus(n * Instant::SECOND));
        let text = |t: &str| Some(t.to_owned());
        let any = Filter::default();
        let odd = [11, 9, 7, 5, 3, 1];
        let cases: Vec<(Filter, &[u64])> = vec![
            (any.clone(), &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
            (Filter { since: after(9), ..any.clone() }, &[11, 10, 9]),
            (Filter { until: after(2), ..any.clone() }, &[1, 0]),
            (Filter { partner: PARTNERS[1].parse().ok(), ..any.clone() }, &odd),
            (Filter { username: text("user2"), ..any.clone() }, &[11, 8, 5, 2]),
            (Filter { purpose: text("amber"), ..any.clone() }, &odd),
            (Filter { reference: text("case:4"), ..any.clone() }, &[4]),
            (Filter { plate: text("7ABC6"), ..any.clone() }, &[6]),
            (Filter { decision: text("denied"), ..any.clone() }, &odd),
            (Filter { rule: text("purpose"), ..any.clone() }, &odd),
            (Filter { kind: Some(Kind::QueryAsked), ..any.clone() }, &[10, 7, 4, 1]),
            (Filter { kind: Some(Kind::QueryAsked), decision: text("denied"), ..any.clone() }, &[7, 1]),
            (Filter { plate: text("' OR 1=1 --"), ..any.clone() }, &[]),
        ];
        let mut conn = trail.connect();
        for (number, (filter, expected)) in cases.iter().enumerate() {
            let found: Vec<u64> = search(&mut conn, filter).unwrap().iter().map(|row| row.index).collect();
            assert_eq!(&found, expected, "case {number}");
        }
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let (trail, _) = trail();
        let mut conn = trail.connect();
        let (mut seen, mut before_index) = (Vec::new(), None);
        loop {
            let filter = Filter { before_index, limit: 5, ..Filter::default() };
            let page = search(&mut conn, &filter).unwrap();
            let Some(last) = page.last() else { break };
            before_index = Some(last.index);
            seen.extend(page.iter().map(|row| row.index));
        }
        assert!(seen.iter().copied().eq((0..12).rev()), "{seen:?}");
    }

    #[test]
    fn an_entry_is_found_and_proven_by_its_id() {
        let (trail, rids) = trail();
        let mut conn = trail.connect();
        let row = by_rid(&mut conn, rids[4]).unwrap().unwrap();
        assert_eq!((row.index, row.kind, row.facts.plate.as_deref()), (4, Kind::QueryAsked, Some("7ABC4")));
        assert_eq!(row.detail.unwrap().message, br#"{"number":4}"#);
        let text = prove(&mut conn, rids[4]).unwrap().unwrap();
        let included = proof::verify(&text, &row.leaf, crate::trail::note::LogSigner::vkey(&*trail.key)).unwrap();
        assert_eq!((included.index, included.checkpoint.size), (4, 12));

        let unknown = RequestId::new(row.at, [1; 10]);
        assert!(by_rid(&mut conn, unknown).unwrap().is_none());
        assert!(prove(&mut conn, unknown).unwrap().is_none());
        trail.tamper("DELETE FROM detail");
        assert!(by_rid(&mut conn, rids[4]).unwrap().unwrap().detail.is_none());
    }
}
