//! Measures network operations: many callers, refreshes, batches.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use layerfi_auth::{
    BatchOptions, BusinessId, Client, ClientBuilder, Environment, SessionDuration, TestClock,
};
use layerfi_auth_bench::floors::{Bare, Target};
use layerfi_auth_bench::{median, print, row};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault};

fn builder(emulator: &Emulator) -> ClientBuilder {
    let builder = Client::builder()
        .environment(Environment::Custom)
        .api_url(emulator.url())
        .auth_url(emulator.token_url())
        .scope(emulator.scope())
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .allow_http_loopback(true);
    match emulator.ca_pem() {
        Some(pem) => builder.ca_pem(pem),
        None => builder,
    }
}

fn business(number: usize) -> BusinessId {
    format!("00000000-0000-4000-8000-{number:012}")
        .parse()
        .unwrap()
}

/// What the baseline needs to know about the emulator.
fn target(emulator: &Emulator) -> Target {
    Target {
        api_url: emulator.url(),
        token_url: emulator.token_url(),
        client_id: DEFAULT_CLIENT_ID.to_owned(),
        client_secret: DEFAULT_CLIENT_SECRET.to_owned(),
        scope: emulator.scope().to_owned(),
        ca_pem: emulator.ca_pem(),
    }
}

fn herd() -> Vec<layerfi_auth_bench::Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    runtime.block_on(async {
        let client = builder(&emulator).build().unwrap();
        let start = Instant::now();
        let tasks = (0..10_000).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.token().await.unwrap() })
        });
        join_all(tasks).await;
        let took = start.elapsed().as_nanos() as f64 / 1e6;
        vec![
            row("10,000 tasks without a token: all served", took, "ms"),
            row("requests", emulator.count(Endpoint::Token) as f64, "").target("1"),
        ]
    })
}

/// The slowest read while a refresh takes 500 ms.
async fn refresh() -> Vec<layerfi_auth_bench::Row> {
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let clock = TestClock::new();
    let client = builder(&emulator)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let before = client.token().await.unwrap();
    let slow = Fault::delay(Duration::from_millis(500));
    emulator.fault(Endpoint::Token, slow.times(1)).unwrap();
    clock.advance(Duration::from_secs(3_100));
    let (start, mut slowest, mut reads) = (Instant::now(), Duration::ZERO, 0_u64);
    while client.stats().refreshes == 0 || client.token().await.unwrap().secret() == before.secret()
    {
        let read = Instant::now();
        black_box(client.token().await.unwrap());
        slowest = slowest.max(read.elapsed());
        reads += 1;
        tokio::task::yield_now().await;
        assert!(start.elapsed() < Duration::from_secs(20), "no refresh");
    }
    vec![
        row("reads while a refresh took 500 ms", reads as f64, ""),
        row("the slowest read", slowest.as_nanos() as f64 / 1e3, "us").target("< 1,000 us"),
    ]
}

/// Many mints, compared with bare reqwest at the same concurrency.
fn batch(mints: usize) -> Vec<layerfi_auth_bench::Row> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let (mut with_library, mut with_reqwest) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        runtime.block_on(async {
            let client = builder(&emulator).build().unwrap();
            let token = client.token().await.unwrap();
            let bare = Bare::new(&target(&emulator));
            let start = Instant::now();
            futures_util::stream::iter(0..mints)
                .map(|number| {
                    let (bare, token) = (&bare, &token);
                    async move {
                        let business = business(number).to_string();
                        bare.mint(&business, token.authorization()).await;
                    }
                })
                .buffer_unordered(32)
                .collect::<Vec<_>>()
                .await;
            with_reqwest.push(mints as f64 / start.elapsed().as_secs_f64());
            let start = Instant::now();
            let tokens = client
                .business_tokens((0..mints).map(business))
                .collect::<Vec<_>>()
                .await;
            with_library.push(mints as f64 / start.elapsed().as_secs_f64());
            assert!(tokens.iter().all(Result::is_ok));
        });
    }
    let with_reqwest = median(with_reqwest);
    vec![
        row(
            format!("bare reqwest, 32 at once, {mints} mints"),
            with_reqwest,
            "/s",
        ),
        row("business_tokens(), no limit", median(with_library), "/s")
            .over("bare reqwest", with_reqwest)
            .target(">= 0.90 x"),
    ]
}

fn limited(limit: u32, seconds: u32) -> Vec<layerfi_auth_bench::Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = Emulator::builder()
        .rate_limit(Some(limit))
        .start_blocking()
        .unwrap();
    let mints = (limit * seconds) as usize;
    runtime.block_on(async {
        let client = builder(&emulator).build().unwrap();
        let start = Instant::now();
        let options = BatchOptions::default().session_duration(SessionDuration::default());
        let tokens = client.business_tokens_with((0..mints).map(business), options);
        let failed = tokens
            .filter(|result| std::future::ready(result.is_err()))
            .count()
            .await;
        let rate = mints as f64 / start.elapsed().as_secs_f64();
        assert_eq!(failed, 0);
        vec![
            row(format!("{mints} mints at a limit of {limit}/s"), rate, "/s")
                .over("the limit", f64::from(limit)),
            row("429 responses", emulator.counters().rate_limited as f64, "").target("0"),
        ]
    })
}

fn main() {
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    print("Many callers without a token", &herd());
    print("Reads during a refresh", &one.block_on(refresh()));
    // LAYERFI_BENCH_FULL=1 runs 10,000 mints at each limit.
    let full = std::env::var_os("LAYERFI_BENCH_FULL").is_some();
    print("A batch without a rate limit", &batch(10_000));
    print("A batch at Layer's rate limits", &{
        let mut rows = limited(100, if full { 100 } else { 5 });
        rows.extend(limited(500, if full { 20 } else { 5 }));
        rows
    });
}
