//! Registries that are restored from backups, and what their people do then.

use std::path::{Path, PathBuf};

use concordat::changes::{self, ChangeError, ChangeId, Command};
use concordat::demo::agency::Fiction;
use concordat::epoch;
use concordat::node::Node;
use concordat::publishing;

use crate::node::TestNode;
use crate::tamper;

impl TestNode {
    /// Copies the registry while the node runs: a backup.
    pub fn backs_up(&self, folder: &Path, name: &str) -> PathBuf {
        let kept = folder.join(format!("{}-{name}.db", self.fiction.word));
        tamper::copy(&self.registry_file(), &kept);
        kept
    }

    /// Stops, and puts a backup in the place of the registry.
    pub fn is_restored(&mut self, backup: &Path) {
        self.stop();
        let file = self.registry_file();
        for end in ["-wal", "-shm"] {
            // Absent after a clean stop, mostly.
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
        std::fs::copy(backup, &file).unwrap();
    }

    /// The agreements administrator looks what is lost, and proposes a new epoch.
    pub async fn proposes_an_epoch(&self) -> Result<ChangeId, ChangeError> {
        proposes_an_epoch(self.node(), &self.fiction).await
    }
}

async fn proposes_an_epoch(node: &Node, fiction: &Fiction) -> Result<ChangeId, ChangeError> {
    publishing::recall(node).await.unwrap();
    let behind = node.watch().behind().expect("somebody knows more of the trail");
    let command = Command::OpenEpoch { last: behind.head.clone() };
    let by = fiction.person("agreements");
    changes::propose(node, command, &by, "the disk failed and the backup of yesterday was restored").await
}

/// Two people of the agency open a new epoch by any process of its node, and what partners have is taken back.
pub async fn opens_an_epoch(node: &Node, fiction: &Fiction) {
    let change = proposes_an_epoch(node, fiction).await.unwrap();
    changes::approve(node, change, &fiction.person("custodian")).await.unwrap();
    epoch::take_back(node).await.unwrap();
}
