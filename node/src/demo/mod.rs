//! The demonstration: three fictional agencies on one machine.

pub mod generator;
