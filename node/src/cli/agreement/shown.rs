//! Agreements as people read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use agreements::agreement::{Agreement, Authorization, Grant, QueryGrant};
use agreements::approval::Given;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::party::{Elements, Policy};
use agreements::register::Register;
use agreements::status::Status;
use agreements::stream::{Event, Said};
use agreements::time::Instant;
use jiff::civil::Date;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::local;
use crate::cli::place::Place;
use crate::cli::{Output, Problem};
use crate::db::Conn;
use crate::exchange::lifecycle;
use crate::exchange::standing::{self, Verified};
use crate::registry::ag;
use crate::registry::agreements as documents;
use crate::renewal::held as renewal_held;

#[derive(Serialize)]
struct Listed {
    id: AgreementId,
    partner: Option<Ori>,
    partner_name: String,
    revision: u32,
    effective_on: Date,
    sunset_on: Date,
    /// Whole days until the sunset; none for what is over.
    days_left: Option<i64>,
    /// The agreement that renews it, offered or signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewed_by: Option<AgreementId>,
    /// Whether both signed that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_signed: Option<bool>,
    /// The early review that holds what this agency grants under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    #[serde(flatten)]
    status: Status,
}

/// The agreements that would renew another one and that nobody ended, by the hash of what they renew, each with whether
/// both signed it.
fn renewals(all: &[(Verified, Status)]) -> BTreeMap<Digest, (AgreementId, bool)> {
    let alive = |(found, _): &&(Verified, Status)| found.streams.parties.iter().all(|it| it.ended().is_none());
    let named = |(it, _): &(Verified, Status)| {
        let signed = it.streams.takes_effect(&it.agreement).is_some();
        Some((it.agreement.supersedes?, (it.agreement.id, signed)))
    };
    all.iter().filter(alive).filter_map(named).collect()
}

/// Which direction an early review of ours holds, where one does: what the partner grants us is the partner's to hold.
fn held(us: Ori, found: &Verified, register: &Register, now: Instant) -> Option<String> {
    match Status::of_grants(us, &found.agreement, &found.streams, register, now) {
        Status::UnderReview { trigger, since, .. } => {
            let partner = found.agreement.other(us)?.ori;
            Some(format!(
                "what {us} grants {partner} is held by an early review since {} ({trigger}); what {partner} grants {us} is not",
                local::shown(since)
            ))
        }
        _ => None,
    }
}

fn is_over(status: &Status) -> bool {
    matches!(status, Status::Ended { .. } | Status::Sunset { .. } | Status::Superseded { .. })
}

/// A line of the list.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Sound(Box<Listed>),
    /// Rows were changed by other hands: it counts for nothing.
    Damaged {
        id: AgreementId,
        damaged: String,
    },
}

/// The agreements of which the rows are not what was sworn, and so none of those that are listed as they stand.
fn damaged(conn: &mut Conn, sound: &[(Verified, Status)]) -> Result<Vec<Line>, Problem> {
    let mut lines = Vec::new();
    for id in documents::ids(conn, None)? {
        if sound.iter().all(|(found, _)| found.agreement.id != id) {
            let why = standing::objection(conn, id)?;
            let damaged = why.unwrap_or_else(|| "its rows are not what was sworn".to_owned());
            lines.push(Line::Damaged { id, damaged });
        }
    }
    Ok(lines)
}

pub(super) fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let (us, now) = (config.agency.ori, place.now());
    let mut conn = db.reader()?;
    let register = ag::register(&mut conn)?;
    let all = lifecycle::list(&mut conn, now)?;
    let (renewals, today) = (renewals(&all), now.date());
    let damaged = damaged(&mut conn, &all)?;
    let exit = if damaged.is_empty() { Exit::Done } else { Exit::Failure };
    let sound = all.into_iter().map(|(found, status)| {
        let held = held(us, &found, &register, now);
        let Verified { agreement, document, .. } = found;
        let renewal = renewals.get(&Digest::of(&document)).copied();
        let left = |today: Date| today.duration_until(agreement.sunset_on).as_hours() / 24;
        Line::Sound(Box::new(Listed {
            id: agreement.id,
            partner: agreement.other(us).map(|party| party.ori),
            partner_name: agreement.other(us).map(|party| party.legal_name.clone()).unwrap_or_default(),
            revision: agreement.revision,
            effective_on: agreement.effective_on,
            sunset_on: agreement.sunset_on,
            days_left: today.filter(|_| !is_over(&status)).map(left),
            renewed_by: renewal.map(|(id, _)| id),
            renewal_signed: renewal.map(|(_, signed)| signed),
            held,
            status,
        }))
    });
    let items: Vec<Line> = sound.chain(damaged).collect();
    out.list(&["agreement", "partner", "agency", "effective", "sunset", "days left", "status"], &items, cells)?;
    Ok(exit)
}

fn cells(line: &Line) -> Vec<String> {
    let item = match line {
        Line::Sound(item) => item,
        Line::Damaged { id, damaged } => {
            let mut cells = vec![String::new(); 7];
            if let [first, .., last] = cells.as_mut_slice() {
                (*first, *last) = (id.to_string(), format!("DAMAGED: {damaged}"));
            }
            return cells;
        }
    };
    vec![
        item.id.to_string(),
        item.partner.map(|ori| ori.to_string()).unwrap_or_default(),
        item.partner_name.clone(),
        item.effective_on.to_string(),
        item.sunset_on.to_string(),
        item.days_left.map(|days| days.to_string()).unwrap_or_default(),
        said_of(item),
    ]
}

/// Where it stands, what of it is held, and whether it is a renewal that waits to be signed or has one.
fn said_of(item: &Listed) -> String {
    let mut said = item.status.says();
    if let Some(held) = &item.held {
        said = format!("{said}, but {held}");
    }
    match (&item.status, item.renewed_by) {
        (Status::Unsigned { .. }, _) if item.revision > 1 => format!("{said}; it is a renewal"),
        (status, Some(id)) if !is_over(status) && item.renewal_signed == Some(true) => {
            format!("{said}; renewed by {id}")
        }
        (status, Some(id)) if !is_over(status) => format!("{said}; renewal offered, unsigned: {id}"),
        _ => said,
    }
}

#[derive(Serialize)]
struct Whole {
    agreement: Agreement,
    #[serde(flatten)]
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    /// What was approved of this document here, and our official's signature.
    approvals: Vec<Approved>,
    events: Vec<EventsOf>,
}

/// An approval, or the official's signature, and when it was entered.
#[derive(Serialize)]
struct Approved {
    entered_at: Instant,
    entered_by: String,
    #[serde(flatten)]
    what: Given,
}

#[derive(Serialize)]
struct EventsOf {
    party: Ori,
    events: Vec<EventAt>,
}

#[derive(Serialize)]
struct EventAt {
    at: Instant,
    #[serde(flatten)]
    event: Event,
}

pub(super) fn show(place: &Place, id: AgreementId, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let (us, now) = (config.agency.ori, place.now());
    let mut conn = db.reader()?;
    let Some(found) = standing::verified(&mut conn, id)? else {
        return Err(super::form::none(id));
    };
    let register = ag::register(&mut conn)?;
    let held = held(us, &found, &register, now);
    let approvals = match found.agreement.other(us) {
        Some(partner) => approvals(&mut conn, partner.ori, Digest::of(&found.document))?,
        None => Vec::new(),
    };
    let Verified { agreement, streams, .. } = found;
    let status = Status::at(&agreement, &streams, &register, now);
    let event_at = |said: &Said| EventAt { at: said.at, event: said.event.clone() };
    let events = agreement
        .parties
        .iter()
        .zip(streams.parties)
        .map(|(party, stream)| EventsOf { party: party.ori, events: stream.events().iter().map(event_at).collect() })
        .collect();
    out.one(&Whole { agreement, status, held, approvals, events }, text)?;
    Ok(Exit::Done)
}

fn approvals(conn: &mut Conn, partner: Ori, document: Digest) -> Result<Vec<Approved>, Problem> {
    let given = renewal_held::given(conn, partner)?;
    let of_document = given.into_iter().filter(|(_, given)| given.document == document);
    Ok(of_document
        .map(|(entered_at, given)| Approved { entered_at, entered_by: given.entered_by, what: given.what })
        .collect())
}

fn text(whole: &Whole) -> String {
    let Whole { agreement, status, held, approvals, events } = whole;
    let mut text = format!(
        "Agreement {} (revision {})\n  {}\n  effective {}, sunset {} (00:00 America/Los_Angeles)\n",
        agreement.id,
        agreement.revision,
        status.says(),
        agreement.effective_on,
        agreement.sunset_on
    );
    // Writing to a String does not fail.
    if let Some(held) = held {
        let _ = writeln!(text, "  {held}");
    }
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
        if !party.contacts.is_empty() {
            let _ = writeln!(text, "  contacts: {}", party.contacts.join(", "));
        }
    }
    text.push_str("\nGrants\n");
    for grant in &agreement.grants {
        let _ = writeln!(text, "  {}", granted(grant));
    }
    text.push_str("\nApprovals by this agency\n");
    for Approved { entered_at, entered_by, what } in approvals {
        let what = match what {
            Given::Approval { kind, by, reference, on } => {
                format!("{}: {by}, {reference}, of {on}", kind.as_str().replace('_', " "))
            }
            Given::Signature { .. } => "the official's own signature".to_owned(),
        };
        let _ = writeln!(text, "  {what} (entered by {entered_by}, {})", local::shown(*entered_at));
    }
    if approvals.is_empty() {
        text.push_str("  none entered\n");
    }
    text.push_str("\nEvents\n");
    let mut none = true;
    for of in events {
        for (EventAt { at, event }, n) in of.events.iter().zip(1u32..) {
            none = false;
            let _ = writeln!(text, "  {} {n}, {}: {}", of.party, local::shown(*at), said(event));
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
        Event::Signed { official: Some(_), .. } => "signed, by the official's own hand too".to_owned(),
        Event::Signed { official: None, .. } => "signed".to_owned(),
        Event::Declined { reason }
        | Event::Withdrawn { reason }
        | Event::Suspended { reason }
        | Event::Resumed { reason, .. }
        | Event::Terminated { reason }
        | Event::Rekeyed { reason, .. }
        | Event::Moved { reason, .. } => format!("{}: {reason}", event.name()),
    }
}
