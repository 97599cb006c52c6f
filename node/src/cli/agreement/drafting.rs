//! `concordat agreement draft`, `frame` and `adopt`: documents from short files, and the texts that they carry out.

use std::fs;
use std::path::{Path, PathBuf};

use agreements::agreement::{Agreement, Framework};
use agreements::ids::{AgreementId, Digest, Ori};
use clap::{Args, ValueEnum};
use jiff::civil::Date;
use serde::Serialize;
use serde_json::json;

use super::read;
use crate::cli::exit::Exit;
use crate::cli::peer::own_party;
use crate::cli::place::Place;
use crate::cli::{Output, Problem};
use crate::config::Config;
use crate::document::kept;
use crate::exchange::draft::frame::{self, Frame};
use crate::exchange::draft::{HOTLIST_TEMPLATE, Read, TEMPLATE};
use crate::exchange::partner::known;
use crate::keyfile;
use crate::publishing;

/// Arguments of `agreement draft`.
#[derive(Debug, Args)]
pub struct DraftArgs {
    /// The draft, TOML; `-` is standard input
    #[arg(required_unless_present = "template", conflicts_with = "template")]
    file: Option<PathBuf>,
    /// Where to write the document; standard output when absent
    #[arg(long, conflicts_with = "template")]
    out: Option<PathBuf>,
    /// Print a commented draft to start from
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "query")]
    template: Option<Template>,
}

/// A draft to start from.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Template {
    /// Queries both ways
    Query,
    /// Hotlists alone
    Hotlist,
    /// A text that several agencies adopt, for `agreement frame`
    Framework,
}

/// Arguments of `agreement frame`.
#[derive(Debug, Args)]
pub struct FrameArgs {
    /// The framework's file, TOML: the same at every agency
    file: PathBuf,
    /// The folder for the documents, one for each pair; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Arguments of `agreement adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The text, Markdown or plain, in UTF-8; its first line is its title
    file: PathBuf,
}

#[derive(Serialize)]
struct Drafted {
    id: AgreementId,
    file: PathBuf,
}

pub(super) fn draft(place: &Place, args: DraftArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Some(file) = args.file else {
        let template = match args.template {
            Some(Template::Hotlist) => HOTLIST_TEMPLATE,
            Some(Template::Framework) => frame::TEMPLATE,
            Some(Template::Query) | None => TEMPLATE,
        };
        out.one(&json!({"template": template}), |_| template.to_owned())?;
        return Ok(Exit::Done);
    };
    let draft = Read::new(&text_of(&file)?)?;
    let config = place.config()?;
    let ours = own_party(&config, place.now())?;
    let theirs = match draft.partner() {
        Some(partner) => known(&mut place.registry_of(&config)?.reader()?, partner)?,
        None => None,
    };
    let framework = draft.framework().map(|name| adopted(&config, &beside(&file, name))).transpose()?;
    let witnesses = publishing::policy_of(&config)?.map(|policy| policy.sha256());
    let (agreement, bytes) = draft.between(&ours, theirs.as_ref(), (framework, witnesses), place.now())?;
    missing(&agreement);
    match args.out {
        Some(path) => {
            keyfile::write_public(&path, &bytes)?;
            out.one(&Drafted { id: agreement.id, file: path }, |drafted| {
                let file = drafted.file.display();
                format!("Wrote {file}: agreement {}. Next: concordat agreement propose {file} --as USER", drafted.id)
            })?;
        }
        None => out.one(&agreement, |_| String::from_utf8_lossy(&bytes).into_owned())?,
    }
    Ok(Exit::Done)
}

/// Such a document can be drafted and offered, but not signed: said now, so that nobody is surprised then.
fn missing(agreement: &Agreement) {
    for (ori, letters) in agreement.missing_elements() {
        tracing::warn!(
            %ori,
            elements = letters.iter().collect::<String>(),
            "the policy lacks elements of Civ. Code 1798.90.51(b)(2); the agreement cannot be signed without them"
        );
    }
}

fn text_of(file: &PathBuf) -> Result<String, Problem> {
    String::from_utf8(read(file)?).map_err(|_| {
        Problem::usage(format!("{} is not UTF-8", file.display()), Some("save the file as UTF-8".to_owned()))
    })
}

/// A file that another one names.
fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// Keeps a framework's text, and says what it is called.
fn adopted(config: &Config, file: &PathBuf) -> Result<Framework, Problem> {
    let bytes = read(file)?;
    let framework = frame::named(&bytes)?;
    kept::keep(&config.store.documents, &bytes)?;
    Ok(framework)
}

pub(super) fn adopt(place: &Place, args: &AdoptArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let framework = adopted(&place.config()?, &args.file)?;
    out.one(&framework, |framework| {
        let Framework { title, sha256 } = framework;
        format!(
            "Kept “{title}”, SHA-256 {sha256}. Agreements that name this hash show the text when they are rendered."
        )
    })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Framed {
    title: String,
    sha256: Digest,
    pairs: Vec<Pair>,
}

/// What became of the pair with one partner.
#[derive(Serialize)]
struct Pair {
    partner: Ori,
    sunset_on: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<AgreementId>,
    file: PathBuf,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Drafted,
    ThereAlready,
    NotEnrolled,
}

pub(super) fn frame(place: &Place, args: &FrameArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let frame = Frame::parse(&text_of(&args.file)?)?;
    let config = place.config()?;
    let ours = own_party(&config, place.now())?;
    let partners = frame.partners(ours.ori)?;
    let framework = adopted(&config, &beside(&args.file, &frame.framework))?;
    let witnesses = publishing::policy_of(&config)?.map(|policy| policy.sha256());
    let mut conn = place.registry_of(&config)?.reader()?;
    let (mut pairs, mut documents) = (Vec::new(), Vec::new());
    for (n, partner) in partners.iter().copied().enumerate() {
        let sunset_on = frame.sunset(n, partners.len());
        let file = args.out.join(format!("{}-{partner}.json", ours.ori));
        let mut pair = Pair { partner, sunset_on, id: None, file, outcome: Outcome::NotEnrolled };
        if pair.file.exists() {
            pair.outcome = Outcome::ThereAlready;
        } else if let Some(theirs) = known(&mut conn, partner)? {
            let draft = frame.pair(&ours, partner, n, partners.len())?;
            let drafted = draft.between(&ours, &theirs, (Some(framework.clone()), witnesses), place.now());
            let (agreement, bytes) = drafted.map_err(|error| frame.located(error))?;
            missing(&agreement);
            (pair.id, pair.outcome) = (Some(agreement.id), Outcome::Drafted);
            documents.push((pair.file.clone(), bytes));
        }
        pairs.push(pair);
    }
    // Nothing is written before all of it can be.
    fs::create_dir_all(&args.out)
        .map_err(|error| Problem::failure(format!("cannot make {}: {error}", args.out.display()), None))?;
    for (file, bytes) in documents {
        keyfile::write_public(&file, &bytes)?;
    }
    out.one(&Framed { title: framework.title, sha256: framework.sha256, pairs }, said)?;
    Ok(Exit::Done)
}

fn said(framed: &Framed) -> String {
    let mut lines = vec![format!("“{}”, SHA-256 {}", framed.title, framed.sha256)];
    for pair in &framed.pairs {
        let (partner, file) = (pair.partner, pair.file.display());
        lines.push(match pair.outcome {
            Outcome::Drafted => format!("{partner}: wrote {file}, sunset {}", pair.sunset_on),
            Outcome::ThereAlready => format!("{partner}: {file} is there already and is not overwritten"),
            Outcome::NotEnrolled => {
                format!("{partner}: not enrolled; import its descriptor with `concordat peer add`, then run this again")
            }
        });
    }
    lines.push("Of each pair, one offers: concordat agreement propose FILE --as USER".to_owned());
    lines.join("\n")
}
