//! What a hold covers (VI-06 to VI-16): records that nobody deletes while it stands, however old they are.

use serde::{Deserialize, Serialize};

use crate::ids::{Ori, RequestId};
use crate::time::Instant;

/// The most single entries that one hold names.
pub const MAX_ENTRIES: usize = 1000;

/// What a hold covers: the entries that it names one by one, and those for which everything else that it says holds. What is
/// recorded later is covered as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Covers {
    /// These, by their ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<RequestId>,
    /// What is about this agency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner: Option<Ori>,
    /// What is about this plate, normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plate: Option<String>,
    /// What names this file, as `case:2026-118842`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What happened at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Instant>,
    /// What happened before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    /// What this person did, or was done for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// What of a record matters to a hold.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its id.
    pub rid: RequestId,
    /// When it happened.
    pub at: Instant,
    /// The other agencies.
    pub partners: &'a [Ori],
    /// The plate, normalised.
    pub plate: Option<&'a str>,
    /// The file.
    pub reference: Option<&'a str>,
    /// The person.
    pub username: Option<&'a str>,
}

impl Covers {
    /// Why it is no cover of a hold; `None` if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        if self.entries.is_empty() && !self.has_terms() {
            return Some(
                "a hold names what it covers: a file, a partner, a plate, a person, a time, or single entries by their ids",
            );
        }
        if self.entries.len() > MAX_ENTRIES {
            return Some(
                "a hold names at most 1000 single entries: cover them by what they are about, or by several holds",
            );
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Some("the time that it covers ends before it begins");
        }
        None
    }

    /// Whether a record is covered.
    #[must_use]
    pub fn covers(&self, about: &About<'_>) -> bool {
        let Self { entries, partner, plate, reference, since, until, username } = self;
        let same = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|it| found == Some(it));
        entries.contains(&about.rid)
            || self.has_terms()
                && partner.is_none_or(|partner| about.partners.contains(&partner))
                && same(plate, about.plate)
                && same(reference, about.reference)
                && same(username, about.username)
                && since.is_none_or(|since| about.at >= since)
                && until.is_none_or(|until| about.at < until)
    }

    /// Whether it says more than single entries.
    #[must_use]
    pub fn has_terms(&self) -> bool {
        let Self { entries: _, partner, plate, reference, since, until, username } = self;
        let texts = [plate, reference, username].iter().any(|text| text.is_some());
        texts || partner.is_some() || since.is_some() || until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Instant {
        "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(hour * Instant::HOUR)
    }

    #[test]
    fn each_term_narrows_and_single_entries_are_covered_whatever_the_terms_say() {
        let text = |text: &str| Some(text.to_owned());
        let rid = |n| RequestId::new(at(0), [n; 10]);
        let partner: Ori = "CA0990100".parse().unwrap();
        let other: Ori = "CA0990300".parse().unwrap();
        let about = About {
            rid: rid(1),
            at: at(0),
            partners: &[other, partner],
            plate: Some("7ABC123"),
            reference: Some("case:2026-1"),
            username: Some("indigo"),
        };
        let none = Covers::default();
        assert!(none.problem().is_some() && !none.covers(&about));
        let all = Covers {
            entries: Vec::new(),
            partner: Some(partner),
            plate: text("7ABC123"),
            reference: text("case:2026-1"),
            since: Some(at(0)),
            until: Some(at(1)),
            username: text("indigo"),
        };
        assert!(all.problem().is_none() && all.covers(&about));
        for other in [
            Covers { partner: "CA0990200".parse().ok(), ..all.clone() },
            Covers { plate: text("7ABC124"), ..all.clone() },
            Covers { reference: text("cad:2026-1"), ..all.clone() },
            Covers { since: Some(at(0).plus(1)), ..all.clone() },
            Covers { since: None, until: Some(at(0)), ..all.clone() },
            Covers { username: text("avery"), ..all.clone() },
        ] {
            assert!(!other.covers(&about), "{other:?}");
            assert!(Covers { entries: vec![rid(1)], ..other }.covers(&about));
        }
        let one = Covers { entries: vec![rid(1)], ..none };
        assert!(one.covers(&about) && !one.covers(&About { rid: rid(2), ..about }));
        let both = Covers { partner: Some(other), ..all.clone() };
        assert!(both.covers(&about), "it is about each of them");
        let unknown = About { plate: None, ..about };
        assert!(!all.covers(&unknown), "what says no plate is not about this one");
        assert!(Covers { until: Some(at(0)), ..all }.problem().is_some());
        assert!(Covers { entries: vec![rid(1); MAX_ENTRIES + 1], ..Covers::default() }.problem().is_some());
    }
}
