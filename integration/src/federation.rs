//! A federation of fictional agencies: one authority, and an address for each node.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use agreements::time::Instant;
use concordat::demo::agency::{ALDER, BIRCH, CEDAR, Fiction};
use tempfile::TempDir;

use crate::database::Backend;
use crate::pki::TestPki;

/// When every scenario begins.
pub fn start() -> Instant {
    "2026-11-23T20:17:00Z".parse().unwrap()
}

/// One authority and the addresses of its agencies. Its folder goes with it.
pub struct Federation {
    folder: TempDir,
    pub pki: TestPki,
    /// Where its nodes keep their stores.
    pub backend: Backend,
    hosts: BTreeMap<String, SocketAddr>,
    begins: Instant,
}

impl Federation {
    pub fn found() -> Self {
        Self::found_on(Backend::Sqlite)
    }

    /// With every node's stores on one kind of database.
    pub fn found_on(backend: Backend) -> Self {
        Self::found_at(backend, start())
    }

    /// At another instant than that at which scenarios begin: by the machine's clock, for nodes that are processes.
    pub fn found_at(backend: Backend, begins: Instant) -> Self {
        Self::found_in(tempfile::tempdir().unwrap(), backend, begins)
    }

    /// With every node's stores in the machine's memory, where it lends some as a folder: for what is about thousands of
    /// commits and not about the disk that waits for each.
    pub fn found_in_memory() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::found_in(folder.unwrap(), Backend::Sqlite, start())
    }

    fn found_in(folder: TempDir, backend: Backend, begins: Instant) -> Self {
        crate::logs::captured();
        let pki = TestPki::create(&folder.path().join("ca"), begins);
        let hosts = [ALDER, BIRCH, CEDAR].into_iter().map(|fiction| (fiction.host(), address())).collect();
        Self { folder, pki, backend, hosts, begins }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// When it was founded.
    pub fn begins(&self) -> Instant {
        self.begins
    }

    /// Where each agency's node listens.
    pub fn hosts(&self) -> &BTreeMap<String, SocketAddr> {
        &self.hosts
    }

    pub fn address_of(&self, fiction: &Fiction) -> SocketAddr {
        self.hosts[&fiction.host()]
    }
}

/// An address of loopback that nobody else has: all of 127/8 is loopback on Linux, so each node gets an IP address of
/// its own and keeps it over a restart. Elsewhere a free port of 127.0.0.1 has to do.
pub fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    if !cfg!(target_os = "linux") {
        return std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    }
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed);
    // 127.0.x.x is where others listen.
    (Ipv4Addr::new(127, high | 0x80, low, 1), port).into()
}
