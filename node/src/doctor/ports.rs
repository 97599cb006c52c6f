//! The node's own doors: whether their ports are to be had, and whether it is this node that has them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Findings, probe};
use crate::clock::Clock;
use crate::config::Config;
use crate::tls::{OwnStore, TrustStore};

/// How long a look at one port may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The door for readers' agents says nothing to who is none: who has its port is not told apart.
const INTAKE: &str = "port-intake";

fn doors(config: &Config) -> Vec<(&'static str, &'static str, SocketAddr)> {
    let mut doors = vec![
        ("port-peer", "peer.listen", config.peer.listen),
        ("port-console", "console.listen", config.console.listen),
        ("port-ops", "ops.listen", config.ops.listen.addr()),
    ];
    doors.extend(config.ingest.webhook.listen.map(|listen| (INTAKE, "ingest.webhook.listen", listen)));
    doors
}

/// Why a port cannot be had; `None` when it can, which is tried and given back at once.
fn taken(address: SocketAddr) -> Option<std::io::Error> {
    TcpListener::bind(address).err()
}

/// Whether each port can be had, or is in use: by this node or by another program, which is not told apart here.
pub(super) fn free(found: &mut Findings, config: &Config) {
    let doors = doors(config);
    for (at, (check, key, address)) in doors.iter().enumerate() {
        let (check, address) = (*check, *address);
        let same = doors.iter().take(at).find(|(_, _, other)| *other == address && address.port() != 0);
        let fix = format!("name another address in {key}");
        if let Some((_, other, _)) = same {
            found.fail(check, format!("{key} is the same address as {other}"), fix);
            continue;
        }
        match taken(address) {
            None if address.port() == 0 => found.ok(check, "a free port is taken when the node starts"),
            None => found.ok(check, format!("{address} is free: the node does not serve there now")),
            Some(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                found.ok(check, format!("{address} is in use; `concordat doctor` says whether by this node"));
            }
            Some(error) => found.fail(check, format!("cannot listen on {address}: {error}"), fix),
        }
    }
}

/// Who has the ports that are in use: the findings of [`free`] with what was found there.
pub(super) async fn serving(
    found: &mut Findings,
    config: &Config,
    tls: Option<(&OwnStore, &TrustStore)>,
    clock: &Arc<dyn Clock>,
) {
    for (check, key, address) in doors(config) {
        let in_use = taken(address).is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        if !in_use || address.port() == 0 || check == INTAKE || found.has_failed(check) {
            continue;
        }
        found.found.retain(|finding| finding.check != check);
        if check == "port-peer" && tls.is_none() {
            found.not_tried(&["port-peer"], "whether this node has it shows with its certificate and its authorities");
            continue;
        }
        let at = reachable(address);
        let ours = match check {
            "port-peer" => peer(at, config, tls, clock).await,
            "port-console" => console(at).await,
            _ => told(at, "/metrics").await.filter(|text| text.contains("concordat_")).map(metrics),
        };
        match ours {
            Some(says) if says.starts_with("it shows") => found.warn(check, says, "see its log for why, or restart it"),
            Some(says) => found.ok(check, format!("{address}: {says}")),
            None => found.fail(
                check,
                format!("{address} is in use by something that is not this node"),
                format!("end that program, or name another address in {key}"),
            ),
        }
    }
}

/// An address at which a listener on `address` is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        std::net::IpAddr::V4(_) => ([127, 0, 0, 1], address.port()).into(),
        std::net::IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

async fn peer(
    at: SocketAddr,
    config: &Config,
    tls: Option<(&OwnStore, &TrustStore)>,
    clock: &Arc<dyn Clock>,
) -> Option<String> {
    let (own, trust) = tls?;
    let looking = async {
        let tcp = TcpStream::connect(at).await.ok()?;
        probe::handshake(own, trust, clock, config.peer.url.host(), tcp).await.ok()
    };
    let shown = timeout(PATIENCE, looking).await.ok()??;
    let shown = certs::leaf::Identity::from_der(shown.chain.first()?).ok()?;
    let held = own.current();
    if (shown.ori, shown.spki) != (held.identity().ori, held.identity().spki) {
        return None;
    }
    Some(if shown.serial == held.identity().serial {
        "this node answers, with the certificate that is in keys/tls.pem".to_owned()
    } else {
        format!("it shows the certificate that ends at {}, not the one that is in keys/tls.pem now", shown.not_after)
    })
}

/// Whether a node's console answers there, and what it says.
async fn console(at: SocketAddr) -> Option<String> {
    told(at, "/livez").await.filter(|text| text.contains("alive")).map(|_| "this node's console answers".to_owned())
}

/// What a node's metrics say, and how far it is with what it looks at after a start.
fn metrics(text: String) -> String {
    let left =
        text.lines().find_map(|line| line.strip_prefix("concordat_trail_entries_unchecked ")?.trim().parse().ok());
    match left {
        None | Some(0_u64) => "this node's metrics answer".to_owned(),
        Some(left) => {
            format!("this node's metrics answer; since its start {left} entries are still to be held to their columns")
        }
    }
}

/// What a plain HTTP request for `path` gets.
async fn told(at: SocketAddr, path: &str) -> Option<String> {
    let asking = async {
        let mut tcp = TcpStream::connect(at).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.ok()?;
        let mut reply = Vec::new();
        tcp.take(64 * 1024).read_to_end(&mut reply).await.ok()?;
        Some(String::from_utf8_lossy(&reply).into_owned())
    };
    let reply = timeout(PATIENCE, asking).await.ok().flatten();
    reply.filter(|text| text.starts_with("HTTP/1.1 200"))
}
