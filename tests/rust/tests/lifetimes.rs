//! Tests of how long tokens are served, with a clock that the tests control.

use std::time::Duration;

use layerfi_auth::{BusinessTokenOptions, Client, ErrorKind, SessionDuration, TestClock};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    assert_new_token, assert_requests, assert_same_token, business, client_builder, emulator,
    eventually, multi_thread_runtime, wait_for,
};

const SECOND: Duration = Duration::from_secs(1);

/// A client with a test clock, and access tokens with this lifetime in seconds.
fn with_test_clock(layer: &Emulator, lifetime: u32) -> (Client, TestClock) {
    layer.set_access_token_lifetime(SECOND * lifetime);
    let clock = TestClock::new();
    let client = client_builder(layer)
        .test_clock(clock.clone())
        .max_attempts(1)
        .build()
        .unwrap();
    (client, clock)
}

#[test]
fn b04_no_caller_waits_in_the_refresh_window() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 1_000);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    clock.advance(SECOND * 749);
    runtime.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);

    // After 85 % of the lifetime a refresh is due with any jitter. No call waits for it.
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    clock.advance(SECOND * 150);
    for _ in 0..100 {
        let token = runtime.block_on(client.token()).unwrap();
        assert_same_token(&token, &first);
    }
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 0);
    wait_for("the refreshed token is served", || {
        runtime.block_on(client.token()).unwrap().secret() != first.secret()
    });
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
    let stats = client.stats();
    assert_eq!((stats.refreshes, stats.misses), (1, 1), "refreshes, misses");
    assert!(
        stats.stale_serves >= 100,
        "{} stale serves",
        stats.stale_serves
    );
}

#[test]
fn b29_page_whose_token_is_refused_gets_another_one_in_ten_seconds() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    let options = BusinessTokenOptions::default();
    let renew = |refused: &str| {
        let business = business();
        let renewed = client.renew_business_token(&business, options, refused);
        runtime.block_on(renewed).unwrap()
    };
    let first = runtime
        .block_on(client.business_token(&business()))
        .unwrap();
    // It is new: the page that refuses it would refuse any other one too.
    assert!(renew(first.secret()) == first, "a new token was replaced");
    clock.advance(SECOND * 11);
    assert!(
        renew("another-token") == first,
        "it was not the refused one"
    );
    let authorization = first.authorization().to_str().unwrap();
    let second = renew(authorization);
    assert!(second != first, "the refused token was returned");
    assert!(renew(first.secret()) == second, "it was replaced before");
    let blocking = layerfi_auth::blocking::Client::from(client.clone());
    let again = blocking.renew_business_token(&business(), options, second.secret());
    assert!(again.unwrap() == second, "two within ten seconds");
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 2)]);
}

#[test]
fn b04_short_lifetime_does_not_cause_a_request_per_call() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 15);
    let runtime = multi_thread_runtime(2);
    for _ in 0..11 {
        for _ in 0..50 {
            runtime.block_on(client.token()).unwrap();
        }
        clock.advance(SECOND);
    }
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b05_token_is_served_until_expiry_while_refreshes_fail() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 1_000);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    layer
        .fault(Endpoint::Token, Fault::status(503).forever())
        .unwrap();
    clock.advance(SECOND * 860);
    for second in 860..999 {
        let token = runtime.block_on(client.token()).unwrap();
        assert!(
            token.secret() == first.secret(),
            "the token was replaced after {second} s"
        );
        // Wait for the first refresh; later ones follow the back-off.
        eventually(&layer, |now| {
            let refreshes = now.endpoint(Endpoint::Token);
            refreshes.total >= 2 && refreshes.in_flight == 0
        });
        clock.advance(SECOND);
    }
    let refreshes = layer.count(Endpoint::Token) - 1;
    assert!(
        (1..=12).contains(&refreshes),
        "{refreshes} refreshes in 140 s; the back-off starts at 1 s and doubles"
    );
    clock.advance(SECOND);
    let error = runtime.block_on(client.token()).unwrap_err();
    assert_eq!(error.http_status(), Some(503));
    layer.clear_faults();
    clock.advance(SECOND * 60);
    runtime.block_on(client.token()).unwrap();
}

#[test]
fn b09_lifetime_counts_from_before_the_request() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 100);
    let runtime = multi_thread_runtime(2);
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let task = runtime.spawn({
        let client = client.clone();
        async move { client.token().await }
    });
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    clock.advance(SECOND * 40);
    layer.release();
    let first = runtime.block_on(task).unwrap().unwrap();

    // 40 of its 100 seconds passed before the response arrived.
    clock.advance(SECOND * 30);
    let same = runtime.block_on(client.token()).unwrap();
    assert_same_token(&same, &first);
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
    clock.advance(SECOND * 30);
    let next = runtime.block_on(client.token()).unwrap();
    assert_new_token(&next, &first);
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b09_token_that_expires_in_transit_is_not_served() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 100);
    let runtime = multi_thread_runtime(2);
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let task = runtime.spawn({
        let client = client.clone();
        async move { client.token().await }
    });
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    clock.advance(SECOND * 100);
    layer.release();
    let error = runtime.block_on(task).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
    runtime.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b09_no_expired_token_is_served_after_a_suspend() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    clock.suspend(SECOND * 3_600);
    let next = runtime.block_on(client.token()).unwrap();
    assert_new_token(&next, &first);
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b09_wall_clock_set_back_does_not_extend_a_token() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    clock.set_wall_back(SECOND * 86_400);
    clock.advance(SECOND * 3_599);
    let same = runtime.block_on(client.token()).unwrap();
    assert_same_token(&same, &first);
    clock.advance(SECOND);
    let next = runtime.block_on(client.token()).unwrap();
    assert_new_token(&next, &first);
}

#[test]
fn b09_token_rejected_by_a_server_with_a_fast_clock_is_replaced() {
    let layer = emulator();
    let (client, _clock) = with_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    runtime.block_on(client.whoami()).unwrap();
    layer.advance(SECOND * 3_600);
    runtime.block_on(client.whoami()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 3)]);
}

#[test]
fn b16_business_token_has_at_least_half_its_lifetime_left() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    let first = runtime.block_on(client.business_token(&business)).unwrap();
    assert_eq!(first.expires_in(), SECOND * 3_600, "lifetime");
    clock.advance(SECOND * 1_300);
    let same = runtime.block_on(client.business_token(&business)).unwrap();
    assert_same_token(&same, &first);
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 1)]);

    // Less than half of the lifetime is left, which is too short for a browser session.
    clock.advance(SECOND * 500);
    let next = runtime.block_on(client.business_token(&business)).unwrap();
    assert_new_token(&next, &first);
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 2)]);
}

#[test]
fn b16_old_business_token_is_served_if_minting_fails() {
    let layer = emulator();
    let (client, clock) = with_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    let first = runtime.block_on(client.business_token(&business)).unwrap();
    layer
        .fault(Endpoint::AuthToken, Fault::status(503).forever())
        .unwrap();
    clock.advance(SECOND * 2_000);
    let same = runtime.block_on(client.business_token(&business)).unwrap();
    assert_same_token(&same, &first);
    clock.advance(SECOND * 1_600);
    let error = runtime
        .block_on(client.business_token(&business))
        .unwrap_err();
    assert_eq!(error.http_status(), Some(503));
}

#[test]
fn b16_mint_always_returns_a_new_token() {
    let layer = emulator();
    let (client, _clock) = with_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    runtime.block_on(async {
        let kept = client.business_token(&business).await.unwrap();
        let mut secrets = vec![kept.secret().to_owned()];
        for _ in 0..5 {
            let mint = client.mint_business_token(&business, SessionDuration::default());
            secrets.push(mint.await.unwrap().secret().to_owned());
        }
        secrets.sort();
        secrets.dedup();
        assert!(secrets.len() == 6, "a minted token was returned twice");
        let same = client.business_token(&business).await.unwrap();
        assert_same_token(&same, &kept);
    });
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 6)]);
}

#[test]
fn b16_invalidated_business_token_is_replaced() {
    let layer = emulator();
    let (client, _clock) = with_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    let first = runtime.block_on(client.business_token(&business)).unwrap();
    assert!(
        client.invalidate_business_token(&first),
        "the current token was not invalidated"
    );
    let next = runtime.block_on(client.business_token(&business)).unwrap();
    assert_new_token(&next, &first);
    assert!(
        !client.invalidate_business_token(&first),
        "an old token invalidated the new one"
    );
}

#[test]
fn b04_keep_warm_refreshes_without_callers_until_the_client_is_dropped() {
    let layer = emulator();
    layer.set_access_token_lifetime(SECOND * 2);
    let client = client_builder(&layer)
        .keep_warm(true)
        .build_blocking()
        .unwrap();
    // Building the client sends no request.
    assert_requests(&layer, &[]);
    client.token().unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Token).by_status.get(&200) >= Some(&3)
    });
    assert_eq!(client.stats().misses, 1, "a caller had to wait");
    drop(client);
    // The background task ends at its next check, within two seconds of the drop.
    layer.clear_log();
    let continues = |now: &layerfi_auth_emulator::Counters| now.endpoint(Endpoint::Token).total > 1;
    assert!(
        !layer.wait_until(continues, SECOND * 4),
        "refreshes continue after the client was dropped"
    );
}
