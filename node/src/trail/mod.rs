//! The trail: this node's tamper-evident log of everything that it records.
//!
//! In scope: the log's rows and Merkle tiles, its signed head, proofs, their verification, full recomputation, search.
//! Out of scope: transactions and commits (see [`crate::db`]), which entries there are (services), witnesses.

pub mod append;
pub mod cosignature;
pub mod deleted;
pub mod epoch;
pub(crate) mod expiring;
pub mod head;
pub(crate) mod news;
pub mod note;
mod pages;
pub mod policy;
pub mod proof;
mod rebuild;
pub(crate) mod schema;
pub(crate) mod scrub;
pub mod search;
pub mod static_log;
#[cfg(test)]
pub(crate) mod testing;
pub mod tiles;
pub(crate) mod told;
#[cfg(test)]
mod vectors;
pub mod verify;

pub use append::{Draft, Facts, Said};
