//! The Rust client's part in `tests/soak`: tasks and threads that call all the
//! time, and clients that come and go. The environment has `LAYER_*`; the
//! arguments are timeouts in milliseconds (of a call, of an attempt, of
//! connecting) and a number of businesses. tests/hostile/soak.c and soak.py are
//! the same in their languages.
//!
//! It prints a line when it is at rest, begins to work at a line that it is sent,
//! heals and ends at the next, and prints its figures when all of that is over.
//! It stays until one more line comes, so that what is left in it can be looked
//! at, and goes at any time when its standard input ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use layerfi_auth::{BusinessId, Client, ClientBuilder, Error, ErrorKind, Stats, blocking};
use layerfi_auth_tests::{Dice, businesses, multi_thread_runtime};
use serde_json::{Value, json};

const TASKS: u64 = 24;
const THREADS: u64 = 8;
/// The client's clock is the kernel's coarse one, which is behind by up to a
/// tick: 10 ms at 100 Hz, the slowest kernel there is.
const CLOCK_TICK: Duration = Duration::from_millis(10);
/// The longest quiet time after failures is 5 s.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

struct Run {
    timeouts: [Duration; 3],
    businesses: Vec<BusinessId>,
    stop: AtomicBool,
    served: AtomicU64,
    failed: Mutex<BTreeMap<&'static str, u64>>,
    slowest_ms: AtomicU64,
    deadest_us: AtomicU64,
    passed: AtomicU64,
}

impl Run {
    fn from_arguments() -> Self {
        let number = |place| std::env::args().nth(place).unwrap().parse::<u64>().unwrap();
        Self {
            timeouts: [1, 2, 3].map(|place| Duration::from_millis(number(place))),
            businesses: businesses(number(4) as usize),
            stop: AtomicBool::new(false),
            served: AtomicU64::new(0),
            failed: Mutex::default(),
            slowest_ms: AtomicU64::new(0),
            deadest_us: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        }
    }

    fn client(&self) -> Client {
        let [timeout, attempt, connect] = self.timeouts;
        ClientBuilder::from_env()
            .unwrap()
            .no_proxy()
            .timeout(timeout)
            .attempt_timeout(attempt)
            .connect_timeout(connect)
            .build()
            .unwrap()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Notes how a call ended. What it gave must have been alive when asked
    /// for, and what it failed with must be the world's fault.
    fn note(&self, asked_at: (Instant, SystemTime), outcome: Result<Option<SystemTime>, Error>) {
        let took = asked_at.0.elapsed().as_millis() as u64;
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
        match outcome {
            Ok(Some(expires_at)) => {
                let dead_for = asked_at.1.duration_since(expires_at).unwrap_or_default();
                assert!(
                    dead_for < CLOCK_TICK,
                    "a token was served that had been dead for {dead_for:?}"
                );
                let dead_us = dead_for.as_micros() as u64;
                self.deadest_us.fetch_max(dead_us, Ordering::Relaxed);
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) => {}
            Err(error) => {
                let ours = [
                    ErrorKind::Config,
                    ErrorKind::InvalidArgument,
                    ErrorKind::Credentials,
                    ErrorKind::Internal,
                ];
                assert!(!ours.contains(&error.kind()), "{error}");
                let mut failed = self.failed.lock().unwrap();
                *failed.entry(error.kind().as_str()).or_default() += 1;
            }
        }
    }
}

fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

async fn task(run: Arc<Run>, client: Client, number: u64) {
    let mut dice = Dice(number * 7_919 + 1);
    while run.goes_on() {
        let asked_at = now();
        let outcome = match dice.roll(8) {
            0 => {
                let business = &run.businesses[dice.roll(run.businesses.len() as u64) as usize];
                let token = client.business_token(business).await;
                token.map(|token| Some(token.expires_at()))
            }
            1 => client.whoami().await.map(|_| None),
            _ => client.token().await.map(|token| Some(token.expires_at())),
        };
        run.note(asked_at, outcome);
        tokio::time::sleep(Duration::from_millis(5 + dice.roll(50))).await;
    }
}

fn thread(run: &Run, client: &blocking::Client, number: u64) {
    let mut dice = Dice(number * 104_729 + 1);
    while run.goes_on() {
        // A client that comes and goes, with all that it opens.
        let passing = (dice.roll(64) == 0).then(|| {
            run.passed.fetch_add(1, Ordering::Relaxed);
            blocking::Client::from(run.client())
        });
        let asked_at = now();
        let outcome = match (passing, dice.roll(8)) {
            (Some(passing), _) => passing.token().map(|token| Some(token.expires_at())),
            (None, 1) => client.whoami().map(|_| None),
            (None, _) => client.token().map(|token| Some(token.expires_at())),
        };
        run.note(asked_at, outcome);
        std::thread::sleep(Duration::from_millis(5 + dice.roll(50)));
    }
}

fn figures(stats: &Stats) -> Value {
    json!({
        "hits": stats.hits,
        "stale_serves": stats.stale_serves,
        "refreshes": stats.refreshes,
        "token_requests": stats.token_requests,
        "mints": stats.mints,
        "retries": stats.retries,
        "invalidations": stats.invalidations,
        "failures": stats.failures.iter().map(|(_, count)| count).sum::<u64>(),
    })
}

/// Ends the process where there will be none: whoever started it is gone.
fn wait_for_a_line() {
    if std::io::stdin().read_line(&mut String::new()).unwrap() == 0 {
        std::process::exit(1);
    }
}

fn main() {
    let run = Arc::new(Run::from_arguments());
    let (of_tasks, of_threads) = (run.client(), blocking::Client::from(run.client()));
    // The background thread stays for the process's life; it is there from now on.
    of_threads.token().unwrap();
    println!(
        "{}",
        json!({"callers": TASKS + THREADS + run.businesses.len() as u64})
    );

    wait_for_a_line();
    let runtime = multi_thread_runtime(2);
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| runtime.spawn(task(Arc::clone(&run), of_tasks.clone(), number)))
        .collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (run, client) = (Arc::clone(&run), of_threads.clone());
            std::thread::spawn(move || thread(&run, &client, number))
        })
        .collect();

    wait_for_a_line();
    let started = Instant::now();
    for client in [of_tasks.clone(), of_threads.as_async().clone()] {
        while let Err(error) = runtime.block_on(client.whoami()) {
            assert!(started.elapsed() < HEALED_WITHIN, "not healed: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let healed_ms = started.elapsed().as_millis() as u64;
    run.stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(20), task)
                .await
                .expect("a task hangs")
                .expect("a task failed");
        }
    });
    for thread in threads {
        assert!(thread.join().is_ok(), "a thread failed");
    }
    let clients = [of_tasks.stats(), of_threads.stats()].map(|stats| figures(&stats));
    drop((of_tasks, of_threads, runtime));
    println!(
        "{}",
        json!({
            "served": run.served.load(Ordering::Relaxed),
            "deadest_us": run.deadest_us.load(Ordering::Relaxed),
            "failed": *run.failed.lock().unwrap(),
            "slowest_ms": run.slowest_ms.load(Ordering::Relaxed),
            "healed_ms": healed_ms,
            "passed": run.passed.load(Ordering::Relaxed),
            "clients": clients,
        })
    );
    wait_for_a_line();
}
