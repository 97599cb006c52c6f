//! Partners as they were enrolled: pinned keys, held in memory so that a stranger is told nothing before any store is
//! touched.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use agreements::ids::{Digest, Ori};
use agreements::party::Party;
use certs::key::PublicKey;
use diesel::result::QueryResult;

use super::descriptor;
use crate::db::{Conn, steady};
use crate::registry::agencies;
use crate::trail::note::Vkey;

/// A partner and its pinned keys.
#[derive(Debug)]
pub struct Partner {
    party: Party,
    log: Vkey,
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
        let ori = party.ori;
        let log: Vkey = party
            .node
            .log_vkey
            .parse()
            .map_err(|error: crate::trail::note::NoteError| PartnerError::Log(ori, error.to_string()))?;
        if log.name() != party.node.log_origin {
            return Err(PartnerError::Origin(ori));
        }
        seal_key(&party)?;
        let identity: Result<PublicKey, _> = party.identity_key.parse();
        identity.map_err(|error| PartnerError::Identity(ori, error.to_string()))?;
        Ok(Self { party, log })
    }

    /// Its ORI.
    #[must_use]
    pub fn ori(&self) -> Ori {
        self.party.ori
    }

    /// All that its descriptor says.
    #[must_use]
    pub fn party(&self) -> &Party {
        &self.party
    }

    /// The key of its trail.
    #[must_use]
    pub fn log(&self) -> &Vkey {
        &self.log
    }
}

/// The seal key that a party's description names.
///
/// # Errors
/// It is none.
pub fn seal_key(party: &Party) -> Result<PublicKey, PartnerError> {
    let key: Result<PublicKey, _> = party.node.seal_key.parse();
    key.map_err(|error| PartnerError::Seal(party.ori, error.to_string()))
}

/// Every enrolled partner.
#[derive(Debug, Default)]
pub struct Partners {
    by_ori: HashMap<Ori, Arc<Partner>>,
}

impl Partners {
    /// From the registry: each as the sealed file says that was imported, whose seal is verified again. One whose file is
    /// not sound any more, or is another agency's, is left out, and said in the log.
    pub fn load(conn: &mut Conn) -> QueryResult<Self> {
        let mut by_ori = HashMap::new();
        let (files, recorded) = steady(conn, |conn| {
            let files = agencies::descriptors(conn)?;
            let recorded = agencies::recorded(conn)?;
            Ok::<_, diesel::result::Error>((files, recorded))
        })?;
        let recorded = recorded.unwrap_or_else(|what| {
            tracing::error!(
                what,
                "ALARM: every partner is left out: the trail's entries about them were changed by other hands"
            );
            BTreeSet::new()
        });
        for (ori, file) in files {
            if !recorded.contains(&(ori, Digest::of(&file))) {
                tracing::error!(%ori, "ALARM: a partner is left out: the trail has no entry of enrolling it by this file");
                continue;
            }
            match descriptor::read(&file).and_then(|(party, _)| Ok(Partner::new(party)?)) {
                Ok(partner) if partner.ori() == ori => drop(by_ori.insert(ori, Arc::new(partner))),
                Ok(partner) => {
                    tracing::error!(%ori, found = %partner.ori(), "ALARM: a partner is left out: its row was changed by other hands");
                }
                Err(error) => {
                    tracing::error!(%ori, %error, "ALARM: a partner is left out: its row was changed by other hands");
                }
            }
        }
        Ok(Self { by_ori })
    }

    /// The partner with this ORI.
    #[must_use]
    pub fn find(&self, ori: Ori) -> Option<&Arc<Partner>> {
        self.by_ori.get(&ori)
    }

    /// The partner whose pinned TLS key this is, if the certificate names it too.
    #[must_use]
    pub fn recognise(&self, ori: Ori, spki: Digest) -> Option<&Arc<Partner>> {
        self.find(ori).filter(|partner| partner.party.node.tls_spki == spki)
    }

    /// Every partner, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.by_ori.values()
    }
}
