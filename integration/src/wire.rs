//! HTTP by hand over TLS: what was sent and what came, to the byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certs::leaf::Identity;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// No wait for the network is longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody with (or without) a certificate, and a node to call.
#[derive(Clone)]
pub struct Caller {
    config: Arc<ClientConfig>,
    host: String,
    address: SocketAddr,
}

/// A connection.
pub struct Line {
    from: ReadHalf<TlsStream<TcpStream>>,
    to: WriteHalf<TlsStream<TcpStream>>,
    host: String,
    received: Vec<u8>,
}

/// A reply, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Status line and headers, with their line ends.
    pub head: String,
    pub body: Vec<u8>,
}

async fn bounded<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Caller {
    pub fn new(config: ClientConfig, host: &str, address: SocketAddr) -> Self {
        Self { config: Arc::new(config), host: host.to_owned(), address }
    }

    pub async fn connect(&self) -> io::Result<Line> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connecting = async {
            let tcp = TcpStream::connect(self.address).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await
        };
        let (from, to) = tokio::io::split(bounded(connecting).await?);
        Ok(Line { from, to, host: self.host.clone(), received: Vec::new() })
    }

    /// Who the other end is, by the certificate that it shows now.
    pub async fn shown(&self) -> io::Result<Identity> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connecting = async {
            let tcp = TcpStream::connect(self.address).await?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await
        };
        let stream = bounded(connecting).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or(io::ErrorKind::InvalidData)?;
        Identity::from_der(leaf).map_err(io::Error::other)
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Reply> {
        self.connect().await?.send(method, path, body).await
    }

    /// One POST on a connection of its own.
    pub async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send("POST", path, Some(body.as_ref())).await.unwrap()
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await.unwrap()
    }
}

impl Line {
    /// One request; the connection stays open if the other side keeps it so.
    pub async fn send(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Reply> {
        let length = body.map_or(String::new(), |body| {
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
        });
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{length}\r\n", self.host);
        self.send_bytes(&[head.as_bytes(), body.unwrap_or_default()].concat(), method).await
    }

    /// One request of exactly these bytes; the reply has no body if `method` is HEAD.
    pub async fn send_bytes(&mut self, request: &[u8], method: &str) -> io::Result<Reply> {
        let Self { from, to, received, .. } = self;
        // Both at once: whoever refuses a long body may answer before it has read it.
        let writing = async {
            if to.write_all(request).await.is_ok() {
                let _ = to.flush().await; // What matters is the answer.
            }
        };
        let (reply, ()) = bounded(async { Ok(tokio::join!(read_reply(from, received, method), writing)) }).await?;
        reply
    }

    /// The reply that follows one that was only interim.
    pub async fn next_reply(&mut self, method: &str) -> io::Result<Reply> {
        bounded(read_reply(&mut self.from, &mut self.received, method)).await
    }

    /// Whether the other side closes the connection now, and sends nothing more.
    pub async fn is_closed(&mut self) -> bool {
        let Self { from, received, .. } = self;
        let mut rest = Vec::new();
        let end = bounded(async { from.read_to_end(&mut rest).await }).await;
        let cut = |error: &io::Error| error.kind() != io::ErrorKind::TimedOut;
        received.is_empty() && rest.is_empty() && end.as_ref().err().is_none_or(cut)
    }
}

async fn read_reply<R: tokio::io::AsyncRead + Unpin>(
    from: &mut R,
    received: &mut Vec<u8>,
    method: &str,
) -> io::Result<Reply> {
    let ends_at = loop {
        if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(from, received).await?;
    };
    let head = String::from_utf8(received.drain(..ends_at).collect()).map_err(io::Error::other)?;
    let status = head.get(9..12).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut reply = Reply { status, head, body: Vec::new() };
    let length = match reply.header("content-length") {
        Some(length) if method != "HEAD" => length.parse().map_err(io::Error::other)?,
        _ => 0,
    };
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.body = chunks(from, received).await?;
        return Ok(reply);
    }
    while received.len() < length {
        more(from, received).await?;
    }
    reply.body = received.drain(..length).collect();
    Ok(reply)
}

/// A body that comes in chunks, whole.
async fn chunks<R: tokio::io::AsyncRead + Unpin>(from: &mut R, received: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_ends = loop {
            if let Some(at) = received.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            more(from, received).await?;
        };
        let line = String::from_utf8(received.drain(..line_ends + 2).collect()).map_err(io::Error::other)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        while received.len() < length + 2 {
            more(from, received).await?;
        }
        body.extend(received.drain(..length));
        received.drain(..2);
        if length == 0 {
            return Ok(body);
        }
    }
}

async fn more<R: tokio::io::AsyncRead + Unpin>(from: &mut R, received: &mut Vec<u8>) -> io::Result<()> {
    match from.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Everything that came, but the date.
    pub fn undated(&self) -> (String, &[u8]) {
        let dated = |line: &&str| !line.to_ascii_lowercase().starts_with("date:");
        (self.head.split_inclusive("\r\n").filter(dated).collect(), &self.body)
    }

    /// The names of the headers, in their order.
    pub fn header_names(&self) -> Vec<&str> {
        self.head.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The message inside a sworn reply.
    pub fn message(&self) -> Value {
        self.json()["entry"]["message"].clone()
    }

    /// The text of one member of the entry, as it came.
    pub fn raw(&self, member: &str) -> String {
        #[derive(serde::Deserialize)]
        struct Entry<'a> {
            #[serde(borrow)]
            leaf: &'a serde_json::value::RawValue,
            #[serde(borrow)]
            message: &'a serde_json::value::RawValue,
        }
        #[derive(serde::Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            entry: Entry<'a>,
            #[serde(borrow, default)]
            results: Option<&'a serde_json::value::RawValue>,
        }
        let whole: Whole<'_> = serde_json::from_slice(&self.body).unwrap();
        match member {
            "leaf" => whole.entry.leaf.get().to_owned(),
            "message" => whole.entry.message.get().to_owned(),
            _ => whole.results.map(|results| results.get().to_owned()).unwrap_or_default(),
        }
    }

    /// Checks that this is a problem document (RFC 9457) of one kind, and gives its detail: what to do.
    pub fn problem(&self, status: u16, slug: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let document = self.json();
        assert_eq!(document["type"], format!("urn:concordat:problem:{slug}"), "{document}");
        assert_eq!(document["status"], status, "{document}");
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{document}");
        document["detail"].as_str().unwrap().to_owned()
    }
}

/// A POST over plain HTTP on a connection of its own, with these headers besides its length: as an agent behind a proxy
/// on the node's own machine.
pub async fn plain_post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (lines, length) = (lines.concat(), body.len());
    let head = format!("POST {path} HTTP/1.1\r\nhost: intake\r\n{lines}content-length: {length}\r\n\r\n");
    let asking = async {
        let (from, mut to) = tokio::io::split(TcpStream::connect(address).await?);
        let mut from = from;
        let mut received = Vec::new();
        let writing = async {
            // Both at once: whoever refuses a body may answer before it has read it.
            let _ = to.write_all(&[head.as_bytes(), body].concat()).await;
        };
        tokio::join!(read_reply(&mut from, &mut received, "POST"), writing).0
    };
    // Longer than a store waits for its lock.
    tokio::time::timeout(2 * PATIENCE, asking).await.unwrap().unwrap()
}

/// A GET over plain HTTP, as a supervisor process asks the console.
pub async fn plain_get(address: SocketAddr, path: &str) -> Reply {
    let asking = async {
        let mut tcp = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: console\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await?;
        read_reply(&mut tcp, &mut Vec::new(), "GET").await
    };
    bounded(asking).await.unwrap()
}
