//! The agency's plate reads and their images: parsing what readers send, keeping it, finding it again.
//!
//! In scope: the read store, the image store, ingest. Out of scope: who may search (a search needs the bounds that a
//! permit gives), retention, hotlists.

mod beside;
mod check;
pub mod csv;
mod field;
pub mod images;
pub mod ingest;
pub mod keep;
pub(crate) mod lines;
mod months;
mod open;
mod read;
pub mod rejects;
pub mod rekor;
mod schema;
pub mod source;
pub mod store;

pub(crate) use beside::open_regular;
pub use field::{LineError, Problem};
pub use read::{NewRead, Read, Vehicle};
