//! Whether this node's registry was set back: somebody knows a head that this log signed and that the registry does not have.
//! What one process of the node finds is kept for all of them, until two people open a new epoch (see [`crate::epoch`]).

use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::db::{Conn, each, steady};
use crate::trail::epoch;
use crate::trail::head::{Head, HeadError};
use crate::trail::note::{Checkpoint, Vkey};
use crate::trail::schema::behind;
use crate::trail::tiles::{TileCache, Tree};

/// A head that this log signed once and that its registry does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The origin that it states.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
}

/// That the registry was set back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The largest head that was shown.
    pub head: Lost,
    /// As this log signed it, with what the witness said of it.
    pub checkpoint: String,
    /// Who showed it: the name of its key.
    pub witness: String,
    /// How many entries the registry has.
    pub here: u64,
}

impl Behind {
    /// What is wrong and what to do, in one sentence.
    #[must_use]
    pub fn says(&self) -> String {
        let Self { head, witness, here, .. } = self;
        let how = if head.size > *here { "which are more than" } else { "which are not the beginning of" };
        format!(
            "{witness} knows {} entries of {}, {how} the {here} of this registry: it was restored from a backup. Put back a \
             newer one if there is one; otherwise let two people open a new epoch: concordat trail epoch propose",
            head.size, head.origin
        )
    }
}

impl std::fmt::Display for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.says())
    }
}

/// Whether the registry does not have `head`, whose signature was verified: then how many entries it has. Heads of earlier
/// epochs are history.
fn lacks(conn: &mut Conn, head: &Checkpoint) -> Result<Option<u64>, HeadError> {
    steady(conn, |conn| {
        let present = Head::read(conn)?;
        let (here, there) = (epoch::number(present.origin()), epoch::number(&head.origin));
        let of_another = !present.origin().is_empty() && epoch::base(present.origin()) != epoch::base(&head.origin);
        if of_another || there < here {
            return Ok(None);
        }
        let has = there == here
            && head.size <= present.size
            && Tree::new(conn, &TileCache::default()).root(head.size)? == head.root;
        Ok((!has).then_some(present.size))
    })
}

/// Keeps that `witness` showed `checkpoint`, which states `head`, unless the registry has that head: the registry is looked at
/// only now, so that what another process recorded meanwhile is there. Of several the largest stays.
pub(super) fn keep(
    conn: &mut Conn,
    head: &Checkpoint,
    checkpoint: &str,
    witness: &str,
    now: Instant,
) -> QueryResult<bool> {
    if lacks(conn, head).map_err(HeadError::of_store)?.is_none() {
        return Ok(false);
    }
    let order = |origin: &str, size| (epoch::number(origin), size);
    if let Some(before) = read(conn)?
        && order(&before.head.origin, before.head.size) >= order(&head.origin, head.size)
    {
        return Ok(true);
    }
    let said = (behind::checkpoint.eq(checkpoint), behind::witness.eq(witness), behind::seen_at.eq(now.micros()));
    each!(conn, c => diesel::insert_into(behind::table)
        .values((behind::id.eq(1), said))
        .on_conflict(behind::id)
        .do_update()
        .set(said)
        .execute(c))?;
    Ok(true)
}

/// Whether the registry was set back, as far as a process of this node was shown. What is kept is compared with the trail
/// again.
pub fn read(conn: &mut Conn) -> QueryResult<Option<Behind>> {
    let row: Option<(String, String)> =
        behind::table.find(1).select((behind::checkpoint, behind::witness)).first(conn).optional()?;
    let Some((checkpoint, witness)) = row else { return Ok(None) };
    // Its signature was verified before it was kept: here it is no more than a reason to refuse.
    let Some(head) = stated(&checkpoint) else { return Ok(None) };
    let here = lacks(conn, &head).map_err(HeadError::of_store)?;
    let Checkpoint { origin, size, root } = head;
    Ok(here.map(|here| Behind { head: Lost { origin, size, root }, checkpoint, witness, here }))
}

/// Forgets it: a new epoch names it.
pub(crate) fn forget(conn: &mut Conn) -> QueryResult<()> {
    diesel::delete(behind::table).execute(conn).map(drop)
}

fn stated(checkpoint: &str) -> Option<Checkpoint> {
    Checkpoint::stated(checkpoint).ok()
}

/// The head that `text` states, if one of these keys signed it as a head of any epoch of this log.
pub(crate) fn own(text: &str, base: &str, keys: &[[u8; 32]]) -> Option<Checkpoint> {
    let origin = text.lines().next().filter(|origin| epoch::base(origin) == epoch::base(base))?;
    keys.iter().find_map(|key| Checkpoint::verify(text, &Vkey::new(origin, *key).ok()?).ok())
}
