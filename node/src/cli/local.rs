//! Dates and times as people write and read them: `America/Los_Angeles`.

use agreements::time::Instant;
use jiff::civil::Date;
use jiff::tz::TimeZone;

static LOS_ANGELES: TimeZone = jiff::tz::get!("America/Los_Angeles");

/// A date such as `2026-11-23`, and nothing behind it.
pub(super) fn date(text: &str) -> Result<Date, String> {
    text.parse()
        .ok()
        .filter(|date: &Date| date.to_string() == text)
        .ok_or_else(|| "write a date of the calendar as YEAR-MONTH-DAY, such as 2026-11-23".to_owned())
}

/// A date, which means its first instant, or a time of RFC 3339.
pub(super) fn instant(text: &str) -> Result<Instant, String> {
    let midnight = date(text).ok().and_then(Instant::start_of);
    midnight.or_else(|| text.parse().ok()).ok_or_else(|| {
        "write a date such as 2026-11-23 (from midnight in Los Angeles), or a time with its zone such as \
         2026-11-23T12:17:00-08:00"
            .to_owned()
    })
}

/// A time to the second, with its zone.
pub(super) fn shown(at: Instant) -> String {
    match jiff::Timestamp::from_microsecond(at.micros()) {
        Ok(stamp) => stamp.to_zoned_datetime(LOS_ANGELES.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_and_read() {
        assert_eq!(instant("2027-07-15").unwrap(), "2027-07-15T07:00:00Z".parse().unwrap());
        assert_eq!(instant("2026-11-23T12:17:00-08:00").unwrap(), "2026-11-23T20:17:00Z".parse().unwrap());
        for wrong in ["2026-02-30", "11/23/2026", "2026-11-23T12:17:00", "yesterday", "2026-1-2", ""] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
        assert!(date("2026-11-23T12:17:00").is_err());
        assert_eq!(shown("2026-11-23T20:17:00Z".parse().unwrap()), "2026-11-23 12:17:00 PST");
        assert_eq!(shown("2027-07-15T07:00:00Z".parse().unwrap()), "2027-07-15 00:00:00 PDT");
    }
}
