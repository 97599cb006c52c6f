//! Own heads that witnesses were shown, and what they said of them.

use std::collections::BTreeMap;

use agreements::time::Instant;
use diesel::prelude::*;

use crate::db::{Conn, each};
use crate::trail::schema::{cosignature, published};

/// A witness's word about an own head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of its key.
    pub witness: String,
    /// How many entries the head has.
    pub size: u64,
    /// The signature line, with its newline.
    pub text: String,
    /// When the witness says that it signed.
    pub at: Instant,
}

/// Keeps a head as this log signed it, and lines about it. A head that is kept already stays as it was; of a witness's
/// lines about one head the newest counts.
pub fn keep(conn: &mut Conn, size: u64, checkpoint: &str, lines: &[Line], now: Instant) -> QueryResult<()> {
    let head =
        (published::size.eq(size.cast_signed()), published::checkpoint.eq(checkpoint), published::at.eq(now.micros()));
    each!(conn, c => diesel::insert_into(published::table).values(head).on_conflict_do_nothing().execute(c))?;
    for line in lines {
        let said = (cosignature::line.eq(&line.text), cosignature::at.eq(line.at.micros()));
        let key = (cosignature::witness.eq(&line.witness), cosignature::size.eq(line.size.cast_signed()));
        each!(conn, c => diesel::insert_into(cosignature::table)
            .values((key, said))
            .on_conflict((cosignature::witness, cosignature::size))
            .do_update()
            .set(said)
            .execute(c))?;
    }
    Ok(())
}

/// Forgets everything: a new epoch begins, and nobody has said anything of its heads yet.
pub fn begin_anew(conn: &mut Conn) -> QueryResult<()> {
    diesel::delete(cosignature::table).execute(conn)?;
    diesel::delete(published::table).execute(conn)?;
    Ok(())
}

/// Forgets heads before `size`, and lines about them but the newest of each witness.
pub fn prune(conn: &mut Conn, size: u64) -> QueryResult<()> {
    let size = size.cast_signed();
    diesel::delete(published::table.filter(published::size.lt(size))).execute(conn)?;
    for (witness, newest) in newest(conn)? {
        let older = cosignature::table
            .filter(cosignature::witness.eq(&witness))
            .filter(cosignature::size.lt(size.min(newest.cast_signed())));
        diesel::delete(older).execute(conn)?;
    }
    Ok(())
}

/// The size of the largest own head that each witness cosigned.
pub fn newest(conn: &mut Conn) -> QueryResult<BTreeMap<String, u64>> {
    let rows: Vec<(String, Option<i64>)> = each!(conn, c => cosignature::table
        .group_by(cosignature::witness)
        .select((cosignature::witness, diesel::dsl::max(cosignature::size)))
        .load(c))?;
    Ok(rows.into_iter().map(|(witness, size)| (witness, size.unwrap_or(0).cast_unsigned())).collect())
}

/// The largest own head that each witness cosigned, and when a witness says that it signed last.
pub fn last(conn: &mut Conn) -> QueryResult<BTreeMap<String, (u64, Instant)>> {
    let rows: Vec<(String, Option<i64>, Option<i64>)> = each!(conn, c => cosignature::table
        .group_by(cosignature::witness)
        .select((cosignature::witness, diesel::dsl::max(cosignature::size), diesel::dsl::max(cosignature::at)))
        .load(c))?;
    let said = |(witness, size, at): (String, Option<i64>, Option<i64>)| {
        (witness, (size.unwrap_or(0).cast_unsigned(), Instant::from_micros(at.unwrap_or(0))))
    };
    Ok(rows.into_iter().map(said).collect())
}

/// When the oldest head that is kept was shown first.
pub fn first_shown(conn: &mut Conn) -> QueryResult<Option<Instant>> {
    let at: Option<i64> = each!(conn, c => published::table.select(diesel::dsl::min(published::at)).first(c))?;
    Ok(at.map(Instant::from_micros))
}

/// The heads that are kept, newest first, each with its size and what was said of it.
pub fn heads(conn: &mut Conn) -> QueryResult<Vec<(u64, String, Vec<Line>)>> {
    let heads: Vec<(i64, String)> =
        published::table.select((published::size, published::checkpoint)).order(published::size.desc()).load(conn)?;
    let mut found = Vec::with_capacity(heads.len());
    for (size, checkpoint) in heads {
        let rows: Vec<(String, String, i64)> = cosignature::table
            .filter(cosignature::size.eq(size))
            .select((cosignature::witness, cosignature::line, cosignature::at))
            .order(cosignature::witness)
            .load(conn)?;
        let size = size.cast_unsigned();
        let line = |(witness, text, at)| Line { witness, size, text, at: Instant::from_micros(at) };
        found.push((size, checkpoint, rows.into_iter().map(line).collect()));
    }
    Ok(found)
}
