//! The README as printed: each of its blocks is run.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{BINARY, Running, bare, run, run_with_input, start, variables};
use layerfi_auth_emulator::Emulator;

const README: &str = include_str!("../../README.md");

/// The same text as the README's block, so that it compiles.
#[allow(clippy::print_stdout, reason = "as a reader would")]
mod quickstart {
    include!("readme/quickstart.rs");

    pub(super) fn run() -> Result<(), Error> {
        main()
    }
}

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in README.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info == language, String::new())),
            (Some(_), Some(_)) => {
                let (wanted, text) = open.take().unwrap();
                if wanted {
                    blocks.push(text);
                }
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The one shell block with this in it.
fn shell_block(holding: &str) -> String {
    let mut found: Vec<_> = blocks("sh")
        .into_iter()
        .filter(|block| block.contains(holding))
        .collect();
    assert_eq!(found.len(), 1, "{holding}");
    found.remove(0)
}

/// A shell with the command on its path.
fn shell() -> Command {
    let binaries = Path::new(BINARY).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(binaries).chain(std::env::split_paths(&path));
    let mut shell = Command::new("sh");
    shell.arg("-e").env_clear().stdin(Stdio::null());
    shell.env("PATH", std::env::join_paths(all).unwrap());
    shell
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").output().is_ok()
}

#[test]
fn the_rust_block_is_the_file_that_is_compiled() {
    assert_eq!(blocks("rust"), [include_str!("readme/quickstart.rs")]);
}

/// Runs in a process of its own: it reads its environment.
#[test]
#[ignore = "started by the_rust_block_runs"]
fn quickstart_child() {
    quickstart::run().unwrap();
}

#[test]
fn the_rust_block_runs() {
    let layer = start(Emulator::builder());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "quickstart_child", "--ignored", "--nocapture"])
        .env_clear()
        .envs(variables(&layer));
    let outcome = run(child);
    assert_eq!(outcome.code, 0, "{}", outcome.all());
    assert!(
        outcome.stdout.contains("Layer Example (018f1657"),
        "{}",
        outcome.all()
    );
    assert!(
        outcome
            .stdout
            .contains("5ad00f4c-2e3b-4d5c-9f7a-0c1d2e3f4a5b: 200 OK")
    );
    assert!(outcome.stdout.contains("[redacted]") && !outcome.stdout.contains("eyJ"));
}

#[test]
fn the_command_lines_blocks_run() {
    // The first terminal.
    let mut terminal = shell();
    let block = shell_block("layerfi-auth emulator\n");
    // `exec`, so that the process that is stopped is the emulator.
    terminal.args(["-c", &format!("exec {block}")]);
    let mut emulator = Running::spawn(terminal);
    let printed = emulator.read_until(|line| line.contains("auth-token"));
    let exports: String = printed
        .lines()
        .filter(|line| line.starts_with("export LAYER_"))
        .map(|line| format!("{line}\n"))
        .collect();

    // The other one.
    let block = shell_block("layerfi-auth doctor");
    if has_curl() {
        let outcome = run_with_input(shell(), Some(&format!("{exports}{block}")));
        assert_eq!(outcome.code, 0, "{}", outcome.all());
        for words in [
            "All is well.",
            "client name  Layer Example",
            "\"clientName\":\"Layer Example\"",
            "\"business_id\"",
        ] {
            assert!(outcome.stdout.contains(words), "{words}: {}", outcome.all());
        }
        // The documented calls.
        let block = shell_block("--data-urlencode");
        let outcome = run_with_input(shell(), Some(&format!("{exports}{block}")));
        assert_eq!(outcome.code, 0, "{}", outcome.all());
        assert!(
            outcome.stdout.contains("\"clientName\":\"Layer Example\""),
            "{}",
            outcome.all()
        );
        assert!(
            outcome.stdout.contains("\"token_type\":\"Bearer\""),
            "{}",
            outcome.all()
        );
    }
    emulator.signal("TERM");
    assert_eq!(emulator.wait(), 0);
}

#[test]
fn the_emulator_prints_the_same_calls() {
    let mut emulator = Running::spawn(bare(&["emulator"]));
    let printed = emulator.read_until(|line| line.contains("auth-token"));
    assert!(
        printed.contains(shell_block("--data-urlencode").as_str()),
        "{printed}"
    );
}

#[test]
fn its_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    for (file, folder) in [("README.md", ""), ("docs/cli.md", "docs")] {
        let text = page(file);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = root.join(folder).join(path);
            assert!(target.exists(), "{file}: {link}");
            if !anchor.is_empty() {
                let heading = anchor.replace('-', " ");
                let found = std::fs::read_to_string(target)
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with('#') && line.to_lowercase().ends_with(&heading));
                assert!(found, "{file}: {link}");
            }
        }
    }
}
