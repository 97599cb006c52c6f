//! Readers' agents and the digests of their tokens.

use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::prelude::*;

use super::parsed;
use super::schema::agent;
use crate::db::Conn;

/// One token of an agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The public part of the token.
    pub key: String,
    /// The agent's own id.
    pub uid: String,
    /// SHA-256 of the whole token.
    pub secret: Digest,
    /// When it was made.
    pub added_at: Instant,
    /// By whom.
    pub added_by: String,
    /// Since when it does not count any more, and who saw to that.
    pub revoked: Option<(Instant, String)>,
    /// When the agent last sent something, to about a minute.
    pub heard_at: Option<Instant>,
}

type Row = (String, String, Vec<u8>, i64, String, Option<i64>, Option<String>, Option<i64>);

fn agent_of(row: Row) -> QueryResult<Agent> {
    let (key, uid, secret, added_at, added_by, revoked_at, revoked_by, heard_at) = row;
    Ok(Agent {
        key,
        uid,
        secret: parsed("agent", secret.try_into().map(Digest).map_err(|_| "a digest of another length"))?,
        added_at: Instant::from_micros(added_at),
        added_by,
        revoked: revoked_at.map(Instant::from_micros).zip(revoked_by),
        heard_at: heard_at.map(Instant::from_micros),
    })
}

/// Every token, by agent and age.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Agent>> {
    agent::table.order((agent::uid, agent::added_at)).load::<Row>(conn)?.into_iter().map(agent_of).collect()
}

/// The token with this public part, if it counts.
pub fn in_use(conn: &mut Conn, key: &str) -> QueryResult<Option<Agent>> {
    let counts = agent::table.find(key).filter(agent::revoked_at.is_null());
    counts.first::<Row>(conn).optional()?.map(agent_of).transpose()
}

/// The token of an agent, if it has one that counts.
pub fn of(conn: &mut Conn, uid: &str) -> QueryResult<Option<Agent>> {
    let counts = agent::table.filter(agent::uid.eq(uid)).filter(agent::revoked_at.is_null());
    counts.first::<Row>(conn).optional()?.map(agent_of).transpose()
}

/// Keeps the digest of a new token.
pub fn insert(conn: &mut Conn, new: &Agent) -> QueryResult<()> {
    diesel::insert_into(agent::table)
        .values((
            agent::key.eq(&new.key),
            agent::uid.eq(&new.uid),
            agent::secret.eq(&new.secret.0[..]),
            agent::added_at.eq(new.added_at.micros()),
            agent::added_by.eq(&new.added_by),
        ))
        .execute(conn)?;
    Ok(())
}

/// Ends an agent's token. Whether it had one that counted.
pub fn revoke(conn: &mut Conn, uid: &str, at: Instant, by: &str) -> QueryResult<bool> {
    let counts = agent::table.filter(agent::uid.eq(uid)).filter(agent::revoked_at.is_null());
    let ended = (agent::revoked_at.eq(at.micros()), agent::revoked_by.eq(by));
    Ok(diesel::update(counts).set(ended).execute(conn)? == 1)
}

/// Notes when agents last sent something.
pub fn heard(conn: &mut Conn, heard: &[(String, Instant)]) -> QueryResult<()> {
    for (uid, at) in heard {
        let counts = agent::table.filter(agent::uid.eq(uid)).filter(agent::revoked_at.is_null());
        diesel::update(counts).set(agent::heard_at.eq(at.micros())).execute(conn)?;
    }
    Ok(())
}
