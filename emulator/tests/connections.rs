//! Connections that end, freeze or change while a client keeps them open, seen by
//! curl and by raw sockets.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use common::{
    MAX_WAIT, Response, command, control, curl, request_token, start, start_error, wait_until,
};
use layerfi_auth_emulator::{
    At, ConnectionAction, Emulator, EmulatorError, Endpoint, Fault, HttpVersions, Wire,
};

/// A request without `Connection: close`.
const WHOAMI: &[u8] = b"GET /whoami HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn connect(layer: &Emulator) -> TcpStream {
    let stream = TcpStream::connect(layer.address()).unwrap();
    stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
    stream
}

/// Reads a response to its `Content-Length`; `None` if the connection ended first.
fn read_response(stream: &mut TcpStream) -> Option<Response> {
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
        }
        if received.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let response = Response::parse(&received);
            let length: usize = response.header("content-length")?.parse().unwrap();
            if response.body.len() >= length {
                return Some(response);
            }
        }
    }
}

/// Sends a request and reads its response.
#[track_caller]
fn ask(stream: &mut TcpStream) -> Response {
    stream.write_all(WHOAMI).unwrap();
    read_response(stream).unwrap_or_else(|| panic!("the connection ended without a response"))
}

#[track_caller]
fn expect_end(stream: &mut TcpStream) {
    let result = stream.read(&mut [0; 64]);
    assert!(
        matches!(result, Ok(0) | Err(_)),
        "the connection must end, but reading gave {result:?}"
    );
}

/// The bytes of an HTTP/2 client: preface, empty SETTINGS, and a GET of /whoami on
/// each stream.
fn http2_requests(streams: &[u8]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // Literals without indexing, so that the same bytes work on each stream.
    let headers = b"\x82\x86\x04\x07/whoami\x01\x09localhost";
    for stream in streams {
        bytes.extend([0, 0, u8::try_from(headers.len()).unwrap(), 1, 5, 0, 0, 0]);
        bytes.push(*stream);
        bytes.extend(headers);
    }
    bytes
}

#[test]
fn frozen_connection_answers_after_a_release_and_others_work() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Whoami, Fault::wire(Wire::Freeze))
        .unwrap();
    let mut frozen = connect(&layer);
    frozen.write_all(WHOAMI).unwrap();
    wait_until(&layer, "one request to whoami", |counters| {
        counters.endpoint(Endpoint::Whoami).total == 1
    });
    // It accepts a second request, and sends nothing.
    frozen.write_all(WHOAMI).unwrap();
    request_token(&layer).expect_status(200);
    frozen
        .set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    let result = frozen.read(&mut [0; 64]);
    assert!(
        result.is_err(),
        "a frozen connection must send nothing, but reading gave {result:?}"
    );
    assert_eq!(
        layer.count(Endpoint::Whoami),
        1,
        "a frozen connection must not read requests"
    );
    frozen.set_read_timeout(Some(MAX_WAIT)).unwrap();
    layer.release();
    let (mut received, mut buffer) = (String::new(), [0; 4096]);
    while received.matches("HTTP/1.1 401").count() < 2 {
        let count = frozen.read(&mut buffer).unwrap();
        assert_ne!(
            count, 0,
            "both requests must be answered after the release, got {received}"
        );
        received += &String::from_utf8_lossy(&buffer[..count]);
    }
}

#[test]
fn frozen_http2_connection_answers_no_stream() {
    let layer = start(Emulator::builder().http_versions(HttpVersions::Http2));
    layer
        .fault(Endpoint::Whoami, Fault::wire(Wire::Freeze))
        .unwrap();
    let url = format!("{}/whoami", layer.url());
    let one = |limit: &str| {
        let args = ["--http2-prior-knowledge", "-m", limit, "-o", "/dev/null"];
        curl(&[&args[..], &["-w", "%{http_code}", &url]].concat())
    };
    // On a slow machine the first limit may pass before the request arrives.
    let frozen = ["1", "10", "60"].iter().find(|limit| {
        let (code, text) = one(limit);
        assert_eq!(code, 28, "curl must time out: {text}");
        layer.faults().is_empty()
    });
    assert!(frozen.is_some(), "no request of curl arrived");
    let (code, text) = one("300");
    assert_eq!(
        (code, text.as_str()),
        (0, "401"),
        "a new connection must work"
    );
}

#[test]
fn connections_can_be_frozen_finished_closed_and_reset() {
    let layer = start(Emulator::builder());
    let mut idle = connect(&layer);
    ask(&mut idle).expect_status(401);
    layer.fault(Endpoint::Whoami, Fault::hold()).unwrap();
    let mut busy = connect(&layer);
    busy.write_all(WHOAMI).unwrap();
    wait_until(&layer, "one request in flight", |counters| {
        counters.endpoint(Endpoint::Whoami).in_flight == 1
    });

    assert_eq!(
        layer.connections(ConnectionAction::Close, None, true),
        1,
        "only the idle connection must be closed"
    );
    expect_end(&mut idle);
    let number = layer.log()[1].connection;
    let body = format!(r#"{{"action": "finish", "connection": {number}}}"#);
    assert_eq!(
        command(&layer, "POST", "/connections", &body)["connections"],
        1,
        "the connection must be found by its number"
    );
    layer.release();
    let response = read_response(&mut busy).unwrap();
    response.expect_header("connection", Some("close"));
    expect_end(&mut busy);

    let mut open = connect(&layer);
    ask(&mut open);
    command(&layer, "POST", "/connections", r#"{"action": "freeze"}"#);
    open.write_all(WHOAMI).unwrap();
    request_token(&layer).expect_status(200);
    layer.release();
    read_response(&mut open).unwrap().expect_status(401);
    command(&layer, "POST", "/connections", r#"{"action": "reset"}"#);
    let error = open.read(&mut [0; 64]).map_err(|error| error.kind());
    assert_eq!(
        error,
        Err(std::io::ErrorKind::ConnectionReset),
        "the connection must be reset"
    );
    control(&layer, "POST", "/connections", r#"{"action": "sing"}"#).expect_status(400);
}

#[test]
fn connection_ends_after_a_response_without_an_announcement() {
    let layer = start(Emulator::builder());
    for wire in [Wire::Close(At::After), Wire::Reset(At::After)] {
        layer.fault(Endpoint::Whoami, Fault::wire(wire)).unwrap();
        let mut stream = connect(&layer);
        ask(&mut stream)
            .expect_status(401)
            .expect_header("connection", None);
        expect_end(&mut stream);
    }
    layer
        .fault(Endpoint::Whoami, Fault::wire(Wire::Stall(At::After)))
        .unwrap();
    let mut stream = connect(&layer);
    ask(&mut stream).expect_status(401);
    // The second request is accepted, and never read as a request.
    std::thread::sleep(Duration::from_millis(100));
    stream.write_all(WHOAMI).unwrap();
    let before = layer.count(Endpoint::Whoami);
    request_token(&layer).expect_status(200);
    assert_eq!(
        layer.count(Endpoint::Whoami),
        before,
        "a stalled connection must not answer"
    );
}

#[test]
fn go_away_with_last_stream_0_is_sent_on_http2() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Whoami, Fault::wire(Wire::GoAway))
        .unwrap();
    let mut stream = connect(&layer);
    stream.write_all(&http2_requests(&[1])).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(
        received.ends_with(&go_away),
        "the last frame must be GOAWAY with last stream 0, got {received:?}"
    );
    assert_eq!(
        layer.count(Endpoint::Whoami),
        1,
        "the request must have been counted"
    );
    // On HTTP/1.1 the connection closes without a response.
    layer
        .fault(Endpoint::Whoami, Fault::wire(Wire::GoAway))
        .unwrap();
    let mut stream = connect(&layer);
    stream.write_all(WHOAMI).unwrap();
    expect_end(&mut stream);
}

#[test]
fn connection_ends_in_order_after_a_number_of_requests() {
    let layer = start(Emulator::builder().requests_per_connection(2));
    let mut stream = connect(&layer);
    ask(&mut stream).expect_header("connection", None);
    ask(&mut stream).expect_header("connection", Some("close"));
    expect_end(&mut stream);
    let mut stream = connect(&layer);
    stream.write_all(&http2_requests(&[1, 3])).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0];
    while !received.windows(9).any(|bytes| bytes == go_away) {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "GOAWAY must be sent on HTTP/2, got {received:?}");
        received.extend_from_slice(&buffer[..count]);
    }
    wait_until(&layer, "two answered requests on HTTP/2", |counters| {
        counters.endpoint(Endpoint::Whoami).by_status.get(&401) == Some(&4)
    });
    layer.set_requests_per_connection(None);
    let error = start_error(Emulator::builder().requests_per_connection(0));
    assert!(
        matches!(error, EmulatorError::Invalid(_)),
        "0 requests must be refused: {error:?}"
    );
    control(
        &layer,
        "POST",
        "/settings",
        r#"{"requests_per_connection": 0}"#,
    )
    .expect_status(400);
}

#[test]
fn idle_connection_is_closed_after_its_time_and_a_busy_one_is_not() {
    let layer = start(Emulator::builder().idle_timeout(Duration::from_millis(50)));
    let mut idle = connect(&layer);
    ask(&mut idle);
    expect_end(&mut idle);
    command(&layer, "POST", "/settings", r#"{"idle_timeout_ms": 60}"#);
    layer.fault(Endpoint::Whoami, Fault::hold()).unwrap();
    let (answered, done) = mpsc::channel();
    let mut busy = connect(&layer);
    std::thread::spawn(move || answered.send(ask(&mut busy).status));
    wait_until(&layer, "one request in flight", |counters| {
        counters.endpoint(Endpoint::Whoami).in_flight == 1
    });
    std::thread::sleep(Duration::from_millis(200));
    layer.release();
    assert_eq!(
        done.recv_timeout(MAX_WAIT),
        Ok(401),
        "a connection with a request in flight must not be closed"
    );
}
