//! Effective access as the doors have it: asked of [`decide`] and [`decide_pull`] themselves, with questions that no rule about
//! the asking refuses. What follows from agreements by [`crate::access::effective`] has to be the same.

use crate::access::{Access, Bounds, Own, What};
use crate::agreement::{Authorization, Grant};
use crate::decide::{Decision, MAX_LOOKBACK_DAYS, Permit, Sensitive, Standing, Usage, decide};
use crate::hotlist::decide_pull;
use crate::ids::Ori;
use crate::message::{Asker, OnBehalfOf, PROTOCOL, Question, Search};
use crate::purpose::{Purpose, Reference, ReferenceKind};
use crate::rule::Rule;
use crate::status::Status;
use crate::time::Instant;

/// A reason with a story long enough for every purpose.
const REASON: &str = "daily comparison of what every partner could receive today against what both agencies signed";
/// The same, and it touches a sensitive topic.
const SENSITIVE: &str =
    "daily comparison of what every partner could receive about the church service on Sunday morning";
/// A court, for whom every partner may ask.
const COURT: &str = "CA099000J";

/// What the partner of `standing` can get from its owner at `now`.
#[must_use]
pub fn probe(standing: &Standing, now: Instant) -> Vec<Access> {
    let (Status::InForce { until }, Some(agreement)) = (standing.status(now), &standing.agreement) else {
        return Vec::new();
    };
    let access = |what| Access { owner: standing.owner, recipient: standing.partner, what, under: agreement.id, until };
    let mut all: Vec<Access> = queries(standing, now).map(What::Query).map(access).into_iter().collect();
    for grant in &agreement.grants {
        if let Grant::Hotlist(grant) = grant
            && grant.owner == standing.owner
            && let Ok(permit) = decide_pull(&grant.list, standing, now)
        {
            let categories = permit.categories().iter().map(|category| category.as_str().to_owned()).collect();
            all.push(access(What::Hotlist { list: grant.list.clone(), categories }));
        }
    }
    all.sort_by(Access::order);
    all
}

/// The bounds within which questions are answered, or referred; `None` when none is.
fn queries(standing: &Standing, now: Instant) -> Option<Bounds> {
    // What is only referred shows no bounds: those are asked for as if the custodian had authorized it.
    let mut open = standing.clone();
    open.authorized_until = Some(Instant::from_micros(i64::MAX));
    for grant in open.agreement.iter_mut().flat_map(|agreement| &mut agreement.grants) {
        if let Grant::Query(grant) = grant {
            grant.authorization = Authorization::Standing;
        }
    }
    let exact = || Some(Search::Exact { plate: "7ABC123".parse().ok()? });
    let mut purposes: Vec<(Purpose, Permit)> = Vec::new();
    for purpose in Purpose::ALL {
        if let Decision::Permit(permit) = ask(&open, purpose, exact()?, REASON, now)? {
            purposes.push((purpose, permit));
        }
    }
    let (purpose, permit) = purposes.first()?;
    let at_once = matches!(ask(standing, *purpose, exact()?, REASON, now)?, Decision::Permit(_));
    let denied = |rule: Rule, decision: Decision| matches!(decision, Decision::Deny(no) if no.rules.contains(&rule));
    let sensitive = if denied(Rule::SensitiveTerms, ask(&open, *purpose, exact()?, SENSITIVE, now)?) {
        Sensitive::Deny
    } else {
        Sensitive::Refer
    };
    let plate = "7ABC123".parse().ok()?;
    let may = |search| Some(matches!(ask(&open, *purpose, search, REASON, now)?, Decision::Permit(_)));
    let mut all: Vec<Purpose> = purposes.iter().map(|(purpose, _)| *purpose).collect();
    all.sort_unstable();
    Some(Bounds {
        purposes: all,
        lookback_days: u32::try_from(now.since(permit.from()).div_euclid(Instant::DAY)).unwrap_or(0),
        max_rows: permit.max_rows(),
        daily_quota: quota(permit),
        area: granted_area(standing),
        partial: may(Search::Partial { pattern: "7AB*".to_owned() })?,
        fuzzy: may(Search::Fuzzy { plate })?,
        images: permit.images(),
        without_plate: may(Search::WithoutPlate {})?,
        at_once,
        own: Some(Own { rate_per_minute: standing.rules.rate_per_minute, sensitive }),
    })
}

/// The area that a permit without one is cut to.
fn granted_area(standing: &Standing) -> Option<crate::agreement::Area> {
    standing.agreement.as_ref()?.query_grant(standing.owner, standing.partner)?.area
}

/// The least number of questions of a day that is one too many.
fn quota(permit: &Permit) -> u32 {
    let (mut within, mut over) = (0, u32::MAX);
    while within < over {
        let middle = within + (over - within) / 2;
        if permit.within_quota(middle) {
            within = middle + 1;
        } else {
            over = middle;
        }
    }
    over
}

/// A question of the partner that every rule about the asking lets pass; `None` only if the texts above were no longer what
/// they are read as.
fn ask(standing: &Standing, purpose: Purpose, search: Search, reason: &str, now: Instant) -> Option<Decision> {
    let court: Ori = COURT.parse().ok()?;
    let area = match search {
        // Without a plate an area has to be named; the whole of what is granted is the widest.
        Search::WithoutPlate {} => Some(granted_area(standing).unwrap_or(crate::agreement::Area {
            south: -90_000_000,
            west: -180_000_000,
            north: 90_000_000,
            east: 180_000_000,
        })),
        _ => None,
    };
    let question = Question {
        v: PROTOCOL,
        to: Vec::new(),
        asker: Asker {
            agency: standing.partner,
            username: "comparison".to_owned(),
            name: "Daily comparison".to_owned(),
            affiliation: "Node".to_owned(),
            approved: true,
            trained_on: now.date(),
        },
        on_behalf_of: OnBehalfOf { agency: court, end_user: "Clerk".to_owned() },
        purpose,
        reference: Some(Reference { kind: ReferenceKind::Case, number: "2026-1".to_owned() }),
        reason: reason.to_owned(),
        supervisor: Some("Sasha Supervisor".to_owned()),
        why_all: None,
        search,
        from: now.plus(-2 * i64::from(MAX_LOOKBACK_DAYS) * Instant::DAY),
        until: now,
        area,
        max_rows: u32::MAX,
        images: true,
    };
    Some(decide(&question, standing, Usage::default(), now))
}
