//! Instants and civil dates. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Agreements take effect and sunset at midnight of this zone.
static LOS_ANGELES: TimeZone = jiff::tz::get!("America/Los_Angeles");

/// Microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC with exactly six decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// One second, in microseconds.
    pub const SECOND: i64 = 1_000_000;
    /// One minute, in microseconds.
    pub const MINUTE: i64 = 60 * Self::SECOND;
    /// One hour, in microseconds.
    pub const HOUR: i64 = 60 * Self::MINUTE;
    /// Twenty-four hours, in microseconds.
    pub const DAY: i64 = 24 * Self::HOUR;

    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This instant moved by `micros` (may be negative); stops at the ends of the type.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Reads the one form in which an instant is written.
    #[must_use]
    pub fn from_written(text: &str) -> Option<Self> {
        let instant: Self = text.parse().ok()?;
        (instant.to_string() == text).then_some(instant)
    }

    /// Microseconds from `earlier` to this instant; negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// 00:00 `America/Los_Angeles` at the start of `date`. `None` outside the years that a timestamp can hold.
    #[must_use]
    pub fn start_of(date: Date) -> Option<Self> {
        let zoned = date.to_datetime(jiff::civil::Time::midnight()).to_zoned_datetime(LOS_ANGELES.clone()).ok()?;
        Some(Self(zoned.timestamp().as_microsecond()))
    }

    /// The same time of day on the same date `years` later, by the calendar and the wall clocks of `America/Los_Angeles`. A
    /// date that there is not is the one after it, and so is a time of day that is skipped. `None` outside the years that a
    /// date can hold.
    #[must_use]
    pub fn years_later(self, years: u16) -> Option<Self> {
        let stamp = jiff::Timestamp::from_microsecond(self.0).ok()?;
        let then = stamp.to_zoned_datetime(LOS_ANGELES.clone()).datetime();
        let year = then.year().checked_add(i16::try_from(years).ok()?)?;
        // Only the 29th of February can be missing.
        let date = Date::new(year, then.month(), then.day()).or_else(|_| Date::new(year, 3, 1)).ok()?;
        let zoned = date.to_datetime(then.time()).to_zoned_datetime(LOS_ANGELES.clone()).ok()?;
        Some(Self(zoned.timestamp().as_microsecond()))
    }

    /// The date in `America/Los_Angeles` at this instant. `None` outside the years that a date can hold.
    #[must_use]
    pub fn date(self) -> Option<Date> {
        let stamp = jiff::Timestamp::from_microsecond(self.0).ok()?;
        Some(stamp.to_zoned_datetime(LOS_ANGELES.clone()).date())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// A text that is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time; write RFC 3339 with a zone, such as 2026-11-23T20:17:00Z or 2026-11-23T12:17:00-08:00")]
pub struct InstantError(String);

impl FromStr for Instant {
    type Err = InstantError;

    /// Any RFC 3339 time with a zone, to the microsecond.
    fn from_str(text: &str) -> Result<Self, InstantError> {
        let stamp: jiff::Timestamp = text.parse().map_err(|_| InstantError(text.chars().take(40).collect()))?;
        Ok(Self(stamp.as_microsecond()))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    /// Only the one written form, so that equal times are equal bytes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(instant) = Self::from_written(&text) {
            return Ok(instant);
        }
        let instant: Self = text.parse().map_err(serde::de::Error::custom)?;
        Err(serde::de::Error::custom(format_args!("write this time as {instant}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn midnight_in_los_angeles_in_both_seasons() {
        assert_eq!(Instant::start_of(date(2027, 1, 15)).unwrap().to_string(), "2027-01-15T08:00:00.000000Z");
        assert_eq!(Instant::start_of(date(2027, 7, 15)).unwrap().to_string(), "2027-07-15T07:00:00.000000Z");
        let start = Instant::start_of(date(2027, 7, 15)).unwrap();
        assert_eq!(start.date(), Some(date(2027, 7, 15)));
        assert_eq!(start.plus(-1).date(), Some(date(2027, 7, 14)));
    }

    #[test]
    fn one_written_form() {
        let text = "\"2026-11-23T20:17:00.000001Z\"";
        let instant: Instant = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&instant).unwrap(), text);
        for other in [
            "\"2026-11-23T20:17:00Z\"",
            "\"2026-11-23T12:17:00.000001-08:00\"",
            "\"2026-02-30T00:00:00.000000Z\"",
            "\"now\"",
        ] {
            assert!(serde_json::from_str::<Instant>(other).is_err(), "{other}");
        }
        assert_eq!("2026-11-23T12:17:00-08:00".parse::<Instant>().unwrap().to_string(), "2026-11-23T20:17:00.000000Z");
    }
}
