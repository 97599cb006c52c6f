//! What must approve a signature, entered by a person and held to the document: counsel, the public meeting of Civ. Code
//! 1798.90.55(a), the signing authority; and the official's own signature.

use agreements::approval::{ApprovalGiven, ApprovalKind, Given};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::stream::Seal;
use agreements::time::Instant;
use certs::jws;
use certs::key::PublicKey;
use diesel::result::QueryResult;
use jiff::civil::Date;

use super::held;
use crate::db::{Conn, Db, Tx};
use crate::exchange::Failure;
use crate::exchange::lifecycle::ActError;
use crate::exchange::standing::{self, OFFICIAL_TYP, Verified};
use crate::people::record;
use crate::registry::accounts::{Action, operator};
use crate::trail::Facts;

/// An approval as a person enters it.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Which.
    pub kind: ApprovalKind,
    /// Whose: a body or a title.
    pub by: String,
    /// Where it stands written.
    pub reference: String,
    /// When it was given.
    pub on: Date,
}

/// Who may enter it: what empowers the official is the custodian's to enter, the others an agreements administrator's too.
fn needs(kind: ApprovalKind) -> Action {
    match kind {
        ApprovalKind::Counsel | ApprovalKind::PublicMeeting => Action::ManageAgreements,
        ApprovalKind::SigningAuthority => Action::SignAgreements,
    }
}

/// Records an approval of the document of `id`. Whether it is new: the same one is recorded once.
///
/// # Errors
/// `by` may not, there is no such agreement, or something is blank or still to come.
pub async fn approve(db: &Db, us: Ori, id: AgreementId, approval: Approval, by: &str) -> Result<bool, ActError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, needs(approval.kind))? {
            return Ok(Err(vec![why]));
        }
        let Approval { kind, by: whose, reference, on } = approval;
        let said = |text: &str| !text.trim().is_empty() && text.chars().count() <= agreements::json::MAX_TEXT;
        if !said(&whose) || !said(&reference) {
            return Ok(Err(vec!["name who approved (--by) and where it stands written (--reference)".to_owned()]));
        }
        match tx.now().date() {
            Some(today) if on <= today => {}
            Some(today) => {
                return Ok(Err(vec![format!(
                    "--date {on} is still to come, today is {today}: enter an approval once it is given, with the day on which it was"
                )]));
            }
            None => return Ok(Err(vec!["this node's clock shows no date: set it first".to_owned()])),
        }
        enter(tx, us, id, Given::Approval { kind, by: whose, reference, on }, &by)
    };
    db.record(job).await.map_err(Failure::from)?.into_inner().map_err(ActError::Refused)
}

/// Records the official's own signature over the document of `id`, after it was verified by the key that the document names.
/// Whether it is new.
///
/// # Errors
/// `by` may not, there is no such agreement, or the signature is not that official's over this document.
pub async fn signed_by_official(db: &Db, us: Ori, id: AgreementId, seal: Seal, by: &str) -> Result<bool, ActError> {
    let by = by.to_owned();
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::ManageAgreements)? {
            return Ok(Err(vec![why]));
        }
        let signs = match to_sign(tx.conn(), us, id)? {
            Ok(signs) => signs,
            Err(why) => return Ok(Err(vec![why])),
        };
        if let Err(error) = jws::verify_one(&signs.document, OFFICIAL_TYP, &seal, &signs.key) {
            return Ok(Err(vec![format!("the official's signature: {error}")]));
        }
        enter(tx, us, id, Given::Signature { seal }, &by)
    };
    db.record(job).await.map_err(Failure::from)?.into_inner().map_err(ActError::Refused)
}

fn enter(tx: &mut Tx<'_>, us: Ori, id: AgreementId, what: Given, by: &str) -> QueryResult<Result<bool, Vec<String>>> {
    let found = match ours(tx.conn(), us, id)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(vec![why])),
    };
    let document = Digest::of(&found.document);
    let Some(partner) = found.agreement.other(us).map(|party| party.ori) else {
        return Ok(Err(vec!["this agency is no party to it".to_owned()]));
    };
    let given = match held::settled(held::given(tx.conn(), partner))? {
        Ok(given) => given,
        Err(why) => return Ok(Err(why)),
    };
    let of_document = || given.iter().filter(|(_, it)| it.document == document);
    // The same signature is not the same bytes twice: any that stands will do.
    let same = |it: &ApprovalGiven| match (&it.what, &what) {
        (Given::Signature { .. }, Given::Signature { .. }) => true,
        (one, other) => one == other,
    };
    if of_document().any(|(_, it)| same(it)) {
        return Ok(Ok(false));
    }
    if let Some(why) = of_document().find_map(|(at, it)| entered_otherwise(*at, it, &what)) {
        return Ok(Err(vec![why]));
    }
    let message = ApprovalGiven { v: 1, agreement: id, document, entered_by: by.to_owned(), what };
    record(tx, Kind::ApprovalGiven, &message, by, Facts { partner: Some(partner), ..Facts::default() })?;
    Ok(Ok(true))
}

/// Why `what` is not entered where another approval of its kind was, at an instant: a document is approved once.
fn entered_otherwise(at: Instant, before: &ApprovalGiven, what: &Given) -> Option<String> {
    match (&before.what, what) {
        (Given::Approval { kind, by, reference, on }, Given::Approval { kind: wanted, .. }) if kind == wanted => {
            Some(format!(
                "an approval of the kind {kind} was entered already for this document, by {} at {at}: {by}, {reference}, of {on}. \
                 It stands as it is; if it is wrong, withdraw or decline the agreement and draft it again",
                before.entered_by
            ))
        }
        _ => None,
    }
}

fn ours(conn: &mut Conn, us: Ori, id: AgreementId) -> QueryResult<Result<Verified, String>> {
    let found = standing::verified(conn, id)?.filter(|found| found.agreement.party(us).is_some());
    Ok(found
        .ok_or_else(|| format!("there is no agreement {id}; `concordat agreement list` shows those that there are")))
}

/// What the official signs.
#[derive(Debug)]
pub struct Signs {
    /// The document's canonical bytes.
    pub document: Vec<u8>,
    /// The key that it names for our official.
    pub key: PublicKey,
}

/// What our official signs of `id`; or why nothing.
pub fn to_sign(conn: &mut Conn, us: Ori, id: AgreementId) -> QueryResult<Result<Signs, String>> {
    let found = match ours(conn, us, id)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let named = found.agreement.party(us).and_then(|party| party.official.key.as_ref());
    let Some(named) = named else {
        return Ok(Err(format!(
            "agreement {id} names no key for this agency's official: `concordat official enroll`, set \
             agency.official_key, send partners the new descriptor, and draft it again"
        )));
    };
    let key = named.parse().map_err(|error| format!("the official's key that the agreement names is none: {error}"));
    Ok(key.map(|key| Signs { document: found.document, key }))
}
