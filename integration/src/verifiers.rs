//! Programs that are not ours and verify an exported log (`integration/verifiers/README.md`).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How to get what is missing.
const HOW: &str = "install golang-go and golang-golang-x-mod-dev with apt, and tlog-scales and aics-tlog (Python 3.12) with \
                   pip, in a venv that CONCORDAT_PYTHON points into if you like";
/// Where Debian puts the sources of Go's libraries.
const GOPATH: &str = "/usr/share/gocode";

/// A verifier that is installed.
pub struct Verifier {
    pub name: &'static str,
    program: PathBuf,
    script: Option<PathBuf>,
}

impl Verifier {
    /// Those that are here; what Go compiles goes into `folder`. Fewer than two are said loudly, and a failure with
    /// `CONCORDAT_CI=1`.
    pub fn all(folder: &Path) -> Vec<Self> {
        let found: Vec<Self> =
            [Self::sumdb(folder), Self::python("tlog-scales", "tlog_scales"), Self::python("aics-tlog", "aics_tlog")]
                .into_iter()
                .flatten()
                .collect();
        if found.len() < 2 {
            let names: Vec<_> = found.iter().map(|verifier| verifier.name).collect();
            let said = format!("fewer than two verifiers of other implementations are installed ({names:?}); {HOW}");
            assert_ne!(std::env::var("CONCORDAT_CI").as_deref(), Ok("1"), "{said}");
            // Not by a macro: the test runner would keep what those print to itself.
            std::io::stderr().write_all(format!("\n*** SKIPPED: {said} ***\n").as_bytes()).unwrap();
        }
        found
    }

    /// Go's own library for its checksum database, compiled without modules and without a network.
    fn sumdb(folder: &Path) -> Option<Self> {
        if !Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog").is_dir() {
            return None;
        }
        let program = folder.join("sumdb");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg("main.go")
            .current_dir(scripts().join("sumdb"))
            .envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local")])
            .env("GOCACHE", std::env::temp_dir().join("concordat-go-cache"))
            .output();
        let built = built.ok()?;
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(Self { name: "golang.org/x/mod/sumdb", program, script: None })
    }

    fn python(name: &'static str, package: &str) -> Option<Self> {
        let program = std::env::var("CONCORDAT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let has = Command::new(&program).args(["-c", &format!("import {package}")]).output();
        let script = scripts().join(format!("{package}_log.py"));
        has.is_ok_and(|has| has.status.success()).then(|| Self { name, program: program.into(), script: Some(script) })
    }

    /// The size of the log in this folder, if all of it is as its checkpoint says and the key in this file signed that;
    /// otherwise what the verifier has against it.
    pub fn verifies(&self, log: &Path, vkey: &Path) -> Result<u64, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.script).args([log, vkey]).env("PYTHONDONTWRITEBYTECODE", "1");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        if !status.success() {
            assert!(!said.is_empty(), "{} says why", self.name);
            return Err(said);
        }
        Ok(String::from_utf8(stdout).unwrap().trim().parse().unwrap())
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers")
}
