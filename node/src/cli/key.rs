//! `concordat key`: this node gets other keys or another place, and its partners are told.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem};
use crate::node::read_key;
use crate::rotation::{self, KeyKind, Order, Told};

/// Replace this node's keys, or tell partners that it moved
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make new keys beside those in use, and the requests for their certificates
    #[command(
        after_help = "Example:\n  concordat key prepare tls log\n\nWithout a name, all four. Nothing changes yet: the new keys lie in keys/next. Have the TLS certificate issued (`concordat ca issue --csr keys/next/tls.csr`) and put it at keys/next/tls.pem, then `concordat key rotate`."
    )]
    Prepare(Prepare),
    /// Use the new keys, and tell every partner under every agreement
    #[command(
        after_help = "Example:\n  concordat key rotate --reason \"yearly change of keys\" --as alder.admin\n\nNo agreement is signed again. From here on what the old keys sign counts for nothing, here and at every partner that knows; who is not reached is told later. The old key files are gone afterwards. A running node follows within a second. After a crash, run it again: it completes what was begun."
    )]
    Rotate(Rotate),
    /// Tell every partner the URL and the contacts that concordat.toml has now
    #[command(
        after_help = "Example:\n  concordat key move --reason \"new data centre\" --as alder.admin\n\nFirst set peer.url and agency.contacts in concordat.toml, have the certificate issued for the new host, and let the node serve there. Partners use the new URL as soon as they know it."
    )]
    Move(Move),
}

/// Arguments of `key prepare`.
#[derive(Debug, Args)]
pub struct Prepare {
    /// Which keys; all four when none is named
    #[arg(value_enum, value_name = "KEY")]
    keys: Vec<Name>,
}

/// A key that can be replaced.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// Of the TLS certificate: needs a new one before it can be used
    Tls,
    /// Of the seal: its certificate is optional
    Seal,
    /// Signs the trail's head
    Log,
    /// Cosigns partners' heads
    Witness,
}

impl From<Name> for KeyKind {
    fn from(name: Name) -> Self {
        match name {
            Name::Tls => Self::Tls,
            Name::Seal => Self::Seal,
            Name::Log => Self::Log,
            Name::Witness => Self::Witness,
        }
    }
}

/// Arguments of `key rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// An old key is, or may be, in other hands: partners review their agreements with this agency (V-28)
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    order: Ordering,
}

/// Arguments of `key move`.
#[derive(Debug, Args)]
pub struct Move {
    #[command(flatten)]
    order: Ordering,
}

/// Who, why, and by what it is vouched for.
#[derive(Debug, Args)]
struct Ordering {
    /// Why; partners read it
    #[arg(long)]
    reason: String,
    /// The identity key, to vouch for it in the place of a seal key that is lost or may be in other hands
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    person: As,
}

impl Ordering {
    fn read(self) -> Result<Order, Problem> {
        let identity = self.identity.as_deref().map(read_key).transpose()?;
        Ok(Order { by: self.person.user, reason: self.reason, identity })
    }
}

pub(super) async fn run(place: &Place, command: KeyCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        KeyCommand::Prepare(args) => prepare(place, args, out),
        KeyCommand::Rotate(Rotate { compromised, order }) => {
            let (node, order) = (place.node()?, order.read()?);
            let told = rotation::rotate(&node, order, compromised, &mut progress()).await?;
            say(told, "A node that serves takes the new keys within seconds; nothing is to be restarted.", out)
        }
        KeyCommand::Move(Move { order }) => {
            let (node, order) = (place.node()?, order.read()?);
            let told = rotation::moved(&node, order, &mut progress()).await?;
            say(told, "A node that serves describes itself as before until it is restarted: restart it now.", out)
        }
    }
}

fn prepare(place: &Place, args: Prepare, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let which: Vec<KeyKind> =
        if args.keys.is_empty() { KeyKind::ALL.to_vec() } else { args.keys.into_iter().map(KeyKind::from).collect() };
    let prepared = rotation::prepare(&config, &which).map_err(crate::node::OpenError::from)?;
    out.one(&prepared, |prepared| {
        let first = format!("New keys lie in {}. Nothing has changed yet.", prepared.folder.display());
        let requests = prepared.requests.iter().map(|request| {
            let needed = if request.ends_with("tls.csr") { "is needed" } else { "may come later" };
            let certificate = request.with_extension("pem");
            format!("The certificate for {} belongs at {}; it {needed}.", request.display(), certificate.display())
        });
        let next = "Next: concordat key rotate --reason WHY --as USER".to_owned();
        std::iter::once(first).chain(requests).chain([next]).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// Says on a terminal how far the partners are told; whoever has no time for it ends it, and the rest is told later.
fn progress() -> impl FnMut(usize, usize) + Send {
    let terminal = io::stderr().is_terminal();
    move |done, all| {
        if terminal && all > 1 {
            // There is nowhere to say that standard error is gone.
            let _ = write!(io::stderr(), "\rtold {done} of {all} {}", if done == all { "\n" } else { "" });
        }
    }
}

/// Says what came of it, and what is `next` here.
fn say(told: Told, next: &str, out: &mut Output<'_>) -> Result<Exit, Problem> {
    out.one(&told, |told| {
        let recorded = match told.agreements {
            0 => "It was recorded before.".to_owned(),
            n => format!("Recorded, under {n} agreements."),
        };
        let (know, not) = (told.delivered, told.pending.len());
        let mut lines = vec![format!("{recorded} Partners that know now: {know}; that do not yet: {not}.")];
        lines.extend(told.pending.iter().map(|pending| format!("  agreement {}: {}", pending.agreement, pending.why)));
        if not > 0 {
            lines.push(
                "A running node tells them every five minutes; `concordat agreement sync ID` tells one at once."
                    .to_owned(),
            );
        }
        lines.push(next.to_owned());
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}
