//! Faults in what is answered, and when.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, ask, get, mint, start, token, whoami};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID as DEMO, Emulator, Endpoint, Fault};
use serde_json::json;

#[test]
fn a_canned_answer_replaces_the_endpoint() {
    let layer = start(Emulator::builder());
    let busy = Fault::status(503)
        .header("Retry-After", "1")
        .header("date", "Thu, 01 Jan 1970 00:00:00 GMT");
    let id = layer.fault(Endpoint::Token, busy.times(2)).unwrap();
    for _ in 0..2 {
        let answer = ask(&layer);
        assert_eq!((answer.status, answer.body.as_str()), (503, ""));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(ask(&layer).status, 200);
    let counters = layer.counters();
    assert_eq!(counters.endpoint(Endpoint::Token).by_status[&503], 2);
    assert_eq!((counters.status(503), counters.access_tokens), (2, 1));
    let faults: Vec<_> = layer.log().iter().map(|entry| entry.fault).collect();
    assert_eq!(faults, [Some(id), Some(id), None]);
}

#[test]
fn bodies_are_sent_as_they_are_and_can_carry_a_working_token() {
    let layer = start(Emulator::builder());
    let html = Fault::text("<p>busy</p>").header("content-type", "text/html");
    layer.fault(Endpoint::Token, html).unwrap();
    let answer = ask(&layer);
    assert_eq!((answer.status, answer.body.as_str()), (200, "<p>busy</p>"));
    assert_eq!(answer.header("content-type"), Some("text/html"));

    let twice = r#"{"access_token":"{{token}}","token_type":"Bearer","token_type":"MAC"}"#;
    layer.fault(Endpoint::Token, Fault::text(twice)).unwrap();
    let body = ask(&layer).body;
    assert!(
        body.ends_with(r#""token_type":"Bearer","token_type":"MAC"}"#),
        "{body}"
    );
    let access = body.split('"').nth(3).unwrap();
    assert_eq!(whoami(&layer, access), 200, "it works");

    let session = json!({"access_token": "{{token}}", "expires_in": 1.5});
    layer
        .fault(Endpoint::AuthToken, Fault::json(session))
        .unwrap();
    let answer = mint(&layer, access, DEMO, "").json();
    assert_eq!(answer["expires_in"], 1.5);
    let business = answer["access_token"].as_str().unwrap();
    assert_eq!(
        get(&layer, &format!("/v1/businesses/{DEMO}"), business).status,
        200
    );
    assert_eq!(layer.counters().business_tokens, 1);

    layer
        .fault(Endpoint::Token, Fault::status(500).bytes(b"caf\xe9"))
        .unwrap();
    assert_eq!(ask(&layer).body, "caf\u{fffd}");
}

#[test]
fn a_patch_changes_the_real_answer() {
    let layer = start(Emulator::builder());
    let patch = json!({"expires_in": "12345", "token_type": null, "refresh_token": "x"});
    layer.fault(Endpoint::Token, Fault::patch(patch)).unwrap();
    let answer = ask(&layer).json();
    assert_eq!(answer["expires_in"], "12345");
    assert!(answer.get("token_type").is_none());
    assert_eq!(answer["refresh_token"], "x");
    assert_eq!(
        whoami(&layer, answer["access_token"].as_str().unwrap()),
        200
    );
    layer
        .fault(Endpoint::Token, Fault::default().header("x-extra", "1"))
        .unwrap();
    let answer = ask(&layer);
    assert_eq!((answer.status, answer.header("x-extra")), (200, Some("1")));
}

#[test]
fn padding_keeps_json_valid() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::default().pad_body_to(70_000))
        .unwrap();
    let answer = ask(&layer);
    assert_eq!(
        (answer.body.len(), answer.header("content-length")),
        (70_000, Some("70000"))
    );
    assert_eq!(answer.json()["token_type"], "Bearer");
    layer
        .fault(Endpoint::Token, Fault::status(200).pad_body_to(5_000_000))
        .unwrap();
    assert_eq!(ask(&layer).body.len(), 5_000_000);
}

#[test]
fn skip_times_business_and_forever_choose_the_requests() {
    let layer = start(Emulator::builder());
    let access = token(&layer);
    layer
        .fault(Endpoint::Whoami, Fault::status(500).skip(1).times(2))
        .unwrap();
    let seen: Vec<_> = (0..4).map(|_| whoami(&layer, &access)).collect();
    assert_eq!(seen, [200, 500, 500, 200]);

    let other = "018f1657-dc66-7482-917b-c0c0e532f52b";
    layer
        .fault(
            Endpoint::AuthToken,
            Fault::status(500).business(DEMO).forever(),
        )
        .unwrap();
    assert_eq!(mint(&layer, &access, other, "").status, 200);
    for _ in 0..3 {
        assert_eq!(mint(&layer, &access, DEMO, "").status, 500);
    }
    assert_eq!(layer.faults()[0].acted, 3);
    layer.clear_faults();
    assert_eq!(mint(&layer, &access, DEMO, "").status, 200);

    let any = layer.add_fault(Fault::status(418).forever()).unwrap();
    assert_eq!((ask(&layer).status, whoami(&layer, &access)), (418, 418));
    assert!(layer.remove_fault(any));
    assert_eq!(ask(&layer).status, 200);
    assert!(layer.fault(Endpoint::Token, Fault::status(42)).is_err());
}

#[test]
fn a_late_answer_is_the_real_one_made_on_arrival() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::delay(Duration::from_millis(80)))
        .unwrap();
    let before = Instant::now();
    assert_eq!(ask(&layer).status, 200);
    assert!(before.elapsed() >= Duration::from_millis(80));
    assert!(layer.log()[0].took_ms.unwrap() >= 80);
}

#[test]
fn a_held_answer_waits_for_its_release() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::hold().times(3))
        .unwrap();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(|| ask(&layer).status)).collect();
        let all = |counters: &layerfi_auth_emulator::Counters| {
            counters.endpoint(Endpoint::Token).in_flight == 3
        };
        assert!(layer.wait_until(all, PATIENCE));
        assert!(asking.iter().all(|asking| !asking.is_finished()));
        layer.release();
        for asking in asking {
            assert_eq!(asking.join().unwrap(), 200);
        }
    });
    let counts = layer.counters().endpoint(Endpoint::Token);
    assert_eq!(
        (counts.in_flight, counts.max_in_flight, counts.total),
        (0, 3, 3)
    );
}
