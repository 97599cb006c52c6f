//! Hotlists: what an entry is, how long a shared one lives, what nodes say to each other about them, and the decision
//! whether a partner gets one.
//!
//! There is no category for immigration: an entry of that kind cannot be written in this type, on disk or on the wire
//! (Government Code 7284.6).

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::decide::{Denial, Standing};
use crate::ids::{AgreementId, Digest, Ori};
use crate::json;
use crate::message::{Message, RuleSaid, To};
use crate::plate::Plate;
use crate::protocol::Versioned;
use crate::rule::Rule;
use crate::status::Status;
use crate::time::Instant;

/// An assertion dated so much ahead of the receiver's clock, in microseconds, is refused.
pub const AHEAD: i64 = 5 * Instant::MINUTE;
/// The longest text in an entry, in characters.
pub const MAX_TEXT: usize = 200;

macro_rules! categories {
    ($($variant:ident $name:literal $what:literal,)*) => {
        /// Why a plate is on a list. Closed: what is not here cannot be on any list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Category {
            $(#[doc = $what] $variant,)*
        }

        impl Category {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The written name, such as `stolen_vehicle`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}
categories! {
    AmberAlert "amber_alert" "An abducted child.",
    CanadianStolenVehicle "canadian_stolen_vehicle" "A vehicle stolen in Canada.",
    FelonyVehicle "felony_vehicle" "A vehicle used in a felony.",
    GangOrTerrorist "gang_or_terrorist" "A member of a violent gang or a terrorist.",
    Local "local" "The agency's own reason, which the entry tells.",
    MissingPerson "missing_person" "A missing person.",
    ProtectionOrder "protection_order" "A person under a protection order.",
    ProtectiveInterest "protective_interest" "A person who may be a threat to a protected one.",
    SexOffender "sex_offender" "A registered sex offender.",
    StolenBoat "stolen_boat" "A stolen boat or its trailer.",
    StolenPlate "stolen_plate" "A stolen plate.",
    StolenVehicle "stolen_vehicle" "A stolen vehicle.",
    SupervisedRelease "supervised_release" "A person on supervised release.",
    ViolentPerson "violent_person" "A violent person.",
    WantedPerson "wanted_person" "A person under a warrant.",
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no category.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such category of a hotlist; there are {}", Category::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>().join(", "))]
pub struct CategoryError;

impl FromStr for Category {
    type Err = CategoryError;

    fn from_str(text: &str) -> Result<Self, CategoryError> {
        Self::ALL.iter().copied().find(|category| category.as_str() == text).ok_or(CategoryError)
    }
}

/// An entry of a hotlist. Two entries are the same when their canonical bytes are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The plate.
    pub plate: Plate,
    /// The issuing state or province, two letters.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why it is on the list.
    pub category: Category,
    /// The same in words.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of the case or of the record in its source.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub case_number: Option<String>,
    /// The person or the agency that entered it.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub entered_by: Option<String>,
    /// Whom to call.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The county of the source, as its number.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub county: Option<String>,
    /// The date of the loss or of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<Date>,
    /// The vehicle as the source writes it: year, make, model, style, colour.
    #[serde(default, deserialize_with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub vehicle: Option<String>,
    /// It matches nothing from this instant on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
}

impl Entry {
    /// An entry with a plate and a category, and nothing else said.
    #[must_use]
    pub fn new(plate: Plate, category: Category) -> Self {
        Self {
            plate,
            state: None,
            category,
            reason: None,
            case_number: None,
            entered_by: None,
            contact: None,
            county: None,
            dated: None,
            vehicle: None,
            expires_at: None,
        }
    }

    /// Whether every text in it has a length that an entry may have.
    #[must_use]
    pub fn bounded(&self) -> bool {
        let texts = [
            &self.reason,
            &self.case_number,
            &self.entered_by,
            &self.contact,
            &self.county,
            &self.vehicle,
            &self.state,
        ];
        texts.into_iter().flatten().all(|text| text.chars().count() <= MAX_TEXT)
    }
}

impl fmt::Debug for Entry {
    /// Neither plate nor case, name or number: an entry may come into a log by its `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, ..)", self.category)
    }
}

/// How long a shared list may be used: from what its owner last asserted, as its receiver heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the owner asserted the list, by the owner's clock.
    pub asserted_at: Instant,
    /// When that was received, by ours.
    pub received_at: Instant,
    /// How long it lives, in microseconds.
    pub lasts: i64,
    /// When the agreement ends by itself: nothing of it is used from then on.
    pub sunset: Instant,
}

impl Lease {
    /// The first instant at which nothing of the list is usable: `min(asserted_at, received_at)` and what it lasts, and
    /// never over 24 hours (V-26); at the latest the agreement's sunset (V-27).
    #[must_use]
    pub fn ends(self) -> Instant {
        let lasts = self.lasts.clamp(0, Instant::DAY);
        self.asserted_at.min(self.received_at).plus(lasts).min(self.sunset)
    }

    /// Whether the list may be used at `now`.
    #[must_use]
    pub fn lives(self, now: Instant) -> bool {
        now < self.ends()
    }
}

/// What a puller has of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Have {
    /// The owner's number of the version.
    pub version: u64,
    /// The digest of what of it was shared: see [`Asserted::contents`].
    pub contents: Digest,
}

/// The newest version of a partner's hotlist is asked for (kind `hotlist.pulled`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// [`crate::message::PROTOCOL`].
    pub v: u16,
    /// The owner, under the agreement that grants the list.
    pub to: Vec<To>,
    /// The list's name.
    #[serde(deserialize_with = "json::text")]
    pub list: String,
    /// What the puller has, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Have>,
}

/// The owner's assertion of a list to one partner (kind `hotlist.asserted`). It counts from the instant of its leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// [`crate::message::PROTOCOL`].
    pub v: u16,
    /// The puller, under the agreement that the pull named.
    pub to: Vec<To>,
    /// The leaf hash of the pull.
    pub pull: Digest,
    /// The list's name.
    #[serde(deserialize_with = "json::text")]
    pub list: String,
    /// What was decided.
    pub outcome: Outcome,
}

/// What an owner decided about a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The list as it is now; its entries follow as bulk.
    Asserted(Asserted),
    /// Nothing, and why.
    Denied {
        /// The rules that denied it; the first decided.
        rules: Vec<RuleSaid>,
        /// Where the agreement stands, when it is not in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<Status>,
    },
}

/// What is asserted of a list, and the bulk that follows: lines of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asserted {
    /// The owner's number of the version; 0 when nothing was ever loaded.
    pub version: u64,
    /// When the source was last loaded at the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_loaded_at: Option<Instant>,
    /// The categories of the grant: entries of others are not shared.
    pub categories: Vec<Category>,
    /// How many entries of these categories the version has.
    pub entries: u64,
    /// SHA-256 over the SHA-256s of these entries' canonical bytes, in ascending order.
    pub contents: Digest,
    /// From which version the bulk leads to this one; absent when the bulk is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// How many lines add an entry.
    pub added: u64,
    /// How many lines take one away.
    pub removed: u64,
    /// SHA-256 of the bulk's bytes.
    pub bulk: Digest,
}

macro_rules! messages {
    ($($name:ident)*) => {$(
        impl Versioned for $name {}

        impl Message for $name {
            fn version(&self) -> u16 {
                self.v
            }

            fn to(&self) -> &[To] {
                &self.to
            }
        }
    )*};
}
messages!(Pull Assertion);

/// The right to be told a list until an instant. Only [`decide_pull`] makes one.
#[derive(Debug)]
pub struct HotlistPermit {
    agreement: AgreementId,
    list: String,
    categories: Vec<Category>,
    dies: Instant,
    epoch: i64,
}

impl HotlistPermit {
    /// The agreement that it stands on.
    #[must_use]
    pub fn agreement(&self) -> AgreementId {
        self.agreement
    }

    /// The list.
    #[must_use]
    pub fn list(&self) -> &str {
        &self.list
    }

    /// Its categories that may be told, in ascending order.
    #[must_use]
    pub fn categories(&self) -> &[Category] {
        &self.categories
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

    /// Whether it allows what `other` does.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (self.agreement, &self.list, &self.categories) == (other.agreement, &other.list, &other.categories)
    }
}

/// Decides whether the partner of `standing` is told the list `list`: the agreement is in force at this instant, and it
/// grants this list in this direction (V-03, V-26, V-27). A category of the grant that does not exist is told nothing.
///
/// # Errors
/// The denial.
pub fn decide_pull(list: &str, standing: &Standing, now: Instant) -> Result<HotlistPermit, Denial> {
    let deny = |rule, status| Err(Denial { rules: vec![rule], status });
    let status = standing.status(now);
    let (Status::InForce { until: dies }, Some(agreement)) = (&status, &standing.agreement) else {
        return deny(Rule::AgreementInForce, Some(status));
    };
    let Some(grant) = agreement.hotlist_grant(standing.owner, standing.partner, list) else {
        return deny(Rule::GrantExists, None);
    };
    Ok(HotlistPermit {
        agreement: agreement.id,
        list: list.to_owned(),
        categories: categories(&grant.categories),
        dies: *dies,
        epoch: standing.epoch,
    })
}

/// The categories that a grant's names stand for, in ascending order.
#[must_use]
pub fn categories(names: &[String]) -> Vec<Category> {
    let mut known: Vec<Category> = names.iter().filter_map(|name| name.parse().ok()).collect();
    known.sort_unstable();
    known.dedup();
    known
}

/// A list as a partner is told of it between pulls: enough to see that it moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    /// Its name.
    #[serde(deserialize_with = "json::text")]
    pub list: String,
    /// The agreement that grants it.
    pub agreement: AgreementId,
    /// The owner's number of the version.
    pub version: u64,
}

impl Versioned for Offers {}

/// The lists that an owner shares with the asking partner now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offers {
    /// [`crate::message::PROTOCOL`].
    pub v: u16,
    /// Whose they are.
    pub owner: Ori,
    /// The lists.
    pub lists: Vec<Offered>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_ends_24_hours_after_the_earlier_of_asserted_and_received_to_the_microsecond() {
        let asserted_at = at("2026-11-23T00:00:00Z");
        let far = at("2027-11-23T00:00:00Z");
        let lease = |received_at| Lease { asserted_at, received_at, lasts: Instant::DAY, sunset: far };
        for received_at in [asserted_at, asserted_at.plus(3 * Instant::MINUTE)] {
            assert!(lease(received_at).lives(at("2026-11-23T23:59:59.999999Z")));
            assert!(!lease(received_at).lives(at("2026-11-24T00:00:00.000000Z")));
        }
        let early = lease(asserted_at.plus(-2 * Instant::MINUTE));
        assert!(early.lives(at("2026-11-23T23:57:59.999999Z")) && !early.lives(at("2026-11-23T23:58:00Z")));
    }

    #[test]
    fn a_lease_is_never_longer_than_a_day_nor_than_the_agreement() {
        let now = at("2026-11-23T00:00:00Z");
        let far = now.plus(90 * Instant::DAY);
        let long = Lease { asserted_at: now, received_at: now, lasts: 3 * Instant::DAY, sunset: far };
        assert_eq!(long.ends(), now.plus(Instant::DAY));
        let short = Lease { lasts: 6 * Instant::HOUR, ..long };
        assert_eq!(short.ends(), now.plus(6 * Instant::HOUR));
        let ending = Lease { sunset: now.plus(Instant::HOUR), ..long };
        assert!(ending.lives(now.plus(Instant::HOUR - 1)) && !ending.lives(now.plus(Instant::HOUR)));
    }

    #[test]
    fn there_is_no_category_of_immigration() {
        for name in ["immigration_violator", "N", "n", "immigration", "ICE", "civil_immigration"] {
            assert_eq!(name.parse::<Category>(), Err(CategoryError), "{name}");
            assert!(serde_json::from_value::<Category>(name.into()).is_err(), "{name}");
        }
        for category in Category::ALL {
            assert_eq!(serde_json::to_string(category).unwrap(), format!("\"{category}\""));
            assert_eq!(category.as_str().parse(), Ok(*category));
        }
        assert!(Category::ALL.is_sorted());
    }

    #[test]
    fn an_entry_has_one_written_form_and_no_unknown_field() {
        let mut entry = Entry::new("7ABC123".parse().unwrap(), Category::StolenVehicle);
        entry.state = Some("CA".to_owned());
        entry.dated = Some(jiff::civil::date(2026, 3, 6));
        let bytes = json::canonical(&entry).unwrap();
        let back: Entry = json::parse(&bytes).unwrap();
        assert_eq!(back, entry);
        assert_eq!(json::canonical(&back).unwrap(), bytes);
        let text = String::from_utf8(bytes).unwrap().replace("\"plate\"", "\"N\":1,\"plate\"");
        assert!(json::parse::<Entry>(text.as_bytes()).is_err());
        assert!(!format!("{entry:?}").contains("7ABC123"));
    }
}
