//! The door of a witness alone (c2sp.org/tlog-witness): whoever has a log may knock, and what each may cost is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::ConnectionType;
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data, Path, Payload};
use actix_web::{HttpResponse, HttpServer, Route};
use agreements::ids::Digest;
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::alone::{Alone, AloneError};
use super::request::MAX_REQUEST;
use crate::doors::{self, Door, Port, Recorded, Table, Verb};
use crate::peer::witness::{checkpoint, reply};
use crate::peer::{COSIGNING, HEADS};

/// In this time a body must be whole.
const BODY_TIME: Duration = Duration::from_secs(10);
/// For how long an idle connection is kept: a log that moves shows its head each second.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many connections one worker holds.
const CONNECTIONS: usize = 256;
/// How many requests wait for the file at once; more are told to come again.
const IN_WORK: usize = 64;

/// What is told to who comes when so many wait.
const CROWDED: &str = "too many wait; come again\n";

struct Desk {
    alone: Arc<Alone>,
    places: Arc<Semaphore>,
}

impl Desk {
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

/// What logs may knock at. A witness alone has no trail; what it cosigned is in its file.
pub(crate) const DOORS: Table = Table {
    doors: &[
        door(Verb::Post, "/add-checkpoint", COSIGNING, || web::to(add_checkpoint)),
        door(Verb::Get, "/{origin}/checkpoint", HEADS, || web::to(newest)),
        door(Verb::Get, "/readyz", "whether the witness's file can be read", || web::to(ready)),
    ],
    no_such_path: || web::to(HttpResponse::NotFound),
    no_such_method: || web::to(HttpResponse::MethodNotAllowed),
};

const fn door(verb: Verb, path: &'static str, why: &'static str, answers: fn() -> Route) -> Door {
    Door { verb, path, recorded: Recorded::Not(why), answers }
}

/// Listens on `listen`, with TLS where there is a configuration for it; port 0 takes a free one. The server runs once it is
/// awaited or spawned, and stops through its handle only.
///
/// # Errors
/// The address cannot be had.
pub fn bind(
    alone: &Arc<Alone>,
    listen: SocketAddr,
    tls: Option<ServerConfig>,
) -> std::io::Result<(Server, Vec<SocketAddr>)> {
    let desk = Data::new(Desk { alone: Arc::clone(alone), places: Arc::new(Semaphore::new(IN_WORK)) });
    let server = HttpServer::new(move || {
        doors::app(Port::Witness)
            .app_data(desk.clone())
            .wrap(DefaultHeaders::new().add(("cache-control", "no-store")).add(("x-content-type-options", "nosniff")))
    })
    .workers(2)
    .max_connections(CONNECTIONS)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(Duration::from_secs(10))
    .client_disconnect_timeout(Duration::from_secs(1))
    .shutdown_timeout(10)
    .disable_signals();
    let server = match tls {
        Some(config) => server.bind_rustls_0_23(listen, config)?,
        None => server.bind(listen)?,
    };
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

async fn add_checkpoint(desk: Data<Desk>, payload: Payload) -> HttpResponse {
    let body = match timeout(BODY_TIME, payload.to_bytes_limited(MAX_REQUEST)).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => return closing(HttpResponse::BadRequest().finish()),
        Ok(Err(_)) => return closing(HttpResponse::PayloadTooLarge().finish()),
        Err(_) => return closing(HttpResponse::RequestTimeout().finish()),
    };
    let Some(place) = desk.place() else { return unavailable(CROWDED) };
    let alone = Arc::clone(&desk.alone);
    let done = web::block(move || {
        let _place = place;
        alone.add_checkpoint(&body)
    });
    done.await.map_or_else(|_| failed(), |done| done.map_or_else(|error| unkept(&error), reply))
}

async fn newest(desk: Data<Desk>, origin: Path<String>) -> HttpResponse {
    let Ok(origin) = origin.parse::<Digest>() else { return HttpResponse::NotFound().finish() };
    look(&desk, origin, checkpoint).await
}

/// Whether the file can be read.
async fn ready(desk: Data<Desk>) -> HttpResponse {
    look(&desk, Digest::of(b""), |_| HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n")).await
}

async fn look(
    desk: &Desk,
    origin: Digest,
    reply: impl FnOnce(Option<super::Witnessed>) -> HttpResponse,
) -> HttpResponse {
    let Some(place) = desk.place() else { return unavailable(CROWDED) };
    let alone = Arc::clone(&desk.alone);
    let found = web::block(move || {
        let _place = place;
        alone.newest(origin)
    });
    found.await.map_or_else(|_| failed(), |found| found.map_or_else(|error| unkept(&error), reply))
}

fn unkept(error: &AloneError) -> HttpResponse {
    tracing::error!(%error, "ALARM: nothing is cosigned, because the witness's file does not work");
    unavailable("the witness cannot keep heads now\n")
}

fn unavailable(why: &'static str) -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header(("retry-after", "1"))
        .content_type("text/plain; charset=utf-8")
        .body(why)
}

fn failed() -> HttpResponse {
    HttpResponse::InternalServerError().finish()
}

/// Its body was not read; a connection that is kept would have to.
fn closing(mut response: HttpResponse) -> HttpResponse {
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}
