//! Who is at the agents' door: decided by the token, before anything of the body is read. Whose token does not count is
//! counted, and not recorded each for itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _};
use futures_util::future::{LocalBoxFuture, Ready, ready};
use tokio::time::timeout;

use super::problem::Problem;
use crate::intake::agents;
use crate::intake::message::Body;
use crate::intake::queue::Queue;
use crate::metrics::Door;
use crate::node::{Desk, Node, Uncounted};

/// The header for agents that cannot send `Authorization`.
const API_KEY: &str = "x-api-key";
/// In this time a body must be whole: one that dribbles in holds its share of the memory.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The agent whose token came with the request. Doors take it, and nothing else makes one.
#[derive(Clone)]
pub struct Agent(Rc<str>);

impl Agent {
    /// Its id.
    pub fn uid(&self) -> &str {
        &self.0
    }
}

impl FromRequest for Agent {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(Problem::WhoAreYou))
    }
}

/// Lets agents pass whose token counts now, and answers everybody else the same.
pub async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(node) = request.app_data::<Data<Node>>().map(|node| Arc::clone(node)) else {
        return Ok(request.into_response(HttpResponse::InternalServerError().finish()));
    };
    let response = match recognise(&request) {
        Ok(agent) => {
            request.extensions_mut().insert(agent);
            let mut response = next.call(request).await?.map_into_boxed_body();
            if !response.status().is_success() {
                // Its body may not have been read; a connection that is kept would have to.
                response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            }
            response
        }
        Err(problem) => {
            if matches!(problem, Problem::WhoAreYou) {
                node.count(Uncounted::Stranger);
            }
            let mut response = problem.error_response();
            response.head_mut().set_connection_type(ConnectionType::Close);
            request.into_response(response)
        }
    };
    node.metrics().request(Door::Intake, response.status().as_u16());
    Ok(response)
}

fn recognise(request: &ServiceRequest) -> Result<Agent, Problem> {
    let token = token(request.headers()).ok_or(Problem::WhoAreYou)?;
    let desk = request.app_data::<Rc<Desk>>().ok_or(Problem::WhoAreYou)?;
    let found = desk.registry(|conn| agents::recognise(conn, token)).map_err(|error| {
        tracing::error!(%error, "an agent's token cannot be looked up");
        Problem::Unavailable
    })?;
    found.map(|uid| Agent(uid.into())).ok_or(Problem::WhoAreYou)
}

fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get(API_KEY)?.to_str().ok()
}

/// A whole body with its share of the memory.
pub struct Incoming(pub Body);

impl FromRequest for Incoming {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let expected = expected(request);
        let bytes = actix_web::web::Payload::from_request(request, payload);
        Box::pin(async move {
            let Expected { queue, limit, gzip, most } = expected?;
            let mut room = queue.room(most)?;
            let payload = bytes.await.map_err(|_| Problem::Interrupted)?;
            let bytes = match timeout(BODY_TIME, payload.to_bytes_limited(limit)).await {
                Ok(Ok(Ok(bytes))) => bytes,
                Ok(Ok(Err(_))) | Err(_) => return Err(Problem::Interrupted),
                Ok(Err(_)) => return Err(Problem::TooLong(limit)),
            };
            room.shrink(if gzip { bytes.len().saturating_add(limit) } else { bytes.len() });
            Ok(Self(Body { bytes, gzip, room }))
        })
    }
}

/// What the headers say about a body.
struct Expected {
    queue: Data<Queue>,
    limit: usize,
    gzip: bool,
    /// The most bytes that it can come to.
    most: usize,
}

fn expected(request: &HttpRequest) -> Result<Expected, Problem> {
    let (Some(node), Some(queue)) = (request.app_data::<Data<Node>>(), request.app_data::<Data<Queue>>()) else {
        return Err(Problem::Unavailable);
    };
    let limit = node.config().ingest.webhook.max_body_bytes.get();
    let gzip = match request.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()) {
        None => false,
        Some(encoding) if encoding == b"identity" => false,
        Some(encoding) if encoding == b"gzip" || encoding == b"x-gzip" => true,
        Some(_) => return Err(Problem::Encoding),
    };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length > limit => Err(Problem::TooLong(limit)),
        Some(length) if !gzip => Ok(Expected { queue: queue.clone(), limit, gzip, most: length }),
        // While it is decompressed, both are held.
        Some(length) => Ok(Expected { queue: queue.clone(), limit, gzip, most: limit.saturating_add(length) }),
        None if gzip => Ok(Expected { queue: queue.clone(), limit, gzip, most: limit.saturating_mul(2) }),
        None => Ok(Expected { queue: queue.clone(), limit, gzip, most: limit }),
    }
}
