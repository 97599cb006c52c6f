//! Getting a partner's list of a day, whole, and what its log has at the places that it names.

use std::collections::{BTreeMap, BTreeSet};

use agreements::entry::Leaf;
use agreements::ids::{Digest, RequestId};
use agreements::protocol;
use agreements::time::Instant;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::value::RawValue;

use super::listing::{DayList, Listed, bounds};
use super::{SETTLED, run::NotDone};
use crate::exchange::ask::problem;
use crate::exchange::partner::Partner;
use crate::exchange::tiles;
use crate::exchange::wire::Envelope;
use crate::node::Node;
use crate::registry::heads;
use crate::trail::note::Checkpoint;

/// So many entries of a day are read at most: over ten times what the largest agencies exchange in one.
const MOST: usize = 200_000;

/// A partner's list of a day, whole.
#[derive(Debug)]
pub(super) struct Whole {
    /// In the order of its log.
    pub(super) entries: Vec<Listed>,
    /// The last head that it named.
    pub(super) head: Checkpoint,
}

/// Reads all pages of the list, and remembers the heads that they name: its log must have them as its beginning.
pub(super) async fn list(node: &Node, partner: &Partner, day: Date) -> Result<Whole, NotDone> {
    let mut entries: Vec<Listed> = Vec::new();
    let mut after: Option<u64> = None;
    loop {
        let page = page(node, partner, day, after).await?;
        let head = head(node, partner, &page).await?;
        let wrong = |why: &str| NotDone::Away(format!("its list of {day} is none: {why}"));
        if let Some(why) = unsound(&page, day, after) {
            return Err(wrong(why));
        }
        entries.extend(page.entries);
        if entries.len() > MOST {
            return Err(wrong("it is longer than an exchange of a day can be"));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(Whole { entries, head }),
        }
    }
}

async fn page(node: &Node, partner: &Partner, day: Date, after: Option<u64>) -> Result<DayList, NotDone> {
    let behind = after.map(|after| format!("?after={after}")).unwrap_or_default();
    let reply = node.dialer().fetch(partner, &format!("log/day/{day}{behind}")).await;
    let reply = reply.map_err(|error| NotDone::Away(error.to_string()))?;
    if reply.status != 200 {
        return Err(NotDone::Away(format!("status {}: {}", reply.status, problem(&reply.body))));
    }
    let page: DayList = protocol::read(&reply.body).map_err(|error| NotDone::Away(error.to_string()))?;
    if page.origin != partner.ori() || page.to != node.ori() || page.day != day {
        return Err(NotDone::Away("it sends another list than was asked for".to_owned()));
    }
    let (_, until) = bounds(day).ok_or(NotDone::NoDay)?;
    if page.at < until.plus(SETTLED) {
        return Err(NotDone::NotYet(format!("it is {} there, and {day} is not over by an hour", page.at)));
    }
    Ok(page)
}

/// The head that a page names, remembered.
async fn head(node: &Node, partner: &Partner, page: &DayList) -> Result<Checkpoint, NotDone> {
    let head = Checkpoint::verify(&page.checkpoint, partner.log())
        .map_err(|error| NotDone::Away(format!("the head that its list names: {error}")))?;
    let (ori, seen, text, now) = (partner.ori(), head.clone(), page.checkpoint.clone(), node.now());
    node.registry().write("a head of a list", move |conn| heads::see(conn, ori, &seen, &text, now)).await?;
    Ok(head)
}

/// Why a page is none: each entry has its place behind the one before, within the day.
fn unsound(page: &DayList, day: Date, after: Option<u64>) -> Option<&'static str> {
    let (since, until) = bounds(day)?;
    let mut before = after;
    for entry in &page.entries {
        if before.is_some_and(|before| entry.index <= before) {
            return Some("its entries are not in the order of the log");
        }
        if !(since..until).contains(&entry.at) {
            return Some("an entry of another day is on it");
        }
        before = Some(entry.index);
    }
    // A list that does not go on would be read for ever.
    page.next
        .filter(|next| before.is_some_and(|before| *next < before) || after.is_some_and(|after| *next <= after))?;
    Some("its pages do not go on")
}

/// What a partner's log has at these positions, as far as `head` has them.
pub(super) async fn log(
    node: &Node,
    partner: &Partner,
    head: &Checkpoint,
    indexes: BTreeSet<u64>,
) -> Result<BTreeMap<u64, Digest>, NotDone> {
    if let Some(beyond) = indexes.last().filter(|index| **index >= head.size) {
        return Err(NotDone::NotYet(format!(
            "no quorum of witnesses vouches for a head of its log yet that has entry {beyond}"
        )));
    }
    if indexes.is_empty() {
        return Ok(BTreeMap::new());
    }
    Ok(tiles::leaves(node, partner, head, &indexes).await?)
}

/// An entry that the partner lists, whole and with its proof, as text; `None` where it does not give it.
pub(super) async fn whole(node: &Node, partner: &Partner, rid: RequestId) -> Option<Vec<u8>> {
    let reply = node.dialer().fetch(partner, &format!("log/entry/{rid}")).await.ok()?;
    (reply.status == 200).then(|| reply.body.to_vec())
}

/// What is kept for ever of an entry as evidence: its leaf and its proof, which is what convicts. What a question or an answer
/// says is about somebody, and has an end; nor is the salt kept, by which a guess at it could be tried. `None` where it is no
/// entry.
pub(super) fn evidence(text: &[u8]) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Kept<'a> {
        leaf: &'a RawValue,
        proof: String,
    }
    let envelope = Envelope::parse(text).ok()?;
    Leaf::from_bytes(envelope.entry.leaf.get().as_bytes()).ok()?;
    serde_json::to_vec(&Kept { leaf: envelope.entry.leaf, proof: envelope.proof }).ok()
}

/// Whether a day is over by an hour here.
pub(super) fn settled(day: Date, now: Instant) -> bool {
    bounds(day).is_some_and(|(_, until)| now >= until.plus(SETTLED))
}
