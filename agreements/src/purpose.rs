//! The closed list of purposes for which plate reads may be queried, and what a query must refer to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the seven purposes of the policy's section I (I-01: the list is closed). Civil immigration enforcement is
/// not among them and cannot be expressed (V-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Investigation for prosecution or exoneration of suspected criminal incidents (I-02).
    CriminalInvestigation,
    /// Identification or location of wanted persons (I-03).
    WantedPersons,
    /// Enforcement of sanctions, orders or sentences (I-04).
    SanctionsOrders,
    /// Crime prevention and legitimate law enforcement; open-ended, so it needs a narrative and a supervisor (I-05).
    CrimePrevention,
    /// Crime analysis (I-06).
    CrimeAnalysis,
    /// Leads in subsequent investigations (I-07).
    InvestigatoryLeads,
    /// Lifesaving efforts and critical missing persons (I-08).
    Lifesaving,
}

impl Purpose {
    /// All seven, in the policy's order.
    pub const ALL: [Self; 7] = [
        Self::CriminalInvestigation,
        Self::WantedPersons,
        Self::SanctionsOrders,
        Self::CrimePrevention,
        Self::CrimeAnalysis,
        Self::InvestigatoryLeads,
        Self::Lifesaving,
    ];

    /// The written name, such as `criminal_investigation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CriminalInvestigation => "criminal_investigation",
            Self::WantedPersons => "wanted_persons",
            Self::SanctionsOrders => "sanctions_orders",
            Self::CrimePrevention => "crime_prevention",
            Self::CrimeAnalysis => "crime_analysis",
            Self::InvestigatoryLeads => "investigatory_leads",
            Self::Lifesaving => "lifesaving",
        }
    }

    /// The clause of the policy that allows it.
    #[must_use]
    pub fn clause(self) -> &'static str {
        match self {
            Self::CriminalInvestigation => "I-02",
            Self::WantedPersons => "I-03",
            Self::SanctionsOrders => "I-04",
            Self::CrimePrevention => "I-05",
            Self::CrimeAnalysis => "I-06",
            Self::InvestigatoryLeads => "I-07",
            Self::Lifesaving => "I-08",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such purpose; the policy's list (I-01) is: {}", Purpose::ALL.map(Purpose::as_str).join(", "))]
pub struct PurposeError;

impl FromStr for Purpose {
    type Err = PurposeError;

    fn from_str(text: &str) -> Result<Self, PurposeError> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text).ok_or(PurposeError)
    }
}

/// What kind of file a query refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceKind {
    /// A case number.
    Case,
    /// A computer-aided dispatch incident.
    Cad,
    /// A warrant.
    Warrant,
    /// A court order.
    CourtOrder,
    /// A crime analysis project.
    AnalysisProject,
}

impl ReferenceKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Case, Self::Cad, Self::Warrant, Self::CourtOrder, Self::AnalysisProject];

    /// The written name, such as `case`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Case => "case",
            Self::Cad => "cad",
            Self::Warrant => "warrant",
            Self::CourtOrder => "court_order",
            Self::AnalysisProject => "analysis_project",
        }
    }
}

/// The file that a query belongs to, such as `case:2026-118842` (V-13, IX-04). Its number is never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// What kind of file.
    pub kind: ReferenceKind,
    /// Its number in the asker's records.
    #[serde(deserialize_with = "crate::json::text")]
    pub number: String,
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({}:..)", self.kind.as_str())
    }
}

/// A text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the reference as KIND:NUMBER, such as case:2026-118842; the kinds are {}",
    ReferenceKind::ALL.map(ReferenceKind::as_str).join(", ")
)]
pub struct ReferenceError;

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (kind, number) = text.split_once(':').ok_or(ReferenceError)?;
        let kind = ReferenceKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(ReferenceError)?;
        Ok(Self { kind, number: number.trim().to_owned() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_round_and_immigration_is_no_purpose() {
        for purpose in Purpose::ALL {
            assert_eq!(serde_json::to_string(&purpose).unwrap(), format!("\"{purpose}\""));
            assert_eq!(purpose.as_str().parse::<Purpose>().unwrap(), purpose);
        }
        assert_eq!("immigration_enforcement".parse::<Purpose>(), Err(PurposeError));
        let reference: Reference = "case: 2026-118842".parse().unwrap();
        assert_eq!(reference.to_string(), "case:2026-118842");
        assert!(!format!("{reference:?}").contains("118842"));
        assert_eq!("2026-118842".parse::<Reference>(), Err(ReferenceError));
    }
}
