//! A PostgreSQL server of the tests' own: made in a temporary folder, gone with the test process however that ends.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};

/// The server's superuser.
const USER: &str = "concordat";
/// How long a server may take to start, in steps of [`STEP`].
const PATIENCE: u32 = 600;
const STEP: Duration = Duration::from_millis(50);

/// Runs the server as its child and waits for a word, which is the signal to end it with. The end of the input (the test
/// process is gone, in whatever way) ends the server too, and removes the folder.
const KEEPER: &str = r#"
folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
if read -r signal; then kill -"$signal" $server; wait $server; exit 0; fi
kill -INT $server; wait $server; rm -rf "$folder"
"#;

/// A server with a folder of its own, reached through a socket in it.
pub struct ThrowawayCluster {
    folder: PathBuf,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// The server that all tests of this process share, each with databases of its own. `None` where PostgreSQL is not
/// installed: a failure under `CONCORDAT_CI=1`, elsewhere said on stderr.
pub fn shared() -> Option<&'static ThrowawayCluster> {
    static SHARED: OnceLock<Option<ThrowawayCluster>> = OnceLock::new();
    SHARED.get_or_init(|| ThrowawayCluster::start(&[])).as_ref()
}

impl ThrowawayCluster {
    /// Makes a server and starts it with `settings` (`name=value`); `None` where PostgreSQL is not installed.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            let missing = "PostgreSQL is not installed (initdb and postgres, on PATH or in /usr/lib/postgresql/*/bin): \
                           what runs over it was NOT tested; `apt-get install postgresql-15`";
            assert!(std::env::var_os("CONCORDAT_CI").is_none_or(|ci| ci != "1"), "{missing}");
            // Past the capture of the test harness: a skipped test looks like one that passed.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("concordat-pg-").tempdir().unwrap().keep();
        let owner = somebody_else(&folder);
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let this = Self { folder, programs, owner, keeper: Mutex::default(), databases: AtomicU32::default() };
        this.initialise();
        this.go(settings);
        Some(this)
    }

    /// A hot standby of this server, which streams from it. It needs no setting of the server beyond the defaults.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = tempfile::Builder::new().prefix("concordat-pg-").tempdir().unwrap().keep();
        if let Some((user, group)) = self.owner {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let this = Self {
            folder,
            programs: self.programs.clone(),
            owner: self.owner,
            keeper: Mutex::default(),
            databases: AtomicU32::default(),
        };
        let mut copy = self.command(self.programs.join("pg_basebackup"));
        copy.arg("-h").arg(&self.folder).args([
            "-U",
            USER,
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "-D",
        ]);
        let copied = copy.arg(this.folder.join("data")).stdin(Stdio::null()).output().unwrap();
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        this.go(&[]);
        this
    }

    /// A standby becomes a server that takes writes.
    pub fn promote(&self) {
        self.run("SELECT pg_promote(true, 30)");
    }

    /// The one text of a query in a database of this server.
    pub fn cell(&self, database: &str, sql: &str) -> String {
        crate::database::Store { url: self.url(database) }.cell(sql)
    }

    /// The address of a database on whichever of two servers takes writes.
    pub fn url_with(&self, other: &Self, name: &str) -> String {
        let socket = |server: &Self| server.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{},{}/{name}?target_session_attrs=read-write", socket(self), socket(other))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// With a default order of texts that is not that of bytes, so that a query which relies on it shows.
    fn initialise(&self) {
        let mut initdb = self.command(self.programs.join("initdb"));
        initdb.arg("-D").arg(self.folder.join("data"));
        initdb.args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        initdb.args(["--locale-provider=icu", "--icu-locale=en-US"]);
        let made = initdb.stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn go(&self, settings: &[&str]) {
        let mut keeper = self.command("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&self.folder).arg(self.programs.join("postgres"));
        keeper.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        for setting in ["listen_addresses=", "max_connections=400", "shared_buffers=64MB"].iter().chain(settings) {
            keeper.args(["-c", setting]);
        }
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.keeper.lock().unwrap() = Some(keeper.spawn().unwrap());
        for _ in 0..PATIENCE {
            if PgConnection::establish(&self.url("postgres")).is_ok() {
                return;
            }
            std::thread::sleep(STEP);
        }
        panic!("the server does not start: {}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// Stops with `signal` (`INT`: connections are cut off; `QUIT`: as if the machine had crashed).
    pub fn stop(&self, signal: &str) {
        let Some(mut keeper) = self.keeper.lock().unwrap().take() else { return };
        let mut words = keeper.stdin.take().unwrap();
        words.write_all(format!("{signal}\n").as_bytes()).unwrap();
        assert!(keeper.wait().unwrap().success(), "the server's keeper");
    }

    /// Stops, and starts with other `settings`.
    pub fn restart(&self, settings: &[&str]) {
        self.stop("INT");
        self.go(settings);
    }

    /// Starts what was stopped.
    pub fn resume(&self) {
        self.go(&[]);
    }

    /// The address of a database.
    pub fn url(&self, name: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}/{name}")
    }

    /// Runs SQL as the superuser.
    pub fn run(&self, sql: &str) {
        PgConnection::establish(&self.url("postgres")).unwrap().batch_execute(sql).unwrap();
    }

    /// A new database; `how` is what follows its name in CREATE DATABASE.
    pub fn database_with(&self, how: &str) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.run(&format!("CREATE DATABASE {name} TEMPLATE template0 {how}"));
        self.url(&name)
    }

    /// A new, empty database.
    pub fn database(&self) -> String {
        self.database_with("")
    }
}

impl Drop for ThrowawayCluster {
    /// Not run for the shared one: its keeper sees the process end.
    fn drop(&mut self) {
        match self.keeper.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

/// The folder of the server's programs: on PATH, or where Debian has them, the newest first.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry.as_ref().ok()?.file_name().to_str()?.parse().ok()?, entry.ok()?.path())))
        .collect();
    installed.sort();
    folders.extend(installed.into_iter().rev().map(|(_, folder)| folder.join("bin")));
    folders.into_iter().find_map(|folder| {
        // Each finds its libraries beside itself, so a link to one is followed.
        let initdb = folder.join("initdb").canonicalize().ok()?;
        let bin = initdb.parent()?.to_owned();
        bin.join("postgres").is_file().then_some(bin)
    })
}

/// The server refuses to run as root, who owns the folder then: it runs as `postgres` or `nobody`.
fn somebody_else(folder: &Path) -> Option<(u32, u32)> {
    if fs::metadata(folder).unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).expect("a user other than root to run PostgreSQL as"))
}
