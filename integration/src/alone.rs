//! Witnesses that are no nodes: the program as a county auditor runs it, the same of another make, and logs in memory that
//! speak to them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use agreements::ids::Digest;
use concordat::trail::cosignature::CosignerKey;
use concordat::trail::note::{Checkpoint, LogSigner, SignError, Vkey};
use concordat::witness::request::Shown;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::Value;
use tlog_tiles::Hash;

use crate::node::TestNode;

/// The program, as the same profile builds it.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("concordat");
    assert!(program.exists(), "{} is not built: cargo build -p concordat", program.display());
    program
}

/// Runs the program to its end: its exit code, and what it said on both.
pub fn runs(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(program()).args(arguments).stdin(Stdio::null()).env_remove("CONCORDAT_DIR").output().unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code().unwrap(), said)
}

/// A process, ended by its own id.
pub struct Process(Child);

impl Process {
    /// Kills it, without a word.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to stop, as a service manager does: its exit code.
    pub fn terminate(mut self) -> i32 {
        self.signal("-TERM");
        for _ in 0..200 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().expect("it ends by itself");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it does not stop");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder of a witness alone.
pub struct Alone {
    pub folder: PathBuf,
    pub policy: PathBuf,
    pub key: CosignerKey,
}

impl Alone {
    /// Makes one in `folder`, for these logs.
    pub fn init(folder: &Path, name: &str, logs: &[String]) -> Self {
        let (code, said) = runs(&["--dir", folder.to_str().unwrap(), "--json", "witness", "init", "--name", name]);
        assert_eq!(code, 0, "{said}");
        let made: Value = serde_json::from_str(&said).unwrap();
        let this = Self {
            folder: folder.to_owned(),
            policy: folder.join("logs.policy"),
            key: made["vkey"].as_str().unwrap().parse().unwrap(),
        };
        this.is_told(logs);
        this
    }

    /// Writes its policy anew.
    pub fn is_told(&self, logs: &[String]) {
        let lines = logs.iter().map(|log| format!("log {log}\n")).collect::<Vec<_>>().concat();
        fs::write(&self.policy, format!("{lines}quorum none\n")).unwrap();
    }

    /// Starts a process on the folder, at `listen`, with further arguments; where it listens.
    pub fn serves_at(&self, listen: SocketAddr, more: &[&str]) -> (Process, SocketAddr) {
        let listen = listen.to_string();
        let mut child = Command::new(program())
            .args([
                "--dir",
                self.folder.to_str().unwrap(),
                "--json",
                "witness",
                "serve",
                "--listen",
                &listen,
                "--policy",
            ])
            .arg(&self.policy)
            .args(more)
            .env_remove("CONCORDAT_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = fs::read_to_string(self.folder.join("log")).unwrap();
        let serving: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}; {log}"));
        (Process(child), serving["listen"].as_str().unwrap().parse().unwrap())
    }

    /// The same at a free port.
    pub fn serves(&self) -> (Process, SocketAddr) {
        self.serves_at(([127, 0, 0, 1], 0).into(), &[])
    }

    /// Runs a command of it: its exit code, and what it said.
    pub fn runs(&self, arguments: &[&str]) -> (i32, String) {
        runs(&[&["--dir", self.folder.to_str().unwrap(), "witness"], arguments].concat())
    }

    /// What `witness show` says, and its exit code.
    pub fn shows(&self) -> (i32, Value) {
        let (code, said) = self.runs(&["show", "--json"]);
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }

    /// How large the newest head of a log is that it cosigned.
    pub fn knows(&self, origin: &str) -> Option<u64> {
        let (_, shown) = self.shows();
        let heads = shown["heads"].as_array().unwrap();
        heads.iter().find(|head| head["origin"] == origin).map(|head| head["size"].as_u64().unwrap())
    }
}

/// The keys of nodes' logs.
pub fn logs_of(nodes: &[TestNode]) -> Vec<String> {
    nodes.iter().map(|node| node.node().party().node.log_vkey.clone()).collect()
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

/// One request over plain HTTP, with a connection of its own.
pub fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    http_within(30, address, method, path, body)
}

/// The same with so many seconds for an answer.
pub fn http_within(seconds: u64, address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(seconds))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A server that has heard enough may close before it has all.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
    answer(stream)
}

/// What comes back on a connection until it is closed.
pub fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: headers.to_lowercase(), body: body.to_owned() }
}

/// A log in memory.
pub struct MemoryLog {
    key: PKey<Private>,
    pub vkey: Vkey,
    hashes: Vec<Hash>,
}

struct Stored<'a>(&'a [Hash]);

impl tlog_tiles::HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

impl LogSigner for MemoryLog {
    fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut signer = Signer::new_without_digest(&self.key).unwrap();
        Ok(signer.sign_oneshot_to_vec(message).unwrap().try_into().unwrap())
    }
}

impl MemoryLog {
    /// The log `name` with so many entries, which say `word`.
    pub fn of(name: &str, entries: u64, word: &str) -> Self {
        let key = PKey::generate_ed25519().unwrap();
        let vkey = Vkey::new(name, key.raw_public_key().unwrap().try_into().unwrap()).unwrap();
        Self { hashes: leaves(entries, word), key, vkey }
    }

    /// Another log of the same key, whose entries say something else.
    #[must_use]
    pub fn forked(&self, entries: u64, word: &str) -> Self {
        Self { key: self.key.clone(), vkey: self.vkey.clone(), hashes: leaves(entries, word) }
    }

    /// A log of these leaves in the hand of somebody who has the key of a node's log.
    pub fn signed_by(node: &TestNode, leaves: &[Vec<u8>]) -> Self {
        let pem = fs::read(node.settings().keys.log_key()).unwrap();
        let mut hashes = Vec::new();
        for (n, leaf) in (0..).zip(leaves) {
            let leaf = tlog_tiles::record_hash(leaf);
            let made = tlog_tiles::stored_hashes_for_record_hash(n, leaf, &Stored(&hashes)).unwrap();
            hashes.extend(made);
        }
        let vkey = node.node().party().node.log_vkey.parse().unwrap();
        Self { key: PKey::private_key_from_pem(&pem).unwrap(), vkey, hashes }
    }

    /// The proof of an entry under its head of `size` entries, as it is written.
    pub fn inclusion(&self, index: u64, size: u64) -> String {
        let path = tlog_tiles::prove_record(size, index, &Stored(&self.hashes)).unwrap();
        let path = path.iter().map(|hash| format!("{hash}\n")).collect::<Vec<_>>().concat();
        format!("c2sp.org/tlog-proof@v1\nindex {index}\n{path}\n{}", self.head(size))
    }

    /// Its head when it had `size` entries.
    pub fn head(&self, size: u64) -> String {
        let root = Digest(tlog_tiles::tree_hash(size, &Stored(&self.hashes)).unwrap().0);
        Checkpoint { origin: self.vkey.name().to_owned(), size, root }.sign(self).unwrap()
    }

    /// That its first `old` entries are the beginning of its first `new`.
    pub fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
        let stored = Stored(&self.hashes);
        if old == 0 || old == new { Vec::new() } else { tlog_tiles::prove_tree(new, old, &stored).unwrap() }
    }

    /// What it asks a witness.
    pub fn shows(&self, old: u64, new: u64) -> String {
        Shown::body(old, &self.proof(old, new), &self.head(new))
    }
}

fn leaves(entries: u64, word: &str) -> Vec<Hash> {
    let mut hashes = Vec::new();
    for n in 0..entries {
        let leaf = tlog_tiles::record_hash(format!("{word}{n}").as_bytes());
        let made = tlog_tiles::stored_hashes_for_record_hash(n, leaf, &Stored(&hashes)).unwrap();
        hashes.extend(made);
    }
    hashes
}

/// How to get what is missing.
const HOW: &str = "install aics-witness with pip (--ignore-requires-python where Python is older than 3.12), in a venv that \
                   CONCORDAT_PYTHON points into if you like";

/// The interpreter that has aics-witness 0.1.0, which is not ours; absence is said loudly, and a failure with
/// `CONCORDAT_CI=1`.
pub fn aics() -> Option<PathBuf> {
    let program = std::env::var("CONCORDAT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&program).args(["-c", "import aics_witness.cli"]).output();
    if has.is_ok_and(|has| has.status.success()) {
        return Some(program.into());
    }
    let said = format!("no witness of another implementation is installed; {HOW}");
    assert_ne!(std::env::var("CONCORDAT_CI").as_deref(), Ok("1"), "{said}");
    // Not by a macro: the test runner would keep what those print to itself.
    std::io::stderr().write_all(format!("\n*** SKIPPED: {said} ***\n").as_bytes()).unwrap();
    None
}

/// A witness of another implementation: aics-witness.
pub struct Foreign {
    python: PathBuf,
    config: PathBuf,
    pub key: CosignerKey,
}

impl Foreign {
    /// Makes one in `folder` for these logs, by their keys.
    pub fn init(python: PathBuf, folder: &Path, name: &str, logs: &[String]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let config = folder.join("witness.json");
        let made = said(aics_witness(&python, &config, &["init", "--name", name]));
        let this = Self { python, config, key: made.trim().parse().unwrap() };
        for log in logs {
            this.says(&["add-log", "--origin", log.split('+').next().unwrap(), "--vkey", log]);
        }
        this
    }

    /// Runs a command of it, and returns what it printed.
    pub fn says(&self, arguments: &[&str]) -> String {
        said(aics_witness(&self.python, &self.config, arguments))
    }

    /// Starts it at `address`, and waits until it answers.
    pub fn serves(&self, address: SocketAddr) -> Process {
        let listen = address.to_string();
        let log = fs::File::options().create(true).append(true).open(self.config.with_extension("log")).unwrap();
        let child = aics_witness(&self.python, &self.config, &["serve", "--listen", &listen])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = Process(child);
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return process;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it does not serve: {}", fs::read_to_string(self.config.with_extension("log")).unwrap());
    }
}

fn aics_witness(python: &Path, config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "aics_witness"]).args(arguments).env("AICS_WITNESS_CONFIG", config);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1").stdin(Stdio::null());
    command
}

fn said(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// An address of this machine that is free now.
pub fn free() -> SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}
