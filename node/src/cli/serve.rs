//! `concordat serve`: the node, until it is told to stop.

use std::net::SocketAddr;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::place::Place;
use super::{Output, Problem};
use crate::jobs::Ringer;
use crate::serve;

#[derive(Serialize)]
struct Serving {
    ori: agreements::ids::Ori,
    peer: SocketAddr,
    console: SocketAddr,
    ops: SocketAddr,
}

pub(super) async fn run(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node_of(place.config_of_service()?)?;
    // Before the doors open, so that no signal finds the default handler, which ends the process at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let running = serve::start(&node, Ringer::Cron)?;
    let serving = Serving { ori: node.ori(), peer: running.peer, console: running.console, ops: running.ops };
    out.one(&serving, |serving| {
        format!(
            "{} serves: partners at {} (mutual TLS), console at http://{}, metrics at http://{}/metrics.\nCtrl-C stops it.",
            serving.ori, serving.peer, serving.console, serving.ops
        )
    })?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => running.look_again(),
        }
    }
    running.stop().await;
    Ok(Exit::Done)
}
