//! What other users of the machine see of the command while it runs: its
//! arguments, and, for those who may, its environment.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{PATIENCE, at, start};
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
        // A pipe, as a shell makes it of `<(...)`.
        (vec!["token", "--client-secret-file", "/dev/stdin"], true),
    ] {
        // It waits for its answer while it is looked at.
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
        let waits =
            |all: &layerfi_auth_emulator::Counters| all.endpoint(Endpoint::Token).in_flight == 1;
        assert!(layer.wait_until(waits, PATIENCE), "{flags:?}");
        for place in ["cmdline", "environ"] {
            let seen = std::fs::read(format!("/proc/{}/{place}", process.id())).unwrap();
            assert!(!seen.is_empty());
            assert!(!contains(&seen, DEFAULT_CLIENT_SECRET), "{flags:?} {place}");
        }
        layer.release();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{flags:?}");
        assert!(!contains(&output.stderr, DEFAULT_CLIENT_SECRET));
    }
}
