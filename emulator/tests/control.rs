//! The control API: what Rust can do, over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use common::{
    PATIENCE, ask, ask_as, control, mint, request, send, start, token, token_request, whoami,
};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID as ID, DEFAULT_CLIENT_SECRET as SECRET, DEMO_BUSINESS_ID as DEMO, Emulator,
    Endpoint,
};
use serde_json::json;

#[test]
fn info_says_all_that_a_client_needs_and_no_secret() {
    let layer = start(Emulator::builder().tls(true));
    let (status, info) = control(&layer, "GET", "/", "");
    assert_eq!(status, 200);
    assert_eq!(info["api_url"], layer.url());
    assert_eq!(info["token_url"], layer.token_url());
    assert_eq!(info["control_url"], layer.control_url());
    assert_eq!(info["environment"], "sandbox");
    assert_eq!(info["scope"], layer.scope());
    assert_eq!(info["client_ids"], json!([ID]));
    assert_eq!(info["demo_business_id"], DEMO);
    assert!(
        info["ca_pem"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(!info.to_string().contains(SECRET));
    assert!(!info.to_string().contains("PRIVATE KEY"));
}

#[test]
fn faults_are_added_listed_and_cleared() {
    let layer = start(Emulator::builder());
    let fault = r#"{"endpoint": "token", "status": 503, "times": 2}"#;
    let (status, answer) = control(&layer, "POST", "/faults", fault);
    assert_eq!((status, &answer), (200, &json!({"ids": [1]})));
    let two = r#" [{"endpoint": "whoami", "wire": {"reset": "before"}}, {"status": 500, "times": "forever"}]"#;
    assert_eq!(
        control(&layer, "POST", "/faults", two).1,
        json!({"ids": [2, 3]})
    );
    assert_eq!(ask(&layer).status, 503);
    let listed = control(&layer, "GET", "/faults", "").1;
    assert_eq!(
        listed["faults"][0],
        json!({"id": 1, "acted": 1, "fault": {"endpoint": "token", "status": 503, "times": 2}})
    );
    assert_eq!(
        control(&layer, "DELETE", "/faults/1", "").1,
        json!({"removed": true})
    );
    assert_eq!(ask(&layer).status, 500);
    assert_eq!(control(&layer, "DELETE", "/faults", "").0, 200);
    assert_eq!(ask(&layer).status, 200);
}

#[test]
fn a_bad_order_says_what_is_wrong_and_changes_nothing() {
    let layer = start(Emulator::builder());
    for (path, body, word) in [
        ("/faults", r#"{"statsu": 503}"#, "unknown field `statsu`"),
        ("/faults", r#"[{"status": 503}, {"status": 20}]"#, "status"),
        ("/faults", "nonsense", "expected"),
        ("/clock", r#"{"advance": 1}"#, "unknown field `advance`"),
        ("/settings", r#"{"rate_limit": "fast"}"#, "invalid type"),
        ("/settings", r#"{"tls_trouble": "expired"}"#, "plain HTTP"),
        ("/revoke", "{}", "either"),
        ("/revoke", r#"{"all": "everything"}"#, "unknown variant"),
        ("/rotate", r#"{"client_id": "x"}"#, "client_secret"),
    ] {
        let (status, answer) = control(&layer, "POST", path, body);
        assert_eq!(status, 400, "{path} {body}");
        assert!(answer["error"].as_str().unwrap().contains(word), "{answer}");
    }
    assert!(layer.faults().is_empty());
    let unknown = r#"{"client_id": "nobody", "client_secret": "x"}"#;
    assert_eq!(control(&layer, "POST", "/rotate", unknown).0, 404);
    assert_eq!(control(&layer, "POST", "/nothing", "").0, 404);
    assert_eq!(control(&layer, "PUT", "/faults", "{}").0, 404);
    assert_eq!(control(&layer, "GET", "/log?since=1", "").0, 400);
}

#[test]
fn clock_tokens_and_secrets() {
    let layer = start(Emulator::builder());
    let (_, clock) = control(&layer, "POST", "/clock", r#"{"stopped": true}"#);
    assert_eq!(clock["stopped"], true);
    let access = token(&layer);
    let (_, moved) = control(&layer, "POST", "/clock", r#"{"advance_ms": 3600000}"#);
    assert_eq!(
        moved["now_ms"].as_i64().unwrap() - clock["now_ms"].as_i64().unwrap(),
        3_600_000
    );
    assert_eq!(whoami(&layer, &access), 401);
    control(
        &layer,
        "POST",
        "/clock",
        r#"{"advance_ms": -3600000, "stopped": false}"#,
    );
    assert_eq!(whoami(&layer, &access), 200);
    assert_eq!(control(&layer, "GET", "/clock", "").1["stopped"], false);

    let order = json!({"token": access}).to_string();
    assert_eq!(
        control(&layer, "POST", "/revoke", &order).1,
        json!({"revoked": true})
    );
    assert_eq!(whoami(&layer, &access), 401);
    let order = json!({"client_id": ID}).to_string();
    let issued = control(&layer, "POST", "/tokens", &order).1;
    let issued = issued["access_token"].as_str().unwrap();
    assert_eq!(whoami(&layer, issued), 200);
    assert_eq!(
        control(&layer, "POST", "/revoke", r#"{"all": "access"}"#).0,
        200
    );
    assert_eq!(whoami(&layer, issued), 401);

    let order = json!({"client_id": ID, "client_secret": "new", "keep_old": true}).to_string();
    assert_eq!(control(&layer, "POST", "/rotate", &order).0, 200);
    assert_eq!(
        (ask(&layer).status, ask_as(&layer, ID, "new").status),
        (200, 200)
    );
}

#[test]
fn settings_change_and_null_clears() {
    let layer = start(Emulator::builder());
    let order = json!({
        "access_token_lifetime": 15,
        "business_token_lifetime": 20,
        "business_expires_in": "20",
        "rate_limit": 1,
    });
    let (status, now) = control(&layer, "POST", "/settings", &order.to_string());
    assert_eq!((status, &now["rate_limit"]), (200, &json!(1)));
    assert_eq!(ask(&layer).json()["expires_in"], 15);
    assert_eq!(
        mint(&layer, &token(&layer), DEMO, "").json()["expires_in"],
        "20"
    );
    let order =
        r#"{"business_token_lifetime": null, "business_expires_in": null, "rate_limit": null}"#;
    let (_, now) = control(&layer, "POST", "/settings", order);
    assert_eq!(
        now,
        json!({
            "access_token_lifetime": 15,
            "business_token_lifetime": null,
            "access_expires_in": null,
            "business_expires_in": null,
            "rate_limit": null,
            "tls_trouble": null,
        })
    );
    assert_eq!(
        mint(&layer, &token(&layer), DEMO, "").json()["expires_in"],
        3600
    );
    assert_eq!(control(&layer, "GET", "/settings", "").1, now);
}

#[test]
fn counters_log_fingerprints_and_reset() {
    let layer = start(Emulator::builder());
    let access = token(&layer);
    whoami(&layer, &access);
    let (_, counters) = control(&layer, "GET", "/counters", "");
    assert_eq!(
        counters["endpoints"]["token"]["by_status"],
        json!({"200": 1})
    );
    assert_eq!(counters["endpoints"]["auth_token"]["total"], 0);
    assert_eq!(
        (&counters["total"], &counters["access_tokens"]),
        (&json!(2), &json!(1))
    );
    let (_, log) = control(&layer, "GET", "/log?after=1&limit=5", "");
    let entries = log["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["endpoint"], "whoami");
    assert_eq!(entries[0]["client_id"], ID);
    let order = json!({"credentials": access}).to_string();
    let print = control(&layer, "POST", "/fingerprint", &order).1;
    assert_eq!(entries[0]["authorization"]["scheme"], "Bearer");
    assert_eq!(
        entries[0]["authorization"]["fingerprint"],
        print["fingerprint"]
    );
    assert_eq!(layer.fingerprint(&access), print["fingerprint"]);

    assert_eq!(control(&layer, "DELETE", "/log", "").0, 200);
    assert_eq!(control(&layer, "GET", "/counters", "").1["total"], 0);
    control(&layer, "POST", "/faults", r#"{"status": 500}"#);
    control(&layer, "POST", "/clock", r#"{"advance_ms": 7200000}"#);
    assert_eq!(control(&layer, "POST", "/reset", "").0, 200);
    assert_eq!(
        whoami(&layer, &access),
        200,
        "neither fault nor clock is left"
    );
}

#[test]
fn a_held_answer_is_released() {
    let layer = start(Emulator::builder());
    control(
        &layer,
        "POST",
        "/faults",
        r#"{"endpoint": "token", "hold": true}"#,
    );
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&layer).status);
        assert!(layer.wait_until(|all| all.endpoint(Endpoint::Token).in_flight == 1, PATIENCE));
        control(&layer, "POST", "/release", "");
        assert_eq!(asking.join().unwrap(), 200);
    });
}

#[test]
fn web_pages_and_rebound_names_are_turned_away() {
    let layer = start(Emulator::builder());
    let at = layer.control_address();
    for origin in ["http://localhost:3000", "null", "https://evil.example"] {
        let answer = send(at, "POST", "/reset", &[("origin", origin)], "");
        assert_eq!(answer.status, 403);
    }
    let rebound = request("GET", "/", &[], "").replace("host: localhost", "host: evil.example");
    let (bytes, _) = common::raw(at, &rebound, PATIENCE, usize::MAX);
    assert_eq!(common::Answer::parse(&bytes).status, 403);
    // Nor does the control API answer on Layer's port.
    assert_eq!(send(layer.address(), "POST", "/reset", &[], "").status, 401);
}

#[test]
fn shutdown_answers_and_ends_it() {
    let layer = start(Emulator::builder());
    assert_eq!(control(&layer, "POST", "/shutdown", "").0, 200);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(layer.stopped());
    let at = layer.address();
    drop(layer);
    assert!(std::net::TcpStream::connect(at).is_err());
}

#[test]
fn the_whole_format_works_from_json() {
    let layer = start(Emulator::builder());
    let fault = r#"{
        "endpoint": "token", "skip": 1, "times": 1, "delay_ms": 1, "status": 200,
        "headers": {"content-type": "text/plain"},
        "body": {"access_token": "{{token}}", "token_type": "bearer"},
        "pad_body_to": 2000, "wire": {"drip": {"part": "head", "every_ms": 1}}
    }"#;
    assert_eq!(control(&layer, "POST", "/faults", fault).0, 200);
    token(&layer);
    let (bytes, _) = common::raw(
        layer.address(),
        &token_request(&layer),
        PATIENCE,
        usize::MAX,
    );
    let answer = common::Answer::parse(&bytes);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.body.len(), 2000);
    assert_eq!(
        whoami(&layer, answer.json()["access_token"].as_str().unwrap()),
        200
    );
}
