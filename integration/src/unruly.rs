//! A line between two nodes that loses, repeats and holds up what passes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::node::TestNode;
use crate::pair::Pair;
use crate::proxy::request;
use crate::wire::PATIENCE;

/// What a line does to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// No request arrives.
    Cut,
    /// Requests arrive, and no reply to them does.
    LosesReplies,
    /// Each request arrives twice; the second reply counts.
    Repeats,
    /// Requests wait until the line does something else.
    HoldsRequests,
    /// Requests arrive, and replies wait until the line does something else.
    HoldsReplies,
}

/// The way from one node to another's door.
pub struct UnrulyLine {
    pub address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl UnrulyLine {
    /// From `asker` to `owner`; it does nothing to what passes yet.
    pub async fn between(asker: &TestNode, owner: &TestNode) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = owner.node();
        let clock = Arc::new(owner.clock.clone());
        let server = concordat::tls::server(node.dialer().own(), node.trust(), clock).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let onward = asker.calls(owner);
        let (fault, requests) = (Arc::new(Mutex::new(Fault::None)), Arc::<AtomicUsize>::default());
        let (doing, counting) = (Arc::clone(&fault), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, onward) = (acceptor.clone(), onward.clone());
                let (doing, counting) = (Arc::clone(&doing), Arc::clone(&counting));
                let is = move || *doing.lock().unwrap();
                let passing = async move {
                    let mut tls = acceptor.accept(tcp).await.ok()?;
                    let (method, path, body) = request(&mut tls).await?;
                    counting.fetch_add(1, Ordering::SeqCst);
                    while is() == Fault::HoldsRequests {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    if is() == Fault::Cut {
                        return None;
                    }
                    let mut reply = onward.send(&method, &path, body.as_deref()).await.ok()?;
                    if is() == Fault::Repeats {
                        reply = onward.send(&method, &path, body.as_deref()).await.ok()?;
                    }
                    while is() == Fault::HoldsReplies {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    if is() == Fault::LosesReplies {
                        return None;
                    }
                    let (status, length) = (reply.status, reply.body.len());
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    tls.write_all(&[head.as_bytes(), &reply.body].concat()).await.ok()?;
                    tls.shutdown().await.ok()
                };
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, passing).await });
            }
        });
        Self { address, fault, requests, task }
    }

    pub fn becomes(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How many requests came to it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for UnrulyLine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both ways between the two of a pair.
pub struct Lines {
    pub to_alder: UnrulyLine,
    pub to_birch: UnrulyLine,
}

impl Lines {
    /// Both do the same.
    pub fn become_(&self, fault: Fault) {
        self.to_alder.becomes(fault);
        self.to_birch.becomes(fault);
    }
}

impl Pair {
    /// From now on what the nodes say to each other goes over lines that a test makes fail. Both are started again.
    pub async fn over_unruly_lines(&mut self) -> Lines {
        let to_birch = UnrulyLine::between(&self.alder, &self.birch).await;
        let to_alder = UnrulyLine::between(&self.birch, &self.alder).await;
        let (alder, birch) = (self.alder.fiction.host(), self.birch.fiction.host());
        self.alder.restart_with(|config| _ = config.peer.hosts.insert(birch, to_birch.address));
        self.birch.restart_with(|config| _ = config.peer.hosts.insert(alder, to_alder.address));
        Lines { to_alder, to_birch }
    }
}
