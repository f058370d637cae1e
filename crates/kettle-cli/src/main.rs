//! The command `kettle`, for users of the Rust library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ExitCode::from(kettle_cli::main(&arguments))
}
