//! An entry of this trail, once more, for a partner that it was for.

use agreements::entry::{Kind, Leaf};
use agreements::ids::{Ori, RequestId};
use diesel::result::{Error, QueryResult};
use serde::Deserialize;

use super::wire::{self, Bulk};
use crate::db::Conn;
use crate::publishing::Cosigned;
use crate::trail::{append, search};

/// What is sent to the agencies that it names.
pub(crate) const TRAVELS: [Kind; 10] = [
    Kind::QueryAsked,
    Kind::QueryAnswered,
    Kind::AgreementOffered,
    Kind::AgreementEvent,
    Kind::AgreementAcknowledged,
    Kind::PacketSent,
    Kind::PacketReceived,
    Kind::HotlistPulled,
    Kind::HotlistAsserted,
    Kind::DiscrepancyOpened,
];

/// What matters here of a message that travels.
#[derive(Deserialize)]
struct Addressed {
    to: Vec<Addressee>,
}

#[derive(Deserialize)]
struct Addressee {
    ori: Ori,
}

/// Whether a message is for `partner`.
pub(crate) fn is_for(message: &[u8], partner: Ori) -> bool {
    serde_json::from_slice::<Addressed>(message).is_ok_and(|message| message.to.iter().any(|to| to.ori == partner))
}

/// The text that carries the entry `rid` with its proof, without bulk, if it is one that was for `partner`. Otherwise
/// `None`, whether there is another such entry or not; so too when what it says was deleted after its retention. The proof is
/// under the `cosigned` head where that has it.
///
/// # Errors
/// The database failed, or the entry is not as it was recorded.
pub fn for_partner(conn: &mut Conn, rid: RequestId, partner: Ori, cosigned: &Cosigned) -> QueryResult<Option<String>> {
    let stored = match append::stored(conn, rid) {
        Err(Error::NotFound) => None,
        stored => stored?,
    };
    let Some(stored) = stored else { return Ok(None) };
    let travels = Leaf::from_bytes(&stored.leaf).is_ok_and(|leaf| TRAVELS.contains(&leaf.kind));
    if !travels || !is_for(&stored.message, partner) {
        return Ok(None);
    }
    let Some(proof) =
        search::prove_under(conn, rid, cosigned.vouched()).map_err(crate::trail::head::HeadError::of_store)?
    else {
        return Ok(None);
    };
    let text = wire::text_of(&stored.leaf, &stored.message, &stored.salt, &proof, Bulk::None);
    text.map(Some).map_err(|error| Error::SerializationError(error.into()))
}
