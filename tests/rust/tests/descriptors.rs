//! A program that closes all its file descriptors without a fork, as daemons do.
//! `tests/descriptors` runs each scenario in a separate process; these tests run the server.
#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    MAX_WAIT, Watchdog, cargo_build, emulator, emulator_variables, eventually,
};

/// The program, built without the features of Tokio that other packages of this workspace
/// enable. It has the features of the C library, which other tests build.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut build = cargo_build(env!("CARGO_TARGET_TMPDIR"));
        build
            .args(["--package", "layerfi-auth-ffi"])
            .args(["--package", "layerfi-auth-descriptors-probe"])
            .args(["--features", "layerfi-auth-ffi/redis"]);
        let status = build.status().unwrap();
        assert!(status.success(), "cargo build ended with {status}");
        target.join("debug/descriptors_probe")
    })
}

/// Runs a scenario. The client finds the emulator by name and its secret in a file, so that
/// it uses all its background threads.
fn start(layer: &Emulator, scenario: &str, folder: &tempfile::TempDir) -> Child {
    let file = folder.path().join("secret");
    std::fs::write(&file, DEFAULT_CLIENT_SECRET).unwrap();
    let mut probe = Command::new(probe());
    probe.arg(scenario);
    for (name, value) in emulator_variables(layer) {
        match name {
            // The provider reads it from here.
            "LAYER_CLIENT_SECRET" if scenario != "provider" => {
                probe.env("LAYER_CLIENT_SECRET_FILE", &file)
            }
            _ => probe.env(name, value.replace("//127.0.0.1:", "//localhost:")),
        };
    }
    probe
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The probe must print nothing.
fn finish(probe: Child) {
    let _watchdog = Watchdog::new(probe.id(), 3 * MAX_WAIT);
    let output = probe.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "the probe ended with {status}: {text}");
    assert_eq!(text, "", "the library wrote to standard error");
}

fn run(scenario: &str) {
    let (layer, folder) = (emulator(), tempfile::tempdir().unwrap());
    finish(start(&layer, scenario, &folder));
}

/// Runs a scenario that closes the descriptors while the server holds its first requests to
/// an endpoint.
fn run_in_flight(scenario: &str, endpoint: Endpoint) {
    let (layer, folder) = (emulator(), tempfile::tempdir().unwrap());
    // A batch sends three.
    let held = if endpoint == Endpoint::AuthToken {
        3
    } else {
        1
    };
    layer.fault(endpoint, Fault::hold().times(held)).unwrap();
    let mut probe = start(&layer, scenario, &folder);
    eventually(&layer, |now| {
        now.endpoint(endpoint).in_flight == u64::from(held)
    });
    probe.stdin.take().unwrap().write_all(b"close\n").unwrap();
    finish(probe);
}

#[test]
fn b25_every_call_works_after_the_program_closed_all_descriptors() {
    run("every_call");
}

#[test]
fn b25_descriptors_may_be_closed_many_times() {
    run("again_and_again");
}

#[test]
fn b19_b25_client_dropped_after_its_descriptors_were_closed_touches_no_file_of_the_program() {
    run("drop");
}

#[test]
fn b19_b25_provider_that_returns_after_descriptors_were_closed_touches_no_file_of_the_program() {
    run("provider");
}

#[test]
fn b08_b25_call_in_flight_ends_when_another_call_finds_the_descriptors_closed() {
    run_in_flight("blocking_wait", Endpoint::Whoami);
    run_in_flight("started_call", Endpoint::Whoami);
    run_in_flight("async_wait", Endpoint::Whoami);
    run_in_flight("async_shared_wait", Endpoint::Token);
    run_in_flight("batch", Endpoint::AuthToken);
    run_in_flight("stream", Endpoint::AuthToken);
}

#[test]
fn b08_b25_call_in_flight_ends_at_its_timeout_when_the_descriptors_are_closed() {
    run_in_flight("no_other_call", Endpoint::Token);
}
