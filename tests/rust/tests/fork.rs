//! A client before and after `fork()`. Each scenario is a program of its own,
//! `src/bin/fork_probe.rs`; here are the server and the count.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault, LogEntry,
};
use layerfi_auth_tests::{MAX_WAIT, assert_requests, emulator, eventually};

fn start(layer: &Emulator, scenario: &str, ca: Option<&Path>) -> Child {
    let mut probe = Command::new(env!("CARGO_BIN_EXE_fork_probe"));
    if let Some(file) = ca {
        probe.env("LAYER_CA_FILE", file);
    }
    probe
        .arg(scenario)
        .env("LAYER_ENVIRONMENT", "custom")
        .env("LAYER_API_URL", layer.url())
        .env("LAYER_AUTH_URL", layer.token_url())
        .env("LAYER_SCOPE", layer.scope())
        .env("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID)
        .env("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)
        .env("LAYER_ALLOW_HTTP_LOOPBACK", "1")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut probe: Child) {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = probe.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > 3 * MAX_WAIT {
            probe.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    probe
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(status.success(), "{status}: {text}");
}

fn run(layer: &Emulator, scenario: &str) {
    finish(start(layer, scenario, None));
}

/// The parent's first and last request went over one connection, and nobody
/// else's over that one.
fn assert_own_connections(log: &[LogEntry]) {
    let (first, last) = (&log[0], log.last().unwrap());
    assert_eq!(first.connection, last.connection, "the parent's was closed");
    for entry in &log[1..log.len() - 1] {
        assert_ne!(entry.connection, first.connection, "a socket was shared");
    }
}

#[test]
fn b13_a_worker_inherits_the_token_and_works_on_its_own() {
    let layer = emulator();
    run(&layer, "blocking");
    // One token each for parent and child, and a whoami each.
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 2),
            (Endpoint::Whoami, 2),
            (Endpoint::AuthToken, 2),
        ],
    );
    assert_own_connections(&layer.log());
}

#[test]
fn b13_over_tls_a_worker_shares_no_session_on_the_wire() {
    let layer = Emulator::builder()
        .rate_limit(None)
        .tls(true)
        .start_blocking()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    layer.write_ca_pem(&file).unwrap();
    finish(start(&layer, "blocking", Some(&file)));
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 2),
            (Endpoint::Whoami, 2),
            (Endpoint::AuthToken, 2),
        ],
    );
    assert_own_connections(&layer.log());
}

#[test]
fn b13_async_workers_bring_their_own_runtime() {
    let layer = emulator();
    run(&layer, "async");
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 2),
            (Endpoint::Whoami, 4),
            (Endpoint::AuthToken, 1),
        ],
    );
}

#[test]
fn b13_a_client_may_be_used_for_the_first_time_after_the_fork() {
    let layer = emulator();
    run(&layer, "cold");
    assert_requests(&layer, &[(Endpoint::Token, 5), (Endpoint::Whoami, 5)]);
}

#[test]
fn b13_a_fork_in_mid_flight_leaves_the_flight_to_the_parent() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let mut probe = start(&layer, "mid_flight", None);
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    probe.stdin.take().unwrap().write_all(b"fork\n").unwrap();
    // The child asks for itself, while the parent's answer is held.
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Whoami).by_status.get(&200) == Some(&1)
    });
    assert_eq!(layer.counters().endpoint(Endpoint::Token).in_flight, 1);
    layer.release();
    finish(probe);
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b13_a_batch_in_the_child_keeps_its_own_pace() {
    let layer = emulator();
    // As many as the pace lets go before the first answer.
    layer
        .fault(Endpoint::AuthToken, Fault::hold().times(95))
        .unwrap();
    let mut probe = start(&layer, "batch", None);
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 95
    });
    probe.stdin.take().unwrap().write_all(b"fork\n").unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&40)
    });
    layer.release();
    finish(probe);
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 160)]);
}

#[test]
fn b13_a_storm_of_forks_meets_no_lock_that_is_never_let_go() {
    let layer = emulator();
    run(&layer, "storm");
}

#[test]
fn b13_forks_of_forks() {
    let layer = emulator();
    run(&layer, "grandchild");
    // The grandchild inherits the child's business token as well.
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 3),
            (Endpoint::Whoami, 4),
            (Endpoint::AuthToken, 3),
        ],
    );
}
