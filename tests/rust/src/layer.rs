//! Emulators and clients for them.

use std::time::{Duration, Instant};

use layerfi_auth::{BusinessId, Client, ClientBuilder, Environment};
use layerfi_auth_emulator::{
    Counters, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};

/// Long enough for a slow machine; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Any business: the emulator's client owns every UUID.
pub const BUSINESS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// An emulator with every setting at its default but the rate limit, which
/// would only get in the way.
pub fn emulator() -> Emulator {
    Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap()
}

/// A builder for a client of this emulator's, untouched by the environment.
pub fn client_builder(layer: &Emulator) -> ClientBuilder {
    let builder = Client::builder()
        .environment(Environment::Custom)
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .api_url(layer.url())
        .auth_url(layer.token_url())
        .scope(layer.scope())
        .allow_http_loopback(true)
        .no_proxy();
    match layer.ca_pem() {
        Some(pem) => builder.ca_pem(pem),
        None => builder,
    }
}

pub fn client(layer: &Emulator) -> Client {
    client_builder(layer).build().unwrap()
}

pub fn business() -> BusinessId {
    BUSINESS.parse().unwrap()
}

/// So many different businesses.
pub fn businesses(count: usize) -> Vec<BusinessId> {
    (0..count)
        .map(|number| {
            format!("00000000-0000-4000-8000-{number:012x}")
                .parse()
                .unwrap()
        })
        .collect()
}

/// Checks the number of requests per endpoint; those not named have none.
#[track_caller]
pub fn assert_requests(layer: &Emulator, expected: &[(Endpoint, u64)]) {
    let counters = layer.counters();
    let got: Vec<_> = Endpoint::ALL
        .into_iter()
        .map(|endpoint| (endpoint, counters.endpoint(endpoint).total))
        .filter(|(_, total)| *total > 0)
        .collect();
    assert_eq!(got, expected);
}

/// Waits, off the caller's runtime, for the emulator's counters to satisfy a
/// condition; panics where they do not in time.
#[track_caller]
pub fn eventually(layer: &Emulator, enough: impl Fn(&Counters) -> bool) {
    let started = Instant::now();
    assert!(
        layer.wait_until(enough, PATIENCE),
        "waited for {:?} in vain: {:?}",
        started.elapsed(),
        layer.counters()
    );
}

pub fn multi_thread_runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap()
}
