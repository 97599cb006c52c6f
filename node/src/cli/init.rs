//! `concordat init`: a node's folder with its configuration file and its keys.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use agreements::ids::Ori;
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Explain};
use super::{Output, Problem};
use agreements::party::AgencyKind;

use crate::config::{Config, FILE_NAME, Founding, HttpsUrl};

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
    #[arg(long)]
    pub legal_name: String,
    /// What kind of public agency it is
    #[arg(long, value_enum)]
    pub kind: AgencyKind,
    /// The county that it is in
    #[arg(long)]
    pub county: String,
    /// What partners will dial: `https://HOST` or `https://HOST:PORT`
    #[arg(long)]
    pub url: HttpsUrl,
}

/// Makes a node's keys.
pub trait KeyMaker {
    /// Makes every key that `config.keys` names and that can be made without a CA, in files of mode 0600, in the folder
    /// that is there already, and overwrites none. Returns the files, for the person to read.
    ///
    /// # Errors
    /// A key cannot be made or written; what was made before it is removed again.
    fn make(&self, config: &Config) -> Result<Vec<PathBuf>, Box<dyn std::error::Error + Send + Sync>>;
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
    Keys(Box<dyn std::error::Error + Send + Sync>),
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

pub(super) fn run(dir: &Path, args: InitArgs, keys: &dyn KeyMaker, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let InitArgs { ori, legal_name, kind, county, url } = args;
    let made = found(dir, Founding { ori, legal_name, kind, county, url }, keys)?;
    out.one(&made, |made| {
        let keys: Vec<String> = made.keys.iter().map(|key| format!("\n  {}", key.display())).collect();
        let keys = keys.concat();
        format!(
            "Wrote {}: complete and commented; fill in [policy] and [approvals] before drafting an agreement.\n\
             Made these keys:{keys}\nKeep a copy of identity.key offline: it vouches for all the others.",
            made.config.display()
        )
    })?;
    Ok(Exit::Done)
}

fn found(dir: &Path, founding: Founding, keys: &dyn KeyMaker) -> Result<Made, InitError> {
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
        keys.make(&config).map_err(InitError::Keys)
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

    /// Writes one key, or fails.
    struct OneKey(bool);

    impl KeyMaker for OneKey {
        fn make(&self, config: &Config) -> Result<Vec<PathBuf>, Box<dyn std::error::Error + Send + Sync>> {
            if !self.0 {
                return Err("no randomness".into());
            }
            fs::write(config.keys.log_key(), "key")?;
            Ok(vec![config.keys.log_key()])
        }
    }

    fn args() -> InitArgs {
        InitArgs {
            ori: "CA0010000".parse().unwrap(),
            legal_name: "Alder County Sheriff".to_owned(),
            kind: AgencyKind::County,
            county: "Alder".to_owned(),
            url: "https://alpr.alder.example:7443".parse().unwrap(),
        }
    }

    fn init(dir: &Path, keys: bool) -> (Result<Exit, Problem>, String) {
        let mut to = Vec::new();
        let result = run(dir, args(), &OneKey(keys), &mut Output::new(Form::Plain, &mut to));
        (result, String::from_utf8(to).unwrap())
    }

    #[test]
    fn a_node_is_made_once_with_a_private_key_folder() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("alder");
        let (result, said) = init(&dir, true);
        assert_eq!(result, Ok(Exit::Done));
        assert!(said.contains("concordat.toml") && said.contains("log.key"), "{said}");
        let config = Config::load(&dir.join(FILE_NAME)).unwrap();
        assert_eq!(config.keys.log_origin, "alpr.alder.example/CA0010000");
        assert_eq!(fs::metadata(dir.join("keys")).unwrap().permissions().mode() & 0o777, 0o700);
        let before = fs::read(dir.join(FILE_NAME)).unwrap();
        let again = init(&dir, true).0.unwrap_err();
        assert_eq!(again.exit, Exit::Refused);
        assert!(again.text().contains("--dir"), "{}", again.text());
        assert_eq!(fs::read(dir.join(FILE_NAME)).unwrap(), before);
    }

    #[test]
    fn without_keys_there_is_no_node() {
        let root = tempfile::tempdir().unwrap();
        let failed = init(root.path(), false).0.unwrap_err();
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Failure, "cannot make the keys: no randomness"));
        assert!(!root.path().join(FILE_NAME).exists());
        assert_eq!(init(root.path(), true).0, Ok(Exit::Done), "it can be tried again");
    }
}
