//! Every call ends within its timeout and uses little memory, for any response: the
//! whole table runs, with the emulators, in less than 32 MB. This test has its own
//! process, because the peak memory is counted per process.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth_tests::{Binding, Case, Transport, multi_thread_runtime, read_table, run};
use serde_json::Value;

const MAX_KIB: u64 = 32 * 1024;
const WORKERS: usize = 8;
/// Time for the emulator to start, on a busy machine.
const SLACK: Duration = Duration::from_secs(60);

/// Returns a value from `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Time limit for all calls of a case, from the client's own timeout.
fn time_limit(case: &Case) -> Duration {
    let mut limit = Duration::ZERO;
    let _ = case.altered(|case| {
        let timeout = case["client"]["timeout_ms"].as_u64().unwrap_or(30_000);
        let calls = case["steps"].as_array().unwrap().iter();
        let calls: u64 = calls
            .map(|step: &Value| step["repeat"].as_u64().unwrap_or(1))
            .sum();
        limit = Duration::from_millis(timeout * calls) + SLACK;
    });
    limit
}

#[test]
fn b08_b19_every_case_ends_in_time_and_uses_little_memory() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            cases.extend(read_table(&path));
        }
    }
    let runtime = multi_thread_runtime(2);
    // The first case also allocates what the process needs once.
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
                    if outcome.is_err() || started.elapsed() > time_limit(case) {
                        late.lock().unwrap().push((&case.name, outcome));
                    }
                }
            });
        }
    });
    let grown = status("VmHWM:").saturating_sub(before);
    println!(
        "{} cases, at most {grown} KiB more than at the start",
        cases.len()
    );
    let late = late.into_inner().unwrap();
    assert!(
        late.is_empty(),
        "these cases failed or were too slow: {late:?}"
    );
    assert!(
        grown < MAX_KIB,
        "the table used {grown} KiB, the limit is {MAX_KIB} KiB"
    );
}
