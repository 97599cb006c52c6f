//! The door for the agency's own people: for now a status page, and what a supervisor process asks (`/livez`, `/readyz`).
//!
//! It works without JavaScript and loads nothing from elsewhere. It shows counts, never what a read holds.

mod headers;
mod page;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{HttpServer, Route, web};

use crate::doors::{self, Door, Port, Recorded, Table, Verb};
use crate::metrics::Metrics;

pub use status::{Readiness, ReadsStatus, Status, StatusSource, TrailStatus, WitnessesStatus};

/// What the handlers share.
struct Shared {
    source: Arc<dyn StatusSource>,
    metrics: Arc<Metrics>,
}

/// What people and supervisor processes may knock at.
pub(crate) const DOORS: Table = Table {
    doors: &[
        page("/", "how the node is: names of witnesses and jobs, and counts, nothing of what anybody asked", || {
            web::to(page::status)
        }),
        page("/style.css", "a style sheet, the same for everybody", || web::to(page::style)),
        page("/livez", "that the process answers", || web::to(page::live)),
        page("/readyz", "whether the node serves, and why not", || web::to(page::ready)),
    ],
    no_such_path: || web::to(page::absent),
    no_such_method: || web::to(page::not_allowed),
};

const fn page(path: &'static str, why: &'static str, answers: fn() -> Route) -> Door {
    Door { verb: Verb::Page, path, recorded: Recorded::Not(why), answers }
}

/// Listens on `listen`; port 0 takes a free one. Nothing is answered until the server is awaited or spawned, and it
/// stops through its handle only: signals are the caller's.
///
/// # Errors
/// The address cannot be had.
pub fn bind(
    listen: SocketAddr,
    source: Arc<dyn StatusSource>,
    metrics: Arc<Metrics>,
) -> std::io::Result<(Server, Vec<SocketAddr>)> {
    let shared = web::Data::new(Shared { source, metrics });
    let server = HttpServer::new(move || doors::app(Port::Console).wrap(headers::strict()).app_data(shared.clone()))
        .workers(1)
        .disable_signals()
        .bind(listen)?;
    let addrs = server.addrs();
    Ok((server.run(), addrs))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use reqwest::{Method, Response};

    use super::*;

    /// A node whose readiness a test sets.
    struct Node(Mutex<Result<(), Vec<String>>>);

    impl StatusSource for Node {
        fn readiness(&self) -> Readiness {
            Readiness {
                ready: self.0.lock().unwrap().clone(),
                alarms: vec!["a row was changed".to_owned()],
                unchecked: 0,
            }
        }

        fn status(&self) -> Status {
            Status {
                agency: "Alder <County> Sheriff".to_owned(),
                ori: "CA0010000".parse().unwrap(),
                version: "0.1.0",
                at: "2026-11-23T20:17:00Z".parse().unwrap(),
                ready: self.0.lock().unwrap().clone(),
                alarms: vec!["a <row> was changed".to_owned()],
                notices: vec!["a list ends soon".to_owned()],
                trail: TrailStatus {
                    origin: "alpr.alder.example/CA0010000".to_owned(),
                    size: 41,
                    check: "being recomputed: 10 of 41 entries".to_owned(),
                },
                witnesses: WitnessesStatus {
                    says: "no third party <witnesses> this trail".to_owned(),
                    last: vec![("birch.example/w".to_owned(), "40 entries".to_owned())],
                    weaknesses: vec!["it names 2 witnesses".to_owned()],
                },
                partners: 2,
                agreements: vec![("in force", 1), ("proposed", 3)],
                reads: ReadsStatus { count: 1234, newest: None },
                mail: crate::mail::Standing::default(),
            }
        }
    }

    struct Served {
        root: String,
        node: Arc<Node>,
        metrics: Arc<Metrics>,
    }

    impl Served {
        fn start() -> Self {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // reqwest wants one, even for http
            let node = Arc::new(Node(Mutex::new(Ok(()))));
            let metrics =
                Arc::new(Metrics::new("2026-11-23T20:17:00Z".parse().unwrap(), &crate::db::Commits::default()));
            let source: Arc<dyn StatusSource> = Arc::clone(&node) as _;
            let (server, addrs) = bind(([127, 0, 0, 1], 0).into(), source, Arc::clone(&metrics)).unwrap();
            actix_web::rt::spawn(server);
            Self { root: format!("http://{}", addrs[0]), node, metrics }
        }

        async fn ask(&self, method: Method, path: &str) -> Response {
            reqwest::Client::new().request(method, format!("{}{path}", self.root)).send().await.unwrap()
        }
    }

    #[actix_web::test]
    async fn readiness_is_200_or_503_with_its_reasons() {
        let served = Served::start();
        let ready = served.ask(Method::GET, "/readyz").await;
        assert_eq!(
            (ready.status().as_u16(), ready.text().await.unwrap()),
            (200, r#"{"ready":true,"reasons":[],"alarms":["a row was changed"]}"#.into())
        );
        *served.node.0.lock().unwrap() = Err(vec!["the clock was set back".to_owned()]);
        let unready = served.ask(Method::GET, "/readyz").await;
        assert_eq!(unready.status(), 503);
        assert_eq!(unready.headers()["content-type"], "application/json");
        assert_eq!(
            unready.text().await.unwrap(),
            r#"{"ready":false,"reasons":["the clock was set back"],"alarms":["a row was changed"]}"#
        );
        assert_eq!(served.ask(Method::GET, "/livez").await.status(), 200, "alive, though not ready");
        let page = served.ask(Method::GET, "/").await.text().await.unwrap();
        assert!(page.contains("Not ready.") && page.contains("<li>the clock was set back</li>"), "{page}");
        let counted = served.metrics.text().unwrap();
        assert!(counted.contains("requests_total{door=\"Console\",reply=\"Unavailable\"} 1\n"), "{counted}");
        assert!(counted.contains("requests_total{door=\"Console\",reply=\"Answered\"} 3\n"), "{counted}");
    }

    #[actix_web::test]
    async fn the_page_is_plain_semantic_html() {
        let page = Served::start().ask(Method::GET, "/").await.text().await.unwrap();
        for part in [
            "<html lang=\"en\">",
            "<title>Ready – Alder",
            "<h1>Alder &#60;County&#62; Sheriff</h1>",
            "<th scope=\"row\">in force</th><td>1</td>",
            "<li>a &#60;row&#62; was changed</li>",
            "<dd>1234</dd>",
            "<p>Witnesses: no third party &#60;witnesses&#62; this trail.</p>",
            "<th scope=\"row\">birch.example/w</th><td>40 entries</td>",
            "<li>it names 2 witnesses</li>",
            "<li>a list ends soon</li>",
            "<dd>none</dd>",
            "<time datetime=\"2026-11-23T20:17:00.000000Z\">",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        for absent in ["<script", "style=", "http://", "https://", "user-scalable", "onclick"] {
            assert!(!page.contains(absent), "{absent}");
        }
    }

    #[actix_web::test]
    async fn every_reply_has_the_strict_headers() {
        let served = Served::start();
        for (method, path, status) in [
            (Method::GET, "/", 200),
            (Method::HEAD, "/", 200),
            (Method::GET, "/style.css", 200),
            (Method::GET, "/livez", 200),
            (Method::GET, "/readyz", 200),
            (Method::GET, "/nowhere", 404),
            (Method::POST, "/", 405),
        ] {
            let reply = served.ask(method.clone(), path).await;
            assert_eq!(reply.status(), status, "{method} {path}");
            for (name, value) in headers::STRICT {
                assert_eq!(reply.headers().get(name).map(|v| v.to_str().unwrap()), Some(value), "{method} {path}");
            }
            assert!(!reply.headers().contains_key("server"));
        }
    }
}
