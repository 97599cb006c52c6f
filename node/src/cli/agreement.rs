//! `concordat agreement`: from a draft to the end.

mod access;
mod drafting;
mod form;
mod packet;
mod renewal;
mod review;
mod shown;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use agreements::ids::AgreementId;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::change;
use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem};
use crate::changes::Command;
use crate::exchange::draft::Draft;
use crate::exchange::lifecycle::{self, Act, Apart, Delivery};
use crate::exchange::standing;

/// A draft or a document longer than this, in bytes, is none.
const MAX_FILE: u64 = 1 << 20;

/// Draft, sign, suspend and end agreements.
#[derive(Debug, Subcommand)]
pub enum AgreementCommand {
    /// Make the document from a draft, this agency's configuration and the partner's descriptor
    #[command(
        after_help = "Examples:\n  concordat agreement draft --template > draft.toml\n  concordat agreement draft draft.toml --out alder-birch.json\n  concordat agreement draft --template=hotlist > draft.toml"
    )]
    Draft(drafting::DraftArgs),
    /// Make the documents with all partners that adopt the same framework, one for each pair
    #[command(
        after_help = "Examples:\n  concordat agreement draft --template=framework > framework.toml\n  concordat agreement frame framework.toml --out pairs"
    )]
    Frame(drafting::FrameArgs),
    /// Keep the text of a framework that a partner's document names, so that it is shown with the agreement
    #[command(after_help = "Example:\n  concordat agreement adopt framework.md")]
    Adopt(drafting::AdoptArgs),
    /// Offer a document to the partner's node
    #[command(after_help = "Example:\n  concordat agreement propose alder-birch.json --as alder.agreements")]
    Propose(Propose),
    /// Show all agreements and where each stands
    #[command(
        after_help = "Example:\n  concordat agreement list\n\nExit code 3 when rows of one were changed by other hands: it is listed as damaged, and counts for nothing."
    )]
    List,
    /// Show one agreement: parties, grants, events
    #[command(after_help = "Example:\n  concordat agreement show 01940a2b-0000-7000-8000-000000000001 --json")]
    Show(One),
    /// Write an agreement as a document for people: what it says, who signed it, where it stands
    #[command(
        after_help = "Examples:\n  concordat agreement render 01940a2b-0000-7000-8000-000000000001 --out alder-birch.pdf\n  concordat agreement render alder-birch.json --html --out draft.html"
    )]
    Render(form::Render),
    /// Say what another document changes, and what of it widens sharing
    #[command(
        after_help = "Example:\n  concordat agreement diff 01940a2b-0000-7000-8000-000000000001 alder-birch-2028.json"
    )]
    Diff(form::Diff),
    /// Propose to sign it with this agency's seal; it is signed when a second person approves
    #[command(
        after_help = "Example:\n  concordat agreement sign 01940a2b-0000-7000-8000-000000000001 \\\n      --official-key official.key --reason \"renewal of last year\" --as alder.agreements\n\nThen somebody else: concordat change approve. Of the two, one has to be the custodian. The official's own signature is given here, by key file or made by a smart card (see `agreement tosign`), or was before."
    )]
    Sign(Signing),
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
    /// Propose to lift this agency's own suspension; the partner reads the reason
    #[command(
        after_help = "Example:\n  concordat agreement resume 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"audit passed\" --as alder.agreements\n\nThen somebody else: concordat change approve. Of the two, one has to be the custodian."
    )]
    Resume(Widening),
    /// End it and its signed renewals for good
    #[command(
        after_help = "Example:\n  concordat agreement terminate 01940a2b-0000-7000-8000-000000000001 \\\n      --reason \"policy changed\" --as alder.custodian"
    )]
    Terminate(Why),
    /// Show who can get what from whom, now or at an instant of the past
    #[command(
        after_help = "Examples:\n  concordat agreement access\n  concordat agreement access --as-of 2026-11-23T12:17:00-08:00 --json\n\nComputed from the trail: this agency's own events count from when it said them, the partner's from when this agency acknowledged them."
    )]
    Access(access::AccessArgs),
    /// Send the partner what it lacks of this agreement, and take what this node lacks
    #[command(after_help = "Example:\n  concordat agreement sync 01940a2b-0000-7000-8000-000000000001")]
    Sync(One),
    /// Make, send and show the yearly compliance packet
    #[command(subcommand, after_help = "Example:\n  concordat agreement packet list")]
    Packet(packet::PacketCommand),
    /// Review partners before their agreements are renewed
    #[command(subcommand, after_help = "Example:\n  concordat agreement review list")]
    Review(review::ReviewCommand),
    /// Draft the agreement that renews one, from what was reviewed, and offer it
    #[command(
        after_help = "Examples:\n  concordat agreement renew 01940a2b-0000-7000-8000-000000000001 --as alder.agreements\n  concordat agreement renew --all-due --spread --as alder.agreements\n\nThe old one serves until the new one, signed by both, takes effect. Questions are counted for each agreement by itself, so on that day a partner has the new one's daily quota, whatever it asked under the old one."
    )]
    Renew(renewal::Renew),
    /// Enter what must approve a signature: counsel, the public meeting, the signing authority
    #[command(
        after_help = "Example:\n  concordat agreement approve 01940a2b-0000-7000-8000-000000000001 --kind counsel \\\n      --by \"County Counsel\" --reference \"memo 26-118\" --date 2026-11-20 --as alder.agreements"
    )]
    Approve(renewal::Approve),
    /// Write what the official's smart card signs
    #[command(
        after_help = "Example:\n  concordat agreement tosign 01940a2b-0000-7000-8000-000000000001 --out official.input\n\nThe card signs that file (ECDSA with SHA-256 over P-256); then: concordat agreement sign ID --official-signature FILE."
    )]
    Tosign(renewal::ToSign),
    /// Write sunsets and due dates as a calendar file
    #[command(after_help = "Example:\n  concordat agreement calendar --out agreements.ics")]
    Calendar(renewal::CalendarArgs),
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
pub struct Signing {
    /// The agreement's id
    id: AgreementId,
    #[command(flatten)]
    official: renewal::ByOfficial,
    #[command(flatten)]
    propose: change::Propose,
}

/// What opens sharing, and takes two people.
#[derive(Debug, Args)]
pub struct Widening {
    /// The agreement's id
    id: AgreementId,
    #[command(flatten)]
    propose: change::Propose,
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
        AgreementCommand::Draft(args) => return drafting::draft(place, args, out),
        AgreementCommand::Frame(args) => return drafting::frame(place, &args, out),
        AgreementCommand::Adopt(args) => return drafting::adopt(place, &args, out),
        AgreementCommand::Propose(args) => return propose(place, args, out).await,
        AgreementCommand::Access(args) => return access::run(place, args, out),
        AgreementCommand::List => return shown::list(place, out),
        AgreementCommand::Show(One { id }) => return shown::show(place, id, out),
        AgreementCommand::Render(args) => return form::render(place, args, out),
        AgreementCommand::Diff(args) => return form::diff(place, args, out),
        AgreementCommand::Sync(One { id }) => return sync(place, id, out).await,
        AgreementCommand::Packet(command) => return packet::run(place, command, out).await,
        AgreementCommand::Review(command) => return review::run(place, command, out).await,
        AgreementCommand::Renew(args) => return renewal::renew(place, args, out).await,
        AgreementCommand::Approve(args) => return renewal::approve(place, args, out).await,
        AgreementCommand::Tosign(args) => return renewal::to_sign(place, args, out),
        AgreementCommand::Calendar(args) => return renewal::calendar(place, args, out),
        AgreementCommand::Sign(Signing { id, official, propose }) => {
            let signed = renewal::official_signs(place, id, official, &propose.person.user).await?;
            let proposed = change::propose(place, Command::Sign { agreement: id }, propose, out).await;
            return proposed.map_err(|problem| if signed { official_is_kept(problem) } else { problem });
        }
        AgreementCommand::Resume(Widening { id, propose }) => {
            return change::propose(place, Command::Resume { agreement: id }, propose, out).await;
        }
        AgreementCommand::Decline(Why { id, reason, person }) => (id, person, Act::Decline { reason }),
        AgreementCommand::Withdraw(Why { id, reason, person }) => (id, person, Act::Withdraw { reason }),
        AgreementCommand::Suspend(Why { id, reason, person }) => (id, person, Act::Suspend { reason }),
        AgreementCommand::Terminate(Why { id, reason, person }) => (id, person, Act::Terminate { reason }),
    };
    let node = place.node()?;
    let delivery = lifecycle::act(&node, id, act, &person.user).await?;
    delivered(id, delivery, out)
}

/// What was not proposed after the official had signed: nobody has to sign a second time.
fn official_is_kept(problem: Problem) -> Problem {
    let kept = "the official's own signature was recorded and stays with this document: leave it out when you run \
                `concordat agreement sign` again";
    let hint = problem.hint.map_or_else(|| kept.to_owned(), |hint| format!("{hint}; {kept}"));
    Problem { hint: Some(hint), ..problem }
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
    let exit = exit(&delivery);
    out.one(&Done { id, delivery }, |done| match &done.delivery {
        Delivery::Delivered { there: Some(status) } => {
            format!("Recorded, and the partner has it. There, agreement {id} is now: {}.", status.says())
        }
        delivery => delivery.lacking(id).map_or_else(
            || format!("Recorded, and the partner lacks nothing of agreement {id}."),
            |lacking| format!("Recorded here. {lacking}"),
        ),
    })?;
    Ok(exit)
}

/// What is recorded and will be sent is done; what the partner refuses is not.
pub(super) fn exit(delivery: &Delivery) -> Exit {
    match delivery {
        Delivery::Delivered { .. } | Delivery::Pending { .. } => Exit::Done,
        Delivery::Refused { .. } => Exit::Refused,
    }
}

async fn sync(place: &Place, id: AgreementId, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    if standing::verified(&mut node.registry().reader()?, id)?.is_none() {
        return Err(form::none(id));
    }
    let hint =
        || Some("`concordat agreement list` shows the agreements, `concordat peer list` the partners".to_owned());
    let status = lifecycle::sync(&node, id).await.map_err(|apart| match apart {
        Apart::Refused(why) => {
            Problem::refused(why, Some(format!("settle that with the partner; concordat agreement show {id}")))
        }
        Apart::Failed(why) => Problem::failure(why, hint()),
    })?;
    out.one(&json!({"id": id, "status": status}), |_| format!("Agreement {id}: {}.", status.says()))?;
    Ok(Exit::Done)
}
