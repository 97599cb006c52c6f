//! Mail: how the node sends it, and to whom.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lettre::Address;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::Secret;
use super::values::blank;

/// `[mail]`: how mail leaves, and who gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mail {
    /// How mail leaves.
    pub backend: MailBackend,
    /// The mail server: a name, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection to it is protected.
    pub tls: MailTls,
    /// CAs that the server's certificate may come from besides the system's, PEM files.
    pub ca: Vec<PathBuf>,
    /// The account on the server; blank if it wants none.
    pub username: String,
    /// That account's password; read only when there is a username.
    pub password: Secret,
    /// The sender's address.
    #[serde(with = "blank")]
    pub from: Option<MailAddress>,
    /// The folder of the backend `file`.
    pub folder: PathBuf,
    /// Who gets what agreements administrators must know.
    pub administrators: Vec<MailAddress>,
    /// Who gets what the custodian must know.
    pub custodians: Vec<MailAddress>,
    /// Who gets what system administrators must know.
    pub operators: Vec<MailAddress>,
}

/// How mail leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailBackend {
    /// It does not: what is queued waits.
    Off,
    /// Over a mail server.
    Smtp,
    /// Into a folder, one `.eml` file for each.
    File,
    /// Into this process's memory, for demonstrations: it is gone when the node stops.
    Memory,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// TLS after STARTTLS, without which nothing is sent (usually port 587).
    Starttls,
    /// TLS from the first byte (usually port 465).
    Tls,
    /// Not at all: to a server on this machine alone.
    None,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            backend: MailBackend::Off,
            host: String::new(),
            port: 587,
            tls: MailTls::Starttls,
            ca: Vec::new(),
            username: String::new(),
            password: Secret::Env("CONCORDAT_SMTP_PASSWORD".to_owned()),
            from: None,
            folder: "mail".into(),
            administrators: Vec::new(),
            custodians: Vec::new(),
            operators: Vec::new(),
        }
    }
}

impl Mail {
    pub(super) fn resolve(&mut self, folder: &Path) {
        for path in self.ca.iter_mut().chain([&mut self.folder]) {
            *path = folder.join(&*path);
        }
        self.password.resolve(folder);
    }

    /// What of it cannot be, although each value alone can: the key, and what to write.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.backend == MailBackend::Off {
            return None;
        }
        if self.from.is_none() {
            return Some(("mail.from", "name the sender's address, such as alpr@agency.example"));
        }
        if self.backend != MailBackend::Smtp {
            return None;
        }
        if self.host.trim().is_empty() {
            return Some(("mail.host", "name the mail server"));
        }
        let here = self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        (self.tls == MailTls::None && !here).then_some((
            "mail.tls",
            "mail to another machine is encrypted: write starttls or tls; none is for a server on loopback",
        ))
    }
}

/// A mail address, such as `agreements@agency.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress(Address);

/// A text that is no mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a mail address is written as NAME@DOMAIN and nothing around it")]
pub struct MailAddressError;

impl MailAddress {
    /// The address as the mail library has it.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0
    }
}

impl FromStr for MailAddress {
    type Err = MailAddressError;

    fn from_str(text: &str) -> Result<Self, MailAddressError> {
        let ascii = text.is_ascii();
        text.parse().ok().filter(|_| ascii).map(Self).ok_or(MailAddressError)
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for MailAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::alder;
    use super::super::{Config, TextError};
    use super::*;

    fn problem_of(change: impl FnOnce(&mut Mail)) -> Option<(String, bool)> {
        let mut config = Config::new(alder());
        config.mail.backend = MailBackend::Smtp;
        config.mail.host = "mail.alder.example".to_owned();
        config.mail.from = Some("alpr@alder.example".parse().unwrap());
        change(&mut config.mail);
        match Config::parse(&config.to_toml()) {
            Ok(read) => {
                assert_eq!(read, config);
                None
            }
            Err(TextError::Value { key, line, .. }) => Some((key.unwrap(), line.is_some())),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key_and_line() {
        let said = |key: &str| Some((key.to_owned(), true));
        assert_eq!(problem_of(|_| ()), None);
        assert_eq!(problem_of(|mail| mail.from = None), said("mail.from"));
        assert_eq!(problem_of(|mail| mail.host.clear()), said("mail.host"));
        assert_eq!(problem_of(|mail| mail.tls = MailTls::None), said("mail.tls"));
        for here in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            let local = |mail: &mut Mail| (mail.tls, mail.host) = (MailTls::None, here.to_owned());
            assert_eq!(problem_of(local), None, "{here}");
        }
        assert_eq!(problem_of(|mail| (mail.backend, mail.from) = (MailBackend::Off, None)), None);
        assert_eq!(problem_of(|mail| mail.password = Secret::File("smtp".into())), None);
    }

    #[test]
    fn an_address_is_one_and_nothing_else() {
        assert_eq!("a.b@x.example".parse::<MailAddress>().unwrap().to_string(), "a.b@x.example");
        for bad in
            ["", "a", "a@", "A <a@x.example>", "a@x.example, b@x.example", "a@x.example\r\nBcc: b@x", "é@x.example"]
        {
            assert_eq!(bad.parse::<MailAddress>(), Err(MailAddressError), "{bad}");
        }
    }
}
