//! The `layerfi-auth` command as a library function.
//!
//! The Python package ships the same command through this function.
//!
//! ```no_run
//! let code = layerfi_auth_cli::run(std::env::args_os());
//! std::process::exit(code.into());
//! ```
//!
//! `docs/cli.md` describes the arguments, the JSON output and the exit codes.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit_code;
mod failure;
mod flag_names;
mod logging;
mod net;
mod output;
#[cfg(test)]
mod reference;
mod runtime;
mod settings;
mod signals;
mod terminal;
mod threads;
mod time_format;
mod wrap;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;

use clap::Parser as _;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command and returns its exit code.
///
/// `arguments` starts with the program's name. The function uses the process's
/// standard streams and environment variables. `emulator` and
/// `business-token --from` install signal handlers. A panic does not cross this function.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Read before clap parses: clap's own errors are printed as JSON too.
    let output = Output::new(args::wants_json(&arguments));
    let command = || {
        let cli = parse(&arguments)?;
        logging::start(cli.verbose, output.json());
        commands::run(&cli, &output)
    };
    let result = std::panic::catch_unwind(AssertUnwindSafe(command));
    match result.unwrap_or_else(|_| Err(Failure::internal("the command panicked"))) {
        Ok(()) => exit_code::OK,
        Err(Failure::Help(help)) => exit_code::print_help(&help),
        Err(failure) => {
            output.failure(&failure);
            exit_code::of(&failure)
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, Failure> {
    args::refuse_secrets(arguments)?;
    Cli::try_parse_from(arguments).map_err(Failure::from_clap)
}
