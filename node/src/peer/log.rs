//! The doors to this node's log: its checkpoint, its hash tiles, the entries that are for who asks, and which of a day are.
//!
//! Nothing of this is recorded: hashes say nothing, and an entry is given only to whom it was given when it was made. Entry
//! bundles are not served: what kind of thing happened when is for the owner's auditor.

use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use agreements::ids::RequestId;
use jiff::civil::Date;

use super::{Peer, Problem, desk, json_reply};
use crate::exchange::{Failure, own_entry};
use crate::node::Node;
use crate::reconciling::listing;
use crate::trail::head::HeadError;
use crate::trail::static_log::{self, Of, Resource};

/// A checkpoint is another one with the next entry.
const MOVES: HeaderValue = HeaderValue::from_static("no-store");
/// A tile of a width is the same for ever. For whoever asked alone: the door is for partners.
const STAYS: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// The newest checkpoint, with what witnesses said of it.
pub(super) async fn checkpoint(_: Peer, node: Data<Node>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let desk = desk(&request, &node);
    let watch = node.watch();
    let text = match watch.behind() {
        None if watch.is_heard() => desk.registry(|conn| static_log::checkpoint(conn).map_err(HeadError::of_store))?,
        // What the registry has since it was set back, or may have been, contradicts what was shown.
        _ => watch.text(),
    };
    let text = text.ok_or(Problem::NotInLog)?;
    let mut reply = HttpResponse::Ok();
    Ok(reply.content_type("text/plain; charset=utf-8").insert_header((CACHE_CONTROL, MOVES)).body(text))
}

/// A tile of hashes.
pub(super) async fn tile(
    _: Peer,
    node: Data<Node>,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let tile: Option<Resource> = path.parse().ok().filter(|tile: &Resource| tile.of != Of::Entries);
    let tile = tile.ok_or(Problem::NotInLog)?;
    let desk = desk(&request, &node);
    let bytes = desk.registry(|conn| static_log::read(conn, tile).map_err(HeadError::of_store))?;
    let bytes = bytes.ok_or(Problem::NotInLog)?;
    let mut reply = HttpResponse::Ok();
    Ok(reply.content_type("application/octet-stream").insert_header((CACHE_CONTROL, STAYS)).body(bytes))
}

/// An entry that is for who asks.
pub(super) async fn entry(
    peer: Peer,
    node: Data<Node>,
    request: HttpRequest,
    rid: Path<String>,
) -> Result<HttpResponse, Problem> {
    let rid: RequestId = rid.parse().map_err(|_| Problem::NotInLog)?;
    let desk = desk(&request, &node);
    let cosigned = node.watch().cosigned();
    let text = desk.registry(|conn| own_entry::for_partner(conn, rid, peer.partner().ori(), &cosigned))?;
    let mut reply = HttpResponse::Ok();
    reply.insert_header((CACHE_CONTROL, MOVES));
    Ok(json_reply(reply, text.ok_or(Problem::NotInLog)?))
}

/// What this trail has on a day for who asks.
pub(super) async fn day(
    peer: Peer,
    node: Data<Node>,
    request: HttpRequest,
    day: Path<String>,
) -> Result<HttpResponse, Problem> {
    let date = day.parse().ok().filter(|date: &Date| date.to_string() == *day).ok_or(Problem::NotInLog)?;
    let after = match request.query_string() {
        "" => None,
        query => Some(query.strip_prefix("after=").and_then(|after| after.parse().ok()).ok_or(Problem::NotInLog)?),
    };
    let list = listing::page(&node, &desk(&request, &node), peer.partner(), date, after)?;
    let text = serde_json::to_string(&list).map_err(|error| Failure::Internal(error.into()))?;
    let mut reply = HttpResponse::Ok();
    reply.insert_header((CACHE_CONTROL, MOVES));
    Ok(json_reply(reply, text))
}
