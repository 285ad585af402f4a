//! The Rust program of the soak test: tasks and threads that make calls all the
//! time, and clients that are created and dropped. The settings are in `LAYER_*`
//! variables; the arguments are timeouts in milliseconds (call, attempt, connect)
//! and the number of businesses. `tests/soak/soak.c` and `soak.py` are the programs
//! in the other languages.
//!
//! Protocol: the program prints one line when it is idle. The first line on
//! standard input starts the calls; the program prints `{}` when all its threads run.
//! Each line `count` makes it print how many calls failed since the last one. The next
//! line makes it recover, stop and print its results. It then waits for a last line, so
//! that its remaining resources can be sampled. It exits at any time if standard input
//! is closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use layerfi_auth::{BusinessId, Client, ClientBuilder, Error, ErrorKind, Stats, blocking};
use layerfi_auth_tests::{Random, businesses, multi_thread_runtime};
use serde_json::{Value, json};

const TASKS: u64 = 24;
const THREADS: u64 = 8;
/// The client reads the kernel's coarse clock, which lags by up to one tick:
/// 10 ms with the slowest tick, 100 Hz.
const CLOCK_TICK: Duration = Duration::from_millis(10);
/// The longest back-off after failures is 5 s; the rest is for a busy machine.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

struct Run {
    timeouts: [Duration; 3],
    businesses: Vec<BusinessId>,
    stop: AtomicBool,
    served: AtomicU64,
    failed: Mutex<BTreeMap<&'static str, u64>>,
    slowest_ms: AtomicU64,
    max_expired_us: AtomicU64,
    short_lived: AtomicU64,
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
            max_expired_us: AtomicU64::new(0),
            short_lived: AtomicU64::new(0),
        }
    }

    /// Without free file descriptors this can fail: it reads the CA file.
    fn client(&self) -> Result<Client, Error> {
        let [timeout, attempt, connect] = self.timeouts;
        ClientBuilder::from_env()
            .unwrap()
            .no_proxy()
            .timeout(timeout)
            .attempt_timeout(attempt)
            .connect_timeout(connect)
            .build()
    }

    fn is_running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Records the outcome of a call. A token must have been valid when it was
    /// requested, and an error must have a cause outside the client.
    fn record(&self, asked_at: (Instant, SystemTime), outcome: Result<Option<SystemTime>, Error>) {
        let took = asked_at.0.elapsed().as_millis() as u64;
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
        match outcome {
            Ok(Some(expires_at)) => {
                let expired_for = asked_at.1.duration_since(expires_at).unwrap_or_default();
                assert!(
                    expired_for < CLOCK_TICK,
                    "an expired token was served, {expired_for:?} after its expiry"
                );
                let expired_us = expired_for.as_micros() as u64;
                self.max_expired_us.fetch_max(expired_us, Ordering::Relaxed);
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) => {}
            Err(error) => {
                let internal_causes = [
                    ErrorKind::Config,
                    ErrorKind::InvalidArgument,
                    ErrorKind::Credentials,
                    ErrorKind::Internal,
                ];
                assert!(
                    !internal_causes.contains(&error.kind()),
                    "a call failed because of the client itself: {error}"
                );
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
    let mut random = Random(number * 7_919 + 1);
    while run.is_running() {
        let asked_at = now();
        let outcome = match random.below(8) {
            0 => {
                let business = &run.businesses[random.below(run.businesses.len() as u64) as usize];
                let token = client.business_token(business).await;
                token.map(|token| Some(token.expires_at()))
            }
            1 => client.whoami().await.map(|_| None),
            _ => client.token().await.map(|token| Some(token.expires_at())),
        };
        run.record(asked_at, outcome);
        tokio::time::sleep(Duration::from_millis(5 + random.below(50))).await;
    }
}

fn thread(run: &Run, client: &blocking::Client, number: u64) {
    let mut random = Random(number * 104_729 + 1);
    while run.is_running() {
        // A client that is created and dropped, with its connections.
        let short_lived = random.below(64) == 0;
        let asked_at = now();
        let outcome = match random.below(8) {
            _ if short_lived => {
                run.short_lived.fetch_add(1, Ordering::Relaxed);
                run.client()
                    .and_then(|client| blocking::Client::from(client).token())
                    .map(|token| Some(token.expires_at()))
            }
            1 => client.whoami().map(|_| None),
            _ => client.token().map(|token| Some(token.expires_at())),
        };
        run.record(asked_at, outcome);
        std::thread::sleep(Duration::from_millis(5 + random.below(50)));
    }
}

fn stats_as_json(stats: &Stats) -> Value {
    json!({
        "hits": stats.hits,
        "stale_serves": stats.stale_serves,
        "refreshes": stats.refreshes,
        "token_requests": stats.token_requests,
        "mints": stats.mints,
        "retries": stats.retries,
        "invalidations": stats.invalidations,
        "failures": stats.failures.iter().map(|(_, count)| count).sum::<u64>(),
        "shared_adopted": stats.shared_adopted,
        "shared_published": stats.shared_published,
        "shared_alone": stats.shared_alone,
        "shared_rejected": stats.shared_rejected,
        "shared_faults": stats.shared_faults,
    })
}

/// Reads one line; exits if standard input is closed because the parent ended.
fn wait_for_a_line() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(1);
    }
    line.trim_end().to_owned()
}

fn main() {
    let run = Arc::new(Run::from_arguments());
    let client = || run.client().unwrap();
    let (task_client, thread_client) = (client(), blocking::Client::from(client()));
    // The background thread runs until the process ends; it exists from now on.
    thread_client.token().unwrap();
    println!(
        "{}",
        json!({"callers": TASKS + THREADS + run.businesses.len() as u64})
    );

    wait_for_a_line();
    let runtime = multi_thread_runtime(2);
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| runtime.spawn(task(Arc::clone(&run), task_client.clone(), number)))
        .collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (run, client) = (Arc::clone(&run), thread_client.clone());
            std::thread::spawn(move || thread(&run, &client, number))
        })
        .collect();

    println!("{{}}");

    let mut counted = 0;
    while wait_for_a_line() == "count" {
        let failed = run.failed.lock().unwrap().values().sum::<u64>();
        println!("{}", json!({"failed": failed - counted}));
        counted = failed;
    }
    let started = Instant::now();
    for client in [task_client.clone(), thread_client.as_async().clone()] {
        while let Err(error) = runtime.block_on(client.whoami()) {
            assert!(
                started.elapsed() < RECOVERY_LIMIT,
                "no recovery within {RECOVERY_LIMIT:?}: {error}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let recovered_ms = started.elapsed().as_millis() as u64;
    run.stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task)
                .await
                .expect("a task did not end within 60 s")
                .expect("a task panicked");
        }
    });
    for thread in threads {
        assert!(thread.join().is_ok(), "a thread panicked");
    }
    let clients = [task_client.stats(), thread_client.stats()].map(|stats| stats_as_json(&stats));
    drop((task_client, thread_client, runtime));
    println!(
        "{}",
        json!({
            "served": run.served.load(Ordering::Relaxed),
            "max_expired_us": run.max_expired_us.load(Ordering::Relaxed),
            "failed": *run.failed.lock().unwrap(),
            "slowest_ms": run.slowest_ms.load(Ordering::Relaxed),
            "recovered_ms": recovered_ms,
            "short_lived": run.short_lived.load(Ordering::Relaxed),
            "clients": clients,
        })
    );
    wait_for_a_line();
}
