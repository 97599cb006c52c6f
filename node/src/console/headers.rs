//! The headers of every reply of the console, whatever its status.

use actix_web::middleware::DefaultHeaders;

/// Nothing is loaded but our own stylesheet, nothing is framed, sent on, guessed or kept.
pub(super) const STRICT: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),
];

pub(super) fn strict() -> DefaultHeaders {
    STRICT.into_iter().fold(DefaultHeaders::new(), DefaultHeaders::add)
}
