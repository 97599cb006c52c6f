//! Several processes on one registry: a node and the command line, and on PostgreSQL two nodes. No index is lost or given
//! twice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use concordat::config::FILE_NAME;
use concordat::trail::proof;
use futures_util::future::join_all;
use integration::database::Backend;
use integration::federation;
use integration::process::{Apart, NodeProcess, program};
use integration::{Caller, Reply};

const PLATE: &str = "7TWO008";
/// How many questions there are, and how many connections ask them.
const QUESTIONS: usize = 240;
const CONNECTIONS: usize = 6;
/// How many commands run meanwhile.
const COMMANDS: usize = 12;

async fn ask(caller: Caller, texts: Vec<String>) -> Vec<Reply> {
    let mut line = caller.connect().await.unwrap();
    let mut replies = Vec::new();
    for text in texts {
        replies.push(line.send("POST", "/peer/v1/queries", Some(text.as_bytes())).await.unwrap());
    }
    replies
}

/// Accounts are opened by the command line, one process each.
fn commands(folder: &Path) {
    for n in 0..COMMANDS {
        let name = format!("birch.extra{n}");
        let args = ["user", "add", &name, "--name", "Extra", "--affiliation", "Records", "--role", "auditor"];
        let ran = Command::new(program())
            .arg("--dir")
            .arg(folder)
            .args(args)
            .args(["--as", "birch.admin"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// Another folder of the same agency: the same keys and registry, another address.
fn beside(apart: &Apart) -> (PathBuf, std::net::SocketAddr) {
    let folder = apart.folder.with_file_name("birch-beside");
    let copied = Command::new("cp").arg("-a").arg(&apart.folder).arg(&folder).status().unwrap();
    assert!(copied.success());
    let mut config = apart.pair.birch.settings().clone();
    config.peer.listen = federation::address();
    std::fs::write(folder.join(FILE_NAME), config.to_toml()).unwrap();
    (folder, config.peer.listen)
}

async fn several_processes_on_one_registry_lose_no_index_and_give_none_twice(backend: Backend) {
    let mut apart = Apart::found(backend, |_| ()).await;
    apart.pair.birch.try_start().unwrap();
    apart.pair.birch_saw(PLATE).await;
    let before = apart.pair.birch.trail_size();
    apart.pair.birch.stop();
    let mut texts = Vec::new();
    for _ in 0..QUESTIONS {
        texts.push(apart.question(PLATE).await);
    }
    apart.starts();
    let mut callers = vec![apart.caller()];
    let other = (backend == Backend::Postgres).then(|| {
        let (folder, address) = beside(&apart);
        callers.push(apart.caller_at(address));
        NodeProcess::start(&folder)
    });
    let folder = apart.folder.clone();
    let working = std::thread::spawn(move || commands(&folder));
    let shares = texts.chunks(QUESTIONS / CONNECTIONS).enumerate();
    let asking = shares.map(|(n, texts)| ask(callers[n % callers.len()].clone(), texts.to_vec()));
    let replies: Vec<Reply> = join_all(asking).await.into_iter().flatten().collect();
    working.join().unwrap();
    // What one of two nodes answered the other answers alike.
    if let Some(caller) = callers.get(1) {
        let again = ask(caller.clone(), texts[..20].to_vec()).await;
        for (first, again) in replies.iter().zip(&again) {
            assert_eq!(first.raw("leaf"), again.raw("leaf"));
        }
    }
    drop(other);
    let birch = apart.returns();
    assert_eq!(birch.trail_problems(), []);
    let vkey = concordat::node::log_vkey(birch.settings()).unwrap();
    let mut indexes = BTreeSet::new();
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let leaf = reply.raw("leaf");
        let included = proof::verify(reply.json()["proof"].as_str().unwrap(), leaf.as_bytes(), &vkey).unwrap();
        assert!(indexes.insert(included.index), "two answers at one place");
    }
    assert_eq!(indexes.len(), QUESTIONS);
    let least = before + (QUESTIONS + COMMANDS) as u64;
    assert!(birch.trail_size() >= least, "{} entries, and at least {least} were told", birch.trail_size());
    assert!(indexes.iter().all(|index| *index < birch.trail_size()));
}

integration::nodes_on_both!(several_processes_on_one_registry_lose_no_index_and_give_none_twice);
