//! Keys that change: who changes them, and who has the old ones still.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::json;
use agreements::message::{Change, Changed, PROTOCOL, StreamEvent, To};
use agreements::party::Keys;
use agreements::stream::{Event, Seal};
use agreements::time::Instant;
use certs::jws;
use certs::key::SigningKey;
use concordat::ca_folder::{CaFolder, Order as CaOrder};
use concordat::config::Config;
use concordat::exchange::descriptor;
use concordat::exchange::standing::{self, CHANGE_TYP};
use concordat::keyfile;
use concordat::node::{Node, open_registry, read_key};
use concordat::rotation::{self, KeyKind, Order, Told};
use concordat::tls::{self, OwnStore};

use crate::clock::TestClock;
use crate::federation::Federation;
use crate::forge::Forger;
use crate::node::TestNode;
use crate::wire::Caller;

impl TestNode {
    /// Makes new keys beside those in use, with a certificate of the authority for the TLS key.
    pub fn prepares(&self, federation: &Federation, which: &[KeyKind]) {
        self.prepares_for(federation, which, &self.fiction.host());
    }

    /// The same, with a certificate for this host.
    pub fn prepares_for(&self, federation: &Federation, which: &[KeyKind], host: &str) {
        let keys = &self.settings().keys;
        rotation::prepare(self.settings(), which).unwrap();
        if which.contains(&KeyKind::Tls) {
            let key = read_key(&keys.next("tls.key")).unwrap();
            let ca = CaFolder::open(&federation.pki.ca.folder).unwrap();
            let hosts = [host.parse().unwrap()];
            let issued = ca
                .issue(self.ori(), key.public(), &CaOrder::Node(&hosts), self.clock_now(), 300 * Instant::DAY)
                .unwrap();
            keyfile::replace(&keys.next("tls.pem"), &issued.pem).unwrap();
        }
    }

    /// What the system administrator orders.
    pub fn order(&self, reason: &str) -> Order {
        Order { by: self.fiction.person("admin"), reason: reason.to_owned(), identity: None }
    }

    /// The system administrator lets the prepared keys take the place of those in use, by a command: in another process than
    /// the one that serves, which follows.
    pub async fn rotates(&self) -> Told {
        self.rotates_by(self.order("yearly change of keys"), false).await
    }

    /// The same by an order.
    pub async fn rotates_by(&self, order: Order, compromised: bool) -> Told {
        let command = self.command();
        let told = rotation::rotate(&command, order, compromised, &mut |_, _| {}).await.unwrap();
        drop(command);
        self.follows().await;
        told
    }

    /// This node as a command opens it, beside the one that serves.
    pub fn command(&self) -> Arc<Node> {
        Node::open(self.settings().clone(), Arc::new(self.clock.clone()), Arc::new(|why: &str| panic!("{why}")))
            .unwrap()
    }

    /// Waits until the serving node has the keys that its files hold.
    pub async fn follows(&self) {
        let tls = read_key(&self.settings().keys.tls_key()).unwrap().public().id();
        let files = concordat::agency::party(self.settings(), tls, self.clock_now()).unwrap().node.keys();
        for _ in 0..100 {
            if self.node().party().node.keys() == files && self.node().dialer().own().spki() == tls {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{} does not take its new keys in five seconds", self.fiction.word);
    }

    /// A copy of this node's keys and of its trail as they are now, in other hands.
    pub fn robbed(&self, folder: &Path) -> Thief {
        fs::create_dir_all(folder.join("keys")).unwrap();
        for file in fs::read_dir(&self.settings().keys.folder).unwrap() {
            let file = file.unwrap();
            if file.path().is_file() {
                fs::copy(file.path(), folder.join("keys").join(file.file_name())).unwrap();
            }
        }
        let mut config = self.settings().clone();
        config.keys.folder = folder.join("keys");
        let registry = folder.join("registry.db");
        crate::tamper::copy(&self.registry_file(), &registry);
        config.store.registry = format!("sqlite:{}", registry.display()).parse().unwrap();
        Thief { config, clock: self.clock.clone(), ori: self.ori(), descriptor: self.descriptor() }
    }

    /// The keys that this node knows as the partner's.
    pub fn knows(&self, partner: &Self) -> Keys {
        let desk = self.node().desk();
        desk.registry(|conn| self.node().refresh_partners(conn)).unwrap();
        self.node().partners().find(partner.ori()).expect("the partner is enrolled").party().node.keys()
    }
}

/// Somebody with keys that were a node's.
pub struct Thief {
    config: Config,
    clock: TestClock,
    ori: Ori,
    descriptor: Vec<u8>,
}

impl Thief {
    /// Calls `other` with the TLS key.
    pub fn calls(&self, other: &TestNode) -> Caller {
        let keys = &self.config.keys;
        let own = OwnStore::open(&keys.tls_cert(), &keys.tls_key()).unwrap();
        let pinned = (other.ori(), other.node().party().node.tls_spki);
        let config = tls::client(&own, other.node().trust(), Arc::new(self.clock.clone()), pinned).unwrap();
        Caller::new(config, &other.fiction.host(), other.peer())
    }

    /// Goes on with the trail, by the log key.
    pub fn trail(&self) -> Forger {
        let db = open_registry(&self.config, Arc::new(self.clock.clone()), Arc::new(|_: &str| {})).unwrap();
        Forger::over(db, self.clock.clone())
    }

    /// The descriptor that the keys gave when they were taken.
    pub fn descriptor(&self) -> Vec<u8> {
        self.descriptor.clone()
    }

    /// Its fingerprint, as it is read out.
    pub fn fingerprint(&self) -> String {
        descriptor::spoken(descriptor::read(&self.descriptor).unwrap().1)
    }

    /// The seal key.
    pub fn seal_key(&self) -> SigningKey {
        read_key(&self.config.keys.seal_key()).unwrap()
    }

    /// The text of an introduction: `keys` are the agency's from now on, as event `n` under an agreement, sealed by `seal`.
    pub async fn introduces(
        &self,
        owner: &TestNode,
        id: AgreementId,
        n: u32,
        keys: &Keys,
        seal: &SigningKey,
    ) -> String {
        let said = rekeyed(owner, (self.ori, id), n, keys, seal);
        format!("[{}]", self.trail().swears(Kind::AgreementEvent, None, &said).await.1)
    }

    /// Puts another log key in the place of the one that was taken, with a trail of its own; and what its keys are then, with
    /// a TLS key that has this hash.
    pub fn with_own_log(&mut self, folder: &Path, tls_spki: Digest, known: &Keys) -> Keys {
        fs::create_dir_all(folder).unwrap();
        let key = SigningKey::generate_ed25519().unwrap();
        let path = self.config.keys.log_key();
        fs::remove_file(&path).unwrap();
        keyfile::write_secret(&path, &key.to_pem().unwrap()).unwrap();
        self.config.store.registry = format!("sqlite:{}", folder.join("own.db").display()).parse().unwrap();
        let log_vkey = concordat::node::log_vkey(&self.config).unwrap().to_string();
        let seal = SigningKey::generate_p256().unwrap();
        Keys { tls_spki, seal_key: seal.public().to_string(), log_vkey, ..known.clone() }
    }
}

/// The message that the keys of an agency are others, to `owner`.
pub fn rekeyed(owner: &TestNode, (ori, id): (Ori, AgreementId), n: u32, keys: &Keys, seal: &SigningKey) -> StreamEvent {
    let found = standing::verified(&mut owner.conn(), id).unwrap().unwrap();
    let document = Digest::of(&found.document);
    let reason = "new keys";
    let changed = Changed::Rekeyed { keys: keys.clone(), compromised: false };
    let statement = json::canonical(&Change::new(ori, id, document, n, reason, changed)).unwrap();
    let seal: Seal = jws::sign(&statement, CHANGE_TYP, seal, None).unwrap();
    let event = Event::Rekeyed { keys: keys.clone(), compromised: false, reason: reason.to_owned(), seal };
    StreamEvent { v: PROTOCOL, to: vec![To { ori: owner.ori(), agreement: id }], document, n, seen: None, event }
}
