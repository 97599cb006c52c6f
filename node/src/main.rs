//! The `concordat` program: one process, one command. Everything that it does is in the library of the same name.

use std::process::ExitCode;
use std::sync::Arc;

use concordat::cli;
use concordat::clock::SystemClock;

/// What one thread allocates another frees, for every answer: the worker's entry on the writer's thread. The system's own
/// allocator takes a lock for that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // An error says that a provider is in place already; nothing else in this process puts one there.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    drop(installed);
    cli::main(std::env::args_os(), Arc::new(SystemClock), Arc::new(give_up))
}

/// Ends the process when it must not record any more: what it committed is not known, so nothing that it would still say
/// could be trusted. The next start reads what is on the disk.
fn give_up(reason: &str) {
    tracing::error!(reason, "this process must not record any more and ends");
    std::process::abort();
}
