//! The `polytask` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    polytask_cli::run()
}
