//! Every fault on the wire, as raw bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Ending, PATIENCE, ask, curl, raw, start, token_request};
use layerfi_auth_emulator::{
    At, Counters, Drip, Emulator, Endless, Endpoint, Fault, HttpVersions, Part, Wire,
};
use serde_json::json;

const SHORT: Duration = Duration::from_millis(150);

fn with(fault: Fault) -> Emulator {
    let layer = start(Emulator::builder());
    layer.fault(Endpoint::Token, fault).unwrap();
    layer
}

fn exchange(layer: &Emulator, patience: Duration, cap: usize) -> (String, Ending) {
    let (bytes, ending) = raw(layer.address(), &token_request(layer), patience, cap);
    (String::from_utf8_lossy(&bytes).into_owned(), ending)
}

/// Promised and received body lengths.
fn lengths(text: &str) -> (usize, usize) {
    let answer = Answer::parse(text.as_bytes());
    (
        answer.header("content-length").unwrap().parse().unwrap(),
        answer.body.len(),
    )
}

#[test]
fn close_reset_and_stall_at_each_point() {
    type Make = fn(At) -> Wire;
    let table: [(Make, Ending); 3] = [
        (Wire::Close, Ending::Closed),
        (Wire::Reset, Ending::Reset),
        (Wire::Stall, Ending::Open),
    ];
    for (wire, ending) in table {
        let patience = if ending == Ending::Open {
            SHORT
        } else {
            PATIENCE
        };

        let layer = with(Fault::wire(wire(At::Before)));
        assert_eq!(
            exchange(&layer, patience, usize::MAX),
            (String::new(), ending)
        );
        assert_eq!(ask(&layer).status, 200, "the next one is answered");

        let layer = with(Fault::wire(wire(At::MidHead)));
        let (text, ended) = exchange(&layer, patience, usize::MAX);
        assert_eq!(ended, ending);
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && !text.contains("\r\n\r\n"),
            "{text}"
        );

        let layer = with(Fault::wire(wire(At::MidBody)));
        let (text, ended) = exchange(&layer, patience, usize::MAX);
        assert_eq!(ended, ending);
        let (promised, got) = lengths(&text);
        assert_eq!(got, promised / 2, "{text}");
        assert!(promised > 1_000);
    }
}

#[test]
fn a_cut_counts_as_unanswered_unless_its_head_went_out() {
    let layer = with(Fault::wire(Wire::Close(At::Before)));
    exchange(&layer, PATIENCE, usize::MAX);
    let unanswered = |counters: &Counters| counters.endpoint(Endpoint::Token).unanswered == 1;
    assert!(layer.wait_until(unanswered, PATIENCE));
    let entry = &layer.log()[0];
    assert_eq!((entry.status, entry.done), (None, true));
    layer
        .fault(Endpoint::Token, Fault::wire(Wire::Close(At::MidBody)))
        .unwrap();
    exchange(&layer, PATIENCE, usize::MAX);
    assert_eq!(layer.log()[1].status, Some(200));
}

#[test]
fn raw_bytes_stand_in_for_an_answer() {
    let layer = with(Fault::garbage(b"SSH-2.0-OpenSSH_9.7\r\n"));
    assert_eq!(
        exchange(&layer, PATIENCE, usize::MAX),
        ("SSH-2.0-OpenSSH_9.7\r\n".to_owned(), Ending::Closed)
    );
    let own = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
    let layer = with(Fault::text(own).on_wire(Wire::Raw));
    assert_eq!(
        exchange(&layer, PATIENCE, usize::MAX),
        (own.to_owned(), Ending::Closed)
    );
}

#[test]
fn a_drip_comes_byte_by_byte_and_is_whole_in_the_end() {
    for part in [Part::Head, Part::Body] {
        let fault = Fault::json(json!({"a": "b"})).on_wire(Wire::Drip(Drip { part, every_ms: 5 }));
        let layer = with(fault);
        let before = Instant::now();
        let (text, ending) = exchange(&layer, PATIENCE, usize::MAX);
        let least = if part == Part::Head { 50 } else { 9 } * 5;
        assert!(
            before.elapsed() >= Duration::from_millis(least),
            "{:?}",
            before.elapsed()
        );
        assert_eq!(ending, Ending::Closed);
        assert_eq!(
            Answer::parse(text.as_bytes()).json(),
            json!({"a": "b"}),
            "{text}"
        );

        let layer = with(Fault::wire(Wire::Drip(Drip {
            part,
            every_ms: 1_000,
        })));
        let (text, ending) = exchange(&layer, SHORT, usize::MAX);
        assert_eq!(ending, Ending::Open);
        match part {
            Part::Head => assert_eq!(text, "H"),
            Part::Body => assert_eq!(lengths(&text).1, 1, "{text}"),
        }
    }
}

#[test]
fn endless_answers_do_not_end() {
    const MUCH: usize = 1_000_000;
    let layer = with(Fault::wire(Wire::Endless(Endless::Body)));
    let (text, ending) = exchange(&layer, PATIENCE, MUCH);
    assert_eq!(ending, Ending::Open);
    assert!(text.contains("transfer-encoding: chunked\r\n") && text.len() >= MUCH);

    let layer = with(Fault::wire(Wire::Endless(Endless::Headers)));
    let (text, ending) = exchange(&layer, PATIENCE, MUCH);
    assert_eq!(ending, Ending::Open);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && !text.contains("\r\n\r\n"));

    let layer = with(Fault::wire(Wire::Endless(Endless::Informational)));
    let (text, ending) = exchange(&layer, PATIENCE, MUCH);
    assert_eq!(ending, Ending::Open);
    assert!(text.matches("HTTP/1.1 103 Early Hints\r\n").count() > 1_000);
    assert!(!text.contains("HTTP/1.1 200"));
    // The emulator is none the worse.
    assert_eq!(ask(&layer).status, 200);
}

#[test]
fn a_promise_of_more_than_is_sent() {
    let layer = with(Fault::text("abcdefgh").on_wire(Wire::Close(At::MidBody)));
    let (text, ending) = exchange(&layer, PATIENCE, usize::MAX);
    assert_eq!((lengths(&text), ending), ((8, 4), Ending::Closed));
    let layer = with(Fault::status(204).on_wire(Wire::Close(At::MidBody)));
    exchange(&layer, PATIENCE, usize::MAX);
    let layer = with(
        Fault::text("ab")
            .pad_body_to(100)
            .on_wire(Wire::Close(At::MidBody)),
    );
    let (text, _) = exchange(&layer, PATIENCE, usize::MAX);
    assert_eq!(lengths(&text), (100, 50));
    assert!(
        text.ends_with("\r\n\r\nab                                                "),
        "{text}"
    );
}

/// curl's exit codes: what a real client makes of it, over TLS and HTTP/2.
#[test]
fn faults_work_over_tls_and_http2() {
    const EMPTY: i32 = 52;
    const PARTIAL: i32 = 18;
    const TIMEOUT: i32 = 28;
    const RECEIVE: i32 = 56;
    // A lost connection has several names where streams share it.
    const LOST: &[i32] = &[PARTIAL, 55, RECEIVE, 16, 92];
    let drip = Wire::Drip(Drip {
        part: Part::Body,
        every_ms: 1,
    });
    // `expected` by version: HTTP/1.1, HTTP/2.
    let table: [(Wire, [&[i32]; 2]); 9] = [
        (Wire::Close(At::Before), [&[EMPTY], LOST]),
        (Wire::Reset(At::Before), [&[RECEIVE], LOST]),
        (Wire::Stall(At::Before), [&[TIMEOUT], &[TIMEOUT]]),
        (Wire::Close(At::MidBody), [&[PARTIAL], LOST]),
        (Wire::Reset(At::MidBody), [&[RECEIVE], LOST]),
        (Wire::Stall(At::MidBody), [&[TIMEOUT], &[TIMEOUT]]),
        (Wire::Endless(Endless::Body), [&[TIMEOUT], &[TIMEOUT]]),
        (Wire::Endless(Endless::Headers), [&[RECEIVE, TIMEOUT], LOST]),
        (drip, [&[0], &[0]]),
    ];
    for (index, versions) in [HttpVersions::Http1, HttpVersions::Http2]
        .into_iter()
        .enumerate()
    {
        let layer = start(Emulator::builder().tls(true).http_versions(versions));
        let file =
            std::env::temp_dir().join(format!("layerfi-wire-{}-{index}.pem", std::process::id()));
        layer.write_ca_pem(&file).unwrap();
        for (wire, expected) in &table {
            layer.fault(Endpoint::Whoami, Fault::wire(*wire)).unwrap();
            let url = format!("{}/whoami", layer.url());
            let file = file.to_str().unwrap();
            // Patience costs time only where running out of it is the point.
            let wait = if expected[index].contains(&TIMEOUT) {
                "0.7"
            } else {
                "20"
            };
            let (code, text) = curl(&["-m", wait, "-o", "/dev/null", "--cacert", file, &url]);
            assert!(
                expected[index].contains(&code),
                "{versions:?} {wire:?}: {code} {text}"
            );
        }
        let idle = |all: &Counters| {
            all.endpoint(Endpoint::Whoami).in_flight == 0 && all.open_connections == 0
        };
        assert!(
            layer.wait_until(idle, PATIENCE),
            "{versions:?}: something was left behind"
        );
        let _ = std::fs::remove_file(file);
    }
}
