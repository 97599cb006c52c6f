//! Partners with the values of the day: as they were enrolled, and as they changed since by what they said under their
//! agreements. Held in memory, so that a stranger is told nothing before any store is touched.

mod day;

use std::collections::HashMap;
use std::sync::Arc;

use agreements::ids::{AgreementId, Digest, Ori};
use agreements::message::StreamEvent;
use agreements::party::{Keys, Party};
use agreements::stream::Event;
use agreements::time::Instant;
use certs::key::PublicKey;
use diesel::result::QueryResult;

use super::standing;
use crate::db::{Conn, Tx};
use crate::registry::{agencies, agreements as documents};
use crate::trail::epoch;
use crate::trail::note::Vkey;
pub(crate) use day::{Named, replaced};

/// A partner and the keys that are its own today.
#[derive(Debug, Clone)]
pub struct Partner {
    party: Party,
    log: Vkey,
    past: Vec<Past>,
    news: Vec<News>,
    seen: Seen,
    forked: Option<Digest>,
}

/// Keys that were a partner's.
#[derive(Debug, Clone)]
pub struct Past {
    /// They.
    pub keys: Keys,
    /// The key of its trail among them.
    pub log: Vkey,
    /// The position in our trail of the entry that recorded their end: what they signed stands if our trail named it before.
    pub until: u64,
    /// The receipts that this entry named.
    pub named: Vec<Digest>,
}

/// A change of a partner's keys or of its place that took effect here.
#[derive(Debug, Clone)]
pub struct News {
    /// The position in our trail of the entry that recorded it.
    pub index: u64,
    /// When that was.
    pub at: Instant,
    /// Under which agreement it was said first.
    pub agreement: AgreementId,
    /// What it said.
    pub event: Event,
}

/// From what a partner's values of the day were made: what is verified with them counts only while nothing was added.
#[derive(Debug, Clone)]
pub struct Seen {
    ori: Ori,
    descriptor: Option<Digest>,
    changes: usize,
    epoch: i64,
}

impl Seen {
    /// Whether they are the values of the day under the head's lock.
    pub fn still(&self, tx: &mut Tx<'_>) -> QueryResult<bool> {
        // Whatever changes a partner's keys raises the epoch.
        if tx.epoch() == self.epoch {
            return Ok(true);
        }
        let file = agencies::descriptor(tx.conn(), self.ori)?;
        let changes = documents::changes(tx.conn(), Some(self.ori))?;
        Ok(file.map(|file| Digest::of(&file)) == self.descriptor && changes.len() == self.changes)
    }
}

/// Why a party's keys are none.
#[derive(Debug, thiserror::Error)]
pub enum PartnerError {
    /// The verifier key of the log.
    #[error("{0}: node.log_vkey: {1}")]
    Log(Ori, String),
    /// The verifier key does not bear the log's name.
    #[error("{0}: node.log_vkey bears another name than node.log_origin")]
    Origin(Ori),
    /// The seal key.
    #[error("{0}: node.seal_key: {1}")]
    Seal(Ori, String),
    /// The identity key.
    #[error("{0}: identity_key: {1}")]
    Identity(Ori, String),
}

impl Partner {
    /// The partner that `party` describes.
    ///
    /// # Errors
    /// A key in it is no key.
    pub fn new(party: Party) -> Result<Self, PartnerError> {
        let log = log_key(&party)?;
        seal_key(&party)?;
        let identity: Result<PublicKey, _> = party.identity_key.parse();
        identity.map_err(|error| PartnerError::Identity(party.ori, error.to_string()))?;
        let seen = Seen { ori: party.ori, descriptor: None, changes: 0, epoch: -1 };
        Ok(Self { party, log, past: Vec::new(), news: Vec::new(), seen, forked: None })
    }

    /// Its ORI.
    #[must_use]
    pub fn ori(&self) -> Ori {
        self.party.ori
    }

    /// All that its descriptor says, with the keys, the URL and the contacts of today.
    #[must_use]
    pub fn party(&self) -> &Party {
        &self.party
    }

    /// The key of its trail.
    #[must_use]
    pub fn log(&self) -> &Vkey {
        &self.log
    }

    /// The keys that were its own before, oldest first.
    #[must_use]
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// What changed since it was enrolled, oldest first.
    #[must_use]
    pub fn news(&self) -> &[News] {
        &self.news
    }

    /// SHA-256 of the evidence that its log has two trails, if our trail says so. A log of a new name has none.
    #[must_use]
    pub fn forked(&self) -> Option<Digest> {
        self.forked
    }

    /// From what these values of the day were made.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes over what the partner says, under `agreement`, of its keys or of its place. Whether that is news: it says the
    /// same under each of its agreements, and the first counts.
    ///
    /// What is news must be sealed by the seal key of today or by the identity key: a seal key that was replaced changes
    /// nothing any more, under whichever agreement. Keys that were replaced do not come back.
    ///
    /// # Errors
    /// A sentence that says why it is not heeded. The partner is as it was.
    pub fn heed(&mut self, agreement: AgreementId, said: &StreamEvent) -> Result<bool, String> {
        let vouched =
            standing::vouched(self.ori(), agreement, said, &[&self.party.node.seal_key, &self.party.identity_key]);
        match &said.event {
            Event::Rekeyed { keys, .. } => {
                if self.party.node.keys() == *keys || self.past.iter().any(|past| past.keys == *keys) {
                    return Ok(false);
                }
                vouched?;
                self.rekey(keys.clone()).map(|()| true)
            }
            Event::Moved { url, contacts, .. } => {
                if let Err(why) = vouched {
                    // It was said while that seal was the partner's own, and comes late: what was said since holds.
                    let past: Vec<&str> = self.past.iter().map(|past| past.keys.seal_key.as_str()).collect();
                    return standing::vouched(self.ori(), agreement, said, &past).map(|()| false).map_err(|_| why);
                }
                let same = self.party.node.url == *url && self.party.contacts == *contacts;
                self.party.node.url.clone_from(url);
                self.party.contacts.clone_from(contacts);
                Ok(!same)
            }
            _ => Ok(false),
        }
    }

    /// Whether one of `keys` was replaced before.
    fn brings_back(&self, keys: &Keys) -> bool {
        let old = self.party.node.keys();
        self.past.iter().any(|Past { keys: past, .. }| {
            keys.tls_spki != old.tls_spki && keys.tls_spki == past.tls_spki
                || keys.seal_key != old.seal_key && keys.seal_key == past.seal_key
                || keys.log_vkey != old.log_vkey && keys.log_vkey == past.log_vkey
                || keys.witness_vkey != old.witness_vkey && keys.witness_vkey == past.witness_vkey
        })
    }

    fn rekey(&mut self, keys: Keys) -> Result<(), String> {
        let old = self.party.node.keys();
        if self.brings_back(&keys) {
            return Err("a key that was replaced does not come back: make a new one".to_owned());
        }
        let mut party = self.party.clone();
        party.node = party.node.with_keys(keys);
        let log = log_key(&party).map_err(|error| error.to_string())?;
        let (before, after) = (self.log.name(), log.name());
        if epoch::base(before) != epoch::base(after) || epoch::number(after) < epoch::number(before) {
            return Err(format!(
                "a log that was {before} goes on under that name or a later epoch of it, and not as {after}"
            ));
        }
        seal_key(&party).map_err(|error| error.to_string())?;
        self.past.push(Past {
            keys: old,
            log: std::mem::replace(&mut self.log, log),
            until: u64::MAX,
            named: Vec::new(),
        });
        self.party = party;
        Ok(())
    }
}

fn log_key(party: &Party) -> Result<Vkey, PartnerError> {
    let log: Result<Vkey, _> = party.node.log_vkey.parse();
    let log = log.map_err(|error| PartnerError::Log(party.ori, error.to_string()))?;
    if log.name() == party.node.log_origin { Ok(log) } else { Err(PartnerError::Origin(party.ori)) }
}

/// The seal key that a party's description names.
///
/// # Errors
/// It is none.
pub fn seal_key(party: &Party) -> Result<PublicKey, PartnerError> {
    let key: Result<PublicKey, _> = party.node.seal_key.parse();
    key.map_err(|error| PartnerError::Seal(party.ori, error.to_string()))
}

/// A partner as it is described today; `None` if it is not enrolled, or left out.
pub fn known(conn: &mut Conn, ori: Ori) -> QueryResult<Option<Party>> {
    Ok(day::one(conn, ori)?.map(|partner| partner.party().clone()))
}

/// Every enrolled partner.
#[derive(Debug, Default)]
pub struct Partners {
    by_ori: HashMap<Ori, Arc<Partner>>,
    /// How long the trail was when they were read; `None` where one was left out, which may be put right without an entry.
    size: Option<u64>,
}

impl Partners {
    /// From the registry: each as the sealed file says that was imported, whose seal is verified again, and as it changed
    /// since. One of whose rows one is not sound any more, or is another agency's, is left out, and said in the log.
    pub fn load(conn: &mut Conn) -> QueryResult<Self> {
        day::today(conn)
    }

    /// The same, but that only those are read again of whom the trail recorded something since: changes by other hands, of
    /// which it records nothing, are for [`crate::tampering`] to find.
    pub(crate) fn followed(&self, conn: &mut Conn) -> QueryResult<Self> {
        match self.size {
            Some(size) => day::followed(conn, &self.by_ori, size),
            None => Self::load(conn),
        }
    }

    /// The partner with this ORI.
    #[must_use]
    pub fn find(&self, ori: Ori) -> Option<&Arc<Partner>> {
        self.by_ori.get(&ori)
    }

    /// The partner whose TLS key of today this is, if the certificate names it too.
    #[must_use]
    pub fn recognise(&self, ori: Ori, spki: Digest) -> Option<&Arc<Partner>> {
        self.find(ori).filter(|partner| partner.party.node.tls_spki == spki)
    }

    /// Whose log has the name of `log`, or another epoch of it, and another key, if it is not `ori`'s.
    pub(crate) fn named_alike(&self, ori: Ori, log: &Vkey) -> Option<Ori> {
        let alike = |it: &&Arc<Partner>| {
            it.ori() != ori && it.log().key() != log.key() && epoch::base(it.log().name()) == epoch::base(log.name())
        };
        self.all().find(alike).map(|it| it.ori())
    }

    /// Every partner, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.by_ori.values()
    }
}
