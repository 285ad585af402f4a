//! One client in several Tokio runtimes, including runtimes that are dropped or not
//! driven.

use std::time::Duration;

use layerfi_auth::{ErrorKind, TestClock, blocking};
use layerfi_auth_emulator::{Endpoint, Fault};
use layerfi_auth_tests::{
    assert_new_token, assert_requests, assert_same_token, business, client, client_builder,
    emulator, eventually, multi_thread_runtime, wait_for,
};

fn current_thread_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn b12_client_works_after_its_first_runtime_is_dropped() {
    let layer = emulator();
    let first = current_thread_runtime();
    let client = first.block_on(async { client(&layer) });
    let token = first.block_on(client.token()).unwrap();
    drop(first);
    // One after another, each with its own calls.
    for _ in 0..8 {
        let next = current_thread_runtime();
        let same = next.block_on(client.token()).unwrap();
        assert_same_token(&same, &token);
        next.block_on(client.whoami()).unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 8)]);
    let last = multi_thread_runtime(2);
    assert!(client.invalidate(&token), "the token was not invalidated");
    let fresh = last.block_on(client.token()).unwrap();
    assert_new_token(&fresh, &token);
}

#[test]
fn b12_caller_gets_a_token_if_another_callers_runtime_is_dropped() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let doomed = multi_thread_runtime(1);
    let other = multi_thread_runtime(1);
    drop(doomed.spawn({
        let client = client.clone();
        async move { client.token().await }
    }));
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    let waiting = other.spawn({
        let client = client.clone();
        async move { client.token().await }
    });
    wait_for("the second call waits for the first one's request", || {
        client.stats().waits == 2
    });
    doomed.shutdown_background();
    other.block_on(waiting).unwrap().unwrap();
    other.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b12_call_works_after_a_runtime_was_dropped_during_a_request() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let doomed = multi_thread_runtime(1);
    drop(doomed.spawn({
        let client = client.clone();
        async move { client.token().await }
    }));
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    drop(doomed);
    let other = multi_thread_runtime(1);
    other.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b12_runtime_that_is_not_driven_does_not_block_other_callers() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client_builder(&layer)
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    // The caller times out, and its runtime is not driven any more.
    let still = current_thread_runtime();
    let short = client.with_timeout(Duration::from_millis(200));
    still.block_on(short.token()).unwrap_err();
    let other = multi_thread_runtime(1);
    let mut calls = 0;
    while other.block_on(client.token()).is_err() {
        calls += 1;
        assert!(calls < 10, "calls wait for a runtime that is not driven");
    }
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
    drop(still);
}

#[test]
fn b12_idle_connection_of_a_runtime_that_is_not_driven_delays_no_call() {
    let layer = emulator();
    let client = client(&layer);
    let still = current_thread_runtime();
    still.block_on(client.whoami()).unwrap();
    // The first runtime is not driven any more.
    let other = current_thread_runtime();
    let started = std::time::Instant::now();
    other.block_on(client.whoami()).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "the call waited for a runtime that is not driven"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)]);
    let log = layer.log();
    assert_ne!(log[0].connection, log[2].connection);
    drop(still);
}

#[test]
fn b04_refresh_completes_if_the_callers_runtime_is_not_driven() {
    let layer = emulator();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    // In a program without other async code only the calls drive the runtime.
    let runtime = current_thread_runtime();
    let first = runtime.block_on(client.token()).unwrap();
    clock.advance(first.expires_in().mul_f64(0.9));
    let same = runtime.block_on(client.token()).unwrap();
    assert_same_token(&same, &first);
    // The refresh completes although nothing drives the runtime.
    eventually(&layer, |now| now.endpoint(Endpoint::Token).total == 2);
    wait_for("the refreshed token is served", || {
        runtime.block_on(client.token()).unwrap() != first
    });
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b12_concurrent_runtimes_share_one_cache() {
    let layer = emulator();
    let client = client(&layer);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let runtime = current_thread_runtime();
                for _ in 0..5 {
                    runtime
                        .block_on(client.business_token(&business()))
                        .unwrap();
                }
            });
        }
    });
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 1)]);
}

#[test]
fn b12_async_call_without_a_runtime_is_an_error_not_a_panic() {
    let layer = emulator();
    let client = client(&layer);
    // Polled by hand, without any runtime.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = std::pin::pin!(client.token());
    let std::task::Poll::Ready(Err(error)) = call.as_mut().poll(&mut cx) else {
        panic!("a call without a runtime gave no error");
    };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.field(), Some("runtime"));
    assert!(error.to_string().contains("blocking"), "{error}");
    assert_requests(&layer, &[]);
    // The blocking client works outside a runtime and in `spawn_blocking`.
    let client = blocking::Client::from(client.clone());
    client.whoami().unwrap();
    let runtime = multi_thread_runtime(1);
    runtime.block_on(async {
        let client = client.clone();
        tokio::task::spawn_blocking(move || client.whoami())
            .await
            .unwrap()
            .unwrap();
    });
    // A cached token needs no runtime.
    let mut call = std::pin::pin!(client.as_async().token());
    assert!(
        matches!(call.as_mut().poll(&mut cx), std::task::Poll::Ready(Ok(_))),
        "a cached token was not returned at once"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)]);
}
