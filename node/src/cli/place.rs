//! What a command works with: the node's folder, the clock, and what to do when nothing can be recorded any more.

use std::path::PathBuf;
use std::sync::Arc;

use agreements::time::Instant;
use clap::Args;

use super::Problem;
use crate::clock::Clock;
use crate::config::{Config, FILE_NAME, Log, LogLevel};
use crate::db::{Db, OnFatal};
use crate::logs;
use crate::node::{self, Node};

/// Who acts.
#[derive(Debug, Args)]
pub struct As {
    /// The account of the person who acts
    #[arg(long = "as", value_name = "USER", env = "CONCORDAT_USER", hide_env_values = true)]
    pub user: String,
}

/// Where a command works.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) on_fatal: OnFatal,
}

impl Place {
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The configuration, with logging as quiet as a command's should be: what goes wrong, and alarms.
    pub(super) fn config(&self) -> Result<Config, Problem> {
        self.config_and_logs(|log| Log { level: LogLevel::Warn, ..log })
    }

    /// The configuration, with logging as it says.
    pub(super) fn config_of_service(&self) -> Result<Config, Problem> {
        self.config_and_logs(|log| log)
    }

    /// The configuration alone, for what comes before the step that opens the node: logging starts once in a process.
    pub(super) fn config_alone(&self) -> Result<Config, Problem> {
        Ok(Config::load(&std::path::absolute(&self.dir)?.join(FILE_NAME))?)
    }

    fn config_and_logs(&self, level: impl FnOnce(Log) -> Log) -> Result<Config, Problem> {
        let folder = std::path::absolute(&self.dir)?;
        let config = Config::load(&folder.join(FILE_NAME))?;
        let overriding = std::env::var(logs::LEVEL_VARIABLE).ok();
        logs::start(&level(config.log.clone()), overriding.as_deref(), Arc::clone(&self.clock))?;
        Ok(config)
    }

    /// The registry alone.
    pub(super) fn registry(&self) -> Result<Db, Problem> {
        self.registry_of(&self.config()?)
    }

    /// The registry of a configuration.
    pub(super) fn registry_of(&self, config: &Config) -> Result<Db, Problem> {
        Ok(node::open_registry(config, Arc::clone(&self.clock), Arc::clone(&self.on_fatal))?)
    }

    /// The whole node.
    pub(super) fn node(&self) -> Result<Arc<Node>, Problem> {
        self.node_of(self.config()?)
    }

    /// The node of a configuration.
    pub(super) fn node_of(&self, config: Config) -> Result<Arc<Node>, Problem> {
        Ok(Node::open(config, Arc::clone(&self.clock), Arc::clone(&self.on_fatal))?)
    }
}
