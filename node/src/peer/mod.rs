//! The door for partners: mutual TLS, `/peer/v1`. Each door is extractors, one service call and one reply.

mod gate;
mod log;
mod problem;
pub(crate) mod witness;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpServer, Route};
use agreements::entry::Kind;
use agreements::ids::AgreementId;
use agreements::message::Outcome;
use agreements::protocol::Spoken;
use futures_util::stream::{self, StreamExt as _};

use crate::doors::{self, Door, Port, Recorded, Table, Verb};
use crate::exchange::lifecycle::Wanted;
use crate::exchange::versions::Description;
use crate::exchange::{answer, lifecycle};
use crate::hotlists::asserting;
use crate::metrics::Decided;
use crate::node::{Desk, Node};
use crate::renewal::hearing;
use crate::tls;

pub use gate::{Body, Peer};
pub use problem::Problem;

/// For how long an idle connection is kept: longer than a partner's node would use it again, and no longer than a stop can
/// wait for.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

const fn door(verb: Verb, path: &'static str, recorded: Recorded, answers: fn() -> Route) -> Door {
    Door { verb, path, recorded, answers }
}

/// What a partner did is acknowledged by an entry that travels as the answer.
const ACKNOWLEDGED: Recorded = Recorded::First(&[Kind::AgreementAcknowledged]);

/// What partners may knock at. [`gate`] answers whoever is none, and hears new keys at `rekeyed` from whoever shows them.
pub(crate) const DOORS: Table = Table {
    doors: &[
        door(Verb::Get, "/peer/v1/node", Recorded::Not(DESCRIPTOR), || web::to(describe)),
        door(Verb::Post, "/peer/v1/queries", Recorded::First(&[Kind::QueryAnswered]), || web::to(queries)),
        door(Verb::Post, "/peer/v1/agreements", ACKNOWLEDGED, || web::to(offer)),
        door(Verb::Post, "/peer/v1/agreements/{id}/renewal", Recorded::First(&[Kind::PacketReceived]), || {
            web::to(renewal)
        }),
        door(Verb::Get, "/peer/v1/agreements/{id}", Recorded::Not(STREAMS), || web::to(agreement)),
        door(Verb::Post, "/peer/v1/agreements/{id}/events", ACKNOWLEDGED, || web::to(event)),
        door(Verb::Post, "/peer/v1/agreements/{id}/rekeyed", ACKNOWLEDGED, || web::to(rekeyed)),
        door(Verb::Post, "/peer/v1/witness/add-checkpoint", Recorded::Not(COSIGNING), || {
            web::to(witness::add_checkpoint)
        }),
        door(Verb::Get, "/peer/v1/witness/{origin}/checkpoint", Recorded::Not(HEADS), || web::to(witness::newest)),
        door(Verb::Get, "/peer/v1/log/checkpoint", Recorded::Not(HEADS), || web::to(log::checkpoint)),
        door(Verb::Get, "/peer/v1/log/tile/{path:.*}", Recorded::Not(HASHES), || web::to(log::tile)),
        door(Verb::Get, "/peer/v1/log/entry/{rid}", Recorded::Not(AGAIN), || web::to(log::entry)),
        door(Verb::Get, "/peer/v1/log/day/{day}", Recorded::Not(LISTED), || web::to(log::day)),
        door(Verb::Get, "/peer/v1/hotlists", Recorded::Not(OFFERED), || web::to(hotlists)),
        door(Verb::Post, "/peer/v1/hotlists/{list}/pull", Recorded::First(&[Kind::HotlistAsserted]), || web::to(pull)),
    ],
    no_such_path: || web::to(no_such_path),
    no_such_method: || web::to(no_such_method),
};

const DESCRIPTOR: &str = "the agency's name, address and public keys, as its descriptor file has them";
const STREAMS: &str =
    "where the agreement stands, and this agency's events under it, each of which was an entry when it was made";
pub(crate) const COSIGNING: &str = "a log's head and a signature under it: sizes and hashes, which come each second";
pub(crate) const HEADS: &str = "a signed size and hash of a log, which say nothing about anybody";
const HASHES: &str = "hashes, which say nothing about anybody; bundles of entries are not served";
const AGAIN: &str =
    "once more what was sent to that very partner, without reads, which are only ever given with an entry of their own";
const LISTED: &str =
    "ids, kinds and hashes of entries that were for that very partner, each of which was an entry when it was made";
const OFFERED: &str =
    "which lists the agreement grants that partner, and their versions; what is in one comes by a recorded pull";

/// Why the peer port is not opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The address cannot be had.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// Listens on the node's peer address; port 0 takes a free one. The server runs once it is awaited or spawned, and stops
/// through its handle only.
///
/// # Errors
/// See [`BindError`].
pub fn bind(node: &Arc<Node>) -> Result<(Server, Vec<SocketAddr>), BindError> {
    let listen = node.config().peer.listen;
    let config = tls::server(node.dialer().own(), node.trust(), Arc::clone(node.clock()))?;
    let shared = Arc::clone(node);
    let server = HttpServer::new(move || {
        doors::app(Port::Peer)
            .app_data(Data::from(Arc::clone(&shared)))
            .app_data(Rc::new(shared.desk()))
            .wrap(from_fn(gate::admit))
    })
    .on_connect(gate::remember)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(Duration::from_secs(10))
    .client_disconnect_timeout(Duration::from_secs(1))
    .shutdown_timeout(10)
    .disable_signals()
    .bind_rustls_0_23(listen, config)
    .map_err(|error| BindError::Listen(listen, error))?;
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

async fn no_such_path(_: Peer) -> Result<HttpResponse, Problem> {
    Err(Problem::NoSuchPath)
}

async fn no_such_method(_: Peer) -> Result<HttpResponse, Problem> {
    Err(Problem::NoSuchMethod)
}

async fn describe(_: Peer, node: Data<Node>) -> Result<HttpResponse, Problem> {
    let description = Description { protocols: Spoken::OURS.versions(), at: node.now(), party: &node.party() };
    let text = serde_json::to_string(&description).map_err(|error| crate::exchange::Failure::Internal(error.into()))?;
    Ok(json_reply(HttpResponse::Ok(), text))
}

async fn queries(
    peer: Peer,
    node: Data<Node>,
    request: HttpRequest,
    Body(body): Body,
) -> Result<HttpResponse, Problem> {
    let desk = desk(&request, &node);
    let answered = answer::answer(&node, &desk, peer.partner(), &peer.address(), &body).await?;
    let (reply, decided, rule) = match &answered.outcome {
        Outcome::Permitted { .. } => (HttpResponse::Ok(), Decided::Permitted, "none"),
        Outcome::Referred { rules, .. } => (HttpResponse::Accepted(), Decided::Referred, decisive(rules)),
        Outcome::Denied { rules, .. } => (HttpResponse::Forbidden(), Decided::Denied, decisive(rules)),
        Outcome::Withheld { .. } => (HttpResponse::Forbidden(), Decided::Denied, "withheld"),
    };
    node.metrics().decided(decided, rule);
    Ok(json_reply(reply, answered.text))
}

fn decisive(rules: &[agreements::message::RuleSaid]) -> &'static str {
    rules.first().map_or("none", |said| said.rule.as_str())
}

async fn offer(peer: Peer, node: Data<Node>, Body(body): Body) -> Result<HttpResponse, Problem> {
    let text = lifecycle::hear_offer(&node, peer.partner(), &body).await?;
    Ok(json_reply(HttpResponse::Ok(), text))
}

async fn event(peer: Peer, node: Data<Node>, id: Path<String>, Body(body): Body) -> Result<HttpResponse, Problem> {
    let text = lifecycle::hear_event(&node, peer.partner(), Some(parsed(&id)?), &body).await?;
    Ok(json_reply(HttpResponse::Ok(), text))
}

/// New keys of a partner whose TLS key is the known one; [`gate`] takes those of one whose TLS key is new as well.
async fn rekeyed(peer: Peer, node: Data<Node>, id: Path<String>, Body(body): Body) -> Result<HttpResponse, Problem> {
    let (ori, key) = (peer.partner().ori(), peer.identity().spki);
    let text = lifecycle::introduction::hear(&node, ori, key, &id, &body).await;
    Ok(json_reply(HttpResponse::Ok(), text.ok_or(Problem::NoNewKeys)?))
}

async fn renewal(peer: Peer, node: Data<Node>, id: Path<String>, Body(body): Body) -> Result<HttpResponse, Problem> {
    let text = hearing::hear_packet(&node, peer.partner(), parsed(&id)?, &body).await?;
    Ok(json_reply(HttpResponse::Ok(), text))
}

async fn agreement(
    peer: Peer,
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let wanted = wanted(request.query_string())?;
    let view = lifecycle::show(&node, &desk(&request, &node), peer.partner(), parsed(&id)?, wanted)?;
    let text = serde_json::to_string(&view.ok_or(Problem::NotBetweenUs)?);
    Ok(json_reply(HttpResponse::Ok(), text.map_err(|error| crate::exchange::Failure::Internal(error.into()))?))
}

async fn hotlists(peer: Peer, node: Data<Node>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let offers = asserting::offers(&node, &desk(&request, &node), peer.partner())?;
    let text = serde_json::to_string(&offers);
    Ok(json_reply(HttpResponse::Ok(), text.map_err(|error| crate::exchange::Failure::Internal(error.into()))?))
}

async fn pull(
    peer: Peer,
    node: Data<Node>,
    request: HttpRequest,
    list: Path<String>,
    Body(body): Body,
) -> Result<HttpResponse, Problem> {
    let desk = desk(&request, &node);
    let answered = asserting::answer(&node, &desk, peer.partner(), &peer.address(), &list, &body).await?;
    let mut reply = if answered.asserted { HttpResponse::Ok() } else { HttpResponse::Forbidden() };
    let Some(follows) = answered.follows else { return Ok(json_reply(reply, answered.text)) };
    let first = Bytes::from(answered.text + "\n");
    // The partner keeps its place until the last byte.
    let pages = follows.pages(&node, desk, peer.identity());
    let rest = stream::unfold((pages, peer), |(mut pages, peer)| async move {
        pages.next().await.map(|bytes| (bytes, (pages, peer)))
    });
    Ok(reply.content_type("application/x-ndjson").streaming(stream::iter([Ok(first)]).chain(rest)))
}

fn parsed(id: &str) -> Result<AgreementId, Problem> {
    id.parse().map_err(|error: agreements::ids::IdError| Problem::NoSuchId(error.to_string()))
}

/// How many of this agency's events the partner has, and of its own if it wants those back, as the query of a path says it:
/// `after=3`, `yours=1`.
fn wanted(query: &str) -> Result<Wanted, Problem> {
    let read = |name: &str| -> Result<Option<u32>, Problem> {
        let part = query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        part.map(str::parse).transpose().map_err(|_| {
            let why = format!("`{name}` in the path is the number of events that you have, such as {name}=3");
            crate::exchange::Failure::Unacceptable(why).into()
        })
    };
    Ok(Wanted { after: read("after")?.unwrap_or(0), yours: read("yours")? })
}

/// This worker's connections.
fn desk(request: &HttpRequest, node: &Node) -> Rc<Desk> {
    request.app_data::<Rc<Desk>>().map_or_else(|| Rc::new(node.desk()), Rc::clone)
}

fn json_reply(mut reply: actix_web::HttpResponseBuilder, body: String) -> HttpResponse {
    reply.content_type("application/json").body(body)
}
