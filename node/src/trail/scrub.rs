//! The columns of leaves, held to the leaves themselves, some at a time. They are indexes that no hash covers: an entry
//! whose `kind` was changed by hand would be missed by whoever looks for entries of that kind.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Digest, Salt};
use diesel::prelude::*;

use super::append::{self, FactRow, Facts};
use super::schema::{detail, fact, leaf};
use crate::db::Conn;

/// Goes round the trail, and remembers what it found until it is put right.
#[derive(Debug, Default)]
pub(crate) struct Scrub(Mutex<Round>);

#[derive(Debug, Default)]
struct Round {
    next: i64,
    wrong: BTreeSet<i64>,
    /// How many leaves there were at the start before those with which it began: 0 once they were all looked at.
    older: i64,
    /// Whether the first of them was come to.
    at_older: bool,
}

type Row = (i64, Vec<u8>, String, i64, Vec<u8>, Vec<u8>);

impl Scrub {
    /// Begins with the newest `count` of the `size` leaves: for a start, at which somebody may just have changed one.
    pub(crate) fn begin(&self, size: u64, count: i64) {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        round.next = size.cast_signed().saturating_sub(count).max(0);
        (round.older, round.at_older) = (round.next, false);
    }

    /// How many leaves that were there at the start were not looked at yet.
    pub(crate) fn left(&self) -> u64 {
        let round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = if round.at_older { round.next } else { 0 };
        u64::try_from(round.older.saturating_sub(done)).unwrap_or(0)
    }

    /// Looks at the next `count` leaves, from the first again after the last, and once more at those that were wrong.
    /// The positions of all that are wrong now.
    pub(crate) fn turn(&self, conn: &mut Conn, count: i64) -> QueryResult<Vec<i64>> {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = rows(conn, round.next, count)?;
        let mut wrong: BTreeSet<i64> = rows.iter().filter(|row| !agrees(row)).map(|row| row.0).collect();
        for idx in &round.wrong {
            wrong.extend(rows_at(conn, *idx)?.filter(|row| !agrees(row)).map(|row| row.0));
        }
        let whole = i64::try_from(rows.len()).unwrap_or(i64::MAX) == count;
        round.next = rows.last().filter(|_| whole).map_or(0, |row| row.0.saturating_add(1));
        if round.at_older && (round.next == 0 || round.next >= round.older) {
            round.older = 0;
        }
        round.at_older |= round.next == 0;
        round.wrong = wrong;
        Ok(round.wrong.iter().copied().collect())
    }
}

const COLUMNS: (leaf::idx, leaf::rid, leaf::kind, leaf::at, leaf::hash, leaf::body) =
    (leaf::idx, leaf::rid, leaf::kind, leaf::at, leaf::hash, leaf::body);

fn rows(conn: &mut Conn, from: i64, count: i64) -> QueryResult<Vec<Row>> {
    leaf::table.filter(leaf::idx.ge(from)).order(leaf::idx).limit(count).select(COLUMNS).load(conn)
}

fn rows_at(conn: &mut Conn, idx: i64) -> QueryResult<impl Iterator<Item = Row>> {
    Ok(leaf::table.find(idx).select(COLUMNS).load::<Row>(conn)?.into_iter())
}

fn agrees((_, rid, kind, at, hash, body): &Row) -> bool {
    Leaf::from_bytes(body).is_ok_and(|leaf| {
        *rid == leaf.rid.as_bytes()
            && *kind == leaf.kind.as_str()
            && *at == leaf.at.micros()
            && *hash == Leaf::hash_of(body).0
    })
}

/// The entries of `kinds` by whose index of what they are about nobody may look: it says something else than the note that the
/// entry commits to, or is not there; or what the entry says is not there. Of such kinds nothing is ever deleted.
pub(crate) fn misfiled(conn: &mut Conn, kinds: &[Kind]) -> QueryResult<Vec<i64>> {
    type Row = (i64, Vec<u8>, Option<(Vec<u8>, Vec<u8>)>, Option<FactRow>);
    let columns =
        (fact::partner, fact::username, fact::purpose, fact::reference, fact::plate, fact::decision, fact::rule);
    let rows: Vec<Row> = leaf::table
        .left_join(detail::table)
        .left_join(fact::table)
        .filter(leaf::kind.eq_any(kinds.iter().map(|kind| kind.as_str())))
        .order(leaf::idx)
        .select((leaf::idx, leaf::body, (detail::note, detail::note_salt).nullable(), columns.nullable()))
        .load(conn)?;
    let misfiled = |(_, body, said, facts): &Row| {
        let Some((note, salt)) = said else { return true };
        let salt = <[u8; 32]>::try_from(salt.as_slice()).map(Salt);
        let committed = match (Leaf::from_bytes(body), salt) {
            (Ok(leaf), Ok(salt)) => Digest::salted(&salt, note) == leaf.note,
            _ => false,
        };
        let kept = facts.clone().and_then(|row| Facts::from_row(row).ok());
        !committed || kept.is_none() || kept != append::read_note(note).map(|(facts, _)| facts)
    };
    Ok(rows.iter().filter(|row| misfiled(row)).map(|row| row.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::testing::{TestTrail, draft};

    #[test]
    fn what_was_there_before_the_newest_at_a_start_is_counted_until_all_was_looked_at() {
        let trail = TestTrail::new();
        let db = trail.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let job = |numbers: std::ops::Range<u64>| {
            db.record(move |tx| {
                for number in numbers {
                    tx.append(draft(tx.now(), number))?;
                }
                Ok(())
            })
        };
        runtime.block_on(job(0..20)).unwrap();
        trail.tamper("UPDATE leaf SET kind = 'query.asked' WHERE idx = 9");
        let mut conn = trail.connect();
        let scrub = Scrub::default();
        scrub.begin(20, 6);
        assert_eq!(scrub.left(), 14);
        assert_eq!(scrub.turn(&mut conn, 6).unwrap(), [] as [i64; 0], "the newest");
        // It goes on while the trail grows.
        runtime.block_on(job(20..25)).unwrap();
        let mut left = vec![scrub.left()];
        let mut found = Vec::new();
        while scrub.left() > 0 {
            assert!(left.len() < 20, "{left:?}");
            found = scrub.turn(&mut conn, 4).unwrap();
            left.push(scrub.left());
        }
        assert_eq!(found, [9], "a hidden one that is not among the newest");
        assert!(left.is_sorted_by(|a, b| a >= b), "{left:?}");
        scrub.turn(&mut conn, 4).unwrap();
        assert_eq!(scrub.left(), 0);
        let small = Scrub::default();
        small.begin(5, 6);
        assert_eq!(small.left(), 0, "all of it is looked at with the start");
    }

    #[test]
    fn a_column_changed_by_hand_is_found_in_its_turn_and_remembered_until_it_is_put_right() {
        let trail = TestTrail::new();
        let db = trail.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let job = db.record(|tx| {
            for number in 0..10 {
                tx.append(draft(tx.now(), number))?;
            }
            Ok(())
        });
        runtime.block_on(job).unwrap();
        let mut conn = trail.connect();
        let scrub = Scrub::default();
        for change in ["kind = 'query.asked'", "at = at + 1", "rid = randomblob(16)", "hash = randomblob(32)"] {
            trail.tamper(&format!("CREATE TABLE kept AS SELECT * FROM leaf; UPDATE leaf SET {change} WHERE idx = 7"));
            let found: Vec<Vec<i64>> = (0..6).map(|_| scrub.turn(&mut conn, 4).unwrap()).collect();
            assert!(found.iter().any(Vec::is_empty) && found.contains(&vec![7]), "{change}: {found:?}");
            assert_eq!(scrub.turn(&mut conn, 4).unwrap(), [7], "{change}");
            trail.tamper(
                "PRAGMA foreign_keys = OFF; DELETE FROM leaf; INSERT INTO leaf SELECT * FROM kept; DROP TABLE kept",
            );
            assert_eq!(scrub.turn(&mut conn, 4).unwrap(), [] as [i64; 0], "{change}");
            // Round to the beginning.
            while scrub.0.lock().unwrap().next != 0 {
                scrub.turn(&mut conn, 4).unwrap();
            }
        }
    }
}
