//! The commands `completions` and `man`: files that are generated from the definition
//! of the arguments.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::Failure;
use crate::output::Output;

const NAME: &str = "layerfi-auth";

pub(super) fn completions(args: &CompletionsArgs, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Bash {
        // clap_complete 4.6 writes the program's name in two ways if it has a hyphen, so
        // that flags of commands would not be completed.
        script = script.replace("layerfi__subcmd__auth", "layerfi__auth");
    }
    output.text(&script)
}

pub(super) fn man(args: &ManArgs, output: &Output) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives each command its full name, and the global flags.
    command.build();
    if let Some(folder) = &args.dir {
        return write_all(&command, folder);
    }
    let command = match &args.page {
        None => Some(&command),
        Some(page) => command.find_subcommand(page),
    };
    let Some(command) = command else {
        return Err(Failure::usage(
            "there is no command with this name",
            "run layerfi-auth help for the commands",
            Some("command"),
        ));
    };
    output.bytes(&render(command)?)
}

fn render(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .source(concat!("layerfi-auth ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)?;
    Ok(page)
}

/// Writes `layerfi-auth.1` and a page for each command.
fn write_all(command: &Command, folder: &Path) -> Result<(), Failure> {
    let write = |command: &Command| {
        let name = command.get_display_name().unwrap_or(NAME);
        std::fs::write(folder.join(format!("{name}.1")), render(command)?)
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| write(command))
        .and_then(|()| command.get_subcommands().try_for_each(write))
        .map_err(|error| {
            Failure::local(
                format!("cannot write the manual pages to --dir {folder:?}: {error}"),
                "check the path and its permissions",
            )
        })
}
