//! One message of an agent: decompressed within bounds, read strictly, of that agent and no other, kept.

use std::io::{self, BufRead, Read as _};

use agreements::time::Instant;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::queue::{Queue, Refused, Room};
use crate::node::Node;
use crate::reads::rekor::{self, Line};
use crate::reads::{LineError, NewRead};

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is no gzip, though it says that it is.
    #[error("the body is not gzip, as its Content-Encoding says: {0}")]
    NotGzip(io::Error),
    /// It is too long once it is decompressed.
    #[error("the body is longer than {0} bytes once it is decompressed, the most that this node reads; send less")]
    TooLong(usize),
    /// It is no message.
    #[error("{0}")]
    Line(#[from] LineError),
    /// It does not say whose it is.
    #[error("`agent_uid` is missing: it must be the agent whose token this is")]
    NoAgent,
    /// It is another agent's.
    #[error("`agent_uid` is another agent's than the token's; give each agent a token of its own")]
    OtherAgent,
    /// It cannot be kept now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The thread that read it died.
    #[error("this node could not read the message")]
    Thread,
}

/// A body as it came.
pub struct Body {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether they are compressed with gzip.
    pub gzip: bool,
    /// Its share of the memory.
    pub room: Room,
}

/// Takes one message of the agent whose token came with it. When this returns well, its reads are durably kept. How many
/// reads it had.
///
/// # Errors
/// See [`MessageError`]. What is wrong with a message is wrong however often it is sent.
pub async fn take(node: &Node, queue: &Queue, agent: &str, body: Body) -> Result<usize, MessageError> {
    let now = node.now();
    queue.heard(agent, now);
    let taken = read(node, agent, body, now).await;
    if taken.as_ref().is_err_and(|error| !matches!(error, MessageError::Refused(_) | MessageError::Thread)) {
        queue.rejected();
    }
    match taken? {
        (None, _) => {
            node.metrics().heartbeat();
            Ok(0)
        }
        (Some(reads), _) if reads.is_empty() => Ok(0),
        (Some(reads), room) => {
            let count = reads.len();
            queue.keep(reads, room).await?;
            Ok(count)
        }
    }
}

/// The reads of a message; `None` of a heartbeat.
async fn read(
    node: &Node,
    agent: &str,
    body: Body,
    now: Instant,
) -> Result<(Option<Vec<NewRead>>, Room), MessageError> {
    let limit = node.config().ingest.webhook.max_body_bytes.get();
    let image_limit = node.config().ingest.max_image_bytes.get();
    let agent = agent.to_owned();
    // Off the thread that serves: a body is megabytes of base64.
    let reading = tokio::task::spawn_blocking(move || {
        let Body { bytes, gzip, mut room } = body;
        let bytes = if gzip { decompressed(bytes, limit)? } else { bytes };
        room.shrink(bytes.len());
        let reads = match rekor::parse(&bytes, now, image_limit)? {
            Line::Heartbeat { agent: of } => {
                of_agent(of.as_deref(), &agent)?;
                None
            }
            Line::Reads(reads) => {
                reads.iter().try_for_each(|read| of_agent(read.agent.as_deref(), &agent))?;
                Some(reads)
            }
        };
        Ok((reads, room))
    });
    reading.await.unwrap_or(Err(MessageError::Thread))
}

fn of_agent(found: Option<&str>, agent: &str) -> Result<(), MessageError> {
    match found {
        None => Err(MessageError::NoAgent),
        Some(found) if found != agent => Err(MessageError::OtherAgent),
        Some(_) => Ok(()),
    }
}

/// The body; what was compressed is not held any more.
fn decompressed(bytes: Bytes, limit: usize) -> Result<Bytes, MessageError> {
    gunzip(&mut &bytes[..], limit)
}

/// At most `limit` bytes: what would come to more is neither held nor decompressed to its end.
fn gunzip(bytes: &mut impl BufRead, limit: usize) -> Result<Bytes, MessageError> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes).take(most).read_to_end(&mut plain).map_err(MessageError::NotGzip)?;
    if plain.len() > limit { Err(MessageError::TooLong(limit)) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn decompression_is_bounded() {
        let plain = vec![b'x'; 1000];
        let members = [gzip(&plain[..500]), gzip(&plain[500..])].concat();
        assert_eq!(gunzip(&mut &members[..], 1000).unwrap(), plain, "several members are one body");
        assert!(matches!(gunzip(&mut &members[..], 999), Err(MessageError::TooLong(999))));
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        let mut rest = &bomb[..];
        assert!(matches!(gunzip(&mut rest, 1 << 20), Err(MessageError::TooLong(_))));
        assert!(rest.len() > bomb.len() / 2, "it is left as soon as it is too long");
        for mut bad in [&b"plain"[..], b"", &members[..members.len() - 1], &[&gzip(b"a")[..], b"rest"].concat()] {
            assert!(matches!(gunzip(&mut bad, 1000), Err(MessageError::NotGzip(_))), "{bad:?}");
        }
    }
}
