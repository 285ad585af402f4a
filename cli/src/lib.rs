//! The `layerfi-auth` command as a function, so that every package that ships
//! it ships the same one.
//!
//! ```no_run
//! let code = layerfi_auth_cli::run(std::env::args_os());
//! std::process::exit(code.into());
//! ```
//!
//! The command line itself, its JSON and its exit codes are described in
//! `docs/cli.md`.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod doctor;
mod exit;
mod failure;
mod logging;
mod net;
mod output;
mod runtime;
mod settings;
mod when;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;

use clap::Parser as _;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command with these arguments, the program's name first, and
/// answers its exit code.
///
/// Writes to the process's standard output and error, reads its environment,
/// and for some commands its standard input. Sets no signal handlers but in
/// `emulator`, which ends on SIGINT and SIGTERM; all others end by themselves
/// within their timeout.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Known before the arguments are: an error in them is told in JSON, too.
    let output = Output::new(args::wants_json(&arguments));
    let go = || {
        let cli = parse(&arguments)?;
        logging::start(cli.verbose, output.json());
        commands::run(&cli, &output)
    };
    // Whoever calls this from another language must not meet a panic.
    let result = std::panic::catch_unwind(AssertUnwindSafe(go));
    match result.unwrap_or_else(|_| Err(Failure::internal("the command panicked"))) {
        Ok(()) => exit::OK,
        Err(Failure::Help(help)) => exit::after_help(&help),
        Err(failure) => {
            output.failure(&failure);
            exit::code(&failure)
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, Failure> {
    args::refuse_secrets(arguments)?;
    Cli::try_parse_from(arguments).map_err(Failure::from_clap)
}
