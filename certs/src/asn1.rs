//! Times as certificates hold them: whole seconds.

use agreements::time::Instant;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;

/// `instant`, rounded down to the second. OpenSSL writes `UTCTime` to 2049 and
/// `GeneralizedTime` after (RFC 5280, section 4.1.2.5).
pub(crate) fn time(instant: Instant) -> Result<Asn1Time, ErrorStack> {
    Asn1Time::from_unix(instant.micros().div_euclid(Instant::SECOND))
}

/// An [`Instant`] from seconds since the Unix epoch.
pub(crate) fn instant(seconds: i64) -> Instant {
    Instant::from_micros(seconds.saturating_mul(Instant::SECOND))
}
