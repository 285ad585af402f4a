//! Whatever a server does, a call ends in its time and takes little memory:
//! the whole table at once, emulators included, in less than 32 MB. A test of
//! its own, since a process has one peak.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth_tests::{Binding, Case, Transport, multi_thread_runtime, read_table, run};
use serde_json::Value;

const MOST_KIB: u64 = 32 * 1024;
const WORKERS: usize = 8;
/// For an emulator to start and a machine to be busy.
const SLACK: Duration = Duration::from_secs(10);

/// A figure of this process's, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What all calls of a case may take together, by the client's own timeout.
fn most_time(case: &Case) -> Duration {
    let mut most = Duration::ZERO;
    let _ = case.altered(|case| {
        let timeout = case["client"]["timeout_ms"].as_u64().unwrap_or(30_000);
        let calls = case["steps"].as_array().unwrap().iter();
        let calls: u64 = calls
            .map(|step: &Value| step["repeat"].as_u64().unwrap_or(1))
            .sum();
        most = Duration::from_millis(timeout * calls) + SLACK;
    });
    most
}

#[test]
fn b08_b19_no_case_is_late_or_large() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            cases.extend(read_table(&path));
        }
    }
    let runtime = multi_thread_runtime(2);
    // The first case pays for what is made once per process.
    run(&cases[0], Binding::Async, Transport::Plain, &runtime).unwrap();
    let before = status("VmRSS:");
    let next = AtomicUsize::new(0);
    let late = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let outcome = run(case, Binding::Async, Transport::Plain, &runtime);
                    if outcome.is_err() || started.elapsed() > most_time(case) {
                        late.lock().unwrap().push((&case.name, outcome));
                    }
                }
            });
        }
    });
    let grown = status("VmHWM:").saturating_sub(before);
    println!(
        "{} cases, {grown} KiB over the start at the most",
        cases.len()
    );
    let late = late.into_inner().unwrap();
    assert!(late.is_empty(), "{late:?}");
    assert!(grown < MOST_KIB, "{grown} KiB");
}
