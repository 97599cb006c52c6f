//! How a command ends: its exit code, and one message with what to do.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::ConfigError;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// A rule says no. Nothing failed; asking again changes nothing.
    Refused = 1,
    /// The command line or the configuration cannot be understood.
    Usage = 2,
    /// Something failed; asking again may work.
    Failure = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that a person at a terminal can act on. Implement it for each error that a command returns, and `?` turns
/// the error into a [`Problem`].
pub trait Explain: std::error::Error {
    /// The exit code that it ends the command with.
    fn exit(&self) -> Exit {
        Exit::Failure
    }

    /// What to do, as one sentence, when the error's own text does not say it.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Whether it only says that nobody reads the output any more, as behind `| head`.
    fn broken_pipe(&self) -> bool {
        false
    }
}

/// Why a command did not do what was asked, as it is printed: once, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong, with its causes.
    #[serde(rename = "error")]
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The exit code.
    #[serde(rename = "exit", serialize_with = "number")]
    pub exit: Exit,
    /// Whether nobody reads the output any more: then there is nothing to say.
    #[serde(skip)]
    pub pipe: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `serialize_with` calls it with a reference to the field"
)]
fn number<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*exit as u8)
}

impl Problem {
    /// A rule says no.
    #[must_use]
    pub fn refused(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), hint, exit: Exit::Refused, pipe: false }
    }

    /// The command line is not what it must be.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), hint, exit: Exit::Usage, pipe: false }
    }

    /// Something failed.
    #[must_use]
    pub fn failure(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), hint, exit: Exit::Failure, pipe: false }
    }

    /// The text for a person: the message, then the hint on a line of its own.
    #[must_use]
    pub fn text(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("  {hint}\n")).unwrap_or_default();
        format!("concordat: {}\n{hint}", self.message)
    }
}

impl<E: Explain> From<E> for Problem {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let pipe = error.broken_pipe();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors already end with their cause's text.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self { message, hint: error.hint(), exit: error.exit(), pipe }
    }
}

impl Explain for std::io::Error {
    fn broken_pipe(&self) -> bool {
        self.kind() == std::io::ErrorKind::BrokenPipe
    }
}

impl Explain for serde_json::Error {}

impl Explain for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the key file cannot be read")]
    struct KeyFile(#[source] std::io::Error);

    impl Explain for KeyFile {
        fn hint(&self) -> Option<String> {
            Some("run `chmod 600 keys/*.key`".to_owned())
        }
    }

    #[test]
    fn a_problem_names_its_causes_once_and_what_to_do() {
        let problem = Problem::from(KeyFile(std::io::Error::other("permission denied")));
        assert_eq!(
            problem.text(),
            "concordat: the key file cannot be read: permission denied\n  run `chmod 600 keys/*.key`\n"
        );
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            "{\"error\":\"the key file cannot be read: permission denied\",\"hint\":\"run `chmod 600 keys/*.key`\",\"exit\":3}"
        );
    }
}
