//! A Concordat node: one agency's reads, agreements and trail, and its exchange with partners.
//!
//! Doors (`peer`, `console`, `ops`, `webhook`, `cli`) and `jobs` call services (`exchange`, `intake`, `mail`), which alone open transactions over the stores
//! (`registry`, `reads`, `trail`).

pub mod access;
pub mod agency;
pub mod auditing;
pub mod ca_folder;
pub mod changes;
pub mod checking;
pub mod cli;
pub mod clock;
pub mod compliance;
pub mod config;
pub mod confirming;
pub mod console;
pub mod db;
pub mod demo;
pub mod desk;
pub mod doctor;
pub mod document;
pub mod doors;
pub mod epoch;
pub mod evidence;
pub mod exchange;
pub mod exporting;
pub mod holds;
pub mod hotlists;
pub mod intake;
pub mod jobs;
pub mod keyfile;
pub mod keys;
pub mod logs;
pub mod mail;
pub mod metrics;
pub mod node;
pub mod ops;
mod overview;
pub mod peer;
pub mod people;
pub mod publishing;
pub mod reads;
pub mod receipts;
pub mod reconciling;
pub mod registry;
pub mod renewal;
pub mod retention;
pub mod rotation;
pub mod seal;
pub mod serve;
pub mod steady;
pub mod tampering;
pub mod tls;
pub mod trail;
pub mod upkeep;
pub mod webhook;
pub mod witness;
