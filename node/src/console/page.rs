//! The console's replies.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use askama::Template;
use serde::Serialize;

use super::{Readiness, Shared, Status};
use crate::metrics::Door;

const STYLE: &str = include_str!("../../templates/style.css");

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'s> {
    status: &'s Status,
    reasons: &'s [String],
}

#[derive(Serialize)]
struct ReadinessReply<'s> {
    ready: bool,
    reasons: &'s [String],
    alarms: &'s [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    unchecked: Option<u64>,
}

impl Shared {
    async fn status(&self) -> Option<Status> {
        let source = Arc::clone(&self.source);
        web::block(move || source.status()).await.ok()
    }

    async fn readiness(&self) -> Option<Readiness> {
        let source = Arc::clone(&self.source);
        web::block(move || source.readiness()).await.ok()
    }

    fn reply(&self, code: StatusCode, kind: ContentType, body: String) -> HttpResponse {
        self.metrics.request(Door::Console, code.as_u16());
        HttpResponse::build(code).content_type(kind).body(body)
    }

    fn failed(&self) -> HttpResponse {
        let text = "The node could not say how it is; its log says why.\n".to_owned();
        self.reply(StatusCode::INTERNAL_SERVER_ERROR, ContentType::plaintext(), text)
    }
}

fn reasons(ready: &Result<(), Vec<String>>) -> &[String] {
    ready.as_ref().err().map_or(&[], Vec::as_slice)
}

pub(super) async fn status(shared: web::Data<Shared>) -> HttpResponse {
    let Some(status) = shared.status().await else { return shared.failed() };
    match (StatusPage { status: &status, reasons: reasons(&status.ready) }).render() {
        Ok(page) => shared.reply(StatusCode::OK, ContentType::html(), page),
        Err(error) => {
            tracing::error!(%error, "the status page does not render");
            shared.failed()
        }
    }
}

pub(super) async fn style(shared: web::Data<Shared>) -> HttpResponse {
    shared.metrics.request(Door::Console, 200);
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

/// The process answers; that is all that it says.
pub(super) async fn live(shared: web::Data<Shared>) -> HttpResponse {
    shared.reply(StatusCode::OK, ContentType::plaintext(), "alive\n".to_owned())
}

pub(super) async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    let Some(Readiness { ready: found, alarms, unchecked }) = shared.readiness().await else { return shared.failed() };
    let ready = found.is_ok();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&ReadinessReply {
        ready,
        reasons: reasons(&found),
        alarms: &alarms,
        unchecked: (unchecked > 0).then_some(unchecked),
    }) {
        Ok(json) => shared.reply(code, ContentType::json(), json),
        Err(_) => shared.failed(),
    }
}

pub(super) async fn absent(shared: web::Data<Shared>) -> HttpResponse {
    shared.reply(StatusCode::NOT_FOUND, ContentType::plaintext(), "There is no such page.\n".to_owned())
}

/// Any other method than GET and HEAD.
pub(super) async fn not_allowed(shared: web::Data<Shared>) -> HttpResponse {
    let text = "This page can only be read.\n".to_owned();
    shared.reply(StatusCode::METHOD_NOT_ALLOWED, ContentType::plaintext(), text)
}
