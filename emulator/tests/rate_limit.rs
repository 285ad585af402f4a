//! Rate limit of the API, with a stopped clock.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::time::Duration;

use common::{access_token, request_token, request_token_as, start, whoami};
use layerfi_auth_emulator::{Emulator, Environment};

#[test]
fn sandbox_refuses_request_101_of_a_second() {
    let layer = start(Emulator::builder());
    layer.stop_clock();
    let access = access_token(&layer);
    let reset = (layer.now().as_secs() + 1).to_string();
    for remaining in (0..100).rev() {
        whoami(&layer, &access)
            .expect_status(200)
            .expect_header("x-ratelimit-limit", Some("100"))
            .expect_header("x-ratelimit-remaining", Some(&remaining.to_string()))
            .expect_header("x-ratelimit-reset", Some(&reset));
    }
    whoami(&layer, &access)
        .expect_error(429, "RATE_LIMIT_EXCEEDED")
        .expect_header("retry-after", Some("1"));
    // The token endpoint has no rate limit.
    request_token(&layer).expect_status(200);
    assert_eq!(
        layer.counters().rate_limited,
        1,
        "wrong number of refused requests"
    );
    layer.advance(Duration::from_secs(1));
    whoami(&layer, &access).expect_header("x-ratelimit-remaining", Some("99"));
}

#[test]
fn production_starts_with_100_permits_and_refills_to_500() {
    let layer = start(Emulator::builder().environment(Environment::Production));
    layer.stop_clock();
    let access = access_token(&layer);
    whoami(&layer, &access).expect_header("x-ratelimit-remaining", Some("99"));
    layer.advance(Duration::from_secs(1));
    whoami(&layer, &access).expect_header("x-ratelimit-remaining", Some("499"));
}

#[test]
fn each_client_has_its_own_limit_which_can_be_changed_or_removed() {
    let layer = start(
        Emulator::builder()
            .client("a", "s")
            .client("b", "s")
            .rate_limit(Some(1)),
    );
    layer.stop_clock();
    let token_of = |id| request_token_as(&layer, id, "s").access_token();
    let (a, b) = (token_of("a"), token_of("b"));
    whoami(&layer, &a).expect_status(200);
    whoami(&layer, &a).expect_status(429);
    whoami(&layer, &b).expect_status(200);
    layer.set_rate_limit(None);
    whoami(&layer, &a)
        .expect_status(200)
        .expect_header("x-ratelimit-limit", None);
    layer.reset();
    whoami(&layer, &a).expect_status(200);
    whoami(&layer, &a).expect_status(429);
}
