//! Holding partners to their witnesses: what they swear counts while a quorum vouches for a head of their log not too long
//! ago, under the policy that the agreement names (S35).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::ids::{Digest, Ori};
use agreements::time::Instant;

use super::Watch;
use crate::exchange::partner::Partner;
use crate::trail::cosignature::SignedText;
use crate::trail::note::{Checkpoint, Vkey};

/// Why a partner's trail does not count as witnessed. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// The two go by different policies.
    #[error(
        "the agreement names witness policy {demanded}, and this node has {has}: set trail.witness_policy to the federation's file",
        has = .own.map_or_else(|| "none".to_owned(), |own| own.to_string())
    )]
    Policy {
        /// What the agreement names.
        demanded: Digest,
        /// What this node has.
        own: Option<Digest>,
    },
    /// No cosigned head came.
    #[error("the entry came without a cosigned head, which the agreement's witness policy asks for")]
    Missing,
    /// What came is no head of that log.
    #[error("the cosigned head is not one that this log signed")]
    Head,
    /// Too few witnesses vouch for it.
    #[error("no quorum of the policy's witnesses cosigned the head that came")]
    Quorum,
    /// The quorum's word is too old.
    #[error("the newest cosigned head is of {since}: too long ago; have the node reach its witnesses")]
    Old {
        /// Since when.
        since: Instant,
    },
    /// A head that it showed some time ago is not in what its witnesses saw.
    #[error("its witnesses do not know what it showed this agency over ten minutes ago")]
    Hidden,
}

/// What was verified of a partner's newest cosigned head.
#[derive(Debug, Clone)]
struct Known {
    text: Arc<str>,
    log: Vkey,
    head: Checkpoint,
    since: Option<Instant>,
}

/// Partners' newest cosigned heads, each verified once.
#[derive(Debug, Default)]
pub(super) struct Held {
    known: Mutex<HashMap<Ori, Known>>,
}

impl Watch {
    /// Whether what `partner` swears counts at `now`, under an agreement that names the witness policy `demanded`. Where
    /// the agreement names none, nothing is asked for, and nothing is said by it.
    ///
    /// # Errors
    /// See [`NotHeld`].
    pub fn holds(
        &self,
        partner: &Partner,
        demanded: Option<Digest>,
        cosigned: Option<&str>,
        now: Instant,
    ) -> Result<(), NotHeld> {
        let Some(demanded) = demanded else { return Ok(()) };
        let policy = self.policy.as_ref().filter(|policy| policy.sha256() == demanded);
        let Some(policy) = policy else {
            return Err(NotHeld::Policy { demanded, own: self.policy.as_ref().map(super::Policy::sha256) });
        };
        let text = cosigned.ok_or(NotHeld::Missing)?;
        let known = self.held.known.lock().unwrap_or_else(PoisonError::into_inner).get(&partner.ori()).cloned();
        let known = if let Some(known) = known.filter(|known| &*known.text == text && known.log == *partner.log()) {
            known
        } else {
            let head = Checkpoint::verify(text, partner.log()).map_err(|_| NotHeld::Head)?;
            let note = SignedText::parse(text).map_err(|_| NotHeld::Head)?;
            // Nobody vouches for itself.
            let own: Option<super::CosignerKey> = partner.party().node.witness_vkey.parse().ok();
            let since = policy.witnessed(&note, |witness| Some(&witness.key) != own.as_ref());
            let known = Known { text: text.into(), log: partner.log().clone(), head, since };
            let mut all = self.held.known.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(partner.ori(), known.clone());
            known
        };
        let since = known.since.ok_or(NotHeld::Quorum)?;
        if now.since(since) > self.max_unwitnessed {
            return Err(NotHeld::Old { since });
        }
        if self.hidden(partner.ori(), known.head.size) {
            return Err(NotHeld::Hidden);
        }
        Ok(())
    }

    /// Whether `partner` showed a head over ten minutes ago that its cosigned head of `size` cannot have.
    fn hidden(&self, partner: Ori, size: u64) -> bool {
        self.overdue.load().get(&partner).is_some_and(|shown| size < *shown)
    }

    /// The newest cosigned head of `partner` that was verified when it came with what the partner said.
    #[must_use]
    pub fn newest_of(&self, partner: Ori) -> Option<(String, Checkpoint)> {
        let known = self.held.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&partner).filter(|known| known.since.is_some())?;
        Some((known.text.to_string(), known.head.clone()))
    }

    /// Takes over which partners showed, over ten minutes ago, heads that were not found in what their witnesses saw: the
    /// size of the largest of each.
    pub fn set_overdue(&self, overdue: std::collections::BTreeMap<Ori, u64>) {
        self.overdue.store(Arc::new(overdue));
    }
}
