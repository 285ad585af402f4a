//! Start, stop, log, and secrets that must not appear.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use common::{
    MAX_WAIT, access_token, basic, get, request_business_token, request_token, request_token_as,
    start, start_error, token_request_text, wait_until, whoami,
};
use layerfi_auth_emulator::{
    At, Counters, DEFAULT_CLIENT_ID as ID, DEFAULT_CLIENT_SECRET as SECRET,
    DEMO_BUSINESS_ID as DEMO, Emulator, EmulatorError, Endpoint, Fault, Wire,
};

fn token_requests_in_flight(counters: &Counters) -> u64 {
    counters.endpoint(Endpoint::Token).in_flight
}

#[test]
fn drop_closes_all_connections_and_frees_the_ports() {
    // No other test uses this address, so no other emulator can get its ports.
    let loopback: IpAddr = "127.4.5.7".parse().unwrap();
    let layer = start(Emulator::builder().bind_address(loopback));
    let (api, control) = (layer.address(), layer.control_address());
    let mut idle = TcpStream::connect(api).unwrap();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let mut held = TcpStream::connect(api).unwrap();
    held.write_all(token_request_text(&layer).as_bytes())
        .unwrap();
    wait_until(&layer, "one token request in flight", |counters| {
        token_requests_in_flight(counters) == 1
    });
    let (dropped, done) = mpsc::channel();
    std::thread::spawn(move || {
        drop(layer);
        dropped.send(())
    });
    done.recv_timeout(MAX_WAIT)
        .unwrap_or_else(|_| panic!("drop must not wait for a held response"));
    for stream in [&mut idle, &mut held] {
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        let result = stream.read(&mut [0; 16]);
        assert!(
            matches!(result, Ok(0) | Err(_)),
            "drop must close the connection, but reading gave {result:?}"
        );
    }
    for address in [api, control] {
        assert!(
            TcpStream::connect(address).is_err(),
            "drop must free the port of {address}"
        );
    }
    let again = start(
        Emulator::builder()
            .bind_address(loopback)
            .port(api.port())
            .control_port(control.port()),
    );
    assert_eq!(
        (again.address(), again.control_address()),
        (api, control),
        "the ports must be usable again"
    );
    request_token(&again).expect_status(200);
}

#[test]
fn address_that_is_not_loopback_is_refused() {
    for address in ["0.0.0.0", "192.0.2.1", "::"] {
        let address: IpAddr = address.parse().unwrap();
        // The API may have another address, but only with TLS and its own client.
        let api_only = Emulator::builder().api_address(address);
        for builder in [
            Emulator::builder().bind_address(address),
            api_only.clone(),
            api_only.clone().tls(true),
            api_only.client("a", "x"),
        ] {
            let error = start_error(builder.clone());
            assert!(
                matches!(error, EmulatorError::NotLoopback(refused) if refused == address),
                "wrong error of {builder:?}: {error:?}"
            );
        }
    }
    // An address that every machine has.
    let layer = start(
        Emulator::builder()
            .api_address("0.0.0.0".parse().unwrap())
            .client("a", "x")
            .tls(true),
    );
    assert!(
        layer.address().ip().is_unspecified(),
        "the API must have the set address, got {}",
        layer.address()
    );
    assert!(
        layer.control_address().ip().is_loopback(),
        "the control API must stay on loopback, got {}",
        layer.control_address()
    );
}

#[test]
fn port_in_use_and_invalid_client_are_refused() {
    let layer = start(Emulator::builder());
    let used = layer.address().port();
    let error = start_error(Emulator::builder().port(used));
    assert!(
        matches!(error, EmulatorError::Bind { address, .. } if address.port() == used),
        "wrong error for a port in use: {error:?}"
    );
    let text = error.to_string();
    for part in [&format!("127.0.0.1:{used}"), "in use"] {
        assert!(
            text.contains(part),
            "the error for a port in use must contain {part:?}, got {text:?}"
        );
    }
    for (builder, what) in [
        (Emulator::builder().client("", "x"), "an empty client id"),
        (
            Emulator::builder().client("a", "x").client("a", "y"),
            "a repeated client id",
        ),
    ] {
        let error = start_error(builder);
        assert!(
            matches!(error, EmulatorError::Invalid(_)),
            "wrong error for {what}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn emulator_works_while_the_runtime_of_the_caller_is_blocked() {
    let layer = Emulator::builder().start().await.unwrap();
    // This call blocks the only thread of the test's runtime.
    request_token(&layer).expect_status(200);
    drop(layer);
}

#[test]
fn two_emulators_do_not_accept_each_others_tokens() {
    let (one, two) = (start(Emulator::builder()), start(Emulator::builder()));
    let access = access_token(&one);
    whoami(&one, &access).expect_status(200);
    whoami(&two, &access).expect_status(401);
}

#[test]
fn secrets_and_tokens_are_not_in_log_counters_or_debug() {
    let secret = "s3cr3t-under-test";
    assert_ne!(SECRET, secret, "the test needs its own secret");
    let builder = Emulator::builder().client(ID, secret);
    assert!(
        !format!("{builder:?}").contains(secret),
        "Debug of the builder must not show the secret"
    );
    let layer = start(builder);
    let access = request_token_as(&layer, ID, secret).access_token();
    request_token_as(&layer, ID, "wr0ng-secret");
    whoami(&layer, &access);
    let business = request_business_token(&layer, &access, DEMO, "").access_token();
    let path = format!("/v1/businesses/{DEMO}?access_token={access}");
    get(&layer, &path, &business);
    let shown = format!(
        "{layer:?} {:?} {} {:?} {:?}",
        layer.log(),
        serde_json::to_string(&layer.log()).unwrap(),
        layer.counters(),
        layer.faults(),
    );
    let encoded = basic(ID, secret);
    for hidden in [
        secret,
        "wr0ng-secret",
        &access,
        &business,
        encoded.trim_start_matches("Basic "),
    ] {
        assert!(
            !shown.contains(hidden),
            "log, counters or Debug show {hidden}"
        );
    }
    let log = layer.log();
    assert_eq!(log.len(), 5, "the log must have all five requests");
    let mark = |index: usize| log[index].authorization.clone().unwrap();
    assert_eq!(
        (mark(0).scheme, mark(2).scheme),
        ("Basic", "Bearer"),
        "wrong schemes in the log"
    );
    assert_ne!(
        mark(0),
        mark(1),
        "another secret must have another fingerprint"
    );
    assert_eq!(
        mark(2),
        mark(3),
        "the same token must have the same fingerprint"
    );
    assert_eq!(
        (log[0].client_id.as_deref(), log[1].client_id.as_deref()),
        (Some(ID), None),
        "the log must have a client id only with valid credentials"
    );
    assert_eq!(
        log[3].business_id.as_deref(),
        Some(DEMO),
        "the log must have the business id"
    );
}

#[test]
fn request_of_a_client_that_disconnects_counts_as_unanswered_after_clearing_the_log() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::wire(Wire::Stall(At::Before)))
        .unwrap();
    let mut stream = TcpStream::connect(layer.address()).unwrap();
    stream
        .write_all(token_request_text(&layer).as_bytes())
        .unwrap();
    wait_until(&layer, "one token request in flight", |counters| {
        token_requests_in_flight(counters) == 1
    });
    layer.clear_log();
    let counters = layer.counters().endpoint(Endpoint::Token);
    assert_eq!(
        (counters.total, counters.in_flight, counters.max_in_flight),
        (0, 1, 1),
        "clearing the log must keep requests in flight: {counters:?}"
    );
    drop(stream);
    wait_until(&layer, "no token request in flight", |counters| {
        token_requests_in_flight(counters) == 0
    });
    assert_eq!(
        layer.counters().endpoint(Endpoint::Token).unanswered,
        1,
        "the request must count as unanswered"
    );
    assert!(
        !layer.wait_until(|counters| counters.total == 99, Duration::from_millis(10)),
        "wait_until must return false if the condition is never true"
    );
}

#[test]
fn log_keeps_the_last_entries_and_the_numbers_of_connections() {
    const REQUESTS: usize = 17_000;
    let layer = start(Emulator::builder());
    let mut stream = TcpStream::connect(layer.address()).unwrap();
    let request = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut reader = stream.try_clone().unwrap();
    // Without a reader, both sides would wait until the other one reads.
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    for _ in 0..REQUESTS {
        stream.write_all(request).unwrap();
    }
    wait_until(&layer, "17,000 responses with status 401", |counters| {
        counters.status(401) == 17_000
    });
    let log = layer.log();
    assert_eq!(log.len(), 16_384, "wrong number of entries");
    assert_eq!(
        log.last().unwrap().number,
        17_000,
        "wrong number of the last entry"
    );
    for entry in &log {
        assert!(
            entry.connection == 1 && entry.done,
            "all requests must be done on connection 1: {entry:?}"
        );
    }
    assert_eq!(
        layer.counters().connections,
        1,
        "wrong number of connections"
    );
    assert_eq!(
        layer.log_after(16_999).len(),
        1,
        "wrong number of entries after 16,999"
    );
    layer.clear_log();
    request_token(&layer);
    assert_eq!(
        layer.log()[0].connection,
        2,
        "clearing the log must not reset the numbers of connections"
    );
    drop(layer);
    let _ = reading.join();
}

#[test]
fn request_head_above_the_limit_is_refused() {
    let layer = start(Emulator::builder());
    let mut stream = TcpStream::connect(layer.address()).unwrap();
    stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
    stream.write_all(b"GET /whoami HTTP/1.1\r\nx: ").unwrap();
    // The system may buffer all of it, so only the end of the connection shows
    // what the emulator did.
    let _ = stream.write_all(&[b'x'; 1_000_000]);
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8_lossy(&response).into_owned();
    assert!(
        response.is_empty() || response.starts_with("HTTP/1.1 431"),
        "the connection must end, with status 431 or without a response: {response}"
    );
    wait_until(&layer, "no open connection", |counters| {
        counters.open_connections == 0
    });
    assert_eq!(
        layer.counters().total,
        0,
        "an incomplete head must not count as a request"
    );
    request_token(&layer).expect_status(200);
}

#[test]
fn public_types_are_send_and_sync() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Emulator>();
    shared::<EmulatorError>();
    shared::<Fault>();
    shared::<Counters>();
}
