//! `concordat init`: a node's folder with its configuration file and its keys.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use agreements::ids::Ori;
use agreements::party::AgencyKind;
use agreements::screen;
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Explain};
use super::{Output, Problem};
use crate::config::{Config, FILE_NAME, Founding, HttpsUrl};
use crate::keys::{self, MakeError};

/// Who the agency is.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  concordat --dir alder init --ori CA0010000 --legal-name \"Alder County Sheriff\" --kind county \\\n      --county Alder --url https://alpr.alder.example:7443"
)]
pub struct InitArgs {
    /// The agency's ORI: nine characters, California only
    #[arg(long)]
    pub ori: Ori,
    /// The agency's legal name
    #[arg(long, value_parser = named)]
    pub legal_name: String,
    /// What kind of public agency it is
    #[arg(long)]
    pub kind: AgencyKind,
    /// The county that it is in
    #[arg(long, value_parser = named)]
    pub county: String,
    /// What partners will dial: `https://HOST` or `https://HOST:PORT`
    #[arg(long)]
    pub url: HttpsUrl,
}

/// A name that partners can read.
fn named(text: &str) -> Result<String, String> {
    let legible = screen::legible(text) && text.chars().count() <= 200 && !text.contains(char::is_control);
    if legible { Ok(text.trim().to_owned()) } else { Err("write 1 to 200 printable characters".to_owned()) }
}

/// Why no node was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a node in the folder.
    #[error("{} exists already, and nothing was changed", .0.display())]
    Exists(PathBuf),
    /// Something cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The keys cannot be made.
    #[error("cannot make the keys: {0}")]
    Keys(#[from] MakeError),
    /// The file that was written does not read back.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}

impl Explain for InitError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) => Exit::Refused,
            Self::Write { .. } | Self::Keys(_) | Self::Config(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Exists(_) => "name another folder with --dir, or edit the file".to_owned(),
            Self::Write { .. } => "name a folder that you may write to with --dir".to_owned(),
            Self::Keys(_) => "nothing is left behind; run `concordat init` again once the cause is gone".to_owned(),
            Self::Config(_) => return None,
        })
    }
}

#[derive(Debug, Serialize)]
struct Made {
    config: PathBuf,
    keys: Vec<PathBuf>,
}

pub(super) fn run(dir: &Path, args: InitArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let InitArgs { ori, legal_name, kind, county, url } = args;
    let made = found(dir, Founding { ori, legal_name, kind, county, url })?;
    out.one(&made, next_steps)?;
    Ok(Exit::Done)
}

/// What was made, and everything that remains until partners can enrol this node.
fn next_steps(made: &Made) -> String {
    let keys: Vec<String> = made.keys.iter().map(|key| format!("\n  {}", key.display())).collect();
    let (config, keys) = (made.config.display(), keys.concat());
    let folder = made.keys.first().and_then(|key| key.parent()).unwrap_or(Path::new("keys")).display();
    let dir = made.config.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")).display();
    format!(
        "Wrote {config}.\nMade these keys:{keys}\n\nNext:\n\
         1. Send {folder}/tls.csr to your certificate authority (`concordat ca issue --csr tls.csr ...`), and put what comes\n   \
         back at {folder}/tls.pem. Name the authority's certificate and list in peer.ca and peer.crl.\n   \
         An authority may also certify the seal: {folder}/seal.csr (`ca issue --seal`), back at {folder}/seal.pem.\n\
         2. Fill in [agency], [policy] and [approvals] of {config}.\n\
         3. Open the first account:\n   \
         concordat --dir {dir} user add USERNAME --name NAME --affiliation UNIT --role system_administrator\n\
         4. Write the descriptor that partners enrol: concordat --dir {dir} peer export --out descriptor.json\n\
         5. Then move {folder}/identity.key to a medium that is kept offline: it vouches for all the other keys.\n\
         6. concordat --dir {dir} serve"
    )
}

fn found(dir: &Path, founding: Founding) -> Result<Made, InitError> {
    let path = dir.join(FILE_NAME);
    let cannot = |path: &Path| {
        let path = path.to_owned();
        move |source| InitError::Write { path, source }
    };
    fs::create_dir_all(dir).map_err(cannot(dir))?;
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(InitError::Exists(path)),
        opened => opened.map_err(cannot(&path))?,
    };
    let finish = || {
        file.write_all(Config::template(founding).as_bytes()).and_then(|()| file.sync_all()).map_err(cannot(&path))?;
        let config = Config::load(&path)?;
        private_folder(&config.keys.folder).map_err(cannot(&config.keys.folder))?;
        Ok(keys::make(&config)?)
    };
    match finish() {
        Ok(keys) => Ok(Made { config: path, keys }),
        // Otherwise the next `init` would find a node without keys.
        Err(error) => fs::remove_file(&path).map_err(cannot(&path)).and(Err(error)),
    }
}

/// A folder that only its owner enters.
fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::output::Form;

    fn args() -> InitArgs {
        InitArgs {
            ori: "CA0010000".parse().unwrap(),
            legal_name: "Alder County Sheriff".to_owned(),
            kind: AgencyKind::County,
            county: "Alder".to_owned(),
            url: "https://alpr.alder.example:7443".parse().unwrap(),
        }
    }

    #[test]
    fn it_listens_where_partners_dial() {
        for (url, port) in [("https://alpr.alder.example:9443", 9443), ("https://alpr.alder.example", 443)] {
            let InitArgs { ori, legal_name, kind, county, .. } = args();
            let config = Config::new(Founding { ori, legal_name, kind, county, url: url.parse().unwrap() });
            assert_eq!(config.peer.listen.port(), port, "{url}");
        }
    }

    fn init(dir: &Path) -> (Result<Exit, Problem>, String) {
        let mut to = Vec::new();
        let result = run(dir, args(), &mut Output::new(Form::Plain, &mut to));
        (result, String::from_utf8(to).unwrap())
    }

    #[test]
    fn a_node_is_made_once_with_a_private_key_folder() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("alder");
        let (result, said) = init(&dir);
        assert_eq!(result, Ok(Exit::Done));
        assert!(said.contains("concordat.toml") && said.contains("log.key"), "{said}");
        let config = Config::load(&dir.join(FILE_NAME)).unwrap();
        assert_eq!(config.keys.log_origin, "alpr.alder.example/CA0010000");
        assert_eq!(config.peer.listen.port(), 7443);
        assert_eq!(fs::metadata(dir.join("keys")).unwrap().permissions().mode() & 0o777, 0o700);
        let before = fs::read(dir.join(FILE_NAME)).unwrap();
        let again = init(&dir).0.unwrap_err();
        assert_eq!(again.exit, Exit::Refused);
        assert!(again.text().contains("--dir"), "{}", again.text());
        assert_eq!(fs::read(dir.join(FILE_NAME)).unwrap(), before);
    }

    #[test]
    fn without_keys_there_is_no_node() {
        let root = tempfile::tempdir().unwrap();
        let in_the_way = root.path().join("keys/log.key");
        fs::create_dir(root.path().join("keys")).unwrap();
        fs::write(&in_the_way, "another node's").unwrap();
        let failed = init(root.path()).0.unwrap_err();
        assert_eq!(failed.exit, Exit::Failure);
        assert!(failed.message.contains("cannot make the keys") && failed.message.contains("log.key"), "{failed:?}");
        assert!(!root.path().join(FILE_NAME).exists() && !root.path().join("keys/tls.key").exists());
        fs::remove_file(in_the_way).unwrap();
        assert_eq!(init(root.path()).0, Ok(Exit::Done), "it can be tried again");
    }
}
