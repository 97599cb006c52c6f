//! A running node: its three doors, what it looks after every second and minute, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

use crate::console::{self, StatusSource};
use crate::node::Node;
use crate::{hotlists, ops, peer};

/// How often files and enrolments are looked at again.
const TICK: Duration = Duration::from_secs(1);
/// How many ticks lie between two aggregate entries about refused requests.
const REFUSED_EVERY: u32 = 60;

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The peer port.
    #[error("the peer port: {0}")]
    Peer(#[from] peer::BindError),
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
    node: Arc<Node>,
    handles: Vec<ServerHandle>,
    stop: watch::Sender<bool>,
    tasks: Vec<rt::task::JoinHandle<()>>,
}

/// Opens the three doors. Must be called inside an actix runtime.
///
/// # Errors
/// See [`ServeError`]. No door stays open then.
pub fn start(node: &Arc<Node>) -> Result<Running, ServeError> {
    let (peer, peer_at) = peer::bind(node)?;
    let source: Arc<dyn StatusSource> = Arc::clone(node) as _;
    let console = console::bind(node.config().console.listen, source, Arc::clone(node.metrics()));
    let (console, console_at) = console.map_err(|error| ServeError::Other("console", error))?;
    let ops = ops::bind(node.config().ops.listen, Arc::clone(node.metrics()));
    let (ops, ops_at) = ops.map_err(|error| ServeError::Other("ops", error))?;
    let first = |addresses: &[SocketAddr]| addresses.first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
    let (stop, stopped) = watch::channel(false);
    let handles = vec![peer.handle(), console.handle(), ops.handle()];
    let mut tasks: Vec<_> = [("peer", peer), ("console", console), ("ops", ops)]
        .into_iter()
        .map(|(name, server)| {
            rt::spawn(async move {
                if let Err(error) = server.await {
                    tracing::error!(%error, name, "a door closed by itself");
                }
            })
        })
        .collect();
    tasks.push(rt::spawn(look_after(Arc::clone(node), stopped.clone())));
    tasks.push(rt::spawn(refresh(Arc::clone(node), stopped)));
    let running = Running {
        peer: first(&peer_at),
        console: first(&console_at),
        ops: first(&ops_at),
        node: Arc::clone(node),
        handles,
        stop,
        tasks,
    };
    tracing::info!(ori = %node.ori(), peer = %running.peer, console = %running.console, ops = %running.ops, "serving");
    Ok(running)
}

impl Running {
    /// Stops: no new request is taken, those in work are finished, and what was refused is recorded.
    pub async fn stop(self) {
        self.end(true).await;
    }

    /// Stops at once: what is in work is cut off. For whoever cannot wait; what was recorded is safe either way.
    pub async fn cut(self) {
        self.end(false).await;
    }

    async fn end(self, finishing: bool) {
        self.stop.send_replace(true);
        // All doors at once: one that waits for its last request does not keep the others open.
        join_all(self.handles.iter().map(|handle| handle.stop(finishing))).await;
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the node ended in a panic");
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
async fn refresh(node: Arc<Node>, mut stopped: watch::Receiver<bool>) {
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

/// Follows what other processes change: revocation lists, enrolments; and writes the aggregate entry.
async fn look_after(node: Arc<Node>, mut stopped: watch::Receiver<bool>) {
    let desk = node.desk();
    let mut ticks: u32 = 0;
    erase(&node).await;
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        match node.trust().refresh() {
            Ok(true) => tracing::info!("read the authorities and their revocation lists again"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the changed authorities or revocation lists are not usable; the last good ones still count");
            }
        }
        if let Err(error) = desk.registry(|conn| node.refresh_partners(conn)) {
            tracing::error!(%error, "the enrolled partners could not be read again");
        }
        erase(&node).await;
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(REFUSED_EVERY)
            && let Err(error) = node.record_refused().await
        {
            tracing::error!(%error, "what was refused in the last minute is not recorded yet");
        }
    }
}
