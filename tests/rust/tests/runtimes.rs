//! One client in several Tokio runtimes, including runtimes that are dropped or not
//! driven.

use std::time::Duration;

use layerfi_auth::{TestClock, blocking};
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
    let dropped = multi_thread_runtime(1);
    let other = multi_thread_runtime(1);
    drop(dropped.spawn({
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
    dropped.shutdown_background();
    layer.release();
    other.block_on(waiting).unwrap().unwrap();
    other.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b12_request_completes_if_its_callers_runtime_is_dropped() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let dropped = multi_thread_runtime(1);
    drop(dropped.spawn({
        let client = client.clone();
        async move { client.token().await }
    }));
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    drop(dropped);
    layer.release();
    let other = multi_thread_runtime(1);
    other.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b12_request_completes_if_its_callers_runtime_is_not_driven() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    // The caller times out, and its runtime is no longer driven.
    let idle = current_thread_runtime();
    let short = client.with_timeout(Duration::from_millis(200));
    idle.block_on(short.token()).unwrap_err();
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    layer.release();
    let other = multi_thread_runtime(1);
    other.block_on(client.token()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
    drop(idle);
}

#[test]
fn b12_connection_is_reused_after_its_first_runtime_is_not_driven() {
    let layer = emulator();
    let client = client(&layer);
    let idle = current_thread_runtime();
    idle.block_on(client.whoami()).unwrap();
    // The first runtime is no longer driven.
    let other = current_thread_runtime();
    other.block_on(client.whoami()).unwrap();
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)]);
    assert_eq!(
        layer.counters().connections,
        1,
        "the second runtime opened another connection"
    );
    drop(idle);
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
fn b12_async_call_polled_by_hand_works_without_a_runtime() {
    let layer = emulator();
    let client = client(&layer);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = std::pin::pin!(client.token());
    wait_for("the polled call gets a token", || {
        match call.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(result) => {
                result.unwrap();
                true
            }
            std::task::Poll::Pending => false,
        }
    });
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
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
    // A cached token is returned by the first poll.
    let mut call = std::pin::pin!(client.as_async().token());
    assert!(
        matches!(call.as_mut().poll(&mut cx), std::task::Poll::Ready(Ok(_))),
        "a cached token was not returned at once"
    );
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)]);
}

/// Tokio lets a task do a limited amount of work before it must yield, and a task that
/// blocks never yields.
#[test]
fn b12_blocking_call_ends_in_a_task_that_has_used_its_budget() {
    let layer = emulator();
    let client = blocking::Client::from(client(&layer));
    let runtime = multi_thread_runtime(1);
    let task = runtime.spawn(async move {
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        client.whoami().map(drop)
    });
    runtime.block_on(task).unwrap().unwrap();
}
