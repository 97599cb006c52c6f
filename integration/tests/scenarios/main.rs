//! What must hold end to end, each line of the list of scenarios a test of its own.

mod agreements;
mod audit;
mod hotlists;
mod identity;
mod input;
mod queries;
mod replay;
mod strangers;
mod sunset;
mod trail;
