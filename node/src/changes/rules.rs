//! The owner's rules that count: what the configuration says, as far as two people let it be.
//!
//! The first proposal of a change adopts the configuration's: before one, nothing is shared. Narrower ones count at once and
//! are then the ones that are held to; wider ones count only after [`super::Command::WidenRules`] was approved.

use agreements::decide::OwnerRules;
use agreements::entry::Kind;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::record::said;
use super::{Command, Outcome, Proposed, Settled, append};
use crate::db::{Conn, Tx};
use crate::exchange::failure::Failure;
use crate::node::Node;

/// All rules that ever counted, each from when on, in the order of the trail; the inner error says what is not as it was
/// recorded.
pub(crate) fn history(conn: &mut Conn) -> QueryResult<Result<Vec<(Instant, OwnerRules)>, String>> {
    let settled = match said::<Settled>(conn, Kind::ChangeSettled)? {
        Ok(settled) => settled,
        Err(what) => return Ok(Err(what)),
    };
    let mut proposed = None;
    let mut history = Vec::new();
    for (told, Settled { change, outcome, .. }) in settled {
        match (change, outcome) {
            (_, Outcome::Adopted { rules }) => history.push((told.at, rules)),
            (Some(id), Outcome::Applied { .. }) => {
                if proposed.is_none() {
                    proposed = Some(match said::<Proposed>(conn, Kind::ChangeProposed)? {
                        Ok(proposed) => proposed,
                        Err(what) => return Ok(Err(what)),
                    });
                }
                let known = proposed.iter().flatten().find(|(told, _)| told.rid == id);
                if let Some((_, Proposed { command: Command::WidenRules { rules }, .. })) = known {
                    history.push((told.at, rules.clone()));
                }
            }
            _ => {}
        }
    }
    Ok(Ok(history))
}

/// The rules that count, where the configuration says `file`: the narrower of it and what was adopted or approved last. Where
/// the trail does not tell, nothing is shared for any purpose.
pub(crate) fn counting(conn: &mut Conn, file: &OwnerRules) -> QueryResult<OwnerRules> {
    Ok(match history(conn)? {
        Ok(history) => history.last().map_or_else(|| file.clone(), |(_, held)| file.narrower(held)),
        Err(what) => {
            tracing::error!(what, "ALARM: what the trail says of the owner's rules was changed; nothing is shared");
            OwnerRules { purposes: Vec::new(), ..file.clone() }
        }
    })
}

/// Records the configuration's rules where they are the first, or narrower than those held to.
pub(crate) fn adopt(tx: &mut Tx<'_>, file: &OwnerRules) -> QueryResult<()> {
    let Ok(history) = history(tx.conn())? else { return Ok(()) };
    let rules = match history.last() {
        None => file.clone(),
        Some((_, held)) => {
            let rules = file.narrower(held);
            if held.wider_than(&rules).is_empty() {
                return Ok(());
            }
            rules
        }
    };
    append(tx, Kind::ChangeSettled, &Settled { v: 1, change: None, outcome: Outcome::Adopted { rules } }, "", None, "adopted")?;
    tx.bump_epoch();
    Ok(())
}

/// Records that narrower rules count now, where they do.
///
/// # Errors
/// Not recorded; the narrower ones count all the same.
pub async fn hold(node: &Node) -> Result<(), Failure> {
    let file = node.owner().rules.clone();
    let news = {
        let mut conn = node.registry().reader()?;
        history(&mut conn)?.is_ok_and(|history| {
            history.last().is_some_and(|(_, held)| !held.wider_than(&file.narrower(held)).is_empty())
        })
    };
    if news {
        node.registry().record(move |tx| adopt(tx, &file)).await?;
    }
    Ok(())
}

/// In what the configuration allows more than counts, one line each; empty when in nothing.
///
/// # Errors
/// The registry cannot be read.
pub fn waiting(conn: &mut Conn, file: &OwnerRules) -> QueryResult<Vec<String>> {
    let Ok(history) = history(conn)? else { return Ok(Vec::new()) };
    Ok(history.last().map(|(_, held)| file.wider_than(held)).unwrap_or_default())
}
