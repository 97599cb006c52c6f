//! The monthly partitions of the table of reads on PostgreSQL: each is there before a row needs it.

use std::collections::BTreeSet;
use std::fmt;

use agreements::time::Instant;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::store::StoreError;

/// Only one process at a time makes partitions. The number means nothing.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7304108914)";
const PARTITIONS: &str = "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE i.inhparent = 'read'::regclass";

/// A month of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Month(Date);

impl Month {
    /// The month in which `micros` (since 1970 UTC) falls; `None` outside the years that a date can hold.
    fn of(micros: i64) -> Option<Self> {
        let stamp = Timestamp::from_microsecond(micros).ok()?;
        Some(Self(stamp.to_zoned_datetime(TimeZone::UTC).date().first_of_month()))
    }

    fn next(self) -> Option<Self> {
        self.0.last_of_month().tomorrow().ok().map(Self)
    }

    /// Its first microsecond.
    fn begins(self) -> Option<i64> {
        let midnight = self.0.to_datetime(Time::midnight()).to_zoned_datetime(TimeZone::UTC).ok()?;
        Some(midnight.timestamp().as_microsecond())
    }
}

impl fmt::Display for Month {
    /// The name of its partition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read_{:04}_{:02}", self.0.year(), self.0.month())
    }
}

#[derive(QueryableByName)]
struct Partition {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The months that are known to have their partition.
#[derive(Debug, Default)]
pub(super) struct Months(BTreeSet<Month>);

impl Months {
    /// Makes the partitions that reads seen at `seen` (microseconds since 1970 UTC) need, and those of this month and the
    /// next, so that none has to be made on the first of a month, when traffic waits for it.
    ///
    /// # Errors
    /// A time that is none, or the database failed; then no partition was made.
    pub(super) fn provide(
        &mut self,
        conn: &mut PgConnection,
        seen: impl Iterator<Item = i64>,
        now: Instant,
    ) -> Result<(), StoreError> {
        let of = |micros| Month::of(micros).ok_or(StoreError::Damaged("seen_at"));
        let mut needed = seen.map(of).collect::<Result<BTreeSet<_>, _>>()?;
        let this = of(now.micros())?;
        needed.extend([Some(this), this.next()].into_iter().flatten());
        if needed.is_subset(&self.0) {
            return Ok(());
        }
        conn.build_transaction().read_committed().read_write().run(|conn| {
            conn.batch_execute(LOCK)?;
            let there: Vec<Partition> = diesel::sql_query(PARTITIONS).load(conn)?;
            let there: BTreeSet<String> = there.into_iter().map(|partition| partition.name).collect();
            let missing = needed.iter().filter(|month| !there.contains(&month.to_string()));
            for month in missing {
                conn.batch_execute(&made(*month).ok_or(StoreError::Damaged("seen_at"))?)?;
            }
            Ok::<_, StoreError>(())
        })?;
        self.0.append(&mut needed);
        Ok(())
    }
}

/// Made beside the table and then attached: unlike `PARTITION OF`, that does not wait for whoever reads, nor keep others
/// waiting behind.
fn made(month: Month) -> Option<String> {
    let (from, to) = (month.begins()?, month.next()?.begins()?);
    Some(format!(
        "CREATE TABLE {month} (LIKE read INCLUDING ALL); \
         ALTER TABLE read ATTACH PARTITION {month} FOR VALUES FROM ({from}) TO ({to})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_of_utc_and_ends_where_the_next_begins() {
        for (at, name, next) in [
            ("2026-11-30T23:59:59.999999Z", "read_2026_11", "read_2026_12"),
            ("2026-12-01T00:00:00Z", "read_2026_12", "read_2027_01"),
            ("2028-02-29T12:00:00Z", "read_2028_02", "read_2028_03"),
            ("2000-01-01T00:00:00Z", "read_2000_01", "read_2000_02"),
        ] {
            let month = Month::of(at.parse::<Instant>().unwrap().micros()).unwrap();
            assert_eq!((month.to_string(), month.next().unwrap().to_string()), (name.into(), next.into()));
        }
        let november = Month::of("2026-11-23T20:17:00Z".parse::<Instant>().unwrap().micros()).unwrap();
        let begins = |month: Month| Instant::from_micros(month.begins().unwrap()).to_string();
        assert_eq!(begins(november), "2026-11-01T00:00:00.000000Z");
        assert_eq!(begins(november.next().unwrap()), "2026-12-01T00:00:00.000000Z");
        assert_eq!(Month::of(i64::MAX), None);
    }
}
