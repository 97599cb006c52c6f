//! A running node: its three doors, its jobs, what it looks after every second and minute, and its end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, watch};

use crate::changes;
use crate::console::{self, StatusSource};
use crate::exchange::{following, reconcile, renewing};
use crate::intake::folder;
use crate::intake::queue::{self, Keeping, Queue};
use crate::jobs::{self, Ringer, Stop};
use crate::node::Node;
use crate::reads::images::ImageError;
use crate::registry::agents;
use crate::{checking, hotlists, ops, peer, publishing, tampering, upkeep, webhook};

/// For so many ticks at most what ends by the clock waits at start for witnesses to say what time it is.
const TIME_KNOWN: u32 = 10;
/// How often files and enrolments are looked at again.
const TICK: Duration = Duration::from_secs(1);
/// After how many ticks rows are held to the trail and aggregate entries are written.
const MINUTE: u32 = 60;
/// After how many ticks what has to be renewed is said again: a day.
const NOTICES_EVERY: u32 = 24 * 60 * MINUTE;

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The peer port.
    #[error("the peer port: {0}")]
    Peer(#[from] peer::BindError),
    /// The port for readers' agents.
    #[error("the agents' port: {0}")]
    Intake(#[from] webhook::BindError),
    /// The images of what agents send.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// Another port.
    #[error("the {0} port: {1}; name another address in concordat.toml")]
    Other(&'static str, std::io::Error),
}

/// A node that serves until it is stopped.
pub struct Running {
    /// Where the peer port listens.
    pub peer: SocketAddr,
    /// Where the console listens.
    pub console: SocketAddr,
    /// Where the ops port listens.
    pub ops: SocketAddr,
    /// Where the port for readers' agents listens, if there is one.
    pub intake: Option<SocketAddr>,
    node: Arc<Node>,
    keeping: Option<(Queue, Keeping)>,
    handles: Vec<ServerHandle>,
    stop: watch::Sender<Stop>,
    again: Arc<Notify>,
    tasks: Vec<rt::task::JoinHandle<()>>,
}

/// Opens the doors and begins with the jobs, which `ringer` wakes. Must be called inside an actix runtime.
///
/// # Errors
/// See [`ServeError`]. No door stays open then.
pub fn start(node: &Arc<Node>, ringer: Ringer) -> Result<Running, ServeError> {
    let (peer, peer_at) = peer::bind(node)?;
    let source: Arc<dyn StatusSource> = Arc::clone(node) as _;
    let console = console::bind(node.config().console.listen, source, Arc::clone(node.metrics()));
    let (console, console_at) = console.map_err(|error| ServeError::Other("console", error))?;
    let ops = ops::bind(node.config().ops.listen, Arc::clone(node.metrics()));
    let (ops, ops_at) = ops.map_err(|error| ServeError::Other("ops", error))?;
    let first = |addresses: &[SocketAddr]| addresses.first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
    let (stop, stopped) = watch::channel(Stop::Not);
    let mut servers = vec![("peer", peer), ("console", console), ("ops", ops)];
    let (intake, keeping) = match node.config().ingest.webhook.listen {
        None => (None, None),
        Some(listen) => {
            let (queue, keeping) = queue::open(node)?;
            let (server, at) = webhook::bind(node, &queue, listen)?;
            servers.push(("intake", server));
            (Some(first(&at)), Some((queue, keeping)))
        }
    };
    let handles = servers.iter().map(|(_, server)| server.handle()).collect();
    let mut tasks: Vec<_> = servers
        .into_iter()
        .map(|(name, server)| {
            rt::spawn(async move {
                if let Err(error) = server.await {
                    tracing::error!(%error, name, "a door closed by itself");
                }
            })
        })
        .collect();
    let (jobs, mut until) = (jobs::serve(Arc::clone(node), ringer, stopped.clone()), stopped.clone());
    let timed = Arc::clone(node);
    tasks.push(rt::spawn(async move {
        if time_is_known(&timed, &mut until).await {
            jobs.await;
        }
    }));
    // Before the first tick, so that no metric says nought.
    upkeep::follow(node);
    let again = Arc::new(Notify::new());
    let queue = keeping.as_ref().map(|(queue, _)| queue.clone());
    tasks.push(rt::spawn(look_after(Arc::clone(node), queue, stopped.clone(), Arc::clone(&again))));
    tasks.push(rt::spawn(folder::watch(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(refresh(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(publishing::serve(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(following::serve(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(checking::serve(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(tampering::go_round(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(renewing::serve(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(reconcile::serve(Arc::clone(node), stopped)));
    let running = Running {
        peer: first(&peer_at),
        console: first(&console_at),
        ops: first(&ops_at),
        intake,
        keeping,
        node: Arc::clone(node),
        handles,
        stop,
        again,
        tasks,
    };
    tracing::info!(ori = %node.ori(), peer = %running.peer, console = %running.console, ops = %running.ops, "serving");
    Ok(running)
}

impl Running {
    /// Looks at the files at once, as SIGHUP asks; a running node does so every second anyway.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Stops: no new request is taken, those in work are finished, jobs in work get ten seconds, and what was refused is
    /// recorded.
    pub async fn stop(self) {
        self.end(true).await;
    }

    /// Stops at once: what is in work is cut off. For whoever cannot wait; what was recorded is safe either way.
    pub async fn cut(self) {
        self.end(false).await;
    }

    async fn end(self, finishing: bool) {
        self.stop.send_replace(if finishing { Stop::Gently } else { Stop::AtOnce });
        // All doors at once: one that waits for its last request does not keep the others open.
        join_all(self.handles.iter().map(|handle| handle.stop(finishing))).await;
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the node ended in a panic");
            }
        }
        if let Some((queue, keeping)) = self.keeping {
            queue.close(keeping).await;
            if let Err(error) = queue.record(&self.node).await {
                tracing::error!(%error, "what agents sent since the last minute is not recorded");
            }
        }
        if let Err(error) = self.node.record_refused().await {
            tracing::error!(%error, "what was refused since the last minute is not recorded");
        }
        tracing::info!(ori = %self.node.ori(), "stopped");
    }
}

/// Erases partners' hotlists whose lease has ended.
async fn erase(node: &Arc<Node>) {
    if let Err(error) = hotlists::refresh::erase_due(node).await {
        tracing::error!(%error, "a partner's hotlist whose lease ended is not erased yet; it matches nothing");
    }
}

/// Pulls partners' hotlists when they moved or have to be renewed. Apart from what else is looked after: a partner may take
/// its time.
async fn refresh(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TICK) => running.push(hotlists::refresh::refresh_due(&node)),
            Some(refreshed) = running.next(), if !running.is_empty() => {
                if let Err(error) = refreshed {
                    tracing::error!(%error, "partners' hotlists could not be refreshed");
                }
            }
        }
    }
}

/// Waits until witnesses, if there are any, have said what time it is: in a machine that was off the clock may have become
/// another one, and nothing ends by that. Not for long, where they do not answer. Whether the node still runs.
async fn time_is_known(node: &Node, stopped: &mut watch::Receiver<Stop>) -> bool {
    for _ in 0..TIME_KNOWN {
        if node.watch().is_timed() {
            break;
        }
        tokio::select! {
            _ = stopped.changed() => return false,
            () = tokio::time::sleep(TICK) => {}
        }
    }
    true
}

/// Follows what other processes change: certificates, revocation lists, enrolments, agents.
async fn look_after(node: Arc<Node>, queue: Option<Queue>, mut stopped: watch::Receiver<Stop>, again: Arc<Notify>) {
    let mut said = BTreeSet::new();
    let desk = node.desk();
    let mut ticks: u32 = 0;
    if !time_is_known(&node, &mut stopped).await {
        return;
    }
    erase(&node).await;
    hold_rules(&node).await;
    if let Err(error) = changes::rules::tell(&node).await {
        tracing::error!(%error, "nobody was told yet that the owner's rules in the configuration are wider than decided");
    }
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TICK) => {}
            () = again.notified() => {}
        }
        if let Err(error) = desk.registry(|conn| node.refresh_partners(conn)) {
            tracing::error!(%error, "the enrolled partners could not be read again");
        }
        if let Err(error) = desk.registry(|conn| node.follow_behind(conn)) {
            tracing::error!(%error, "whether the registry was set back could not be read");
        }
        upkeep::follow(&node);
        upkeep::say(&upkeep::notices(&node, node.now()), &mut said, ticks.is_multiple_of(NOTICES_EVERY));
        if let Some(queue) = &queue {
            match desk.registry(agents::all) {
                Ok(all) => queue.count_agents(&all, node.now()),
                Err(error) => tracing::error!(%error, "the agents cannot be counted"),
            }
        }
        erase(&node).await;
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(MINUTE) {
            each_minute(&node, queue.as_ref()).await;
        }
    }
}

/// Records which of the owner's rules count, where that is news.
async fn hold_rules(node: &Arc<Node>) {
    if let Err(error) = changes::rules::hold(node).await {
        tracing::error!(%error, "which of the owner's rules count is not recorded yet; the narrower ones do");
    }
}

/// Holds the registry's rows to the trail, and writes the aggregate entries.
async fn each_minute(node: &Arc<Node>, queue: Option<&Queue>) {
    tampering::look(Arc::clone(node)).await;
    if let Err(error) = node.record_refused().await {
        tracing::error!(%error, "what was refused in the last minute is not recorded yet");
    }
    if let Some(queue) = queue
        && let Err(error) = queue.record(node).await
    {
        tracing::error!(%error, "what agents sent in the last minute is not recorded yet");
    }
}
