//! Measures the memory that 100,000 cached business tokens use.

#![allow(unsafe_code)] // counting allocator

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use layerfi_auth::{BatchOptions, BusinessId, Client, Environment, SessionDuration};
use layerfi_auth_bench::{print, row};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};

struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller meets the requirements of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller meets the requirements of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    const TOKENS: usize = 100_000;
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::builder()
            .environment(Environment::Custom)
            .api_url(emulator.url())
            .auth_url(emulator.token_url())
            .scope(emulator.scope())
            .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
            .allow_http_loopback(true)
            .business_token_capacity(TOKENS)
            .build()
            .unwrap();
        let businesses = |from: usize, to: usize| {
            (from..to).map(|number| -> BusinessId {
                format!("00000000-0000-4000-8000-{number:012}")
                    .parse()
                    .unwrap()
            })
        };
        // Allocate connections, pools and the runtime's tables first.
        let options =
            BatchOptions::default().session_duration(SessionDuration::from_secs(86_400).unwrap());
        let first = client.business_tokens_with(businesses(0, 1_000), options);
        assert_eq!(
            first
                .filter(|t| std::future::ready(t.is_ok()))
                .count()
                .await,
            1_000
        );
        emulator.clear_log();
        let before = IN_USE.load(Ordering::Relaxed);
        let mut letters = 0;
        for from in (1_000..TOKENS).step_by(1_000) {
            let mut tokens = client.business_tokens_with(businesses(from, from + 1_000), options);
            while let Some(token) = tokens.next().await {
                letters += token.unwrap().secret().len();
            }
            emulator.clear_log();
        }
        let taken = IN_USE.load(Ordering::Relaxed) - before;
        let kept = client.stats().business_tokens;
        let each = (taken - letters) as f64 / (TOKENS - 1_000) as f64;
        print(
            "100,000 cached business tokens",
            &[
                row("in the cache", kept as f64, ""),
                row(
                    "letters of a token",
                    letters as f64 / (TOKENS - 1_000) as f64,
                    "B",
                ),
                row("everything else per token", each, "B").target("<= 1,536 B"),
            ],
        );
    });
}
