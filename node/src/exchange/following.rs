//! Following partners' logs: each head that a partner showed us has to be the beginning of one that its witnesses saw, which
//! its hash tiles prove. A log for which that is false has two trails, and nothing is exchanged with it any more (S35).
//!
//! Only hashes are fetched, under a head that the log signed: they say nothing about anybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::time::Instant;
use diesel::result::QueryResult;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tlog_tiles::Hash;
use tokio::sync::watch;

use super::Failure;
use super::answer::canonical;
use super::partner::Partner;
use super::tiles::{NO_TILES, Tiles, Trouble};
use crate::db::{Conn, Tx};
use crate::jobs::Stop;
use crate::node::{Desk, Node, fresh_rid};
use crate::registry::heads::{self, Seen};
use crate::trail::cosignature::SignedText;
use crate::trail::note::Checkpoint;
use crate::trail::told::{self, Which};
use crate::trail::{Draft, Facts};
use crate::witness::evidence::{self, Fork, Prefix};

/// How often partners' heads are looked after.
const TICK: Duration = Duration::from_secs(5);
/// A head that was seen so long ago, in microseconds, must be in what its log's witnesses saw.
pub const DUE: i64 = 10 * Instant::MINUTE;
/// How many heads of a partner are looked after at once.
const AT_ONCE: i64 = 2000;

/// The message of a `trail.forked` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forked {
    /// Version of this message.
    pub v: u16,
    /// The log's origin.
    pub origin: String,
    /// SHA-256 of the evidence, as it is kept and shown by `concordat trail forks`.
    pub evidence: Digest,
}

/// The logs of which this node's trail says that they have two trails, with the evidence; the inner error says which entry
/// is not as it was recorded.
pub(crate) fn forked(conn: &mut Conn) -> QueryResult<Result<BTreeMap<String, Digest>, String>> {
    let told = match told::told(conn, Kind::TrailForked, Which::All)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let read = told.iter().map(|told| json::parse::<Forked>(&told.message));
    Ok(read
        .map(|said| said.map(|said| (said.origin, said.evidence)))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string()))
}

/// Works until it is told to stop.
pub async fn serve(node: Arc<Node>, mut stopped: watch::Receiver<Stop>) {
    let desk = node.desk();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let looking = look(&node, &desk);
        let looked = tokio::select! {
            _ = stopped.changed() => return,
            looked = looking => looked,
        };
        if let Err(error) = looked {
            tracing::error!(%error, "partners' heads were not held to what their witnesses saw");
        }
    }
}

/// Looks once after every partner of which a head waits, records what convicts a log, and says to the gate who owes what.
///
/// # Errors
/// The registry. A partner that cannot be reached is none: its heads wait.
pub async fn look(node: &Node, desk: &Desk) -> Result<(), Failure> {
    see_all(node).await?;
    let now = node.now();
    let waiting = desk.registry(|conn| heads::waiting(conn, now))?;
    let partners = node.partners();
    let followed = waiting.keys().filter_map(|ori| partners.find(*ori)).map(|partner| follow(node, partner));
    for (came, ori) in join_all(followed).await.into_iter().zip(waiting.keys()) {
        match came {
            Ok(_) => {}
            Err(Trouble::Failure(error)) => return Err(error),
            Err(Trouble::Partner(why)) => tracing::debug!(%ori, why, "a partner's heads wait"),
        }
    }
    record(node).await?;
    let due = desk.registry(|conn| heads::waiting(conn, now.plus(-DUE)))?;
    node.watch().set_overdue(due.into_iter().filter_map(|(ori, size)| Some((ori, size?))).collect());
    Ok(())
}

/// Holds a partner's heads to its newest one that counts here, and records what convicts its log. That head.
pub(crate) async fn hold(node: &Node, partner: &Partner) -> Result<Checkpoint, Trouble> {
    let head = follow(node, partner).await?;
    record(node).await?;
    Ok(head)
}

/// Holds a partner's heads to its newest one that a quorum vouches for; without a policy, to its newest.
async fn follow(node: &Node, partner: &Partner) -> Result<Checkpoint, Trouble> {
    let (text, head) = newest(node, partner).await?;
    let ori = partner.ori();
    let mut waiting = {
        let mut conn = node.registry().reader().map_err(Failure::from)?;
        let anchor = heads::anchor(&mut conn, ori).map_err(Failure::from)?;
        let mut all = heads::wanted(&mut conn, ori, AT_ONCE).map_err(Failure::from)?;
        all.extend(anchor);
        all
    };
    waiting.sort_unstable_by_key(|seen| seen.head.size);
    let mut found = Vec::new();
    let mut tiles = Tiles::new(node, partner, &head);
    for seen in waiting.iter().filter(|seen| seen.head.size <= head.size && seen.head.size > 0) {
        let Some(prefix) = tiles.prefix(seen.head.size).await? else {
            return Err(Trouble::Partner(NO_TILES.to_owned()));
        };
        if prefix.0 == seen.head.root {
            found.push(seen.head.size);
        } else {
            convict(node, ori, seen, &text, &head, prefix).await?;
        }
    }
    if found.is_empty() {
        return Ok(head);
    }
    found.push(head.size);
    let (newest, now) = (head.clone(), node.now());
    let job = move |conn: &mut Conn| {
        // What later heads are held to as well: so all that were ever seen are of one trail.
        heads::see(conn, ori, &newest, &text, now)?;
        heads::found(conn, ori, &found, now)
    };
    node.registry().write("heads that were found", job).await.map_err(Failure::from)?;
    Ok(head)
}

/// Takes over the heads that were verified with whatever partners said, also where nothing came of it: what was refused, or
/// had been heard before.
async fn see_all(node: &Node) -> Result<(), Failure> {
    let came = node.checkpoints().take_fresh();
    let partners = node.partners();
    let of = |(head, text): (Checkpoint, String)| {
        let partner = partners.all().find(|partner| partner.log().name() == head.origin)?;
        Some((partner.ori(), head, text))
    };
    let came: Vec<_> = came.into_iter().filter_map(of).collect();
    if came.is_empty() {
        return Ok(());
    }
    let now = node.now();
    let job =
        move |conn: &mut Conn| came.iter().try_for_each(|(ori, head, text)| heads::see(conn, *ori, head, text, now));
    node.registry().write("heads that came", job).await?;
    Ok(())
}

/// Keeps what shows that a log has two trails.
async fn convict(
    node: &Node,
    ori: Ori,
    seen: &Seen,
    text: &str,
    head: &Checkpoint,
    (root, proof): (Digest, Vec<Hash>),
) -> Result<(), Failure> {
    let prefix = (seen.head.size < head.size).then(|| Prefix::new(root, &proof));
    let evidence = Fork { origin: head.origin.clone(), held: seen.text.clone(), shown: text.to_owned(), prefix };
    tracing::error!(%ori, held = seen.head.size, shown = head.size, "ALARM: a partner's log has two trails");
    let now = node.now();
    node.registry().write("evidence", move |conn| evidence::keep(conn, &evidence, now).map(drop)).await?;
    Ok(())
}

/// The newest head of a partner's log that counts here, as its log signed it.
pub(super) async fn newest(node: &Node, partner: &Partner) -> Result<(String, Checkpoint), Trouble> {
    let reply = node.dialer().fetch(partner, "log/checkpoint").await;
    let reply = reply.map_err(|error| Trouble::Partner(error.to_string()))?;
    let text = std::str::from_utf8(&reply.body).unwrap_or_default();
    let served = if reply.status == 200 { Checkpoint::verify(text, partner.log()).ok() } else { None };
    let served = served.map(|head| (text.to_owned(), head));
    if node.watch().policy().is_none() {
        return served.ok_or_else(|| Trouble::Partner(format!("status {} and no head of its log", reply.status)));
    }
    // The head of this instant is shown to witnesses only now: the newest that a quorum vouches for came with what it said.
    let own = partner.party().node.witness_vkey.parse().ok();
    let vouched = |(text, _): &(String, Checkpoint)| {
        SignedText::parse(text).is_ok_and(|note| {
            let policy = node.watch().policy();
            policy.is_some_and(|policy| policy.witnessed(&note, |it| Some(&it.key) != own.as_ref()).is_some())
        })
    };
    let came = node.watch().newest_of(partner.ori());
    let known = [served.filter(vouched), came.filter(|(_, head)| head.origin == partner.log().name())];
    let best = known.into_iter().flatten().max_by_key(|(_, head)| head.size);
    best.ok_or_else(|| Trouble::Partner("no quorum vouches for a head of its log yet".to_owned()))
}

/// Records the evidence that the trail does not name yet: from then on nothing is exchanged with that log.
async fn record(node: &Node) -> Result<(), Failure> {
    if evidence::all(&mut node.registry().reader()?)?.is_empty() {
        return Ok(());
    }
    let partners = node.partners();
    let job = move |tx: &mut Tx<'_>| {
        let Ok(known) = forked(tx.conn())? else { return Ok(()) };
        for (sha256, evidence, _) in evidence::all(tx.conn())? {
            if known.contains_key(&evidence.origin) {
                continue;
            }
            // By hand anything could be written there: it counts if it convicts, with a key that is or was the log's.
            let of = |partner: &&Arc<Partner>| {
                let past = partner.past().iter().map(|past| &past.log);
                past.chain([partner.log()]).any(|key| evidence.convicts(key).is_ok())
            };
            let Some(partner) = partners.all().find(of).map(|partner| partner.ori()) else { continue };
            let message = Forked { v: 1, origin: evidence.origin, evidence: sha256 };
            let facts = Facts { partner: Some(partner), decision: Some("forked".to_owned()), ..Facts::default() };
            let rid = fresh_rid(tx.now())?;
            tx.append(Draft {
                kind: Kind::TrailForked,
                rid,
                message: canonical(&message)?,
                note: b"{}".to_vec(),
                facts,
            })?;
            tx.bump_epoch();
        }
        Ok(())
    };
    node.registry().record(job).await?;
    node.refresh_partners(&mut node.registry().reader()?)?;
    Ok(())
}
