//! The way to a partner, step by step as a question would go: enrolment, DNS, TCP, TLS, its certificate, its answer, its
//! clock, its protocol, and then the agreements and its trail.

use std::net::SocketAddr;
use std::time::Duration;

use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::party::Party;
use agreements::protocol::{Spoken, said};
use agreements::time::Instant;
use certs::leaf::Identity;
use rustls::{CertificateError, NamedGroup};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::probe::{self, Shown};
use super::{Finding, Findings, files, standing};
use crate::exchange::dial::Way;
use crate::exchange::partner::Partner;
use crate::exchange::sworn::FRESH;
use crate::exchange::versions::Described;
use crate::node::Node;

/// How long each of DNS, TCP and TLS may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A clock that is this far off (microseconds) is said before questions are refused for it.
const SKEW: i64 = Instant::MINUTE;

/// The checks in their order: when one fails, those behind it that need it are not tried.
const DNS: &[&str] = &["tcp", "tls", "key-exchange", "certificate", "names", "pinned-key", "chain"];
const TCP: &[&str] = &["tls", "key-exchange", "certificate", "names", "pinned-key", "chain"];
const TLS: &[&str] = &["key-exchange", "certificate", "names", "pinned-key", "chain"];
const ANSWER: &[&str] = &["answer", "clock", "protocol", "description", "agreement", "trail-head"];
const AFTER_ANSWER: &[&str] = &["clock", "protocol", "description", "agreement", "trail-head"];

/// Everything about the way from `node` to the partner `ori`. Never takes longer than some deadlines one after the
/// other.
pub async fn partner(node: &Node, ori: Ori) -> Vec<Finding> {
    let mut found = Findings::of_partner(ori);
    let partners = node.partners();
    let Some(partner) = partners.find(ori) else {
        found.fail("enrolment", format!("{ori} is not enrolled"), "import its descriptor with `concordat peer add`");
        found.not_tried(&["dns"], "nothing is known of it");
        found.not_tried(DNS, "nothing is known of it");
        found.not_tried(ANSWER, "nothing is known of it");
        return found.into_vec();
    };
    found.ok("enrolment", format!("{}, at {}", partner.party().legal_name, partner.party().node.url));
    let sound = way(&mut found, node, partner).await;
    if sound {
        answers(&mut found, node, partner).await;
    } else {
        found.not_tried(ANSWER, "this node would not speak to what is there");
    }
    found.into_vec()
}

/// From its name to its certificate. Whether this node would speak to it.
async fn way(found: &mut Findings, node: &Node, partner: &Partner) -> bool {
    let Some((host, addresses)) = resolve(found, node, partner).await else {
        found.not_tried(DNS, "its address is not known");
        return false;
    };
    let Some(tcp) = connect(found, &addresses).await else {
        found.not_tried(TCP, "nothing answers at its address");
        return false;
    };
    let dialer = node.dialer();
    let shaking = probe::handshake(dialer.own(), node.trust(), node.clock(), &host, tcp);
    let shown = match timeout(PATIENCE, shaking).await {
        Ok(Ok(shown)) => shown,
        Ok(Err(error)) => {
            let fix = "what answers there speaks no TLS 1.3: the partner looks at its proxy or firewall, if it has one before the node";
            found.fail("tls", error, fix);
            found.not_tried(TLS, "there was no handshake");
            return false;
        }
        Err(_) => {
            found.fail("tls", late(), "the partner looks whether its node is overloaded, or what stands before it");
            found.not_tried(TLS, "there was no handshake");
            return false;
        }
    };
    session(found, &shown);
    shown_certificate(found, node, partner, &host, &shown)
}

fn late() -> String {
    format!("nothing within {} s", PATIENCE.as_secs())
}

async fn resolve(found: &mut Findings, node: &Node, partner: &Partner) -> Option<(String, Vec<SocketAddr>)> {
    let url = &partner.party().node.url;
    let Some(Way { host, port, fixed, .. }) = Way::to(url, &node.config().peer.hosts) else {
        found.fail("dns", format!("{url} is no URL"), "enrol the partner's new descriptor");
        return None;
    };
    if let Some(address) = fixed {
        found.ok("dns", format!("{host} is {address} by peer.hosts"));
        return Some((host, vec![address]));
    }
    let bare = host.trim_matches(['[', ']']).to_owned();
    let fix = format!("ask the partner for its node's name, or put {host} and its address into [peer.hosts]");
    match timeout(PATIENCE, tokio::net::lookup_host((bare.as_str(), port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() {
                found.fail("dns", format!("{host} has no address"), fix);
                return None;
            }
            let said: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            found.ok("dns", format!("{host} is {}", said.join(", ")));
            Some((host, addresses))
        }
        Ok(Err(error)) => {
            found.fail("dns", format!("{host} is not known: {error}"), fix);
            None
        }
        Err(_) => {
            found.fail("dns", format!("{host}: {}", late()), "look at this machine's resolver (`resolvectl status`)");
            None
        }
    }
}

async fn connect(found: &mut Findings, addresses: &[SocketAddr]) -> Option<TcpStream> {
    let mut failed = Vec::new();
    for address in addresses.iter().take(4) {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                found.ok("tcp", format!("{address} takes connections"));
                return Some(tcp);
            }
            Ok(Err(error)) => failed.push(format!("{address}: {error}")),
            Err(_) => failed.push(format!("{address}: {}", late())),
        }
    }
    let fix =
        "the partner looks whether its node serves (`concordat doctor` there), and both whether a firewall is between";
    found.fail("tcp", failed.join("; "), fix);
    None
}

fn session(found: &mut Findings, shown: &Shown) {
    match shown.version {
        Some(version) => found.ok("tls", format!("{version:?}").replace('_', ".")),
        None => found.warn("tls", "the version is not known", "run this again"),
    }
    match shown.group {
        Some(NamedGroup::X25519MLKEM768) => found.ok("key-exchange", "X25519MLKEM768, which no quantum computer undoes"),
        group => found.warn(
            "key-exchange",
            format!("{}, though this node offers X25519MLKEM768", group.map_or_else(|| "unknown".to_owned(), |group| format!("{group:?}"))),
            "the partner brings its node up to date; what is exchanged now could be read by whoever has a quantum computer one day",
        ),
    }
}

/// What is to be said about the certificate that was shown. Whether the dialer takes it.
fn shown_certificate(found: &mut Findings, node: &Node, partner: &Partner, host: &str, shown: &Shown) -> bool {
    let now = node.now();
    let pinned = (partner.ori(), partner.party().node.tls_spki);
    let leaf = shown.chain.first();
    let identity = match leaf.map(|leaf| Identity::from_der(leaf)) {
        Some(Ok(identity)) => identity,
        Some(Err(error)) => {
            found.fail("certificate", error.to_string(), "the partner has its node's certificate issued again");
            found.not_tried(&["names", "pinned-key", "chain"], "the certificate cannot be understood");
            return false;
        }
        None => {
            found.fail("certificate", "none was shown", "what answers there is no node");
            found.not_tried(&["names", "pinned-key", "chain"], "there is no certificate");
            return false;
        }
    };
    lifetime(found, &identity, now);
    let names = leaf.map(|leaf| files::names(leaf)).unwrap_or_default();
    let has_host = names.iter().any(|name| name.eq_ignore_ascii_case(host.trim_matches(['[', ']'])));
    if identity.ori == pinned.0 && has_host {
        found.ok("names", format!("urn:ori:{}, {}", identity.ori, names.join(", ")));
    } else {
        let says =
            format!("it names urn:ori:{} and {}, not {} and {host}", identity.ori, files::list(&names), pinned.0);
        found.fail(
            "names",
            says,
            "the partner has its certificate issued with its own ORI and host; or another node answers at this address",
        );
    }
    if identity.spki == pinned.1 {
        found.ok("pinned-key", "it is the key that is known as its own");
    } else {
        let says = format!("it has the key {}, but {} is pinned", short(&identity.spki), short(&pinned.1));
        found.fail("pinned-key", says, "call the partner: did it change its keys? Then this node has not heard of it yet: there, `concordat agreement sync ID` tells it, or a new descriptor does. If it did not, somebody else answers in its name");
    }
    match node.trust().vouches(&shown.chain, host, now) {
        Ok(()) => found.ok("chain", "an authority that this node trusts issued it and has not revoked it"),
        Err(error) if said_already(&error) => {
            found.not_tried(&["chain"], "see what is wrong with the certificate itself");
        }
        Err(error) => found.fail(
            "chain",
            chain_says(&error),
            "compare peer.ca and peer.crl with the partner's; a revoked certificate has to be issued again",
        ),
    }
    !["certificate", "names", "pinned-key", "chain"].iter().any(|check| found.has_failed(check))
}

fn lifetime(found: &mut Findings, identity: &Identity, now: Instant) {
    files::lifetime(found, "certificate", identity, now);
    // What this node would do about its own is for the partner to do here.
    if let Some(finding) = found.found.last_mut()
        && let Some(fix) = &mut finding.fix
    {
        *fix = "the partner has it issued again for the same key, and puts it into its keys folder; or one of the two clocks is wrong".to_owned();
    }
}

fn short(spki: &Digest) -> String {
    spki.to_string().chars().take(16).collect::<String>() + "…"
}

/// Whether the objection is about what other findings say already.
fn said_already(error: &rustls::Error) -> bool {
    use CertificateError as E;
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            E::Expired
                | E::ExpiredContext { .. }
                | E::NotValidYet
                | E::NotValidYetContext { .. }
                | E::NotValidForName
                | E::NotValidForNameContext { .. }
        )
    )
}

fn chain_says(error: &rustls::Error) -> String {
    use CertificateError as E;
    match error {
        rustls::Error::InvalidCertificate(E::Revoked) => "its authority revoked it".to_owned(),
        rustls::Error::InvalidCertificate(E::UnknownIssuer) => "no authority in peer.ca issued it".to_owned(),
        rustls::Error::InvalidCertificate(E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. }) => {
            "its authority's revocation list is past its next update".to_owned()
        }
        other => other.to_string(),
    }
}

/// What it answers, now that it is the partner who does.
async fn answers(found: &mut Findings, node: &Node, partner: &Partner) {
    let before = node.now();
    let reply = match node.dialer().get(partner, "node").await {
        Ok(reply) => reply,
        Err(error) => {
            let fix = "its node may refuse this node's certificate: run `concordat doctor` without a name, and ask the partner to look into its log";
            found.fail("answer", error.to_string(), fix);
            found.not_tried(AFTER_ANSWER, "it does not answer");
            return;
        }
    };
    let after = node.now();
    if reply.status != 200 {
        let (says, fix) = match reply.status {
            404 => (
                "it treats this node as a stranger (404)".to_owned(),
                "if this node's keys changed, tell the partner with `concordat agreement sync ID`; otherwise it enrols this agency's descriptor (`concordat peer export`, `concordat peer add`), or its list revokes this node's certificate",
            ),
            429 => (
                "too many requests of this node are in work there (429)".to_owned(),
                "wait a minute and run this again",
            ),
            status => (format!("status {status}"), "the partner looks into its log"),
        };
        found.fail("answer", says, fix);
        found.not_tried(AFTER_ANSWER, "it does not answer");
        return;
    }
    let Ok(described) = serde_json::from_slice::<Described>(&reply.body) else {
        found.fail("answer", "it answers, but not as a node does", "the partner looks what stands before its node");
        found.not_tried(AFTER_ANSWER, "it does not answer as a node");
        return;
    };
    found.ok("answer", "it knows this node and answers");
    clock(found, described.at, before, after);
    let common = Spoken::OURS.common(&described.protocols);
    let spoken = said(&described.protocols);
    match common {
        Some(v) => found.ok("protocol", format!("version {v} of {spoken} there and {} here", Spoken::OURS)),
        None => found.fail(
            "protocol",
            format!("it speaks version {spoken}, this node {}", Spoken::OURS),
            "bring the older of the two up to date",
        ),
    }
    node.versions().learn(partner.ori(), described.protocols.clone());
    description(found, partner, &described);
    standing::look(found, node, partner).await;
}

fn clock(found: &mut Findings, at: Option<Instant>, before: Instant, after: Instant) {
    let Some(at) = at else {
        found.not_tried(&["clock"], "it does not say what time it is there");
        return;
    };
    // Whatever lies between asking and hearing is no skew.
    let skew = if at < before { at.since(before) } else { at.since(after).max(0) };
    let seconds = skew.abs() / Instant::SECOND;
    let side = if skew < 0 { "behind" } else { "ahead of" };
    let fix = "set the wrong one of the two clocks right (`timedatectl`); beyond five minutes questions are refused";
    match skew.abs() {
        skew if skew <= SKEW => found.ok("clock", format!("{seconds} s {side} this node's")),
        skew if skew <= FRESH => found.warn("clock", format!("{seconds} s {side} this node's"), fix),
        _ => found.fail("clock", format!("{seconds} s {side} this node's: questions are refused"), fix),
    }
}

/// Whether it describes itself as it was enrolled.
fn description(found: &mut Findings, partner: &Partner, described: &Described) {
    let now = described.party.as_ref().and_then(|party| json::parse::<Party>(party.get().as_bytes()).ok());
    let Some(now) = now else {
        found.warn(
            "description",
            "it describes itself in a way that this version does not read",
            "bring the older of the two up to date",
        );
        return;
    };
    if now == *partner.party() {
        let news = partner.news().len();
        let says = if news == 0 {
            "as it was enrolled".to_owned()
        } else {
            format!("as it was enrolled and has told since ({news} changes)")
        };
        found.ok("description", says);
        return;
    }
    let held = partner.party();
    let parts = [
        (now.node != held.node, "its keys or URL"),
        (now.policy != held.policy, "its policy"),
        (now.identity_key != held.identity_key, "its identity key"),
        (now.approvals != held.approvals, "its approvals"),
        (now.legal_name != held.legal_name || now.official != held.official, "its names"),
    ];
    let which: Vec<&str> = parts.iter().filter_map(|(differs, what)| differs.then_some(*what)).collect();
    let which = if which.is_empty() { "something".to_owned() } else { which.join(", ") };
    found.warn(
        "description",
        format!("it describes {which} otherwise than it is known here"),
        "what was agreed goes on; new keys and places are told under the agreements, the rest needs its new descriptor: `concordat peer add` takes it",
    );
}
