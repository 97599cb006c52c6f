//! Tells whose business it is that a partner's node has other keys or another place.

use agreements::ids::Ori;
use agreements::stream::Event;
use agreements::time::Instant;

use super::notices::{Due, Source};
use super::work::JobError;
use crate::exchange::partner::News;
use crate::mail::{Audience, MAX_AGE, Notice};
use crate::node::Node;
use crate::trail::epoch;
use crate::trail::note::Vkey;

/// The source of these notices.
pub(super) struct Partners;

/// Something new about a partner.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    ori: Ori,
    name: String,
    news: News,
}

impl Source for Partners {
    type World = Vec<Changed>;
    const PREFIX: &'static str = "partner";

    fn look(&self, node: &Node) -> Result<Vec<Changed>, JobError> {
        node.desk().registry(|conn| node.refresh_partners(conn))?;
        let partners = node.partners();
        let mut all: Vec<Changed> = Vec::new();
        for partner in partners.all() {
            let name = &partner.party().legal_name;
            let changed = |news: &News| Changed { ori: partner.ori(), name: name.clone(), news: news.clone() };
            all.extend(partner.news().iter().map(changed));
        }
        all.sort_by_key(|changed| changed.news.index);
        Ok(all)
    }

    fn due(world: &Vec<Changed>, now: Instant) -> Vec<Due> {
        // What is older was said, or is no news any more.
        let recent = |changed: &&Changed| now.since(changed.news.at) < MAX_AGE;
        world.iter().filter(recent).filter_map(due).collect()
    }
}

fn due(Changed { ori, name, news }: &Changed) -> Option<Due> {
    let (what, body) = match &news.event {
        Event::Rekeyed { compromised, reason, keys, .. } => {
            let epoch = keys.log_vkey.parse::<Vkey>().map_or(1, |log| epoch::number(log.name()));
            let (what, then) = if !*compromised && epoch > 1 {
                (
                    "may have restored its registry from a backup",
                    "If its log has this name since today, what it recorded after the backup is lost, and its trail has to be taken at \
                     its word for that time. Call the partner on a number that you know; compare with what is kept here \
                     (`concordat trail reconcile`, `concordat trail receipts --verify`), and suspend what you grant it until you are \
                     content (`concordat agreement suspend`).",
                )
            } else if *compromised {
                (
                    "has new keys: old ones may be in other hands",
                    "An old key is known or feared to be in other hands. Call the partner on a number that you know, and review what was exchanged under the agreements with it since (V-28): `concordat trail search --partner` and `concordat trail receipts --verify` show it.",
                )
            } else {
                (
                    "has new keys",
                    "Nothing has to be done. If this comes as a surprise, call the partner on a number that you know.",
                )
            };
            (
                what,
                format!(
                    "It says why: {reason}\n\nIts node is known by its new keys since then; what the old ones sign counts for nothing.\n\n{then}"
                ),
            )
        }
        Event::Moved { url, contacts, reason, .. } => (
            "moved",
            format!(
                "It says why: {reason}\n\nIts node is at {url}; to be written to: {}.\n\nNothing has to be done. If this comes as a surprise, call the partner on a number that you know.",
                contacts.join(", ")
            ),
        ),
        _ => return None,
    };
    let subject = format!("{name} ({ori}) {what}");
    let body = format!(
        "{subject}.\n\nIt said so under agreement {}, which entry {} of this trail recorded at {}.\n{body}\n",
        news.agreement, news.index, news.at
    );
    let dedup = format!("partner:{ori}:{}", news.index);
    Some(Due { reason: subject.clone(), notice: Notice { dedup, audience: Audience::Agreements, subject, body } })
}
