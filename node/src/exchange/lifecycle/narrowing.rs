//! What suspends or ends an agreement does so to its renewals that we have signed: otherwise the partner's signature, on its
//! way at that moment, would open again what was just closed.

use agreements::ids::{AgreementId, Digest, Ori};
use agreements::stream::Stream;
use diesel::result::QueryResult;

use super::delivery::deliver;
use super::{Act, Actor, By, carry_out, stream_of};
use crate::db::{Conn, Tx};
use crate::exchange::standing;
use crate::node::Node;
use crate::registry::agreements as documents;

/// Whether `act` closes what was open or may come to be.
pub(super) fn narrows(act: &Act) -> bool {
    matches!(act, Act::Suspend { .. } | Act::Withdraw { .. } | Act::Terminate { .. })
}

/// Does to the renewals of `id` what `act` did to it, and so to theirs. What is suspended or over already stays as it is.
pub(super) fn of_renewals(
    tx: &mut Tx<'_>,
    actor: &Actor,
    partner: Ori,
    id: AgreementId,
    act: &Act,
    by: &By<'_>,
) -> QueryResult<()> {
    for renewal in renewals(tx.conn(), actor.us, partner, id)? {
        // It says no where there is nothing to close.
        _ = carry_out(tx, actor, renewal, act, by)?;
    }
    Ok(())
}

/// The agreements that renew `id` and that `us` has signed.
fn renewals(conn: &mut Conn, us: Ori, partner: Ori, id: AgreementId) -> QueryResult<Vec<AgreementId>> {
    let family = standing::family(conn, partner)?;
    let document = family.iter().find(|found| found.agreement.id == id).map(|found| Digest::of(&found.document));
    let of = family.iter().filter(|found| document.is_some() && found.agreement.supersedes == document);
    let signed = of.filter(|found| stream_of(found, us).and_then(Stream::signed_at).is_some());
    Ok(signed.map(|found| found.agreement.id).collect())
}

/// Sends what was said about renewals of `id`, if something was.
pub(super) async fn deliver_renewals(node: &Node, id: AgreementId, narrows: bool) {
    if !narrows {
        return;
    }
    let mut of = vec![id];
    while let Some(id) = of.pop() {
        let renewals = node.desk().registry(|conn| match documents::partner(conn, id)? {
            Some(partner) => renewals(conn, node.ori(), partner, id),
            None => Ok(Vec::new()),
        });
        // What is not sent now is pending like everything else.
        for renewal in renewals.unwrap_or_default() {
            _ = deliver(node, renewal).await;
            of.push(renewal);
        }
    }
}
