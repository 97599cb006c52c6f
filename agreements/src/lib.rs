//! Concordat's domain, pure: what an agreement is, when it is in force, who may ask whom for what, and the exact
//! bytes that are signed.
//!
//! In scope: the agreement document and its two event streams, status, the decision, the screens over free text,
//! canonical and strict JSON, the shapes of trail entries and of the messages inside them.
//! Out of scope: any input or output, any clock (time is an argument), any key (see `certs`), any store (see `node`).

pub mod access;
pub mod agreement;
pub mod approval;
pub mod authorization;
pub mod commit;
pub mod decide;
pub mod difference;
pub mod discrepancy;
pub mod eligibility;
pub mod entry;
pub mod history;
pub mod hold;
pub mod hotlist;
pub mod ids;
pub mod json;
pub mod message;
mod owner;
pub mod packet;
pub mod party;
pub mod plate;
pub mod probe;
pub mod protocol;
pub mod purpose;
pub mod register;
pub mod renewal;
pub mod retention;
pub mod review;
pub mod rule;
pub mod screen;
pub mod status;
pub mod stream;
pub mod time;
