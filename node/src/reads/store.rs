//! The table of reads: kept once, found by exact plate in a window of time.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agreements::agreement::Area;
use agreements::decide::Permit;
use agreements::ids::{Digest, ReadId};
use agreements::message::Search;
use agreements::plate::Plate;
use agreements::time::Instant;
use diesel::dsl::{count_star, max, min};
use diesel::prelude::*;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::months::Months;
use super::open::{self, Place};
use super::read::{NewRead, Read};
use super::schema::read;
use crate::db::{Conn, ServerError, each};

/// Why the read store failed. None of these is an answer about data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address names no database.
    #[error("the read store's address is `sqlite:PATH` or `postgres://...`; a database in memory cannot be shared")]
    Url,
    /// The SQLite file cannot be made.
    #[error("cannot create {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// The file did not open.
    #[error("cannot open the read store: {0}")]
    Connect(#[from] ConnectionError),
    /// The server did not answer, or cannot be trusted with records.
    #[error("the read store: {0}")]
    Server(#[from] ServerError),
    /// The file cannot keep what it says that it has committed.
    #[error("the read store is not durable: {0}")]
    NotDurable(&'static str),
    /// The registry is in this database.
    #[error(
        "the read store's database holds the registry; give the reads one of their own under [store] in concordat.toml"
    )]
    Shared,
    /// A statement failed.
    #[error("the read store: {0}")]
    Query(#[from] diesel::result::Error),
    /// A migration failed.
    #[error("cannot bring the read store's schema up to date: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
    /// The schema is of a newer version of this program.
    #[error("the read store has the schema change {0} of a newer version of this program; run that version")]
    NewerSchema(String),
    /// A row that this program cannot have written.
    #[error("the read store has a row whose {0} is damaged")]
    Damaged(&'static str),
    /// The reads are kept, and whoever hears of them failed.
    #[error(
        "the reads are kept, but were not matched against the hotlists ({0}); deliver them again, which keeps nothing twice"
    )]
    Watch(String),
    /// No random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] openssl::error::ErrorStack),
}

/// What one search may see. Nothing outside `reads` can make one but from a permit (or, later, from an own user's kind
/// of permit): no permit, no read.
pub struct SearchBounds<'a> {
    pub(super) plate: &'a Plate,
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) area: Option<Area>,
    pub(super) limit: u32,
    pub(super) images: bool,
}

impl<'a> SearchBounds<'a> {
    /// The bounds of a permit for an exact plate. `None` when it permits another kind of search.
    #[must_use]
    pub fn permitted(permit: &'a Permit) -> Option<Self> {
        let Search::Exact { plate } = permit.search() else { return None };
        Some(Self {
            plate,
            from: permit.from(),
            until: permit.until(),
            area: permit.area(),
            limit: permit.max_rows(),
            images: permit.images(),
        })
    }

    /// Whether a row of the plate and the time lies in the area, edges included. A read without a place lies in none.
    fn cover(&self, row: &Row) -> bool {
        match (self.area, row.lat, row.lon) {
            (None, ..) => true,
            (Some(area), Some(lat), Some(lon)) => {
                (area.south..=area.north).contains(&lat) && (area.west..=area.east).contains(&lon)
            }
            (Some(_), ..) => false,
        }
    }

    /// The first rows that the bounds have room for, as the asker may see them.
    fn shown(&self, rows: Vec<Row>) -> Result<Vec<Read>, StoreError> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let shown = rows.into_iter().take(limit).map(|row| {
            let read = Read::try_from(row)?;
            Ok(if self.images { read } else { Read { image: None, ..read } })
        });
        shown.collect()
    }
}

/// What a search found, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// At most as many as the bounds allow.
    pub rows: Vec<Read>,
    /// There are more than the bounds allow.
    pub more: bool,
}

/// Hears of every batch of reads that is in the store, whoever brought it in.
pub trait Watch: Send + Sync {
    /// These reads are on the disk, each with the image that is stored for it; some may have been there before.
    fn kept<'a>(&'a self, reads: &'a [(NewRead, Option<Digest>)]) -> BoxFuture<'a, Result<(), String>>;
}

/// What became of reads that were to be kept: all of them are on the disk.
pub(super) struct Stored {
    /// For each its new id, or `None` when it was there (same plate, time and uuid) and stays as it was.
    pub(super) ids: Vec<Option<ReadId>>,
    /// Why whoever hears of reads failed, if so.
    pub(super) unmatched: Option<String>,
}

/// The read store. One per database and process: its writers queue at one lock, first come first served (SQLite's own
/// lock starves some of them).
pub struct ReadsDb {
    place: Place,
    writer: Mutex<Writer>,
    touches: Arc<AtomicU64>,
    kept: AtomicU64,
    watch: Option<Arc<dyn Watch>>,
}

/// The one connection that writes.
struct Writer {
    /// `None` after a failure, until the next write opens a new one.
    conn: Option<Conn>,
    /// On PostgreSQL: the months that have a partition.
    months: Months,
}

impl ReadsDb {
    /// Opens `sqlite:PATH` (made if it is not there, readable by its owner alone) or `postgres://...`, and brings its
    /// schema up to date. Blocks.
    ///
    /// # Errors
    /// No such address, no connection, a failed migration, or a newer schema.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let place = Place::parse(url)?;
        let mut conn = place.connect_writer()?;
        open::migrate(&mut conn)?;
        let writer = Mutex::new(Writer { conn: Some(conn), months: Months::default() });
        Ok(Self { place, writer, touches: Arc::default(), kept: AtomicU64::default(), watch: None })
    }

    /// Whether it is on a server, to which a connection may break, rather than in a file.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.place.is_server()
    }

    /// The same, with somebody who hears of every read that is kept.
    #[must_use]
    pub fn watched_by(self, watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// A new connection that can only read. Keep it: one per worker thread.
    ///
    /// # Errors
    /// No connection.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader { conn: self.place.connect_reader()?, touches: Arc::clone(&self.touches) })
    }

    /// How many reads this process has kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::SeqCst)
    }

    /// How many times any reader was asked about a plate. It moves before the store is touched, so where it stands
    /// still, nothing was looked up.
    #[must_use]
    pub fn touches(&self) -> u64 {
        self.touches.load(Ordering::SeqCst)
    }

    /// Keeps `reads` in one transaction, each with the image that is already stored for it. Blocks the thread while it
    /// writes.
    ///
    /// # Errors
    /// Nothing is kept.
    pub(super) async fn keep(&self, reads: &[(NewRead, Option<Digest>)], now: Instant) -> Result<Stored, StoreError> {
        let rows = reads.iter().map(|(read, image)| NewRow::new(read, *image, now)).collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() {
            return Ok(Stored { ids: Vec::new(), unmatched: None });
        }
        let mut writer = self.writer.lock().await;
        let kept = match writer.keep(&self.place, &rows, now, Try::First) {
            // The server was restarted, or a partition was dropped: nothing is committed, or it is what was asked for.
            Err(StoreError::Query(error)) if self.place.is_server() => {
                tracing::warn!(%error, "the read store's connection failed; trying with another");
                writer.keep(&self.place, &rows, now, Try::Again)
            }
            kept => kept,
        }?;
        drop(writer);
        self.kept.fetch_add(kept.len() as u64, Ordering::SeqCst);
        let unmatched = match &self.watch {
            Some(watch) => watch.kept(reads).await.err(),
            None => None,
        };
        let id = |row: NewRow| -> Result<Option<ReadId>, StoreError> {
            let kept = kept.contains(&row.id).then(|| ReadId::from_slice(&row.id));
            kept.transpose().map_err(|_| StoreError::Damaged("id"))
        };
        Ok(Stored { ids: rows.into_iter().map(id).collect::<Result<_, _>>()?, unmatched })
    }
}

/// Which try to keep a batch it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    /// The first may have been committed before its connection was lost.
    Again,
}

impl Writer {
    /// Inserts `rows`, and returns the ids of those that were new, also when an earlier try of the same rows had inserted
    /// them. After a failure the connection is not used again, and what was known of partitions is forgotten.
    fn keep(
        &mut self,
        place: &Place,
        rows: &[NewRow],
        now: Instant,
        which: Try,
    ) -> Result<HashSet<Vec<u8>>, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => place.connect_writer()?,
        };
        let mut months = std::mem::take(&mut self.months);
        let insert = diesel::insert_into(read::table).values(rows).on_conflict_do_nothing().returning(read::id);
        let mut kept: Vec<Vec<u8>> = match &mut conn {
            Conn::Sqlite(c) => c.immediate_transaction(|c| insert.load(c))?,
            Conn::Pg(c) => {
                months.provide(c, rows.iter().map(|row| row.seen_at), now)?;
                c.build_transaction().read_committed().read_write().run(|c| insert.load(c))?
            }
        };
        if which == Try::Again {
            kept.extend(inserted(&mut conn, rows)?);
        }
        *self = Self { conn: Some(conn), months };
        Ok(kept.into_iter().collect())
    }
}

/// Those of the ids of `rows` that are in the store: ids are made for each try to keep a read, so only ours has them.
fn inserted(conn: &mut Conn, rows: &[NewRow]) -> QueryResult<Vec<Vec<u8>>> {
    let seen = || rows.iter().map(|row| row.seen_at);
    let (Some(from), Some(until)) = (seen().min(), seen().max()) else { return Ok(Vec::new()) };
    let ids: Vec<&[u8]> = rows.iter().map(|row| row.id.as_slice()).collect();
    let keys: HashSet<&str> = rows.iter().map(|row| row.plate_key.as_str()).collect();
    each!(conn, c => {
        read::table
            .filter(read::plate_key.eq_any(keys))
            .filter(read::seen_at.between(from, until))
            .filter(read::id.eq_any(ids))
            .select(read::id)
            .load(c)
    })
}

/// A connection to the read store that cannot write and counts what it is asked.
pub struct Reader {
    conn: Conn,
    touches: Arc<AtomicU64>,
}

impl Reader {
    /// The reads within `bounds` of exactly that plate, newest first (then by uuid, descending: one order for ever).
    ///
    /// # Errors
    /// The store failed.
    pub fn search_exact(&mut self, bounds: &SearchBounds<'_>) -> Result<Found, StoreError> {
        self.touches.fetch_add(1, Ordering::SeqCst);
        let key = bounds.plate.key();
        let (from, until, limit) = (bounds.from.micros(), bounds.until.micros(), i64::from(bounds.limit) + 1);
        let query = read::table
            .filter(read::plate_key.eq(key.as_str()))
            .filter(read::plate.eq(bounds.plate.as_str()))
            .filter(read::seen_at.ge(from).and(read::seen_at.lt(until)))
            .order((read::seen_at.desc(), read::uuid.desc()))
            .limit(limit);
        let rows: Vec<Row> = match bounds.area {
            None => each!(&mut self.conn, c => query.select(Row::as_select()).load(c))?,
            Some(Area { south, west, north, east }) => {
                let query = query.filter(read::lat.between(south, north)).filter(read::lon.between(west, east));
                each!(&mut self.conn, c => query.select(Row::as_select()).load(c))?
            }
        };
        let more = rows.len() as u64 > u64::from(bounds.limit);
        Ok(Found { rows: bounds.shown(rows)?, more })
    }

    /// Those of `ids` that are still within `bounds`, in the order of [`Self::search_exact`]: for making an earlier
    /// answer again. At most as many as the bounds allow.
    ///
    /// # Errors
    /// The store failed.
    pub fn by_ids(&mut self, bounds: &SearchBounds<'_>, ids: &[ReadId]) -> Result<Vec<Read>, StoreError> {
        self.touches.fetch_add(1, Ordering::SeqCst);
        let mut rows: Vec<Row> = Vec::new();
        // In parts, because SQLite bounds the values of one statement.
        for part in ids.chunks(1000) {
            let ids: Vec<&[u8]> = part.iter().map(|id| &id.as_bytes()[..]).collect();
            rows.extend(each!(&mut self.conn, c => {
                read::table
                    .filter(read::plate_key.eq(bounds.plate.key().as_str()))
                    .filter(read::plate.eq(bounds.plate.as_str()))
                    .filter(read::seen_at.ge(bounds.from.micros()).and(read::seen_at.lt(bounds.until.micros())))
                    .filter(read::id.eq_any(ids))
                    .select(Row::as_select())
                    .load(c)
            })?);
        }
        rows.retain(|row| bounds.cover(row));
        rows.sort_by(|a, b| (b.seen_at, &b.uuid).cmp(&(a.seen_at, &a.uuid)));
        bounds.shown(rows)
    }

    /// How many reads there are.
    ///
    /// # Errors
    /// The store failed.
    pub fn count(&mut self) -> Result<u64, StoreError> {
        let count: i64 = read::table.select(count_star()).first(&mut self.conn)?;
        Ok(count.unsigned_abs())
    }

    /// When the oldest read was made; `None` when there is none.
    ///
    /// # Errors
    /// The store failed.
    pub fn oldest(&mut self) -> Result<Option<Instant>, StoreError> {
        let micros: Option<i64> = read::table.select(min(read::seen_at)).first(&mut self.conn)?;
        Ok(micros.map(Instant::from_micros))
    }

    /// When the newest read was made; `None` when there is none.
    ///
    /// # Errors
    /// The store failed.
    pub fn newest(&mut self) -> Result<Option<Instant>, StoreError> {
        let micros: Option<i64> = read::table.select(max(read::seen_at)).first(&mut self.conn)?;
        Ok(micros.map(Instant::from_micros))
    }
}

/// A row as it is found.
#[derive(Queryable, Selectable)]
#[diesel(table_name = read)]
struct Row {
    seen_at: i64,
    uuid: String,
    plate: String,
    id: Vec<u8>,
    state: Option<String>,
    camera: String,
    lat: Option<i32>,
    lon: Option<i32>,
    confidence: Option<i32>,
    direction: Option<i32>,
    vehicle: Option<String>,
    image: Option<Vec<u8>>,
}

/// A row as it is stored.
#[derive(Insertable)]
#[diesel(table_name = read, treat_none_as_default_value = false)]
struct NewRow {
    plate_key: String,
    seen_at: i64,
    uuid: String,
    plate: String,
    id: Vec<u8>,
    state: Option<String>,
    camera: String,
    lat: Option<i32>,
    lon: Option<i32>,
    confidence: Option<i32>,
    direction: Option<i32>,
    vehicle: Option<String>,
    image: Option<Vec<u8>>,
    source: Option<String>,
    ingested_at: i64,
}

impl NewRow {
    fn new(read: &NewRead, image: Option<Digest>, now: Instant) -> Result<Self, StoreError> {
        let mut random = [0; 10];
        openssl::rand::rand_bytes(&mut random)?;
        let vehicle = read.vehicle.as_ref().map(serde_json::to_string).transpose();
        Ok(Self {
            plate_key: read.plate.key().as_str().to_owned(),
            seen_at: read.seen_at.micros(),
            uuid: read.uuid.clone(),
            plate: read.plate.as_str().to_owned(),
            id: ReadId::new(now, random).as_bytes().to_vec(),
            state: read.state.clone(),
            camera: read.camera.clone(),
            lat: read.lat,
            lon: read.lon,
            confidence: read.confidence,
            direction: read.direction,
            vehicle: vehicle.map_err(|_| StoreError::Damaged("vehicle"))?,
            image: image.map(|digest| digest.0.to_vec()),
            source: read.agent.clone(),
            ingested_at: now.micros(),
        })
    }
}

impl TryFrom<Row> for Read {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let image = row.image.map(|bytes| bytes.try_into().map(Digest)).transpose();
        let vehicle = row.vehicle.map(|json| serde_json::from_str(&json)).transpose();
        Ok(Self {
            id: ReadId::from_slice(&row.id).map_err(|_| StoreError::Damaged("id"))?,
            plate: row.plate.parse().map_err(|_| StoreError::Damaged("plate"))?,
            state: row.state,
            seen_at: Instant::from_micros(row.seen_at),
            camera: row.camera,
            lat: row.lat,
            lon: row.lon,
            confidence: row.confidence,
            direction: row.direction,
            vehicle: vehicle.map_err(|_| StoreError::Damaged("vehicle"))?,
            image: image.map_err(|_| StoreError::Damaged("image"))?,
        })
    }
}

#[cfg(test)]
mod tests;
