//! Measures times: `measure PART`. Prints one line of JSON per figure: its name and one value
//! per round. All figures of a part are measured in turns, so that a slow second of the
//! machine slows all of them. `scripts/bench` runs this and compares the figures.
//!
//! The client's settings come from the environment, as `operations serve` prints them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerfi_auth::{
    AccessToken, BusinessId, BusinessTokenOptions, Client, ClientBuilder, SessionDuration,
    TestClock,
};
use layerfi_auth_bench::floors::{self, Bare, Target};
use layerfi_auth_bench::throughput;
use layerfi_auth_emulator::DEMO_BUSINESS_ID;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;

const HIT_ROUNDS: u32 = 20;
const HIT_CALLS: u32 = 200_000;
const WIRE_ROUNDS: u32 = 12;
const WIRE_CALLS: u32 = 200;

/// The values of each figure, one per round.
#[derive(Default)]
struct Figures(BTreeMap<&'static str, Vec<f64>>);

impl Figures {
    fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn print(&self) {
        for (name, rounds) in &self.0 {
            println!("{{\"name\": \"{name}\", \"rounds\": {rounds:?}}}");
        }
    }
}

/// Nanoseconds per call.
fn nanos(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..HIT_CALLS {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(HIT_CALLS)
}

/// The median microseconds of a call: one call that the system interrupted does not count.
async fn micros<F: Future>(calls: u32, mut call: impl FnMut() -> F) -> f64 {
    let mut times = Vec::new();
    for _ in 0..calls {
        let start = Instant::now();
        black_box(call().await);
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    layerfi_auth_bench::median(times)
}

fn hits() {
    let client = Client::from_env().unwrap();
    let blocking = layerfi_auth::blocking::Client::from(client.clone());
    let business: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
    let options = BusinessTokenOptions::default();
    blocking.token().unwrap();
    // The business token is one of 1,001.
    for number in 0..1_000 {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        blocking.business_token(&id.parse().unwrap()).unwrap();
    }
    blocking.business_token(&business).unwrap();
    let mut reader = client.reader();
    let slot = arc_swap::ArcSwapOption::from(Some(Arc::new(1_u64)));
    let mut cache = arc_swap::Cache::new(&slot);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let clock = || clock_gettime(ClockId::MonotonicCoarse);
    let text = blocking.token().unwrap().authorization().clone();
    let mut header = vec![0; text.len()];

    let mut figures = Figures::default();
    for _ in 0..HIT_ROUNDS {
        figures.add(
            "floor-guard",
            nanos(|| {
                // Apart: a pair would go through memory, which costs more than both.
                black_box(clock());
                black_box(slot.load().as_deref());
            }),
        );
        figures.add(
            "floor-guard-copy",
            nanos(|| {
                black_box(clock());
                black_box(slot.load().as_deref());
                header.copy_from_slice(black_box(text.as_bytes()));
                black_box(&mut header);
            }),
        );
        figures.add(
            "hit-borrowed",
            nanos(|| {
                black_box(
                    client
                        .borrow_token()
                        .as_deref()
                        .map(AccessToken::authorization),
                );
            }),
        );
        figures.add(
            "floor-clone",
            nanos(|| {
                black_box(clock());
                black_box(slot.load_full());
            }),
        );
        figures.add(
            "hit-owned",
            nanos(|| {
                black_box(client.try_token().ok());
            }),
        );
        figures.add(
            "hit-awaited",
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..HIT_CALLS {
                    black_box(client.token().await.unwrap());
                }
                start.elapsed().as_nanos() as f64 / f64::from(HIT_CALLS)
            }),
        );
        figures.add(
            "hit-blocking",
            nanos(|| {
                black_box(blocking.token().unwrap());
            }),
        );
        figures.add(
            "floor-cache",
            nanos(|| {
                black_box(clock());
                black_box(cache.load());
            }),
        );
        figures.add(
            "hit-reader",
            nanos(|| {
                black_box(reader.borrow_token().map(AccessToken::authorization));
            }),
        );
        figures.add(
            "hit-business-borrowed",
            nanos(|| {
                black_box(client.borrow_business_token(&business, options).is_some());
            }),
        );
        figures.add(
            "hit-business",
            nanos(|| {
                black_box(client.cached_business_token(&business, options));
            }),
        );
    }
    figures.print();
}

/// How many times the calls of one thread two threads make.
fn threads() {
    let client = Client::from_env().unwrap();
    layerfi_auth::blocking::Client::from(client.clone())
        .token()
        .unwrap();
    let mut figures = Figures::default();
    let clock = |threads| {
        throughput(threads, || {
            || {
                black_box(clock_gettime(ClockId::MonotonicCoarse));
            }
        })
    };
    let borrowed = |threads| {
        throughput(threads, || {
            || {
                black_box(client.borrow_token().is_some());
            }
        })
    };
    let reading = |threads| {
        throughput(threads, || {
            let mut reader = client.reader();
            move || {
                black_box(reader.borrow_token().is_some());
            }
        })
    };
    for _ in 0..3 {
        figures.add("threads-clock", clock(2) / clock(1));
        figures.add("threads-borrowed", borrowed(2) / borrowed(1));
        figures.add("threads-reader", reading(2) / reading(1));
    }
    figures.print();
}

/// Requests over open connections, in a task of a multi-threaded runtime, as in a server.
fn wire() {
    let clock = TestClock::new();
    let build = || {
        ClientBuilder::from_env()
            .unwrap()
            .test_clock(clock.clone())
            .build()
            .unwrap()
    };
    let (client, bare) = (build(), Bare::new(&Target::from_env()));
    let blocking = layerfi_auth::blocking::Client::from(build());
    let business: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let step = Duration::from_secs(4_000);
    let mut figures = Figures::default();
    for _ in 0..WIRE_ROUNDS {
        figures = runtime.block_on(async {
            let (client, bare, clock) = (client.clone(), bare.clone(), clock.clone());
            let business = business.clone();
            let task = tokio::spawn(async move {
                let token = client.token().await.unwrap().authorization().clone();
                let post = micros(WIRE_CALLS, || bare.token()).await;
                figures.add("floor-token", post);
                let ours = micros(WIRE_CALLS, || {
                    clock.advance(step);
                    client.token()
                })
                .await;
                figures.add("token", ours);
                let post = micros(WIRE_CALLS, || bare.mint(DEMO_BUSINESS_ID, &token)).await;
                figures.add("floor-mint", post);
                let session = SessionDuration::default();
                // The access token is fresh, and stays so: the clock stands still.
                client.token().await.unwrap();
                let ours = micros(WIRE_CALLS, || {
                    client.mint_business_token(&business, session)
                })
                .await;
                figures.add("mint", ours);
                figures
            });
            task.await.unwrap()
        });
        let mut times = Vec::new();
        for _ in 0..WIRE_CALLS {
            clock.advance(step);
            let start = Instant::now();
            black_box(blocking.token().unwrap());
            times.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
        figures.add("token-blocking", layerfi_auth_bench::median(times));
    }
    figures.print();
}

/// The first token of a new client, in a process that has had others.
fn new_client() {
    let target = Target::from_env();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut figures = Figures::default();
    runtime.block_on(async {
        for round in 0..=WIRE_ROUNDS {
            let raw = micros(WIRE_CALLS / 10, || floors::new_client(&target)).await;
            let bare = micros(WIRE_CALLS / 10, || async {
                Bare::new(&target).token().await;
            })
            .await;
            let ours = micros(WIRE_CALLS / 10, || async {
                Client::from_env().unwrap().token().await.unwrap()
            })
            .await;
            // The first round reads the system's roots.
            if round > 0 {
                figures.add("floor-new-client", raw);
                figures.add("new-client-reqwest", bare);
                figures.add("new-client", ours);
            }
        }
    });
    figures.print();
}

/// The process's very first token, from the start of `main`.
fn very_first(start: Instant, ours: bool) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if ours {
            black_box(Client::from_env().unwrap().token().await.unwrap());
        } else {
            let target = Target::from_env();
            let tls = target.is_tls().then(|| Arc::new(floors::tls(&target)));
            floors::raw_token(&target, tls.as_ref()).await;
        }
    });
    let millis = start.elapsed().as_nanos() as f64 / 1e6;
    let mut figures = Figures::default();
    figures.add(if ours { "first" } else { "floor-first" }, millis);
    figures.print();
}

fn main() {
    let start = Instant::now();
    match std::env::args().nth(1).as_deref() {
        Some("hits") => hits(),
        Some("threads") => threads(),
        Some("wire") => wire(),
        Some("new-client") => new_client(),
        Some("first") => very_first(start, true),
        Some("floor-first") => very_first(start, false),
        other => panic!("there is no part {other:?}"),
    }
}
