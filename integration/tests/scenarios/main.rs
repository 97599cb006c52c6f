//! What must hold end to end, each line of the list of scenarios a test of its own.

mod access;
mod agreements;
mod audit;
mod certificates;
mod changes;
mod doctor;
mod documents;
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
mod sensitive;
mod signing;
mod strangers;
mod sunset;
mod tampering;
mod trail;
mod unusual;
mod year;
