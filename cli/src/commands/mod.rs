//! Dispatches to the commands, one module each.

mod api;
mod batch;
mod business_token;
mod demo;
mod doctor;
mod emulator;
mod generate;
mod header;
mod token;
mod whoami;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command given on the command line.
pub(crate) fn run(cli: &Cli, output: &Output) -> Result<(), Failure> {
    let settings = &cli.settings;
    match &cli.command {
        Command::Token => token::run(settings, output),
        Command::Header => header::run(settings, output),
        Command::Whoami => whoami::run(settings, output),
        Command::BusinessToken(args) => match &args.from {
            Some(from) => batch::run(settings, args, from, output),
            None => business_token::run(settings, args, output),
        },
        Command::Api(args) => api::run(settings, args, output),
        Command::Doctor => doctor::run(settings, output),
        Command::Emulator(args) => emulator::run(settings, args, output),
        Command::Demo => demo::run(output),
        Command::Completions(args) => generate::completions(args, output),
        Command::Man(args) => generate::man(args, output),
    }
}
