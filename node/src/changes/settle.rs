//! What becomes of a proposed change: a second person approves or refuses it, it is withdrawn, or it is carried out later.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Ori};
use agreements::status::Status;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::telling::{self, Told};
use super::{
    Approved, Change, ChangeError, ChangeId, Command, Outcome, Refusable, Settled, State, append, apply, no, preview,
    reasoned, record, rules,
};
use crate::clock::Jump;
use crate::db::{Conn, Tx};
use crate::epoch::{self, Opening};
use crate::exchange::failure::Failure;
use crate::exchange::lifecycle::{self, Actor, Delivery};
use crate::exchange::standing::{self, Owner};
use crate::node::Node;
use crate::registry::accounts::{self, Account, Action, Role};

/// What an approval did.
#[derive(Debug)]
pub struct Approval {
    /// The change, as it now stands.
    pub change: Change,
    /// Whether the partner has it now; `None` where the effective date is still to come, or nothing is to be sent.
    pub delivery: Option<Delivery>,
}

/// Approves a change that somebody else proposed, and carries it out if its effective date has come.
///
/// # Errors
/// `by` proposed it, or may not; it does not wait any more; or something moved that it was decided on.
pub async fn approve(node: &Node, id: ChangeId, by: &str) -> Result<Approval, ChangeError> {
    let (owner, mut actor, by) = (node.owner().clone(), Actor::of(node), by.to_owned());
    let found = node.desk().registry(|conn| record::find(conn, id))?.ok().flatten();
    match found.map(|change| change.proposed.command) {
        Some(Command::AcceptClock { says, should }) => {
            node.clock().acceptable(Jump { says, should }).map_err(|why| ChangeError::Refused(vec![why]))?;
        }
        Some(Command::OpenEpoch { .. }) => {
            actor.opening = Opening::of(node).map_err(|why| ChangeError::Refused(vec![why]))?;
        }
        _ => {}
    }
    let job = move |tx: &mut Tx<'_>| approving(tx, &owner, &actor, id, &by);
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    let change = recorded.into_inner().map_err(ChangeError::Refused)?;
    // Recorded by the time that it was before.
    if let Command::AcceptClock { says, should } = change.proposed.command {
        node.clock().accept(Jump { says, should }).map_err(|why| ChangeError::Refused(vec![why]))?;
    }
    if matches!(change.proposed.command, Command::OpenEpoch { .. }) {
        epoch::follow(node)?;
    }
    Ok(Approval { delivery: delivered(node, &change).await, change })
}

async fn delivered(node: &Node, change: &Change) -> Option<Delivery> {
    let sent = match &change.proposed.command {
        Command::Sign { agreement } | Command::Resume { agreement } => Some(*agreement),
        _ => None::<AgreementId>,
    };
    match (change.state(node.now()), sent) {
        (State::Applied { .. }, Some(agreement)) => Some(lifecycle::deliver(node, agreement).await),
        _ => None,
    }
}

fn approving(tx: &mut Tx<'_>, owner: &Owner, actor: &Actor, id: ChangeId, by: &str) -> QueryResult<Refusable<Change>> {
    let now = tx.now();
    let change = match waiting(tx.conn(), id, now)? {
        Ok(change) => change,
        Err(why) => return Ok(Err(why)),
    };
    let proposed = &change.proposed;
    if let Some(why) = own(tx.conn(), &proposed.by, by)? {
        let outcome = Outcome::NotApproved { by: by.to_owned(), why: why.clone() };
        settle(tx, &change, outcome, by, owner.ori, "not approved")?;
        return no(why);
    }
    let second = match accounts::operator(tx.conn(), by, Action::ApproveSharing)? {
        Ok(account) => account,
        Err(why) => return no(why),
    };
    if !matches!(change.state(now), State::Pending { .. }) {
        return no(format!("change {id} is {} already", change.state(now).says()));
    }
    let first = match accounts::operator(tx.conn(), &proposed.by, proposed.command.needs())? {
        Ok(account) => account,
        Err(why) => return no(format!("who proposed it may not any more: {why}. Propose it anew")),
    };
    let custodian = [&second, &first].into_iter().find(|account| account.role == Role::Custodian);
    if proposed.command.needs_custodian() && custodian.is_none() {
        return no("of the two who decide this, one has to be the custodian (XI-05): have the custodian approve it");
    }
    let shown = match preview::of(tx.conn(), owner, &proposed.command, proposed.effective_at, now)? {
        Ok(shown) => shown,
        Err(why) => return Ok(Err(why)),
    };
    if shown.positions != proposed.on {
        return Ok(Err(moved(&change, &shown.lines)));
    }
    rules::adopt(tx, &owner.rules)?;
    if !apply::is_due(&change, now) {
        return settled(tx, change, Outcome::Approved { by: by.to_owned() }, by, owner.ori, record::APPROVED);
    }
    let custodian = custodian.map_or(String::new(), |account| account.username.clone());
    if let Err(why) = apply::apply(tx, actor, &Approved::new(&change, by, &custodian))? {
        return Ok(Err(why));
    }
    settled(tx, change, Outcome::Applied { by: by.to_owned() }, by, owner.ori, "applied")
}

fn moved(change: &Change, lines: &[String]) -> Vec<String> {
    let mut why = vec![format!(
        "something moved since change {} was proposed, and what was shown does not hold: look again. Now it would do this:",
        change.id
    )];
    why.extend(lines.iter().map(|line| format!("  {line}")));
    why.push(format!("To go on, withdraw it (concordat change withdraw {}) and propose it anew", change.id));
    why
}

/// The change, if it still waits.
fn waiting(conn: &mut Conn, id: ChangeId, now: Instant) -> QueryResult<Refusable<Change>> {
    let found = match record::find(conn, id)? {
        Ok(found) => found,
        Err(what) => return no(what),
    };
    let Some(change) = found else {
        return no(format!("there is no change {id}; `concordat change list` shows those that there are"));
    };
    let state = change.state(now);
    if state.waits() {
        return Ok(Ok(change));
    }
    let next = if matches!(state, State::Lapsed { .. }) { ". Propose it anew" } else { "" };
    no(format!("nothing is to be decided about change {id} any more, it is {}{next}", state.says()))
}

/// Why `by` is not a second person; `None` when it is another one, as far as accounts tell.
fn own(conn: &mut Conn, proposer: &str, by: &str) -> QueryResult<Option<String>> {
    if proposer == by {
        return Ok(Some(format!(
            "{by} proposed it, and nobody approves their own change: a second person does, see `concordat user list`"
        )));
    }
    let (Some(first), Some(second)) = (accounts::find(conn, proposer)?, accounts::find(conn, by)?) else {
        return Ok(None);
    };
    let same = same_person(&first, &second);
    Ok(same.then(|| {
        format!(
            "{by} and {proposer} are accounts of one name, {}: nobody approves their own change. If they are two people, have \
             accounts opened whose names tell them apart",
            first.name
        )
    }))
}

/// Whether two accounts bear one person's name, however it is written.
fn same_person(one: &Account, other: &Account) -> bool {
    let name = |account: &Account| -> Vec<String> {
        let mut words: Vec<String> =
            account.name.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect();
        words.retain(|word| !word.is_empty());
        words.sort_unstable();
        words
    };
    name(one) == name(other)
}

fn settle(tx: &mut Tx<'_>, change: &Change, outcome: Outcome, by: &str, us: Ori, decision: &str) -> QueryResult<()> {
    let message = Settled { v: 1, change: Some(change.id), outcome };
    append(tx, Kind::ChangeSettled, &message, by, change.partner(us), decision).map(drop)
}

fn settled(
    tx: &mut Tx<'_>,
    mut change: Change,
    outcome: Outcome,
    by: &str,
    us: Ori,
    decision: &str,
) -> QueryResult<Refusable<Change>> {
    settle(tx, &change, outcome.clone(), by, us, decision)?;
    change.settled.push((tx.now(), outcome));
    Ok(Ok(change))
}

/// Refuses a change that somebody else proposed.
///
/// # Errors
/// `by` may not, or nothing waits.
pub async fn refuse(node: &Node, id: ChangeId, by: &str, reason: &str) -> Result<Change, ChangeError> {
    let (us, by, reason) = (node.ori(), by.to_owned(), reason.to_owned());
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<Change>> {
        let now = tx.now();
        let change = match waiting(tx.conn(), id, now)? {
            Ok(change) => change,
            Err(why) => return Ok(Err(why)),
        };
        if let Err(why) = accounts::operator(tx.conn(), &by, Action::ApproveSharing)? {
            return no(why);
        }
        if change.proposed.by == by {
            return no(format!("{by} proposed it: withdraw it with `concordat change withdraw {id}`"));
        }
        if let Err(why) = reasoned(&reason) {
            return no(why);
        }
        settled(tx, change, Outcome::Refused { by: by.clone(), reason: reason.clone() }, &by, us, "refused")
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(ChangeError::Refused)
}

/// Takes a change back that was not carried out yet.
///
/// # Errors
/// `by` may not, or nothing waits.
pub async fn withdraw(node: &Node, id: ChangeId, by: &str) -> Result<Change, ChangeError> {
    let (us, by) = (node.ori(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<Change>> {
        let now = tx.now();
        let change = match waiting(tx.conn(), id, now)? {
            Ok(change) => change,
            Err(why) => return Ok(Err(why)),
        };
        if let Err(why) = accounts::operator(tx.conn(), &by, change.proposed.command.needs())? {
            return no(why);
        }
        settled(tx, change, Outcome::Withdrawn { by: by.clone() }, &by, us, "withdrawn")
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(ChangeError::Refused)
}

/// The approved changes whose effective date has come at `now`, or of which nothing can come any more.
///
/// # Errors
/// The registry cannot be read.
pub fn due(conn: &mut Conn, now: Instant) -> QueryResult<Vec<ChangeId>> {
    let Ok(all) = record::approved(conn)? else { return Ok(Vec::new()) };
    let mut due = Vec::new();
    for change in all.iter().filter(|change| matches!(change.state(now), State::Approved { .. })) {
        if apply::is_due(change, now) || over(conn, change, now)?.is_some() {
            due.push(change.id);
        }
    }
    Ok(due)
}

/// Why nothing can come of a change any more, whenever it takes effect: its agreement is over for good.
fn over(conn: &mut Conn, change: &Change, now: Instant) -> QueryResult<Option<String>> {
    let Some(agreement) = change.proposed.command.agreement() else { return Ok(None) };
    let status = standing::status(conn, agreement, now)?;
    let over = matches!(status, Status::Ended { .. } | Status::Sunset { .. } | Status::Superseded { .. });
    Ok(over.then(|| format!("agreement {agreement} is over: {}", status.says())))
}

/// Carries out an approved change whose effective date has come; records why not where it cannot be, as soon as nothing can
/// come of it any more.
///
/// # Errors
/// Nothing was recorded; it waits as before.
pub async fn carry_out(node: &Node, id: ChangeId) -> Result<Approval, ChangeError> {
    let (owner, actor) = (node.owner().clone(), Actor::of(node));
    let told = Told::of(node);
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<Change>> {
        let carried = carrying_out(tx, &owner, &actor, id)?;
        if let Ok(change) = &carried
            && let Some((_, Outcome::Overtaken { why })) = change.settled.last()
        {
            telling::overtaken(tx, &told, change, why)?;
        }
        Ok(carried)
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    let change = recorded.into_inner().map_err(ChangeError::Refused)?;
    Ok(Approval { delivery: delivered(node, &change).await, change })
}

fn carrying_out(tx: &mut Tx<'_>, owner: &Owner, actor: &Actor, id: ChangeId) -> QueryResult<Refusable<Change>> {
    let now = tx.now();
    let change = match waiting(tx.conn(), id, now)? {
        Ok(change) => change,
        Err(why) => return Ok(Err(why)),
    };
    let State::Approved { approved_by } = change.state(now) else { return no(format!("change {id} is not approved")) };
    if let Some(why) = over(tx.conn(), &change, now)? {
        return settled(tx, change, Outcome::Overtaken { why: vec![why] }, &approved_by, owner.ori, "overtaken");
    }
    if !apply::is_due(&change, now) {
        return no(format!("change {id} takes effect at {}", change.proposed.effective_at));
    }
    let proposed = &change.proposed;
    let mut custodian = String::new();
    for username in [&approved_by, &proposed.by] {
        let account = accounts::find(tx.conn(), username)?;
        if account.is_some_and(|account| account.role == Role::Custodian) {
            custodian.clone_from(username);
            break;
        }
    }
    // Who decided it must still be allowed to when it takes effect.
    let allowed = match accounts::operator(tx.conn(), &proposed.by, proposed.command.needs())? {
        Ok(_) => accounts::operator(tx.conn(), &approved_by, Action::ApproveSharing)?.map(drop),
        Err(why) => Err(why),
    };
    let outcome = match preview::of(tx.conn(), owner, &proposed.command, proposed.effective_at, now)? {
        Err(why) => Outcome::Overtaken { why },
        Ok(_) if allowed.is_err() => {
            let why = allowed.err().unwrap_or_default();
            Outcome::Overtaken { why: vec![format!("one of the two who decided it may not any more: {why}")] }
        }
        Ok(_) if custodian.is_empty() => {
            Outcome::Overtaken { why: vec!["neither of the two who decided it is the custodian any more".to_owned()] }
        }
        Ok(shown) if shown.positions != proposed.on => Outcome::Overtaken { why: moved(&change, &shown.lines) },
        Ok(_) => match apply::apply(tx, actor, &Approved::new(&change, &approved_by, &custodian))? {
            Ok(()) => Outcome::Applied { by: approved_by.clone() },
            Err(why) => Outcome::Overtaken { why },
        },
    };
    let decision = if matches!(outcome, Outcome::Applied { .. }) { "applied" } else { "overtaken" };
    settled(tx, change, outcome, &approved_by, owner.ori, decision)
}
