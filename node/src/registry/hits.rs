//! Hits: reads that matched an entry of a hotlist, and what a person found on looking.

use std::fmt;
use std::str::FromStr;

use agreements::hotlist::Category;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::plate::Plate;
use agreements::time::Instant;
use diesel::prelude::*;

use super::parsed;
use super::schema::hit;
use crate::db::Conn;

/// Whether anybody may act on a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitStatus {
    /// Nobody looked yet: not actionable.
    Unconfirmed,
    /// A person compared the image with the plate, and the entry with its source.
    Confirmed,
    /// The reader misread, or the entry no longer stands: not actionable.
    Misread,
}

impl HitStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unconfirmed, Self::Confirmed, Self::Misread];

    /// The written name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unconfirmed => "unconfirmed",
            Self::Confirmed => "confirmed",
            Self::Misread => "misread",
        }
    }

    /// Whether anybody may act on it.
    #[must_use]
    pub fn actionable(self) -> bool {
        self == Self::Confirmed
    }
}

impl fmt::Display for HitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for HitStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| format!("a hit is {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A hit.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The id of the entry of the trail that recorded it.
    pub id: RequestId,
    /// What makes the read known again.
    pub read_key: Digest,
    /// The list's owner.
    pub owner: Ori,
    /// The list.
    pub list: String,
    /// Why the plate is on it.
    pub category: Category,
    /// SHA-256 of the entry.
    pub entry: Digest,
    /// The plate as read.
    pub plate: Plate,
    /// The state as read.
    pub state: Option<String>,
    /// When the vehicle was seen.
    pub seen_at: Instant,
    /// The camera.
    pub camera: String,
    /// The plate crop.
    pub image: Option<Digest>,
    /// In how many characters the read differs from the entry; 0 is exact.
    pub substitutions: u32,
    /// Whether both say the same state; otherwise one of them says none.
    pub state_known: bool,
    /// When it matched.
    pub matched_at: Instant,
    /// What a person found.
    pub status: HitStatus,
    /// When.
    pub verified_at: Option<Instant>,
    /// Who.
    pub verified_by: Option<String>,
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = hit, treat_none_as_default_value = false)]
struct Row {
    id: Vec<u8>,
    read_key: Vec<u8>,
    owner: String,
    list: String,
    category: String,
    entry: Vec<u8>,
    plate: String,
    state: Option<String>,
    seen_at: i64,
    camera: String,
    image: Option<Vec<u8>>,
    substitutions: i64,
    state_known: i64,
    matched_at: i64,
    status: String,
    verified_at: Option<i64>,
    verified_by: Option<String>,
}

fn digest(bytes: Vec<u8>) -> QueryResult<Digest> {
    parsed("hit", bytes.try_into().map(Digest).map_err(|_| "a hash of another length"))
}

fn hit_of(row: Row) -> QueryResult<Hit> {
    Ok(Hit {
        id: parsed("hit", RequestId::from_slice(&row.id))?,
        read_key: digest(row.read_key)?,
        owner: parsed("hit", row.owner.parse())?,
        list: row.list,
        category: parsed("hit", row.category.parse())?,
        entry: digest(row.entry)?,
        plate: parsed("hit", row.plate.parse())?,
        state: row.state,
        seen_at: Instant::from_micros(row.seen_at),
        camera: row.camera,
        image: row.image.map(digest).transpose()?,
        substitutions: u32::try_from(row.substitutions).unwrap_or(u32::MAX),
        state_known: row.state_known != 0,
        matched_at: Instant::from_micros(row.matched_at),
        status: parsed("hit", row.status.parse())?,
        verified_at: row.verified_at.map(Instant::from_micros),
        verified_by: row.verified_by,
    })
}

/// Whether the read has a hit of this list and category already.
pub fn known(conn: &mut Conn, read: Digest, owner: Ori, list: &str, category: Category) -> QueryResult<bool> {
    let found: Option<i64> = hit::table
        .filter(hit::read_key.eq(read.0.to_vec()))
        .filter(hit::owner.eq(owner.as_str()))
        .filter(hit::list.eq(list))
        .filter(hit::category.eq(category.as_str()))
        .select(hit::matched_at)
        .first(conn)
        .optional()?;
    Ok(found.is_some())
}

/// Keeps a hit.
pub fn insert(conn: &mut Conn, new: &Hit) -> QueryResult<()> {
    let row = Row {
        id: new.id.as_bytes().to_vec(),
        read_key: new.read_key.0.to_vec(),
        owner: new.owner.as_str().to_owned(),
        list: new.list.clone(),
        category: new.category.as_str().to_owned(),
        entry: new.entry.0.to_vec(),
        plate: new.plate.as_str().to_owned(),
        state: new.state.clone(),
        seen_at: new.seen_at.micros(),
        camera: new.camera.clone(),
        image: new.image.map(|digest| digest.0.to_vec()),
        substitutions: i64::from(new.substitutions),
        state_known: i64::from(new.state_known),
        matched_at: new.matched_at.micros(),
        status: new.status.as_str().to_owned(),
        verified_at: new.verified_at.map(Instant::micros),
        verified_by: new.verified_by.clone(),
    };
    diesel::insert_into(hit::table).values(row).execute(conn)?;
    Ok(())
}

/// The newest hits, of one status when given; at most `limit`.
pub fn newest(conn: &mut Conn, status: Option<HitStatus>, limit: i64) -> QueryResult<Vec<Hit>> {
    let mut query = hit::table.order((hit::matched_at.desc(), hit::id.desc())).limit(limit).into_boxed();
    if let Some(status) = status {
        query = query.filter(hit::status.eq(status.as_str()));
    }
    query.load::<Row>(conn)?.into_iter().map(hit_of).collect()
}

/// One hit.
pub fn find(conn: &mut Conn, id: RequestId) -> QueryResult<Option<Hit>> {
    hit::table.find(id.as_bytes().to_vec()).first::<Row>(conn).optional()?.map(hit_of).transpose()
}

/// Notes what a person found. Whether there is such a hit.
pub fn verify(conn: &mut Conn, id: RequestId, status: HitStatus, by: &str, at: Instant) -> QueryResult<bool> {
    let row = hit::table.find(id.as_bytes().to_vec());
    let found = (hit::status.eq(status.as_str()), hit::verified_at.eq(at.micros()), hit::verified_by.eq(by));
    Ok(diesel::update(row).set(found).execute(conn)? == 1)
}

/// Deletes the hits that these entries recorded. How many there were.
pub fn forget(conn: &mut Conn, of: &[RequestId]) -> QueryResult<usize> {
    let mut forgotten: usize = 0;
    for some in of.chunks(500) {
        let ids: Vec<Vec<u8>> = some.iter().map(|rid| rid.as_bytes().to_vec()).collect();
        let gone = diesel::delete(hit::table.filter(hit::id.eq_any(ids))).execute(conn)?;
        forgotten = forgotten.saturating_add(gone);
    }
    Ok(forgotten)
}
