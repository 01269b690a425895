//! The `polytask` program.

use std::process::ExitCode;

/// Every batch asks for the same few megabytes anew; the system's allocator hands them back to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    polytask_cli::run()
}
