//! `concordat agreement`: from a draft to the end.

mod shown;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use agreements::ids::{AgreementId, Ori};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::peer::own_party;
use super::place::{As, Place};
use super::{Output, Problem};
use crate::exchange::draft::{Draft, DraftError, TEMPLATE};
use crate::exchange::lifecycle::{self, Act, Delivery};
use crate::keyfile;
use crate::registry::agencies;

/// A draft or a document longer than this, in bytes, is none.
const MAX_FILE: u64 = 1 << 20;

/// Draft, sign, suspend and end agreements.
#[derive(Debug, Subcommand)]
pub enum AgreementCommand {
    /// Make the document from a draft, this agency's configuration and the partner's descriptor
    #[command(
        after_help = "Examples:\n  concordat agreement draft --template > draft.toml\n  concordat agreement draft draft.toml --out alder-birch.json"
    )]
    Draft(DraftArgs),
    /// Offer a document to the partner's node
    #[command(after_help = "Example:\n  concordat agreement propose alder-birch.json --as alder.agreements")]
    Propose(Propose),
    /// Show all agreements and where each stands
    #[command(after_help = "Example:\n  concordat agreement list")]
    List,
    /// Show one agreement: parties, grants, events
    #[command(after_help = "Example:\n  concordat agreement show 01940a2b-0000-7000-8000-000000000001 --json")]
    Show(One),
    /// Sign it with this agency's seal, as its custodian
    #[command(
        after_help = "Example:\n  concordat agreement sign 01940a2b-0000-7000-8000-000000000001 --as alder.custodian"
    )]
    Sign(Sign),
    /// Refuse to sign it, for good
    #[command(
        after_help = "Example:\n  concordat agreement decline 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"lookback too long\" --as alder.agreements"
    )]
    Decline(Why),
    /// Take the offer or the signature back, for good
    #[command(
        after_help = "Example:\n  concordat agreement withdraw 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"wrong dates\" --as alder.agreements"
    )]
    Withdraw(Why),
    /// Suspend it and its signed renewals: nothing flows, either way, until this agency resumes
    #[command(
        after_help = "Example:\n  concordat agreement suspend 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"audit under way\" --as alder.custodian"
    )]
    Suspend(Why),
    /// Lift this agency's own suspension
    #[command(
        after_help = "Example:\n  concordat agreement resume 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"audit passed\" --as alder.custodian"
    )]
    Resume(Why),
    /// End it and its signed renewals for good
    #[command(
        after_help = "Example:\n  concordat agreement terminate 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"policy changed\" --as alder.custodian"
    )]
    Terminate(Why),
    /// Send the partner what it lacks of this agreement, and take what this node lacks
    #[command(after_help = "Example:\n  concordat agreement sync 01940a2b-0000-7000-8000-000000000001")]
    Sync(One),
}

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
    #[arg(long)]
    template: bool,
}

/// Arguments of `agreement propose`.
#[derive(Debug, Args)]
pub struct Propose {
    /// The document that `agreement draft` wrote
    file: PathBuf,
    #[command(flatten)]
    person: As,
}

/// One agreement.
#[derive(Debug, Args)]
pub struct One {
    /// The agreement's id
    id: AgreementId,
}

/// Arguments of `agreement sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The agreement's id
    id: AgreementId,
    #[command(flatten)]
    person: As,
}

/// An act that needs a reason.
#[derive(Debug, Args)]
pub struct Why {
    /// The agreement's id
    id: AgreementId,
    /// Why; the partner reads it
    #[arg(long, value_parser = reason)]
    reason: String,
    #[command(flatten)]
    person: As,
}

/// A reason that can be sent: not blank, and no longer than a message may be.
fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().count() > agreements::json::MAX_TEXT {
        return Err(format!("say why, in 1 to {} characters", agreements::json::MAX_TEXT));
    }
    Ok(text.to_owned())
}

pub(super) async fn run(place: &Place, command: AgreementCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let (id, person, act) = match command {
        AgreementCommand::Draft(args) => return draft(place, args, out),
        AgreementCommand::Propose(args) => return propose(place, args, out).await,
        AgreementCommand::List => return shown::list(place, out),
        AgreementCommand::Show(One { id }) => return shown::show(place, id, out),
        AgreementCommand::Sync(One { id }) => return sync(place, id, out).await,
        AgreementCommand::Sign(Sign { id, person }) => (id, person, Act::Sign),
        AgreementCommand::Decline(Why { id, reason, person }) => (id, person, Act::Decline { reason }),
        AgreementCommand::Withdraw(Why { id, reason, person }) => (id, person, Act::Withdraw { reason }),
        AgreementCommand::Suspend(Why { id, reason, person }) => (id, person, Act::Suspend { reason }),
        AgreementCommand::Resume(Why { id, reason, person }) => (id, person, Act::Resume { reason }),
        AgreementCommand::Terminate(Why { id, reason, person }) => (id, person, Act::Terminate { reason }),
    };
    let node = place.node()?;
    let delivery = lifecycle::act(&node, id, act, &person.user).await?;
    delivered(id, delivery, out)
}

#[derive(Serialize)]
struct Drafted {
    id: AgreementId,
    file: PathBuf,
}

fn draft(place: &Place, args: DraftArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Some(file) = args.file else {
        out.one(&json!({"template": TEMPLATE}), |_| TEMPLATE.to_owned())?;
        return Ok(Exit::Done);
    };
    let text = String::from_utf8(read(&file)?).map_err(|_| {
        Problem::usage(format!("{} is not UTF-8", file.display()), Some("save the file as UTF-8".to_owned()))
    })?;
    let draft = Draft::parse(&text)?;
    let config = place.config()?;
    let ours = own_party(&config, place.now())?;
    let partner = draft.partner;
    let theirs = agencies::find(&mut place.registry_of(&config)?.reader()?, partner)?;
    let theirs = theirs.ok_or(DraftError::NotEnrolled(partner))?;
    let (agreement, bytes) = draft.between(&ours, &theirs, place.now())?;
    for (ori, letters) in agreement.missing_elements() {
        missing(ori, &letters);
    }
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
fn missing(ori: Ori, letters: &[char]) {
    tracing::warn!(
        %ori,
        elements = letters.iter().collect::<String>(),
        "the policy lacks elements of Civ. Code 1798.90.51(b)(2); the agreement cannot be signed without them"
    );
}

/// A file, or standard input for `-`, of at most [`MAX_FILE`] bytes.
fn read(path: &PathBuf) -> Result<Vec<u8>, Problem> {
    let cannot = |error| Problem::failure(format!("cannot read {}: {error}", path.display()), None);
    let mut bytes = Vec::new();
    let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(path).map_err(cannot)?)
    };
    source.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Problem::usage(format!("{} is longer than 1 MiB", path.display()), None));
    }
    Ok(bytes)
}

async fn propose(place: &Place, args: Propose, out: &mut Output<'_>) -> Result<Exit, Problem> {
    // Editors and redirections put a line's end there; the document's own bytes have none.
    let document = read(&args.file)?.trim_ascii_end().to_vec();
    is_document(&args.file, &document)?;
    let node = place.node()?;
    let (id, delivery) = lifecycle::propose(&node, document, &args.person.user).await?;
    delivered(id, delivery, out)
}

/// A draft is not what is offered, and who gives one is told how to make the document of it.
fn is_document(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    if bytes.first() == Some(&b'{') {
        return Ok(());
    }
    let file = path.display();
    let is_draft = std::str::from_utf8(bytes).is_ok_and(|text| Draft::parse(text).is_ok());
    let what = if is_draft { "is a draft, not the document" } else { "is no agreement document" };
    let next = format!("make the document first: concordat agreement draft {file} --out agreement.json");
    Err(Problem::usage(format!("{file} {what}"), Some(next)))
}

#[derive(Serialize)]
struct Done {
    id: AgreementId,
    #[serde(flatten)]
    delivery: Delivery,
}

fn delivered(id: AgreementId, delivery: Delivery, out: &mut Output<'_>) -> Result<Exit, Problem> {
    out.one(&Done { id, delivery }, |done| match &done.delivery {
        Delivery::Delivered { there: Some(status) } => {
            format!("Recorded, and the partner has it. There, agreement {id} is now: {}.", status.says())
        }
        Delivery::Delivered { there: None } => format!("Recorded, and the partner lacks nothing of agreement {id}."),
        Delivery::Pending { why } => format!(
            "Recorded here. The partner does not have it yet: {why}.\nSend it later: concordat agreement sync {id}"
        ),
    })?;
    Ok(Exit::Done)
}

async fn sync(place: &Place, id: AgreementId, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let hint =
        || Some("`concordat agreement list` shows the agreements, `concordat peer list` the partners".to_owned());
    let status = lifecycle::sync(&node, id).await.map_err(|why| Problem::failure(why, hint()))?;
    out.one(&json!({"id": id, "status": status}), |_| format!("Agreement {id}: {}.", status.says()))?;
    Ok(Exit::Done)
}
