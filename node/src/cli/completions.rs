//! `concordat completions`: what a shell needs to complete this program's command line.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::exit::Exit;
use super::{Cli, Output, Problem};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  concordat completions bash > ~/.local/share/bash-completion/completions/concordat\n  concordat completions fish > ~/.config/fish/completions/concordat.fish\n\nThe next shell that starts completes commands, options and their values."
)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: CompletionsArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    if !out.is_for_people() {
        return Err(Problem::usage(
            "completions are a program for the shell, not JSON",
            Some("leave --json away".to_owned()),
        ));
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "concordat", &mut script);
    out.writer().write_all(&script)?;
    Ok(Exit::Done)
}
