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
use crate::screen;
use crate::status::{Register, Status, Streams};
use crate::time::Instant;

/// A rule that a question can fail. Each names the clauses of the policy that it makes real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The asker works for the agency whose node sent the question.
    Identity,
    /// The agreement is in force at this instant.
    AgreementInForce,
    /// The agreement grants queries in this direction.
    GrantExists,
    /// The purpose is in the grant.
    PurposeGranted,
    /// The purpose is in the owner's own list.
    PurposeOfOwner,
    /// There is a reference, and it has the form of one.
    ReferencePresent,
    /// The reference's number is no plate.
    ReferenceNotPlate,
    /// The reason says why.
    ReasonSubstantive,
    /// Crime prevention comes with a narrative and a supervisor.
    NarrativeAndSupervisor,
    /// Asking every partner comes with a reason.
    WhyAll,
    /// The answer is for an eligible agency, and a hub names agency and person.
    OnBehalfOf,
    /// The asker's agency approved the asker.
    AskerApproved,
    /// The asker was trained within a year.
    AskerTrained,
    /// No text touches immigration enforcement, protected care, or protest and religion.
    SensitiveTerms,
    /// The window is a window, and reaches into what the grant lets see.
    Lookback,
    /// The area asked for meets the grant's.
    Area,
    /// At least one row is asked for.
    Rows,
    /// The grant allows this kind of search.
    SearchGranted,
    /// The owner answers this kind of search.
    SearchOfOwner,
    /// The day's quota is not used up.
    Quota,
    /// Not too many questions at once.
    Rate,
    /// The custodian authorized this grant once for all.
    StandingAuthorization,
}

impl Rule {
    /// Every rule, in the order in which they are checked.
    pub const ALL: [Self; 22] = [
        Self::Identity,
        Self::AgreementInForce,
        Self::GrantExists,
        Self::PurposeGranted,
        Self::PurposeOfOwner,
        Self::ReferencePresent,
        Self::ReferenceNotPlate,
        Self::ReasonSubstantive,
        Self::NarrativeAndSupervisor,
        Self::WhyAll,
        Self::OnBehalfOf,
        Self::AskerApproved,
        Self::AskerTrained,
        Self::SensitiveTerms,
        Self::Lookback,
        Self::Area,
        Self::Rows,
        Self::SearchGranted,
        Self::SearchOfOwner,
        Self::Quota,
        Self::Rate,
        Self::StandingAuthorization,
    ];

    fn row(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Self::Identity => (
                "identity",
                &["II-03", "V-08", "VIII-06"],
                "The asker's agency is not the one whose node sent this: ask through your own agency's node.",
            ),
            Self::AgreementInForce => (
                "agreement_in_force",
                &["V-22", "V-27", "V-31"],
                "No agreement between the two agencies is in force at this instant: see its status, and renew, resume or sign it.",
            ),
            Self::GrantExists => (
                "grant_exists",
                &["V-03", "V-08"],
                "The agreement grants no queries in this direction: an amendment would have to.",
            ),
            Self::PurposeGranted => (
                "purpose_granted",
                &["I-01", "V-09"],
                "The purpose is not among those that the grant names: ask for one that it names, or amend the agreement.",
            ),
            Self::PurposeOfOwner => {
                ("purpose_of_owner", &["I-01", "VI-01"], "The owner does not answer for this purpose.")
            }
            Self::ReferencePresent => (
                "reference_present",
                &["V-13", "IX-04"],
                "Give the file that this belongs to, with its number: --ref case:…, cad:…, warrant:…, court_order:… or analysis_project:….",
            ),
            Self::ReferenceNotPlate => (
                "reference_not_plate",
                &["V-13", "IX-04"],
                "The reference's number is a plate: give the number of the case, incident, warrant, order or project.",
            ),
            Self::ReasonSubstantive => (
                "reason_substantive",
                &["V-13", "VII-07", "VIII-08"],
                "Say why in a few words of your own: what happened, and what this vehicle has to do with it.",
            ),
            Self::NarrativeAndSupervisor => (
                "narrative_and_supervisor",
                &["I-05"],
                "Crime prevention is open-ended: tell in at least eight words what is to be prevented, and name the supervisor who knows of it (--supervisor).",
            ),
            Self::WhyAll => ("why_all", &["III-06"], "Asking every partner needs a reason of its own: --why-all."),
            Self::OnBehalfOf => (
                "on_behalf_of",
                &["V-03", "V-08", "V-19"],
                "Say for whom: your own agency, an agency under agreement with the owner, a court or a prosecutor; a hub names the end agency and the end user.",
            ),
            Self::AskerApproved => (
                "asker_approved",
                &["II-01", "II-06"],
                "The asker's agency has not approved this person for queries: a supervisor can.",
            ),
            Self::AskerTrained => (
                "asker_trained",
                &["VII-11", "VII-12", "VII-13", "VII-15"],
                "The asker has no complete training (SB 34, SB 54, policy) within the last year: complete it and have it recorded.",
            ),
            Self::SensitiveTerms => (
                "sensitive_terms",
                &["V-20", "V-21", "III-02", "III-03", "III-11"],
                "A text touches civil immigration enforcement, protected care, or protest and religion: the owner's custodian of records decides.",
            ),
            Self::Lookback => (
                "lookback",
                &["III-06", "VI-02"],
                "The time asked for is empty or lies wholly outside what the grant lets see: give --from and --to within it.",
            ),
            Self::Area => ("area", &["III-06"], "The area asked for lies wholly outside the grant's."),
            Self::Rows => ("rows", &["III-06"], "At least one row must be asked for."),
            Self::SearchGranted => (
                "search_granted",
                &["III-06"],
                "The grant does not allow this kind of search (part of a plate, confusable plates, or no plate).",
            ),
            Self::SearchOfOwner => (
                "search_of_owner",
                &["III-06", "VI-01"],
                "The owner does not answer this kind of search: ask for an exact plate.",
            ),
            Self::Quota => (
                "quota",
                &["III-06"],
                "The grant's questions for today are used up: ask tomorrow, or amend the agreement.",
            ),
            Self::Rate => ("rate", &["III-06"], "Too many questions at once: wait a moment and ask again."),
            Self::StandingAuthorization => (
                "standing_authorization",
                &["V-15", "V-16", "XI-05"],
                "The owner's custodian of records authorizes each request under this grant: wait for the outcome.",
            ),
        }
    }

    /// The written name, such as `purpose_granted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The clauses of the policy that the rule makes real.
    #[must_use]
    pub fn clauses(self) -> &'static [&'static str] {
        self.row().1
    }

    /// A sentence that helps the asker.
    #[must_use]
    pub fn says(self) -> &'static str {
        self.row().2
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRules {
    /// The purposes for which the owner answers.
    pub purposes: Vec<Purpose>,
    /// The furthest back, in days of 24 hours; at most two years (VI-02 to VI-04).
    pub max_lookback_days: u32,
    /// The most reads in one answer.
    pub max_rows: u32,
    /// Whether more than exact plates are answered.
    pub searches: Searches,
    /// What happens to sensitive questions.
    pub sensitive: Sensitive,
}

/// Which kinds of search an owner's store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Every agency with an agreement with the owner that is in force.
    pub under_agreement: BTreeSet<Ori>,
    /// Counts up with every change of what is above; a permit remembers it.
    pub epoch: i64,
}

impl Standing {
    /// Where the agreement stands at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        self.agreement
            .as_ref()
            .map_or(Status::NoAgreement {}, |agreement| Status::at(agreement, &self.streams, &self.register, now))
    }
}

/// What the partner used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Questions answered with a permit today (America/Los_Angeles) under this agreement.
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

    /// Whether it is dead at `now`: at its instant it is.
    #[must_use]
    pub fn dead(&self, now: Instant) -> bool {
        now >= self.dies
    }

    /// The epoch of the standing that it was made from.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}

/// Decides `question`. The first three rules are gates: who fails one learns of no other. The rest are all checked, so
/// that the asker can mend everything at once and nothing sensitive goes unseen. A denial outweighs a referral.
#[must_use]
pub fn decide(question: &Question, standing: &Standing, usage: &Usage, now: Instant) -> Decision {
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
    let Ok(bounds) = bounds else { return Decision::Deny(Denial { rules: denied, status: None }) };
    if !denied.is_empty() {
        if touched && !denied.contains(&Rule::SensitiveTerms) {
            denied.push(Rule::SensitiveTerms);
        }
        return Decision::Deny(Denial { rules: denied, status: None });
    }
    let mut referred = Vec::new();
    referred.extend(touched.then_some(Rule::SensitiveTerms));
    referred.extend((grant.authorization == Authorization::PerRequest).then_some(Rule::StandingAuthorization));
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
        dies: *dies,
        epoch: standing.epoch,
    })
}

/// The rules that an asker's own node applies before a question leaves it, so that a fan-out does not become hundreds of
/// denials: those about the asking, and the sensitive terms. Empty when there is nothing to mend.
#[must_use]
pub fn screen_own(question: &Question, now: Instant) -> Vec<Rule> {
    let mut rules = asking(question, now);
    rules.extend((!sensitive(question).is_empty()).then_some(Rule::SensitiveTerms));
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
    rules.extend((!standing.rules.purposes.contains(&question.purpose)).then_some(Rule::PurposeOfOwner));
    if !eligible(question, standing) && !rules.contains(&Rule::OnBehalfOf) {
        rules.push(Rule::OnBehalfOf);
    }
    rules
}

/// The rules that need nothing but the question and the time.
fn asking(question: &Question, now: Instant) -> Vec<Rule> {
    let asker = &question.asker;
    let named = |text: &str| !text.trim().is_empty() && text.chars().count() <= 200;
    let supervised = question.supervisor.as_deref().is_some_and(named) && screen::narrative(&question.reason);
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
        (question.purpose != Purpose::CrimePrevention || supervised, Rule::NarrativeAndSupervisor),
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
    if own {
        return !hub;
    }
    standing.under_agreement.contains(&end) || matches!(end.class(), OriClass::Court | OriClass::Prosecutor)
}

fn about_the_search(question: &Question, standing: &Standing, grant: &QueryGrant, usage: &Usage) -> Vec<Rule> {
    let (granted, exact) = match question.search {
        Search::Exact { .. } => (true, true),
        Search::Fuzzy { .. } => (grant.fuzzy, false),
        Search::Partial { .. } => (grant.partial, false),
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
        let days = grant.lookback_days.min(rules.max_lookback_days);
        let earliest = now.plus(i64::from(days).saturating_mul(-Instant::DAY));
        let from = question.from.max(earliest);
        if question.from >= question.until || from >= question.until || question.from > now {
            return Err(Rule::Lookback);
        }
        if from > question.from {
            capped.push(Cap::Lookback { from });
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
