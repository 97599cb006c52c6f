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
use agreements::ids::{Digest, Ori};
use agreements::json::{self, MAX_TEXT};
use agreements::register::{AgCheck, Finding, FindingKind, Trigger};
use agreements::screen;
use agreements::stream::Seal as Signature;
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;
use serde::Serialize;

use crate::changes;
use crate::config::{Config, MailAddress};
use crate::db::{Db, Tx};
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

    fn seals<T: Serialize>(&self, document: &T, typ: &str) -> QueryResult<Signature> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::SerializationError(error);
        let payload = json::canonical(document).map_err(|error| failed(error.into()))?;
        self.seal.sign(&payload, typ).map_err(|error| failed(error.into()))
    }
}

/// Where something stands written, and what shows it.
#[derive(Debug, Clone)]
pub struct Written {
    /// Where.
    pub citation: String,
    /// Its date.
    pub on: Date,
    /// SHA-256 of the document, where there is one.
    pub document: Option<Digest>,
    /// The files that show it, as they are kept.
    pub evidence: Vec<Digest>,
}

/// A finding of `written` about `ori`, as a person enters it.
#[must_use]
pub fn finding(ori: Ori, kind: FindingKind, written: Written) -> Finding {
    let Written { citation, on, document, evidence } = written;
    let (from, approved_by) = (None, None);
    Finding { ori, kind, citation, document, evidence, from, on, entered_by: String::new(), approved_by }
}

fn unsound(finding: &Finding, now: Instant) -> Option<String> {
    if finding.citation.trim().is_empty() || finding.citation.chars().count() > MAX_TEXT {
        return Some(format!(
            "a finding, or its clearing, needs a citation: where it stands written, in at most {MAX_TEXT} characters"
        ));
    }
    (now.date().is_none_or(|today| finding.on > today)).then(|| format!("{} is in the future", finding.on))
}

/// Enters a finding of the Attorney General, or that an agency disputes one, which counts as much (V-31). It counts at the
/// next request, and opens an early review, both in one transaction (V-28).
///
/// # Errors
/// See [`PeopleError`].
pub async fn enter_finding(db: &Db, keeper: &Keeper, mut finding: Finding, by: &str) -> Result<(), PeopleError> {
    by.clone_into(&mut finding.entered_by);
    let (by, keeper) = (by.to_owned(), keeper.clone());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::KeepRegister)? {
            return Ok(Err(why));
        }
        if !finding.is_adverse() {
            return Ok(Err("a finding is cleared with `concordat ag clear`, by two people".to_owned()));
        }
        if let Some(why) = unsound(&finding, tx.now()) {
            return Ok(Err(why));
        }
        keep_adverse(tx, &keeper, &finding, &by)?;
        Ok(Ok(()))
    };
    settled(db.record(job).await?)
}

/// Keeps a finding that counts against an agency, and opens the early review that goes with it unless one is open.
fn keep_adverse(tx: &mut Tx<'_>, keeper: &Keeper, finding: &Finding, by: &str) -> QueryResult<()> {
    keep(tx, keeper, finding, by)?;
    // This agency does not review itself; its partners do.
    if finding.ori != keeper.ours && !reviews::is_open(tx.conn(), finding.ori, Trigger::AgFinding)? {
        let new = NewReview {
            ori: finding.ori,
            trigger: Trigger::AgFinding,
            reason: format!("the Attorney General's office: {}", finding.kind.as_str().replace('_', " ")),
            evidence: finding.evidence.clone(),
        };
        reviews::open_in(tx, keeper, new, Some(by))?;
    }
    Ok(())
}

fn keep(tx: &mut Tx<'_>, keeper: &Keeper, finding: &Finding, by: &str) -> QueryResult<()> {
    let seal = keeper.seals(finding, FINDING_TYP)?;
    let now = tx.now();
    ag::enter(tx.conn(), finding, &seal, now)?;
    tx.bump_epoch();
    record(tx, Kind::AgFinding, finding, by, Facts { partner: Some(finding.ori), ..Facts::default() })
}

/// Enters that an agency's finding no longer stands: two people, a citation, and the file that shows it. What the finding
/// stopped stays stopped until the early review is closed as well.
///
/// # Errors
/// See [`PeopleError`].
pub async fn clear_finding(
    db: &Db,
    keeper: &Keeper,
    ori: Ori,
    written: Written,
    by: &str,
    approved_by: &str,
) -> Result<(), PeopleError> {
    let finding = Finding {
        entered_by: by.to_owned(),
        approved_by: Some(approved_by.to_owned()),
        ..finding(ori, FindingKind::Cleared, written)
    };
    let (keeper, by, approved_by) = (keeper.clone(), by.to_owned(), approved_by.to_owned());
    let job = move |tx: &mut Tx<'_>| apply_clearing(tx, &keeper, &finding, &by, &approved_by);
    settled(db.record(job).await?)
}

/// Clears inside a transaction.
pub(crate) fn apply_clearing(
    tx: &mut Tx<'_>,
    keeper: &Keeper,
    finding: &Finding,
    by: &str,
    approved_by: &str,
) -> QueryResult<Refusable<()>> {
    if let Err(why) = two_people(tx, by, approved_by)? {
        return Ok(Err(why));
    }
    if let Some(why) = unsound(finding, tx.now()) {
        return Ok(Err(why));
    }
    if finding.evidence.is_empty() {
        return Ok(Err("a clearing needs the file that shows it: give it with --evidence FILE".to_owned()));
    }
    let register = match ag::sworn(tx.conn(), Which::Last)? {
        Ok(register) => register,
        Err(what) => return Ok(Err(what)),
    };
    if !register.adverse.contains(&finding.ori) {
        let ori = finding.ori;
        return Ok(Err(format!("no finding stands against {ori}; `concordat ag list` shows those that there are")));
    }
    keep(tx, keeper, finding, by)?;
    Ok(Ok(()))
}

/// Whether two different people, each of whom may keep the register, do this together.
fn two_people(tx: &mut Tx<'_>, by: &str, approved_by: &str) -> QueryResult<Refusable<()>> {
    if by == approved_by {
        return Ok(Err("this takes two people: one does it, another has looked at it and approves it".to_owned()));
    }
    for (person, action) in [(by, Action::KeepRegister), (approved_by, Action::ApproveSharing)] {
        if let Err(why) = operator(tx.conn(), person, action)? {
            return Ok(Err(why));
        }
    }
    // Two accounts of one person are one person.
    Ok(changes::own(tx.conn(), by, approved_by)?.map_or(Ok(()), Err))
}

/// Whether a text says something that can be kept.
fn said(text: &str) -> bool {
    screen::legible(text) && text.chars().count() <= MAX_TEXT
}

/// Records a sweep over the Attorney General's sources, made now (V-31). It covers every partner.
///
/// # Errors
/// See [`PeopleError`].
pub async fn enter_check(
    db: &Db,
    keeper: &Keeper,
    sources: Vec<String>,
    result: String,
    evidence: Vec<Digest>,
    by: &str,
) -> Result<Instant, PeopleError> {
    let (by, keeper) = (by.to_owned(), keeper.clone());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::KeepRegister)? {
            return Ok(Err(why));
        }
        if sources.is_empty() || !sources.iter().all(|source| said(source)) || !said(&result) {
            return Ok(Err(format!(
                "name each source that was looked at, and what was found, each in at most {MAX_TEXT} characters"
            )));
        }
        let findings = ag::findings(tx.conn())?;
        let register = json::canonical(&findings).map_err(|error| Error::SerializationError(error.into()))?;
        let check =
            AgCheck { by: by.clone(), sources, at: tx.now(), result, evidence, register: Some(Digest::of(&register)) };
        let seal = keeper.seals(&check, CHECK_TYP)?;
        ag::enter_check(tx.conn(), &check, &seal)?;
        tx.bump_epoch();
        record(tx, Kind::AgCheck, &check, &by, Facts::default())?;
        Ok(Ok(check.at))
    };
    settled(db.record(job).await?)
}
