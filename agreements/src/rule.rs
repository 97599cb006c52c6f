//! The rules of the decision: their names, the clauses that they make real, and what each tells the asker.

use serde::{Deserialize, Serialize};

/// A rule that a question can fail. Each names the clauses of the policy that it makes real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The asker works for the agency whose node sent the question.
    Identity,
    /// The agreement is in force at this instant.
    AgreementInForce,
    /// The agreement grants queries in this direction.
    GrantExists,
    /// The purpose is in the grant.
    PurposeGranted,
    /// The purpose is in the owner's own list.
    PurposeOfOwner,
    /// There is a reference, and it has the form of one.
    ReferencePresent,
    /// The reference's number is no plate.
    ReferenceNotPlate,
    /// The reason says why.
    ReasonSubstantive,
    /// Crime prevention comes with a narrative and a supervisor.
    NarrativeAndSupervisor,
    /// Asking every partner comes with a reason.
    WhyAll,
    /// The answer is for an eligible agency, and a hub names agency and person.
    OnBehalfOf,
    /// The asker's agency approved the asker.
    AskerApproved,
    /// The asker was trained within a year.
    AskerTrained,
    /// No text touches immigration enforcement, protected care, or protest and religion.
    SensitiveTerms,
    /// The window is a window, and reaches into what the grant lets see.
    Lookback,
    /// The area asked for meets the grant's.
    Area,
    /// At least one row is asked for.
    Rows,
    /// The grant allows this kind of search.
    SearchGranted,
    /// The owner answers this kind of search.
    SearchOfOwner,
    /// The day's quota is not used up.
    Quota,
    /// Not too many questions at once.
    Rate,
    /// The custodian authorized this grant once for all.
    StandingAuthorization,
}

impl Rule {
    /// Every rule, in the order in which they are checked.
    pub const ALL: [Self; 22] = [
        Self::Identity,
        Self::AgreementInForce,
        Self::GrantExists,
        Self::PurposeGranted,
        Self::PurposeOfOwner,
        Self::ReferencePresent,
        Self::ReferenceNotPlate,
        Self::ReasonSubstantive,
        Self::NarrativeAndSupervisor,
        Self::WhyAll,
        Self::OnBehalfOf,
        Self::AskerApproved,
        Self::AskerTrained,
        Self::SensitiveTerms,
        Self::Lookback,
        Self::Area,
        Self::Rows,
        Self::SearchGranted,
        Self::SearchOfOwner,
        Self::Quota,
        Self::Rate,
        Self::StandingAuthorization,
    ];

    fn row(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Self::Identity => (
                "identity",
                &["II-03", "V-08", "VIII-06"],
                "The asker's agency is not the one whose node sent this: ask through your own agency's node.",
            ),
            Self::AgreementInForce => (
                "agreement_in_force",
                &["V-22", "V-27", "V-31"],
                "No agreement between the two agencies is in force at this instant: see its status, and renew, resume or sign it.",
            ),
            Self::GrantExists => (
                "grant_exists",
                &["V-03", "V-08"],
                "The agreement grants nothing of this kind in this direction: an amendment would have to.",
            ),
            Self::PurposeGranted => (
                "purpose_granted",
                &["I-01", "V-09"],
                "The purpose is not among those that the grant names: ask for one that it names, or amend the agreement.",
            ),
            Self::PurposeOfOwner => {
                ("purpose_of_owner", &["I-01", "VI-01"], "The owner does not answer for this purpose.")
            }
            Self::ReferencePresent => (
                "reference_present",
                &["V-13", "IX-04"],
                "Give the file that this belongs to, with its number: --ref case:…, cad:…, warrant:…, court_order:… or analysis_project:….",
            ),
            Self::ReferenceNotPlate => (
                "reference_not_plate",
                &["V-13", "IX-04"],
                "The reference's number is a plate: give the number of the case, incident, warrant, order or project.",
            ),
            Self::ReasonSubstantive => (
                "reason_substantive",
                &["V-13", "VII-07", "VIII-08"],
                "Say why in a few words of your own: what happened, and what this vehicle has to do with it.",
            ),
            Self::NarrativeAndSupervisor => (
                "narrative_and_supervisor",
                &["I-05"],
                "Crime prevention is open-ended: tell in at least eight words what is to be prevented, and name the supervisor, not the asker, who knows of it (--supervisor).",
            ),
            Self::WhyAll => ("why_all", &["III-06"], "Asking every partner needs a reason of its own: --why-all."),
            Self::OnBehalfOf => (
                "on_behalf_of",
                &["V-03", "V-08", "V-19"],
                "Say for whom: your own agency, an agency under agreement with the owner, a court or a prosecutor; a hub names the end agency and the end user.",
            ),
            Self::AskerApproved => (
                "asker_approved",
                &["II-01", "II-06"],
                "The asker's agency has not approved this person for queries: a supervisor can.",
            ),
            Self::AskerTrained => (
                "asker_trained",
                &["VII-11", "VII-12", "VII-13", "VII-15"],
                "The asker has no complete training (SB 34, SB 54, policy) within the last year: complete it and have it recorded.",
            ),
            Self::SensitiveTerms => (
                "sensitive_terms",
                &["V-20", "V-21", "III-02", "III-03", "III-11"],
                "A text touches civil immigration enforcement, protected care, or protest and religion: the owner's custodian of records decides.",
            ),
            Self::Lookback => (
                "lookback",
                &["III-06", "VI-02"],
                "The time asked for is empty or lies wholly outside what the grant lets see: give --from and --to within it.",
            ),
            Self::Area => (
                "area",
                &["III-06"],
                "The area asked for is no box in millionths of a degree, or lies wholly outside the grant's.",
            ),
            Self::Rows => ("rows", &["III-06"], "At least one row must be asked for."),
            Self::SearchGranted => (
                "search_granted",
                &["III-06"],
                "The grant does not allow this kind of search (part of a plate, confusable plates, or no plate), or the pattern is not 2 to 20 letters, digits, ? and * with two of them letters or digits, or a search without a plate names no area.",
            ),
            Self::SearchOfOwner => (
                "search_of_owner",
                &["III-06", "VI-01"],
                "The owner does not answer this kind of search: ask for an exact plate.",
            ),
            Self::Quota => (
                "quota",
                &["III-06"],
                "The grant's questions for today are used up: ask tomorrow, or amend the agreement.",
            ),
            Self::Rate => ("rate", &["III-06"], "Too many questions at once: wait a moment and ask again."),
            Self::StandingAuthorization => (
                "standing_authorization",
                &["V-15", "V-16", "XI-05"],
                "The owner's custodian of records authorizes each request under this grant: wait for the outcome.",
            ),
        }
    }

    /// The written name, such as `purpose_granted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The clauses of the policy that the rule makes real.
    #[must_use]
    pub fn clauses(self) -> &'static [&'static str] {
        self.row().1
    }

    /// A sentence that helps the asker.
    #[must_use]
    pub fn says(self) -> &'static str {
        self.row().2
    }
}
