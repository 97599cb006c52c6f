//! What this node holds of a partner's entries of a day, and what its own trail says came: the evidence that the partner's list
//! is held to. What counts is what verifies, and not that a row is there.

use std::collections::{BTreeMap, BTreeSet};

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::message::Received;
use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;
use jiff::civil::Date;
use serde::Deserialize;

use super::compare::{Held, Named};
use super::listing::{self, Listed};
use crate::auditing;
use crate::db::{Conn, snapshot};
use crate::exchange::partner::{Partner, Partners};
use crate::registry::exchanged;
use crate::trail::schema::{detail, fact, leaf};
use crate::trail::search;

/// An entry is kept or named so much later than it was said, in microseconds, where nothing went wrong.
const MARGIN: i64 = Instant::HOUR;

/// All that the comparison of a day takes of this side.
#[derive(Debug, Default)]
pub(super) struct Ours {
    /// The partner's entries that are held here.
    pub(super) held: Vec<Held>,
    /// What entries of our own of that day say came from the partner.
    pub(super) named: Vec<Named>,
    /// Our own entries for the partner, of that day and those around it, by their leaf hash.
    pub(super) said: BTreeMap<Digest, Listed>,
    /// How many of the partner's entries of that day, or that came late on it, are held of a log that it has ended.
    pub(super) of_earlier_log: u64,
}

/// Reads what there is.
pub(super) fn read(conn: &mut Conn, partner: &Partner, day: Date) -> QueryResult<Ours> {
    let Some((since, until)) = listing::bounds(day) else { return Ok(Ours::default()) };
    snapshot(conn, |conn| {
        let partners = Partners::load(conn)?;
        let mut ours = Ours::default();
        let (from, to) = (since.plus(-MARGIN), until.plus(MARGIN));
        let mut hashes: BTreeSet<Digest> =
            exchanged::kept_between(conn, partner.ori(), from, to)?.into_iter().collect();
        for listed in listing::all_between(conn, partner.ori(), since.plus(-Instant::DAY), until.plus(Instant::DAY))? {
            ours.said.insert(listed.leaf, listed);
        }
        ours.named = named(conn, partner.ori(), since, until)?;
        hashes.extend(ours.named.iter().map(|named| named.leaf));
        for hash in hashes {
            let Some(held) = receipt(conn, &partners, partner, hash)? else { continue };
            ours.named.iter_mut().filter(|named| named.leaf == hash).for_each(|named| named.proven = true);
            match held {
                // What was said on another day is that day's matter, unless it came late.
                Found::Held(held) if held.at < until => ours.held.push(Held { late: held.at < since, ..held }),
                Found::OfEarlierLog(at) if at < until => ours.of_earlier_log += 1,
                Found::Held(_) | Found::OfEarlierLog(_) => {}
            }
        }
        heard(conn, partner.ori(), (since, until), &mut ours)?;
        Ok::<_, Error>(ours)
    })
}

/// A receipt that verifies.
enum Found {
    Held(Held),
    /// Of a log that the partner has ended, and when it was said: its log of today says nothing of it.
    OfEarlierLog(Instant),
}

/// The receipt of an entry of the partner, if it is kept and verifies.
fn receipt(conn: &mut Conn, partners: &Partners, partner: &Partner, hash: Digest) -> QueryResult<Option<Found>> {
    let receipt = match exchanged::receipt(conn, hash) {
        Ok(receipt) => receipt.filter(|receipt| receipt.origin == partner.ori()),
        // A row that was edited by hand proves nothing.
        Err(Error::DeserializationError(_)) => None,
        Err(error) => return Err(error),
    };
    let Some(receipt) = receipt else { return Ok(None) };
    let Ok((included, _)) = auditing::verify_receipt_of(conn, partners, &receipt)? else { return Ok(None) };
    let Ok(leaf) = Leaf::from_bytes(&receipt.leaf) else { return Ok(None) };
    let Leaf { at, kind, rid, .. } = leaf;
    if included.checkpoint.origin != partner.log().name() {
        return Ok(Some(Found::OfEarlierLog(at)));
    }
    Ok(Some(Found::Held(Held { leaf: hash, rid, kind: Some(kind), at, index: Some(included.index), late: false })))
}

/// Adds the entries of the partner that were acted on and of which no receipt is kept, as of events: our own entry that
/// answered one names it.
fn heard(conn: &mut Conn, partner: Ori, (since, until): (Instant, Instant), ours: &mut Ours) -> QueryResult<()> {
    let known: BTreeSet<Digest> = ours.held.iter().map(|held| held.leaf).collect();
    for (rid, heard) in exchanged::heard_between(conn, partner, since, until)? {
        if known.contains(&heard.leaf) {
            continue;
        }
        let Some(answer) = search::by_rid(conn, heard.answer)? else { continue };
        let says = answer.detail.and_then(|detail| auditing::named(answer.kind, &detail.message));
        // Of what is kept as a receipt the receipt counts.
        if says != Some(heard.leaf) || kept_as_receipt(answer.kind) {
            continue;
        }
        ours.held.push(Held { leaf: heard.leaf, rid, kind: None, at: answer.at, index: None, late: false });
    }
    Ok(())
}

/// Whether what an entry of this kind answers is kept as a receipt.
fn kept_as_receipt(kind: Kind) -> bool {
    matches!(kind, Kind::QueryAnswered | Kind::HotlistAsserted)
}

/// What matters here of a `hotlist.received` entry.
#[derive(Deserialize)]
struct Taken {
    #[serde(default)]
    assertion: Option<Digest>,
    owner: Ori,
    pull: Digest,
}

type Row = (i64, Vec<u8>, String, Vec<u8>);

/// The entries of `partner` that our own of this time name: those that we answered, and those that we say came.
fn named(conn: &mut Conn, partner: Ori, since: Instant, until: Instant) -> QueryResult<Vec<Named>> {
    let (from, to) = (search::first_from(conn, since)?, search::first_from(conn, until)?);
    let kinds = [Kind::QueryAnswered, Kind::HotlistAsserted, Kind::QueryReceived, Kind::HotlistReceived];
    let about: Vec<Row> = fact::table
        .inner_join(leaf::table.inner_join(detail::table))
        .filter(fact::partner.eq(partner.as_str()))
        .filter(fact::idx.ge(from).and(fact::idx.lt(to)))
        .filter(leaf::kind.eq_any(kinds.map(Kind::as_str)))
        .order(fact::idx)
        .select((leaf::idx, leaf::body, leaf::kind, detail::message))
        .load(conn)?;
    let several: Vec<Row> = leaf::table
        .inner_join(fact::table)
        .inner_join(detail::table)
        .filter(leaf::kind.eq(Kind::QueryReceived.as_str()))
        .filter(leaf::idx.ge(from).and(leaf::idx.lt(to)))
        .filter(fact::partner.is_null())
        .order(leaf::idx)
        .select((leaf::idx, leaf::body, leaf::kind, detail::message))
        .load(conn)?;
    let mut all = Vec::new();
    for (_, body, kind, message) in about.iter().chain(&several) {
        let of = |(leaf, of)| Named { leaf, of, by: Leaf::hash_of(body), proven: false };
        if kind == Kind::QueryReceived.as_str() {
            let Ok(received) = json::parse::<Received>(message) else { continue };
            let from = received.answers.iter().filter(|from| from.ori == partner);
            all.extend(from.filter_map(|from| Some(of((from.answer?, Some(received.question))))));
        } else if kind == Kind::HotlistReceived.as_str() {
            let Ok(taken) = serde_json::from_slice::<Taken>(message) else { continue };
            all.extend(taken.assertion.filter(|_| taken.owner == partner).map(|leaf| of((leaf, Some(taken.pull)))));
        } else if let Ok(kind) = kind.parse::<Kind>() {
            all.extend(auditing::named(kind, message).map(|leaf| of((leaf, None))));
        }
    }
    Ok(all)
}

/// Whether an entry of ours for `partner` with this leaf hash is in our trail, whenever it was made: an event may be
/// acknowledged after weeks.
pub(super) fn said_ever(conn: &mut Conn, partner: Ori, hash: Digest) -> QueryResult<bool> {
    let kinds = [Kind::AgreementOffered, Kind::AgreementEvent, Kind::PacketSent];
    let found = leaf::table
        .inner_join(fact::table)
        .filter(fact::partner.eq(partner.as_str()))
        .filter(leaf::kind.eq_any(kinds.map(Kind::as_str)))
        .filter(leaf::hash.eq(hash.0.to_vec()))
        .select(leaf::idx);
    Ok(found.first::<i64>(conn).optional()?.is_some())
}
