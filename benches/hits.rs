//! Measures the cost of a cache hit, and whether threads slow each other down.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use layerfi_auth::{BusinessId, Client, Environment, SessionDuration};
use layerfi_auth_bench::{nanos, print, row, throughput};
use layerfi_auth_emulator::Emulator;
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let client = Client::builder()
        .environment(Environment::Custom)
        .api_url(emulator.url())
        .auth_url(emulator.token_url())
        .scope(emulator.scope())
        .credentials(
            layerfi_auth_emulator::DEFAULT_CLIENT_ID,
            layerfi_auth_emulator::DEFAULT_CLIENT_SECRET,
        )
        .allow_http_loopback(true)
        .build()
        .unwrap();
    let blocking = layerfi_auth::blocking::Client::from(client.clone());
    let business: BusinessId = layerfi_auth_emulator::DEMO_BUSINESS_ID.parse().unwrap();
    let session = SessionDuration::default();
    blocking.token().unwrap();
    for number in 0..1_000 {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        blocking.business_token(&id.parse().unwrap()).unwrap();
    }
    blocking.business_token(&business).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();

    // The baselines.
    let atomic = AtomicU64::new(1);
    let load = nanos(|| {
        black_box(atomic.load(Ordering::Relaxed));
    });
    let clock = nanos(|| {
        black_box(clock_gettime(ClockId::MonotonicCoarse));
    });
    let slot = arc_swap::ArcSwapOption::from(Some(Arc::new(1_u64)));
    let guard = nanos(|| {
        black_box(&slot.load());
    });
    let guard_and_clock = nanos(|| {
        let guard = slot.load();
        black_box((&guard, clock_gettime(ClockId::MonotonicCoarse)));
    });
    let mut cache = arc_swap::Cache::new(&slot);
    let cache_and_clock = nanos(|| {
        black_box((cache.load(), clock_gettime(ClockId::MonotonicCoarse)));
    });
    let instant = nanos(|| {
        black_box(std::time::Instant::now());
    });
    print(
        "The machine",
        &[
            row("an atomic load", load, "ns"),
            row("one coarse clock", clock, "ns"),
            row("std::time::Instant::now()", instant, "ns"),
            row("an ArcSwap guard", guard, "ns"),
            row(
                "an ArcSwap guard and one coarse clock",
                guard_and_clock,
                "ns",
            ),
            row(
                "an ArcSwap cache and one coarse clock",
                cache_and_clock,
                "ns",
            ),
        ],
    );

    let borrow = nanos(|| {
        black_box(
            client
                .borrow_token()
                .as_deref()
                .map(layerfi_auth::AccessToken::authorization),
        );
    });
    let mut own = client.reader();
    let reader = nanos(|| {
        black_box(
            own.borrow_token()
                .map(layerfi_auth::AccessToken::authorization),
        );
    });
    let clone = nanos(|| {
        black_box(client.try_token().ok());
    });
    let awaited = runtime.block_on(async {
        let mut best = f64::MAX;
        for _ in 0..7 {
            let start = std::time::Instant::now();
            for _ in 0..1_000_000 {
                black_box(client.token().await.unwrap());
            }
            best = best.min(start.elapsed().as_nanos() as f64 / 1e6);
        }
        best
    });
    let keyed = nanos(|| {
        black_box(client.try_business_token(&business, session).ok());
    });
    let through_blocking = nanos(|| {
        black_box(blocking.token().unwrap());
    });
    let blocking_borrow = nanos(|| {
        black_box(blocking.borrow_token().is_some());
    });
    const GUARD: &str = "guard + clock";
    print(
        "A hit, one thread",
        &[
            row("borrow_token()", borrow, "ns")
                .over(GUARD, guard_and_clock)
                .target("<= 20 ns"),
            row("reader().borrow_token()", reader, "ns")
                .over("cache + clock", cache_and_clock)
                .target("<= 8 ns"),
            row("try_token(), a clone", clone, "ns")
                .over(GUARD, guard_and_clock)
                .target("<= 35 ns"),
            row("token().await, a clone", awaited, "ns").over(GUARD, guard_and_clock),
            row("try_business_token(), one of 1,001", keyed, "ns")
                .over(GUARD, guard_and_clock)
                .target("<= 60 ns"),
            row("blocking token(), a clone", through_blocking, "ns")
                .over("token().await", awaited)
                .target("<= the async one"),
            row("blocking borrow_token()", blocking_borrow, "ns").over("borrow_token()", borrow),
        ],
    );

    let mut rows = Vec::new();
    let mut pair = |what: &str, target, one: f64, two: f64| {
        rows.push(row(format!("{what}, 1 thread"), one / 1e6, "M/s"));
        rows.push(
            row(format!("{what}, 2 threads"), two / 1e6, "M/s")
                .over("1 thread", one / 1e6)
                .target(target),
        );
    };
    let spin = |threads| {
        throughput(threads, || {
            || {
                black_box(clock_gettime(ClockId::MonotonicCoarse));
            }
        })
    };
    pair("baseline: one coarse clock", "", spin(1), spin(2));
    let borrowing = |threads| {
        throughput(threads, || {
            || {
                black_box(client.borrow_token().is_some());
            }
        })
    };
    pair("borrow_token()", ">= 1.9 x", borrowing(1), borrowing(2));
    let reading = |threads| {
        throughput(threads, || {
            let mut reader = client.reader();
            move || {
                black_box(reader.borrow_token().is_some());
            }
        })
    };
    pair("reader().borrow_token()", "", reading(1), reading(2));
    let cloning = |threads| {
        throughput(threads, || {
            || {
                black_box(client.try_token().ok());
            }
        })
    };
    pair("try_token(), a clone", "", cloning(1), cloning(2));
    let keyed = |threads| {
        throughput(threads, || {
            || {
                black_box(client.try_business_token(&business, session).ok());
            }
        })
    };
    pair("try_business_token(), the same key", "", keyed(1), keyed(2));
    print("Threads", &rows);
}
