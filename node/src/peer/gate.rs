//! Who is at the peer port: decided from the certificate and from memory, before any store is touched.
//!
//! Whom we have not enrolled gets one constant answer on every path and method: 404, an empty body, and the connection
//! closed. So does a partner whose certificate was revoked or expired since its handshake.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Bytes, Data};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _};
use certs::leaf::Identity;
use futures_util::future::{LocalBoxFuture, Ready, ready};
use tokio::time::timeout;

use super::problem::Problem;
use crate::exchange::Failure;
use crate::exchange::lifecycle::introduction;
use crate::exchange::partner::Partner;
use crate::metrics::Door;
use crate::node::{Node, Place, Uncounted};
use crate::publishing;

/// What the handshake proved: kept for the connection.
#[derive(Clone)]
struct Caller {
    identity: Option<Arc<Identity>>,
    address: SocketAddr,
}

/// Remembers a connection's certificate and address.
pub fn remember(connection: &dyn Any, kept: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (tcp, session) = stream.get_ref();
    let Ok(address) = tcp.peer_addr() else { return };
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let identity = leaf.and_then(|leaf| match Identity::from_der(leaf) {
        Ok(identity) => Some(Arc::new(identity)),
        Err(error) => {
            tracing::warn!(%error, %address, "a certificate of a trusted authority identifies no agency");
            None
        }
    });
    kept.insert(Caller { identity, address });
}

/// The partner at the other end, and its address. Doors take it, and nothing else makes one.
#[derive(Clone)]
pub struct Peer {
    partner: Arc<Partner>,
    identity: Arc<Identity>,
    address: SocketAddr,
    _place: Arc<Place>,
}

impl Peer {
    /// The partner.
    #[must_use]
    pub fn partner(&self) -> &Partner {
        &self.partner
    }

    /// What its certificate said at the handshake.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Its address, for the note of what is recorded.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl FromRequest for Peer {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let peer = request.extensions().get::<Self>().cloned();
        ready(peer.ok_or_else(|| actix_web::error::ErrorNotFound("")))
    }
}

/// Lets partners pass, each with a place for its request, and answers everybody else.
pub async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(node) = request.app_data::<Data<Node>>().map(|node| Arc::clone(node)) else {
        return Ok(request.into_response(silence()));
    };
    let Some((partner, identity, address)) = recognise(&request, &node) else {
        let request = match introduced(request, &node).await {
            Ok(response) => return Ok(response),
            Err(request) => request,
        };
        node.count(Uncounted::Stranger);
        node.metrics().stranger();
        return Ok(request.into_response(silence()));
    };
    let place = node.admit(partner.ori()).filter(|_| !(asks(&request) && node.over_rate(partner.ori())));
    let Some(place) = place else {
        node.count(Uncounted::Limited);
        node.metrics().request(Door::Peer, 429);
        let mut response = Problem::Limited.error_response();
        // The body is not read; a connection that is kept would have to.
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
        return Ok(request.into_response(response));
    };
    if let Some(jump) = node.clock().jump()
        && asks(&request)
    {
        node.metrics().request(Door::Peer, 503);
        let mut response = Problem::Failure(Failure::Jumped(jump)).error_response();
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
        return Ok(request.into_response(response));
    }
    if let Err(failure) = may_say(&request, &node).await {
        node.metrics().request(Door::Peer, 503);
        let mut response = Problem::Failure(failure).error_response();
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
        return Ok(request.into_response(response));
    }
    // Heads come each second from whoever serves: they say nothing of what was missed.
    if !request.path().starts_with("/peer/v1/witness/") {
        node.dialer().contacts().heard(partner.ori(), node.now());
    }
    request.extensions_mut().insert(Peer { partner, identity, address, _place: Arc::new(place) });
    let response = next.call(request).await?.map_into_boxed_body();
    node.metrics().request(Door::Peer, response.status().as_u16());
    let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
    if problem.is_some_and(|problem| response.status().is_client_error() && !matches!(problem, Problem::NotBetweenUs)) {
        node.count(Uncounted::Unsworn);
    }
    Ok(response)
}

/// Whether it counts against the owner's rate of questions. Over it nothing is read, sworn or decided: each would be an
/// entry of the trail.
fn asks(request: &ServiceRequest) -> bool {
    let path = request.path();
    let pulls = path.starts_with("/peer/v1/hotlists/") && path.ends_with("/pull");
    request.method() == Method::POST && (path == "/peer/v1/queries" || pulls)
}

/// Whether what the door would answer may be said: whatever is sworn stands on a head of this log, and after a restored backup
/// that is another one than was shown before. Being a witness, and what says nothing of this log, goes on: two nodes that
/// start at the same time must not wait for each other.
async fn may_say(request: &ServiceRequest, node: &Node) -> Result<(), Failure> {
    let path = request.path().strip_prefix("/peer/v1/").unwrap_or_default();
    if path.starts_with("witness/") || path == "node" {
        return Ok(());
    }
    // What bears a head or a proof under the present one.
    let sworn = request.method() == Method::POST || path.starts_with("log/entry/") || path.starts_with("log/day/");
    match publishing::settled(node).await {
        // Those that are left look themselves: of an agreement no event is given, and of the log what witnesses cosigned.
        Err(Failure::Behind(_)) if !sworn => Ok(()),
        said => said,
    }
}

fn recognise(request: &ServiceRequest, node: &Node) -> Option<(Arc<Partner>, Arc<Identity>, SocketAddr)> {
    let caller = request.conn_data::<Caller>()?;
    let identity = caller.identity.as_ref()?;
    let partners = node.partners();
    let partner = partners.recognise(identity.ori, identity.spki)?;
    match node.trust().objection(identity, node.now()) {
        None => Some((Arc::clone(partner), Arc::clone(identity), caller.address)),
        Some(why) => {
            tracing::warn!(partner = %partner.ori(), why, "an enrolled partner's certificate does not count");
            None
        }
    }
}

/// Hears the new keys of a partner, of which only they themselves can say that they are its own: one path and one method,
/// a body of bounded length, some a second of each agency. The body is read whoever sends it, so that nobody learns from
/// how long it takes who is enrolled. The request is given back when it is nothing else than a stranger's.
async fn introduced(mut request: ServiceRequest, node: &Arc<Node>) -> Result<ServiceResponse<BoxBody>, ServiceRequest> {
    let path = request.path().strip_prefix("/peer/v1/agreements/").and_then(|rest| rest.strip_suffix("/rekeyed"));
    let Some(id) = path.filter(|_| request.method() == Method::POST).map(str::to_owned) else { return Err(request) };
    let identity = request.conn_data::<Caller>().and_then(|caller| caller.identity.clone());
    let Some(identity) = identity else { return Err(request) };
    if node.trust().objection(&identity, node.now()).is_some() || node.over_introductions(identity.ori) {
        return Err(request);
    }
    if publishing::settled(node).await.is_err() {
        return Err(request);
    }
    let payload = request.extract::<actix_web::web::Payload>().await;
    let Ok(payload) = payload else { return Err(request) };
    let body = timeout(BODY_TIME, payload.to_bytes_limited(introduction::MAX_BODY)).await;
    let Ok(Ok(Ok(body))) = body else { return Err(request) };
    match introduction::hear(node, identity.ori, identity.spki, &id, &body).await {
        None => Err(request),
        Some(text) => {
            node.metrics().request(Door::Peer, 200);
            Ok(request.into_response(HttpResponse::Ok().content_type("application/json").body(text)))
        }
    }
}

/// The one answer for strangers.
fn silence() -> HttpResponse {
    HttpResponse::NotFound().force_close().finish()
}

/// In this time a body must be whole: one that dribbles in holds a place, and keeps a node from stopping.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A whole body, at most as long as the node reads.
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limit = request.app_data::<Data<Node>>().map_or(0, |node| node.config().peer.max_body_bytes.get());
        let bytes = actix_web::web::Payload::from_request(request, payload);
        Box::pin(async move {
            let payload = bytes.await.map_err(|_| Problem::Interrupted)?;
            match timeout(BODY_TIME, payload.to_bytes_limited(limit)).await {
                Ok(Ok(Ok(bytes))) => Ok(Self(bytes)),
                Ok(Ok(Err(_))) | Err(_) => Err(Problem::Interrupted),
                Ok(Err(_)) => Err(Problem::TooLong(limit)),
            }
        })
    }
}
