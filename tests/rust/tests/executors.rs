//! The async API works under any executor: without Tokio, in a runtime without
//! timers and I/O, with a paused clock, and in any number of runtimes.

use std::sync::Barrier;
use std::time::Duration;

use futures_util::StreamExt as _;
use layerfi_auth::{Client, ErrorKind};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
use layerfi_auth_tests::{
    assert_requests, business, businesses, client, client_builder, emulator, eventually,
    multi_thread_runtime, wait_for,
};
use tokio::runtime::{Builder, Runtime};

/// Makes every kind of call and checks that the emulator answered each.
async fn make_all_calls(client: &Client) {
    client.token().await.expect("token() failed");
    client.whoami().await.expect("whoami() failed");
    let business = business();
    client
        .business_token(&business)
        .await
        .expect("business_token() failed");
    let response = client.get("/whoami").await.expect("get() failed");
    assert_eq!(response.status(), 200, "get() returned another status");
    let batch: Vec<_> = client.business_tokens(businesses(5)).collect().await;
    assert_eq!(batch.len(), 5, "the batch lost results");
    for result in batch {
        result.expect("a token of the batch failed");
    }
}

fn assert_all_calls_arrived(layer: &Emulator) {
    assert_requests(
        layer,
        &[
            (Endpoint::Token, 1),
            (Endpoint::Whoami, 2),
            (Endpoint::AuthToken, 6),
        ],
    );
}

#[test]
fn b12_works_under_the_futures_executor() {
    let layer = emulator();
    let client = client(&layer);
    futures::executor::block_on(make_all_calls(&client));
    assert_all_calls_arrived(&layer);
}

#[test]
fn b12_works_under_smol() {
    let layer = emulator();
    let client = client(&layer);
    smol::block_on(async {
        let task = smol::spawn({
            let client = client.clone();
            async move { make_all_calls(&client).await }
        });
        task.await;
    });
    assert_all_calls_arrived(&layer);
}

#[test]
fn b12_works_in_a_current_thread_tokio_runtime() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(make_all_calls(&client));
    assert_all_calls_arrived(&layer);
}

#[test]
fn b12_works_in_a_tokio_runtime_without_timers_and_io() {
    let layer = emulator();
    let client = client(&layer);
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(make_all_calls(&client));
    assert_all_calls_arrived(&layer);
}

#[test]
fn b12_paused_clock_causes_no_timeout() {
    let layer = emulator();
    // Real time passes in the emulator, while the paused clock jumps ahead.
    layer
        .fault(Endpoint::Token, Fault::delay(Duration::from_millis(200)))
        .unwrap();
    let client = client(&layer);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(make_all_calls(&client));
    assert_all_calls_arrived(&layer);
}

#[test]
fn b08_b12_timeout_ends_a_call_without_tokio() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client_builder(&layer)
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let error = futures::executor::block_on(client.token()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    layer.release();
}

fn current_thread_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// An emulator with TLS and HTTP/2, on which all requests of a client share one
/// connection.
fn http2_emulator() -> Emulator {
    Emulator::builder()
        .rate_limit(None)
        .tls(true)
        .start_blocking()
        .unwrap()
}

#[test]
fn b12_one_runtime_per_call_uses_no_more_connections_than_one_runtime() {
    let connections = |runtime_per_call: bool| {
        let layer = emulator();
        let client = client(&layer);
        let shared = current_thread_runtime();
        for _ in 0..100 {
            let own = runtime_per_call.then(current_thread_runtime);
            let runtime = own.as_ref().unwrap_or(&shared);
            runtime
                .block_on(client.whoami())
                .expect("a call in a new runtime failed");
        }
        assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 100)]);
        layer.counters().connections
    };
    let (one, many) = (connections(false), connections(true));
    assert!(
        many <= one,
        "100 runtimes used {many} connections, one runtime used {one}"
    );
}

#[test]
fn b12_sixteen_runtimes_use_no_more_connections_than_one_runtime() {
    const RUNTIMES: usize = 16;
    const CALLS_PER_RUNTIME: usize = 100;
    let connections = |runtimes: &[Runtime]| {
        let layer = http2_emulator();
        let client = client(&layer);
        // The first call opens the connection that the others share.
        runtimes[0].block_on(client.whoami()).unwrap();
        let start = Barrier::new(RUNTIMES);
        std::thread::scope(|scope| {
            for number in 0..RUNTIMES {
                let (client, start) = (&client, &start);
                let runtime = &runtimes[number % runtimes.len()];
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..CALLS_PER_RUNTIME {
                        runtime.block_on(client.token()).expect("token() failed");
                        runtime.block_on(client.whoami()).expect("whoami() failed");
                    }
                });
            }
        });
        let calls = (RUNTIMES * CALLS_PER_RUNTIME) as u64;
        assert_requests(
            &layer,
            &[(Endpoint::Token, 1), (Endpoint::Whoami, calls + 1)],
        );
        layer.counters().connections
    };
    let runtimes: Vec<_> = (0..RUNTIMES).map(|_| multi_thread_runtime(2)).collect();
    let (one, many) = (connections(&runtimes[..1]), connections(&runtimes));
    assert!(
        many <= one,
        "{RUNTIMES} runtimes used {many} connections, one runtime used {one}"
    );
}

#[test]
fn b07_b12_dropping_a_runtime_does_not_affect_a_call_in_another() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let client = client(&layer);
    let first = multi_thread_runtime(1);
    drop(first.spawn({
        let client = client.clone();
        async move { client.token().await }
    }));
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    let waiting = std::thread::spawn({
        let client = client.clone();
        move || futures::executor::block_on(client.token())
    });
    wait_for("the second call waits for the first one's request", || {
        client.stats().waits == 2 || waiting.is_finished()
    });
    drop(first);
    layer.release();
    waiting
        .join()
        .unwrap()
        .expect("the waiting call failed with the dropped runtime");
    // The request does not depend on a runtime, so it was not sent again.
    assert_requests(&layer, &[(Endpoint::Token, 1)]);
}

#[test]
fn b04_b12_refresh_completes_while_no_executor_runs() {
    let layer = emulator();
    let clock = layerfi_auth::TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let first = futures::executor::block_on(client.token()).unwrap();
    clock.advance(first.expires_in().mul_f64(0.9));
    let same = futures::executor::block_on(client.token()).unwrap();
    assert!(
        same == first,
        "a call in the refresh window waited for the new token"
    );
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Token).by_status.get(&200) == Some(&2)
    });
}
