//! Dialling partners: one client for each, which speaks to nobody but the holder of the pinned key. Connections are kept
//! for a minute at most, and never beyond the revocation lists that their handshakes were checked against.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use bytes::{Bytes, BytesMut};

use super::contacts::Contacts;
use super::partner::Partner;
use crate::clock::Clock;
use crate::tls::{self, OwnCertificate, OwnStore, SeenTrust, TlsError, TrustStore};

/// The longest answer that is read, in bytes: ten thousand reads.
pub const MAX_REPLY: usize = 16 << 20;

/// For how long a client keeps its connections, in microseconds: so much later than its expiry a certificate may count.
const KEPT: i64 = Instant::MINUTE;
/// For how long an idle connection is kept: shorter than the server does, so that it is not closed under a request.
const IDLE: Duration = Duration::from_secs(3);
/// How long a partner may at least prepare what is too long to be held, before the first byte of it.
const PREPARING: Duration = Duration::from_secs(120);

/// Why a partner gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Our own certificate or trust cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No reply within the deadline.
    #[error("no reply within {} s", .0.as_secs_f32())]
    Deadline(Duration),
    /// The connection failed, or the peer is not the pinned partner.
    #[error("cannot reach it: {0}")]
    Connect(String),
    /// This node must say nothing.
    #[error("this node is unready: its registry was restored from a backup (`concordat trail epoch show`)")]
    Silent,
    /// The reply is longer than [`MAX_REPLY`].
    #[error("its reply is longer than {} MiB", MAX_REPLY >> 20)]
    Long,
}

/// What a partner replied: status and body.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// A reply whose body is still to come.
pub struct Incoming {
    /// The HTTP status code.
    pub status: u16,
    response: reqwest::Response,
    deadline: Duration,
}

impl Incoming {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, DialError> {
        let part = tokio::time::timeout(self.deadline, self.response.chunk()).await;
        let part = part.map_err(|_| DialError::Deadline(self.deadline))?;
        part.map_err(|error| DialError::Connect(reason(&error)))
    }
}

/// Dials partners.
pub struct Dialer {
    own: OwnStore,
    trust: TrustStore,
    clock: Arc<dyn Clock>,
    hosts: BTreeMap<String, SocketAddr>,
    deadline: Duration,
    clients: Mutex<HashMap<Line, Kept>>,
    contacts: Contacts,
    /// Whether nothing may be said to partners.
    silent: AtomicBool,
}

/// To whom a client speaks, and from which thread: a connection is driven by the runtime that opened it, and must not
/// wait for another thread's.
type Line = (ThreadId, Ori, Digest);

/// A client with its connections.
struct Kept {
    client: reqwest::Client,
    since: Instant,
    trust: SeenTrust,
    own: Arc<OwnCertificate>,
}

impl Dialer {
    /// A dialer with this node's certificate. `hosts` are addresses that DNS does not know; `deadline` is for each
    /// partner and request, connection included.
    #[must_use]
    pub fn new(
        own: OwnStore,
        trust: TrustStore,
        clock: Arc<dyn Clock>,
        hosts: BTreeMap<String, SocketAddr>,
        deadline: Duration,
    ) -> Self {
        Self {
            own,
            trust,
            clock,
            hosts,
            deadline,
            clients: Mutex::default(),
            contacts: Contacts::default(),
            silent: AtomicBool::new(false),
        }
    }

    /// Whether nothing is to be said to partners: what they are asked for without saying anything, they still are.
    pub(crate) fn keep_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }

    fn may_speak(&self) -> Result<(), DialError> {
        if self.silent.load(Ordering::Acquire) { Err(DialError::Silent) } else { Ok(()) }
    }

    /// When each partner was in touch.
    #[must_use]
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// This node's certificate and key.
    #[must_use]
    pub fn own(&self) -> &OwnStore {
        &self.own
    }

    /// Posts `body` to `path` (such as `queries`) of the partner's peer port.
    ///
    /// # Errors
    /// See [`DialError`]. Whether the partner got the body is unknown then.
    pub async fn post(&self, partner: &Partner, path: &str, body: String) -> Result<Reply, DialError> {
        self.may_speak()?;
        let reply = self.whole(self.send(partner, post(self.url(partner, path), body))).await;
        self.noted(partner, reply)
    }

    /// Posts `body` to `path` as [`Self::post`] does, and takes it as no word of whether the partner is in touch: it goes out
    /// each second.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn show(&self, partner: &Partner, path: &str, body: String) -> Result<Reply, DialError> {
        self.whole(self.send(partner, post(self.url(partner, path), body))).await
    }

    /// Gets `path` of the partner's peer port.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn get(&self, partner: &Partner, path: &str) -> Result<Reply, DialError> {
        let url = self.url(partner, path);
        let reply = self.whole(self.send(partner, |client| client.get(&url))).await;
        self.noted(partner, reply)
    }

    /// Gets `path` as [`Self::get`] does, and takes it as no word of whether the partner is in touch.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn fetch(&self, partner: &Partner, path: &str) -> Result<Reply, DialError> {
        let url = self.url(partner, path);
        self.whole(self.send(partner, |client| client.get(&url))).await
    }

    /// Notes whether a partner was reached.
    fn noted(&self, partner: &Partner, reply: Result<Reply, DialError>) -> Result<Reply, DialError> {
        match &reply {
            // We are a stranger there: it hears nothing that we say.
            Ok(reply) if reply.status == 404 => {}
            Ok(_) | Err(DialError::Long) => self.contacts.heard(partner.ori(), self.clock.now()),
            Err(DialError::Tls(_) | DialError::Silent) => {}
            Err(DialError::Deadline(_) | DialError::Connect(_)) => self.contacts.missed(partner.ori()),
        }
        reply
    }

    /// Posts `body`, and gives the reply before its body was read: for what is too long to be held. Each part may take as
    /// long as a whole short reply. It goes over a connection of its own, and never twice: a pull that was lost on the way
    /// back is recorded there, and would be refused the second time.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn open(&self, partner: &Partner, path: &str, body: String) -> Result<Incoming, DialError> {
        self.may_speak()?;
        let patience = self.deadline.max(PREPARING);
        let client = self.build((partner.ori(), partner.party().node.tls_spki))?;
        let sending = post(self.url(partner, path), body)(&client).send();
        let response = tokio::time::timeout(patience, sending).await.map_err(|_| DialError::Deadline(patience))?;
        let response = response.map_err(|error| DialError::Connect(reason(&error)))?;
        Ok(Incoming { status: response.status().as_u16(), response, deadline: self.deadline })
    }

    /// Posts `body` to the partner, or to whoever has a certificate for its name where the key is not the pinned one: its
    /// keys may have changed as ours did. Only for what says nothing but our own keys and events; what is answered counts
    /// only as far as it proves itself.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn introduce(&self, partner: &Partner, path: &str, body: String) -> Result<Reply, DialError> {
        match self.post(partner, path, body.clone()).await {
            Err(DialError::Connect(_)) => {}
            reply => return reply,
        }
        let config = tls::client_unpinned(&self.own, &self.trust, Arc::clone(&self.clock), partner.ori())?;
        let client = self.build_with(config)?;
        let sending = async {
            post(self.url(partner, path), body)(&client)
                .send()
                .await
                .map_err(|error| DialError::Connect(reason(&error)))
        };
        self.whole(sending).await
    }

    /// Lets go of every connection to a partner, whose key or place is another now.
    pub fn let_go(&self, partner: Ori) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, ori, _), _| *ori != partner);
    }

    /// Sends a request. A partner that was started again has closed the connections that are kept here, perhaps while the
    /// request was on its way: then it is sent once more over a new one. Only for what may come twice: a question or an
    /// event that a partner heard already it knows by its id, and answers again.
    async fn send(
        &self,
        partner: &Partner,
        request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, DialError> {
        let (client, kept) = self.client(partner)?;
        let sent = request(&client).send().await;
        let sent = match sent {
            Err(error) if kept && !error.is_connect() => {
                self.forget(partner);
                request(&self.client(partner)?.0).send().await
            }
            sent => sent,
        };
        sent.map_err(|error| DialError::Connect(reason(&error)))
    }

    /// The whole reply, within the deadline.
    async fn whole(
        &self,
        sending: impl Future<Output = Result<reqwest::Response, DialError>>,
    ) -> Result<Reply, DialError> {
        let whole = async {
            let mut response = sending.await?;
            let status = response.status().as_u16();
            let mut body = BytesMut::new();
            while let Some(part) = response.chunk().await.map_err(|error| DialError::Connect(reason(&error)))? {
                if body.len().saturating_add(part.len()) > MAX_REPLY {
                    return Err(DialError::Long);
                }
                body.extend_from_slice(&part);
            }
            Ok(Reply { status, body: body.freeze() })
        };
        tokio::time::timeout(self.deadline, whole).await.map_err(|_| DialError::Deadline(self.deadline))?
    }

    /// The client for a partner, and whether it may have connections; a new one, without any, when the lists moved or it is
    /// too old.
    fn client(&self, partner: &Partner) -> Result<(reqwest::Client, bool), DialError> {
        let line = line(partner);
        let now = self.clock.now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.own.current();
        let current = |kept: &Kept| self.trust.is_current(&kept.trust) && Arc::ptr_eq(&kept.own, &own);
        clients.retain(|_, kept| (0..KEPT).contains(&now.since(kept.since)) && current(kept));
        if let Some(kept) = clients.get(&line) {
            return Ok((kept.client.clone(), true));
        }
        // Before the handshakes that will be checked against them.
        let trust = self.trust.seen();
        let client = self.build((line.1, line.2))?;
        clients.insert(line, Kept { client: client.clone(), since: now, trust, own });
        Ok((client, false))
    }

    /// Lets go of the connections to a partner.
    fn forget(&self, partner: &Partner) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&line(partner));
    }

    fn url(&self, partner: &Partner, path: &str) -> String {
        let url = &partner.party().node.url;
        let base = Way::to(url, &self.hosts).map_or_else(|| url.clone(), |way| way.url);
        format!("{}/peer/v1/{path}", base.trim_end_matches('/'))
    }

    fn build(&self, pinned: (Ori, Digest)) -> Result<reqwest::Client, DialError> {
        self.build_with(tls::client(&self.own, &self.trust, Arc::clone(&self.clock), pinned)?)
    }

    fn build_with(&self, config: rustls::ClientConfig) -> Result<reqwest::Client, DialError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .http1_only();
        for (host, address) in &self.hosts {
            builder = builder.resolve(&host.to_ascii_lowercase(), *address);
        }
        builder.build().map_err(|error| DialError::Connect(reason(&error)))
    }
}

/// This thread's line to a partner.
fn line(partner: &Partner) -> Line {
    (thread::current().id(), partner.ori(), partner.party().node.tls_spki)
}

/// A POST of `body`, as often as it takes.
fn post(url: String, body: String) -> impl Fn(&reqwest::Client) -> reqwest::RequestBuilder + use<> {
    let body = Bytes::from(body);
    move |client| client.post(&url).header("content-type", "application/json").body(body.clone())
}

/// Where the node at a URL is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The URL to ask for, with the port that is dialled.
    pub url: String,
    /// Its host, as a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The address that `peer.hosts` gives the host, port and all; DNS is not asked then.
    pub fixed: Option<SocketAddr>,
}

impl Way {
    /// The way to `url` when `hosts` are the addresses of hosts that DNS does not know. `None` for what is no URL with a
    /// host.
    #[must_use]
    pub fn to(url: &str, hosts: &BTreeMap<String, SocketAddr>) -> Option<Self> {
        let mut url = reqwest::Url::parse(url).ok()?;
        let host = url.host_str()?.to_owned();
        let fixed = hosts.iter().find(|(name, _)| name.eq_ignore_ascii_case(&host)).map(|(_, address)| *address);
        if let Some(address) = fixed {
            url.set_port(Some(address.port())).ok()?;
        }
        let port = url.port_or_known_default()?;
        Some(Self { url: url.to_string(), host, port, fixed })
    }
}

/// The innermost cause, without the URL: what a person needs to mend it.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_configured_for_a_host_counts_with_its_port_whatever_the_url_says() {
        let at: SocketAddr = "10.1.2.3:7443".parse().unwrap();
        let hosts = BTreeMap::from([("ALPR.birch.test".to_owned(), at)]);
        let way = |url: &str| Way::to(url, &hosts).unwrap();
        for url in ["https://alpr.birch.test", "https://alpr.birch.test:8443", "https://Alpr.Birch.test:443/"] {
            let found = way(url);
            assert_eq!((found.url.as_str(), found.fixed), ("https://alpr.birch.test:7443/", Some(at)), "{url}");
            assert_eq!((found.host.as_str(), found.port), ("alpr.birch.test", 7443), "{url}");
        }
        // What is not configured is dialled as its URL says.
        for (url, port) in [("https://cedar.test", 443), ("https://cedar.test:8443/", 8443), ("https://[::1]:9/", 9)] {
            let found = way(url);
            assert_eq!((found.port, found.fixed), (port, None), "{url}");
        }
        assert_eq!(way("https://cedar.test:8443/alpr/").url, "https://cedar.test:8443/alpr/");
        assert_eq!(Way::to("birch", &hosts), None);
    }
}
