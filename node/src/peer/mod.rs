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
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource};
use agreements::ids::AgreementId;
use agreements::message::Outcome;
use agreements::protocol::Spoken;
use futures_util::stream::{self, StreamExt as _};

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
        App::new()
            .app_data(Data::from(Arc::clone(&shared)))
            .app_data(Rc::new(shared.desk()))
            .wrap(from_fn(gate::admit))
            .service(
                web::scope("/peer/v1")
                    .service(door("/node").route(web::get().to(describe)))
                    .service(door("/queries").route(web::post().to(queries)))
                    .service(door("/agreements").route(web::post().to(offer)))
                    .service(door("/agreements/{id}/renewal").route(web::post().to(renewal)))
                    .service(door("/agreements/{id}").route(web::get().to(agreement)))
                    .service(door("/agreements/{id}/events").route(web::post().to(event)))
                    .service(door("/agreements/{id}/rekeyed").route(web::post().to(rekeyed)))
                    .service(door("/witness/add-checkpoint").route(web::post().to(witness::add_checkpoint)))
                    .service(door("/witness/{origin}/checkpoint").route(web::get().to(witness::newest)))
                    .service(door("/log/checkpoint").route(web::get().to(log::checkpoint)))
                    .service(door("/log/tile/{path:.*}").route(web::get().to(log::tile)))
                    .service(door("/log/entry/{rid}").route(web::get().to(log::entry)))
                    .service(door("/hotlists").route(web::get().to(hotlists)))
                    .service(door("/hotlists/{list}/pull").route(web::post().to(pull))),
            )
            .default_service(web::to(no_such_path))
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

fn door(path: &str) -> Resource {
    web::resource(path.to_owned()).default_service(web::to(no_such_method))
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
