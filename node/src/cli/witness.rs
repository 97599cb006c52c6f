//! `concordat witness`: a witness alone, and what it found.

mod serve;

use std::path::{Path, PathBuf};

use agreements::ids::Digest;
use agreements::json;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Explain};
use super::place::Place;
use super::{Output, Problem, local};
use crate::keyfile;
use crate::trail::note::Vkey;
use crate::witness::Witnessed;
use crate::witness::alone::{self, AloneError};
use crate::witness::evidence::Fork;

/// Be a witness alone.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the process lives")]
pub enum WitnessCommand {
    /// Make a witness: a folder with its key, readable by its owner alone, and its file. Prints the line for the policy
    #[command(
        after_help = "Example:\n  concordat --dir witness witness init --name auditor.alder.example/witness \\\n      --url https://witness.auditor.alder.example\n\nThe name is part of the key and stays for ever. The line that is printed goes into the federation's policy. Keep a copy of witness.key in a safe place; never put an old copy of witness.db back."
    )]
    Init(Init),
    /// Serve: cosign each head that continues the one before, for the logs that the policy names
    #[command(
        after_help = "Examples:\n  concordat --dir witness witness serve --policy federation.policy --listen 127.0.0.1:7380 \\\n      --behind-proxy\n  concordat --dir witness witness serve --policy federation.policy --listen 0.0.0.0:443 \\\n      --tls-cert fullchain.pem --tls-key privkey.pem\n\nPOST /add-checkpoint and GET /<sha256 of the origin>/checkpoint are as c2sp.org/tlog-witness has them; GET /readyz says whether its file can be read. SIGHUP reads the policy and the certificate again; ctrl-c or SIGTERM: requests in work are finished, then it ends. CONCORDAT_LOG sets how much is logged."
    )]
    Serve(serve::Serve),
    /// Show the newest head of each log that was cosigned, and logs that showed two trails
    #[command(
        after_help = "Example:\n  concordat --dir witness witness show\n\nWorks whether the witness runs or not. Exit code 1 when a log showed two trails: tell the agencies of the federation, and give them the evidence."
    )]
    Show,
    /// Write the evidence of a fork to a file that convicts the log offline
    #[command(
        after_help = "Example:\n  concordat --dir witness witness evidence --out fork.json \\\n      2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n\nIt holds two heads that the log signed and that exclude each other, and nothing about anybody."
    )]
    Evidence(Evidence),
    /// Verify the evidence of a fork offline, with the key of the log
    #[command(
        after_help = "Examples:\n  concordat witness verify fork.json --policy federation.policy\n  concordat witness verify fork.json \\\n      --log alpr.alder.example/CA0990000+612c86b2+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n\nExit code 0: the log signed both, and it cannot have one trail. Exit code 1: this convicts nobody."
    )]
    Verify(Verify),
}

/// Arguments of `witness init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Its name: a place that you control, without `https://`, such as auditor.alder.example/witness
    #[arg(long)]
    name: String,
    /// Where agencies will reach it, for the line of the policy
    #[arg(long, value_parser = url)]
    url: Option<String>,
}

/// Arguments of `witness evidence`.
#[derive(Debug, Args)]
pub struct Evidence {
    /// Its SHA-256, as `witness show` has it
    #[arg(value_name = "SHA256")]
    of: Digest,
    /// The file to write, which must not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arguments of `witness verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The evidence
    file: PathBuf,
    /// The key of the log, from a place that you trust
    #[arg(long, value_name = "VKEY", required_unless_present = "policy", conflicts_with = "policy")]
    log: Option<Vkey>,
    /// A policy whose `log` lines have it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let sound = rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()));
    if sound {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("write https://HOST or https://HOST:PORT".to_owned())
    }
}

impl Explain for AloneError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) | Self::Lost(_) | Self::Pair(_) | Self::OtherKey(_) => Exit::Refused,
            Self::Absent(_) | Self::Name(_) | Self::Policy(..) | Self::Form(..) | Self::NoLogs(_) => Exit::Usage,
            Self::File(error) => error.exit(),
            Self::Make(_) | Self::Key(..) | Self::Folder(..) | Self::Store(_) | Self::Query(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(_) => Some("name another folder with --dir".to_owned()),
            Self::Absent(_) => {
                Some("name its folder with --dir; `concordat witness init --name NAME` makes one".to_owned())
            }
            Self::Form(..) => Some("c2sp.org/tlog-policy has the form of the file".to_owned()),
            Self::File(error) => error.hint(),
            _ => None,
        }
    }
}

pub(super) async fn run(place: &Place, command: WitnessCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        WitnessCommand::Init(args) => init(&place.dir, &args, out),
        WitnessCommand::Serve(args) => serve::run(place, args, out).await,
        WitnessCommand::Show => show(place, out),
        WitnessCommand::Evidence(Evidence { of, out: file }) => {
            write(&alone::seen(&place.dir)?.forks, of, &file, "concordat witness show", out)
        }
        WitnessCommand::Verify(args) => verify(&args, out),
    }
}

#[derive(Serialize)]
struct Made {
    folder: PathBuf,
    vkey: String,
    policy_line: String,
}

fn init(folder: &Path, args: &Init, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let vkey = alone::init(folder, &args.name)?;
    let url = args.url.as_deref().map(|url| format!(" {url}")).unwrap_or_default();
    let policy_line = format!("witness {} {vkey}{url}", vkey.name());
    out.one(&Made { folder: folder.to_owned(), vkey: vkey.to_string(), policy_line }, |made| {
        let dir = made.folder.display();
        format!(
            "{}\n\nThat line goes into the federation's policy. In {dir}: witness.key is secret, witness.db is the witness's memory.\n\
             Next: concordat --dir {dir} witness serve --policy FILE",
            made.policy_line
        )
    })?;
    Ok(Exit::Done)
}

/// A log's newest head, as it is shown.
#[derive(Serialize)]
struct Head {
    origin: String,
    size: u64,
    root: Digest,
    at: Instant,
}

impl From<Witnessed> for Head {
    fn from(Witnessed { origin, size, root, at, .. }: Witnessed) -> Self {
        Self { origin, size, root, at }
    }
}

/// Evidence, as it is listed.
#[derive(Serialize)]
struct Listed {
    sha256: Digest,
    origin: String,
    /// How many entries the two heads have, as they say.
    sizes: [Option<u64>; 2],
    found_at: Instant,
}

impl From<&(Digest, Fork, Instant)> for Listed {
    fn from((sha256, fork, found_at): &(Digest, Fork, Instant)) -> Self {
        let size = |text: &str| text.lines().nth(1).and_then(|line| line.parse().ok());
        Self {
            sha256: *sha256,
            origin: fork.origin.clone(),
            sizes: [size(&fork.held), size(&fork.shown)],
            found_at: *found_at,
        }
    }
}

#[derive(Serialize)]
struct Shown {
    heads: Vec<Head>,
    forks: Vec<Listed>,
}

fn show(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let seen = alone::seen(&place.dir)?;
    if out.is_for_people() {
        let heads: Vec<Head> = seen.heads.into_iter().map(Head::from).collect();
        out.list(&["origin", "entries", "cosigned", "root"], &heads, |head| {
            vec![head.origin.clone(), head.size.to_string(), local::shown(head.at), head.root.to_string()]
        })?;
        if seen.forks.is_empty() {
            return Ok(Exit::Done);
        }
        writeln!(out.writer(), "\nTHESE LOGS SHOWED TWO TRAILS:")?;
        return list(&seen.forks, out);
    }
    let forks: Vec<Listed> = seen.forks.iter().map(Listed::from).collect();
    let found = !forks.is_empty();
    out.one(&Shown { heads: seen.heads.into_iter().map(Head::from).collect(), forks }, |_| String::new())?;
    Ok(if found { Exit::Refused } else { Exit::Done })
}

/// Lists evidence; refused where there is any.
pub(super) fn list(all: &[(Digest, Fork, Instant)], out: &mut Output<'_>) -> Result<Exit, Problem> {
    let listed: Vec<Listed> = all.iter().map(Listed::from).collect();
    out.list(&["found", "origin", "entries", "evidence"], &listed, |it| {
        let sizes = it.sizes.map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string()));
        vec![local::shown(it.found_at), it.origin.clone(), sizes.join(" and "), it.sha256.to_string()]
    })?;
    Ok(if listed.is_empty() { Exit::Done } else { Exit::Refused })
}

#[derive(Serialize)]
struct Written {
    file: PathBuf,
    sha256: Digest,
    origin: String,
}

/// Writes one piece of evidence to a file; `command` lists what there is.
pub(super) fn write(
    all: &[(Digest, Fork, Instant)],
    of: Digest,
    file: &Path,
    command: &str,
    out: &mut Output<'_>,
) -> Result<Exit, Problem> {
    let Some((sha256, fork, _)) = all.iter().find(|(sha256, ..)| *sha256 == of) else {
        return Err(Problem::refused(format!("there is no evidence {of}"), Some(format!("`{command}` lists it"))));
    };
    let bytes = json::canonical(fork).map_err(|error| Problem::failure(error.to_string(), None))?;
    keyfile::write_public(file, &bytes)?;
    let written = Written { file: file.to_owned(), sha256: *sha256, origin: fork.origin.clone() };
    out.one(&written, |written| {
        let file = written.file.display();
        format!(
            "Wrote {file}: two heads that {} signed and that exclude each other.\n\
             Whoever has the key of the log verifies it: concordat witness verify {file} --log VKEY",
            written.origin
        )
    })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Verdict {
    convicts: bool,
    origin: String,
    sizes: [u64; 2],
    roots: [Digest; 2],
}

fn verify(args: &Verify, out: &mut Output<'_>) -> Result<Exit, Problem> {
    /// Longer than any evidence, in bytes.
    const MOST: u64 = 1 << 20;
    let cannot = |error: String| Problem::usage(format!("{}: {error}", args.file.display()), None);
    if std::fs::metadata(&args.file)?.len() > MOST {
        return Err(cannot("it is too long for evidence of a fork".to_owned()));
    }
    let bytes = std::fs::read(&args.file)?;
    let fork: Fork = json::parse(&bytes).map_err(|error| cannot(format!("this is no evidence of a fork: {error}")))?;
    let keys: Vec<Vkey> = match (&args.log, &args.policy) {
        (Some(key), _) => vec![key.clone()],
        (None, Some(file)) => alone::any_policy(file)?.logs().iter().map(|log| log.vkey.clone()).collect(),
        (None, None) => Vec::new(),
    };
    let Some((held, shown)) = keys.iter().find_map(|key| fork.convicts(key).ok()) else {
        let hint = "it convicts only with the key with which that log signed both heads".to_owned();
        return Err(Problem::refused(crate::witness::evidence::NoFork.to_string(), Some(hint)));
    };
    let verdict = Verdict {
        convicts: true,
        origin: fork.origin.clone(),
        sizes: [held.size, shown.size],
        roots: [held.root, shown.root],
    };
    out.one(&verdict, |it| {
        let [held, shown] = it.sizes;
        format!(
            "It holds: the key of {} signed a head of {held} entries and one of {shown} that exclude each other. That log showed two trails.",
            it.origin
        )
    })?;
    Ok(Exit::Done)
}
