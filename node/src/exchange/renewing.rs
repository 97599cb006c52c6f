//! Renewing the proofs of kept receipts: what a partner swore comes with a proof under its head of that instant, which no
//! witness has seen yet. A minute later witnesses have, and the same entry's proof under that head takes the place of the
//! first: so a receipt shows to anybody that a quorum saw the log that it is in.
//!
//! A new proof counts only if it is of the same leaf at the same place, under a head that has the first proof's as its
//! beginning. It is made here from the partner's hash tiles, so that one fetch serves the proofs of many receipts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agreements::entry::Leaf;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::time::Instant;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::watch;

use super::Failure;
use super::following;
use super::partner::Partner;
use super::tiles::{Tiles, Trouble};
use super::wire::Envelope;
use crate::auditing;
use crate::db::Conn;
use crate::exchange::partner::Partners;
use crate::jobs::Stop;
use crate::node::Node;
use crate::registry::exchanged::{self, Receipt};
use crate::registry::heads;
use crate::trail::cosignature::{CosignerKey, SignedText};
use crate::trail::note::Checkpoint;
use crate::trail::proof::{self, Included};

/// How often a running node looks after its receipts.
const TICK: Duration = Duration::from_secs(20);
/// Receipts for entries of so long ago, in microseconds, are looked after when a node starts, and each time after that those
/// since the last that still wait. For older ones there is the command.
const LATELY: i64 = 3 * Instant::DAY;
/// How many receipts are held at a time.
const PAGE: i64 = 256;
/// How many receipts of one partner a running node looks at in one go.
const AT_ONCE: u64 = 20_000;
/// An answer is kept so long after the entry that it is for was made, in microseconds, or is found when all is looked at anew.
const LATE: i64 = Instant::MINUTE;
/// After so many rounds a running node looks at all receipts of lately anew: an hour.
const ANEW: u32 = 180;
/// For how many rounds a partner that cannot be reached is left alone at most.
const RESTS: u32 = 15;

/// What came of it, for one partner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Renewed {
    /// How many receipts got a proof under a cosigned head.
    pub renewed: u64,
    /// How many had one.
    pub had: u64,
    /// How many are of an epoch of the log that is over: nobody cosigns its heads any more, and their proofs stay as they are.
    pub past: u64,
    /// How many no quorum has seen yet.
    pub waiting: u64,
    /// Which do not verify as they are kept, and why: `trail receipts --verify` says more.
    pub refused: Vec<(Digest, String)>,
    /// Why the partner's log could not be read, if it could not. What waits is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// From where on something still waits: nothing that is older does.
    #[serde(skip)]
    from: Option<Instant>,
}

/// Where a running node goes on with a partner's receipts.
struct Place {
    since: Instant,
    failed: u32,
    /// For how many more rounds it is left alone.
    rests: u32,
}

/// Works until it is told to stop.
pub async fn serve(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let mut places: BTreeMap<Ori, Place> = BTreeMap::new();
    let mut rounds: u32 = 0;
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let looking = round(&node, &mut places);
        tokio::select! {
            _ = stopped.changed() => return,
            () = looking => {}
        }
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(ANEW) {
            places.clear();
        }
    }
}

/// One look at each partner's receipts, but those that could not be reached and rest.
async fn round(node: &Node, places: &mut BTreeMap<Ori, Place>) {
    let (partners, begun, never) = (node.partners(), node.now().plus(-LATELY), AtomicBool::new(false));
    let mut due = Vec::new();
    for partner in partners.all() {
        let place = places.entry(partner.ori()).or_insert(Place { since: begun, failed: 0, rests: 0 });
        match place.rests.checked_sub(1) {
            Some(rests) => place.rests = rests,
            None => due.push((partner, place.since)),
        }
    }
    let looked =
        join_all(due.iter().map(|(partner, since)| of_partner(node, partner, *since, AT_ONCE, &|_| {}, &never)));
    for ((partner, _), came) in due.iter().zip(looked.await) {
        let Some(place) = places.get_mut(&partner.ori()) else { continue };
        match came {
            Ok(Renewed { pending, from, .. }) => {
                place.since = from.map_or(place.since, |from| from.plus(-LATE));
                place.failed = if pending.is_some() { place.failed.saturating_add(1) } else { 0 };
                place.rests = 2_u32.saturating_pow(place.failed).saturating_sub(1).min(RESTS);
            }
            Err(error) => tracing::error!(%error, "receipts could not be looked after"),
        }
    }
}

/// Renews every receipt that has no proof under a cosigned head: of all partners, or of one.
///
/// # Errors
/// The registry. A partner that cannot be reached is none.
pub async fn renew(
    node: &Node,
    which: Option<Ori>,
    progress: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<BTreeMap<Ori, Renewed>, Failure> {
    let mut all = BTreeMap::new();
    for partner in node.partners().all().filter(|partner| which.is_none_or(|ori| ori == partner.ori())) {
        let came = of_partner(node, partner, Instant::from_micros(0), u64::MAX, progress, stop).await?;
        all.insert(partner.ori(), came);
        if stop.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok(all)
}

/// Those of one partner, for entries of ours from `since` on.
async fn of_partner(
    node: &Node,
    partner: &Partner,
    since: Instant,
    at_most: u64,
    progress: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<Renewed, Failure> {
    let mut looking = Looking { node, partner, head: None, known: HashMap::new(), done: Renewed::default() };
    let (mut after, mut looked, mut last) = (None, 0_u64, None);
    while looked < at_most && !stop.load(Ordering::SeqCst) {
        let page = {
            let mut conn = node.registry().reader()?;
            exchanged::receipts_of(&mut conn, partner.ori(), since, after, PAGE)?
        };
        let Some(end) = page.last() else { break };
        (after, last) = (Some((end.of, end.leaf_hash)), Some(made(end.of)));
        looked += page.len() as u64;
        let (present, past): (Vec<_>, Vec<_>) = page.into_iter().partition(|it| looking.is_present(&it.proof));
        looking.done.past += past.len() as u64;
        let (had, wanting): (Vec<_>, Vec<_>) = present.into_iter().partition(|it| looking.has(&it.proof));
        looking.done.had += had.len() as u64;
        let Some(first) = wanting.first().map(|first| made(first.of)) else { continue };
        match looking.renew(wanting).await {
            Ok(()) => {}
            Err(Trouble::Failure(error)) => return Err(error),
            Err(Trouble::Partner(why)) => {
                looking.waits(first);
                looking.done.pending = Some(why);
                break;
            }
        }
        progress(looking.done.renewed);
    }
    let mut done = looking.done;
    // Where nothing waits, all that was looked at has what it needs.
    done.from = done.from.or(last);
    Ok(done)
}

/// When an entry of ours was made, by its id.
fn made(rid: RequestId) -> Instant {
    let millis = rid.as_bytes().iter().take(6).fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
    Instant::from_micros(millis.saturating_mul(1000))
}

/// Whether a checkpoint counts as witnessed here: by the policy's quorum, or where there is no policy by
/// anybody. No agency's own witness vouches for its log.
fn vouched(node: &Node, partner: &Partner, checkpoint: &str) -> bool {
    let Ok(signed) = SignedText::parse(checkpoint) else { return false };
    let own: Option<CosignerKey> = partner.party().node.witness_vkey.parse().ok();
    match node.watch().policy() {
        Some(policy) => policy.witnessed(&signed, |witness| Some(&witness.key) != own.as_ref()).is_some(),
        None => signed.signers() > 1,
    }
}

/// One look at a partner's receipts.
struct Looking<'a> {
    node: &'a Node,
    partner: &'a Partner,
    /// The partner's newest cosigned head, once one is needed.
    head: Option<(String, Checkpoint)>,
    /// Which checkpoints count as witnessed: many receipts have the same.
    known: HashMap<String, bool>,
    done: Renewed,
}

impl Looking<'_> {
    /// Whether a proof is under a head of the epoch that the partner's log is in.
    fn is_present(&self, text: &str) -> bool {
        proof::checkpoint(text).lines().next() == Some(self.partner.log().name())
    }

    /// Whether a proof is under a head that counts as witnessed.
    fn has(&mut self, text: &str) -> bool {
        let checkpoint = proof::checkpoint(text);
        if let Some(known) = self.known.get(checkpoint) {
            return *known;
        }
        let counts = vouched(self.node, self.partner, checkpoint);
        if self.known.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX) {
            self.known.clear();
        }
        self.known.insert(checkpoint.to_owned(), counts);
        counts
    }

    /// What was made then waits.
    fn waits(&mut self, made: Instant) {
        self.done.from = Some(self.done.from.map_or(made, |from| from.min(made)));
    }

    /// Those that verify as they are kept, with what their proofs show.
    fn sound(&mut self, wanting: Vec<Receipt>) -> Result<Vec<(Receipt, Included)>, Failure> {
        let mut conn = self.node.registry().reader()?;
        let partners = Partners::load(&mut conn)?;
        let mut sound = Vec::with_capacity(wanting.len());
        for receipt in wanting {
            match auditing::verify_receipt_of(&mut conn, &partners, &receipt)? {
                Ok((included, _)) => sound.push((receipt, included)),
                Err(why) => self.done.refused.push((receipt.leaf_hash, why.to_string())),
            }
        }
        Ok(sound)
    }

    /// Has the head of a proof held to the later ones, which convicts a log with two trails.
    async fn sees(&self, head: Checkpoint, proof: String) -> Result<(), Failure> {
        let (ori, now) = (self.partner.ori(), self.node.now());
        let job = move |conn: &mut Conn| heads::see(conn, ori, &head, proof::checkpoint(&proof), now);
        Ok(self.node.registry().write("a head that is not in a later one", job).await?)
    }

    /// New proofs for a page of receipts.
    async fn renew(&mut self, wanting: Vec<Receipt>) -> Result<(), Trouble> {
        let sound = self.sound(wanting)?;
        // By the size of the head that each has: the new one must begin with it.
        let Some((newest, largest)) = sound.iter().max_by_key(|(_, included)| included.checkpoint.size) else {
            return Ok(());
        };
        if self.head.as_ref().is_none_or(|(_, head)| head.size < largest.checkpoint.size) {
            self.head = Some(cosigned(self.node, self.partner, newest).await?);
        }
        let Some((text, head)) = self.head.clone() else { return Ok(()) };
        let mut tiles = Tiles::new(self.node, self.partner, &head);
        let mut renewed = Vec::new();
        for (receipt, included) in sound {
            if included.checkpoint.size > head.size {
                self.done.waiting += 1;
                self.waits(made(receipt.of));
                continue;
            }
            tiles.trim();
            let new = anew(&mut tiles, &included, &text).await?;
            let same = |new: &String| {
                let proven = proof::verify(new, &receipt.leaf, self.partner.log());
                proven.is_ok_and(|proven| proven.index == included.index)
            };
            let Some(new) = new.filter(same) else {
                self.sees(included.checkpoint, receipt.proof).await?;
                return Err(Trouble::Partner(NOT_IN_IT.to_owned()));
            };
            renewed.push((receipt.leaf_hash, receipt.proof, new));
        }
        self.done.renewed += renewed.len() as u64;
        let job = move |conn: &mut Conn| {
            renewed.iter().try_for_each(|(leaf, old, new)| exchanged::renew(conn, *leaf, old, new).map(drop))
        };
        self.node.registry().write("renewed receipts", job).await.map_err(Failure::from)?;
        Ok(())
    }
}

/// The proof of the entry that `included` is about, under the head of these tiles, of which `text` is the signed text; `None`
/// unless that head begins with the one that the entry was proven under before.
async fn anew(tiles: &mut Tiles<'_>, included: &Included, text: &str) -> Result<Option<String>, Trouble> {
    let first = &included.checkpoint;
    if tiles.prefix(first.size).await?.is_none_or(|(root, _)| root != first.root) {
        return Ok(None);
    }
    let path = tiles.path(included.index).await?;
    Ok(path.map(|path| proof::text(included.index, &path, text)))
}

/// What a partner shows that does not hold what it swore; following its log finds out which.
const NOT_IN_IT: &str =
    "its cosigned head does not show what it swore; `concordat trail forks` says if its log has two trails";

/// The partner's newest head that witnesses vouch for: as it serves it now, as it came with what the partner said, or as its
/// door gives it with the proof of an entry.
async fn cosigned(node: &Node, partner: &Partner, receipt: &Receipt) -> Result<(String, Checkpoint), Trouble> {
    let counts = |text: &str| vouched(node, partner, text);
    let served = match following::newest(node, partner).await {
        Ok((text, head)) if counts(&text) => Some((text, head)),
        Ok(_) | Err(Trouble::Partner(_)) => None,
        Err(failure) => return Err(failure),
    };
    let leaf = Leaf::from_bytes(&receipt.leaf).map_err(|error| Trouble::Partner(error.to_string()))?;
    let reply = node.dialer().fetch(partner, &format!("log/entry/{}", leaf.rid)).await;
    let reply = reply.map_err(|error| Trouble::Partner(error.to_string()))?;
    let given = Envelope::parse(&reply.body).ok().and_then(|envelope| {
        let text = proof::checkpoint_of(&envelope.proof)?.to_owned();
        let head = Checkpoint::verify(&text, partner.log()).ok()?;
        counts(&text).then_some((text, head))
    });
    let best = [served, given].into_iter().flatten().max_by_key(|(_, head)| head.size);
    best.ok_or_else(|| Trouble::Partner("no quorum of witnesses vouches for a head of its log yet".to_owned()))
}
