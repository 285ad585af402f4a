//! The rate limit, on a stopped clock.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::time::Duration;

use common::{ask, ask_as, get, start, token, whoami};
use layerfi_auth_emulator::{Emulator, Environment};

#[test]
fn the_sandbox_takes_a_hundred_a_second() {
    let layer = start(Emulator::builder());
    layer.stop_clock();
    let access = token(&layer);
    let now = layer.now().as_secs();
    for left in (0..100).rev() {
        let answer = get(&layer, "/whoami", &access);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit"), Some("100"));
        assert_eq!(
            answer.header("x-ratelimit-remaining"),
            Some(left.to_string().as_str())
        );
        assert_eq!(
            answer.header("x-ratelimit-reset"),
            Some((now + 1).to_string().as_str())
        );
    }
    let answer = get(&layer, "/whoami", &access);
    assert_eq!(
        (answer.status, answer.error_enum().as_str()),
        (429, "RATE_LIMIT_EXCEEDED")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        ask(&layer).status,
        200,
        "the token endpoint has no part in it"
    );
    assert_eq!(layer.counters().rate_limited, 1);
    layer.advance(Duration::from_secs(1));
    assert_eq!(
        get(&layer, "/whoami", &access).header("x-ratelimit-remaining"),
        Some("99")
    );
}

#[test]
fn production_starts_at_a_hundred_and_refills_to_five_hundred() {
    let layer = start(Emulator::builder().environment(Environment::Production));
    layer.stop_clock();
    let access = token(&layer);
    assert_eq!(
        get(&layer, "/whoami", &access).header("x-ratelimit-remaining"),
        Some("99")
    );
    layer.advance(Duration::from_secs(1));
    assert_eq!(
        get(&layer, "/whoami", &access).header("x-ratelimit-remaining"),
        Some("499")
    );
}

#[test]
fn each_client_has_its_own_and_it_can_be_set_or_off() {
    let layer = start(
        Emulator::builder()
            .client("a", "s")
            .client("b", "s")
            .rate_limit(Some(1)),
    );
    layer.stop_clock();
    let of = |id| {
        ask_as(&layer, id, "s").json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (a, b) = (of("a"), of("b"));
    assert_eq!(
        (whoami(&layer, &a), whoami(&layer, &a), whoami(&layer, &b)),
        (200, 429, 200)
    );
    layer.set_rate_limit(None);
    let answer = get(&layer, "/whoami", &a);
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-limit")),
        (200, None)
    );
    layer.reset();
    assert_eq!((whoami(&layer, &a), whoami(&layer, &a)), (200, 429));
}
