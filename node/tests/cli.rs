//! The program as a person runs it: the real binary, its exit codes and its messages.

#[cfg(test)]
mod command_line;
