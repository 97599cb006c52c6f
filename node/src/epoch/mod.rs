//! New epochs of this node's log, for when its registry was restored from a backup (S23). What the registry lost is known to
//! witnesses and partners: a log that went on under its old name would contradict what it showed them. So two people let it go
//! on under another name; its first entry names the last head that was witnessed; and every agreement counts as suspended by
//! this agency until what it said under it is back from the partner, and the custodian resumes it.
//!
//! In scope: opening an epoch, and taking back own events (`recovering`). Out of scope: finding out that the registry was
//! set back (see [`crate::publishing`]), and how partners come to know the new name ([`crate::rotation`]).

pub(crate) mod recovering;

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Ori, RequestId};
use agreements::json;
use agreements::party::Keys;
use agreements::status::Status;
use diesel::result::QueryResult;
use serde::{Deserialize, Serialize};

use crate::changes::{Approved, Refusable};
use crate::db::{Conn, Tx};
use crate::exchange::answer::canonical;
use crate::exchange::failure::Failure;
use crate::exchange::lifecycle::{self, Apart};
use crate::exchange::standing::Verified;
use crate::node::{Node, epoch_signer, fresh_rid};
use crate::publishing::behind::{self, Behind, Lost};
use crate::publishing::store;
use crate::trail::epoch;
use crate::trail::head::{Head, HeadError};
use crate::trail::note::LogSigner;
use crate::trail::told::{self, Which};
use crate::trail::{Draft, Facts};

/// The message of an `epoch.opened` entry: the first of its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Version of this message.
    pub v: u16,
    /// The log's origin from here on.
    pub origin: String,
    /// The last head of the epoch before that somebody knows.
    pub last: Lost,
    /// That head as this log signed it, with what the witness said of it.
    pub checkpoint: String,
    /// Who showed it.
    pub witness: String,
    /// This node's keys, the log's under its new name.
    pub keys: Keys,
    /// Who proposed it.
    pub by: String,
    /// Who approved it.
    pub approved_by: String,
    /// The change that they decided.
    pub change: RequestId,
    /// Why.
    pub reason: String,
}

/// The epochs that the trail says were opened, oldest first, each with the position of its entry.
pub(crate) fn opened(conn: &mut Conn) -> QueryResult<Vec<(u64, Opened)>> {
    let told = told::told(conn, Kind::EpochOpened, Which::All)?.unwrap_or_else(|what| {
        tracing::error!(what, "ALARM: the trail's entries about its epochs were changed by other hands");
        Vec::new()
    });
    Ok(told.iter().filter_map(|told| Some((told.index, json::parse(&told.message).ok()?))).collect())
}

/// What opening an epoch takes of the node.
pub(crate) struct Opening {
    behind: Behind,
    keys: Keys,
    signer: Arc<dyn LogSigner>,
}

impl Opening {
    /// For the head that the registry lacks; `None` when it lacks none.
    ///
    /// # Errors
    /// The log's key cannot be read, or the head is none that this log signed.
    pub(crate) fn of(node: &Node) -> Result<Option<Self>, String> {
        let read = |conn: &mut Conn| Ok((behind::read(conn)?, crate::rotation::log_keys(conn, node)?));
        let (behind, keys) = node.desk().registry(read).map_err(|error: Failure| error.to_string())?;
        let Some(behind) = behind else { return Ok(None) };
        let party = node.party();
        // What is kept is a reason to refuse; to be named in the trail it has to be what this log signed.
        behind::own(&behind.checkpoint, &party.node.log_origin, &keys)
            .ok_or("the head that is kept as the last one is none that this log signed: see who wrote it there")?;
        let origin = next(&party.node.log_origin, &behind.head)?;
        let signer = epoch_signer(node.config(), &origin).map_err(|error| error.to_string())?;
        let keys = Keys { log_origin: origin, log_vkey: signer.vkey().to_string(), ..party.node.keys() };
        Ok(Some(Self { behind, keys, signer }))
    }
}

/// The origin of the epoch after the one of `present` and after every one that was witnessed.
fn next(present: &str, last: &Lost) -> Result<String, String> {
    let number = epoch::number(present).max(epoch::number(&last.origin)).saturating_add(1);
    if number > epoch::LAST {
        return Err(format!("this log has had {} epochs, and no more are read: found the node anew", epoch::LAST));
    }
    Ok(epoch::named(present, number))
}

/// What opening an epoch after `last` does, one line each; or why it is not opened.
pub(crate) fn preview(conn: &mut Conn, last: &Lost, agreements: usize) -> QueryResult<Refusable<Vec<String>>> {
    let Some(behind) = behind::read(conn)? else {
        return Ok(Err(vec![
            "nobody knows more of this trail than this registry: no epoch is to be opened".to_owned(),
        ]));
    };
    if behind.head != *last {
        return Ok(Err(vec![format!("a later head is known since that was proposed: propose it anew. {behind}")]));
    }
    let present = Head::read(conn).map_err(HeadError::of_store)?;
    let present =
        if present.origin().is_empty() { epoch::base(&last.origin).to_owned() } else { present.origin().to_owned() };
    let origin = match next(&present, last) {
        Ok(origin) => origin,
        Err(why) => return Ok(Err(vec![why])),
    };
    Ok(Ok(vec![
        format!("the trail goes on as {origin}, after the {} entries that this registry has", behind.here),
        format!(
            "its first entry names the last head that {} knows: {} entries of {}",
            behind.witness, last.size, last.origin
        ),
        format!(
            "{agreements} agreements count as suspended by this agency, each until what it said under it is back from the \
             partner and the custodian has resumed it"
        ),
        "what was counted and entered since the backup is lost: uses of the day, findings, accounts, receipts"
            .to_owned(),
    ]))
}

/// Opens it, in the transaction that records the approval.
pub(crate) fn open(
    tx: &mut Tx<'_>,
    opening: Option<&Opening>,
    last: &Lost,
    approved: &Approved<'_>,
) -> QueryResult<Refusable<()>> {
    let Some(Opening { behind, keys, signer }) = opening.filter(|opening| opening.behind.head == *last) else {
        return Ok(Err(vec!["a later head is known since that was proposed: propose it anew".to_owned()]));
    };
    let change = approved.change();
    let message = Opened {
        v: 1,
        origin: keys.log_origin.clone(),
        last: last.clone(),
        checkpoint: behind.checkpoint.clone(),
        witness: behind.witness.clone(),
        keys: keys.clone(),
        by: approved.proposed_by().to_owned(),
        approved_by: approved.approved_by().to_owned(),
        change: change.id,
        reason: change.proposed.reason.clone(),
    };
    let facts = Facts {
        username: Some(approved.approved_by().to_owned()),
        decision: Some("opened".to_owned()),
        ..Facts::default()
    };
    let rid = fresh_rid(tx.now())?;
    let (message, note) = (canonical(&message)?, b"{}".to_vec());
    tx.append(Draft { kind: Kind::EpochOpened, rid, message, note, facts })?;
    tx.sign_with(Arc::clone(signer));
    behind::forget(tx.conn())?;
    store::begin_anew(tx.conn())?;
    tx.bump_epoch();
    Ok(Ok(()))
}

/// Makes what this process holds follow from an epoch that was opened.
pub(crate) fn follow(node: &Node) -> Result<(), Failure> {
    let mut conn = node.registry().reader()?;
    node.refresh_partners(&mut conn)?;
    node.refresh_party();
    node.watch().refresh(&mut conn)?;
    node.follow_behind(&mut conn)?;
    Ok(())
}

/// What of this agency's own streams counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Everything that it may have said: the registry was set back, and no epoch was opened yet.
    Anything,
    /// What it said under agreements whose partners have not been told this epoch's name.
    Before(u32),
}

impl Missing {
    /// Read from the trail's head, and from what is known of heads that the registry does not have.
    pub(crate) fn read(conn: &mut Conn) -> QueryResult<Self> {
        if behind::read(conn)?.is_some() {
            return Ok(Self::Anything);
        }
        let head = Head::read(conn).map_err(HeadError::of_store)?;
        Ok(Self::Before(epoch::number(head.origin())))
    }

    /// Whether `us` may have said more under an agreement than `found` has.
    pub(crate) fn is_of(self, found: &Verified, us: Ori) -> bool {
        let number = match self {
            Self::Anything => return true,
            Self::Before(1) => return false,
            Self::Before(number) => number,
        };
        let pinned = found.agreement.party(us).map(|party| &party.node);
        let stream = found.streams.party(&found.agreement, us);
        pinned
            .zip(stream)
            .is_some_and(|(pinned, stream)| epoch::number(&stream.address(pinned, stream.len()).log_origin) < number)
    }
}

/// Why nothing is said under an agreement whose own stream is not all here.
pub(crate) fn not_yet(found: &Verified) -> String {
    let id = found.agreement.id;
    format!(
        "this registry was restored from a backup, and what this agency said under agreement {id} since is not here: after a \
         new epoch was opened (concordat trail epoch show), get it back with `concordat agreement sync {id}`"
    )
}

/// The agreements under which this agency may have said more than is here, oldest first; those that are over need nothing.
///
/// # Errors
/// The registry cannot be read.
pub fn lacking(node: &Node) -> Result<Vec<AgreementId>, Failure> {
    let now = node.now();
    let all = node.desk().registry(|conn| lifecycle::list(conn, now))?;
    let over =
        |status: &Status| matches!(status, Status::Ended { .. } | Status::Sunset { .. } | Status::Superseded { .. });
    let lacking = all.iter().filter(|(found, status)| found.streams.lost.contains(&node.ori()) && !over(status));
    Ok(lacking.map(|(found, _)| found.agreement.id).collect())
}

/// Takes back from every partner what this agency said to it and its registry lost: where each agreement stands then.
///
/// # Errors
/// The registry cannot be read. A partner that cannot be reached is none: it is tried again by a running node.
pub async fn take_back(node: &Node) -> Result<Vec<(AgreementId, Result<Status, Apart>)>, Failure> {
    let mut came = Vec::new();
    for id in lacking(node)? {
        came.push((id, lifecycle::sync(node, id).await));
    }
    Ok(came)
}
