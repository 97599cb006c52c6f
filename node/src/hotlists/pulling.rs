//! The receiver's side of sharing a hotlist: record the pull, verify the assertion, take the bulk beside what is in use,
//! record what came, and put it in use under its lease.

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::hotlist::{AHEAD, Asserted, Assertion, Category, Have, Outcome, Pull, categories};
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{PROTOCOL, To};
use agreements::status::Status;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::Serialize;

use super::refresh::{RefreshError, erase_due};
use super::shared::{Generation, Held, Kept, SharedError, ends};
use super::taking::{Lines, take};
use crate::db::{Conn, Tx};
use crate::exchange::Failure;
use crate::exchange::answer::canonical;
use crate::exchange::ask::{problem, receipt_of};
use crate::exchange::dial::DialError;
use crate::exchange::partner::Partner;
use crate::exchange::standing;
use crate::exchange::sworn::{self, Evidence, Sworn, SwornError};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::{Node, fresh_rid};
use crate::publishing;
use crate::registry::{accepted, ag, exchanged};
use crate::trail::{self, Draft, Facts};

/// The longest first line, which carries entry and proof, in bytes.
const MAX_FIRST: usize = 64 << 10;

/// What a pull came to.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Pulled {
    /// The list is held, as the owner asserted it now.
    Held {
        /// The owner's number of the version.
        version: u64,
        /// How many entries it has.
        entries: u64,
        /// How many came.
        added: u64,
        /// How many went.
        removed: u64,
        /// The first instant at which it is not used any more.
        until: Instant,
    },
    /// The owner denied it.
    Denied {
        /// Why, in its words.
        why: String,
    },
}

/// Why a pull came to nothing. What was held is held on until its lease ends.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It is not to be pulled; the sentence says what to do.
    #[error("{0}")]
    NotNow(String),
    /// The partner cannot be reached, or broke off.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The partner gave no sworn answer.
    #[error("{0}")]
    NoAnswer(String),
    /// What it swore is not sound.
    #[error(transparent)]
    Unsworn(#[from] SwornError),
    /// What it swore is not what belongs here.
    #[error("{0}")]
    Wrong(&'static str),
    /// The place of shared lists failed.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// It failed here.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The thread that writes died.
    #[error("the pull ended by itself: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<RefreshError> for PullError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Failure(error) => Self::Failure(error),
            RefreshError::Shared(error) => Self::Shared(error),
        }
    }
}

/// Under which agreement a list is pulled.
#[derive(Debug, Clone)]
struct Under {
    id: AgreementId,
    /// By which policy the owner's log is witnessed.
    witnesses: Option<Digest>,
    categories: Vec<Category>,
    /// How long what is asserted may be used.
    lasts: i64,
    /// When the agreement ends by itself.
    sunset: Instant,
    /// The first instant at which it is not in force by itself.
    until: Instant,
    epoch: i64,
}

/// The agreement in force that grants `us` the list, or why there is none.
fn under(conn: &mut Conn, us: Ori, owner: Ori, list: &str, now: Instant) -> QueryResult<Result<Under, String>> {
    let epoch = trail::head::epoch(conn)?;
    let register = ag::register(conn)?;
    let mut why = format!("no agreement with {owner} grants the list {list}; see `concordat agreement list`");
    for found in standing::family(conn, owner)?.into_iter().rev() {
        let id = found.agreement.id;
        let Some(grant) = found.agreement.hotlist_grant(owner, us, list) else { continue };
        match Status::at(&found.agreement, &found.streams, &register, now) {
            Status::InForce { until } => {
                return Ok(Ok(Under {
                    id,
                    witnesses: found.agreement.witness_policy(),
                    categories: categories(&grant.categories),
                    lasts: found.agreement.hotlist_lease(),
                    sunset: found.agreement.sunset(),
                    until,
                    epoch,
                }));
            }
            status => why = format!("agreement {id}: {}", status.says()),
        }
    }
    Ok(Err(why))
}

/// Pulls the newest version of an accepted list, or renews the lease of the one that is held.
///
/// # Errors
/// See [`PullError`].
pub async fn pull(node: &Arc<Node>, owner: Ori, list: &str) -> Result<Pulled, PullError> {
    publishing::heard(node).await?;
    let partner = node.partners().find(owner).cloned();
    let partner = partner.ok_or_else(|| PullError::NotNow(format!("{owner} is not enrolled: `concordat peer add`")))?;
    let desk = node.desk();
    let now = desk.registry(|conn| node.registry().present(conn))?;
    if desk.registry(|conn| accepted::find(conn, owner, list))?.is_none() {
        return Err(PullError::NotNow(format!(
            "nobody accepted {list} of {owner} here: `concordat hotlist accept {owner} {list}`"
        )));
    }
    let under = desk.registry(|conn| under(conn, node.ori(), owner, list, now))?.map_err(PullError::NotNow)?;
    let shared = Arc::clone(node.shared_lists());
    let name = list.to_owned();
    let held = tokio::task::spawn_blocking(move || shared.usable(owner, &name, now)).await??;
    let have = held.as_ref().map(|held| Have { version: held.version, contents: held.contents });
    let asked = record(node, owner, list, &under, have).await?;
    let came = receive(node, &partner, list, &under, &asked, held).await;
    settle(node, owner, list, &under, &asked, came).await
}

/// A pull that is durably in our trail.
struct Asked {
    rid: RequestId,
    leaf_hash: Digest,
    text: String,
}

/// Records the pull, if the agreement is still in force.
async fn record(node: &Node, owner: Ori, list: &str, under: &Under, have: Option<Have>) -> Result<Asked, PullError> {
    let to = vec![To { ori: owner, agreement: under.id }];
    let message = Pull { v: PROTOCOL, to, list: list.to_owned(), have };
    let (epoch, until) = (under.epoch, under.until);
    let job = move |tx: &mut Tx<'_>| {
        if tx.epoch() != epoch || tx.now() >= until {
            return Ok(None);
        }
        let draft = Draft {
            kind: Kind::HotlistPulled,
            rid: fresh_rid(tx.now())?,
            message: canonical(&message)?,
            note: b"{}".to_vec(),
            facts: Facts { partner: Some(owner), decision: Some("pulled".to_owned()), ..Facts::default() },
        };
        tx.append(draft).map(Some)
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    let slot = (*recorded).ok_or(Failure::Overtaken)?;
    let entry = recorded.entry(slot).ok_or(Failure::Unrecorded)?;
    let text = wire::write_witnessed(node, entry, Bulk::None).map_err(Failure::Internal)?;
    Ok(Asked { rid: entry.rid(), leaf_hash: entry.hash(), text })
}

/// What came of a pull, before it is recorded.
struct Came {
    evidence: Option<Evidence>,
    what: Result<What, PullError>,
}

enum What {
    Denied(String),
    /// Written beside what is in use, or nothing new.
    List {
        asserted: Asserted,
        at: Instant,
        received_at: Instant,
        generation: Generation,
        new: bool,
    },
}

/// Posts the pull and takes what comes. Never fails: what went wrong is in what it gives.
async fn receive(
    node: &Arc<Node>,
    partner: &Partner,
    list: &str,
    under: &Under,
    asked: &Asked,
    held: Option<Held>,
) -> Came {
    let mut evidence = None;
    let what = async {
        let mut lines =
            Lines::new(node.dialer().open(partner, &format!("hotlists/{list}/pull"), asked.text.clone()).await?);
        let first = lines.next(MAX_FIRST).await?;
        let Some(Ok(envelope)) = first.as_deref().map(Envelope::parse) else {
            return Err(PullError::NoAnswer(problem(first.as_deref().unwrap_or_default())));
        };
        let sworn: Sworn<Assertion> =
            sworn::verify(&envelope, Kind::HotlistAsserted, partner, node.ori(), node.checkpoints())?;
        let witnessed = node.watch().holds(partner, under.witnesses, envelope.cosigned.as_deref(), node.now());
        witnessed.map_err(SwornError::from)?;
        // Now, and not when the last of the bulk is here: the lease began on its way.
        let received_at = node.desk().registry(|conn| node.registry().present(conn))?;
        let message = sworn.message();
        if message.pull != asked.leaf_hash || message.list != list || sworn.agreement() != under.id {
            return Err(PullError::Wrong("it answers another pull"));
        }
        let (message, proof) = sworn.into_parts();
        let at = proof.at;
        evidence = Some(proof);
        let asserted = match message.outcome {
            Outcome::Denied { rules, status } => {
                let said = rules.first().map_or("it says no", |said| said.says.as_str());
                let stands = status.map(|status| format!(" ({})", status.says())).unwrap_or_default();
                return Ok(What::Denied(format!("{said}{stands}")));
            }
            Outcome::Asserted(asserted) => asserted,
        };
        not_ahead(at, received_at)?;
        if asserted.categories != under.categories {
            return Err(PullError::Wrong("it asserts other categories than the agreement grants"));
        }
        let (generation, new) = take(node, lines, &asserted, held).await?;
        Ok(What::List { asserted, at, received_at, generation, new })
    };
    let what = what.await;
    Came { evidence, what }
}

/// Whether an assertion is dated no further ahead of our clock than clocks may differ.
fn not_ahead(at: Instant, now: Instant) -> Result<(), PullError> {
    if at.since(now) > AHEAD {
        return Err(PullError::Wrong("its assertion is dated over five minutes ahead of our clock: check the clocks"));
    }
    Ok(())
}

/// The message of a `hotlist.received` entry. It stays in our own trail.
#[derive(Serialize)]
struct Received {
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion: Option<Digest>,
    list: String,
    outcome: &'static str,
    owner: Ori,
    pull: Digest,
    v: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

/// Records what came, and puts it in use.
async fn settle(
    node: &Arc<Node>,
    owner: Ori,
    list: &str,
    under: &Under,
    asked: &Asked,
    came: Came,
) -> Result<Pulled, PullError> {
    let Came { evidence, what } = came;
    let outcome = match &what {
        Ok(What::List { .. }) => "held",
        Ok(What::Denied(_)) => "denied",
        Err(PullError::Dial(_)) => "unreachable",
        Err(_) => "invalid",
    };
    let version = match &what {
        Ok(What::List { asserted, .. }) => Some(asserted.version),
        _ => None,
    };
    let index = evidence.as_ref().map(Evidence::place);
    let message = Received {
        assertion: evidence.as_ref().map(|evidence| evidence.leaf_hash),
        list: list.to_owned(),
        outcome,
        owner,
        pull: asked.leaf_hash,
        v: PROTOCOL,
        version,
    };
    let (id, rid) = (under.id, asked.rid);
    let job = move |tx: &mut Tx<'_>| keep(tx, message, id, rid, evidence);
    let allowed = node.registry().record(job).await.map_err(Failure::from)?.into_inner();
    let (asserted, at, received_at, generation, new) = match (what?, allowed) {
        (What::Denied(why), _) => return Ok(Pulled::Denied { why }),
        (What::List { asserted, at, received_at, generation, new }, Ok(())) => {
            (asserted, at, received_at, generation, new)
        }
        (What::List { generation, new, .. }, Err(why)) => {
            give_up(node, generation, new).await?;
            return Err(PullError::NotNow(why));
        }
    };
    let ends_at = ends(at, received_at, under.lasts, under.sunset);
    let held = Held {
        owner,
        list: list.to_owned(),
        version: asserted.version,
        contents: asserted.contents,
        entries: asserted.entries,
        source_loaded_at: asserted.source_loaded_at,
        asserted_at: at,
        received_at,
        ends_at,
        log_index: index.unwrap_or(0),
        generation,
    };
    put_in_use(node, held, new).await?;
    let Asserted { version, entries, added, removed, .. } = asserted;
    Ok(Pulled::Held { version, entries, added, removed, until: ends_at })
}

async fn give_up(node: &Node, generation: Generation, new: bool) -> Result<(), PullError> {
    if new {
        let shared = Arc::clone(node.shared_lists());
        tokio::task::spawn_blocking(move || shared.give_up(generation)).await??;
    }
    Ok(())
}

/// Puts what came in use, unless what happened since it was recorded forbids it.
async fn put_in_use(node: &Arc<Node>, held: Held, new: bool) -> Result<(), PullError> {
    let (owner, list, generation) = (held.owner, held.list.clone(), held.generation);
    let shared = Arc::clone(node.shared_lists());
    let kept = tokio::task::spawn_blocking(move || shared.keep(&held)).await??;
    if kept == Kept::Overtaken {
        give_up(node, generation, new).await?;
        let why = "it came, and is not used: another pull was faster, or its lease ended meanwhile; pull it again with `concordat hotlist refresh`";
        return Err(PullError::NotNow(why.to_owned()));
    }
    // Who withdrew it before this erased what was there then.
    if node.desk().registry(|conn| accepted::find(conn, owner, &list))?.is_none() {
        erase_due(node).await?;
        return Err(PullError::NotNow("it came, and is not used: nobody accepts it here any more".to_owned()));
    }
    Ok(())
}

/// Keeps the receipt and appends what came. Whether a list that came may be used: it is accepted still, newer than what
/// was received before, and its agreement in force at this instant.
fn keep(
    tx: &mut Tx<'_>,
    mut message: Received,
    agreement: AgreementId,
    rid: RequestId,
    evidence: Option<Evidence>,
) -> QueryResult<Result<(), String>> {
    let now = tx.now();
    let owner = message.owner;
    let mut allowed = Ok(());
    let mut replaced = false;
    if let Some(evidence) = &evidence {
        replaced = !evidence.under.still(tx)?;
    }
    if replaced {
        allowed = Err("it came, and is not used: the key that swore it was replaced meanwhile".to_owned());
        message.assertion = None;
    } else if let Some(evidence) = evidence {
        let index = evidence.place();
        evidence.see_head(tx.conn(), now)?;
        exchanged::keep(tx.conn(), &receipt_of(evidence, rid), now)?;
        if message.outcome == "held" {
            let status = standing::status(tx.conn(), agreement, now)?;
            allowed = if !matches!(status, Status::InForce { .. }) {
                Err(format!("it came, and is not used: {}", status.says()))
            } else if accepted::find(tx.conn(), owner, &message.list)?.is_none() {
                Err("it came, and is not used: nobody accepts it here any more".to_owned())
            } else if !accepted::see(tx.conn(), owner, &message.list, index)? {
                Err("it came, and is not used: a newer assertion came before it".to_owned())
            } else {
                Ok(())
            };
        }
    }
    if allowed.is_err() {
        message.outcome = "withheld";
    }
    let facts = Facts { partner: Some(owner), decision: Some(message.outcome.to_owned()), ..Facts::default() };
    let (message, rid) = (canonical(&message)?, fresh_rid(now)?);
    tx.append(Draft { kind: Kind::HotlistReceived, rid, message, note: b"{}".to_vec(), facts })?;
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_over_five_minutes_ahead_is_refused() {
        let now: Instant = "2026-11-23T20:17:00Z".parse().unwrap();
        for ahead in [-Instant::DAY, 0, 5 * Instant::MINUTE] {
            assert!(not_ahead(now.plus(ahead), now).is_ok());
        }
        let refused = not_ahead(now.plus(5 * Instant::MINUTE + 1), now).unwrap_err().to_string();
        assert!(refused.contains("five minutes ahead"), "{refused}");
    }
}
