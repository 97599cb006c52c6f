//! `concordat peer`: partners, enrolled from files that two people compare by voice.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use agreements::ids::{Digest, Ori};
use agreements::party::Party;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::config::Config;
use crate::exchange::descriptor;
use crate::exchange::partner::Partners;
use crate::registry::agencies::{self, Enrolled};
use crate::{agency, keyfile, node, people};

/// Enrol partners from their descriptor files.
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// Write this agency's descriptor, sealed by its identity key, for partners to enrol
    #[command(
        after_help = "Example:\n  concordat peer export --out alder.descriptor.json\n\nSend the file by any way; read the fingerprint out over the telephone. Needs keys/identity.key."
    )]
    Export(Export),
    /// Enrol a partner, or a newer file of one: one person imports it, another has compared the fingerprint by voice
    #[command(
        after_help = "Example:\n  concordat peer add birch.descriptor.json --as alder.agreements --confirmed-by alder.custodian \\\n    --fingerprint \"5f0c 9a3b e1d2 4478 a6c0 7f1d 2b3e 4a59 5f0c 9a3b e1d2 4478 a6c0 7f1d 2b3e 4a59\""
    )]
    Add(Add),
    /// Show the enrolled partners
    #[command(after_help = "Example:\n  concordat peer list")]
    List,
}

/// Arguments of `peer export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Where to write the descriptor; standard output when absent, and the fingerprint goes to standard error
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Arguments of `peer add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The partner's descriptor
    file: PathBuf,
    /// The fingerprint that the partner read out; spaces and hyphens do not matter
    #[arg(long)]
    fingerprint: String,
    /// The account of the person who compared it on a number known from elsewhere
    #[arg(long, value_name = "USER2")]
    confirmed_by: String,
    #[command(flatten)]
    person: As,
}

#[derive(Serialize)]
struct Exported {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// The descriptor itself, when it was not written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<String>,
    ori: Ori,
    fingerprint: Digest,
    spoken: String,
}

#[derive(Serialize)]
struct Listed {
    ori: Ori,
    name: String,
    kind: &'static str,
    url: String,
    enrolled_at: Instant,
    enrolled_by: String,
    confirmed_by: String,
    /// When it last told of new keys or of another place.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<Instant>,
}

pub(super) async fn run(place: &Place, command: PeerCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        PeerCommand::Export(args) => export(place, args, out),
        PeerCommand::Add(args) => add(place, args, out).await,
        PeerCommand::List => list(place, out),
    }
}

/// This agency as its descriptor says it. The key of the request is that of the certificate, so this works before the
/// authority has answered.
pub(super) fn own_party(config: &Config, now: Instant) -> Result<Party, Problem> {
    let tls = node::read_key(&config.keys.tls_key())?;
    Ok(agency::party(config, tls.public().id(), now)?)
}

fn export(place: &Place, args: Export, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let party = own_party(&config, place.now())?;
    let identity = node::read_key(&config.keys.identity_key())?;
    let file = descriptor::write(&party, &identity).map_err(|error| incomplete(&config, error))?;
    // Read back as a partner will: the seal verifies with the key that the file names.
    let (_, fingerprint) = descriptor::read(&file)?;
    let text = String::from_utf8_lossy(&file).into_owned();
    let descriptor = args.out.is_none().then_some(text);
    if let Some(path) = &args.out {
        keyfile::write_public(path, &file)?;
    }
    let spoken = descriptor::spoken(fingerprint);
    let exported = Exported { file: args.out, descriptor, ori: party.ori, fingerprint, spoken };
    let read_out = format!(
        "Fingerprint, to be read out over the telephone, never sent with the file:\n  {}\n\
         There: concordat peer add FILE --fingerprint F --as USER --confirmed-by ANOTHER\n\
         Keep identity.key offline from now on.",
        exported.spoken
    );
    if exported.descriptor.is_some() && out.is_for_people() {
        writeln!(std::io::stderr(), "{read_out}")?;
    }
    out.one(&exported, |exported| match (&exported.file, &exported.descriptor) {
        (Some(file), _) => format!("Wrote {}: send it to the partner by any way.\n{read_out}", file.display()),
        (None, descriptor) => descriptor.clone().unwrap_or_default(),
    })?;
    Ok(Exit::Done)
}

/// An own descriptor that is incomplete is for this agency to complete, not for a partner.
fn incomplete(config: &Config, error: descriptor::DescriptorError) -> Problem {
    match error {
        descriptor::DescriptorError::Problems(_) => Problem::refused(
            error.to_string(),
            Some(format!("fill it in in concordat.toml of {}, then export again", config.agency.ori)),
        ),
        other => other.into(),
    }
}

async fn add(place: &Place, args: Add, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let file = fs::read(&args.file).map_err(|error| {
        let hint = "name the file that the partner's `concordat peer export --out FILE` wrote".to_owned();
        Problem::failure(format!("cannot read {}: {error}", args.file.display()), Some(hint))
    })?;
    let (party, _) = descriptor::read(&file).map_err(people::PeopleError::from)?;
    if party.ori == config.agency.ori {
        return Err(Problem::refused("this is this agency's own descriptor; import the partner's", None));
    }
    let ori = people::enrol(&db, file, &args.fingerprint, &args.person.user, &args.confirmed_by).await?;
    out.one(&serde_json::json!({"enrolled": ori}), |_| {
        format!("{ori} is enrolled. Next: concordat agreement draft --template > draft.toml")
    })?;
    Ok(Exit::Done)
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut conn = place.registry()?.reader()?;
    let partners = Partners::load(&mut conn)?;
    let items: Vec<Listed> = agencies::all(&mut conn)?.into_iter().map(|one| listed(one, &partners)).collect();
    let headers = ["ORI", "agency", "kind", "node", "enrolled", "by", "confirmed by", "keys or place changed"];
    out.list(&headers, &items, |item| {
        vec![
            item.ori.to_string(),
            item.name.clone(),
            item.kind.to_owned(),
            item.url.clone(),
            local::shown(item.enrolled_at),
            item.enrolled_by.clone(),
            item.confirmed_by.clone(),
            item.changed_at.map(local::shown).unwrap_or_default(),
        ]
    })?;
    if items.is_empty() && out.is_for_people() {
        writeln!(std::io::stderr(), "No partner is enrolled; `concordat peer add` enrols one.")?;
    }
    Ok(Exit::Done)
}

fn listed(enrolled: Enrolled, partners: &Partners) -> Listed {
    let Enrolled { party, enrolled_at, enrolled_by, confirmed_by } = enrolled;
    let known = partners.find(party.ori);
    Listed {
        changed_at: known.and_then(|known| known.news().last()).map(|news| news.at),
        ori: party.ori,
        name: party.legal_name,
        kind: party.kind.as_str(),
        url: known.map_or(party.node.url, |known| known.party().node.url.clone()),
        enrolled_at,
        enrolled_by,
        confirmed_by,
    }
}
