//! The ledger of what the node does by itself: which run of which job was claimed, by whom, and what came of it.

use std::fmt;
use std::str::FromStr;

use agreements::time::Instant;
use diesel::dsl::max;
use diesel::prelude::*;
use serde::Serialize;

use super::parsed;
use super::schema::job_run;
use crate::db::{Conn, each};

/// How long a run counts as alive without word of its process, in microseconds.
pub const LEASE: i64 = Instant::MINUTE;
/// How far the clock of another process may be ahead, in microseconds. A lease from further ahead counts for nothing, so
/// that a clock that was set wrong does not stop a job until that time comes.
pub const AHEAD: i64 = 5 * Instant::MINUTE;

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The world is as planned.
    Done,
    /// It is not.
    Failed,
    /// Its process ended, or stopped telling that it lives.
    Abandoned,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Done, Self::Failed, Self::Abandoned];
        all.into_iter().find(|outcome| outcome.as_str() == text).ok_or("no such outcome")
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// For which time of the schedule.
    pub slot: Instant,
    /// 1, 2, ... of that slot.
    pub attempt: i64,
    /// When it was claimed.
    pub started_at: Instant,
    /// When it ended; absent while it runs.
    pub finished_at: Option<Instant>,
    /// What came of it; absent while it runs.
    pub outcome: Option<Outcome>,
    /// Why it failed or was abandoned, or what it left for later.
    pub error: Option<String>,
    /// How many operations it applied.
    pub applied: i64,
    /// The process that runs it.
    pub holder: String,
    /// From then on the holder counts as dead.
    pub lease_until: Instant,
}

impl Run {
    /// Whether it runs at `now`, as far as is known. A lease from a clock that was far ahead is none.
    #[must_use]
    pub fn lives(&self, now: Instant) -> bool {
        self.finished_at.is_none() && now < self.lease_until && self.lease_until.since(now) <= LEASE + AHEAD
    }
}

/// A run that this process claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub job: &'static str,
    /// For which time of the schedule.
    pub slot: Instant,
    /// 1, 2, ... of that slot.
    pub attempt: i64,
    /// This process.
    pub holder: String,
}

type Row = (i64, i64, i64, Option<i64>, Option<String>, Option<String>, i64, String, i64);

fn run_of(row: Row) -> QueryResult<Run> {
    let (slot, attempt, started_at, finished_at, outcome, error, applied, holder, lease_until) = row;
    Ok(Run {
        slot: Instant::from_micros(slot),
        attempt,
        started_at: Instant::from_micros(started_at),
        finished_at: finished_at.map(Instant::from_micros),
        outcome: outcome.map(|text| parsed("job_run", text.parse())).transpose()?,
        error,
        applied,
        holder,
        lease_until: Instant::from_micros(lease_until),
    })
}

/// The newest runs of a job whose slots are not after `until`, newest first; at most `limit`.
pub fn newest(conn: &mut Conn, job: &str, until: Instant, limit: i64) -> QueryResult<Vec<Run>> {
    let rows: Vec<Row> = job_run::table
        .filter(job_run::job.eq(job))
        .filter(job_run::slot.le(until.micros()))
        .order((job_run::slot.desc(), job_run::attempt.desc()))
        .limit(limit)
        .select((
            job_run::slot,
            job_run::attempt,
            job_run::started_at,
            job_run::finished_at,
            job_run::outcome,
            job_run::error,
            job_run::applied,
            job_run::holder,
            job_run::lease_until,
        ))
        .load(conn)?;
    rows.into_iter().map(run_of).collect()
}

/// Claims a run; whether it is ours. `attempt` is the one that is due, or the next of this slot, whichever that is. Runs
/// of the job whose process is dead are abandoned first; one that lives, or the same claim made by another process, is
/// a no.
pub fn claim(
    conn: &mut Conn,
    job: &'static str,
    slot: Instant,
    attempt: Option<i64>,
    holder: &str,
    now: Instant,
) -> QueryResult<Option<Claim>> {
    let unfinished = job_run::table.filter(job_run::job.eq(job)).filter(job_run::finished_at.is_null());
    let dead = job_run::lease_until.le(now.micros()).or(job_run::lease_until.gt(now.plus(LEASE + AHEAD).micros()));
    diesel::update(unfinished.filter(dead))
        .set((
            job_run::finished_at.eq(now.micros()),
            job_run::outcome.eq(Outcome::Abandoned.as_str()),
            job_run::error.eq("its process ended, or could not tell that it lives"),
        ))
        .execute(conn)?;
    let attempt = match attempt {
        Some(attempt) => attempt,
        None => last_attempt(conn, job, slot)? + 1,
    };
    let row = (
        job_run::job.eq(job),
        job_run::slot.eq(slot.micros()),
        job_run::attempt.eq(attempt),
        job_run::started_at.eq(now.micros()),
        job_run::applied.eq(0_i64),
        job_run::holder.eq(holder),
        job_run::lease_until.eq(now.plus(LEASE).micros()),
    );
    // The primary key says no to the same claim, the index of unfinished runs to a second run at the same time.
    let rows =
        each!(conn, conn => diesel::insert_into(job_run::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok((rows == 1).then(|| Claim { job, slot, attempt, holder: holder.to_owned() }))
}

fn last_attempt(conn: &mut Conn, job: &str, slot: Instant) -> QueryResult<i64> {
    let of_slot = job_run::table.filter(job_run::job.eq(job)).filter(job_run::slot.eq(slot.micros()));
    let last: Option<i64> = of_slot.select(max(job_run::attempt)).first(conn)?;
    Ok(last.unwrap_or(0))
}

/// Says that a claimed run lives. Whether it is still ours.
pub fn renew(conn: &mut Conn, claim: &Claim, now: Instant) -> QueryResult<bool> {
    let ours = job_run::table.find((claim.job, claim.slot.micros(), claim.attempt));
    let ours = ours.filter(job_run::holder.eq(&claim.holder)).filter(job_run::finished_at.is_null());
    Ok(diesel::update(ours).set(job_run::lease_until.eq(now.plus(LEASE).micros())).execute(conn)? == 1)
}

/// Ends a claimed run. Whether it was still ours.
pub fn finish(
    conn: &mut Conn,
    claim: &Claim,
    outcome: Outcome,
    applied: i64,
    error: Option<&str>,
    now: Instant,
) -> QueryResult<bool> {
    let ours = job_run::table.find((claim.job, claim.slot.micros(), claim.attempt));
    let ours = ours.filter(job_run::holder.eq(&claim.holder)).filter(job_run::finished_at.is_null());
    let ended = (
        job_run::finished_at.eq(now.micros()),
        job_run::outcome.eq(outcome.as_str()),
        job_run::applied.eq(applied),
        job_run::error.eq(error),
    );
    Ok(diesel::update(ours).set(ended).execute(conn)? == 1)
}

/// Ends all unfinished runs of a process that stops.
pub fn abandon(conn: &mut Conn, holder: &str, now: Instant) -> QueryResult<usize> {
    let ours = job_run::table.filter(job_run::holder.eq(holder)).filter(job_run::finished_at.is_null());
    diesel::update(ours)
        .set((
            job_run::finished_at.eq(now.micros()),
            job_run::outcome.eq(Outcome::Abandoned.as_str()),
            job_run::error.eq("the node was stopped"),
        ))
        .execute(conn)
}

/// Which jobs have more than `keep` finished runs: name, and the slot before which rows may go.
pub fn crowded(conn: &mut Conn, keep: i64) -> QueryResult<Vec<(String, Instant)>> {
    let jobs: Vec<String> = job_run::table.select(job_run::job).distinct().order(job_run::job).load(conn)?;
    let mut crowded = Vec::new();
    for job in jobs {
        let slots = job_run::table.filter(job_run::job.eq(&job)).order(job_run::slot.desc());
        let oldest_kept: Option<i64> = slots.select(job_run::slot).offset(keep - 1).first(conn).optional()?;
        let Some(before) = oldest_kept else { continue };
        let older = job_run::table.filter(job_run::job.eq(&job)).filter(job_run::slot.lt(before));
        let count: i64 = older.filter(job_run::finished_at.is_not_null()).count().get_result(conn)?;
        if count > 0 {
            crowded.push((job, Instant::from_micros(before)));
        }
    }
    Ok(crowded)
}

/// Deletes a job's finished runs with slots before `before`.
pub fn prune(conn: &mut Conn, job: &str, before: Instant) -> QueryResult<usize> {
    let older = job_run::table.filter(job_run::job.eq(job)).filter(job_run::slot.lt(before.micros()));
    diesel::delete(older.filter(job_run::finished_at.is_not_null())).execute(conn)
}
