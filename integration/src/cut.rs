//! A line between two nodes that is cut once: before the nth request arrives, or after it was answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::node::TestNode;
use crate::proxy::request;
use crate::wire::PATIENCE;

/// What a cut loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The request does not arrive.
    Request,
    /// The request is answered, and the answer does not arrive.
    Reply,
}

/// Which request is cut, counted over all lines that share this.
#[derive(Debug)]
pub struct Cut {
    at: AtomicUsize,
    passed: AtomicUsize,
    /// Whether those after it are cut, too.
    lasting: AtomicBool,
    lost: Lost,
    /// Requests for other paths pass, and are not counted.
    only: Option<&'static str>,
}

impl Cut {
    /// None yet: see [`Self::arms`].
    pub fn of(lost: Lost) -> Arc<Self> {
        Arc::new(Self {
            at: AtomicUsize::new(usize::MAX),
            passed: AtomicUsize::default(),
            lasting: AtomicBool::default(),
            lost,
            only: None,
        })
    }

    /// The same of the requests for one path: whatever else nodes send by themselves passes.
    pub fn of_path(lost: Lost, path: &'static str) -> Arc<Self> {
        Arc::new(Self {
            at: AtomicUsize::new(usize::MAX),
            passed: AtomicUsize::default(),
            lasting: AtomicBool::default(),
            lost,
            only: Some(path),
        })
    }

    /// The `nth` request from now on, the first being 0.
    pub fn arms(&self, nth: usize) {
        self.at.store(self.passed.load(Ordering::SeqCst) + nth, Ordering::SeqCst);
    }

    /// The next request, and all after it: also when it is sent once more, as over a line that had been kept open.
    pub fn cuts_all(&self) {
        self.lasting.store(true, Ordering::SeqCst);
        self.arms(0);
    }

    /// Whether it came to that.
    pub fn happened(&self) -> bool {
        self.passed.load(Ordering::SeqCst) > self.at.load(Ordering::SeqCst)
    }

    fn cuts(&self, path: &str) -> Option<Lost> {
        if self.only.is_some_and(|only| only != path) {
            return None;
        }
        let (number, at) = (self.passed.fetch_add(1, Ordering::SeqCst), self.at.load(Ordering::SeqCst));
        let here = number == at || number > at && self.lasting.load(Ordering::SeqCst);
        here.then_some(self.lost)
    }
}

/// The line from one node to another.
pub struct CutLine {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl CutLine {
    /// Stands before `owner` for the requests of `asker`.
    pub async fn between(asker: &TestNode, owner: &TestNode, cut: &Arc<Cut>) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = owner.node();
        let clock = Arc::new(owner.clock.clone());
        let server = concordat::tls::server(node.dialer().own(), node.trust(), clock).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (onward, cut) = (asker.calls(owner), Arc::clone(cut));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, onward, cut) = (acceptor.clone(), onward.clone(), Arc::clone(&cut));
                tokio::spawn(async move {
                    let passing = async {
                        let mut tls = acceptor.accept(tcp).await.ok()?;
                        let (method, path, body) = request(&mut tls).await?;
                        let lost = cut.cuts(&path);
                        if lost == Some(Lost::Request) {
                            return None;
                        }
                        let reply = onward.send(&method, &path, body.as_deref()).await.ok()?;
                        if lost == Some(Lost::Reply) {
                            return None;
                        }
                        let head = format!("HTTP/1.1 {} X\r\ncontent-length: {}", reply.status, reply.body.len());
                        let head = format!("{head}\r\nconnection: close\r\n\r\n");
                        tls.write_all(&[head.as_bytes(), &reply.body].concat()).await.ok()?;
                        tls.shutdown().await.ok()
                    };
                    tokio::time::timeout(PATIENCE, passing).await
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for CutLine {
    fn drop(&mut self) {
        self.task.abort();
    }
}
