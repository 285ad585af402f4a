//! One client in many runtimes, in none, and in runtimes that are gone.

use std::time::Duration;

use layerfi_auth::{ErrorKind, TestClock, blocking};
use layerfi_auth_emulator::{Endpoint, Fault};
use layerfi_auth_tests::{
    assert_requests, business, client, client_builder, emulator, eventually, multi_thread_runtime,
};

fn current_thread_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn b12_a_client_outlives_its_runtimes() {
    let layer = emulator();
    let first = current_thread_runtime();
    let client = first.block_on(async { client(&layer) });
    let token = first.block_on(client.token()).unwrap();
    drop(first);
    // More runtimes than pools are kept for.
    for _ in 0..8 {
        let next = current_thread_runtime();
        let same = next.block_on(client.token()).unwrap();
        assert!(same.secret() == token.secret());
        next.block_on(client.whoami()).unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 8)]);
    let last = multi_thread_runtime(2);
    assert!(client.invalidate(&token));
    let fresh = last.block_on(client.token()).unwrap();
    assert!(fresh.secret() != token.secret());
}

#[test]
fn b12_a_runtime_dropped_in_mid_flight_takes_no_caller_with_it() {
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
    // Until the second waits for the first's flight.
    while client.stats().waits < 2 {
        std::thread::yield_now();
    }
    doomed.shutdown_background();
    other.block_on(waiting).unwrap().unwrap();
    other.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b12_a_flight_lost_with_its_runtime_is_started_anew() {
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
fn b12_a_runtime_that_is_not_driven_holds_nobody_up_for_ever() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client_builder(&layer)
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    // The caller gives up; its runtime stands still from then on, with the
    // flight in it.
    let still = current_thread_runtime();
    let impatient = client.with_timeout(Duration::from_millis(200));
    still.block_on(impatient.token()).unwrap_err();
    let other = multi_thread_runtime(1);
    let mut calls = 0;
    while other.block_on(client.token()).is_err() {
        calls += 1;
        assert!(calls < 10, "the flight that stands still is waited for");
    }
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
    drop(still);
}

#[test]
fn b12_a_runtime_that_is_not_driven_keeps_its_connections_to_itself() {
    let layer = emulator();
    let client = client(&layer);
    let still = current_thread_runtime();
    still.block_on(client.whoami()).unwrap();
    // The connection is open and idle, and nobody drives it any more.
    let other = current_thread_runtime();
    let started = std::time::Instant::now();
    other.block_on(client.whoami()).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "it was waited for"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)]);
    let log = layer.log();
    assert_ne!(log[0].connection, log[2].connection);
    drop(still);
}

#[test]
fn b04_a_refresh_is_made_though_nobody_drives_the_callers_runtime() {
    let layer = emulator();
    let clock = TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    // A program without other async code: each call drives the runtime itself.
    let runtime = current_thread_runtime();
    let first = runtime.block_on(client.token()).unwrap();
    clock.advance(first.expires_in().mul_f64(0.9));
    assert!(runtime.block_on(client.token()).unwrap() == first);
    // In between nobody does, and the refresh is made all the same.
    eventually(&layer, |now| now.endpoint(Endpoint::Token).total == 2);
    while runtime.block_on(client.token()).unwrap() == first {
        std::thread::yield_now();
    }
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b12_runtimes_side_by_side_share_one_cache() {
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
fn b12_without_a_runtime_an_async_call_is_an_error_and_no_panic() {
    let layer = emulator();
    let client = client(&layer);
    // Polled by hand, with no runtime anywhere.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = std::pin::pin!(client.token());
    let std::task::Poll::Ready(Err(error)) = call.as_mut().poll(&mut cx) else {
        panic!("no error");
    };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.field(), Some("runtime"));
    assert!(error.to_string().contains("blocking"), "{error}");
    assert_requests(&layer, &[]);
    // The blocking client, outside and on a runtime's threads for blocking.
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
    // With a token at hand no runtime is needed.
    let mut call = std::pin::pin!(client.as_async().token());
    assert!(matches!(
        call.as_mut().poll(&mut cx),
        std::task::Poll::Ready(Ok(_))
    ));
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)]);
}
