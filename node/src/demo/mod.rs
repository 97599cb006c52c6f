//! The demonstration: three fictional agencies on one machine.

mod crop;
pub mod generator;
