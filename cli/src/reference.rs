//! Generates `docs/reference/cli.md` from the definition of the arguments.
//!
//! `make pages` writes it.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Cli;

fn page() -> String {
    let command = Cli::command().disable_help_subcommand(true);
    let mut page = "# Reference of the command\n\n\
        This page is generated from the definition of the command's arguments. \
        [The guide](../cli.md) describes the output, the exit codes and the settings.\n\n"
        .to_owned();
    page.push_str("## layerfi-auth\n\n");
    about(&command, &mut page);
    page.push_str("| command | |\n| --- | --- |\n");
    for sub in command.get_subcommands() {
        let name = sub.get_name();
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "| [{name}](#{name}) | {about} |").unwrap();
    }
    page.push_str("\nThese flags are accepted before and after each command:\n\n");
    arguments(&command, &mut page);
    for sub in command.get_subcommands() {
        writeln!(page, "## {}\n", sub.get_name()).unwrap();
        about(sub, &mut page);
        // Clap writes the usage of a subcommand with the program's name only when it is
        // built, which also adds the global flags to it.
        let mut built = command.clone();
        built.build();
        let built = built.find_subcommand_mut(sub.get_name()).unwrap();
        let usage = built.render_usage().to_string();
        let usage = usage
            .trim_start_matches("Usage: ")
            .replace("\n       ", "\n");
        writeln!(page, "```text\n{usage}\n```\n").unwrap();
        arguments(sub, &mut page);
    }
    format!("{}\n", page.trim_end())
}

fn about(command: &Command, page: &mut String) {
    let about = command.get_long_about().or(command.get_about()).unwrap();
    writeln!(page, "{}\n", sentence(about.to_string())).unwrap();
}

/// Clap removes the full stop at the end of a text.
fn sentence(text: String) -> String {
    if text.ends_with('.') {
        text
    } else {
        text + "."
    }
}

fn arguments(command: &Command, page: &mut String) {
    let all: Vec<_> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .collect();
    if all.is_empty() {
        return;
    }
    page.push_str("| argument | meaning |\n| --- | --- |\n");
    for argument in all {
        writeln!(page, "| {} | {} |", names(argument), meaning(argument)).unwrap();
    }
    page.push('\n');
}

/// How an argument is written, such as `-d`, `--data JSON`.
fn names(argument: &Arg) -> String {
    let values: Vec<_> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    let value = if argument.get_action().takes_values() {
        values.join(" ")
    } else {
        String::new()
    };
    let Some(long) = argument.get_long() else {
        return format!("`{value}`");
    };
    let short = argument.get_short().map(|short| format!("`-{short}`, "));
    let long = format!("--{long} {value}");
    format!("{}`{}`", short.unwrap_or_default(), long.trim_end())
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).unwrap();
    let help = help.to_string().replace('\n', " ").replace('|', "\\|");
    let mut text = sentence(help.replace('<', "&lt;"));
    let values = argument.get_possible_values();
    if argument.get_action().takes_values() && !values.is_empty() {
        let names: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        write!(text, " One of {}.", names.join(", ")).unwrap();
    }
    for default in argument.get_default_values() {
        write!(text, " Default: `{}`.", default.to_string_lossy()).unwrap();
    }
    text
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    let page = page();
    if std::env::var_os("UPDATE_CLI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference/cli.md is out of date: run make pages"
    );
}
