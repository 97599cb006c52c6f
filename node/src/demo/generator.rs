//! Synthetic reads.
