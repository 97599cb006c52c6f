//! Asking whoever watches this log for the newest head that they know of it: at start, and whenever a witness says that it
//! knows another one than it is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agreements::ids::Digest;
use futures_util::future::join_all;

use super::round::{Target, fetch, targets};
use super::{Unheard, behind};
use crate::db::Conn;
use crate::exchange::Failure;
use crate::node::Node;
use crate::rotation;
use crate::trail::cosignature::SignedText;
use crate::trail::epoch;
use crate::trail::note::Checkpoint;

/// How many epochs after the registry's are asked for: a witness need not have been there in each of them.
const EPOCHS: u32 = 4;

/// What somebody who watches this log knows of it.
enum Word {
    /// Heads that this log signed, each as it came; none where it knows none.
    Heads(Vec<(Checkpoint, String)>),
    /// No word that counts.
    Nothing(String),
}

/// Asks everybody once, and keeps what shows that the registry was set back.
///
/// # Errors
/// The registry cannot be read or written. Who does not answer is no error.
pub async fn recall(node: &Node) -> Result<(), Failure> {
    let _turn = node.watch().recalling.lock().await;
    ask_all(node).await
}

async fn ask_all(node: &Node) -> Result<(), Failure> {
    ask_these(node, &targets(node)).await?;
    node.watch().recalled.store(true, Ordering::Release);
    Ok(())
}

/// Asks those of `targets` who have not said yet, since this process started, what they know. Nobody is shown a head before it
/// has said which one it knows: after a restored backup the two could convict this log.
pub(super) async fn ask_unheard(node: &Node, targets: Vec<Target>) -> Result<Vec<Target>, Failure> {
    let heard = |target: &Target| node.watch().heard.load().contains_key(target.name());
    if !targets.iter().all(heard) {
        let unheard: Vec<Target> = targets.iter().filter(|target| !heard(target)).cloned().collect();
        let _turn = node.watch().recalling.lock().await;
        ask_these(node, &unheard).await?;
    }
    Ok(targets)
}

async fn ask_these(node: &Node, targets: &[Target]) -> Result<(), Failure> {
    let watch = node.watch();
    let origin = node.party().node.log_origin.clone();
    let keys = node.desk().registry(|conn| rotation::log_keys(conn, node))?;
    let words = join_all(targets.iter().map(|target| word(node, target, &origin, &keys))).await;
    let mut heard = BTreeMap::new();
    let mut shown = Vec::new();
    for (target, word) in targets.iter().zip(words) {
        let witness = target.name();
        match word {
            Word::Nothing(why) => tracing::info!(witness, why, "what it knows of this trail is not known"),
            Word::Heads(heads) => {
                heard.insert(witness.to_owned(), !heads.is_empty());
                shown.extend(heads.into_iter().map(|(head, text)| (head, text, witness.to_owned())));
            }
        }
    }
    let now = node.now();
    for (head, text, witness) in shown {
        let size = head.size;
        let (by, of) = (witness.clone(), head.origin.clone());
        let keep = move |conn: &mut Conn| behind::keep(conn, &head, &text, &by, now);
        if node.registry().write("a head that is not here", keep).await? {
            tracing::error!(
                witness,
                origin = of,
                size,
                "ALARM: the registry does not have a head that its log signed: it was set back"
            );
        }
    }
    watch.hear(heard);
    node.follow_behind(&mut node.registry().reader()?)?;
    Ok(())
}

/// The newest heads of this log that one witness knows, of this epoch and of later ones: a backup may be of before them.
async fn word(node: &Node, target: &Target, origin: &str, keys: &[[u8; 32]]) -> Word {
    let mut found = Vec::new();
    let present = epoch::number(origin);
    for number in present..=present.saturating_add(EPOCHS).min(epoch::LAST) {
        let name = epoch::named(origin, number);
        let path = format!("{}/checkpoint", Digest::of(name.as_bytes()));
        let reply = match fetch(node, target, &path).await {
            Ok(reply) => reply,
            Err(why) if found.is_empty() => return Word::Nothing(why),
            Err(_) => break,
        };
        match reply.status {
            200 => {
                let text = std::str::from_utf8(&reply.body).unwrap_or_default();
                let head = behind::own(text, origin, keys).filter(|head| head.origin == name);
                let Some(head) = head else {
                    let witness = target.name();
                    tracing::warn!(witness, "it shows a head of this trail that this trail's key did not sign");
                    return Word::Nothing("it showed a head that this log did not sign".to_owned());
                };
                // A head that this log signed convicts by itself; only the witness's own line makes it the witness's word.
                let cosigned = SignedText::parse(text).is_ok_and(|note| target.cosigned(&note));
                found.push((head, text.to_owned()));
                if !cosigned {
                    tracing::warn!(witness = target.name(), "it shows a head of this trail without its own line");
                }
            }
            // It knows none, or has no door that would show one; a later one it may know.
            404 | 405 | 501 => {}
            status if found.is_empty() => return Word::Nothing(format!("status {status}")),
            _ => break,
        }
    }
    Word::Heads(found)
}

/// Lets everybody say once in the life of this process what they know, before anything is said to a partner.
///
/// # Errors
/// [`Failure::Behind`], or the registry cannot be read.
pub async fn settled(node: &Node) -> Result<(), Failure> {
    let watch = node.watch();
    if !watch.recalled.load(Ordering::Acquire) {
        let _turn = watch.recalling.lock().await;
        if !watch.recalled.load(Ordering::Acquire) {
            ask_all(node).await?;
        }
    }
    match watch.behind() {
        Some(behind) => Err(Failure::Behind(Arc::clone(&behind))),
        None => Ok(()),
    }
}

/// The same before data is asked for or disclosed; and with a policy its quorum must have said what it knows since this
/// process started.
///
/// # Errors
/// As [`settled`], or [`Failure::Unheard`].
pub async fn heard(node: &Node) -> Result<(), Failure> {
    settled(node).await?;
    let watch = node.watch();
    if watch.is_heard() {
        return Ok(());
    }
    // Of those who wait for their turn the first asks for all of them.
    let since = tokio::time::Instant::now();
    let mut turn = watch.recalling.lock().await;
    if !watch.is_heard() && turn.is_none_or(|asked| asked < since) {
        let begun = tokio::time::Instant::now();
        ask_all(node).await?;
        *turn = Some(begun);
    }
    drop(turn);
    match watch.behind() {
        Some(behind) => Err(Failure::Behind(behind)),
        None if watch.is_heard() => Ok(()),
        None => Err(Unheard.into()),
    }
}
