//! Partners' hotlists that a person accepted. Their entries are elsewhere, and die with their lease.

use agreements::ids::Ori;
use agreements::time::Instant;
use diesel::prelude::*;

use super::parsed;
use super::schema::accepted_list;
use crate::db::Conn;

/// A partner's list that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its owner.
    pub owner: Ori,
    /// Its name.
    pub list: String,
    /// When.
    pub accepted_at: Instant,
    /// By whom.
    pub accepted_by: String,
    /// Position in the owner's log of the newest assertion received; -1 before any.
    pub seen_index: i64,
}

type Row = (String, String, i64, String, i64);

fn accepted_of((owner, list, accepted_at, accepted_by, seen_index): Row) -> QueryResult<Accepted> {
    let owner = parsed("accepted_list", owner.parse())?;
    Ok(Accepted { owner, list, accepted_at: Instant::from_micros(accepted_at), accepted_by, seen_index })
}

/// All of them.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Accepted>> {
    let rows: Vec<Row> = accepted_list::table.order((accepted_list::owner, accepted_list::list)).load(conn)?;
    rows.into_iter().map(accepted_of).collect()
}

/// One of them.
pub fn find(conn: &mut Conn, owner: Ori, list: &str) -> QueryResult<Option<Accepted>> {
    let row: Option<Row> = accepted_list::table.find((owner.as_str(), list)).first(conn).optional()?;
    row.map(accepted_of).transpose()
}

/// Accepts a list that was not.
pub fn insert(conn: &mut Conn, owner: Ori, list: &str, by: &str, at: Instant) -> QueryResult<()> {
    diesel::insert_into(accepted_list::table)
        .values((
            accepted_list::owner.eq(owner.as_str()),
            accepted_list::list.eq(list),
            accepted_list::accepted_at.eq(at.micros()),
            accepted_list::accepted_by.eq(by),
            accepted_list::seen_index.eq(-1_i64),
        ))
        .execute(conn)?;
    Ok(())
}

/// Ends that. Whether it was accepted.
pub fn delete(conn: &mut Conn, owner: Ori, list: &str) -> QueryResult<bool> {
    Ok(diesel::delete(accepted_list::table.find((owner.as_str(), list))).execute(conn)? == 1)
}

/// Moves on to a newer assertion. Whether it is newer: only a higher position in the owner's log replaces.
pub fn see(conn: &mut Conn, owner: Ori, list: &str, index: u64) -> QueryResult<bool> {
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    let older = accepted_list::table
        .filter(accepted_list::owner.eq(owner.as_str()))
        .filter(accepted_list::list.eq(list))
        .filter(accepted_list::seen_index.lt(index));
    Ok(diesel::update(older).set(accepted_list::seen_index.eq(index)).execute(conn)? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::testing::TestTrail;

    #[test]
    fn only_a_higher_position_in_the_owners_log_replaces() {
        let trail = TestTrail::new();
        let db = trail.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owner: Ori = "CA0990100".parse().unwrap();
        let seen = db.write("test", move |conn| {
            insert(conn, owner, "wanted", "sasha", Instant::from_micros(0))?;
            let mut seen = Vec::new();
            for index in [0, 5, 5, 4, 0, 6] {
                seen.push(see(conn, owner, "wanted", index)?);
            }
            seen.push(see(conn, owner, "other", 9)?);
            Ok(seen)
        });
        assert_eq!(runtime.block_on(seen).unwrap(), [true, true, false, false, false, true, false]);
    }
}
