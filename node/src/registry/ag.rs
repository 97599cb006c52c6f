//! The register of the Attorney General's findings, and the checks of its sources (V-31).

use agreements::entry::Kind;
use agreements::register::{AgCheck, Finding, Register};
use agreements::time::Instant;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::result::Error;

use super::schema::{ag_check, finding};
use super::{parsed, written};
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

/// What a decision needs of both. Where a row is not what the trail recorded, or one is missing or added, nobody counts as
/// checked: nothing is in force until the rows are what they were.
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
/// decides anything) or all. The inner error says what is not as it was recorded.
pub(crate) fn sworn(conn: &mut Conn, checks: Which) -> QueryResult<Result<Register, String>> {
    steady(conn, |conn| {
        let findings = match sworn_findings(conn) {
            Err(Error::DeserializationError(error)) => return Ok(Err(error.to_string())),
            findings => findings?,
        };
        let checked = sworn_checks(conn, checks)?;
        Ok(findings.and_then(|findings| Ok(Register::new(&findings, checked?, Vec::new()))))
    })
}

fn sworn_findings(conn: &mut Conn) -> QueryResult<Result<Vec<Finding>, String>> {
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
        findings.push(kept);
    }
    Ok(Ok(findings))
}

/// When the sources were checked last.
fn sworn_checks(conn: &mut Conn, which: Which) -> QueryResult<Result<Option<Instant>, String>> {
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
        Ok(Ok(told.last().map(|told| told.at)))
    } else {
        Ok(Err("a check is not the one that the trail recorded".to_owned()))
    }
}

/// Enters a finding.
pub fn enter(conn: &mut Conn, entry: &Finding, at: Instant) -> QueryResult<()> {
    let last: Option<i64> = finding::table.select(max(finding::n)).first(conn)?;
    diesel::insert_into(finding::table)
        .values((
            finding::n.eq(last.unwrap_or(0) + 1),
            finding::ori.eq(entry.ori.as_str()),
            finding::body.eq(written(entry)?),
            finding::entered_at.eq(at.micros()),
        ))
        .execute(conn)?;
    Ok(())
}

/// Enters a check.
pub fn enter_check(conn: &mut Conn, check: &AgCheck) -> QueryResult<()> {
    let last: Option<i64> = ag_check::table.select(max(ag_check::n)).first(conn)?;
    diesel::insert_into(ag_check::table)
        .values((
            ag_check::n.eq(last.unwrap_or(0) + 1),
            ag_check::checked_at.eq(check.at.micros()),
            ag_check::body.eq(written(check)?),
        ))
        .execute(conn)?;
    Ok(())
}
