//! A door that holds a partner's own TLS key and changes what passes: what only a trail's signature can catch.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::clock::TestClock;
use crate::node::TestNode;
use crate::wire::PATIENCE;

/// Stands before `owner` for one request of `asker`, and ends with it.
pub struct FaultProxy {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Passes the request on, and `change`s the body of the reply.
    pub async fn before(
        owner: &TestNode,
        asker: &TestNode,
        clock: &TestClock,
        change: impl FnOnce(String) -> String + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = owner.node();
        let server = concordat::tls::server(node.dialer().own(), node.trust(), Arc::new(clock.clone())).unwrap();
        let onward = asker.calls(owner);
        let passing = async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut tls = TlsAcceptor::from(Arc::new(server)).accept(tcp).await.unwrap();
            let mut request = Vec::new();
            let body_at = loop {
                tls.read_buf(&mut request).await.unwrap();
                if let Some(at) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
            };
            let head = String::from_utf8(request[..body_at].to_vec()).unwrap();
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map(|(_, value)| value.trim().parse().unwrap())
                .unwrap();
            while request.len() < body_at + length {
                tls.read_buf(&mut request).await.unwrap();
            }
            let path = head.split(' ').nth(1).unwrap();
            let reply = onward.send("POST", path, Some(&request[body_at..])).await.unwrap();
            let body = change(String::from_utf8(reply.body).unwrap());
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            tls.write_all(text.as_bytes()).await.unwrap();
            tls.shutdown().await.unwrap();
        };
        let task = tokio::spawn(async move { tokio::time::timeout(PATIENCE, passing).await.unwrap() });
        Self { address, task }
    }
}

impl FaultProxy {
    /// Stands before `owner` for as many requests of `asker` as come, and `change`s the body of each reply, by the path
    /// that was asked for. A connection that sends no request is let go.
    pub async fn standing(
        owner: &TestNode,
        asker: &TestNode,
        clock: &TestClock,
        change: impl Fn(&str, String) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::swearing(owner, asker, clock, move |path, body| ready(change(&path, body))).await
    }

    /// The same for a change that takes its time: it may swear something else.
    pub async fn swearing<C: Future<Output = String> + Send>(
        owner: &TestNode,
        asker: &TestNode,
        clock: &TestClock,
        change: impl Fn(String, String) -> C + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = owner.node();
        let server = concordat::tls::server(node.dialer().own(), node.trust(), Arc::new(clock.clone())).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (onward, change) = (asker.calls(owner), Arc::new(change));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, onward, change) = (acceptor.clone(), onward.clone(), Arc::clone(&change));
                tokio::spawn(async move {
                    let passing = async {
                        let mut tls = acceptor.accept(tcp).await.ok()?;
                        let (method, path, body) = request(&mut tls).await?;
                        let reply = onward.send(&method, &path, body.as_deref()).await.ok()?;
                        let text = change(path, String::from_utf8(reply.body).ok()?).await;
                        let head = format!("HTTP/1.1 {} X\r\ncontent-length: {}", reply.status, text.len());
                        let text = format!("{head}\r\nconnection: close\r\n\r\n{text}");
                        tls.write_all(text.as_bytes()).await.ok()?;
                        tls.shutdown().await.ok()
                    };
                    tokio::time::timeout(PATIENCE, passing).await
                });
            }
        });
        Self { address, task }
    }
}

/// Method, path and body of the request that comes; `None` if none does.
pub(crate) async fn request(
    tls: &mut (impl tokio::io::AsyncRead + Unpin),
) -> Option<(String, String, Option<Vec<u8>>)> {
    let mut bytes = Vec::new();
    let body_at = loop {
        if tls.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(bytes[..body_at].to_vec()).ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    while bytes.len() < body_at + length.unwrap_or(0) {
        if tls.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    Some((method, path, length.map(|_| bytes[body_at..].to_vec())))
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
