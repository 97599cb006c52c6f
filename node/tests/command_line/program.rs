//! Runs the binary and makes nodes with it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use agreements::ids::Digest;
use agreements::time::Instant;
use concordat::clock::{Clock as _, SystemClock};
use concordat::config::{Config, Elements, FILE_NAME, LoopbackAddr};
use concordat::demo::generator::{Agency, lines};
use concordat::keyfile::write_secret;
use serde_json::Value;
use tempfile::TempDir;

/// The seed of all synthetic reads.
pub const SEED: u64 = 7;

/// What locks every official's key.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// How a command ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts the exit code and returns what was said, on both.
    #[track_caller]
    pub fn ended(self, code: i32) -> String {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{said}");
        said
    }

    /// Asserts that it ended well and returns its JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concordat"));
    for variable in ["CONCORDAT_DIR", "CONCORDAT_USER", "CONCORDAT_LOG"] {
        command.env_remove(variable);
    }
    // Help is as wide in every terminal in which the tests run.
    command.env("COLUMNS", "100").args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn concordat(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    Ran::new(command(arguments).output().unwrap())
}

/// Starts the program.
pub fn start(arguments: &[String]) -> Child {
    command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The time now.
pub fn now() -> Instant {
    SystemClock.now()
}

/// A folder with an authority and nodes.
pub struct County(TempDir);

impl County {
    pub fn new() -> Self {
        let county = Self(tempfile::tempdir().unwrap());
        concordat(["ca", "init", "--dir", &county.path("ca"), "--name", "Fictional CA"]).ended(0);
        county
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A node with everything but accounts.
    pub fn node(&self, word: &'static str, ori: &'static str) -> Node {
        let node = Node { dir: self.0.path().join(word), word };
        let url = format!("https://{word}.test");
        let about = ["--legal-name", word, "--kind", "county", "--county", "Alder", "--url", &url];
        node.run(&[&["init", "--ori", ori], &about[..]].concat()).ended(0);
        let (csr, pem) = (node.path("keys/tls.csr"), node.path("keys/tls.pem"));
        let host = format!("{word}.test");
        let issue = ["--ori", ori, "--host", &host, "--csr", &csr, "--out", &pem];
        concordat([&["ca", "issue", "--dir", &self.path("ca")], &issue[..]].concat()).ended(0);
        let ca = self.0.path().join("ca");
        let (key, phrase) = (node.path("official.key"), node.path("passphrase"));
        write_secret(Path::new(&phrase), format!("{PASSPHRASE}\n").as_bytes()).unwrap();
        let enroll = ["official", "enroll", "--out", &key, "--passphrase-file", &phrase, "--json"];
        let enrolled = node.run(&enroll).json();
        let official = enrolled["official_key"].as_str().unwrap().to_owned();
        node.configure(|config| {
            complete(config, &ca);
            config.agency.official_key = official;
        });
        node
    }
}

/// Fills in what `init` leaves to the agency. Every door gets a free port.
fn complete(config: &mut Config, ca: &Path) {
    let today = now().date().unwrap();
    let said = || "section 1".to_owned();
    config.agency.custodian_title = "Custodian".to_owned();
    config.agency.official_name = "Oakley Official".to_owned();
    config.agency.official_title = "Chief".to_owned();
    config.agency.contacts = vec!["alpr-agreements@agency.test".to_owned()];
    config.policy.checked_by = "Custodian".to_owned();
    config.policy.url = format!("{}/policy", config.peer.url);
    config.policy.sha256 = Some(Digest::of(b"policy"));
    config.policy.checked_on = Some(today);
    config.policy.purposes = vec!["criminal_investigation".to_owned()];
    config.policy.elements = Elements { a: said(), b: said(), c: said(), d: said(), e: said(), f: said(), g: said() };
    config.approvals.counsel = said();
    config.approvals.public_meeting_date = Some(today);
    config.approvals.public_meeting_url = format!("{}/meetings", config.peer.url);
    config.approvals.signing_authority = said();
    config.peer.listen = ([127, 0, 0, 1], 0).into();
    config.console.listen = ([127, 0, 0, 1], 0).into();
    config.ops.listen = LoopbackAddr::with_port(0);
    config.peer.ca = vec![ca.join("ca.pem")];
    config.peer.crl = vec![ca.join("crl.pem")];
}

/// A node's folder.
pub struct Node {
    dir: PathBuf,
    word: &'static str,
}

impl Node {
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// Changes the configuration file as an editor would.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        let path = self.dir.join(FILE_NAME);
        let mut config = Config::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, config.to_toml()).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        concordat([&["--dir", self.dir.to_str().unwrap()], arguments].concat())
    }

    /// Runs a command as the person with this role.
    pub fn run_as(&self, person: &str, arguments: &[&str]) -> Ran {
        self.run(&[arguments, &["--as", person]].concat())
    }

    /// Accounts `admin`, `custodian`, `agreements`, `investigator` and `auditor`, trained today, and a check of the
    /// Attorney General's sources.
    pub fn staff(&self) {
        let today = now().date().unwrap().to_string();
        for (person, role) in [
            ("admin", "system_administrator"),
            ("custodian", "custodian"),
            ("agreements", "agreements_administrator"),
            ("investigator", "investigator"),
            ("auditor", "auditor"),
        ] {
            let name = format!("Doe {person}");
            let about = ["--name", &name, "--affiliation", self.word, "--role", role];
            self.run_as("admin", &[&["user", "add", person], &about[..]].concat()).ended(0);
            if person != "admin" {
                let training = ["training", "record", person, "--on", &today, "--sb34", "--sb54", "--policy"];
                self.run_as("admin", &training).ended(0);
            }
        }
        self.run_as("agreements", &["ag", "check", "--source", "oag.ca.gov", "--result", "none"]).ended(0);
    }

    /// Enters every approval of an agreement's document, as of today.
    pub fn approves(&self, id: &str) {
        let today = now().date().unwrap().to_string();
        for kind in ["counsel", "public_meeting", "signing_authority"] {
            let about = ["--kind", kind, "--by", "County Counsel", "--reference", "memo 26-118", "--date", &today];
            self.run_as("custodian", &[&["agreement", "approve", id], &about[..]].concat()).ended(0);
        }
    }

    /// The arguments with which an agreement is proposed to be signed, by the official's key file.
    pub fn signing(&self, id: &str, reason: &str) -> Vec<String> {
        let (key, phrase) = (self.path("official.key"), self.path("passphrase"));
        let about = ["agreement", "sign", id, "--official-key", &key, "--passphrase-file", &phrase, "--reason", reason];
        about.map(str::to_owned).to_vec()
    }

    /// Writes so many synthetic reads up to now into a file.
    pub fn reads(&self, count: usize) -> String {
        let agency = Agency::scattered(self.word, 101, 2, SEED);
        let all: String = lines(&agency, SEED, count, now()).map(|line| line.unwrap() + "\n").collect();
        let path = self.path("reads.jsonl");
        fs::write(&path, all).unwrap();
        path
    }

    /// Starts serving.
    pub fn serve(&self) -> Serving {
        let mut child = command([OsStr::new("--dir"), self.dir.as_os_str(), OsStr::new("--json"), OsStr::new("serve")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = |door: &str| said[door].as_str().map(|at| at.parse().unwrap());
        Serving { child, peer: address("peer").unwrap(), intake: address("intake") }
    }
}

/// A node that serves, until it is dropped.
pub struct Serving {
    child: Child,
    pub peer: SocketAddr,
    /// Where readers' agents post, if they may.
    pub intake: Option<SocketAddr>,
}

impl Serving {
    /// Ends it without a word, as a power cut does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Has it look at its files, as a service manager's reload does.
    pub fn reload(&self) {
        self.signal("-HUP");
    }

    /// Stops it as a service manager does. Its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
