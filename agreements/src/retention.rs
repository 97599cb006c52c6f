//! How long a trail keeps what its entries say: a closed table by kind, and two years by the calendar (V-14, IX-05).
//!
//! Only what an entry says is ever deleted: its message, its note and their salts. Its leaf, and the tree, stay for ever.

use crate::entry::Kind;
use crate::time::Instant;

/// The fewest years for which what entries say is kept.
pub const MIN_YEARS: u16 = 2;
/// The clauses that say so.
pub const CLAUSES: [&str; 2] = ["V-14", "IX-05"];

/// What becomes of what an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// It is kept as long as the trail, for this reason: what the node does stands on it.
    Kept(&'static str),
    /// It is deleted some day after its retention: it tells of one exchange or one look, and nothing stands on it.
    Expire,
}

impl Kind {
    /// What becomes of what entries of this kind say.
    #[must_use]
    pub fn details(self) -> Details {
        match self {
            Self::QueryAsked
            | Self::QueryAnswered
            | Self::QueryReceived
            | Self::QueryRefused
            | Self::AccessCompared
            | Self::ReadsIngested
            | Self::RefusedCounted
            | Self::TrailSearched
            | Self::TrailExported
            | Self::HotlistLoaded
            | Self::HotlistPulled
            | Self::HotlistAsserted
            | Self::HotlistReceived
            | Self::HotlistErased
            | Self::HitMatched
            | Self::HitVerified
            | Self::HitListed => Details::Expire,
            Self::AgreementOffered | Self::AgreementEvent | Self::AgreementAcknowledged => {
                Details::Kept("agreements and their event streams are computed from it")
            }
            Self::EventRecovered => Details::Kept("the own event streams are computed from it"),
            Self::PeerEnrolled | Self::KeysChanged | Self::TrailForked | Self::EpochOpened => {
                Details::Kept("it says whose keys count, and since when")
            }
            Self::AgFinding | Self::AgCheck | Self::RegisterImported => {
                Details::Kept("the register of findings is held to it")
            }
            Self::UserChanged | Self::TrainingRecorded | Self::AgentChanged => {
                Details::Kept("accounts, training and agents are held to it")
            }
            Self::ReviewOpened | Self::ReviewClosed | Self::PolicyChecked => {
                Details::Kept("reviews of partners are computed from it")
            }
            Self::PacketSealed
            | Self::PacketSent
            | Self::PacketReceived
            | Self::RenewalReviewed
            | Self::ApprovalGiven
            | Self::AuthorizationGiven => Details::Kept("signatures and renewals stand on it"),
            Self::ChangeProposed | Self::ChangeSettled | Self::HotlistAccepted => {
                Details::Kept("it is what people decided, and still counts")
            }
            Self::TrailReconciled | Self::DiscrepancyOpened | Self::DiscrepancyClosed => Details::Kept(
                "cases of differing trails are computed from it, and it names nobody who asked for anything",
            ),
            Self::HoldRequested
            | Self::HoldApproved
            | Self::HoldRefused
            | Self::HoldReleaseAsked
            | Self::HoldReleased => Details::Kept("holds are computed from it"),
            Self::RetentionDeleted => Details::Kept("it says what was deleted, and by which rule"),
        }
    }

    /// Whether what entries of this kind say is deleted some day after its retention.
    #[must_use]
    pub fn expires(self) -> bool {
        self.details() == Details::Expire
    }
}

/// The first instant at which what was recorded `at` may be deleted, when it is kept for `years`: the same time of the same
/// date so many years later, in Los Angeles; for the 29th of February that of the 1st of March where there is none. `None`
/// outside the years that a date can hold: then it is not deleted.
#[must_use]
pub fn kept_until(at: Instant, years: u16) -> Option<Instant> {
    at.years_later(years.max(MIN_YEARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    #[test]
    fn two_years_are_two_years_of_the_calendar() {
        for (recorded, years, until) in [
            // 731 days, with a leap day between.
            ("2026-11-23T12:17:00-08:00", 2, "2028-11-23T12:17:00-08:00"),
            // 730 days.
            ("2028-03-01T00:00:00-08:00", 2, "2030-03-01T00:00:00-08:00"),
            // There is no such day: the next one.
            ("2028-02-29T23:59:59.999999-08:00", 2, "2030-03-01T23:59:59.999999-08:00"),
            ("2028-02-29T00:00:00-08:00", 4, "2032-02-29T00:00:00-08:00"),
            // In summer then and in winter now, and the other way: the time of day is that of the wall.
            ("2026-03-10T12:00:00-07:00", 2, "2028-03-10T12:00:00-08:00"),
            // An hour that there is not on that day: the one after it.
            ("2027-03-12T02:30:00-08:00", 2, "2029-03-12T02:30:00-07:00"),
            ("2026-11-23T12:17:00-08:00", 5, "2031-11-23T12:17:00-08:00"),
            // Less than two years there is not.
            ("2026-11-23T12:17:00-08:00", 0, "2028-11-23T12:17:00-08:00"),
        ] {
            assert_eq!(kept_until(at(recorded), years), Some(at(until)), "{recorded}");
        }
        assert_eq!(kept_until(Instant::from_micros(i64::MAX), 2), None);
    }

    #[test]
    fn no_day_of_eight_years_is_kept_for_less_than_730_days() {
        let mut day = at("2026-01-01T09:30:00-08:00");
        for _ in 0..8 * 366 {
            let until = kept_until(day, 2).unwrap();
            let days = until.since(day) / Instant::DAY;
            assert!((730..=731).contains(&days) || until.since(day) >= 730 * Instant::DAY - Instant::HOUR, "{day}");
            day = day.plus(Instant::DAY);
        }
    }
}
