//! What must hold end to end, each line of the list of scenarios a test of its own.

mod agreements;
mod audit;
mod certificates;
mod doctor;
mod hits;
mod hotlists;
mod identity;
mod input;
mod intake;
mod jobs;
mod mail;
mod queries;
mod recorded;
mod replay;
mod signing;
mod strangers;
mod sunset;
mod tampering;
mod trail;
mod year;
