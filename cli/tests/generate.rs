//! The commands `completions` and `man`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::process::Command;

use common::{bare, run};

const COMMANDS: [&str; 10] = [
    "token",
    "header",
    "whoami",
    "business-token",
    "api",
    "doctor",
    "emulator",
    "demo",
    "completions",
    "man",
];

#[test]
fn completions_know_every_command_in_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = run(bare(&["completions", shell]));
        outcome.assert_code(0);
        assert_eq!(outcome.stderr, "");
        for command in COMMANDS {
            outcome.assert_stdout_contains(command);
        }
        for flag in ["session-duration", "client-secret-file", "resume"] {
            outcome.assert_stdout_contains(flag);
        }
    }
    run(bare(&["completions", "csh"])).assert_code(2);
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let script = run(bare(&["completions", "bash"])).stdout;
    for (line, expected) in [
        ("layerfi-auth bus", "business-token"),
        ("layerfi-auth business-token --se", "--session-duration"),
        ("layerfi-auth token --environment prod", "production-ca"),
        ("layerfi-auth completions z", "zsh"),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let ask = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}; \
             _layerfi__auth layerfi-auth '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &ask]).env_clear();
        let outcome = run(bash);
        assert!(
            outcome.stdout.lines().any(|word| word == expected),
            "{line:?} is not completed to {expected}: {}",
            outcome.all()
        );
    }
}

#[test]
fn man_writes_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    run(bare(&["man", "--dir", pages.to_str().unwrap()])).assert_code(0);
    let mut found: Vec<_> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected: Vec<_> = COMMANDS
        .iter()
        .map(|command| format!("layerfi-auth-{command}.1"))
        .chain(["layerfi-auth.1".to_owned()])
        .collect();
    expected.sort();
    assert_eq!(found, expected);
    let version = format!("\"layerfi-auth {}\"", env!("CARGO_PKG_VERSION"));
    for page in &found {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        let heading = text.lines().find(|line| line.starts_with(".TH")).unwrap();
        assert!(
            heading.contains(&version),
            "{page} does not name the version: {heading}"
        );
    }
    for (arguments, text) in [
        (&["man"][..], ".TH layerfi-auth 1"),
        (&["man", "business-token"], "\\-\\-session\\-duration"),
    ] {
        let outcome = run(bare(arguments));
        outcome.assert_code(0);
        outcome.assert_stdout_contains(text);
    }
    run(bare(&["man", "nothing"])).assert_code(2);
    run(bare(&["man", "--dir", "/dev/null/x"])).assert_code(12);
}

#[test]
fn help_exists_for_every_command() {
    for command in COMMANDS {
        let short = run(bare(&["help", command]));
        short.assert_code(0);
        let long = run(bare(&[command, "--help"]));
        long.assert_code(0);
        assert_eq!(short.stdout, long.stdout, "help {command}");
        short.assert_stdout_contains("Usage: layerfi-auth");
    }
}
