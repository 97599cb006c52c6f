//! The door for readers' agents: they post what they read, in the layout of the Rekor/OpenALPR webhook, each with a token
//! of its own.
//!
//! It has a listener of its own, apart from partners' (agents have no certificate of the federation) and from people's (it
//! may be reached from the cameras' network). TLS 1.3 with the node's certificate; without TLS on loopback only, for a
//! proxy on this machine. 200 means that the reads are durably kept.

mod gate;
mod problem;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{self, Data};
use actix_web::{HttpResponse, HttpServer};
use agreements::entry::Kind;
use serde_json::json;

use crate::doors::{self, Door, Port, Recorded, Table, Verb};
use crate::intake::message;
use crate::intake::queue::Queue;
use crate::node::Node;
use crate::tls;
use gate::{Agent, Incoming};
use problem::Problem;

/// What readers' agents may knock at.
pub(crate) const DOORS: Table = Table {
    doors: &[Door {
        verb: Verb::Post,
        path: "/rekor",
        recorded: Recorded::Counted(&[Kind::ReadsIngested]),
        answers: || web::to(rekor),
    }],
    no_such_path: || web::to(no_such_path),
    no_such_method: || web::to(no_such_method),
};

/// Why the door for agents is not opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The address cannot be had.
    #[error("cannot listen on {0}: {1}; name another address in ingest.webhook of concordat.toml")]
    Listen(SocketAddr, std::io::Error),
}

/// Listens on `listen`; port 0 takes a free one. The server runs once it is awaited or spawned, and stops through its
/// handle only.
///
/// # Errors
/// See [`BindError`].
pub fn bind(node: &Arc<Node>, queue: &Queue, listen: SocketAddr) -> Result<(Server, Vec<SocketAddr>), BindError> {
    let shared = Arc::clone(node);
    let queue = queue.clone();
    let server = HttpServer::new(move || {
        doors::app(Port::Agents)
            .app_data(Data::from(Arc::clone(&shared)))
            .app_data(Data::new(queue.clone()))
            .app_data(Rc::new(shared.desk()))
            .wrap(from_fn(gate::admit))
            .wrap(DefaultHeaders::new().add(("cache-control", "no-store")).add(("x-content-type-options", "nosniff")))
    })
    .client_request_timeout(Duration::from_secs(10))
    .client_disconnect_timeout(Duration::from_secs(1))
    .shutdown_timeout(10)
    .disable_signals();
    let cannot = |error| BindError::Listen(listen, error);
    let server = if node.config().ingest.webhook.tls {
        let config = tls::server_alone(node.dialer().own(), Arc::clone(node.clock()))?;
        server.bind_rustls_0_23(listen, config).map_err(cannot)?
    } else {
        server.bind(listen).map_err(cannot)?
    };
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

async fn rekor(
    agent: Agent,
    node: Data<Node>,
    queue: Data<Queue>,
    Incoming(body): Incoming,
) -> Result<HttpResponse, Problem> {
    let reads = message::take(&node, &queue, agent.uid(), body).await?;
    Ok(HttpResponse::Ok().json(json!({"reads": reads})))
}

async fn no_such_path() -> Result<HttpResponse, Problem> {
    Err(Problem::NoSuchPath)
}

async fn no_such_method() -> Result<HttpResponse, Problem> {
    Err(Problem::NoSuchMethod)
}
