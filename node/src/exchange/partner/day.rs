//! The values of the day of each partner: its enrolment, and what it said since of its keys and its place, in the order in
//! which our trail acknowledged it. Nothing here is a row of its own: it is computed from what the trail holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::message::Acknowledgement;
use agreements::party::Party;
use diesel::result::QueryResult;
use serde::{Deserialize, Serialize};

use super::{News, Partner, Partners, Past, Seen};
use crate::db::{Conn, steady};
use crate::exchange::{descriptor, following, standing};
use crate::registry::agencies::{self, Enrolment, Replaced};
use crate::registry::agreements::{self as documents, KeptChange};
use crate::registry::exchanged;
use crate::trail::told::{self, Told, Which};
use crate::trail::{append, epoch as trail_epoch, head, news};

/// What says something of partners' enrolment, keys or places.
const KINDS: [Kind; 2] = [Kind::PeerEnrolled, Kind::AgreementAcknowledged];

pub(super) fn today(conn: &mut Conn) -> QueryResult<Partners> {
    steady(conn, |conn| {
        let (size, _) = head::extent(conn)?;
        let files = agencies::descriptors(conn)?;
        let enrolled = files.len();
        let by_ori = read(conn, files, None)?;
        let size = (by_ori.len() == enrolled).then_some(size);
        Ok(Partners { by_ori, size })
    })
}

/// One partner; `None` if it is not enrolled, or left out.
pub(super) fn one(conn: &mut Conn, ori: Ori) -> QueryResult<Option<Arc<Partner>>> {
    steady(conn, |conn| {
        let file = agencies::descriptor(conn, ori)?.map(|file| (ori, file));
        Ok(read(conn, file.into_iter().collect(), Some(ori))?.remove(&ori))
    })
}

/// Those that were read when the trail had `size` entries, as they are now.
pub(super) fn followed(conn: &mut Conn, before: &HashMap<Ori, Arc<Partner>>, size: u64) -> QueryResult<Partners> {
    steady(conn, |conn| {
        let Some(about) = news::about(conn, &KINDS, size)? else { return today(conn) };
        let mut by_ori = before.clone();
        for ori in about {
            match one(conn, ori)? {
                Some(partner) => by_ori.insert(ori, partner),
                None => return today(conn),
            };
        }
        Ok(Partners { by_ori, size: Some(head::extent(conn)?.0) })
    })
}

/// The partners that `files` describe: all, or one.
fn read(conn: &mut Conn, files: Vec<(Ori, Vec<u8>)>, only: Option<Ori>) -> QueryResult<HashMap<Ori, Arc<Partner>>> {
    let epoch = head::epoch(conn)?;
    let recorded = agencies::recorded(conn, only.map_or(Which::All, Which::About))?.unwrap_or_else(|what| {
        tracing::error!(
            what,
            "ALARM: every partner is left out: the trail's entries about them were changed by other hands"
        );
        BTreeMap::new()
    });
    let mut said: BTreeMap<Ori, Vec<KeptChange>> = BTreeMap::new();
    for change in documents::changes(conn, only)? {
        said.entry(change.partner).or_default().push(change);
    }
    let forked = match following::forked(conn)? {
        Ok(forked) => forked,
        Err(what) => {
            tracing::error!(
                what,
                "ALARM: every partner is left out: the trail's entries about forks were changed by other hands"
            );
            return Ok(HashMap::new());
        }
    };
    let mut by_ori = HashMap::new();
    for (ori, file) in files {
        let digest = Digest::of(&file);
        let Some(enrolment) = recorded.get(&ori).filter(|last| last.descriptor == digest) else {
            tracing::error!(%ori, "ALARM: a partner is left out: the trail has no entry of enrolling it by this file");
            continue;
        };
        let enrolled = descriptor::read(&file).and_then(|(party, _)| Ok(Partner::new(party)?));
        let mut partner = match enrolled {
            Ok(partner) if partner.ori() == ori => partner,
            Ok(partner) => {
                tracing::error!(%ori, found = %partner.ori(), "ALARM: a partner is left out: its row was changed by other hands");
                continue;
            }
            Err(error) => {
                tracing::error!(%ori, %error, "ALARM: a partner is left out: its row was changed by other hands");
                continue;
            }
        };
        let changes = said.remove(&ori).unwrap_or_default();
        partner.seen = Seen { ori, descriptor: Some(digest), changes: changes.len(), epoch };
        match follow(conn, &mut partner, enrolment, &changes)? {
            Ok(()) => {
                // A log does not get rid of its evidence by another epoch: that is for the people who enrol it anew.
                let its = |origin: &str| trail_epoch::base(origin) == trail_epoch::base(partner.log.name());
                partner.forked = forked.iter().find(|(origin, _)| its(origin)).map(|(_, evidence)| *evidence);
                by_ori.insert(ori, Arc::new(partner));
            }
            Err(what) => {
                tracing::error!(%ori, what, "ALARM: a partner is left out: what it said of its keys was changed by other hands");
            }
        }
    }
    Ok(by_ori)
}

/// Follows what the partner said, as our trail heard it. The inner error says what is not as it was recorded.
fn follow(
    conn: &mut Conn,
    partner: &mut Partner,
    enrolment: &Enrolment,
    changes: &[KeptChange],
) -> QueryResult<Result<(), String>> {
    for Replaced { keys, receipts, until } in &enrolment.replaces {
        let Ok(log) = keys.log_vkey.parse() else { return Ok(Err("a key that was replaced is none".to_owned())) };
        let until = until.unwrap_or(enrolment.index);
        partner.past.push(Past { keys: keys.clone(), log, until, named: receipts.clone() });
    }
    let mut heard = Vec::with_capacity(changes.len());
    let mut sound = BTreeSet::new();
    for change in changes {
        if sound.insert(change.agreement)
            && let Err(why) = standing::read_alone(conn, change.agreement)?
        {
            return Ok(Err(format!("agreement {}: {why}", change.agreement)));
        }
        match acknowledged(conn, change)? {
            // What was said before the file that it is enrolled by is in there.
            Ok((told, _)) if told.index < enrolment.index => {}
            Ok((told, note)) => heard.push((told, note, change)),
            Err(why) => return Ok(Err(why)),
        }
    }
    heard.sort_by_key(|(told, ..)| told.index);
    for (told, note, change) in heard {
        match partner.heed(change.agreement, &change.said) {
            Ok(false) => {}
            Ok(true) => {
                let last = partner.past.last_mut().filter(|past| past.until == u64::MAX);
                if let Some(past) = last {
                    (past.until, past.named) = (told.index, named(&note));
                }
                let event = change.said.event.clone();
                partner.news.push(News { index: told.index, at: told.at, agreement: change.agreement, event });
            }
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(()))
}

/// Our entry that acknowledged a change, and its note. The inner error says what is not as it was recorded.
fn acknowledged(conn: &mut Conn, change: &KeptChange) -> QueryResult<Result<(Told, Vec<u8>), String>> {
    let Some(heard) = exchanged::heard(conn, change.partner, change.rid)? else {
        return Ok(Err("the row is gone that says which entry acknowledged it".to_owned()));
    };
    let (told, note) = match told::by_rid(conn, Kind::AgreementAcknowledged, heard.answer)? {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Err("the entry is gone that acknowledged it".to_owned())),
        Err(why) => return Ok(Err(why)),
    };
    let of = json::parse::<Acknowledgement>(&told.message).map(|message| message.of);
    Ok(if of.is_ok_and(|of| of == change.leaf_hash) {
        Ok((told, note))
    } else {
        Err("another entry acknowledged it".to_owned())
    })
}

/// The note of an entry that acknowledged something.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// How many entries the partner's log had by the head that it came with: what has a later place was not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) head: Option<u64>,
    /// With a change of keys, the leaf hashes of receipts that the old key signed and that no entry of ours names: named
    /// here, they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) receipts: Vec<Digest>,
}

/// What the note of such an entry names.
fn named(note: &[u8]) -> Vec<Digest> {
    let read = append::read_note(note).and_then(|(_, note)| serde_json::from_str::<Named>(note).ok());
    read.unwrap_or_default().receipts
}

/// What is over when a partner that is enrolled by the file `held` is enrolled again by the newer `file`, which describes
/// `party`. The inner error says why it is not.
pub(crate) fn replaced(
    conn: &mut Conn,
    held: &[u8],
    file: &[u8],
    party: &Party,
) -> QueryResult<Result<Vec<Replaced>, String>> {
    let ori = party.ori;
    if held == file {
        return Ok(Err(format!("{ori} is enrolled already by this file")));
    }
    if descriptor::names(held).is_none_or(|identity| identity != party.identity_key) {
        return Ok(Err(format!(
            "{ori} is enrolled already, with another identity key, and that never changes: call the partner on a number that you know"
        )));
    }
    let Some(known) = one(conn, ori)? else {
        return Ok(Err(format!("what is known of {ori} was changed by other hands: run `concordat doctor`")));
    };
    let keys = party.node.keys();
    if known.brings_back(&keys) {
        return Ok(Err(format!(
            "this file of {ori} is older than what it said of its keys since: ask for a new one (`concordat peer export` there)"
        )));
    }
    let before =
        |past: &Past| Replaced { keys: past.keys.clone(), receipts: past.named.clone(), until: Some(past.until) };
    let mut replaces: Vec<Replaced> = known.past().iter().map(before).collect();
    if known.party().node.keys() != keys {
        let receipts = documents::acknowledgements(conn, ori)?;
        replaces.push(Replaced { keys: known.party().node.keys(), receipts, until: None });
    }
    Ok(Ok(replaces))
}
