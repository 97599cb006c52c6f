//! What must hold of a read's values, whatever format they came in.

use std::ops::RangeInclusive;

use agreements::plate::Plate;
use agreements::time::Instant;

use super::field::{LineError, Problem, wrong};

/// 2000-01-01T00:00:00Z in microseconds: a reader that says an earlier time has no clock.
const YEAR_2000: i64 = 946_684_800 * Instant::SECOND;

/// Decimal numbers of one meaning: their range, and the units in which they are kept.
pub(super) struct Scale {
    range: RangeInclusive<f64>,
    /// The range in words.
    says: &'static str,
    /// Units in one.
    units: f64,
}

/// Degrees, kept as microdegrees.
pub(super) const LATITUDE: Scale = Scale { range: -90.0..=90.0, says: "-90 to 90", units: 1e6 };
/// Degrees, kept as microdegrees.
pub(super) const LONGITUDE: Scale = Scale { range: -180.0..=180.0, says: "-180 to 180", units: 1e6 };
/// Percent, kept as thousandths.
pub(super) const CONFIDENCE: Scale = Scale { range: 0.0..=100.0, says: "0 to 100", units: 1000.0 };
/// Degrees clockwise from north, kept as hundredths.
pub(super) const DIRECTION: Scale = Scale { range: 0.0..=360.0, says: "0 to 360", units: 100.0 };

impl Scale {
    /// `number` in units, rounded to the nearest.
    pub(super) fn of(&self, field: &'static str, number: f64) -> Result<i32, LineError> {
        if !self.range.contains(&number) {
            return Err(wrong(field, Problem::Outside(self.says)));
        }
        #[expect(clippy::cast_possible_truncation, reason = "in range: at most 180 degrees in millionths, and rounded")]
        Ok((number * self.units).round() as i32)
    }
}

/// A full turn is none.
pub(super) fn direction(hundredths: i32) -> i32 {
    hundredths % 36_000
}

/// The plate.
pub(super) fn plate(field: &'static str, text: &str) -> Result<Plate, LineError> {
    text.parse().map_err(|error| wrong(field, Problem::Plate(error)))
}

/// A time at which a vehicle can have been seen: since the year 2000, and at most a day ahead of `now`.
pub(super) fn seen_at(field: &'static str, seen: Instant, now: Instant) -> Result<Instant, LineError> {
    match seen.micros() {
        ..0 => Err(wrong(field, Problem::Negative)),
        0..YEAR_2000 => Err(wrong(field, Problem::Early)),
        _ if seen > now.plus(Instant::DAY) => Err(wrong(field, Problem::Future)),
        _ => Ok(seen),
    }
}

/// Latitude and longitude are there together or not at all; `fields` names them.
pub(super) fn place(fields: [&'static str; 2], lat: Option<i32>, lon: Option<i32>) -> Result<(), LineError> {
    let [lat_field, lon_field] = fields;
    match (lat, lon) {
        (Some(_), None) => Err(wrong(lon_field, Problem::Missing)),
        (None, Some(_)) => Err(wrong(lat_field, Problem::Missing)),
        _ => Ok(()),
    }
}

/// The bytes of a JPEG of at most `limit` bytes.
pub(super) fn jpeg(field: &'static str, bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, LineError> {
    if bytes.len() > limit {
        return Err(wrong(field, Problem::Large(limit)));
    }
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err(wrong(field, Problem::Jpeg));
    }
    Ok(bytes)
}
