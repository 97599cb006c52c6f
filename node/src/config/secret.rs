//! Secrets, which the configuration names but never holds.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::keyfile::{self, KeyFileError};

/// Where a secret is: `{ env = "NAME" }` or `{ file = "PATH" }`. It is read when it is needed, each time: a new
/// password counts from the next use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In an environment variable.
    Env(String),
    /// In a file that its owner alone can read; a line break at its end does not count.
    File(PathBuf),
}

/// A secret's text. `Debug` does not show it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// Why a secret cannot be read. Its text is never in the message.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not there.
    #[error("the environment variable {0} is not set; set it for this process, or name a file: {{ file = \"PATH\" }}")]
    NotSet(String),
    /// The file cannot be read, or others can read it.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// It is empty, or no text.
    #[error("{0} holds no text in UTF-8")]
    NoText(String),
}

impl Secret {
    /// The secret itself.
    ///
    /// # Errors
    /// The variable is not set, the file cannot be read or can be read by others, or there is no text in it.
    pub fn read(&self) -> Result<SecretText, SecretError> {
        let (text, place) = match self {
            Self::Env(name) => match std::env::var_os(name) {
                None => return Err(SecretError::NotSet(name.clone())),
                Some(value) => (value.into_string().ok(), format!("the environment variable {name}")),
            },
            Self::File(path) => {
                (String::from_utf8(keyfile::read_secret(path)?).ok(), format!("the file {}", path.display()))
            }
        };
        let text = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        text.filter(|text| !text.is_empty()).map(SecretText).ok_or(SecretError::NoText(place))
    }

    /// Makes the path of a file one in `folder`, unless it is absolute.
    pub(super) fn resolve(&mut self, folder: &Path) {
        if let Self::File(path) = self {
            *path = folder.join(&*path);
        }
    }

    /// Whether a value of the file is one of these: it is written on one line, and its keys are no keys of the file.
    pub(super) fn is_one(value: &toml::Value) -> bool {
        let table = value.as_table().filter(|table| table.len() == 1);
        table.is_some_and(|table| table.keys().all(|key| key == "env" || key == "file"))
    }
}

impl SecretText {
    /// The text, for whoever needs it: never for a log or a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// What a secret must be. Serde's own message for another value would repeat it.
const FORM: &str = "a secret is not written into this file: write { env = \"NAME\" } or { file = \"PATH\" }";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
                Err(E::custom(FORM))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(FORM))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                let secret = match map.next_key::<String>()?.as_deref() {
                    Some("env") => Secret::Env(map.next_value()?),
                    Some("file") => Secret::File(map.next_value()?),
                    _ => return Err(A::Error::custom(FORM)),
                };
                if map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom(FORM));
                }
                Ok(secret)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_if_its_owner_alone_can_and_nothing_shows_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        keyfile::write_secret(&path, b"correct horse\r\n").unwrap();
        let mut secret = Secret::File("password".into());
        secret.resolve(folder.path());
        let text = secret.read().unwrap();
        assert_eq!(text.expose(), "correct horse");
        assert!(!format!("{text:?} {secret:?}").contains("horse"));

        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let exposed = secret.read().unwrap_err().to_string();
        assert!(exposed.contains("chmod 600") && !exposed.contains("horse"), "{exposed}");
        let empty = folder.path().join("empty");
        keyfile::write_secret(&empty, b"\n").unwrap();
        assert!(matches!(Secret::File(empty).read(), Err(SecretError::NoText(_))));
    }

    #[test]
    fn an_environment_variable_is_read_or_named() {
        assert_eq!(Secret::Env("PATH".to_owned()).read().unwrap().expose(), std::env::var("PATH").unwrap());
        let absent = Secret::Env("CONCORDAT_NO_SUCH_SECRET".to_owned()).read().unwrap_err().to_string();
        assert!(absent.contains("CONCORDAT_NO_SUCH_SECRET") && absent.contains("{ file ="), "{absent}");
    }

    #[test]
    fn it_is_written_on_one_line_and_nothing_else_is_taken() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Section {
            password: Secret,
        }
        for (text, secret) in [
            ("password = { env = \"A\" }", Secret::Env("A".to_owned())),
            ("password = { file = \"a/b\" }", Secret::File("a/b".into())),
        ] {
            let section: Section = toml::from_str(text).unwrap();
            assert_eq!(section.password, secret);
            let value = toml::Value::try_from(&secret).unwrap();
            assert!(Secret::is_one(&value), "{value}");
            assert_eq!(format!("password = {value}"), text);
        }
        for text in [
            "password = \"hunter2\"",
            "password = { evn = \"A\" }",
            "password = 12345",
            "password = { env = \"A\", file = \"b\" }",
        ] {
            let error = toml::from_str::<Section>(text).unwrap_err();
            assert!(!error.message().contains("hunter2") && !error.message().contains("12345"), "{error}");
        }
    }
}
