//! The node's configuration: one TOML file, `concordat.toml`, one documented struct per concern.
//!
//! A key that does not exist is refused with its full path, its line and the nearest key that does. Paths in the file
//! are relative to the file's folder. What the file says is read once, at start.

mod agency;
mod error;
mod intake;
mod mail;
mod node;
mod read;
mod secret;
mod template;
mod trail;
mod values;

use std::path::Path;

use agreements::ids::Ori;
use agreements::party::AgencyKind;
use serde::{Deserialize, Serialize};

pub use agency::{Agency, Approvals, Elements, Policy};
pub use error::{ConfigError, TextError, UnknownKey};
pub use intake::{Columns, Csv, Folder, Ingest, Webhook};
pub use mail::{Mail, MailAddress, MailAddressError, MailBackend, MailTls};
pub use node::{Console, Hotlists, Keys, Log, LogFormat, LogLevel, Ops, Peer, PolicyChecks, Rules, Store};
pub use secret::{Secret, SecretError, SecretText};
pub use trail::{KeptYears, KeptYearsError, Trail};
pub use values::{
    DatabaseSecretError, DatabaseUrl, DatabaseUrlError, Delimiter, DelimiterError, HttpsUrl, HttpsUrlError,
    LoopbackAddr, NotLoopback, SeenFormat, SeenFormatError, SourceName, SourceNameError, TimeZoneName,
    TimeZoneNameError,
};

/// The name of the file in a node's folder.
pub const FILE_NAME: &str = "concordat.toml";

/// Everything that a node is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Who the agency is.
    pub agency: Agency,
    /// Its published usage and privacy policy.
    #[serde(default)]
    pub policy: Policy,
    /// What allowed it to sign.
    #[serde(default)]
    pub approvals: Approvals,
    /// Where its data is.
    #[serde(default)]
    pub store: Store,
    /// Where its keys are.
    pub keys: Keys,
    /// The door for partners.
    pub peer: Peer,
    /// The door for the agency's own people.
    #[serde(default)]
    pub console: Console,
    /// The door for the machine's operator.
    #[serde(default)]
    pub ops: Ops,
    /// Logs.
    #[serde(default)]
    pub log: Log,
    /// Limits on what is ingested, and where it comes from.
    #[serde(default)]
    pub ingest: Ingest,
    /// Loading, refreshing and matching hotlists.
    #[serde(default)]
    pub hotlists: Hotlists,
    /// Reading partners' published policies again.
    #[serde(default)]
    pub policy_checks: PolicyChecks,
    /// Who witnesses this agency's trail.
    #[serde(default)]
    pub trail: Trail,
    /// The owner's own limits on partners' queries.
    #[serde(default)]
    pub rules: Rules,
    /// Mail.
    #[serde(default)]
    pub mail: Mail,
}

/// What only the agency can say: everything else in a [`Config`] has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The agency's ORI.
    pub ori: Ori,
    /// Its legal name.
    pub legal_name: String,
    /// What kind of public agency it is.
    pub kind: AgencyKind,
    /// The county that it is in.
    pub county: String,
    /// What partners dial.
    pub url: HttpsUrl,
}

impl Config {
    /// The configuration of a new node: every default, and the trail's origin from the URL's host and the ORI.
    #[must_use]
    pub fn new(founding: Founding) -> Self {
        let log_origin = format!("{}/{}", founding.url.host(), founding.ori);
        Self {
            agency: Agency::new(founding.ori, founding.legal_name, founding.kind, founding.county),
            policy: Policy::default(),
            approvals: Approvals::default(),
            store: Store::default(),
            keys: Keys::new(log_origin),
            peer: Peer::new(founding.url),
            console: Console::default(),
            ops: Ops::default(),
            log: Log::default(),
            ingest: Ingest::default(),
            hotlists: Hotlists::default(),
            policy_checks: PolicyChecks::default(),
            trail: Trail::default(),
            rules: Rules::default(),
            mail: Mail::default(),
        }
    }

    /// Reads the file at `path` and makes its paths relative to the file's folder.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has a key that does not exist, or a value that cannot be.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::from_bytes(&bytes)
            .map_err(|problem| ConfigError::Text { path: path.to_owned(), problem: Box::new(problem) })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        config.reveal().map_err(|(key, source)| ConfigError::Secret { path: path.to_owned(), key, source })?;
        Ok(config)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => Err(TextError::NotUtf8 { line: read::line_of(bytes, error.valid_up_to()) }),
        }
    }

    /// Reads the text of a file. Paths stay as they are written.
    ///
    /// # Errors
    /// See [`TextError`].
    pub fn parse(text: &str) -> Result<Self, TextError> {
        read::parse(text)
    }

    /// A complete and commented file for a new node, which [`Config::parse`] reads back as [`Config::new`].
    #[must_use]
    pub fn template(founding: Founding) -> String {
        Self::new(founding).to_toml()
    }

    /// This configuration as a complete and commented file: every key with its meaning.
    #[must_use]
    pub fn to_toml(&self) -> String {
        template::render(self)
    }

    /// Everything that is wrong in a text, and the configuration with what is wrong replaced by the default, for looking
    /// further; `None` when it is no TOML at all. Paths stay as they are written, secrets where they are.
    pub(crate) fn survey(text: &str) -> (Option<Self>, Vec<TextError>) {
        read::survey(text)
    }

    /// Fetches what the file names by an environment variable or another file. The key of the first that is not there.
    fn reveal(&mut self) -> Result<(), (&'static str, DatabaseSecretError)> {
        self.store.registry.reveal().map_err(|error| ("store.registry", error))?;
        self.store.reads.reveal().map_err(|error| ("store.reads", error))
    }

    pub(crate) fn resolve(&mut self, folder: &Path) {
        for database in [&mut self.store.registry, &mut self.store.reads] {
            database.resolve(folder);
        }
        let folders = self.ingest.folder.values_mut().map(|watched| &mut watched.path);
        let certificates = self.peer.ca.iter_mut().chain(&mut self.peer.crl).chain(&mut self.policy_checks.ca);
        self.trail.resolve(folder);
        let own = [&mut self.store.images, &mut self.store.documents, &mut self.keys.folder];
        for path in own.into_iter().chain(certificates).chain(folders) {
            *path = folder.join(&*path);
        }
        self.mail.resolve(folder);
    }

    /// A value in which every key is present: what the keys of a file are compared with. Sections with names of the
    /// file's own choice have the name `NAME`.
    fn specimen() -> Option<Self> {
        let mut config = Self::new(Founding {
            ori: "CA0000000".parse().ok()?,
            legal_name: String::new(),
            kind: AgencyKind::County,
            county: String::new(),
            url: "https://localhost".parse().ok()?,
        });
        let name: SourceName = "NAME".parse().ok()?;
        config.ingest.csv.insert(name.clone(), Csv::default());
        config.ingest.folder.insert(name, Folder::at("NAME".into()));
        Some(config)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    pub(super) fn alder() -> Founding {
        Founding {
            ori: "CA0010000".parse().unwrap(),
            legal_name: "Alder County \"Sheriff\"".to_owned(),
            kind: AgencyKind::County,
            county: "Alder".to_owned(),
            url: "https://alpr.alder.example:7443".parse().unwrap(),
        }
    }

    #[test]
    fn the_template_reads_back_as_the_defaults() {
        assert_eq!(Config::parse(&Config::template(alder())).unwrap(), Config::new(alder()));
    }

    #[test]
    fn a_changed_configuration_goes_round() {
        let mut config = Config::new(alder());
        config.policy.checked_on = Some("2026-11-23".parse().unwrap());
        config.policy.sha256 = Some(agreements::ids::Digest::of(b"policy"));
        config.policy.elements.g = "Section IX,\n\"two years\"".to_owned();
        config.store.reads = "postgres://node:secret@db/reads".parse().unwrap();
        config.peer.ca = vec!["ca.pem".into(), "/etc/other ca.pem".into()];
        config.peer.hosts.insert("birch.example".to_owned(), "127.0.0.1:9".parse().unwrap());
        config.mail.administrators = vec!["a@x.example".parse().unwrap(), "b@x.example".parse().unwrap()];
        config.mail.password = Secret::File("keys/smtp password".into());
        config.rules.sensitive = agreements::decide::Sensitive::Deny;
        let columns = Columns { plate: "Plate \"No\"".to_owned(), ..Columns::default() };
        let format = Some("%m/%d/%Y %H:%M:%S".parse().unwrap());
        let time_zone = Some(TimeZoneName::LosAngeles);
        let csv = Csv { delimiter: "\t".parse().unwrap(), seen_at_format: format, time_zone, columns };
        config.ingest.csv.insert("acme".parse().unwrap(), csv);
        config.ingest.csv.insert("bolt".parse().unwrap(), Csv::default());
        let folder = Folder { csv: Some("acme".parse().unwrap()), ..Folder::at("in/acme".into()) };
        config.ingest.folder.insert("acme".parse().unwrap(), folder);
        config.ingest.webhook.listen = Some("[::1]:7482".parse().unwrap());
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
        assert!(!format!("{config:?}").contains("secret"), "Debug shows a database's password");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut config = Config::new(alder());
        config.peer.ca = vec!["ca.pem".into(), "/etc/ca.pem".into()];
        config.ingest.folder.insert("acme".parse().unwrap(), Folder::at("in".into()));
        std::fs::write(&path, config.to_toml()).unwrap();
        let loaded = Config::load(&path).unwrap();
        assert_eq!(loaded.store.registry, DatabaseUrl::Sqlite(folder.path().join("registry.db")));
        assert_eq!(loaded.store.images, folder.path().join("images"));
        assert_eq!(loaded.ingest.folder.values().next().unwrap().path, folder.path().join("in"));
        assert_eq!(loaded.keys.seal_key(), folder.path().join("keys/seal.key"));
        assert_eq!(loaded.peer.ca, [folder.path().join("ca.pem"), PathBuf::from("/etc/ca.pem")]);
    }

    #[test]
    fn a_stores_url_may_be_in_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path().join(FILE_NAME), folder.path().join("registry.url"));
        let text = Config::template(alder());
        let text = text.replacen("registry = \"sqlite:registry.db\"", "registry = { file = \"registry.url\" }", 1);
        std::fs::write(&path, &text).unwrap();
        let absent = Config::load(&path).unwrap_err().to_string();
        assert!(absent.contains("store.registry") && absent.contains("registry.url"), "{absent}");
        let put = |content: &str| {
            std::fs::write(&secret, content).unwrap();
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        put("mysql://u:secret@db/x");
        let wrong = Config::load(&path).unwrap_err().to_string();
        assert!(wrong.contains("postgres://USER@HOST") && !wrong.contains("secret@"), "{wrong}");
        put("postgres://u:secret@db/x\n");
        let config = Config::load(&path).unwrap();
        assert_eq!(config.store.registry.to_string(), "postgres://u:secret@db/x");
        assert!(!format!("{config:?}").contains("secret@"));
        // As it is written, it goes round.
        let written = Config::parse(&text).unwrap();
        assert!(written.to_toml().contains("registry = { file = \"registry.url\" }"), "{}", written.to_toml());
        assert_eq!(Config::parse(&written.to_toml()).unwrap(), written);
    }

    #[test]
    fn a_file_that_is_absent_or_no_text_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let absent = Config::load(&path).unwrap_err().to_string();
        assert!(absent.contains("concordat init") && absent.contains("concordat.toml"), "{absent}");
        std::fs::write(&path, b"[agency]\nlegal_name = \"\xff\"\n").unwrap();
        let binary = Config::load(&path).unwrap_err().to_string();
        assert!(binary.contains("line 2") && binary.contains("UTF-8"), "{binary}");
    }
}
