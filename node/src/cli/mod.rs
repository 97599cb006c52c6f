//! The command line. Each command opens what it needs, calls one service and prints its result.

pub mod ca;
mod exit;
mod init;
mod output;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, FILE_NAME};

pub use exit::{Exit, Explain, Problem};
pub use init::{InitArgs, InitError, KeyMaker};
pub use output::{Form, Output, form_of_stdout, printable};

/// Share licence plate reads between California public agencies, under agreements in force and on the record.
#[derive(Debug, Parser)]
#[command(name = "concordat", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 refused by a rule, 2 usage or configuration, 3 failure.")]
pub struct Cli {
    /// The node's folder, in which `concordat.toml` is
    #[arg(long, global = true, value_name = "DIR", default_value = ".", env = "CONCORDAT_DIR")]
    pub dir: PathBuf,
    /// Print JSON, errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new node: its folder, a commented configuration file, its keys
    Init(InitArgs),
}

impl Cli {
    /// The configuration in the node's folder.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::load(&self.dir.join(FILE_NAME))
    }
}

/// The whole program: reads the command line, runs it, prints what is wrong once, on standard error.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>, keys: &dyn KeyMaker) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    let json = cli.json;
    let mut stdout = io::stdout().lock();
    let result = run(cli, keys, &mut Output::new(form_of_stdout(json), &mut stdout));
    match result.and_then(|exit| Ok(stdout.flush().map(|()| exit)?)) {
        Ok(exit) => exit.into(),
        Err(problem) => report(&problem, json),
    }
}

fn run(cli: Cli, keys: &dyn KeyMaker, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match cli.command {
        Command::Init(args) => init::run(&cli.dir, args, keys, out),
    }
}

/// Prints `problem` on standard error.
fn report(problem: &Problem, json: bool) -> ExitCode {
    let text = match serde_json::to_string(problem) {
        Ok(object) if json => object + "\n",
        _ => problem.text(),
    };
    // There is nowhere left to say that standard error is gone; the exit code still says how it ended.
    let _ = io::stderr().write_all(text.as_bytes());
    problem.exit.into()
}

/// Help and versions go to standard output with code 0; anything else is a usage error.
fn unparsed(error: &clap::Error, json: bool) -> ExitCode {
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ").to_owned();
        return report(&Problem { message, hint: None, exit: Exit::Usage }, true);
    }
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    let _ = error.print(); // As in `report`.
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere_and_values_are_checked() {
        let line = "concordat init --dir alder --ori CA0010000 --legal-name A --kind city_and_county --county A \
                    --url https://a.example --json";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!((cli.dir, cli.json), (PathBuf::from("alder"), true));
        for (from, to, says) in [
            ("CA0010000", "NV0010000", "not a California agency"),
            ("https://", "http://", "https://HOST"),
            ("city_and_county", "federal", "subdivision"),
        ] {
            let error = Cli::try_parse_from(line.replace(from, to).split_whitespace()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), Exit::Usage as i32);
        }
    }

    #[test]
    fn a_folder_without_a_node_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let line = ["concordat", "--dir", dir.path().to_str().unwrap(), "init", "--ori", "CA0010000"];
        let rest = ["--legal-name", "A", "--kind", "city", "--county", "A", "--url", "https://a.example"];
        let cli = Cli::try_parse_from(line.into_iter().chain(rest)).unwrap();
        let problem = Problem::from(cli.config().unwrap_err());
        assert_eq!(problem.exit, Exit::Usage);
        assert!(problem.message.contains("concordat init"), "{}", problem.message);
    }
}
