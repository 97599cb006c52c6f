//! Agreements as people read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use agreements::agreement::{Agreement, Authorization, Grant, QueryGrant};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::party::{Elements, Policy};
use agreements::status::Status;
use agreements::stream::Event;
use jiff::civil::Date;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::place::Place;
use crate::cli::{Output, Problem};
use crate::exchange::lifecycle;
use crate::exchange::standing::{self, Verified};
use crate::registry::ag;

#[derive(Serialize)]
struct Listed {
    id: AgreementId,
    partner: Option<Ori>,
    partner_name: String,
    revision: u32,
    effective_on: Date,
    sunset_on: Date,
    /// Whole days until the sunset; negative after it.
    days_left: Option<i64>,
    /// The agreement that renews it, offered or signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewed_by: Option<AgreementId>,
    #[serde(flatten)]
    status: Status,
}

/// The agreements that would renew another one and that nobody ended, by the hash of what they renew.
fn renewals(all: &[(Verified, Status)]) -> BTreeMap<Digest, AgreementId> {
    let alive = |(found, _): &&(Verified, Status)| found.streams.parties.iter().all(|it| it.ended().is_none());
    all.iter().filter(alive).filter_map(|(it, _)| Some((it.agreement.supersedes?, it.agreement.id))).collect()
}

pub(super) fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let us = config.agency.ori;
    let all = lifecycle::list(&mut db.reader()?, place.now())?;
    let (renewals, today) = (renewals(&all), place.now().date());
    let items: Vec<Listed> = all
        .into_iter()
        .map(|(Verified { agreement, document, .. }, status)| Listed {
            id: agreement.id,
            partner: agreement.other(us).map(|party| party.ori),
            partner_name: agreement.other(us).map(|party| party.legal_name.clone()).unwrap_or_default(),
            revision: agreement.revision,
            effective_on: agreement.effective_on,
            sunset_on: agreement.sunset_on,
            days_left: today.map(|today| today.duration_until(agreement.sunset_on).as_hours() / 24),
            renewed_by: renewals.get(&Digest::of(&document)).copied(),
            status,
        })
        .collect();
    out.list(&["agreement", "partner", "agency", "effective", "sunset", "days left", "status"], &items, |item| {
        vec![
            item.id.to_string(),
            item.partner.map(|ori| ori.to_string()).unwrap_or_default(),
            item.partner_name.clone(),
            item.effective_on.to_string(),
            item.sunset_on.to_string(),
            item.days_left.map(|days| days.to_string()).unwrap_or_default(),
            said_of(item),
        ]
    })?;
    Ok(Exit::Done)
}

/// Where it stands, and whether it is a renewal that waits to be signed or has one.
fn said_of(item: &Listed) -> String {
    let status = item.status.says();
    match (&item.status, item.renewed_by) {
        (Status::Unsigned { .. }, _) if item.revision > 1 => format!("{status}; renewal offered"),
        (Status::Superseded { .. }, _) | (_, None) => status,
        (_, Some(id)) => format!("{status}; renewed by {id}"),
    }
}

#[derive(Serialize)]
struct Whole {
    agreement: Agreement,
    #[serde(flatten)]
    status: Status,
    events: Vec<EventsOf>,
}

#[derive(Serialize)]
struct EventsOf {
    party: Ori,
    events: Vec<Event>,
}

pub(super) fn show(place: &Place, id: AgreementId, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let db = place.registry()?;
    let mut conn = db.reader()?;
    let Some(Verified { agreement, streams, .. }) = standing::verified(&mut conn, id)? else {
        return Err(super::form::none(id));
    };
    let status = Status::at(&agreement, &streams, &ag::register(&mut conn)?, place.now());
    let events = agreement
        .parties
        .iter()
        .zip(streams.parties)
        .map(|(party, stream)| EventsOf {
            party: party.ori,
            events: stream.events().iter().map(|said| said.event.clone()).collect(),
        })
        .collect();
    out.one(&Whole { agreement, status, events }, text)?;
    Ok(Exit::Done)
}

fn text(whole: &Whole) -> String {
    let Whole { agreement, status, events } = whole;
    let mut text = format!(
        "Agreement {} (revision {})\n  {}\n  effective {}, sunset {} (00:00 America/Los_Angeles)\n",
        agreement.id,
        agreement.revision,
        status.says(),
        agreement.effective_on,
        agreement.sunset_on
    );
    // Writing to a String does not fail.
    for party in &agreement.parties {
        let _ = write!(
            text,
            "\n{} {}, {} ({} County)\n  signs: {}, {}\n  node: {}\n  policy: {}, compared on {}{}\n    SHA-256 {}\n",
            party.ori,
            party.legal_name,
            party.kind.as_str().replace('_', " "),
            party.county,
            party.official.name,
            party.official.title,
            party.node.url,
            party.policy.url,
            party.policy.checked_on,
            if party.policy.checked_by.is_empty() { String::new() } else { format!(" by {}", party.policy.checked_by) },
            party.policy.sha256
        );
        text.push_str(&crosswalk(&party.policy));
    }
    text.push_str("\nGrants\n");
    for grant in &agreement.grants {
        let _ = writeln!(text, "  {}", granted(grant));
    }
    text.push_str("\nEvents\n");
    let mut none = true;
    for of in events {
        for (event, n) in of.events.iter().zip(1u32..) {
            none = false;
            let _ = writeln!(text, "  {} {n}: {}", of.party, said(event));
        }
    }
    if none {
        text.push_str("  none yet\n");
    }
    text
}

/// Where a policy has the seven elements, and which of the seven purposes each of its own is.
pub(in crate::cli) fn crosswalk(policy: &Policy) -> String {
    let Elements { a, b, c, d, e, f, g } = &policy.elements;
    let mut text = String::new();
    let named = [(a, 'A'), (b, 'B'), (c, 'C'), (d, 'D'), (e, 'E'), (f, 'F'), (g, 'G')];
    let elements: Vec<String> =
        named.iter().map(|(place, letter)| format!("{letter} {}", place.as_deref().unwrap_or("MISSING"))).collect();
    // Writing to a String does not fail.
    let _ = writeln!(text, "    elements: {}", elements.join("; "));
    for purpose in &policy.purposes {
        let seven = purpose.purpose;
        let _ = writeln!(text, "    purpose: {} = {} ({})", purpose.name, seven.as_str(), seven.clause());
    }
    text
}

fn granted(grant: &Grant) -> String {
    match grant {
        Grant::Query(grant) => queries(grant),
        Grant::Hotlist(grant) => format!(
            "{} may get the hotlist {} of {} ({})",
            grant.recipient,
            grant.list,
            grant.owner,
            grant.categories.join(", ")
        ),
        Grant::Hits(grant) => format!("{} is told of hits of {} on {}", grant.recipient, grant.owner, grant.list),
    }
}

fn queries(grant: &QueryGrant) -> String {
    let QueryGrant { owner, recipient, purposes, lookback_days, max_rows, daily_quota, area, .. } = grant;
    let purposes: Vec<&str> = purposes.iter().map(|purpose| purpose.as_str()).collect();
    let extras: Vec<&str> = [
        (grant.images, "images"),
        (grant.partial, "parts of a plate"),
        (grant.fuzzy, "plates that readers confuse"),
        (grant.without_plate, "searches without a plate"),
        (area.is_some(), "only within an area"),
    ]
    .into_iter()
    .filter_map(|(has, what)| has.then_some(what))
    .collect();
    let extras = if extras.is_empty() { String::new() } else { format!("; {}", extras.join(", ")) };
    let authorization = match grant.authorization {
        Authorization::Standing => "authorized once for all",
        Authorization::PerRequest => "each request is authorized by the custodian",
    };
    format!(
        "{recipient} may query {owner}: {}; {lookback_days} days back, {max_rows} reads an answer, {daily_quota} questions a day{extras}; {authorization}",
        purposes.join(", ")
    )
}

fn said(event: &Event) -> String {
    match event {
        Event::Signed { .. } => "signed".to_owned(),
        Event::Declined { reason }
        | Event::Withdrawn { reason }
        | Event::Suspended { reason }
        | Event::Resumed { reason, .. }
        | Event::Terminated { reason }
        | Event::Rekeyed { reason, .. }
        | Event::Moved { reason, .. } => format!("{}: {reason}", event.name()),
    }
}
