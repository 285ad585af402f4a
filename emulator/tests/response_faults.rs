//! Faults that change or delay a response.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::time::{Duration, Instant};

use common::{
    access_token, curl, get, request_business_token, request_token, start, wait_until, whoami,
};
use layerfi_auth_emulator::{
    DEMO_BUSINESS_ID as DEMO, Emulator, EmulatorError, Encoding, Endpoint, Fault,
};
use serde_json::json;

fn with(fault: Fault) -> Emulator {
    let layer = start(Emulator::builder());
    layer.fault(Endpoint::Token, fault).unwrap();
    layer
}

#[test]
fn fixed_response_replaces_the_endpoint() {
    let layer = start(Emulator::builder());
    let date = "Thu, 01 Jan 1970 00:00:00 GMT";
    let busy = Fault::status(503)
        .header("Retry-After", "1")
        .header("date", date);
    let id = layer.fault(Endpoint::Token, busy.times(2)).unwrap();
    for _ in 0..2 {
        let response = request_token(&layer)
            .expect_status(503)
            .expect_header("retry-after", Some("1"))
            .expect_header("date", Some(date));
        assert_eq!(response.body, "", "the body must be empty");
        assert!(
            response.header("x-request-id").is_some(),
            "the response must have a request id: {response:?}"
        );
    }
    request_token(&layer).expect_status(200);
    let counters = layer.counters();
    assert_eq!(
        counters.endpoint(Endpoint::Token).by_status[&503],
        2,
        "wrong number of responses with status 503 of the endpoint"
    );
    assert_eq!(
        (counters.status(503), counters.access_tokens),
        (2, 1),
        "wrong number of responses with status 503, or of issued tokens"
    );
    let faults: Vec<_> = layer.log().iter().map(|entry| entry.fault).collect();
    assert_eq!(
        faults,
        [Some(id), Some(id), None],
        "wrong numbers of faults in the log"
    );
}

#[test]
fn body_is_sent_unchanged_and_can_contain_a_valid_token() {
    let html = Fault::text("<p>busy</p>").header("content-type", "text/html");
    let layer = with(html);
    let response = request_token(&layer)
        .expect_status(200)
        .expect_header("content-type", Some("text/html"));
    assert_eq!(response.body, "<p>busy</p>", "the body must not change");

    let twice = r#"{"access_token":"{{token}}","token_type":"Bearer","token_type":"MAC"}"#;
    layer.fault(Endpoint::Token, Fault::text(twice)).unwrap();
    let body = request_token(&layer).body;
    assert!(
        body.ends_with(r#""token_type":"Bearer","token_type":"MAC"}"#),
        "repeated fields must not change: {body}"
    );
    let access = body.split('"').nth(3).unwrap();
    whoami(&layer, access).expect_status(200);

    let session = json!({"access_token": "{{token}}", "expires_in": 1.5});
    layer
        .fault(Endpoint::AuthToken, Fault::json(session))
        .unwrap();
    let business = request_business_token(&layer, access, DEMO, "")
        .expect_field("expires_in", 1.5)
        .access_token();
    get(&layer, &format!("/v1/businesses/{DEMO}"), &business).expect_status(200);
    assert_eq!(
        layer.counters().business_tokens,
        1,
        "a token in a body must be counted"
    );

    layer
        .fault(Endpoint::Token, Fault::status(500).bytes(b"caf\xe9"))
        .unwrap();
    assert_eq!(
        request_token(&layer).body,
        "caf\u{fffd}",
        "bytes that are not UTF-8 must be sent"
    );
}

#[test]
fn patch_and_headers_change_the_real_response() {
    let patch = json!({"expires_in": "12345", "token_type": null, "refresh_token": "x"});
    let layer = with(Fault::patch(patch));
    let response = request_token(&layer)
        .expect_field("expires_in", "12345")
        .expect_field("refresh_token", "x");
    assert!(
        response.json().get("token_type").is_none(),
        "null in a patch must remove the field: {response:?}"
    );
    whoami(&layer, &response.access_token()).expect_status(200);
    layer
        .fault(Endpoint::Token, Fault::default().header("x-extra", "1"))
        .unwrap();
    request_token(&layer)
        .expect_status(200)
        .expect_header("x-extra", Some("1"));
}

#[test]
fn padded_body_has_the_set_length_and_is_valid_json() {
    let layer = with(Fault::default().pad_body_to(70_000));
    let response = request_token(&layer)
        .expect_header("content-length", Some("70000"))
        .expect_field("token_type", "Bearer");
    assert_eq!(response.body.len(), 70_000, "wrong length of the body");
    layer
        .fault(Endpoint::Token, Fault::status(200).pad_body_to(5_000_000))
        .unwrap();
    assert_eq!(
        request_token(&layer).body.len(),
        5_000_000,
        "wrong length of a large body"
    );
}

#[test]
fn skip_times_business_and_forever_select_the_requests() {
    let layer = start(Emulator::builder());
    let access = access_token(&layer);
    layer
        .fault(Endpoint::Whoami, Fault::status(500).skip(1).times(2))
        .unwrap();
    let statuses: Vec<_> = (0..4).map(|_| whoami(&layer, &access).status).collect();
    assert_eq!(
        statuses,
        [200, 500, 500, 200],
        "skip(1) and times(2) must select the second and third request"
    );

    let other = "018f1657-dc66-7482-917b-c0c0e532f52b";
    layer
        .fault(
            Endpoint::AuthToken,
            Fault::status(500).business(DEMO).forever(),
        )
        .unwrap();
    request_business_token(&layer, &access, other, "").expect_status(200);
    for _ in 0..3 {
        request_business_token(&layer, &access, DEMO, "").expect_status(500);
    }
    assert_eq!(
        layer.faults()[0].acted,
        3,
        "wrong number of requests of the fault"
    );
    layer.clear_faults();
    request_business_token(&layer, &access, DEMO, "").expect_status(200);

    let every = layer.add_fault(Fault::status(418).forever()).unwrap();
    request_token(&layer).expect_status(418);
    whoami(&layer, &access).expect_status(418);
    assert!(
        layer.remove_fault(every),
        "an active fault must be removable"
    );
    request_token(&layer).expect_status(200);
    let result = layer.fault(Endpoint::Token, Fault::status(42));
    assert!(
        matches!(result, Err(EmulatorError::Invalid(_))),
        "an invalid fault must be refused: {result:?}"
    );
}

#[test]
fn delayed_response_is_not_sent_before_the_delay() {
    let delay = Duration::from_millis(80);
    let layer = with(Fault::delay(delay));
    let start = Instant::now();
    request_token(&layer).expect_status(200);
    let elapsed = start.elapsed();
    assert!(
        elapsed >= delay,
        "the response came after {elapsed:?}, before the delay of {delay:?}"
    );
    let logged = layer.log()[0].took_ms.unwrap();
    assert!(logged >= 80, "the log has {logged} ms for a delay of 80 ms");
}

#[test]
fn held_responses_are_sent_only_after_a_release() {
    let layer = with(Fault::hold().times(3));
    std::thread::scope(|scope| {
        let requests: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| request_token(&layer).expect_status(200)))
            .collect();
        wait_until(&layer, "three token requests in flight", |counters| {
            counters.endpoint(Endpoint::Token).in_flight == 3
        });
        assert!(
            requests.iter().all(|request| !request.is_finished()),
            "a held response must not be sent before the release"
        );
        layer.release();
        for request in requests {
            request.join().unwrap();
        }
    });
    wait_until(&layer, "no token request in flight", |counters| {
        counters.endpoint(Endpoint::Token).in_flight == 0
    });
    let counters = layer.counters().endpoint(Endpoint::Token);
    assert_eq!(
        (counters.max_in_flight, counters.total),
        (3, 3),
        "wrong counters of the token endpoint: {counters:?}"
    );
}

#[test]
fn encoded_body_is_decoded_by_curl() {
    let layer = start(Emulator::builder());
    // Larger than one block of each encoding.
    let body = "0123456789abcdef".repeat(20_000);
    for (encoding, name) in [
        (Encoding::Gzip, "gzip"),
        (Encoding::Br, "br"),
        (Encoding::Zstd, "zstd"),
    ] {
        for body in ["", "x", &body] {
            let fault = Fault::text(body).encoding(encoding).times(2);
            layer.fault(Endpoint::Whoami, fault).unwrap();
            let url = format!("{}/whoami", layer.url());
            let (code, text) = curl(&["--compressed", &url]);
            assert_eq!(code, 0, "curl must decode {name}: {text}");
            assert!(
                text == body,
                "wrong body of {} bytes with {name}: got {} bytes",
                body.len(),
                text.len()
            );
            let (_, head) = curl(&["-D", "-", "-o", "/dev/null", &url]);
            assert!(
                head.contains(&format!("content-encoding: {name}\r\n")),
                "the response must name its encoding: {head}"
            );
        }
    }
}

#[test]
fn header_can_be_very_long_and_fault_can_name_a_path() {
    let layer = start(Emulator::builder());
    let fault = Fault::default()
        .pad_header("x-request-id", 380_000)
        .header("x-ratelimit-reset", "9999999999")
        .path("/whoami")
        .forever();
    layer.add_fault(fault).unwrap();
    let response = common::whoami(&layer, "x")
        .expect_status(401)
        .expect_header("x-ratelimit-reset", Some("9999999999"));
    assert_eq!(
        response.header("x-request-id").map(str::len),
        Some(380_000),
        "wrong length of the header"
    );
    request_token(&layer).expect_header("x-ratelimit-reset", None);
}
