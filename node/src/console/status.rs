//! What the console shows of a node.

use agreements::ids::Ori;
use agreements::time::Instant;

/// A node as its console shows it: counts and states, nothing of what a read holds.
#[derive(Clone, Debug)]
pub struct Status {
    /// The agency's legal name.
    pub agency: String,
    /// Its ORI.
    pub ori: Ori,
    /// The version of this program.
    pub version: &'static str,
    /// When this was true.
    pub at: Instant,
    /// Whether the node exchanges data; if not, every reason, as a sentence that says what to do.
    pub ready: Result<(), Vec<String>>,
    /// What was changed by other hands, each as a sentence that says what to do. Empty on every good day.
    pub alarms: Vec<String>,
    /// What has to be renewed soon, or was changed on disk and is not used: sentences that say what to do.
    pub notices: Vec<String>,
    /// The trail.
    pub trail: TrailStatus,
    /// Who witnesses it.
    pub witnesses: WitnessesStatus,
    /// How many partners are enrolled.
    pub partners: u64,
    /// How many agreements are in each status, in the order in which they are shown.
    pub agreements: Vec<(&'static str, u64)>,
    /// The reads.
    pub reads: ReadsStatus,
    /// How it stands with mail.
    pub mail: crate::mail::Standing,
}

/// The trail as the console shows it.
#[derive(Clone, Debug)]
pub struct TrailStatus {
    /// The origin line of its checkpoints.
    pub origin: String,
    /// Its number of entries.
    pub size: u64,
    /// How far its recomputation is, or what came of it.
    pub check: String,
}

/// The trail's witnesses as the console shows them.
#[derive(Clone, Debug, Default)]
pub struct WitnessesStatus {
    /// Whether a quorum of them vouches for it, or that there is no policy.
    pub says: String,
    /// Each with what it said last.
    pub last: Vec<(String, String)>,
    /// What the federation should mend in its policy.
    pub weaknesses: Vec<String>,
}

/// The reads as the console shows them.
#[derive(Clone, Debug)]
pub struct ReadsStatus {
    /// How many are kept.
    pub count: u64,
    /// When the newest was seen.
    pub newest: Option<Instant>,
}

/// Whether a node exchanges data, as a supervisor process is told.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// See [`Status::ready`].
    pub ready: Result<(), Vec<String>>,
    /// See [`Status::alarms`].
    pub alarms: Vec<String>,
    /// How many entries from before the start were not held to their columns yet.
    pub unchecked: u64,
}

/// Where the console asks for a [`Status`]. It is called on a thread that may block.
pub trait StatusSource: Send + Sync {
    /// Whether the node exchanges data now. Asked often: it costs no more than a look at the head.
    fn readiness(&self) -> Readiness;

    /// The node now.
    fn status(&self) -> Status;
}
