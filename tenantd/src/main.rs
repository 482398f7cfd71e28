//! The one binary.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Most memory is taken by one thread and given back by another, in storms: this one gives it back
/// to the system a moment later, where the C library keeps it for good.
#[global_allocator]
static MEMORY: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    tenantd::cli::run()
}
