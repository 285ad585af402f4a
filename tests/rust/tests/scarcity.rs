//! A client in a process that runs out of file descriptors.
//! `src/bin/scarcity_probe.rs` runs each scenario in a process of its own.
#![cfg(target_os = "linux")]

use std::process::Command;

use layerfi_auth_tests::{emulator, emulator_variables};

fn run(scenario: &str) {
    let layer = emulator();
    let output = Command::new(env!("CARGO_BIN_EXE_scarcity_probe"))
        .arg(scenario)
        .envs(emulator_variables(&layer))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the probe ended with {}: {errors}",
        output.status
    );
    assert_eq!(errors, "", "the library wrote to standard error");
}

#[test]
fn b26_no_descriptor_for_the_runtime_is_a_retryable_error_that_heals() {
    run("cold");
}

#[test]
fn b26_no_descriptor_for_a_connection_is_a_retryable_error_that_heals() {
    run("warm");
}

#[test]
fn b26_idle_connections_are_closed_if_a_call_finds_no_descriptor() {
    run("idle");
}
