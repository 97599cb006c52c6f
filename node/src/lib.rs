//! A Concordat node: one agency's reads, agreements and trail, and its exchange with partners.

pub mod clock;
pub mod db;
pub mod trail;
