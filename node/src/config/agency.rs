//! Who the agency is, what its policy says, and what allowed it to sign: the source of its descriptor and drafts.

use agreements::ids::{Digest, Ori};
use agreements::party::AgencyKind;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::values::blank;

/// `[agency]`: this agency, as partners and agreements name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agency {
    /// Its originating agency identifier; a California one (V-01).
    pub ori: Ori,
    /// Its legal name.
    pub legal_name: String,
    /// What kind of public agency it is.
    pub kind: AgencyKind,
    /// The county that it is in.
    pub county: String,
    /// The title of the custodian of its ALPR system (Civ. Code 1798.90.51(b)(2)(E)).
    #[serde(default)]
    pub custodian_title: String,
    /// The name of the official who signs agreements.
    #[serde(default)]
    pub official_name: String,
    /// That official's title.
    #[serde(default)]
    pub official_title: String,
    /// The P-256 key with which that official signs: SPKI DER in base64url. Blank until it is enrolled.
    #[serde(default)]
    pub official_key: String,
    /// Mailboxes of roles here that partners' nodes write to about agreements.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// Who hosts or tows for it (V-05): `Name = hosting` or `Name = towing`.
    #[serde(default)]
    pub processors: Vec<String>,
    /// Whether it asks for others (a fusion centre, a shared service).
    #[serde(default)]
    pub hub: bool,
    /// SHA-256 of the determination that it is a public agency, for bodies at the edge of Civ. Code 1798.90.5(f).
    #[serde(default, with = "blank")]
    pub determination_sha256: Option<Digest>,
    /// The first day on which that determination no longer counts.
    #[serde(default, with = "blank")]
    pub determination_expires_on: Option<Date>,
}

impl Agency {
    pub(super) fn new(ori: Ori, legal_name: String, kind: AgencyKind, county: String) -> Self {
        let (custodian_title, official_name, official_title, official_key) = Default::default();
        let (contacts, processors) = Default::default();
        let (determination_sha256, determination_expires_on) = (None, None);
        Self {
            ori,
            legal_name,
            kind,
            county,
            custodian_title,
            official_name,
            official_title,
            official_key,
            contacts,
            processors,
            hub: false,
            determination_sha256,
            determination_expires_on,
        }
    }
}

/// `[policy]`: the published usage and privacy policy of Civ. Code 1798.90.51(b).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Where it is published.
    pub url: String,
    /// SHA-256 of its text.
    #[serde(with = "blank")]
    pub sha256: Option<Digest>,
    /// When it was last compared with its published text.
    #[serde(with = "blank")]
    pub checked_on: Option<Date>,
    /// The title of the person who compared it.
    pub checked_by: String,
    /// The purposes that it allows.
    pub purposes: Vec<String>,
    /// Where it says what the statute demands.
    pub elements: Elements,
}

/// `[policy.elements]`: where the policy has each element of Civ. Code 1798.90.51(b)(2). Blank means that it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    /// (A) The authorized purposes.
    #[serde(rename = "A")]
    pub a: String,
    /// (B) Who may use the system, and the training that they need.
    #[serde(rename = "B")]
    pub b: String,
    /// (C) How use is monitored.
    #[serde(rename = "C")]
    pub c: String,
    /// (D) The purposes of, process for and restrictions on sharing.
    #[serde(rename = "D")]
    pub d: String,
    /// (E) The title of the custodian.
    #[serde(rename = "E")]
    pub e: String,
    /// (F) How accuracy is ensured and errors are corrected.
    #[serde(rename = "F")]
    pub f: String,
    /// (G) How long information is kept and how it is destroyed.
    #[serde(rename = "G")]
    pub g: String,
}

/// `[approvals]`: what allowed the agency to sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Approvals {
    /// Counsel's approval: who and when.
    pub counsel: String,
    /// The date of the public meeting of Civ. Code 1798.90.55(a).
    #[serde(with = "blank")]
    pub public_meeting_date: Option<Date>,
    /// Where that meeting's record is published.
    pub public_meeting_url: String,
    /// What empowers the official to sign.
    pub signing_authority: String,
}
