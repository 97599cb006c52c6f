//! A node that runs: doors on loopback, stores in a folder, people, a clock that the test moves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::rt::System;
use agreements::approval;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::plate::Plate;
use agreements::purpose::Purpose;
use agreements::register::Finding;
use agreements::status::Status;
use agreements::time::Instant;
use certs::key::SigningKey;
use concordat::changes::{self, Approval, ChangeError, ChangeId, Command};
use concordat::clock::Clock as _;
use concordat::compliance::{self, Keeper};
use concordat::config::{Config, Webhook};
use concordat::db::{Conn, DbError};
use concordat::demo::agency::{self, Fiction};
use concordat::exchange::ask::{self, Ask, AskError, Gave, Report, Whom};
use concordat::exchange::lifecycle::{self, Act, ActError, Delivery};
use concordat::exchange::{descriptor, standing};
use concordat::intake::agents;
use concordat::jobs::{self, Report as JobReport, Ringer};
use concordat::node::{Node, OpenError, read_key};
use concordat::registry::exchanged::{self, Receipt};
use concordat::registry::job_runs::{self, Run};
use concordat::registry::outbox::{self, Queued, State};
use concordat::trail::search::{Filter, Row};
use concordat::trail::{head, search, verify};
use concordat::{people, serve, tampering};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::clock::TestClock;
use crate::database::{Backend, Store};
use crate::federation::Federation;
use crate::wire::{Caller, Reply};

/// A number of a case that no log may show.
pub const CASE: &str = "2026-118842";
/// A reason that every owner takes.
pub const REASON: &str = "burglary at a hardware store, the vehicle left the scene";

/// Why agreements are signed.
pub const SIGNING: &str = "the county board approved sharing with this partner";

fn refused(error: ChangeError) -> ActError {
    match error {
        ChangeError::Refused(why) => ActError::Refused(why),
        ChangeError::Failure(failure) => ActError::Failure(failure),
    }
}

/// One agency's node.
pub struct TestNode {
    pub fiction: Fiction,
    pub clock: TestClock,
    /// Why the registry's writer stopped, if it did.
    pub fatal: Arc<Mutex<Vec<String>>>,
    config: Config,
    node: Option<Arc<Node>>,
    doors: Option<Doors>,
}

/// Open doors, on a thread of their own with an actix system of its own.
struct Doors {
    peer: SocketAddr,
    console: SocketAddr,
    ops: SocketAddr,
    intake: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Doors {
    fn open(node: &Arc<Node>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (up, is_up) = std::sync::mpsc::channel();
        let node = Arc::clone(node);
        let thread = std::thread::spawn(move || {
            System::new().block_on(async move {
                let running = serve::start(&node, Ringer::Nobody).unwrap();
                drop(node);
                up.send((running.peer, running.console, running.ops, running.intake)).unwrap();
                // An error means that the test is gone: a reason to stop as good as any.
                let _ = stopped.await;
                running.cut().await;
            });
        });
        let (peer, console, ops, intake) = is_up.recv().expect("the doors open");
        Self { peer, console, ops, intake, stop, thread }
    }

    fn close(self) {
        drop(self.stop);
        let ended = self.thread.join();
        assert!(ended.is_ok() || std::thread::panicking(), "the thread of the doors ended in a panic");
    }
}

impl TestNode {
    /// Founds an agency with people, all trained, and opens its doors. Its stores are where the federation says.
    pub async fn found(federation: &Federation, fiction: Fiction) -> Self {
        let stores = match federation.backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some([Backend::Postgres.database(), Backend::Postgres.database()]),
        };
        let stores = stores.map(|stores| stores.map(|database| database.url.clone()));
        Self::found_with(federation, fiction, stores).await
    }

    /// The same with the addresses of its registry and its reads; `None` for files in its folder.
    pub async fn found_with(federation: &Federation, fiction: Fiction, stores: Option<[String; 2]>) -> Self {
        let (mut config, clock) = Self::config(federation, &fiction);
        if let Some([registry, reads]) = stores {
            config.store.registry = registry.parse().unwrap();
            config.store.reads = reads.parse().unwrap();
        }
        let mut this = Self { fiction, clock, fatal: Arc::default(), config, node: None, doors: None };
        this.open().unwrap();
        let today = federation.begins().date().unwrap();
        agency::people_of(this.node().registry(), &this.keeper(), &this.fiction, today).await.unwrap();
        this
    }

    fn config(federation: &Federation, fiction: &Fiction) -> (Config, TestClock) {
        let folder = federation.folder().join(fiction.word);
        let peer = federation.address_of(fiction);
        let mut config = agency::found(&folder, fiction, &federation.pki.ca, peer, federation.begins()).unwrap();
        config.peer.hosts.clone_from(federation.hosts());
        // The governor's clock is the machine's, so a limit would make a fast machine's tests fail.
        config.peer.rate_per_second = NonZeroU32::new(100_000).unwrap();
        config.rules.rate_per_minute = NonZeroU32::new(100_000).unwrap();
        (config, TestClock::at(federation.begins()))
    }

    fn open(&mut self) -> Result<(), OpenError> {
        let fatal = Arc::clone(&self.fatal);
        let on_fatal = Arc::new(move |reason: &str| fatal.lock().unwrap().push(reason.to_owned()));
        let node = Node::open(self.config.clone(), Arc::new(self.clock.clone()), on_fatal)?;
        self.doors = Some(Doors::open(&node));
        self.node = Some(node);
        Ok(())
    }

    /// Closes its doors, and with them its own driver of jobs: nobody rings but the test.
    pub fn closes_its_doors(&mut self) {
        self.doors.take().expect("the node runs").close();
    }

    /// Stops, and waits until nothing has the stores open any more.
    pub fn stop(&mut self) {
        if let Some(doors) = self.doors.take() {
            doors.close();
        }
        let Some(node) = self.node.take() else { return };
        let gone = Arc::downgrade(&node);
        drop(node);
        for _ in 0..500 {
            if gone.strong_count() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(std::thread::panicking(), "somebody still has the node of {}", self.fiction.word);
    }

    /// Stops and starts with the same folder, keys and clock.
    pub fn restart(&mut self) {
        self.stop();
        self.open().unwrap();
    }

    /// Starts with a changed configuration.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop();
        change(&mut self.config);
        self.open().unwrap();
    }

    /// Starts what was stopped, or says why it does not start.
    pub fn try_start(&mut self) -> Result<(), OpenError> {
        self.open()
    }

    pub fn node(&self) -> &Arc<Node> {
        self.node.as_ref().expect("the node runs")
    }

    pub fn settings(&self) -> &Config {
        &self.config
    }

    /// The same, to be changed before the next start.
    pub fn settings_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    pub fn ori(&self) -> Ori {
        self.fiction.ori.parse().unwrap()
    }

    pub fn console(&self) -> SocketAddr {
        self.doors.as_ref().expect("the node runs").console
    }

    pub fn ops(&self) -> SocketAddr {
        self.doors.as_ref().expect("the node runs").ops
    }

    /// The registry, for whoever edits it by hand.
    pub fn registry_store(&self) -> Store {
        Store { url: self.config.store.registry.to_string() }
    }

    /// The reads.
    pub fn reads_store(&self) -> Store {
        Store { url: self.config.store.reads.to_string() }
    }

    /// A minute goes by: the node compares its rows with its trail.
    pub async fn looks(&self) {
        tampering::look(Arc::clone(self.node())).await;
    }

    /// The registry's file.
    pub fn registry_file(&self) -> PathBuf {
        let url = self.config.store.registry.to_string();
        PathBuf::from(url.strip_prefix("sqlite:").unwrap())
    }

    fn key(path: &Path) -> SigningKey {
        read_key(path).unwrap()
    }

    pub fn identity_key(&self) -> SigningKey {
        Self::key(&self.config.keys.identity_key())
    }

    pub fn seal_key(&self) -> SigningKey {
        Self::key(&self.config.keys.seal_key())
    }

    /// The descriptor file that partners get.
    pub fn descriptor(&self) -> Vec<u8> {
        descriptor::write(&self.node().party(), &self.identity_key()).unwrap()
    }

    /// Imports the other's descriptor: two people, and the fingerprint compared.
    pub async fn enrols(&self, other: &Self) {
        let file = other.descriptor();
        let (_, fingerprint) = descriptor::read(&file).unwrap();
        self.enrols_file(file, &descriptor::spoken(fingerprint)).await.unwrap();
    }

    /// Imports a descriptor file, whatever is in it.
    pub async fn enrols_file(&self, file: Vec<u8>, fingerprint: &str) -> Result<Ori, people::PeopleError> {
        let (by, confirmed_by) = (self.fiction.person("agreements"), self.fiction.person("custodian"));
        let ori = people::enrol(self.node().registry(), file, fingerprint, &by, &confirmed_by).await?;
        self.node().desk().registry(|conn| self.node().refresh_partners(conn)).unwrap();
        Ok(ori)
    }

    /// The custodian suspends or terminates; the agreements administrator proposes to sign or resume, and the custodian
    /// approves it.
    pub async fn acts(&self, id: AgreementId, act: Act) -> Result<Delivery, ActError> {
        let (command, reason) = match &act {
            Act::Sign => {
                self.has_approved(id).await;
                (Command::Sign { agreement: id }, SIGNING.to_owned())
            }
            Act::Resume { reason } => (Command::Resume { agreement: id }, reason.clone()),
            _ => return lifecycle::act(self.node(), id, act, &self.fiction.person("custodian")).await,
        };
        let change = self.proposes(command, &reason).await?;
        Ok(self.approves(change).await?.delivery.expect("what is signed or resumed is sent"))
    }

    /// What must approve a signature does, and the official signs. Nothing for an agreement that is not here.
    pub async fn has_approved(&self, id: AgreementId) {
        let Some(found) = standing::verified(&mut self.conn(), id).unwrap() else { return };
        let Some(partner) = found.agreement.other(self.ori()).map(|party| party.ori) else { return };
        let given = concordat::renewal::held::given(&mut self.conn(), partner).unwrap();
        let given: Vec<_> = given.into_iter().map(|(_, given)| given).collect();
        let document = Digest::of(&found.document);
        // On a later day it would be another approval of the same kind, which is refused.
        let whole = approval::missing(&given, document).is_empty() && approval::signature(&given, document).is_some();
        let has_key = found.agreement.party(self.ori()).is_some_and(|party| party.official.key.is_some());
        if has_key && !whole {
            let (keys, today) = (&self.config.keys.folder, self.clock.now().date().unwrap());
            agency::approve(self.node().registry(), keys, &self.fiction, id, today).await.unwrap();
        }
    }

    /// The agreements administrator proposes a change.
    pub async fn proposes(&self, command: Command, reason: &str) -> Result<ChangeId, ActError> {
        let by = self.fiction.person("agreements");
        changes::propose(self.node(), command, &by, reason).await.map_err(refused)
    }

    /// The custodian approves it.
    pub async fn approves(&self, change: ChangeId) -> Result<Approval, ActError> {
        changes::approve(self.node(), change, &self.fiction.person("custodian")).await.map_err(refused)
    }

    pub async fn suspends(&self, id: AgreementId) -> Delivery {
        self.acts(id, Act::Suspend { reason: "the partner's audit is open".to_owned() }).await.unwrap()
    }

    /// Who keeps the register here.
    pub fn keeper(&self) -> Keeper {
        Keeper::of_node(self.node())
    }

    pub async fn finds(&self, finding: Finding) {
        let by = self.fiction.person("agreements");
        compliance::enter_finding(self.node().registry(), &self.keeper(), finding, &by).await.unwrap();
    }

    /// Opens the door for readers' agents, without TLS, as behind a proxy on this machine.
    pub fn opens_to_agents(&mut self, change: impl FnOnce(&mut Webhook)) {
        self.restart_with(|config| {
            let webhook = &mut config.ingest.webhook;
            webhook.listen = Some(([127, 0, 0, 1], 0).into());
            webhook.tls = false;
            change(webhook);
        });
    }

    /// Where agents post.
    pub fn intake(&self) -> SocketAddr {
        self.doors.as_ref().and_then(|doors| doors.intake).expect("the door for agents is open")
    }

    /// The system administrator makes a token for an agent.
    pub async fn token(&self, uid: &str) -> String {
        let by = self.fiction.person("admin");
        agents::add(self.node().registry(), uid, &by).await.unwrap().expose().to_owned()
    }

    /// A number that the node counts, by its line in the metrics; 0 when it has none.
    pub fn counted(&self, line: &str) -> u64 {
        let text = self.node().metrics().text().unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0)
    }

    /// A question of the investigator that every rule lets pass.
    pub fn asking(&self, whom: &Self, plate: &str) -> Ask {
        let now = self.clock.now();
        Ask {
            username: self.fiction.person("investigator"),
            whom: Whom::These(vec![whom.ori()]),
            plate: plate.parse::<Plate>().unwrap(),
            from: now.plus(-7 * Instant::DAY),
            until: now.plus(Instant::MINUTE),
            purpose: Purpose::CriminalInvestigation,
            reference: Some(format!("case:{CASE}").parse().unwrap()),
            reason: REASON.to_owned(),
            on_behalf_of: None,
            supervisor: None,
            area: None,
            max_rows: 50,
            images: true,
        }
    }

    pub async fn asks(&self, ask: Ask) -> Result<Report, AskError> {
        ask::ask(self.node(), &self.node().desk(), ask).await
    }

    /// What one partner gave to a question that every rule lets pass.
    pub async fn queries(&self, whom: &Self, plate: &str) -> Gave {
        let report = self.asks(self.asking(whom, plate)).await.unwrap();
        assert_eq!(report.lines.len(), 1, "one line for one partner");
        report.lines.into_iter().next().unwrap().gave
    }

    /// Somebody with this node's certificate and key, who calls another node.
    pub fn calls(&self, other: &Self) -> Caller {
        self.calls_at(other, other.peer())
    }

    /// The same, at another address than the node's own door.
    pub fn calls_at(&self, other: &Self, address: SocketAddr) -> Caller {
        let node = self.node();
        let pinned = (other.ori(), other.node().party().node.tls_spki);
        let clock = Arc::new(self.clock.clone());
        let config = concordat::tls::client(node.dialer().own(), node.trust(), clock, pinned).unwrap();
        Caller::new(config, &other.fiction.host(), address)
    }

    pub fn peer(&self) -> SocketAddr {
        self.doors.as_ref().expect("the node runs").peer
    }

    /// Posts a text to another node's queries.
    pub async fn posts_query(&self, other: &Self, text: &str) -> Reply {
        self.calls(other).post("/peer/v1/queries", text).await
    }

    /// Somebody rings: what is due by this node's clock is run, here.
    pub async fn rings(&self) -> Vec<JobReport> {
        jobs::driver(self.node()).ring(&BTreeSet::new()).await.unwrap()
    }

    /// Rings until nothing is in work and no mail is due: what the bell does over some minutes.
    pub async fn works_it_off(&self) {
        for _ in 0..500 {
            self.rings().await;
            let wanted = BTreeSet::from([jobs::MAIL]);
            jobs::driver(self.node()).ring(&wanted).await.unwrap();
            let due = outbox::due(&mut self.conn(), self.clock.now(), 1).unwrap();
            let busy = self.mails().iter().any(|mail| matches!(mail.state, State::Claimed | State::HandedOver));
            let off = !self.node().mailer().is_on();
            if !busy && (off || due.is_empty()) && self.runs_in_work() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the jobs of {} do not come to an end: {:?}", self.fiction.word, self.mails());
    }

    fn runs_in_work(&self) -> usize {
        jobs::TABLE.iter().filter(|job| self.runs(job.name).iter().any(|run| run.finished_at.is_none())).count()
    }

    /// The runs of a job, oldest first.
    pub fn runs(&self, job: &str) -> Vec<Run> {
        let far = self.clock.now().plus(1000 * Instant::DAY);
        let mut runs = job_runs::newest(&mut self.conn(), job, far, 10_000).unwrap();
        runs.reverse();
        runs
    }

    /// The outbox, oldest first.
    pub fn mails(&self) -> Vec<Queued> {
        let mut mails = outbox::newest(&mut self.conn(), 10_000).unwrap();
        mails.reverse();
        mails
    }

    pub fn clock_now(&self) -> Instant {
        self.clock.now()
    }

    /// A connection that reads the registry.
    pub fn conn(&self) -> Conn {
        self.node().registry().reader().unwrap()
    }

    /// How many entries the trail has.
    pub fn trail_size(&self) -> u64 {
        head::extent(&mut self.conn()).unwrap().0
    }

    /// The trail's newest entries that `filter` lets through.
    pub fn entries(&self, filter: &Filter) -> Vec<Row> {
        search::search(&mut self.conn(), filter).unwrap()
    }

    /// The newest entry's message, with by what it is found.
    pub fn newest(&self) -> (Row, Value) {
        let row = self.entries(&Filter { limit: 1, ..Filter::default() }).remove(0);
        let message = serde_json::from_slice(&row.detail.as_ref().unwrap().message).unwrap();
        (row, message)
    }

    /// All receipts that it keeps, oldest first.
    pub fn receipts_kept(&self) -> Vec<Receipt> {
        exchanged::receipts(&mut self.conn(), None, 10_000).unwrap()
    }

    pub fn receipts(&self, of: RequestId) -> Vec<Receipt> {
        exchanged::receipts(&mut self.conn(), Some(of), 100).unwrap()
    }

    /// How often the read store was asked about a plate.
    pub fn touches(&self) -> u64 {
        self.node().reads().touches()
    }

    /// Where an agreement stands by the node's own time.
    pub fn status_now(&self, id: AgreementId) -> Status {
        standing::status(&mut self.conn(), id, self.node().now()).unwrap()
    }

    pub fn status(&self, id: AgreementId) -> Status {
        standing::status(&mut self.conn(), id, self.clock.now()).unwrap()
    }

    /// Recomputes the whole trail: what is wrong with it.
    pub fn trail_problems(&self) -> Vec<verify::Problem> {
        problems_of(&mut self.conn(), &self.config)
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is wrong with the trail in a database.
pub fn problems_of(conn: &mut Conn, config: &Config) -> Vec<verify::Problem> {
    let vkey = concordat::node::log_vkey(config).unwrap();
    verify::verify(conn, &vkey, &mut |_, _| {}, &AtomicBool::new(false)).unwrap().problems
}

/// Whether opening failed because the trail was changed.
pub fn refused_for_its_trail(result: Result<(), OpenError>) -> bool {
    matches!(result, Err(OpenError::Registry(DbError::Trail(_))))
}
