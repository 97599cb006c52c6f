//! What was exchanged: entries heard, use by day, receipts, partners' newest heads.

use std::collections::BTreeMap;

use agreements::ids::{AgreementId, Digest, Ori, RequestId, Salt};
use agreements::time::Instant;
use diesel::prelude::*;
use jiff::civil::Date;

use super::parsed;
use super::schema::{day_use, heard, receipt};
use crate::db::{Conn, each};
use crate::trail::schema::head;

/// What this node did about a partner's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its leaf hash.
    pub leaf: Digest,
    /// The id of our entry that answered it.
    pub answer: RequestId,
}

/// What was done about the entry `rid` of `origin`, if anything.
pub fn heard(conn: &mut Conn, origin: Ori, rid: RequestId) -> QueryResult<Option<Heard>> {
    let row: Option<(Vec<u8>, Vec<u8>)> = heard::table
        .find((origin.as_str(), rid.as_bytes().to_vec()))
        .select((heard::leaf, heard::answer))
        .get_result(conn)
        .optional()?;
    row.map(|(leaf, answer)| {
        Ok(Heard { leaf: digest("heard", leaf)?, answer: parsed("heard", RequestId::from_slice(&answer))? })
    })
    .transpose()
}

/// Notes that the entry `rid` of `origin` is acted on; false if it was before.
pub fn hear(conn: &mut Conn, origin: Ori, rid: RequestId, what: Heard) -> QueryResult<bool> {
    let row = (
        heard::origin.eq(origin.as_str()),
        heard::rid.eq(&rid.as_bytes()[..]),
        heard::leaf.eq(&what.leaf.0[..]),
        heard::answer.eq(&what.answer.as_bytes()[..]),
    );
    let new = each!(conn, c => diesel::insert_into(heard::table).values(row).on_conflict_do_nothing().execute(c))?;
    Ok(new == 1)
}

/// Questions answered with a permit under an agreement on a day (`America/Los_Angeles`).
pub fn used(conn: &mut Conn, agreement: AgreementId, day: Date) -> QueryResult<u32> {
    let key = (agreement.to_string(), day.to_string());
    let row: Option<i64> =
        each!(conn, c => day_use::table.find(key).select(day_use::questions).get_result(c).optional())?;
    Ok(u32::try_from(row.unwrap_or(0)).unwrap_or(u32::MAX))
}

/// What a decision begins with, in one look: the standing epoch, and the questions [`used`].
pub fn epoch_and_used(conn: &mut Conn, agreement: AgreementId, day: Date) -> QueryResult<(i64, u32)> {
    let key = (agreement.to_string(), day.to_string());
    let (epoch, used): (i64, Option<i64>) = each!(conn, c => {
        let used = day_use::table.find(key).select(day_use::questions).single_value();
        head::table.find(1).select((head::epoch, used)).get_result(c)
    })?;
    Ok((epoch, u32::try_from(used.unwrap_or(0)).unwrap_or(u32::MAX)))
}

diesel::allow_tables_to_appear_in_same_query!(day_use, head);

/// Counts one more than `used`, which the caller read in the same transaction.
pub fn count(conn: &mut Conn, agreement: AgreementId, day: Date, used: u32) -> QueryResult<()> {
    let (agreement, day, questions) = (agreement.to_string(), day.to_string(), i64::from(used) + 1);
    each!(conn, c => {
        if used == 0 {
            let row = (day_use::agreement.eq(agreement), day_use::day.eq(day), day_use::questions.eq(questions));
            diesel::insert_into(day_use::table).values(row).execute(c)?;
        } else {
            let row = day_use::table.find((agreement, day));
            diesel::update(row).set(day_use::questions.eq(questions)).execute(c)?;
        }
    });
    Ok(())
}

/// The counts of a day, by agreement.
pub(crate) fn uses(conn: &mut Conn, day: Date) -> QueryResult<BTreeMap<String, i64>> {
    let rows = day_use::table.filter(day_use::day.eq(day.to_string())).select((day_use::agreement, day_use::questions));
    Ok(rows.load(conn)?.into_iter().collect())
}

/// The counts of an agreement from `first` to `last`, by day.
pub(crate) fn used_from(
    conn: &mut Conn,
    agreement: AgreementId,
    first: Date,
    last: Date,
) -> QueryResult<BTreeMap<Date, i64>> {
    let rows: Vec<(String, i64)> = day_use::table
        .filter(day_use::agreement.eq(agreement.to_string()))
        .filter(day_use::day.between(first.to_string(), last.to_string()))
        .select((day_use::day, day_use::questions))
        .load(conn)?;
    rows.into_iter().map(|(day, questions)| Ok((parsed("day_use", day.parse())?, questions))).collect()
}

/// Puts the counts of a day in the place of those that are there.
pub(crate) fn set_uses(conn: &mut Conn, day: Date, uses: &BTreeMap<String, i64>) -> QueryResult<()> {
    diesel::delete(day_use::table.filter(day_use::day.eq(day.to_string()))).execute(conn)?;
    for (agreement, questions) in uses {
        let row =
            (day_use::agreement.eq(agreement), day_use::day.eq(day.to_string()), day_use::questions.eq(questions));
        diesel::insert_into(day_use::table).values(row).execute(conn)?;
    }
    Ok(())
}

/// A partner's entry to us, with its proof.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Whose log it is in.
    pub origin: Ori,
    /// The id of our entry that it answers.
    pub of: RequestId,
    /// Its leaf hash.
    pub leaf_hash: Digest,
    /// Its canonical leaf.
    pub leaf: Vec<u8>,
    /// Its message, as it arrived.
    pub message: Vec<u8>,
    /// The message's salt.
    pub salt: Salt,
    /// tlog-proof@v1.
    pub proof: String,
}

/// Keeps a receipt; one that is kept already stays as it is.
pub fn keep(conn: &mut Conn, new: &Receipt, now: Instant) -> QueryResult<()> {
    let row = (
        receipt::leaf_hash.eq(new.leaf_hash.0.to_vec()),
        receipt::origin.eq(new.origin.as_str()),
        receipt::of.eq(new.of.as_bytes().to_vec()),
        receipt::leaf.eq(&new.leaf),
        receipt::message.eq(&new.message),
        receipt::salt.eq(new.salt.0.to_vec()),
        receipt::proof.eq(&new.proof),
        receipt::kept_at.eq(now.micros()),
    );
    each!(conn, conn => diesel::insert_into(receipt::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok(())
}

/// The leaf hashes of the receipts of `origin` that were kept from `since` on and before `until`, oldest first.
pub fn kept_between(conn: &mut Conn, origin: Ori, since: Instant, until: Instant) -> QueryResult<Vec<Digest>> {
    let kept = receipt::kept_at.ge(since.micros()).and(receipt::kept_at.lt(until.micros()));
    let rows: Vec<Vec<u8>> = receipt::table
        .filter(receipt::origin.eq(origin.as_str()).and(kept))
        .order((receipt::kept_at, receipt::leaf_hash))
        .select(receipt::leaf_hash)
        .load(conn)?;
    rows.into_iter().map(|leaf| digest("receipt", leaf)).collect()
}

/// The receipt of a leaf hash, if it is kept.
pub fn receipt(conn: &mut Conn, leaf: Digest) -> QueryResult<Option<Receipt>> {
    let row = receipt::table.find(leaf.0.to_vec()).select(RECEIPT).first::<ReceiptRow>(conn).optional()?;
    row.map(receipt_of).transpose()
}

/// The entries of `origin` that were acted on, whose ids are of the time from `since` on and before `until`: an id begins with
/// its milliseconds.
pub fn heard_between(
    conn: &mut Conn,
    origin: Ori,
    since: Instant,
    until: Instant,
) -> QueryResult<Vec<(RequestId, Heard)>> {
    let bound = |at: Instant| {
        let millis = u64::try_from(at.micros().div_euclid(1000)).unwrap_or(0) << 16;
        [millis.to_be_bytes(), [0; 8]].concat()
    };
    let ids = heard::rid.ge(bound(since)).and(heard::rid.lt(bound(until)));
    let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = heard::table
        .filter(heard::origin.eq(origin.as_str()).and(ids))
        .order(heard::rid)
        .select((heard::rid, heard::leaf, heard::answer))
        .load(conn)?;
    let read = |(rid, leaf, answer): (Vec<u8>, Vec<u8>, Vec<u8>)| {
        let answer = parsed("heard", RequestId::from_slice(&answer))?;
        Ok((parsed("heard", RequestId::from_slice(&rid))?, Heard { leaf: digest("heard", leaf)?, answer }))
    };
    rows.into_iter().map(read).collect()
}

/// Deletes the receipts for these entries of ours: what was exchanged is deleted on both of its sides. How many there were.
pub(crate) fn forget(conn: &mut Conn, of: &[RequestId]) -> QueryResult<usize> {
    let mut forgotten: usize = 0;
    for some in of.chunks(500) {
        let of: Vec<Vec<u8>> = some.iter().map(|rid| rid.as_bytes().to_vec()).collect();
        let those = receipt::table.filter(receipt::of.eq_any(of));
        forgotten = forgotten.saturating_add(each!(conn, c => diesel::delete(those).execute(c))?);
    }
    Ok(forgotten)
}

/// The receipts for one of our entries, or all of them, oldest first; at most `limit`.
pub fn receipts(conn: &mut Conn, of: Option<RequestId>, limit: i64) -> QueryResult<Vec<Receipt>> {
    let mut query =
        receipt::table.select(RECEIPT).order((receipt::kept_at, receipt::leaf_hash)).limit(limit).into_boxed();
    if let Some(of) = of {
        query = query.filter(receipt::of.eq(of.as_bytes().to_vec()));
    }
    query.load::<ReceiptRow>(conn)?.into_iter().map(receipt_of).collect()
}

/// The receipts for one of our entries, or all of them, in the order of their leaf hashes and from behind `after` on; at most
/// `limit`. So they are read through page by page.
pub fn receipts_after(
    conn: &mut Conn,
    of: Option<RequestId>,
    after: Option<Digest>,
    limit: i64,
) -> QueryResult<Vec<Receipt>> {
    let mut query = receipt::table.select(RECEIPT).order(receipt::leaf_hash).limit(limit).into_boxed();
    if let Some(of) = of {
        query = query.filter(receipt::of.eq(of.as_bytes().to_vec()));
    }
    if let Some(after) = after {
        query = query.filter(receipt::leaf_hash.gt(after.0.to_vec()));
    }
    query.load::<ReceiptRow>(conn)?.into_iter().map(receipt_of).collect()
}

/// Receipts of `origin` for entries of ours from `since` on, in the order of these and from behind `after` on; at most
/// `limit`. So they are read through page by page.
pub fn receipts_of(
    conn: &mut Conn,
    origin: Ori,
    since: Instant,
    after: Option<(RequestId, Digest)>,
    limit: i64,
) -> QueryResult<Vec<Receipt>> {
    // Ids begin with the time at which they were made (RFC 9562, version 7), so that the index of entries gives them.
    let first = RequestId::new(since, [0; 10]).as_bytes().to_vec();
    let mut query = receipt::table
        .select(RECEIPT)
        .filter(receipt::of.ge(first))
        .filter(receipt::origin.eq(origin.as_str()))
        .order((receipt::of, receipt::leaf_hash))
        .limit(limit)
        .into_boxed();
    if let Some((of, leaf)) = after {
        let (of, leaf) = (of.as_bytes().to_vec(), leaf.0.to_vec());
        query = query.filter(receipt::of.gt(of.clone()).or(receipt::of.eq(of).and(receipt::leaf_hash.gt(leaf))));
    }
    query.load::<ReceiptRow>(conn)?.into_iter().map(receipt_of).collect()
}

/// Puts a proof in the place of the one that a receipt has, if that is still `old`.
pub fn renew(conn: &mut Conn, leaf_hash: Digest, old: &str, new: &str) -> QueryResult<bool> {
    let row = receipt::table.filter(receipt::leaf_hash.eq(leaf_hash.0.to_vec())).filter(receipt::proof.eq(old));
    let changed = each!(conn, conn => diesel::update(row).set(receipt::proof.eq(new)).execute(conn))?;
    Ok(changed == 1)
}

type ReceiptColumns =
    (receipt::leaf_hash, receipt::origin, receipt::of, receipt::leaf, receipt::message, receipt::salt, receipt::proof);
const RECEIPT: ReceiptColumns =
    (receipt::leaf_hash, receipt::origin, receipt::of, receipt::leaf, receipt::message, receipt::salt, receipt::proof);
type ReceiptRow = (Vec<u8>, String, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, String);

fn receipt_of(row: ReceiptRow) -> QueryResult<Receipt> {
    let (leaf_hash, origin, of, leaf, message, salt, proof) = row;
    Ok(Receipt {
        origin: parsed("receipt", origin.parse())?,
        of: parsed("receipt", RequestId::from_slice(&of))?,
        leaf_hash: digest("receipt", leaf_hash)?,
        leaf,
        message,
        salt: Salt(digest("receipt", salt)?.0),
        proof,
    })
}

fn digest(table: &str, bytes: Vec<u8>) -> QueryResult<Digest> {
    parsed(table, bytes.try_into().map(Digest).map_err(|_| "a hash of another length"))
}
