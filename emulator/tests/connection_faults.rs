//! Faults of the connection, checked byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::time::{Duration, Instant};

use common::StopReading::{AfterBytes, AtEnd, WhenQuiet};
use common::{
    Ending, Response, StopReading, curl, request_token, start, token_request_text, wait_until,
};
use layerfi_auth_emulator::{
    At, Drip, Emulator, Endless, Endpoint, Fault, HttpVersions, Part, Wire,
};
use serde_json::json;

const STATUS_LINE: &str = "HTTP/1.1 200 OK\r\n";

fn with(fault: Fault) -> Emulator {
    let layer = start(Emulator::builder());
    layer.fault(Endpoint::Token, fault).unwrap();
    layer
}

/// The bytes that a token request gets, as text, and the end of its connection.
#[track_caller]
fn exchange(layer: &Emulator, stop: StopReading<'_>) -> (String, Ending) {
    let request = token_request_text(layer);
    let (bytes, ending) = common::exchange(layer.address(), &request, stop);
    (String::from_utf8_lossy(&bytes).into_owned(), ending)
}

/// The `Content-Length` of a response, and the length of the received body.
fn lengths(text: &str) -> (usize, usize) {
    let response = Response::parse(text.as_bytes());
    (
        response.header("content-length").unwrap().parse().unwrap(),
        response.body.len(),
    )
}

fn has_half_of_the_body(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    text.contains("\r\n\r\n") && {
        let (announced, received) = lengths(&text);
        received >= announced / 2
    }
}

#[test]
fn close_reset_and_stall_happen_at_each_point() {
    type Make = fn(At) -> Wire;
    let table: [(Make, Ending); 3] = [
        (Wire::Close, Ending::Closed),
        (Wire::Reset, Ending::Reset),
        (Wire::Stall, Ending::Open),
    ];
    for (wire, expected) in table {
        let run = |at, complete: &dyn Fn(&[u8]) -> bool| {
            let stop = if expected == Ending::Open {
                WhenQuiet(complete)
            } else {
                AtEnd
            };
            let layer = with(Fault::wire(wire(at)));
            let (text, ending) = exchange(&layer, stop);
            assert_eq!(
                ending,
                expected,
                "wrong end of the connection with {:?}; received: {text}",
                wire(at)
            );
            // The next request must get an ordinary response.
            request_token(&layer).expect_status(200);
            text
        };

        let text = run(At::Before, &|_| true);
        assert_eq!(text, "", "no byte must be sent with {:?}", wire(At::Before));

        let text = run(At::MidHead, &|received| {
            received.starts_with(STATUS_LINE.as_bytes())
        });
        assert!(
            text.starts_with(STATUS_LINE) && !text.contains("\r\n\r\n"),
            "only a part of the head must be sent: {text}"
        );

        let text = run(At::MidBody, &has_half_of_the_body);
        let (announced, received) = lengths(&text);
        assert_eq!(
            received,
            announced / 2,
            "half of the body must be sent: {text}"
        );
        assert!(
            announced > 1_000,
            "the body must be the real one, got {announced} bytes"
        );
    }
}

#[test]
fn request_counts_as_unanswered_unless_its_head_was_sent() {
    let layer = with(Fault::wire(Wire::Close(At::Before)));
    exchange(&layer, AtEnd);
    wait_until(&layer, "one unanswered token request", |counters| {
        counters.endpoint(Endpoint::Token).unanswered == 1
    });
    let entry = &layer.log()[0];
    assert_eq!(
        (entry.status, entry.done),
        (None, true),
        "the entry must be done without a status: {entry:?}"
    );
    layer
        .fault(Endpoint::Token, Fault::wire(Wire::Close(At::MidBody)))
        .unwrap();
    exchange(&layer, AtEnd);
    let entry = &layer.log()[1];
    assert_eq!(
        entry.status,
        Some(200),
        "a sent head must be in the log: {entry:?}"
    );
}

#[test]
fn raw_bytes_replace_the_response() {
    let layer = with(Fault::garbage(b"SSH-2.0-OpenSSH_9.7\r\n"));
    assert_eq!(
        exchange(&layer, AtEnd),
        ("SSH-2.0-OpenSSH_9.7\r\n".to_owned(), Ending::Closed),
        "only the raw bytes must be sent"
    );
    let raw = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
    let layer = with(Fault::text(raw).on_wire(Wire::Raw));
    assert_eq!(
        exchange(&layer, AtEnd),
        (raw.to_owned(), Ending::Closed),
        "only the raw text must be sent"
    );
}

#[test]
fn drip_sends_byte_by_byte_until_the_response_is_complete() {
    for part in [Part::Head, Part::Body] {
        let drip = |every_ms| Wire::Drip(Drip { part, every_ms });
        let layer = with(Fault::json(json!({"a": "b"})).on_wire(drip(5)));
        let start = Instant::now();
        let (text, ending) = exchange(&layer, AtEnd);
        let elapsed = start.elapsed();
        let bytes = if part == Part::Head { 50 } else { 9 };
        assert!(
            elapsed >= Duration::from_millis(5 * bytes),
            "{bytes} bytes with 5 ms between them came in {elapsed:?}"
        );
        assert_eq!(ending, Ending::Closed, "wrong end of the connection");
        assert_eq!(
            Response::parse(text.as_bytes()).json(),
            json!({"a": "b"}),
            "the body must be complete: {text}"
        );

        // With an hour between two bytes, exactly one byte comes.
        let layer = with(Fault::wire(drip(3_600_000)));
        let first_byte = |received: &[u8]| match part {
            Part::Head => !received.is_empty(),
            Part::Body => {
                let text = String::from_utf8_lossy(received);
                text.split_once("\r\n\r\n")
                    .is_some_and(|(_, body)| !body.is_empty())
            }
        };
        let (text, ending) = exchange(&layer, WhenQuiet(&first_byte));
        assert_eq!(ending, Ending::Open, "the connection must stay open");
        match part {
            Part::Head => assert_eq!(text, "H", "one byte of the head must be sent"),
            Part::Body => assert_eq!(lengths(&text).1, 1, "one byte of the body: {text}"),
        }
    }
}

#[test]
fn endless_response_does_not_end() {
    const MANY: usize = 1_000_000;
    let read = |part| {
        let layer = with(Fault::wire(Wire::Endless(part)));
        let (text, ending) = exchange(&layer, AfterBytes(MANY));
        assert_eq!(
            ending,
            Ending::Open,
            "endless {part:?} ended after {} bytes",
            text.len()
        );
        // Other requests must get an ordinary response.
        request_token(&layer).expect_status(200);
        text
    };
    let text = read(Endless::Body);
    assert!(
        text.contains("transfer-encoding: chunked\r\n"),
        "an endless body must be chunked"
    );

    let text = read(Endless::Headers);
    assert!(
        text.starts_with(STATUS_LINE) && !text.contains("\r\n\r\n"),
        "endless headers must not reach the body"
    );

    let text = read(Endless::Informational);
    let hints = text.matches("HTTP/1.1 103 Early Hints\r\n").count();
    assert!(
        hints > 1_000,
        "there must be more than 1000 informational responses, got {hints}"
    );
    assert!(
        !text.contains("HTTP/1.1 200"),
        "the final response must not be sent"
    );
}

#[test]
fn content_length_is_larger_than_a_body_that_is_cut() {
    let layer = with(Fault::text("abcdefgh").on_wire(Wire::Close(At::MidBody)));
    let (text, ending) = exchange(&layer, AtEnd);
    assert_eq!(
        (lengths(&text), ending),
        ((8, 4), Ending::Closed),
        "half of the body must be sent: {text}"
    );
    let layer = with(Fault::status(204).on_wire(Wire::Close(At::MidBody)));
    exchange(&layer, AtEnd);
    let layer = with(
        Fault::text("ab")
            .pad_body_to(100)
            .on_wire(Wire::Close(At::MidBody)),
    );
    let (text, _) = exchange(&layer, AtEnd);
    assert_eq!(
        lengths(&text),
        (100, 50),
        "half of the padded body must be sent: {text}"
    );
    let body = format!("ab{}", " ".repeat(48));
    assert!(
        text.ends_with(&format!("\r\n\r\n{body}")),
        "the padding must be spaces: {text}"
    );
}

#[test]
fn connection_faults_work_over_tls_with_both_http_versions() {
    // Exit codes of curl.
    const SUCCESS: i32 = 0;
    const EMPTY: i32 = 52;
    const PARTIAL: i32 = 18;
    const TIMED_OUT: i32 = 28;
    const RECEIVE: i32 = 56;
    // With HTTP/2, curl has several codes for a lost connection.
    const LOST: &[i32] = &[PARTIAL, 55, RECEIVE, 16, 92];
    let drip = Wire::Drip(Drip {
        part: Part::Body,
        every_ms: 1,
    });
    // The expected codes with HTTP/1.1 and with HTTP/2.
    let table: [(Wire, [&[i32]; 2]); 9] = [
        (Wire::Close(At::Before), [&[EMPTY], LOST]),
        (Wire::Reset(At::Before), [&[RECEIVE], LOST]),
        (Wire::Stall(At::Before), [&[TIMED_OUT], &[TIMED_OUT]]),
        (Wire::Close(At::MidBody), [&[PARTIAL], LOST]),
        (Wire::Reset(At::MidBody), [&[RECEIVE], LOST]),
        (Wire::Stall(At::MidBody), [&[TIMED_OUT], &[TIMED_OUT]]),
        (Wire::Endless(Endless::Body), [&[TIMED_OUT], &[TIMED_OUT]]),
        (
            Wire::Endless(Endless::Headers),
            [&[RECEIVE, TIMED_OUT], LOST],
        ),
        (drip, [&[SUCCESS], &[SUCCESS]]),
    ];
    for (index, versions) in [HttpVersions::Http1, HttpVersions::Http2]
        .into_iter()
        .enumerate()
    {
        let layer = start(Emulator::builder().tls(true).http_versions(versions));
        let file =
            std::env::temp_dir().join(format!("layerfi-wire-{}-{index}.pem", std::process::id()));
        layer.write_ca_pem(&file).unwrap();
        let url = format!("{}/whoami", layer.url());
        let ca = file.to_str().unwrap();
        for (wire, expected) in &table {
            // Where curl must run into its timeout, the first one is short. On a
            // slow machine it may pass before the request arrives; then the next
            // one is used.
            let timeouts: &[&str] = if expected[index].contains(&TIMED_OUT) {
                &["0.7", "5", "60"]
            } else {
                &["300"]
            };
            layer.fault(Endpoint::Whoami, Fault::wire(*wire)).unwrap();
            let (code, text) = timeouts
                .iter()
                .map(|timeout| curl(&["-m", timeout, "-o", "/dev/null", "--cacert", ca, &url]))
                .find(|_| {
                    wait_until(&layer, "no open connection", |counters| {
                        counters.open_connections == 0
                    });
                    layer.faults().is_empty()
                })
                .unwrap_or_else(|| panic!("no request of curl arrived with {wire:?}"));
            assert!(
                expected[index].contains(&code),
                "curl must exit with one of {:?} for {wire:?} with {versions:?}, got {code}: {text}",
                expected[index]
            );
        }
        wait_until(&layer, "no request in flight", |counters| {
            counters.endpoint(Endpoint::Whoami).in_flight == 0
        });
        let _ = std::fs::remove_file(file);
    }
}
