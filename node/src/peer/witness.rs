//! The doors of this node's witness (c2sp.org/tlog-witness).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::{Body, Peer, Problem, desk};
use crate::node::Node;
use crate::witness::{Done, Refusal, Witnessed, here};

/// `POST witness/add-checkpoint`.
pub async fn add_checkpoint(_: Peer, node: Data<Node>, Body(body): Body) -> Result<HttpResponse, Problem> {
    Ok(reply(here::add_checkpoint(&node, &body).await?))
}

/// `GET witness/<sha256(origin)>/checkpoint`.
pub async fn newest(
    _: Peer,
    node: Data<Node>,
    request: HttpRequest,
    origin: Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(checkpoint(here::newest(&desk(&request, &node), &origin)?))
}

/// The protocol's answer: bodies are as it has them, and not problem documents.
pub(crate) fn reply(done: Done) -> HttpResponse {
    match done {
        Done::Cosigned(line) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(line),
        Done::Refused(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let known = matches!(refusal, Refusal::Conflict(_));
            let content_type = if known { "text/x.tlog.size" } else { "text/plain; charset=utf-8" };
            HttpResponse::build(status).content_type(content_type).body(format!("{refusal}\n"))
        }
    }
}

/// The newest head that was cosigned, or 404.
pub(crate) fn checkpoint(newest: Option<Witnessed>) -> HttpResponse {
    match newest {
        Some(head) => HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .insert_header(("cache-control", "no-cache"))
            .body(head.checkpoint),
        None => HttpResponse::NotFound().finish(),
    }
}
