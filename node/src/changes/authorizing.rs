//! The custodian's standing authorization of what an agreement grants once for all (V-16, XI-05): given with the signature or
//! by a change of its own, taken back by one person and at once.

use agreements::authorization::{AuthorizationGiven, Authorized, authorized, standing_grants};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::record::said;
use super::{Approved, ChangeError, Refusable, append, no, reasoned};
use crate::db::{Conn, Tx};
use crate::exchange::failure::Failure;
use crate::exchange::standing;
use crate::node::Node;
use crate::registry::accounts::{self, Action};
use crate::trail::told::Which;

/// Everything that was said about authorizations, and when, in the order of the trail; the inner error says what is not as
/// it was recorded.
pub fn history(conn: &mut Conn) -> QueryResult<Result<Vec<(Instant, AuthorizationGiven)>, String>> {
    told_of(conn, Which::All)
}

fn told_of(conn: &mut Conn, which: Which) -> QueryResult<Result<Vec<(Instant, AuthorizationGiven)>, String>> {
    let said = said::<AuthorizationGiven>(conn, Kind::AuthorizationGiven, which)?;
    Ok(said.map(|said| said.into_iter().map(|(told, said)| (told.at, said)).collect()))
}

/// What is authorized. Where the trail does not tell, nothing is.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Authorized>> {
    Ok(counting(told_of(conn, Which::All)?))
}

/// The same under agreements with one partner.
pub(super) fn about(conn: &mut Conn, partner: Ori) -> QueryResult<Vec<Authorized>> {
    Ok(counting(told_of(conn, Which::About(partner))?))
}

fn counting(history: Result<Vec<(Instant, AuthorizationGiven)>, String>) -> Vec<Authorized> {
    match history {
        Ok(said) => authorized(said.iter().map(|(_, said)| said)),
        Err(what) => {
            tracing::error!(what, "ALARM: the entries of the custodian's authorizations were changed; none counts");
            Vec::new()
        }
    }
}

/// Records that the custodian authorizes what `id` grants once for all of our own. Nothing, where it grants nothing so.
pub(super) fn give(tx: &mut Tx<'_>, us: Ori, id: AgreementId, approved: &Approved<'_>) -> QueryResult<Refusable<()>> {
    let Some(found) = standing::verified(tx.conn(), id)? else { return no(format!("there is no agreement {id}")) };
    let grants = standing_grants(&found.agreement, us);
    if grants.is_empty() {
        return Ok(Ok(()));
    }
    let said = AuthorizationGiven {
        v: 1,
        agreement: id,
        document: Digest::of(&found.document),
        given: true,
        grants,
        expires_at: found.agreement.sunset(),
        by: approved.custodian().to_owned(),
        reason: approved.change().proposed.reason.clone(),
        change: Some(approved.change().id),
    };
    let partner = found.agreement.other(us).map(|party| party.ori);
    append(tx, Kind::AuthorizationGiven, &said, approved.custodian(), partner, "given")?;
    tx.bump_epoch();
    Ok(Ok(()))
}

/// Takes the authorization of an agreement's grants back: from the next question on each waits for the custodian.
///
/// # Errors
/// `by` is not the custodian, the reason says nothing, or there is no such authorization.
pub async fn take_back(node: &Node, id: AgreementId, by: &str, reason: &str) -> Result<(), ChangeError> {
    let (us, by, reason) = (node.ori(), by.to_owned(), reason.to_owned());
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<()>> {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::SignAgreements)? {
            return no(why);
        }
        if let Err(why) = reasoned(&reason) {
            return no(why);
        }
        let now = tx.now();
        let live = |one: &Authorized| one.agreement == id && now < one.expires_at;
        let Some(one) = all(tx.conn())?.into_iter().find(live) else {
            return no(format!(
                "nothing is authorized once for all under agreement {id}; `concordat authorization list` shows what is"
            ));
        };
        let said = AuthorizationGiven {
            v: 1,
            agreement: id,
            document: one.document,
            given: false,
            grants: one.grants,
            expires_at: one.expires_at,
            by: by.clone(),
            reason: reason.clone(),
            change: None,
        };
        let partner = standing::verified(tx.conn(), id)?.and_then(|found| Some(found.agreement.other(us)?.ori));
        append(tx, Kind::AuthorizationGiven, &said, &by, partner, "taken back")?;
        tx.bump_epoch();
        Ok(Ok(()))
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(ChangeError::Refused)
}
