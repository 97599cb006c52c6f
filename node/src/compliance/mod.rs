//! What this agency keeps about others' compliance: the Attorney General's findings and the checks of its sources (V-31),
//! early reviews (V-28), other agencies' registers, partners' published policies. Every change is an entry of the trail in
//! the same transaction; what stops an exchange takes one person, what lets it go on takes two.
//!
//! In scope: entering, clearing, checking, opening and closing, bundles between agencies. Out of scope: what follows from
//! it, which is computed (see `agreements::status`), and the files (see [`crate::evidence`]).

pub mod bundle;
pub mod policies;
pub mod reviews;

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::json::{self, MAX_TEXT};
use agreements::register::{AgCheck, CheckResult, Finding, FindingKind, Trigger, clears, standing};
use agreements::screen;
use agreements::stream::Seal as Signature;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::changes::Approved;
use crate::config::{Config, MailAddress};
use crate::db::{Conn, Db, Tx};
use crate::mail::{self, Audience};
use crate::node::{Node, OpenError};
use crate::people::{PeopleError, Refusable, record, settled};
use crate::registry::accounts::{Action, operator};
use crate::registry::ag;
use crate::seal::Seal;
use crate::trail::Facts;
use crate::trail::told::Which;
use reviews::NewReview;

/// The `typ` of a sealed finding.
pub const FINDING_TYP: &str = "concordat-finding+jws";
/// The `typ` of a sealed check.
pub const CHECK_TYP: &str = "concordat-ag-check+jws";

/// Who keeps the register: this agency with its seal, and whom to tell here.
#[derive(Clone)]
pub struct Keeper {
    /// This agency.
    pub ours: Ori,
    /// Its name.
    pub name: String,
    /// Its seal.
    pub seal: Arc<Seal>,
    /// Who is told here.
    pub contacts: Vec<MailAddress>,
}

impl Keeper {
    /// The agency of a configuration.
    ///
    /// # Errors
    /// The seal cannot be read.
    pub fn of(config: &Config) -> Result<Self, OpenError> {
        Ok(Self::with(config, Arc::new(Seal::read(config)?)))
    }

    /// The agency of a node.
    #[must_use]
    pub fn of_node(node: &Node) -> Self {
        Self::with(node.config(), node.seal())
    }

    fn with(config: &Config, seal: Arc<Seal>) -> Self {
        let mut contacts: Vec<MailAddress> =
            mail::recipients(&config.mail, Audience::Agreements).into_iter().cloned().collect();
        contacts.extend(config.agency.contacts.iter().filter_map(|contact| contact.parse().ok()));
        contacts.sort_unstable_by_key(ToString::to_string);
        contacts.dedup();
        Self { ours: config.agency.ori, name: config.agency.legal_name.clone(), seal, contacts }
    }
}

fn sealed<T: Serialize>(seal: &Seal, document: &T, typ: &str) -> QueryResult<Signature> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::SerializationError(error);
    let payload = json::canonical(document).map_err(|error| failed(error.into()))?;
    seal.sign(&payload, typ).map_err(|error| failed(error.into()))
}

/// Where something stands written, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Where.
    pub citation: String,
    /// Its date.
    pub on: Date,
    /// SHA-256 of the document, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// The files that show it, as they are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
}

/// A finding of `written` about `ori`, as a person enters it.
#[must_use]
pub fn finding(ori: Ori, kind: FindingKind, written: Written) -> Finding {
    let Written { citation, on, document, evidence } = written;
    let (from, approved_by) = (None, None);
    Finding { ori, kind, citation, document, evidence, from, on, entered_by: String::new(), approved_by }
}

fn unsound(citation: &str, on: Date, now: Instant) -> Option<String> {
    if citation.trim().is_empty() || citation.chars().count() > MAX_TEXT {
        return Some(format!(
            "a finding, or its clearing, needs a citation: where it stands written, in at most {MAX_TEXT} characters"
        ));
    }
    (now.date().is_none_or(|today| on > today)).then(|| format!("{on} is in the future"))
}

/// Enters a finding of the Attorney General, that an agency disclosed something itself, or that it disputes a finding, which
/// counts as much (V-31). It counts at the next request, and opens an early review, both in one transaction (V-28). The id of
/// that review; `None` where the finding opens none: one about this agency itself, or that one disputes what is under review.
///
/// # Errors
/// See [`PeopleError`].
pub async fn enter_finding(
    db: &Db,
    keeper: &Keeper,
    mut finding: Finding,
    by: &str,
) -> Result<Option<RequestId>, PeopleError> {
    by.clone_into(&mut finding.entered_by);
    let (by, keeper) = (by.to_owned(), keeper.clone());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::KeepRegister)? {
            return Ok(Err(why));
        }
        if !finding.is_adverse() {
            return Ok(Err("a finding is cleared with `concordat ag clear`, by two people".to_owned()));
        }
        if let Some(why) = unsound(&finding.citation, finding.on, tx.now()) {
            return Ok(Err(why));
        }
        if let Some(earlier) = known(&ag::findings(tx.conn())?, &finding) {
            let from = earlier.from.map(|from| format!(", from the register of {from}")).unwrap_or_default();
            return Ok(Err(format!(
                "that was entered before and stands: {} of {} against {}, {}, by {}{from}; `concordat ag list` shows it",
                earlier.kind.as_str(),
                earlier.on,
                earlier.ori,
                earlier.citation.trim(),
                earlier.entered_by
            )));
        }
        keep_adverse(tx, &keeper, &finding, &by).map(Ok)
    };
    settled(db.record(job).await?)
}

/// The finding that says the same, if it stands: what was cleared may be found again.
fn known<'a>(findings: &'a [Finding], new: &Finding) -> Option<&'a Finding> {
    let same = |one: &&Finding| one.same_as(new) && one.document == new.document;
    let stands = standing(findings);
    match new.kind {
        // A dispute is no finding beside the one that it disputes: it counts with that.
        FindingKind::Disputed if stands.iter().any(|one| one.ori == new.ori) => findings.iter().rfind(same),
        _ => stands.into_iter().rfind(same),
    }
}

/// Keeps a finding that counts against an agency, and opens the early review that goes with it. Each has its own, so that
/// closing one closes nothing of another.
fn keep_adverse(tx: &mut Tx<'_>, keeper: &Keeper, finding: &Finding, by: &str) -> QueryResult<Option<RequestId>> {
    keep(tx, &keeper.seal, finding, by)?;
    // This agency does not review itself; its partners do.
    if finding.ori == keeper.ours {
        return Ok(None);
    }
    if finding.kind == FindingKind::Disputed && reviews::is_open(tx.conn(), finding.ori, Trigger::AgFinding)? {
        return Ok(None);
    }
    let new = NewReview {
        ori: finding.ori,
        trigger: Trigger::AgFinding,
        reason: finding.kind.says().to_owned(),
        evidence: finding.evidence.clone(),
    };
    reviews::open_in(tx, keeper, new, Some(by)).map(Some)
}

fn keep(tx: &mut Tx<'_>, seal: &Seal, finding: &Finding, by: &str) -> QueryResult<()> {
    let signature = sealed(seal, finding, FINDING_TYP)?;
    let now = tx.now();
    ag::enter(tx.conn(), finding, &signature, now)?;
    tx.bump_epoch();
    record(tx, Kind::AgFinding, finding, by, Facts { partner: Some(finding.ori), ..Facts::default() })
}

/// What a clearing would do to what stands against its agency.
#[derive(Debug, Serialize)]
pub(crate) struct Clearing {
    /// What it clears.
    pub(crate) clears: Finding,
    /// What stands against the agency all the same.
    pub(crate) leaves: Vec<Finding>,
}

/// Which finding a clearing of `ori` would clear; or why there can be none.
pub(crate) fn clearable(
    conn: &mut Conn,
    ori: Ori,
    written: &Written,
    now: Instant,
) -> QueryResult<Refusable<Clearing>> {
    if let Some(why) = unsound(&written.citation, written.on, now) {
        return Ok(Err(why));
    }
    if written.evidence.is_empty() {
        return Ok(Err("a clearing needs the file that shows it: give it with --evidence FILE".to_owned()));
    }
    if let Err(what) = ag::sworn(conn, Which::Last)? {
        return Ok(Err(what));
    }
    let all = ag::findings(conn)?;
    let mut stands = standing(&all);
    stands.retain(|one| one.ori == ori);
    let Some(oldest) = stands.iter().map(|one| one.on).min() else {
        return Ok(Err(format!("no finding stands against {ori}; `concordat ag list` shows those that there are")));
    };
    let Some(one) = clears(&stands, ori, written.on) else {
        return Ok(Err(format!(
            "a clearing of {} clears nothing that was found later: the oldest finding that stands against {ori} is of \
             {oldest}",
            written.on
        )));
    };
    let cleared = stands.remove(one).clone();
    Ok(Ok(Clearing { clears: cleared, leaves: stands.into_iter().cloned().collect() }))
}

/// Enters that an agency's finding no longer stands, as two people decided. What the finding stopped stays stopped until the
/// early review is closed as well.
pub(crate) fn apply_clearing(
    tx: &mut Tx<'_>,
    seal: &Seal,
    ori: Ori,
    written: &Written,
    approved: &Approved<'_>,
) -> QueryResult<Refusable<()>> {
    let now = tx.now();
    if let Err(why) = clearable(tx.conn(), ori, written, now)? {
        return Ok(Err(why));
    }
    let by = approved.proposed_by();
    let finding = Finding {
        entered_by: by.to_owned(),
        approved_by: Some(approved.approved_by().to_owned()),
        ..finding(ori, FindingKind::Cleared, written.clone())
    };
    keep(tx, seal, &finding, by).map(Ok)
}

/// Whether a text says something that can be kept.
pub(crate) fn said(text: &str) -> bool {
    screen::legible(text) && text.chars().count() <= MAX_TEXT
}

/// What somebody saw who looked at the Attorney General's sources.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Where.
    pub sources: Vec<String>,
    /// What it came to.
    pub result: CheckResult,
    /// What else there is to say.
    pub note: Option<String>,
    /// The files that show it, as they are kept.
    pub evidence: Vec<Digest>,
}

/// Records a sweep over the Attorney General's sources, made now (V-31). It covers every partner.
///
/// # Errors
/// See [`PeopleError`].
pub async fn enter_check(db: &Db, keeper: &Keeper, sweep: Sweep, by: &str) -> Result<Instant, PeopleError> {
    let (by, keeper) = (by.to_owned(), keeper.clone());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::KeepRegister)? {
            return Ok(Err(why));
        }
        let Sweep { sources, result, note, evidence } = sweep;
        if sources.is_empty() || !sources.iter().chain(&note).all(|text| said(text)) {
            return Ok(Err(format!(
                "name each source that was looked at; each, and the note, in at most {MAX_TEXT} characters"
            )));
        }
        let findings = ag::findings(tx.conn())?;
        if result == CheckResult::Named && standing(&findings).is_empty() {
            return Ok(Err(
                "enter first whom the sources name (`concordat ag find`): no finding stands here, and with \
                           the check all partners would count as looked into"
                    .to_owned(),
            ));
        }
        let register = json::canonical(&findings).map_err(|error| Error::SerializationError(error.into()))?;
        let check = AgCheck {
            by: by.clone(),
            sources,
            at: tx.now(),
            result,
            note,
            evidence,
            register: Some(Digest::of(&register)),
        };
        let seal = sealed(&keeper.seal, &check, CHECK_TYP)?;
        ag::enter_check(tx.conn(), &check, &seal)?;
        tx.bump_epoch();
        record(tx, Kind::AgCheck, &check, &by, Facts::default())?;
        Ok(Ok(check.at))
    };
    settled(db.record(job).await?)
}
