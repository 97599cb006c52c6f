//! This agency's own hotlists: versions, and entries that each hold for some of them.
//!
//! A load writes rows of a version that is not in place yet, in many small transactions; readers name the version that
//! they read, so they see none of it before one last transaction puts that version in place.

use agreements::hotlist::Category;
use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use diesel::prelude::*;

use super::parsed;
use super::schema::{hotlist, hotlist_entry, hotlist_share, hotlist_version};
use crate::db::{Conn, each};

/// An own hotlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its name.
    pub name: String,
    /// The layout of its source.
    pub layout: String,
    /// The version in place; 0 while none is.
    pub version: i64,
    /// How many entries it has.
    pub entries: u64,
    /// How many lines of type N its source had.
    pub dropped: u64,
    /// What its source says of its own age.
    pub source_at: Instant,
    /// SHA-256 of the source's bytes.
    pub source: Digest,
    /// When it was loaded last.
    pub loaded_at: Instant,
    /// By whom.
    pub loaded_by: String,
}

type ListRow = (String, String, i64, i64, i64, i64, Vec<u8>, i64, String);

fn list_of(row: ListRow) -> QueryResult<List> {
    let (name, layout, version, entries, dropped, source_at, source, loaded_at, loaded_by) = row;
    Ok(List {
        name,
        layout,
        version,
        entries: entries.unsigned_abs(),
        dropped: dropped.unsigned_abs(),
        source_at: Instant::from_micros(source_at),
        source: digest(source)?,
        loaded_at: Instant::from_micros(loaded_at),
        loaded_by,
    })
}

fn digest(bytes: Vec<u8>) -> QueryResult<Digest> {
    parsed("hotlist_entry", bytes.try_into().map(Digest).map_err(|_| "a hash of another length"))
}

macro_rules! lists {
    () => {
        hotlist::table.select((
            hotlist::name,
            hotlist::layout,
            hotlist::version,
            hotlist::entries,
            hotlist::dropped,
            hotlist::source_at,
            hotlist::source,
            hotlist::loaded_at,
            hotlist::loaded_by,
        ))
    };
}

/// Every list that was loaded, by name.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<List>> {
    lists!()
        .filter(hotlist::version.gt(0))
        .order(hotlist::name)
        .load::<ListRow>(conn)?
        .into_iter()
        .map(list_of)
        .collect()
}

/// One list, if it was loaded.
pub fn find(conn: &mut Conn, name: &str) -> QueryResult<Option<List>> {
    lists!()
        .filter(hotlist::name.eq(name))
        .filter(hotlist::version.gt(0))
        .first::<ListRow>(conn)
        .optional()?
        .map(list_of)
        .transpose()
}

/// The layout of a list, if a load of it was ever begun.
pub fn layout(conn: &mut Conn, name: &str) -> QueryResult<Option<String>> {
    hotlist::table.find(name).select(hotlist::layout).first(conn).optional()
}

/// Takes the number of the next version for a load, so that no other load goes on under an earlier one.
pub fn begin(conn: &mut Conn, name: &str, layout: &str) -> QueryResult<i64> {
    let fresh = (
        hotlist::name.eq(name),
        hotlist::layout.eq(layout),
        hotlist::version.eq(0),
        hotlist::staging.eq(0),
        hotlist::entries.eq(0),
        hotlist::dropped.eq(0),
        hotlist::source_at.eq(0),
        hotlist::source.eq(vec![0_u8; 32]),
        hotlist::loaded_at.eq(0),
        hotlist::loaded_by.eq(""),
    );
    each!(conn, c => diesel::insert_into(hotlist::table).values(fresh).on_conflict_do_nothing().execute(c))?;
    let list = hotlist::table.find(name);
    diesel::update(list).set(hotlist::staging.eq(hotlist::staging + 1)).execute(conn)?;
    hotlist::table.find(name).select(hotlist::staging).first(conn)
}

/// Whether `stage` is still the newest load of the list. Within a transaction no other load begins until it ends.
pub fn holds(conn: &mut Conn, name: &str, stage: i64) -> QueryResult<bool> {
    let ours = hotlist::table.filter(hotlist::name.eq(name)).filter(hotlist::staging.eq(stage));
    Ok(diesel::update(ours).set(hotlist::staging.eq(stage)).execute(conn)? == 1)
}

/// Undoes at most `limit` rows of loads that never ended. How many; 0 means that there are no more.
pub fn clear_staged(conn: &mut Conn, name: &str, limit: i64) -> QueryResult<usize> {
    let Some(version) = version(conn, name)? else { return Ok(0) };
    let staged: Vec<(Vec<u8>, i64)> = hotlist_entry::table
        .filter(hotlist_entry::list.eq(name))
        .filter(hotlist_entry::since.gt(version))
        .select((hotlist_entry::digest, hotlist_entry::since))
        .limit(limit)
        .load(conn)?;
    for (digest, since) in &staged {
        diesel::delete(hotlist_entry::table.find((name, digest, since))).execute(conn)?;
    }
    let marked: Vec<(Vec<u8>, i64)> = hotlist_entry::table
        .filter(hotlist_entry::list.eq(name))
        .filter(hotlist_entry::until.gt(version))
        .select((hotlist_entry::digest, hotlist_entry::since))
        .limit(limit)
        .load(conn)?;
    for (digest, since) in &marked {
        let row = hotlist_entry::table.find((name, digest, since));
        diesel::update(row).set(hotlist_entry::until.eq(None::<i64>)).execute(conn)?;
    }
    Ok(staged.len() + marked.len())
}

/// The version in place, whether or not the list was ever loaded.
fn version(conn: &mut Conn, name: &str) -> QueryResult<Option<i64>> {
    hotlist::table.find(name).select(hotlist::version).first(conn).optional()
}

/// An entry as its row.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = hotlist_entry)]
pub struct EntryRow {
    /// The list.
    pub list: String,
    /// SHA-256 of `body`.
    pub digest: Vec<u8>,
    /// The first version that has it.
    pub since: i64,
    /// The folded plate.
    pub plate_key: String,
    /// The plate.
    pub plate: String,
    /// The category.
    pub category: String,
    /// The canonical JSON.
    pub body: String,
}

/// Adds entries, at most 2,000 at a time.
pub fn stage_added(conn: &mut Conn, rows: &[EntryRow]) -> QueryResult<()> {
    each!(conn, c => diesel::insert_into(hotlist_entry::table).values(rows).execute(c))?;
    Ok(())
}

/// Marks entries of the version in place as gone from `stage` on.
pub fn stage_removed(conn: &mut Conn, name: &str, stage: i64, digests: &[Digest]) -> QueryResult<()> {
    for digest in digests {
        let row = hotlist_entry::table
            .filter(hotlist_entry::list.eq(name))
            .filter(hotlist_entry::digest.eq(digest.0.to_vec()))
            .filter(hotlist_entry::until.is_null());
        diesel::update(row).set(hotlist_entry::until.eq(stage)).execute(conn)?;
    }
    Ok(())
}

/// Puts what was loaded in place: from this on, readers see it whole.
pub fn flip(conn: &mut Conn, list: &List, earlier: i64) -> QueryResult<()> {
    diesel::update(hotlist::table.find(&list.name))
        .set((
            hotlist::layout.eq(&list.layout),
            hotlist::version.eq(list.version),
            hotlist::entries.eq(list.entries.cast_signed()),
            hotlist::dropped.eq(list.dropped.cast_signed()),
            hotlist::source_at.eq(list.source_at.micros()),
            hotlist::source.eq(list.source.0.to_vec()),
            hotlist::loaded_at.eq(list.loaded_at.micros()),
            hotlist::loaded_by.eq(&list.loaded_by),
        ))
        .execute(conn)?;
    if list.version != earlier {
        diesel::insert_into(hotlist_version::table)
            .values((
                hotlist_version::list.eq(&list.name),
                hotlist_version::version.eq(list.version),
                hotlist_version::loaded_at.eq(list.loaded_at.micros()),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Whether a delta can lead from `version` to the one in place: what went since is still known.
pub fn knows_version(conn: &mut Conn, name: &str, version: i64) -> QueryResult<bool> {
    let found: Option<i64> =
        hotlist_version::table.find((name, version)).select(hotlist_version::version).first(conn).optional()?;
    Ok(found.is_some())
}

/// Forgets versions that were followed by another before `before`, and at most `limit` entries that only they had. How
/// many entries; 0 means that there are no more.
pub fn purge(conn: &mut Conn, name: &str, before: Instant, limit: i64) -> QueryResult<usize> {
    let newest_before: Option<i64> = hotlist_version::table
        .filter(hotlist_version::list.eq(name))
        .filter(hotlist_version::loaded_at.le(before.micros()))
        .select(diesel::dsl::max(hotlist_version::version))
        .first(conn)?;
    let Some(oldest) = newest_before else { return Ok(0) };
    let old = hotlist_version::table.filter(hotlist_version::list.eq(name)).filter(hotlist_version::version.lt(oldest));
    diesel::delete(old).execute(conn)?;
    let gone: Vec<(Vec<u8>, i64)> = hotlist_entry::table
        .filter(hotlist_entry::list.eq(name))
        .filter(hotlist_entry::until.le(oldest))
        .select((hotlist_entry::digest, hotlist_entry::since))
        .limit(limit)
        .load(conn)?;
    for (digest, since) in &gone {
        diesel::delete(hotlist_entry::table.find((name, digest, since))).execute(conn)?;
    }
    Ok(gone.len())
}

/// Which entries of a list are meant.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Those that the version has.
    At(i64),
    /// Those that the second version has and the first has not.
    Added(i64, i64),
    /// Those that the first version has and the second has not.
    Removed(i64, i64),
}

/// A page of entries in the order of their digests, after `after`: digest and body. `categories` limits them when given.
pub fn page(
    conn: &mut Conn,
    name: &str,
    part: Part,
    categories: Option<&[Category]>,
    after: Option<Digest>,
    limit: i64,
) -> QueryResult<Vec<(Digest, String)>> {
    let rows: Vec<(Vec<u8>, String)> = each!(conn, c => {
        let mut query = hotlist_entry::table
            .filter(hotlist_entry::list.eq(name))
            .select((hotlist_entry::digest, hotlist_entry::body))
            .order(hotlist_entry::digest)
            .limit(limit)
            .into_boxed();
        let unended = |version: i64| hotlist_entry::until.is_null().or(hotlist_entry::until.gt(version));
        query = match part {
            Part::At(version) => query.filter(hotlist_entry::since.le(version)).filter(unended(version)),
            Part::Added(from, to) => query
                .filter(hotlist_entry::since.gt(from))
                .filter(hotlist_entry::since.le(to))
                .filter(unended(to)),
            Part::Removed(from, to) => query
                .filter(hotlist_entry::since.le(from))
                .filter(hotlist_entry::until.gt(from))
                .filter(hotlist_entry::until.le(to)),
        };
        if let Some(after) = after {
            query = query.filter(hotlist_entry::digest.gt(after.0.to_vec()));
        }
        if let Some(categories) = categories {
            let names: Vec<&str> = categories.iter().map(|category| category.as_str()).collect();
            query = query.filter(hotlist_entry::category.eq_any(names));
        }
        query.load(c)
    })?;
    rows.into_iter().map(|(bytes, body)| Ok((digest(bytes)?, body))).collect()
}

/// An entry in place whose folded plate is one of those asked for.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The list.
    pub list: String,
    /// SHA-256 of the entry.
    pub digest: Digest,
    /// Its canonical JSON.
    pub body: String,
}

/// The entries in place with one of these folded plates.
pub fn candidates(conn: &mut Conn, keys: &[&str]) -> QueryResult<Vec<Candidate>> {
    let rows: Vec<(String, Vec<u8>, String)> = each!(conn, c => hotlist_entry::table
        .inner_join(hotlist::table.on(hotlist::name.eq(hotlist_entry::list)))
        .filter(hotlist_entry::plate_key.eq_any(keys))
        .filter(hotlist_entry::since.le(hotlist::version))
        .filter(hotlist_entry::until.is_null().or(hotlist_entry::until.gt(hotlist::version.nullable())))
        .select((hotlist_entry::list, hotlist_entry::digest, hotlist_entry::body))
        .order((hotlist_entry::list, hotlist_entry::digest))
        .load(c))?;
    rows.into_iter().map(|(list, bytes, body)| Ok(Candidate { list, digest: digest(bytes)?, body })).collect()
}

/// One entry of a list, in place or gone lately.
pub fn entry(conn: &mut Conn, name: &str, entry: Digest) -> QueryResult<Option<String>> {
    hotlist_entry::table
        .filter(hotlist_entry::list.eq(name))
        .filter(hotlist_entry::digest.eq(entry.0.to_vec()))
        .select(hotlist_entry::body)
        .first(conn)
        .optional()
}

/// What a partner was last told of a list.
#[derive(Debug, Clone)]
pub struct Share {
    /// The list.
    pub list: String,
    /// The partner.
    pub partner: Ori,
    /// The version.
    pub version: i64,
    /// When.
    pub asserted_at: Instant,
}

/// Notes that `partner` was told a version of the list.
pub fn shared(conn: &mut Conn, name: &str, partner: Ori, version: i64, at: Instant) -> QueryResult<()> {
    let told = (hotlist_share::version.eq(version), hotlist_share::asserted_at.eq(at.micros()));
    let row = (hotlist_share::list.eq(name), hotlist_share::partner.eq(partner.as_str()), told);
    each!(conn, c => diesel::insert_into(hotlist_share::table)
        .values(row)
        .on_conflict((hotlist_share::list, hotlist_share::partner))
        .do_update()
        .set(told)
        .execute(c))?;
    Ok(())
}

/// What every partner was last told.
pub fn shares(conn: &mut Conn) -> QueryResult<Vec<Share>> {
    let rows: Vec<(String, String, i64, i64)> =
        hotlist_share::table.order((hotlist_share::list, hotlist_share::partner)).load(conn)?;
    rows.into_iter()
        .map(|(list, partner, version, at)| {
            let partner = parsed("hotlist_share", partner.parse())?;
            Ok(Share { list, partner, version, asserted_at: Instant::from_micros(at) })
        })
        .collect()
}
