//! The agreement document: immutable, hashed, signed by both parties (V-22).
//!
//! Every grant goes one way between two named parties; there is no wildcard, default or transitive grant in the type.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::eligibility;
use crate::ids::{AgreementId, Digest, Ori};
use crate::json::{self, StrictError};
use crate::party::Party;
use crate::purpose::Purpose;
use crate::time::Instant;

/// The format name that every document carries.
pub const FORMAT: &str = "concordat-agreement/1";
/// The longest name of a hotlist or of one of its categories, in characters.
pub const MAX_LIST_NAME: usize = 100;

/// An agreement between two agencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// [`FORMAT`].
    pub format: String,
    /// The id of this document; a renewal is another document with another id.
    pub id: AgreementId,
    /// 1 for the first, one more for each renewal.
    pub revision: u32,
    /// The document that this one renews, by hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Digest>,
    /// The two parties, in the order of their ORIs.
    pub parties: [Party; 2],
    /// Who may get what from whom.
    pub grants: Vec<Grant>,
    /// What both promise (V-22 to V-26).
    pub commitments: Commitments,
    /// The text that more than two agencies adopted and that this agreement carries out, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<Framework>,
    /// The federation's witness policy, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnesses: Option<Witnesses>,
    /// In force from 00:00 `America/Los_Angeles` at the start of this date.
    pub effective_on: Date,
    /// Not in force from 00:00 `America/Los_Angeles` at the start of this date; at most the anniversary (V-27).
    pub sunset_on: Date,
    /// What the renewal was decided on (V-29 to V-31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
}

/// One right of one party towards the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Grant {
    /// To query the owner's reads.
    Query(QueryGrant),
    /// To get one of the owner's hotlists.
    Hotlist(HotlistGrant),
    /// To get hits of the owner's readers on one of the recipient's hotlists.
    Hits(HitsGrant),
}

/// The right to query reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own in the document that is signed")]
pub struct QueryGrant {
    /// Whose reads.
    pub owner: Ori,
    /// Who may ask.
    pub recipient: Ori,
    /// For which purposes.
    pub purposes: Vec<Purpose>,
    /// How far back, in days of 24 hours.
    pub lookback_days: u32,
    /// How many reads an answer may hold.
    pub max_rows: u32,
    /// How many questions a day (`America/Los_Angeles`).
    pub daily_quota: u32,
    /// Only reads within this area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<Area>,
    /// Whether part of a plate may be asked for.
    pub partial: bool,
    /// Whether plates that readers confuse may be asked for.
    pub fuzzy: bool,
    /// Whether images are released.
    pub images: bool,
    /// Whether everything in an area and a time may be asked for.
    pub without_plate: bool,
    /// Whether the custodian authorized all of it in writing, or authorizes each request (V-16, XI-05).
    pub authorization: Authorization,
}

/// The right to get a hotlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotlistGrant {
    /// Whose list.
    pub owner: Ori,
    /// Who may get it.
    pub recipient: Ori,
    /// The list's name.
    pub list: String,
    /// Which of its categories.
    pub categories: Vec<String>,
}

/// The right to get hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HitsGrant {
    /// Whose reads.
    pub owner: Ori,
    /// Who is told.
    pub recipient: Ori,
    /// On which of the recipient's lists.
    pub list: String,
}

/// The custodian's authorization of a grant (V-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// Once, for exactly this scope.
    Standing,
    /// For each request.
    PerRequest,
}

/// A box on the map, in millionths of a degree (WGS 84). It does not cross the antimeridian: California does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Southern edge.
    pub south: i32,
    /// Western edge.
    pub west: i32,
    /// Northern edge.
    pub north: i32,
    /// Eastern edge.
    pub east: i32,
}

impl Area {
    /// What both areas cover; `None` when they do not meet.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = Self {
            south: self.south.max(other.south),
            west: self.west.max(other.west),
            north: self.north.min(other.north),
            east: self.east.min(other.east),
        };
        (both.south <= both.north && both.west <= both.east).then_some(both)
    }

    /// Whether it is a box on the globe.
    #[must_use]
    pub fn sound(self) -> bool {
        self.south <= self.north
            && self.west <= self.east
            && self.south >= -90_000_000
            && self.north <= 90_000_000
            && self.west >= -180_000_000
            && self.east <= 180_000_000
    }
}

/// What both parties promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a promise of its own in the document that is signed")]
pub struct Commitments {
    /// To gather, access, use and disclose according to law (V-23).
    pub lawful_use: bool,
    /// To let only authorized users in (V-24).
    pub authorized_users_only: bool,
    /// To let only trained users in (VII-11 to VII-15).
    pub trained_users: bool,
    /// To make reasonable efforts to ensure accuracy (V-25).
    pub accuracy: bool,
    /// Not to use a shared hotlist entry longer than this without refresh; at most 24 (V-26).
    pub hotlist_max_age_hours: u32,
    /// Not to pass on what was received (V-19).
    pub no_onward_transfer: bool,
    /// How long what was received is kept, in days.
    pub received_retention_days: u32,
}

/// A text that several agencies adopted. It grants nothing: each pair signs its own agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// Its title.
    pub title: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// The witness policy of a federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witnesses {
    /// SHA-256 of the tlog-policy file.
    pub policy_sha256: Digest,
}

/// What a renewal was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The partner's compliance packet (V-29).
    pub packet_sha256: Digest,
    /// The review (V-30).
    pub review_sha256: Digest,
    /// The check of the Attorney General's sources (V-31).
    pub ag_check_sha256: Digest,
}

/// Why a document is no agreement.
#[derive(Debug, thiserror::Error)]
pub enum AgreementError {
    /// Not strict JSON of this shape.
    #[error("the agreement: {0}")]
    Json(#[from] StrictError),
    /// Other bytes than the canonical ones.
    #[error("the agreement is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// It names a body that cannot take part; each sentence says which law keeps it out.
    #[error("the agreement: {}", .0.join("; "))]
    Ineligible(Vec<String>),
    /// Sound in form, wrong in content: every problem is named.
    #[error("the agreement: {}", .0.join("; "))]
    Problems(Vec<String>),
}

impl Agreement {
    /// SHA-256 of the witness policy that it names.
    #[must_use]
    pub fn witness_policy(&self) -> Option<Digest> {
        self.witnesses.as_ref().map(|witnesses| witnesses.policy_sha256)
    }

    /// Reads a document from bytes that must be its canonical ones, and checks its content.
    ///
    /// # Errors
    /// Every problem of [`Agreement::problems`], or a form that is not this one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AgreementError> {
        let agreement: Self = json::parse(bytes).map_err(|error| ineligible(bytes).unwrap_or(error.into()))?;
        if json::canonical(&agreement)? != bytes {
            return Err(AgreementError::NotCanonical);
        }
        let problems = agreement.problems();
        if problems.is_empty() { Ok(agreement) } else { Err(AgreementError::Problems(problems)) }
    }

    /// The canonical bytes; the document's hash is their SHA-256.
    ///
    /// # Errors
    /// None for a document that [`Agreement::from_bytes`] gave.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StrictError> {
        json::canonical(self)
    }

    /// The instant from which it can be in force.
    #[must_use]
    pub fn effective(&self) -> Instant {
        Instant::start_of(self.effective_on).unwrap_or(Instant::from_micros(i64::MAX))
    }

    /// The instant from which it is not in force.
    #[must_use]
    pub fn sunset(&self) -> Instant {
        Instant::start_of(self.sunset_on).unwrap_or(Instant::from_micros(i64::MIN))
    }

    /// The party with this ORI.
    #[must_use]
    pub fn party(&self, ori: Ori) -> Option<&Party> {
        self.parties.iter().find(|party| party.ori == ori)
    }

    /// The party that is not the one with this ORI; `None` when neither is.
    #[must_use]
    pub fn other(&self, ori: Ori) -> Option<&Party> {
        let [first, second] = &self.parties;
        match (first.ori == ori, second.ori == ori) {
            (true, _) => Some(second),
            (_, true) => Some(first),
            _ => None,
        }
    }

    /// The right of `recipient` to query the reads of `owner`.
    #[must_use]
    pub fn query_grant(&self, owner: Ori, recipient: Ori) -> Option<&QueryGrant> {
        self.grants.iter().find_map(|grant| match grant {
            Grant::Query(query) if query.owner == owner && query.recipient == recipient => Some(query),
            _ => None,
        })
    }

    /// The right of `recipient` to get the hotlist `list` of `owner`.
    #[must_use]
    pub fn hotlist_grant(&self, owner: Ori, recipient: Ori, list: &str) -> Option<&HotlistGrant> {
        self.hotlist_grants(owner, recipient).find(|grant| grant.list == list)
    }

    /// Whether the other party is granted this hotlist of `owner`.
    #[must_use]
    pub fn grants_hotlist(&self, owner: Ori, list: &str) -> bool {
        self.grants.iter().any(|grant| matches!(grant, Grant::Hotlist(it) if it.owner == owner && it.list == list))
    }

    /// The rights of `recipient` to get hotlists of `owner`.
    pub fn hotlist_grants(&self, owner: Ori, recipient: Ori) -> impl Iterator<Item = &HotlistGrant> {
        self.grants.iter().filter_map(move |grant| match grant {
            Grant::Hotlist(hotlist) if hotlist.owner == owner && hotlist.recipient == recipient => Some(hotlist),
            _ => None,
        })
    }

    /// How long an entry of a shared hotlist is used after its owner asserted it, in microseconds: at most 24 hours
    /// (V-26).
    #[must_use]
    pub fn hotlist_lease(&self) -> i64 {
        i64::from(self.commitments.hotlist_max_age_hours.min(24)) * Instant::HOUR
    }

    /// The parties' policy elements (A-G) that are missing, as (party, letters).
    #[must_use]
    pub fn missing_elements(&self) -> Vec<(Ori, Vec<char>)> {
        self.parties
            .iter()
            .map(|party| (party.ori, party.policy.elements.missing()))
            .filter(|(_, letters)| !letters.is_empty())
            .collect()
    }

    /// The first instant at which a party's determination no longer counts.
    #[must_use]
    pub fn determinations_end(&self) -> Option<Instant> {
        self.parties
            .iter()
            .filter_map(|party| party.determination.as_ref())
            .map(|determination| Instant::start_of(determination.expires_on).unwrap_or(Instant::from_micros(i64::MIN)))
            .min()
    }

    /// Everything wrong with the content, each as a sentence that says what to supply. Missing policy elements are
    /// not among them: such a document can be drafted and offered, and [`crate::status`] keeps it out of force.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.parties.iter().flat_map(Party::problems).collect();
        let mut need = |good: bool, what: &str| {
            if !good {
                problems.push(what.to_owned());
            }
        };
        let [first, second] = &self.parties;
        need(self.format == FORMAT, "format must be concordat-agreement/1");
        need(first.ori < second.ori, "parties must be two different agencies, in the order of their ORIs");
        need(self.revision >= 1, "revision begins at 1");
        need(
            (self.revision == 1) == self.supersedes.is_none(),
            "supersedes is for revisions after the first, and only them",
        );
        need(self.supersedes.is_some() == self.renewal.is_some(), "a renewal names packet, review and AG check");
        need(self.effective_on < self.sunset_on, "sunset_on must be after effective_on");
        need(
            anniversary(self.effective_on).is_some_and(|latest| self.sunset_on <= latest),
            "sunset_on must be within one calendar year of effective_on (V-27)",
        );
        need(
            Instant::start_of(self.effective_on).is_some() && Instant::start_of(self.sunset_on).is_some(),
            "dates out of range",
        );
        let framework = self.framework.as_ref().map(|framework| framework.title.as_str());
        need(
            framework.is_none_or(|title| !title.trim().is_empty() && title.chars().count() <= json::MAX_TEXT),
            "framework.title is blank or too long",
        );
        need(!self.grants.is_empty(), "there is no grant: say who may get what from whom");
        let promises = &self.commitments;
        need(
            promises.lawful_use
                && promises.authorized_users_only
                && promises.trained_users
                && promises.accuracy
                && promises.no_onward_transfer,
            "every commitment must be true (V-22 to V-25, V-19)",
        );
        need((1..=24).contains(&promises.hotlist_max_age_hours), "hotlist_max_age_hours must be 1 to 24 (V-26)");
        need((1..=730).contains(&promises.received_retention_days), "received_retention_days must be 1 to 730");
        for grant in &self.grants {
            problems.extend(self.grant_problems(grant));
        }
        problems
    }

    fn grant_problems(&self, grant: &Grant) -> Vec<String> {
        let mut problems = Vec::new();
        let (owner, recipient, what) = match grant {
            Grant::Query(grant) => (grant.owner, grant.recipient, "query".to_owned()),
            Grant::Hotlist(grant) => (grant.owner, grant.recipient, format!("hotlist {}", grant.list)),
            Grant::Hits(grant) => (grant.owner, grant.recipient, format!("hits {}", grant.list)),
        };
        if owner == recipient || self.party(owner).is_none() || self.party(recipient).is_none() {
            problems.push(format!("the grant {what} must go from one party to the other"));
        }
        let same = |other: &&Grant| match (grant, other) {
            (Grant::Query(a), Grant::Query(b)) => (a.owner, a.recipient) == (b.owner, b.recipient),
            (Grant::Hotlist(a), Grant::Hotlist(b)) => (a.owner, &a.list) == (b.owner, &b.list),
            (Grant::Hits(a), Grant::Hits(b)) => (a.owner, &a.list) == (b.owner, &b.list),
            _ => false,
        };
        if self.grants.iter().filter(same).count() > 1 {
            problems.push(format!("the grant {what} from {owner} stands twice"));
        }
        let listed = |name: &String| !name.trim().is_empty() && name.chars().count() <= MAX_LIST_NAME;
        if let Grant::Hotlist(HotlistGrant { list, .. }) | Grant::Hits(HitsGrant { list, .. }) = grant
            && !listed(list)
        {
            problems.push(format!("the grant from {owner} must name a list, in at most {MAX_LIST_NAME} characters"));
        }
        if let Grant::Hotlist(hotlist) = grant {
            let unique: std::collections::BTreeSet<_> = hotlist.categories.iter().collect();
            if unique.is_empty() || unique.len() != hotlist.categories.len() || !hotlist.categories.iter().all(listed) {
                problems.push(format!("the hotlist grant from {owner} must list each category once, and at least one"));
            }
            for name in &hotlist.categories {
                if let Err(error) = name.parse::<crate::hotlist::Category>() {
                    problems.push(format!("the hotlist grant from {owner}: {}: {error}", name.escape_debug()));
                }
            }
        }
        if let Grant::Query(query) = grant {
            let mut unique = query.purposes.clone();
            unique.sort_unstable();
            unique.dedup();
            if unique.is_empty() || unique.len() != query.purposes.len() {
                problems.push(format!("the query grant from {owner} must list each purpose once, and at least one"));
            }
            if !(1..=730).contains(&query.lookback_days)
                || !(1..=10_000).contains(&query.max_rows)
                || query.daily_quota == 0
            {
                problems.push(format!(
                    "the query grant from {owner}: lookback_days is 1 to 730 (VI-02), max_rows 1 to 10000, daily_quota at least 1"
                ));
            }
            if query.area.is_some_and(|area| !area.sound()) {
                problems.push(format!("the query grant from {owner}: its area is no box in millionths of a degree"));
            }
        }
        problems
    }
}

/// Which law keeps out whom the bytes name, where that is why they are no agreement.
fn ineligible(bytes: &[u8]) -> Option<AgreementError> {
    let objections = eligibility::of_agreement(&json::parse(bytes).ok()?);
    (!objections.is_empty()).then_some(AgreementError::Ineligible(objections))
}

/// The same day of the next year; 28 February for 29 February.
#[must_use]
pub fn anniversary(date: Date) -> Option<Date> {
    date.checked_add(jiff::Span::new().try_years(1).ok()?).ok()
}
