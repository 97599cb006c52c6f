//! The operator's door: metrics, on loopback. It has no login, so its address is a [`LoopbackAddr`], which holds no other.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpResponse, HttpServer, web};

use crate::config::LoopbackAddr;
use crate::doors::{self, Port, Recorded, Table, Verb};
use crate::metrics::{Door, MEDIA_TYPE, Metrics};

/// What the operator may knock at.
pub(crate) const DOORS: Table = Table {
    doors: &[doors::Door {
        verb: Verb::Get,
        path: "/metrics",
        recorded: Recorded::Not(
            "counts and times, on this machine alone; no plate, name or number of a case is in any",
        ),
        answers: || web::to(show),
    }],
    no_such_path: || web::to(HttpResponse::NotFound),
    no_such_method: || web::to(HttpResponse::MethodNotAllowed),
};

/// Listens on `listen`; port 0 takes a free one. Nothing is answered until the server is awaited or spawned, and it
/// stops through its handle only: signals are the caller's.
///
/// # Errors
/// The address cannot be had.
pub fn bind(listen: LoopbackAddr, metrics: Arc<Metrics>) -> std::io::Result<(Server, Vec<SocketAddr>)> {
    let server = HttpServer::new(move || {
        doors::app(Port::Ops)
            .wrap(DefaultHeaders::new().add((CACHE_CONTROL, "no-store")).add(("X-Content-Type-Options", "nosniff")))
            .app_data(web::Data::from(Arc::clone(&metrics)))
    })
    .workers(1)
    .disable_signals()
    .bind(listen.addr())?;
    let addrs = server.addrs();
    Ok((server.run(), addrs))
}

async fn show(metrics: web::Data<Metrics>) -> HttpResponse {
    metrics.request(Door::Ops, 200);
    match metrics.text() {
        Ok(text) => HttpResponse::Ok().insert_header((CONTENT_TYPE, MEDIA_TYPE)).body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn metrics_are_served_on_loopback_and_nothing_else_is() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // reqwest wants one, even for http
        let metrics = Arc::new(Metrics::new("2026-11-23T20:17:00Z".parse().unwrap(), &crate::db::Commits::default()));
        metrics.stranger();
        let (server, addrs) = bind(LoopbackAddr::with_port(0), metrics).unwrap();
        assert!(addrs.iter().all(|addr| addr.ip().is_loopback()));
        let handle = server.handle();
        actix_web::rt::spawn(server);
        let root = format!("http://{}", addrs[0]);
        let reply = reqwest::get(format!("{root}/metrics")).await.unwrap();
        assert_eq!(reply.headers()["content-type"], MEDIA_TYPE);
        assert!(reply.text().await.unwrap().contains("concordat_strangers_total 1\n"));
        assert_eq!(reqwest::get(format!("{root}/")).await.unwrap().status(), 404);
        handle.stop(true).await;
    }
}
