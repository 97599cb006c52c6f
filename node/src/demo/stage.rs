//! What the steps play on: a folder, a clock, and the nodes of the fictional agencies.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agreements::ids::{AgreementId, Ori};
use agreements::plate::Plate;
use anyhow::Context as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use futures_util::future::join_all;

use super::agency::Fiction;
use super::generator;
use crate::clock::Clock;
use crate::config::{Config, DatabaseUrl, FILE_NAME};
use crate::db::{Conn, OnFatal};
use crate::jobs::Ringer;
use crate::node::Node;
use crate::registry::accounts::{self, Action};
use crate::serve::{self, Running};
use crate::trail::head;

/// From what all that is synthetic is drawn: each demo shows the same plates.
pub(super) const SEED: u64 = 2026;

/// Everything that a step may use.
pub(super) struct Stage {
    /// The demo's folder.
    pub(super) root: PathBuf,
    /// The nodes' clock.
    pub(super) clock: Arc<dyn Clock>,
    /// The agencies, once they are founded.
    pub(super) sites: Option<Sites>,
    /// The agreement between Alder and Birch, once both signed it.
    pub(super) agreement: Option<AgreementId>,
}

/// A plate that Alder and Birch both have read.
pub(super) fn shared_plate() -> anyhow::Result<Plate> {
    generator::shared_plates(SEED).into_iter().next().context("the generator gives no plate")
}

/// The three agencies.
pub(super) struct Sites {
    pub(super) alder: Site,
    pub(super) birch: Site,
    pub(super) cedar: Site,
}

impl Stage {
    pub(super) fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { root, clock, sites: None, agreement: None }
    }

    pub(super) fn sites(&self) -> anyhow::Result<&Sites> {
        self.sites.as_ref().context("the agencies are not founded")
    }

    pub(super) fn agreement(&self) -> anyhow::Result<AgreementId> {
        self.agreement.context("there is no agreement")
    }

    /// Stops every node that serves.
    pub(super) async fn close(&mut self) {
        if let Some(Sites { alder, birch, cedar }) = self.sites.take() {
            stop([alder, birch, cedar]).await;
        }
    }
}

/// One agency: its node, and that node's doors while they are open.
pub(super) struct Site {
    pub(super) fiction: Fiction,
    pub(super) folder: PathBuf,
    pub(super) node: Arc<Node>,
    pub(super) running: Option<Running>,
}

impl Site {
    /// Opens the node in `folder`. It does not serve yet.
    pub(super) fn open(fiction: Fiction, folder: PathBuf, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let config = Config::load(&folder.join(FILE_NAME))?;
        // A node that must not record any more refuses everything from then on; the steps that need it say so.
        let on_fatal: OnFatal = Arc::new(|why| tracing::error!(why, "a node of the demo can no longer record"));
        let node = Node::open(config, clock, on_fatal).with_context(|| fiction.legal_name)?;
        Ok(Self { fiction, folder, node, running: None })
    }

    /// Opens the node's doors.
    pub(super) fn serve(&mut self) -> anyhow::Result<()> {
        self.running = Some(serve::start(&self.node, Ringer::Nobody).with_context(|| self.fiction.legal_name)?);
        Ok(())
    }

    pub(super) fn ori(&self) -> Ori {
        self.node.ori()
    }

    /// Its name and ORI.
    pub(super) fn titled(&self) -> String {
        format!("{} ({})", self.fiction.legal_name, self.ori())
    }

    /// A connection that reads its registry.
    pub(super) fn registry(&self) -> anyhow::Result<Conn> {
        Ok(self.node.registry().reader()?)
    }

    /// How many entries its trail has.
    pub(super) fn entries(&self) -> anyhow::Result<u64> {
        Ok(head::extent(&mut self.registry()?)?.0)
    }

    /// The username of its person with that role, who must be allowed the action.
    pub(super) fn person(&self, role: &str, action: Action) -> anyhow::Result<String> {
        let username = self.fiction.person(role);
        let account = accounts::operator(&mut self.registry()?, &username, action)?;
        account.map(|account| account.username).map_err(anyhow::Error::msg)
    }

    /// Copies the node, as its stores are at this moment, to `folder`: configuration, keys, registry and reads. Images
    /// stay behind: a search names them without opening them.
    pub(super) fn copy(&self, folder: &Path) -> anyhow::Result<()> {
        let keys = folder.join("keys");
        std::fs::create_dir_all(&keys)?;
        for file in std::fs::read_dir(&self.node.config().keys.folder)? {
            let file = file?;
            std::fs::copy(file.path(), keys.join(file.file_name()))?;
        }
        std::fs::copy(self.folder.join(FILE_NAME), folder.join(FILE_NAME))?;
        let store = &self.node.config().store;
        copy_database(&store.registry, &folder.join("registry.db"))?;
        copy_database(&store.reads, &folder.join("reads.db"))
    }
}

/// Stops `sites`, all at once.
pub(super) async fn stop(sites: impl IntoIterator<Item = Site>) {
    join_all(sites.into_iter().filter_map(|site| site.running).map(Running::stop)).await;
}

/// Writes the state of a database at one moment to a new file that only this user reads, whoever writes to it meanwhile.
pub(super) fn copy_database(from: &DatabaseUrl, to: &Path) -> anyhow::Result<()> {
    let DatabaseUrl::Sqlite(from) = from else { anyhow::bail!("the demo keeps its stores in SQLite files") };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(to)?;
    let mut conn = SqliteConnection::establish(&text(from)?)?;
    diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut conn)?;
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(text(to)?).execute(&mut conn)?;
    Ok(())
}

/// A path as SQLite takes it.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}

/// Changes the configuration in `folder`, keeping its paths as they are written.
pub(super) fn amend(folder: &Path, change: impl FnOnce(&mut Config)) -> anyhow::Result<()> {
    let path = folder.join(FILE_NAME);
    let mut config = Config::parse(&std::fs::read_to_string(&path)?)?;
    change(&mut config);
    Ok(std::fs::write(&path, config.to_toml())?)
}

/// Free ports of loopback, held until this is dropped: partners have to know each other's before anybody serves.
pub(super) struct Ports(Vec<(String, TcpListener)>);

impl Ports {
    /// One port for each agency.
    pub(super) fn reserve(fictions: &[Fiction]) -> anyhow::Result<Self> {
        let reserve = |fiction: &Fiction| Ok((fiction.host(), TcpListener::bind(("127.0.0.1", 0))?));
        Ok(Self(fictions.iter().map(reserve).collect::<anyhow::Result<_>>()?))
    }

    /// By host.
    pub(super) fn hosts(&self) -> anyhow::Result<BTreeMap<String, SocketAddr>> {
        self.0.iter().map(|(host, port)| Ok((host.clone(), port.local_addr()?))).collect()
    }
}
