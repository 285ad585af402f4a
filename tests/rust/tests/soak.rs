//! Long life in a bad world: the emulator is a process of its own that
//! misbehaves, is killed and started again, and freezes as behind a cut cable,
//! while clients of every kind work on and others come and go. At the end no
//! dead token was served, the requests are bounded, all clients have healed by
//! themselves, and nothing has grown. `make soak` runs it for ten minutes,
//! `cargo test` for a few seconds; `LAYERFI_SOAK_SECONDS` says otherwise.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use layerfi_auth::{BusinessId, Client, Environment, Stats, blocking};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET};
use layerfi_auth_tests::{businesses, control, multi_thread_runtime};
use serde_json::{Value, json};

const TASKS: u64 = 24;
const THREADS: u64 = 8;
const BUSINESSES: usize = 12;
/// Short, so that a run has many.
const LIFE: Duration = Duration::from_secs(8);
const TIMEOUT: Duration = Duration::from_secs(3);
/// The client's clock is the kernel's coarse one, which is behind by up to a
/// tick: 10 ms at 100 Hz, the slowest kernel there is.
const CLOCK_TICK: Duration = Duration::from_millis(10);

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The emulator's process, always on the same ports.
struct Layer {
    process: Child,
    port: u16,
    control: SocketAddr,
}

impl Layer {
    fn start(port: u16, control: u16) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_layer_process"))
            .args([port.to_string(), control.to_string()])
            .arg(LIFE.as_secs().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (port, control) = line
            .trim()
            .split_once(' ')
            .unwrap_or_else(|| panic!("the emulator did not start"));
        Self {
            process,
            port: port.parse().unwrap(),
            control: SocketAddr::from(([127, 0, 0, 1], control.parse().unwrap())),
        }
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: it is this process's own child, not waited for yet.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0);
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn order(&self, method: &str, path: &str, body: &Value) {
        control(self.control, method, path, body);
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Run {
    url: String,
    businesses: Vec<BusinessId>,
    stop: AtomicBool,
    served: AtomicU64,
    failed: AtomicU64,
    slowest_ms: AtomicU64,
    dead_us: AtomicU64,
}

impl Run {
    fn client(&self) -> Client {
        Client::builder()
            .environment(Environment::Custom)
            .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
            .api_url(&self.url)
            .auth_url(format!("{}/oauth2/token", self.url))
            .scope("https://sandbox.layerfi.com/sandbox")
            .allow_http_loopback(true)
            .no_proxy()
            .timeout(TIMEOUT)
            .attempt_timeout(Duration::from_millis(700))
            .connect_timeout(Duration::from_millis(500))
            .build()
            .unwrap()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Notes how a call ended. What it gave must have been alive when asked for.
    fn note(&self, asked_at: (Instant, SystemTime), expires_at: Option<SystemTime>) {
        match expires_at {
            Some(expires_at) => {
                let dead_for = asked_at.1.duration_since(expires_at).unwrap_or_default();
                assert!(
                    dead_for < CLOCK_TICK,
                    "a token was served that had been dead for {dead_for:?}"
                );
                let dead_us = dead_for.as_micros() as u64;
                self.dead_us.fetch_max(dead_us, Ordering::Relaxed);
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            None => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
        let took = asked_at.0.elapsed().as_millis() as u64;
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
    }
}

fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

async fn task(run: Arc<Run>, client: Client, number: u64) {
    let mut dice = Dice(number * 7_919 + 1);
    while run.goes_on() {
        let asked_at = now();
        match dice.roll(8) {
            0 => {
                let business = &run.businesses[dice.roll(BUSINESSES as u64) as usize];
                let token = client.business_token(business).await;
                run.note(asked_at, token.ok().map(|token| token.expires_at()));
            }
            1 => drop(client.whoami().await),
            _ => {
                let token = client.token().await;
                run.note(asked_at, token.ok().map(|token| token.expires_at()));
            }
        }
        tokio::time::sleep(Duration::from_millis(5 + dice.roll(50))).await;
    }
}

fn thread(run: &Run, client: &blocking::Client, number: u64) {
    let mut dice = Dice(number * 104_729 + 1);
    while run.goes_on() {
        let asked_at = now();
        match dice.roll(8) {
            // A client that comes and goes, with all that it opens.
            0 if dice.roll(8) == 0 => {
                let passing = blocking::Client::from(run.client());
                let token = passing.token();
                run.note(asked_at, token.ok().map(|token| token.expires_at()));
            }
            1 => drop(client.whoami()),
            _ => {
                let token = client.token();
                run.note(asked_at, token.ok().map(|token| token.expires_at()));
            }
        }
        std::thread::sleep(Duration::from_millis(5 + dice.roll(50)));
    }
}

/// One fault at random, as the control API takes it.
fn fault(dice: &mut Dice) -> Value {
    let endpoint = ["token", "auth_token", "whoami"][dice.roll(3) as usize];
    let mut fault = match dice.roll(9) {
        0 => json!({"status": 503}),
        1 => json!({"status": 429, "headers": {"retry-after": "0"}}),
        2 => json!({"status": 401, "body": {"errors": []}}),
        3 => json!({"body": "<html>"}),
        4 => json!({"wire": {"reset": "before"}}),
        5 => json!({"wire": {"close": "mid_body"}}),
        6 => json!({"wire": {"stall": "mid_head"}}),
        7 => json!({"wire": {"endless": "body"}}),
        _ => json!({"delay_ms": dice.roll(900)}),
    };
    fault["endpoint"] = json!(endpoint);
    fault["times"] = json!(1 + dice.roll(4));
    fault
}

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    kib: u64,
    files: usize,
    threads: usize,
}

fn sample() -> Sample {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    Sample {
        kib: kib.parse().unwrap(),
        files: count("/proc/self/fd"),
        threads: count("/proc/self/task"),
    }
}

/// The largest of a number of samples, each figure on its own.
fn most(samples: &[Sample]) -> Sample {
    let most = |figure: fn(&Sample) -> u64| samples.iter().map(figure).max().unwrap();
    Sample {
        kib: most(|sample| sample.kib),
        files: most(|sample| sample.files as u64) as usize,
        threads: most(|sample| sample.threads as u64) as usize,
    }
}

/// The world, for so long. Returns a sample for each quarter of a second, and
/// how often the emulator was killed and frozen.
fn trouble(layer: &mut Layer, for_so_long: Duration) -> (Vec<Sample>, u32, u32) {
    let mut dice = Dice(20_261_124);
    let (mut samples, mut kills, mut freezes) = (Vec::new(), 0, 0);
    let started = Instant::now();
    let pause = |samples: &mut Vec<Sample>, so_long: Duration| {
        let until = Instant::now() + so_long;
        while Instant::now() < until {
            samples.push(sample());
            std::thread::sleep(Duration::from_millis(250));
        }
    };
    while started.elapsed() < for_so_long {
        pause(&mut samples, Duration::from_millis(250));
        match dice.roll(24) {
            0 => {
                kills += 1;
                layer.kill();
                pause(&mut samples, Duration::from_millis(dice.roll(2_000)));
                *layer = Layer::start(layer.port, layer.control.port());
            }
            1 => {
                freezes += 1;
                layer.signal(libc::SIGSTOP);
                pause(&mut samples, Duration::from_millis(dice.roll(2_000)));
                layer.signal(libc::SIGCONT);
            }
            2 => layer.order("POST", "/revoke", &json!({"all": "access"})),
            3..=12 => layer.order("POST", "/faults", &fault(&mut dice)),
            _ => {}
        }
    }
    layer.order("DELETE", "/faults", &Value::Null);
    (samples, kills, freezes)
}

/// The policy's bound on token requests: by age, by refusals (five and one in
/// ten seconds), what failed, and what was sent again.
fn assert_bounded(stats: &Stats, elapsed: f64) {
    let failures: u64 = stats.failures.iter().map(|(_, count)| count).sum();
    let by_age = elapsed / (LIFE.as_secs_f64() * 0.75);
    let refusals = 5.0 + elapsed / 10.0;
    let bound = 2.0 + by_age + refusals + (failures + stats.retries) as f64;
    assert!(
        stats.token_requests as f64 <= bound,
        "{} token requests, {bound:.0} allowed",
        stats.token_requests
    );
    // A failing flight is slow to be repeated: they are bounded by time as well.
    let every_second = 2.0 * (BUSINESSES + 1) as f64 * (elapsed + 5.0);
    assert!(
        (failures as f64) < every_second,
        "{failures} failed flights"
    );
}

#[test]
fn b05_b06_b08_b14_soak() {
    let seconds = std::env::var("LAYERFI_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    let mut layer = Layer::start(0, 0);
    let run = Arc::new(Run {
        url: format!("http://127.0.0.1:{}", layer.port),
        businesses: businesses(BUSINESSES),
        stop: AtomicBool::new(false),
        served: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        slowest_ms: AtomicU64::new(0),
        dead_us: AtomicU64::new(0),
    });
    let (of_tasks, of_threads) = (run.client(), blocking::Client::from(run.client()));
    // The background thread stays for the process's life; it is there from now on.
    of_threads.token().unwrap();
    let at_rest = sample();
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

    let started = Instant::now();
    let (samples, kills, freezes) = trouble(&mut layer, Duration::from_secs(seconds));

    // Each heals by itself: the longest quiet time after failures is 5 s.
    let healed_by = Instant::now() + Duration::from_secs(10);
    for client in [of_tasks.clone(), of_threads.as_async().clone()] {
        while let Err(error) = runtime.block_on(client.whoami()) {
            assert!(Instant::now() < healed_by, "not healed: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
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
    let elapsed = started.elapsed().as_secs_f64();
    let served = run.served.load(Ordering::Relaxed);
    let slowest = run.slowest_ms.load(Ordering::Relaxed);

    // The first part fills caches, pools and the allocator's arenas.
    let (early, late) = samples.split_at(samples.len() / 2);
    let (early, late) = (most(early), most(late));
    println!(
        "{elapsed:.0} s, {kills} kills, {freezes} freezes: {served} tokens served, the deadest \
         for {} us, {} calls failed, the slowest took {slowest} ms\nfirst half at the most {early:?}\nsecond half \
         at the most {late:?}\n{:?}\n{:?}",
        run.dead_us.load(Ordering::Relaxed),
        run.failed.load(Ordering::Relaxed),
        of_tasks.stats(),
        of_threads.stats(),
    );
    assert!(served > 50 * seconds, "hardly anything happened");
    for stats in [of_tasks.stats(), of_threads.stats()] {
        assert_bounded(&stats, elapsed);
    }
    // A call ends within its own timeout; the machine has some time to wake it.
    let most_ms = TIMEOUT.as_millis() as u64 + 2_000;
    assert!(slowest <= most_ms, "a call took {slowest} ms");
    assert!(late.threads <= early.threads, "threads grow");
    assert!(late.kib <= early.kib + 8 * 1024, "memory grows");
    // Each of those who call has one connection at the most under way, and a
    // few may be idle.
    let callers = (TASKS + THREADS) as usize + BUSINESSES;
    assert!(
        most(&samples).files <= at_rest.files + 3 * callers,
        "file descriptors are not bounded"
    );
    // And when all is over nothing of it is left, connections included.
    drop((of_tasks, of_threads, runtime));
    let closed_by = Instant::now() + Duration::from_secs(10);
    loop {
        let left = sample();
        if left.files <= at_rest.files && left.threads <= at_rest.threads {
            break;
        }
        assert!(Instant::now() < closed_by, "{left:?}, before {at_rest:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
