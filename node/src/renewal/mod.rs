//! Renewal that hundreds of partners do not make impossible (V-27, V-29 to V-31).
//!
//! Once a year an agency seals one compliance packet ([`packet`]), which goes to every partner ([`sending`], [`hearing`]).
//! A reviewer decides about each partner's, shown only what changed ([`review`]); then the agreement is drafted anew
//! ([`renew`]), what must approve it does ([`approvals`]), and both sign, where [`signing`] says what is still missing.
//!
//! Every step is one transaction and finds what it left when it is repeated: a crash between any two leaves a state that the
//! same command completes. What counts is read from the trail ([`held`]); documents are held to their hashes there. Nothing
//! here makes an agreement end: that is computed.

pub mod approvals;
pub mod calendar;
pub mod forms;
pub mod hearing;
pub mod held;
pub mod packet;
pub mod renew;
pub mod review;
pub mod sending;
pub mod signing;

pub use held::{HeldError, PACKET_TYP, REVIEW_TYP};
