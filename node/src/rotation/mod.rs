//! This agency's own keys and its place change, and every partner is told under every agreement that lives.
//!
//! In scope: making new keys beside those in use, saying so, and putting them in place. Out of scope: how a partner comes to
//! believe it ([`crate::exchange::lifecycle::introduction`]), and the identity key, which never changes.
//!
//! The commit that says it is the change: it holds one event in each agreement and the entry `keys.changed`, and its head is
//! the first that the new log key signs. Whatever comes afterwards (the files, what this process has in memory, what partners
//! know) is made to follow from what the trail says, by whoever looks next: after a crash anywhere a repeat, a restart or any
//! other command completes it.

mod files;

use std::sync::Arc;

use agreements::agreement::Agreement;
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::json;
use agreements::message::{Change, Changed};
use agreements::party::Keys;
use agreements::status::Status;
use agreements::stream::{Event, Stream};
use certs::jws;
use certs::key::SigningKey;
use diesel::result::QueryResult;
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::db::{Conn, Tx};
use crate::epoch;
use crate::exchange::answer::canonical;
use crate::exchange::failure::Failure;
use crate::exchange::lifecycle::{self, ActError, Delivery};
use crate::exchange::standing::{CHANGE_TYP, Verified};
use crate::exchange::versions::Versions;
use crate::node::{Node, fresh_rid, next_log_signer};
use crate::registry::accounts::{self, Action};
use crate::registry::agreements as documents;
use crate::seal::Seal;
use crate::trail::note::{LogSigner, Vkey};
use crate::trail::told::{self, Which};
use crate::trail::{Draft, Facts};
use crate::upkeep;

pub(crate) use files::put;
pub use files::{KeyKind, Prepared, RotationError, is_staged, prepare};

/// How many partners are told at the same time.
const AT_ONCE: usize = 16;

/// The message of a `keys.changed` entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysChanged {
    /// Under how many agreements it was said.
    agreements: u32,
    /// Who did it.
    by: String,
    /// What changed.
    change: Changed,
    /// Why.
    reason: String,
    /// The version of this message.
    v: u16,
}

/// The keys that the trail says are this agency's own since its last rotation or its last epoch; `None` when there was none.
pub(crate) fn announced(conn: &mut Conn) -> QueryResult<Option<Keys>> {
    let mut all = changed(conn)?;
    all.extend(epoch::opened(conn)?.into_iter().map(|(index, opened)| (index, opened.keys)));
    Ok(all.into_iter().max_by_key(|(index, _)| *index).map(|(_, keys)| keys))
}

/// All keys that rotations brought, each with the position of the entry that says so.
fn changed(conn: &mut Conn) -> QueryResult<Vec<(u64, Keys)>> {
    let told = told::told(conn, Kind::KeysChanged, Which::All)?.unwrap_or_else(|what| {
        tracing::error!(what, "ALARM: the trail's entries about this node's keys were changed by other hands");
        Vec::new()
    });
    let keys = told.iter().filter_map(|told| match json::parse::<KeysChanged>(&told.message).ok()?.change {
        Changed::Rekeyed { keys, .. } => Some((told.index, keys)),
        Changed::Moved { .. } => None,
    });
    Ok(keys.collect())
}

/// The keys that signed this node's log at one time or another: today's, those that the trail tells of, and those that
/// agreements pin.
pub(crate) fn log_keys(conn: &mut Conn, node: &Node) -> QueryResult<Vec<[u8; 32]>> {
    let mut all = vec![node.party().node.log_vkey.clone()];
    all.extend(changed(conn)?.into_iter().map(|(_, keys)| keys.log_vkey));
    all.extend(epoch::opened(conn)?.into_iter().map(|(_, opened)| opened.keys.log_vkey));
    for document in documents::texts(conn)? {
        let ours = Agreement::from_bytes(&document).ok();
        all.extend(ours.and_then(|it| it.party(node.ori()).map(|party| party.node.log_vkey.clone())));
    }
    let mut keys: Vec<[u8; 32]> = all.iter().filter_map(|text| Some(*text.parse::<Vkey>().ok()?.key())).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// What has to be done where partners were told of another place or other contacts than this process was started with.
pub(crate) fn told_otherwise(conn: &mut Conn, config: &crate::config::Config) -> QueryResult<Option<String>> {
    // What is wrong with the entries is said where the keys are read.
    let told = told::told(conn, Kind::KeysChanged, Which::All)?.unwrap_or_default();
    let last = told.iter().rev().find_map(|told| match json::parse::<KeysChanged>(&told.message).ok()?.change {
        Changed::Moved { url, contacts } => Some((url, contacts)),
        Changed::Rekeyed { .. } => None,
    });
    let here = (config.peer.url.as_str(), &config.agency.contacts);
    Ok(last.filter(|(url, contacts)| (url.as_str(), contacts) != here).map(|(url, contacts)| {
        format!(
            "partners were told that this node is at {url} and is written to at {}; this process was started with {} and {}. If \
             concordat.toml was edited since, restart the node; if it was edited and partners do not know yet, tell them: \
             concordat key move",
            contacts.join(", "),
            here.0,
            here.1.join(", ")
        )
    }))
}

/// Puts keys in their place that the trail announced and that still lie beside those in use.
///
/// # Errors
/// The registry cannot be read, or a file cannot be moved; repeating it completes it.
pub(crate) fn complete(config: &crate::config::Config, conn: &mut Conn) -> Result<(), RotationError> {
    match announced(conn)? {
        // Somebody else may have been putting them there in that very moment: then a second look finds nothing left to do.
        Some(keys) => put(config, &keys).or_else(|_| put(config, &keys)),
        None => Ok(()),
    }
}

/// Who changes keys or place, and how it is vouched for.
#[derive(Clone)]
pub struct Order {
    /// The account of the person.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The identity key, to vouch for it where the seal key in use is lost or may be in other hands.
    pub identity: Option<SigningKey>,
}

/// What came of telling the partners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Under how many agreements it was said now; 0 when it was said before and only sent again.
    pub agreements: u32,
    /// How many partners have it.
    pub delivered: usize,
    /// Which do not yet, and why. They get it from the job `deliveries`, or by `concordat agreement sync`.
    pub pending: Vec<Pending>,
}

/// An agreement whose partner does not know yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Which.
    pub agreement: AgreementId,
    /// Why.
    pub why: String,
}

/// What vouches for a change.
enum Voucher {
    Seal(Arc<Seal>),
    Identity(SigningKey),
}

impl Voucher {
    fn of(node: &Node, order: &Order) -> Result<Self, ActError> {
        let Some(identity) = order.identity.clone() else { return Ok(Self::Seal(node.seal())) };
        if identity.public().to_string() != node.party().identity_key {
            return Err(ActError::refused(
                "the identity key is not this agency's: its public half is keys/identity.pub",
            ));
        }
        Ok(Self::Identity(identity))
    }

    fn sign(&self, statement: &[u8]) -> Result<agreements::stream::Seal, jws::JwsError> {
        match self {
            Self::Seal(seal) => seal.sign(statement, CHANGE_TYP),
            Self::Identity(key) => jws::sign(statement, CHANGE_TYP, key, None),
        }
    }
}

/// What is to be said, and all that saying it needs.
struct Saying {
    us: Ori,
    change: Changed,
    order: Order,
    voucher: Voucher,
    versions: Arc<Versions>,
    /// The keys that were announced when this was worked out.
    seen: Option<Keys>,
    /// Who signs the log from then on, if that changes.
    signer: Option<Arc<dyn LogSigner>>,
}

/// Takes the keys that lie prepared in the place of those in use: says so to every partner, and moves the files.
/// `compromised` says that an old key is known or feared to be in other hands. `progress` is told how many agreements of how
/// many were sent.
///
/// # Errors
/// `by` may not, nothing is prepared, or a certificate is missing; nothing was changed then. What partners could not be told
/// is no error: they are told later.
pub async fn rotate(
    node: &Arc<Node>,
    order: Order,
    compromised: bool,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Told, ActError> {
    let Some(staged) = files::staged(node)? else {
        return told_before(node, progress).await;
    };
    if compromised && staged.has(KeyKind::Seal) && order.identity.is_none() {
        return Err(ActError::refused(
            "a new seal in the place of one that may be in other hands is vouched for by the identity key: give --identity FILE (keys/identity.key from its safe)",
        ));
    }
    let signer = staged.has(KeyKind::Log).then(|| next_log_signer(node.config())).transpose();
    let signer = signer.map_err(|error| ActError::refused(error.to_string()))?;
    let saying = Saying {
        us: node.ori(),
        change: Changed::Rekeyed { keys: staged.keys, compromised },
        voucher: Voucher::of(node, &order)?,
        order,
        versions: node.versions_shared(),
        seen: node.announced().as_ref().clone(),
        signer,
    };
    let agreements = record(node, saying).await?;
    take_over(node)?;
    tell(node, agreements, progress).await
}

/// Tells every partner that this node is where `concordat.toml` says, and whom to write to.
///
/// # Errors
/// `by` may not, or every partner was told so already.
pub async fn moved(
    node: &Arc<Node>,
    order: Order,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Told, ActError> {
    let party = node.party();
    let saying = Saying {
        us: node.ori(),
        change: Changed::Moved { url: party.node.url.clone(), contacts: party.contacts.clone() },
        voucher: Voucher::of(node, &order)?,
        order,
        versions: node.versions_shared(),
        seen: node.announced().as_ref().clone(),
        signer: None,
    };
    let agreements = record(node, saying).await?;
    tell(node, agreements, progress).await
}

async fn record(node: &Node, saying: Saying) -> Result<u32, ActError> {
    let recorded = node.registry().record(move |tx| say(tx, saying)).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(ActError::Refused)
}

/// Says it under every agreement that lives, in one transaction: no partner hears of it under one and not under another.
fn say(tx: &mut Tx<'_>, saying: Saying) -> QueryResult<Result<u32, Vec<String>>> {
    let Saying { us, change, order, voucher, versions, seen, signer } = saying;
    if let Err(why) = accounts::operator(tx.conn(), &order.by, Action::ChangeKeys)? {
        return Ok(Err(vec![why]));
    }
    if announced(tx.conn())? != seen {
        return Ok(Err(vec!["this node's keys were changed meanwhile: look again".to_owned()]));
    }
    if order.reason.trim().is_empty() {
        return Ok(Err(vec!["say why: partners read it".to_owned()]));
    }
    let now = tx.now();
    let mut events = Vec::new();
    for (found, status) in lifecycle::list(tx.conn(), now)? {
        let over = matches!(
            status,
            Status::Ended { .. } | Status::Sunset { .. } | Status::Superseded { .. } | Status::NoAgreement {}
        );
        let Some(stream) = found.streams.party(&found.agreement, us) else { continue };
        if over || was_told(&found.agreement, us, stream, &change) {
            continue;
        }
        if found.streams.lost.contains(&us) {
            return Ok(Err(vec![epoch::not_yet(&found)]));
        }
        let event = match event(&found, us, stream, &change, &order.reason, &voucher) {
            Ok(event) => event,
            Err(error) => return Ok(Err(vec![format!("the key does not sign: {error}")])),
        };
        if let Err(why) = stream.admits(&event) {
            return Ok(Err(vec![format!("agreement {}: {why}", found.agreement.id)]));
        }
        events.push((found, event));
    }
    if events.is_empty() && matches!(change, Changed::Moved { .. }) {
        let why = "every partner was told of this URL and these contacts: change peer.url or agency.contacts in concordat.toml first";
        return Ok(Err(vec![why.to_owned()]));
    }
    let agreements = u32::try_from(events.len()).unwrap_or(u32::MAX);
    for (found, event) in events {
        lifecycle::say_event(tx, us, &found, event, (&versions, &order.by))?;
    }
    let what = match change {
        Changed::Rekeyed { .. } => "rekeyed",
        Changed::Moved { .. } => "moved",
    };
    let message = KeysChanged { agreements, by: order.by.clone(), change, reason: order.reason, v: 1 };
    let facts = Facts { username: Some(order.by), decision: Some(what.to_owned()), ..Facts::default() };
    let rid = fresh_rid(now)?;
    tx.append(Draft { kind: Kind::KeysChanged, rid, message: canonical(&message)?, note: b"{}".to_vec(), facts })?;
    if let Some(signer) = signer {
        tx.sign_with(signer);
    }
    tx.bump_epoch();
    Ok(Ok(agreements))
}

/// Whether the partner was told this under this agreement.
fn was_told(agreement: &Agreement, us: Ori, stream: &Stream, change: &Changed) -> bool {
    let Some(pinned) = agreement.party(us) else { return true };
    let address = stream.address(&pinned.node, stream.len());
    match change {
        Changed::Rekeyed { keys, .. } => address.keys() == *keys,
        Changed::Moved { url, contacts } => {
            let told = stream.events().iter().rev().find_map(|said| match &said.event {
                Event::Moved { contacts, .. } => Some(contacts),
                _ => None,
            });
            address.url == *url && told.unwrap_or(&pinned.contacts) == contacts
        }
    }
}

/// Our event that tells the partner of a new epoch's name for the log, sealed.
pub(crate) fn renamed(found: &Verified, us: Ori, keys: &Keys, reason: &str, seal: Arc<Seal>) -> Result<Event, String> {
    let stream = found.streams.party(&found.agreement, us).ok_or("this agency is no party to it")?;
    let change = Changed::Rekeyed { keys: keys.clone(), compromised: false };
    event(found, us, stream, &change, reason, &Voucher::Seal(seal)).map_err(|error| error.to_string())
}

fn event(
    found: &Verified,
    us: Ori,
    stream: &Stream,
    change: &Changed,
    reason: &str,
    voucher: &Voucher,
) -> Result<Event, jws::JwsError> {
    let (document, n) = (Digest::of(&found.document), stream.next_number());
    let statement = Change::new(us, found.agreement.id, document, n, reason, change.clone());
    let seal = voucher.sign(&json::canonical(&statement).map_err(jws::JwsError::Payload)?)?;
    let reason = reason.to_owned();
    Ok(match change.clone() {
        Changed::Rekeyed { keys, compromised } => Event::Rekeyed { keys, compromised, reason, seal },
        Changed::Moved { url, contacts } => Event::Moved { url, contacts, reason, seal },
    })
}

/// Makes the files, and what this process holds, follow from what was recorded.
fn take_over(node: &Node) -> Result<(), ActError> {
    let mut conn = node.registry().reader().map_err(Failure::from)?;
    complete(node.config(), &mut conn).map_err(|error| {
        ActError::refused(format!(
            "it is recorded, and the new keys are not in their place yet: {error}. Mend that, and run this again"
        ))
    })?;
    node.refresh_partners(&mut conn).map_err(Failure::from)?;
    upkeep::follow(node);
    Ok(())
}

/// Sends what partners were not told before, where nothing new is prepared.
async fn told_before(node: &Arc<Node>, progress: &mut (dyn FnMut(usize, usize) + Send)) -> Result<Told, ActError> {
    let pending = node.announced().is_some() && !unacknowledged(node)?.is_empty();
    if pending {
        return tell(node, 0, progress).await;
    }
    Err(ActError::refused(format!(
        "no new keys lie in {}: `concordat key prepare` makes them",
        node.config().keys.next_folder().display()
    )))
}

fn unacknowledged(node: &Node) -> Result<Vec<AgreementId>, ActError> {
    let ids = node.desk().registry(|conn| documents::unacknowledged(conn, node.ori()))?;
    Ok(ids)
}

async fn tell(
    node: &Arc<Node>,
    agreements: u32,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Told, ActError> {
    let ids = unacknowledged(node)?;
    let all = ids.len();
    let mut told = Told { agreements, delivered: 0, pending: Vec::new() };
    let mut sending =
        stream::iter(ids).map(|id| async move { (id, deliver(node, id).await) }).buffer_unordered(AT_ONCE);
    let mut done = 0;
    while let Some((agreement, delivery)) = sending.next().await {
        match delivery {
            Delivery::Delivered { .. } => told.delivered += 1,
            Delivery::Pending { why } | Delivery::Refused { why } => told.pending.push(Pending { agreement, why }),
        }
        done += 1;
        progress(done, all);
    }
    told.pending.sort_by_key(|pending| pending.agreement);
    Ok(told)
}

/// A second time where the first was in vain: a node that serves tells as well, and the partner may be taking the new keys
/// from it in that very moment.
async fn deliver(node: &Node, id: AgreementId) -> Delivery {
    match lifecycle::deliver(node, id).await {
        Delivery::Pending { .. } => lifecycle::deliver(node, id).await,
        settled @ (Delivery::Delivered { .. } | Delivery::Refused { .. }) => settled,
    }
}
