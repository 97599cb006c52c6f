//! Keeping a batch of reads: their images first, then all of them in one commit.

use std::future::Future;
use std::sync::Arc;

use agreements::ids::{Digest, ReadId};
use agreements::plate::Plate;
use agreements::time::Instant;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::images::{ImageError, Images};
use super::read::NewRead;
use super::store::{ReadsDb, StoreError, Stored};
use crate::clock::Clock;

/// How many images of a batch are written at once: most of the time of each is waiting for the disk.
const IMAGES_AT_ONCE: usize = 16;
/// The most reads of one commit, so that their values fit one statement.
pub const MOST: usize = 2000;

/// Why a batch is not kept. Nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// An image could not be stored: the disk, not the read.
    #[error("an image could not be stored: {0}")]
    Image(#[from] ImageError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A read that the store did not have before, as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRead {
    /// Our id of it.
    pub id: ReadId,
    /// The plate.
    pub plate: Plate,
    /// The issuing state as its two letters.
    pub state: Option<String>,
    /// When the vehicle was seen.
    pub seen_at: Instant,
    /// The camera.
    pub camera: String,
    /// The agent or source that the read came from.
    pub agent: Option<String>,
    /// Latitude in microdegrees.
    pub lat: Option<i32>,
    /// Longitude in microdegrees.
    pub lon: Option<i32>,
    /// The SHA-256 of the plate crop.
    pub image: Option<Digest>,
}

/// What became of a batch: all of it is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What is new in the store.
    pub new: Vec<KeptRead>,
    /// How many the store had already.
    pub repeated: u64,
    /// How many, new or not, have an image.
    pub images: u64,
    /// The earliest time seen among all.
    pub first_seen: Option<Instant>,
    /// The latest.
    pub last_seen: Option<Instant>,
    /// Why the reads were not matched against the hotlists, if so. They have to be delivered again.
    pub unmatched: Option<String>,
}

/// What takes batches of reads.
pub trait Keep {
    /// Keeps at most [`MOST`] reads, all or none. Blocks the thread while it writes.
    ///
    /// # Errors
    /// Nothing is kept.
    fn keep(&self, batch: Vec<NewRead>) -> impl Future<Output = Result<Kept, KeepError>>;
}

/// Keeps in the read store and the image store, and does nothing else.
pub struct Keeper {
    /// The read store.
    pub reads: Arc<ReadsDb>,
    /// The images.
    pub images: Images,
    /// The node's clock.
    pub clock: Arc<dyn Clock>,
}

impl Keep for Keeper {
    async fn keep(&self, batch: Vec<NewRead>) -> Result<Kept, KeepError> {
        let batch: Vec<(NewRead, Option<Digest>)> =
            stream::iter(batch).map(|read| stored(&self.images, read)).buffered(IMAGES_AT_ONCE).try_collect().await?;
        let Stored { ids, unmatched } = self.reads.keep(&batch, self.clock.now()).await?;
        let mut kept = Kept { unmatched, ..Kept::default() };
        for ((read, image), id) in batch.into_iter().zip(ids) {
            kept.images += u64::from(image.is_some());
            let seen = Some(read.seen_at);
            kept.first_seen = kept.first_seen.min(seen).or(seen);
            kept.last_seen = kept.last_seen.max(seen);
            let Some(id) = id else {
                kept.repeated += 1;
                continue;
            };
            let NewRead { plate, state, seen_at, camera, agent, lat, lon, .. } = read;
            kept.new.push(KeptRead { id, plate, state, seen_at, camera, agent, lat, lon, image });
        }
        Ok(kept)
    }
}

/// Stores the read's image, and lets go of its bytes.
async fn stored(images: &Images, mut read: NewRead) -> Result<(NewRead, Option<Digest>), ImageError> {
    let image = match read.image.take() {
        Some(bytes) => Some(images.put(Bytes::from(bytes)).await?),
        None => None,
    };
    Ok((read, image))
}
