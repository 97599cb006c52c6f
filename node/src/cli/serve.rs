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
    #[serde(skip_serializing_if = "Option::is_none")]
    intake: Option<SocketAddr>,
}

pub(super) async fn run(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node_of(place.config_of_service()?)?;
    // Before the doors open, so that no signal finds the default handler, which ends the process at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let running = serve::start(&node, Ringer::Cron)?;
    let serve::Running { peer, console, ops, intake, .. } = running;
    let tls = node.config().ingest.webhook.tls;
    out.one(&Serving { ori: node.ori(), peer, console, ops, intake }, |serving| {
        let scheme = if tls { "https" } else { "http" };
        let agents = intake.map(|at| format!(" readers' agents at {scheme}://{at}/rekor,")).unwrap_or_default();
        format!(
            "{} serves: partners at {peer} (mutual TLS),{agents} console at http://{console}, metrics at http://{ops}/metrics.\nCtrl-C stops it.",
            serving.ori
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
