//! Hotlists: loading this agency's own, sharing them under agreements, using partners' while their lease lives, and
//! matching reads against all of them.
//!
//! In scope: the layouts of sources, loads, assertions and pulls, leases and erasing, matching, what people do with hits.
//! Out of scope: the SQL of own lists and hits (see `registry`), the decision (see the crate `agreements`), alerts.

pub mod asserting;
mod bulk;
pub mod handing;
pub mod layout;
pub mod load;
pub mod matching;
pub mod people;
pub mod pulling;
pub mod reading;
pub mod refresh;
pub mod shared;
mod taking;

pub use refresh::{erase_due, refresh_due};
