//! A node: its stores, its keys, its partners and its clock, as services use them.

mod limits;
mod open;
mod rate;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agreements::decide::{OwnerRules, Searches};
use agreements::ids::{Ori, RequestId};
use agreements::party::{Keys, Party};
use agreements::time::Instant;
use arc_swap::ArcSwap;
use diesel::result::{Error, QueryResult};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::agency;
use crate::changes;
use crate::checking::Checking;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Conn, Db, OnFatal};
use crate::exchange::Failure;
use crate::exchange::dial::Dialer;
use crate::exchange::partner::Partners;
use crate::exchange::standing::{Owner, StandingCache};
use crate::exchange::versions::Versions;
use crate::hotlists::asserting::ContentsCache;
use crate::hotlists::refresh::Schedule;
use crate::hotlists::shared::SharedLists;
use crate::jobs::Bell;
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::overview::Overview;
use crate::publishing::{Standing, Unheard, Watch, behind};
use crate::reads::store::ReadsDb;
use crate::registry::roster::Rosters;
use crate::rotation;
use crate::seal::{Seal, SealStore};
use crate::steady::SteadyClock;
use crate::tampering::{self, Changed, Table};
use crate::tls::{OwnStore, TrustFiles, TrustStore};
use crate::trail;
use crate::trail::proof::CheckpointCache;
use crate::trail::scrub::Scrub;
use crate::upkeep::Upkeep;

pub use crate::desk::Desk;
use limits::{INTRODUCTIONS, RefusedCounts};
use rate::Questions;

pub use limits::{Place, Uncounted};
pub use open::{OpenError, epoch_signer, log_vkey, next_log_signer, open_reads, open_registry, read_key};

/// No epoch: partners are to be read anew, whatever the trail says of them since.
const UNREAD: i64 = -1;

/// A node with everything that exchange needs.
pub struct Node {
    config: Config,
    owner: Owner,
    party: ArcSwap<Party>,
    /// The keys that this agency's trail says are its own, since the last rotation.
    announced: ArcSwap<Option<Keys>>,
    seal: SealStore,
    registry: Db,
    reads: Arc<ReadsDb>,
    shared: Arc<SharedLists>,
    hotlist_contents: ContentsCache,
    hotlist_schedule: Schedule,
    clock: Arc<dyn Clock>,
    trust: TrustStore,
    dialer: Dialer,
    partners: ArcSwap<Partners>,
    partners_epoch: AtomicI64,
    wider: ArcSwap<Vec<String>>,
    told_otherwise: ArcSwap<Option<String>>,
    standings: StandingCache,
    checkpoints: CheckpointCache,
    versions: Arc<Versions>,
    questions: ArcSwap<Questions>,
    requests: DefaultKeyedRateLimiter<Ori>,
    introductions: DefaultKeyedRateLimiter<Ori>,
    in_flight: Mutex<HashMap<Ori, u32>>,
    refused: RefusedCounts,
    upkeep: Upkeep,
    metrics: Arc<Metrics>,
    mailer: Mailer,
    bell: Arc<Bell>,
    overview: Overview,
    rosters: Rosters,
    changed: ArcSwap<Vec<Changed>>,
    scrub: Scrub,
    watch: Watch,
    checking: Checking,
}

impl Node {
    /// Opens a node with `config`, whose paths are absolute.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config, clock: Arc<dyn Clock>, on_fatal: OnFatal) -> Result<Arc<Self>, OpenError> {
        let clock = SteadyClock::over(clock, &config);
        if rotation::is_staged(&config) {
            // New keys may be recorded already and not be in their place yet.
            drop(open_registry(&config, Arc::clone(&clock), Arc::clone(&on_fatal))?);
        }
        let own = OwnStore::open(&config.keys.tls_cert(), &config.keys.tls_key())?;
        let ori = own.current().identity().ori;
        if ori != config.agency.ori {
            return Err(OpenError::OtherAgency(ori, config.agency.ori));
        }
        let party = agency::party(&config, own.spki(), clock.now())?;
        let trust = TrustStore::open(TrustFiles { ca: config.peer.ca.clone(), crl: config.peer.crl.clone() })?;
        let registry = open_registry(&config, Arc::clone(&clock), on_fatal)?;
        let (reads, shared) = open_reads(&config, &registry)?;
        let reads = Arc::new(reads);
        let deadline = Duration::from_millis(config.peer.deadline_ms.get());
        let dialer = Dialer::new(own, trust.clone(), Arc::clone(&clock), config.peer.hosts.clone(), deadline);
        let witness = party.node.witness_vkey.clone();
        let node = Self {
            owner: Owner { ori: config.agency.ori, rules: owner_rules(&config) },
            party: ArcSwap::from_pointee(party),
            announced: ArcSwap::default(),
            seal: SealStore::open(&config)?,
            shared,
            hotlist_contents: ContentsCache::default(),
            hotlist_schedule: Schedule::new(clock.now()),
            trust,
            dialer,
            partners: ArcSwap::default(),
            partners_epoch: AtomicI64::new(UNREAD),
            wider: ArcSwap::default(),
            told_otherwise: ArcSwap::default(),
            standings: StandingCache::default(),
            checkpoints: CheckpointCache::default(),
            versions: Arc::default(),
            questions: ArcSwap::from_pointee(Questions::at(config.rules.rate_per_minute.get())),
            requests: RateLimiter::keyed(Quota::per_second(config.peer.rate_per_second)),
            introductions: RateLimiter::keyed(Quota::per_second(INTRODUCTIONS)),
            in_flight: Mutex::default(),
            refused: RefusedCounts::default(),
            upkeep: Upkeep::default(),
            metrics: Arc::new(Metrics::new(clock.now(), registry.commits())),
            mailer: Mailer::new(config.mail.clone(), config.peer.url.host().to_owned()),
            bell: Arc::default(),
            overview: Overview::new([(); 2].map(|()| Desk::new(registry.clone(), Arc::clone(&reads)))),
            rosters: Rosters::default(),
            changed: ArcSwap::default(),
            scrub: Scrub::default(),
            checking: Checking::default(),
            watch: Watch::new(&config, &witness, Arc::clone(&clock))?,
            reads,
            registry,
            clock,
            config,
        };
        node.scrub.begin(trail::head::extent(&mut node.registry.reader()?)?.0, tampering::NEWEST);
        node.compare_rows(tampering::NEWEST)?;
        node.set_rate(changes::rules::counting(&mut node.registry.reader()?, &node.owner.rules)?.rate_per_minute);
        node.refresh_partners(&mut node.registry.reader()?)?;
        node.watch.refresh(&mut node.registry.reader()?)?;
        node.follow_behind(&mut node.registry.reader()?)?;
        Ok(Arc::new(node))
    }

    /// How it stands with the recomputation of its trail.
    #[must_use]
    pub fn checking(&self) -> &Checking {
        &self.checking
    }

    /// Its witnesses, and what they say of its trail.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// This agency.
    #[must_use]
    pub fn ori(&self) -> Ori {
        self.owner.ori
    }

    /// This agency and its limits.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// This agency as its descriptor says it today.
    #[must_use]
    pub fn party(&self) -> Arc<Party> {
        self.party.load_full()
    }

    /// The keys that this agency's trail says are its own since the last rotation; `None` when there was none.
    #[must_use]
    pub fn announced(&self) -> Arc<Option<Keys>> {
        self.announced.load_full()
    }

    /// Describes this agency anew when its keys are those that its trail announces. Called every second by a running node.
    pub fn refresh_party(&self) {
        let announced = self.announced();
        let Some(keys) = announced.as_ref() else { return };
        if self.party().node.keys() == *keys {
            return;
        }
        if let Err(error) = rotation::put(&self.config, keys) {
            tracing::error!(%error, "new keys that the trail announced are not in their place yet");
        }
        match agency::party(&self.config, self.dialer.own().spki(), self.now()) {
            Ok(party) if party.node.keys() == *keys => {
                tracing::info!("this node has the keys that its trail announced");
                self.party.store(Arc::new(party));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "this agency cannot be described with its new keys yet"),
        }
    }

    /// This agency's seal.
    #[must_use]
    pub fn seal(&self) -> Arc<Seal> {
        self.seal.current()
    }

    /// The registry, trail included.
    #[must_use]
    pub fn registry(&self) -> &Db {
        &self.registry
    }

    /// The read store.
    #[must_use]
    pub fn reads(&self) -> &Arc<ReadsDb> {
        &self.reads
    }

    /// Partners' hotlists.
    #[must_use]
    pub fn shared_lists(&self) -> &Arc<SharedLists> {
        &self.shared
    }

    /// What own hotlists come to for partners.
    #[must_use]
    pub fn hotlist_contents(&self) -> &ContentsCache {
        &self.hotlist_contents
    }

    /// When partners' hotlists were looked at and pulled last.
    #[must_use]
    pub fn hotlist_schedule(&self) -> &Schedule {
        &self.hotlist_schedule
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Whom to trust at the peer port.
    #[must_use]
    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// Dials partners.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The enrolled partners.
    #[must_use]
    pub fn partners(&self) -> Arc<Partners> {
        self.partners.load_full()
    }

    /// In what the configuration's rules are wider than what was decided, one line each.
    #[must_use]
    pub fn wider_rules(&self) -> Arc<Vec<String>> {
        self.wider.load_full()
    }

    /// What has to be done where partners were told of another place or other contacts than this process was started with.
    #[must_use]
    pub fn told_otherwise(&self) -> Arc<Option<String>> {
        self.told_otherwise.load_full()
    }

    /// Verified standings.
    #[must_use]
    pub fn standings(&self) -> &StandingCache {
        &self.standings
    }

    /// Partners' checkpoints that were verified lately.
    #[must_use]
    pub fn checkpoints(&self) -> &CheckpointCache {
        &self.checkpoints
    }

    /// This agency's seal and the files that it follows.
    #[must_use]
    pub fn seals(&self) -> &SealStore {
        &self.seal
    }

    /// What the last look at the files found.
    #[must_use]
    pub fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    /// Which protocol versions partners speak, as far as they said.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The same, to be kept.
    #[must_use]
    pub fn versions_shared(&self) -> Arc<Versions> {
        Arc::clone(&self.versions)
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Sends mail.
    #[must_use]
    pub fn mailer(&self) -> &Mailer {
        &self.mailer
    }

    /// The bell of this node's jobs.
    #[must_use]
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Connections for one thread.
    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk::new(self.registry.clone(), Arc::clone(&self.reads))
    }

    /// Reads the enrolled partners again when the standing epoch moved: a command line in another process may have
    /// enrolled one.
    pub fn refresh_partners(&self, conn: &mut Conn) -> QueryResult<()> {
        let epoch = trail::head::epoch(conn)?;
        let held = self.partners_epoch.load(Ordering::Acquire);
        if held != epoch {
            let anew = held == UNREAD;
            let partners = if anew { Partners::load(conn)? } else { self.partners().followed(conn)? };
            let partners = Arc::new(partners);
            let announced = rotation::announced(conn)?;
            let before = self.partners.swap(Arc::clone(&partners));
            self.announced.store(Arc::new(announced));
            self.wider.store(Arc::new(changes::rules::waiting(conn, &self.owner.rules)?));
            self.told_otherwise.store(Arc::new(rotation::told_otherwise(conn, &self.config)?));
            self.partners_epoch.store(epoch, Ordering::Release);
            for partner in before.all() {
                let now = partners.find(partner.ori());
                if now.is_none_or(|now| now.party().node != partner.party().node) {
                    tracing::info!(partner = %partner.ori(), "its keys or its place are others now, or it is left out");
                    self.dialer.let_go(partner.ori());
                    self.checkpoints.forget();
                }
            }
        }
        Ok(())
    }

    /// Rosters of accounts that were read from the trail.
    #[must_use]
    pub fn rosters(&self) -> &Rosters {
        &self.rosters
    }

    /// What is kept for the console.
    pub(crate) fn overview(&self) -> &Overview {
        &self.overview
    }

    /// What the last comparison of the registry's rows with the trail found.
    #[must_use]
    pub fn changed(&self) -> Arc<Vec<Changed>> {
        self.changed.load_full()
    }

    /// Whether entries of the trail are hidden from whoever looks for them: then nothing that was decided can be relied on.
    #[must_use]
    pub fn hides_entries(&self) -> bool {
        self.changed.load().iter().any(|changed| changed.table == Table::Leaf)
    }

    /// Compares the registry's rows with the trail, and the next `leaves` of the trail with its own columns.
    /// What is found is an alarm; when it is not what was found before,
    /// everything is read and verified again before it counts. Blocks; a running node does it every minute.
    ///
    /// # Errors
    /// The registry cannot be read; what was found before stays.
    pub fn compare_rows(&self, leaves: i64) -> Result<(), Failure> {
        let now = self.now();
        let mut conn = self.registry.reader()?;
        let mut found = tampering::compare(&mut conn, self.owner.ori, now)?;
        found.extend(tampering::of_leaves(&mut conn, &self.scrub, leaves)?);
        for table in Table::ALL {
            self.metrics.changed_rows(table, found.iter().filter(|changed| changed.table == table).count());
        }
        for changed in &found {
            tracing::error!(%changed, "ALARM");
        }
        if *self.changed.load_full() != found {
            self.standings.forget();
            self.rosters.forget();
            self.overview.forget();
            self.partners_epoch.store(UNREAD, Ordering::Release);
            self.changed.store(Arc::new(found));
        }
        Ok(())
    }

    /// Holds the next `leaves` of the trail to their columns, and compares everything where one says something else. How many
    /// of those that were there at the start are still to be looked at. Blocks.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn check_columns(&self, leaves: i64) -> Result<u64, Failure> {
        let wrong = self.scrub.turn(&mut self.registry.reader()?, leaves)?;
        if !wrong.is_empty() && !self.hides_entries() {
            self.compare_rows(1)?;
        }
        let left = self.scrub.left();
        self.metrics.unchecked(left);
        Ok(left)
    }

    /// How many entries that were there at the start were not held to their columns yet.
    #[must_use]
    pub fn unchecked(&self) -> u64 {
        self.scrub.left()
    }

    /// Takes over whether the registry was set back, as any process of this node found. Called every second by a running node.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn follow_behind(&self, conn: &mut Conn) -> QueryResult<()> {
        let found = behind::read(conn)?;
        self.metrics.behind(found.is_some());
        self.dialer.keep_silent(found.is_some());
        if self.watch.follow_behind(found) {
            if let Some(behind) = self.watch.behind() {
                tracing::error!(%behind, "ALARM: nothing is said to any partner");
            }
            self.standings.forget();
            self.overview.forget();
        }
        Ok(())
    }

    /// How it stands with the witnesses of this node's trail.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn witnessed(&self, conn: &mut Conn) -> QueryResult<Standing> {
        let partners = self.partners();
        let agencies: Vec<_> =
            partners.all().filter_map(|partner| partner.party().node.witness_vkey.parse().ok()).collect();
        Standing::read(conn, self.watch.policy(), self.watch.own(), &agencies)
    }

    /// Why this node does not exchange data now; empty when it does.
    ///
    /// # Errors
    /// The registry cannot be read: that is a reason, too, and its connection must not be kept.
    pub fn unready(&self, conn: &mut Conn) -> QueryResult<Vec<String>> {
        let now = self.now();
        let mut reasons = Vec::new();
        let (_, mark) = trail::head::extent(conn)?;
        if now < mark {
            reasons.push(format!("the clock says {now}, but the trail already recorded {mark}: set the clock right"));
        }
        if let Some(jump) = self.clock.jump() {
            reasons.push(format!(
                "{jump}: set the clock right; if it is right, let two people decide so: concordat change accept-clock"
            ));
        }
        if let Some(behind) = self.watch.behind() {
            reasons.push(behind.says());
        } else if self.watch.policy().is_some() && !self.watch.is_heard() {
            reasons.push(format!("{Unheard}: see which of them do not answer (`concordat doctor`)"));
        }
        if self.hides_entries() {
            reasons.push(
                "entries of the trail are hidden by columns that other hands changed: `concordat trail verify` names them"
                    .to_owned(),
            );
        }
        if let Some(why) = self.trust.objection(self.dialer.own().current().identity(), now) {
            reasons.push(format!("this node's own certificate: {why}; renew it or its authority's revocation list"));
        }
        Ok(reasons)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.ori())
    }
}

/// The owner's rules as the configuration has them.
#[must_use]
pub fn owner_rules(config: &Config) -> OwnerRules {
    OwnerRules {
        purposes: config.rules.purposes.clone(),
        max_lookback_days: config.rules.max_lookback_days.get(),
        max_rows: config.rules.max_rows.get(),
        rate_per_minute: config.rules.rate_per_minute.get(),
        // The store answers exact plates; when it answers more, this follows.
        searches: Searches::Exact,
        sensitive: config.rules.sensitive,
    }
}

/// A new id for an entry that is appended at `now`.
pub fn fresh_rid(now: Instant) -> QueryResult<RequestId> {
    let mut random = [0; 10];
    openssl::rand::rand_bytes(&mut random).map_err(|error| Error::SerializationError(Box::new(error)))?;
    Ok(RequestId::new(now, random))
}
