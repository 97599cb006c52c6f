//! Effective access: who can get what from whom at an instant, after everything that bounds it; and two such answers
//! compared in words.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, Area, Authorization, Grant, QueryGrant};
use crate::authorization::Authorized;
use crate::decide::{MAX_LOOKBACK_DAYS, OwnerRules, Searches, Sensitive};
use crate::hotlist::categories;
use crate::ids::{AgreementId, Digest, Ori};
use crate::purpose::Purpose;
use crate::register::Register;
use crate::status::Status;
use crate::stream::Streams;
use crate::time::Instant;

/// One thing that one agency can get from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// From whom.
    pub owner: Ori,
    /// Who.
    pub recipient: Ori,
    /// What.
    pub what: What,
    /// By which agreement.
    pub under: AgreementId,
    /// The first instant at which it ends by itself.
    pub until: Instant,
}

/// What can be got, with its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// Reads, by asking.
    Query(Bounds),
    /// A hotlist.
    Hotlist {
        /// Its name.
        list: String,
        /// Which of its categories.
        categories: Vec<String>,
    },
    /// Hits on one of the recipient's hotlists.
    Hits {
        /// Its name.
        list: String,
    },
}

/// What bounds questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
pub struct Bounds {
    /// For which purposes.
    pub purposes: Vec<Purpose>,
    /// How far back, in days of 24 hours.
    pub lookback_days: u32,
    /// How many reads an answer may hold.
    pub max_rows: u32,
    /// How many questions a day.
    pub daily_quota: u32,
    /// Only within this area.
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
    /// Whether questions are answered at once; otherwise each waits for the custodian.
    pub at_once: bool,
    /// How many questions a minute, and what happens to sensitive ones, where they are this agency's own rules: another's
    /// are known to itself alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
}

/// What an owner rules beside every grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// How many questions a minute.
    pub rate_per_minute: u32,
    /// What happens to sensitive questions.
    pub sensitive: Sensitive,
}

/// An agreement as it is held: the document, its hash, both streams.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The document.
    pub agreement: &'a Agreement,
    /// Its SHA-256.
    pub document: Digest,
    /// Both parties' events.
    pub streams: &'a Streams,
}

/// Who can get what at `now` under these agreements of `us`, in a fixed order.
#[must_use]
pub fn effective(
    us: Ori,
    agreements: &[Held<'_>],
    register: &Register,
    rules: &OwnerRules,
    authorizations: &[Authorized],
    now: Instant,
) -> Vec<Access> {
    let mut all = Vec::new();
    for Held { agreement, document, streams } in agreements {
        if agreement.party(us).is_none() {
            continue;
        }
        let general = Status::at(agreement, streams, register, now);
        let own = Status::of_grants(us, agreement, streams, register, now);
        let live: Vec<&Authorized> = authorizations.iter().filter(|one| one.document == *document).collect();
        for grant in &agreement.grants {
            let (owner, recipient, what) = match grant {
                Grant::Query(grant) if grant.owner == us => {
                    let given = live.iter().any(|one| one.covers(agreement.id, grant, now));
                    let Some(bounds) = own_bounds(agreement, grant, rules, given) else { continue };
                    (grant.owner, grant.recipient, What::Query(bounds))
                }
                Grant::Query(grant) => (grant.owner, grant.recipient, What::Query(granted(grant))),
                Grant::Hotlist(grant) => {
                    let known = categories(&grant.categories);
                    let categories = known.iter().map(|category| category.as_str().to_owned()).collect();
                    (grant.owner, grant.recipient, What::Hotlist { list: grant.list.clone(), categories })
                }
                Grant::Hits(grant) => (grant.owner, grant.recipient, What::Hits { list: grant.list.clone() }),
            };
            // Whom this agency has under review gets nothing of it, and is not asked.
            let asked = owner == us || matches!(what, What::Query(_));
            if let Status::InForce { until } = if asked { &own } else { &general } {
                all.push(Access { owner, recipient, what, under: agreement.id, until: *until });
            }
        }
    }
    all.sort_by(Access::order);
    all
}

/// What is left of a grant of this agency's own after its rules and its published policy; `None` when nothing is.
fn own_bounds(agreement: &Agreement, grant: &QueryGrant, rules: &OwnerRules, given: bool) -> Option<Bounds> {
    let published = &agreement.party(grant.owner)?.policy.purposes;
    let owners =
        |purpose: &Purpose| rules.purposes.contains(purpose) && published.iter().any(|own| own.purpose == *purpose);
    let all = rules.searches == Searches::All;
    let mut bounds = granted(grant);
    bounds.purposes.retain(owners);
    bounds.lookback_days = bounds.lookback_days.min(rules.max_lookback_days).min(MAX_LOOKBACK_DAYS);
    bounds.max_rows = bounds.max_rows.min(rules.max_rows);
    bounds.partial &= all;
    bounds.fuzzy &= all;
    bounds.without_plate &= all;
    bounds.at_once &= given;
    bounds.own = Some(Own { rate_per_minute: rules.rate_per_minute, sensitive: rules.sensitive });
    (!bounds.purposes.is_empty() && bounds.lookback_days > 0 && bounds.max_rows > 0 && bounds.daily_quota > 0)
        .then_some(bounds)
}

fn granted(grant: &QueryGrant) -> Bounds {
    let mut purposes = grant.purposes.clone();
    purposes.sort_unstable();
    Bounds {
        purposes,
        lookback_days: grant.lookback_days,
        max_rows: grant.max_rows,
        daily_quota: grant.daily_quota,
        area: grant.area,
        partial: grant.partial,
        fuzzy: grant.fuzzy,
        images: grant.images,
        without_plate: grant.without_plate,
        at_once: grant.authorization == Authorization::Standing,
        own: None,
    }
}

impl Access {
    fn list(&self) -> (u8, &str) {
        match &self.what {
            What::Query(_) => (0, ""),
            What::Hotlist { list, .. } => (1, list),
            What::Hits { list } => (2, list),
        }
    }

    /// By what it is the same thing, whatever its bounds.
    fn thing(&self) -> (Ori, Ori, (u8, &str)) {
        (self.owner, self.recipient, self.list())
    }

    /// The order of lists of access.
    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }

    fn key(&self) -> (Ori, Ori, (u8, &str), AgreementId) {
        (self.owner, self.recipient, self.list(), self.under)
    }

    /// Whether two are the same but for the instant at which they end.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.key() == other.key() && self.what == other.what
    }

    /// In one line.
    #[must_use]
    pub fn says(&self) -> String {
        let Self { owner, recipient, .. } = self;
        match &self.what {
            What::Query(bounds) => format!("{recipient} may query {owner}: {}", bounds.says()),
            What::Hotlist { list, categories } => {
                format!("{recipient} may get the hotlist {list} of {owner} ({})", categories.join(", "))
            }
            What::Hits { list } => format!("{recipient} is told of hits of {owner} on {list}"),
        }
    }
}

impl Bounds {
    fn says(&self) -> String {
        let purposes: Vec<&str> = self.purposes.iter().map(|purpose| purpose.as_str()).collect();
        let extras = [
            (self.images, "images"),
            (self.partial, "parts of a plate"),
            (self.fuzzy, "plates that readers confuse"),
            (self.without_plate, "searches without a plate"),
        ];
        let mut text = format!(
            "{}; {} days back, {} reads an answer, {} questions a day",
            purposes.join(", "),
            self.lookback_days,
            self.max_rows,
            self.daily_quota
        );
        if let Some(own) = self.own {
            // Writing to a String does not fail.
            let _ = write!(text, " and {} a minute", own.rate_per_minute);
        }
        for (_, extra) in extras.iter().filter(|(has, _)| *has) {
            let _ = write!(text, ", {extra}");
        }
        if let Some(Area { south, west, north, east }) = self.area {
            let _ = write!(text, "; only within {south},{west} to {north},{east} (millionths of a degree)");
        }
        text.push_str(if self.at_once { "; answered at once" } else { "; each waits for the custodian" });
        match self.own.map(|own| own.sensitive) {
            Some(Sensitive::Deny) => text.push_str(", sensitive ones are denied"),
            Some(Sensitive::Refer) if self.at_once => text.push_str(", sensitive ones wait for the custodian"),
            _ => {}
        }
        text
    }
}

/// What differs between two lists of access, one line each; empty when nothing does but for when it ends.
#[must_use]
pub fn diff(before: &[Access], after: &[Access]) -> Vec<String> {
    let mut lines = Vec::new();
    let lost: Vec<&Access> = before.iter().filter(|old| !after.iter().any(|new| new.same(old))).collect();
    let mut gained: Vec<&Access> = after.iter().filter(|new| !before.iter().any(|old| old.same(new))).collect();
    for old in lost {
        match gained.iter().position(|new| new.thing() == old.thing()).map(|at| gained.remove(at)) {
            Some(new) if new.what == old.what => {
                lines.push(format!("goes on under agreement {} instead of {}: {}", new.under, old.under, new.says()));
            }
            Some(new) => lines.push(format!("changes: {} -- it was: {}", new.says(), old.says())),
            None => lines.push(format!("closes: {}", old.says())),
        }
    }
    lines.extend(gained.into_iter().map(|new| format!("opens: {} (until {})", new.says(), new.until)));
    lines
}
