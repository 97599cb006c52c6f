//! With whom the trail recorded something since: what is read and verified of each partner is read again of those alone. With
//! three hundred partners, what one of them says must not cost reading what all of them are.

use std::collections::BTreeSet;

use agreements::entry::Kind;
use agreements::ids::Ori;
use agreements::message::To;
use diesel::prelude::*;
use serde::Deserialize;

use super::schema::{detail, leaf};
use crate::db::Conn;

/// Of more than these, everything is read again: that costs no more.
const MANY: usize = 16;

/// Whom an entry is about, in whichever of the messages.
#[derive(Deserialize)]
struct About {
    #[serde(default)]
    to: Vec<To>,
    ori: Option<Ori>,
}

/// Whom the entries of `kinds` from position `from` on are about; `None` where they are too many, or one does not say, so that
/// everything is to be read again.
pub(crate) fn about(conn: &mut Conn, kinds: &[Kind], from: u64) -> QueryResult<Option<BTreeSet<Ori>>> {
    let Ok(from) = i64::try_from(from) else { return Ok(None) };
    let mut all = BTreeSet::new();
    for kind in kinds {
        let said: Vec<Option<Vec<u8>>> = leaf::table
            .left_join(detail::table)
            .filter(leaf::kind.eq(kind.as_str()).and(leaf::idx.ge(from)))
            .select(detail::message.nullable())
            .load(conn)?;
        for message in said {
            let about = message.and_then(|message| serde_json::from_slice::<About>(&message).ok());
            let Some(about) = about.filter(|about| !about.to.is_empty() || about.ori.is_some()) else {
                return Ok(None);
            };
            all.extend(about.to.into_iter().map(|to| to.ori).chain(about.ori));
        }
        if all.len() > MANY {
            return Ok(None);
        }
    }
    Ok(Some(all))
}
