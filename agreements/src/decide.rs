//! The decision: may this partner have what it asks for, under this agreement, at this instant?
//!
//! [`decide`] is pure and total: no input makes it panic, and the same input gives the same decision. A [`Permit`] can
//! be made nowhere else, and nothing is read from the store without one.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, Area, Authorization, QueryGrant, anniversary};
use crate::ids::{AgreementId, Ori, OriClass};
use crate::message::{Cap, Question, Search};
use crate::purpose::{Purpose, Reference};
use crate::register::Register;
use crate::rule::Rule;
use crate::screen;
use crate::status::Status;
use crate::stream::Streams;
use crate::time::Instant;

/// The furthest back that anyone is answered, whatever was granted or configured: two years (VI-02 to VI-04), in days.
pub const MAX_LOOKBACK_DAYS: u32 = 730;
/// The longest name of a person or unit, in characters.
pub const MAX_NAME: usize = 200;
/// The longest pattern of a search for part of a plate, in characters.
pub const MAX_PATTERN: usize = 20;
/// The fewest letters and digits in a pattern.
pub const MIN_PATTERN: usize = 2;

/// What an owner does with a question whose text is sensitive. It is never answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitive {
    /// It waits for the custodian.
    Refer,
    /// It is denied.
    Deny,
}

/// The owner's own limits, whatever was granted (VI-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRules {
    /// The purposes for which the owner answers.
    pub purposes: Vec<Purpose>,
    /// The furthest back, in days of 24 hours; at most two years (VI-02 to VI-04).
    pub max_lookback_days: u32,
    /// The most reads in one answer.
    pub max_rows: u32,
    /// The most questions of one partner a minute.
    pub rate_per_minute: u32,
    /// Whether more than exact plates are answered.
    pub searches: Searches,
    /// What happens to sensitive questions.
    pub sensitive: Sensitive,
}

/// Which kinds of search an owner's store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Searches {
    /// Exact plates only.
    Exact,
    /// All kinds.
    All,
}

/// Everything that a decision stands on, apart from the question, the use so far and the time.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whose reads.
    pub owner: Ori,
    /// Whose node asks, as its TLS certificate and its trail say.
    pub partner: Ori,
    /// The agreement that the question names, if it is one between the two.
    pub agreement: Option<Agreement>,
    /// Both parties' events.
    pub streams: Streams,
    /// The owner's register of findings.
    pub register: Register,
    /// The owner's own limits.
    pub rules: OwnerRules,
    /// Until when the custodian has authorized, once for all, what the agreement grants the partner that way (V-16); `None`
    /// when that was not done, or was taken back.
    pub authorized_until: Option<Instant>,
    /// Every agency that may query the owner under an agreement in force.
    pub under_agreement: BTreeSet<Ori>,
    /// Counts up with every change of what is above; a permit remembers it.
    pub epoch: i64,
}

impl Standing {
    /// Where the owner's grants to the partner stand at `now`. One that is not between the two is none: its status is not the partner's.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        self.agreement
            .as_ref()
            .filter(|agreement| agreement.other(self.owner).is_some_and(|other| other.ori == self.partner))
            .map_or(Status::NoAgreement {}, |agreement| {
                Status::of_grants(self.owner, agreement, &self.streams, &self.register, now)
            })
    }
}

/// What the partner used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Questions answered with a permit today (`America/Los_Angeles`) under this agreement.
    pub today: u32,
    /// Whether the partner is over its rate at this moment.
    pub over_rate: bool,
}

/// What was decided.
#[derive(Debug)]
pub enum Decision {
    /// Within these bounds, until the permit dies.
    Permit(Permit),
    /// The custodian decides; these rules ask for it.
    Refer(Vec<Rule>),
    /// No; these rules say so, in the order in which they are checked.
    Deny(Denial),
}

/// A no, with the rules that said it (at least one) and where the agreement stands when that is why.
#[derive(Debug)]
pub struct Denial {
    /// The rules, the first one decisive.
    pub rules: Vec<Rule>,
    /// Where the agreement stands, when it is not in force.
    pub status: Option<Status>,
}

/// The right to search the owner's reads within bounds, until an instant. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Permit {
    agreement: AgreementId,
    search: Search,
    from: Instant,
    until: Instant,
    area: Option<Area>,
    max_rows: u32,
    images: bool,
    capped: Vec<Cap>,
    daily_quota: u32,
    made: Instant,
    dies: Instant,
    epoch: i64,
}

impl Permit {
    /// The agreement that it stands on.
    #[must_use]
    pub fn agreement(&self) -> AgreementId {
        self.agreement
    }

    /// What may be searched for.
    #[must_use]
    pub fn search(&self) -> &Search {
        &self.search
    }

    /// Reads from this instant on.
    #[must_use]
    pub fn from(&self) -> Instant {
        self.from
    }

    /// Reads before this instant.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Reads within this area only.
    #[must_use]
    pub fn area(&self) -> Option<Area> {
        self.area
    }

    /// At most this many reads.
    #[must_use]
    pub fn max_rows(&self) -> u32 {
        self.max_rows
    }

    /// Whether images may be named.
    #[must_use]
    pub fn images(&self) -> bool {
        self.images
    }

    /// Which limits cut the question down.
    #[must_use]
    pub fn capped(&self) -> &[Cap] {
        &self.capped
    }

    /// Whether it is dead at `now`: at its instant it is, and so it is to a clock that was set back since it was made.
    #[must_use]
    pub fn dead(&self, now: Instant) -> bool {
        !(self.made..self.dies).contains(&now)
    }

    /// The epoch of the standing that it was made from.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether one more question is within the grant's quota when `today` were answered.
    #[must_use]
    pub fn within_quota(&self, today: u32) -> bool {
        today < self.daily_quota
    }

    /// Whether what `earlier` let search is still within this one: same agreement and search, and no bound narrower. The
    /// lookback moves with the clock between the two: a minute of that is not counted against the earlier one.
    #[must_use]
    pub fn covers(&self, earlier: &Self) -> bool {
        let images = self.images || !earlier.images;
        self.agreement == earlier.agreement
            && self.search == earlier.search
            && self.from.since(earlier.from) <= Instant::MINUTE
            && self.until >= earlier.until
            && self.area == earlier.area
            && self.max_rows >= earlier.max_rows
            && images
    }
}

/// Decides `question`. The first three rules are gates: who fails one learns of no other. The rest are all checked, so
/// that the asker can mend everything at once and nothing sensitive goes unseen. A denial outweighs a referral.
#[must_use]
pub fn decide(question: &Question, standing: &Standing, usage: Usage, now: Instant) -> Decision {
    let deny = |rule, status| Decision::Deny(Denial { rules: vec![rule], status });
    if question.asker.agency != standing.partner {
        return deny(Rule::Identity, None);
    }
    let status = standing.status(now);
    let (Status::InForce { until: dies }, Some(agreement)) = (&status, &standing.agreement) else {
        return deny(Rule::AgreementInForce, Some(status));
    };
    let Some(grant) = agreement.query_grant(standing.owner, standing.partner) else {
        return deny(Rule::GrantExists, None);
    };
    let bounds = Bounds::of(question, grant, &standing.rules, now);
    let mut denied = about_the_asking(question, standing, grant, now);
    denied.extend(bounds.as_ref().err());
    denied.extend(about_the_search(question, standing, grant, usage));
    let touched = !sensitive(question).is_empty();
    if touched && standing.rules.sensitive == Sensitive::Deny {
        denied.push(Rule::SensitiveTerms);
    }
    denied.sort_unstable();
    let bounds = match bounds {
        Ok(bounds) if denied.is_empty() => bounds,
        _ => {
            // It did not deny, so it is not first; but whoever reads the denial sees that the question touched it.
            if touched && !denied.contains(&Rule::SensitiveTerms) {
                denied.push(Rule::SensitiveTerms);
            }
            return Decision::Deny(Denial { rules: denied, status: None });
        }
    };
    let mut referred = Vec::new();
    referred.extend(touched.then_some(Rule::SensitiveTerms));
    let authorized =
        standing.authorized_until.filter(|end| grant.authorization == Authorization::Standing && now < *end);
    referred.extend(authorized.is_none().then_some(Rule::StandingAuthorization));
    if !referred.is_empty() {
        return Decision::Refer(referred);
    }
    Decision::Permit(Permit {
        agreement: agreement.id,
        search: question.search.clone(),
        from: bounds.from,
        until: question.until,
        area: bounds.area,
        max_rows: bounds.max_rows,
        images: question.images && grant.images,
        capped: bounds.capped,
        daily_quota: grant.daily_quota,
        made: now,
        dies: authorized.map_or(*dies, |end| end.min(*dies)),
        epoch: standing.epoch,
    })
}

/// The rules that an asker's own node applies before a question leaves it, so that a fan-out does not become hundreds of
/// denials: those about the asking, the form of a pattern, and the sensitive terms. `hub` says whether the asker's agency
/// asks for others: then it never asks for itself (V-08). Empty when there is nothing to mend.
#[must_use]
pub fn screen_own(question: &Question, hub: bool, now: Instant) -> Vec<Rule> {
    let mut rules = asking(question, now);
    if hub && question.on_behalf_of.agency == question.asker.agency && !rules.contains(&Rule::OnBehalfOf) {
        rules.push(Rule::OnBehalfOf);
    }
    rules.extend((!sensitive(question).is_empty()).then_some(Rule::SensitiveTerms));
    let formless = matches!(&question.search, Search::Partial { pattern } if !pattern_formed(pattern));
    rules.extend(formless.then_some(Rule::SearchGranted));
    rules
}

/// The topics that the question's texts touch.
#[must_use]
pub fn sensitive(question: &Question) -> Vec<screen::Topic> {
    let texts = [
        Some(question.reason.as_str()),
        question.reference.as_ref().map(|reference| reference.number.as_str()),
        question.why_all.as_deref(),
        question.supervisor.as_deref(),
        Some(question.on_behalf_of.end_user.as_str()),
        Some(question.asker.username.as_str()),
        Some(question.asker.name.as_str()),
        Some(question.asker.affiliation.as_str()),
    ];
    screen::sensitive(texts.into_iter().flatten())
}

/// The first instant at which a training on `date` no longer counts: the start of its anniversary (VII-15).
#[must_use]
pub fn training_ends(date: Date) -> Option<Instant> {
    Instant::start_of(anniversary(date)?)
}

fn about_the_asking(question: &Question, standing: &Standing, grant: &QueryGrant, now: Instant) -> Vec<Rule> {
    let mut rules = asking(question, now);
    rules.extend((!grant.purposes.contains(&question.purpose)).then_some(Rule::PurposeGranted));
    // What the owner publishes binds it as much as what it configured (Civ. Code 1798.90.51(b)(2)(A)).
    let policy =
        standing.agreement.as_ref().and_then(|agreement| agreement.party(standing.owner)).map(|owner| &owner.policy);
    let published = policy.is_some_and(|policy| policy.purposes.iter().any(|own| own.purpose == question.purpose));
    let owners = published && standing.rules.purposes.contains(&question.purpose);
    rules.extend((!owners).then_some(Rule::PurposeOfOwner));
    if !eligible(question, standing) && !rules.contains(&Rule::OnBehalfOf) {
        rules.push(Rule::OnBehalfOf);
    }
    rules
}

/// The rules that need nothing but the question and the time.
fn asking(question: &Question, now: Instant) -> Vec<Rule> {
    let asker = &question.asker;
    let supervisor = question.supervisor.as_deref();
    let supervised = supervisor.is_some_and(|name| !same(name, &asker.username) && !same(name, &asker.name))
        && screen::narrative(&question.reason);
    let trained = asker.trained_on.is_some_and(|date| {
        Instant::start_of(date).is_some_and(|start| start <= now) && training_ends(date).is_some_and(|end| now < end)
    });
    let plate_as_number = question.reference.as_ref().is_some_and(|reference| {
        screen::plate_shaped(&reference.number)
            || (question.search.text().is_some()
                && reference.number.parse::<crate::plate::Plate>().ok().as_ref().map(crate::plate::Plate::as_str)
                    == question.search.text())
    });
    [
        (question.reference.as_ref().is_some_and(reference_formed), Rule::ReferencePresent),
        (!plate_as_number, Rule::ReferenceNotPlate),
        (screen::substantive(&question.reason), Rule::ReasonSubstantive),
        (
            supervisor.is_none_or(named) && (question.purpose != Purpose::CrimePrevention || supervised),
            Rule::NarrativeAndSupervisor,
        ),
        (question.why_all.as_deref().is_none_or(screen::substantive), Rule::WhyAll),
        (named(&question.on_behalf_of.end_user), Rule::OnBehalfOf),
        (
            asker.approved && named(&asker.username) && named(&asker.name) && named(&asker.affiliation),
            Rule::AskerApproved,
        ),
        (trained, Rule::AskerTrained),
    ]
    .into_iter()
    .filter(|(good, _)| !good)
    .map(|(_, rule)| rule)
    .collect()
}

/// Whether a text names somebody.
fn named(text: &str) -> bool {
    text.chars().count() <= MAX_NAME && screen::legible(text)
}

/// Whether two texts name the same person: nobody is their own supervisor.
fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Whether a pattern is one: letters, digits, `?` and `*`, at least [`MIN_PATTERN`] of them no wildcards. With fewer it
/// would be a search without a plate that needs no right to one.
fn pattern_formed(pattern: &str) -> bool {
    pattern.len() <= MAX_PATTERN
        && pattern.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'?' || b == b'*')
        && pattern.bytes().filter(u8::is_ascii_alphanumeric).count() >= MIN_PATTERN
}

fn reference_formed(reference: &Reference) -> bool {
    let number = &reference.number;
    (1..=40).contains(&number.chars().count())
        && number.chars().any(|c| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_alphanumeric() || " -/.".contains(c))
}

/// Whether the agency that the answer is for may have it (V-03, V-08, V-19).
fn eligible(question: &Question, standing: &Standing) -> bool {
    let end = question.on_behalf_of.agency;
    let own = end == standing.partner;
    let hub = standing
        .agreement
        .as_ref()
        .and_then(|agreement| agreement.party(standing.partner))
        .is_some_and(|party| party.hub);
    if own || end == standing.owner {
        return own && !hub;
    }
    standing.under_agreement.contains(&end) || matches!(end.class(), OriClass::Court | OriClass::Prosecutor)
}

fn about_the_search(question: &Question, standing: &Standing, grant: &QueryGrant, usage: Usage) -> Vec<Rule> {
    let (granted, exact) = match question.search {
        Search::Exact { .. } => (true, true),
        Search::Fuzzy { .. } => (grant.fuzzy, false),
        Search::Partial { ref pattern } => (grant.partial && pattern_formed(pattern), false),
        Search::WithoutPlate {} => (grant.without_plate && question.area.is_some(), false),
    };
    [
        (granted, Rule::SearchGranted),
        (exact || standing.rules.searches == Searches::All, Rule::SearchOfOwner),
        (usage.today < grant.daily_quota, Rule::Quota),
        (!usage.over_rate, Rule::Rate),
    ]
    .into_iter()
    .filter(|(good, _)| !good)
    .map(|(_, rule)| rule)
    .collect()
}

struct Bounds {
    from: Instant,
    area: Option<Area>,
    max_rows: u32,
    capped: Vec<Cap>,
}

impl Bounds {
    /// The question cut down to what grant and owner allow; or the rule by which nothing is left.
    fn of(question: &Question, grant: &QueryGrant, rules: &OwnerRules, now: Instant) -> Result<Self, Rule> {
        let mut capped = Vec::new();
        let days = grant.lookback_days.min(rules.max_lookback_days).min(MAX_LOOKBACK_DAYS);
        let earliest = now.plus(i64::from(days).saturating_mul(-Instant::DAY));
        let from = question.from.max(earliest);
        if question.from >= question.until || from >= question.until || question.from > now {
            return Err(Rule::Lookback);
        }
        if from > question.from {
            capped.push(Cap::Lookback { from });
        }
        if question.area.is_some_and(|area| !area.sound()) {
            return Err(Rule::Area);
        }
        let area = match (question.area, grant.area) {
            (Some(asked), Some(granted)) => Some(asked.intersection(granted).ok_or(Rule::Area)?),
            (asked, granted) => asked.or(granted),
        };
        if let Some(area) = area.filter(|_| area != question.area) {
            capped.push(Cap::Area { area });
        }
        let max_rows = question.max_rows.min(grant.max_rows).min(rules.max_rows);
        if max_rows == 0 {
            return Err(Rule::Rows);
        }
        if max_rows < question.max_rows {
            capped.push(Cap::Rows { max: max_rows });
        }
        if question.images && !grant.images {
            capped.push(Cap::Images {});
        }
        Ok(Self { from, area, max_rows, capped })
    }
}
