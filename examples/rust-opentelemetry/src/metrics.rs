//! Metrics of a client for OpenTelemetry. Copy this file into your program. Names, units and
//! kinds are those of `docs/metrics.md`, so its dashboard and alerts fit.

use std::time::{SystemTime, UNIX_EPOCH};

use layerfi_auth::{Client, ErrorKind, SharedCacheState, Stats};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

type Counter = (&'static str, &'static str, &'static str, fn(&Stats) -> u64);

const COUNTERS: [Counter; 15] = [
    (
        "layerfi.auth.cache.hits",
        "{call}",
        "Calls that returned a cached token at once.",
        |stats| stats.hits,
    ),
    (
        "layerfi.auth.cache.stale_hits",
        "{call}",
        "Hits while a refresh was due, running or failing.",
        |stats| stats.stale_serves,
    ),
    (
        "layerfi.auth.cache.misses",
        "{fetch}",
        "Fetches started because there was no valid token.",
        |stats| stats.misses,
    ),
    (
        "layerfi.auth.cache.waits",
        "{call}",
        "Calls that waited for a fetch, their own or another call's.",
        |stats| stats.waits,
    ),
    (
        "layerfi.auth.cache.refreshes",
        "{fetch}",
        "Fetches started in the background before a token expired.",
        |stats| stats.refreshes,
    ),
    (
        "layerfi.auth.token.requests",
        "{request}",
        "Requests sent to the token endpoint.",
        |stats| stats.token_requests,
    ),
    (
        "layerfi.auth.business_token.requests",
        "{request}",
        "Requests sent to mint business tokens.",
        |stats| stats.mints,
    ),
    (
        "layerfi.auth.retries",
        "{request}",
        "Requests that were sent again after a failure.",
        |stats| stats.retries,
    ),
    (
        "layerfi.auth.invalidations",
        "{token}",
        "Tokens that were invalidated because a server refused them.",
        |stats| stats.invalidations,
    ),
    (
        "layerfi.auth.shared_cache.adopted",
        "{token}",
        "Tokens that came from the shared cache.",
        |stats| stats.shared_adopted,
    ),
    (
        "layerfi.auth.shared_cache.published",
        "{token}",
        "Tokens that this process stored in the shared cache.",
        |stats| stats.shared_published,
    ),
    (
        "layerfi.auth.shared_cache.waits",
        "{fetch}",
        "Fetches that waited for another process.",
        |stats| stats.shared_waits,
    ),
    (
        "layerfi.auth.shared_cache.alone",
        "{request}",
        "Requests sent alone, because the shared cache failed or no process had a result.",
        |stats| stats.shared_alone,
    ),
    (
        "layerfi.auth.shared_cache.rejected",
        "{entry}",
        "Entries of the shared cache that were not accepted.",
        |stats| stats.shared_rejected,
    ),
    (
        "layerfi.auth.shared_cache.faults",
        "{operation}",
        "Failed operations of the shared cache.",
        |stats| stats.shared_faults,
    ),
];

/// Exports the statistics of a client. They are read when the meter's reader collects values.
pub fn instrument(meter: &Meter, client: &Client) {
    for (name, unit, help, value) in COUNTERS {
        let client = client.clone();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| observer.observe(value(&client.stats()), &[]))
            .build();
    }
    let failing = client.clone();
    meter
        .u64_observable_counter("layerfi.auth.failures")
        .with_unit("{fetch}")
        .with_description("Fetches that failed after all retries, by kind of error.")
        .with_callback(move |observer| {
            let failures = failing.stats().failures;
            // Kinds that did not occur are 0, because Prometheus sees no increase in a new
            // series.
            for kind in ErrorKind::ALL {
                let count = failures.iter().find(|(one, _)| *one == kind);
                let attributes = [KeyValue::new("error.type", kind.as_str())];
                observer.observe(count.map_or(0, |(_, count)| *count), &attributes);
            }
        })
        .build();
    let caching = client.clone();
    meter
        .i64_observable_up_down_counter("layerfi.auth.cache.business_tokens")
        .with_unit("{token}")
        .with_description("Business tokens in the cache.")
        .with_callback(move |observer| {
            observer.observe(caching.stats().business_tokens as i64, &[]);
        })
        .build();
    let sharing = client.clone();
    meter
        .u64_observable_gauge("layerfi.auth.shared_cache.up")
        .with_description(
            "1 if the shared cache is used, 0 if it failed; no value without a shared cache.",
        )
        .with_callback(move |observer| match sharing.stats().shared_cache {
            SharedCacheState::Up => observer.observe(1, &[]),
            SharedCacheState::Down => observer.observe(0, &[]),
            _ => {}
        })
        .build();
    let expiring = client.clone();
    meter
        .f64_observable_gauge("layerfi.auth.token.expiry_timestamp")
        .with_unit("s")
        .with_description("When the current access token expires, in seconds since 1970-01-01 UTC.")
        .with_callback(move |observer| {
            let expiry = expiring.stats().expires_at;
            if let Some(since) = expiry.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
                observer.observe(since.as_secs_f64(), &[]);
            }
        })
        .build();
    let remaining = client.clone();
    meter
        .f64_observable_gauge("layerfi.auth.token.remaining")
        .with_unit("s")
        .with_description("Time until the current access token expires; 0 if it has expired.")
        .with_callback(move |observer| {
            if let Some(expiry) = remaining.stats().expires_at {
                let left = expiry.duration_since(SystemTime::now()).unwrap_or_default();
                observer.observe(left.as_secs_f64(), &[]);
            }
        })
        .build();
}
