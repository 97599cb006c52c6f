//! A party to an agreement: a California public agency, its policy, its node and its keys.

use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Ori, OriClass};
use crate::json::MAX_TEXT;
use crate::purpose::Purpose;
use crate::time::Instant;

/// What kind of public agency (Civ. Code 1798.90.5(f); V-01). There is no member for a federal, out-of-state or
/// private body, so none can be a party (V-03, V-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgencyKind {
    /// An agency of the State of California.
    State,
    /// A county.
    County,
    /// A city.
    City,
    /// A city and county.
    CityAndCounty,
    /// A political subdivision, such as a transit district.
    Subdivision,
}

impl AgencyKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::State, Self::County, Self::City, Self::CityAndCounty, Self::Subdivision];

    /// The written name, such as `city_and_county`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::County => "county",
            Self::City => "city",
            Self::CityAndCounty => "city_and_county",
            Self::Subdivision => "subdivision",
        }
    }
}

/// A text that names no kind of public agency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "only public agencies of California can take part (Civ. Code 1798.90.5(f), 1798.90.55(b)); their kinds are {}",
    AgencyKind::ALL.map(AgencyKind::as_str).join(", ")
)]
pub struct AgencyKindError;

impl FromStr for AgencyKind {
    type Err = AgencyKindError;

    fn from_str(text: &str) -> Result<Self, AgencyKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(AgencyKindError)
    }
}

/// The only state there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// California.
    CA,
}

/// An agency as an agreement names it. A partner's descriptor file is a sealed `Party`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Its originating agency identifier.
    pub ori: Ori,
    /// Its legal name.
    pub legal_name: String,
    /// What kind of public agency it is.
    pub kind: AgencyKind,
    /// Always California.
    pub state: State,
    /// The county that it is in.
    pub county: String,
    /// Whether it asks for others (a fusion centre, a shared service): it must then name end agency and end user.
    pub hub: bool,
    /// The title of its custodian of records (Civ. Code 1798.90.51(b)(2)(E); XI-04).
    pub custodian_title: String,
    /// Who signs for it.
    pub official: Official,
    /// Its Ed25519 identity key, kept offline: SPKI DER in base64url.
    pub identity_key: String,
    /// Its published ALPR usage and privacy policy.
    pub policy: Policy,
    /// Its node.
    pub node: NodeAddress,
    /// Mailboxes of roles there that are told of sunsets and suspensions; at least one before it signs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// Who hosts or tows for it (V-05). They are named so that they are not mistaken for parties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processors: Vec<Processor>,
    /// What allowed it to sign.
    pub approvals: Approvals,
    /// For bodies at the edge of the statute's definition: the written determination that they are within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determination: Option<Determination>,
}

/// The most contacts of one agency.
pub const MAX_CONTACTS: usize = 10;
/// The most processors of one agency.
pub const MAX_PROCESSORS: usize = 50;

/// Who signs for an agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Official {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// The P-256 key with which this person signs, besides the node's seal: SPKI DER in base64url. Needed to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A private body that works for an agency and gets at its data for that alone (V-05). It has no ORI, and a grant names
/// an ORI: so it can never hold one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Its name.
    pub name: String,
    /// What it does.
    pub service: Service,
}

/// What a processor does. Both are named in the statute as no sharing (Civ. Code 1798.90.55(b)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// It hosts data.
    Hosting,
    /// It tows vehicles.
    Towing,
}

/// The usage and privacy policy that Civ. Code 1798.90.51(b) and 1798.90.53(b) demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Where it is published.
    pub url: String,
    /// SHA-256 of its text.
    pub sha256: Digest,
    /// When it was last compared with the text.
    pub checked_on: Date,
    /// Who compared it: a person's title. Needed to sign.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checked_by: String,
    /// Where it says each of the seven things that the statute demands.
    pub elements: Elements,
    /// The agency's own list of purposes, each mapped to the policy's seven.
    pub purposes: Vec<PolicyPurpose>,
}

/// A purpose in an agency's own words, and which of the seven it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyPurpose {
    /// The agency's own words.
    pub name: String,
    /// Which of the seven.
    pub purpose: Purpose,
}

/// Civ. Code 1798.90.51(b)(2)(A)-(G): where the policy says it (a section, a page). An element that the policy lacks
/// is absent here, and the agreement cannot then be activated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elements {
    /// Authorized purposes.
    #[serde(rename = "A", default, skip_serializing_if = "Option::is_none")]
    pub a: Option<String>,
    /// Who may use the system, and their training.
    #[serde(rename = "B", default, skip_serializing_if = "Option::is_none")]
    pub b: Option<String>,
    /// How use is monitored.
    #[serde(rename = "C", default, skip_serializing_if = "Option::is_none")]
    pub c: Option<String>,
    /// Purposes, process and restrictions of sharing.
    #[serde(rename = "D", default, skip_serializing_if = "Option::is_none")]
    pub d: Option<String>,
    /// The title of the custodian.
    #[serde(rename = "E", default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// How accuracy is ensured and errors are corrected.
    #[serde(rename = "F", default, skip_serializing_if = "Option::is_none")]
    pub f: Option<String>,
    /// How long information is kept and how it is destroyed.
    #[serde(rename = "G", default, skip_serializing_if = "Option::is_none")]
    pub g: Option<String>,
}

impl Elements {
    /// The letters of the elements that are absent or blank.
    #[must_use]
    pub fn missing(&self) -> Vec<char> {
        [(&self.a, 'A'), (&self.b, 'B'), (&self.c, 'C'), (&self.d, 'D'), (&self.e, 'E'), (&self.f, 'F'), (&self.g, 'G')]
            .into_iter()
            .filter(|(text, _)| text.as_deref().is_none_or(|text| text.trim().is_empty()))
            .map(|(_, letter)| letter)
            .collect()
    }
}

/// Where a node is and which keys are its own: the values of the day, vouched for by the identity key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// `https://` URL of its peer port.
    pub url: String,
    /// SHA-256 of its TLS certificate's `SubjectPublicKeyInfo`.
    pub tls_spki: Digest,
    /// Its seal key (P-256): SPKI DER in base64url.
    pub seal_key: String,
    /// The origin line of its trail's checkpoints (c2sp.org/tlog-checkpoint).
    pub log_origin: String,
    /// Its trail's verifier key (c2sp.org/signed-note).
    pub log_vkey: String,
    /// Its witness verifier key (c2sp.org/signed-note).
    pub witness_vkey: String,
}

/// The keys of the day of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// SHA-256 of its TLS certificate's `SubjectPublicKeyInfo`.
    pub tls_spki: Digest,
    /// Its seal key (P-256): SPKI DER in base64url.
    #[serde(deserialize_with = "crate::json::text")]
    pub seal_key: String,
    /// The origin line of its trail's checkpoints.
    #[serde(deserialize_with = "crate::json::text")]
    pub log_origin: String,
    /// Its trail's verifier key.
    #[serde(deserialize_with = "crate::json::text")]
    pub log_vkey: String,
    /// Its witness verifier key.
    #[serde(deserialize_with = "crate::json::text")]
    pub witness_vkey: String,
}

/// Keys that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of the new ones is blank: give seal_key, log_origin, log_vkey and witness_vkey")]
pub struct KeysError;

impl Keys {
    /// Whether each key is there.
    ///
    /// # Errors
    /// [`KeysError`]: one is blank.
    pub fn complete(&self) -> Result<(), KeysError> {
        let texts = [&self.seal_key, &self.log_origin, &self.log_vkey, &self.witness_vkey];
        if texts.into_iter().any(|text| text.trim().is_empty()) { Err(KeysError) } else { Ok(()) }
    }
}

impl NodeAddress {
    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let Self { url: _, tls_spki, seal_key, log_origin, log_vkey, witness_vkey } = self.clone();
        Keys { tls_spki, seal_key, log_origin, log_vkey, witness_vkey }
    }

    /// The same place with other keys.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        let Keys { tls_spki, seal_key, log_origin, log_vkey, witness_vkey } = keys;
        Self { url: self.url, tls_spki, seal_key, log_origin, log_vkey, witness_vkey }
    }
}

/// What allowed an agency to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// Counsel's approval: who and when.
    pub counsel: String,
    /// The public meeting of Civ. Code 1798.90.55(a).
    pub public_meeting: PublicMeeting,
    /// What empowers the official to sign.
    pub signing_authority: String,
}

/// A public meeting at which the use of ALPR was open to comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicMeeting {
    /// When it was.
    pub date: Date,
    /// Where its record is published.
    pub url: String,
}

/// A written determination that a body at the edge of Civ. Code 1798.90.5(f) is a public agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Determination {
    /// SHA-256 of the document.
    pub sha256: Digest,
    /// The first day on which it no longer counts.
    pub expires_on: Date,
}

impl Party {
    /// Whether this body may be a party only with a determination: hubs, and campus or rail police (ORI class `E`).
    #[must_use]
    pub fn needs_determination(&self) -> bool {
        self.hub || self.ori.class() == OriClass::CampusOrRail
    }

    /// Since when this party's determination counts no longer at `now`, where it has one that is over.
    #[must_use]
    pub fn determination_over(&self, now: Instant) -> Option<Date> {
        let expires_on = self.determination.as_ref()?.expires_on;
        Instant::start_of(expires_on).is_none_or(|end| now >= end).then_some(expires_on)
    }

    /// What is wrong or missing in the form of this party, each as a sentence that says what to supply.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut need = |good: bool, what: &str| {
            if !good {
                problems.push(format!("{}: {what}", self.ori));
            }
        };
        let (policy, node, approvals) = (&self.policy, &self.node, &self.approvals);
        for (text, name) in [
            (&self.legal_name, "legal_name"),
            (&self.county, "county"),
            (&self.custodian_title, "custodian_title (Civ. Code 1798.90.51(b)(2)(E))"),
            (&self.official.name, "official.name"),
            (&self.official.title, "official.title"),
            (&self.identity_key, "identity_key"),
            (&policy.url, "policy.url"),
            (&node.url, "node.url"),
            (&node.seal_key, "node.seal_key"),
            (&node.log_origin, "node.log_origin"),
            (&node.log_vkey, "node.log_vkey"),
            (&node.witness_vkey, "node.witness_vkey"),
            (&approvals.counsel, "approvals.counsel"),
            (&approvals.public_meeting.url, "approvals.public_meeting.url"),
            (&approvals.signing_authority, "approvals.signing_authority"),
        ] {
            need(!text.trim().is_empty(), &format!("{name} is blank"));
            need(text.chars().count() <= MAX_TEXT, &format!("{name} is longer than {MAX_TEXT} characters"));
        }
        need(self.node.url.starts_with("https://"), "node.url must begin with https://");
        let few = self.contacts.len() <= MAX_CONTACTS && self.processors.len() <= MAX_PROCESSORS;
        need(few, &format!("contacts are at most {MAX_CONTACTS}, processors at most {MAX_PROCESSORS}"));
        let texts = self.contacts.iter().chain(self.processors.iter().map(|processor| &processor.name));
        let named = |text: &String| !text.trim().is_empty() && text.chars().count() <= MAX_TEXT;
        need(texts.into_iter().all(named), "a contact or a processor is blank or too long");
        need(self.contacts.iter().all(|contact| contact.contains('@')), "a contact is no mail address");
        need(!self.policy.purposes.is_empty(), "policy.purposes is empty: list the purposes of the published policy");
        need(
            !self.needs_determination() || self.determination.is_some(),
            "a hub, campus or rail police needs a determination under Civ. Code 1798.90.5(f)",
        );
        problems
    }
}
