//! Stress test against the emulator: threads, tasks, faults, rejected tokens, clock
//! jumps and cancellations at the same time. `make stress` runs it for a minute,
//! `cargo test` for a few seconds; `LAYERFI_STRESS_SECONDS` sets the duration.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use layerfi_auth::{BusinessId, Client, TestClock};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault, LogEntry, TokenKind, Wire};
use layerfi_auth_tests::{Random, client_builder};

const THREADS: usize = 64;
const TASKS: usize = 1_000;
const BUSINESSES: usize = 20;
const LIFETIME: Duration = Duration::from_secs(60);
/// The test clock runs this many times faster than real time.
const SPEED: u32 = 10;
const MAX_ATTEMPTS: u32 = 3;

struct Run {
    client: Client,
    clock: TestClock,
    stop: AtomicBool,
    served: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    jumps: AtomicU64,
    /// How often the wall clock was set back.
    set_back: AtomicU64,
}

/// The start of a call on the test clock.
struct CallStart {
    at: SystemTime,
    set_back: u64,
}

impl Run {
    fn start_call(&self) -> CallStart {
        CallStart {
            set_back: self.set_back.load(Ordering::SeqCst),
            at: self.clock.system_time(),
        }
    }

    /// Checks that a token was valid when it was requested. (If the wall clock was set
    /// back in between, an expired token may be valid again.)
    fn check(&self, start: &CallStart, expires_at: SystemTime) {
        let same_time = self.set_back.load(Ordering::SeqCst) == start.set_back;
        assert!(
            expires_at > start.at || !same_time,
            "an expired token was served"
        );
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    fn is_running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn business(number: u64) -> BusinessId {
    format!("00000000-0000-4000-8000-{number:012}")
        .parse()
        .unwrap()
}

/// One task: all kinds of calls, some of them cancelled.
async fn task(run: Arc<Run>, number: u64) {
    let mut random = Random(number * 7_919 + 1);
    while run.is_running() {
        let start = run.start_call();
        let cancel_after = Duration::from_micros(200 + random.below(20_000));
        match random.below(10) {
            0 => {
                if tokio::time::timeout(cancel_after, run.client.token())
                    .await
                    .is_err()
                {
                    run.cancelled.fetch_add(1, Ordering::Relaxed);
                }
            }
            1..=2 => {
                let business = business(random.below(BUSINESSES as u64));
                let call = run.client.business_token(&business);
                match tokio::time::timeout(cancel_after, call).await {
                    Ok(Ok(token)) => run.check(&start, token.expires_at()),
                    Ok(Err(_)) => drop(run.failed.fetch_add(1, Ordering::Relaxed)),
                    Err(_) => drop(run.cancelled.fetch_add(1, Ordering::Relaxed)),
                }
            }
            3 if random.below(40) == 0 => {
                if let Ok(token) = run.client.token().await {
                    run.client.invalidate(&token);
                }
            }
            _ => match run.client.token().await {
                Ok(token) => run.check(&start, token.expires_at()),
                Err(_) => drop(run.failed.fetch_add(1, Ordering::Relaxed)),
            },
        }
        tokio::time::sleep(Duration::from_millis(1 + random.below(20))).await;
    }
}

/// One thread: the blocking client, and a reader.
fn thread(run: &Run, number: u64) {
    let client = layerfi_auth::blocking::Client::from(run.client.clone());
    let mut reader = client.reader();
    let mut random = Random(number * 104_729 + 1);
    while run.is_running() {
        let start = run.start_call();
        if let Some(token) = reader.borrow_token() {
            run.check(&start, token.expires_at());
        }
        match client.token() {
            Ok(token) => run.check(&start, token.expires_at()),
            Err(_) => drop(run.failed.fetch_add(1, Ordering::Relaxed)),
        }
        std::thread::sleep(Duration::from_millis(random.below(5)));
    }
}

/// Causes faults, revocations and clock jumps.
fn disrupt(run: &Run, emulator: &Emulator, duration: Duration) {
    let mut random = Random(42);
    let start = Instant::now();
    while start.elapsed() < duration {
        let step = Duration::from_millis(20);
        std::thread::sleep(step);
        run.clock.advance(step * SPEED);
        match random.below(60) {
            0 => {
                run.jumps.fetch_add(1, Ordering::Relaxed);
                run.clock.suspend(Duration::from_secs(random.below(300)));
            }
            1 => {
                run.set_back.fetch_add(1, Ordering::SeqCst);
                run.clock
                    .set_wall_back(Duration::from_secs(random.below(100)));
                run.set_back.fetch_add(1, Ordering::SeqCst);
            }
            2 => emulator.revoke_all(TokenKind::Access),
            3..=9 => {
                let fault = match random.below(6) {
                    1 => Fault::status(429).header("retry-after", "0"),
                    2 => Fault::wire(Wire::Reset(layerfi_auth_emulator::At::Before)),
                    // Rare, because it is not retried and a back-off follows.
                    3 if random.below(8) == 0 => Fault::text("<html>"),
                    0 | 3 => Fault::status(503),
                    4 => Fault::wire(Wire::Close(layerfi_auth_emulator::At::MidBody)),
                    _ => Fault::delay(Duration::from_millis(random.below(60))),
                };
                let endpoint = match random.below(2) {
                    0 => Endpoint::Token,
                    _ => Endpoint::AuthToken,
                };
                emulator
                    .fault(endpoint, fault.times(1 + random.below(3) as u32))
                    .unwrap();
            }
            _ => {}
        }
    }
    emulator.clear_faults();
}

/// Counts requests with the same key that were in flight at the same time.
fn overlaps(log: &[LogEntry], key: impl Fn(&LogEntry) -> Option<String>) -> usize {
    let mut end_of_last: HashMap<String, u64> = HashMap::new();
    let mut overlaps = 0;
    for entry in log {
        let Some(key) = key(entry) else { continue };
        // A fault may end a request for the client earlier than in the emulator's log.
        let ends = if entry.fault.is_some() {
            entry.at_ms
        } else {
            entry.at_ms + entry.took_ms.unwrap_or(0)
        };
        let last = end_of_last.entry(key).or_insert(0);
        if entry.at_ms < *last {
            overlaps += 1;
        }
        *last = (*last).max(ends);
    }
    overlaps
}

#[test]
fn b02_b05_b07_b09_b15_stress() {
    let seconds = std::env::var("LAYERFI_STRESS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    let emulator = Emulator::builder()
        .rate_limit(None)
        .access_token_lifetime(LIFETIME)
        .business_token_lifetime(LIFETIME)
        .start_blocking()
        .unwrap();
    let clock = TestClock::new();
    let client = client_builder(&emulator)
        .test_clock(clock.clone())
        .max_attempts(MAX_ATTEMPTS)
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let run = Arc::new(Run {
        client,
        clock,
        stop: AtomicBool::new(false),
        served: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        cancelled: AtomicU64::new(0),
        jumps: AtomicU64::new(0),
        set_back: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..TASKS as u64)
        .map(|number| runtime.spawn(task(Arc::clone(&run), number)))
        .collect();
    let threads: Vec<_> = (0..THREADS as u64)
        .map(|number| {
            let run = Arc::clone(&run);
            std::thread::spawn(move || thread(&run, number))
        })
        .collect();

    let began = Instant::now();
    disrupt(&run, &emulator, Duration::from_secs(seconds));
    run.stop.store(true, Ordering::Relaxed);

    // Every call ends within its own timeout.
    runtime.block_on(async {
        let all = futures_util::future::join_all(tasks);
        let results = tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .expect("tasks did not end within 60 s");
        for result in results {
            result.expect("a task panicked");
        }
        // Background tasks end by themselves: no task is leaked.
        let deadline = Instant::now() + Duration::from_secs(30);
        while runtime.metrics().num_alive_tasks() > 2 * BUSINESSES + 8 {
            assert!(
                Instant::now() < deadline,
                "{} background tasks did not end",
                runtime.metrics().num_alive_tasks()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    for thread in threads {
        assert!(thread.join().is_ok(), "a thread panicked");
    }

    let stats = run.client.stats();
    let elapsed = began.elapsed().as_secs_f64() * f64::from(SPEED);
    let failures: u64 = stats.failures.iter().map(|(_, count)| count).sum();
    println!(
        "{} served, {} failed, {} cancelled, {} clock jumps, {elapsed:.0} s of token time\n{stats:?}",
        run.served.load(Ordering::Relaxed),
        run.failed.load(Ordering::Relaxed),
        run.cancelled.load(Ordering::Relaxed),
        run.jumps.load(Ordering::Relaxed),
    );

    // At most one request for the access token and one per business at a time.
    let log = emulator.log();
    let tokens =
        |entry: &LogEntry| (entry.endpoint == Endpoint::Token).then(|| "access".to_owned());
    assert_eq!(
        overlaps(&log, tokens),
        0,
        "two token requests were in flight at the same time"
    );
    let mints = |entry: &LogEntry| {
        (entry.endpoint == Endpoint::AuthToken)
            .then(|| entry.business_id.clone())
            .flatten()
    };
    assert_eq!(
        overlaps(&log, mints),
        0,
        "two mints of one business were in flight at the same time"
    );

    // The policy limits the number of requests: by expiry, by rejected tokens (five and
    // one per ten seconds), by clock jumps (a request and its refresh), and by failures.
    let by_age = elapsed / (LIFETIME.as_secs_f64() * 0.75);
    let rejections = 5.0 + elapsed / 10.0;
    let jumps = 2.0 * run.jumps.load(Ordering::Relaxed) as f64;
    let flights = 2.0 + by_age + rejections + jumps + failures as f64;
    let bound = flights + stats.retries as f64;
    assert!(
        (stats.token_requests as f64) <= bound,
        "{} token requests, {bound:.0} allowed",
        stats.token_requests
    );
    assert!(
        run.served.load(Ordering::Relaxed) > 1_000,
        "too little happened: at most 1,000 tokens were served"
    );
}
