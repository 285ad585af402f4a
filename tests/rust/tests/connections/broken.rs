//! Connections that break without an error.

use std::time::Duration;

use layerfi_auth::{Client, ErrorKind};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault, HttpVersions};
use layerfi_auth_tests::{
    CuttableLink, business, client_builder, eventually, multi_thread_runtime,
};

fn client_through(layer: &Emulator, link: &CuttableLink) -> Client {
    let url = match layer.ca_pem() {
        Some(_) => format!("https://{}", link.address()),
        None => format!("http://{}", link.address()),
    };
    client_builder(layer)
        .api_url(&url)
        .auth_url(format!("{url}/oauth2/token"))
        .build()
        .unwrap()
}

/// Asserts that only the first call fails after all connections became silent. It
/// fails by its timeout, or because the program drops it.
#[track_caller]
fn assert_one_call_fails(is_cancelled: bool) {
    for (tls, http) in [
        (true, HttpVersions::Http2),
        (true, HttpVersions::Http1),
        (false, HttpVersions::Http1),
    ] {
        let layer = Emulator::builder()
            .tls(tls)
            .http_versions(http)
            .start_blocking()
            .unwrap();
        let link = CuttableLink::to(layer.address());
        let client = client_through(&layer, &link);
        let runtime = multi_thread_runtime(2);
        runtime.block_on(client.token()).unwrap();
        // Several connections over HTTP/1.1. All of them become silent.
        layer
            .fault(Endpoint::Whoami, Fault::hold().times(4))
            .unwrap();
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                runtime.spawn(async move { client.whoami().await })
            })
            .collect();
        eventually(&layer, |now| now.endpoint(Endpoint::Whoami).in_flight == 4);
        layer.release();
        for call in calls {
            runtime.block_on(call).unwrap().unwrap();
        }
        link.cut();
        let timeout = Duration::from_secs(2);
        if is_cancelled {
            let cancelled = async { tokio::time::timeout(timeout, client.whoami()).await };
            runtime.block_on(cancelled).unwrap_err();
        } else {
            let short = client.with_timeout(timeout);
            let error = runtime.block_on(short.whoami()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{http:?}: {error}");
        }
        // Without that timeout, so that the test does not depend on the machine.
        let next = runtime.block_on(client.get("/whoami"));
        next.unwrap_or_else(|error| panic!("{http:?}: the second call failed: {error}"));
    }
}

#[test]
fn b14_silent_connections_cost_one_call_whatever_its_timeout() {
    assert_one_call_fails(false);
}

#[test]
fn b14_silent_connections_cost_one_call_if_the_program_cancels_it() {
    assert_one_call_fails(true);
}

#[test]
fn b14_leaving_a_connection_does_not_harm_other_calls() {
    for (tls, http) in [(true, HttpVersions::Http2), (false, HttpVersions::Http1)] {
        let layer = Emulator::builder()
            .tls(tls)
            .http_versions(http)
            .start_blocking()
            .unwrap();
        // Two clients that share their connections.
        let (client, other) = (client_builder(&layer), client_builder(&layer));
        let (client, other) = (client.build().unwrap(), other.build().unwrap());
        let runtime = multi_thread_runtime(2);
        runtime.block_on(client.token()).unwrap();
        layer.fault(Endpoint::AuthToken, Fault::hold()).unwrap();
        layer.fault(Endpoint::Whoami, Fault::hold()).unwrap();
        let in_progress = runtime.spawn(async move {
            other
                .mint_business_token(&business(), Default::default())
                .await
        });
        eventually(&layer, |now| {
            now.endpoint(Endpoint::AuthToken).in_flight == 1
        });
        let short = client.with_timeout(Duration::from_secs(1));
        let error = runtime.block_on(short.get("/whoami")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{http:?}: {error}");
        let before = layer.counters().connections;
        runtime.block_on(client.get("/whoami")).unwrap();
        let made = layer.counters().connections - before;
        assert_eq!(made, 1, "{http:?}: connections after the silent one");
        layer.release();
        let minted = runtime.block_on(in_progress).unwrap();
        minted.unwrap_or_else(|error| panic!("{http:?}: the call in progress failed: {error}"));
    }
}

#[test]
fn b08_only_the_calls_timeout_limits_a_request_of_the_program() {
    let layer = Emulator::builder().start_blocking().unwrap();
    let client = client_builder(&layer)
        .attempt_timeout(Duration::from_millis(900))
        .build()
        .unwrap()
        .with_timeout(Duration::from_secs(60));
    let runtime = multi_thread_runtime(1);
    // The token is not delayed: its request has the attempt timeout.
    runtime.block_on(client.token()).unwrap();
    layer
        .fault(Endpoint::Whoami, Fault::delay(Duration::from_secs(1)))
        .unwrap();
    runtime.block_on(client.get("/whoami")).unwrap();
    assert_eq!(layer.count(Endpoint::Whoami), 1, "requests");
}
