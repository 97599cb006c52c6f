//! A Concordat node: one agency's reads, agreements and trail, and its exchange with partners.

pub mod ca_folder;
pub mod cli;
pub mod clock;
pub mod db;
pub mod keyfile;
