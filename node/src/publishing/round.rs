//! One round: the present head to every witness at once (c2sp.org/tlog-witness, `add-checkpoint`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agreements::time::Instant;
use diesel::result::QueryResult;
use futures_util::future::join_all;
use tlog_tiles::Hash;

use super::store::{self, Line};
use super::{PolicyFileError, Watch, recall};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Conn, snapshot};
use crate::exchange::Failure;
use crate::exchange::dial::Reply;
use crate::exchange::partner::Partner;
use crate::metrics::Answered;
use crate::node::Node;
use crate::tls;
use crate::trail::cosignature::{CosignerKey, SignedText};
use crate::trail::head::{Head, HeadError};
use crate::trail::tiles::{TileCache, Tree};
use crate::witness::request::{Shown, decimal};

/// How long one witness may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024;
/// How many partners witness a node that has no policy.
const PARTNERS: usize = 7;

/// What a witness did with a head that it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It cosigned.
    Cosigned {
        /// The head.
        size: u64,
        /// When, as it says.
        at: Instant,
    },
    /// It knows a larger head of this log: this node's registry was set back.
    Ahead {
        /// How large.
        size: u64,
    },
    /// What it knows is not the beginning of this trail: there are two of this name.
    Forked {
        /// How large the head is that it knows.
        size: u64,
    },
    /// It did not answer as a witness does.
    Failed(String),
}

impl Said {
    /// As the metrics count it.
    fn answered(&self) -> Answered {
        match self {
            Self::Cosigned { .. } => Answered::Cosigned,
            Self::Ahead { .. } => Answered::Ahead,
            Self::Forked { .. } => Answered::Forked,
            Self::Failed(_) => Answered::Failed,
        }
    }
}

/// What came of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// How large the head was that was shown.
    pub size: u64,
    /// What each witness said, by the name of its key.
    pub said: BTreeMap<String, Said>,
}

impl Round {
    /// Whether every witness cosigned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.said.values().all(|said| matches!(said, Said::Cosigned { .. }))
    }
}

/// A witness and how to reach it.
#[derive(Clone)]
pub(super) struct Target {
    key: CosignerKey,
    place: Place,
}

impl Target {
    /// The name of its key.
    pub(super) fn name(&self) -> &str {
        self.key.name()
    }

    /// Whether its line is under `note`.
    pub(super) fn cosigned(&self, note: &SignedText) -> bool {
        self.key.cosigned(note).is_some()
    }
}

#[derive(Clone)]
enum Place {
    /// At a partner's peer port: the path below `/peer/v1/`.
    Partner(Arc<Partner>, String),
    /// Anywhere else: its submission prefix.
    Web(String),
    /// The policy does not say where.
    Nowhere,
}

/// The client for witnesses that are no partners.
///
/// # Errors
/// See [`PolicyFileError`].
pub(super) fn web(config: &Config, clock: Arc<dyn Clock>) -> Result<reqwest::Client, PolicyFileError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::web(&config.trail.witness_ca, clock)?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .timeout(PATIENCE)
        .http1_only();
    let hosts = config.peer.hosts.iter();
    Ok(hosts.fold(builder, |builder, (host, address)| builder.resolve(host, *address)).build()?)
}

/// Whom to show this node's heads to.
pub(super) fn targets(node: &Node) -> Vec<Target> {
    let partners = node.partners();
    let at_partner = |url: &str| {
        partners.all().find_map(|partner| {
            let base = format!("{}/peer/v1/", partner.party().node.url.trim_end_matches('/'));
            url.strip_prefix(&base).map(|path| Place::Partner(Arc::clone(partner), path.to_owned()))
        })
    };
    let watch = node.watch();
    if let Some(policy) = watch.policy() {
        let others = policy.witnesses().iter().filter(|witness| Some(&witness.key) != watch.own.as_ref());
        let target = |witness: &crate::trail::policy::Witness| Target {
            key: witness.key.clone(),
            place: witness
                .url
                .as_deref()
                .map(|url| url.trim_end_matches('/'))
                .map_or(Place::Nowhere, |url| at_partner(url).unwrap_or_else(|| Place::Web(url.to_owned()))),
        };
        return others.map(target).collect();
    }
    let mut all: Vec<&Arc<Partner>> = partners.all().collect();
    all.sort_unstable_by_key(|partner| partner.ori());
    let target = |partner: &Arc<Partner>| {
        let key = partner.party().node.witness_vkey.parse().ok()?;
        Some(Target { key, place: Place::Partner(Arc::clone(partner), "witness".to_owned()) })
    };
    all.into_iter().filter_map(target).take(PARTNERS).collect()
}

/// The head that is shown, with the proof from the last one of each witness.
struct Showing {
    size: u64,
    checkpoint: String,
    olds: BTreeMap<String, u64>,
}

fn present(conn: &mut Conn) -> Result<Showing, HeadError> {
    snapshot(conn, |conn| {
        let head = Head::read(conn)?;
        Ok(Showing { size: head.size, checkpoint: head.checkpoint, olds: store::newest(conn)? })
    })
}

/// The proof that the tree of `size` entries begins with that of `old`: the tree only grows, so any later look will do.
fn proof(node: &Node, size: u64, old: u64) -> Result<Vec<Hash>, HeadError> {
    let mut conn = node.registry().reader().map_err(|error| {
        tracing::error!(%error, "the registry cannot be opened");
        HeadError::Row
    })?;
    snapshot(&mut conn, |conn| Ok(Tree::new(conn, &TileCache::default()).consistency(size, old)?))
}

/// Shows the present head to every witness, keeps what they say, and says what that was.
///
/// # Errors
/// The registry cannot be read or written. A witness that fails is none: it is in the round.
pub async fn publish(node: &Node) -> Result<Round, Failure> {
    let watch = node.watch();
    let turn = watch.turn.lock().await;
    let now = node.now();
    let targets = recall::ask_unheard(node, targets(node)).await?;
    if watch.behind().is_some() {
        // What would be shown contradicts what was shown before.
        return Ok(Round { size: 0, said: BTreeMap::new() });
    }
    let shows = present(&mut node.registry().reader()?).map_err(unreadable)?;
    if shows.size == 0 {
        return Ok(Round { size: 0, said: BTreeMap::new() });
    }
    let signed = SignedText::parse(&shows.checkpoint).map_err(|error| unreadable(error.into()))?;
    let heard = watch.heard.load_full();
    let asked = join_all(targets.iter().map(async |target| {
        if heard.contains_key(target.name()) {
            return ask(node, target, &shows, &signed).await;
        }
        (Said::Failed("it has not said yet which head it knows".to_owned()), None)
    }))
    .await;
    let (mut said, mut lines) = (BTreeMap::new(), Vec::new());
    for (target, (came, line)) in targets.iter().zip(asked) {
        node.metrics().witness(came.answered());
        tell(target.key.name(), &came, watch);
        said.insert(target.key.name().to_owned(), came);
        lines.extend(line);
    }
    watch.last.store(Arc::new(said.clone()));
    let is =
        |wanted: fn(&Said) -> bool| said.iter().filter(move |(_, said)| wanted(said)).map(|(name, _)| name.clone());
    watch.hear(is(|said| matches!(said, Said::Cosigned { .. })).map(|name| (name, true)).collect());
    // A quorum of those who cosigned just now.
    let is_new = watch.policy().is_some_and(|policy| {
        let cosigned = |name: &str| matches!(said.get(name), Some(Said::Cosigned { .. }));
        policy.reachable(|it| Some(&it.key) != watch.own.as_ref() && cosigned(it.key.name()))
    });
    let contradicted = is(|said| matches!(said, Said::Ahead { .. } | Said::Forked { .. })).next().is_some();
    let (size, checkpoint) = (shows.size, shows.checkpoint);
    let job = move |conn: &mut Conn| store::keep(conn, size, &checkpoint, &lines, now);
    node.registry().write("cosignatures", job).await?;
    let mut conn = node.registry().reader()?;
    watch.refresh(&mut conn)?;
    let cosigned = watch.cosigned();
    // What they said of this very head they said now.
    if let Some(at) = cosigned.since.filter(|at| at.micros() < i64::MAX && cosigned.size == size && is_new)
        && !watch.timed.swap(true, Ordering::AcqRel)
    {
        node.clock().hear(at);
    }
    let vouched = cosigned.size;
    node.registry().write("old cosignatures", move |conn| -> QueryResult<()> { store::prune(conn, vouched) }).await?;
    drop(turn);
    if contradicted {
        recall(node).await?;
    }
    Ok(Round { size, said })
}

fn unreadable(error: HeadError) -> Failure {
    tracing::error!(%error, "ALARM: the trail's head cannot be shown to witnesses");
    Failure::Registry(diesel::result::Error::NotFound)
}

/// Says once what a witness has to say that a person must hear.
fn tell(witness: &str, came: &Said, watch: &Watch) {
    let before = watch.last.load();
    if before.get(witness) == Some(came) {
        return;
    }
    match came {
        Said::Cosigned { .. } => {
            if !matches!(before.get(witness), Some(Said::Cosigned { .. }) | None) {
                tracing::info!(witness, "the witness cosigns again");
            }
        }
        Said::Ahead { size } => {
            tracing::error!(witness, size, "ALARM: the witness knows a larger head of this trail: it was set back");
        }
        Said::Forked { size } => {
            tracing::error!(
                witness,
                size,
                "ALARM: what the witness knows is not the beginning of this trail: there are two"
            );
        }
        Said::Failed(why) => tracing::warn!(witness, why, "the witness did not cosign"),
    }
}

/// Shows the head to one witness; once more where it says that it knows another one than we thought.
async fn ask(node: &Node, target: &Target, shows: &Showing, signed: &SignedText) -> (Said, Option<Line>) {
    let mut old = shows.olds.get(target.key.name()).copied().unwrap_or(0).min(shows.size);
    for _ in 0..2 {
        let proof = match proof(node, shows.size, old) {
            Ok(proof) => proof,
            Err(error) => return (Said::Failed(error.to_string()), None),
        };
        let reply = send(node, &target.place, Shown::body(old, &proof, &shows.checkpoint)).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(why) => return (Said::Failed(why), None),
        };
        let text = std::str::from_utf8(&reply.body).unwrap_or_default();
        if reply.status == 200 {
            return cosigned(target, shows.size, signed, text);
        }
        match refused(reply.status, text, old, shows.size) {
            Ok(size) => old = size,
            Err(said) => return (said, None),
        }
    }
    (Said::Failed("it knows another head each time that it is asked".to_owned()), None)
}

/// From which head it is to be shown this one instead, where a witness that was shown `size` entries after `old` says so; what
/// it said where there is nothing more to try. A witness of v1.0.0 of the specification answers 409 with the very size to a
/// head of that size with another root, one of v1.1.0 422: both say that there are two trails.
fn refused(status: u16, text: &str, old: u64, size: u64) -> Result<u64, Said> {
    match status {
        409 => match text.strip_suffix('\n').and_then(decimal) {
            Some(known) if known > size => Err(Said::Ahead { size: known }),
            // It knows the very head that we said, and ours is another one.
            Some(known) if known == size && known == old => Err(Said::Forked { size }),
            Some(known) if known != old => Ok(known),
            _ => Err(Said::Failed("409 without the size that it knows".to_owned())),
        },
        422 => Err(Said::Forked { size: old }),
        status => Err(Said::Failed(format!("status {status}"))),
    }
}

/// What a witness's answer of 200 says.
fn cosigned(target: &Target, size: u64, signed: &SignedText, lines: &str) -> (Said, Option<Line>) {
    let key = &target.key;
    let with = signed.clone().with(lines).ok().and_then(|text| SignedText::parse(&text).ok());
    let Some(at) = with.as_ref().and_then(|with| key.cosigned(with)) else {
        return (Said::Failed("its answer is no cosignature of the key that the policy has".to_owned()), None);
    };
    // Its own line alone: whatever else it sent is nobody's word.
    let line = lines.split_inclusive('\n').find(|line| {
        let one = signed.clone().with(line).ok().and_then(|text| SignedText::parse(&text).ok());
        one.is_some_and(|signed| key.cosigned(&signed) == Some(at))
    });
    let line = line.map(|text| Line { witness: key.name().to_owned(), size, text: text.to_owned(), at });
    (Said::Cosigned { size, at }, line)
}

async fn send(node: &Node, place: &Place, body: String) -> Result<Reply, String> {
    let sending = async {
        match place {
            Place::Nowhere => Err(NOWHERE.to_owned()),
            Place::Partner(partner, path) => {
                let path = format!("{path}/add-checkpoint");
                node.dialer().show(partner, &path, body).await.map_err(|error| error.to_string())
            }
            Place::Web(url) => whole(node.watch().web.post(format!("{url}/add-checkpoint")).body(body)).await,
        }
    };
    within(sending).await
}

/// Gets what a witness has under `path`, below its submission prefix.
pub(super) async fn fetch(node: &Node, target: &Target, path: &str) -> Result<Reply, String> {
    let fetching = async {
        match &target.place {
            Place::Nowhere => Err(NOWHERE.to_owned()),
            Place::Partner(partner, prefix) => {
                let path = format!("{prefix}/{path}");
                node.dialer().fetch(partner, &path).await.map_err(|error| error.to_string())
            }
            Place::Web(url) => whole(node.watch().web.get(format!("{url}/{path}"))).await,
        }
    };
    within(fetching).await
}

const NOWHERE: &str = "the policy does not say where it is";

async fn within(reply: impl Future<Output = Result<Reply, String>>) -> Result<Reply, String> {
    tokio::time::timeout(PATIENCE, reply).await.map_err(|_| "no answer within a second".to_owned())?
}

/// The whole answer of a witness that is no partner.
async fn whole(request: reqwest::RequestBuilder) -> Result<Reply, String> {
    let mut response = request.send().await.map_err(|error| reason(&error))?;
    let mut body = bytes::BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(|error| reason(&error))? {
        if body.len().saturating_add(part.len()) > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&part);
    }
    Ok(Reply { status: response.status().as_u16(), body: body.freeze() })
}

/// The innermost cause, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_understood_from_witnesses_of_both_versions_of_the_specification() {
        for (what, status, text, expected) in [
            ("v1.1.0: the same size, another root", 422, "", Err(Said::Forked { size: 20 })),
            ("v1.0.0: the same size, another root", 409, "20\n", Err(Said::Forked { size: 20 })),
            ("it knows an earlier head", 409, "7\n", Ok(7)),
            ("it knows none", 409, "0\n", Ok(0)),
            ("it knows a later head", 409, "21\n", Err(Said::Ahead { size: 21 })),
        ] {
            assert_eq!(refused(status, text, 20, 20), expected, "{what}");
        }
        assert_eq!(refused(422, "", 9, 20), Err(Said::Forked { size: 9 }), "what it knows is no beginning of this");
        for (status, text) in [(409, ""), (409, "20"), (409, "020\n"), (409, "x\n"), (404, ""), (500, "20\n")] {
            assert!(matches!(refused(status, text, 20, 20), Err(Said::Failed(_))), "{status} {text:?}");
        }
    }
}
