//! Partners enrolled from their descriptors.

use std::collections::{BTreeMap, BTreeSet};

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::party::{Keys, Party};
use agreements::time::Instant;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::schema::agency;
use super::{parsed, written};
use crate::db::Conn;
use crate::trail::told::{self, Told, Which};

/// A partner as it was enrolled.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Who it is.
    pub party: Party,
    /// When.
    pub enrolled_at: Instant,
    /// By whom.
    pub enrolled_by: String,
    /// Who compared the fingerprint.
    pub confirmed_by: String,
}

/// Every partner, in the order of their ORIs.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Enrolled>> {
    let rows: Vec<(Vec<u8>, i64, String, String)> = agency::table
        .select((agency::party, agency::enrolled_at, agency::enrolled_by, agency::confirmed_by))
        .order(agency::ori)
        .load(conn)?;
    rows.into_iter()
        .map(|(party, at, enrolled_by, confirmed_by)| {
            let party = parsed("agency", json::parse(&party))?;
            Ok(Enrolled { party, enrolled_at: Instant::from_micros(at), enrolled_by, confirmed_by })
        })
        .collect()
}

/// Every partner's sealed file as it was imported, in the order of their ORIs.
pub fn descriptors(conn: &mut Conn) -> QueryResult<Vec<(Ori, Vec<u8>)>> {
    let rows: Vec<(String, Vec<u8>)> =
        agency::table.select((agency::ori, agency::descriptor)).order(agency::ori).load(conn)?;
    rows.into_iter().map(|(ori, file)| Ok((parsed("agency", ori.parse())?, file))).collect()
}

/// A partner's sealed file as it was imported.
pub fn descriptor(conn: &mut Conn, ori: Ori) -> QueryResult<Option<Vec<u8>>> {
    agency::table.find(ori.as_str()).select(agency::descriptor).first(conn).optional()
}

/// The message of a `peer.enrolled` entry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerEnrolled {
    /// Who compared the fingerprint.
    pub(crate) confirmed_by: String,
    /// The SHA-256 of the sealed file.
    pub(crate) descriptor: Digest,
    /// The fingerprint that was compared.
    pub(crate) fingerprint: Digest,
    /// Whom it enrolled.
    pub(crate) ori: Ori,
    /// The keys that were its own before, where it was enrolled already: oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaces: Vec<Replaced>,
    /// The version of this message.
    pub(crate) v: u16,
}

/// Keys that were a partner's before it was enrolled by a newer file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replaced {
    /// They.
    pub(crate) keys: Keys,
    /// The receipts that they signed and that the entry named which recorded their end.
    pub(crate) receipts: Vec<Digest>,
    /// The position of that entry; absent for the one that says this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<u64>,
}

/// A partner as the trail last recorded its enrolment.
#[derive(Debug)]
pub(crate) struct Enrolment {
    /// The position of that entry.
    pub(crate) index: u64,
    /// The SHA-256 of the sealed file.
    pub(crate) descriptor: Digest,
    /// The keys that were its own before.
    pub(crate) replaces: Vec<Replaced>,
}

/// Whom the trail recorded as enrolled, and by which file, the newest of each; the inner error says which entry is not as it
/// was recorded. All of them, or those about one partner.
pub(crate) fn recorded(conn: &mut Conn, which: Which) -> QueryResult<Result<BTreeMap<Ori, Enrolment>, String>> {
    let told = match told::told(conn, Kind::PeerEnrolled, which)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(what)),
    };
    let parse = |told: &Told| {
        let PeerEnrolled { descriptor, ori, replaces, .. } =
            json::parse(&told.message).map_err(|error| error.to_string())?;
        Ok((ori, Enrolment { index: told.index, descriptor, replaces }))
    };
    Ok(told.iter().map(parse).collect())
}

/// What is not as the trail has it, among all the rows; empty when they agree.
pub(crate) fn objections(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let recorded = match recorded(conn, Which::All)? {
        Ok(recorded) => recorded,
        Err(what) => return Ok(vec![what]),
    };
    let recorded: BTreeSet<(Ori, Digest)> = recorded.into_iter().map(|(ori, last)| (ori, last.descriptor)).collect();
    let kept: BTreeSet<(Ori, Digest)> =
        descriptors(conn)?.into_iter().map(|(ori, file)| (ori, Digest::of(&file))).collect();
    let said = |(ori, _): &(Ori, Digest)| format!("the row of {ori} is not what the trail recorded at its enrolment");
    Ok(recorded.symmetric_difference(&kept).map(said).collect())
}

/// One partner.
pub fn find(conn: &mut Conn, ori: Ori) -> QueryResult<Option<Party>> {
    let row: Option<Vec<u8>> = agency::table.find(ori.as_str()).select(agency::party).first(conn).optional()?;
    row.map(|party| parsed("agency", json::parse(&party))).transpose()
}

/// Enrols a partner that is not enrolled yet.
pub fn insert(conn: &mut Conn, enrolled: &Enrolled, descriptor: &[u8]) -> QueryResult<()> {
    diesel::insert_into(agency::table)
        .values((
            agency::ori.eq(enrolled.party.ori.as_str()),
            agency::party.eq(written(&enrolled.party)?),
            agency::descriptor.eq(descriptor),
            agency::enrolled_at.eq(enrolled.enrolled_at.micros()),
            agency::enrolled_by.eq(&enrolled.enrolled_by),
            agency::confirmed_by.eq(&enrolled.confirmed_by),
        ))
        .execute(conn)?;
    Ok(())
}

/// Puts a partner's newer file in the place of the one that it was enrolled by.
pub(crate) fn replace(conn: &mut Conn, enrolled: &Enrolled, descriptor: &[u8]) -> QueryResult<()> {
    let row = agency::table.find(enrolled.party.ori.as_str());
    let changed = diesel::update(row)
        .set((
            agency::party.eq(written(&enrolled.party)?),
            agency::descriptor.eq(descriptor),
            agency::enrolled_at.eq(enrolled.enrolled_at.micros()),
            agency::enrolled_by.eq(&enrolled.enrolled_by),
            agency::confirmed_by.eq(&enrolled.confirmed_by),
        ))
        .execute(conn)?;
    if changed == 1 { Ok(()) } else { Err(diesel::result::Error::NotFound) }
}
