//! The command's arguments and environment, as other processes can read them
//! in /proc.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is the test's report")]

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{MAX_WAIT, at, start};
use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault};

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn b20_the_secret_is_in_no_argument_and_no_variable_of_the_process() {
    let layer = start(Emulator::builder());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(DEFAULT_CLIENT_SECRET.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    for (flags, input) in [
        (vec!["token", "--client-secret-stdin"], true),
        (vec!["token", "--client-secret-file", path], false),
        // A pipe, like the shell's `<(...)`.
        (vec!["token", "--client-secret-file", "/dev/stdin"], true),
    ] {
        // The emulator holds its response while the test reads /proc.
        layer.reset();
        layer.fault(Endpoint::Token, Fault::hold()).unwrap();
        let mut process = at(&layer, &flags)
            .env_remove("LAYER_CLIENT_SECRET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        if input {
            stdin.write_all(DEFAULT_CLIENT_SECRET.as_bytes()).unwrap();
        }
        drop(stdin);
        let request_arrived =
            |all: &layerfi_auth_emulator::Counters| all.endpoint(Endpoint::Token).in_flight == 1;
        assert!(
            layer.wait_until(request_arrived, MAX_WAIT),
            "{flags:?}: no token request within {MAX_WAIT:?}"
        );
        for file in ["cmdline", "environ"] {
            let content = std::fs::read(format!("/proc/{}/{file}", process.id())).unwrap();
            assert!(
                !content.is_empty(),
                "{flags:?}: /proc/<pid>/{file} is empty"
            );
            assert!(
                !contains(&content, DEFAULT_CLIENT_SECRET),
                "{flags:?}: /proc/<pid>/{file} contains the secret"
            );
        }
        layer.release();
        let output = process.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{flags:?}: the command failed with {}",
            output.status
        );
        assert!(
            !contains(&output.stderr, DEFAULT_CLIENT_SECRET),
            "{flags:?}: stderr contains the secret"
        );
    }
}
