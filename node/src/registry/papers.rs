//! Sealed documents by their hash: compliance packets and reviews. Which of them count is what the trail says.

use agreements::ids::Digest;
use agreements::time::Instant;
use certs::jws;
use diesel::prelude::*;

use super::schema::paper;
use crate::db::{Conn, each};

/// A sealed document as it is kept.
#[derive(Debug, Clone)]
pub struct Paper {
    /// Its canonical payload, whose SHA-256 is its id.
    pub payload: Vec<u8>,
    /// The flattened JWS.
    pub sealed: Vec<u8>,
}

/// Keeps a document; one that is kept already stays as it is.
pub fn keep(conn: &mut Conn, id: Digest, typ: &str, sealed: &[u8], now: Instant) -> QueryResult<()> {
    let row =
        (paper::id.eq(id.0.to_vec()), paper::typ.eq(typ), paper::body.eq(sealed), paper::kept_at.eq(now.micros()));
    each!(conn, c => diesel::insert_into(paper::table).values(row).on_conflict_do_nothing().execute(c))?;
    Ok(())
}

/// The document `id` of type `typ`. `None` when there is none, or when its row was changed by other hands: the second is
/// said in the log.
pub fn find(conn: &mut Conn, id: Digest, typ: &str) -> QueryResult<Option<Paper>> {
    let row: Option<(String, Vec<u8>)> =
        paper::table.find(id.0.to_vec()).select((paper::typ, paper::body)).first(conn).optional()?;
    let Some((kept, sealed)) = row else { return Ok(None) };
    match jws::payload_of(&sealed) {
        Ok(payload) if kept == typ && Digest::of(&payload) == id => Ok(Some(Paper { payload, sealed })),
        _ => {
            tracing::error!(document = %id, "ALARM: a sealed document's row was changed by other hands; it counts as missing");
            Ok(None)
        }
    }
}
