//! `concordat agreement packet`: the yearly compliance packet (V-29).

use std::path::PathBuf;

use agreements::ids::{Digest, Ori};
use agreements::packet::Packet;
use agreements::time::Instant;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::read;
use crate::cli::exit::Exit;
use crate::cli::place::Place;
use crate::cli::{Output, Problem, local};
use crate::renewal::packet::{self, Answers, TEMPLATE};
use crate::renewal::{held, sending};

/// Make, send and show compliance packets.
#[derive(Debug, Subcommand)]
pub enum PacketCommand {
    /// Seal this agency's packet for a year from a file of answers, and send it to every partner
    #[command(
        after_help = "Examples:\n  concordat agreement packet make --template > packet.toml\n  concordat agreement packet make packet.toml --as alder.agreements\n\nHow many people there are and who was trained is counted from the accounts; the policy and the processors are those of concordat.toml."
    )]
    Make(Make),
    /// Send the newest packet to the partners that lack it; a running node does so by itself
    #[command(after_help = "Example:\n  concordat agreement packet send")]
    Send,
    /// Show a packet: this agency's newest one, a partner's, or one by its hash
    #[command(
        after_help = "Examples:\n  concordat agreement packet show\n  concordat agreement packet show --partner CA0990100"
    )]
    Show(Show),
    /// Show all packets, this agency's own and partners'
    #[command(after_help = "Example:\n  concordat agreement packet list")]
    List,
}

/// Arguments of `agreement packet make`.
#[derive(Debug, Args)]
pub struct Make {
    /// The answers, TOML; `-` is standard input
    #[arg(required_unless_present = "template", conflicts_with = "template")]
    file: Option<PathBuf>,
    /// Print a commented file to answer
    #[arg(long)]
    template: bool,
    /// The account of the person who acts
    #[arg(
        long = "as",
        value_name = "USER",
        env = "CONCORDAT_USER",
        hide_env_values = true,
        required_unless_present = "template"
    )]
    user: Option<String>,
}

/// Arguments of `agreement packet show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The packet's SHA-256
    #[arg(conflicts_with = "partner")]
    id: Option<Digest>,
    /// The partner whose newest packet is shown
    #[arg(long)]
    partner: Option<Ori>,
}

#[derive(Serialize)]
struct Listed {
    packet: Digest,
    agency: Ori,
    made_at: Instant,
    recorded_at: Instant,
    current: bool,
}

pub(super) async fn run(place: &Place, command: PacketCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        PacketCommand::Make(args) => make(place, args, out).await,
        PacketCommand::Send => send(place, out).await,
        PacketCommand::Show(args) => show(place, args, out),
        PacketCommand::List => list(place, out),
    }
}

async fn make(place: &Place, args: Make, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let (Some(file), Some(user)) = (args.file, args.user) else {
        out.one(&json!({"template": TEMPLATE}), |_| TEMPLATE.to_owned())?;
        return Ok(Exit::Done);
    };
    let text = String::from_utf8(read(&file)?)
        .map_err(|_| Problem::usage(format!("{} is not UTF-8", file.display()), None))?;
    let answers =
        Answers::parse(&text).map_err(|error| Problem::usage(format!("{}: {error}", file.display()), None))?;
    let node = place.node()?;
    let made = packet::make(&node, answers, &user).await?;
    let sent = sending::send_all(&node).await?;
    let pending: Vec<&sending::Sent> = sent.iter().filter(|sent| sent.pending.is_some()).collect();
    let held = &made.held;
    let value = json!({"packet": held.id, "already": made.already, "sent": sent});
    out.one(&value, |_| {
        let was = if made.already { "The same packet was sealed before" } else { "Sealed" };
        let mut lines = vec![format!("{was}: {}. It serves the renewals of all partners.", held.id)];
        let lacks: Vec<&str> = held.packet.attestations.named().into_iter().filter(|it| !it.1).map(|it| it.0).collect();
        if !lacks.is_empty() {
            lines.push(format!("It does not attest {}: partners' reviewers see that.", lacks.join(", ")));
        }
        lines.push(format!("{} of {} partners that lacked it have it now.", sent.len() - pending.len(), sent.len()));
        lines.extend(pending.iter().map(|it| format!("{}: {}", it.partner, it.pending.as_deref().unwrap_or_default())));
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}

async fn send(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let sent = sending::send_all(&node).await?;
    let pending = sent.iter().any(|sent| sent.pending.is_some());
    out.list(&["partner", "what"], &sent, |it| {
        vec![it.partner.to_string(), it.pending.clone().unwrap_or_else(|| "has it".to_owned())]
    })?;
    Ok(if pending { Exit::Failure } else { Exit::Done })
}

fn show(place: &Place, args: Show, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut conn = place.registry()?.reader()?;
    let none = |hint: &str| Problem::refused("there is no such packet", Some(hint.to_owned()));
    let (id, packet) = match (args.id, args.partner) {
        (Some(id), _) => (id, held::packet(&mut conn, id)?),
        (None, Some(partner)) => {
            let received = held::received_of(&mut conn, partner)?;
            let newest = held::newest_of(&mut conn, &received)?;
            newest.map(|held| (held.id, held.packet)).ok_or_else(|| none("none came from that partner yet"))?
        }
        (None, None) => {
            let newest = held::newest_own(&mut conn)?;
            newest
                .map(|held| (held.id, held.packet))
                .ok_or_else(|| none("`concordat agreement packet make` makes one"))?
        }
    };
    out.one(&json!({"id": id, "packet": packet}), |_| text(id, &packet))?;
    Ok(Exit::Done)
}

fn text(id: Digest, it: &Packet) -> String {
    let mut lines = vec![
        format!("Compliance packet {id}"),
        format!("  {} {}, {} to {}, made {}", it.ori, it.legal_name, it.from, it.until, local::shown(it.made_at)),
        format!("  policy: {}, compared on {}, SHA-256 {}", it.policy.url, it.policy.checked_on, it.policy.sha256),
        format!(
            "  people: {} accounts, {} may query, {} of them trained within the year; {} trainings recorded",
            it.people.accounts, it.people.may_query, it.people.may_query_trained, it.people.trainings_recorded
        ),
        format!("  audit: {} by {}, {} queries", it.audit.on, it.audit.by, it.audit.queries),
    ];
    lines.extend(it.audit.findings.iter().map(|finding| format!("    found: {finding}")));
    for (name, attested) in it.attestations.named() {
        lines.push(format!("  {} {name}", if attested { "attests" } else { "DOES NOT attest" }));
    }
    lines.extend(it.violations.iter().map(|it| format!("  violation on {}: {}; done: {}", it.on, it.what, it.done)));
    let shared = if it.out_of_state.shared { "SHARED" } else { "not shared" };
    lines.push(format!("  outside California: {shared}: {}", it.out_of_state.statement));
    lines.extend(it.processors.iter().map(|it| format!("  processor: {}", it.name)));
    lines.join("\n")
}

fn list(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let mut conn = place.registry_of(&config)?.reader()?;
    let now = place.now();
    let mut all = vec![(config.agency.ori, held::own_packets(&mut conn)?)];
    all.extend(held::received(&mut conn)?);
    let mut items = Vec::new();
    for (agency, packets) in all {
        for (recorded_at, packet) in packets {
            let held = held::packet(&mut conn, packet)?;
            items.push(Listed { packet, agency, made_at: held.made_at, recorded_at, current: held.current(now) });
        }
    }
    out.list(&["packet", "agency", "made", "recorded", "counts"], &items, |it| {
        vec![
            it.packet.to_string(),
            it.agency.to_string(),
            local::shown(it.made_at),
            local::shown(it.recorded_at),
            if it.current { "yes" } else { "over a year old" }.to_owned(),
        ]
    })?;
    Ok(Exit::Done)
}
