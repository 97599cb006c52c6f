//! The names and addresses under which a node is reached.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A DNS name in lower case, or an IP address. No wildcard: a certificate names one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Form);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Dns(String),
    Ip(IpAddr),
}

/// A text that is neither a DNS name nor an IP address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a DNS name such as alpr.example.ca.gov (letters, digits, hyphens; no wildcard, port or scheme) nor an IP address"
)]
pub struct HostError(String);

impl Host {
    /// The address, if this is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.0 {
            Form::Ip(ip) => Some(*ip),
            Form::Dns(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self(Form::Ip(ip))
    }
}

impl FromStr for Host {
    type Err = HostError;

    /// RFC 1123, section 2.1, and RFC 1035, section 2.3.4; international names in their `xn--` form.
    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self(Form::Ip(ip)));
        }
        // A last label of digits only would be read as an IPv4 address by some readers (RFC 3696, section 2).
        let last_is_a_name = text.rsplit('.').next().is_some_and(|label| !label.bytes().all(|b| b.is_ascii_digit()));
        if text.len() <= 253 && last_is_a_name && text.split('.').all(is_label) {
            Ok(Self(Form::Dns(text.to_ascii_lowercase())))
        } else {
            Err(HostError(text.chars().take(60).collect()))
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Dns(name) => f.write_str(name),
            Form::Ip(ip) => fmt::Display::fmt(ip, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for (text, shown) in [
            ("Alpr.Example.CA.gov", "alpr.example.ca.gov"),
            ("localhost", "localhost"),
            ("::1", "::1"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
        let long = format!("{}.gov", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            "*.a.gov",
            "a_b.gov",
            "-a.gov",
            "a b",
            "a:8443",
            "https://a",
            "1.2.3.4.5",
            "256.0.0.1",
            &long,
            "é.gov",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
