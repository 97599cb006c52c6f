//! Why a configuration is refused, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use super::values::DatabaseSecretError;

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; `concordat init` writes a new one, `--dir` names the folder it is in", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A value that the file names by an environment variable or a file is not there.
    #[error("{}: {key}: {source}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Why.
        source: DatabaseSecretError,
    },
    /// Its text is refused.
    #[error("{}: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: Box<TextError>,
    },
}

/// What is wrong in the text of a configuration file. Lines count from 1. Values are not repeated, because one of them
/// may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Bytes that are no text.
    #[error("line {line} is not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// The first line that is not.
        line: usize,
    },
    /// Not TOML.
    #[error("line {line}: {message}; the file must be TOML, as `concordat init` writes it")]
    Syntax {
        /// Where.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// Keys that do not exist. Nothing of the file is used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unknown(Vec<UnknownKey>),
    /// A value that cannot be, or one that is missing.
    #[error("{}{}: {message}", key.as_deref().unwrap_or("the file"), line.map(|line| format!(" (line {line})")).unwrap_or_default())]
    Value {
        /// The full path of the key, or of the section in which one is missing.
        key: Option<String>,
        /// Where.
        line: Option<usize>,
        /// What it must be.
        message: String,
    },
}

/// A key that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Its full path, such as `peer.max_boddy_bytes`.
    pub key: String,
    /// Its line.
    pub line: Option<usize>,
    /// The key that is nearest to it.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown key `{}`", self.key)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => f.write_str("; delete it, or compare with the file that `concordat init` writes"),
        }
    }
}
