//! The `layerfi-auth` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use layerfi_auth::ZeroOnFree;

/// Overwrites freed memory, so that no copy of a secret or token stays in it.
#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree::new();

fn main() -> ExitCode {
    ExitCode::from(layerfi_auth_cli::run(std::env::args_os()))
}
