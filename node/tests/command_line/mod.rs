//! One file per matter; `program` runs the binary and makes nodes.

mod between_nodes;
mod by_itself;
mod documents;
mod help;
mod hotlists;
mod intake;
mod node_files;
mod one_node;
mod program;
mod recorded;
mod refusals;
mod renewal;
