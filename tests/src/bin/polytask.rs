//! The `polytask` program, for the tests of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    polytask_cli::run()
}
