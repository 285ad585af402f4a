//! Uses a client while the process can open no file descriptor. `tests/scarcity.rs`
//! runs it; it is a separate program because the limit applies to a whole process.
//!
//! Usage: `scarcity_probe <scenario>`, with the client's settings in the environment.
//! The exit code is 0 if all calls behave; errors are printed to standard error.

use std::fs::File;
use std::time::Duration;

use layerfi_auth::{ClientBuilder, ErrorKind, Result, TestClock, blocking};
use layerfi_auth_tests::limit_descriptors;

fn new_client(clock: &TestClock) -> blocking::Client {
    ClientBuilder::from_env()
        .unwrap()
        .test_clock(clock.clone())
        .max_attempts(1)
        .build_blocking()
        .unwrap()
}

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    let clock = TestClock::new();
    let client = new_client(&clock);
    match scenario.as_str() {
        // No descriptor for the background thread's runtime.
        "cold" => {}
        // The background thread runs. It has no idle connection, which would be used
        // or closed.
        "warm" => start_background_thread(),
        // All descriptors are in use, one of them for an idle connection.
        "idle" => return descriptor_of_an_idle_connection(&client),
        other => panic!("unknown scenario: {other}"),
    }
    let (files, limit) = use_all_descriptors();
    // More than once: no failure may be remembered as permanent.
    for _ in 0..3 {
        assert_retryable(client.token());
        assert_retryable(client.whoami());
        clock.advance(Duration::from_secs(5));
    }
    drop(files);
    limit_descriptors(limit);
    clock.advance(Duration::from_secs(5));
    client.token().unwrap();
    client.whoami().unwrap();
}

/// Makes a call that cannot connect.
fn start_background_thread() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let client = ClientBuilder::from_env()
        .unwrap()
        .auth_url(format!("http://{closed}/oauth2/token"))
        .max_attempts(1)
        .build_blocking()
        .unwrap();
    assert_retryable(client.token());
}

/// A call succeeds although only an idle connection of another client has a
/// descriptor.
fn descriptor_of_an_idle_connection(client: &blocking::Client) {
    // Clients with different settings do not share connections.
    let other = ClientBuilder::from_env()
        .unwrap()
        .user_agent("another/1")
        .build_blocking()
        .unwrap();
    other.whoami().unwrap();
    let (files, limit) = use_all_descriptors();
    client.whoami().unwrap();
    drop(files);
    limit_descriptors(limit);
}

/// Opens files until the process has no free descriptor. Returns them and the limit
/// before.
fn use_all_descriptors() -> (Vec<File>, u64) {
    let limit = limit_descriptors(highest_descriptor() + 1);
    let open = || File::open("/dev/null").ok();
    (std::iter::from_fn(open).collect(), limit)
}

fn assert_retryable<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.expect_err("a call succeeded without a descriptor");
    assert_eq!(error.kind(), ErrorKind::Transport, "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
}

fn highest_descriptor() -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name());
    numbers
        .filter_map(|name| name.to_str()?.parse().ok())
        .max()
        .unwrap_or(2)
}
