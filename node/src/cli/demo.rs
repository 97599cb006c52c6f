//! `concordat demo`: three fictional agencies on this machine.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::{Form, Output, Problem};
use crate::demo::{self, Options};

/// How the demonstration runs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  concordat demo\n  concordat demo --once --json\n  concordat --dir /tmp/three-agencies demo\n\nWithout --dir it plays in a temporary folder, which is removed at the end. The folder that --dir names must be empty or absent, and stays."
)]
pub struct DemoArgs {
    /// End after the last step: with 0 if each did what it should, with 1 if not
    #[arg(long)]
    pub once: bool,
}

/// `dir` is the folder that was named; this folder too, if it is empty.
pub(super) async fn run(dir: Option<PathBuf>, args: DemoArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let options = Options { dir, once: args.once, json: out.form() == Form::Json };
    match demo::run(options, out.writer()).await {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::Refused),
        Err(error) => {
            let io = error.downcast_ref::<std::io::Error>();
            let pipe = io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
            Err(Problem { message: format!("{error:#}"), hint: None, exit: Exit::Failure, pipe })
        }
    }
}
