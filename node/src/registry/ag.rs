//! The register of the Attorney General's findings, and the checks of its sources (V-31).

use agreements::entry::Kind;
use agreements::register::{AgCheck, Finding, Register};
use agreements::stream::Seal;
use agreements::time::Instant;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::result::Error;

use super::schema::{ag_check, finding};
use super::{parsed, reviews, written};
use crate::db::{Conn, steady};
use crate::trail::told::{self, Told, Which};

/// All findings, in the order in which they were entered.
pub fn findings(conn: &mut Conn) -> QueryResult<Vec<Finding>> {
    let rows: Vec<Vec<u8>> = finding::table.select(finding::body).order(finding::n).load(conn)?;
    rows.iter().map(|body| parsed("finding", agreements::json::parse(body))).collect()
}

/// All checks, the newest first.
pub fn checks(conn: &mut Conn) -> QueryResult<Vec<AgCheck>> {
    let rows: Vec<Vec<u8>> = ag_check::table.select(ag_check::body).order(ag_check::n.desc()).load(conn)?;
    rows.iter().map(|body| parsed("ag_check", agreements::json::parse(body))).collect()
}

/// A finding or a check as a document that can leave this node: its canonical bytes, and the seal that it got when it was
/// entered.
#[derive(Debug, Clone)]
pub struct Document {
    /// Canonical JSON.
    pub body: Vec<u8>,
    /// This agency's seal over it.
    pub seal: Option<Seal>,
}

type DocumentRow = (Vec<u8>, Option<Vec<u8>>);

fn document((body, seal): DocumentRow) -> QueryResult<Document> {
    let seal = seal.map(|seal| parsed("ag_check", agreements::json::parse(&seal))).transpose()?;
    Ok(Document { body, seal })
}

/// All findings as documents, in the order in which they were entered.
pub fn finding_documents(conn: &mut Conn) -> QueryResult<Vec<Document>> {
    let rows: Vec<DocumentRow> = finding::table.select((finding::body, finding::seal)).order(finding::n).load(conn)?;
    rows.into_iter().map(document).collect()
}

/// All checks as documents, the oldest first.
pub fn check_documents(conn: &mut Conn) -> QueryResult<Vec<Document>> {
    let rows: Vec<DocumentRow> =
        ag_check::table.select((ag_check::body, ag_check::seal)).order(ag_check::n).load(conn)?;
    rows.into_iter().map(document).collect()
}

/// What a decision needs of both, and of the early reviews. Where a row is not what the trail recorded, or one is missing
/// or added, nobody counts as checked: nothing is in force until the rows are what they were.
pub fn register(conn: &mut Conn) -> QueryResult<Register> {
    Ok(sworn(conn, Which::Last)?.unwrap_or_else(|what| {
        tracing::error!(
            what,
            "ALARM: the register of findings was changed by other hands; no agency counts as checked"
        );
        Register::new(&[], None, Vec::new())
    }))
}

/// Findings and checks, held to the entries that recorded them: every finding, and of the checks the last one (no other
/// decides anything) or all. With them the reviews that are open, from the trail alone. The inner error says what is not
/// as it was recorded.
pub(crate) fn sworn(conn: &mut Conn, checks: Which) -> QueryResult<Result<Register, String>> {
    steady(conn, |conn| {
        let findings = match sworn_findings(conn) {
            Err(Error::DeserializationError(error)) => return Ok(Err(error.to_string())),
            findings => findings?,
        };
        let checked = sworn_checks(conn, checks)?;
        let reviews = reviews::all(conn)?;
        Ok(findings.and_then(|findings| {
            let findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
            Ok(Register::new(&findings, checked?.last().copied(), reviews::open(&reviews?, None)))
        }))
    })
}

/// The register as it was at an instant: what was entered, checked and opened by then, and not closed.
///
/// # Errors
/// The inner error says what is not as it was recorded.
pub fn register_at(conn: &mut Conn, at: Instant) -> QueryResult<Result<Register, String>> {
    steady(conn, |conn| {
        let findings = match sworn_findings(conn) {
            Err(Error::DeserializationError(error)) => return Ok(Err(error.to_string())),
            findings => findings?,
        };
        let checked = sworn_checks(conn, Which::All)?;
        let reviews = reviews::all(conn)?;
        Ok(findings.and_then(|findings| {
            let known = findings.into_iter().take_while(|(entered_at, _)| *entered_at <= at);
            let findings: Vec<Finding> = known.map(|(_, finding)| finding).collect();
            let checked = checked?.into_iter().take_while(|checked_at| *checked_at <= at).last();
            Ok(Register::new(&findings, checked, reviews::open(&reviews?, Some(at))))
        }))
    })
}

/// Every finding, with when it was entered.
fn sworn_findings(conn: &mut Conn) -> QueryResult<Result<Vec<(Instant, Finding)>, String>> {
    let told = match told::told(conn, Kind::AgFinding, Which::All)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let rows: Vec<(String, Vec<u8>, i64)> =
        finding::table.select((finding::ori, finding::body, finding::entered_at)).order(finding::n).load(conn)?;
    if rows.len() != told.len() {
        return Ok(Err(format!("{} findings are kept, but the trail recorded {}", rows.len(), told.len())));
    }
    let mut findings = Vec::new();
    for ((ori, body, entered_at), told) in rows.iter().zip(told) {
        let kept: Finding = parsed("finding", agreements::json::parse(body))?;
        if *body != told.message || *entered_at != told.at.micros() || kept.ori.as_str() != ori {
            return Ok(Err(format!("finding {} is not the one that the trail recorded", findings.len() + 1)));
        }
        findings.push((told.at, kept));
    }
    Ok(Ok(findings))
}

/// When the sources were checked: each time, or the last.
fn sworn_checks(conn: &mut Conn, which: Which) -> QueryResult<Result<Vec<Instant>, String>> {
    let told = match told::told(conn, Kind::AgCheck, which)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let recorded = told::count(conn, Kind::AgCheck)?;
    let kept: i64 = ag_check::table.count().get_result(conn)?;
    if recorded != kept {
        return Ok(Err(format!("{kept} checks are kept, but the trail recorded {recorded}")));
    }
    let limit = i64::try_from(told.len()).unwrap_or(i64::MAX);
    let rows: Vec<(i64, Vec<u8>)> = ag_check::table
        .select((ag_check::checked_at, ag_check::body))
        .order(ag_check::n.desc())
        .limit(limit)
        .load(conn)?;
    let same = |((at, body), told): (&(i64, Vec<u8>), &Told)| *at == told.at.micros() && *body == told.message;
    if rows.iter().zip(told.iter().rev()).all(same) {
        Ok(Ok(told.iter().map(|told| told.at).collect()))
    } else {
        Ok(Err("a check is not the one that the trail recorded".to_owned()))
    }
}

/// Enters a finding, with this agency's seal over its canonical bytes.
pub fn enter(conn: &mut Conn, entry: &Finding, seal: &Seal, at: Instant) -> QueryResult<()> {
    let last: Option<i64> = finding::table.select(max(finding::n)).first(conn)?;
    diesel::insert_into(finding::table)
        .values((
            finding::n.eq(last.unwrap_or(0) + 1),
            finding::ori.eq(entry.ori.as_str()),
            finding::body.eq(written(entry)?),
            finding::entered_at.eq(at.micros()),
            finding::seal.eq(written(seal)?),
        ))
        .execute(conn)?;
    Ok(())
}

/// Enters a check, with this agency's seal over its canonical bytes.
pub fn enter_check(conn: &mut Conn, check: &AgCheck, seal: &Seal) -> QueryResult<()> {
    let last: Option<i64> = ag_check::table.select(max(ag_check::n)).first(conn)?;
    diesel::insert_into(ag_check::table)
        .values((
            ag_check::n.eq(last.unwrap_or(0) + 1),
            ag_check::checked_at.eq(check.at.micros()),
            ag_check::body.eq(written(check)?),
            ag_check::seal.eq(written(seal)?),
        ))
        .execute(conn)?;
    Ok(())
}
