//! This agency as its descriptor and its agreements describe it: from the configuration and the keys on disk.

use agreements::ids::Digest;
use agreements::party::{
    Approvals, Determination, NodeAddress, Official, Party, Policy, PolicyPurpose, Processor, PublicMeeting, Service,
    State,
};
use agreements::purpose::PurposeError;
use agreements::time::Instant;
use jiff::civil::Date;

use crate::config::Config;
use crate::node::{OpenError, log_vkey, read_key};
use crate::trail::cosignature::CosignerKey;
use crate::trail::epoch;

/// Why this agency cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum AgencyError {
    /// Something is missing in the configuration.
    #[error("concordat.toml: {0} is not set")]
    Missing(&'static str),
    /// A date of what has happened that is still to come.
    #[error("concordat.toml: {0} is {1}, which is still to come; write the day on which it happened")]
    Future(&'static str, Date),
    /// A purpose of the policy is none.
    #[error("concordat.toml: policy.purposes: `{0}`: {1}")]
    Purpose(String, PurposeError),
    /// A processor whose service is not named.
    #[error("concordat.toml: agency.processors: `{0}`: write `Name = hosting` or `Name = towing` (V-05)")]
    Processor(String),
    /// A key cannot be read.
    #[error(transparent)]
    Key(Box<OpenError>),
}

impl From<OpenError> for AgencyError {
    fn from(error: OpenError) -> Self {
        Self::Key(Box::new(error))
    }
}

/// The name of a node's witness, from the origin of its log: the same in every epoch, because policies have it.
#[must_use]
pub fn witness_name(log_origin: &str) -> String {
    format!("{}/witness", epoch::base(log_origin))
}

/// The key of a node's witness; nothing where it is no Ed25519 key.
///
/// # Errors
/// It cannot be read.
pub fn witness_key(config: &Config) -> Result<Option<CosignerKey>, OpenError> {
    let key = read_key(&config.keys.witness_key())?.public().ed25519_bytes();
    Ok(key.and_then(|key| CosignerKey::new(&witness_name(&config.keys.log_origin), key).ok()))
}

/// The agency of `config`, whose TLS certificate has the key with this hash, as it is described at `now`.
///
/// # Errors
/// A key cannot be read, or a date or hash is missing, or a date of what has happened is after `now`.
pub fn party(config: &Config, tls_spki: Digest, now: Instant) -> Result<Party, AgencyError> {
    let (agency, policy, approvals) = (&config.agency, &config.policy, &config.approvals);
    let text = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    let happened = |key, date: Option<Date>| match date {
        None => Err(AgencyError::Missing(key)),
        Some(date) if now.date().is_none_or(|today| date > today) => Err(AgencyError::Future(key, date)),
        Some(date) => Ok(date),
    };
    let elements = &policy.elements;
    let key = |path: std::path::PathBuf| -> Result<String, AgencyError> { Ok(read_key(&path)?.public().to_string()) };
    let (log, witness) = (log_vkey(config)?, witness_key(config)?);
    Ok(Party {
        ori: agency.ori,
        legal_name: agency.legal_name.clone(),
        kind: agency.kind,
        state: State::CA,
        county: agency.county.clone(),
        hub: agency.hub,
        custodian_title: agency.custodian_title.clone(),
        official: Official {
            name: agency.official_name.clone(),
            title: agency.official_title.clone(),
            key: text(&agency.official_key),
        },
        identity_key: std::fs::read_to_string(config.keys.identity_public())
            .map(|text| text.trim().to_owned())
            .map_err(|_| AgencyError::Missing("keys.folder/identity.pub (made by `concordat init`)"))?,
        policy: Policy {
            url: policy.url.clone(),
            sha256: policy.sha256.ok_or(AgencyError::Missing("policy.sha256"))?,
            checked_on: happened("policy.checked_on", policy.checked_on)?,
            checked_by: policy.checked_by.clone(),
            elements: agreements::party::Elements {
                a: text(&elements.a),
                b: text(&elements.b),
                c: text(&elements.c),
                d: text(&elements.d),
                e: text(&elements.e),
                f: text(&elements.f),
                g: text(&elements.g),
            },
            purposes: policy.purposes.iter().map(|text| purpose(text)).collect::<Result<_, _>>()?,
        },
        node: NodeAddress {
            url: config.peer.url.as_str().to_owned(),
            tls_spki,
            seal_key: key(config.keys.seal_key())?,
            log_origin: log.name().to_owned(),
            log_vkey: log.to_string(),
            witness_vkey: witness.ok_or(AgencyError::Missing("a witness key of Ed25519"))?.to_string(),
        },
        contacts: agency.contacts.clone(),
        processors: agency.processors.iter().map(|text| processor(text)).collect::<Result<_, _>>()?,
        approvals: Approvals {
            counsel: approvals.counsel.clone(),
            public_meeting: PublicMeeting {
                date: happened("approvals.public_meeting_date", approvals.public_meeting_date)?,
                url: approvals.public_meeting_url.clone(),
            },
            signing_authority: approvals.signing_authority.clone(),
        },
        determination: match (agency.determination_sha256, agency.determination_expires_on) {
            (Some(sha256), Some(expires_on)) => Some(Determination { sha256, expires_on }),
            (None, None) => None,
            (Some(_), None) => return Err(AgencyError::Missing("agency.determination_expires_on")),
            (None, Some(_)) => return Err(AgencyError::Missing("agency.determination_sha256")),
        },
    })
}

/// `Name = service`.
fn processor(text: &str) -> Result<Processor, AgencyError> {
    let unclear = || AgencyError::Processor(text.to_owned());
    let (name, service) = text.rsplit_once('=').ok_or_else(unclear)?;
    let service = match service.trim() {
        "hosting" => Service::Hosting,
        "towing" => Service::Towing,
        _ => return Err(unclear()),
    };
    Ok(Processor { name: name.trim().to_owned(), service })
}

/// `Own words = purpose`, or the purpose alone.
fn purpose(text: &str) -> Result<PolicyPurpose, AgencyError> {
    let (name, purpose) = text.rsplit_once('=').unwrap_or((text, text));
    let purpose = purpose.trim().parse().map_err(|error| AgencyError::Purpose(text.to_owned(), error))?;
    Ok(PolicyPurpose { name: name.trim().to_owned(), purpose })
}
