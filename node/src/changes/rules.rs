//! The owner's rules that count: what the configuration says, as far as two people let it be.
//!
//! The first proposal of a change adopts the configuration's: before one, nothing is shared. Narrower ones count at once and
//! are then the ones that are held to; wider ones count only after [`super::Command::WidenRules`] was approved.

use agreements::decide::OwnerRules;
use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::record::said;
use super::{ChangeId, Outcome, Settled, append};
use crate::db::{Conn, Tx};
use crate::exchange::failure::Failure;
use crate::jobs;
use crate::mail::{self, Audience, Notice};
use crate::node::Node;
use crate::trail::told::Which;

/// How the entries of rules that count are found in the trail.
const ADOPTED: &str = "adopted";

/// All rules that ever counted, each from when on, in the order of the trail; the inner error says what is not as it was
/// recorded.
pub(crate) fn history(conn: &mut Conn) -> QueryResult<Result<Vec<(Instant, OwnerRules)>, String>> {
    let settled = match said::<Settled>(conn, Kind::ChangeSettled, Which::Decided(ADOPTED))? {
        Ok(settled) => settled,
        Err(what) => return Ok(Err(what)),
    };
    let rules = settled.into_iter().filter_map(|(told, Settled { outcome, .. })| match outcome {
        Outcome::Adopted { rules } => Some((told.at, rules)),
        _ => None,
    });
    Ok(Ok(rules.collect()))
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
    count(tx, None, rules)
}

/// Records that these rules count from here on, by a change or without one.
pub(super) fn count(tx: &mut Tx<'_>, change: Option<ChangeId>, rules: OwnerRules) -> QueryResult<()> {
    let message = Settled { v: 1, change, outcome: Outcome::Adopted { rules } };
    append(tx, Kind::ChangeSettled, &message, "", None, ADOPTED)?;
    tx.bump_epoch();
    Ok(())
}

/// Records at a start that the configuration's narrower rules count now, where they do. Only then: what two people decide
/// while this process runs is for its next start.
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

/// Tells agreements administrators and the custodian, once, that the configuration is wider than what was decided.
///
/// # Errors
/// Nobody was told.
pub async fn tell(node: &Node) -> Result<(), Failure> {
    let wider = waiting(&mut node.registry().reader()?, &node.owner().rules)?;
    let to: Vec<_> = mail::recipients(&node.config().mail, Audience::Agreements).into_iter().cloned().collect();
    if wider.is_empty() || to.is_empty() {
        return Ok(());
    }
    let all = wider.join("\n");
    let notice = Notice {
        dedup: format!("rules:{}", Digest::of(all.as_bytes())),
        audience: Audience::Agreements,
        subject: "The owner's rules in concordat.toml are wider than what was decided".to_owned(),
        body: format!(
            "This node started with [rules] in its concordat.toml that allow partners more than two people decided:\n\n{all}\n\n\
             That does not count. To have it count:\nconcordat change widen --reason WHY --as USER\nand somebody else approves it: \
             concordat change list\n"
        ),
    };
    let now = node.now();
    let job = move |conn: &mut Conn| mail::queue(conn, &to, &notice, now);
    if node.registry().write("queue a notice", job).await? > 0 {
        node.bell().ring_for(jobs::MAIL);
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
