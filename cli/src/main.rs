//! The `layerfi-auth` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(layerfi_auth_cli::run(std::env::args_os()))
}
