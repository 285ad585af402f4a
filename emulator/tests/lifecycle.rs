//! Starting, stopping, and what must never come out.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{PATIENCE, ask, ask_as, basic, get, mint, start, token, whoami};
use layerfi_auth_emulator::{
    At, Counters, DEFAULT_CLIENT_ID as ID, DEFAULT_CLIENT_SECRET as SECRET,
    DEMO_BUSINESS_ID as DEMO, Emulator, EmulatorError, Endpoint, Fault, Wire,
};

#[test]
fn dropping_frees_the_ports_and_ends_the_connections() {
    let layer = start(Emulator::builder());
    let (at, control) = (layer.address(), layer.control_address());
    let mut idle = TcpStream::connect(at).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let mut held = TcpStream::connect(at).unwrap();
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    held.write_all(common::token_request(&layer).as_bytes())
        .unwrap();
    assert!(layer.wait_until(|all| all.endpoint(Endpoint::Token).in_flight == 1, PATIENCE));
    let before = Instant::now();
    drop(layer);
    assert!(before.elapsed() < Duration::from_secs(2));
    for stream in [&mut idle, &mut held] {
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    }
    assert!(TcpStream::connect(at).is_err());
    assert!(TcpStream::connect(control).is_err());
    let again = start(
        Emulator::builder()
            .port(at.port())
            .control_port(control.port()),
    );
    assert_eq!((again.address(), again.control_address()), (at, control));
    assert_eq!(ask(&again).status, 200);
}

#[test]
fn only_loopback_and_only_free_ports() {
    for address in ["0.0.0.0", "192.0.2.1", "::"] {
        let error = Emulator::builder()
            .bind_address(address.parse().unwrap())
            .start_blocking();
        assert!(
            matches!(error, Err(EmulatorError::NotLoopback(_))),
            "{address}"
        );
        // The API alone may be elsewhere, but not with a public secret, and
        // not in clear.
        let elsewhere = Emulator::builder().api_address(address.parse().unwrap());
        for builder in [
            elsewhere.clone(),
            elsewhere.clone().tls(true),
            elsewhere.clone().client("a", "x"),
        ] {
            assert!(
                matches!(builder.start_blocking(), Err(EmulatorError::NotLoopback(_))),
                "{address}"
            );
        }
    }
    // One of every machine, so that the test needs none of its own.
    let everywhere = start(
        Emulator::builder()
            .api_address("0.0.0.0".parse().unwrap())
            .client("a", "x")
            .tls(true),
    );
    assert!(everywhere.address().ip().is_unspecified());
    assert!(everywhere.control_address().ip().is_loopback());
    let layer = start(Emulator::builder());
    let taken = layer.address().port();
    let error = Emulator::builder()
        .port(taken)
        .start_blocking()
        .unwrap_err();
    assert!(matches!(error, EmulatorError::Bind { port, .. } if port == taken));
    assert!(
        Emulator::builder()
            .client("", "x")
            .start_blocking()
            .is_err()
    );
    assert!(
        Emulator::builder()
            .client("a", "x")
            .client("a", "y")
            .start_blocking()
            .is_err()
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_blocked_runtime_does_not_starve_it() {
    let layer = Emulator::builder().start().await.unwrap();
    // Blocking calls on the one thread that this test's runtime has.
    assert_eq!(ask(&layer).status, 200);
    drop(layer);
}

#[test]
fn many_live_side_by_side_with_keys_of_their_own() {
    let (one, two) = (start(Emulator::builder()), start(Emulator::builder()));
    let access = token(&one);
    assert_eq!((whoami(&one, &access), whoami(&two, &access)), (200, 401));
}

#[test]
fn no_secret_or_token_in_log_counters_or_debug() {
    let secret = "s3cr3t-under-test";
    let builder = Emulator::builder().client(ID, secret);
    assert!(!format!("{builder:?}").contains(secret));
    let layer = start(builder);
    let access = ask_as(&layer, ID, secret).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    ask_as(&layer, ID, "wr0ng-secret");
    whoami(&layer, &access);
    let minted = mint(&layer, &access, DEMO, "").json();
    let business = minted["access_token"].as_str().unwrap();
    get(
        &layer,
        &format!("/v1/businesses/{DEMO}?access_token={access}"),
        business,
    );
    let seen = format!(
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
        business,
        encoded.trim_start_matches("Basic "),
    ] {
        assert!(!seen.contains(hidden), "{hidden}");
    }
    let log = layer.log();
    assert_eq!(log.len(), 5);
    let mark = |index: usize| log[index].authorization.clone().unwrap();
    assert_eq!((mark(0).scheme, mark(2).scheme), ("Basic", "Bearer"));
    assert_ne!(mark(0), mark(1), "another secret shows");
    assert_eq!(mark(2), mark(3));
    assert_eq!(
        (&log[0].client_id, &log[1].client_id),
        (&Some(ID.to_owned()), &None)
    );
    assert_eq!(log[3].business_id.as_deref(), Some(DEMO));
    assert_ne!(SECRET, secret);
}

#[test]
fn a_client_that_leaves_is_counted_and_the_log_can_be_cleared_meanwhile() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::wire(Wire::Stall(At::Before)))
        .unwrap();
    let mut leaver = TcpStream::connect(layer.address()).unwrap();
    leaver
        .write_all(common::token_request(&layer).as_bytes())
        .unwrap();
    let in_flight = |all: &Counters| all.endpoint(Endpoint::Token).in_flight;
    assert!(layer.wait_until(|all| in_flight(all) == 1, PATIENCE));
    layer.clear_log();
    let counts = layer.counters().endpoint(Endpoint::Token);
    assert_eq!(
        (counts.total, counts.in_flight, counts.max_in_flight),
        (0, 1, 1)
    );
    drop(leaver);
    assert!(layer.wait_until(|all| in_flight(all) == 0, PATIENCE));
    assert_eq!(layer.counters().endpoint(Endpoint::Token).unanswered, 1);
    assert!(!layer.wait_until(|all| all.total == 99, Duration::from_millis(10)));
}

#[test]
fn the_log_is_a_ring_and_connections_keep_their_numbers() {
    let layer = start(Emulator::builder());
    let mut stream = TcpStream::connect(layer.address()).unwrap();
    let request = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const REQUESTS: usize = 17_000;
    let mut reader = stream.try_clone().unwrap();
    // Somebody must read the answers, or both sides wait for the other.
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    for _ in 0..REQUESTS {
        stream.write_all(request).unwrap();
    }
    let done =
        |all: &Counters| all.endpoint(Endpoint::Unknown).by_status.get(&401) == Some(&17_000);
    assert!(layer.wait_until(done, PATIENCE * 3));
    let log = layer.log();
    assert_eq!(log.len(), 16_384);
    assert_eq!(log.last().unwrap().number, 17_000);
    assert!(log.iter().all(|entry| entry.connection == 1 && entry.done));
    assert_eq!(layer.counters().connections, 1);
    assert_eq!(layer.log_after(16_999).len(), 1);
    layer.clear_log();
    ask(&layer);
    assert_eq!(layer.log()[0].connection, 2, "numbers go on");
    drop(layer);
    let _ = reading.join();
}

#[test]
fn heads_without_end_are_given_up() {
    let layer = start(Emulator::builder());
    let mut stream = TcpStream::connect(layer.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /whoami HTTP/1.1\r\nx: ").unwrap();
    // What the system's buffers take in says nothing of the emulator, so: send
    // much, and see how the connection ends.
    let _ = stream.write_all(&[b'x'; 1_000_000]);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert!(layer.wait_until(|all| all.open_connections == 0, PATIENCE));
    assert_eq!(layer.counters().total, 0);
    assert_eq!(ask(&layer).status, 200);
}

#[test]
fn handles_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Emulator>();
    shared::<EmulatorError>();
    shared::<Fault>();
    shared::<Counters>();
}
