//! A node as a process of its own: the built program, which a test kills, starves and starts again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use agreements::time::Instant;
use concordat::clock::{Clock as _, SystemClock};
use concordat::config::{Config, FILE_NAME};
use concordat::demo::agency::{ALDER, BIRCH};
use serde_json::Value;

use crate::database::Backend;
use crate::federation::Federation;
use crate::node::TestNode;
use crate::pair::{Pair, Terms, agree};
use crate::wire::Caller;

/// A node that does not serve by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine's time, which the program goes by.
pub fn now() -> Instant {
    SystemClock.now()
}

/// The program that was built beside this test.
///
/// # Panics
/// It was not built: `cargo test --workspace` does, and `cargo build -p concordat`.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let built = own.ancestors().nth(2).unwrap().join("concordat");
    assert!(built.exists(), "{} is not built: cargo build -p concordat", built.display());
    built
}

/// A process that serves, and ends with this.
pub struct NodeProcess {
    child: Child,
    pub peer: SocketAddr,
    pub console: SocketAddr,
}

impl NodeProcess {
    /// Starts the node in `folder` and waits until its doors are open.
    pub fn start(folder: &Path) -> Self {
        Self::try_start(folder).unwrap_or_else(|log| panic!("the node does not serve: {log}"))
    }

    /// The same; what it logged, when it ends instead.
    pub fn try_start(folder: &Path) -> Result<Self, String> {
        let log = folder.join("process.log");
        // It dies with the thread that started it; and a file that may not grow is an error to it, and no signal.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "trap '' XFSZ; exec \"$@\"", "node"])
            .arg(program())
            .args(["serve", "--json", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let (said, heard) = mpsc::channel();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = lines.read_line(&mut line);
            // Nobody waits any more: the test has failed.
            let _ = said.send(read.map(|_| line));
        });
        let line = heard.recv_timeout(PATIENCE).ok().and_then(Result::ok).unwrap_or_default();
        let Ok(serving) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(std::fs::read_to_string(&log).unwrap_or_default());
        };
        let address = |door: &str| serving[door].as_str().unwrap().parse().unwrap();
        Ok(Self { peer: address("peer"), console: address("console"), child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it may use, as `prlimit` sets it on a running process.
    pub fn limit(&self, what: &str) {
        let pid = self.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, what]).output().unwrap();
        assert!(done.status.success(), "prlimit: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Alder in this process and Birch in one of its own, by the machine's clock.
pub struct Apart {
    pub pair: Pair,
    pub birch: Option<NodeProcess>,
    pub folder: PathBuf,
}

impl Apart {
    /// Under an agreement in force from today. Birch does not serve yet; `change` is what its configuration says besides.
    pub async fn found(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let now = SystemClock.now();
        let federation = Federation::found_at(backend, now);
        let alder = TestNode::found(&federation, ALDER).await;
        let mut birch = TestNode::found(&federation, BIRCH).await;
        alder.enrols(&birch).await;
        birch.enrols(&alder).await;
        let mut terms = Terms::default();
        let today = now.date().unwrap();
        (terms.effective_on, terms.sunset_on) = (today, now.plus(30 * Instant::DAY).date().unwrap());
        terms.query.daily_quota = u32::MAX;
        let id = agree(&alder, &birch, &terms).await.unwrap();
        birch.stop();
        change(birch.settings_mut());
        let folder = federation.folder().join(BIRCH.word);
        std::fs::write(folder.join(FILE_NAME), birch.settings().to_toml()).unwrap();
        Self { pair: Pair { alder, birch, id, federation }, birch: None, folder }
    }

    /// Birch's registry is somewhere else from now on.
    pub fn moves_registry(&mut self, url: &str) {
        self.pair.birch.settings_mut().store.registry = url.parse().unwrap();
        std::fs::write(self.folder.join(FILE_NAME), self.pair.birch.settings().to_toml()).unwrap();
    }

    /// Birch's process starts.
    pub fn starts(&mut self) {
        self.birch = Some(NodeProcess::start(&self.folder));
    }

    /// Birch's process.
    pub fn process(&mut self) -> &mut NodeProcess {
        self.birch.as_mut().expect("Birch serves")
    }

    /// Alder, who calls Birch's door.
    pub fn caller(&self) -> Caller {
        self.caller_at(self.pair.birch.settings().peer.listen)
    }

    /// The same at another address.
    pub fn caller_at(&self, address: SocketAddr) -> Caller {
        let (alder, birch) = (&self.pair.alder, &self.pair.birch);
        let pinned = (birch.ori(), self.spki());
        let clock = std::sync::Arc::new(SystemClock);
        let config = concordat::tls::client(alder.node().dialer().own(), alder.node().trust(), clock, pinned).unwrap();
        Caller::new(config, &birch.fiction.host(), address)
    }

    fn spki(&self) -> agreements::ids::Digest {
        let partners = self.pair.alder.node().partners();
        partners.find(self.pair.birch.ori()).unwrap().party().node.tls_spki
    }

    /// The text of a question of Alder's trail, of this instant.
    pub async fn question(&self, plate: &str) -> String {
        let alder = &self.pair.alder;
        alder.clock.set(SystemClock.now());
        alder.forger().asks(&alder.question(&self.pair.birch, self.pair.id, plate)).await
    }

    /// Birch again in this process, at the machine's time.
    pub fn returns(&mut self) -> &TestNode {
        drop(self.birch.take());
        let birch = &mut self.pair.birch;
        birch.clock.set(SystemClock.now());
        birch.try_start().unwrap();
        birch
    }
}
