//! The agency's plate reads and their images: parsing what readers send, keeping it, finding it again.
//!
//! In scope: the read store, the image store, ingest. Out of scope: who may search (a search needs the bounds that a
//! permit gives), retention, hotlists.

mod field;
pub mod images;
pub mod ingest;
pub(crate) mod lines;
mod open;
mod read;
pub mod rejects;
pub mod rekor;
mod schema;
pub mod store;

pub use read::{NewRead, Read, Vehicle};
