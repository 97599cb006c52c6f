//! S21: a disk that is full, a disk that does not sync, a registry that somebody else has locked. The owner is a process
//! of its own, the faults are the operating system's.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use integration::database::{Backend, Store};
use integration::process::Apart;
use integration::wire::plain_get;
use integration::{Line, Reply};

const PLATE: &str = "7FLT021";

/// How often a door is asked in a fault.
const REFUSALS: usize = 5;

/// Fails under `CONCORDAT_CI=1`, and elsewhere says that something was not tested.
fn skipped(why: &str) {
    assert!(std::env::var_os("CONCORDAT_CI").is_none_or(|ci| ci != "1"), "{why}");
    // Past the capture of the test harness: a skipped test looks like one that passed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// An owner that serves, with a read of the plate.
async fn serving(backend: Backend, folder: Option<&Path>) -> Apart {
    let mut apart = Apart::found(backend, |_| ()).await;
    apart.pair.birch.try_start().unwrap();
    apart.pair.birch_saw(PLATE).await;
    apart.pair.birch.stop();
    if let Some(folder) = folder {
        let (from, to) = (apart.pair.birch.registry_file(), folder.join("registry.db"));
        integration::tamper::copy(&from, &to);
        apart.moves_registry(&format!("sqlite:{}", to.display()));
    }
    apart.starts();
    apart
}

async fn posts(apart: &Apart, line: &mut Option<Line>, text: &str) -> Reply {
    if line.is_none() {
        *line = Some(apart.caller().connect().await.unwrap());
    }
    let reply = line.as_mut().unwrap().send("POST", "/peer/v1/queries", Some(text.as_bytes())).await;
    reply.unwrap_or_else(|error| panic!("the owner does not answer: {error}"))
}

/// That a refusal has nothing of a result.
fn nothing(reply: &Reply) {
    let detail = reply.problem(503, "unavailable");
    assert!(detail.contains("cannot record"), "{detail}");
    assert!(!reply.text().contains(PLATE) && reply.json().get("results").is_none(), "{}", reply.text());
}

/// While the fault lasts nothing is said; when it goes the owner answers what it refused, with no restart; and its trail is
/// whole.
async fn withstands(apart: &mut Apart, begin: impl FnOnce(&mut Apart), end: impl FnOnce(&mut Apart)) {
    let mut line = None;
    let first = apart.question(PLATE).await;
    assert_eq!(posts(apart, &mut line, &first).await.status, 200);
    begin(apart);
    let (mut refused, mut said) = (Vec::new(), Vec::new());
    // What the disk still has room for is recorded and said.
    for _ in 0..2000 {
        let text = apart.question(PLATE).await;
        let reply = posts(apart, &mut line, &text).await;
        if reply.status == 200 {
            assert!(refused.is_empty(), "it answered in the middle of the fault");
            said.push((text, reply));
            continue;
        }
        nothing(&reply);
        refused.push(text);
        if refused.len() == REFUSALS {
            break;
        }
    }
    assert_eq!(refused.len(), REFUSALS, "the fault was none: {} were answered", said.len());
    // An answer that was given before is not given either: saying it again is recorded, too.
    end(apart);
    for _ in 0..100 {
        if posts(apart, &mut line, &first).await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for text in &refused {
        let reply = posts(apart, &mut line, text).await;
        assert_eq!(reply.status, 200, "it returns by itself, and no id was burned: {}", reply.text());
        assert!(reply.raw("results").contains(PLATE));
    }
    for (text, before) in &said {
        assert_eq!(posts(apart, &mut line, text).await.raw("leaf"), before.raw("leaf"));
    }
    let console = apart.process().console;
    assert_eq!(plain_get(console, "/readyz").await.status, 200);
    assert!(!apart.process().has_ended());
    assert_eq!(apart.returns().trail_problems(), []);
}

/// A file system in memory of some megabytes, which goes with this.
struct SmallDisk {
    at: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this user cannot mount one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "concordat-test"]).arg(&at).stderr(Stdio::null());
        mount.status().is_ok_and(|done| done.success()).then_some(Self { at, _folder: folder })
    }

    /// Writes until there is no room.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut filler = File::create(&path).unwrap();
        let block = vec![1; 4096];
        while filler.write_all(&block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[actix_web::test]
async fn s21_a_full_disk_is_503_and_not_one_byte_and_it_returns_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        let _ = writeln!(
            std::io::stderr(),
            "no small file system can be mounted here; the limit of a file's size stands in"
        );
        return;
    };
    let mut apart = serving(Backend::Sqlite, Some(&disk.at)).await;
    let mut filler = PathBuf::new();
    let path = &mut filler;
    withstands(&mut apart, |_| *path = disk.fill(), |_| std::fs::remove_file(disk.at.join("filler")).unwrap()).await;
    drop(apart);
}

#[actix_web::test]
async fn s21_files_that_may_not_grow_are_503_and_not_one_byte_and_it_returns_by_itself() {
    let mut apart = serving(Backend::Sqlite, None).await;
    // The soft limit alone, so that it can be lifted.
    let (begin, end) = ("--fsize=0:unlimited", "--fsize=unlimited:unlimited");
    withstands(&mut apart, |apart| apart.process().limit(begin), |apart| apart.process().limit(end)).await;
}

/// `strace` that does something to a process's system calls, until this ends.
pub(super) struct Injected(Child);

impl Injected {
    /// Does `what` to these calls, such as `error=EIO`.
    pub(super) fn into(process: u32, calls: &str, what: &str) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:{what}"), "-p", &process.to_string()]);
        let this = Self(strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let traced = || {
            let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
            tasks.flatten().all(|task| {
                let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
                status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            })
        };
        for _ in 0..500 {
            if traced() {
                return this;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("strace does not reach every thread of the node");
    }
}

/// Whether something can be done to another process's calls here; otherwise it is said what was not tested.
pub(super) fn may_inject(what: &str) -> bool {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|there| there.success()) {
        skipped(&format!("strace is not installed: {what} were NOT tested; `apt-get install strace`"));
        return false;
    }
    let may = may_trace();
    if !may {
        eprintln!("this machine lets no process trace another one: {what} were NOT tested");
    }
    may
}

/// Whether a process may be traced that is no child of the tracer: some machines forbid it whoever asks.
fn may_trace() -> bool {
    let mut traced = Command::new("sleep").arg("10").spawn().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-p", &traced.id().to_string()]);
    let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let may = strace.try_wait().unwrap().is_none();
    for child in [&mut strace, &mut traced] {
        let _ = child.kill();
        let _ = child.wait();
    }
    may
}

impl Drop for Injected {
    /// It lets go of the process.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

#[actix_web::test]
async fn s21_a_disk_that_does_not_sync_is_503_and_not_one_byte_and_it_returns_by_itself() {
    if !may_inject("failing syncs") {
        return;
    }
    let mut apart = serving(Backend::Sqlite, None).await;
    let fault = std::cell::RefCell::new(None);
    let begin = |apart: &mut Apart| {
        _ = fault.replace(Some(Injected::into(apart.process().id(), "fsync,fdatasync", "error=EIO")));
    };
    withstands(&mut apart, begin, |_| drop(fault.take())).await;
}

async fn s21_a_registry_that_another_process_has_locked_is_503_and_it_returns_by_itself(backend: Backend) {
    let mut apart = serving(backend, None).await;
    let store: Store = apart.pair.birch.registry_store();
    let mut line = None;
    let text = apart.question(PLATE).await;
    let mut other = store.conn();
    let lock = if store.is_postgres() { "BEGIN; SELECT * FROM head FOR UPDATE" } else { "BEGIN IMMEDIATE" };
    other.batch_execute(lock).unwrap();
    nothing(&posts(&apart, &mut line, &text).await);
    other.batch_execute("ROLLBACK").unwrap();
    let reply = posts(&apart, &mut line, &text).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(apart.returns().trail_problems(), []);
}

integration::nodes_on_both!(s21_a_registry_that_another_process_has_locked_is_503_and_it_returns_by_itself);
