//! One file per matter; `program` runs the binary and makes nodes.

mod between_nodes;
mod hotlists;
mod one_node;
mod program;
