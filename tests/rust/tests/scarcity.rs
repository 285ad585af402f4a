//! A client in a process that runs out of threads or file descriptors.
//! `src/bin/scarcity_probe.rs` runs each call in processes of its own.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use layerfi_auth::{BatchOptions, ErrorKind, blocking};
use layerfi_auth_emulator::DEFAULT_CLIENT_SECRET;
use layerfi_auth_tests::{
    Authority, MAX_WAIT, Watchdog, businesses, client, emulator, emulator_variables,
};

/// Runs the probe. It must print nothing to standard error.
fn run(resource: &str, call: &str) {
    let errors = output(resource, call);
    assert_eq!(
        errors, "",
        "{call} with few {resource}: the library wrote to standard error"
    );
}

/// Runs the probe and returns its standard error. The client finds the emulator by
/// name, so that it looks names up.
fn output(resource: &str, call: &str) -> String {
    let layer = emulator();
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, DEFAULT_CLIENT_SECRET).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, Authority::new().pem()).unwrap();
    let variables = emulator_variables(&layer)
        .map(|(name, value)| (name, value.replace("//127.0.0.1:", "//localhost:")));
    let probe = Command::new(env!("CARGO_BIN_EXE_scarcity_probe"))
        .args([resource, call])
        .envs(variables)
        .env("SECRET_FILE", &file)
        .env("CA_FILE", &ca_file)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::new(probe.id(), 10 * MAX_WAIT);
    let output = probe.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{call} with few {resource}: the probe ended with {}: {errors}",
        output.status
    );
    errors
}

const CALLS: [&str; 17] = [
    "token",
    "token_async",
    "whoami",
    "whoami_async",
    "execute",
    "business_token",
    "business_token_async",
    "mint",
    "batch",
    "try_token",
    "prepare",
    "try_business_token",
    "secret_file",
    "provider",
    "keep_warm",
    "reader",
    "refresh",
];

fn run_all(resource: &str) {
    for call in CALLS {
        run(resource, call);
    }
}

#[test]
fn b26_every_call_without_threads_is_a_retryable_error_that_heals() {
    run_all("threads");
}

#[test]
fn b26_every_call_without_descriptors_is_a_retryable_error_that_heals() {
    run_all("descriptors");
}

/// The engine's thread runs no timers while a task blocks it, as a log subscriber of
/// the program may do.
#[test]
fn b08_blocking_calls_end_at_their_timeout_while_the_engines_thread_is_blocked() {
    let layer = emulator();
    let client = blocking::Client::from(client(&layer));
    let (release, held) = mpsc::channel::<()>();
    let blocked = client
        .start(|_| async move {
            let _ = held.recv();
            Ok(())
        })
        .unwrap();
    let (sender, results) = mpsc::channel();
    let quick = client.with_timeout(Duration::from_millis(200));
    std::thread::spawn(move || {
        let batch = quick.business_tokens(businesses(2), BatchOptions::default(), |_| true);
        sender.send(quick.token().map(drop)).unwrap();
        sender.send(quick.whoami().map(drop)).unwrap();
        for result in batch {
            sender.send(result.map(drop)).unwrap();
        }
    });
    for _ in 0..4 {
        let result = results
            .recv_timeout(MAX_WAIT)
            .expect("a call did not end at its timeout");
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    }
    drop(release);
    blocked.join().unwrap();
    client.whoami().unwrap();
}

#[test]
fn b26_engines_thread_that_ended_is_replaced_by_the_next_call() {
    // Tokio panics on the thread, which prints that.
    let errors = output("engine", "end");
    assert!(errors.contains("layerfi-auth"), "{errors:?}");
}

/// Tokio's `signal` feature makes each runtime open more descriptors, and panic if
/// it gets none. A program's own Tokio may have it; our packages must not add it.
#[test]
fn b26_packages_do_not_enable_tokios_signal_handling() {
    for package in [
        "layerfi-auth",
        "layerfi-auth-ffi",
        "layerfi-auth-python",
        "layerfi-auth-cli",
    ] {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", package])
            .args(["--edges", "normal,features", "--invert", "tokio"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&tree.stdout);
        assert!(
            text.contains("tokio feature \"rt\""),
            "cargo tree failed: {}",
            String::from_utf8_lossy(&tree.stderr)
        );
        for feature in ["signal", "process"] {
            let line = format!("tokio feature \"{feature}\"");
            assert!(
                !text.contains(&line),
                "{package} enables Tokio's {feature}:\n{text}"
            );
        }
    }
}

#[test]
fn b26_idle_connections_are_closed_if_a_call_finds_no_descriptor() {
    run("idle", "whoami");
}

#[test]
fn b26_client_with_a_ca_file_cannot_be_built_without_a_descriptor_but_later() {
    run("ca_file", "build");
}
