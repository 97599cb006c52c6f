//! Fetching a published policy. The URL is a partner's word, so nothing is dialled but the host that it names, over https,
//! at a public address; and no more is read than a policy can be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};
use rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::PolicyChecks;
use crate::tls::{self, TlsError};

/// For how long a policy may be fetched, redirections included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(15);
/// How often a site may redirect within its own host.
const REDIRECTIONS: usize = 5;

/// Why a policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is not one that is dialled.
    #[error("its URL is not fetched: {0}")]
    Url(&'static str),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The site cannot be reached, or not as it should be.
    #[error("{0}")]
    Connect(String),
    /// No whole reply in time.
    #[error("no whole reply within {} s", PATIENCE.as_secs())]
    Slow,
    /// It does not give the page.
    #[error("the site answers {0}")]
    Status(u16),
    /// It is too long.
    #[error("it is longer than {0} bytes (policy_checks.max_bytes)")]
    Long(u64),
    /// There is nothing on the page.
    #[error("the page is empty")]
    Empty,
}

/// What is published at a URL.
#[derive(Debug)]
pub struct Page {
    /// The bytes.
    pub bytes: Bytes,
    /// What the site calls them.
    pub content_type: String,
}

/// Fetches what is published at `url`.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(url: &str, config: &PolicyChecks, clock: Arc<dyn Clock>) -> Result<Page, FetchError> {
    let url = dialled(url, config)?;
    let client = client(&url, config, clock)?;
    tokio::time::timeout(PATIENCE, get(&client, url, config.max_bytes.get())).await.map_err(|_| FetchError::Slow)?
}

/// The URL, if it is one that is dialled.
fn dialled(url: &str, config: &PolicyChecks) -> Result<Url, FetchError> {
    let url = Url::parse(url).map_err(|_| FetchError::Url("it is no URL"))?;
    if url.scheme() != "https" {
        return Err(FetchError::Url("it does not begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Url("it has a username or a password in it"));
    }
    let host = url.host_str().ok_or(FetchError::Url("it names no host"))?;
    let ip: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    // An address is dialled without asking the resolver, which would refuse it.
    if ip.is_some_and(|ip| !is_public(ip)) && !config.hosts.contains_key(host) {
        return Err(FetchError::Url(PRIVATE));
    }
    Ok(url)
}

const PRIVATE: &str = "its host has no public address";

fn client(url: &Url, config: &PolicyChecks, clock: Arc<dyn Clock>) -> Result<reqwest::Client, FetchError> {
    let own = (url.host_str().map(str::to_owned), url.port_or_known_default());
    let within = redirect::Policy::custom(move |attempt| {
        let to = (attempt.url().host_str().map(str::to_owned), attempt.url().port_or_known_default());
        if attempt.url().scheme() != "https" || to != own {
            let host = to.0.unwrap_or_default();
            return attempt.error(format!("it redirects to another host ({host}): have the partner name the new URL"));
        }
        if attempt.previous().len() > REDIRECTIONS {
            return attempt.error("it redirects too often");
        }
        attempt.follow()
    });
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls_of(config, clock)?)
        .https_only(true)
        .no_proxy()
        .redirect(within)
        .referer(false)
        .connect_timeout(CONNECTING)
        .http1_only()
        .user_agent(concat!("concordat/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Public));
    for (host, address) in &config.hosts {
        builder = builder.resolve(host, *address);
    }
    builder.build().map_err(|error| FetchError::Connect(reason(&error)))
}

fn tls_of(config: &PolicyChecks, clock: Arc<dyn Clock>) -> Result<ClientConfig, FetchError> {
    Ok(tls::web(&config.ca, clock)?)
}

async fn get(client: &reqwest::Client, url: Url, limit: u64) -> Result<Page, FetchError> {
    let failed = |error: reqwest::Error| FetchError::Connect(reason(&error));
    let accept = "text/html, application/pdf, text/plain;q=0.9";
    let mut response = client.get(url).header("accept", accept).send().await.map_err(failed)?;
    if response.status().as_u16() != 200 {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
    let mut bytes = BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if bytes.len().saturating_add(part.len()) as u64 > limit {
            return Err(FetchError::Long(limit));
        }
        bytes.extend_from_slice(&part);
    }
    if bytes.is_empty() { Err(FetchError::Empty) } else { Ok(Page { bytes: bytes.freeze(), content_type }) }
}

/// The innermost cause, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The system's resolver, whose private addresses are left out: a partner's URL must not make this node dial into its own
/// agency's network.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(std::io::Error::other(PRIVATE).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is of the public internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !(special || ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, ..] = ip.segments();
    // Global unicast, without documentation, the tunnels of 2001::/23 and 2002::/16, which lead to other addresses.
    (0x2000..0x4000).contains(&a) && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x2002 && a != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_own_network_is_public() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113.7",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "2001:db8::1",
            "2002:a00:1::1",
            "64:ff9b::a00:1",
            "2001::1",
            "3fff::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "104.16.0.1", "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn only_https_to_a_named_or_public_host_is_dialled() {
        let config = PolicyChecks::default();
        for (url, says) in [
            ("http://a.example/policy", "https://"),
            ("file:///etc/passwd", "https://"),
            ("https://user:secret@a.example/", "username"),
            ("https://127.0.0.1/policy", "no public address"),
            ("https://[::1]/policy", "no public address"),
            ("https://2130706433/policy", "no public address"),
            ("nonsense", "no URL"),
        ] {
            let error = dialled(url, &config).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
        assert!(dialled("https://a.example:8443/policy.pdf", &config).is_ok());
    }
}
