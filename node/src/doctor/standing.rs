//! The agreements with a partner as both sides see them, and whether the trail that it shows now continues the one that
//! it showed before.

use agreements::ids::{AgreementId, Ori};
use agreements::status::Status;
use diesel::result::QueryResult;

use super::Findings;
use crate::db::Conn;
use crate::exchange::lifecycle::delivery::{self, View};
use crate::exchange::partner::Partner;
use crate::exchange::standing as standings;
use crate::exchange::wire::Envelope;
use crate::node::Node;
use crate::registry::agreements::{self as documents, Kept};
use crate::registry::{ag, heads};
use crate::trail::note::Checkpoint;
use crate::trail::proof;

/// An agreement as this node sees it, with what it keeps of the partner's events.
struct Ours {
    id: AgreementId,
    status: Status,
    theirs: Vec<Kept>,
}

/// Where the agreements with `partner` stand, here and there, and its trail.
pub(super) async fn look(found: &mut Findings, node: &Node, partner: &Partner) {
    let now = node.now();
    let desk = node.desk();
    // What cannot be read is said below.
    for review in desk.registry(ag::register).map(|register| register.reviews).unwrap_or_default() {
        if review.ori == partner.ori() {
            found.warn("early-review", review.says(), format!("`concordat review close {}` closes it", review.id));
        }
    }
    let ours = desk.registry(|conn| {
        let mut all = Vec::new();
        for id in documents::ids(conn, Some(partner.ori()))? {
            let status = standings::status(conn, id, now)?;
            all.push(Ours { id, status, theirs: documents::stream(conn, id, partner.ori())? });
        }
        Ok(all)
    });
    let ours = match ours {
        Ok(ours) => ours,
        Err(error) => {
            found.fail("agreement", error.to_string(), "see store.registry");
            found.not_tried(&["trail-head"], "the registry cannot be read");
            return;
        }
    };
    // What is over is over; the newest is looked at all the same, so that there is something to say.
    let live: Vec<&Ours> = ours
        .iter()
        .enumerate()
        .filter(|(at, one)| at + 1 == ours.len() || !matches!(one.status, Status::Ended { .. } | Status::Sunset { .. }))
        .map(|(_, one)| one)
        .collect();
    if live.is_empty() {
        found.warn(
            "agreement",
            "there is none with it",
            "`concordat agreement draft --template > draft.toml` starts one",
        );
        found.not_tried(&["trail-head"], "a trail is shown under an agreement");
        return;
    }
    let mut heads = Vec::new();
    let mut moved = Vec::new();
    for one in live {
        match delivery::view(node, partner, one.id, 0).await {
            Err(why) => found.fail("agreement", format!("{}: {why}", one.id), "the partner looks into its log"),
            Ok(None) => found.fail(
                "agreement",
                format!("{}: it does not know of it; here: {}", one.id, one.status.says()),
                format!("`concordat agreement sync {}` sends it again", one.id),
            ),
            Ok(Some(view)) => {
                compare(found, one, &view);
                heads.extend(shown(partner, &view, &one.theirs, &mut moved));
            }
        }
    }
    trail(found, node, partner.ori(), heads, &moved);
}

fn compare(found: &mut Findings, ours: &Ours, view: &View) {
    let (id, here, there) = (ours.id, &ours.status, &view.status);
    if let (Status::InForce { .. }, Status::UnderReview { .. }) = (here, there) {
        let says = format!("{id}: {}: it answers no question of this agency", there.says());
        found.warn("agreement", says, "mend what the review is about, and write to its contacts");
    } else if here.name() != there.name() {
        let says = format!("{id}: here {}; there {}", here.says(), there.says());
        found.fail("agreement", says, format!("`concordat agreement sync {id}` exchanges what one of the two lacks"));
    } else if matches!(here, Status::InForce { .. }) {
        found.ok("agreement", format!("{id}: {}, on both sides", here.says()));
    } else {
        let says = format!("{id}: {}, on both sides: nothing flows", here.says());
        found.warn("agreement", says, format!("`concordat agreement show {id}` says what it is about"));
    }
}

/// The heads that the partner's events are proven under now. Entries that are not where they were go to `moved`.
fn shown(partner: &Partner, view: &View, kept: &[Kept], moved: &mut Vec<String>) -> Vec<Checkpoint> {
    let mut heads = Vec::new();
    for (event, n) in view.events.iter().zip(1..) {
        let Ok(envelope) = Envelope::parse(event.get().as_bytes()) else {
            moved.push(format!("its event {n} is no entry"));
            continue;
        };
        let leaf = envelope.entry.leaf.get().as_bytes();
        let included = match proof::verify(&envelope.proof, leaf, partner.log()) {
            Ok(included) => included,
            Err(error) => {
                moved.push(format!("its event {n} is not proven: {error}"));
                continue;
            }
        };
        if let Some(before) = kept.get(n - 1) {
            let was = before.proof.as_ref().and_then(|text| proof::verify(text, &before.leaf, partner.log()).ok());
            if before.leaf != leaf || was.is_some_and(|was| was.index != included.index) {
                moved.push(format!("its event {n} is another entry, or at another place, than before"));
            }
        }
        heads.push(included.checkpoint);
    }
    heads
}

fn trail(found: &mut Findings, node: &Node, ori: Ori, heads: Vec<Checkpoint>, moved: &[String]) {
    let what = "trail-head";
    let fix = "stop the exchange (`concordat agreement suspend`), keep this node's receipts, and have the partner explain: it restored an old backup, or its trail was rewritten";
    if let Some(first) = moved.first() {
        found.fail(what, first.clone(), fix);
        return;
    }
    let Some(head) = heads.into_iter().max_by_key(|head| head.size) else {
        found.not_tried(&[what], "it has said nothing about an agreement yet, so it shows no head");
        return;
    };
    let seen = |conn: &mut Conn| -> QueryResult<_> { heads::newest(conn, ori) };
    match node.desk().registry(seen) {
        Err(error) => found.fail(what, error.to_string(), "see store.registry"),
        Ok(None) => found.ok(what, format!("{} entries; nothing was seen of it before", head.size)),
        Ok(Some((known, at))) if head.size < known.size => {
            let says = format!("{} entries now, but {} were seen at {at}: it was rolled back", head.size, known.size);
            found.fail(what, says, fix);
        }
        Ok(Some((known, at))) if head.size == known.size && head.root != known.root => {
            found.fail(
                what,
                format!("{} entries as at {at}, but with other content: it was rewritten", head.size),
                fix,
            );
        }
        Ok(Some((known, _))) => {
            found.ok(
                what,
                format!(
                    "{} entries, {} more than were seen before, and those kept here are in it",
                    head.size,
                    head.size - known.size
                ),
            );
        }
    }
}
