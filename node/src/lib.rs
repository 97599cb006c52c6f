//! A Concordat node: one agency's reads, agreements and trail, and its exchange with partners.

pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod db;
pub mod demo;
pub mod logs;
pub mod metrics;
pub mod ops;
pub mod reads;
