//! The life of an agreement: offered, signed, suspended, resumed, ended. Each party writes its own stream of events as
//! entries of its own trail; here ours are written, [`delivery`] sends them, [`hearing`] takes the partner's, and
//! [`introduction`] is how two nodes whose keys changed find each other again.

mod dating;
pub mod delivery;
pub mod hearing;
pub mod introduction;
mod narrowing;

use std::sync::Arc;

use agreements::agreement::{Agreement, AgreementError};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{Offer, StreamEvent, To};
use agreements::status::{Status, activation_problems};
use agreements::stream::{Event, Seal as Signature, Stream};
use agreements::time::Instant;
use certs::jws;
use diesel::result::{Error, QueryResult};
use serde::Serialize;

use super::answer::canonical;
use super::failure::Failure;
use super::known;
use super::partner::Partner;
use super::standing::{self, AGREEMENT_TYP, RESUMPTION_TYP, Verified};
use super::versions::{self, Versions};
use crate::changes::Approved;
use crate::db::{Conn, Tx};
use crate::epoch;
use crate::node::{Node, fresh_rid};

use crate::publishing;
use crate::registry::accounts::{self, Action};
use crate::registry::ag;
use crate::registry::agreements::{self as documents, Kept};
use crate::renewal::{held, renew, signing};
use crate::seal::Seal;
use crate::trail::{self, Draft, Facts};

pub use delivery::{Apart, Delivery, PAGE, View, Wanted, deliver, reconcile, show, sync};
pub use hearing::{hear_event, hear_offer};

/// What a person does about an agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sign it.
    Sign,
    /// Not sign it.
    Decline {
        /// Why.
        reason: String,
    },
    /// Take the offer or the signature back.
    Withdraw {
        /// Why.
        reason: String,
    },
    /// Suspend it.
    Suspend {
        /// Why.
        reason: String,
    },
    /// Lift our own suspension.
    Resume {
        /// Why.
        reason: String,
    },
    /// End it for good.
    Terminate {
        /// Why.
        reason: String,
    },
}

/// Why an act is refused. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A rule refuses it; each sentence says what to do.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// It failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Act {
    /// What a person must be allowed to do it.
    #[must_use]
    pub fn needs(&self) -> Action {
        match self {
            Self::Sign
            | Self::Decline { .. }
            | Self::Withdraw { .. }
            | Self::Suspend { .. }
            | Self::Resume { .. }
            | Self::Terminate { .. } => Action::ManageAgreements,
        }
    }

    /// Whether it opens sharing, for which two people are needed (II-10).
    #[must_use]
    pub fn opens(&self) -> bool {
        match self {
            Self::Sign | Self::Resume { .. } => true,
            Self::Decline { .. } | Self::Withdraw { .. } | Self::Suspend { .. } | Self::Terminate { .. } => false,
        }
    }
}

impl ActError {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(vec![why.into()])
    }
}

/// What goes into the note of an administrative entry: who did it, and who approved it by which change.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the names that the note has in the trail")]
struct By<'a> {
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<RequestId>,
}

impl<'a> By<'a> {
    fn one(by: &'a str) -> Self {
        Self { by, approved_by: None, change: None }
    }
}

/// Offers a document to the partner: keeps it, records the offer, and sends it. Whether the partner has it now.
///
/// # Errors
/// `by` may not, or the document has problems, is not between us and an enrolled partner, or describes either of us
/// otherwise than the descriptors do.
pub async fn propose(node: &Node, document: Vec<u8>, by: &str) -> Result<(AgreementId, Delivery), ActError> {
    publishing::settled(node).await?;
    let agreement = acceptable(node, &document)?;
    let id = agreement.id;
    let partner = other(node, &agreement)?;
    let v = versions::agree(node, std::slice::from_ref(&partner)).await.v;
    let by = by.to_owned();
    let to = partner.ori();
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<()>> {
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::ManageAgreements)? {
            return Ok(Err(vec![why]));
        }
        if documents::find(tx.conn(), id)?.is_some() {
            return Ok(Err(vec![format!("agreement {id} was offered already; `concordat agreement show {id}`")]));
        }
        if let Some(other) = renew::offered_already(tx.conn(), &agreement, to)? {
            return Ok(Err(vec![format!(
                "agreement {other} renews the same one and nobody ended it: sign that, or withdraw or decline it first"
            )]));
        }
        let now = tx.now();
        let message = Offer { v, to: vec![To { ori: to, agreement: id }], document: Digest::of(&document) };
        let draft = draft(Kind::AgreementOffered, now, &message, &By::one(&by), to, "offered")?;
        documents::insert(tx.conn(), id, to, &document, Some(draft.rid), now)?;
        tx.append(draft)?;
        tx.bump_epoch();
        Ok(Ok(()))
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    match recorded.into_inner() {
        Ok(()) => Ok((id, deliver(node, id).await)),
        Err(why) => Err(ActError::Refused(why)),
    }
}

/// What a document must be to be offered, by us or to us.
fn acceptable(node: &Node, document: &[u8]) -> Result<Agreement, ActError> {
    let agreement = Agreement::from_bytes(document).map_err(|error| match error {
        AgreementError::Problems(problems) | AgreementError::Ineligible(problems) => ActError::Refused(problems),
        other => ActError::refused(other.to_string()),
    })?;
    let ours =
        agreement.party(node.ori()).ok_or_else(|| ActError::refused("this agency is no party to the agreement"))?;
    if *ours != *node.party() {
        return Err(ActError::refused(format!(
            "the agreement describes {} otherwise than its node does today (names, policy, approvals, contacts, keys or URL): draft it again from current descriptors; if concordat.toml was edited there since that node was started, restart it first",
            node.ori()
        )));
    }
    let partner = other(node, &agreement)?;
    if agreement.party(partner.ori()) != Some(partner.party()) {
        return Err(ActError::refused(format!(
            "the agreement describes {} otherwise than the descriptor that was enrolled: draft it again, or enrol the new descriptor",
            partner.ori()
        )));
    }
    Ok(agreement)
}

fn other(node: &Node, agreement: &Agreement) -> Result<Arc<Partner>, ActError> {
    let theirs =
        agreement.other(node.ori()).ok_or_else(|| ActError::refused("this agency is no party to the agreement"))?;
    let partner = node.partners().find(theirs.ori).cloned();
    partner.ok_or_else(|| {
        ActError::refused(format!("{} is not enrolled; import its descriptor with `concordat peer add`", theirs.ori))
    })
}

/// Does what `act` says to our stream, records it, and sends it. What opens sharing is not done by one person: see
/// [`crate::changes`].
///
/// # Errors
/// `by` may not, the agreement's state does not admit it, or it takes two people.
pub async fn act(node: &Node, id: AgreementId, act: Act, by: &str) -> Result<Delivery, ActError> {
    let narrows = narrowing::narrows(&act);
    if act.opens() {
        return Err(ActError::refused(
            "this opens sharing, and takes two people: propose it (concordat agreement sign or resume), and have somebody else \
             approve it (concordat change approve)",
        ));
    }
    let (actor, by) = (Actor::of(node), by.to_owned());
    let job = move |tx: &mut Tx<'_>| apply(tx, &actor, id, &act, &by);
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    match recorded.into_inner() {
        Ok(()) => {
            let delivery = deliver(node, id).await;
            narrowing::deliver_renewals(node, id, narrows).await;
            Ok(delivery)
        }
        Err(why) => Err(ActError::Refused(why)),
    }
}

type Refusable<T> = Result<T, Vec<String>>;

/// Who acts: this agency with its seal, and what it knows of partners' versions. Nobody is asked for theirs first: a
/// suspension waits for no partner.
pub(crate) struct Actor {
    pub(crate) us: Ori,
    pub(crate) seal: Arc<Seal>,
    versions: Arc<Versions>,
    /// What it takes to open a new epoch, for whoever approves one.
    pub(crate) opening: Option<epoch::Opening>,
}

impl Actor {
    /// This node.
    pub(crate) fn of(node: &Node) -> Self {
        Self { us: node.ori(), seal: node.seal(), versions: node.versions_shared(), opening: None }
    }
}

fn apply(tx: &mut Tx<'_>, actor: &Actor, id: AgreementId, act: &Act, by: &str) -> QueryResult<Refusable<()>> {
    if let Err(why) = accounts::operator(tx.conn(), by, act.needs())? {
        return Ok(Err(vec![why]));
    }
    carry_out(tx, actor, id, act, &By::one(by))
}

/// The same for what two people decided.
pub(crate) fn say_decided(
    tx: &mut Tx<'_>,
    actor: &Actor,
    id: AgreementId,
    act: &Act,
    approved: &Approved<'_>,
) -> QueryResult<Refusable<()>> {
    let (by, approved_by) = (approved.proposed_by(), Some(approved.approved_by()));
    carry_out(tx, actor, id, act, &By { by, approved_by, change: Some(approved.change().id) })
}

fn carry_out(tx: &mut Tx<'_>, actor: &Actor, id: AgreementId, act: &Act, by: &By<'_>) -> QueryResult<Refusable<()>> {
    let Actor { us, seal, versions, .. } = actor;
    let us = *us;
    let now = tx.now();
    let Some(found) = standing::verified(tx.conn(), id)? else {
        return Ok(Err(vec![format!(
            "there is no agreement {id}; `concordat agreement list` shows those that there are"
        )]));
    };
    let Some(stream) = stream_of(&found, us) else { return Ok(Err(vec!["this agency is no party to it".to_owned()])) };
    if found.streams.lost.contains(&us) {
        return Ok(Err(vec![epoch::not_yet(&found)]));
    }
    let register = ag::register(tx.conn())?;
    let official = match act {
        Act::Sign => match held::settled(signing::official_signature(tx.conn(), us, &found))? {
            Ok(official) => official,
            Err(why) => return Ok(Err(why)),
        },
        _ => None,
    };
    let event = match event(act, &found, us, stream, (seal, official)) {
        Ok(event) => event,
        Err(error) => return Ok(Err(vec![format!("the seal key does not sign: {error}")])),
    };
    if let Err(why) = stream.admits(&event) {
        return Ok(Err(vec![why]));
    }
    if act.opens() && !is_seal_of_today(&found, us, stream, seal) {
        return Ok(Err(vec![
            "this node's seal was replaced by another command meanwhile, and what the old one seals counts for nothing: do it again"
                .to_owned(),
        ]));
    }
    if matches!(act, Act::Sign) {
        let mut problems = activation_problems(&found.agreement, &register, now);
        match held::settled(signing::problems(tx.conn(), us, &found, now))? {
            Ok(missing) => problems.extend(missing.into_iter().filter(|it| !problems.contains(it)).collect::<Vec<_>>()),
            Err(why) => problems.extend(why),
        }
        if !problems.is_empty() {
            return Ok(Err(problems));
        }
    }
    write(tx, us, &found, event, (versions, by))?;
    if narrowing::narrows(act)
        && let Some(partner) = found.agreement.other(us).map(|party| party.ori)
    {
        narrowing::of_renewals(tx, actor, partner, id, act, by)?;
    }
    Ok(Ok(()))
}

/// Whether `seal` is the one that this agency has by its own events. Another process may have replaced it since this one
/// looked; an event under the old one would be taken for somebody else's, and its agreement with it.
fn is_seal_of_today(found: &Verified, us: Ori, stream: &Stream, seal: &Seal) -> bool {
    let today = found.agreement.party(us).map(|party| stream.address(&party.node, stream.len()).seal_key);
    today.is_some_and(|key| key == seal.public().to_string())
}

/// Appends `event` to our stream under an agreement, and to the trail, as one person says it. Whoever calls has asked the
/// stream whether it admits it.
pub(crate) fn say_event(
    tx: &mut Tx<'_>,
    us: Ori,
    found: &Verified,
    event: Event,
    (versions, by): (&Versions, &str),
) -> QueryResult<()> {
    write(tx, us, found, event, (versions, &By::one(by)))
}

fn write(
    tx: &mut Tx<'_>,
    us: Ori,
    found: &Verified,
    event: Event,
    (versions, by): (&Versions, &By<'_>),
) -> QueryResult<()> {
    let now = tx.now();
    let id = found.agreement.id;
    let partner = found.agreement.other(us).map(|party| party.ori).ok_or(Error::NotFound)?;
    let n = stream_of(found, us).ok_or(Error::NotFound)?.next_number();
    let name = event.name();
    let document = Digest::of(&found.document);
    let v = versions.choose(&[partner]).v;
    let seen = found.streams.party(&found.agreement, partner).map(Stream::len);
    let message = StreamEvent { v, to: vec![To { ori: partner, agreement: id }], document, n, seen, event };
    let entry = draft(Kind::AgreementEvent, now, &message, by, partner, name)?;
    let rid = entry.rid;
    tx.append(entry)?;
    let stored = trail::append::stored(tx.conn(), rid)?.ok_or(Error::NotFound)?;
    let kept = Kept { rid, leaf: stored.leaf, message: stored.message, salt: stored.salt, proof: None };
    documents::append(tx.conn(), id, us, n, &kept)?;
    tx.bump_epoch();
    Ok(())
}

fn stream_of(found: &Verified, party: Ori) -> Option<&Stream> {
    found.streams.party(&found.agreement, party)
}

fn event(
    act: &Act,
    found: &Verified,
    us: Ori,
    stream: &Stream,
    (seal, official): (&Seal, Option<Signature>),
) -> Result<Event, jws::JwsError> {
    Ok(match act.clone() {
        Act::Sign => Event::Signed { seal: seal.sign(&found.document, AGREEMENT_TYP)?, official },
        Act::Decline { reason } => Event::Declined { reason },
        Act::Withdraw { reason } => Event::Withdrawn { reason },
        Act::Suspend { reason } => Event::Suspended { reason },
        Act::Terminate { reason } => Event::Terminated { reason },
        Act::Resume { reason } => {
            let n = stream.next_number();
            let statement = standing::resumption(&found.agreement, &found.document, us, n, &reason)?;
            Event::Resumed { seal: seal.sign(&statement, RESUMPTION_TYP)?, reason }
        }
    })
}

fn draft<M: Serialize>(
    kind: Kind,
    now: Instant,
    message: &M,
    note: &By<'_>,
    partner: Ori,
    what: &str,
) -> QueryResult<Draft> {
    let facts = Facts {
        partner: Some(partner),
        username: Some(note.by.to_owned()),
        decision: Some(what.to_owned()),
        ..Facts::default()
    };
    Ok(Draft { kind, rid: fresh_rid(now)?, message: canonical(message)?, note: canonical(note)?, facts })
}

/// Every agreement with where it stands, oldest first, all verified now.
pub fn list(conn: &mut Conn, now: Instant) -> QueryResult<Vec<(Verified, Status)>> {
    let register = ag::register(conn)?;
    let with_status = |found: Verified| {
        let status = Status::at(&found.agreement, &found.streams, &register, now);
        (found, status)
    };
    Ok(known::all(conn)?.into_iter().map(with_status).collect())
}
