//! The bare look-up: what an owner could answer with if nothing had to be proven, decided or recorded.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use actix_web::web::Path;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use agreements::ids::{Digest, ReadId};
use agreements::time::Instant;
use concordat::reads::Read;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use integration::{Caller, TestNode};

use crate::plates::read;

/// A server with mutual TLS as the peer port's, whose one handler only looks up.
pub struct Door {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

type Worker = Rc<RefCell<SqliteConnection>>;

impl Door {
    pub fn open(owner: &TestNode) -> Self {
        let node = owner.node();
        let config = concordat::tls::server(node.dialer().own(), node.trust(), Arc::clone(node.clock())).unwrap();
        let url = owner.settings().store.reads.to_string();
        let file = url.strip_prefix("sqlite:").unwrap().to_owned();
        let (up, is_up) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async move {
                #[expect(clippy::disallowed_methods, reason = "this is no node: what a lookup costs without one")]
                let app = move || {
                    let worker: Worker = Rc::new(RefCell::new(connect(&file)));
                    App::new().app_data(worker).route("/reads/{plate}", web::get().to(look_up))
                };
                let server = HttpServer::new(app).disable_signals().bind_rustls_0_23("127.0.0.1:0", config).unwrap();
                let address = server.addrs()[0];
                let server = server.run();
                up.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle) = is_up.recv().unwrap();
        Self { address, handle, thread: Some(thread) }
    }

    /// A partner that calls it as it calls the owner's node.
    pub fn caller(&self, partner: &TestNode, owner: &TestNode) -> Caller {
        partner.calls_at(owner, self.address)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(file: &str) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(file).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 10000; PRAGMA mmap_size = 0; PRAGMA query_only = ON").unwrap();
    conn
}

async fn look_up(request: HttpRequest, plate: Path<String>) -> HttpResponse {
    let worker = request.app_data::<Worker>().unwrap();
    let found: Vec<Row> = read::table
        .filter(read::plate_key.eq(plate.as_str()))
        .filter(read::plate.eq(plate.as_str()))
        .order((read::seen_at.desc(), read::uuid.desc()))
        .limit(51)
        .select(Row::as_select())
        .load(&mut *worker.borrow_mut())
        .unwrap();
    HttpResponse::Ok().json(found.into_iter().map(Read::from).collect::<Vec<_>>())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = read)]
struct Row {
    plate: String,
    seen_at: i64,
    id: Vec<u8>,
    state: Option<String>,
    camera: String,
    lat: Option<i32>,
    lon: Option<i32>,
    confidence: Option<i32>,
    direction: Option<i32>,
    vehicle: Option<String>,
    image: Option<Vec<u8>>,
}

impl From<Row> for Read {
    fn from(row: Row) -> Self {
        Self {
            id: ReadId::from_slice(&row.id).unwrap(),
            plate: row.plate.parse().unwrap(),
            state: row.state,
            seen_at: Instant::from_micros(row.seen_at),
            camera: row.camera,
            lat: row.lat,
            lon: row.lon,
            confidence: row.confidence,
            direction: row.direction,
            vehicle: row.vehicle.map(|json| serde_json::from_str(&json).unwrap()),
            image: row.image.map(|bytes| Digest(bytes.try_into().unwrap())),
        }
    }
}
