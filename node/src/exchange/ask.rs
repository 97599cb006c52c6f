//! The asker's side of a query: screen, record, ask every partner at once, verify, keep the receipts, record what came.

use std::sync::Arc;

use agreements::agreement::Area;
use agreements::commit::Term;
use agreements::decide::{screen_own, sensitive, training_ends};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{Answer, Asker, OnBehalfOf, Outcome, PROTOCOL, Question, Received, ReceivedFrom, Search, To};
use agreements::plate::Plate;
use agreements::purpose::{Purpose, Reference};
use agreements::rule::Rule;
use agreements::screen::{self, Topic};
use agreements::status::Status;
use agreements::time::Instant;
use diesel::result::QueryResult;
use futures_util::future::join_all;
use serde::Serialize;

use super::answer::canonical;
use super::asked_for::asked_for;
use super::failure::Failure;
use super::partner::Partner;
pub use super::report::{Gave, Line, Report};
use super::standing;
use super::sworn::{self, Evidence, Sworn, SwornError};
use super::versions;
use super::window::{self, WindowError};
use super::wire::{self, Bulk, Envelope};
use crate::db::Tx;
use crate::node::{Desk, Node, fresh_rid};
use crate::publishing;
use crate::reads::Read;
use crate::registry::accounts::{self, Account, Action};
use crate::registry::exchanged::{self, Receipt};
use crate::trail::{self, Draft, Facts};

/// Whom to ask.
#[derive(Debug, Clone)]
pub enum Whom {
    /// These partners.
    These(Vec<Ori>),
    /// Every partner whose agreement grants it, for this reason (III-06).
    All {
        /// Why all.
        why: String,
    },
}

/// A question as a person puts it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The account of the person who asks.
    pub username: String,
    /// Whom to ask.
    pub whom: Whom,
    /// The plate.
    pub plate: Plate,
    /// Reads from this instant on.
    pub from: Instant,
    /// Reads before this instant.
    pub until: Instant,
    /// What for.
    pub purpose: Purpose,
    /// The file.
    pub reference: Option<Reference>,
    /// Why.
    pub reason: String,
    /// For which agency and person; the asker's own when absent.
    pub on_behalf_of: Option<OnBehalfOf>,
    /// The supervisor who knows of it.
    pub supervisor: Option<String>,
    /// Within which area.
    pub area: Option<Area>,
    /// At most this many reads from each partner.
    pub max_rows: u32,
    /// Whether images are wanted.
    pub images: bool,
}

/// Why a question did not leave this node.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The person may not ask.
    #[error("{0}")]
    Person(String),
    /// The window of time has nothing in it.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// The question fails rules that every owner applies; it is recorded that it was tried.
    #[error("{}", said(.0))]
    Screened(Vec<Rule>),
    /// Nobody to ask.
    #[error("there is nobody to ask: name partners with --peer, or enrol some and bring agreements in force")]
    Nobody,
    /// It failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fn said(rules: &[Rule]) -> String {
    let line = |rule: &Rule| format!("{} [{}]: {}", rule.as_str(), rule.clauses().join(", "), rule.says());
    rules.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A partner that is asked.
struct Target {
    partner: Arc<Partner>,
    /// Under which agreement.
    agreement: AgreementId,
    /// By which policy its log is witnessed.
    witnesses: Option<Digest>,
}

/// Whom a question goes to, and for how long that holds.
struct Targets {
    partners: Vec<Target>,
    term: Term,
    /// A line for each partner that is not asked.
    lines: Vec<Line>,
}

/// Asks. The question is durably recorded before it leaves, and what came before it is shown.
///
/// # Errors
/// See [`AskError`]. Nothing left this node, unless it is a failure to record what came: then nothing of that is shown.
/// What single partners did is in the report.
pub async fn ask(node: &Node, desk: &Desk, ask: Ask) -> Result<Report, AskError> {
    let now = node.now();
    if let Some(jump) = node.clock().jump() {
        return Err(Failure::Jumped(jump).into());
    }
    publishing::heard(node).await?;
    let account = person(node, desk, &ask.username)?;
    window::check(ask.from, ask.until, now)?;
    let mut targets = targets(node, desk, &ask.whom, now)?;
    let v = agree_on_version(node, &mut targets).await;
    let question = question(node, &ask, &account, &targets.partners, v, now);
    let mut rules = screen_own(&question, node.party().hub, now);
    // One partner's custodian can be asked about a sensitive matter; three hundred are not.
    if targets.partners.len() <= 1 {
        rules.retain(|rule| *rule != Rule::SensitiveTerms);
    }
    if !rules.is_empty() {
        refuse(node, &question, &rules).await?;
        return Err(AskError::Screened(rules));
    }
    let Targets { partners, term, mut lines } = targets;
    if partners.is_empty() {
        return if lines.is_empty() { Err(AskError::Nobody) } else { Ok(Report { question: None, lines }) };
    }
    let asked = record(node, question, term).await?;
    let all = partners.iter().map(|target| one(node, &asked, target));
    let came: Vec<Came> = join_all(all).await;
    lines.extend(received(node, &asked, term, came).await?);
    lines.sort_by_key(|line| line.ori);
    Ok(Report { question: Some(asked.rid), lines })
}

/// The account, if it may query (II-01, II-03, VII-11 to VII-15).
fn person(node: &Node, desk: &Desk, username: &str) -> Result<Account, AskError> {
    desk.registry(|conn| accounts::operator_of(conn, node.rosters(), username, Action::Query))?
        .map_err(AskError::Person)
}

/// Whom the question goes to, and a line for each that it does not go to.
fn targets(node: &Node, desk: &Desk, whom: &Whom, now: Instant) -> Result<Targets, AskError> {
    // The epoch is read first: what is read after it can only be newer, and then the commit sees that it moved.
    let epoch = desk.registry(trail::head::epoch)?;
    let partners = node.partners();
    let mut oris: Vec<Ori> = match whom {
        Whom::These(oris) => oris.clone(),
        Whom::All { .. } => partners.all().map(|partner| partner.ori()).collect(),
    };
    oris.sort_unstable();
    oris.dedup();
    let term = Term { epoch, since: now, until: Instant::from_micros(i64::MAX) };
    let mut targets = Targets { partners: Vec::new(), term, lines: Vec::new() };
    for ori in oris {
        let Some(partner) = partners.find(ori) else {
            let why = "not enrolled: import its descriptor with `concordat peer add`".to_owned();
            targets.lines.push(Line { ori, name: None, gave: Gave::NotAsked { why } });
            continue;
        };
        if let Some(evidence) = partner.forked() {
            let (name, why) = (Some(partner.party().legal_name.clone()), SwornError::Forked(evidence).to_string());
            targets.lines.push(Line { ori, name, gave: Gave::NotAsked { why } });
            continue;
        }
        match desk.registry(|conn| node.standings().asking(conn, node.ori(), ori, now))? {
            Ok(asking) => {
                let standing::Asking { agreement, witnesses, .. } = asking;
                targets.partners.push(Target { partner: Arc::clone(partner), agreement, witnesses });
                targets.term.until = targets.term.until.min(asking.until);
            }
            Err(why) => {
                let name = Some(partner.party().legal_name.clone());
                targets.lines.push(Line { ori, name, gave: Gave::NotAsked { why } });
            }
        }
    }
    Ok(targets)
}

/// The protocol version that the question is written in. A partner that does not speak it is not asked.
async fn agree_on_version(node: &Node, targets: &mut Targets) -> u16 {
    let partners: Vec<Arc<Partner>> = targets.partners.iter().map(|target| Arc::clone(&target.partner)).collect();
    let choice = versions::agree(node, &partners).await;
    for (ori, why) in choice.left_out {
        targets.partners.retain(|target| target.partner.ori() != ori);
        let name = partners.iter().find(|partner| partner.ori() == ori).map(|one| one.party().legal_name.clone());
        targets.lines.push(Line { ori, name, gave: Gave::NotAsked { why } });
    }
    choice.v
}

fn question(node: &Node, ask: &Ask, account: &Account, targets: &[Target], v: u16, now: Instant) -> Question {
    let own = || OnBehalfOf { agency: node.ori(), end_user: account.username.clone() };
    // The clock decides whether a training still counts, not the day on which it was recorded.
    let trained_on = account.trained_on.filter(|date| training_ends(*date).is_some_and(|end| now < end));
    Question {
        v,
        to: targets.iter().map(|target| To { ori: target.partner.ori(), agreement: target.agreement }).collect(),
        asker: Asker {
            agency: node.ori(),
            username: account.username.clone(),
            name: account.name.clone(),
            affiliation: account.affiliation.clone(),
            approved: account.role.may(Action::Query),
            trained_on,
        },
        on_behalf_of: ask.on_behalf_of.clone().unwrap_or_else(own),
        purpose: ask.purpose,
        reference: ask.reference.clone(),
        reason: ask.reason.clone(),
        supervisor: ask.supervisor.clone(),
        why_all: match &ask.whom {
            Whom::All { why } => Some(why.clone()),
            Whom::These(_) => None,
        },
        search: Search::Exact { plate: ask.plate.clone() },
        from: ask.from,
        until: ask.until,
        area: ask.area,
        max_rows: ask.max_rows,
        images: ask.images,
    }
}

fn facts(question: &Question, decision: Option<&str>, rule: Option<Rule>) -> Facts {
    Facts {
        // An entry about several partners is found by each of its `to`, not by this one column.
        partner: match question.to.as_slice() {
            [to] => Some(to.ori),
            _ => None,
        },
        username: Some(question.asker.username.clone()),
        purpose: Some(question.purpose.to_string()),
        reference: question.reference.as_ref().map(ToString::to_string),
        plate: question.search.text().map(str::to_owned),
        decision: decision.map(str::to_owned),
        rule: rule.map(|rule| rule.as_str().to_owned()),
    }
}

/// What goes into the note of an own question: it never travels.
#[derive(Serialize)]
struct AskNote<'a> {
    /// Why it did not leave.
    #[serde(skip_serializing_if = "<[Rule]>::is_empty")]
    rules: &'a [Rule],
    /// The version of the list of sensitive terms.
    screen: &'static str,
    topics: Vec<Topic>,
}

impl<'a> AskNote<'a> {
    fn of(question: &Question, rules: &'a [Rule]) -> Self {
        Self { rules, screen: screen::version(), topics: sensitive(question) }
    }
}

/// Records that a person's question was refused before it left.
async fn refuse(node: &Node, question: &Question, rules: &[Rule]) -> Result<(), Failure> {
    let (question, rules) = (question.clone(), rules.to_vec());
    let job = move |tx: &mut Tx<'_>| {
        let draft = Draft {
            kind: Kind::QueryRefused,
            rid: fresh_rid(tx.now())?,
            message: canonical(&question)?,
            note: canonical(&AskNote::of(&question, &rules))?,
            facts: facts(&question, Some("refused"), rules.first().copied()),
        };
        tx.append(draft)
    };
    node.registry().record(job).await?;
    Ok(())
}

/// A question that is durably in our trail, with the text that carries it.
struct Asked {
    rid: RequestId,
    leaf_hash: Digest,
    text: String,
    question: Question,
}

/// Records the question, if all its agreements are still in force: a suspension that another process recorded meanwhile,
/// or a sunset, keeps it here.
async fn record(node: &Node, question: Question, term: Term) -> Result<Asked, Failure> {
    let job = move |tx: &mut Tx<'_>| {
        if term.over(tx.epoch(), tx.now()) {
            return Ok(None);
        }
        let draft = Draft {
            kind: Kind::QueryAsked,
            rid: fresh_rid(tx.now())?,
            message: canonical(&question)?,
            note: canonical(&AskNote::of(&question, &[]))?,
            facts: facts(&question, Some("asked"), None),
        };
        Ok(Some((tx.append(draft)?, question)))
    };
    let recorded = node.registry().record(job).await?;
    let Some((slot, question)) = &*recorded else { return Err(Failure::Overtaken) };
    let entry = recorded.entry(*slot).ok_or(Failure::Unrecorded)?;
    let text = wire::write_witnessed(node, entry, Bulk::None).map_err(Failure::Internal)?;
    Ok(Asked { rid: entry.rid(), leaf_hash: entry.hash(), text, question: question.clone() })
}

/// What came from one partner, with what proves it.
struct Came {
    line: Line,
    agreement: AgreementId,
    proof: Option<Evidence>,
}

/// Asks one partner. Never fails: what went wrong is its line.
async fn one(node: &Node, asked: &Asked, target: &Target) -> Came {
    let partner = &target.partner;
    let (gave, proof) = match node.dialer().post(partner, "queries", asked.text.clone()).await {
        Err(error) => (Gave::Unreachable { why: error.to_string() }, None),
        Ok(reply) => match verify(node, asked, target, &reply.body) {
            Ok((gave, evidence)) => (gave, Some(evidence)),
            Err(why) => {
                node.versions().learn_from_problem(partner.ori(), &reply.body);
                (Gave::Invalid { why: format!("status {}: {why}", reply.status) }, None)
            }
        },
    };
    let line = Line { ori: partner.ori(), name: Some(partner.party().legal_name.clone()), gave };
    Came { line, agreement: target.agreement, proof }
}

/// What a reply proves: that the partner recorded this answer to this question, and that the reads are those it recorded.
fn verify(
    node: &Node,
    asked: &Asked,
    Target { partner, agreement, witnesses }: &Target,
    body: &[u8],
) -> Result<(Gave, Evidence), String> {
    let Ok(envelope) = Envelope::parse(body) else { return Err(problem(body)) };
    let sworn: Sworn<Answer> = sworn::verify(&envelope, Kind::QueryAnswered, partner, node.ori(), node.checkpoints())
        .map_err(|error| error.to_string())?;
    if sworn.message().question != asked.leaf_hash || sworn.agreement() != *agreement {
        return Err("it answers another question".to_owned());
    }
    let held = node.watch().holds(partner, *witnesses, envelope.cosigned.as_deref(), node.now());
    held.map_err(|error| error.to_string())?;
    let bulk = envelope.results.map(serde_json::value::RawValue::get);
    let (answer, evidence) = sworn.into_parts();
    let receipt = evidence.leaf_hash;
    let gave = match answer.outcome {
        Outcome::Permitted { reads: ids, results, capped } => {
            let text = bulk.ok_or("the reads are missing")?;
            if Digest::of(text.as_bytes()) != results {
                return Err("the reads are not those that it recorded".to_owned());
            }
            let reads: Vec<Read> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            if !reads.iter().map(|read| &read.id).eq(ids.iter()) {
                return Err("the reads are not those that it recorded".to_owned());
            }
            if !asked_for(&asked.question, &reads) {
                return Err("it sends reads that were not asked for".to_owned());
            }
            Gave::Reads { reads, capped, receipt }
        }
        _ if bulk.is_some() => return Err("reads come with an answer that is none".to_owned()),
        Outcome::Denied { rules, status } => Gave::Denied { rules, status, receipt },
        Outcome::Referred { ticket, rules } => Gave::Referred { ticket, rules, receipt },
        Outcome::Withheld { status } => Gave::Withheld { status, receipt },
    };
    Ok((gave, evidence))
}

/// What an unsworn reply says of itself: the detail of its problem document (RFC 9457), if it is one.
pub(crate) fn problem(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        detail: String,
    }
    serde_json::from_slice(body)
        .map_or_else(|_| "no sworn answer".to_owned(), |Problem { detail }| detail.chars().take(300).collect())
}

/// Records what came, keeps the receipts, and checks under the head's lock that each agreement is still in force on our
/// side: at its sunset nothing flows in either.
async fn received(node: &Node, asked: &Asked, term: Term, came: Vec<Came>) -> Result<Vec<Line>, Failure> {
    let (us, rid, leaf_hash) = (node.ori(), asked.rid, asked.leaf_hash);
    let recorded = node.registry().record(move |tx| keep(tx, us, (rid, leaf_hash), term, came)).await?;
    Ok(recorded.into_inner())
}

fn keep(
    tx: &mut Tx<'_>,
    us: Ori,
    (rid, leaf_hash): (RequestId, Digest),
    term: Term,
    came: Vec<Came>,
) -> QueryResult<Vec<Line>> {
    let now = tx.now();
    let over = term.over(tx.epoch(), now);
    let came = under_keys_of_today(tx, came)?;
    let mut lines = Vec::new();
    let mut answers = Vec::new();
    let only = match came.as_slice() {
        [one] => {
            Facts { partner: Some(one.line.ori), decision: Some(one.line.gave.name().to_owned()), ..Facts::default() }
        }
        _ => Facts::default(),
    };
    for Came { mut line, agreement, proof } in came {
        if let Gave::Reads { receipt, .. } = line.gave
            && over
        {
            let status = standing::status_for(tx.conn(), us, agreement, now)?;
            if !matches!(status, Status::InForce { .. }) {
                line.gave = Gave::Withheld { status, receipt };
            }
        }
        let answer = proof.as_ref().map(|evidence| evidence.leaf_hash);
        answers.push(ReceivedFrom { ori: line.ori, answer, outcome: line.gave.name().to_owned() });
        if let Some(evidence) = proof {
            evidence.see_head(tx.conn(), now)?;
            exchanged::keep(tx.conn(), &receipt_of(evidence, rid), now)?;
        }
        lines.push(line);
    }
    let message = Received { v: PROTOCOL, question: leaf_hash, answers };
    let draft = Draft {
        kind: Kind::QueryReceived,
        rid: fresh_rid(now)?,
        message: canonical(&message)?,
        note: b"{}".to_vec(),
        facts: only,
    };
    tx.append(draft)?;
    Ok(lines)
}

/// What came, less what a key swore that was replaced since: our trail names nothing by it after it recorded that.
fn under_keys_of_today(tx: &mut Tx<'_>, mut came: Vec<Came>) -> QueryResult<Vec<Came>> {
    for one in &mut came {
        if let Some(evidence) = &one.proof
            && !evidence.under.still(tx)?
        {
            one.proof = None;
            one.line.gave = Gave::Invalid { why: "the key that swore its answer was replaced meanwhile".to_owned() };
        }
    }
    Ok(came)
}

/// A partner's entry as it is kept, for our entry `of`.
pub(crate) fn receipt_of(evidence: Evidence, of: RequestId) -> Receipt {
    let Evidence { origin, leaf, leaf_hash, message, salt, proof, .. } = evidence;
    Receipt { origin, of, leaf_hash, leaf, message, salt, proof }
}
