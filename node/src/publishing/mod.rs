//! Showing own heads to witnesses, and holding partners to what theirs were shown (promise 5).
//!
//! In scope: who the witnesses are, showing them each new head, keeping what they say, and since when a quorum of them
//! vouches for a head. Out of scope: being a witness (see [`crate::witness`]), and fetching what a partner's head stands on
//! (see [`crate::exchange::following`]).
//!
//! With a witness policy its quorum counts, and what no quorum vouches for any more is not disclosed. Without one partners
//! witness each other: then nothing is enforced, and whoever asks is told that no third party watches.

pub(crate) mod behind;
mod hold;
mod recall;
mod round;
mod standing;
pub mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agreements::ids::Ori;
use agreements::time::Instant;
use arc_swap::{ArcSwap, ArcSwapOption};
use diesel::result::QueryResult;
use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::db::Conn;
use crate::exchange::Failure;
use crate::jobs::Stop;
use crate::node::Node;
use crate::tls::TlsError;
use crate::trail::cosignature::{CosignerKey, SignedText};
use crate::trail::head;
use crate::trail::policy::{self, Policy};

pub use behind::{Behind, Lost};
pub use hold::NotHeld;
pub use recall::{heard, recall, settled};
pub use round::{Round, Said, publish};
pub use standing::{Last, SILENCE, Standing};

/// How often it is looked whether the head moved.
const TICK: Duration = Duration::from_secs(1);
/// How long a head that did not move is not shown again, in microseconds.
const AGAIN: i64 = Instant::MINUTE;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It cannot be read.
    #[error("trail.witness_policy: cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// It is none.
    #[error("trail.witness_policy: {0}: {1}")]
    Policy(PathBuf, policy::PolicyError),
    /// Its quorum cannot be had without this node, which does not witness itself.
    #[error(
        "trail.witness_policy: its quorum needs this node's own witness, and no node witnesses itself: name more witnesses or \
         a smaller quorum"
    )]
    Itself,
    /// Witnesses that are no partners cannot be dialled.
    #[error("trail.witness_ca: {0}")]
    Tls(#[from] TlsError),
    /// The same.
    #[error("witnesses cannot be dialled: {0}")]
    Dial(#[from] reqwest::Error),
}

/// The policy that `config` names.
///
/// # Errors
/// [`PolicyFileError::Read`] or [`PolicyFileError::Policy`].
pub fn policy_of(config: &Config) -> Result<Option<Policy>, PolicyFileError> {
    let Some(path) = config.trail.witness_policy.as_deref().map(PathBuf::from) else { return Ok(None) };
    let bytes = std::fs::read(&path).map_err(|error| PolicyFileError::Read(path.clone(), error))?;
    Policy::parse(&bytes).map(Some).map_err(|error| PolicyFileError::Policy(path, error))
}

/// A head of this node with what witnesses said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cosigned {
    /// The newest head that a quorum vouches for, with the cosignatures; or the newest with any. Empty before the first.
    pub text: String,
    /// How many entries it has.
    pub size: u64,
    /// Since when a quorum vouches for it; nothing while none does.
    pub since: Option<Instant>,
}

impl Cosigned {
    /// How many entries the head has that a quorum vouches for, and its text; `None` while none does.
    #[must_use]
    pub fn vouched(&self) -> Option<(u64, &str)> {
        self.since.map(|_| (self.size, self.text.as_str()))
    }
}

/// What a node knows of its witnesses.
pub struct Watch {
    policy: Option<Policy>,
    own: Option<CosignerKey>,
    cosigned: ArcSwap<Cosigned>,
    /// What each witness did the last time, by name.
    last: ArcSwap<BTreeMap<String, Said>>,
    /// One round at a time.
    turn: Mutex<()>,
    /// For witnesses that are no partners.
    web: reqwest::Client,
    max_unwitnessed: i64,
    /// Partners' cosigned heads.
    held: hold::Held,
    overdue: ArcSwap<BTreeMap<Ori, u64>>,
    /// Whether everybody was asked once what they know of this log.
    recalled: AtomicBool,
    /// One recall at a time; when the last one began for which somebody waited.
    recalling: Mutex<Option<tokio::time::Instant>>,
    /// The witnesses that said so, or cosigned, since this process started, by name; and whether they showed a head.
    heard: ArcSwap<BTreeMap<String, bool>>,
    behind: ArcSwapOption<Behind>,
    /// Whether the clock was compared with what witnesses say that it is, since this process started.
    timed: AtomicBool,
}

impl Watch {
    /// What `config` says, and nothing heard yet.
    ///
    /// # Errors
    /// See [`PolicyFileError`].
    pub fn new(config: &Config, own: &str, clock: Arc<dyn Clock>) -> Result<Self, PolicyFileError> {
        let own: Option<CosignerKey> = own.parse().ok();
        let policy = policy_of(config)?;
        if policy.as_ref().is_some_and(|policy| !policy.reachable(|witness| Some(&witness.key) != own.as_ref())) {
            return Err(PolicyFileError::Itself);
        }
        Ok(Self {
            policy,
            own,
            cosigned: ArcSwap::default(),
            last: ArcSwap::default(),
            turn: Mutex::default(),
            web: round::web(config, clock)?,
            max_unwitnessed: config.trail.max_unwitnessed(),
            held: hold::Held::default(),
            overdue: ArcSwap::default(),
            recalled: AtomicBool::new(false),
            recalling: Mutex::default(),
            heard: ArcSwap::default(),
            behind: ArcSwapOption::empty(),
            timed: AtomicBool::new(false),
        })
    }

    /// The federation's policy, where there is one.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// The newest own head with what witnesses said of it.
    #[must_use]
    pub fn cosigned(&self) -> Arc<Cosigned> {
        self.cosigned.load_full()
    }

    /// The newest own head with cosignatures as it goes with what is said to partners; `None` before the first.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let cosigned = self.cosigned.load();
        (!cosigned.text.is_empty()).then(|| cosigned.text.clone())
    }

    /// What each witness did the last time.
    #[must_use]
    pub fn last(&self) -> Arc<BTreeMap<String, Said>> {
        self.last.load_full()
    }

    /// This node's own witness key.
    #[must_use]
    pub fn own(&self) -> Option<&CosignerKey> {
        self.own.as_ref()
    }

    /// Since when a quorum vouches for a head of this node, of which the cosignatures are on `note`. `None` without policy.
    fn quorum(&self, note: &SignedText) -> Option<Instant> {
        self.policy.as_ref()?.witnessed(note, |witness| Some(&witness.key) != self.own.as_ref())
    }

    /// Reads what is kept. For a process that does not publish, and after each round.
    ///
    /// # Errors
    /// The registry.
    pub fn refresh(&self, conn: &mut Conn) -> QueryResult<()> {
        let newest = newest_cosigned(conn, |note| self.quorum(note))?;
        self.cosigned.store(Arc::new(newest));
        Ok(())
    }

    /// Whether the registry was set back; then nothing is said to any partner.
    #[must_use]
    pub fn behind(&self) -> Option<Arc<Behind>> {
        self.behind.load_full()
    }

    /// Takes over what is kept of that. Whether it is news.
    pub(crate) fn follow_behind(&self, found: Option<Behind>) -> bool {
        let before = self.behind.load_full();
        let news = before.as_deref() != found.as_ref();
        if news {
            self.behind.store(found.map(Arc::new));
        }
        news
    }

    /// These witnesses said what they know.
    fn hear(&self, witnesses: BTreeMap<String, bool>) {
        self.heard.rcu(|known| {
            let mut all = BTreeMap::clone(known);
            all.extend(witnesses.clone());
            all
        });
    }

    /// Whether everybody was asked since this process started; with a policy, whether a quorum of it said what it knows.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        let Some(policy) = &self.policy else { return self.recalled.load(Ordering::Acquire) };
        let (heard, last) = (self.heard.load(), self.last.load());
        // Whoever showed nothing when it was asked, and says since that it knows another trail, has not said what it knows.
        let doubts = |name: &str| matches!(last.get(name), Some(Said::Ahead { .. } | Said::Forked { .. }));
        let counts = |name: &str| heard.get(name).is_some_and(|showed| *showed || !doubts(name));
        policy.reachable(|it| Some(&it.key) != self.own.as_ref() && counts(it.key.name()))
    }

    /// Whether the clock was compared with what witnesses say that it is, since this process started, where there are any.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.policy.is_none() || self.timed.load(Ordering::Acquire)
    }

    /// Whether this node may disclose anything at `now`: with a policy, while its quorum vouches for a head not too long
    /// ago.
    ///
    /// # Errors
    /// Since when it does not.
    pub fn may_disclose(&self, now: Instant) -> Result<(), Unwitnessed> {
        if self.policy.is_none() {
            return Ok(());
        }
        let since = self.cosigned.load().since;
        let fresh = since.is_some_and(|since| now.since(since) <= self.max_unwitnessed);
        if fresh { Ok(()) } else { Err(Unwitnessed { since }) }
    }
}

/// The newest own head with what witnesses said of it, for whoever has no [`Watch`]: `own` is this node's witness.
///
/// # Errors
/// The registry.
pub fn cosigned_of(conn: &mut Conn, policy: Option<&Policy>, own: Option<&CosignerKey>) -> QueryResult<Cosigned> {
    newest_cosigned(conn, |note| policy?.witnessed(note, |witness| Some(&witness.key) != own))
}

/// The newest own head that a quorum vouches for, as `quorum` says of its cosignatures; or the newest with any.
fn newest_cosigned(conn: &mut Conn, quorum: impl Fn(&SignedText) -> Option<Instant>) -> QueryResult<Cosigned> {
    let mut newest = Cosigned::default();
    for (size, checkpoint, lines) in store::heads(conn)? {
        let lines: String = lines.into_iter().map(|line| line.text).collect();
        // What was kept verified once; by hand it may have become anything.
        let Ok(note) = SignedText::parse(&checkpoint) else { continue };
        let Ok(text) = (if lines.is_empty() { Ok(checkpoint) } else { note.with(&lines) }) else { continue };
        let since = SignedText::parse(&text).ok().and_then(|note| quorum(&note));
        if since.is_some() {
            return Ok(Cosigned { text, size, since });
        }
        if newest.text.is_empty() && !lines.is_empty() {
            newest = Cosigned { text, size, since: None };
        }
    }
    Ok(newest)
}

/// No quorum of witnesses vouches for this node's trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no quorum of witnesses has cosigned this node's trail {}", .since.map_or_else(|| "yet".to_owned(), |since| format!("since {since}")))]
pub struct Unwitnessed {
    /// Since when.
    pub since: Option<Instant>,
}

/// No quorum of witnesses has said yet, since this process started, which head of this log it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no quorum of witnesses has said yet which head of this node's trail it knows")]
pub struct Unheard;

/// Shows each new head to the witnesses until it is told to stop.
pub async fn serve(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let (mut shown, mut at) = (0, Instant::from_micros(i64::MIN));
    let mut settled = true;
    let desk = node.desk();
    loop {
        if !node.watch().is_heard() {
            let asked = tokio::select! {
                _ = stopped.changed() => return,
                asked = recall(&node) => asked,
            };
            if let Err(error) = asked {
                tracing::error!(%error, "what witnesses know of this trail could not be asked for");
            }
        }
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let size = match desk.registry(|conn| head::extent(conn).map(|(size, _)| size)) {
            Ok(size) => size,
            Err(error) => {
                tracing::error!(%error, "the trail's head cannot be read to show it to witnesses");
                continue;
            }
        };
        let now = node.now();
        if size == 0 || size == shown && settled && (0..AGAIN).contains(&now.since(at)) {
            continue;
        }
        let publishing = publish(&node);
        let round = tokio::select! {
            _ = stopped.changed() => return,
            round = publishing => round,
        };
        match round {
            Ok(round) => (shown, at, settled) = (round.size, now, round.is_complete()),
            Err(error) => tracing::error!(%error, "the trail's head was not shown to its witnesses"),
        }
    }
}

/// Whether this node may disclose anything now. Where what witnesses said is too old the head is shown to them first: its
/// clock or its network may have been away for longer than their word counts.
///
/// # Errors
/// [`Failure::Hidden`], [`Failure::Behind`], [`Failure::Unheard`] or [`Failure::Unwitnessed`].
pub async fn disclosable(node: &Node) -> Result<(), Failure> {
    if node.hides_entries() {
        return Err(Failure::Hidden);
    }
    heard(node).await?;
    let watch = node.watch();
    if watch.may_disclose(node.now()).is_ok() {
        return Ok(());
    }
    publish(node).await?;
    watch.may_disclose(node.now()).map_err(Failure::Unwitnessed)
}
