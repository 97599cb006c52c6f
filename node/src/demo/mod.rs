//! The demonstration: three fictional agencies on one machine.

pub mod agency;
mod crop;
pub mod generator;
