//! The exchange with partners: what they swore, what stands, asking, answering, and the life of agreements.
//!
//! In scope: everything that crosses from one node to another. Out of scope: how it crosses (see `peer` for the door,
//! [`crate::tls`] for the channel), and the decision itself (see the crate `agreements`).

pub mod answer;
pub mod ask;
mod asked_for;
pub mod contacts;
pub mod descriptor;
pub mod dial;
pub mod draft;
pub mod failure;
pub mod following;
pub mod known;
pub mod lifecycle;
pub mod own_entry;
pub mod partner;
pub mod reconcile;
mod referral;
pub mod renewing;
pub mod report;
pub mod standing;
pub mod sworn;
pub(crate) mod tiles;
pub mod versions;
pub mod window;
pub mod wire;

pub use failure::Failure;
