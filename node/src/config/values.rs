//! Values that a configuration may hold, each refused while the file is read if it cannot be.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::{Secret, SecretError};

/// Where a store is. `Debug` does not show it, because a PostgreSQL URL may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`: a file.
    Sqlite(PathBuf),
    /// `postgres://…`: a server, as libpq reads it.
    Postgres(String),
    /// One of these two, in an environment variable or a file of its own. A configuration that was loaded has none.
    Elsewhere(Secret),
}

/// A text that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a store is `sqlite:FILE` or `postgres://USER@HOST/DATABASE`")]
pub struct DatabaseUrlError;

/// Why a store's URL that is elsewhere is not there. It is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseSecretError {
    /// It cannot be fetched.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What is there names no store.
    #[error("what {0:?} holds: {1}")]
    Url(Secret, DatabaseUrlError),
}

impl DatabaseUrl {
    pub(super) fn resolve(&mut self, folder: &Path) {
        match self {
            Self::Sqlite(path) => *path = folder.join(&*path),
            Self::Elsewhere(secret) => secret.resolve(folder),
            Self::Postgres(_) => {}
        }
    }

    /// Fetches a URL that is elsewhere.
    pub(crate) fn reveal(&mut self) -> Result<(), DatabaseSecretError> {
        if let Self::Elsewhere(secret) = self {
            let url = secret.read()?.expose().parse();
            *self = url.map_err(|error| DatabaseSecretError::Url(secret.clone(), error))?;
        }
        Ok(())
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.len() > 2 && rest.starts_with("//") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err(DatabaseUrlError),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    /// The whole URL with any password: for opening the store, never for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(url),
            Self::Elsewhere(_) => f.write_str("(elsewhere)"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
            Self::Elsewhere(secret) => write!(f, "Elsewhere({secret:?})"),
        }
    }
}

/// The `https://HOST[:PORT]` of a node's peer port: no path, no user, no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    origin: String,
    host: String,
    port: u16,
}

/// A text that is no URL of a peer port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node's URL is `https://HOST` or `https://HOST:PORT` and nothing after it")]
pub struct HttpsUrlError;

impl HttpsUrl {
    /// `https://HOST[:PORT]`, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// The host: a DNS name or an address (of IPv6 in brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that partners dial: 443 when none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HttpsUrl {
    type Err = HttpsUrlError;

    fn from_str(text: &str) -> Result<Self, HttpsUrlError> {
        let url = reqwest::Url::parse(text).map_err(|_| HttpsUrlError)?;
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if url.scheme() != "https" || !bare || url.fragment().is_some() || url.path() != "/" {
            return Err(HttpsUrlError);
        }
        let host = url.host_str().ok_or(HttpsUrlError)?.to_owned();
        let port = url.port_or_known_default().ok_or(HttpsUrlError)?;
        Ok(Self { origin: url.as_str().trim_end_matches('/').to_owned(), host, port })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// An address that only this machine reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopbackAddr(SocketAddr);

/// An address that others reach, or none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this port has no login, so only this machine may reach it: write a loopback address, such as 127.0.0.1:7481")]
pub struct NotLoopback;

impl LoopbackAddr {
    /// 127.0.0.1 with `port`.
    #[must_use]
    pub const fn with_port(port: u16) -> Self {
        Self(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The address.
    #[must_use]
    pub const fn addr(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for LoopbackAddr {
    type Err = NotLoopback;

    fn from_str(text: &str) -> Result<Self, NotLoopback> {
        let addr: SocketAddr = text.parse().map_err(|_| NotLoopback)?;
        if addr.ip().is_loopback() { Ok(Self(addr)) } else { Err(NotLoopback) }
    }
}

impl fmt::Display for LoopbackAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What parts the columns of a CSV: one visible ASCII character other than a letter, a digit or a quote, or a tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiter(u8);

/// A text that parts no columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a delimiter is one character such as \",\", \";\", \"|\" or \"\\t\"; no letter, digit, quote, dot, hyphen or space"
)]
pub struct DelimiterError;

impl Delimiter {
    /// The character.
    #[must_use]
    pub fn byte(self) -> u8 {
        self.0
    }
}

impl Default for Delimiter {
    fn default() -> Self {
        Self(b',')
    }
}

impl FromStr for Delimiter {
    type Err = DelimiterError;

    fn from_str(text: &str) -> Result<Self, DelimiterError> {
        match text.as_bytes() {
            [byte] if *byte == b'\t' || (byte.is_ascii_punctuation() && !b"\"'.-+".contains(byte)) => Ok(Self(*byte)),
            _ => Err(DelimiterError),
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.0))
    }
}

/// The name of a source of reads in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceName(String);

/// A text that names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a source's name is 1 to 64 of a-z, A-Z, 0-9, hyphen and underscore")]
pub struct SourceNameError;

impl SourceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, SourceNameError> {
        let formed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if formed && (1..=64).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(SourceNameError) }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A zone in which vendors write local times. California has one; exports in UTC are the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeZoneName {
    /// `America/Los_Angeles`.
    LosAngeles,
    /// `UTC`.
    Utc,
}

/// A text that names neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the zones are America/Los_Angeles and UTC")]
pub struct TimeZoneNameError;

impl TimeZoneName {
    /// The zone.
    #[must_use]
    pub fn zone(self) -> TimeZone {
        static LOS_ANGELES: TimeZone = jiff::tz::get!("America/Los_Angeles");
        match self {
            Self::LosAngeles => LOS_ANGELES.clone(),
            Self::Utc => TimeZone::UTC,
        }
    }
}

impl FromStr for TimeZoneName {
    type Err = TimeZoneNameError;

    fn from_str(text: &str) -> Result<Self, TimeZoneNameError> {
        [Self::LosAngeles, Self::Utc].into_iter().find(|zone| zone.to_string() == text).ok_or(TimeZoneNameError)
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LosAngeles => "America/Los_Angeles",
            Self::Utc => "UTC",
        })
    }
}

/// How a vendor writes times, in the directives of `strftime`: at least the date, the hour and the minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFormat(String);

/// A text that says no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a form with date, hour and minute, such as %m/%d/%Y %H:%M:%S, or %Y-%m-%d %H:%M:%S %z with its zone")]
pub struct SeenFormatError;

impl SeenFormat {
    /// The form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the form has the zone, too.
    #[must_use]
    pub fn has_zone(&self) -> bool {
        self.specimen().is_some_and(|(_, offset)| offset)
    }

    /// A time written and read back in this form, and whether its zone was in it.
    fn specimen(&self) -> Option<(civil::DateTime, bool)> {
        let written = civil::date(2026, 11, 23).at(20, 17, 0, 0).to_zoned_datetime(TimeZone::UTC).ok()?;
        let text = strtime::format(&self.0, &written).ok()?;
        let read = strtime::parse(&self.0, &text).ok()?;
        Some((read.to_datetime().ok()?, read.offset().is_some()))
    }
}

impl FromStr for SeenFormat {
    type Err = SeenFormatError;

    fn from_str(text: &str) -> Result<Self, SeenFormatError> {
        let form = Self(text.to_owned());
        match form.specimen() {
            Some((read, _)) if read == civil::date(2026, 11, 23).at(20, 17, 0, 0) => Ok(form),
            _ => Err(SeenFormatError),
        }
    }
}

impl fmt::Display for SeenFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Serialises through `Display` and back through `FromStr`.
macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Delimiter HttpsUrl LoopbackAddr SeenFormat SourceName TimeZoneName);

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Elsewhere(secret) => secret.serialize(serializer),
            here => serializer.collect_str(here),
        }
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadingUrl)
    }
}

struct ReadingUrl;

impl<'de> Visitor<'de> for ReadingUrl {
    type Value = DatabaseUrl;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store's URL, { env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<DatabaseUrl, E> {
        url.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DatabaseUrl, A::Error> {
        Secret::deserialize(MapAccessDeserializer::new(map)).map(DatabaseUrl::Elsewhere)
    }
}

/// A value that is not known yet is written as the empty string, so that its key can stand in the file.
pub(super) mod blank {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` calls it with a reference to the field")]
    pub(in crate::config) fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_str(""),
        }
    }

    pub(in crate::config) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display> + Display,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        let value: T = text.parse().map_err(serde::de::Error::custom)?;
        // A date parser also takes a date with a time of day behind it, which would be dropped without a word.
        if value.to_string() == text {
            Ok(Some(value))
        } else {
            Err(serde::de::Error::custom(format!("write {value}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_csv_files_are_written_with() {
        for good in [",", ";", "|", "\t"] {
            assert_eq!(good.parse::<Delimiter>().unwrap().to_string(), good);
        }
        for bad in ["", ",,", "\"", "a", "1", ".", "-", " ", "\n", "\r", "\u{e9}"] {
            assert_eq!(bad.parse::<Delimiter>(), Err(DelimiterError), "{bad:?}");
        }
        for (good, zone) in [("%m/%d/%Y %H:%M:%S", false), ("%Y%m%d %I:%M %p", false), ("%F %T %z", true)] {
            assert_eq!(good.parse::<SeenFormat>().map(|form| form.has_zone()), Ok(zone), "{good}");
        }
        for bad in ["", "%m/%d/%Y", "%H:%M", "%m/%d %H:%M", "%Q", "%m/%d/%Y %I:%M"] {
            assert_eq!(bad.parse::<SeenFormat>(), Err(SeenFormatError), "{bad}");
        }
        assert_eq!("UTC".parse(), Ok(TimeZoneName::Utc));
        assert_eq!("America/New_York".parse::<TimeZoneName>(), Err(TimeZoneNameError));
        assert!("acme-2".parse::<SourceName>().is_ok() && "a b".parse::<SourceName>().is_err());
    }

    #[test]
    fn stores_urls_and_addresses_are_what_they_must_be() {
        assert_eq!("sqlite:a.db".parse(), Ok(DatabaseUrl::Sqlite("a.db".into())));
        assert!("postgresql://db/reads".parse::<DatabaseUrl>().is_ok());
        for bad in ["a.db", "sqlite:", "mysql://db", "postgres:", "postgres://", ""] {
            assert_eq!(bad.parse::<DatabaseUrl>(), Err(DatabaseUrlError), "{bad}");
        }
        let url: HttpsUrl = "https://Alder.example:7443/".parse().unwrap();
        assert_eq!((url.as_str(), url.host(), url.port()), ("https://alder.example:7443", "alder.example", 7443));
        assert_eq!("https://alder.example".parse::<HttpsUrl>().unwrap().port(), 443);
        for bad in ["http://a", "https://", "https://u@a", "https://a/x", "https://a/?q", "https://a/#f", "alder"] {
            assert_eq!(bad.parse::<HttpsUrl>(), Err(HttpsUrlError), "{bad}");
        }
        assert!("[::1]:7481".parse::<LoopbackAddr>().is_ok());
        for bad in ["0.0.0.0:7481", "[::]:7481", "10.0.0.1:7481", "127.0.0.1", "localhost:7481"] {
            assert_eq!(bad.parse::<LoopbackAddr>(), Err(NotLoopback), "{bad}");
        }
    }
}
