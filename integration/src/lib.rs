//! What scenarios are told with: authorities and odd certificates, nodes that run, pairs under agreement, raw callers,
//! trails that swear whatever a test wants, and doors that tamper.
//!
//! Everything is real (TLS, SQLite, PostgreSQL, the product's own services) but the clock. Each wait for the network is bounded.

pub mod alone;
pub mod clock;
pub mod compliance;
pub mod counterparties;
pub mod cut;
pub mod database;
pub mod epochs;
pub mod federation;
pub mod feeding;
pub mod forge;
pub mod hotlists;
pub mod logs;
pub mod mail;
pub mod node;
pub mod pair;
pub mod permit;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod reconciling;
pub mod registry;
pub mod renewal;
pub mod rotation;
pub mod streams;
pub mod tamper;
pub mod unruly;
pub mod verifiers;
pub mod web;
pub mod wire;
pub mod witnesses;
pub mod year;

pub use clock::TestClock;
pub use database::Backend;
pub use federation::Federation;
pub use node::TestNode;
pub use pair::{Pair, Terms};
pub use wire::{Caller, Line, Reply};
