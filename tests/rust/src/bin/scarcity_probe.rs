//! Uses a client while the process can open no file descriptor. `tests/scarcity.rs`
//! runs it; it is a separate program because the limit applies to a whole process.
//!
//! Usage: `scarcity_probe <scenario>`, with the client's settings in the environment.
//! The exit code is 0 if all calls behave; errors are printed to standard error.

use std::fs::File;
use std::time::Duration;

use layerfi_auth::{ClientBuilder, ErrorKind, Result, TestClock, blocking};

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
    // Kept, because a connection that closes would give its descriptor back.
    let other = new_client(&clock);
    match scenario.as_str() {
        // No descriptor for the background thread's runtime.
        "cold" => {}
        // The background thread runs, and there is no descriptor for a connection.
        "warm" => drop(other.token().unwrap()),
        other => panic!("unknown scenario: {other}"),
    }
    let limit = limit_descriptors(highest_descriptor() + 1);
    let fill = || File::open("/dev/null").ok();
    let files: Vec<File> = std::iter::from_fn(fill).collect();
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
    drop(other);
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

/// Sets the soft limit of descriptors and returns the one before.
fn limit_descriptors(limit: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is valid for both calls.
    #[allow(unsafe_code)]
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits), 0);
        let before = std::mem::replace(&mut limits.rlim_cur, limit);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
        before
    }
}
