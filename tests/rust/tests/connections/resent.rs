//! Requests that are sent again because the server cannot have seen them, and
//! requests that are not, because it may have.

use bytes::Bytes;
use http::{Request, Response};
use layerfi_auth::{Client, Error};
use layerfi_auth_emulator::{At, Emulator, Endpoint, Fault, HttpVersions, Wire};
use layerfi_auth_tests::{client_builder, emulator, wait_for};
use tokio::runtime::Runtime;

use crate::scripted_server::{Connection, ScriptedServer};

/// A runtime that runs only during calls, as in a program without other async code.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A client that gets its tokens from `layer`, for an API at the server.
fn client(layer: &Emulator, server: &ScriptedServer) -> Client {
    client_builder(layer)
        .api_url(server.url())
        .ca_pem(server.ca_pem())
        .build()
        .unwrap()
}

fn post(runtime: &Runtime, client: &Client) -> Result<Response<Bytes>, Error> {
    let request = Request::post("/v1/payments").body(Bytes::from_static(b"{}"));
    runtime.block_on(client.execute(request.unwrap()))
}

/// Sends 25 requests to connections that follow the script. `per_request` of them end
/// with each request.
#[track_caller]
fn assert_all_succeed(script: &'static [Connection], per_request: usize) {
    let layer = emulator();
    let server = ScriptedServer::start(script);
    let client = client(&layer, &server);
    let runtime = runtime();
    let mut failed = Vec::new();
    for number in 1..=25 {
        failed.extend(post(&runtime, &client).err());
        wait_for("the server has closed the connection", || {
            server.ended() >= number * per_request
        });
    }
    assert!(
        failed.is_empty(),
        "{} of 25 requests failed, the first: {}",
        failed.len(),
        failed[0]
    );
    assert_eq!(server.seen(), 25, "requests that the server has seen");
}

#[test]
fn b14_request_after_an_idle_connection_was_closed_succeeds() {
    assert_all_succeed(&[Connection::Http1], 1);
    assert_all_succeed(&[Connection::Http2], 1);
}

#[test]
fn b14_request_that_goaway_excludes_is_sent_again() {
    assert_all_succeed(
        &[Connection::GoAway { last_stream: 0 }, Connection::Http2],
        2,
    );
}

#[test]
fn b14_request_on_a_refused_stream_is_sent_again() {
    assert_all_succeed(&[Connection::RefusedStream], 1);
}

#[test]
fn b14_request_that_the_server_may_have_seen_is_not_sent_again() {
    for script in [
        &[Connection::GoAway { last_stream: 1 }, Connection::Http2],
        &[Connection::ResetStream, Connection::Http2],
    ] {
        let layer = emulator();
        let server = ScriptedServer::start(script);
        let client = client(&layer, &server);
        let result = post(&runtime(), &client);
        assert_eq!(server.seen(), 1, "requests that the server has seen");
        let error = result.expect_err("a request without a response succeeded");
        assert!(error.is_retryable(), "not retryable: {error}");
    }
}

#[test]
fn b14_request_with_a_broken_response_is_not_sent_again() {
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        for at in [At::Before, At::MidBody] {
            for wire in [Wire::Close(at), Wire::Reset(at)] {
                let layer = Emulator::builder()
                    .tls(true)
                    .http_versions(versions)
                    .start_blocking()
                    .unwrap();
                let client = client_builder(&layer).max_attempts(1).build().unwrap();
                let runtime = runtime();
                // The connection is in use, so that its end could count as the end of an
                // idle one.
                runtime.block_on(client.whoami()).unwrap();
                layer.fault(Endpoint::AuthToken, Fault::wire(wire)).unwrap();
                let business = layerfi_auth_tests::business();
                let mint = client.mint_business_token(&business, Default::default());
                let result = runtime.block_on(mint);
                assert!(result.is_err(), "{versions:?} {wire:?}: no error");
                assert_eq!(
                    layer.count(Endpoint::AuthToken),
                    1,
                    "{versions:?} {wire:?}: requests"
                );
            }
        }
    }
}
