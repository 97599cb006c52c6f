//! What a change would do to who can get what, and where everything stands that it is decided on.

use agreements::access::{Access, Held, What, diff, effective};
use agreements::agreement::Agreement;
use agreements::authorization::{Authorized, standing_grants};
use agreements::decide::OwnerRules;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::register::Register;
use agreements::status::activation_problems;
use agreements::stream::{Event, Said, Seal, Stream, Streams, heirs};
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::{Command, Position, Positions, Refusable, authorizing, no, reopening, rules};
use crate::db::Conn;
use crate::epoch;
use crate::exchange::answer::canonical;
use crate::exchange::standing::{self, Owner};
use crate::registry::{ag, agreements as documents};
use crate::renewal::{held, signing};

/// What is shown of a change before it is decided.
pub(super) struct Shown {
    pub(super) positions: Positions,
    pub(super) lines: Vec<String>,
    pub(super) before: Vec<Access>,
    pub(super) after: Vec<Access>,
    pub(super) partner: Option<Ori>,
}

/// An agreement as it stands, or as it would.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) agreement: Agreement,
    pub(super) document: Digest,
    pub(super) streams: Streams,
}

/// What is known apart from agreements.
pub(super) struct World {
    pub(super) us: Ori,
    pub(super) register: Register,
    rules: OwnerRules,
    given: Vec<Authorized>,
}

impl World {
    pub(super) fn access(&self, cases: &[Case], at: Instant) -> Vec<Access> {
        let held = |case: &Case| -> Streams {
            let others = cases.iter().map(|other| (&other.agreement, &other.streams));
            Streams { heirs: heirs(&case.agreement, case.document, others), ..case.streams.clone() }
        };
        let streams: Vec<Streams> = cases.iter().map(held).collect();
        let held: Vec<Held<'_>> = cases
            .iter()
            .zip(&streams)
            .map(|(case, streams)| Held { agreement: &case.agreement, document: case.document, streams })
            .collect();
        effective(self.us, &held, &self.register, &self.rules, &self.given, at)
    }
}

/// What `command` would do at `effective_at`; or why it would be refused, whoever approved it.
pub(super) fn of(
    conn: &mut Conn,
    owner: &Owner,
    command: &Command,
    effective_at: Instant,
    now: Instant,
) -> QueryResult<Refusable<Shown>> {
    // What is authorized with others does not touch what is shown of one.
    let given = match super::partner_of(conn, command)? {
        Some(partner) => authorizing::about(conn, partner)?,
        None => authorizing::all(conn)?,
    };
    let world =
        World { us: owner.ori, register: ag::register(conn)?, rules: rules::counting(conn, &owner.rules)?, given };
    match command {
        Command::Sign { agreement } | Command::Resume { agreement } | Command::Authorize { agreement } => {
            of_agreement(conn, world, command, *agreement, effective_at, now)
        }
        Command::WidenRules { rules } => of_rules(conn, world, owner, rules, now),
        Command::AcceptClock { says, should } => {
            let lines = vec![
                format!("time goes on from {says}, and not from {should}"),
                "whatever ends between the two has ended then, and nothing brings it back".to_owned(),
            ];
            let positions = Positions { agreement: None, shown: digest(&(says, should))? };
            Ok(Ok(Shown { positions, lines, before: Vec::new(), after: Vec::new(), partner: None }))
        }
        Command::OpenEpoch { last } => {
            let agreements = documents::ids(conn, None)?.len();
            let lines = match epoch::preview(conn, last, agreements)? {
                Ok(lines) => lines,
                Err(why) => return Ok(Err(why)),
            };
            // Entries of this node's own do not change what is decided.
            let positions = Positions { agreement: None, shown: digest(last)? };
            Ok(Ok(Shown { positions, lines, before: Vec::new(), after: Vec::new(), partner: None }))
        }
        Command::ClearFinding { .. } | Command::CloseReview { .. } | Command::AcceptPolicy { .. } => {
            reopening::of(conn, world, command, effective_at, now)
        }
    }
}

fn of_rules(
    conn: &mut Conn,
    mut world: World,
    owner: &Owner,
    wider: &OwnerRules,
    now: Instant,
) -> QueryResult<Refusable<Shown>> {
    if *wider != owner.rules {
        return no("[rules] of concordat.toml is another now than it was when this was proposed: propose it anew");
    }
    let mut lines = wider.wider_than(&world.rules);
    if lines.is_empty() {
        return no("[rules] of concordat.toml allows no more than counts already: there is nothing to approve");
    }
    let mut cases = Vec::new();
    for id in documents::ids(conn, None)? {
        cases.extend(standing::verified(conn, id)?.map(case));
    }
    let before = world.access(&cases, now);
    let held = std::mem::replace(&mut world.rules, wider.clone());
    let after = world.access(&cases, now);
    lines.extend(diff(&before, &after));
    let shown = digest(&(held, wider, shapes(&before), shapes(&after)))?;
    let positions = Positions { agreement: None, shown };
    Ok(Ok(Shown { positions, lines, before, after, partner: None }))
}

pub(super) fn case(found: standing::Verified) -> Case {
    Case { document: Digest::of(&found.document), agreement: found.agreement, streams: found.streams }
}

fn of_agreement(
    conn: &mut Conn,
    mut world: World,
    command: &Command,
    id: AgreementId,
    effective_at: Instant,
    now: Instant,
) -> QueryResult<Refusable<Shown>> {
    let us = world.us;
    let Some(found) = standing::verified(conn, id)? else {
        return no(format!("there is no agreement {id}; `concordat agreement list` shows those that there are"));
    };
    let Some(partner) = found.agreement.other(us).map(|party| party.ori) else {
        return no("this agency is no party to it");
    };
    let missing = match command {
        Command::Sign { .. } => match held::settled(signing::problems(conn, us, &found, now))? {
            Ok(missing) | Err(missing) => missing,
        },
        _ => Vec::new(),
    };
    let mut cases = vec![case(found)];
    for other in documents::ids(conn, Some(partner))? {
        if other != id {
            cases.extend(standing::verified(conn, other)?.map(case));
        }
    }
    let Some(target) = cases.first().cloned() else { return no("there is no such agreement") };
    let mut problems = objections(command, &target, &world, now);
    if target.streams.party(&target.agreement, us).is_some_and(|ours| ours.admits(&signed()).is_ok()) {
        problems.extend(missing.into_iter().filter(|it| !problems.contains(it)).collect::<Vec<_>>());
    }
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    let at = now.max(effective_at).max(target.agreement.effective());
    if at > now {
        // By then somebody has to have looked again; what is asked here is what the change does, not whether they will.
        world.register.checked_at = world.register.checked_at.map(|_| at);
    }
    let (mut before, mut after, assumed) = supposing(world, command, &cases, &target, at, now);
    for all in [&mut before, &mut after] {
        all.retain(|one| one.owner == partner || one.recipient == partner);
    }
    let mut lines = diff(&before, &after);
    if lines.is_empty() {
        lines.push("nothing changes in who can get what".to_owned());
    } else {
        lines.extend((at > now).then(|| format!("all of it from {at} on")));
        lines.extend(assumed.into_iter().map(|what| format!("all of it once {partner} has {what} too")));
    }
    let position = Position {
        id,
        revision: target.agreement.revision,
        document: target.document,
        ours: length(&target, us),
        theirs: length(&target, partner),
    };
    let shown = digest(&(shapes(&before), shapes(&after)))?;
    Ok(Ok(Shown {
        positions: Positions { agreement: Some(position), shown },
        lines,
        before,
        after,
        partner: Some(partner),
    }))
}

/// Access at an instant without the change and with it, and what it takes of the partner, supposing that it does so.
fn supposing(
    mut world: World,
    command: &Command,
    cases: &[Case],
    target: &Case,
    at: Instant,
    now: Instant,
) -> (Vec<Access>, Vec<Access>, Vec<&'static str>) {
    let (us, id) = (world.us, target.agreement.id);
    let with = |ours: Option<Event>, assumed: &mut Vec<&'static str>| {
        let mut parties = target.streams.parties.clone();
        for (party, stream) in target.agreement.parties.iter().zip(&mut parties) {
            *stream = if party.ori == us { said(stream, ours.clone(), now) } else { willing(stream, now, assumed) };
        }
        let mut cases = cases.to_vec();
        if let Some(case) = cases.iter_mut().find(|case| case.agreement.id == id) {
            case.streams = Streams { parties, heirs: Vec::new(), lost: target.streams.lost.clone() };
        }
        cases
    };
    let mut assumed = Vec::new();
    let before = world.access(&with(None, &mut assumed), at);
    let event = match command {
        Command::Sign { .. } => Some(signed()),
        Command::Resume { .. } => Some(resumed()),
        _ => None,
    };
    if matches!(command, Command::Sign { .. } | Command::Authorize { .. }) {
        world.given.push(Authorized {
            agreement: id,
            document: target.document,
            grants: standing_grants(&target.agreement, us),
            expires_at: target.agreement.sunset(),
        });
    }
    let after = world.access(&with(event, &mut Vec::new()), at);
    (before, after, assumed)
}

/// Why the act itself would be refused now.
fn objections(command: &Command, target: &Case, world: &World, now: Instant) -> Vec<String> {
    let Some(ours) = target.streams.party(&target.agreement, world.us) else {
        return vec!["this agency is no party to it".to_owned()];
    };
    match command {
        Command::Sign { .. } => match ours.admits(&signed()) {
            Ok(()) => activation_problems(&target.agreement, &world.register, now),
            Err(why) => vec![why],
        },
        Command::Resume { .. } => ours.admits(&resumed()).err().into_iter().collect(),
        Command::Authorize { .. } => {
            let grants = standing_grants(&target.agreement, world.us);
            let covered = |one: &Authorized| {
                one.document == target.document
                    && grants.iter().all(|grant| one.covers(target.agreement.id, grant, now))
            };
            if grants.is_empty() {
                vec!["this agency grants nothing under it that is authorized once for all".to_owned()]
            } else if world.given.iter().any(covered) {
                vec!["it is authorized already".to_owned()]
            } else if ours.signed_at().is_none() {
                vec![format!("sign it first; that authorizes it: concordat agreement sign {}", target.agreement.id)]
            } else {
                Vec::new()
            }
        }
        Command::WidenRules { .. }
        | Command::ClearFinding { .. }
        | Command::CloseReview { .. }
        | Command::AcceptPolicy { .. }
        | Command::AcceptClock { .. }
        | Command::OpenEpoch { .. } => Vec::new(),
    }
}

fn blank() -> Seal {
    Seal { protected: String::new(), signature: String::new() }
}

fn signed() -> Event {
    Event::Signed { seal: blank(), official: None }
}

fn resumed() -> Event {
    Event::Resumed { reason: String::new(), seal: blank() }
}

/// The stream with one more event.
fn said(stream: &Stream, event: Option<Event>, at: Instant) -> Stream {
    let more = event.map(|event| Said { event, at });
    Stream::new(stream.events().iter().cloned().chain(more).collect())
}

/// The partner's stream when it does its part as well, which this agency's people do not decide.
fn willing(stream: &Stream, at: Instant, assumed: &mut Vec<&'static str>) -> Stream {
    let mut stream = stream.clone();
    for (event, what) in [(signed(), "signed"), (resumed(), "resumed")] {
        if stream.admits(&event).is_ok() {
            stream = said(&stream, Some(event), at);
            assumed.push(what);
        }
    }
    stream
}

fn length(case: &Case, ori: Ori) -> u32 {
    case.streams.party(&case.agreement, ori).map_or(0, Stream::len)
}

/// Access without when it ends by itself: a new check of the sources moves that, and changes nothing that is decided here.
pub(super) fn shapes(all: &[Access]) -> Vec<(Ori, Ori, AgreementId, &What)> {
    all.iter().map(|one| (one.owner, one.recipient, one.under, &one.what)).collect()
}

pub(super) fn digest<T: serde::Serialize>(shown: &T) -> QueryResult<Digest> {
    Ok(Digest::of(&canonical(shown)?))
}
