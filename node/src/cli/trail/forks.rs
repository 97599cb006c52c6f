//! `concordat trail forks`: the evidence of forked logs that this node keeps.

use std::path::PathBuf;

use agreements::ids::Digest;
use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::place::Place;
use crate::cli::{Output, Problem, witness};
use crate::witness::evidence;

/// Arguments of `trail forks`.
#[derive(Debug, Args)]
pub struct Forks {
    /// Which evidence to write, by its SHA-256
    #[arg(long, value_name = "SHA256", requires = "out")]
    of: Option<Digest>,
    /// Write it to this file, which must not exist yet
    #[arg(long, value_name = "FILE", requires = "of")]
    out: Option<PathBuf>,
}

pub(super) fn run(place: &Place, args: Forks, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let all = evidence::all(&mut place.registry()?.reader()?)?;
    if let (Some(of), Some(file)) = (args.of, args.out) {
        return witness::write(&all, of, &file, "concordat trail forks", out);
    }
    witness::list(&all, out)
}
