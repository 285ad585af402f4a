//! How long tokens are served, on a clock that the tests move.

use std::time::Duration;

use layerfi_auth::{Client, ErrorKind, SessionDuration, TestClock};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    assert_requests, business, client_builder, emulator, eventually, multi_thread_runtime,
};

const SECOND: Duration = Duration::from_secs(1);

/// A client on a clock of its own, with access tokens that live for so long.
fn on_a_test_clock(layer: &Emulator, lifetime: u32) -> (Client, TestClock) {
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
fn b04_in_the_window_nobody_waits() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 1_000);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    clock.advance(SECOND * 749);
    runtime.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);

    // Past 85 %: due, whatever the jitter. The answer is held, and nobody minds.
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    clock.advance(SECOND * 150);
    for _ in 0..100 {
        let token = runtime.block_on(client.token()).unwrap();
        assert!(token.secret() == first.secret());
    }
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 0);
    while runtime.block_on(client.token()).unwrap().secret() == first.secret() {
        std::thread::yield_now();
    }
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
    let stats = client.stats();
    assert_eq!((stats.refreshes, stats.misses), (1, 1));
    assert!(stats.stale_serves >= 100);
}

#[test]
fn b04_a_short_life_is_not_a_request_per_call() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 15);
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
fn b05_a_failed_refresh_is_nobodys_business_until_the_token_dies() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 1_000);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    layer
        .fault(Endpoint::Token, Fault::status(503).forever())
        .unwrap();
    clock.advance(SECOND * 860);
    for second in 860..999 {
        let token = runtime.block_on(client.token()).unwrap();
        assert!(token.secret() == first.secret(), "at {second} s");
        // The first refresh gets its time; the others as they come.
        eventually(&layer, |now| {
            let refreshes = now.endpoint(Endpoint::Token);
            refreshes.total >= 2 && refreshes.in_flight == 0
        });
        clock.advance(SECOND);
    }
    let refreshes = layer.count(Endpoint::Token) - 1;
    assert!(
        (1..=12).contains(&refreshes),
        "{refreshes} refreshes in 140 s: from 1 s on, doubling"
    );
    clock.advance(SECOND);
    let error = runtime.block_on(client.token()).unwrap_err();
    assert_eq!(error.http_status(), Some(503));
    layer.clear_faults();
    clock.advance(SECOND * 60);
    runtime.block_on(client.token()).unwrap();
}

#[test]
fn b09_life_counts_from_before_the_request() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 100);
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

    // Of its 100 seconds 40 went by on the way.
    clock.advance(SECOND * 30);
    let same = runtime.block_on(client.token()).unwrap();
    assert!(same.secret() == first.secret());
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
    clock.advance(SECOND * 30);
    let next = runtime.block_on(client.token()).unwrap();
    assert!(next.secret() != first.secret());
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b09_a_token_that_died_on_the_way_is_not_served() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 100);
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
fn b09_a_suspended_machine_serves_nothing_dead() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    clock.suspend(SECOND * 3_600);
    let next = runtime.block_on(client.token()).unwrap();
    assert!(next.secret() != first.secret());
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b09_a_wall_clock_set_back_extends_nothing() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    let first = runtime.block_on(client.token()).unwrap();
    clock.set_wall_back(SECOND * 86_400);
    clock.advance(SECOND * 3_599);
    let same = runtime.block_on(client.token()).unwrap();
    assert!(same.secret() == first.secret());
    clock.advance(SECOND);
    let next = runtime.block_on(client.token()).unwrap();
    assert!(next.secret() != first.secret());
}

#[test]
fn b09_a_server_whose_clock_is_ahead_is_believed() {
    let layer = emulator();
    let (client, _clock) = on_a_test_clock(&layer, 3_600);
    let runtime = multi_thread_runtime(2);
    runtime.block_on(client.whoami()).unwrap();
    layer.advance(SECOND * 3_600);
    runtime.block_on(client.whoami()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 3)]);
}

#[test]
fn b16_a_page_gets_a_token_with_enough_life() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    let first = runtime.block_on(client.business_token(&business)).unwrap();
    assert_eq!(first.expires_in(), SECOND * 3_600);
    clock.advance(SECOND * 1_300);
    let same = runtime.block_on(client.business_token(&business)).unwrap();
    assert!(same.secret() == first.secret());
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 1)]);

    // Less than half of it is left: good for the API, not for a page.
    clock.advance(SECOND * 500);
    let next = runtime.block_on(client.business_token(&business)).unwrap();
    assert!(next.secret() != first.secret());
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 2)]);
}

#[test]
fn b16_less_than_half_a_life_is_better_than_a_failure() {
    let layer = emulator();
    let (client, clock) = on_a_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    let first = runtime.block_on(client.business_token(&business)).unwrap();
    layer
        .fault(Endpoint::AuthToken, Fault::status(503).forever())
        .unwrap();
    clock.advance(SECOND * 2_000);
    let same = runtime.block_on(client.business_token(&business)).unwrap();
    assert!(same.secret() == first.secret());
    clock.advance(SECOND * 1_600);
    let error = runtime
        .block_on(client.business_token(&business))
        .unwrap_err();
    assert_eq!(error.http_status(), Some(503));
}

#[test]
fn b16_a_mint_is_always_new() {
    let layer = emulator();
    let (client, _clock) = on_a_test_clock(&layer, 86_400);
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
        assert!(secrets.len() == 6, "a token came twice");
        let same = client.business_token(&business).await.unwrap();
        assert!(same.secret() == kept.secret());
    });
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 6)]);
}

#[test]
fn b16_a_refused_business_token_is_replaced() {
    let layer = emulator();
    let (client, _clock) = on_a_test_clock(&layer, 86_400);
    let runtime = multi_thread_runtime(2);
    let business = business();
    let first = runtime.block_on(client.business_token(&business)).unwrap();
    assert!(client.invalidate_business_token(&first));
    let next = runtime.block_on(client.business_token(&business)).unwrap();
    assert!(next.secret() != first.secret());
    assert!(!client.invalidate_business_token(&first));
}

#[test]
fn b04_kept_warm_a_token_is_replaced_with_nobody_asking() {
    let layer = emulator();
    layer.set_access_token_lifetime(SECOND * 2);
    let client = client_builder(&layer)
        .keep_warm(true)
        .build_blocking()
        .unwrap();
    // Built, and idle: nobody has asked yet.
    assert_requests(&layer, &[]);
    client.token().unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Token).by_status.get(&200) >= Some(&3)
    });
    assert_eq!(client.stats().misses, 1, "a token was missed");
    drop(client);
    // The task ends with its client: at its next look, within two seconds.
    layer.clear_log();
    let went_on = |now: &layerfi_auth_emulator::Counters| now.endpoint(Endpoint::Token).total > 1;
    assert!(
        !layer.wait_until(went_on, SECOND * 4),
        "it goes on without a client"
    );
}
