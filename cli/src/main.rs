//! The `layerfi-auth` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use layerfi_auth::ZeroOnFree;

/// What it read of secrets and tokens does not outlive its use.
#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();

fn main() -> ExitCode {
    ExitCode::from(layerfi_auth_cli::run(std::env::args_os()))
}
