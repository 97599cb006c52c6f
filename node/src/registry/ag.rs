//! The register of the Attorney General's findings, and the checks of its sources (V-31).

use agreements::status::{AgCheck, Finding, Register};
use agreements::time::Instant;
use diesel::dsl::max;
use diesel::prelude::*;

use super::schema::{ag_check, finding};
use super::{parsed, written};
use crate::db::Conn;

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

/// What a decision needs of both.
pub fn register(conn: &mut Conn) -> QueryResult<Register> {
    let checked: Option<i64> = ag_check::table.select(max(ag_check::checked_at)).first(conn)?;
    Ok(Register::new(&findings(conn)?, checked.map(Instant::from_micros)))
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
