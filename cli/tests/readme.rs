//! Runs the code blocks of README.md and docs/cli.md.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{BINARY, Outcome, Running, bare, run, run_with_input, start, variables};
use layerfi_auth_emulator::Emulator;

const README: &str = include_str!("../../README.md");
const CLI_PAGE: &str = include_str!("../../docs/cli.md");

/// The README's Rust block as a file, so that it is compiled.
#[allow(clippy::print_stdout, reason = "the example prints its results")]
mod quickstart {
    include!("readme/quickstart.rs");

    pub(super) fn run() -> Result<(), Error> {
        main()
    }
}

/// The fenced blocks of one language on a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
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

/// The only shell block of a page that contains `text`.
fn shell_block(page: &str, text: &str) -> String {
    let mut found: Vec<_> = blocks(page, "sh")
        .into_iter()
        .filter(|block| block.contains(text))
        .collect();
    assert_eq!(
        found.len(),
        1,
        "the page must have exactly one shell block with {text:?}"
    );
    found.remove(0)
}

/// A shell with the command on its PATH.
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
fn the_rust_block_equals_the_compiled_file() {
    assert_eq!(
        blocks(README, "rust"),
        [include_str!("readme/quickstart.rs")],
        "copy the Rust block of README.md to cli/tests/readme/quickstart.rs"
    );
}

/// Runs in a separate process, since it reads environment variables.
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
    outcome.assert_code(0);
    outcome.assert_stdout_contains("Layer Example (018f1657");
    outcome.assert_stdout_contains("3fa85f64-5717-4562-b3fc-2c963f66afa6: 200 OK");
    outcome.assert_stdout_contains("[redacted]");
    assert!(
        !outcome.stdout.contains("eyJ"),
        "the example prints a token: {}",
        outcome.all()
    );
}

/// Starts the emulator with the page's block for the first terminal and runs
/// blocks of the second terminal, each with the printed variables.
fn run_in_second_terminal(page: &str, blocks: &[&str]) -> Vec<Outcome> {
    let mut terminal = shell();
    let start = shell_block(page, "layerfi-auth emulator\n");
    // `exec`, so that the signal reaches the emulator and not the shell.
    terminal.args(["-c", &format!("exec {start}")]);
    let mut emulator = Running::spawn(terminal);
    let printed = emulator.read_until(|line| line.contains("auth-token"));
    let exports: String = printed
        .lines()
        .filter(|line| line.starts_with("export LAYER_"))
        .map(|line| format!("{line}\n"))
        .collect();
    let outcomes = blocks
        .iter()
        .map(|block| {
            let outcome = run_with_input(shell(), Some(&format!("{exports}{block}")));
            outcome.assert_code(0);
            outcome
        })
        .collect();
    emulator.signal("TERM");
    assert_eq!(emulator.wait(), 0, "wrong exit code after SIGTERM");
    outcomes
}

fn assert_checked_and_called(outcome: &Outcome) {
    for text in [
        "All checks passed.",
        "client name  Layer Example",
        "\"clientName\":\"Layer Example\"",
        "\"business_id\"",
    ] {
        outcome.assert_stdout_contains(text);
    }
}

#[test]
fn the_shell_blocks_run() {
    let check = shell_block(README, "layerfi-auth doctor");
    let calls = shell_block(README, "--data-urlencode");
    if !has_curl() {
        return;
    }
    let outcomes = run_in_second_terminal(README, &[&check, &calls]);
    assert_checked_and_called(&outcomes[0]);
    outcomes[1].assert_stdout_contains("\"clientName\":\"Layer Example\"");
    outcomes[1].assert_stdout_contains("\"token_type\":\"Bearer\"");
}

#[test]
fn the_shell_blocks_of_the_cli_page_run() {
    let check = shell_block(CLI_PAGE, "layerfi-auth doctor");
    if has_curl() {
        assert_checked_and_called(&run_in_second_terminal(CLI_PAGE, &[&check])[0]);
    }
}

#[test]
fn the_blocks_of_the_cli_page_about_lists_and_the_api_run() {
    let folder = tempfile::tempdir().unwrap();
    let ids = "3fa85f64-5717-4562-b3fc-2c963f66afa6\n7d444840-9dc0-11d1-b245-5ffdce74fad2\n";
    std::fs::write(folder.path().join("ids.txt"), ids).unwrap();
    let prepare = format!("cd '{}'; export HOME=$PWD\n", folder.path().display());
    let blocks = [
        "--from -",
        "--resume",
        "layerfi-auth api",
        "layerfi-auth completions",
    ]
    .map(|text| prepare.clone() + &shell_block(CLI_PAGE, text));
    let outcomes = run_in_second_terminal(CLI_PAGE, &blocks.each_ref().map(String::as_str));
    assert_eq!(
        outcomes[0].stdout.lines().count(),
        2,
        "not one line per business: {}",
        outcomes[0].all()
    );
    outcomes[1].assert_stderr_contains("2 minted, 0 failed, 0 skipped, 0 left, ");
    outcomes[2].assert_stdout_contains("\"clientName\":\"Layer Example\"");
    outcomes[2].assert_stdout_contains("HTTP 200 OK\n");
    outcomes[2].assert_stdout_contains("\"token_type\":\"Bearer\"");
    for path in [
        "tokens.jsonl",
        ".local/share/bash-completion/completions/layerfi-auth",
        ".local/share/man/man1/layerfi-auth-token.1",
    ] {
        let length = std::fs::metadata(folder.path().join(path)).unwrap().len();
        assert!(length > 100, "the blocks have not written {path}");
    }
}

#[test]
fn the_emulator_prints_the_calls_of_the_readme() {
    let mut emulator = Running::spawn(bare(&["emulator"]));
    let printed = emulator.read_until(|line| line.contains("auth-token"));
    assert!(
        printed.contains(shell_block(README, "--data-urlencode").as_str()),
        "the emulator prints other calls than README.md has: {printed}"
    );
}

#[test]
fn links_of_the_readme_and_the_cli_page_exist() {
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
            // A link without a path leads to a heading of the same page.
            let target = match path {
                "" => root.join(file),
                _ => root.join(folder).join(path),
            };
            assert!(target.exists(), "{file} links to a missing file: {link}");
            if !anchor.is_empty() {
                let heading = anchor.replace('-', " ");
                let found = std::fs::read_to_string(target)
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with('#') && line.to_lowercase().ends_with(&heading));
                assert!(found, "{file} links to a missing heading: {link}");
            }
        }
    }
}
