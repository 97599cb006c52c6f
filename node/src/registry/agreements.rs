//! Agreement documents and both parties' event streams.

use std::collections::{BTreeMap, BTreeSet};

use agreements::agreement::Agreement;
use agreements::entry::{Kind, Leaf};
use agreements::ids::{AgreementId, Digest, Ori, RequestId, Salt};
use agreements::message::StreamEvent;
use agreements::stream::Event;
use agreements::time::Instant;
use diesel::prelude::*;

use super::parsed;
use super::schema::{agreement, receipt, stream_event};
use crate::db::Conn;
use crate::trail::schema::{fact, leaf};

/// An event as it was sworn: everything that proves it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The id of the entry in the trail of the party whose event it is.
    pub rid: RequestId,
    /// The canonical leaf.
    pub leaf: Vec<u8>,
    /// The [`StreamEvent`], as it arrived.
    pub message: Vec<u8>,
    /// The message's salt.
    pub salt: Salt,
    /// The proof of a partner's event, or of an own one that came back from the partner; all else is proven by our trail.
    pub proof: Option<String>,
}

impl Kept {
    /// The event inside.
    pub fn event(&self) -> QueryResult<StreamEvent> {
        parsed("stream_event", agreements::json::parse(&self.message))
    }
}

/// A document's bytes and the agreement that they are. A row that was edited no longer parses as canonical, or has
/// another hash than the one that was signed; the second is for the caller to find.
pub fn find(conn: &mut Conn, id: AgreementId) -> QueryResult<Option<(Vec<u8>, Agreement)>> {
    let row: Option<Vec<u8>> =
        agreement::table.find(id.to_string()).select(agreement::document).first(conn).optional()?;
    row.map(|document| Ok((document.clone(), parsed("agreement", Agreement::from_bytes(&document))?))).transpose()
}

/// The bytes of every document that is kept, whatever they are.
pub fn texts(conn: &mut Conn) -> QueryResult<Vec<Vec<u8>>> {
    agreement::table.select(agreement::document).load(conn)
}

/// The ids of all agreements, or of those with one partner, oldest first.
pub fn ids(conn: &mut Conn, partner: Option<Ori>) -> QueryResult<Vec<AgreementId>> {
    let mut query = agreement::table.select(agreement::id).order(agreement::id).into_boxed();
    if let Some(partner) = partner {
        query = query.filter(agreement::partner.eq(partner.as_str().to_owned()));
    }
    query.load::<String>(conn)?.into_iter().map(|id| parsed("agreement", id.parse())).collect()
}

/// With whom an agreement is.
pub fn partner(conn: &mut Conn, id: AgreementId) -> QueryResult<Option<Ori>> {
    let row: Option<String> =
        agreement::table.find(id.to_string()).select(agreement::partner).first(conn).optional()?;
    row.map(|partner| parsed("agreement", partner.parse())).transpose()
}

/// Everybody with whom there is an agreement.
pub fn counterparts(conn: &mut Conn) -> QueryResult<Vec<Ori>> {
    let rows: Vec<String> =
        agreement::table.select(agreement::partner).distinct().order(agreement::partner).load(conn)?;
    rows.into_iter().map(|partner| parsed("agreement", partner.parse())).collect()
}

/// With whom each agreement is, by its id.
pub(crate) fn partners(conn: &mut Conn) -> QueryResult<BTreeMap<String, String>> {
    Ok(agreement::table.select((agreement::id, agreement::partner)).load(conn)?.into_iter().collect())
}

/// The id of our entry that offered an agreement; `None` when the partner offered it.
pub fn offer(conn: &mut Conn, id: AgreementId) -> QueryResult<Option<RequestId>> {
    let row: Option<Option<Vec<u8>>> =
        agreement::table.find(id.to_string()).select(agreement::offer).first(conn).optional()?;
    row.flatten().map(|rid| parsed("agreement", RequestId::from_slice(&rid))).transpose()
}

/// Keeps a document, which our entry `offer` offered, or the partner's.
pub fn insert(
    conn: &mut Conn,
    id: AgreementId,
    partner: Ori,
    document: &[u8],
    offer: Option<RequestId>,
    now: Instant,
) -> QueryResult<()> {
    diesel::insert_into(agreement::table)
        .values((
            agreement::id.eq(id.to_string()),
            agreement::partner.eq(partner.as_str()),
            agreement::document.eq(document),
            agreement::offer.eq(offer.map(|rid| rid.as_bytes().to_vec())),
            agreement::kept_at.eq(now.micros()),
        ))
        .execute(conn)?;
    Ok(())
}

type Row = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Option<String>);

/// Every event that is kept of others than `us`, in no order.
pub fn events_of_others(conn: &mut Conn, us: Ori) -> QueryResult<Vec<Kept>> {
    let rows: Vec<Row> = stream_event::table
        .filter(stream_event::party.ne(us.as_str()))
        .select((stream_event::rid, stream_event::leaf, stream_event::message, stream_event::salt, stream_event::proof))
        .load(conn)?;
    // One that does not even have the form of an event is none.
    Ok(rows.into_iter().filter_map(|row| kept(row).ok()).collect())
}

/// One party's stream, in the order of its numbers.
pub fn stream(conn: &mut Conn, id: AgreementId, party: Ori) -> QueryResult<Vec<Kept>> {
    let rows: Vec<Row> = stream_event::table
        .filter(stream_event::agreement.eq(id.to_string()))
        .filter(stream_event::party.eq(party.as_str()))
        .order(stream_event::n)
        .select((stream_event::rid, stream_event::leaf, stream_event::message, stream_event::salt, stream_event::proof))
        .load(conn)?;
    rows.into_iter().map(kept).collect()
}

fn kept((rid, leaf, message, salt, proof): Row) -> QueryResult<Kept> {
    let salt = Salt(parsed("stream_event", salt.try_into().map_err(|_| "a salt of another length"))?);
    Ok(Kept { rid: parsed("stream_event", RequestId::from_slice(&rid))?, leaf, message, salt, proof })
}

/// The id of every agreement, or of those with one partner, with whom it is, and its document as it is kept, oldest first.
pub(crate) fn all(conn: &mut Conn, with: Option<Ori>) -> QueryResult<Vec<(AgreementId, String, Vec<u8>)>> {
    let columns = (agreement::id, agreement::partner, agreement::document);
    let mut query = agreement::table.select(columns).order(agreement::id).into_boxed();
    if let Some(partner) = with {
        query = query.filter(agreement::partner.eq(partner.as_str().to_owned()));
    }
    let rows: Vec<(String, String, Vec<u8>)> = query.load(conn)?;
    rows.into_iter().map(|(id, partner, document)| Ok((parsed("agreement", id.parse())?, partner, document))).collect()
}

/// Events by the agreement's id and the party's ORI, as they are written, in the order of their numbers.
pub(crate) type AllStreams = BTreeMap<String, BTreeMap<String, Vec<Kept>>>;

/// All parties' streams under all agreements, or under those with one partner, and the ids of those with a row that cannot
/// be read.
pub(crate) fn streams(conn: &mut Conn, with: Option<Ori>) -> QueryResult<(AllStreams, BTreeSet<String>)> {
    let mut query = stream_event::table
        .order((stream_event::agreement, stream_event::party, stream_event::n))
        .select((
            (stream_event::agreement, stream_event::party),
            (stream_event::rid, stream_event::leaf, stream_event::message, stream_event::salt, stream_event::proof),
        ))
        .into_boxed();
    if let Some(partner) = with {
        let of = agreement::table.filter(agreement::partner.eq(partner.as_str().to_owned())).select(agreement::id);
        query = query.filter(stream_event::agreement.eq_any(of));
    }
    let rows: Vec<((String, String), Row)> = query.load(conn)?;
    let (mut all, mut unreadable) = (AllStreams::new(), BTreeSet::new());
    for ((agreement, party), row) in rows {
        match kept(row) {
            Ok(kept) => all.entry(agreement).or_default().entry(party).or_default().push(kept),
            Err(_) => {
                unreadable.insert(agreement);
            }
        }
    }
    Ok((all, unreadable))
}

/// How many events of `party` are kept, in all agreements with `partner`.
pub fn events(conn: &mut Conn, partner: Ori, party: Ori) -> QueryResult<i64> {
    stream_event::table
        .inner_join(agreement::table)
        .filter(agreement::partner.eq(partner.as_str()))
        .filter(stream_event::party.eq(party.as_str()))
        .count()
        .get_result(conn)
}

/// The agreements in which `us` offered or said something that the partner has not acknowledged, oldest first.
pub fn unacknowledged(conn: &mut Conn, us: Ori) -> QueryResult<Vec<AgreementId>> {
    let events: Vec<String> = stream_event::table
        .left_join(receipt::table.on(receipt::of.eq(stream_event::rid)))
        .filter(stream_event::party.eq(us.as_str()))
        // What came back from the partner it has.
        .filter(stream_event::proof.is_null())
        .filter(receipt::of.is_null())
        .select(stream_event::agreement)
        .distinct()
        .load(conn)?;
    let offers: Vec<String> = agreement::table
        .left_join(receipt::table.on(receipt::of.nullable().eq(agreement::offer)))
        .filter(agreement::offer.is_not_null())
        .filter(receipt::of.is_null())
        .select(agreement::id)
        .load(conn)?;
    let all: BTreeSet<String> = events.into_iter().chain(offers).collect();
    all.into_iter().map(|id| parsed("agreement", id.parse())).collect()
}

/// An event by which a partner's keys or place changed, as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct KeptChange {
    /// Whose.
    pub(crate) partner: Ori,
    /// In which agreement.
    pub(crate) agreement: AgreementId,
    /// The id of its entry there.
    pub(crate) rid: RequestId,
    /// Its leaf hash.
    pub(crate) leaf_hash: Digest,
    /// What was said.
    pub(crate) said: StreamEvent,
}

/// What partners, or one of them, said of their keys and places, in no order.
pub(crate) fn changes(conn: &mut Conn, partner: Option<Ori>) -> QueryResult<Vec<KeptChange>> {
    type Row = (String, String, Vec<u8>, Vec<u8>, Vec<u8>);
    let mut query = stream_event::table
        .inner_join(agreement::table)
        .filter(stream_event::party.eq(agreement::partner))
        .select((stream_event::party, agreement::id, stream_event::rid, stream_event::leaf, stream_event::message))
        .into_boxed();
    if let Some(partner) = partner {
        query = query.filter(agreement::partner.eq(partner.as_str().to_owned()));
    }
    let mut found = Vec::new();
    for (partner, id, rid, leaf, message) in query.load::<Row>(conn)? {
        // Most events are others, and are told apart without being read; what is written with escapes is read.
        let has = |part: &[u8]| message.windows(part.len()).any(|bytes| bytes == part);
        if ![b"rekeyed".as_slice(), b"moved", b"\\"].into_iter().any(has) {
            continue;
        }
        let said: StreamEvent = parsed("stream_event", agreements::json::parse(&message))?;
        if matches!(said.event, Event::Rekeyed { .. } | Event::Moved { .. }) {
            found.push(KeptChange {
                partner: parsed("stream_event", partner.parse())?,
                agreement: parsed("agreement", id.parse())?,
                rid: parsed("stream_event", RequestId::from_slice(&rid))?,
                leaf_hash: Leaf::hash_of(&leaf),
                said,
            });
        }
    }
    Ok(found)
}

/// The leaf hashes of what `partner` acknowledged of ours about agreements, and of our packets, as it is kept.
pub(crate) fn acknowledgements(conn: &mut Conn, partner: Ori) -> QueryResult<Vec<Digest>> {
    let ours: Vec<Vec<u8>> = stream_event::table
        .inner_join(agreement::table)
        .filter(agreement::partner.eq(partner.as_str()))
        .filter(stream_event::party.ne(partner.as_str()))
        .select(stream_event::rid)
        .load(conn)?;
    let offers: Vec<Option<Vec<u8>>> =
        agreement::table.filter(agreement::partner.eq(partner.as_str())).select(agreement::offer).load(conn)?;
    let mut hashes: Vec<Vec<u8>> = Vec::new();
    let packets: Vec<Vec<u8>> = leaf::table
        .inner_join(fact::table.on(fact::idx.eq(leaf::idx)))
        .filter(leaf::kind.eq(Kind::PacketSent.as_str()))
        .filter(fact::partner.eq(partner.as_str()))
        .select(leaf::rid)
        .load(conn)?;
    for rid in ours.into_iter().chain(offers.into_iter().flatten()).chain(packets) {
        hashes.extend(receipt::table.filter(receipt::of.eq(rid)).select(receipt::leaf_hash).load::<Vec<u8>>(conn)?);
    }
    let digest =
        |bytes: Vec<u8>| parsed("receipt", bytes.try_into().map(Digest).map_err(|_| "a hash of another length"));
    hashes.into_iter().map(digest).collect()
}

/// Appends event `n` to a party's stream. A number that is taken is an error.
pub fn append(conn: &mut Conn, id: AgreementId, party: Ori, n: u32, kept: &Kept) -> QueryResult<()> {
    diesel::insert_into(stream_event::table)
        .values((
            stream_event::agreement.eq(id.to_string()),
            stream_event::party.eq(party.as_str()),
            stream_event::n.eq(i64::from(n)),
            stream_event::rid.eq(kept.rid.as_bytes().to_vec()),
            stream_event::leaf.eq(&kept.leaf),
            stream_event::message.eq(&kept.message),
            stream_event::salt.eq(kept.salt.0.to_vec()),
            stream_event::proof.eq(&kept.proof),
        ))
        .execute(conn)?;
    Ok(())
}
