//! One file per matter; `program` runs the binary and makes nodes.

mod between_nodes;
mod help;
mod node_files;
mod by_itself;
mod intake;
mod one_node;
mod program;
