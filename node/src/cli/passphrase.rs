//! The passphrase that locks an official's key: from a file, from the environment, or typed without being shown.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Problem;
use crate::keyfile;

/// The variable that may hold it.
const VARIABLE: &str = "CONCORDAT_OFFICIAL_PASSPHRASE";
/// The shortest that a key is locked with, in characters.
const SHORTEST: usize = 12;

/// The passphrase: of `file`, of the environment, or typed at the terminal.
pub(super) fn ask(file: Option<&Path>) -> Result<Vec<u8>, Problem> {
    if let Some(file) = file {
        return Ok(keyfile::read_secret(file)?.trim_ascii_end().to_vec());
    }
    if let Ok(value) = std::env::var(VARIABLE) {
        return Ok(value.into_bytes());
    }
    typed("Passphrase of the official's key: ")
}

/// A new passphrase: long enough, and typed twice where it is typed.
pub(super) fn ask_new(file: Option<&Path>) -> Result<Vec<u8>, Problem> {
    let new = if file.is_some() || std::env::var_os(VARIABLE).is_some() {
        ask(file)?
    } else {
        let first = typed("New passphrase of the official's key: ")?;
        if typed("The same again: ")? != first {
            return Err(Problem::usage("the two differ", Some("run it again".to_owned())));
        }
        first
    };
    if String::from_utf8_lossy(&new).chars().count() < SHORTEST {
        let hint = "a few words are easier to remember than a few signs";
        return Err(Problem::usage(
            format!("the passphrase is shorter than {SHORTEST} characters"),
            Some(hint.to_owned()),
        ));
    }
    Ok(new)
}

/// Puts the terminal back as it was, whatever happens meanwhile.
struct Quiet<'a>(&'a File, Termios);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that is gone.
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}

fn typed(prompt: &str) -> Result<Vec<u8>, Problem> {
    let none = |_| {
        Problem::usage(
            "there is no terminal to type the passphrase at",
            Some(format!("name a file with --passphrase-file, or set {VARIABLE}")),
        )
    };
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(none)?;
    terminal.write_all(prompt.as_bytes())?;
    let mut line = String::new();
    {
        let before = tcgetattr(&terminal).map_err(std::io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(std::io::Error::from)?;
        let quiet = Quiet(&terminal, before);
        BufReader::new(quiet.0).read_line(&mut line)?;
    }
    Ok(line.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
}
