//! When a partner can have said what it says, by its own trail's clock. It is believed only between two bounds, so that
//! nobody dates back what makes a renewal never to have been: not after now, and not before the last time at which its entry
//! was not there yet. That is known because each entry of ours that answers a partner notes how many entries its log had.

use agreements::ids::Ori;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::Deserialize;

use crate::db::{Conn, Tx};
use crate::exchange::sworn::Evidence;
use crate::registry::heads;
use crate::trail::{head, search};

/// How far two nodes' clocks may be apart, in microseconds.
const CLOCKS_APART: i64 = 5 * Instant::MINUTE;

/// What is read of the note of an entry that answers a partner.
#[derive(Deserialize)]
struct Noted {
    head: Option<u64>,
}

/// Whether an event can have been said when its entry says so; why not, where it cannot.
pub(super) fn timely(tx: &mut Tx<'_>, evidence: &Evidence) -> QueryResult<Result<(), String>> {
    if evidence.at.since(tx.now()) > CLOCKS_APART {
        return Ok(Err("it is from the future: look at the clocks of both nodes".to_owned()));
    }
    let without = last_without(tx.conn(), evidence.origin, evidence.index)?;
    let dated_back = without.filter(|(_, at)| at.since(evidence.at) > CLOCKS_APART);
    Ok(dated_back.map_or(Ok(()), |(size, at)| {
        Err(format!(
            "it says that it is older than it can be: its entry was not in the head of {size} entries that was seen at {at}"
        ))
    }))
}

/// The last head of a partner's log that was seen without the entry at `index`: of how many entries, and when.
fn last_without(conn: &mut Conn, origin: Ori, index: u64) -> QueryResult<Option<(u64, Instant)>> {
    match heads::newest(conn, origin)? {
        None => return Ok(None),
        Some((newest, at)) if newest.size <= index => return Ok(Some((newest.size, at))),
        Some(_) => {}
    }
    // The newest head has it: wanted is the last of our entries that answered one without it. Heads only grow, so halves
    // are enough.
    let (mut from, mut until) = (-1, i64::try_from(head::extent(conn)?.0).unwrap_or(i64::MAX));
    let mut without = None;
    while until - from > 1 {
        let middle = from + (until - from) / 2;
        let answered = search::answered(conn, origin, from, middle)?;
        let noted = answered.as_ref().map(|answered| serde_json::from_slice::<Noted>(&answered.note));
        match (answered, noted) {
            (Some(answered), Some(Ok(Noted { head: Some(size) }))) if size <= index => {
                without = Some((size, answered.at));
                from = middle;
            }
            (Some(answered), _) => until = answered.index,
            (None, _) => from = middle,
        }
    }
    Ok(without)
}
