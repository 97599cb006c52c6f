//! Drafting the agreement that renews another one, and offering it.

use agreements::agreement::{Agreement, Renewal, Witnesses};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::party::Party;
use agreements::renewal::{self, Terms};
use agreements::stream::Stream;
use agreements::time::Instant;
use diesel::result::QueryResult;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::Serialize;

use super::held::{self, HeldError};
use super::{review, sending, signing};
use crate::db::Conn;
use crate::exchange::Failure;
use crate::exchange::lifecycle::{self, ActError, Delivery};
use crate::exchange::standing::{self, Verified};
use crate::node::{Node, fresh_rid};
use crate::registry::agreements as documents;

/// From how many days before its sunset an agreement is due for renewal.
pub const DUE_FROM: i64 = 90;
/// How many days before the old one's sunset a renewal is effective, unless it is said otherwise: time for both to sign, and
/// overlap enough that nothing stops.
const OVERLAP: i64 = 14;

/// What a person may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// From the start of which day.
    pub effective_on: Option<Date>,
    /// Until the start of which day; the anniversary of the effective date otherwise.
    pub sunset_on: Option<Date>,
    /// Whether the sunset is chosen so that not all fall together.
    pub spread: bool,
}

/// A renewal that was drafted and offered.
#[derive(Clone, Debug, Serialize)]
pub struct Renewed {
    /// The new agreement.
    pub id: AgreementId,
    /// The one that it renews.
    pub renews: AgreementId,
    /// With whom.
    pub partner: Ori,
    /// From when.
    pub effective_on: Date,
    /// Until when.
    pub sunset_on: Date,
    /// Whether it was drafted before, and is only delivered again.
    pub already: bool,
    /// Whether the partner has it.
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// Drafts the successor of `id` from what was reviewed, and offers it. Where that was done before, it is delivered again.
///
/// # Errors
/// Something is missing, each named with how to supply it; or there is nothing to renew.
pub async fn renew(node: &Node, id: AgreementId, options: Options, by: &str) -> Result<Renewed, ActError> {
    let refused = |why: String| ActError::Refused(vec![why]);
    let (us, now) = (node.ori(), node.now());
    let plan = {
        let mut conn = node.registry().reader().map_err(Failure::from)?;
        let plan = plan(&mut conn, us, id, options, now)?.map_err(ActError::Refused)?;
        node.refresh_partners(&mut conn).map_err(Failure::from)?;
        plan
    };
    let (old, partner, basis, sunset_on, effective_on) = match plan {
        Plan::There(there) => {
            let delivery = lifecycle::deliver(node, there.id).await;
            return Ok(Renewed { delivery, ..there.offered(id, us) });
        }
        Plan::Draft { old, partner, basis, effective_on, sunset_on } => (old, partner, basis, sunset_on, effective_on),
    };
    let theirs = node.partners().find(partner).cloned();
    let theirs = theirs.ok_or_else(|| refused(format!("{partner} is not enrolled; `concordat peer list`")))?;
    let rid = fresh_rid(now).map_err(Failure::from)?;
    let terms = Terms {
        id: AgreementId::from_slice(rid.as_bytes()).map_err(|error| refused(error.to_string()))?,
        parties: [Party::clone(&node.party()), theirs.party().clone()],
        effective_on,
        sunset_on,
        renewal: basis,
    };
    let mut document = renewal::successor(&old.agreement, Digest::of(&old.document), terms);
    // The federation may have another policy since, and only under that one anything flows.
    document.witnesses = node.watch().policy().map(|policy| Witnesses { policy_sha256: policy.sha256() });
    let bytes = document.to_bytes().map_err(Failure::Internal)?;
    // The partner cannot sign before it has our packet; it is sent on its own, too.
    if let Err(error) = sending::send_to(node, partner).await {
        tracing::warn!(%error, %partner, "this agency's packet is not sent yet");
    }
    let (new, delivery) = lifecycle::propose(node, bytes, by).await?;
    Ok(Renewed { id: new, renews: id, partner, effective_on, sunset_on, already: false, delivery })
}

/// A successor that is there already.
struct There {
    id: AgreementId,
    agreement: Agreement,
}

impl There {
    fn offered(&self, renews: AgreementId, us: Ori) -> Renewed {
        let Agreement { effective_on, sunset_on, .. } = self.agreement;
        let partner = self.agreement.other(us).map_or(us, |party| party.ori);
        let delivery = Delivery::Delivered { there: None };
        Renewed { id: self.id, renews, partner, effective_on, sunset_on, already: true, delivery }
    }
}

enum Plan {
    There(Box<There>),
    Draft { old: Box<Verified>, partner: Ori, basis: Renewal, effective_on: Date, sunset_on: Date },
}

fn plan(
    conn: &mut Conn,
    us: Ori,
    id: AgreementId,
    options: Options,
    now: Instant,
) -> Result<Result<Plan, Vec<String>>, HeldError> {
    let no = |why: String| Ok(Err(vec![why]));
    let found = standing::verified(conn, id)?;
    let Some((partner, found)) = found.and_then(|it| Some((it.agreement.other(us)?.ori, it))) else {
        return no(format!("there is no agreement {id}; `concordat agreement list` shows those that there are"));
    };
    if let Some(end) = found.streams.parties.iter().find_map(Stream::ended) {
        return no(format!("agreement {id} was {}: what ended is not renewed; draft another one", end.event.name()));
    }
    if found.streams.takes_effect(&found.agreement).is_none() {
        return no(format!("agreement {id} is not signed by both: there is nothing to renew yet"));
    }
    if let Some(heir) = found.streams.heir() {
        return no(format!(
            "agreement {} renews it already, and both signed that: renew that one in its time",
            heir.id
        ));
    }
    if let Some(other) = successors(conn, &found, partner)?.into_iter().next() {
        let ours = documents::offer(conn, other.agreement.id)?.is_some();
        return if ours {
            Ok(Ok(Plan::There(Box::new(There { id: other.agreement.id, agreement: other.agreement }))))
        } else {
            let id = other.agreement.id;
            no(format!(
                "{partner} has offered agreement {id}, which renews it: look at that one, and sign or decline it"
            ))
        };
    }
    let mut problems = Vec::new();
    if held::newest_own(conn)?.is_none_or(|held| !held.packet.current(now)) {
        problems.push(
            "this agency has no compliance packet of the last year, and the partner cannot sign without it (V-29): \
             `concordat agreement packet make`"
                .to_owned(),
        );
    }
    let basis = match signing::basis(conn, partner, now)? {
        Ok(basis) => Some(basis),
        Err(missing) => {
            problems.extend(missing);
            None
        }
    };
    let dates = dates(conn, &found.agreement, options, now)?;
    let (effective_on, sunset_on) = match dates {
        Ok(dates) => dates,
        Err(why) => {
            problems.push(why);
            return Ok(Err(problems));
        }
    };
    match basis {
        Some(basis) if problems.is_empty() => {
            let basis =
                Renewal { packet_sha256: basis.packet, review_sha256: basis.review, ag_check_sha256: basis.ag_check };
            Ok(Ok(Plan::Draft { old: Box::new(found), partner, basis, effective_on, sunset_on }))
        }
        _ => Ok(Err(problems)),
    }
}

/// The agreements that would renew this one and that nobody ended, signed or not.
pub(crate) fn successors(conn: &mut Conn, found: &Verified, partner: Ori) -> QueryResult<Vec<Verified>> {
    let document = Digest::of(&found.document);
    let mut all = Vec::new();
    for id in documents::ids(conn, Some(partner))? {
        if let Some(other) = standing::verified(conn, id)?
            && other.agreement.supersedes == Some(document)
            && other.streams.parties.iter().all(|stream| stream.ended().is_none())
        {
            all.push(other);
        }
    }
    Ok(all)
}

/// An agreement with `partner` that renews the same one as `new` does, and that nobody ended: of two, people would sign one
/// each.
pub(crate) fn offered_already(conn: &mut Conn, new: &Agreement, partner: Ori) -> QueryResult<Option<AgreementId>> {
    if new.supersedes.is_none() {
        return Ok(None);
    }
    for id in documents::ids(conn, Some(partner))? {
        if let Some(other) = standing::verified(conn, id)?
            && other.agreement.supersedes == new.supersedes
            && other.streams.parties.iter().all(|stream| stream.ended().is_none())
        {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// From when until when: the document itself is held to the anniversary.
fn dates(
    conn: &mut Conn,
    old: &Agreement,
    options: Options,
    now: Instant,
) -> QueryResult<Result<(Date, Date), String>> {
    let Some(today) = now.date() else { return Ok(Err("the clock shows no date".to_owned())) };
    let before_sunset = old.sunset_on.checked_sub(OVERLAP.days()).unwrap_or(old.sunset_on);
    let effective_on = options.effective_on.unwrap_or_else(|| before_sunset.max(today));
    if effective_on < today {
        return Ok(Err(format!("{effective_on} is past: a renewal is effective from today on, or later")));
    }
    if let Some(sunset_on) = options.sunset_on {
        return Ok(Ok((effective_on, sunset_on)));
    }
    let mut taken = Vec::new();
    for id in documents::ids(conn, None)? {
        // Those that are over, or that these take the place of, do no harm: their days have passed.
        if let Some((_, agreement)) = documents::find(conn, id)? {
            taken.push(agreement.sunset_on);
        }
    }
    let sunset = renewal::sunset(effective_on, options.spread, &taken);
    Ok(sunset.map(|sunset_on| (effective_on, sunset_on)).ok_or_else(|| "the dates are out of range".to_owned()))
}

/// The agreements that end within [`DUE_FROM`] days and that nothing renews that both signed, soonest first.
///
/// # Errors
/// The registry failed.
pub fn due(conn: &mut Conn, us: Ori, now: Instant) -> QueryResult<Vec<AgreementId>> {
    let Some(today) = now.date() else { return Ok(Vec::new()) };
    let mut due: Vec<(Date, AgreementId)> = review::renewable(conn, us, None)?
        .into_iter()
        .filter(|(_, found)| {
            let days = today.duration_until(found.agreement.sunset_on).as_hours() / 24;
            days <= DUE_FROM
        })
        .map(|(_, found)| (found.agreement.sunset_on, found.agreement.id))
        .collect();
    due.sort_unstable();
    Ok(due.into_iter().map(|(_, id)| id).collect())
}
