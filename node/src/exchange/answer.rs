//! The owner's side of a query: verify, decide, search, record, answer. Nothing leaves that was not recorded first.

use std::sync::Arc;

use agreements::agreement::Agreement;
use agreements::commit::{Upheld, uphold};
use agreements::decide::{Decision, Denial, Permit, Standing, Usage, decide, sensitive};
use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, ReadId};
use agreements::json;
use agreements::message::{Answer, Cap, Outcome, Question, RuleSaid, To};
use agreements::rule::Rule;
use agreements::screen;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::Serialize;

use super::ask::receipt_of;
use super::failure::Failure;
use super::partner::Partner;
use super::referral::{self, Letterhead};
use super::standing;
use super::sworn::{self, Sworn, SwornError};
use super::wire::{self, Bulk, Envelope};
use crate::db::{Entry, Slot, Tx};
use crate::node::{Desk, Node};
use crate::publishing;
use crate::reads::Read;
use crate::reads::store::{Found, SearchBounds};
use crate::registry::exchanged::{self, Heard};
use crate::trail::{self, Facts, Said};

/// An answer that is durably recorded, ready to leave.
#[derive(Debug)]
pub struct Answered {
    /// What was decided.
    pub outcome: Outcome,
    /// The text that carries entry, proof and results.
    pub text: String,
}

/// What goes into the note of an answer: it never travels.
#[derive(Serialize)]
struct AnswerNote<'a> {
    from: &'a str,
    /// How many entries the partner's log had by the head that the question came with.
    head: u64,
    screen: &'static str,
    topics: &'a [screen::Topic],
}

/// A question with all that its commit needs. Shared with the writer's thread.
struct Asked {
    sworn: Sworn<Question>,
    from: String,
    owner: standing::Owner,
    /// By whom the partner's questions are seen that are referred.
    letterhead: Letterhead,
    topics: Vec<screen::Topic>,
}

/// What was decided, searched and made ready before the commit.
struct Prepared {
    outcome: Outcome,
    permit: Option<Permit>,
    results: Option<String>,
    said: Said,
}

enum Committed {
    Said {
        slot: Slot,
        outcome: Outcome,
        results: Option<String>,
    },
    HeardBefore(Heard),
    /// The key that swore it is not the partner's any more.
    Overtaken,
}

/// Answers a question of `partner`, which came from the address `from`.
///
/// # Errors
/// See [`Failure`]. Whatever the error, nothing about data has left, and a question that was not answered is not burned.
pub async fn answer(node: &Node, desk: &Desk, partner: &Partner, from: &str, body: &[u8]) -> Result<Answered, Failure> {
    publishing::disclosable(node).await?;
    let envelope = Envelope::parse(body).map_err(Failure::Malformed)?;
    let sworn: Sworn<Question> = sworn::verify(&envelope, Kind::QueryAsked, partner, node.ori(), node.checkpoints())?;
    let now = node.now();
    sworn::fresh(&sworn, now)?;
    if !envelope.is_bare() {
        return Err(Failure::Unacceptable(wire::NO_BULK.to_owned()));
    }
    let agreement = sworn.agreement();
    let (used, standing) = desk.registry(|conn| {
        let (epoch, used) = exchanged::epoch_and_used(conn, agreement, day(now))?;
        Ok((used, node.standings().standing_under(conn, epoch, node.owner(), partner.ori(), agreement, now)?))
    })?;
    let demanded = standing.agreement.as_ref().and_then(Agreement::witness_policy);
    let held = node.watch().holds(partner, demanded, envelope.cosigned.as_deref(), now);
    held.map_err(SwornError::from)?;
    node.set_rate(standing.rules.rate_per_minute);
    let asked = Arc::new(Asked {
        topics: sensitive(sworn.message()),
        sworn,
        from: from.to_owned(),
        owner: node.owner().clone(),
        letterhead: Letterhead::new(node, partner),
    });
    // Whoever is over the owner's rate was refused at the door.
    let usage = Usage { today: used, over_rate: false };
    let prepared = prepare(desk, &asked, &standing, usage, now)?;
    let committing = Arc::clone(&asked);
    let recorded = node.registry().record(move |tx| commit(tx, &committing, prepared)).await?;
    match &*recorded {
        Committed::Overtaken => Err(Failure::Overtaken),
        Committed::HeardBefore(heard) => again(node, desk, partner, asked, *heard).await,
        Committed::Said { slot, outcome, results } => {
            referral::ring(node, outcome);
            said(node, recorded.entry(*slot), outcome.clone(), results.as_deref())
        }
    }
}

fn said(node: &Node, entry: Option<&Entry>, outcome: Outcome, results: Option<&str>) -> Result<Answered, Failure> {
    let entry = entry.ok_or(Failure::Unrecorded)?;
    let bulk = results.map_or(Bulk::None, Bulk::Results);
    Ok(Answered { outcome, text: wire::write_witnessed(node, entry, bulk).map_err(Failure::Internal)? })
}

/// Decides, and searches if permitted.
fn prepare(desk: &Desk, asked: &Asked, standing: &Standing, usage: Usage, now: Instant) -> Result<Prepared, Failure> {
    match decide(asked.sworn.message(), standing, usage, now) {
        Decision::Permit(permit) => {
            let Some(bounds) = SearchBounds::permitted(&permit) else {
                return Prepared::no(asked, denied(Denial { rules: vec![Rule::SearchOfOwner], status: None }));
            };
            let found = desk.reads(|reads| reads.search_exact(&bounds))?;
            let (outcome, results) = permitted(&permit, &found)?;
            let said = saying(asked, &outcome)?;
            Ok(Prepared { outcome, permit: Some(permit), results: Some(results), said })
        }
        Decision::Refer(rules) => Prepared::no(asked, referred(asked, &rules)),
        Decision::Deny(denial) => Prepared::no(asked, denied(denial)),
    }
}

impl Prepared {
    fn no(asked: &Asked, outcome: Outcome) -> Result<Self, Failure> {
        let said = saying(asked, &outcome)?;
        Ok(Self { outcome, permit: None, results: None, said })
    }
}

fn denied(denial: Denial) -> Outcome {
    Outcome::Denied { rules: denial.rules.into_iter().map(RuleSaid::from).collect(), status: denial.status }
}

fn referred(asked: &Asked, rules: &[Rule]) -> Outcome {
    Outcome::Referred { ticket: asked.sworn.evidence().rid, rules: rules.iter().copied().map(RuleSaid::from).collect() }
}

fn permitted(permit: &Permit, found: &Found) -> Result<(Outcome, String), Failure> {
    let (results, digest) = bulk(&found.rows)?;
    let reads: Vec<ReadId> = found.rows.iter().map(|read| read.id).collect();
    let mut capped = permit.capped().to_vec();
    capped.extend(found.more.then_some(Cap::More {}));
    Ok((Outcome::Permitted { reads, results: digest, capped }, results))
}

/// The rows as they travel, and the digest that the answer's message names.
fn bulk(rows: &[Read]) -> Result<(String, Digest), Failure> {
    let text = serde_json::to_string(rows).map_err(|error| Failure::Internal(error.into()))?;
    let digest = Digest::of(text.as_bytes());
    Ok((text, digest))
}

/// Records the answer, under the head's lock: standing and use are read again there, and what has changed is decided
/// again. A permit that died meanwhile gives a record, and no answer.
fn commit(tx: &mut Tx<'_>, asked: &Asked, prepared: Prepared) -> QueryResult<Committed> {
    let evidence = asked.sworn.evidence();
    if !evidence.under.still(tx)? {
        return Ok(Committed::Overtaken);
    }
    let now = tx.now();
    let rid = tx.fresh_rid()?;
    let this = Heard { leaf: evidence.leaf_hash, answer: rid };
    if !exchanged::hear(tx.beside_trail(), evidence.origin, evidence.rid, this)? {
        let heard = exchanged::heard(tx.beside_trail(), evidence.origin, evidence.rid)?;
        return heard.map(Committed::HeardBefore).ok_or(Error::NotFound);
    }
    let agreement = asked.sworn.agreement();
    let Prepared { mut outcome, permit, mut results, mut said } = prepared;
    if let Some(permit) = permit {
        let used = exchanged::used(tx.beside_trail(), agreement, day(now))?;
        if let Some(instead) = overtaken(tx, asked, &permit, used)? {
            said = saying(asked, &instead)?;
            outcome = instead;
            results = None;
        } else {
            exchanged::count(tx.beside_trail(), agreement, day(now), used)?;
        }
    }
    let slot = tx.append_said(rid, said)?;
    // Whoever asked cannot deny it later: their entry is kept as they swore it, for this answer.
    exchanged::keep(tx.beside_trail(), &receipt_of(evidence.clone(), rid), now)?;
    asked.letterhead.queue(tx.beside_trail(), &outcome, &asked.topics, now)?;
    evidence.see_head(tx.beside_trail(), now)?;
    Ok(Committed::Said { slot, outcome, results })
}

/// What a permit became between its making and the commit: nothing when it still holds.
fn overtaken(tx: &mut Tx<'_>, asked: &Asked, permit: &Permit, today: u32) -> QueryResult<Option<Outcome>> {
    let now = tx.now();
    if permit.stands(tx.epoch(), today, now) {
        return Ok(None);
    }
    let partner = asked.sworn.evidence().origin;
    let (standing, _) = standing::load(tx.conn(), &asked.owner, partner, asked.sworn.agreement(), now)?;
    Ok(match uphold(permit, asked.sworn.message(), &standing, today, now) {
        Upheld::Stands => None,
        Upheld::Refer(rules) => Some(referred(asked, &rules)),
        Upheld::Deny(rules) => Some(denied(Denial { rules, status: None })),
        Upheld::Withheld(status) => Some(Outcome::Withheld { status }),
    })
}

/// The answer as the trail will have it.
fn saying(asked: &Asked, outcome: &Outcome) -> QueryResult<Said> {
    let question = asked.sworn.message();
    let evidence = asked.sworn.evidence();
    let message = Answer {
        // Who asked in this version reads it.
        v: question.v,
        to: vec![To { ori: evidence.origin, agreement: asked.sworn.agreement() }],
        question: evidence.leaf_hash,
        outcome: outcome.clone(),
    };
    let note =
        AnswerNote { from: &asked.from, head: evidence.head.size, screen: screen::version(), topics: &asked.topics };
    let facts = facts(question, evidence.origin, outcome);
    Said::new(Kind::QueryAnswered, canonical(&message)?, &canonical(&note)?, facts)
}

/// By what an answer is found again in the owner's trail (VIII-04 to VIII-08).
fn facts(question: &Question, partner: Ori, outcome: &Outcome) -> Facts {
    let rule = match outcome {
        Outcome::Denied { rules, .. } | Outcome::Referred { rules, .. } => rules.first().map(|said| said.rule),
        Outcome::Permitted { capped, .. } => capped.iter().find_map(|cap| limit(cap, question)),
        Outcome::Withheld { .. } => None,
    };
    Facts {
        partner: Some(partner),
        username: Some(question.asker.username.clone()),
        purpose: Some(question.purpose.to_string()),
        reference: question.reference.as_ref().map(ToString::to_string),
        plate: question.search.text().map(str::to_owned),
        decision: Some(outcome.name().to_owned()),
        rule: rule.map(|rule| rule.as_str().to_owned()),
    }
}

/// The limit at which a permitted question stood. Every question that asks for just as far back as is granted is cut by
/// the time that it took to come here, and who merely asks for more rows than there are hits no limit.
fn limit(cap: &Cap, question: &Question) -> Option<Rule> {
    match cap {
        Cap::Lookback { from } => (from.since(question.from) > Instant::MINUTE).then_some(Rule::Lookback),
        Cap::Area { .. } => Some(Rule::Area),
        Cap::More {} => Some(Rule::Rows),
        Cap::Rows { .. } | Cap::Images {} => None,
    }
}

/// Answers a question that was heard before: the same answer, made again from the reads that its entry lists, after a
/// fresh decision.
async fn again(
    node: &Node,
    desk: &Desk,
    partner: &Partner,
    asked: Arc<Asked>,
    heard: Heard,
) -> Result<Answered, Failure> {
    let evidence = asked.sworn.evidence();
    if heard.leaf != evidence.leaf_hash {
        return Err(Failure::Conflict);
    }
    let earlier: Answer = desk.registry(|conn| {
        let row = trail::search::by_rid(conn, heard.answer)?.ok_or(Error::NotFound)?;
        let detail = row.detail.ok_or(Error::NotFound)?;
        json::parse(&detail.message).map_err(|error| Error::DeserializationError(error.into()))
    })?;
    let Outcome::Permitted { reads, results, .. } = &earlier.outcome else {
        return say_again(node, heard, earlier.outcome, None).await;
    };
    let now = node.now();
    let standing = desk
        .registry(|conn| node.standings().standing(conn, node.owner(), partner.ori(), asked.sworn.agreement(), now))?;
    let decision = decide(asked.sworn.message(), &standing, Usage::default(), now);
    let outcome = match decision {
        Decision::Permit(permit) => {
            let rows = match SearchBounds::permitted(&permit) {
                Some(bounds) => desk.reads(|store| store.by_ids(&bounds, reads))?,
                None => Vec::new(),
            };
            let (text, digest) = bulk(&rows)?;
            if digest == *results {
                return say_again(node, heard, earlier.outcome, Some((text, permit))).await;
            }
            Outcome::Withheld { status: standing.status(now) }
        }
        Decision::Refer(rules) => referred(&asked, &rules),
        Decision::Deny(denial) => denied(denial),
    };
    // What was said cannot be said again: that is a new answer, with an entry of its own.
    let committing = Arc::clone(&asked);
    let recorded = node
        .registry()
        .record(move |tx| {
            let said = saying(&committing, &outcome)?;
            let now = tx.now();
            let rid = tx.fresh_rid()?;
            let slot = tx.append_said(rid, said)?;
            committing.letterhead.queue(tx.beside_trail(), &outcome, &committing.topics, now)?;
            Ok((slot, outcome))
        })
        .await?;
    let (slot, outcome) = &*recorded;
    referral::ring(node, outcome);
    said(node, recorded.entry(*slot), outcome.clone(), None)
}

/// Sends the entry that answered before, proven under the present head. With results, only while their permit lives and
/// the standing that it was made from is the present one: both are seen under the head's lock.
async fn say_again(
    node: &Node,
    heard: Heard,
    outcome: Outcome,
    results: Option<(String, Permit)>,
) -> Result<Answered, Failure> {
    let (results, permit) = results.unzip();
    let recorded = node
        .registry()
        .record(move |tx| {
            if permit.is_some_and(|permit| permit.epoch() != tx.epoch() || permit.dead(tx.now())) {
                return Ok(None);
            }
            tx.again(heard.answer)
        })
        .await?;
    let Some(slot) = *recorded else { return Err(Failure::Overtaken) };
    said(node, recorded.entry(slot), outcome, results.as_deref())
}

fn day(now: Instant) -> jiff::civil::Date {
    now.date().unwrap_or(jiff::civil::Date::MAX)
}

/// Canonical bytes, as a query's error.
pub(crate) fn canonical<T: Serialize>(value: &T) -> QueryResult<Vec<u8>> {
    json::canonical(value).map_err(|error| Error::SerializationError(error.into()))
}
